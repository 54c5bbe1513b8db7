//! The reader of our TOML files (`bot.toml`, `project.toml`): it finds and names everything that is wrong with a file
//! before the file's own rules are checked.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use toml::Table;

use crate::keys::{self, KeyError, UnknownKey};

/// The keys of one file. None of them may be mandatory.
pub trait FileKeys: DeserializeOwned + Serialize {
    /// Completes the sentence about an unknown key, with a leading space; empty for nothing.
    const KEYS_ARE_LISTED: &'static str = "";

    /// A value in which every key is set. The known keys are read off it, so that they match the struct.
    fn all() -> Self;
}

/// A file as it was read.
#[derive(Clone, Debug)]
pub struct LoadedKeys<T> {
    pub keys: T,
    /// Environment variables that `${VAR}` named.
    pub variables: Vec<String>,
    /// Its text; empty where there is no file.
    pub text: String,
}

/// A fault in a file. Each is a sentence for the person who wrote it; the exit code is 2.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("`{path}` cannot be read: {source}. Check its owner and mode.")]
    Unreadable { path: PathBuf, source: io::Error },
    /// It is not TOML.
    #[error("`{path}` is not valid TOML: {why}")]
    Syntax { path: PathBuf, why: String },
    /// A key that does not exist.
    #[error("`{path}` has an unknown key `{key}`{}.{listed}", did_you_mean(.nearest))]
    UnknownKey {
        path: PathBuf,
        key: String,
        /// The right key it is most like.
        nearest: Option<String>,
        listed: &'static str,
    },
    /// A value that does not fit its key.
    #[error("`{key}` in `{path}`: {why}")]
    Value {
        path: PathBuf,
        key: String,
        /// The fault, and how to fix it.
        why: String,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|key| format!(" (did you mean `{key}`?)")).unwrap_or_default()
}

impl FileError {
    /// A value of the file at `path` that does not fit.
    pub fn value(path: &Path, KeyError { key, why }: KeyError) -> Self {
        Self::Value { path: path.to_owned(), key, why }
    }
}

/// Reads the file; a missing one counts as an empty one. `lookup` reads the environment for `${VAR}`.
pub fn load<T: FileKeys>(
    path: &Path,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<LoadedKeys<T>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => parse(text, path, lookup),
        Err(error) if error.kind() == io::ErrorKind::NotFound => parse(String::new(), path, lookup),
        Err(source) => Err(FileError::Unreadable { path: path.to_owned(), source }),
    }
}

/// Reads the text of the file at `path`, which only serves for the sentences.
pub fn parse<T: FileKeys>(
    text: String,
    path: &Path,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<LoadedKeys<T>, FileError> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| FileError::Syntax {
        path: path.to_owned(),
        why: error.to_string(),
    })?;
    // Not left to serde's `deny_unknown_fields`, which suggests no similar key.
    if let Some(UnknownKey { key, nearest }) = keys::unknown(&table, &known_keys::<T>()) {
        return Err(FileError::UnknownKey {
            path: path.to_owned(),
            key,
            nearest,
            listed: T::KEYS_ARE_LISTED,
        });
    }
    let variables = keys::expand(&mut table, &lookup).map_err(|error| FileError::value(path, error))?;
    let keys = keys::deserialize(table).map_err(|error| FileError::value(path, error))?;
    Ok(LoadedKeys { keys, variables, text })
}

/// Every key there is, dotted.
pub fn known_keys<T: FileKeys>() -> Vec<String> {
    keys::dotted_keys(&Table::try_from(T::all()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Keys {
        name: String,
        count: Option<u8>,
    }

    impl FileKeys for Keys {
        const KEYS_ARE_LISTED: &'static str = " See the manual.";

        fn all() -> Self {
            Self { count: Some(1), ..Self::default() }
        }
    }

    fn read(text: &str) -> Result<LoadedKeys<Keys>, FileError> {
        parse(text.to_owned(), Path::new("a.toml"), |name| (name == "A").then(|| "x".to_owned()))
    }

    #[test]
    fn a_good_file_is_read_with_its_variables() {
        let loaded = read("name = \"${A}${A}\"\ncount = 3").unwrap();
        assert_eq!(loaded.keys, Keys { name: "xx".into(), count: Some(3) });
        assert_eq!(loaded.variables, ["A", "A"]);
        assert_eq!(known_keys::<Keys>(), ["count", "name"]);
    }

    #[test]
    fn everything_wrong_gets_a_sentence() {
        let sentences = ["nam = 1", "zzzzzz = 1", "count = 300", "name = \"${B}\""]
            .map(|text| read(text).unwrap_err().to_string());
        insta::assert_snapshot!(sentences.join("\n"), @"
        `a.toml` has an unknown key `nam` (did you mean `name`?). See the manual.
        `a.toml` has an unknown key `zzzzzz`. See the manual.
        `count` in `a.toml`: invalid value: integer `300`, expected u8.
        `name` in `a.toml`: the environment variable `B` is not set. Set it, or write the value here.
        ");
        assert!(matches!(read("a = ["), Err(FileError::Syntax { .. })));
    }

    #[test]
    fn a_missing_file_is_an_empty_one_and_a_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = load::<Keys>(&folder.path().join("none.toml"), |_| None).unwrap();
        assert_eq!((loaded.keys, loaded.text), (Keys::default(), String::new()));
        assert!(matches!(load::<Keys>(folder.path(), |_| None), Err(FileError::Unreadable { .. })));
    }
}

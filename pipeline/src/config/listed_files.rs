//! Files that a component of `project.toml` lists: relative to its folder, and inside the project.

use std::path::{Component as Part, Path, PathBuf};

use settings::keys::KeyError;

/// Git's and storkit's own, in which no component has a file.
const OWN: [&str; 2] = [".git", ".storkit"];

/// The files of this key from the project's root. `folder` is the component's, inside the project.
pub(super) fn files(folder: &Path, listed: Vec<String>, key: &str) -> Result<Vec<PathBuf>, KeyError> {
    let inside = |file: String| {
        from_root(folder, &file)
            .map_err(|why| KeyError { key: key.to_owned(), why: format!("`{file}` {why}") })
    };
    listed.into_iter().map(inside).collect()
}

/// Names only: whether a link in a checkout leads out of it is a question of that checkout.
fn from_root(folder: &Path, file: &str) -> Result<PathBuf, &'static str> {
    let mut path: PathBuf = folder.components().filter(|part| matches!(part, Part::Normal(_))).collect();
    for part in Path::new(file).components() {
        match part {
            Part::Normal(name) => path.push(name),
            Part::CurDir => {}
            Part::ParentDir if path.pop() => {}
            Part::ParentDir | Part::RootDir | Part::Prefix(_) => {
                return Err("leads out of the project; write a file in it, like \".env.test\".");
            }
        }
    }
    if !Path::new(file).components().any(|part| matches!(part, Part::Normal(_))) {
        return Err("names no file; write one, like \".env.test\".");
    }
    // On some disks `.GIT` is the same folder.
    let is_own = |part: &std::ffi::OsStr| OWN.iter().any(|own| part.eq_ignore_ascii_case(own));
    if path.iter().any(is_own) {
        return Err("is git's or storkit's own and no part of a component.");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_from_the_components_folder_and_stays_in_the_project() {
        let listed = |file: &str| files(Path::new("./web"), vec![file.into()], "component.copy");
        let path = |file: &str| listed(file).map(|files| files[0].display().to_string());
        assert_eq!(path(".env.test"), Ok("web/.env.test".into()));
        assert_eq!(path("./a/../b"), Ok("web/b".into()));
        assert_eq!(path("../Cargo.lock"), Ok("Cargo.lock".into()));
        let why = |file: &str| listed(file).unwrap_err().why;
        for file in ["../../x", "/etc/passwd", "a/../../../x"] {
            assert_eq!(
                why(file),
                format!("`{file}` leads out of the project; write a file in it, like \".env.test\".")
            );
        }
        for file in ["", ".", ".."] {
            assert_eq!(why(file), format!("`{file}` names no file; write one, like \".env.test\"."));
        }
        for file in ["../.git/config", "../.storkit/bot.toml", "lib/.Git/hooks/x"] {
            assert_eq!(why(file), format!("`{file}` is git's or storkit's own and no part of a component."));
        }
    }
}

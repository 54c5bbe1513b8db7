//! Files that a person at the console names: `@/path/to/report.pdf`, or the path of an image alone, as a terminal types it when
//! somebody drops a file on it.

use std::{
    fs,
    io::{self, Read as _},
    path::PathBuf,
};

use crate::{AdapterError, SentFile};

const IMAGES: [&str; 5] = ["png", "jpg", "jpeg", "gif", "webp"];

/// The files that the text names by an absolute path. A path in the project needs no `@`: the agent reads it there.
pub(super) fn named_in(text: &str) -> Vec<SentFile> {
    let words = shlex::split(text).unwrap_or_else(|| text.split_whitespace().map(str::to_owned).collect());
    let mut files: Vec<SentFile> = Vec::new();
    for path in words.iter().filter_map(|word| named_by(word)) {
        let reference = path.to_string_lossy().into_owned();
        if files.iter().all(|file| file.reference != reference) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let size = fs::metadata(&path).ok().map(|found| found.len());
            files.push(SentFile { name, size, reference });
        }
    }
    files
}

fn named_by(word: &str) -> Option<PathBuf> {
    let (marked, word) = match word.strip_prefix('@') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let word = word.strip_prefix("file://").unwrap_or(word);
    let found = [word, word.trim_end_matches(['.', ',', ';', ':', '?', '!', ')'])]
        .into_iter()
        .filter_map(absolute)
        .find(|path| fs::metadata(path).is_ok_and(|found| found.is_file()))?;
    let ending = found.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    (marked || IMAGES.contains(&ending.as_str())).then_some(found)
}

fn absolute(word: &str) -> Option<PathBuf> {
    match word.strip_prefix("~/") {
        Some(rest) => Some(std::env::home_dir()?.join(rest)),
        None => Some(PathBuf::from(word)).filter(|path| path.is_absolute()),
    }
}

/// The content of a named file.
///
/// # Errors
/// [`AdapterError::Rejected`] if it cannot be read, is no regular file any more or is larger than `max` bytes.
pub(super) fn read(file: &SentFile, max: u64) -> Result<Vec<u8>, AdapterError> {
    let unreadable = |error: io::Error| AdapterError::Rejected(format!("it cannot be read ({error})"));
    // Before it is opened: opening a FIFO would wait for its other end.
    if !fs::metadata(&file.reference).map_err(unreadable)?.is_file() {
        return Err(AdapterError::Rejected("it is no regular file".into()));
    }
    let mut bytes = Vec::new();
    let opened = fs::File::open(&file.reference).map_err(unreadable)?;
    opened.take(max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 > max {
        true => Err(AdapterError::Rejected(format!("it is larger than {} MB", max >> 20))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_path_and_a_dropped_image_are_files_and_other_paths_are_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["shot.png", "my shot.PNG", "notes.txt"] {
            fs::write(folder.path().join(name), "content").unwrap();
        }
        let names = |text: String| {
            let files = named_in(&text);
            files.into_iter().map(|file| file.name).collect::<Vec<_>>().join("|")
        };
        assert_eq!(names(format!("what is wrong in @{}?", path("notes.txt"))), "notes.txt");
        assert_eq!(names(format!("why {} and @{}", path("shot.png"), path("shot.png"))), "shot.png");
        assert_eq!(names(format!("look: '{}'", path("my shot.PNG"))), "my shot.PNG");
        assert_eq!(names(path("my shot.PNG").replace(' ', "\\ ")), "my shot.PNG");
        assert_eq!(names(format!("it's in file://{}", path("shot.png"))), "shot.png");
        for text in
            [path("notes.txt"), format!("@{}", path("")), path("none.png"), "@shot.png /etc/hosts".into()]
        {
            assert_eq!(names(text.clone()), "", "{text}");
        }
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let file = SentFile { name: "a".into(), size: None, reference: path.display().to_string() };
        assert!(matches!(read(&file, 3), Err(AdapterError::Rejected(why)) if why.contains("cannot be read")));
        fs::write(&path, "four").unwrap();
        assert_eq!(read(&file, 4).unwrap(), b"four");
        assert!(matches!(read(&file, 3), Err(AdapterError::Rejected(why)) if why.contains("larger")));
        let folder = SentFile { reference: folder.path().display().to_string(), ..file };
        assert!(read(&folder, 4).is_err());
    }
}

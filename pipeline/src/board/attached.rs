//! Files that people attach to stories: `.storkit/work/files/ID/NAME`, beside the folders of the stages, so that a story's moves leave them
//! and the links to them (`../files/ID/NAME`) as they are. The board's branch keeps them at the same paths.
//!
//! Names come from people's devices, and the folder may come from a repository: only plain names count, and no link is followed.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
};

use git2::{ErrorCode, ObjectType, Oid, Repository};
use settings::unlinked;

use super::branch::{StoryBlobs, WORK};
use crate::{
    Project,
    story::{StoryId, templates},
};

/// The folder's name, beside those of the stages.
pub(super) const FILES: &str = templates::FILES_FOLDER;

/// In bytes. A telephone's photograph has 2 to 6 MB. The files stay in git's history for good, and forges warn about files from
/// 50 MB on: <https://docs.github.com/en/repositories/working-with-files/managing-large-files/about-large-files-on-github>
pub const MAX_ATTACHED: u64 = 10 << 20;

/// How many files a story has at most.
pub const MAX_ATTACHED_FILES: usize = 20;

/// In bytes: all files of a story together.
pub const MAX_ATTACHED_TOTAL: u64 = 40 << 20;

/// Longest name that storkit makes, and longest ending of it, in bytes.
const LONGEST_NAME: usize = 80;
const LONGEST_ENDING: usize = 12;

/// Longest name that is read.
const LONGEST_READ: usize = 100;

/// Names that Windows reserves, whatever their ending is.
/// <https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file>
const RESERVED: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
    "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// A file that a person sent for a story.
#[derive(Clone, PartialEq, Eq)]
pub struct FileToAttach {
    /// As its sender named it.
    pub name: String,
    pub content: Vec<u8>,
}

impl fmt::Debug for FileToAttach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileToAttach({:?}, {} bytes)", self.name, self.content.len())
    }
}

/// What became of such a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedFile {
    /// As its sender named it.
    pub given: String,
    /// Its name in the story's folder.
    pub stored: Result<String, AttachFault>,
}

/// Why a file is not attached. Each is the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachFault {
    #[error("it is larger than {} MB", MAX_ATTACHED >> 20)]
    TooLarge,
    #[error("the story has {MAX_ATTACHED_FILES} files already")]
    TooMany,
    #[error("the files of a story have at most {} MB together", MAX_ATTACHED_TOTAL >> 20)]
    TooMuch,
    #[error("it could not be written here ({0})")]
    Disk(String),
}

/// The files that a story has, with room for more.
pub(super) struct Attachments {
    names: BTreeSet<String>,
    bytes: u64,
}

impl Attachments {
    pub(super) fn of(work: &Path, story: StoryId) -> io::Result<Self> {
        let files = attached_files(work, story)?;
        let bytes = files.iter().map(|(_, found)| found.len()).sum();
        // On some file systems `Door.png` and `door.png` are one file. What else lies there takes its name, too.
        let listed = fs::read_dir(folder_of(work, story)).into_iter().flatten().flatten();
        let names = listed.map(|entry| entry.file_name().to_string_lossy().to_lowercase()).collect();
        Ok(Self { names, bytes })
    }

    /// The name under which a file is to be stored.
    pub(super) fn admit(&mut self, file: &FileToAttach) -> Result<String, AttachFault> {
        let size = file.content.len() as u64;
        if size > MAX_ATTACHED {
            return Err(AttachFault::TooLarge);
        }
        if self.names.len() >= MAX_ATTACHED_FILES {
            return Err(AttachFault::TooMany);
        }
        if self.bytes + size > MAX_ATTACHED_TOTAL {
            return Err(AttachFault::TooMuch);
        }
        let name = self.free_name(&plain_name(&file.name));
        self.names.insert(name.to_lowercase());
        self.bytes += size;
        Ok(name)
    }

    fn free_name(&self, name: &str) -> String {
        let (stem, ending) = split_ending(name);
        let numbered = (2..).map(|number| format!("{stem}-{number}{ending}"));
        let names = std::iter::once(name.to_owned()).chain(numbered);
        names.into_iter().find(|name| !self.names.contains(&name.to_lowercase())).unwrap_or_default()
    }
}

/// The absolute folder of a story's files.
pub(super) fn folder_of(work: &Path, story: StoryId) -> PathBuf {
    work.join(FILES).join(story.to_string())
}

/// A story's files by their names: plain files, where no link leads.
pub(super) fn attached_files(work: &Path, story: StoryId) -> io::Result<Vec<(String, Metadata)>> {
    let folder = folder_of(work, story);
    unlinked::check(&folder)?;
    plain_files(&folder, is_attached_name)
}

/// The plain files in a folder with a name of this form, by their names; none where there is no folder.
pub(super) fn plain_files(
    folder: &Path,
    is_name: impl Fn(&str) -> bool,
) -> io::Result<Vec<(String, Metadata)>> {
    let listed = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        listed => listed?,
    };
    let mut files = Vec::new();
    for entry in listed {
        let entry = entry?;
        // Not of what a link leads to.
        let found = entry.metadata()?;
        if let Ok(name) = entry.file_name().into_string()
            && found.is_file()
            && is_name(&name)
        {
            files.push((name, found));
        }
    }
    files.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(files)
}

/// Where a story's files are, absolute. None where they cannot be read.
pub(crate) fn attached_paths(project: &Project, story: StoryId) -> Vec<PathBuf> {
    let work = project.dir().join("work");
    let files = attached_files(&work, story).unwrap_or_default();
    files.into_iter().map(|(name, _)| folder_of(&work, story).join(name)).collect()
}

/// Removes one of a story's files. Returns whether it was there.
pub(super) fn remove_one(work: &Path, story: StoryId, name: &str) -> io::Result<bool> {
    let is_there = attached_files(work, story)?.iter().any(|(file, _)| file == name);
    if is_there {
        fs::remove_file(folder_of(work, story).join(name))?;
    }
    Ok(is_there)
}

/// Removes a story's files with their folder. Returns how many that were.
pub(super) fn remove_attached(work: &Path, story: StoryId) -> io::Result<usize> {
    let folder = folder_of(work, story);
    unlinked::check(&folder)?;
    match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        listed => {
            let count = listed?.count();
            // A link inside is removed, and not what it leads to.
            fs::remove_dir_all(&folder)?;
            Ok(count)
        }
    }
}

/// The files of all stories in the checkout, by their paths from the project's root. A folder that is a link has none.
pub(crate) fn attached_on_disk(root: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let work = root.join(WORK);
    let all = work.join(FILES);
    if unlinked::check(&all).is_err() {
        return Ok(Vec::new());
    }
    let listed = match fs::read_dir(&all) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        listed => listed?,
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry?;
        let Some(story) = entry.file_name().to_str().and_then(story_of_folder) else { continue };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let folder = Path::new(WORK).join(FILES).join(story.to_string());
        let files = attached_files(&work, story)?;
        found.extend(files.into_iter().map(|(name, metadata)| (folder.join(name), metadata)));
    }
    Ok(found)
}

/// The files of all stories in a commit of the board.
pub(super) fn attached_in(repository: &Repository, commit: Oid) -> Result<StoryBlobs, git2::Error> {
    let tree = repository.find_commit(commit)?.tree()?;
    let all = Path::new(WORK).join(FILES);
    let mut found = StoryBlobs::new();
    let entry = match tree.get_path(&all) {
        Ok(entry) if entry.kind() == Some(ObjectType::Tree) => entry,
        Ok(_) => return Ok(found),
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for folder in &repository.find_tree(entry.id())? {
        let Some(story) = folder.name().ok().and_then(story_of_folder) else { continue };
        if folder.kind() != Some(ObjectType::Tree) {
            continue;
        }
        for entry in &repository.find_tree(folder.id())? {
            let is_file = matches!(entry.filemode(), 0o100_644 | 0o100_755 | 0o100_664);
            if let Ok(name) = entry.name()
                && is_file
                && is_attached_name(name)
            {
                found.insert(all.join(story.to_string()).join(name), entry.id());
            }
        }
    }
    Ok(found)
}

/// The story whose file this path from the project's root is.
pub(crate) fn story_of_attached(path: &Path) -> Option<StoryId> {
    let mut parts = path.strip_prefix(WORK).ok()?.strip_prefix(FILES).ok()?.iter();
    let (folder, name) = (parts.next()?.to_str()?, parts.next()?.to_str()?);
    let is_file = parts.next().is_none() && is_attached_name(name);
    story_of_folder(folder).filter(|_| is_file)
}

fn story_of_folder(name: &str) -> Option<StoryId> {
    // `#12` and `012` would be further folders of one story.
    name.parse::<StoryId>().ok().filter(|id| id.to_string() == name)
}

/// Whether a file of this name can be a story's: it means the same in a shell, in Markdown and on every file system, and hides nothing.
fn is_attached_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(is_plain)
        && !name.ends_with('.')
        && name.len() <= LONGEST_READ
}

/// The name of a file as its sender gave it, made plain. The folders of a path are left out.
fn plain_name(given: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let last: String = last.chars().take(4 * LONGEST_NAME).collect();
    let mut plain = String::new();
    for letter in deunicode::deunicode(&last).chars() {
        match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => plain.push(letter),
            _ if plain.ends_with('_') => {}
            _ => plain.push('_'),
        }
    }
    let plain = plain.trim_matches(['.', '_', '-']);
    let (stem, ending) = split_ending(plain);
    let stem = &stem[..stem.len().min(LONGEST_NAME - LONGEST_ENDING)];
    let stem = stem.trim_end_matches(['.', '_', '-']);
    match stem {
        "" => "file".to_owned(),
        stem if RESERVED.contains(&stem.split('.').next().unwrap_or(stem).to_lowercase().as_str()) => {
            format!("file-{stem}{ending}")
        }
        stem => format!("{stem}{ending}"),
    }
}

/// The name before its ending, and the ending with its period.
fn split_ending(name: &str) -> (&str, &str) {
    match name.rfind('.').filter(|at| (2..=LONGEST_ENDING).contains(&(name.len() - at)) && *at > 0) {
        Some(at) => name.split_at(at),
        None => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    const TWELVE: StoryId = StoryId(12);

    fn file(name: &str, size: usize) -> FileToAttach {
        FileToAttach { name: name.into(), content: vec![b'x'; size] }
    }

    #[test]
    fn names_of_all_devices_become_plain_ones() {
        for (given, plain) in [
            ("door.png", "door.png"),
            ("Bildschirmfoto 2026-11-30 um 12.00.png", "Bildschirmfoto_2026-11-30_um_12.00.png"),
            ("Größe.PDF", "Grosse.PDF"),
            ("../../etc/passwd", "passwd"),
            ("C:\\fakepath\\run me.sh", "run_me.sh"),
            ("..", "file"),
            ("", "file"),
            (".git", "git"),
            ("-rf", "rf"),
            ("a\0b\nc.txt", "a_b_c.txt"),
            ("NUL", "file-NUL"),
            ("con.tar.gz", "file-con.tar.gz"),
            ("gpj.\u{202e}exe", "gpj.exe"),
            ("x.", "x"),
            ("a](http://evil.example)", "evil.example"),
        ] {
            assert_eq!(plain_name(given), plain, "{given:?}");
        }
        let long = plain_name(&format!("{}.jpeg", "x".repeat(10_000)));
        assert!(long.len() <= LONGEST_NAME && long.starts_with("xxx"), "{long}");
    }

    #[test]
    fn a_name_is_given_once_whatever_its_case_and_what_is_there_is_never_replaced() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder_of(place.path(), TWELVE);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("door.png"), "x").unwrap();
        symlink("/etc/passwd", folder.join("key.txt")).unwrap();
        let mut attachments = Attachments::of(place.path(), TWELVE).unwrap();
        let names = ["Door.png", "door.PNG", "plan", "plan", "key.txt"]
            .map(|name| attachments.admit(&file(name, 1)).unwrap());
        assert_eq!(names, ["Door-2.png", "door-3.PNG", "plan", "plan-2", "key-2.txt"]);
    }

    #[test]
    fn a_story_has_so_many_files_of_such_a_size() {
        let place = tempfile::tempdir().unwrap();
        let mut attachments = Attachments::of(place.path(), TWELVE).unwrap();
        let largest = usize::try_from(MAX_ATTACHED).unwrap();
        assert_eq!(attachments.admit(&file("a", largest + 1)), Err(AttachFault::TooLarge));
        for _ in 0..MAX_ATTACHED_TOTAL / MAX_ATTACHED {
            attachments.admit(&file("a", largest)).unwrap();
        }
        assert_eq!(attachments.admit(&file("a", 1)), Err(AttachFault::TooMuch));
        let mut attachments = Attachments::of(place.path(), TWELVE).unwrap();
        for _ in 0..MAX_ATTACHED_FILES {
            attachments.admit(&file("a", 1)).unwrap();
        }
        assert_eq!(attachments.admit(&file("a", 1)), Err(AttachFault::TooMany));
    }

    #[test]
    fn links_lead_nowhere_and_only_plain_files_of_plain_names_count() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        let work = root.join(WORK);
        let elsewhere = root.join("elsewhere");
        fs::create_dir_all(folder_of(&work, TWELVE)).unwrap();
        fs::create_dir_all(folder_of(&work, TWELVE).join("folder")).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        fs::write(elsewhere.join("key.txt"), "secret").unwrap();
        fs::write(folder_of(&work, TWELVE).join("door.png"), "x").unwrap();
        fs::write(folder_of(&work, TWELVE).join(".hidden"), "x").unwrap();
        fs::write(folder_of(&work, TWELVE).join("a b"), "x").unwrap();
        symlink(elsewhere.join("key.txt"), folder_of(&work, TWELVE).join("key.txt")).unwrap();
        symlink(&elsewhere, folder_of(&work, StoryId(13))).unwrap();
        fs::create_dir_all(work.join(FILES).join("012")).unwrap();
        fs::write(work.join(FILES).join("012/x"), "x").unwrap();
        let paths = || -> Vec<PathBuf> {
            attached_on_disk(root).unwrap().into_iter().map(|(path, _)| path).collect()
        };
        assert_eq!(paths(), [Path::new(WORK).join("files/12/door.png")]);
        assert!(attached_files(&work, StoryId(13)).is_err());
        assert!(remove_attached(&work, StoryId(13)).is_err());
        assert_eq!(remove_attached(&work, TWELVE).unwrap(), 5);
        assert!(elsewhere.join("key.txt").exists() && !folder_of(&work, TWELVE).exists());
        fs::remove_dir_all(work.join(FILES)).unwrap();
        symlink(&elsewhere, work.join(FILES)).unwrap();
        fs::create_dir_all(elsewhere.join("12")).unwrap();
        fs::write(elsewhere.join("12/key.txt"), "secret").unwrap();
        assert!(paths().is_empty());
        assert!(attached_files(&work, TWELVE).is_err());
    }

    #[test]
    fn a_path_is_a_storys_file_or_it_is_not() {
        let of = |path: &str| story_of_attached(&Path::new(WORK).join(path));
        assert_eq!(of("files/12/door.png"), Some(TWELVE));
        for other in ["files/12", "files/012/a", "files/12/a/b", "files/12/.git", "files/x/a", "1_backlog/a"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_name_that_is_made_is_one_that_is_read(given in "(\\PC|[./\\\\\u{0}\u{202e}]){0,200}", taken in prop::collection::vec("[a-z.]{0,8}", 0..4)) {
            let mut attachments = Attachments { names: taken.into_iter().collect(), bytes: 0 };
            for _ in 0..3 {
                let name = attachments.admit(&file(&given, 1)).unwrap();
                prop_assert!(is_attached_name(&name), "{given:?} became {name:?}");
            }
        }
    }
}

//! Evidence: files that agents and gates leave in `$STORKIT_EVIDENCE` to show what they did. Pictures, recordings and reports of a run or a
//! merge are kept with the story and shown to people.
//!
//! Code that agents wrote fills the folder, so it is read like a stranger's: plain files only, no link, nothing large, no secret.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use settings::unlinked;

use crate::board::{FileToAttach, MAX_ATTACHED};

/// Names the folder, in the environment of agents and gates.
pub(crate) const VARIABLE: &str = "STORKIT_EVIDENCE";

/// How many files of one run or merge are kept.
pub const MAX_EVIDENCE: usize = 10;

/// In bytes: all files of one run or merge together.
pub const MAX_EVIDENCE_TOTAL: u64 = 20 << 20;

/// Folders below it that are looked into, one below the other: reports of test programs have such.
const DEEPEST: usize = 4;

/// How many entries are looked at.
const MOST_ENTRIES: usize = 2_000;

/// Who left it. What comes later takes the place of what the same one left before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceSource {
    /// A coder, or the gates on its branch.
    Coder,
    Reviewer,
    /// The gates on the merged result, or whoever resolved its conflict.
    Merge,
}

impl EvidenceSource {
    /// What the names of its files begin with.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Coder => "evidence-coder-",
            Self::Reviewer => "evidence-reviewer-",
            Self::Merge => "evidence-merge-",
        }
    }
}

/// Files that were taken, and those that were not, as clauses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenEvidence {
    pub files: Vec<FileToAttach>,
    /// `` `film.mp4` is larger than 10 MB ``
    pub left_out: Vec<String>,
}

impl TakenEvidence {
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.left_out.is_empty()
    }

    /// Without the files that hold a secret: of which kind, this says.
    pub(crate) fn without_secrets(self, secret_in: impl Fn(&[u8]) -> Option<&'static str>) -> Self {
        let Self { files, mut left_out } = self;
        let is_clean = |file: &FileToAttach| match secret_in(&file.content) {
            Some(kind) => {
                left_out.push(format!("`{}` holds {kind}", shown(&file.name)));
                false
            }
            None => true,
        };
        let files = files.into_iter().filter(is_clean).collect();
        Self { files, left_out }
    }
}

/// The folder of one worktree.
pub(crate) struct EvidenceFolder(PathBuf);

impl EvidenceFolder {
    /// `private` is the worktree's private folder, outside of it.
    pub(crate) fn of(private: &Path) -> Self {
        Self(agents::confine::evidence_folder(private))
    }

    /// Makes it, empty. Blocks.
    pub(crate) fn open(&self) -> io::Result<()> {
        self.clear()?;
        unlinked::create_dir_all(&self.0)
    }

    /// Takes out what is in it. Nothing of the run may live any more. Blocks.
    pub(crate) fn take(&self) -> TakenEvidence {
        let mut found = Vec::new();
        let taken = match unlinked::check(&self.0).and_then(|()| list(&self.0, DEEPEST, &mut found)) {
            Ok(()) => read(&self.0, found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => TakenEvidence::default(),
            Err(error) => TakenEvidence {
                left_out: vec![format!("the folder cannot be read ({error})")],
                ..Default::default()
            },
        };
        if let Err(error) = self.clear() {
            tracing::warn!(%error, folder = %self.0.display(), "the folder of evidence cannot be emptied");
        }
        taken
    }

    fn clear(&self) -> io::Result<()> {
        let removed = match self.0.symlink_metadata() {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&self.0),
            // A link is removed, and not what it leads to.
            Ok(_) => fs::remove_file(&self.0),
            Err(error) => Err(error),
        };
        removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
    }
}

/// Everything in a folder that is no folder, in order.
fn list(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if found.len() >= MOST_ENTRIES {
            return Ok(());
        }
        match entry.file_type()?.is_dir() {
            true if depth > 0 => list(&entry.path(), depth - 1, found)?,
            true => {}
            false => found.push(entry.path()),
        }
    }
    Ok(())
}

fn read(folder: &Path, found: Vec<PathBuf>) -> TakenEvidence {
    let mut taken = TakenEvidence::default();
    let (mut total, mut more) = (0, 0);
    for path in found {
        // Reports have equal names in several folders.
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().replace('/', "-");
        if taken.files.len() >= MAX_EVIDENCE {
            more += 1;
            continue;
        }
        match content(&path) {
            Ok(content) if total + content.len() as u64 > MAX_EVIDENCE_TOTAL => {
                let most = MAX_EVIDENCE_TOTAL >> 20;
                taken
                    .left_out
                    .push(format!("`{}` does not fit into {most} MB with the others", shown(&name)));
            }
            Ok(content) => {
                total += content.len() as u64;
                taken.files.push(FileToAttach { name, content });
            }
            Err(why) => taken.left_out.push(format!("`{}` {why}", shown(&name))),
        }
    }
    if more > 0 {
        taken.left_out.push(format!("{more} more, since {MAX_EVIDENCE} files are kept"));
    }
    taken
}

/// The error is the end of a sentence.
fn content(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| format!("cannot be read ({error})");
    let found = fs::symlink_metadata(path).map_err(unreadable)?;
    if !found.is_file() {
        return Err("is no plain file".into());
    }
    let too_large = || format!("is larger than {} MB", MAX_ATTACHED >> 20);
    if found.len() > MAX_ATTACHED {
        return Err(too_large());
    }
    let mut content = Vec::new();
    let mut file = unlinked::open(OpenOptions::new().read(true), path).map_err(unreadable)?;
    file.by_ref().take(MAX_ATTACHED + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > MAX_ATTACHED { Err(too_large()) } else { Ok(content) }
}

/// A name for a sentence: an agent chose it.
fn shown(name: &str) -> String {
    let plain = |c: char| if c.is_control() || c == '`' { '_' } else { c };
    name.chars().take(80).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, EvidenceFolder, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let folder = EvidenceFolder::of(&place.path().join(".storkit/private"));
        folder.open().unwrap();
        let path = folder.0.clone();
        (place, folder, path)
    }

    fn names(taken: &TakenEvidence) -> Vec<&str> {
        taken.files.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn plain_files_are_taken_once_with_their_folders_in_the_name() {
        let (_place, folder, path) = folder();
        fs::create_dir_all(path.join("report/chromium")).unwrap();
        fs::write(path.join("report/chromium/shot.png"), "a").unwrap();
        fs::write(path.join("shot.png"), "b").unwrap();
        let taken = folder.take();
        assert_eq!(names(&taken), ["report-chromium-shot.png", "shot.png"]);
        assert_eq!(taken.files[1].content, b"b");
        assert!(taken.left_out.is_empty(), "{taken:?}");
        assert_eq!(
            folder.take(),
            TakenEvidence::default(),
            "nothing is taken twice, and no folder is no error"
        );
    }

    #[test]
    fn links_and_pipes_are_no_evidence() {
        let (place, folder, path) = folder();
        fs::write(place.path().join("key"), "secret").unwrap();
        symlink(place.path().join("key"), path.join("key.txt")).unwrap();
        symlink(place.path(), path.join("all")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
        let taken = folder.take();
        assert_eq!(names(&taken), [""; 0]);
        let expected = ["all", "key.txt", "pipe"].map(|name| format!("`{name}` is no plain file"));
        assert_eq!(taken.left_out, expected);
        // The folder itself was exchanged.
        symlink(place.path(), &path).unwrap();
        assert!(folder.take().files.is_empty());
        assert!(place.path().join("key").exists(), "what the link leads to stays");
        folder.open().unwrap();
        assert!(!path.is_symlink());
    }

    #[test]
    fn what_is_too_large_or_too_much_is_left_out_with_the_reason() {
        let (_place, folder, path) = folder();
        fs::write(path.join("0-film.mp4"), vec![0; (MAX_ATTACHED + 1) as usize]).unwrap();
        for name in ["1", "2", "3"] {
            fs::write(path.join(name), vec![0; MAX_ATTACHED as usize]).unwrap();
        }
        for number in 10..30 {
            fs::write(path.join(format!("z{number}")), "").unwrap();
        }
        let taken = folder.take();
        assert_eq!(taken.files.len(), MAX_EVIDENCE);
        assert_eq!(
            taken.left_out,
            [
                "`0-film.mp4` is larger than 10 MB",
                "`3` does not fit into 20 MB with the others",
                "12 more, since 10 files are kept"
            ]
        );
    }

    #[test]
    fn files_with_secrets_are_left_out() {
        let file = |name: &str, content: &str| FileToAttach { name: name.into(), content: content.into() };
        let taken =
            TakenEvidence { files: vec![file("a`b", "s3cret"), file("ok", "fine")], left_out: Vec::new() };
        let clean = taken.without_secrets(|content| (content == b"s3cret").then_some("a secret"));
        assert_eq!(
            (names(&clean), clean.left_out.as_slice()),
            (vec!["ok"], ["`a_b` holds a secret".to_owned()].as_slice())
        );
    }
}

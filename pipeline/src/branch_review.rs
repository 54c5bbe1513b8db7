//! The review of a person's branch: which commit is meant, what the reviewer reports, and what became of it. There is no story and no
//! merge; the reviewer works in a worktree without a branch (`folder`), which is removed afterwards.

mod branch;
pub(crate) mod folder;

use git2::Oid;

pub(crate) use self::branch::{check_places, diff_text, is_at, resolve};
use crate::event::RunInfo;

/// The worker's name in the place of a story's.
pub(crate) const REVIEWER: &str = "branch-review";

/// Most findings of one review, and characters of each; more is not read by anybody.
pub const MAX_FINDINGS: usize = 50;
pub const MAX_FINDING: usize = 2_000;

/// A branch as it was when its review began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewedBranch {
    /// As git names it, without `refs/heads/` or `refs/remotes/`.
    pub name: String,
    pub(crate) reference: String,
    pub(crate) tip: Oid,
    /// Where it left base.
    pub(crate) fork: Oid,
    pub commits: usize,
    /// `3 files, +20 -4`
    pub diff: String,
    /// Changed files, as git names them.
    pub(crate) files: Vec<String>,
}

impl ReviewedBranch {
    pub fn commit(&self) -> String {
        self.tip.to_string()
    }
}

/// What the reviewer found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReviewFindings {
    pub findings: Vec<ReviewFinding>,
    /// Its words about the whole.
    pub summary: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewFinding {
    /// From the repository's top.
    pub file: String,
    /// Counted from 1, in the branch's version; absent where the file has no such line.
    pub line: Option<u32>,
    pub problem: String,
}

/// How a review ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReviewResult {
    Found(ReviewFindings),
    StoppedBy(String),
    /// As a clause.
    Failed(String),
    /// storkit was shut down.
    Shutdown,
}

/// Where the branch is, now that its review has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchNow {
    Unchanged,
    Moved,
    Gone,
}

/// A review that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ReviewReport {
    pub run: RunInfo,
    pub branch: ReviewedBranch,
    pub result: ReviewResult,
    pub now: BranchNow,
}

/// A review that has begun.
#[derive(Debug)]
pub struct StartedReview {
    pub run: RunInfo,
    pub branch: ReviewedBranch,
    /// Resolves when it is over and nothing of it is left.
    pub ended: tokio::sync::oneshot::Receiver<ReviewReport>,
}

//! The merge of a story: one squash commit on base, with its gates green on the merged result, or nothing at all.
//!
//! `squash` makes the merged tree, `gate_worktree` is the worktree the gates run in, `land` moves base by
//! compare-and-swap under a journal, `checkout` brings along who has base checked out, `base_in_use` is what
//! a landing waits for, `run` is these in order,
//! `queue` does one at a time, and `recover` finishes a merge that a crash interrupted.

mod base_in_use;
mod board_move;
mod checkout;
mod conflict;
mod gate_worktree;
mod job;
mod journal;
mod land;
mod outcome;
mod paths;
mod proof;
mod queue;
mod recover;
mod resolution;
mod run;
mod squash;
#[cfg(test)]
pub(crate) mod tests;

pub use self::{
    conflict::keep_both,
    outcome::{MergeError, MergeOutcome, MergeRequest, MergeSettings},
    proof::{
        DiffStat, GateProof, MergeProof, MergeTrailers, StoryMerge, merged_by, merged_story, merges, trailers,
    },
    queue::{MergeEnded, MergeQueue, MergeStatus, MergeStep, QueueError},
    recover::{JournaledMerge, MergeRecovery, recover},
    resolution::conflict_worktree,
};
pub(crate) use self::{
    journal::MergeJournal,
    paths::MergePaths,
    proof::{diff_of, diff_stat},
};

//! The effect of a trial, as far as it was seen.

use std::{path::PathBuf, time::Duration};

use crate::confine::CallKind;

/// The effect of a command, as far as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialEffect {
    pub end: TrialEnd,
    pub took: Duration,
    pub output: TrialOutput,
    /// In the agent's folder, by path.
    pub files: Vec<TrialFileChange>,
    pub lines: LineCount,
    /// Elsewhere in the wall; the first of them.
    pub outside: Vec<OutsideChange>,
    /// How many these are in all.
    pub outside_count: usize,
    /// Requests that were refused.
    pub attempts: Vec<TrialAttempt>,
    /// Whether the kernel reported such calls.
    pub is_watched: bool,
    /// The hosts that it asked storkit's proxy for, as `name:port`. None of them was reached.
    pub hosts: Vec<String>,
    /// Whether its changes did not fit into the layers.
    pub is_full: bool,
    /// Why its changes cannot be kept.
    pub no_keep: Option<NoKeep>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialEnd {
    /// By itself, with this code; 128 and more for a signal.
    Exited(i32),
    /// Its time was up.
    TimedOut,
}

/// The beginning of a command's output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrialOutput {
    pub head: String,
    /// How many bytes it printed in all.
    pub bytes: u64,
    /// Whether `head` is all of it.
    pub is_whole: bool,
}

/// A file in the agent's folder that is not as before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialFileChange {
    /// Relative to the folder.
    pub path: PathBuf,
    pub kind: FileChangeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChangeKind {
    Added,
    Changed,
    Deleted,
}

/// Lines of text files. Other files, and long ones, are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCount {
    pub added: usize,
    pub removed: usize,
    /// Files whose lines were not counted.
    pub uncounted: usize,
}

/// Something outside of the agent's folder that the wall lets the command change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideChange {
    /// As the command calls it.
    pub path: PathBuf,
    pub kind: OutsideKind,
    pub is_deleted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutsideKind {
    /// The process's own home, temporary folder and caches.
    Private,
    /// Git's data about the agent's branch.
    Git,
    /// A folder that the operator made writable.
    Shared,
}

/// A request of a command for something outside of its layers: a file to delete, to write or to look at, an address to connect to. Seen
/// before the call, which failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrialAttempt {
    pub kind: CallKind,
    /// The path without links resolved, or the address.
    pub what: String,
}

/// Why changes cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoKeep {
    /// The command did not come to its end.
    NotFinished,
    /// Its changes did not fit into the layers.
    Full,
    /// It changed git's data, which no layer can be taken over from.
    GitData,
    /// It changed what belongs to git or storkit.
    Protected(PathBuf),
    /// It made a file that is none: a socket, a pipe, a device.
    SpecialFile(PathBuf),
    /// Too many files to compare.
    TooMany,
    /// A file that cannot be read.
    Unreadable(PathBuf),
    /// This was changed while the command ran.
    ChangedMeanwhile(PathBuf),
}

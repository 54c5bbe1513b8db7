//! What keeps an agent inside its worktree: a command that the agent's own is put behind.
//!
//! With bubblewrap the whole filesystem is read-only but for the story's own parts; in the places of git's object
//! store, the story's refs and git's notes of the worktree the agent sees private copies. See
//! `docs/design.md` for what each protection denies and what it only notices.

mod bwrap;
mod claude_home;
#[cfg(test)]
mod live;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

pub use self::bwrap::Bwrap;
use crate::config::Sandbox;

/// Where a confined agent sees the repository's true objects, relative to the project; outside there is nothing.
pub const STORE: &str = ".storkit/objects";

/// How agents are kept in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Not at all: hooks refuse, and comparisons notice.
    None,
    /// By bubblewrap.
    Bwrap(Bwrap),
    /// By a command of the operator's, e.g. `["runsc", "do"]`, that takes the agent's as its arguments. Git data is
    /// as without a sandbox.
    Prefix(Vec<String>),
}

/// The parts of one worktree that a sandbox shows or replaces. All paths absolute but `ref_folders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The main checkout.
    pub root: PathBuf,
    /// The repository: `.git`.
    pub common: PathBuf,
    /// The worktree.
    pub folder: PathBuf,
    /// Git's notes of it: `.git/worktrees/NAME`.
    pub admin: PathBuf,
    /// Has `git`, `objects`, `info`, `admin`, `tmp` and the ref folders, shown in the places of the true ones.
    pub private: PathBuf,
    /// Storkit's hooks.
    pub hooks: PathBuf,
    /// What of `.git` is this story's alone, relative to it; empty for a worktree without a branch.
    pub ref_folders: Vec<PathBuf>,
}

/// A confinement and where it applies: what a launch needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confined {
    /// How.
    pub confinement: Confinement,
    /// Where.
    pub place: Place,
}

impl Confinement {
    /// What `sandbox` of an agent asks for; without a word the strongest that this machine has.
    ///
    /// # Errors
    /// A sentence where bubblewrap was asked for and does not work: nothing weaker is taken in its place.
    pub fn chosen(sandbox: Option<&Sandbox>, home: &Path) -> Result<Self, String> {
        match sandbox {
            None => Ok(Self::strongest_available(home).0),
            Some(Sandbox::None) => Ok(Self::None),
            Some(Sandbox::Prefix(words)) => Ok(Self::Prefix(words.clone())),
            Some(Sandbox::Bwrap) => match Self::strongest_available(home) {
                (_, Some(reason)) => Err(format!("`sandbox = \"bwrap\"`: {reason}")),
                (bwrap, None) => Ok(bwrap),
            },
        }
    }

    /// The strongest this machine has, and why it is no stronger. Starts bubblewrap once, since containers often
    /// have the program and forbid what it does.
    pub fn strongest_available(home: &Path) -> (Self, Option<String>) {
        let bwrap = Bwrap::for_home(home);
        match bwrap.try_out() {
            Ok(()) => (Self::Bwrap(bwrap), None),
            Err(reason) => (Self::None, Some(reason)),
        }
    }

    /// Whether git's data is replaced by private copies, so that [`crate::worktree::Worktree::enclose`] must go
    /// before and the hooks need not be told to every git.
    pub fn encloses(&self) -> bool {
        matches!(self, Self::Bwrap(_))
    }

    /// The command line to put before another, which runs in the worktree then. `own` are further folders that it
    /// may write. Empty for no confinement.
    pub fn prefix(&self, place: &Place, own: &[&Path]) -> Vec<OsString> {
        match self {
            Self::None => vec![],
            Self::Bwrap(bwrap) => bwrap.prefix(place, own),
            Self::Prefix(words) => words.iter().map(OsString::from).collect(),
        }
    }

    /// A command line behind its confinement.
    pub fn wrap(&self, argv: Vec<OsString>, place: &Place, own: &[&Path]) -> Vec<OsString> {
        self.prefix(place, own).into_iter().chain(argv).collect()
    }
}

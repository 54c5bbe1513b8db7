//! Confines an agent to its worktree: the agent's command line is put behind one that limits it.
//!
//! With bubblewrap the whole filesystem is read-only except for the story's own parts; instead of git's object store, the
//! story's refs and git's data about the worktree the agent sees private copies. `docs/design.md` lists the actions that
//! each protection denies, and those that it only detects.

mod bwrap;
mod claude_home;
mod egress;
mod host_gate;
pub mod hosts;
mod inside;
mod network;
mod paths;
mod registries;

use std::{ffi::OsString, path::Path};

pub use self::{
    bwrap::{Bwrap, NetworkReach},
    egress::EgressProxy,
    host_gate::{HostDecision, HostGate, HostTarget},
    hosts::{AllowedHost, AllowedReach, NetworkAccess, allowed, is_public},
    inside::{SUBCOMMAND, enter},
    network::{NetworkPlan, OpenHosts},
    paths::{STORE, WorktreePaths},
    registries::registries_of,
};

/// `sandbox` in `project.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SandboxChoice {
    /// Only hooks and comparisons protect the repository.
    None,
    Bwrap,
    /// The CLI's command line is put behind this one, like `podman run ..`.
    Prefix(Vec<String>),
}

/// How agents are confined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Not at all: hooks refuse, and comparisons detect.
    None,
    Bwrap(Bwrap),
    /// By the operator's command, e.g. `["runsc", "do"]`, which takes the agent's as its arguments. Git's data
    /// is not replaced, as without a sandbox.
    Prefix(Vec<String>),
}

/// A confinement and the worktree to which it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confined {
    pub confinement: Confinement,
    pub place: WorktreePaths,
}

impl Confinement {
    /// The confinement that an agent's `sandbox` names; if it is absent, the strongest that this machine has.
    ///
    /// # Errors
    /// A sentence, if bubblewrap was asked for and does not work: nothing weaker replaces it.
    pub fn chosen(sandbox: Option<&SandboxChoice>, home: &Path) -> Result<Self, String> {
        match sandbox {
            None => Ok(Self::strongest_available(home).0),
            Some(SandboxChoice::None) => Ok(Self::None),
            Some(SandboxChoice::Prefix(words)) => Ok(Self::Prefix(words.clone())),
            Some(SandboxChoice::Bwrap) => match Self::strongest_available(home) {
                (_, Some(reason)) => Err(format!("`sandbox = \"bwrap\"`: {reason}")),
                (bwrap, None) => Ok(bwrap),
            },
        }
    }

    /// The strongest this machine has, and why it is no stronger. Starts bubblewrap once. Blocks.
    pub fn strongest_available(home: &Path) -> (Self, Option<String>) {
        let bwrap = Bwrap::for_home(home);
        match bwrap.try_out() {
            Ok(()) => (Self::Bwrap(bwrap), None),
            Err(reason) => (Self::None, Some(reason)),
        }
    }

    /// Whether git's data is replaced by private copies. Then `Worktree::enclose` of the pipeline must run before, and the
    /// hooks need no configuration.
    pub fn encloses(&self) -> bool {
        matches!(self, Self::Bwrap(_))
    }

    /// The command line to put before another one, which then runs in the worktree. `own` are further folders that it may write.
    /// Empty without a confinement.
    pub fn prefix(&self, place: &WorktreePaths, own: &[&Path]) -> Vec<OsString> {
        match self {
            Self::None => vec![],
            Self::Bwrap(bwrap) => bwrap.prefix(place, own),
            Self::Prefix(words) => words.iter().map(OsString::from).collect(),
        }
    }

    /// A command line behind its confinement.
    pub fn wrap(&self, argv: Vec<OsString>, place: &WorktreePaths, own: &[&Path]) -> Vec<OsString> {
        self.prefix(place, own).into_iter().chain(argv).collect()
    }
}

//! Confines an agent to its worktree: the agent's command line is put behind one that limits it.
//!
//! With bubblewrap the whole filesystem is read-only except for the story's own parts; instead of git's object store, the
//! story's refs and git's data about the worktree the agent sees private copies. `docs/design.md` lists the actions that
//! each protection denies, and those that it only detects.

mod bwrap;
mod claude_home;
mod egress;
pub mod hosts;
mod inside;
mod paths;

use std::{ffi::OsString, net::SocketAddr, path::Path, sync::Arc};

pub use self::{
    bwrap::{Bwrap, NetworkReach},
    egress::{EgressProxy, EgressRules},
    hosts::{AllowedHost, AllowedReach, NetworkAccess, allowed, is_public},
    inside::{SUBCOMMAND, enter},
    paths::{STORE, WorktreePaths},
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

/// Addresses that an agent needs, whatever its `network` lists.
#[derive(Clone, Debug)]
pub struct RequiredAccess {
    pub api: AllowedHost,
    /// Storkit's listener, for the agents' tools.
    pub own: Option<SocketAddr>,
}

impl Confined {
    /// The same, with the network limited to `network`, which is set at `key` in `project.toml`. The proxy has to live as long
    /// as the sandbox. Blocks; needs a tokio runtime.
    ///
    /// # Errors
    /// A sentence, if the limit cannot be enforced.
    pub fn limited(
        &self,
        network: &NetworkAccess,
        key: &str,
        needs: Option<RequiredAccess>,
    ) -> Result<(Self, Option<Arc<EgressProxy>>), String> {
        self.confinement.can_limit(network, key)?;
        let (NetworkAccess::Only(hosts), Confinement::Bwrap(bwrap)) = (network, &self.confinement) else {
            return Ok((self.clone(), None));
        };
        let own = needs.as_ref().and_then(|needs| needs.own);
        let hosts: Vec<AllowedHost> = hosts.iter().cloned().chain(needs.map(|needs| needs.api)).collect();
        // Without hosts there is nothing to forward, and no proxy that could be misused.
        let egress = match hosts.is_empty() {
            true => None,
            false => {
                let rules = EgressRules { hosts, key: key.to_owned(), own };
                let opened = EgressProxy::open(rules, &self.place.root.join(".storkit/run"));
                Some(Arc::new(opened.map_err(|error| format!("{key} cannot be enforced: {error}."))?))
            }
        };
        let reach = egress.as_ref().map_or(NetworkReach::Nothing, |egress| egress.reach());
        let confinement = Confinement::Bwrap(Bwrap { reach, ..bwrap.clone() });
        Ok((Self { confinement, place: self.place.clone() }, egress))
    }
}

impl Confinement {
    /// Checks that it can enforce `network`, which is set at `key` in `project.toml`. Blocks.
    ///
    /// # Errors
    /// A sentence on the missing part: nothing starts with more access than configured.
    pub fn can_limit(&self, network: &NetworkAccess, key: &str) -> Result<(), String> {
        let why = match self {
            _ if !network.is_limited() => return Ok(()),
            Self::Bwrap(bwrap) => Bwrap { reach: NetworkReach::Nothing, ..bwrap.clone() }.try_out().err(),
            // The sentence depends on the machine: install bubblewrap, or use the one that is there.
            Self::None | Self::Prefix(_) => Bwrap::for_home(Path::new("/"))
                .try_out()
                .err()
                .or_else(|| Some("that needs bubblewrap, which `sandbox` turns off.".into())),
        };
        why.map_or(Ok(()), |why| {
            Err(format!(
                "{key} in `.storkit/project.toml` cannot be enforced: {why} Fix that, or set it to `true`."
            ))
        })
    }

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

//! What keeps an agent inside its worktree: a command that the agent's own is put behind.
//!
//! With bubblewrap the whole filesystem is read-only but for the story's own parts; in the places of git's object
//! store, the story's refs and git's notes of the worktree the agent sees private copies. See
//! `docs/design.md` for what each protection denies and what it only notices.

mod bwrap;
mod claude_home;
mod egress;
pub mod hosts;
mod inside;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use self::{
    bwrap::{Bwrap, NetworkReach},
    egress::{EgressProxy, EgressRules},
    hosts::{AllowedHost, AllowedReach, NetworkAccess, allowed, is_public},
    inside::enter,
};

/// The program's subcommand that comes to [`enter`], for storkit itself to call.
pub const SUBCOMMAND: &str = "sandbox-net";

/// Where a confined agent sees the repository's true objects, relative to the project; outside there is nothing.
pub const STORE: &str = ".storkit/objects";

/// What an agent runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SandboxChoice {
    /// Nothing: hooks and comparisons stand alone.
    None,
    /// Bubblewrap.
    Bwrap,
    /// A command that the CLI's own is put behind, like `podman run ..`.
    Prefix(Vec<String>),
}

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
pub struct WorktreePaths {
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
    pub place: WorktreePaths,
}

/// What an agent reaches, whatever its `network` says.
#[derive(Clone, Debug)]
pub struct RequiredAccess {
    /// The model's service.
    pub api: AllowedHost,
    /// Storkit's listener, for the agents' tools.
    pub own: Option<SocketAddr>,
}

impl Confined {
    /// This one with no more of the network than `network` says, which stands at `key` in `project.toml`; and what
    /// has to live as long as what runs in it. Blocks, and is to be called in a tokio runtime.
    ///
    /// # Errors
    /// A sentence, where that cannot be kept.
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
        let egress = match hosts.is_empty() {
            true => None,
            false => {
                let rules = EgressRules { hosts, key: key.to_owned(), own };
                let opened = EgressProxy::open(rules, &self.place.root.join(".storkit/run"));
                Some(Arc::new(opened.map_err(|error| format!("{key} cannot be kept: {error}."))?))
            }
        };
        let reach = egress.as_ref().map_or(NetworkReach::Nothing, |egress| egress.reach());
        let confinement = Confinement::Bwrap(Bwrap { reach, ..bwrap.clone() });
        Ok((Self { confinement, place: self.place.clone() }, egress))
    }
}

impl Confinement {
    /// Whether it can keep something to `network`, which stands at `key` in `project.toml`. Blocks.
    ///
    /// # Errors
    /// A sentence on what is missing: nothing is started with more than was said.
    pub fn can_limit(&self, network: &NetworkAccess, key: &str) -> Result<(), String> {
        let why = match self {
            _ if !network.is_limited() => return Ok(()),
            Self::Bwrap(bwrap) => Bwrap { reach: NetworkReach::Nothing, ..bwrap.clone() }.try_out().err(),
            Self::None | Self::Prefix(_) => Bwrap::for_home(Path::new("/")).try_out().err().or_else(|| {
                Some("without bubblewrap, which `sandbox` has chosen against, nothing can.".into())
            }),
        };
        why.map_or(Ok(()), |why| {
            Err(format!(
                "{key} in `.storkit/project.toml` cannot be kept: {why} Mend that, or write `true` there."
            ))
        })
    }

    /// What `sandbox` of an agent asks for; without a word the strongest that this machine has.
    ///
    /// # Errors
    /// A sentence where bubblewrap was asked for and does not work: nothing weaker is taken in its place.
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

    /// The strongest this machine has, and why it is no stronger. Starts bubblewrap once, since containers often
    /// have the program and forbid what it does.
    pub fn strongest_available(home: &Path) -> (Self, Option<String>) {
        let bwrap = Bwrap::for_home(home);
        match bwrap.try_out() {
            Ok(()) => (Self::Bwrap(bwrap), None),
            Err(reason) => (Self::None, Some(reason)),
        }
    }

    /// Whether git's data is replaced by private copies, so that `Worktree::enclose` of the pipeline must go
    /// before and the hooks need not be told to every git.
    pub fn encloses(&self) -> bool {
        matches!(self, Self::Bwrap(_))
    }

    /// The command line to put before another, which runs in the worktree then. `own` are further folders that it
    /// may write. Empty for no confinement.
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

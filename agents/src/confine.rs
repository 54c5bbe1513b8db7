//! The wall around everything that an agent touches: its own process, gates, and components' commands go through [`Confined::command`].
//!
//! A `View` lists what exists inside: system folders and toolchains, the worktree with private copies of git's data, an empty home.
//! `docs/security.md` lists the attacks that this stops, with their tests.

mod bwrap;
mod caches;
mod claude_home;
mod egress;
pub mod environment;
mod host_gate;
pub mod hosts;
mod inside;
mod network;
mod paths;
mod registries;
mod scratch;
mod seccomp;
mod session;
mod settings;
mod step;
mod system;
mod toolchains;
mod view;

use std::{ffi::OsString, io, path::Path};

pub use self::{
    bwrap::{Bwrap, NetworkReach},
    egress::EgressProxy,
    host_gate::{HostDecision, HostGate, HostTarget},
    hosts::{AllowedHost, AllowedReach, NetworkAccess, allowed, is_public},
    network::{NetworkPlan, OpenHosts},
    paths::{STORE, WorktreePaths},
    registries::registries_of,
    scratch::{SCRATCH, ScratchFolders},
    session::in_own_session,
    settings::{ConfineChoice, WallSettings},
    step::{OwnProgram, enter},
    view::{HostFolders, Tenant},
};

/// How agents are confined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Not at all, because the operator says so: hooks refuse, and comparisons detect.
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
    /// `[wall] variables` of `bot.toml`.
    pub variables: Vec<String>,
}

/// A command line behind its wall.
#[derive(Debug)]
pub struct WalledCommand {
    pub argv: Vec<OsString>,
    /// What the process holds private. To be kept until it is over.
    pub scratch: Option<ScratchFolders>,
}

impl Confined {
    /// A command line behind the wall, for one process. Makes the private folders of that process. Blocks.
    ///
    /// # Errors
    /// If a private folder cannot be made: nothing is started without its wall.
    pub fn command(&self, argv: Vec<OsString>, tenant: Tenant<'_>) -> io::Result<WalledCommand> {
        let (prefix, scratch) = match &self.confinement {
            Confinement::None => (Vec::new(), None),
            Confinement::Prefix(words) => (words.iter().map(OsString::from).collect(), None),
            Confinement::Bwrap(bwrap) => {
                let scratch = ScratchFolders::make(&self.place)?;
                (bwrap.prefix(&self.place, &scratch, tenant)?, Some(scratch))
            }
        };
        Ok(WalledCommand { argv: prefix.into_iter().chain(argv).collect(), scratch })
    }
}

impl Confinement {
    /// The confinement that the operator chose; without a choice, the strongest that this machine has. Starts bubblewrap once. Blocks.
    ///
    /// # Errors
    /// A sentence, if the wall cannot be built: nothing weaker replaces it, and nothing runs without one.
    pub fn chosen(wall: &WallSettings, host: HostFolders) -> Result<Self, String> {
        let (visible, writable) = (wall.visible.clone(), wall.writable.clone());
        let bwrap = Bwrap::for_host(HostFolders { visible, writable, ..host });
        match &wall.confine {
            ConfineChoice::None => Ok(Self::None),
            ConfineChoice::Prefix(words) => Ok(Self::Prefix(words.clone())),
            ConfineChoice::Bwrap => match bwrap.try_out() {
                Ok(()) => Ok(Self::Bwrap(bwrap)),
                Err(why) => Err(format!("`confine = \"bwrap\"` in `.storkit/bot.toml`: {why}")),
            },
            ConfineChoice::Strongest => match bwrap.try_out() {
                Ok(()) => Ok(Self::Bwrap(bwrap)),
                Err(why) => Err(format!(
                    "There is no wall for agents and gates, so none of them starts: {why} To run them without a wall, set \
                     `confine = \"none\"` below `[wall]` in `.storkit/bot.toml`."
                )),
            },
        }
    }

    /// What it is called in reports.
    pub fn name(&self) -> String {
        match self {
            Self::None => "no wall".into(),
            Self::Bwrap(_) => "bubblewrap".into(),
            Self::Prefix(words) => format!("`{}`", words.first().map_or("", String::as_str)),
        }
    }

    /// `HOME` inside, where it is a private one.
    pub fn home(&self) -> Option<&Path> {
        match self {
            Self::None | Self::Prefix(_) => None,
            Self::Bwrap(bwrap) => Some(bwrap.host.inner_home()),
        }
    }

    /// Whether git's data is replaced by private copies. Then `Worktree::enclose` of the pipeline must run before, and the
    /// hooks need no configuration.
    pub fn encloses(&self) -> bool {
        matches!(self, Self::Bwrap(_))
    }
}

//! The wall around everything that an agent touches: its own process, gates, and components' commands go through [`Confined::command`].
//!
//! A `View` lists what exists inside: system folders and toolchains, the worktree with private copies of git's data, an empty home.
//! `docs/security.md` lists the attacks that this stops, with their tests.

mod bwrap;
mod caches;
mod claude_home;
mod egress;
pub mod environment;
mod etc;
mod file_passing;
mod host_folders;
mod host_gate;
pub mod hosts;
mod inside;
mod keeper;
mod kernel;
mod landlock_wall;
mod layers;
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
mod watch;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use self::layers::LayeredPrefix;
pub use self::{
    bwrap::{Bwrap, NetworkReach},
    egress::EgressProxy,
    host_folders::HostFolders,
    host_gate::{HostDecision, HostGate, HostTarget},
    hosts::{AllowedHost, AllowedReach, NetworkAccess, allowed, is_public},
    kernel::{KernelMeans, ProcessLimits},
    landlock_wall::{LandlockWall, LoopbackProxy, PortReach},
    layers::{LAYER_BYTES, LayerFiles, LayeredFolder, ShownKind},
    network::{NetworkPlan, OpenHosts},
    paths::{LFS, STORE, WorktreePaths, evidence_folder},
    registries::registries_of,
    scratch::{SCRATCH, ScratchFolders},
    session::in_own_session,
    settings::{ConfineChoice, WallSettings},
    step::{OwnProgram, enter},
    view::Tenant,
    watch::{CallKind, CallListener, NamedPath, SeenCall},
};

/// How agents are confined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Not at all, because the operator says so: hooks refuse, and comparisons detect.
    None,
    Bwrap(Bwrap),
    /// By rules of the kernel, in the machine's own namespaces.
    Landlock(LandlockWall),
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
    /// Variables that it needs there; they replace others of the same name.
    pub environment: Vec<(OsString, OsString)>,
    /// The process's private folders. The caller holds it until the process has ended.
    pub scratch: Option<ScratchFolders>,
}

impl Confined {
    /// A command line behind the wall, for one process. Makes the private folders of that process. Blocks.
    ///
    /// # Errors
    /// If a private folder cannot be made: nothing is started without its wall.
    pub fn command(&self, argv: Vec<OsString>, tenant: Tenant<'_>) -> io::Result<WalledCommand> {
        let after = |prefix: Vec<OsString>| prefix.into_iter().chain(argv.iter().cloned()).collect();
        Ok(match &self.confinement {
            Confinement::None => WalledCommand::plain(argv),
            Confinement::Prefix(words) => {
                WalledCommand::plain(after(words.iter().map(OsString::from).collect()))
            }
            Confinement::Bwrap(bwrap) => {
                let scratch = ScratchFolders::make(&self.place)?;
                let prefix = bwrap.prefix(&self.place, &scratch, tenant)?;
                let environment = vec![("HOME".into(), bwrap.host.inner_home().into())];
                WalledCommand { argv: after(prefix), environment, scratch: Some(scratch) }
            }
            Confinement::Landlock(landlock) => {
                let scratch = ScratchFolders::make(&self.place)?;
                let (prefix, environment) = landlock.prefix(&self.place, &scratch, tenant)?;
                WalledCommand { argv: after(prefix), environment, scratch: Some(scratch) }
            }
        })
    }
}

/// Why files cannot be layered behind this wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLayers {
    /// There is no wall.
    NoWall,
    /// The wall is not bubblewrap.
    OtherWall,
}

/// A command line behind a wall in which every writable folder is a layer over the true one.
#[derive(Debug)]
pub struct LayeredCommand {
    pub command: WalledCommand,
    pub folders: Vec<LayeredFolder>,
    /// The mounts inside, by path. These places may be made in a layer.
    pub shown: BTreeMap<PathBuf, ShownKind>,
}

impl Confined {
    /// Whether files can be layered behind this wall.
    ///
    /// # Errors
    /// Why not. A missing feature of the kernel shows only once a process starts.
    pub fn can_layer(&self) -> Result<&Bwrap, NoLayers> {
        match &self.confinement {
            Confinement::Bwrap(bwrap) if bwrap.own.is_some() => Ok(bwrap),
            Confinement::None => Err(NoLayers::NoWall),
            Confinement::Bwrap(_) | Confinement::Landlock(_) | Confinement::Prefix(_) => {
                Err(NoLayers::OtherWall)
            }
        }
    }

    /// A command line that starts in the worktree's folder, reaches no network but `reach`, and changes nothing outside of its layers. It
    /// hands these over by its standard input, a socket ([`LayerFiles::receive`]). The files in `hidden` are empty inside. Blocks.
    ///
    /// # Errors
    /// If the private folders cannot be made, or files cannot be layered behind this wall.
    pub fn layered(
        &self,
        argv: Vec<OsString>,
        reach: NetworkReach,
        hidden: &[PathBuf],
    ) -> io::Result<LayeredCommand> {
        let bwrap = self.can_layer().map_err(|_| io::Error::other("this wall cannot layer files"))?;
        let bwrap = Bwrap { reach, ..bwrap.clone() };
        let scratch = ScratchFolders::make(&self.place)?;
        let LayeredPrefix { words, folders, shown } = bwrap.layered_prefix(&self.place, &scratch, hidden)?;
        let environment = vec![("HOME".into(), bwrap.host.inner_home().into())];
        let argv = words.into_iter().chain(argv).collect();
        let command = WalledCommand { argv, environment, scratch: Some(scratch) };
        Ok(LayeredCommand { command, folders, shown })
    }
}

impl WalledCommand {
    pub fn plain(argv: Vec<OsString>) -> Self {
        Self { argv, environment: Vec::new(), scratch: None }
    }
}

impl Confinement {
    /// Whether a part of a writable folder can be read-only inside, as `.git` must be in the main checkout.
    pub fn protects_parts(&self) -> bool {
        matches!(self, Self::None | Self::Bwrap(_) | Self::Prefix(_))
    }

    /// The confinement that the operator chose; without a choice, the strongest that this machine has. Starts bubblewrap once. Blocks.
    ///
    /// # Errors
    /// A sentence, if the wall cannot be built: nothing weaker replaces it, and nothing runs without one.
    pub fn chosen(wall: &WallSettings, host: HostFolders) -> Result<Self, String> {
        let (visible, writable) = (wall.visible.clone(), wall.writable.clone());
        let host = HostFolders { visible, writable, ..host };
        let landlock = || match LandlockWall::for_host(host.clone()) {
            Some(wall) => wall.try_out().map(|()| Self::Landlock(wall)),
            None => Err("Landlock is not available to this program.".to_owned()),
        };
        let bwrap = Bwrap::for_host(host.clone());
        match &wall.confine {
            ConfineChoice::None => Ok(Self::None),
            ConfineChoice::Prefix(words) => Ok(Self::Prefix(words.clone())),
            ConfineChoice::Bwrap => match bwrap.try_out() {
                Ok(()) => Ok(Self::Bwrap(bwrap)),
                Err(why) => Err(format!("`confine = \"bwrap\"` in `.storkit/bot.toml`: {why}")),
            },
            ConfineChoice::Landlock => {
                landlock().map_err(|why| format!("`confine = \"landlock\"` in `.storkit/bot.toml`: {why}"))
            }
            ConfineChoice::Strongest => {
                let Err(why) = bwrap.try_out() else { return Ok(Self::Bwrap(bwrap)) };
                landlock().map_err(|also| {
                    format!(
                        "There is no wall for agents and gates, so none of them starts: {why} {also} To run them without a wall, \
                         set `confine = \"none\"` below `[wall]` in `.storkit/bot.toml`."
                    )
                })
            }
        }
    }

    /// The name in reports.
    pub fn name(&self) -> String {
        match self {
            Self::None => "no wall".into(),
            Self::Bwrap(_) => "bubblewrap".into(),
            Self::Landlock(_) => "Landlock".into(),
            Self::Prefix(words) => format!("`{}`", words.first().map_or("", String::as_str)),
        }
    }

    /// Where a process finds git's data about its worktree: at its own place, unless nothing can be shown there.
    pub fn admin<'a>(&self, place: &'a WorktreePaths) -> std::borrow::Cow<'a, Path> {
        match self {
            Self::Landlock(_) => place.private.join("admin").into(),
            Self::None | Self::Bwrap(_) | Self::Prefix(_) => place.admin.as_path().into(),
        }
    }

    /// The same without the operator's additions to the view.
    pub fn without_additions(&self) -> Self {
        let bare =
            |host: &HostFolders| HostFolders { visible: Vec::new(), writable: Vec::new(), ..host.clone() };
        match self {
            Self::None | Self::Prefix(_) => self.clone(),
            Self::Bwrap(bwrap) => Self::Bwrap(Bwrap { host: bare(&bwrap.host), ..bwrap.clone() }),
            Self::Landlock(wall) => Self::Landlock(LandlockWall { host: bare(&wall.host), ..wall.clone() }),
        }
    }

    /// The same, with these files and folders in the view, read-only.
    pub fn showing(&self, paths: &[PathBuf]) -> Self {
        let more = |host: &HostFolders| {
            let visible = host.visible.iter().chain(paths).cloned().collect();
            HostFolders { visible, ..host.clone() }
        };
        match self {
            Self::None | Self::Prefix(_) => self.clone(),
            Self::Bwrap(bwrap) => Self::Bwrap(Bwrap { host: more(&bwrap.host), ..bwrap.clone() }),
            Self::Landlock(wall) => Self::Landlock(LandlockWall { host: more(&wall.host), ..wall.clone() }),
        }
    }

    /// Whether bubblewrap's own processes are between storkit and the command.
    pub fn is_bubblewrap(&self) -> bool {
        matches!(self, Self::Bwrap(_))
    }

    /// Whether git's data is replaced by private copies. Then `Worktree::enclose` of the pipeline must run before, and the
    /// hooks need no configuration.
    pub fn encloses(&self) -> bool {
        matches!(self, Self::Bwrap(_) | Self::Landlock(_))
    }
}

//! Where a room's agent works, and its wall: the room's own worktree, or the main checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use agents::{
    claude::LaunchModel,
    confine::{Confined, EgressProxy, OpenHosts, SCRATCH, WorktreePaths},
};
use git2::Oid;
use tokio_util::sync::CancellationToken;

use super::landings::RoomLandings;
use crate::{
    Pipeline, PipelineError, Project,
    config::ProjectConfig,
    gates::GateRunner,
    git::program::{GitProgram, common_dir},
    host::AgentSettings,
    open_hosts::registries,
    story::StoryId,
    worktree::{
        BranchFate, ComponentPhase, FollowResult, ImportError, RoomName, RoomStanding, SizeLimits, Worktree,
        WorktreeError, Worktrees, remove_tree, run_components, show_settings,
    },
};

/// Who commits in a room's worktree.
const COMMITTER: &str = "room";

/// The branch of a project for checks.
const SCRATCH_BASE: &str = "main";

/// Below the private folder of a worktree whose components are set up, or could not be.
const SET_UP: &str = "set-up";

/// The wall cannot keep parts of the main checkout from the agent.
const UNPROTECTED: &str = "The wall on this machine cannot protect `.git` and `.storkit` in the main checkout. Set `[relay] workspace = \"worktree\"` in \
     bot.toml, or install bubblewrap.";

/// A worktree without changes in which nobody has worked for so long is removed; the next prompt makes it again.
const IDLE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where a room's agent works, and what its process is to be started with.
#[derive(Clone, Debug)]
pub struct RoomWorkspace {
    pub folder: PathBuf,
    /// The room's branch; `None` in the main checkout.
    pub branch: Option<String>,
    pub env: Vec<(String, String)>,
    pub confined: Confined,
    /// The way out of the wall, if it has one. It is open as long as this value lives.
    pub egress: Option<Arc<EgressProxy>>,
    pub model: LaunchModel,
}

/// The state that a room finds when it is about to work.
#[derive(Clone, Debug)]
pub enum RoomReadiness {
    /// Ready for a new process.
    Ready {
        workspace: Box<RoomWorkspace>,
        /// Its own changes, where it has some.
        own: Option<RoomStanding>,
        /// Notices for the person, as sentences.
        notes: Vec<String>,
    },
    /// The living process goes on where it is.
    Unchanged { own: Option<RoomStanding> },
    /// The living process has to end first: base has moved, or the worktree is gone.
    Stale,
    /// There is no branch to make a worktree from, for this reason.
    NoBase(String),
}

/// A room's worktree as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomStatus {
    pub folder: PathBuf,
    pub branch: String,
    pub base: String,
    pub standing: RoomStanding,
    /// Stories that it landed and that are not merged yet.
    pub landed: Vec<StoryId>,
}

/// A room that is about to work.
#[derive(Clone, Debug)]
pub(crate) struct EnterRequest {
    pub name: RoomName,
    /// Whether a process of the room lives there.
    pub living: bool,
}

/// The parts that all rooms share.
#[derive(Clone)]
pub(crate) struct RoomSetting {
    pub project: Project,
    pub worktrees: Worktrees,
    pub settings: Arc<AgentSettings>,
    pub config: Arc<ProjectConfig>,
    pub base: String,
}

/// Makes the room's worktree ready. `merged` is the commit up to which base has the room's changes. Cancelling ends the setup of
/// components.
///
/// # Errors
/// A sentence that says why the room cannot work.
pub(crate) async fn enter(
    room: RoomSetting,
    request: EnterRequest,
    merged: Option<Oid>,
    cancel: &CancellationToken,
) -> Result<(RoomReadiness, bool), String> {
    let setting = room.clone();
    let entered = blocking(move || ready(&setting, &request, merged)).await??;
    let (worktree, mut entry, moved) = match entered {
        Entered::Living(entry) => return Ok((entry, false)),
        Entered::Ready { worktree, entry, moved } => (worktree, entry, moved),
    };
    if let RoomReadiness::Ready { workspace, notes, .. } = &mut entry
        && let Err(why) = set_up(&room, &worktree, &workspace.confined, cancel).await
    {
        notes.push(why);
    }
    Ok((entry, moved))
}

enum Entered {
    Living(RoomReadiness),
    Ready { worktree: Box<Worktree>, entry: RoomReadiness, moved: bool },
}

fn ready(room: &RoomSetting, request: &EnterRequest, merged: Option<Oid>) -> Result<Entered, String> {
    let text = |error: WorktreeError| error.to_string();
    if request.living {
        let Some(worktree) = room.worktrees.find(&request.name, &room.base) else {
            return Ok(Entered::Living(RoomReadiness::Stale));
        };
        worktree.touch().map_err(text)?;
        return match worktree.follow_base(merged, true).map_err(|error| error.to_string())? {
            FollowResult::Due | FollowResult::Moved => Ok(Entered::Living(RoomReadiness::Stale)),
            FollowResult::Own(standing) => {
                Ok(Entered::Living(RoomReadiness::Unchanged { own: Some(standing) }))
            }
            FollowResult::Level | FollowResult::Refused(_) => {
                Ok(Entered::Living(RoomReadiness::Unchanged { own: None }))
            }
        };
    }
    let worktree = room.worktrees.prepare(&request.name, &room.base, COMMITTER).map_err(text)?;
    worktree.touch().map_err(text)?;
    let followed = worktree.follow_base(merged, false).map_err(|error| error.to_string())?;
    let moved = followed == FollowResult::Moved;
    let (own, notes) = match followed {
        FollowResult::Own(standing) => (Some(standing), Vec::new()),
        FollowResult::Refused(why) => (None, vec![why]),
        FollowResult::Level | FollowResult::Moved | FollowResult::Due => (None, Vec::new()),
    };
    let workspace = Box::new(enclose(&worktree, &room.settings)?);
    Ok(Entered::Ready {
        worktree: Box::new(worktree),
        entry: RoomReadiness::Ready { workspace, own, notes },
        moved,
    })
}

/// The wall around a room's worktree.
fn enclose(worktree: &Worktree, settings: &AgentSettings) -> Result<RoomWorkspace, String> {
    let confinement = settings.confinement()?;
    let place = match confinement.encloses() {
        true => worktree.enclose().map_err(|error: ImportError| error.to_string())?,
        false => worktree.place(),
    };
    Ok(RoomWorkspace {
        folder: worktree.path().to_owned(),
        branch: Some(worktree.branch()),
        env: worktree.environment(&confinement),
        confined: settings.confined(confinement, place),
        egress: None,
        model: LaunchModel::default(),
    })
}

/// A workspace with a room's wall in a new project that holds nothing, in this empty folder: for a process that only shows what works
/// there. Blocks.
///
/// # Errors
/// A sentence, if the wall cannot be built.
pub fn scratch_workspace(folder: &Path, settings: &AgentSettings) -> Result<RoomWorkspace, String> {
    let git = GitProgram::at(folder);
    let made = git.run(["init", "-q", "-b", SCRATCH_BASE]).and_then(|_| {
        let identity = ["-c", "user.name=storkit", "-c", "user.email=storkit@localhost"];
        git.run(identity.iter().chain(&["commit", "-q", "--allow-empty", "-m", "nothing"]))
    });
    made.map_err(|error| error.to_string())?;
    let project = Project::open(folder).map_err(|error| error.to_string())?;
    let limits = SizeLimits { free: 0, ..SizeLimits::default() };
    let worktrees = Worktrees::open(&project, limits).map_err(|error| error.to_string())?;
    let worktree = worktrees.prepare(&RoomName::of("scratch"), SCRATCH_BASE, COMMITTER);
    enclose(&worktree.map_err(|error| error.to_string())?, settings)
}

/// The main checkout as a room's workspace: its files can be written, `.git` and `.storkit` cannot. Blocks.
///
/// # Errors
/// A sentence that says why the room cannot work.
fn checkout(project: &Project, settings: &AgentSettings, room: &RoomName) -> Result<RoomWorkspace, String> {
    let root = project.root();
    let common = common_dir(root).map_err(|error| error.to_string())?;
    let private = project.run_dir().join("checkout").join(room.slug());
    // Those of processes that were killed with their storkit.
    remove_tree(&private.join(SCRATCH)).map_err(|error| error.to_string())?;
    fs::create_dir_all(&private)
        .map_err(|error| format!("`{}` cannot be made: {error}.", private.display()))?;
    show_settings(&common, &private).map_err(|error| error.to_string())?;
    let place = WorktreePaths {
        root: root.to_owned(),
        admin: common.clone(),
        common,
        folder: root.to_owned(),
        private,
        hooks: project.dir().join("worktrees/.hooks"),
        ref_folders: Vec::new(),
        is_slot: false,
    };
    let confinement = settings.confinement()?;
    if !confinement.protects_parts() {
        return Err(UNPROTECTED.into());
    }
    let confined = settings.confined(confinement, place);
    let model = LaunchModel::default();
    Ok(RoomWorkspace {
        folder: root.to_owned(),
        branch: None,
        env: Vec::new(),
        confined,
        egress: None,
        model,
    })
}

/// Sets the components up, once for each worktree.
///
/// # Errors
/// A sentence; the room works without them.
async fn set_up(
    room: &RoomSetting,
    worktree: &Worktree,
    confined: &Confined,
    cancel: &CancellationToken,
) -> Result<(), String> {
    let done = worktree.layout().private.join(SET_UP);
    if room.config.components.iter().all(|component| component.setup.is_empty()) || done.exists() {
        return Ok(());
    }
    let components = &room.config.components;
    let phase = ComponentPhase::Setup;
    let (project, base) = (room.project.clone(), room.base.clone());
    let open = blocking(move || OpenHosts { registries: registries(&project, &base), gate: None }).await?;
    let gates = GateRunner { open_hosts: open, ..GateRunner::default() };
    let result =
        run_components(worktree.path(), components, phase, &gates, Some(confined), cancel, |_| ()).await;
    if cancel.is_cancelled() {
        return Ok(());
    }
    // Also after a failure: each prompt would repeat it, and people can have the agent do it.
    let _ = fs::write(done, "");
    result.map_err(|error| format!("This room's worktree is not set up completely: {error}"))
}

/// Names of rooms' worktrees that nobody has used for long. Blocks.
pub(crate) fn idle_rooms(project: &Project) -> Vec<RoomName> {
    let entries = fs::read_dir(project.dir().join("worktrees")).into_iter().flatten().flatten();
    entries.filter_map(|entry| RoomName::parse(entry.file_name().to_str()?)).collect()
}

/// Removes a room's worktree and branch if it has no changes and nobody has used it for long. Returns whether it did. Blocks.
pub(crate) fn remove_idle(
    worktrees: &Worktrees,
    base: &str,
    room: &RoomName,
    now: SystemTime,
) -> Result<bool, ImportError> {
    let Some(worktree) = worktrees.find(room, base) else { return Ok(false) };
    let is_idle = |used: SystemTime| now.duration_since(used).is_ok_and(|age| age > IDLE);
    if !worktree.used().is_some_and(is_idle) || worktree.standing()?.has_changes() {
        return Ok(false);
    }
    worktrees.remove(room, BranchFate::Delete)?;
    Ok(true)
}

impl Pipeline {
    /// The main checkout as the workspace of the room `messenger:id`, for a new process.
    pub async fn checkout_for_room(&self, room: &str) -> Result<RoomWorkspace, PipelineError> {
        let (project, settings) = (self.project().clone(), Arc::clone(&self.settings));
        let room = RoomName::of(room);
        let made = blocking(move || checkout(&project, &settings, &room)).await;
        made.and_then(|made| made).map_err(PipelineError::Refused)
    }

    /// Takes the commits of a room's agent over. Returns why they were not accepted, as a sentence.
    pub async fn settle_room(&self, room: &str) -> Option<String> {
        let (project, base, room) =
            (self.project().clone(), self.snapshot().base.clone(), RoomName::of(room));
        let settle = move || {
            let worktrees = Worktrees::open(&project, SizeLimits::default()).ok()?;
            worktrees.find(&room, &base)?.settle().err().map(|error| error.to_string())
        };
        blocking(settle).await.unwrap_or_else(Some)
    }

    /// The room's worktree and its changes; `None` where it has none.
    pub async fn room(&self, room: &str) -> Result<Option<RoomStatus>, PipelineError> {
        let (project, base, room) =
            (self.project().clone(), self.snapshot().base.clone(), RoomName::of(room));
        let read = move || -> Result<Option<RoomStatus>, ImportError> {
            let worktrees = Worktrees::open(&project, SizeLimits::default())?;
            let Some(worktree) = worktrees.find(&room, &base) else { return Ok(None) };
            let record = RoomLandings::read(&project, &room);
            let landed = record.landed.iter().filter(|landed| !landed.merged).map(|landed| landed.story);
            Ok(Some(RoomStatus {
                folder: worktree.path().to_owned(),
                branch: worktree.branch(),
                base,
                standing: worktree.standing()?,
                landed: landed.collect(),
            }))
        };
        let found = blocking(read).await.map_err(PipelineError::Refused)?;
        found.map_err(|error| PipelineError::Refused(error.to_string()))
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(act).await.map_err(|error| format!("This failed inside storkit: {error}."))
}

//! The start: stops, finishes or takes over the work of an earlier storkit before anything else happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use agents::{
    claude::{self, SessionId},
    confine::Confinement,
};
use tokio::sync::{broadcast, mpsc, watch};

use super::{
    EventSources, Orchestrator, PipelineConfig, TICK,
    commits::Commits,
    holds::Holds,
    housekeeping,
    lane::{WorkLane, blocking},
    memo::{self, Memos, StoryMemo},
    merges::Merges,
    orders,
    parked::ParkedRuns,
    project_settings::{ConfigStamp, SettingsReading, with_consequence},
    publisher::EventPublisher,
    started::StartedStories,
    stories::Stories,
};
use crate::{
    Project,
    board::{self, BoardSource, BoardSync, WorkFolder, watcher},
    branch_review,
    event::{BuiltWall, LandingNews, PipelineEvent, PipelineSnapshot, RunId, WallState},
    guard::OwnCommits,
    handle::{Pipeline, PipelineOrder},
    history::StoryHistory,
    host::{AgentSettings, PipelineHost, command_gates},
    ledger::{RunLedger, RunSummary},
    merge::{JournaledMerge, MergeProof, MergeQueue, MergeRecovery, merges, recover},
    open_hosts::CommandHosts,
    rooms::{self, LandedStory, Landings},
    run::RunContext,
    story::{StoryId, stage::Stage},
    worktree::{SizeLimits, Worktrees},
};

// tokio's broadcast channel drops the oldest events for a subscriber that lags further behind.
const EVENTS: usize = 16_384;

/// How many orders may wait.
const ORDERS: usize = 64;

// Reports of runs wait here while the orchestrator is busy. A run that finds no room waits;
// its process runs on.
const EVENT_BACKLOG: usize = 1_024;

/// Said at each start, so that nobody forgets it.
const NO_WALL: &str = "There is no wall around agents, gates and components' commands: they can do what the operator can. \
     `[wall] confine` in `.storkit/bot.toml` turned it off.";

impl Pipeline {
    /// Starts the pipeline of a project, with the instance lock held and inside a tokio runtime. Returns at once; the
    /// recovery from an earlier storkit runs in the background, and orders wait for it. Fails where the
    /// ledger of runs cannot be used.
    pub fn open(
        project: &Project,
        settings: AgentSettings,
        host: Arc<dyn PipelineHost>,
    ) -> std::io::Result<Self> {
        let (ledger, history) = (RunLedger::open(project)?, StoryHistory::open(project)?);
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (events, _) = broadcast::channel(EVENTS);
        let first = PipelineSnapshot {
            paused: Some("The pipeline is starting.".into()),
            ..PipelineSnapshot::default()
        };
        let (state, snapshot) = watch::channel(Arc::new(first));
        let publisher = EventPublisher::new(events.clone(), state, history.clone());
        let for_rooms = Arc::new(settings.clone());
        let beginning =
            StartupState { project: project.clone(), settings, host, ledger: ledger.clone(), publisher };
        tokio::spawn(async move {
            let (mut beginning, mut inbox) = (Box::new(beginning), inbox);
            loop {
                // An unusable project (no commit yet, no base branch) is tried again every few seconds, so
                // that a person can fix it without restarting the bot.
                match beginning.set_up().await {
                    Ok((orchestrator, sources)) => return orchestrator.serve(inbox, sources).await,
                    Err((why, mut again)) => {
                        again.publisher.broken(&why);
                        if refuse_for_a_while(&mut inbox, &why).await {
                            return;
                        }
                        beginning = again;
                    }
                }
            }
        });
        Ok(Self { project: project.clone(), orders, events, snapshot, ledger, history, settings: for_rooms })
    }
}

/// The parts that exist before the orchestrator.
pub(super) struct StartupState {
    pub project: Project,
    pub settings: AgentSettings,
    pub host: Arc<dyn PipelineHost>,
    pub ledger: RunLedger,
    pub publisher: EventPublisher,
}

/// The state found on disk.
struct FoundOnDisk {
    work: WorkFolder,
    config: PipelineConfig,
    started: StartedStories,
    recovery: MergeRecovery,
    worktrees: Worktrees,
    memos: BTreeMap<StoryId, StoryMemo>,
    unproven: BTreeSet<StoryId>,
    landings: Landings,
    landed: Vec<(String, Result<LandedStory, String>)>,
    /// About the board, for people.
    news: Option<String>,
}

impl StartupState {
    /// Recovers and starts all parts. An error is a sentence: the pipeline cannot work until a
    /// person has fixed that.
    pub async fn set_up(self) -> Result<(Orchestrator, EventSources), (String, Box<Self>)> {
        let Self { project, settings, host, ledger, publisher } = self;
        // First of all: an agent that outlived its storkit could still write the files that are read next.
        end_old_runs(&ledger).await;
        let (place, how) = (project.clone(), settings.clone());
        match blocking(move || read_disk(&place, &how)).await.and_then(|found| found) {
            Ok(found) => {
                let parts = Self { project, settings, host, ledger, publisher };
                parts.join(found)
            }
            Err(why) => Err((why, Box::new(Self { project, settings, host, ledger, publisher }))),
        }
    }

    fn join(mut self, found: FoundOnDisk) -> Result<(Orchestrator, EventSources), (String, Box<Self>)> {
        let FoundOnDisk {
            work,
            config,
            started,
            recovery,
            worktrees,
            memos,
            unproven,
            landings,
            landed,
            news,
        } = found;
        report_recovery(&mut self.publisher, &recovery);
        if let Some(news) = news {
            self.publisher.alarm(None, news);
        }
        let finished: Vec<LandedStory> =
            landed.iter().filter_map(|(_, landed)| landed.as_ref().ok().cloned()).collect();
        report_landings(&mut self.publisher, landed);
        if let Some(why) = &config.trouble {
            self.publisher.alarm(None, why.clone());
        }
        let merging = housekeeping::merge_settings(
            &config.base,
            &config.in_force,
            &self.settings,
            CommandHosts::new(&self.project, &config.base, command_gates(&self.host)),
        );
        let (queue, merged) = match MergeQueue::open(&self.project, merging) {
            Ok(opened) => opened,
            Err(error) => return Err((error.to_string(), Box::new(self))),
        };
        let board = match work.board() {
            Ok(board) => board,
            Err(error) => return Err((error.to_string(), Box::new(self))),
        };
        let Self { project, settings, host, ledger, publisher } = self;
        let (watcher, changes) = watcher::watch(&project, settings.settle);
        let (events, heard) = mpsc::channel(EVENT_BACKLOG);
        let lane = WorkLane::open();
        let parked = ParkedRuns::new(host.all_parked());
        let mut orchestrator = Orchestrator {
            memos: Memos::new(&project, memos, lane.clone()),
            stories: Stories {
                work: Arc::new(work),
                board,
                lane,
                changed_while_landing: false,
                unsettled: Default::default(),
                started,
                commits: Commits::default(),
            },
            merges: Merges::new(queue, WorkLane::open()),
            landings,
            config,
            context: RunContext {
                project,
                settings: Arc::new(settings),
                host,
                own: OwnCommits::default(),
                ledger,
                worktrees,
            },
            holds: Holds::new(unproven),
            parked,
            runs: Default::default(),
            pending: Default::default(),
            publisher,
            events,
            review: None,
            closing: None,
        };
        finished.iter().for_each(|landed| orchestrator.quarantine_landed(landed));
        orchestrator.begin();
        Ok((orchestrator, EventSources { changes, merged, events: heard, _watcher: watcher }))
    }
}

impl Orchestrator {
    fn begin(&mut self) {
        // A person has started the stories that a room landed, also if storkit ended before it recorded that.
        for story in self.landings.stories() {
            if let Some(story) = self.story(story) {
                self.mark_started(&story);
                self.release_landed(story.id());
            }
        }
        self.tell_quarantined();
        self.reap();
        self.stories.commits.want();
        self.commit_if_due();
        match self.config.wall.clone() {
            WallState::Built(wall) => {
                if let Some(gap) = wall.network_gap {
                    self.publisher.alarm(None, gap);
                }
            }
            WallState::TurnedOff => self.publisher.alarm(None, NO_WALL.to_owned()),
            WallState::Missing(why) => self.publisher.alarm(None, why),
        }
        for problem in self.stories.board.problems.clone() {
            self.publisher.emit(PipelineEvent::ProblemFound { problem: problem.to_string() });
        }
    }
}

/// Answers orders with the error until it is time to try again. Returns whether storkit shuts down.
async fn refuse_for_a_while(inbox: &mut mpsc::Receiver<PipelineOrder>, why: &str) -> bool {
    let again = tokio::time::sleep(TICK);
    tokio::pin!(again);
    loop {
        tokio::select! {
            () = &mut again => return false,
            order = inbox.recv() => match order {
                Some(order) => {
                    if orders::refuse(order, why) {
                        return true;
                    }
                }
                None => return true,
            },
        }
    }
}

// Processes of runs that were killed with their storkit.
async fn end_old_runs(ledger: &RunLedger) {
    let open = ledger.open_runs();
    let sessions: Vec<SessionId> =
        open.iter().filter_map(|run| run.session.as_deref()).map(SessionId::new).collect();
    let ended = claude::sweep_orphans(&sessions).await;
    if ended > 0 {
        tracing::warn!(ended, "processes of agents that an earlier storkit left were ended");
    }
    for run in open {
        let id = RunId(run.run.as_str().into());
        let summary = RunSummary { outcome: "storkit ended before it did".into(), ..RunSummary::default() };
        ledger.ended(&id, run.usd, run.tokens, summary);
    }
}

fn read_disk(project: &Project, settings: &AgentSettings) -> Result<FoundOnDisk, String> {
    let config = read_config(project, settings)?;
    // Before the stories are read: an interrupted merge may have moved base, but not yet the story's file.
    let recovery = recover(project).map_err(|error| error.to_string())?;
    let source = board::open_board(project, &config.base).map_err(|error| error.to_string())?;
    let work = WorkFolder::open(project).map_err(|error| error.to_string())?;
    let synced = board::sync(project, &config.base).map_err(|error| error.to_string())?;
    // What a review left that an earlier storkit was killed with.
    if let Err(error) = branch_review::folder::remove(project) {
        tracing::warn!(%error, "the worktree of a review cannot be removed");
    }
    let worktrees = Worktrees::open(project, SizeLimits::default()).map_err(|error| error.to_string())?;
    // Before the board is read, which then has the stories.
    let landed = rooms::recover(&work, project);
    let landed =
        landed.into_iter().map(|(room, done)| (room, done.map_err(|error| error.to_string()))).collect();
    let board = work.scan().map_err(|error| error.to_string())?;
    let landings =
        Landings::read(project, |story| matches!(MergeProof::read(project.root(), story), Ok(Some(_))));
    let unproven = unproven(project, &config.base, &board);
    let memos = memo::read(project);
    let started = StartedStories::open(project, &settings.trust, (&config.base, &board))
        .map_err(|error| error.to_string())?;
    let news = board_news(&source, synced);
    Ok(FoundOnDisk { work, config, started, recovery, worktrees, memos, unproven, landings, landed, news })
}

/// What people should know of the board at a start.
fn board_news(source: &BoardSource, synced: BoardSync) -> Option<String> {
    match (source, synced) {
        (BoardSource::Remote(remote), _) => {
            Some(format!("The board is that of `{remote}/{}`.", board::BOARD_BRANCH))
        }
        (_, BoardSync::Restored(restored)) => Some(restored.to_string()),
        (BoardSource::Branch | BoardSource::None, BoardSync::Settled | BoardSync::Unsettled(_)) => None,
    }
}

fn read_config(project: &Project, settings: &AgentSettings) -> Result<PipelineConfig, String> {
    let reading = SettingsReading::read(project, settings);
    // Found once per start: runs and merges under way refer to it.
    let base = reading.base?;
    let is_known = reading.in_force.is_some();
    let wall = match settings.confinement() {
        Ok(Confinement::None) => WallState::TurnedOff,
        Ok(built) => WallState::Built(BuiltWall {
            name: built.name(),
            protects_checkout: built.protects_parts(),
            network_gap: built.network_gap(),
        }),
        Err(why) => WallState::Missing(why),
    };
    Ok(PipelineConfig {
        stamp: ConfigStamp::read(project, &base, settings),
        trouble: reading.trouble.map(|why| with_consequence(&why, is_known)),
        // The board works without settings; `is_known` prevents that anything starts.
        in_force: Arc::new(reading.in_force.unwrap_or_default()),
        edited: reading.edited,
        is_known,
        base,
        wall,
    })
}

/// Done stories without a proof and without a merge on base. A clone has other people's merges, an
/// older project its own.
fn unproven(project: &Project, base: &str, board: &crate::board::Board) -> BTreeSet<StoryId> {
    let done = board.in_stage(Stage::Done).map(|story| story.id());
    let mut unproven: BTreeSet<StoryId> =
        done.filter(|id| !matches!(MergeProof::read(project.root(), *id), Ok(Some(_)))).collect();
    // Walking all of base is only worth it where a proof is missing.
    if !unproven.is_empty() {
        let merged = merged_on(project, base);
        unproven.retain(|id| !merged.contains(id));
    }
    unproven
}

/// The stories that commits of base say they merged. Blocks: some 10 us a commit.
pub(super) fn merged_on(project: &Project, base: &str) -> BTreeSet<StoryId> {
    let found = git2::Repository::open(project.root()).and_then(|repository| merges(&repository, base));
    match found {
        Ok(found) => found.into_iter().map(|merge| merge.story).collect(),
        Err(error) => {
            tracing::warn!(%error, "the merges on base cannot be read");
            BTreeSet::new()
        }
    }
}

/// Landings that an earlier storkit began.
fn report_landings(publisher: &mut EventPublisher, landed: Vec<(String, Result<LandedStory, String>)>) {
    for (room, landed) in landed {
        match landed {
            Ok(LandedStory { story, .. }) => {
                let (id, title) = (story.id(), story.front.name);
                publisher.emit(PipelineEvent::Landing { story: id, title, room, news: LandingNews::Begun });
            }
            Err(why) => {
                let text = format!(
                    "A room's changes were being landed when storkit ended, and still are not: {why}"
                );
                publisher.alarm(None, text);
            }
        }
    }
}

fn report_recovery(publisher: &mut EventPublisher, recovery: &MergeRecovery) {
    match &recovery.journal {
        None => {}
        Some(JournaledMerge::Finished(proof) | JournaledMerge::RolledForward(proof)) => {
            tracing::info!(story = %proof.story, commit = proof.commit, "an interrupted merge is finished");
        }
        Some(JournaledMerge::Dropped(story)) => {
            tracing::info!(%story, "an interrupted merge starts again");
        }
    }
    if !recovery.kept.is_empty() {
        let files: Vec<String> =
            recovery.kept.iter().take(10).map(|file| format!("`{}`", file.display())).collect();
        let text = format!(
            "An interrupted merge is finished. These files were changed meanwhile and stay as you left them: {}.",
            files.join(", ")
        );
        publisher.alarm(None, text);
    }
}

//! The start: what an earlier storkit left is ended, finished or taken up, before anything else happens.

use std::{collections::BTreeSet, sync::Arc};

use agents::{
    claude::{self, SessionId},
    confine::Confinement,
};
use tokio::sync::mpsc;

use super::{
    CommitState, EventSources, Orchestrator, blocking, housekeeping, memo::MemoFiles,
    publisher::EventPublisher,
};
use crate::{
    Project,
    board::WorkFolder,
    config::LoadedProjectConfig,
    event::RunId,
    guard::{OwnCommits, base_branch},
    host::{AgentSettings, PipelineHost},
    ledger::{RunLedger, RunSummary},
    merge::{JournaledMerge, MergeProof, MergeQueue, MergeRecovery, merges, recover},
    run::RunContext,
    stage::Stage,
    story::StoryId,
    watcher,
    worktree::{SizeLimits, Worktrees},
};

/// What runs tell waits here while the task is busy; a run that has more to tell waits, its process does not.
const INNER: usize = 1_024;

/// What a pipeline begins with.
pub(super) struct StartupState {
    pub project: Project,
    pub settings: AgentSettings,
    pub host: Arc<dyn PipelineHost>,
    pub ledger: RunLedger,
    pub teller: EventPublisher,
}

/// What was found on disk.
struct FoundOnDisk {
    work: WorkFolder,
    loaded: Result<LoadedProjectConfig, String>,
    base: String,
    recovery: MergeRecovery,
    worktrees: Worktrees,
    protection: String,
}

impl StartupState {
    /// Brings the project in order. An error is a sentence: the pipeline cannot work until a person has mended that.
    pub async fn set_up(self) -> Result<(Orchestrator, EventSources), (String, Box<Self>)> {
        let Self { project, settings, host, ledger, teller } = self;
        end_old_runs(&ledger).await;
        let (place, how) = (project.clone(), settings.clone());
        match blocking(move || read_disk(&place, &how)).await.and_then(|found| found) {
            Ok(found) => {
                let parts = Self { project, settings, host, ledger, teller };
                parts.join(found)
            }
            Err(why) => Err((why, Box::new(Self { project, settings, host, ledger, teller }))),
        }
    }

    fn join(mut self, found: FoundOnDisk) -> Result<(Orchestrator, EventSources), (String, Box<Self>)> {
        let FoundOnDisk { work, loaded, base, recovery, worktrees, protection } = found;
        tell_recovery(&mut self.teller, &recovery);
        let (config, config_trouble) = match loaded {
            Ok(loaded) => (loaded.config, None),
            Err(why) => {
                self.teller.alarm(None, format!("{why} Until that is mended nothing is started."));
                (Default::default(), Some(why))
            }
        };
        let merging = housekeeping::merge_settings(&base, &config, &self.settings);
        let (merges, merged) = match MergeQueue::open(&self.project, merging) {
            Ok(opened) => opened,
            Err(error) => return Err((error.to_string(), Box::new(self))),
        };
        let board = match work.board() {
            Ok(board) => board,
            Err(error) => return Err((error.to_string(), Box::new(self))),
        };
        let Self { project, settings, host, ledger, teller } = self;
        let (watcher, changes) = watcher::watch(&project, settings.settle);
        let (inner, heard) = mpsc::channel(INNER);
        let settings = Arc::new(settings);
        let shop = RunContext {
            project: project.clone(),
            settings: Arc::clone(&settings),
            host,
            own: OwnCommits::default(),
            ledger,
            worktrees,
        };
        let unproven = unproven(&project, &base, &board);
        let mut orchestrator = Orchestrator {
            memos: MemoFiles::of(&project),
            project,
            settings,
            shop,
            work: Arc::new(work),
            board,
            config: Arc::new(config),
            configured: config_trouble.is_none(),
            config_trouble,
            base,
            merges: Arc::new(merges),
            runs: Default::default(),
            teller,
            inner,
            pause: None,
            removing: Default::default(),
            busy: Default::default(),
            asked: Default::default(),
            unproven,
            commit: CommitState { wanted: true, ..CommitState::default() },
            protection,
            closing: None,
            ticks: 0,
        };
        orchestrator.reap();
        orchestrator.commit();
        let problems: Vec<String> = orchestrator.board.problems.iter().map(ToString::to_string).collect();
        for problem in problems {
            orchestrator.teller.tell(crate::event::PipelineEvent::ProblemFound { problem });
        }
        Ok((orchestrator, EventSources { changes, merged, inner: heard, _watcher: watcher }))
    }
}

/// Processes of runs that were killed with their storkit.
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
    let loaded = housekeeping::load(project, settings);
    let configured = loaded.as_ref().ok().and_then(|loaded| loaded.config.base_branch.clone());
    let base = base_branch(project, configured.as_deref()).map_err(|error| error.to_string())?;
    let recovery = recover(project).map_err(|error| error.to_string())?;
    let work = WorkFolder::open(project).map_err(|error| error.to_string())?;
    work.scan().map_err(|error| error.to_string())?;
    let worktrees = Worktrees::open(project, SizeLimits::default()).map_err(|error| error.to_string())?;
    let protection = match Confinement::strongest_available(&settings.home) {
        (_, None) => "bubblewrap".to_owned(),
        (_, Some(why)) => format!("no sandbox ({why})"),
    };
    Ok(FoundOnDisk { work, loaded, base, recovery, worktrees, protection })
}

/// Done stories without a proof, also without a merge on base: a clone has those of others, and an older project its
/// own.
fn unproven(project: &Project, base: &str, board: &crate::board::Board) -> BTreeSet<StoryId> {
    let done = board.in_stage(Stage::Done).map(|story| story.id());
    let mut unproven: BTreeSet<StoryId> =
        done.filter(|id| !matches!(MergeProof::read(project.root(), *id), Ok(Some(_)))).collect();
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
        Ok(found) => found.into_iter().map(|(story, _)| story).collect(),
        Err(error) => {
            tracing::warn!(%error, "the merges on base cannot be read");
            BTreeSet::new()
        }
    }
}

fn tell_recovery(teller: &mut EventPublisher, recovery: &MergeRecovery) {
    match &recovery.journal {
        None => {}
        Some(JournaledMerge::Finished(proof) | JournaledMerge::RolledForward(proof)) => {
            tracing::info!(story = %proof.story, commit = proof.commit, "a merge that was cut short is finished");
        }
        Some(JournaledMerge::Dropped(story)) => {
            tracing::info!(%story, "a merge that was cut short is done again");
        }
    }
    if !recovery.kept.is_empty() {
        let files: Vec<String> =
            recovery.kept.iter().take(10).map(|file| format!("`{}`", file.display())).collect();
        let text = format!(
            "A merge that was cut short is finished. These files were changed meanwhile and are as you left them: {}.",
            files.join(", ")
        );
        teller.alarm(None, text);
    }
}

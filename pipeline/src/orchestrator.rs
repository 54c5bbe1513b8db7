//! The single task that acts on events: the only one that moves stories, starts runs and merges.
//!
//! `setup` brings in order what an earlier storkit left, `orders` does what people and agents ask for, `work` starts
//! runs, `ends` draws the conclusions from what ended, `board` turns changed files into events, `housekeeping` is
//! what time brings, `tell` numbers the events and keeps the snapshot.

mod board;
mod ends;
mod housekeeping;
mod memo;
mod orders;
mod publisher;
mod removal;
mod setup;
#[cfg(test)]
mod tests;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{Interval, MissedTickBehavior, interval},
};

use self::{memo::MemoFiles, publisher::EventPublisher};
use crate::{
    Project,
    board::{Board, WorkError, WorkFolder},
    config::ProjectConfig,
    event::{Actor, PipelineSnapshot, RunId, RunInfo},
    handle::{Answer, Pipeline, PipelineOrder},
    host::{AgentSettings, PipelineHost},
    ledger::RunLedger,
    merge::{MergeEnded, MergeQueue},
    run::{RunContext, RunControl, RunEnd, RunUpdate},
    stage::Stage,
    story::{Story, StoryId},
    watcher::WorkChange,
    worktree::WorktreeName,
};

/// How many events one who follows may lag behind.
const EVENTS: usize = 16_384;

/// How many orders may wait.
const ORDERS: usize = 64;

/// Between two looks at what time brings.
const TICK: Duration = Duration::from_secs(5);

/// Attempts of a mergemaster at one conflict.
const MERGE_ATTEMPTS: u32 = 3;

/// After a run that could not be started nothing is started for so long.
const PAUSE: Duration = Duration::from_secs(60);

impl Pipeline {
    /// Starts the pipeline of a project, with the instance lock held and inside a tokio runtime. Returns at once:
    /// what an earlier storkit left is put in order in the background, and orders wait for that.
    ///
    /// # Errors
    /// Where the ledger of runs cannot be used.
    pub fn open(
        project: &Project,
        settings: AgentSettings,
        host: Arc<dyn PipelineHost>,
    ) -> std::io::Result<Self> {
        let ledger = RunLedger::open(project)?;
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (events, _) = broadcast::channel(EVENTS);
        let first = PipelineSnapshot {
            paused: Some("The pipeline is starting.".into()),
            ..PipelineSnapshot::default()
        };
        let (state, snapshot) = watch::channel(Arc::new(first));
        let teller = EventPublisher::new(events.clone(), state);
        let beginning =
            setup::StartupState { project: project.clone(), settings, host, ledger: ledger.clone(), teller };
        tokio::spawn(async move {
            let (mut beginning, mut inbox) = (Box::new(beginning), inbox);
            loop {
                match beginning.set_up().await {
                    Ok((orchestrator, sources)) => return orchestrator.serve(inbox, sources).await,
                    Err((why, mut again)) => {
                        again.teller.broken(&why);
                        if refuse_for_a_while(&mut inbox, &why).await {
                            return;
                        }
                        beginning = again;
                    }
                }
            }
        });
        Ok(Self { project: project.clone(), orders, events, snapshot, ledger })
    }
}

/// The task's state. What is on disk is the truth: this is what it needs beside.
struct Orchestrator {
    project: Project,
    settings: Arc<AgentSettings>,
    shop: RunContext,
    work: Arc<WorkFolder>,
    board: Arc<Board>,
    config: Arc<ProjectConfig>,
    /// What is wrong with `project.toml` now; the last good one counts.
    config_trouble: Option<String>,
    /// Whether there was a good one yet. Until then nothing is started: neither gates nor budgets are known.
    configured: bool,
    base: String,
    merges: Arc<MergeQueue>,
    runs: BTreeMap<StoryId, ActiveRun>,
    memos: MemoFiles,
    teller: EventPublisher,
    inner: mpsc::Sender<TaskEvent>,
    /// Why and until when nothing is started.
    pause: Option<(String, SystemTime)>,
    /// Stories whose worktree is being removed: nobody is given them.
    removing: BTreeSet<StoryId>,
    /// Stories whose service was busy, until when.
    busy: BTreeMap<StoryId, SystemTime>,
    /// What a person was asked to do, by story: asked once.
    asked: BTreeMap<StoryId, String>,
    /// Stories whose file lies in `5_done` without a proof.
    unproven: BTreeSet<StoryId>,
    commit: CommitState,
    protection: String,
    /// Set by a shutdown: who is told when the last run is gone.
    closing: Option<Answer<()>>,
    ticks: u64,
}

/// A run that lives.
struct ActiveRun {
    info: RunInfo,
    control: RunControl,
    /// What its end means, where somebody else has decided that already.
    verdict: RunVerdict,
    /// Whether its process is gone, and only what follows from that is left to do.
    over: bool,
    /// Who waits for it to be gone.
    waiting: Vec<Answer<Vec<RunInfo>>>,
}

/// Who decides what becomes of a run's story.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RunVerdict {
    /// Its own end.
    Own,
    /// A person said stop: the story is blocked with that.
    StoppedBy(String),
    /// The story was moved, decided or deleted meanwhile: nothing more.
    Settled,
}

/// Whether stories' files are to be committed.
#[derive(Default)]
struct CommitState {
    wanted: bool,
    running: bool,
    /// Why it could not be done the last time; told once.
    refused: Option<String>,
    not_before: Option<SystemTime>,
}

/// What the task hears from what it has started.
enum TaskEvent {
    Told(StoryId, RunId, RunUpdate),
    Ended(StoryId, RunId, Box<RunEnd>),
    Committed(Result<crate::committer::CommitResult, String>),
    /// A wait is over.
    Due,
    /// A worktree is gone, or could not be removed.
    Removed(StoryId, String, Result<(), String>),
    /// Worktrees that no story in work needed, or why they could not be listed.
    Stale(Result<Vec<crate::worktree::WorktreeName>, String>),
    /// Something a person should know.
    Alarm(String),
}

/// Where events come from.
struct EventSources {
    changes: mpsc::Receiver<WorkChange>,
    merged: mpsc::Receiver<Arc<MergeEnded>>,
    inner: mpsc::Receiver<TaskEvent>,
    _watcher: crate::watcher::WorkWatcher,
}

impl Orchestrator {
    async fn serve(mut self, mut orders: mpsc::Receiver<PipelineOrder>, mut sources: EventSources) {
        let mut tick = ticker();
        self.assign_free_agents().await;
        self.publish();
        loop {
            // What an agent prints frees nobody, and comes many times a second.
            let mut only_printed = false;
            tokio::select! {
                order = orders.recv() => match order {
                    Some(PipelineOrder::Shutdown(answer)) => self.close(answer),
                    Some(order) => self.handle_order(order).await,
                    // Nobody can give orders any more: the bot was dropped.
                    None => break,
                },
                Some(changed) = sources.changes.recv() => self.changed(changed).await,
                Some(ended) = sources.merged.recv() => self.merge_ended(&ended).await,
                Some(inner) = sources.inner.recv() => {
                    only_printed = matches!(inner, TaskEvent::Told(_, _, RunUpdate::Said(_)));
                    self.handle_event(inner).await;
                }
                _ = tick.tick() => self.tick().await,
            }
            if self.closing.is_some() {
                if self.runs.is_empty() {
                    break;
                }
            } else if !only_printed {
                self.assign_free_agents().await;
            }
            self.publish();
        }
        if let Some(answer) = self.closing.take() {
            let _ = answer.send(Ok(()));
        }
    }

    fn close(&mut self, answer: Answer<()>) {
        self.closing = Some(answer);
        for run in self.runs.values_mut() {
            run.control.end(crate::verdict::StopReason::Shutdown);
        }
    }

    async fn handle_event(&mut self, inner: TaskEvent) {
        match inner {
            TaskEvent::Told(story, run, told) => self.told(story, &run, told),
            TaskEvent::Ended(story, run, ending) => self.run_ended(story, &run, *ending).await,
            TaskEvent::Committed(result) => self.committed(result),
            TaskEvent::Due => {}
            TaskEvent::Removed(story, what, removed) => self.removed(story, &what, removed),
            TaskEvent::Stale(found) => self.stale(found).await,
            TaskEvent::Alarm(text) => self.teller.alarm(None, text),
        }
    }

    /// Runs what blocks on the stories' files, away from the runtime's threads.
    async fn with_work<T: Send + 'static>(
        &self,
        act: impl FnOnce(&WorkFolder) -> Result<T, WorkError> + Send + 'static,
    ) -> Result<T, WorkError> {
        let work = Arc::clone(&self.work);
        blocking(move || act(&work)).await.unwrap_or_else(|error| {
            Err(WorkError::Disk { path: PathBuf::new(), source: std::io::Error::other(error) })
        })
    }

    fn story(&self, id: StoryId) -> Option<Arc<Story>> {
        self.board.story(id).cloned()
    }

    /// Moves a story and tells of it, with who and why.
    async fn move_story(
        &mut self,
        id: StoryId,
        to: Stage,
        by: Actor,
        why: Option<String>,
    ) -> Result<Story, WorkError> {
        let mover = if matches!(by, Actor::Pipeline) {
            crate::stage::Mover::Pipeline
        } else {
            crate::stage::Mover::Person
        };
        let moved = self.with_work(move |work| work.move_story(id, to, mover)).await?;
        self.rescan(Some((id, by, why))).await;
        Ok(moved)
    }

    /// Changes a story's front matter; a story that is gone or broken meanwhile is left.
    async fn edit_front_matter(
        &mut self,
        id: StoryId,
        changes: impl Fn(&mut crate::story::StoryDocument) -> Result<(), crate::story::EditError> + Send + 'static,
    ) {
        if let Err(error) = self.with_work(move |work| work.edit(id, changes)).await {
            tracing::warn!(story = %id, %error, "a story could not be marked");
        }
        self.rescan(None).await;
    }
}

/// The worktree's name of a story. `None` for a slug that cannot name one: such a file name is refused by the board.
fn name_of(story: &Story) -> Option<WorktreeName> {
    WorktreeName::new(story.id(), &story.file.slug).ok()
}

/// Answers orders with what is wrong until it is time to try again. Returns whether storkit ends.
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

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(act).await.map_err(|error| error.to_string())
}

fn ticker() -> Interval {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

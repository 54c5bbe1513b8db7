//! The single task that acts on events: the only one that moves stories, starts runs and merges.
//!
//! It is a loop over parts that own their state and know nothing of the loop: `stories` (the board), `runs`, `merges`,
//! `holds` (why stories wait), `memo`, `commits`, `publisher` (events and the snapshot) and `lane` (slow work outside
//! the loop). The other files are its handlers: `setup` recovers from an earlier storkit, `orders` handles orders of
//! people and agents, `story_files` changes stories' files, `settings_in_force` follows `project.toml`, `arrivals` marks
//! the stories started here, `start` starts runs, `merging` queues merges, `ends`
//! handles runs and merges that ended, `housekeeping` does regular work.

mod arrivals;
mod commits;
mod committer;
mod ends;
mod evidence;
mod holds;
mod housekeeping;
mod lane;
mod memo;
mod merges;
mod merging;
mod orders;
mod project_settings;
mod publisher;
mod removal;
mod reviews;
mod runs;
mod settings_in_force;
mod setup;
mod start;
mod started;
mod stories;
mod story_blobs;
mod story_files;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval},
};

use self::{
    holds::Holds,
    lane::{DeferredEvent, PendingStories, WorkLane},
    memo::Memos,
    merges::Merges,
    project_settings::ConfigStamp,
    publisher::EventPublisher,
    reviews::RunningReview,
    runs::Runs,
    stories::Stories,
};
use crate::{
    assign::Slot,
    board::watcher::WorkChange,
    config::ProjectConfig,
    event::{PipelineSnapshot, RunId, WallState, Worker},
    handle::{Answer, PipelineOrder},
    merge::MergeEnded,
    rooms::Landings,
    run::{RunContext, RunEnd, RunUpdate},
    story::{Story, StoryId, stage::Stage},
    worktree::WorktreeName,
};

/// Between two rounds of housekeeping.
const TICK: Duration = Duration::from_secs(5);

/// Attempts of a mergemaster at one conflict.
const MERGE_ATTEMPTS: u32 = 3;

// A missing program or a full disk stops every run alike: without a pause all free agents would
// fail in a loop.
const PAUSE: Duration = Duration::from_secs(60);

/// The settings in force, and facts found at the start.
pub(super) struct PipelineConfig {
    pub in_force: Arc<ProjectConfig>,
    /// Why the settings that the repository has now are not in force: an error in them, or nobody confirmed them.
    pub trouble: Option<String>,
    /// Whether any are in force. Until then nothing is started: neither gates nor budgets are known.
    pub is_known: bool,
    /// `project.toml` in the checkout is another than the one that counts; people are told once.
    pub edited: bool,
    /// What decides about the settings, as it was when they were read last.
    pub stamp: ConfigStamp,
    /// The branch that stories merge to.
    pub base: String,
    pub wall: WallState,
}

/// A loop over parts that own their state. The files on disk are the truth; this is only working state. It
/// never waits for a disk, a repository or a process: such work runs in a lane or a task, and its result
/// comes back as an event.
struct Orchestrator {
    context: RunContext,
    config: PipelineConfig,
    stories: Stories,
    runs: Runs,
    review: Option<RunningReview>,
    merges: Merges,
    landings: Landings,
    holds: Holds,
    memos: Memos,
    pending: PendingStories,
    publisher: EventPublisher,
    events: mpsc::Sender<TaskEvent>,
    /// Set by a shutdown: answered when the last run is gone.
    closing: Option<Answer<()>>,
}

/// The continuation of work, on the orchestrator.
type Then = Box<dyn FnOnce(&mut Orchestrator) + Send>;

/// Reports of the tasks and lanes that the orchestrator has started.
enum TaskEvent {
    RunUpdated(StoryId, RunId, RunUpdate),
    Ended(StoryId, RunId, Box<RunEnd>),
    /// Work is done, for this story; what follows from it.
    Done(Option<StoryId>, Then),
    /// A wait is over.
    Due,
    /// Something a person should know.
    Alarm(String),
}

/// Where events come from.
struct EventSources {
    changes: mpsc::Receiver<WorkChange>,
    merged: mpsc::Receiver<Arc<MergeEnded>>,
    events: mpsc::Receiver<TaskEvent>,
    // Dropping it stops the watching.
    _watcher: crate::board::watcher::WorkWatcher,
}

impl Orchestrator {
    async fn serve(mut self, mut orders: mpsc::Receiver<PipelineOrder>, mut sources: EventSources) {
        let (mut tick, mut ticks) = (ticker(), 0);
        self.assign_free_agents();
        self.publish();
        loop {
            // Output of an agent frees no worker, and arrives many times a second.
            let mut only_printed = false;
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.take_order(order),
                    // Nobody can give orders any more: the bot was dropped.
                    None => break,
                },
                Some(changed) = sources.changes.recv() => self.files_changed(changed),
                Some(ended) = sources.merged.recv() => self.take_event(ended.story, DeferredEvent::MergeEnded(ended)),
                Some(event) = sources.events.recv() => {
                    only_printed = matches!(event, TaskEvent::RunUpdated(_, _, RunUpdate::Line(_)));
                    self.handle_event(event);
                }
                _ = tick.tick() => {
                    ticks += 1;
                    self.tick(ticks);
                }
            }
            self.catch_up_after_landing();
            if !only_printed {
                self.assign_free_agents();
            }
            self.publish();
            // Waits for what follows from the last runs, too: a run that passed just now is not repeated by
            // the next start.
            if self.closing.is_some() && self.runs.is_empty() && self.pending.is_idle() {
                break;
            }
        }
        // Queued writes reach the disk before the bot exits; nobody waits for their continuations any more.
        self.merges.lane().flush().await;
        self.stories.lane.flush().await;
        let history = self.publisher.history();
        history.flush().await;
        if let Some(answer) = self.closing.take() {
            let _ = answer.send(Ok(()));
        }
    }

    fn close(&mut self, answer: Answer<()>) {
        self.closing = Some(answer);
        self.runs.shut_down();
    }

    fn handle_event(&mut self, event: TaskEvent) {
        match event {
            TaskEvent::RunUpdated(story, run, told) => self.handle_run_update(story, &run, told),
            TaskEvent::Ended(story, run, ending) => {
                self.take_event(story, DeferredEvent::RunEnded(run, ending));
            }
            TaskEvent::Done(story, then) => self.work_done(story, then),
            TaskEvent::Due => {}
            TaskEvent::Alarm(text) => self.publisher.alarm(None, text),
        }
    }

    /// While a story's files are worked on, orders and events for it wait.
    fn take_event(&mut self, story: StoryId, event: DeferredEvent) {
        if let Some(event) = self.pending.defer(story, event) {
            self.handle_now(story, event);
        }
    }

    fn handle_now(&mut self, story: StoryId, event: DeferredEvent) {
        match event {
            DeferredEvent::Order(order) => self.handle_order(*order),
            DeferredEvent::RunEnded(run, ending) => self.run_ended(story, &run, *ending),
            DeferredEvent::MergeEnded(ended) => self.merge_ended(ended),
        }
    }

    fn work_done(&mut self, story: Option<StoryId>, then: Then) {
        if let Some(story) = story {
            self.pending.finish(story);
        }
        then(self);
        // `then` may have begun more work on the story; then the other events wait on.
        while let Some((story, event)) = story.and_then(|story| Some((story, self.pending.next(story)?))) {
            // As between any two events: an order to stop that has waited meets the run that would start next.
            self.assign_free_agents();
            self.handle_now(story, event);
        }
    }

    /// Runs slow work in a task; `then` continues with its result on the loop.
    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
        then: impl FnOnce(&mut Self, T) + Send + 'static,
    ) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let done = work.await;
            let then: Then = Box::new(move |orchestrator| then(orchestrator, done));
            // Fails where the orchestrator has ended.
            let _ = events.send(TaskEvent::Done(None, then)).await;
        });
    }

    /// Does the work in a lane; `then` continues with its result on the loop. A panic counts as an error, so that `then`
    /// always follows: without it the story would stay pending, and its orders would wait for ever.
    fn run_in_lane<T: Send + 'static>(
        &self,
        lane: &WorkLane,
        story: Option<StoryId>,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut Self, Result<T, String>) + Send + 'static,
    ) {
        let events = self.events.clone();
        lane.push(move || {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let done = done.map_err(|_| "the work failed inside storkit; the log has the details".to_owned());
            let then: Then = Box::new(move |orchestrator| then(orchestrator, done));
            // Fails where the orchestrator has ended.
            let _ = events.blocking_send(TaskEvent::Done(story, then));
        });
    }

    /// Sends the events, with the state that belongs to them. Output of agents changes no state.
    fn publish(&mut self) {
        // Agents print many lines a second, and a snapshot walks the whole board.
        if self.publisher.has_only_lines() {
            return self.publisher.publish_lines();
        }
        let in_work = [Stage::Current, Stage::Qa, Stage::Merge];
        let board = Arc::clone(&self.stories.board);
        let stories: Vec<Arc<Story>> =
            in_work.into_iter().flat_map(|stage| board.in_stage(stage)).cloned().collect();
        let holds = stories.iter().filter_map(|story| Some((story.id(), self.hold(story)?))).collect();
        let worker = |slot: Slot| Worker {
            slot: slot.name,
            agent: slot.agent,
            role: slot.role,
            busy_with: slot.busy_with,
        };
        let stopped = self.config.trouble.as_deref().filter(|_| !self.config.is_known);
        let paused = stopped.or(self.holds.pause_reason()).map(str::to_owned);
        let edited = self.config.edited.then(|| project_settings::edit_without_effect(&self.config.base));
        let waiting = self.config.trouble.clone().filter(|_| self.config.is_known);
        let snapshot = PipelineSnapshot {
            seq: 0,
            runs: self.runs.infos().cloned().collect(),
            workers: self.slots().into_iter().map(worker).collect(),
            merges: self.merges.views(stories.iter()),
            holds,
            paused,
            day_budget_usd: self.config.in_force.budget.day_usd,
            settings_notice: waiting.or(edited),
            base: self.config.base.clone(),
            wall: self.config.wall.clone(),
            quarantined: Arc::clone(self.stories.started.quarantined()),
            strangers_read: self.memos.strangers_read(),
            board,
        };
        self.publisher.publish(snapshot);
    }

    /// Why a story does not progress; a person is asked where a decision resolves that.
    fn hold(&mut self, story: &Story) -> Option<String> {
        let id = story.id();
        if self.pending.is_pending(id) {
            // It is about to change.
            return self.publisher.snapshot().holds.get(&id).cloned();
        }
        let Some(held) = self.held(story) else {
            self.holds.forget_question(id);
            return None;
        };
        let asked = self.holds.ask(story, &held);
        asked.into_iter().for_each(|event| self.publisher.emit(event));
        Some(held.clause)
    }
}

/// The worktree's name of a story. `None` for a slug that cannot name one: such a file name is refused by the board.
fn name_of(story: &Story) -> Option<WorktreeName> {
    WorktreeName::new(story.id(), &story.file.slug).ok()
}

fn ticker() -> Interval {
    let mut tick = interval(TICK);
    // One tick after a suspend is enough: the default would catch up with all that were missed.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

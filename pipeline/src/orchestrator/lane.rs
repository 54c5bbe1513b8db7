//! Work that waits for a disk or a repository runs outside the orchestrator's loop: one job after the other in each lane,
//! and its continuation comes back as an event. Meanwhile orders and events for the same story wait here.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};

use super::{Orchestrator, TaskEvent, blocking};
use crate::{event::RunId, handle::PipelineOrder, merge::MergeEnded, run::RunEnd, story::StoryId};

/// The continuation of work, on the orchestrator.
pub(super) type Then = Box<dyn FnOnce(&mut Orchestrator) + Send>;

type Job = Box<dyn FnOnce() -> Option<TaskEvent> + Send>;

/// A queue of jobs, and the thread that does them in order.
#[derive(Clone)]
pub(super) struct WorkLane(mpsc::UnboundedSender<Job>);

impl WorkLane {
    pub(super) fn open(events: mpsc::Sender<TaskEvent>) -> Self {
        // Unbounded: a lane may wait for room in the loop's mailbox, so the loop must never wait for room in
        // a lane.
        let (jobs, mut inbox) = mpsc::unbounded_channel::<Job>();
        tokio::spawn(async move {
            while let Some(job) = inbox.recv().await {
                match blocking(job).await {
                    // Fails where the orchestrator has ended.
                    Ok(Some(event)) => drop(events.send(event).await),
                    Ok(None) => {}
                    Err(error) => tracing::error!(error, "a job of the pipeline panicked"),
                }
            }
        });
        Self(jobs)
    }

    /// Does the work after all that was queued before it. A panic counts as an error, so that `then` always follows.
    pub(super) fn run<T: Send + 'static>(
        &self,
        story: Option<StoryId>,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut Orchestrator, Result<T, String>) + Send + 'static,
    ) {
        self.push(move || {
            // Without its continuation the story would stay pending, and its orders would wait for ever.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let done = done.map_err(|_| "the work failed inside storkit; the log has the details".to_owned());
            Some(TaskEvent::Done(story, Box::new(move |orchestrator| then(orchestrator, done))))
        });
    }

    /// Work that nothing follows from.
    pub(super) fn push_only(&self, work: impl FnOnce() + Send + 'static) {
        self.push(move || {
            work();
            None
        });
    }

    /// Waits until all that is queued now is done.
    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.push_only(move || {
            let _ = done.send(());
        });
        let _ = wait.await;
    }

    fn push(&self, job: impl FnOnce() -> Option<TaskEvent> + Send + 'static) {
        // Fails where the runtime shuts down: there is nobody to do it.
        let _ = self.0.send(Box::new(job));
    }
}

/// An order or event for a story with work in progress.
pub(super) enum DeferredEvent {
    Order(PipelineOrder),
    RunEnded(RunId, Box<RunEnd>),
    MergeEnded(Arc<MergeEnded>),
}

/// Stories with work in progress, and the orders and events that wait for it, in order.
#[derive(Default)]
pub(super) struct PendingStories {
    // A count, since a story's file and its merge are worked on in two lanes at once.
    jobs: BTreeMap<StoryId, usize>,
    waiting: BTreeMap<StoryId, VecDeque<DeferredEvent>>,
}

impl PendingStories {
    pub(super) fn is_pending(&self, story: StoryId) -> bool {
        self.jobs.contains_key(&story)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn begin(&mut self, story: StoryId) {
        *self.jobs.entry(story).or_default() += 1;
    }

    pub(super) fn finish(&mut self, story: StoryId) {
        if let Some(jobs) = self.jobs.get_mut(&story) {
            *jobs -= 1;
            if *jobs == 0 {
                self.jobs.remove(&story);
            }
        }
    }

    /// Queues the event if its story has work in progress; gives it back to be handled now if not.
    pub(super) fn defer(&mut self, story: StoryId, event: DeferredEvent) -> Option<DeferredEvent> {
        if !self.is_pending(story) {
            return Some(event);
        }
        self.waiting.entry(story).or_default().push_back(event);
        None
    }

    /// The first that waits for a story whose work is done.
    pub(super) fn next(&mut self, story: StoryId) -> Option<DeferredEvent> {
        if self.is_pending(story) {
            return None;
        }
        let waiting = self.waiting.get_mut(&story)?;
        let next = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&story);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORY: StoryId = StoryId(7);

    fn order() -> DeferredEvent {
        DeferredEvent::Order(PipelineOrder::Rescan(oneshot::channel().0))
    }

    fn ended(run: &str) -> DeferredEvent {
        let ending = RunEnd { outcome: crate::run::RunOutcome::Passed, usd: 0.0, diff: None };
        DeferredEvent::RunEnded(RunId(run.into()), Box::new(ending))
    }

    #[test]
    fn what_comes_for_a_story_waits_for_all_its_work_and_keeps_its_order() {
        let mut pending = PendingStories::default();
        assert!(pending.defer(STORY, order()).is_some(), "nothing is under way");
        pending.begin(STORY);
        pending.begin(STORY);
        assert!(pending.defer(STORY, ended("one")).is_none());
        assert!(pending.defer(STORY, order()).is_none());
        assert!(pending.defer(StoryId(8), order()).is_some(), "another story does not wait");
        pending.finish(STORY);
        assert!(pending.is_pending(STORY) && !pending.is_idle());
        assert!(pending.next(STORY).is_none(), "the second job is under way");
        pending.finish(STORY);
        assert!(pending.is_idle());
        assert!(matches!(pending.next(STORY), Some(DeferredEvent::RunEnded(..))));
        pending.begin(STORY);
        assert!(pending.next(STORY).is_none(), "what was handled has begun new work");
        pending.finish(STORY);
        assert!(matches!(pending.next(STORY), Some(DeferredEvent::Order(_))));
        assert!(pending.next(STORY).is_none() && pending.waiting.is_empty());
        pending.finish(STORY);
        assert!(pending.is_idle(), "an end without a beginning is harmless");
    }

    #[tokio::test]
    async fn jobs_are_done_in_order_and_a_panic_is_followed_up_too() {
        let (events, mut inbox) = mpsc::channel(8);
        let lane = WorkLane::open(events);
        let (told, heard) = std::sync::mpsc::channel();
        for number in 0..3 {
            let told = told.clone();
            lane.push_only(move || told.send(number).expect("heard"));
        }
        lane.run(Some(STORY), || panic!("on purpose"), |_, _: Result<(), String>| ());
        lane.run(None, || (), |_, _| ());
        lane.flush().await;
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert!(matches!(inbox.recv().await, Some(TaskEvent::Done(Some(STORY), _))));
        assert!(matches!(inbox.recv().await, Some(TaskEvent::Done(None, _))));
    }
}

//! Work that waits for a disk or a repository runs outside the orchestrator's loop: one job after the other in each lane.
//! Meanwhile orders and events for the same story wait here.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};

use crate::{event::RunId, handle::PipelineOrder, merge::MergeEnded, run::RunEnd, story::StoryId};

type Job = Box<dyn FnOnce() + Send>;

/// A queue of jobs, and the thread that does them in order.
#[derive(Clone)]
pub(super) struct WorkLane(mpsc::UnboundedSender<Job>);

impl WorkLane {
    pub(super) fn open() -> Self {
        // Unbounded: a job may wait for room in the loop's mailbox, so the loop must never wait for room in
        // a lane.
        let (jobs, mut inbox) = mpsc::unbounded_channel::<Job>();
        tokio::spawn(async move {
            while let Some(job) = inbox.recv().await {
                if let Err(error) = blocking(job).await {
                    tracing::error!(error, "a job of the pipeline panicked");
                }
            }
        });
        Self(jobs)
    }

    /// Does the work after all that was queued before it.
    pub(super) fn push(&self, work: impl FnOnce() + Send + 'static) {
        // Fails where the runtime shuts down: there is nobody to do it.
        let _ = self.0.send(Box::new(work));
    }

    /// Waits until all that is queued now is done.
    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.push(move || {
            let _ = done.send(());
        });
        let _ = wait.await;
    }
}

/// Runs work that blocks on a thread for such work. The error is a panic's.
pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(act).await.map_err(|error| error.to_string())
}

/// An order or event for a story with work in progress.
pub(super) enum DeferredEvent {
    Order(Box<PipelineOrder>),
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
        DeferredEvent::Order(Box::new(PipelineOrder::Rescan(oneshot::channel().0)))
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
    async fn jobs_are_done_in_order_and_a_panic_stops_none() {
        let lane = WorkLane::open();
        let (done, finished) = std::sync::mpsc::channel();
        for number in 0..3 {
            let done = done.clone();
            lane.push(move || done.send(number).expect("a receiver"));
            lane.push(|| panic!("on purpose"));
        }
        lane.flush().await;
        assert_eq!(finished.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }
}

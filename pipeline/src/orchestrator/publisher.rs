//! Events with their numbers, and the snapshot that belongs to them.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::{broadcast, watch};

use crate::{
    event::{NumberedEvent, PipelineEvent, PipelineSnapshot},
    handle::{Answer, PipelineError},
    history::{HistoryEntry, StoryAct, StoryHistory},
    story::StoryId,
};

/// Where events and snapshots go.
pub(super) struct EventPublisher {
    seq: u64,
    events: broadcast::Sender<Arc<NumberedEvent>>,
    /// Why the pipeline does not work, as last reported.
    broken: Option<String>,
    state: watch::Sender<Arc<PipelineSnapshot>>,
    /// Events that are in no snapshot yet.
    unsent: Vec<PipelineEvent>,
    /// Acts that no event has.
    unrecorded: Vec<(StoryId, StoryAct)>,
    history: StoryHistory,
    /// Answers to orders whose effect is in no snapshot yet.
    unanswered: Vec<Box<dyn FnOnce() + Send>>,
}

impl EventPublisher {
    pub(super) fn new(
        events: broadcast::Sender<Arc<NumberedEvent>>,
        state: watch::Sender<Arc<PipelineSnapshot>>,
        history: StoryHistory,
    ) -> Self {
        let (unsent, unrecorded, unanswered) = (Vec::new(), Vec::new(), Vec::new());
        Self { seq: 0, events, broken: None, state, unsent, unrecorded, history, unanswered }
    }

    /// Is sent at the next [`EventPublisher::publish`].
    pub(super) fn emit(&mut self, event: PipelineEvent) {
        self.unsent.push(event);
    }

    /// Adds an act that no event has to a story's history.
    pub(super) fn record(&mut self, story: StoryId, act: StoryAct) {
        self.unrecorded.push((story, act));
    }

    /// Answers an order at the next [`EventPublisher::publish`]: whoever has the answer finds its effect.
    pub(super) fn answer<T: Send + 'static>(&mut self, answer: Answer<T>, done: Result<T, PipelineError>) {
        self.unanswered.push(Box::new(move || {
            // Fails where nobody waits any more.
            let _ = answer.send(done);
        }));
    }

    pub(super) fn alarm(&mut self, story: Option<StoryId>, text: String) {
        tracing::warn!(?story, text, "alarm");
        self.emit(PipelineEvent::Alarm { story, text });
    }

    /// Numbers and sends the events; `snapshot` is the state after all of them. The state is there first:
    /// whoever hears an event finds its effect in the snapshot.
    pub(super) fn publish(&mut self, snapshot: PipelineSnapshot) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        let acts = self.unrecorded.drain(..).chain(self.unsent.iter().filter_map(StoryAct::of));
        self.history.add(acts.map(|(story, act)| HistoryEntry { story, at, act }).collect());
        let first = self.seq + 1;
        self.seq += self.unsent.len() as u64;
        self.state.send_replace(Arc::new(PipelineSnapshot { seq: self.seq, ..snapshot }));
        for (seq, event) in (first..).zip(self.unsent.drain(..)) {
            // Fails where nobody follows.
            let _ = self.events.send(Arc::new(NumberedEvent { seq, at, event }));
        }
        self.unanswered.drain(..).for_each(|answer| answer());
    }

    pub(super) fn history(&self) -> StoryHistory {
        self.history.clone()
    }

    pub(super) fn snapshot(&self) -> Arc<PipelineSnapshot> {
        self.state.borrow().clone()
    }

    /// Whether agents' output is the only news.
    pub(super) fn has_only_lines(&self) -> bool {
        !self.unsent.is_empty()
            && self.unsent.iter().all(|event| matches!(event, PipelineEvent::RunSaid { .. }))
    }

    /// Sends them with the state as it was.
    pub(super) fn publish_lines(&mut self) {
        let snapshot = PipelineSnapshot::clone(&self.state.borrow());
        self.publish(snapshot);
    }

    /// The pipeline does not work at all.
    pub(super) fn broken(&mut self, why: &str) {
        // The start is tried every few seconds; one and the same error is reported once.
        if self.broken.as_deref() != Some(why) {
            tracing::error!(why, "the pipeline cannot work");
            self.emit(PipelineEvent::Paused { why: Some(why.to_owned()) });
            self.broken = Some(why.to_owned());
        }
        self.publish(PipelineSnapshot { paused: Some(why.to_owned()), ..PipelineSnapshot::default() });
    }
}

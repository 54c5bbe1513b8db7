//! Events with their numbers, and the snapshot that belongs to them.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::{broadcast, watch};

use crate::{
    event::{Event, Numbered, Snapshot},
    story::StoryId,
};

/// Where events and snapshots go.
pub(super) struct Teller {
    seq: u64,
    events: broadcast::Sender<Arc<Numbered>>,
    /// Why the pipeline does not work, as last told.
    broken: Option<String>,
    state: watch::Sender<Arc<Snapshot>>,
    /// Events that are in no snapshot yet: they are sent behind it, so that whoever follows never sees an event
    /// whose effect the snapshot lacks.
    unsent: Vec<Event>,
}

impl Teller {
    pub(super) fn new(events: broadcast::Sender<Arc<Numbered>>, state: watch::Sender<Arc<Snapshot>>) -> Self {
        Self { seq: 0, events, broken: None, state, unsent: Vec::new() }
    }

    /// Tells at the next [`Teller::publish`].
    pub(super) fn tell(&mut self, event: Event) {
        self.unsent.push(event);
    }

    pub(super) fn alarm(&mut self, story: Option<StoryId>, text: String) {
        tracing::warn!(?story, text, "alarm");
        self.tell(Event::Alarm { story, text });
    }

    /// Numbers and sends what there is to tell; `snapshot` is the state after all of it. Events go out first: one
    /// who follows takes the snapshot's number as what it has seen.
    pub(super) fn publish(&mut self, snapshot: Snapshot) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        for event in self.unsent.drain(..) {
            self.seq += 1;
            // Fails where nobody follows.
            let _ = self.events.send(Arc::new(Numbered { seq: self.seq, at, event }));
        }
        self.state.send_replace(Arc::new(Snapshot { seq: self.seq, ..snapshot }));
    }

    /// The pipeline does not work at all.
    pub(super) fn broken(&mut self, why: &str) {
        if self.broken.as_deref() != Some(why) {
            tracing::error!(why, "the pipeline cannot work");
            self.tell(Event::Paused { why: Some(why.to_owned()) });
            self.broken = Some(why.to_owned());
        }
        self.publish(Snapshot { paused: Some(why.to_owned()), ..Snapshot::default() });
    }
}

//! Notices about the pipeline's events in the rooms that follow it: one short message for events that belong together.

use std::{sync::Arc, time::Duration};

use adapters::{Outgoing, Room};
use pipeline::event::{Actor, MergeView, NumberedEvent, PipelineEvent};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep_until},
};

use crate::{
    chat::{rooms::RoomInput, services::ChatServices},
    replies,
};

/// Events within this time share a message.
const TOGETHER: Duration = Duration::from_secs(1);

/// Events that need a person wait only this long.
const SOON: Duration = Duration::from_millis(150);

/// More waiting events than this are posted immediately, so that a flood cannot grow the list without limit.
const MOST: usize = 5_000;

/// Posts the pipeline's events to the rooms that follow it, until the bot goes down. Without
/// such a room it is silent.
pub async fn run(services: Arc<ChatServices>, mut events: Receiver<Arc<NumberedEvent>>) {
    let mut waiting: Vec<Arc<NumberedEvent>> = Vec::new();
    let mut due: Option<Instant> = None;
    loop {
        let quiet = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = services.tasks.stop.cancelled() => return,
            next = events.recv() => match next {
                Ok(event) => {
                    tell_room(&services, &event.event);
                    let wait = match weight(&event.event) {
                        EventWeight::Nothing => continue,
                        EventWeight::Some => TOGETHER,
                        EventWeight::Much => SOON,
                    };
                    waiting.push(event);
                    let at = Instant::now() + if waiting.len() > MOST { Duration::ZERO } else { wait };
                    // The earliest deadline wins: an urgent event takes the waiting ones with it, and a stream of
                    // events cannot delay a message forever.
                    due = Some(due.map_or(at, |due| due.min(at)));
                }
                Err(RecvError::Lagged(missed)) => {
                    tell(&services, Outgoing::text(replies::events_missed(missed)));
                }
                Err(RecvError::Closed) => return,
            },
            () = quiet => {
                due = None;
                let cost = |story| services.commands.pipeline.ledger().story_usd(story);
                for message in replies::digest(&std::mem::take(&mut waiting), &cost) {
                    tell(&services, message);
                }
            }
        }
    }
}

fn tell(services: &ChatServices, message: Outgoing) {
    for room in &services.commands.messengers.followers(&services.config().pipeline) {
        if !services.rooms.post(room, RoomInput::Tell(message.clone())) {
            tracing::warn!(%room, "a room that follows the pipeline cannot be told");
        }
    }
}

/// Tells a room about a story that it landed.
fn tell_room(services: &ChatServices, event: &PipelineEvent) {
    let PipelineEvent::Landing { story, title, room, news } = event else { return };
    let Some(room) = Room::parse(room) else { return };
    let text = replies::landing_news(*story, title, news);
    if !services.rooms.post(&room, RoomInput::Notice(text)) {
        tracing::warn!(%room, "a room cannot be told about the story that it landed");
    }
}

/// How soon an event is worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventWeight {
    Nothing,
    /// Posted with the events that follow within a second.
    Some,
    /// Posted almost at once: somebody has to act.
    Much,
}

/// How soon an event is posted.
fn weight(event: &PipelineEvent) -> EventWeight {
    match event {
        PipelineEvent::StoryMoved { .. }
        | PipelineEvent::Quarantined { .. }
        | PipelineEvent::Released { .. }
        | PipelineEvent::StoryDeleted { .. }
        | PipelineEvent::ProblemFound { .. } => EventWeight::Some,
        // The person who created it already has an answer in the room.
        PipelineEvent::StoryCreated { by: Actor::Person(_), .. } => EventWeight::Nothing,
        PipelineEvent::StoryCreated { .. } => EventWeight::Some,
        PipelineEvent::RunEnded { failed: true, .. } => EventWeight::Some,
        PipelineEvent::Merge { merge: MergeView::Conflict { .. } | MergeView::Merged { .. }, .. } => {
            EventWeight::Some
        }
        PipelineEvent::NeedsPerson { .. } | PipelineEvent::Alarm { .. } | PipelineEvent::Paused { .. } => {
            EventWeight::Much
        }
        PipelineEvent::StoryChanged { .. }
        | PipelineEvent::RunStarted { .. }
        | PipelineEvent::RunPhase { .. }
        | PipelineEvent::RunSaid { .. }
        | PipelineEvent::RunEnded { .. }
        | PipelineEvent::Landing { .. }
        | PipelineEvent::Merge { .. } => EventWeight::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use pipeline::story::StoryId;

    use super::*;

    #[test]
    fn phases_lines_and_edits_are_not_told() {
        let quiet = PipelineEvent::StoryChanged { story: StoryId(1), title: "x".into() };
        assert_eq!(weight(&quiet), EventWeight::Nothing);
        assert_eq!(weight(&PipelineEvent::Alarm { story: None, text: "x".into() }), EventWeight::Much);
    }
}

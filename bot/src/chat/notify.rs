//! Notices about the pipeline's events in the rooms that follow it: one short message for events that belong together.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use adapters::{MessageId, Outgoing, Room};
use pipeline::{
    event::{Actor, MergeView, NumberedEvent, PipelineEvent},
    story::StoryId,
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep_until},
};

use crate::{
    chat::{evidence, rooms::RoomInput, services::ChatServices},
    replies::{self, PipelineNotice},
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
                    // Before a worker is free, which may be hours later.
                    if let Some(story) = lifted(&event.event, &services.commands.pipeline.snapshot().holds, &waiting) {
                        close_decisions(&services, story);
                    }
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
                    tell(&services, Outgoing::text(replies::events_missed(missed)).into());
                }
                Err(RecvError::Closed) => return,
            },
            () = quiet => {
                due = None;
                let cost = |story| services.commands.pipeline.ledger().story_usd(story);
                let events = std::mem::take(&mut waiting);
                for notice in replies::digest(&events, &cost) {
                    tell(&services, notice);
                }
                tell_origins(&services, &events);
                evidence::post(&services, &events).await;
                for story in gone_on(&events) {
                    close_decisions(&services, story);
                }
            }
        }
    }
}

fn tell(services: &ChatServices, notice: PipelineNotice) {
    for room in &services.commands.messengers.followers(&services.config().pipeline) {
        if !services.rooms.post(room, RoomInput::Tell(notice.clone())) {
            tracing::warn!(%room, "a room that follows the pipeline cannot be told");
        }
    }
}

/// Tells the conversations in which stories were asked for, where they do not follow the pipeline anyway.
fn tell_origins(services: &ChatServices, events: &[Arc<NumberedEvent>]) {
    let mut by_story: BTreeMap<StoryId, Vec<Arc<NumberedEvent>>> = BTreeMap::new();
    for event in events {
        if let Some(story) = event.event.story() {
            by_story.entry(story).or_default().push(event.clone());
        }
    }
    let followers = services.commands.messengers.followers(&services.config().pipeline);
    for (story, events) in by_story {
        let Some((room, message)) = origin_of(services, story) else { continue };
        if followers.contains(&room) {
            continue;
        }
        let cost = |story| services.commands.pipeline.ledger().story_usd(story);
        for notice in replies::digest(&events, &cost) {
            let message = notice.message.replying_to(message.clone());
            if !services.rooms.post(&room, RoomInput::Tell(PipelineNotice { message, ..notice })) {
                tracing::warn!(%room, %story, "the conversation of a story cannot be told about it");
            }
        }
    }
}

/// The places where people follow a story: rooms that follow the pipeline, and the conversation in which it was asked for.
pub(super) fn places_of(services: &ChatServices, story: StoryId) -> Vec<(Room, Option<MessageId>)> {
    let followers = services.commands.messengers.followers(&services.config().pipeline);
    let origin = origin_of(services, story).filter(|(room, _)| !followers.contains(room));
    followers.into_iter().map(|room| (room, None)).chain(origin).collect()
}

/// The conversation in which a story was asked for, and the message there.
fn origin_of(services: &ChatServices, story: StoryId) -> Option<(Room, Option<MessageId>)> {
    let origin = services.store.story_origin(story).unwrap_or_else(|error| {
        tracing::error!(%error, %story, "the conversation of a story cannot be read");
        None
    });
    let (room, message) = origin?;
    Some(place_of(services, room, message))
}

/// Stories of which the last that is reported is that they go on.
fn gone_on(events: &[Arc<NumberedEvent>]) -> Vec<StoryId> {
    let mut stories = BTreeMap::new();
    for event in events {
        match &event.event {
            PipelineEvent::NeedsPerson { story, .. } => _ = stories.insert(*story, false),
            PipelineEvent::StoryMoved { story, .. } | PipelineEvent::StoryDeleted { story, .. } => {
                stories.insert(*story, true);
            }
            PipelineEvent::RunStarted { run } => {
                run.on_story().into_iter().for_each(|story| _ = stories.insert(story, true));
            }
            _ => {}
        }
    }
    stories.into_iter().filter_map(|(story, goes_on)| goes_on.then_some(story)).collect()
}

/// The story whose change leaves it without a reason to wait. One that is not shown yet is left to [`gone_on`].
fn lifted(
    event: &PipelineEvent,
    holds: &BTreeMap<StoryId, String>,
    waiting: &[Arc<NumberedEvent>],
) -> Option<StoryId> {
    let PipelineEvent::StoryChanged { story, .. } = event else { return None };
    let asks = |event: &Arc<NumberedEvent>| matches!(&event.event, PipelineEvent::NeedsPerson { story: asked, .. } if asked == story);
    (!holds.contains_key(story) && !waiting.iter().any(asks)).then_some(*story)
}

fn close_decisions(services: &ChatServices, story: StoryId) {
    let followers = services.commands.messengers.followers(&services.config().pipeline);
    let origin = origin_of(services, story).map(|(room, _)| room);
    for room in followers.iter().chain(&origin) {
        // A room that is gone shows nothing that could be closed.
        let _ = services.rooms.post(room, RoomInput::WentOn(story));
    }
}

/// A story that a command asked for outside of a thread has its notices in the thread of that message, as a prompt would.
fn place_of(services: &ChatServices, room: Room, message: Option<MessageId>) -> (Room, Option<MessageId>) {
    let adapter = services.commands.messengers.get(room.adapter());
    let thread = match (&adapter, &message) {
        (Some(adapter), Some(message)) if !services.ambient.is_on(&room) => {
            adapter.open_thread(&room, message)
        }
        _ => None,
    };
    match thread {
        Some(thread) => (thread, None),
        None => (room, message),
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
        | PipelineEvent::RunStarted { .. }
        | PipelineEvent::Evidence { .. }
        | PipelineEvent::ProblemFound { .. } => EventWeight::Some,
        // The person who created it already has an answer in the room.
        PipelineEvent::StoryCreated { by: Actor::Person(_) | Actor::Approved(_), .. } => EventWeight::Nothing,
        PipelineEvent::StoryCreated { .. } => EventWeight::Some,
        PipelineEvent::RunEnded { failed: true, .. } => EventWeight::Some,
        PipelineEvent::Merge {
            merge: MergeView::Conflict { .. } | MergeView::GateFailed { .. } | MergeView::Merged { .. },
            ..
        } => EventWeight::Some,
        PipelineEvent::NeedsPerson { .. }
        | PipelineEvent::PlanProposed { .. }
        | PipelineEvent::Alarm { .. }
        | PipelineEvent::Paused { .. } => EventWeight::Much,
        PipelineEvent::StoryChanged { .. }
        | PipelineEvent::RunPhase { .. }
        | PipelineEvent::RunSaid { .. }
        | PipelineEvent::RunEnded { .. }
        | PipelineEvent::Landing { .. }
        | PipelineEvent::Merge { .. } => EventWeight::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_lines_and_edits_are_not_told() {
        let quiet = PipelineEvent::StoryChanged { story: StoryId(1), title: "x".into() };
        assert_eq!(weight(&quiet), EventWeight::Nothing);
        assert_eq!(weight(&PipelineEvent::Alarm { story: None, text: "x".into() }), EventWeight::Much);
    }

    #[test]
    fn a_decision_is_over_once_its_story_has_no_reason_to_wait() {
        let changed = PipelineEvent::StoryChanged { story: StoryId(1), title: "x".into() };
        let held = BTreeMap::from([(StoryId(1), "its retries are used up".to_owned())]);
        let others = BTreeMap::from([(StoryId(2), "its retries are used up".to_owned())]);
        assert_eq!(lifted(&changed, &held, &[]), None);
        assert_eq!(lifted(&changed, &others, &[]), Some(StoryId(1)));
        let asks = PipelineEvent::NeedsPerson {
            story: StoryId(1),
            title: "x".into(),
            why: "its retries are used up".into(),
            wanted: pipeline::event::WantedDecision::Retry,
        };
        let asks = Arc::new(NumberedEvent { seq: 0, at: 0, event: asks });
        assert_eq!(lifted(&changed, &others, &[asks]), None, "it is not shown yet");
    }

    #[test]
    fn a_story_goes_on_if_that_is_the_last_that_happened_to_it() {
        let waits = |id| PipelineEvent::NeedsPerson {
            story: StoryId(id),
            title: "x".into(),
            why: "its retries are used up".into(),
            wanted: pipeline::event::WantedDecision::Retry,
        };
        let deleted = |id| PipelineEvent::StoryDeleted {
            story: StoryId(id),
            title: "x".into(),
            stage: pipeline::stage::Stage::Current,
            by: Actor::Pipeline,
        };
        let events = [waits(1), deleted(1), deleted(2), waits(2), waits(3)];
        let events: Vec<_> = events.map(|event| Arc::new(NumberedEvent { seq: 0, at: 0, event })).into();
        assert_eq!(gone_on(&events), [StoryId(1)]);
    }
}

//! The pipeline's events told to the rooms that follow: one short message for what belongs together.

mod digest;

use std::{sync::Arc, time::Duration};

use adapters::Outgoing;
use pipeline::event::NumberedEvent;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep_until},
};

use self::digest::digest;
use crate::{
    chat::{rooms::RoomInput, services::ChatServices},
    replies,
};

/// Events of so long a time are told together.
const TOGETHER: Duration = Duration::from_secs(1);

/// What a person has to know or do is told sooner.
const SOON: Duration = Duration::from_millis(150);

/// Events that wait beyond this are told at once.
const MOST: usize = 5_000;

/// Tells what comes on `events` until the bot goes down. Says nothing where no room follows.
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
            () = services.stop.cancelled() => return,
            next = events.recv() => match next {
                Ok(event) => {
                    let wait = match digest::weight(&event.event) {
                        digest::EventWeight::Nothing => continue,
                        digest::EventWeight::Some => TOGETHER,
                        digest::EventWeight::Much => SOON,
                    };
                    waiting.push(event);
                    let at = Instant::now() + if waiting.len() > MOST { Duration::ZERO } else { wait };
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
                for message in digest(&std::mem::take(&mut waiting), &cost) {
                    tell(&services, message);
                }
            }
        }
    }
}

fn tell(services: &ChatServices, message: Outgoing) {
    for room in &services.config().pipeline.rooms() {
        if !services.rooms.post(room, RoomInput::Tell(message.clone())) {
            tracing::warn!(%room, "a room that follows the pipeline cannot be told");
        }
    }
}

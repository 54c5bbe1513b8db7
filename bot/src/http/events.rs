//! `/ws`: every event of the pipeline, after a snapshot of its state.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::StatusCode,
    response::Response,
};
use pipeline::event::{NumberedEvent, PipelineSnapshot};
use serde_json::{Value, json};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{MissedTickBehavior, interval},
};

use crate::http::{connections::refuse, services::HttpServices};

// Proxies close a silent connection, and a dead client shows only when a write to it fails. A ping covers both.
const PING: Duration = Duration::from_secs(30);

/// How many clients may follow at a time.
pub const FOLLOWERS: usize = 64;

const LONGEST_MESSAGE: usize = 4096;

/// Takes a client on.
pub async fn follow(upgrade: WebSocketUpgrade, State(services): State<Arc<HttpServices>>) -> Response {
    let Ok(place) = services.followers.clone().try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "Too many clients follow the events.");
    };
    // Clients have nothing to say.
    upgrade.max_message_size(LONGEST_MESSAGE).on_upgrade(move |socket| async move {
        let _place = place;
        tokio::select! {
            () = services.tasks.stop.cancelled() => {}
            // A client that is gone is no error.
            _ = stream(socket, &services) => {}
        }
    })
}

async fn stream(mut socket: WebSocket, services: &HttpServices) -> Result<(), axum::Error> {
    let (snapshot, mut events) = services.pipeline.follow();
    let mut seen = send_snapshot(&mut socket, &snapshot).await?;
    let mut ping = interval(PING);
    // Otherwise a client that was slow to read would get all missed pings in a burst.
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            next = next(&mut events) => match next {
                // After a new snapshot the channel still holds events that the snapshot contains.
                Some(NextFrame::Event(event)) if event.seq <= seen => {}
                Some(NextFrame::Event(event)) => {
                    seen = event.seq;
                    socket.send(text(&event_line(&event))).await?;
                }
                // It lags too far behind. A new snapshot contains everything that it missed.
                Some(NextFrame::Anew) => seen = send_snapshot(&mut socket, &services.pipeline.snapshot()).await?,
                None => return Ok(()),
            },
            said = socket.recv() => match said {
                // Clients send nothing but pongs, but only a read notices that one has closed.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            _ = ping.tick() => socket.send(Message::Ping(Default::default())).await?,
        }
    }
}

enum NextFrame {
    Event(Arc<NumberedEvent>),
    Anew,
}

async fn next(events: &mut Receiver<Arc<NumberedEvent>>) -> Option<NextFrame> {
    match events.recv().await {
        Ok(event) => Some(NextFrame::Event(event)),
        Err(RecvError::Lagged(_)) => Some(NextFrame::Anew),
        Err(RecvError::Closed) => None,
    }
}

async fn send_snapshot(socket: &mut WebSocket, snapshot: &PipelineSnapshot) -> Result<u64, axum::Error> {
    socket.send(text(&snapshot_line(snapshot))).await?;
    Ok(snapshot.seq)
}

fn text(value: &Value) -> Message {
    Message::Text(value.to_string().into())
}

fn event_line(event: &NumberedEvent) -> Value {
    let mut line = serde_json::to_value(event).unwrap_or_default();
    line["type"] = json!("event");
    line
}

fn snapshot_line(snapshot: &PipelineSnapshot) -> Value {
    let stories: Vec<Value> = snapshot
        .board
        .stories()
        .map(|story| json!({ "id": story.id(), "title": story.front.name, "kind": story.file.kind, "stage": story.stage }))
        .collect();
    let problems: Vec<String> = snapshot.board.problems.iter().map(ToString::to_string).collect();
    json!({
        "type": "snapshot",
        "seq": snapshot.seq,
        "base": snapshot.base,
        "protection": snapshot.wall.to_string(),
        "paused": snapshot.paused,
        "stories": stories,
        "problems": problems,
        "runs": snapshot.runs,
        "workers": snapshot.workers,
        "merges": snapshot.merges.iter().map(|(id, merge)| (id.to_string(), json!(merge))).collect::<serde_json::Map<_, _>>(),
        "quarantined": snapshot.quarantined.keys().collect::<Vec<_>>(),
        "holds": snapshot.holds.iter().map(|(id, hold)| (id.to_string(), json!(hold))).collect::<serde_json::Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_and_an_event_say_what_they_are() {
        let snapshot = snapshot_line(&crate::replies::board::fixture::snapshot());
        assert_eq!((snapshot["type"].as_str(), snapshot["seq"].as_u64()), (Some("snapshot"), Some(7)));
        assert_eq!(snapshot["stories"][1]["stage"], "current");
        assert_eq!(snapshot["merges"]["4"]["state"], "queued");
        let event = pipeline::event::PipelineEvent::Paused { why: None };
        let line = event_line(&NumberedEvent { seq: 8, at: 5, event });
        assert_eq!(line, json!({ "type": "event", "seq": 8, "at": 5, "event": "paused", "why": null }));
    }
}

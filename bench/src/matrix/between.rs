//! A reverse proxy between one bot and the homeserver. It records when the bot receives and sends, and can copy events.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

use crate::world::PATIENCE;

/// A reverse proxy on a port of its own.
pub struct Between {
    url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    homeserver: String,
    http: reqwest::Client,
    noted: Mutex<Noted>,
    changed: Notify,
}

#[derive(Default)]
struct Noted {
    /// Answers to `/sync`, and when they were handed over.
    heard: Vec<(Instant, Bytes)>,
    /// When the bot sent each message.
    sent: Vec<Instant>,
    /// The ids of the messages that the homeserver has accepted.
    taken: Vec<String>,
    /// How many copies of the next message the bot gets. Its answers to them are not passed on.
    copies: Option<usize>,
    /// Whether the bot's messages are dropped.
    ends_here: bool,
}

impl Between {
    /// Starts a proxy before this homeserver.
    pub async fn before(homeserver: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            homeserver: homeserver.to_owned(),
            http: reqwest::Client::builder().no_proxy().build()?,
            noted: Mutex::default(),
            changed: Notify::new(),
        });
        let app = Router::new().fallback(pass).with_state(shared.clone());
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { url, shared, server })
    }

    /// The address that the bot uses as its homeserver.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Clears the records and passes everything on.
    pub fn begin(&self) {
        *self.shared.noted() = Noted::default();
    }

    /// Delivers the next message this many times, as events with different ids in one answer. The bot's answers are dropped, so
    /// that the homeserver's speed is not measured.
    pub fn copy_next(&self, copies: usize) {
        *self.shared.noted() = Noted { copies: Some(copies), ..Noted::default() };
    }

    /// The time from the delivery of the event until the bot sent a message.
    pub fn own_part(&self, event: &str) -> anyhow::Result<Duration> {
        let noted = self.shared.noted();
        let heard = noted
            .heard
            .iter()
            .find(|(_, body)| contains(body, event))
            .context("the event was never delivered")?;
        let sent = noted.sent.iter().find(|at| **at >= heard.0).context("the bot sent nothing")?;
        Ok(*sent - heard.0)
    }

    /// Waits until the bot has sent this many messages. The error is the number that it sent.
    pub async fn until_sent(&self, count: usize) -> Result<(), usize> {
        self.until(|noted| noted.sent.len(), count).await
    }

    /// Waits until the homeserver has accepted this many messages. The error is the number that it accepted.
    pub async fn until_taken(&self, count: usize) -> Result<(), usize> {
        self.until(|noted| noted.taken.len(), count).await
    }

    /// The id of the first message that the homeserver accepts.
    pub async fn first_taken(&self) -> anyhow::Result<String> {
        let taken = self.until_taken(1).await;
        ensure!(taken.is_ok(), "the bot says nothing");
        self.shared.noted().taken.first().cloned().context("nothing was taken")
    }

    /// The time from the first delivery until the last message.
    pub fn whole(&self) -> anyhow::Result<Duration> {
        let noted = self.shared.noted();
        let first = noted.heard.iter().map(|(at, _)| *at).min().context("it heard nothing")?;
        let last = noted.sent.iter().copied().max().context("it said nothing")?;
        Ok(last.saturating_duration_since(first))
    }

    async fn until(&self, count_of: impl Fn(&Noted) -> usize, count: usize) -> Result<(), usize> {
        let enough = async {
            loop {
                // Before the count, or a change between the two would be missed.
                let changed = self.shared.changed.notified();
                if count_of(&self.shared.noted()) >= count {
                    return;
                }
                changed.await;
            }
        };
        let outcome = tokio::time::timeout(PATIENCE / 5, enough).await;
        outcome.map_err(|_| count_of(&self.shared.noted()))
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn contains(body: &[u8], words: &str) -> bool {
    body.windows(words.len()).any(|window| window == words.as_bytes())
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let path = request.uri().path().to_owned();
    let is_message = request.method() == Method::PUT && path.contains("/send/m.room.message/");
    if is_message {
        let number = {
            let mut noted = shared.noted();
            // Now and not after the answer: the time of the homeserver is not the bot's.
            noted.sent.push(Instant::now());
            noted.ends_here.then_some(noted.sent.len())
        };
        shared.changed.notify_waiters();
        if let Some(number) = number {
            let answer = json!({ "event_id": format!("$answer{number}") });
            return ([(CONTENT_TYPE, "application/json")], answer.to_string()).into_response();
        }
    }
    let Ok((status, kind, body)) = forward(&shared, request).await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let mut body = body;
    if is_message && status.is_success() {
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        shared.noted().taken.push(answer["event_id"].as_str().unwrap_or_default().to_owned());
        shared.changed.notify_waiters();
    }
    if path.ends_with("/sync") {
        let mut noted = shared.noted();
        if let Some(copied) = noted.copies.and_then(|copies| copied(&body, copies)) {
            body = copied;
            (noted.copies, noted.ends_here) = (None, true);
        }
        if contains(&body, "m.room.message") {
            noted.heard.push((Instant::now(), body.clone()));
        }
    }
    (status, [(CONTENT_TYPE, kind)], body).into_response()
}

async fn forward(shared: &Shared, request: Request<Body>) -> anyhow::Result<(StatusCode, String, Bytes)> {
    let (parts, body) = request.into_parts();
    let rest = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    let mut forwarded = shared.http.request(parts.method, format!("{}{rest}", shared.homeserver));
    for name in ["authorization", "content-type", "accept", "user-agent"] {
        if let Some(value) = parts.headers.get(name) {
            forwarded = forwarded.header(name, value);
        }
    }
    let answer = forwarded.body(to_bytes(body, usize::MAX).await?).send().await?;
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or("").to_owned();
    Ok((answer.status(), kind, answer.bytes().await?))
}

/// The answer to a `/sync` with this many copies of its message; `None` if it has none.
fn copied(body: &[u8], copies: usize) -> Option<Bytes> {
    let mut answer: Value = serde_json::from_slice(body).ok()?;
    let rooms = answer["rooms"]["join"].as_object_mut()?;
    let events = rooms.values_mut().find_map(|room| {
        let events = room["timeline"]["events"].as_array_mut()?;
        events.iter().any(|event| event["type"] == "m.room.message").then_some(events)
    })?;
    let message = events.iter().find(|event| event["type"] == "m.room.message")?.clone();
    events.retain(|event| event["type"] != "m.room.message");
    events.extend((0..copies).map(|number| {
        let mut copy = message.clone();
        copy["event_id"] = format!("$copy{number}-{}", uuid::Uuid::new_v4()).into();
        copy
    }));
    Some(answer.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_copied_with_ids_of_its_own_and_nothing_else_is() {
        let event = |kind: &str| json!({ "type": kind, "event_id": "$1" });
        let answer =
            |events: Value| json!({ "rooms": { "join": { "!r": { "timeline": { "events": events } } } } });
        let body = answer(json!([event("m.room.member"), event("m.room.message")])).to_string();
        let copied_body = copied(body.as_bytes(), 3).unwrap();
        let copied_answer: Value = serde_json::from_slice(&copied_body).unwrap();
        let events = copied_answer["rooms"]["join"]["!r"]["timeline"]["events"].as_array().unwrap();
        let ids: std::collections::BTreeSet<_> =
            events.iter().map(|event| event["event_id"].to_string()).collect();
        assert_eq!((events.len(), ids.len()), (4, 4));
        assert!(copied(answer(json!([event("m.room.member")])).to_string().as_bytes(), 3).is_none());
        assert!(copied(b"no JSON", 3).is_none());
    }
}

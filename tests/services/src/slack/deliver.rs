//! Delivers events to the app: over its sockets, or as signed requests to its addresses. Repeats until they are acknowledged.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use axum::extract::ws::{Message as Frame, WebSocket};
use futures::{SinkExt as _, StreamExt as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::mpsc;

use super::{SIGNING_SECRET, Shared, state::State};

const ACKNOWLEDGE: Duration = Duration::from_secs(3);
// Slack tries again three times: at once, after 1 and after 5 minutes. A test cannot wait so long, so over a socket this
// one tries every 3 s.
const REPEATS: u32 = 100;
/// The pause before the next try.
const AGAIN: Duration = Duration::from_millis(200);
/// As often a request of the HTTP mode comes again.
const POST_REPEATS: u32 = 3;

/// Something that the app is to hear.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub id: String,
    pub kind: &'static str,
    pub payload: Value,
    pub attempt: u32,
    pub sent: Option<Instant>,
    /// The socket it went over.
    pub socket: u64,
}

/// One Socket Mode connection of the app.
pub struct SocketHandle {
    pub id: u64,
    orders: mpsc::UnboundedSender<Order>,
    deaf: bool,
}

enum Order {
    Send(String),
    Close,
    Drop,
    Deafen,
}

impl SocketHandle {
    /// Drops the connection without a close frame.
    pub fn drop_connection(&self) {
        let _ = self.orders.send(Order::Drop);
    }

    pub fn close(&self) {
        let _ = self.orders.send(Order::Close);
    }

    /// From now on nothing is read, answered or sent, though the connection stays open.
    pub fn deafen(&mut self) {
        self.deaf = true;
        let _ = self.orders.send(Order::Deafen);
    }

    pub fn send(&self, value: &Value) {
        let _ = self.orders.send(Order::Send(value.to_string()));
    }
}

pub async fn serve(shared: Arc<Shared>, socket: WebSocket) {
    let (orders, mut heard) = mpsc::unbounded_channel();
    let id = shared.change(|state| {
        let id = state.number();
        state.opened += 1;
        state.sockets.push(SocketHandle { id, orders, deaf: false });
        let connections = state.sockets.len() + state.foreign_sockets;
        let hello = json!({
            "type": "hello", "num_connections": connections, "connection_info": { "app_id": "A1" },
            "debug_info": { "host": "stand-in", "approximate_connection_time": 18060 },
        });
        if let Some(socket) = state.sockets.last() {
            socket.send(&hello);
        }
        id
    });
    send_waiting(&shared);
    let (mut sink, mut stream) = socket.split();
    loop {
        tokio::select! {
            order = heard.recv() => match order {
                Some(Order::Send(text)) => if sink.send(Frame::text(text)).await.is_err() { break },
                Some(Order::Close) => { let _ = sink.send(Frame::Close(None)).await; break }
                Some(Order::Deafen) => {
                    // Holds the connection and does nothing; only the order to drop it is obeyed.
                    while !matches!(heard.recv().await, Some(Order::Drop) | None) {}
                    break;
                }
                Some(Order::Drop) | None => break,
            },
            frame = stream.next() => match frame {
                Some(Ok(Frame::Text(text))) => acknowledge(&shared, &text),
                Some(Ok(Frame::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
        }
    }
    shared.change(|state| {
        state.sockets.retain(|socket| socket.id != id);
        // Unacknowledged envelopes of a broken connection come again over another one.
        let lost: Vec<String> = state
            .unacknowledged
            .values()
            .filter(|envelope| envelope.socket == id)
            .map(|it| it.id.clone())
            .collect();
        for id in lost {
            if let Some(envelope) = state.unacknowledged.remove(&id) {
                state.waiting.push_back(Envelope { attempt: envelope.attempt + 1, sent: None, ..envelope });
            }
        }
    });
    send_waiting(&shared);
}

fn acknowledge(shared: &Arc<Shared>, text: &str) {
    let Ok(answer) = serde_json::from_str::<Value>(text) else { return };
    let id = answer["envelope_id"].as_str().unwrap_or_default();
    shared.change(|state| {
        let Some(envelope) = state.unacknowledged.remove(id) else { return };
        let after = envelope.sent.map_or(Duration::ZERO, |sent| sent.elapsed());
        state.acknowledged.push((envelope.kind.to_owned(), after));
        // An acknowledgement may hold the answer to a command.
        if let Some(said) = answer["payload"]["text"].as_str().filter(|_| envelope.kind == "slash_commands") {
            let payload = &envelope.payload;
            let text = |key: &str| payload[key].as_str().unwrap_or_default().to_owned();
            let (channel, user) = (text("channel_id"), text("user_id"));
            super::api::add_ephemeral(state, &channel, &user, None, &json!({ "text": said }));
        }
    });
}

/// Sends an event to the app.
pub fn send_event(shared: &Arc<Shared>, kind: &'static str, payload: Value) {
    let hooks = shared.state().hooks.clone();
    if let Some(hooks) = hooks {
        let address = match kind {
            "events_api" => hooks.events,
            "slash_commands" => hooks.commands,
            _ => hooks.interactions,
        };
        // Decided now: events of before may still wait to be posted.
        let doubted = shared.change(|state| {
            let faults = state.faults.get_mut("hook");
            faults.and_then(std::collections::VecDeque::pop_front).is_some()
        });
        let _ = shared.posts.send(Post { address, kind, payload, doubted });
        return;
    }
    let envelope =
        Envelope { id: uuid::Uuid::new_v4().to_string(), kind, payload, attempt: 0, sent: None, socket: 0 };
    shared.change(|state| state.waiting.push_back(envelope));
    send_waiting(shared);
}

/// Sends what waits over the connections in turn, as far as there are any.
fn send_waiting(shared: &Arc<Shared>) {
    let sent: Vec<String> = shared.change(|state| {
        let mut sent = Vec::new();
        while !state.sockets.is_empty() {
            let Some(envelope) = state.waiting.pop_front() else { break };
            sent.push(send(state, envelope));
        }
        sent
    });
    for id in sent {
        let shared = shared.clone();
        tokio::spawn(async move {
            tokio::time::sleep(ACKNOWLEDGE).await;
            again(&shared, &id);
        });
    }
}

fn send(state: &mut State, envelope: Envelope) -> String {
    let turn = usize::try_from(state.number()).unwrap_or(0) % state.sockets.len();
    let socket = &state.sockets[turn];
    let mut frame = json!({
        "envelope_id": envelope.id, "type": envelope.kind, "payload": envelope.payload,
        "accepts_response_payload": envelope.kind != "events_api",
    });
    if envelope.kind == "events_api" {
        frame["retry_attempt"] = envelope.attempt.into();
        frame["retry_reason"] = if envelope.attempt == 0 { "" } else { "timeout" }.into();
    }
    if !socket.deaf {
        socket.send(&frame);
    }
    let id = envelope.id.clone();
    let envelope = Envelope { sent: Some(Instant::now()), socket: socket.id, ..envelope };
    state.unacknowledged.insert(id.clone(), envelope);
    id
}

/// Events come again; commands and presses do not, the person sees an error.
fn again(shared: &Arc<Shared>, id: &str) {
    let waits = shared.change(|state| {
        let Some(envelope) = state.unacknowledged.remove(id) else { return false };
        let again = state.redelivers && envelope.kind == "events_api" && envelope.attempt < REPEATS;
        if again {
            let attempt = envelope.attempt + 1;
            state.waiting.push_back(Envelope { attempt, sent: None, ..envelope });
        }
        again
    });
    if waits {
        send_waiting(shared);
    }
}

/// A request of the HTTP mode.
pub struct Post {
    address: String,
    kind: &'static str,
    payload: Value,
    /// Whether its first answer is taken for lost.
    doubted: bool,
}

pub async fn post_all(shared: Arc<Shared>, mut posts: mpsc::UnboundedReceiver<Post>) {
    while let Some(next) = posts.recv().await {
        post(&shared, next).await;
    }
}

/// Posts an event until it is taken, as often as Slack does.
async fn post(shared: &Shared, Post { address, kind, payload, mut doubted }: Post) {
    let (body, content_type) = match kind {
        "events_api" => (payload.to_string(), "application/json"),
        "slash_commands" => (form(&payload), "application/x-www-form-urlencoded"),
        _ => (form(&json!({ "payload": payload.to_string() })), "application/x-www-form-urlencoded"),
    };
    let tries = if kind == "events_api" { POST_REPEATS + 1 } else { 1 };
    for attempt in 0..tries {
        let sent = Instant::now();
        let mut request = signed(&address, body.clone(), content_type, SystemTime::now());
        if attempt > 0 {
            request =
                request.header("x-slack-retry-num", attempt).header("x-slack-retry-reason", "http_timeout");
        }
        let answer = tokio::time::timeout(ACKNOWLEDGE, request.send()).await;
        let taken = matches!(&answer, Ok(Ok(answer)) if answer.status().is_success());
        if !taken {
            // Seen when a test fails. What is refused at once may be taken a moment later; Slack waits a minute and more.
            eprintln!("stand-in Slack: {kind} was not taken at try {attempt}: {answer:?}");
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        // The first answer that came is the one in doubt, whatever try it answers: under load one before may have timed out unheard.
        if std::mem::take(&mut doubted) {
            continue;
        }
        shared.change(|state| state.acknowledged.push((kind.to_owned(), sent.elapsed())));
        return;
    }
}

/// A request as Slack signs it: <https://docs.slack.dev/authentication/verifying-requests-from-slack>
pub fn signed(address: &str, body: String, content_type: &str, at: SystemTime) -> reqwest::RequestBuilder {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let signature = signature(&seconds.to_string(), &body);
    reqwest::Client::new()
        .post(address)
        .header("content-type", content_type)
        .header("x-slack-request-timestamp", seconds)
        .header("x-slack-signature", signature)
        .body(body)
}

/// `v0=` and the HMAC of version, time and body.
pub fn signature(timestamp: &str, body: &str) -> String {
    signature_with(SIGNING_SECRET, timestamp, body)
}

fn signature_with(secret: &str, timestamp: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(format!("v0:{timestamp}:{body}").as_bytes());
    format!("v0={}", hex::encode(mac.finalize().into_bytes()))
}

fn form(fields: &Value) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.as_object().into_iter().flatten() {
        form.append_pair(name, value.as_str().unwrap_or_default());
    }
    form.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in Slack's documentation.
    #[test]
    fn the_documented_signature_is_ours() {
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        assert_eq!(
            signature_with("8f742231b10e8888abcd99yyyzzz85a5", "1531420618", body),
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
        );
    }
}

//! Socket Mode: <https://docs.slack.dev/apis/events-api/using-socket-mode>. One connection, from here to Slack.
//!
//! An envelope is acknowledged as soon as it is queued, whatever the bot is doing. When Slack announces that it will close the
//! connection, the next one is opened first. A connection that answers no ping is given up after seconds.

use std::time::Duration;

use futures::{FutureExt as _, SinkExt as _, StreamExt as _, future::BoxFuture};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::Instant};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use super::{
    adapter::Slack,
    event::{self, SlackEvent, text},
    web::TokenKind,
};
use crate::{
    AdapterError, Inbox,
    slack::{call_failure::CallFailure, notices},
};

// tokio-tungstenite has no limit of its own, and a proxy may accept a connection and then stay silent.
const GREETING: Duration = Duration::from_secs(10);
// A half-open connection looks connected but receives nothing. Only our own pings show that within seconds.
const PING: Duration = Duration::from_secs(5);
// Two unanswered pings and two seconds more, since an answer may be late.
const PONG_TIMEOUT: Duration = Duration::from_secs(12);
// A write that takes longer means a full buffer: the peer no longer reads.
const WRITE: Duration = Duration::from_secs(5);
// Slack may still send over the old connection after the next one is up. It closes it much earlier than this.
const FAREWELL: Duration = Duration::from_secs(60);
// Slack counts a broken connection for a while. Without this allowance the bot would report itself as a second program.
const COUNTED: Duration = Duration::from_secs(300);
// Envelopes are small. The limit bounds the memory that a faulty peer can take.
const LONGEST: usize = 4 * 1024 * 1024;

struct SlackSocket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    opened: Instant,
    heard: Instant,
    greeted: bool,
}

/// The connection that follows the present one.
#[derive(Default)]
struct NextSocket<'a> {
    opening: Option<BoxFuture<'a, Result<SlackSocket, AdapterError>>>,
    again: Option<Instant>,
}

enum SocketFrame {
    Hello { connections: u64 },
    Leave { reason: String },
    Envelope { id: String, heard: Vec<SlackEvent> },
    Other,
}

impl Slack {
    /// Serves Socket Mode until the connection is lost.
    pub(super) async fn serve_socket(&self, inbox: &Inbox) -> AdapterError {
        let mut current = match self.connect().await {
            Ok(socket) => socket,
            Err(error) => return error,
        };
        let mut old: Option<SlackSocket> = None;
        let mut next = NextSocket::default();
        let mut tick = tokio::time::interval(PING);
        loop {
            tokio::select! {
                frame = current.next() => match frame {
                    Ok(frame) => {
                        let ours = 1 + u64::from(old.is_some());
                        match self.take_frame(&mut current, frame, inbox, ours).await {
                            Ok(false) => {}
                            Ok(true) => next.begin(self),
                            Err(error) => return error,
                        }
                    }
                    Err(why) => match next.opening.take() {
                        // Slack had announced this close, and the next connection is already being opened.
                        Some(opening) => match opening.await {
                            Ok(socket) => current = socket,
                            Err(error) => return error,
                        },
                        None => return self.connection_error(why),
                    },
                },
                frame = next_of(&mut old) => {
                    let taken = match (frame, &mut old) {
                        (Ok(frame), Some(socket)) => self.take_frame(socket, frame, inbox, 2).await.is_ok(),
                        _ => false,
                    };
                    if !taken {
                        old = None;
                    }
                }
                opened = next.opened() => match opened {
                    Ok(socket) => old = Some(std::mem::replace(&mut current, socket)),
                    Err(error) => return error,
                },
                _ = tick.tick() => {
                    if let Err(why) = current.check().await {
                        return self.connection_error(why);
                    }
                    old = old.filter(|_| current.opened.elapsed() < FAREWELL);
                    if next.is_due() || self.wants_another_look() {
                        next.begin(self);
                    }
                }
            }
        }
    }

    async fn take_frame(
        &self,
        socket: &mut SlackSocket,
        frame: SocketFrame,
        inbox: &Inbox,
        ours: u64,
    ) -> Result<bool, AdapterError> {
        match frame {
            SocketFrame::Hello { connections } => {
                inbox.set_connected();
                self.count_connections(connections, ours, inbox);
            }
            SocketFrame::Leave { reason } if reason == "link_disabled" => {
                return Err(AdapterError::Rejected(notices::LINK_DISABLED.into()));
            }
            SocketFrame::Leave { reason } => {
                tracing::debug!(reason, "Slack will close this connection");
                return Ok(true);
            }
            SocketFrame::Envelope { id, heard } => {
                if heard.contains(&SlackEvent::Uninstalled) {
                    self.token_may_be_gone();
                }
                // Without an acknowledgement Slack sends the event again, so Slack is the buffer while ours is full.
                if !self.receiver().enqueue(heard) {
                    tracing::warn!(
                        "so much waits that an event is not acknowledged; Slack will tell it again"
                    );
                    return Ok(false);
                }
                let acknowledged =
                    socket.send_frame(Message::text(json!({ "envelope_id": id }).to_string())).await;
                acknowledged.map_err(|why| self.connection_error(why))?;
            }
            SocketFrame::Other => {}
        }
        Ok(false)
    }

    fn connection_error(&self, why: String) -> AdapterError {
        self.watch().connection_broke(Instant::now(), COUNTED);
        AdapterError::Unreachable(why)
    }

    // Slack gives each event to one connection only. A second program on the app takes part of the messages,
    // and nobody would know why.
    fn count_connections(&self, connections: u64, ours: u64, inbox: &Inbox) {
        let ours = ours + self.watch().broken_connections(Instant::now());
        let note = (connections > ours).then(|| notices::second_instance(connections, ours));
        self.watch().note_second(note, inbox);
    }

    fn wants_another_look(&self) -> bool {
        self.watch().second_is_due(Instant::now())
    }

    /// The address of a new connection; works once, for half a minute.
    pub(super) async fn socket_url(&self) -> Result<String, CallFailure> {
        let answer = self.web().call_as(TokenKind::App, "apps.connections.open", &json!({})).await?;
        Ok(text(&answer, "url").to_owned())
    }

    async fn connect(&self) -> Result<SlackSocket, AdapterError> {
        if let Some(url) = self.watch().take_address(Instant::now()) {
            match open_socket(url).await {
                Ok(socket) => return Ok(socket),
                Err(error) => tracing::debug!(%error, "the address from the start did not work"),
            }
        }
        let url = self.socket_url().await.map_err(app_token_error)?;
        open_socket(url).await
    }
}

async fn open_socket(url: String) -> Result<SlackSocket, AdapterError> {
    let config = WebSocketConfig::default().max_message_size(Some(LONGEST));
    let opening = connect_async_with_config(url, Some(config), false);
    let (stream, _) = match tokio::time::timeout(GREETING, opening).await {
        Ok(Ok(opened)) => opened,
        // The error's own text may hold the address, which is as good as a key.
        Ok(Err(error)) => return Err(AdapterError::Unreachable(kind_of(&error))),
        Err(_) => return Err(AdapterError::Unreachable("the socket's handshake takes too long".into())),
    };
    let now = Instant::now();
    Ok(SlackSocket { stream, opened: now, heard: now, greeted: false })
}

/// The error of a call with the app token.
pub(super) fn app_token_error(trouble: CallFailure) -> AdapterError {
    match trouble {
        CallFailure::Auth(code) => {
            AdapterError::Rejected(format!("`slack.app_token`: {}", notices::app_token(&code)))
        }
        CallFailure::Scope(_) => {
            AdapterError::Rejected(format!("`slack.app_token`: {}", notices::app_token("missing_scope")))
        }
        trouble => trouble.in_channel("Socket Mode"),
    }
}

fn kind_of(error: &tokio_tungstenite::tungstenite::Error) -> String {
    use tokio_tungstenite::tungstenite::Error;
    match error {
        Error::Io(error) => format!("the socket cannot be opened: {error}"),
        Error::Tls(error) => format!("the socket's TLS failed: {error}"),
        Error::Http(answer) => format!("the socket is refused with {}", answer.status()),
        _ => "the socket's handshake failed".into(),
    }
}

async fn next_of(socket: &mut Option<SlackSocket>) -> Result<SocketFrame, String> {
    match socket {
        Some(socket) => socket.next().await,
        None => std::future::pending().await,
    }
}

impl<'a> NextSocket<'a> {
    fn begin(&mut self, slack: &'a Slack) {
        self.again = None;
        self.opening.get_or_insert_with(|| slack.connect().boxed());
    }

    fn is_due(&self) -> bool {
        self.again.is_some_and(|at| at <= Instant::now())
    }

    /// The next connection once it is open. After a failure that may pass it is due again later: the present one still works.
    async fn opened(&mut self) -> Result<SlackSocket, AdapterError> {
        let Some(opening) = &mut self.opening else { return std::future::pending().await };
        let opened = opening.await;
        self.opening = None;
        let wait = match &opened {
            Err(AdapterError::Unreachable(_)) => PING,
            Err(AdapterError::RateLimited { retry_after }) => *retry_after,
            _ => return opened,
        };
        self.again = Some(Instant::now() + wait);
        std::future::pending().await
    }
}

impl SlackSocket {
    async fn next(&mut self) -> Result<SocketFrame, String> {
        let message = match self.stream.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(kind_of_end(&error)),
            None => return Err("the connection was closed".into()),
        };
        self.heard = Instant::now();
        let frame = match message {
            Message::Text(text) => SocketFrame::read(&text),
            Message::Close(_) => return Err("Slack closed the connection".into()),
            // The library answers pings itself at the next read or write.
            Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {
                SocketFrame::Other
            }
        };
        self.greeted |= matches!(frame, SocketFrame::Hello { .. });
        Ok(frame)
    }

    async fn send_frame(&mut self, message: Message) -> Result<(), String> {
        match tokio::time::timeout(WRITE, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(kind_of_end(&error)),
            Err(_) => Err("the connection takes nothing more".into()),
        }
    }

    async fn check(&mut self) -> Result<(), String> {
        if self.heard.elapsed() > PONG_TIMEOUT {
            return Err("the connection was deaf: no answer to two pings".into());
        }
        if !self.greeted && self.opened.elapsed() > GREETING {
            return Err("Slack opened the connection and did not greet".into());
        }
        self.send_frame(Message::Ping(Default::default())).await
    }
}

fn kind_of_end(error: &tokio_tungstenite::tungstenite::Error) -> String {
    use tokio_tungstenite::tungstenite::Error;
    match error {
        Error::Io(error) => format!("the connection broke: {error}"),
        Error::Capacity(_) => "Slack sent more than fits".into(),
        _ => "the connection broke".into(),
    }
}

impl SocketFrame {
    fn read(text_: &str) -> Self {
        let Ok(value) = serde_json::from_str::<Value>(text_) else {
            tracing::warn!("Slack sent a line that is no JSON");
            return Self::Other;
        };
        match text(&value, "type") {
            // `num_connections` counts all programs on this app, not only this one.
            "hello" => Self::Hello { connections: value["num_connections"].as_u64().unwrap_or(1) },
            "disconnect" => Self::Leave { reason: text(&value, "reason").to_owned() },
            kind => Self::envelope(kind, &value),
        }
    }

    // Whatever has an id is acknowledged, unknown kinds too, or Slack would send it again and again.
    fn envelope(kind: &str, value: &Value) -> Self {
        let payload = &value["payload"];
        let heard = match kind {
            "events_api" => event::from_event(payload).into_iter().collect(),
            "interactive" => event::from_interaction(payload),
            "slash_commands" => event::from_slash(payload).into_iter().collect(),
            _ => Vec::new(),
        };
        match text(value, "envelope_id") {
            "" => Self::Other,
            id => Self::Envelope { id: id.to_owned(), heard },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two TLS providers in one program would make rustls panic instead.
    #[tokio::test]
    async fn a_socket_over_tls_can_be_tried() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("wss://{}/link?ticket=secret", listener.local_addr().unwrap());
        let refuse = async { drop(listener.accept().await) };
        let (tried, ()) = tokio::join!(connect_async_with_config(url, None, false), refuse);
        let why = kind_of(&tried.map(drop).unwrap_err());
        assert!(!why.contains("secret") && why.contains("cannot be opened"), "{why}");
    }

    #[test]
    fn whatever_has_an_id_is_acknowledged_and_nothing_is_too_odd() {
        let frame = |text: &str| match SocketFrame::read(text) {
            SocketFrame::Hello { connections } => format!("hello {connections}"),
            SocketFrame::Leave { reason } => format!("leave {reason}"),
            SocketFrame::Envelope { id, heard } => format!("{id} {}", heard.len()),
            SocketFrame::Other => "other".into(),
        };
        assert_eq!(frame(r#"{"type":"hello","num_connections":2}"#), "hello 2");
        assert_eq!(frame(r#"{"type":"hello"}"#), "hello 1");
        assert_eq!(frame(r#"{"type":"disconnect"}"#), "leave ");
        assert_eq!(frame(r#"{"type":"of_a_new_kind","envelope_id":"e1","payload":null}"#), "e1 0");
        assert_eq!(frame(r#"{"type":"events_api","envelope_id":"e2","payload":{"event":7}}"#), "e2 0");
        for odd in ["", "null", "[]", "7", "{\"envelope_id\":7}", "Ping from applink"] {
            assert_eq!(frame(odd), "other", "{odd}");
        }
    }
}

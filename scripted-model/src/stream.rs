//! The wire form of an answer: server-sent events as the Messages API streams them, or one JSON message.
//!
//! Event names and shapes: <https://docs.claude.com/en/docs/build-with-claude/streaming>, checked against Claude Code 2.1.330.

use std::{io, time::Duration};

use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::script::ReplyPart;

/// Fields at the head of every message.
#[derive(Debug, Clone)]
pub(super) struct MessageHead {
    pub(super) model: String,
    pub(super) input_tokens: usize,
}

type Item = Result<Event, io::Error>;

/// The answer as a stream that is played while it is read; it breaks off when `stop` is cancelled.
pub(super) fn streamed(
    head: MessageHead,
    parts: Vec<ReplyPart>,
    stop: CancellationToken,
) -> Sse<impl Stream<Item = Item>> {
    let (sender, receiver) = mpsc::channel(16);
    let player = StreamPlayer { events: sender.clone(), blocks: 0, output: 0, calls: false };
    tokio::spawn(async move {
        tokio::select! {
            () = player.play(head, parts) => {}
            // The reader went away: a turn that waits at a gate must not wait for ever.
            () = sender.closed() => {}
            () = stop.cancelled() => drop(sender.try_send(Err(broken_off()))),
        }
    });
    let ping = Event::default().event("ping").data(r#"{"type":"ping"}"#);
    Sse::new(flushed(receiver)).keep_alive(KeepAlive::new().interval(Duration::from_secs(10)).event(ping))
}

/// The answer as one JSON message. Errors of the stream do not apply to it.
pub(super) async fn whole(head: MessageHead, parts: Vec<ReplyPart>) -> Value {
    let (mut content, mut output, mut calls) = (Vec::new(), 0, false);
    for part in parts {
        match part {
            ReplyPart::Say { text, .. } => {
                output += tokens(&text);
                content.push(json!({"type": "text", "text": text}));
            }
            ReplyPart::Call { tool, input } => {
                calls = true;
                content.push(json!({"type": "tool_use", "id": tool_use_id(), "name": tool, "input": input}));
            }
            ReplyPart::Wait(gate) => gate.pass().await,
            ReplyPart::Cut(_) | ReplyPart::Break { .. } => {}
        }
    }
    let mut message = message(&head, output);
    message["content"] = Value::Array(content);
    message["stop_reason"] = stop_reason(calls).into();
    message
}

/// About four bytes are a token; the CLI shows the number and prices it.
pub(super) fn tokens(text: &str) -> usize {
    text.len() / 4 + 1
}

struct StreamPlayer {
    events: mpsc::Sender<Item>,
    blocks: usize,
    output: usize,
    calls: bool,
}

impl StreamPlayer {
    async fn play(mut self, head: MessageHead, parts: Vec<ReplyPart>) {
        self.send(json!({"type": "message_start", "message": message(&head, 1)})).await;
        for part in parts {
            match part {
                ReplyPart::Say { text, pause } => self.say(&text, pause).await,
                ReplyPart::Call { tool, input } => self.call(&tool, &input).await,
                ReplyPart::Wait(gate) => gate.pass().await,
                ReplyPart::Cut(left) if left.take() => return self.cut().await,
                ReplyPart::Break { kind, left } if left.take() => {
                    return self.send(error(&kind, "scripted")).await;
                }
                ReplyPart::Cut(_) | ReplyPart::Break { .. } => {}
            }
        }
        let delta = json!({"stop_reason": stop_reason(self.calls), "stop_sequence": null});
        let usage = json!({"output_tokens": self.output.max(1)});
        self.send(json!({"type": "message_delta", "delta": delta, "usage": usage})).await;
        self.send(json!({"type": "message_stop"})).await;
    }

    async fn say(&mut self, text: &str, pause: Duration) {
        self.output += tokens(text);
        self.begin(json!({"type": "text", "text": ""})).await;
        for piece in pieces(text, pause) {
            self.delta(json!({"type": "text_delta", "text": piece})).await;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        self.end().await;
    }

    async fn call(&mut self, tool: &str, input: &Value) {
        self.calls = true;
        let input = input.to_string();
        self.output += tokens(&input);
        self.begin(json!({"type": "tool_use", "id": tool_use_id(), "name": tool, "input": {}})).await;
        for piece in pieces(&input, Duration::ZERO) {
            self.delta(json!({"type": "input_json_delta", "partial_json": piece})).await;
        }
        self.end().await;
    }

    async fn begin(&self, block: Value) {
        self.send(json!({"type": "content_block_start", "index": self.blocks, "content_block": block})).await;
    }

    async fn delta(&self, delta: Value) {
        self.send(json!({"type": "content_block_delta", "index": self.blocks, "delta": delta})).await;
    }

    async fn end(&mut self) {
        self.send(json!({"type": "content_block_stop", "index": self.blocks})).await;
        self.blocks += 1;
    }

    async fn cut(&self) {
        // A reader that is gone needs no cut.
        let _ = self.events.send(Err(broken_off())).await;
    }

    async fn send(&self, event: Value) {
        let name = event["type"].as_str().unwrap_or_default();
        // If the reader is gone, `closed` stops the player, see `streamed`.
        let _ = self.events.send(Ok(Event::default().event(name).data(event.to_string()))).await;
    }
}

/// The events as they come; before an error the connection gets the time to write out what came before it.
fn flushed(receiver: mpsc::Receiver<Item>) -> impl Stream<Item = Item> {
    futures::stream::unfold(receiver, |mut receiver| async move {
        let item = receiver.recv().await?;
        if item.is_err() {
            tokio::task::yield_now().await;
        }
        Some((item, receiver))
    })
}

/// The body of an error answer, which is also the form of an `error` event.
pub(super) fn error(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

fn message(head: &MessageHead, output_tokens: usize) -> Value {
    json!({
        "id": format!("msg_{}", Uuid::new_v4().simple()),
        "type": "message", "role": "assistant", "model": head.model,
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {
            "input_tokens": head.input_tokens, "output_tokens": output_tokens,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        },
    })
}

/// Random, since a resumed conversation may hold ids from before a restart.
fn tool_use_id() -> String {
    format!("toolu_{}", Uuid::new_v4().simple())
}

fn stop_reason(calls: bool) -> &'static str {
    if calls { "tool_use" } else { "end_turn" }
}

fn broken_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the script cuts the connection")
}

/// Words for a slow text; else pieces large enough that a long text has about 64 of them.
fn pieces(text: &str, pause: Duration) -> Vec<&str> {
    if !pause.is_zero() {
        return text.split_inclusive(char::is_whitespace).collect();
    }
    let size = (text.len() / 64).max(24);
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(boundary_from(rest, size));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The first place from `index` on that is not inside a character.
fn boundary_from(text: &str, index: usize) -> usize {
    (index..text.len()).find(|&index| text.is_char_boundary(index)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_pieces_of_a_text_are_the_text(text in "\\PC{0,300}", slow: bool) {
            let pause = Duration::from_millis(u64::from(slow));
            let pieces = pieces(&text, pause);
            prop_assert_eq!(pieces.concat(), text.as_str());
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
        }
    }

    #[test]
    fn a_long_text_has_few_pieces() {
        assert!(pieces(&"é".repeat(200_000), Duration::ZERO).len() < 100);
    }
}

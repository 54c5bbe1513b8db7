//! Turns bytes of the terminal into events on a channel, no faster than the receiver takes them.

use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    input::{LineQueue, refusal},
    lines::{LineSplitter, StreamLine},
    noise::OutputTail,
    parse::{self, LineMeaning},
};
use crate::event::{AgentEvent, UnparsedOutput};

/// A longer line is counted and dropped. The longest seen of the CLI is 1 MB.
const MAX_LINE: usize = 8 << 20;

/// Events that may wait for the receiver.
pub(super) const CAPACITY: usize = 32;

/// An event takes one place in the channel for each piece of this size of its line, so that waiting events stay below 70 MB
/// even if every line is as long as allowed.
const PLACE: usize = 256 * 1024;

/// Reads lines and sends their events. For one thread that may block.
pub(super) struct EventSender {
    pub events: mpsc::Sender<AgentEvent>,
    /// Lets a thread outside the runtime wait for a place.
    pub runtime: Handle,
    /// Once cancelled, an event without a place is dropped: the process is being ended.
    pub stop: CancellationToken,
    /// For refusals of requests that nobody can answer.
    pub input: Option<LineQueue>,
    /// The last lines that were no JSON.
    pub tail: OutputTail,
    /// Text of this read that is not sent yet.
    pub pieces: String,
}

impl EventSender {
    /// Reads a stream until `next` returns 0; `next` fills a buffer and returns the length. Returns the last lines that
    /// were no JSON. Pieces of text that came in one read are one event.
    pub(super) fn send_all(mut self, mut next: impl FnMut(&mut [u8]) -> usize) -> String {
        let (mut lines, mut buffer) = (LineSplitter::new(MAX_LINE), vec![0; 64 * 1024]);
        loop {
            let count = next(&mut buffer);
            if count == 0 {
                break;
            }
            lines.feed(&buffer[..count], |line| self.on_line(line));
            // Once per read, not per piece: in a flood of text the receiver's wake-ups cost most.
            self.send_pieces();
        }
        lines.finish(|line| self.on_line(line));
        self.send_pieces();
        self.tail.text()
    }

    fn on_line(&mut self, line: StreamLine<'_>) {
        match line {
            StreamLine::Whole(line) => {
                parse::parse_line(line, |meaning| self.on_meaning(meaning, line.len()))
            }
            StreamLine::TooLong(bytes) => self.send(AgentEvent::Noise(UnparsedOutput::TooLong { bytes }), 1),
        }
    }

    fn on_meaning(&mut self, meaning: LineMeaning, length: usize) {
        match meaning {
            LineMeaning::Event(AgentEvent::TextDelta(text)) => self.pieces.push_str(&text),
            LineMeaning::Event(event) => {
                if let AgentEvent::Noise(UnparsedOutput::NotJson(text)) = &event {
                    self.tail.push(text);
                }
                // The text before the event first, to preserve the order of the stream.
                self.send_pieces();
                self.send(event, channel_places(length));
            }
            LineMeaning::Refuse { request_id, why } => self.refuse_request(&request_id, &why),
        }
    }

    fn send_pieces(&mut self) {
        if !self.pieces.is_empty() {
            let pieces = std::mem::take(&mut self.pieces);
            let places = channel_places(pieces.len());
            self.send(AgentEvent::TextDelta(pieces), places);
        }
    }

    fn refuse_request(&self, request_id: &str, why: &str) {
        tracing::warn!(request_id, why, "refused a request of the CLI");
        if let Some(Err(error)) = self.input.as_ref().map(|input| input.push(refusal(request_id, why))) {
            tracing::warn!(request_id, %error, "cannot refuse a request of the CLI");
        }
    }

    /// Waits for `places` free places, then sends: a slow receiver slows the process through a full terminal.
    fn send(&self, event: AgentEvent, places: usize) {
        // Most events find room at once, without entering the runtime.
        let event = match places {
            1 => match self.events.try_send(event) {
                Err(mpsc::error::TrySendError::Full(event)) => event,
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
            },
            _ => event,
        };
        self.runtime.block_on(async {
            tokio::select! {
                // While there is room, events are delivered even after `stop`.
                biased;
                permits = self.events.reserve_many(places) => {
                    if let Some(permit) = permits.ok().and_then(|mut permits| permits.next()) {
                        permit.send(event);
                    }
                }
                () = self.stop.cancelled() => {}
            }
        });
    }
}

fn channel_places(length: usize) -> usize {
    // More than the whole channel could never be reserved.
    (1 + length / PLACE).min(CAPACITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events_of(stream: &[u8]) -> Vec<AgentEvent> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (events, mut receiver) = mpsc::channel(CAPACITY);
        let stop = CancellationToken::new();
        // Nobody receives, and what has no place is dropped instead of waited with.
        stop.cancel();
        let runtime = runtime.handle().clone();
        let sender = EventSender {
            events,
            runtime,
            stop,
            input: None,
            tail: OutputTail::default(),
            pieces: String::new(),
        };
        let mut rest = stream;
        sender.send_all(|buffer| {
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            count
        });
        std::iter::from_fn(|| receiver.try_recv().ok()).collect()
    }

    fn text_line(length: usize) -> String {
        format!("{{\"type\":\"assistant\",\"message\":{{\"content\":\"{}\"}}}}\n", "x".repeat(length))
    }

    #[test]
    fn pieces_of_one_read_are_one_event_and_keep_their_order() {
        let piece = |text: &str| {
            let delta = format!("{{\"type\":\"text_delta\",\"text\":\"{text}\"}}");
            format!(
                "{{\"type\":\"stream_event\",\"event\":{{\"type\":\"content_block_delta\",\"delta\":{delta}}}}}\n"
            )
        };
        let stream = [piece("a"), piece("b"), text_line(3), piece("c")].concat();
        let delta = |text: &str| AgentEvent::TextDelta(text.into());
        let expected = [delta("ab"), AgentEvent::Text("xxx".into()), delta("c")];
        assert_eq!(events_of(stream.as_bytes()), expected);
    }

    #[test]
    fn waiting_events_are_bounded_in_number() {
        assert_eq!(events_of(text_line(1).repeat(CAPACITY + 10).as_bytes()).len(), CAPACITY);
    }

    #[test]
    fn waiting_events_are_bounded_in_size() {
        assert_eq!(events_of(text_line(MAX_LINE - 1000).repeat(3).as_bytes()).len(), 1);
        let held = events_of(text_line(2 << 20).repeat(CAPACITY).as_bytes()).len();
        assert!(held > 1 && held * (2 << 20) < 70_000_000, "{held} lines of 2 MiB");
    }
}

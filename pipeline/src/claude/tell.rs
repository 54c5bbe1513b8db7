//! From bytes of the terminal to events on the channel: bounded by the receiver's pace, until nobody listens.

use std::collections::VecDeque;

use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    AgentEvent, Noise,
    input::{Input, refusal},
    lines::{Line, Lines},
    parse::{self, Meaning},
};

/// A longer line is counted and dropped. The longest seen of the CLI is 1 MB.
const MAX_LINE: usize = 8 << 20;

/// Events that may wait for the receiver.
pub(super) const CAPACITY: usize = 32;

/// An event takes one place for each piece of this size of its line, so that waiting events stay below 70 MB
/// even if every line is as long as allowed.
const PLACE: usize = 256 * 1024;

/// Characters of non-JSON output kept for [`super::Exit::tail`].
const TAIL: usize = 2_000;

/// Reads lines and tells them. Used by one thread that may block.
pub(super) struct Teller {
    /// Where the events go.
    pub events: mpsc::Sender<AgentEvent>,
    /// Lets a thread outside the runtime wait for a place.
    pub runtime: Handle,
    /// From now on an event without a place is dropped: the process is being ended.
    pub stop: CancellationToken,
    /// For refusals of what nobody can answer.
    pub input: Option<Input>,
    /// The last lines that were no JSON.
    pub tail: Tail,
}

impl Teller {
    /// Cuts and reads a stream piece by piece: `next` fills a buffer and says how much, 0 at the end.
    pub(super) fn tell_all(mut self, mut next: impl FnMut(&mut [u8]) -> usize) -> String {
        let (mut lines, mut buffer) = (Lines::new(MAX_LINE), vec![0; 64 * 1024]);
        loop {
            let count = next(&mut buffer);
            if count == 0 {
                break;
            }
            lines.feed(&buffer[..count], |line| self.line(line));
        }
        lines.finish(|line| self.line(line));
        self.tail.text()
    }

    fn line(&mut self, line: Line<'_>) {
        match line {
            Line::Whole(line) => parse::read(line, |meaning| self.meaning(meaning, line.len())),
            Line::TooLong(bytes) => self.event(AgentEvent::Noise(Noise::TooLong { bytes }), 1),
        }
    }

    fn meaning(&mut self, meaning: Meaning, length: usize) {
        match meaning {
            Meaning::Event(event) => {
                if let AgentEvent::Noise(Noise::NotJson(text)) = &event {
                    self.tail.push(text);
                }
                self.event(event, (1 + length / PLACE).min(CAPACITY));
            }
            Meaning::Refuse { request_id, why } => self.refuse(&request_id, &why),
        }
    }

    fn refuse(&self, request_id: &str, why: &str) {
        tracing::warn!(request_id, why, "refused a request of the CLI");
        if let Some(Err(error)) = self.input.as_ref().map(|input| input.push(refusal(request_id, why))) {
            tracing::warn!(request_id, %error, "cannot refuse a request of the CLI");
        }
    }

    /// Waits for `places` free places, then sends: a slow receiver slows the process through a full terminal.
    fn event(&self, event: AgentEvent, places: usize) {
        let event = match places {
            1 => match self.events.try_send(event) {
                Err(mpsc::error::TrySendError::Full(event)) => event,
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
            },
            _ => event,
        };
        self.runtime.block_on(async {
            tokio::select! {
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

/// The last lines of a stream, at most [`TAIL`] characters.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    characters: usize,
}

impl Tail {
    fn push(&mut self, line: &str) {
        self.characters += line.chars().count() + 1;
        self.lines.push_back(line.to_owned());
        // A line itself is at most 500 characters, so there is always more than one to drop.
        while self.characters > TAIL + 1 {
            let Some(first) = self.lines.pop_front() else { break };
            self.characters -= first.chars().count() + 1;
        }
    }

    fn text(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines_within_its_limit() {
        let mut tail = Tail::default();
        (0..100).for_each(|number| tail.push(&format!("{number:0>99}")));
        let text = tail.text();
        assert!(text.len() <= TAIL && text.len() > TAIL - 101, "{}", text.len());
        assert!(text.ends_with("99") && !text.contains("079\n"));
    }
}

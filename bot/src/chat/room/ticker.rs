//! htop in a room: one live message that ticks until its time is up. Where nothing can be edited, one snapshot.

use std::time::Duration;

use adapters::{Choice, Outgoing, Tone};
use tokio::time::Instant;

use super::RoomTask;
use crate::{chat::outbox::LiveSlot, commands::htop};

/// How often a frame is made.
const EVERY: Duration = Duration::from_secs(5);

/// A ticking htop.
pub(super) struct LiveTicker {
    slot: LiveSlot,
    ends: Instant,
    next: Instant,
}

impl LiveTicker {
    pub(super) fn due(&self) -> Instant {
        self.next.min(self.ends)
    }
}

impl RoomTask {
    /// Starts htop; one that ticks already is ended first.
    pub(super) fn start_ticker(&mut self, length: Duration) {
        self.stop_ticker();
        let now = Instant::now();
        let ticker = LiveTicker { slot: self.outbox.open(), ends: now + length, next: now };
        self.ticker = Some(ticker);
    }

    pub(super) fn stop_ticker(&mut self) {
        if let Some(ticker) = self.ticker.take() {
            let frame = htop::frame_now(&self.services.commands, &self.room, None);
            self.outbox.finish(ticker.slot, notice(frame));
        }
    }

    pub(super) async fn tick(&mut self) {
        let Some(ticker) = &mut self.ticker else { return };
        let now = Instant::now();
        if now >= ticker.ends {
            return self.stop_ticker();
        }
        ticker.next = now + EVERY;
        let (slot, left) = (ticker.slot, ticker.ends - now);
        if self.adapter.capabilities().edit.is_none() {
            let frame = htop::frame_now(&self.services.commands, &self.room, None);
            self.ticker = None;
            return self.outbox.say(Outgoing { choices: buttons(), ..notice(frame) });
        }
        let frame = htop::frame_now(&self.services.commands, &self.room, Some(left));
        self.outbox.show(slot, notice(frame));
    }
}

fn notice(frame: String) -> Outgoing {
    Outgoing::text(frame).with_tone(Tone::Notice)
}

/// What a snapshot offers instead of ticking. Old ones stay where they are, so that a button of yesterday must not stop today's
/// turn: it means htop and nothing else.
fn buttons() -> Vec<Choice> {
    let choice = |key: &str, label: &str| Choice { key: key.into(), label: label.into(), emoji: None };
    vec![choice("cmd:htop", "Refresh"), choice("cmd:htop stop", "Stop")]
}

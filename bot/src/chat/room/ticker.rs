//! htop in a room: one live message that is renewed until its time is up. Where nothing can be edited, one snapshot.

use std::time::Duration;

use adapters::{Choice, MessageId, Outgoing, Tone};
use tokio::time::Instant;

use super::RoomTask;
use crate::{chat::outbox::LiveSlot, commands::htop};

/// How often a frame is made; the help of `htop` promises it.
const EVERY: Duration = Duration::from_secs(5);

/// The htop of a room, if one runs.
#[derive(Default)]
pub(super) struct LiveTicker(Option<RunningTicker>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct RunningTicker {
    slot: LiveSlot,
    ends: Instant,
    next: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum TickFrame {
    /// One of many, with the time that is left.
    Next(LiveSlot, Duration),
    Last(LiveSlot),
}

impl LiveTicker {
    pub(super) fn is_running(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.0.map(|ticker| ticker.next.min(ticker.ends))
    }

    fn start(&mut self, slot: LiveSlot, length: Duration) {
        let now = Instant::now();
        self.0 = Some(RunningTicker { slot, ends: now + length, next: now });
    }

    fn stop(&mut self) -> Option<LiveSlot> {
        self.0.take().map(|ticker| ticker.slot)
    }

    fn tick(&mut self, now: Instant) -> Option<TickFrame> {
        let ticker = self.0.as_mut()?;
        if now >= ticker.ends {
            return self.stop().map(TickFrame::Last);
        }
        ticker.next = now + EVERY;
        Some(TickFrame::Next(ticker.slot, ticker.ends - now))
    }
}

impl RoomTask {
    /// Starts htop; one that runs already is ended first.
    pub(super) fn start_ticker(&mut self, length: Duration, call: Option<&MessageId>) {
        self.stop_ticker();
        let slot = self.outbox.open(call);
        self.ticker.start(slot, length);
    }

    pub(super) fn stop_ticker(&mut self) {
        if let Some(slot) = self.ticker.stop() {
            self.finish_ticker(slot);
        }
    }

    fn finish_ticker(&self, slot: LiveSlot) {
        let frame = htop::frame_now(&self.services.commands, &self.room, None);
        self.outbox.finish(slot, notice(frame));
    }

    pub(super) fn tick(&mut self) {
        match self.ticker.tick(Instant::now()) {
            Some(TickFrame::Next(..)) if self.adapter.capabilities().edit.is_none() => {
                let frame = htop::frame_now(&self.services.commands, &self.room, None);
                self.ticker.stop();
                self.outbox.say(Outgoing { choices: buttons(), ..notice(frame) });
            }
            Some(TickFrame::Next(slot, left)) => {
                let frame = htop::frame_now(&self.services.commands, &self.room, Some(left));
                self.outbox.show(slot, notice(frame));
            }
            Some(TickFrame::Last(slot)) => self.finish_ticker(slot),
            None => {}
        }
    }
}

fn notice(frame: String) -> Outgoing {
    Outgoing::text(frame).with_tone(Tone::Notice)
}

// A snapshot cannot be stopped, so it offers buttons. Old messages stay in the room with theirs: a button of
// yesterday must not stop today's turn, so `stop` here means htop and nothing else.
fn buttons() -> Vec<Choice> {
    let choice = |key: &str, label: &str| Choice { key: key.into(), label: label.into(), emoji: None };
    vec![choice("cmd:htop", "Refresh"), choice("cmd:htop stop", "Stop")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_shows_a_frame_at_once_and_then_regularly_until_its_time_is_up() {
        let slot = LiveSlot::for_tests(1);
        let mut ticker = LiveTicker::default();
        let start = Instant::now();
        ticker.start(slot, EVERY + EVERY / 2);
        assert_eq!(ticker.due(), Some(start));
        assert_eq!(ticker.tick(start), Some(TickFrame::Next(slot, EVERY + EVERY / 2)));
        assert_eq!(ticker.due(), Some(start + EVERY));
        assert_eq!(ticker.tick(start + EVERY), Some(TickFrame::Next(slot, EVERY / 2)));
        assert_eq!(ticker.due(), Some(start + EVERY + EVERY / 2), "the end is not missed by a frame");
        assert_eq!(ticker.tick(start + EVERY * 2), Some(TickFrame::Last(slot)));
        assert_eq!((ticker.due(), ticker.tick(start + EVERY * 3)), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_one_takes_the_place_of_the_first() {
        let mut ticker = LiveTicker::default();
        ticker.start(LiveSlot::for_tests(1), EVERY);
        assert_eq!(ticker.stop(), Some(LiveSlot::for_tests(1)));
        ticker.start(LiveSlot::for_tests(2), EVERY);
        assert_eq!(ticker.stop(), Some(LiveSlot::for_tests(2)));
        assert!(!ticker.is_running() && ticker.stop().is_none());
    }
}

//! Rate limit: a model of the homeserver's limit that lets questions pass first, and passing states only with room to spare.
//!
//! Synapse's default lets a user send 10 events at once and then one in 5 s, over all rooms, edits and reactions counted
//! (`rc_message`: <https://element-hq.github.io/synapse/latest/usage/configuration/config_documentation.html#rc_message>).
//! The bot assumes this limit until the homeserver refuses events, or accepts more than the limit allows.

use std::{collections::BTreeSet, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::{AdapterError, delivery::token_bucket::TokenBucket};

const BURST: u32 = 10;
const EVERY: Duration = Duration::from_secs(5);
// Passing states leave this many events for questions and answers: a question must not wait behind frames.
const RESERVE: u32 = 4;
// So many accepted events beyond the default's burst prove that the homeserver has no such limit.
const PROOF: u32 = 3;
// A refusal counts as the rule only for this long: it may have come from a short overload.
const RULE: Duration = Duration::from_secs(600);

/// The rank of an event; the first rank goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SendPriority {
    /// A question that a person is to answer.
    Question,
    /// An answer, or the last state of a message that changed.
    Final,
    /// Reactions offered, and taken away.
    Decoration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RateLimit {
    // Nothing is known. Only passing states follow Synapse's default; slowing real messages down on a guess would cost every
    // user of an unlimited homeserver.
    Presumed,
    /// It refused an event: all wait for their turn.
    Seen,
    /// It let pass more than the default would.
    None,
}

struct PacerState {
    limit: RateLimit,
    // Overdrawn where the homeserver accepts more than the model holds: that is the evidence for `RateLimit::None`.
    bucket: TokenBucket,
    waiting: BTreeSet<(SendPriority, u64)>,
    tickets: u64,
}

/// The pace of one account.
pub(super) struct SendPacer {
    state: Mutex<PacerState>,
}

/// A place in the queue, given up when dropped.
struct QueueTicket<'a> {
    pace: &'a SendPacer,
    place: (SendPriority, u64),
}

impl SendPacer {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(PacerState {
                limit: RateLimit::Presumed,
                bucket: TokenBucket::new(EVERY, BURST),
                waiting: BTreeSet::new(),
                tickets: 0,
            }),
        }
    }

    /// Permits a passing state, or fails with [`AdapterError::RateLimited`] at once: a later state is the better one to show.
    pub(super) fn try_frame(&self) -> Result<(), AdapterError> {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.forget_refusal(now);
        let wait = match state.limit {
            RateLimit::None => state.blocked(now),
            RateLimit::Presumed | RateLimit::Seen if !state.waiting.is_empty() => {
                EVERY.max(state.blocked(now))
            }
            RateLimit::Presumed | RateLimit::Seen => state.bucket.wait(RESERVE + 1, now),
        };
        if !wait.is_zero() {
            return Err(AdapterError::RateLimited { retry_after: wait });
        }
        state.bucket.take(1, now);
        Ok(())
    }

    pub(super) async fn wait_for_turn(&self, urgency: SendPriority) {
        let ticket = self.queue(urgency);
        // Polls instead of waking the next in line: a refusal or a more urgent event changes the order while this one sleeps.
        while let Some(until) = self.try_pass(ticket.place) {
            sleep_until(until).await;
        }
    }

    pub(super) fn on_accepted(&self) {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.forget_refusal(now);
        if state.limit == RateLimit::Presumed && state.bucket.overdrawn(now) >= PROOF {
            tracing::debug!("the homeserver has no default limit");
            state.limit = RateLimit::None;
        }
    }

    pub(super) fn on_refused(&self, retry_after: Duration) {
        let mut state = self.state.lock();
        let now = Instant::now();
        // Once the wait is over there is room for exactly one event, whatever the model counted before.
        state.limit = RateLimit::Seen;
        state.bucket.refill(1, now + retry_after);
        state.bucket.block_until(now + retry_after);
    }

    fn queue(&self, urgency: SendPriority) -> QueueTicket<'_> {
        let mut state = self.state.lock();
        state.tickets += 1;
        let place = (urgency, state.tickets);
        state.waiting.insert(place);
        QueueTicket { pace: self, place }
    }

    /// Takes a token, or returns when to try again.
    fn try_pass(&self, place: (SendPriority, u64)) -> Option<Instant> {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.forget_refusal(now);
        let blocked = state.blocked(now);
        if !blocked.is_zero() {
            return Some(now + blocked);
        }
        if state.limit == RateLimit::Seen {
            let first = state.waiting.first() == Some(&place);
            let wait = state.bucket.wait(1, now);
            if !first || !wait.is_zero() {
                // One that is not first looks again a little later than the first could have gone.
                return Some(now + wait.max(Duration::from_millis(if first { 10 } else { 50 })));
            }
        }
        state.bucket.take(1, now);
        None
    }
}

impl PacerState {
    fn blocked(&self, now: Instant) -> Duration {
        self.bucket.blocked_until().unwrap_or(now).saturating_duration_since(now)
    }

    fn forget_refusal(&mut self, now: Instant) {
        let over =
            self.bucket.blocked_until().is_some_and(|until| now.saturating_duration_since(until) > RULE);
        if self.limit == RateLimit::Seen && over {
            self.limit = RateLimit::Presumed;
        }
    }
}

impl Drop for QueueTicket<'_> {
    fn drop(&mut self) {
        self.pace.state.lock().waiting.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn wait_of(frame: Result<(), AdapterError>) -> Duration {
        match frame {
            Err(AdapterError::RateLimited { retry_after }) => retry_after,
            other => panic!("not limited: {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_leave_a_reserve_and_then_come_every_five_seconds() {
        let pace = SendPacer::new();
        for _ in 0..6 {
            pace.try_frame().expect("within the burst");
        }
        assert_eq!(wait_of(pace.try_frame()).as_secs_f64().round(), 5.0);
        tokio::time::advance(EVERY + Duration::from_millis(1)).await;
        pace.try_frame().expect("one has come");
        assert!(pace.try_frame().is_err());
        let before = Instant::now();
        for _ in 0..4 {
            pace.wait_for_turn(SendPriority::Question).await;
        }
        assert_eq!(Instant::now(), before, "the reserve is there for them");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits_once_that_shows() {
        let pace = SendPacer::new();
        let before = Instant::now();
        for _ in 0..16 {
            pace.wait_for_turn(SendPriority::Final).await;
            pace.on_accepted();
        }
        for _ in 0..100 {
            pace.try_frame().expect("no limit");
        }
        assert_eq!(Instant::now(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_a_question_goes_before_what_waited_longer() {
        let pace = Arc::new(SendPacer::new());
        pace.on_refused(Duration::from_secs(3));
        assert!(wait_of(pace.try_frame()) >= Duration::from_secs(3));
        let begun = Instant::now();
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        for urgency in
            [SendPriority::Decoration, SendPriority::Final, SendPriority::Final, SendPriority::Question]
        {
            let (pace, told) = (pace.clone(), told.clone());
            tokio::spawn(async move {
                pace.wait_for_turn(urgency).await;
                let _ = told.send((urgency, begun.elapsed().as_secs()));
            });
            tokio::task::yield_now().await;
        }
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.extend(order.recv().await);
        }
        let expected = [
            (SendPriority::Question, 3),
            (SendPriority::Final, 8),
            (SendPriority::Final, 13),
            (SendPriority::Decoration, 18),
        ];
        assert_eq!(seen, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_stops_waiting_does_not_stand_in_the_way() {
        let pace = SendPacer::new();
        pace.on_refused(Duration::from_secs(1));
        let gone =
            tokio::time::timeout(Duration::from_millis(10), pace.wait_for_turn(SendPriority::Question)).await;
        assert!(gone.is_err());
        tokio::time::timeout(Duration::from_secs(2), pace.wait_for_turn(SendPriority::Final))
            .await
            .expect("its turn");
    }
}

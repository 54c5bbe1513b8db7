//! Rate limits: for messages to one person, and for the number as a whole.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::delivery::{backoff::Backoff, token_bucket::TokenBucket};

// One message in 6 s to one person, after a burst.
// <https://developers.facebook.com/docs/whatsapp/cloud-api/overview#pair-rate-limits>
pub const EVERY: Duration = Duration::from_secs(6);
// Meta accepts bursts of up to 45 and then wants the borrowed time back. Less than half of it leaves room,
// since Meta may count differently.
pub const BURST: u32 = 20;
// Meta advises to wait 4^n s after the n-th refusal in a row; 4^4 s is over four minutes.
const PAIR_REFUSED: Backoff = Backoff::growing(Duration::from_secs(1), Duration::from_secs(256), 4);
const NUMBER_REFUSED: Backoff = Backoff::doubling(Duration::from_secs(1), Duration::from_secs(16));

pub struct PairPacer {
    pairs: HashMap<String, PairLimit>,
    number: RefusalStreak,
}

struct PairLimit {
    bucket: TokenBucket,
    refusals: RefusalStreak,
}

/// Refusals in a row, and until when they hold.
struct RefusalStreak {
    backoff: Backoff,
    until: Option<Instant>,
}

impl Default for PairPacer {
    fn default() -> Self {
        Self { pairs: HashMap::new(), number: RefusalStreak::new(NUMBER_REFUSED) }
    }
}

impl PairPacer {
    /// Takes the allowance for `count` messages to this person, or nothing; the error is the time until they may go.
    pub fn try_take(&mut self, person: &str, count: u32, now: Instant) -> Result<(), Duration> {
        let number = self.number.remaining(now);
        let pair = self.pair(person);
        let wait = pair.bucket.wait(count, now).max(pair.refusals.remaining(now)).max(number);
        if !wait.is_zero() {
            return Err(wait);
        }
        pair.bucket.take(count, now);
        Ok(())
    }

    pub fn on_accepted(&mut self, person: &str) {
        self.number.backoff.reset();
        if let Some(pair) = self.pairs.get_mut(person) {
            pair.refusals.backoff.reset();
        }
    }

    /// Records a refusal for this person (131056); returns how long to wait.
    pub fn on_refused(&mut self, person: &str, now: Instant) -> Duration {
        self.pair(person).refusals.add(now)
    }

    /// Records a refusal for the whole number (130429); returns how long everybody waits.
    pub fn on_throttled(&mut self, now: Instant) -> Duration {
        self.number.add(now)
    }

    fn pair(&mut self, person: &str) -> &mut PairLimit {
        self.pairs.entry(person.to_owned()).or_insert_with(|| PairLimit {
            bucket: TokenBucket::new(EVERY, BURST),
            refusals: RefusalStreak::new(PAIR_REFUSED),
        })
    }
}

impl RefusalStreak {
    fn new(backoff: Backoff) -> Self {
        Self { backoff, until: None }
    }

    fn add(&mut self, now: Instant) -> Duration {
        let wait = self.backoff.next_delay();
        self.until = Some(now + wait);
        wait
    }

    fn remaining(&self, now: Instant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_then_one_in_six_seconds() {
        let (mut pace, start) = (PairPacer::default(), Instant::now());
        for _ in 0..BURST {
            pace.try_take("ann", 1, start).expect("in the burst");
        }
        assert_eq!(pace.try_take("ann", 1, start), Err(EVERY));
        assert_eq!(pace.try_take("ann", 1, start + EVERY / 2), Err(EVERY / 2));
        pace.try_take("ann", 1, start + EVERY).expect("six seconds later");
        assert_eq!(pace.try_take("ann", 1, start + EVERY), Err(EVERY));
        pace.try_take("bob", 1, start).expect("another person's allowance is their own");
    }

    #[test]
    fn however_it_is_asked_no_more_than_the_limit_goes() {
        let (mut pace, start) = (PairPacer::default(), Instant::now());
        let mut now = start;
        let mut sent = 0;
        while now < start + Duration::from_secs(3600) {
            match pace.try_take("ann", 1, now) {
                Ok(()) => sent += 1,
                Err(wait) => now += wait,
            }
        }
        assert_eq!(sent, BURST + 600 - 1, "600 an hour and the burst");
    }

    #[test]
    fn two_go_together_or_not_at_all() {
        let (mut pace, start) = (PairPacer::default(), Instant::now());
        pace.try_take("ann", BURST - 1, start).unwrap();
        assert_eq!(pace.try_take("ann", 2, start), Err(EVERY));
        pace.try_take("ann", 1, start).expect("the one that is left was not taken");
        let later = start + Duration::from_secs(3600);
        pace.try_take("ann", BURST + 5, later).expect("more than a burst goes from a whole allowance");
    }

    #[test]
    fn refusals_are_waited_out_four_times_longer_each_time() {
        let (mut pace, now) = (PairPacer::default(), Instant::now());
        let waits: Vec<u64> = (0..6).map(|_| pace.on_refused("ann", now).as_secs()).collect();
        assert_eq!(waits, [1, 4, 16, 64, 256, 256]);
        assert_eq!(pace.try_take("ann", 1, now), Err(Duration::from_secs(256)));
        pace.try_take("bob", 1, now).expect("the pair limit is a pair's");
        pace.on_accepted("ann");
        assert_eq!(pace.on_refused("ann", now).as_secs(), 1);
    }

    #[test]
    fn a_throttled_number_waits_for_everybody() {
        let (mut pace, now) = (PairPacer::default(), Instant::now());
        assert_eq!(pace.on_throttled(now).as_secs(), 1);
        assert_eq!(pace.on_throttled(now).as_secs(), 2);
        assert_eq!(pace.try_take("bob", 1, now), Err(Duration::from_secs(2)));
        pace.try_take("bob", 1, now + Duration::from_secs(2)).expect("over");
    }
}

//! The rate limit that all services have in common: a burst, then one call each interval, and nothing before a refusal is over.
//!
//! Not `governor`: its buckets cannot be overdrawn, and they do not take the `retry_after` of a service.

use std::time::Duration;

use tokio::time::Instant;

/// Tokens of one limit. Pure: the caller passes the time and waits itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    /// How long one token takes to come back.
    interval: Duration,
    burst: u32,
    // One time instead of a count and a timestamp: nothing has to be refilled, and an overdraft is a time further ahead.
    full_at: Option<Instant>,
    blocked_until: Option<Instant>,
}

impl TokenBucket {
    pub(crate) const fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, burst, full_at: None, blocked_until: None }
    }

    /// The time until `tokens` are there at once, or until the bucket is full where it never holds so many.
    pub(crate) fn wait(&self, tokens: u32, now: Instant) -> Duration {
        let missing = self.until_full(now) + self.interval * tokens;
        let wait = missing.saturating_sub(self.interval * self.burst.max(tokens));
        let blocked = self.blocked_until.unwrap_or(now).saturating_duration_since(now);
        wait.max(blocked)
    }

    /// Takes tokens at this time, which may lie ahead, whether they are there or not.
    pub(crate) fn take(&mut self, tokens: u32, at: Instant) {
        self.full_at = Some(at + self.until_full(at) + self.interval * tokens);
    }

    /// Takes tokens if they are there; the error is the time until they are.
    pub(crate) fn try_take(&mut self, tokens: u32, now: Instant) -> Result<(), Duration> {
        match self.wait(tokens, now) {
            Duration::ZERO => {
                self.take(tokens, now);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// The service refused a call: nothing goes before this time.
    pub(crate) fn block_until(&mut self, until: Instant) {
        // Several calls in flight may be refused; the longest of their waits counts.
        self.blocked_until = self.blocked_until.max(Some(until));
    }

    pub(crate) fn blocked_until(&self) -> Option<Instant> {
        self.blocked_until
    }

    /// From this time on there are so many tokens and no more.
    pub(crate) fn refill(&mut self, tokens: u32, at: Instant) {
        self.full_at = Some(at + self.interval * self.burst.saturating_sub(tokens));
    }

    /// How many whole tokens were taken beyond the burst.
    pub(crate) fn overdrawn(&self, now: Instant) -> u32 {
        let beyond = self.until_full(now).saturating_sub(self.interval * self.burst);
        u32::try_from(beyond.as_nanos() / self.interval.as_nanos().max(1)).unwrap_or(u32::MAX)
    }

    /// Whether it behaves like a new bucket, so that it can be dropped.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.until_full(now).is_zero() && self.blocked_until.is_none_or(|until| until <= now)
    }

    fn until_full(&self, now: Instant) -> Duration {
        self.full_at.unwrap_or(now).saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_goes_at_once_and_then_one_each_interval() {
        let (mut bucket, now) = (TokenBucket::new(SECOND * 5, 3), Instant::now());
        for _ in 0..3 {
            bucket.try_take(1, now).expect("in the burst");
        }
        assert_eq!(bucket.try_take(1, now), Err(SECOND * 5));
        assert_eq!(bucket.try_take(1, now + SECOND * 3), Err(SECOND * 2));
        bucket.try_take(1, now + SECOND * 5).expect("one came back");
        assert_eq!(bucket.wait(3, now + SECOND * 5), SECOND * 15);
    }

    #[test]
    fn more_than_a_burst_goes_from_a_full_bucket_only() {
        let (mut bucket, now) = (TokenBucket::new(SECOND, 2), Instant::now());
        assert_eq!(bucket.wait(5, now), Duration::ZERO);
        bucket.take(5, now);
        assert_eq!((bucket.overdrawn(now), bucket.wait(5, now)), (3, SECOND * 5));
        assert_eq!(bucket.wait(1, now), SECOND * 4);
        assert!(!bucket.is_idle(now + SECOND * 4) && bucket.is_idle(now + SECOND * 5));
    }

    #[test]
    fn a_refusal_is_waited_out_even_where_tokens_are_left() {
        let (mut bucket, now) = (TokenBucket::new(SECOND, 2), Instant::now());
        bucket.block_until(now + SECOND * 9);
        bucket.block_until(now + SECOND * 4);
        assert_eq!(bucket.try_take(1, now), Err(SECOND * 9));
        assert!(!bucket.is_idle(now) && bucket.is_idle(now + SECOND * 9));
        bucket.refill(1, now + SECOND * 9);
        assert_eq!(bucket.wait(1, now + SECOND * 9), Duration::ZERO);
        assert_eq!(bucket.wait(2, now + SECOND * 9), SECOND);
    }

    proptest! {
        #[test]
        fn however_it_is_asked_no_more_than_the_limit_goes(
            steps in prop::collection::vec((0_u64..5_000, 1_u32..4), 1..100),
        ) {
            let (mut bucket, start) = (TokenBucket::new(SECOND, 5), Instant::now());
            let (mut now, mut taken) = (start, 0);
            for (millis, tokens) in steps {
                now += Duration::from_millis(millis);
                if bucket.try_take(tokens, now).is_ok() {
                    taken += tokens;
                }
                prop_assert!(u64::from(taken) <= 5 + (now - start).as_secs());
            }
        }
    }
}

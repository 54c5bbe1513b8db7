//! The delays between the attempts of everything that is retried.
//!
//! Not `backon`: its delays cannot start over after a success, and its jitter only makes them longer.

use std::time::Duration;

use rand::RngExt as _;

/// Delays that grow by a factor from the first to the longest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    factor: u32,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn doubling(first: Duration, longest: Duration) -> Self {
        Self::growing(first, longest, 2)
    }

    pub(crate) const fn growing(first: Duration, longest: Duration, factor: u32) -> Self {
        Self { first, longest, factor, failures: 0 }
    }

    pub(crate) fn next_delay(&mut self) -> Duration {
        let growth = self.factor.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.first.saturating_mul(growth).min(self.longest)
    }

    /// Like [`Backoff::next_delay`], up to a fifth shorter or longer at random: many bots behind one broken network
    /// must not return in step.
    pub(crate) fn next_jittered(&mut self) -> Duration {
        self.next_delay().mul_f64(rand::rng().random_range(0.8..=1.2)).min(self.longest)
    }

    /// Starts over after a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Makes a call up to `attempts` times, for as long as its error may pass.
    #[cfg(any(feature = "slack", feature = "whatsapp"))]
    pub(crate) async fn retry<T, E, F: Future<Output = Result<T, E>>>(
        mut self,
        attempts: u32,
        may_pass: impl Fn(&E) -> bool,
        call: impl Fn() -> F,
    ) -> Result<T, E> {
        loop {
            match call().await {
                Err(error) if may_pass(&error) && self.failures() + 1 < attempts => {
                    tokio::time::sleep(self.next_delay()).await;
                }
                result => return result,
            }
        }
    }

    /// How many delays were given since the start or the last reset.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seconds(backoff: &mut Backoff, count: usize) -> Vec<u64> {
        (0..count).map(|_| backoff.next_delay().as_secs()).collect()
    }

    #[test]
    fn delays_grow_to_the_longest_and_start_over() {
        let mut backoff = Backoff::doubling(SECOND, SECOND * 10);
        assert_eq!(seconds(&mut backoff, 6), [1, 2, 4, 8, 10, 10]);
        assert_eq!(backoff.failures(), 6);
        backoff.reset();
        assert_eq!(seconds(&mut backoff, 2), [1, 2]);
        assert_eq!(seconds(&mut Backoff::growing(SECOND, SECOND * 256, 4), 6), [1, 4, 16, 64, 256, 256]);
    }

    #[test]
    fn no_number_of_failures_overflows() {
        let mut backoff = Backoff { failures: u32::MAX, ..Backoff::doubling(SECOND, SECOND * 60) };
        assert_eq!(seconds(&mut backoff, 2), [60, 60]);
    }

    #[test]
    fn jitter_stays_within_a_fifth_and_below_the_longest() {
        for _ in 0..200 {
            let mut backoff = Backoff::doubling(SECOND * 10, SECOND * 20);
            let (first, second) = (backoff.next_jittered(), backoff.next_jittered());
            assert!((SECOND * 8..=SECOND * 12).contains(&first), "{first:?}");
            assert!((SECOND * 16..=SECOND * 20).contains(&second), "{second:?}");
        }
    }
}

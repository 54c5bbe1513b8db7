//! How long a turn waits when the model's service is busy.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long to wait before the next try.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The first wait where the service names no time; doubled each time.
    pub first: Duration,
    /// No single wait is longer.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first: Duration::from_secs(30), longest: Duration::from_secs(6 * 3600) }
    }
}

impl RetryPolicy {
    /// The wait before try number `attempt` (from 1), until the limit ends where the service told.
    pub fn delay(&self, attempt: u32, resets_at: Option<i64>, now: SystemTime) -> Duration {
        let told = resets_at.and_then(|at| {
            let at = UNIX_EPOCH + Duration::from_secs(u64::try_from(at).ok()?);
            at.duration_since(now).ok()
        });
        told.unwrap_or(self.first * 2_u32.saturating_pow(attempt.saturating_sub(1))).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_unless_the_service_names_the_time() {
        let policy = RetryPolicy::default();
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(policy.delay(1, None, now), Duration::from_secs(30));
        assert_eq!(policy.delay(3, None, now), Duration::from_secs(120));
        assert_eq!(policy.delay(1, Some(1_090), now), Duration::from_secs(90));
        assert_eq!(
            policy.delay(1, Some(900), now),
            Duration::from_secs(30),
            "a time that is past says nothing"
        );
        assert_eq!(policy.delay(1, Some(i64::MAX), SystemTime::now()), policy.longest);
    }
}

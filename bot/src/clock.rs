//! The wall clock, passed in so that tests can set it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use tokio::sync::watch;

/// A machine that was suspended wakes with a clock that has gone on, and a timer that has not: so often a wait for a time of day looks.
const LOOK: Duration = Duration::from_secs(30);

/// The source of the time of day.
#[derive(Clone)]
pub struct Clock(TimeSource);

#[derive(Clone)]
enum TimeSource {
    Read(Arc<dyn Fn() -> SystemTime + Send + Sync>),
    /// It moves only when somebody sets it, and so do the waits.
    Set(watch::Receiver<SystemTime>),
}

impl Clock {
    pub fn system() -> Self {
        Self::from_fn(SystemTime::now)
    }

    /// A clock that reads from `now`.
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(TimeSource::Read(Arc::new(now)))
    }

    /// A clock that begins at `now` and stands still until its hand is moved ([`ClockHand::advance`]).
    pub fn by_hand(now: SystemTime) -> (Self, ClockHand) {
        let (hand, clock) = watch::channel(now);
        (Self(TimeSource::Set(clock)), ClockHand(hand))
    }

    pub fn now(&self) -> SystemTime {
        match &self.0 {
            TimeSource::Read(now) => now(),
            TimeSource::Set(now) => *now.borrow(),
        }
    }

    /// Waits until so long after `since`. The time in which the machine is suspended from now on does not count.
    pub async fn sleep_from(&self, since: SystemTime, time: Duration) {
        match &self.0 {
            TimeSource::Read(_) => {
                let gone = self.now().duration_since(since).unwrap_or_default();
                tokio::time::sleep(time.saturating_sub(gone)).await;
            }
            TimeSource::Set(now) => reached(now.clone(), since + time).await,
        }
    }

    /// Waits until that time of day.
    pub async fn sleep_until(&self, time: SystemTime) {
        match &self.0 {
            TimeSource::Read(now) => {
                while let Ok(left) = time.duration_since(now())
                    && !left.is_zero()
                {
                    tokio::time::sleep(left.min(LOOK)).await;
                }
            }
            TimeSource::Set(now) => reached(now.clone(), time).await,
        }
    }
}

async fn reached(mut now: watch::Receiver<SystemTime>, time: SystemTime) {
    if now.wait_for(|now| *now >= time).await.is_err() {
        // Nobody can move it any more.
        std::future::pending::<()>().await;
    }
}

/// Moves a clock that stands still otherwise.
pub struct ClockHand(watch::Sender<SystemTime>);

impl ClockHand {
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }
}

/// The beginning of the day so many days before, in the machine's time zone.
pub fn midnight(now: SystemTime, days: i64) -> anyhow::Result<SystemTime> {
    let zoned = Timestamp::try_from(now)?.to_zoned(TimeZone::system());
    let start = zoned.start_of_day()?.checked_sub(days.days())?;
    Ok(start.timestamp().into())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_clock_that_is_moved_by_hand_wakes_who_waits_for_that_time_and_nobody_else() {
        let start = SystemTime::UNIX_EPOCH;
        let (clock, hand) = Clock::by_hand(start);
        let minute = Duration::from_secs(60);
        let mut short = Box::pin(clock.sleep_from(start, minute));
        let mut late = Box::pin(clock.sleep_until(start + 2 * minute));
        assert!((&mut short).now_or_never().is_none() && (&mut late).now_or_never().is_none());
        hand.advance(minute);
        assert!((&mut short).now_or_never().is_some() && (&mut late).now_or_never().is_none());
        hand.advance(minute);
        assert!(late.now_or_never().is_some());
        assert_eq!(clock.now(), start + 2 * minute);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_for_a_time_of_day_sees_that_the_clock_has_jumped() {
        let moved = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let read = moved.clone();
        let clock = Clock::from_fn(move || {
            SystemTime::UNIX_EPOCH
                + Duration::from_secs(read.fetch_add(3_600, std::sync::atomic::Ordering::Relaxed))
        });
        let began = tokio::time::Instant::now();
        clock.sleep_until(SystemTime::UNIX_EPOCH + Duration::from_secs(7_200)).await;
        assert!(began.elapsed() <= 3 * LOOK, "it does not sleep two hours");
    }
}

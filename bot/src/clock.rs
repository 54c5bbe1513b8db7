//! The wall clock, passed in so that tests can set it.

use std::{sync::Arc, time::SystemTime};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};

/// The source of the time of day.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// A clock that reads from `now`.
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

/// The beginning of the day so many days before, in the machine's time zone.
pub fn midnight(now: SystemTime, days: i64) -> anyhow::Result<SystemTime> {
    let zoned = Timestamp::try_from(now)?.to_zoned(TimeZone::system());
    let start = zoned.start_of_day()?.checked_sub(days.days())?;
    Ok(start.timestamp().into())
}

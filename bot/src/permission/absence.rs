//! Who cannot be asked now, and when they are back: `away`, and the hours of `[[person]]`.

use std::time::SystemTime;

use jiff::tz::TimeZone;
use tokio::sync::watch;

use crate::{
    config::ListedPerson,
    store::{AwayRecord, Store},
};

/// When somebody can be asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonReturn {
    pub name: String,
    /// `None`: when they say so.
    pub at: Option<SystemTime>,
    /// In which they read a time.
    pub zone: TimeZone,
}

/// What people said with `away` and `back`. Cheap to clone.
#[derive(Clone)]
pub struct AwayBook {
    store: Store,
    changed: watch::Sender<()>,
}

impl AwayBook {
    pub fn new(store: Store) -> Self {
        Self { store, changed: watch::Sender::new(()) }
    }

    /// What somebody said, by the name or account under which they did, if it still holds.
    pub fn of(&self, who: &str, now: SystemTime) -> Option<AwayRecord> {
        let record = self.store.away(who).unwrap_or_else(|error| {
            // Asked once too often rather than never.
            tracing::error!(%error, who, "whether somebody is away cannot be read");
            None
        });
        record.filter(|record| !record.is_over(now))
    }

    /// Somebody is away from now on, or back.
    ///
    /// # Errors
    /// It could not be stored, and holds no longer than before.
    pub fn set(&self, who: &str, away: Option<AwayRecord>) -> anyhow::Result<()> {
        self.store.set_away(who, away)?;
        self.changed.send_replace(());
        Ok(())
    }

    /// Changes whenever somebody says one of both.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// When the person can be asked again; `None`: now.
    pub fn absence(&self, person: &ListedPerson, now: SystemTime) -> Option<PersonReturn> {
        let back = |at| PersonReturn { name: person.name.clone(), at, zone: person.zone.clone() };
        match self.of(&person.name, now) {
            Some(AwayRecord { until: None }) => Some(back(None)),
            Some(AwayRecord { until: Some(until) }) => Some(back(person.next_in_hours(until))),
            None if person.is_in_hours(now) => None,
            None => Some(back(person.next_in_hours(now))),
        }
    }
}

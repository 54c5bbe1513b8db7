//! Who has said that they are away, and until when.

use std::time::SystemTime;

use rusqlite::{OptionalExtension as _, params};

use super::{Store, StoreResult, seconds, time};

/// What somebody said with `away`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwayRecord {
    /// `None`: until they say that they are back.
    pub until: Option<SystemTime>,
}

impl AwayRecord {
    pub fn is_over(self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl Store {
    /// Remembers that a person is away; `None`: they are back.
    pub fn set_away(&self, person: &str, away: Option<AwayRecord>) -> StoreResult<()> {
        let connection = self.lock();
        let Some(AwayRecord { until }) = away else {
            return connection.execute("DELETE FROM away WHERE person = ?1", [person]).map(drop);
        };
        connection
            .prepare_cached("INSERT OR REPLACE INTO away (person, until) VALUES (?1, ?2)")?
            .execute(params![person, until.map(seconds)])
            .map(drop)
    }

    /// What the person said last, also where its time is over.
    pub fn away(&self, person: &str) -> StoreResult<Option<AwayRecord>> {
        self.lock()
            .prepare_cached("SELECT until FROM away WHERE person = ?1")?
            .query_row([person], |row| Ok(AwayRecord { until: row.get::<_, Option<i64>>(0)?.map(time) }))
            .optional()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_is_away_is_so_after_a_restart_until_they_are_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let store = Store::open(&path, SystemTime::UNIX_EPOCH).unwrap();
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        store.set_away("Ann", Some(AwayRecord { until: Some(until) })).unwrap();
        store.set_away("Bob", Some(AwayRecord { until: None })).unwrap();
        drop(store);
        let store = Store::open(&path, SystemTime::UNIX_EPOCH).unwrap();
        let ann = store.away("Ann").unwrap().unwrap();
        assert_eq!(
            (ann.until, ann.is_over(until), ann.is_over(until - Duration::from_secs(1))),
            (Some(until), true, false)
        );
        assert_eq!(store.away("Bob").unwrap(), Some(AwayRecord { until: None }));
        assert!(!store.away("Bob").unwrap().unwrap().is_over(until));
        store.set_away("Bob", None).unwrap();
        assert_eq!((store.away("Bob").unwrap(), store.away("Cleo").unwrap()), (None, None));
    }
}

//! The browsers that people have signed in with. Only hashes of their secrets are here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Store, StoreResult, seconds};

/// A browser that somebody has signed in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSession {
    /// Never used twice.
    pub number: i64,
    /// Whose it is, as `messenger:id`.
    pub person: String,
    /// How this person is called.
    pub name: String,
    /// What the browser calls itself, in a few words.
    pub browser: String,
    pub created: SystemTime,
    pub used: SystemTime,
}

const COLUMNS: &str = "number, person, name, browser, created, used";

impl Store {
    /// Remembers a session by the hash of its secret; returns its number.
    pub fn add_web_session(&self, secret: &[u8; 32], session: &WebSession) -> StoreResult<i64> {
        let connection = self.lock();
        connection.execute(
            "INSERT INTO web_sessions (secret, person, name, browser, created, used) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                secret,
                session.person,
                session.name,
                session.browser,
                seconds(session.created),
                seconds(session.used)
            ],
        )?;
        Ok(connection.last_insert_rowid())
    }

    /// The session whose secret has this hash.
    pub fn web_session(&self, secret: &[u8; 32]) -> StoreResult<Option<WebSession>> {
        self.lock()
            .prepare_cached(&format!("SELECT {COLUMNS} FROM web_sessions WHERE secret = ?1"))?
            .query_row([secret], read)
            .optional()
    }

    /// A person's sessions, newest first.
    pub fn web_sessions(&self, person: &str) -> StoreResult<Vec<WebSession>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare(&format!("SELECT {COLUMNS} FROM web_sessions WHERE person = ?1 ORDER BY number DESC"))?;
        statement.query_map([person], read)?.collect()
    }

    /// How many sessions there are.
    pub fn count_web_sessions(&self) -> StoreResult<u32> {
        self.lock().query_row("SELECT count(*) FROM web_sessions", [], |row| row.get(0))
    }

    /// Notes that a session is in use.
    pub fn use_web_session(&self, number: i64, now: SystemTime) -> StoreResult<()> {
        let used = params![number, seconds(now)];
        self.lock().execute("UPDATE web_sessions SET used = ?2 WHERE number = ?1", used).map(drop)
    }

    /// Ends one session of a person, or all of them; returns how many there were.
    pub fn end_web_sessions(&self, person: &str, number: Option<i64>) -> StoreResult<usize> {
        self.lock().execute(
            "DELETE FROM web_sessions WHERE person = ?1 AND (?2 IS NULL OR number = ?2)",
            params![person, number],
        )
    }

    /// Forgets sessions that are older than this, or unused since.
    pub fn prune_web_sessions(&self, created: SystemTime, used: SystemTime) -> StoreResult<usize> {
        let before = params![seconds(created), seconds(used)];
        self.lock().execute("DELETE FROM web_sessions WHERE created < ?1 OR used < ?2", before)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<WebSession> {
    let time = |column| -> rusqlite::Result<SystemTime> {
        let seconds: i64 = row.get(column)?;
        Ok(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    };
    Ok(WebSession {
        number: row.get(0)?,
        person: row.get(1)?,
        name: row.get(2)?,
        browser: row.get(3)?,
        created: time(4)?,
        used: time(5)?,
    })
}

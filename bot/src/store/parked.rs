//! Questions whose agent's process has ended: they outlive it and every restart, until somebody answers or nobody is to go on.

use std::time::SystemTime;

use adapters::{MessageId, Room};
use pipeline::{parking::ParkedRun, story::StoryId};
use rusqlite::{OptionalExtension as _, Transaction, params};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{AuditEntry, OpenQuestion, Store, StoreResult, seconds, to_json};

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS parked (question INTEGER PRIMARY KEY, story INTEGER NOT NULL UNIQUE, call TEXT NOT NULL,
  run TEXT NOT NULL, body TEXT NOT NULL, decision TEXT);
";

/// A parked question as it is stored; `B` is what its owner needs to show it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredParked<B> {
    pub question: i64,
    pub run: ParkedRun,
    pub body: B,
}

impl Store {
    /// From now on the question outlives its agent.
    pub fn park_question<B: Serialize>(&self, parked: &StoredParked<B>) -> StoreResult<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        insert(&transaction, parked)?;
        transaction.commit()
    }

    /// The same call is asked about anew, by a new question in the place of this one.
    pub fn ask_parked_afresh<B: Serialize>(
        &self,
        old: i64,
        (asked, parked): (&OpenQuestion, impl FnOnce(i64) -> StoredParked<B>),
        (entry, now): (&AuditEntry, SystemTime),
    ) -> StoreResult<i64> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        close(&transaction, old, (entry, now))?;
        transaction.execute("INSERT INTO questions (body, open) VALUES (?1, 1)", [to_json(asked)])?;
        let id = transaction.last_insert_rowid();
        transaction.execute("DELETE FROM parked WHERE question = ?1", [old])?;
        insert(&transaction, &parked(id))?;
        transaction.commit()?;
        Ok(id)
    }

    /// Changes what is kept of an open one.
    pub fn set_parked_body<B: Serialize>(&self, question: i64, body: &B) -> StoreResult<()> {
        self.lock()
            .execute(
                "UPDATE parked SET body = ?2 WHERE question = ?1 AND decision IS NULL",
                params![question, to_json(body)],
            )
            .map(drop)
    }

    /// People have decided; the agent takes the decision when it goes on. `false` where the question is gone.
    pub fn decide_parked<D: Serialize>(
        &self,
        question: i64,
        decision: &D,
        audit: (&AuditEntry, SystemTime),
    ) -> StoreResult<bool> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let decided = transaction.execute(
            "UPDATE parked SET decision = ?2 WHERE question = ?1 AND decision IS NULL",
            params![question, to_json(decision)],
        )?;
        if decided == 1 {
            close(&transaction, question, audit)?;
        }
        transaction.commit()?;
        Ok(decided == 1)
    }

    /// The decision about this call of a story's agent, which nobody gets a second time.
    pub fn take_parked_decision<D: DeserializeOwned, B: DeserializeOwned>(
        &self,
        story: StoryId,
        call: &str,
    ) -> StoreResult<Option<(D, B)>> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let found: Option<(i64, String, String)> = transaction
            .query_row(
                "SELECT question, decision, body FROM parked WHERE story = ?1 AND call = ?2 AND decision IS NOT NULL",
                params![story.0, call],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()?;
        let Some((question, decision, body)) = found else { return Ok(None) };
        transaction.execute("DELETE FROM parked WHERE question = ?1", [question])?;
        transaction.commit()?;
        let read = |_| Some((serde_json::from_str(&decision).ok()?, serde_json::from_str(&body).ok()?));
        Ok(Some(()).and_then(read))
    }

    /// Nobody goes on with the story's call. The question, if it is still open.
    pub fn drop_parked(&self, story: StoryId) -> StoreResult<Option<i64>> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let found: Option<(i64, bool)> = transaction
            .query_row("SELECT question, decision IS NULL FROM parked WHERE story = ?1", [story.0], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        transaction.execute("DELETE FROM parked WHERE story = ?1", [story.0])?;
        transaction.commit()?;
        Ok(found.and_then(|(question, is_open)| is_open.then_some(question)))
    }

    /// The story's parked run.
    pub fn parked_run(&self, story: StoryId) -> StoreResult<Option<ParkedRun>> {
        let connection = self.lock();
        let found: Option<(String, bool)> = connection
            .query_row("SELECT run, decision IS NOT NULL FROM parked WHERE story = ?1", [story.0], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        Ok(found.and_then(|(run, is_answered)| answered(&run, is_answered)))
    }

    pub fn parked_runs(&self) -> StoreResult<Vec<ParkedRun>> {
        let connection = self.lock();
        let mut statement =
            connection.prepare("SELECT run, decision IS NOT NULL FROM parked ORDER BY question")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)))?;
        let rows: Vec<_> = rows.collect::<StoreResult<_>>()?;
        Ok(rows.into_iter().filter_map(|(run, is_answered)| answered(&run, is_answered)).collect())
    }

    /// The messages that show a question; from now on it has others.
    pub fn take_copies(&self, question: i64) -> StoreResult<Vec<(Room, MessageId)>> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let copies: Vec<(String, String)> = transaction
            .prepare("SELECT room, message FROM copies WHERE question = ?1")?
            .query_map([question], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<StoreResult<_>>()?;
        transaction.execute("DELETE FROM copies WHERE question = ?1", [question])?;
        transaction.commit()?;
        let place = |(room, message): (String, String)| Some((Room::parse(&room)?, MessageId::new(message)));
        Ok(copies.into_iter().filter_map(place).collect())
    }

    /// Those that nobody has answered. One that cannot be read is left out.
    pub fn open_parked<B: DeserializeOwned>(&self) -> StoreResult<Vec<StoredParked<B>>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare("SELECT question, run, body FROM parked WHERE decision IS NULL ORDER BY question")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })?;
        let rows: Vec<_> = rows.collect::<StoreResult<_>>()?;
        let read = |(question, run, body): (i64, String, String)| {
            let (run, body) = (serde_json::from_str(&run).ok()?, serde_json::from_str(&body).ok()?);
            Some(StoredParked { question, run, body })
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }
}

fn answered(run: &str, is_answered: bool) -> Option<ParkedRun> {
    serde_json::from_str::<ParkedRun>(run).ok().map(|run| ParkedRun { is_answered, ..run })
}

fn insert<B: Serialize>(transaction: &Transaction<'_>, parked: &StoredParked<B>) -> StoreResult<()> {
    let StoredParked { question, run, body } = parked;
    transaction
        .execute(
            "INSERT OR REPLACE INTO parked (question, story, call, run, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![question, run.story.0, run.call, to_json(run), to_json(body)],
        )
        .map(drop)
}

fn close(
    transaction: &Transaction<'_>,
    question: i64,
    (entry, now): (&AuditEntry, SystemTime),
) -> StoreResult<()> {
    transaction.execute("DELETE FROM questions WHERE id = ?1", [question])?;
    transaction.execute("DELETE FROM copies WHERE question = ?1", [question])?;
    transaction
        .execute("INSERT INTO audit (at, body) VALUES (?1, ?2)", params![seconds(now), to_json(entry)])
        .map(drop)
}

//! Copies of questions that are over and may still offer their choices: a kill between an answer and the edit of its message.

use adapters::{MessageId, Room};
use rusqlite::params;

use super::{AuditEntry, Store, StoreResult, to_json};

/// A message that shows a question as open.
#[derive(Clone, Debug, PartialEq)]
pub struct SettledCopy {
    pub question: i64,
    pub room: Room,
    pub message: MessageId,
    /// How the question ended.
    pub entry: AuditEntry,
}

/// Part of the transaction that closes a question.
pub(super) fn keep_copies(
    transaction: &rusqlite::Transaction<'_>,
    question: i64,
    entry: &AuditEntry,
) -> StoreResult<()> {
    transaction
        .execute(
            "INSERT INTO settled_copies (question, room, message, body)
             SELECT question, room, message, ?2 FROM copies WHERE question = ?1",
            params![question, to_json(entry)],
        )
        .map(drop)
}

impl Store {
    /// The room's message says how the question ended.
    pub fn copy_settled(&self, question: i64, room: &Room) -> StoreResult<()> {
        let connection = self.lock();
        for table in ["copies", "settled_copies"] {
            let sql = format!("DELETE FROM {table} WHERE question = ?1 AND room = ?2");
            connection.execute(&sql, params![question, room.to_string()])?;
        }
        Ok(())
    }

    /// The messages of earlier processes that do not say so yet.
    pub fn settled_copies(&self) -> StoreResult<Vec<SettledCopy>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare("SELECT question, room, message, body FROM settled_copies ORDER BY question")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
        })?;
        let mut copies = Vec::new();
        for row in rows {
            let (question, room, message, body) = row?;
            if let (Some(room), Ok(entry)) = (Room::parse(&room), serde_json::from_str(&body)) {
                copies.push(SettledCopy { question, room, message: MessageId::new(message), entry });
            }
        }
        Ok(copies)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::store::OpenQuestion;

    #[test]
    fn a_copy_is_known_until_it_says_how_its_question_ended() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db"), SystemTime::now()).unwrap();
        let body = OpenQuestion {
            rooms: Vec::new(),
            asked_for: "Ann".into(),
            tool: "Bash".into(),
            input: serde_json::Value::Null,
            story: None,
        };
        let entry = AuditEntry {
            question: Some(1),
            tool: "Bash".into(),
            input_sha256: String::new(),
            asked_for: "Ann".into(),
            rooms: Vec::new(),
            outcome: "allow".into(),
            by: "ann".into(),
            account: None,
            story: None,
        };
        let id = store.open_question(&body).unwrap();
        let [here, there, left] = ["here", "there", "left"].map(|room| Room::new("fake", room));
        for room in [&here, &there, &left] {
            store.question_shown(id, room, &MessageId::new(room.id())).unwrap();
        }
        // The bot shuts down: it has edited this one before the question is closed.
        store.copy_settled(id, &left).unwrap();
        assert!(store.settled_copies().unwrap().is_empty(), "it is open");
        store.close_question(id, &entry, SystemTime::now()).unwrap();
        let rooms = |copies: Vec<SettledCopy>| copies.into_iter().map(|it| it.room).collect::<Vec<_>>();
        assert_eq!(rooms(store.settled_copies().unwrap()), [here.clone(), there.clone()]);
        store.copy_settled(id, &there).unwrap();
        let last = SettledCopy { question: id, message: MessageId::new("here"), room: here, entry };
        assert_eq!(store.settled_copies().unwrap(), [last]);
    }
}

//! Durable state in `.storkit/state/state.db` (SQLite, WAL): everything that must survive a kill -9 or a restart.

mod away;
mod folder;
mod open;
mod origins;
mod parked;
mod records;
mod settled;
mod web_chat;
mod web_sessions;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adapters::{MessageId, Room};
use agents::claude::{BackgroundTask, SessionId};
pub use away::AwayRecord;
pub use open::OpenError;
pub use parked::StoredParked;
use parking_lot::{Mutex, MutexGuard};
pub use records::{
    AuditEntry, CostEntry, CostRow, LeftQuestion, OpenQuestion, OverheardTalk, PromptState, QueuedPrompt,
    RuleOwner, RuleScope, StandingRule,
};
use rusqlite::{Connection, OptionalExtension as _, params};
pub use settled::SettledCopy;
pub use web_sessions::WebSession;

/// How long a message id is remembered: WhatsApp redelivers for 7 days.
pub const SEEN_FOR: Duration = Duration::from_secs(8 * 24 * 3600);

/// A failure of the database, for the log; the person gets a number.
pub type StoreResult<T> = rusqlite::Result<T>;

/// The bot's memory. Cheap to clone; every call is one short transaction (25 us, written before it returns).
#[derive(Clone)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
    /// Where a corrupt predecessor was put aside at this start.
    set_aside: Option<PathBuf>,
}

/// A room's choices and its session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoomRecord {
    /// The session to resume.
    pub session: Option<SessionId>,
    /// The session's cost so far, since the CLI reports sums.
    pub session_cost_usd: f64,
    pub model: Option<String>,
    pub verbosity: Option<u8>,
}

impl Store {
    /// Where a corrupt database was put aside at this start, if one was.
    pub fn set_aside(&self) -> Option<&PathBuf> {
        self.set_aside.as_ref()
    }

    // No poisoned lock to handle: a panic between statements leaves SQLite consistent, since
    // its transaction is rolled back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock()
    }

    // --- messages seen ---

    /// Records these ids and returns for each whether it is new. One transaction, so that a burst costs one write.
    pub fn mark_seen(&self, messages: &[(Room, MessageId)], now: SystemTime) -> StoreResult<Vec<bool>> {
        let mut connection = self.lock();
        // One statement is a transaction by itself, and beginning and committing one would double its cost.
        if messages.len() <= 1 {
            return insert_seen(&connection, messages, now);
        }
        let transaction = connection.transaction()?;
        let fresh = insert_seen(&transaction, messages, now)?;
        transaction.commit()?;
        Ok(fresh)
    }

    /// Whether [`Store::mark_seen`] knows the message.
    pub fn is_seen(&self, room: &Room, message: &MessageId) -> StoreResult<bool> {
        self.lock()
            .prepare_cached("SELECT 1 FROM seen WHERE room = ?1 AND message = ?2")?
            .exists(params![room.to_string(), message.as_str()])
    }

    /// Forgets message ids older than [`SEEN_FOR`].
    pub fn prune(&self, now: SystemTime) -> StoreResult<usize> {
        let before = seconds(now) - SEEN_FOR.as_secs() as i64;
        self.lock().execute("DELETE FROM seen WHERE at < ?1", [before])
    }

    // --- rooms and sessions ---

    /// The record of a room; the default for a new one.
    pub fn room(&self, room: &Room) -> StoreResult<RoomRecord> {
        self.lock()
            .prepare_cached("SELECT session, session_cost_usd, model, verbosity FROM rooms WHERE room = ?1")?
            .query_row([room.to_string()], |row| {
                Ok(RoomRecord {
                    session: row.get::<_, Option<String>>(0)?.map(SessionId::new),
                    session_cost_usd: row.get(1)?,
                    model: row.get(2)?,
                    verbosity: row.get(3)?,
                })
            })
            .optional()
            .map(Option::unwrap_or_default)
    }

    /// Sets the room's session; the former one stays in the record of sessions.
    pub fn set_session(&self, room: &Room, session: &SessionId, now: SystemTime) -> StoreResult<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        transaction
            .prepare_cached(
                "INSERT INTO rooms (room, session) VALUES (?1, ?2) ON CONFLICT (room) DO UPDATE SET
                 session_cost_usd = CASE WHEN session IS ?2 THEN session_cost_usd ELSE 0 END, session = ?2",
            )?
            .execute(params![room.to_string(), session.as_str()])?;
        transaction
            .prepare_cached("INSERT OR IGNORE INTO sessions (room, session, began) VALUES (?1, ?2, ?3)")?
            .execute(params![room.to_string(), session.as_str(), seconds(now)])?;
        transaction.commit()
    }

    /// Leaves the room without a session (`reset`, or one that cannot be resumed), keeping the old id in the record.
    pub fn end_session(&self, room: &Room, why: &str, now: SystemTime) -> StoreResult<()> {
        let connection = self.lock();
        connection.execute(
            "UPDATE sessions SET ended = ?2, why = ?3 WHERE room = ?1 AND ended IS NULL",
            params![room.to_string(), seconds(now), why],
        )?;
        connection.execute(
            "UPDATE rooms SET session = NULL, session_cost_usd = 0 WHERE room = ?1",
            [room.to_string()],
        )?;
        Ok(())
    }

    /// Where the session began; `None` for one of an earlier storkit, which knew only the main checkout.
    pub fn session_folder(&self, session: &SessionId) -> StoreResult<Option<PathBuf>> {
        self.lock()
            .prepare_cached("SELECT folder FROM session_folders WHERE session = ?1")?
            .query_row([session.as_str()], |row| row.get::<_, String>(0).map(PathBuf::from))
            .optional()
    }

    /// Remembers where a session began.
    pub fn set_session_folder(&self, session: &SessionId, folder: &Path) -> StoreResult<()> {
        self.lock()
            .prepare_cached("INSERT OR REPLACE INTO session_folders (session, folder) VALUES (?1, ?2)")?
            .execute(params![session.as_str(), folder.to_string_lossy()])
            .map(drop)
    }

    /// Every session that any room may still have a process of.
    pub fn live_sessions(&self) -> StoreResult<Vec<SessionId>> {
        let connection = self.lock();
        let mut statement = connection.prepare("SELECT session FROM rooms WHERE session IS NOT NULL")?;
        statement.query_map([], |row| row.get::<_, String>(0).map(SessionId::new))?.collect()
    }

    /// Remembers the room's choice of model; `None` for the configured one.
    pub fn set_model(&self, room: &Room, model: Option<&str>) -> StoreResult<()> {
        self.set_room(room, "model", model.map(str::to_owned))
    }

    /// Remembers how much progress the room shows.
    pub fn set_verbosity(&self, room: &Room, verbosity: u8) -> StoreResult<()> {
        self.set_room(room, "verbosity", verbosity)
    }

    fn set_room(&self, room: &Room, column: &str, value: impl rusqlite::ToSql) -> StoreResult<()> {
        // `column` comes from the two callers above, never from outside, so it may be part of the SQL.
        let sql = format!(
            "INSERT INTO rooms (room, {column}) VALUES (?1, ?2) ON CONFLICT (room) DO UPDATE SET {column} = ?2"
        );
        self.lock().execute(&sql, params![room.to_string(), value]).map(drop)
    }

    // --- prompts under way, for the next start ---

    /// Stores a prompt that waits, until [`Store::prompt_done`]; returns its number.
    pub fn queue_prompt(&self, room: &Room, prompt: &QueuedPrompt) -> StoreResult<i64> {
        self.keep_prompt(room, prompt, PromptState::Waits)
    }

    /// The same for a command that begins at once.
    pub fn begin_prompt(&self, room: &Room, prompt: &QueuedPrompt) -> StoreResult<i64> {
        self.keep_prompt(room, prompt, PromptState::Acts)
    }

    fn keep_prompt(&self, room: &Room, prompt: &QueuedPrompt, state: PromptState) -> StoreResult<i64> {
        let connection = self.lock();
        connection
            .prepare_cached("INSERT INTO prompts (room, body, started) VALUES (?1, ?2, ?3)")?
            .execute(params![room.to_string(), to_json(prompt), state.number()])?;
        Ok(connection.last_insert_rowid())
    }

    /// The prompt waits with another text.
    pub fn change_prompt(&self, number: i64, prompt: &QueuedPrompt) -> StoreResult<()> {
        let change = params![number, to_json(prompt)];
        self.lock().execute("UPDATE prompts SET body = ?2 WHERE id = ?1", change).map(drop)
    }

    /// How far the prompt has come. One that may have had effects is reported after a crash, and not run again.
    pub fn set_prompt_state(&self, number: i64, state: PromptState) -> StoreResult<()> {
        let connection = self.lock();
        let mut update = connection.prepare_cached("UPDATE prompts SET started = ?2 WHERE id = ?1")?;
        update.execute(params![number, state.number()]).map(drop)
    }

    /// The prompt is answered, or was taken back.
    pub fn prompt_done(&self, number: i64) -> StoreResult<()> {
        self.lock().execute("DELETE FROM prompts WHERE id = ?1", [number]).map(drop)
    }

    /// Prompts that an earlier process left: room, number, how far it had come, and the prompt; oldest first.
    pub fn left_prompts(&self) -> StoreResult<Vec<(Room, i64, PromptState, QueuedPrompt)>> {
        let connection = self.lock();
        let mut statement = connection.prepare("SELECT room, id, started, body FROM prompts ORDER BY id")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?))
        })?;
        let mut left = Vec::new();
        for row in rows {
            let (room, number, started, body) = row?;
            // A row that this version cannot read must not hold up the others.
            if let (Some(room), Ok(prompt)) = (Room::parse(&room), serde_json::from_str(&body)) {
                left.push((room, number, PromptState::from_number(started), prompt));
            }
        }
        Ok(left)
    }

    // --- work in the background, for the next start ---

    /// Stores what a room's session does in the background at this moment.
    pub fn set_background(&self, room: &Room, tasks: &[BackgroundTask]) -> StoreResult<()> {
        let connection = self.lock();
        if tasks.is_empty() {
            let mut none = connection.prepare_cached("DELETE FROM background WHERE room = ?1")?;
            return none.execute([room.to_string()]).map(drop);
        }
        let mut set =
            connection.prepare_cached("INSERT OR REPLACE INTO background (room, tasks) VALUES (?1, ?2)")?;
        set.execute(params![room.to_string(), to_json(&tasks)]).map(drop)
    }

    /// Takes what was under way in the background when the earlier process ended.
    pub fn take_background(&self) -> StoreResult<Vec<(Room, Vec<BackgroundTask>)>> {
        let connection = self.lock();
        let mut statement = connection.prepare("DELETE FROM background RETURNING room, tasks")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut left = Vec::new();
        for row in rows {
            let (room, tasks) = row?;
            if let (Some(room), Ok(tasks)) = (Room::parse(&room), serde_json::from_str(&tasks)) {
                left.push((room, tasks));
            }
        }
        Ok(left)
    }

    // --- recent talk ---

    /// Stores a message that was not addressed to the bot; at most `limit` messages per room.
    pub fn overhear(&self, room: &Room, talk: &OverheardTalk, limit: usize) -> StoreResult<()> {
        let connection = self.lock();
        connection
            .prepare_cached("INSERT INTO talk (room, who, text) VALUES (?1, ?2, ?3)")?
            .execute(params![room.to_string(), talk.who, talk.text])?;
        connection
            .prepare_cached(
                "DELETE FROM talk WHERE room = ?1 AND id NOT IN
                 (SELECT id FROM talk WHERE room = ?1 ORDER BY id DESC LIMIT ?2)",
            )?
            .execute(params![room.to_string(), limit as i64])
            .map(drop)
    }

    /// Takes the room's talk since the last prompt, oldest first.
    pub fn take_talk(&self, room: &Room) -> StoreResult<Vec<OverheardTalk>> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let talk = {
            let mut statement =
                transaction.prepare_cached("DELETE FROM talk WHERE room = ?1 RETURNING id, who, text")?;
            let rows = statement.query_map([room.to_string()], |row| {
                Ok((row.get::<_, i64>(0)?, OverheardTalk { who: row.get(1)?, text: row.get(2)? }))
            })?;
            let mut talk = rows.collect::<StoreResult<Vec<_>>>()?;
            // SQLite returns deleted rows in no particular order.
            talk.sort_by_key(|(id, _)| *id);
            talk.into_iter().map(|(_, talk)| talk).collect()
        };
        transaction.commit()?;
        Ok(talk)
    }
}

fn insert_seen(
    connection: &Connection,
    messages: &[(Room, MessageId)],
    now: SystemTime,
) -> StoreResult<Vec<bool>> {
    let mut insert =
        // The primary key decides which ids are new: a read before the write would cost a
        // second statement for each message.
        connection.prepare_cached("INSERT OR IGNORE INTO seen (room, message, at) VALUES (?1, ?2, ?3)")?;
    let insert =
        |(room, id): &(Room, MessageId)| insert.execute(params![room.to_string(), id.as_str(), seconds(now)]);
    messages.iter().map(insert).map(|rows| Ok(rows? == 1)).collect()
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64)
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.max(0) as u64)
}

fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own records are plain data")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (Store, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db"), SystemTime::now()).unwrap();
        (store, dir)
    }

    fn room() -> Room {
        Room::new("fake", "a:b")
    }

    #[test]
    fn a_message_is_new_once_also_within_one_batch_and_after_a_restart() {
        let (store, dir) = store();
        let message = |id: &str| (room(), MessageId::new(id));
        let now = SystemTime::now();
        assert_eq!(
            store.mark_seen(&[message("1"), message("2"), message("1")], now).unwrap(),
            [true, true, false]
        );
        drop(store);
        let again = Store::open(&dir.path().join("state.db"), now).unwrap();
        assert_eq!(again.mark_seen(&[message("2"), message("3")], now).unwrap(), [false, true]);
    }

    #[test]
    fn ids_are_forgotten_after_eight_days_and_not_before() {
        let (store, _dir) = store();
        let start = SystemTime::now();
        store.mark_seen(&[(room(), MessageId::new("1"))], start).unwrap();
        assert_eq!(store.prune(start + SEEN_FOR).unwrap(), 0);
        assert_eq!(store.prune(start + SEEN_FOR + Duration::from_secs(2)).unwrap(), 1);
    }

    #[test]
    fn trimming_talk_never_touches_the_session() {
        let (store, _dir) = store();
        let session = SessionId::new("s1");
        store.set_session(&room(), &session, SystemTime::now()).unwrap();
        for n in 0..50 {
            store.overhear(&room(), &OverheardTalk { who: "ann".into(), text: n.to_string() }, 3).unwrap();
        }
        let talk: Vec<_> = store.take_talk(&room()).unwrap().into_iter().map(|talk| talk.text).collect();
        assert_eq!(talk, ["47", "48", "49"]);
        assert!(store.take_talk(&room()).unwrap().is_empty());
        assert_eq!(store.room(&room()).unwrap().session, Some(session));
    }

    #[test]
    fn a_reset_keeps_the_old_session_in_the_record() {
        let (store, _dir) = store();
        let now = SystemTime::now();
        store.set_session(&room(), &SessionId::new("s1"), now).unwrap();
        store.end_session(&room(), "reset", now).unwrap();
        assert_eq!(store.room(&room()).unwrap().session, None);
        let kept: String =
            store.lock().query_row("SELECT session || why FROM sessions", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, "s1reset");
    }

    #[test]
    fn where_a_session_began_is_known_and_of_an_older_one_it_is_not() {
        let (store, _dir) = store();
        let session = SessionId::new("s1");
        assert_eq!(store.session_folder(&session).unwrap(), None);
        store.set_session_folder(&session, Path::new("/p/a")).unwrap();
        store.set_session_folder(&session, Path::new("/p/b")).unwrap();
        assert_eq!(store.session_folder(&session).unwrap(), Some(PathBuf::from("/p/b")));
    }

    #[test]
    fn a_room_keeps_its_choices_apart_from_its_session() {
        let (store, _dir) = store();
        store.set_model(&room(), Some("opus")).unwrap();
        store.set_session(&room(), &SessionId::new("s"), SystemTime::now()).unwrap();
        store.set_verbosity(&room(), 2).unwrap();
        let record = store.room(&room()).unwrap();
        assert_eq!((record.model.as_deref(), record.verbosity), (Some("opus"), Some(2)));
        assert!(record.session.is_some());
    }

    #[test]
    fn work_in_the_background_is_found_once_at_the_next_start() {
        let (store, _dir) = store();
        let task = |id: &str| BackgroundTask {
            id: id.into(),
            kind: agents::claude::BackgroundKind::Command,
            description: "count".into(),
        };
        store.set_background(&room(), &[task("a")]).unwrap();
        store.set_background(&room(), &[task("a"), task("b")]).unwrap();
        assert_eq!(store.take_background().unwrap(), [(room(), vec![task("a"), task("b")])]);
        assert!(store.take_background().unwrap().is_empty());
        store.set_background(&room(), &[task("a")]).unwrap();
        store.set_background(&room(), &[]).unwrap();
        assert!(store.take_background().unwrap().is_empty());
    }

    #[test]
    fn prompts_under_way_are_found_at_the_next_start() {
        let (store, _dir) = store();
        let prompt = QueuedPrompt::for_tests("hi");
        let first = store.queue_prompt(&room(), &prompt).unwrap();
        let second = store.queue_prompt(&room(), &prompt).unwrap();
        let third = store.queue_prompt(&room(), &prompt).unwrap();
        store.set_prompt_state(first, PromptState::Acts).unwrap();
        store.prompt_done(second).unwrap();
        let left: Vec<_> = store
            .left_prompts()
            .unwrap()
            .into_iter()
            .map(|(room, n, started, _)| (room, n, started))
            .collect();
        assert_eq!(left, [(room(), first, PromptState::Acts), (room(), third, PromptState::Waits)]);
        for state in [PromptState::Thinks, PromptState::WaitsForService, PromptState::Waits] {
            store.set_prompt_state(third, state).unwrap();
            assert_eq!(store.left_prompts().unwrap()[1].2, state);
        }
    }
}

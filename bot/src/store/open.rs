//! Opening the database: schema, integrity, and what becomes of a broken file.

use std::{
    fs, io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};

use super::{Store, seconds};

/// Written to `user_version`; raise it with each change of the schema but a new table, and migrate in [`create`].
const SCHEMA: i64 = 2;

// `seen` has no index by time: one would add a page to the write of every message, for a sweep once an hour.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS seen (room TEXT, message TEXT, at INTEGER NOT NULL, PRIMARY KEY (room, message)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rooms (room TEXT PRIMARY KEY, session TEXT, session_cost_usd REAL NOT NULL DEFAULT 0,
  model TEXT, verbosity INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (room TEXT, session TEXT, began INTEGER NOT NULL, ended INTEGER, why TEXT,
  PRIMARY KEY (room, session)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS session_folders (session TEXT PRIMARY KEY, folder TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS prompts (id INTEGER PRIMARY KEY AUTOINCREMENT, room TEXT NOT NULL, body TEXT NOT NULL,
  started INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS background (room TEXT PRIMARY KEY, tasks TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS talk (id INTEGER PRIMARY KEY AUTOINCREMENT, room TEXT NOT NULL, who TEXT NOT NULL,
  text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS talk_room ON talk (room, id);
CREATE TABLE IF NOT EXISTS questions (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, open INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS questions_open ON questions (open) WHERE open = 1;
CREATE TABLE IF NOT EXISTS copies (question INTEGER NOT NULL, room TEXT NOT NULL, message TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS copies_question ON copies (question);
CREATE TABLE IF NOT EXISTS standing_rules (id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, scope TEXT NOT NULL,
  made_by TEXT NOT NULL, made_at INTEGER NOT NULL, UNIQUE (owner, scope));
CREATE TABLE IF NOT EXISTS audit (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS audit_is_kept BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_is_true BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TABLE IF NOT EXISTS costs (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, room TEXT NOT NULL,
  who TEXT NOT NULL, session TEXT NOT NULL, usd REAL NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS costs_at ON costs (at);
CREATE TABLE IF NOT EXISTS web_sessions (number INTEGER PRIMARY KEY AUTOINCREMENT, secret BLOB NOT NULL UNIQUE,
  person TEXT NOT NULL, name TEXT NOT NULL, browser TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS web_messages (number INTEGER PRIMARY KEY AUTOINCREMENT, room TEXT NOT NULL, message TEXT NOT NULL,
  body TEXT NOT NULL, file BLOB, UNIQUE (room, message));
CREATE TABLE IF NOT EXISTS settled_copies (question INTEGER NOT NULL, room TEXT NOT NULL, message TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS away (person TEXT PRIMARY KEY, until INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS story_origins (story INTEGER PRIMARY KEY, room TEXT NOT NULL, message TEXT);
";

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Neither readable nor movable.
    #[error("`{path}` cannot be opened: {source}. storkit keeps its state there; check its owner and mode.")]
    Io { path: PathBuf, source: io::Error },
    /// SQLite refused for a reason other than damage.
    #[error("`{path}` cannot be used: {source}.")]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    /// Written by a newer storkit.
    #[error(
        "`{path}` was written by a newer storkit (schema {found}, this one knows {SCHEMA}). Update storkit."
    )]
    Newer { path: PathBuf, found: i64 },
}

impl Store {
    /// Opens or makes the database (0600). A damaged one is renamed to `state.db.corrupt-SECONDS`, never deleted,
    /// and a new one begun; [`Store::set_aside`] then returns where it is.
    pub fn open(path: &Path, now: SystemTime) -> Result<Self, OpenError> {
        let sqlite = |source| OpenError::Sqlite { path: path.into(), source };
        make_private(path).map_err(|source| OpenError::Io { path: path.into(), source })?;
        match connect(path) {
            Ok(connection) => Self::from_connection(connection, None, path),
            Err(error) if is_damage(&error) => {
                let aside =
                    set_aside(path, now).map_err(|source| OpenError::Io { path: path.into(), source })?;
                tracing::error!(%error, aside = %aside.display(), "the state was damaged; a new one is begun");
                Self::from_connection(connect(path).map_err(sqlite)?, Some(aside), path)
            }
            Err(error) => Err(sqlite(error)),
        }
    }

    /// Opens it to be read, also while a storkit serves the project; `None` where there is none yet.
    ///
    /// Fails where it cannot be read.
    pub(super) fn open_to_read(path: &Path) -> Result<Option<Self>, OpenError> {
        if !path.exists() {
            return Ok(None);
        }
        let sqlite = |source| OpenError::Sqlite { path: path.into(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
        connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(sqlite)?;
        Ok(Some(Self { connection: Arc::new(Mutex::new(connection)), set_aside: None }))
    }

    fn from_connection(
        connection: Connection,
        set_aside: Option<PathBuf>,
        path: &Path,
    ) -> Result<Self, OpenError> {
        let sqlite = |source| OpenError::Sqlite { path: path.into(), source };
        let found = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite)?;
        if found > SCHEMA {
            // A newer storkit may have given a column another meaning, and our writes could damage its data.
            return Err(OpenError::Newer { path: path.into(), found });
        }
        create(&connection, found).map_err(sqlite)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), set_aside })
    }
}

// Created here, not by SQLite, which would give it the usual mode and copy that to the log files.
fn make_private(path: &Path) -> io::Result<()> {
    match fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        }
        Err(error) => Err(error),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    // Another process can have the database open at this moment: `storkit audit` reads it, a person inspects it.
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // NORMAL survives any kill of ours; only a power cut can lose the last instants.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.set_prepared_statement_cache_capacity(64);
    // Damage must show at the start, where the file can be set aside, not at the first write. `quick_check` skips the
    // slow comparison of tables with their indexes.
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
            Some(verdict),
        ));
    }
    Ok(connection)
}

/// The story of an audit entry, in SQL, as its index has it.
pub(super) const AUDITED_STORY: &str = "CASE WHEN json_valid(body) THEN json_extract(body, '$.story') END";

fn create(connection: &Connection, found: i64) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    connection.execute_batch(super::parked::TABLES)?;
    connection
        .execute(&format!("CREATE INDEX IF NOT EXISTS audit_of_story ON audit ({AUDITED_STORY})"), [])?;
    // Earlier versions left closed questions in the table.
    connection.execute("DELETE FROM questions WHERE open = 0", [])?;
    if found == 1 {
        // Rules had no owner and held everywhere. The table's new name keeps an older storkit from misreading it.
        connection.execute_batch(
            "BEGIN;
             INSERT OR IGNORE INTO standing_rules (id, owner, scope, made_by, made_at)
               SELECT id, 'everyone', scope, made_by, made_at FROM rules;
             DROP TABLE rules;
             PRAGMA user_version = 2;
             COMMIT;",
        )?;
    }
    connection.pragma_update(None, "user_version", SCHEMA)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

// With its log, so that nothing of it is lost or mixed into the new one. The log goes first: a kill in between must
// not leave the old log next to a new database, which SQLite would then read.
fn set_aside(path: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let stamp = format!("corrupt-{}", seconds(now));
    let name = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = name(&format!(".{stamp}"));
    for suffix in ["-wal", "-shm"] {
        match fs::rename(name(suffix), name(&format!(".{stamp}{suffix}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, &aside)?;
    make_private(path)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{RuleOwner, RuleScope};

    #[test]
    fn a_damaged_database_is_kept_aside_and_a_new_one_begun() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        fs::write(&path, "this is no database, and it is long enough to be taken for one".repeat(50))
            .unwrap();
        let store = Store::open(&path, SystemTime::now()).unwrap();
        let aside = store.set_aside().unwrap();
        assert!(fs::read_to_string(aside).unwrap().starts_with("this is no database"));
        assert!(store.live_sessions().unwrap().is_empty());
    }

    #[test]
    fn damage_in_the_middle_is_found_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        drop(Store::open(&path, SystemTime::now()).unwrap());
        let mut bytes = fs::read(&path).unwrap();
        let len = bytes.len();
        bytes[4096..len].fill(0xAB);
        fs::write(&path, bytes).unwrap();
        assert!(Store::open(&path, SystemTime::now()).unwrap().set_aside().is_some());
    }

    #[test]
    fn a_newer_database_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = Store::open(&path, SystemTime::now()).err().unwrap();
        assert!(error.to_string().contains("newer storkit"), "{error}");
    }

    #[test]
    fn rules_of_schema_1_keep_their_numbers_and_hold_for_everyone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(
            r#"CREATE TABLE rules (id INTEGER PRIMARY KEY AUTOINCREMENT, scope TEXT NOT NULL UNIQUE, made_by TEXT NOT NULL,
                 made_at INTEGER NOT NULL);
               INSERT INTO rules VALUES (3, '{"kind":"command","command":"make test"}', 'ann', 5);
               PRAGMA user_version = 1;"#,
        )
        .unwrap();
        drop(old);
        for _ in 0..2 {
            let store = Store::open(&path, SystemTime::now()).unwrap();
            let rules = store.rules().unwrap();
            assert_eq!((rules.len(), rules[0].id, &rules[0].owner), (1, 3, &RuleOwner::Everyone));
            let command = RuleScope::Command { command: "make test".into(), links: Default::default() };
            assert_eq!(rules[0].scope, command);
        }
    }

    #[test]
    fn the_database_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let _store = Store::open(&path, SystemTime::now()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

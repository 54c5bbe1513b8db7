//! Where the database is: `.storkit/state/`, for its owner alone. An older storkit had it in `.storkit/` itself.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
    time::SystemTime,
};

use rusqlite::{Connection, OpenFlags};

use super::{Store, open::OpenError};

const DATABASE: &str = "state.db";

impl Store {
    /// Opens the database of this `.storkit` folder. One that an older storkit left directly in the folder is moved
    /// first. The caller holds the project's lock, so nothing else moves or writes it meanwhile. Fails where the
    /// folder or the database cannot be used.
    pub fn open_in(storkit: &Path, now: SystemTime) -> Result<Self, OpenError> {
        let folder = storkit.join("state");
        let failed = |source| OpenError::Io { path: folder.clone(), source };
        private_folder(&folder).map_err(failed)?;
        move_old_database(storkit, &folder).map_err(failed)?;
        Self::open(&folder.join(DATABASE), now)
    }

    /// Opens the database of this `.storkit` folder for reading, also while a storkit serves the project; `None` where
    /// there is none yet.
    ///
    /// Fails where it cannot be read.
    pub fn read_in(storkit: &Path) -> Result<Option<Self>, OpenError> {
        let current = storkit.join("state").join(DATABASE);
        // The old place still counts if nothing has served the project since an update: only a start moves the
        // database, and a reader holds no lock.
        let old = storkit.join(DATABASE);
        Self::open_to_read(if current.exists() { &current } else { &old })
    }
}

// Its own `.gitignore` covers projects whose `.storkit/.gitignore` is older than this folder.
fn private_folder(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => result?,
    }
    if !fs::symlink_metadata(folder)?.is_dir() {
        // A symbolic link could lead the database into a folder that others can write.
        return Err(io::Error::other("it is not a folder"));
    }
    // `create` leaves the mode of an existing folder alone.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    match File::create_new(folder.join(".gitignore")) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        file => file?.write_all(b"*\n"),
    }
}

// Renaming the database comes last and completes the move: a start after a kill at any earlier point finds it in the
// old place and does the rest.
fn move_old_database(storkit: &Path, folder: &Path) -> io::Result<()> {
    let old = |suffix: &str| storkit.join(format!("{DATABASE}{suffix}"));
    let new = |suffix: &str| folder.join(format!("{DATABASE}{suffix}"));
    match fs::symlink_metadata(old("")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(found) if found.is_file() => {}
        // Left alone, everything in it would seem to be lost.
        found => {
            found?;
            let why = format!(
                "`{}` is not a file; move it and its log to `{}` by hand",
                old("").display(),
                folder.display()
            );
            return Err(io::Error::other(why));
        }
    }
    if new("").exists() {
        tracing::warn!(path = %old("").display(), "an older state is left alone: this project has a newer one");
        return Ok(());
    }
    if !new("-wal").exists() {
        include_log(&old(""));
    }
    // A kill may have come after the log was moved. What lies in the old place since then is the empty log of a reader.
    if old("-wal").exists() && !new("-wal").exists() {
        fs::rename(old("-wal"), new("-wal"))?;
    }
    let _ = fs::remove_file(old("-wal"));
    // SQLite rebuilds the index from the log.
    let _ = fs::remove_file(old("-shm"));
    fs::rename(old(""), new(""))?;
    File::open(folder)?.sync_all()?;
    tracing::info!(to = %new("").display(), "the state was moved");
    Ok(())
}

// With the log written into it, one file holds everything. Where that fails (a damaged database, a reader) the
// log is moved as well.
fn include_log(database: &Path) {
    let included = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .and_then(|connection| connection.pragma_update(None, "journal_mode", "DELETE"));
    if let Err(error) = included {
        tracing::warn!(%error, "the state is moved together with its log");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adapters::Room;

    /// A `.storkit` folder as a kill of an older storkit leaves it: what it wrote is still in the log.
    fn old_state() -> tempfile::TempDir {
        let (elsewhere, storkit) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = elsewhere.path().join(DATABASE);
        let store = Store::open(&path, SystemTime::now()).unwrap();
        store.set_model(&room(), Some("opus")).unwrap();
        for suffix in ["", "-wal", "-shm"] {
            let name = format!("{DATABASE}{suffix}");
            fs::copy(elsewhere.path().join(&name), storkit.path().join(&name)).unwrap();
        }
        assert!(fs::metadata(storkit.path().join("state.db-wal")).unwrap().len() > 0);
        storkit
    }

    fn room() -> Room {
        Room::new("fake", "a")
    }

    fn model_in(storkit: &Path) -> Option<String> {
        Store::open_in(storkit, SystemTime::now()).unwrap().room(&room()).unwrap().model
    }

    fn names(folder: &Path) -> Vec<String> {
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn an_old_database_is_moved_with_what_is_only_in_its_log() {
        let storkit = old_state();
        assert_eq!(model_in(storkit.path()).as_deref(), Some("opus"));
        assert_eq!(names(storkit.path()), ["state"]);
        let mode = fs::metadata(storkit.path().join("state")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(fs::read_to_string(storkit.path().join("state/.gitignore")).unwrap(), "*\n");
        assert_eq!(model_in(storkit.path()).as_deref(), Some("opus"), "a second start finds it there");
    }

    #[test]
    fn a_kill_between_two_steps_loses_nothing() {
        let steps: [fn(&Path); 4] = [
            |storkit| fs::create_dir(storkit.join("state")).unwrap(),
            |storkit| {
                fs::create_dir(storkit.join("state")).unwrap();
                fs::rename(storkit.join("state.db-wal"), storkit.join("state/state.db-wal")).unwrap();
            },
            |storkit| {
                fs::create_dir(storkit.join("state")).unwrap();
                fs::rename(storkit.join("state.db-wal"), storkit.join("state/state.db-wal")).unwrap();
                // As `storkit audit` leaves it, which reads in between.
                fs::write(storkit.join("state.db-wal"), "").unwrap();
            },
            |storkit| {
                fs::create_dir(storkit.join("state")).unwrap();
                fs::rename(storkit.join("state.db-wal"), storkit.join("state/state.db-wal")).unwrap();
                fs::rename(storkit.join("state.db"), storkit.join("state/state.db")).unwrap();
            },
        ];
        for (number, killed_after) in steps.into_iter().enumerate() {
            let storkit = old_state();
            killed_after(storkit.path());
            assert_eq!(model_in(storkit.path()).as_deref(), Some("opus"), "step {number}");
        }
    }

    #[test]
    fn an_old_database_behind_a_link_is_named_and_not_passed_over() {
        let (storkit, elsewhere) = (tempfile::tempdir().unwrap(), old_state());
        std::os::unix::fs::symlink(elsewhere.path().join(DATABASE), storkit.path().join(DATABASE)).unwrap();
        let error = Store::open_in(storkit.path(), SystemTime::now()).err().unwrap();
        assert!(error.to_string().contains("is not a file"), "{error}");
    }

    #[test]
    fn a_reader_of_the_old_database_does_not_stop_the_move() {
        let storkit = old_state();
        let reader = Connection::open(storkit.path().join(DATABASE)).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM rooms").unwrap();
        assert_eq!(model_in(storkit.path()).as_deref(), Some("opus"));
        assert!(!storkit.path().join(DATABASE).exists());
    }

    #[test]
    fn a_damaged_old_database_is_set_aside_in_the_new_place() {
        let storkit = tempfile::tempdir().unwrap();
        let text = "this is no database, and it is long enough to be taken for one".repeat(50);
        fs::write(storkit.path().join(DATABASE), &text).unwrap();
        let store = Store::open_in(storkit.path(), SystemTime::now()).unwrap();
        let aside = store.set_aside().unwrap();
        assert!(aside.starts_with(storkit.path().join("state")));
        assert_eq!(fs::read_to_string(aside).unwrap(), text);
    }

    #[test]
    fn a_newer_state_is_never_replaced_by_an_older_one() {
        let storkit = old_state();
        fs::create_dir(storkit.path().join("state")).unwrap();
        let current = Store::open(&storkit.path().join("state/state.db"), SystemTime::now()).unwrap();
        current.set_model(&room(), Some("haiku")).unwrap();
        assert_eq!(model_in(storkit.path()).as_deref(), Some("haiku"));
        assert!(storkit.path().join(DATABASE).exists(), "the older one is left alone");
    }

    #[test]
    fn it_is_read_in_either_place() {
        let storkit = tempfile::tempdir().unwrap();
        assert!(Store::read_in(storkit.path()).unwrap().is_none());
        let storkit = old_state();
        let model = |storkit: &Path| Store::read_in(storkit).unwrap().unwrap().room(&room()).unwrap().model;
        assert_eq!(model(storkit.path()).as_deref(), Some("opus"));
        let _serving = Store::open_in(storkit.path(), SystemTime::now()).unwrap();
        assert_eq!(model(storkit.path()).as_deref(), Some("opus"));
    }

    #[test]
    fn a_link_is_not_followed() {
        let (storkit, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(elsewhere.path(), storkit.path().join("state")).unwrap();
        assert!(Store::open_in(storkit.path(), SystemTime::now()).is_err());
        assert!(names(elsewhere.path()).is_empty());
    }
}

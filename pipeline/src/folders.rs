//! Follows folders with `notify`: names in them that came, went, or were written and closed.
//!
//! A file that is being written is not reported before it is closed. `.storkit` is followed without the folders below
//! it, so that what storkit itself writes to `state`, `run` and `logs` wakes nobody.

use std::path::{Path, PathBuf};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::sync::mpsc;

#[derive(Debug, PartialEq, Eq)]
pub enum FolderEvent {
    /// Something of this path, in one of the folders, came, went, or was written and closed.
    To(PathBuf),
    /// Events were lost: anything may have happened.
    Unknown,
}

/// Folders that are followed, each without the folders below it.
#[derive(Debug)]
pub struct FolderWatch {
    watcher: RecommendedWatcher,
    events: mpsc::UnboundedReceiver<FolderEvent>,
}

impl FolderWatch {
    /// Follows no folder yet. Fails where the system gives no watcher: on Linux where
    /// `fs.inotify.max_user_instances` is reached.
    pub fn none() -> notify::Result<Self> {
        let (sender, events) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            for event in reported(event) {
                // Fails where the watch was dropped.
                let _ = sender.send(event);
            }
        })?;
        Ok(Self { watcher, events })
    }

    /// Follows this folder too. Repeating it is harmless, and needed after the folder was removed and made again.
    /// Fails where there is no such folder, or the system follows no more: on Linux where
    /// `fs.inotify.max_user_watches` is reached.
    pub fn follow(&mut self, folder: &Path) -> notify::Result<()> {
        self.watcher.watch(folder, RecursiveMode::NonRecursive)
    }

    /// The next thing that happens.
    pub async fn next(&mut self) -> FolderEvent {
        match self.events.recv().await {
            Some(event) => event,
            // The sender lives as long as the watcher, which is ours.
            None => std::future::pending().await,
        }
    }
}

fn reported(event: notify::Result<Event>) -> Vec<FolderEvent> {
    match event {
        Ok(event) if event.need_rescan() => vec![FolderEvent::Unknown],
        Ok(event) if is_reported(event.kind) => event.paths.into_iter().map(FolderEvent::To).collect(),
        Ok(_) => Vec::new(),
        Err(error) => {
            tracing::error!(%error, "changes of files may have been missed");
            vec![FolderEvent::Unknown]
        }
    }
}

/// Reading a file and each single write to it are not reported.
fn is_reported(kind: EventKind) -> bool {
    match kind {
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => true,
        EventKind::Access(AccessKind::Close(mode)) => mode == AccessMode::Write,
        // Systems that do not report when a file is closed say only this.
        EventKind::Any | EventKind::Other | EventKind::Modify(ModifyKind::Any) => true,
        EventKind::Access(_) | EventKind::Modify(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, time::Duration};

    use super::*;

    async fn next(folders: &mut FolderWatch) -> FolderEvent {
        tokio::time::timeout(Duration::from_secs(60), folders.next()).await.expect("nothing is reported")
    }

    #[tokio::test]
    async fn a_file_is_reported_when_it_is_closed_and_not_for_every_write() {
        let place = tempfile::tempdir().unwrap();
        let (log, settings) = (place.path().join("a.log"), place.path().join("bot.toml"));
        let mut open = fs::File::create(&log).unwrap();
        let mut folders = FolderWatch::none().unwrap();
        folders.follow(place.path()).unwrap();
        open.write_all(b"one").unwrap();
        fs::read(&log).unwrap();
        open.write_all(b"two").unwrap();
        fs::write(&settings, "x").unwrap();
        assert_eq!(next(&mut folders).await, FolderEvent::To(settings.clone()), "made");
        assert_eq!(next(&mut folders).await, FolderEvent::To(settings), "closed");
        drop(open);
        assert_eq!(next(&mut folders).await, FolderEvent::To(log));
    }

    #[tokio::test]
    async fn what_is_written_below_a_folder_is_not_reported() {
        let place = tempfile::tempdir().unwrap();
        for below in ["state", "run", "logs"] {
            fs::create_dir(place.path().join(below)).unwrap();
        }
        let mut folders = FolderWatch::none().unwrap();
        folders.follow(place.path()).unwrap();
        for below in ["state/state.db", "state/state.db-wal", "run/lock", "logs/runs.jsonl"] {
            fs::write(place.path().join(below), "x").unwrap();
            fs::remove_file(place.path().join(below)).unwrap();
        }
        fs::rename(place.path().join("run"), place.path().join("end")).unwrap();
        assert_eq!(next(&mut folders).await, FolderEvent::To(place.path().join("run")));
    }

    #[tokio::test]
    async fn a_folder_that_is_made_again_is_followed_again() {
        let place = tempfile::tempdir().unwrap();
        let below = place.path().join("below");
        fs::create_dir(&below).unwrap();
        let mut folders = FolderWatch::none().unwrap();
        folders.follow(place.path()).unwrap();
        folders.follow(&below).unwrap();
        fs::remove_dir(&below).unwrap();
        fs::create_dir(&below).unwrap();
        fs::write(place.path().join("after"), "").unwrap();
        while next(&mut folders).await != FolderEvent::To(place.path().join("after")) {}
        folders.follow(&below).unwrap();
        fs::write(below.join("a"), "").unwrap();
        while next(&mut folders).await != FolderEvent::To(below.join("a")) {}
        assert!(folders.follow(&place.path().join("none")).is_err());
    }

    #[test]
    fn lost_events_and_errors_are_unknown() {
        let lost = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        assert_eq!(reported(Ok(lost)), [FolderEvent::Unknown]);
        assert_eq!(reported(Err(notify::Error::generic("x"))), [FolderEvent::Unknown]);
        assert_eq!(reported(Ok(Event::new(EventKind::Access(AccessKind::Open(AccessMode::Any))))), []);
    }
}

//! Follows folders by inotify: which names in them came, went, or were written to their end.
//!
//! Nothing is told of a file that is being written: `.storkit` holds the database too, which is written for every
//! message. A watcher for all platforms (`notify`) asks for every open and every write, and woke two threads for each.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use futures::StreamExt as _;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};

/// Bytes of events that are read at once; one takes 16 and its name.
const BUFFER: usize = 16 * 1024;

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub enum FolderEvent {
    /// Something of this path, in one of the folders, came, went, or was written and closed.
    To(PathBuf),
    /// Events were lost: anything may have happened.
    Unknown,
}

/// Folders that are followed, each by itself, without what is below it.
pub struct FolderWatch {
    stream: Option<EventStream<Vec<u8>>>,
    watches: Watches,
    paths: HashMap<WatchDescriptor, PathBuf>,
}

impl FolderWatch {
    /// None yet. Within a tokio runtime.
    ///
    /// # Errors
    /// As `inotify_init`: `fs.inotify.max_user_instances` is reached.
    pub fn none() -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let watches = inotify.watches();
        Ok(Self { stream: Some(inotify.into_event_stream(vec![0; BUFFER])?), watches, paths: HashMap::new() })
    }

    /// Follows this folder too. Once more is harmless, and needed after it was removed and made anew.
    ///
    /// # Errors
    /// As `inotify_add_watch`: there is no such folder, or `fs.inotify.max_user_watches` is reached.
    pub fn follow(&mut self, folder: &Path) -> io::Result<()> {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO
            | WatchMask::ONLYDIR;
        let watch = self.watches.add(folder, mask)?;
        self.paths.insert(watch, folder.to_owned());
        Ok(())
    }

    /// The next thing that happens. Never, once the system has failed to tell; that is logged, and told as unknown once.
    pub async fn next(&mut self) -> FolderEvent {
        loop {
            let Some(stream) = &mut self.stream else { std::future::pending().await };
            match stream.next().await {
                Some(Ok(event)) => {
                    if let Some(happened) = self.read(event) {
                        return happened;
                    }
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "changes of files are no longer told by the system");
                    self.stream = None;
                    return FolderEvent::Unknown;
                }
                None => self.stream = None,
            }
        }
    }

    fn read(&mut self, event: EventOwned) -> Option<FolderEvent> {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return Some(FolderEvent::Unknown);
        }
        if event.mask.contains(EventMask::IGNORED) {
            self.paths.remove(&event.wd);
            return None;
        }
        Some(FolderEvent::To(self.paths.get(&event.wd)?.join(event.name?)))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, time::Duration};

    use super::*;

    async fn next(folders: &mut FolderWatch) -> FolderEvent {
        tokio::time::timeout(Duration::from_secs(60), folders.next()).await.expect("nothing is told")
    }

    #[tokio::test]
    async fn a_file_is_told_when_it_is_closed_and_not_for_every_write() {
        let place = tempfile::tempdir().unwrap();
        let (database, settings) = (place.path().join("state.db"), place.path().join("bot.toml"));
        let mut open = fs::File::create(&database).unwrap();
        let mut folders = FolderWatch::none().unwrap();
        folders.follow(place.path()).unwrap();
        open.write_all(b"one").unwrap();
        fs::read(&database).unwrap();
        open.write_all(b"two").unwrap();
        fs::write(&settings, "x").unwrap();
        assert_eq!(next(&mut folders).await, FolderEvent::To(settings.clone()), "made");
        assert_eq!(next(&mut folders).await, FolderEvent::To(settings), "closed");
        drop(open);
        assert_eq!(next(&mut folders).await, FolderEvent::To(database));
    }

    #[tokio::test]
    async fn a_folder_that_is_made_anew_is_followed_again() {
        let place = tempfile::tempdir().unwrap();
        let below = place.path().join("below");
        fs::create_dir(&below).unwrap();
        let mut folders = FolderWatch::none().unwrap();
        folders.follow(place.path()).unwrap();
        folders.follow(&below).unwrap();
        fs::remove_dir(&below).unwrap();
        assert_eq!(next(&mut folders).await, FolderEvent::To(below.clone()));
        fs::create_dir(&below).unwrap();
        assert_eq!(next(&mut folders).await, FolderEvent::To(below.clone()));
        folders.follow(&below).unwrap();
        fs::write(below.join("a"), "").unwrap();
        assert_eq!(next(&mut folders).await, FolderEvent::To(below.join("a")));
        assert_eq!(folders.paths.len(), 2);
        assert!(folders.follow(&place.path().join("none")).is_err());
    }
}

//! The threads that began with a prompt: every message in them is for the bot. A small file holds them across restarts.

use std::{
    collections::{HashSet, VecDeque},
    fs,
    io::Write as _,
    path::PathBuf,
};

use parking_lot::Mutex;
use settings::unlinked;

use crate::slack::conversation::ConversationAddress;

// Beyond this the bot forgets the oldest threads; people mention it there again.
const MOST: usize = 5_000;
const FILE: &str = "threads";

pub struct KnownThreads {
    folder: PathBuf,
    known: Mutex<ThreadRecord>,
}

#[derive(Default)]
struct ThreadRecord {
    set: HashSet<String>,
    order: VecDeque<String>,
}

impl KnownThreads {
    pub fn load(folder: PathBuf) -> Self {
        let text = fs::read_to_string(folder.join(FILE)).unwrap_or_default();
        let mut known = ThreadRecord::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            known.add(line.to_owned());
        }
        let threads = Self { folder, known: Mutex::new(known) };
        // Appending one line per thread is cheap; only the start shortens the file.
        if text.lines().count() > 2 * MOST {
            threads.rewrite();
        }
        threads
    }

    /// Whether this thread began with a prompt.
    pub fn contains(&self, place: &ConversationAddress) -> bool {
        let known = self.known.lock();
        key(place).is_some_and(|key| known.set.contains(&key))
    }

    pub fn add(&self, place: &ConversationAddress) {
        let Some(key) = key(place) else { return };
        let fresh = self.known.lock().add(key.clone());
        if fresh && let Err(error) = self.append(&key) {
            tracing::warn!(%error, folder = %self.folder.display(), "a thread is remembered until the restart only");
        }
    }

    fn append(&self, key: &str) -> std::io::Result<()> {
        make_folder(&self.folder)?;
        let mut file =
            unlinked::open(fs::OpenOptions::new().create(true).append(true), &self.folder.join(FILE))?;
        file.write_all(format!("{key}\n").as_bytes())
    }

    fn rewrite(&self) {
        let known = self.known.lock();
        let text: String = known.order.iter().map(|key| format!("{key}\n")).collect();
        let new = self.folder.join("threads.new");
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, self.folder.join(FILE)));
        if let Err(error) = written {
            tracing::warn!(%error, "the list of threads could not be shortened");
        }
    }
}

impl ThreadRecord {
    fn add(&mut self, key: String) -> bool {
        if !self.set.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.set.remove(&oldest);
            }
        }
        true
    }
}

fn key(place: &ConversationAddress) -> Option<String> {
    place.thread.as_ref().map(|thread| format!("{}/{thread}", place.channel))
}

fn make_folder(folder: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(thread: usize) -> ConversationAddress {
        ConversationAddress { channel: "C1".into(), thread: Some(format!("{thread}.1")) }
    }

    #[test]
    fn a_thread_is_known_after_a_restart_and_the_file_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("slack");
        let threads = KnownThreads::load(folder.clone());
        assert!(!threads.contains(&place(7)));
        threads.add(&place(7));
        threads.add(&place(7));
        assert!(KnownThreads::load(folder.clone()).contains(&place(7)));
        assert!(!threads.contains(&ConversationAddress { channel: "C1".into(), thread: None }));

        let lines: String = (0..3 * MOST).map(|n| format!("C1/{n}.1\n")).collect();
        fs::write(folder.join(FILE), lines).unwrap();
        let threads = KnownThreads::load(folder.clone());
        assert!(threads.contains(&place(3 * MOST - 1)) && !threads.contains(&place(7)));
        assert_eq!(fs::read_to_string(folder.join(FILE)).unwrap().lines().count(), MOST);
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_only_the_memory_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let in_the_way = dir.path().join("file");
        fs::write(&in_the_way, "").unwrap();
        let threads = KnownThreads::load(in_the_way.join("slack"));
        threads.add(&place(1));
        assert!(threads.contains(&place(1)));
    }
}

//! The state that outlives a restart besides matrix-sdk's own store: the sync token, notices sent, and upgraded rooms.
//!
//! matrix-sdk stores its sync token before anybody has seen the events of that answer, so a kill would lose them. This token is
//! stored only once the bot has accepted what came before it; what then arrives twice has the same ids.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::moves::RoomMoves;
use crate::private_files;

// The inbox is empty before the bot has written its last message to its own store. This delay covers that gap.
const LAG: Duration = Duration::from_secs(5);
// Bounds the file. A notice that is forgotten is sent once more, which harms nobody.
const TOLD_MAX: usize = 500;

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct SavedMemory {
    since: Option<String>,
    // Milliseconds since 1970. Where the token is lost, reading continues after this time.
    heard_until: u64,
    told: VecDeque<String>,
    moves: RoomMoves,
    /// The direct room that the bot made with a person.
    direct: BTreeMap<String, String>,
}

struct MemoryState {
    kept: SavedMemory,
    // The token of the last answer that was handed over; never behind the stored one.
    newest: Option<String>,
    waiting: VecDeque<(Instant, String)>,
}

pub(super) struct MatrixMemory {
    file: PathBuf,
    state: Mutex<MemoryState>,
}

impl MatrixMemory {
    /// Reads the file. A damaged one counts as none: the bot then continues with new messages.
    pub(super) fn open(file: PathBuf) -> Self {
        let kept = match private_files::read(&file) {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::error!(%error, file = %file.display(), "damaged; what came while the bot was down is not heard");
                SavedMemory::default()
            }),
            Ok(None) => SavedMemory::default(),
            Err(error) => {
                tracing::error!(%error, file = %file.display(), "cannot be read");
                SavedMemory::default()
            }
        };
        let newest = kept.since.clone();
        Self { file, state: Mutex::new(MemoryState { kept, newest, waiting: VecDeque::new() }) }
    }

    pub(super) fn sync_token(&self) -> Option<String> {
        self.state.lock().newest.clone()
    }

    /// For a sync without a token: events up to this time were handled already; 0 if there were none.
    pub(super) fn heard_until(&self) -> u64 {
        self.state.lock().kept.heard_until
    }

    /// Drops the token, which another device or a homeserver that lost its data cannot use.
    pub(super) fn forget_token(&self) {
        let mut state = self.state.lock();
        if state.newest.take().is_some() || state.kept.since.is_some() {
            state.waiting.clear();
            state.kept.since = None;
            self.save(&state);
        }
    }

    /// All events before `token`, the newest of them of the time `heard_until`, were handed over.
    pub(super) fn handed_over(&self, token: String, heard_until: u64, now: Instant) {
        let mut state = self.state.lock();
        if state.newest.as_ref() == Some(&token) {
            return;
        }
        state.kept.heard_until = state.kept.heard_until.max(heard_until);
        state.newest = Some(token.clone());
        // The first one is stored at once: a new bot that is killed early would otherwise skip everything up to its next start.
        if state.kept.since.is_none() {
            state.kept.since = Some(token);
            return self.save(&state);
        }
        state.waiting.push_back((now, token));
    }

    /// Stores the newest token that is old enough; `drained`: the bot has accepted everything that was delivered.
    pub(super) fn save_settled(&self, drained: bool, now: Instant) {
        let mut state = self.state.lock();
        if !drained {
            // The waiting messages may belong to any of these tokens, so none may be stored yet.
            state.waiting.iter_mut().for_each(|(at, _)| *at = now);
            return;
        }
        let mut due = None;
        while state.waiting.front().is_some_and(|(at, _)| now.duration_since(*at) >= LAG) {
            due = state.waiting.pop_front();
        }
        if let Some((_, token)) = due {
            state.kept.since = Some(token);
            self.save(&state);
        }
    }

    /// Whether a token waits to be stored.
    pub(super) fn is_unsettled(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }

    /// `true` the first time for each `trouble`, ever.
    pub(super) fn first_time(&self, trouble: &str) -> bool {
        let mut state = self.state.lock();
        if state.kept.told.iter().any(|told| told == trouble) {
            return false;
        }
        state.kept.told.push_back(trouble.to_owned());
        if state.kept.told.len() > TOLD_MAX {
            state.kept.told.pop_front();
        }
        self.save(&state);
        true
    }

    /// The direct room that the bot made with this person.
    pub(super) fn direct(&self, person: &str) -> Option<String> {
        self.state.lock().kept.direct.get(person).cloned()
    }

    /// Whether the bot made this room to write to one person.
    pub(super) fn is_direct(&self, room: &str) -> bool {
        self.state.lock().kept.direct.values().any(|direct| direct == room)
    }

    pub(super) fn set_direct(&self, person: &str, room: &str) {
        let mut state = self.state.lock();
        state.kept.direct.insert(person.to_owned(), room.to_owned());
        self.save(&state);
    }

    /// Reads which rooms were upgraded.
    pub(super) fn with_moves<T>(&self, read: impl FnOnce(&RoomMoves) -> T) -> T {
        read(&self.state.lock().kept.moves)
    }

    /// Changes which rooms were upgraded, and stores it.
    pub(super) fn change_moves<T>(&self, change: impl FnOnce(&mut RoomMoves) -> T) -> T {
        let mut state = self.state.lock();
        let changed = change(&mut state.kept.moves);
        self.save(&state);
        changed
    }

    fn save(&self, state: &MemoryState) {
        let written = serde_json::to_vec(&state.kept)
            .map_err(std::io::Error::other)
            .and_then(|bytes| private_files::write(&self.file, &bytes));
        if let Err(error) = written {
            tracing::error!(%error, file = %self.file.display(), "cannot be written; a restart may hear messages again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(place: &tempfile::TempDir) -> MatrixMemory {
        MatrixMemory::open(place.path().join("memory.json"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_kill_hears_again_what_the_bot_may_not_have_written_down() {
        let place = tempfile::tempdir().expect("a folder");
        let memory = at(&place);
        memory.handed_over("one".into(), 10, Instant::now());
        memory.handed_over("two".into(), 20, Instant::now());
        memory.save_settled(true, Instant::now());
        assert_eq!(
            (memory.sync_token().as_deref(), at(&place).sync_token().as_deref()),
            (Some("two"), Some("one"))
        );
        tokio::time::advance(LAG).await;
        memory.save_settled(false, Instant::now());
        tokio::time::advance(LAG / 2).await;
        memory.save_settled(true, Instant::now());
        assert_eq!(at(&place).sync_token().as_deref(), Some("one"), "it waited in the inbox");
        tokio::time::advance(LAG / 2).await;
        memory.save_settled(true, Instant::now());
        assert_eq!((at(&place).sync_token().as_deref(), memory.is_unsettled()), (Some("two"), false));
        assert_eq!(at(&place).heard_until(), 20);
    }

    #[test]
    fn what_was_told_is_known_after_a_restart() {
        let place = tempfile::tempdir().expect("a folder");
        let memory = at(&place);
        assert!(memory.first_time("a") && !memory.first_time("a") && memory.first_time("b"));
        let again = at(&place);
        assert!(!again.first_time("b") && again.first_time("c"));
    }

    #[test]
    fn a_room_that_was_followed_is_known_after_a_restart() {
        let place = tempfile::tempdir().expect("a folder");
        assert!(at(&place).change_moves(|moves| moves.follow("!old", "!new")));
        assert_eq!(at(&place).with_moves(|moves| moves.current("!old").to_owned()), "!new");
    }

    #[test]
    fn a_damaged_file_is_a_new_beginning() {
        let place = tempfile::tempdir().expect("a folder");
        std::fs::write(place.path().join("memory.json"), "{ \"since\": 7").expect("written");
        assert_eq!((at(&place).sync_token(), at(&place).heard_until()), (None, 0));
    }
}

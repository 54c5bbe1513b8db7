//! Rooms that were upgraded: the replacement goes on under the name of the room that it replaces.
//!
//! So everything that the bot keeps by that name (session, worktree, rules, settings, entries of `bot.toml`) stays where it is. Only here
//! are the two ids distinguished. <https://spec.matrix.org/v1.15/client-server-api/#room-upgrades>

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

// Bounds the file. A thread that is forgotten goes on in the room itself.
const THREADS_MAX: usize = 500;

/// Which room replaces which, and which thread goes on as which.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RoomMoves {
    /// The replacement of each room that the bot has followed.
    followed: BTreeMap<String, String>,
    /// Replacements that the bot wants to follow to and has not proved yet. It does not act in these.
    pending: BTreeMap<String, String>,
    /// Rooms that were named as a replacement of the room before them, and do not say so themselves.
    impostors: BTreeSet<(String, String)>,
    /// A thread's root in the old room, and the message in the new one that continues it. Oldest first.
    threads: VecDeque<(String, String)>,
}

impl RoomMoves {
    /// The bot follows from `old` to `new`. `false` if `new` is known as another room's replacement, or was replaced itself.
    pub(super) fn follow(&mut self, old: &str, new: &str) -> bool {
        let is_known = self.ancestry(old).any(|room| room == new)
            || self.followed.contains_key(new)
            || self.followed.iter().any(|(of, room)| room == new && of != old);
        self.pending.remove(old);
        if !is_known {
            self.followed.insert(old.to_owned(), new.to_owned());
        }
        !is_known
    }

    pub(super) fn replacement(&self, room: &str) -> Option<&str> {
        self.followed.get(room).map(String::as_str)
    }

    /// The room in which the bot now writes what is meant for `room`.
    pub(super) fn current<'a>(&'a self, room: &'a str) -> &'a str {
        let mut current = room;
        // `follow` makes no circle, but the file may have been edited.
        for _ in 0..=self.followed.len() {
            match self.followed.get(current) {
                Some(next) => current = next,
                None => break,
            }
        }
        current
    }

    /// The name by which the bot knows a room: that of the first one it replaces.
    pub(super) fn name_of<'a>(&'a self, room: &'a str) -> &'a str {
        self.ancestry(room).last().unwrap_or(room)
    }

    /// The room, and those that it replaces, newest first.
    pub(super) fn ancestry<'a>(&'a self, room: &'a str) -> impl Iterator<Item = &'a str> {
        let before =
            |room: &&'a str| self.followed.iter().find(|(_, new)| new == room).map(|(old, _)| old.as_str());
        std::iter::successors(Some(room), before).take(self.followed.len() + 1)
    }

    /// Whether the room replaces another one.
    pub(super) fn is_replacement(&self, room: &str) -> bool {
        self.followed.values().any(|new| new == room)
    }

    pub(super) fn set_pending(&mut self, old: &str, new: &str) {
        self.pending.insert(old.to_owned(), new.to_owned());
    }

    pub(super) fn pending(&self, old: &str) -> Option<&str> {
        self.pending.get(old).map(String::as_str)
    }

    /// Whether it is not proved yet that the room replaces another one.
    pub(super) fn is_pending(&self, new: &str) -> bool {
        self.pending.values().any(|room| room == new)
    }

    pub(super) fn set_impostor(&mut self, old: &str, new: &str) {
        self.pending.remove(old);
        self.impostors.insert((old.to_owned(), new.to_owned()));
    }

    pub(super) fn is_impostor(&self, old: &str, new: &str) -> bool {
        self.impostors.contains(&(old.to_owned(), new.to_owned()))
    }

    /// The thread of `root`, which is in a replaced room, goes on below this message.
    pub(super) fn continue_thread(&mut self, root: &str, message: &str) {
        self.threads.push_back((root.to_owned(), message.to_owned()));
        if self.threads.len() > THREADS_MAX {
            self.threads.pop_front();
        }
    }

    /// The root below which the thread now goes on, if it is continued.
    pub(super) fn continuation(&self, root: &str) -> Option<&str> {
        self.threads.iter().rev().find(|(old, _)| old == root).map(|(_, new)| new.as_str())
    }

    /// The root by which the bot knows a thread.
    pub(super) fn thread_name<'a>(&'a self, root: &'a str) -> &'a str {
        self.threads.iter().rev().find(|(_, new)| new == root).map_or(root, |(old, _)| self.thread_name(old))
    }

    /// Whether the message continues a thread of a replaced room.
    pub(super) fn continues_thread(&self, message: &str) -> bool {
        self.threads.iter().any(|(_, new)| new == message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_keeps_the_first_name_also_when_it_is_replaced() {
        let mut moves = RoomMoves::default();
        assert_eq!((moves.current("!a"), moves.name_of("!a")), ("!a", "!a"));
        assert!(moves.follow("!a", "!b") && moves.follow("!b", "!c"));
        assert_eq!((moves.current("!a"), moves.current("!b"), moves.current("!c")), ("!c", "!c", "!c"));
        assert_eq!((moves.name_of("!c"), moves.name_of("!b"), moves.name_of("!x")), ("!a", "!a", "!x"));
        assert_eq!(moves.ancestry("!c").collect::<Vec<_>>(), ["!c", "!b", "!a"]);
        assert!(moves.is_replacement("!b") && !moves.is_replacement("!a"));
        assert_eq!((moves.replacement("!b"), moves.replacement("!c")), (Some("!c"), None));
    }

    #[test]
    fn a_replacement_is_pending_until_it_is_proved_or_is_not_one() {
        let mut moves = RoomMoves::default();
        moves.set_pending("!a", "!b");
        moves.set_pending("!x", "!y");
        assert!(moves.is_pending("!b") && moves.pending("!x") == Some("!y") && moves.current("!a") == "!a");
        assert!(moves.follow("!a", "!b") && !moves.is_pending("!b"));
        moves.set_impostor("!x", "!y");
        assert!(!moves.is_pending("!y") && moves.is_impostor("!x", "!y") && !moves.is_impostor("!a", "!b"));
    }

    #[test]
    fn no_room_replaces_two_and_none_replaces_itself() {
        let mut moves = RoomMoves::default();
        assert!(moves.follow("!a", "!b"));
        for (old, new) in [("!b", "!a"), ("!b", "!b"), ("!x", "!b"), ("!x", "!a")] {
            assert!(!moves.follow(old, new), "{old} {new}");
        }
        assert!(moves.follow("!a", "!c"), "an upgrade that was done again");
        assert_eq!((moves.current("!a"), moves.name_of("!b")), ("!c", "!b"));
    }

    #[test]
    fn a_circle_in_the_file_ends() {
        let file = r#"{ "followed": { "!a": "!b", "!b": "!a" }, "threads": [] }"#;
        let moves: RoomMoves = serde_json::from_str(file).expect("it reads");
        assert!(["!a", "!b"].contains(&moves.current("!a")) && ["!a", "!b"].contains(&moves.name_of("!a")));
    }

    #[test]
    fn a_thread_keeps_its_name_and_the_oldest_is_forgotten() {
        let mut moves = RoomMoves::default();
        moves.continue_thread("$old", "$new");
        moves.continue_thread("$new", "$newest");
        assert_eq!((moves.continuation("$old"), moves.thread_name("$newest")), (Some("$new"), "$old"));
        assert!(moves.continues_thread("$new") && !moves.continues_thread("$old"));
        for n in 0..THREADS_MAX {
            moves.continue_thread(&format!("${n}"), &format!("$new{n}"));
        }
        assert_eq!((moves.continuation("$old"), moves.threads.len()), (None, THREADS_MAX));
    }
}

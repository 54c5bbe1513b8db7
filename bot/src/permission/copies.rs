//! Where a question is shown: the rooms that were asked first, those to which it climbed, and whether each copy has arrived.

use std::{collections::BTreeMap, sync::Arc};

use adapters::{MessageId, Room};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The rooms to which a question went after it was asked. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct FurtherRooms(Arc<Mutex<Vec<Room>>>);

impl FurtherRooms {
    pub(super) fn add(&self, room: &Room) {
        self.0.lock().push(room.clone());
    }

    pub fn all(&self) -> Vec<Room> {
        self.0.lock().clone()
    }
}

/// How far a copy of a question has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CopyState {
    Shown(MessageId),
    /// The messenger goes on trying, and says why it takes long.
    Delayed(String),
    Failed(String),
}

/// The copies of an open question whose fate is known. Clones share them.
#[derive(Clone)]
pub(super) struct QuestionCopies {
    states: Arc<Mutex<BTreeMap<Room, CopyState>>>,
    changed: watch::Sender<()>,
}

impl Default for QuestionCopies {
    fn default() -> Self {
        Self { states: Arc::default(), changed: watch::Sender::new(()) }
    }
}

impl QuestionCopies {
    pub(super) fn set(&self, room: &Room, state: CopyState) {
        let mut states = self.states.lock();
        // It was sent again, and what is said of the first message comes late.
        if matches!((states.get(room), &state), (Some(CopyState::Shown(_)), CopyState::Delayed(_))) {
            return;
        }
        states.insert(room.clone(), state);
        drop(states);
        self.changed.send_replace(());
    }

    /// Whether nobody can see any of these.
    pub(super) fn all_failed(&self, rooms: &[Room]) -> bool {
        let states = self.states.lock();
        rooms.iter().all(|room| matches!(states.get(room), Some(CopyState::Failed(_))))
    }

    /// Whether this message shows the question there.
    pub(super) fn is_at(&self, room: &Room, message: &MessageId) -> bool {
        matches!(self.states.lock().get(room), Some(CopyState::Shown(shown)) if shown == message)
    }

    pub(super) fn has_failed(&self, room: &Room) -> bool {
        self.all_failed(std::slice::from_ref(room))
    }

    /// Waits until none of these is shown or may still be soon; returns why the last of them is not.
    pub(super) async fn trouble(&self, rooms: &[Room]) -> String {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(why) = self.trouble_now(rooms) {
                return why;
            }
            // The sender is a field of `self`, so it cannot be gone.
            let _ = changed.changed().await;
        }
    }

    fn trouble_now(&self, rooms: &[Room]) -> Option<String> {
        let states = self.states.lock();
        let mut last = None;
        for room in rooms {
            match states.get(room) {
                Some(CopyState::Delayed(why) | CopyState::Failed(why)) => last = Some(why.clone()),
                Some(CopyState::Shown(_)) | None => return None,
            }
        }
        last
    }

    /// Waits until nobody can see any of these.
    pub(super) async fn until_all_failed(&self, rooms: &[Room]) {
        let mut changed = self.changed.subscribe();
        while !self.all_failed(rooms) {
            let _ = changed.changed().await;
        }
    }

    /// Waits until it is known whether this one has arrived.
    pub(super) async fn settled(&self, room: &Room) {
        let mut changed = self.changed.subscribe();
        while !self.states.lock().contains_key(room) {
            let _ = changed.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn there_is_trouble_once_no_copy_can_be_seen_and_not_before() {
        let copies = QuestionCopies::default();
        let rooms = [Room::new("a", "1"), Room::new("b", "2")];
        let trouble = |rooms: &[Room]| copies.trouble(rooms).now_or_never();
        assert_eq!(trouble(&rooms), None, "both are on the way");
        copies.set(&rooms[0], CopyState::Failed("archived".into()));
        assert_eq!((trouble(&rooms), trouble(&rooms[..1])), (None, Some("archived".into())));
        copies.set(&rooms[1], CopyState::Delayed("too fast".into()));
        assert_eq!(trouble(&rooms), Some("too fast".into()));
        assert!(copies.has_failed(&rooms[0]) && !copies.all_failed(&rooms));
        let shown = || CopyState::Shown(MessageId::new("m"));
        copies.set(&rooms[1], shown());
        assert!(
            copies.is_at(&rooms[1], &MessageId::new("m")) && !copies.is_at(&rooms[1], &MessageId::new("n"))
        );
        copies.set(&rooms[1], CopyState::Delayed("said late".into()));
        assert_eq!(trouble(&rooms), None);
    }
}

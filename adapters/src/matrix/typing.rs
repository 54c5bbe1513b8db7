//! Typing notices while a room or one of its threads works.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use matrix_sdk::ruma::OwnedRoomId;
use parking_lot::Mutex;

use super::{bot::MatrixBot, rooms::RoomAddress};
use crate::{Activity, ActivityState, AdapterError, Room};

// matrix-sdk asks for four seconds, after which clients hide the notice.
const AGAIN: Duration = Duration::from_secs(3);
// Stops the notices of a room that never reports to be idle again.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

// By Matrix room, since threads have no typing notices: the room types while any of its threads works.
#[derive(Default)]
pub(super) struct TypingNotices {
    working: Mutex<HashMap<OwnedRoomId, HashSet<Room>>>,
}

impl TypingNotices {
    fn begin(&self, place: &RoomAddress) -> bool {
        let mut working = self.working.lock();
        let began = !working.contains_key(&place.room);
        working.entry(place.room.clone()).or_default().insert(place.name());
        began
    }

    fn end(&self, place: &RoomAddress) {
        let mut working = self.working.lock();
        if let Some(places) = working.get_mut(&place.room) {
            places.remove(&place.name());
            if places.is_empty() {
                working.remove(&place.room);
            }
        }
    }

    /// The room was replaced: what works for it types in the replacement from now on.
    pub(super) fn forget(&self, room: &OwnedRoomId) {
        self.working.lock().remove(room);
    }

    fn is_working(&self, room: &OwnedRoomId) -> bool {
        self.working.lock().contains_key(room)
    }
}

pub(super) fn set_activity(
    bot: &Arc<MatrixBot>,
    room: &Room,
    activity: &Activity,
) -> Result<(), AdapterError> {
    let place = bot.place(room)?;
    match activity.state {
        ActivityState::Working => {
            if bot.client().is_none() {
                return Err(AdapterError::Unreachable("not connected to the homeserver".into()));
            }
            if bot.typing.begin(&place) {
                bot.spawn_with_timeout(LONGEST, keep_typing(bot.clone(), place.room));
            }
        }
        ActivityState::Idle | ActivityState::Asking => bot.typing.end(&place),
    }
    Ok(())
}

async fn keep_typing(bot: Arc<MatrixBot>, room: OwnedRoomId) {
    while bot.typing.is_working(&room) {
        send_typing(&bot, &room, true).await;
        tokio::time::sleep(AGAIN).await;
    }
    send_typing(&bot, &room, false).await;
}

async fn send_typing(bot: &MatrixBot, room: &OwnedRoomId, types: bool) {
    let Some(room) = bot.client().and_then(|client| client.get_room(room)) else { return };
    if let Err(error) = room.typing_notice(types).await {
        tracing::debug!(%error, "typing not shown");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_types_until_its_last_thread_is_idle() {
        let typing = TypingNotices::default();
        let place = |name: &str| RoomAddress::parse(&Room::new("matrix", name)).expect("an id");
        assert!(typing.begin(&place("!a")) && !typing.begin(&place("!a/$t")) && typing.begin(&place("!b")));
        typing.end(&place("!a"));
        assert!(typing.is_working(&place("!a").room));
        typing.end(&place("!a/$t"));
        assert!(!typing.is_working(&place("!a").room) && typing.is_working(&place("!b").room));
    }
}

//! The names of Matrix rooms and threads as rooms of the bot: `!room`, and `!room/$root` for a thread in it.

use matrix_sdk::ruma::{OwnedEventId, OwnedRoomId, RoomId};

use crate::{AdapterError, MessageId, Room};

/// A Matrix room, or a thread in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoomAddress {
    pub room: OwnedRoomId,
    pub thread: Option<OwnedEventId>,
}

impl RoomAddress {
    /// The thread that begins with `root`, or the room itself. A root that is no event id is no thread.
    pub(super) fn new(room: &RoomId, root: Option<&str>) -> Self {
        Self { room: room.to_owned(), thread: root.and_then(|root| root.try_into().ok()) }
    }

    /// Reads a name from [`RoomAddress::name`] or from `bot.toml`.
    pub(super) fn parse(room: &Room) -> Result<Self, AdapterError> {
        // The id of a room that is served holds no slash ([`super::config::can_be_named`]). A thread's root holds some in the first room versions, so only
        // the first slash divides.
        let (id, root) = match room.id().split_once("/$") {
            Some((id, root)) => (id, Some(format!("${root}"))),
            None => (room.id(), None),
        };
        let wrong = |what: &str| AdapterError::Rejected(format!("`{what}` is no Matrix id"));
        let thread = root.map(|root| OwnedEventId::try_from(root.as_str()).map_err(|_| wrong(&root)));
        Ok(Self { room: id.try_into().map_err(|_| wrong(id))?, thread: thread.transpose()? })
    }

    /// The address of a message in it, which every client opens. <https://spec.matrix.org/v1.15/appendices/#matrixto-navigation>
    pub(super) fn permalink(&self, message: &MessageId) -> Option<String> {
        let event = OwnedEventId::try_from(message.as_str()).ok()?;
        Some(self.room.matrix_to_event_uri(event).to_string())
    }

    /// The name by which the bot knows it.
    pub(super) fn name(&self) -> Room {
        match &self.thread {
            Some(root) => Room::new(super::NAME, format!("{}/{root}", self.room)),
            None => Room::new(super::NAME, self.room.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_an_address_in_its_room() {
        let place = RoomAddress::parse(&Room::new("matrix", "!abc:example.org/$root")).expect("an id");
        let link = place.permalink(&MessageId::new("$x:example.org"));
        assert_eq!(link.as_deref(), Some("https://matrix.to/#/!abc:example.org/$x:example.org"));
        assert_eq!(place.permalink(&MessageId::new("x")), None);
    }

    #[test]
    fn rooms_and_threads_can_be_written_down_and_read() {
        for name in ["!abc", "!abc:example.org", "!abc/$root", "!abc:example.org/$ro/ot:example.org"] {
            let place = RoomAddress::parse(&Room::new("matrix", name)).expect("an id");
            assert_eq!(place.name().id(), name);
            assert_eq!(place.thread.is_some(), name.contains('$'), "{name}");
        }
        for name in ["#alias:example.org", "abc", "", "@ann:example.org"] {
            assert!(RoomAddress::parse(&Room::new("matrix", name)).is_err(), "{name}");
        }
    }
}

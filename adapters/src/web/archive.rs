//! Where the messages of the page's rooms outlive the program.

use super::WebMessage;
use crate::{MessageId, Room};

/// Keeps messages while no storkit runs. A failure costs the memory of a message, so an archive logs it and goes on.
pub trait ChatArchive: Send + Sync {
    /// The messages of a room, oldest first.
    fn messages(&self, room: &Room) -> Vec<WebMessage>;

    /// Keeps a message, in the place of its former state.
    fn keep(&self, room: &Room, message: &WebMessage);

    /// Forgets messages that the room no longer remembers.
    fn forget(&self, room: &Room, messages: &[MessageId]);
}

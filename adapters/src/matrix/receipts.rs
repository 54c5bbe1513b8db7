//! Read receipts, a moment late and only for the newest event of each room: an answer goes first, and many messages get one receipt.

use std::{collections::HashMap, sync::Arc, time::Duration};

use matrix_sdk::{
    Room,
    ruma::{
        OwnedEventId, OwnedRoomId, api::client::receipt::create_receipt::v3::ReceiptType,
        events::receipt::ReceiptThread,
    },
};
use parking_lot::Mutex;

use super::{bot::MatrixBot, errors::error_chain};

// Waiting lets an answer go first, and merges the receipts of many messages into one.
const MOMENT: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct ReadReceipts(Mutex<HashMap<OwnedRoomId, OwnedEventId>>);

impl ReadReceipts {
    // `true` if none waited; then the caller starts the task that sends it.
    fn put(&self, room: OwnedRoomId, event: OwnedEventId) -> bool {
        self.0.lock().insert(room, event).is_none()
    }

    fn take(&self, room: &OwnedRoomId) -> Option<OwnedEventId> {
        self.0.lock().remove(room)
    }
}

/// Marks all up to this event as read.
pub(super) fn mark_read(bot: &Arc<MatrixBot>, room: &Room, last: OwnedEventId) {
    let id = room.room_id().to_owned();
    if !bot.receipts.put(id.clone(), last) {
        return;
    }
    let (reader, room) = (bot.clone(), room.clone());
    bot.spawn_with_timeout(LONGEST, async move {
        tokio::time::sleep(MOMENT).await;
        let Some(last) = reader.receipts.take(&id) else { return };
        // Unthreaded: a receipt of the main thread would leave messages in threads unread.
        let read = room.send_single_receipt(ReceiptType::Read, ReceiptThread::Unthreaded, last).await;
        if let Err(error) = read {
            tracing::debug!(error = error_chain(&error), "not marked as read");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_event_of_a_room_is_marked() {
        let receipts = ReadReceipts::default();
        let (room, other) = (OwnedRoomId::try_from("!a:x").unwrap(), OwnedRoomId::try_from("!b:x").unwrap());
        let event = |id: &str| OwnedEventId::try_from(id).unwrap();
        assert!(receipts.put(room.clone(), event("$1")));
        assert!(!receipts.put(room.clone(), event("$2")) && receipts.put(other, event("$3")));
        assert_eq!((receipts.take(&room), receipts.take(&room)), (Some(event("$2")), None));
        assert!(receipts.put(room, event("$4")));
    }
}

//! The messages of the page's rooms, with the files that the bot showed.

use std::sync::Arc;

use adapters::{
    MessageId, Room,
    web::{ChatArchive, ShownFile, WebMessage},
};
use rusqlite::params;

use super::{Store, StoreResult};

impl Store {
    /// The messages of a room, oldest first.
    pub fn web_messages(&self, room: &Room) -> StoreResult<Vec<WebMessage>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("SELECT body, file FROM web_messages WHERE room = ?1 ORDER BY number")?;
        let rows = statement.query_map([room.to_string()], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
        })?;
        let mut messages = Vec::new();
        for row in rows {
            let (body, file) = row?;
            // A message that another version wrote in another form is left out.
            let Ok(mut message) = serde_json::from_str::<WebMessage>(&body) else { continue };
            if let (Some(shown), Some(bytes)) = (&message.file, file) {
                message.file = Some(Arc::new(ShownFile { name: shown.name.clone(), bytes }));
            }
            messages.push(message);
        }
        Ok(messages)
    }

    /// Keeps a message in its present state.
    pub fn keep_web_message(&self, room: &Room, message: &WebMessage) -> StoreResult<()> {
        let body = serde_json::to_string(message)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let file = message.file.as_ref().map(|file| &*file.bytes);
        self.lock()
            .prepare_cached(
                "INSERT INTO web_messages (room, message, body, file) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (room, message) DO UPDATE SET body = excluded.body, file = excluded.file",
            )?
            .execute(params![room.to_string(), message.id.as_str(), body, file])
            .map(drop)
    }

    /// Forgets messages of a room.
    pub fn forget_web_messages(&self, room: &Room, messages: &[MessageId]) -> StoreResult<()> {
        for message in messages {
            self.lock()
                .prepare_cached("DELETE FROM web_messages WHERE room = ?1 AND message = ?2")?
                .execute(params![room.to_string(), message.as_str()])?;
        }
        Ok(())
    }
}

impl ChatArchive for Store {
    fn messages(&self, room: &Room) -> Vec<WebMessage> {
        self.web_messages(room).unwrap_or_else(|error| {
            tracing::error!(%error, %room, "the messages of a room of the page cannot be read");
            Vec::new()
        })
    }

    fn keep(&self, room: &Room, message: &WebMessage) {
        if let Err(error) = self.keep_web_message(room, message) {
            tracing::error!(%error, %room, "a message of the page is not kept");
        }
    }

    fn forget(&self, room: &Room, messages: &[MessageId]) {
        if let Err(error) = self.forget_web_messages(room, messages) {
            tracing::error!(%error, %room, "old messages of the page stay");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use adapters::Tone;

    use super::*;

    fn message(id: &str, text: &str) -> WebMessage {
        WebMessage {
            id: MessageId::new(id),
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            by: None,
            text: text.into(),
            tone: Tone::Answer,
            choices: Vec::new(),
            live: true,
            reply_to: Some(MessageId::new("0")),
            file: None,
            is_secret: false,
        }
    }

    #[test]
    fn messages_come_back_in_order_in_their_last_state_with_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let (room, other) = (Room::new("web", "slack:U01"), Room::new("web", "team"));
        let file = Arc::new(ShownFile { name: "shot.png".into(), bytes: vec![0, 159, 146] });
        let with_file = WebMessage { file: Some(file), ..message("2", "a picture") };
        let store = Store::open(&path, SystemTime::now()).unwrap();
        for shown in [&message("1", "half"), &with_file, &message("3", "gone"), &message("1", "whole")] {
            store.keep(&room, shown);
        }
        store.keep(&other, &message("1", "elsewhere"));
        store.forget(&room, &[MessageId::new("3"), MessageId::new("9")]);
        drop(store);
        let store = Store::open(&path, SystemTime::now()).unwrap();
        assert_eq!(store.messages(&room), [message("1", "whole"), with_file]);
        assert_eq!(store.messages(&other), [message("1", "elsewhere")]);
    }
}

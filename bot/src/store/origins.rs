//! Which conversation a story came from. Only what storkit noted itself counts: a story's file shows the same to people, but files come
//! from anywhere, and would have notices posted in any room.

use adapters::{MessageId, Room};
use pipeline::story::StoryId;
use rusqlite::{OptionalExtension as _, params};

use super::{Store, StoreResult};

impl Store {
    /// Remembers where a story was asked for.
    pub fn set_story_origin(
        &self,
        story: StoryId,
        room: &Room,
        message: Option<&MessageId>,
    ) -> StoreResult<()> {
        self.lock()
            .prepare_cached(
                "INSERT OR REPLACE INTO story_origins (story, room, message) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![story.0, room.to_string(), message.map(MessageId::as_str)])
            .map(drop)
    }

    /// The same, in the log where it cannot be written: then the story's notices go to the rooms that follow the pipeline alone.
    pub fn keep_story_origin(&self, story: StoryId, room: &Room, message: Option<&MessageId>) {
        if let Err(error) = self.set_story_origin(story, room, message) {
            tracing::error!(%error, %story, "the conversation of a story could not be noted");
        }
    }

    /// Where a story was asked for, if a conversation did.
    pub fn story_origin(&self, story: StoryId) -> StoreResult<Option<(Room, Option<MessageId>)>> {
        let found: Option<(String, Option<String>)> = self
            .lock()
            .prepare_cached("SELECT room, message FROM story_origins WHERE story = ?1")?
            .query_row([story.0], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(found.and_then(|(room, message)| Some((Room::parse(&room)?, message.map(MessageId::new)))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_story_knows_its_conversation() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db"), SystemTime::now()).unwrap();
        let room = Room::new("slack", "C1/17.5");
        assert_eq!(store.story_origin(StoryId(1)).unwrap(), None);
        store.set_story_origin(StoryId(1), &room, Some(&MessageId::new("17.5"))).unwrap();
        assert_eq!(
            store.story_origin(StoryId(1)).unwrap(),
            Some((room.clone(), Some(MessageId::new("17.5"))))
        );
        store.set_story_origin(StoryId(1), &room, None).unwrap();
        assert_eq!(store.story_origin(StoryId(1)).unwrap(), Some((room, None)));
    }
}

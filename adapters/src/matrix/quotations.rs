//! Messages that others refer to: the one that a reply quotes, and those of a thread, as they read after their last edit.

use std::time::Duration;

use matrix_sdk::{
    Room,
    deserialized_responses::{
        TimelineEvent, TimelineEventKind, UnsignedDecryptionResult, UnsignedEventLocation,
    },
    room::{IncludeRelations, RelationsOptions},
    ruma::{EventId, UInt, events::relation::RelationType},
};
use tokio::time::{Instant, timeout};

use super::{
    bot::MatrixBot,
    errors::{error_chain, failure},
    event::{EventAct, EventFields, TextContent},
    incoming::{is_forgeable, name_of},
    media, notices,
    rooms::RoomAddress,
    sent::MessageAuthor,
};
use crate::{AdapterError, MessageId, Quotation, QuotedAuthor, SentFile};

// The sync loop waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest quotation, in characters.
const LONGEST: usize = 4_000;
const PAGE: u32 = 50;
// Bounds the search for a message in a long thread.
const PAGES: usize = 10;

/// A message that another one refers to.
pub(super) struct QuotedMessage {
    pub quotation: Quotation,
    pub files: Vec<SentFile>,
    was_deleted: bool,
}

impl QuotedMessage {
    pub(super) fn is_by_the_bot(&self) -> bool {
        self.quotation.author == QuotedAuthor::Bot
    }
}

/// The message of this id in the room, from the homeserver.
pub(super) async fn fetch(bot: &MatrixBot, room: &Room, id: &str) -> Option<QuotedMessage> {
    let id = <&EventId>::try_from(id).ok()?;
    match timeout(PATIENCE, room.event(id, None)).await {
        Ok(Ok(event)) => read(bot, room, &event).await,
        Ok(Err(error)) => {
            tracing::warn!(error = error_chain(&error), "a quoted message could not be fetched");
            None
        }
        Err(_) => {
            tracing::warn!("a quoted message did not come in time");
            None
        }
    }
}

/// What was said in the thread before this message: its root, and the newest of the rest, `max` in all; oldest first.
pub(super) async fn read_thread(
    bot: &MatrixBot,
    place: &RoomAddress,
    before: &MessageId,
    max: usize,
) -> Result<Vec<Quotation>, AdapterError> {
    let Some(root) = &place.thread else { return Err(AdapterError::Unsupported("reading a room's history")) };
    if max == 0 || root.as_str() == before.as_str() {
        return Ok(Vec::new());
    }
    let room = bot.room(place, Instant::now()).await?;
    let mut newest_first = Vec::new();
    let (mut from, mut is_before) = (None, false);
    for _ in 0..PAGES {
        let options = RelationsOptions {
            from,
            limit: Some(UInt::from(PAGE)),
            include_relations: IncludeRelations::RelationsOfType(RelationType::Thread),
            ..RelationsOptions::default()
        };
        let page = room.relations(root.clone(), options).await;
        let page = page.map_err(|error| failure(&error).adapter_error())?;
        for event in &page.chunk {
            if event.event_id().is_some_and(|id| id.as_str() == before.as_str()) {
                newest_first.clear();
                is_before = true;
            } else if let Some(said) = read(bot, &room, event).await.filter(|said| !said.was_deleted) {
                newest_first.push(said.quotation);
            }
        }
        from = page.next_batch_token;
        if from.is_none() || is_before && newest_first.len() >= max {
            break;
        }
    }
    newest_first.truncate(max - 1);
    let first = room.event(root, None).await.map_err(|error| failure(&error).adapter_error())?;
    newest_first
        .extend(read(bot, &room, &first).await.filter(|said| !said.was_deleted).map(|it| it.quotation));
    newest_first.reverse();
    Ok(newest_first)
}

/// `None` for what is no message.
async fn read(bot: &MatrixBot, room: &Room, shown: &TimelineEvent) -> Option<QuotedMessage> {
    let event = EventFields::read(shown.raw().json().get())?;
    let is_mine = event.sender == room.own_user_id().as_str();
    match is_mine {
        true => bot.sent.add(&event.event_id, MessageAuthor::Mine, event.thread()),
        false => bot.sent.add_of(&event.event_id, &event.sender, event.thread()),
    }
    let author = match is_mine {
        true => QuotedAuthor::Bot,
        false => QuotedAuthor::Person {
            name: name_of(room, &event.sender).await.into(),
            id: event.sender.as_str().into(),
        },
    };
    let quoted = |text: String, files: Vec<SentFile>| QuotedMessage {
        quotation: Quotation { author: author.clone(), text },
        files,
        was_deleted: false,
    };
    let is_unreadable = matches!(shown.kind, TimelineEventKind::UnableToDecrypt { .. });
    if event.unsigned.get("redacted_because").is_some() {
        return Some(QuotedMessage {
            was_deleted: true,
            ..quoted(notices::QUOTED_DELETED.into(), Vec::new())
        });
    }
    // The homeserver can write a plain message in the bot's name, too.
    if is_unreadable || is_forgeable(bot, room, &shown.kind).await {
        return Some(quoted(notices::QUOTED_UNREADABLE.into(), Vec::new()));
    }
    let said = last_text(&event, &shown.kind)?;
    let file = said.file.as_ref();
    let files: Vec<_> = file.map(|file| media::sent_file(file, &shown.kind)).into_iter().collect();
    let names = file.map(|file| notices::quoted_file(&file.name));
    let parts: Vec<_> = names.into_iter().chain(Some(said.text).filter(|text| !text.is_empty())).collect();
    Some(quoted(shortened(&parts.join("\n")), files))
}

/// The text of a message after its last edit, which the homeserver bundles with it.
fn last_text(event: &EventFields, kind: &TimelineEventKind) -> Option<TextContent> {
    let said = match event.act()? {
        EventAct::Said(said) | EventAct::Edited { said, .. } => said,
        _ => return None,
    };
    let replacement = &event.unsigned["m.relations"]["m.replace"];
    let edit = EventFields::read(&replacement.to_string()).filter(|edit| edit.sender == event.sender);
    match edit.filter(|_| is_genuine_edit(kind)).and_then(|edit| edit.act()) {
        // A caption changes, its file stays.
        Some(EventAct::Edited { message, said: new }) if message == event.event_id => {
            Some(TextContent { file: said.file, ..new })
        }
        _ => Some(said),
    }
}

// matrix-sdk decrypts a bundled edit, and leaves one that the homeserver wrote itself as it is.
fn is_genuine_edit(kind: &TimelineEventKind) -> bool {
    match kind {
        TimelineEventKind::Decrypted(event) => {
            let bundled = event.unsigned_encryption_info.as_ref();
            let edit = bundled.and_then(|bundled| bundled.get(&UnsignedEventLocation::RelationsReplace));
            matches!(edit, Some(UnsignedDecryptionResult::Decrypted(_)))
        }
        TimelineEventKind::PlainText { .. } => true,
        TimelineEventKind::UnableToDecrypt { .. } => false,
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use matrix_sdk::{
        deserialized_responses::{AlgorithmInfo, DecryptedRoomEvent, EncryptionInfo, VerificationState},
        ruma::{events::AnySyncTimelineEvent, serde::Raw, user_id},
    };
    use serde_json::{Value, json};

    use super::*;

    fn with_edit(sender: &str, of: &str) -> EventFields {
        let new = json!({ "msgtype": "m.text", "body": "new" });
        let edit = json!({
            "event_id": "$2", "sender": sender, "type": "m.room.message",
            "content": { "msgtype": "m.text", "body": "* new", "m.new_content": new,
                         "m.relates_to": { "rel_type": "m.replace", "event_id": of } },
        });
        let event = json!({
            "event_id": "$1", "sender": "@ann:x", "type": "m.room.message",
            "content": { "msgtype": "m.text", "body": "old" }, "unsigned": { "m.relations": { "m.replace": edit } },
        });
        EventFields::read(&event.to_string()).expect("an event")
    }

    fn plain() -> TimelineEventKind {
        let event: Raw<AnySyncTimelineEvent> = Raw::new(&Value::Null).expect("JSON").cast_unchecked();
        TimelineEventKind::PlainText { event }
    }

    fn decrypted(edit_was_encrypted: bool) -> TimelineEventKind {
        let info = Arc::new(EncryptionInfo {
            sender: user_id!("@ann:x").to_owned(),
            sender_device: None,
            forwarder: None,
            algorithm_info: AlgorithmInfo::MegolmV1AesSha2 {
                curve25519_key: String::new(),
                sender_claimed_keys: BTreeMap::new(),
                session_id: None,
            },
            verification_state: VerificationState::Verified,
        });
        let edit =
            (UnsignedEventLocation::RelationsReplace, UnsignedDecryptionResult::Decrypted(info.clone()));
        TimelineEventKind::Decrypted(DecryptedRoomEvent {
            event: Raw::new(&Value::Null).expect("JSON").cast_unchecked(),
            encryption_info: info,
            unsigned_encryption_info: edit_was_encrypted.then(|| BTreeMap::from([edit])),
        })
    }

    #[test]
    fn a_quoted_message_reads_as_its_author_left_it() {
        let text =
            |event: &EventFields, kind: &TimelineEventKind| last_text(event, kind).expect("a text").text;
        for kind in [plain(), decrypted(true)] {
            assert_eq!(text(&with_edit("@ann:x", "$1"), &kind), "new");
            assert_eq!(text(&with_edit("@eve:x", "$1"), &kind), "old", "somebody else's edit");
            assert_eq!(text(&with_edit("@ann:x", "$3"), &kind), "old", "an edit of something else");
        }
    }

    #[test]
    fn the_homeserver_cannot_put_words_into_a_quoted_message() {
        let said = last_text(&with_edit("@ann:x", "$1"), &decrypted(false)).expect("a text");
        assert_eq!(said.text, "old");
    }

    #[test]
    fn a_long_quotation_is_cut_between_characters() {
        assert_eq!(shortened("é"), "é");
        let long = shortened(&"é".repeat(LONGEST + 1));
        assert_eq!((long.chars().count(), long.ends_with("é…")), (LONGEST + 1, true));
    }
}

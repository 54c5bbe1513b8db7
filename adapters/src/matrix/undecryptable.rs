//! Messages that cannot be decrypted or trusted: retries for a while, then sends the person one notice with the remedy.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use matrix_sdk::{
    Room,
    deserialized_responses::{TimelineEvent, TimelineEventKind, UnableToDecryptInfo, UnableToDecryptReason},
    ruma::{
        OwnedEventId, TransactionId,
        api::client::message::send_message_event,
        events::{AnyMessageLikeEventContent, AnySyncTimelineEvent},
        serde::Raw,
    },
};
use serde_json::Value;
use tokio::time::Instant;

use super::{bot::MatrixBot, event::EventFields, pace::SendPriority, rooms::RoomAddress, send};
use crate::{AdapterError, MessageId, matrix::notices};

// Keys travel apart from messages and often arrive seconds later; so does the signature of a new device.
const GRACE: Duration = Duration::from_secs(10);
// Bounds the work of each retry, which decrypts all of them again.
const MOST: usize = 200;
// After half an hour a person has long noticed the silence.
const LONGEST: Duration = Duration::from_secs(30 * 60);

#[derive(Default)]
pub(super) struct UnreadableMessages {
    messages: Vec<UnreadableMessage>,
}

struct UnreadableMessage {
    room: Room,
    raw: Raw<AnySyncTimelineEvent>,
    event: EventFields,
    why: UnableToDecryptInfo,
    since: Instant,
}

impl UnreadableMessages {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds a message, if its sender is on the allow-list.
    pub(super) fn add(
        &mut self,
        bot: &MatrixBot,
        room: &Room,
        event: EventFields,
        raw: Raw<AnySyncTimelineEvent>,
        why: UnableToDecryptInfo,
    ) {
        if event.sender == room.own_user_id().as_str() || !bot.is_allowed(&event.sender) {
            return;
        }
        tracing::debug!(reason = ?why.reason, sender = event.sender, "a message cannot be decrypted yet");
        let since = Instant::now();
        self.messages.push(UnreadableMessage { room: room.clone(), raw, event, why, since });
    }

    /// Tries all again: returns those that can be read now; the senders of those that waited too long get a notice.
    pub(super) async fn try_again(
        &mut self,
        bot: &Arc<MatrixBot>,
    ) -> Vec<(Room, EventFields, TimelineEvent)> {
        let mut readable = Vec::new();
        let crowded = self.messages.len() > MOST;
        for mut message in std::mem::take(&mut self.messages) {
            match message.decrypt().await {
                Some((event, decrypted)) => readable.push((message.room, event, decrypted)),
                None if crowded || message.since.elapsed() >= GRACE => message.notify_sender(bot),
                None => self.messages.push(message),
            }
        }
        readable
    }
}

impl UnreadableMessage {
    async fn decrypt(&mut self) -> Option<(EventFields, TimelineEvent)> {
        let decrypted = self.room.decrypt_event(self.raw.cast_ref_unchecked(), None).await.ok()?;
        if let TimelineEventKind::UnableToDecrypt { utd_info, .. } = decrypted.kind {
            self.why = utd_info;
            return None;
        }
        let event = EventFields::read(decrypted.raw().json().get())?;
        Some((event, decrypted))
    }

    fn notify_sender(self, bot: &Arc<MatrixBot>) {
        tracing::warn!(reason = ?self.why.reason, sender = self.event.sender, "a message could not be decrypted");
        // One notice per key. A key serves up to some hundred messages, each of which fails alike.
        let key = self.why.session_id.as_deref().unwrap_or(&self.event.event_id);
        if !bot.memory.first_time(&format!("unread {key}")) {
            return;
        }
        let (text, encrypted) = match self.why.reason {
            // The bot shares no keys with an unsigned device, so an encrypted notice would be unreadable there.
            UnableToDecryptReason::SenderIdentityNotTrusted(_) => (notices::UNSIGNED_DEVICE, false),
            UnableToDecryptReason::MissingMegolmSession { withheld_code: Some(_) } => {
                (notices::WITHHELD, true)
            }
            _ => (notices::UNDECRYPTABLE, true),
        };
        spawn_notice(bot, self.room, self.event, text, encrypted);
    }
}

/// Sends a person on the allow-list one notice that the bot ignores plain messages in an encrypted room.
pub(super) fn not_encrypted(bot: &Arc<MatrixBot>, room: &Room, event: &EventFields) {
    let trouble = format!("plain {} {}", room.room_id(), event.sender);
    if bot.is_allowed(&event.sender) && bot.memory.first_time(&trouble) {
        spawn_notice(bot, room.clone(), event.clone(), notices::NOT_ENCRYPTED, true);
    }
}

/// Tells a person on the allow-list, once in each room, that the bot ignores rooms without encryption.
pub(super) fn in_a_plain_room(bot: &Arc<MatrixBot>, room: &Room, event: &EventFields) {
    let trouble = format!("plain room {}", room.room_id());
    if bot.is_allowed(&event.sender) && bot.memory.first_time(&trouble) {
        spawn_notice(bot, room.clone(), event.clone(), notices::PLAIN_ROOM, false);
    }
}

// In the background: the homeserver may delay the notice, and the sync loop must not wait for it.
fn spawn_notice(bot: &Arc<MatrixBot>, room: Room, event: EventFields, text: &'static str, encrypted: bool) {
    let client = bot.clone();
    bot.spawn_with_timeout(LONGEST, async move {
        let place = address_of(&room, &event);
        let content = send::notice_to(&event.sender, text, &place, &MessageId::new(event.event_id.as_str()));
        let sent = match encrypted {
            true => {
                send::dispatch(&client, &place, "m.room.message", content, Some(SendPriority::Final)).await
            }
            false => send_unencrypted(&client, &place, content).await,
        };
        if let Err(error) = sent {
            tracing::warn!(%error, "nobody could be told that a message was not heard");
        }
    });
}

// The SDK encrypts every message to an encrypted room, so this bypasses `Room::send`.
async fn send_unencrypted(
    bot: &MatrixBot,
    place: &RoomAddress,
    content: Value,
) -> Result<OwnedEventId, AdapterError> {
    let transaction = TransactionId::new();
    let attempt = |room: Room| -> BoxFuture<'_, matrix_sdk::Result<OwnedEventId>> {
        let (content, transaction) = (Raw::new(&content), transaction.clone());
        Box::pin(async move {
            let content = content?.cast_unchecked::<AnyMessageLikeEventContent>();
            let room_id = room.room_id().to_owned();
            let request = send_message_event::v3::Request::new_raw(
                room_id,
                transaction,
                "m.room.message".into(),
                content,
            );
            Ok(room.client().send(request).await?.event_id)
        })
    };
    send::send_with_retries(bot, place, SendPriority::Final, attempt).await
}

fn address_of(room: &Room, event: &EventFields) -> RoomAddress {
    RoomAddress::new(room.room_id(), event.thread().as_deref())
}

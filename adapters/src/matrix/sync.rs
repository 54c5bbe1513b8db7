//! The sync loop: invitations, people's acts, and events that were missed.
//!
//! `Client::sync` waits a second whenever two answers come within one, so the loop is our own.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use matrix_sdk::{
    Client, Room,
    config::{SyncSettings, SyncToken},
    deserialized_responses::{TimelineEvent, TimelineEventKind},
    room::MessagesOptions,
    ruma::{
        OwnedEventId, UInt,
        api::client::{
            filter::{Filter, FilterDefinition, LazyLoadOptions, RoomEventFilter, RoomFilter},
            sync::sync_events,
        },
    },
    sync::{JoinedRoomUpdate, SyncResponse},
};
use tokio::time::Instant;

use super::{
    bot::MatrixBot,
    client::token_refused,
    errors::{RequestFailure, failure},
    event::{EventAct, EventFields},
    incoming::{first_for_me, read_event},
    membership::{JoinedRooms, read_all},
    receipts, verification,
};
use crate::{
    AdapterError, Inbox,
    matrix::undecryptable::{self, UnreadableMessages},
};

// How long the homeserver holds the request while nothing happens: well below the minute after which proxies
// commonly cut an idle connection.
const IDLE: Duration = Duration::from_secs(30);
// The same while a message waits for its key, or a token for its storage: nothing else would wake the loop.
const SOON: Duration = Duration::from_secs(2);
// Events of one room in one answer. The rest is fetched by `missed`.
const PAGE: u32 = 100;
// Bounds the time after a long absence in a busy room; older events are skipped.
const MOST_PAGES: u32 = 100;

pub(super) async fn run(bot: &Arc<MatrixBot>, client: &Client, inbox: &Inbox) -> Result<(), AdapterError> {
    let mut unread = UnreadableMessages::default();
    let mut rooms = JoinedRooms::new(bot, client, inbox);
    let mut known = false;
    rooms.join_listed().await;
    inbox.set_note(rooms.note());
    let mut timeout = Duration::ZERO;
    loop {
        let since = bot.memory.sync_token();
        let answer = client.sync_once(settings(since.clone(), timeout)).await;
        let answer = answer.map_err(|error| sync_error(bot, since.is_some(), &error))?;
        // Upgrades first: the invitation to a replacement may come with the end of the old room.
        rooms.follow_upgrades().await;
        if !known || !answer.rooms.invited.is_empty() {
            rooms.follow_invitations().await;
        }
        rooms.try_again().await;
        rooms.note_removals(&answer);
        inbox.set_note(rooms.note());
        if !std::mem::replace(&mut known, true) {
            for room in client.joined_rooms() {
                rooms.check_encryption(&room).await?;
            }
            inbox.set_note(rooms.note());
        }
        inbox.set_connected();
        verification::requested(bot, client, &answer.to_device).await;
        let mut hearing = SyncBatch { rooms: &mut rooms, inbox, unread: &mut unread, newest: 0 };
        if !hearing.deliver_answer(&answer, since.as_deref()).await? || !hearing.take_late().await {
            return Ok(());
        }
        let now = Instant::now();
        bot.memory.handed_over(answer.next_batch, hearing.newest, now);
        // A message that cannot be decrypted yet was not handed over, so the token must not pass it.
        bot.memory.save_settled(inbox.is_drained() && unread.is_empty(), now);
        let busy = !unread.is_empty() || bot.memory.is_unsettled();
        timeout = rooms.time_until_next_attempt().min(if busy { SOON } else { IDLE });
    }
}

fn settings(since: Option<String>, timeout: Duration) -> SyncSettings {
    let mut timeline = RoomEventFilter::default();
    timeline.limit = Some(UInt::from(PAGE));
    let mut room = RoomFilter::default();
    room.timeline = timeline;
    // The bot needs neither typing notices nor receipts, and they would wake it often.
    room.ephemeral = RoomEventFilter::ignore_all();
    // Synapse sends the number of members, which decides `shared`, only with lazy loading. Keys still go to all members.
    room.state.lazy_load_options = LazyLoadOptions::Enabled { include_redundant_members: false };
    let mut filter = FilterDefinition::default();
    filter.presence = Filter::ignore_all();
    filter.room = room;
    let token = since.map_or(SyncToken::NoToken, SyncToken::Specific);
    let filter = sync_events::v3::Filter::FilterDefinition(filter);
    SyncSettings::new().filter(filter).timeout(timeout).token(token)
}

fn sync_error(bot: &MatrixBot, had_token: bool, error: &matrix_sdk::Error) -> AdapterError {
    match failure(error) {
        RequestFailure::LoggedOut if !bot.config.access_token.is_empty() => token_refused(),
        RequestFailure::LoggedOut => {
            // The next connection logs in again.
            bot.set_client(None);
            AdapterError::Unreachable("the homeserver has logged the bot out; logging in anew".into())
        }
        // For example, a homeserver that was restored from a backup does not know later tokens.
        RequestFailure::Refused(why) | RequestFailure::Forbidden(why) if had_token => {
            bot.memory.forget_token();
            AdapterError::Unreachable(format!("the homeserver does not know where the bot was: {why}"))
        }
        RequestFailure::Refused(why) | RequestFailure::Forbidden(why) => AdapterError::Unreachable(why),
        other => other.adapter_error(),
    }
}

/// One answer of the homeserver on its way to the inbox.
struct SyncBatch<'a, 'b> {
    rooms: &'a mut JoinedRooms<'b>,
    inbox: &'a Inbox,
    unread: &'a mut UnreadableMessages,
    /// The time of the newest event, in milliseconds since 1970.
    newest: u64,
}

impl SyncBatch<'_, '_> {
    /// Hands over what people did; `false` if the bot is shutting down.
    async fn deliver_answer(
        &mut self,
        answer: &SyncResponse,
        since: Option<&str>,
    ) -> Result<bool, AdapterError> {
        for (id, update) in &answer.rooms.joined {
            let Some(room) = self.rooms.client.get_room(id) else { continue };
            if !self.rooms.bot.is_served(id.as_str()) || self.is_plain(&room, update).await? {
                continue;
            }
            if !self.take_room(&room, update, since).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    // The people there learn it once; their messages are ignored.
    async fn is_plain(&mut self, room: &Room, update: &JoinedRoomUpdate) -> Result<bool, AdapterError> {
        let ignored = self.rooms.check_encryption(room).await?;
        self.inbox.set_note(self.rooms.note());
        if ignored {
            for (event, _) in read_all(&update.timeline.events) {
                if matches!(event.act(), Some(EventAct::Said(_))) {
                    undecryptable::in_a_plain_room(self.rooms.bot, room, &event);
                }
            }
        }
        Ok(ignored)
    }

    async fn take_room(
        &mut self,
        room: &Room,
        update: &JoinedRoomUpdate,
        since: Option<&str>,
    ) -> Result<bool, AdapterError> {
        let me = room.own_user_id();
        let mut events = read_all(&update.timeline.events);
        let only = |events: &[(EventFields, TimelineEvent)]| {
            events.iter().map(|(event, _)| event.clone()).collect::<Vec<_>>()
        };
        let mut from = first_for_me(&only(&events), me);
        // A gap matters only if the bot was in the room all the time (0): before its join, nothing was meant for it.
        if let (Some(since), Some(end), true, 0) =
            (since, &update.timeline.prev_batch, update.timeline.limited, from)
        {
            let missed = missed(room, since, end).await?;
            events.splice(0..0, read_all(&missed));
            from = first_for_me(&only(&events), me);
        }
        let not_before = if since.is_none() { self.earliest_event() } else { 0 };
        let mut last = None;
        for (event, shown) in events.drain(..).skip(from) {
            self.newest = self.newest.max(event.origin_server_ts);
            if event.origin_server_ts <= not_before {
                continue;
            }
            let id = event.event_id.clone();
            if !self.take_event(room, event, shown).await {
                return Ok(false);
            }
            last = Some(id);
        }
        if let Some(last) = last.and_then(|id| OwnedEventId::try_from(id).ok()) {
            receipts::mark_read(self.rooms.bot, room, last);
        }
        Ok(true)
    }

    // Without a token the answer holds recent history, most of which was handled before or predates the bot.
    fn earliest_event(&self) -> u64 {
        match self.rooms.bot.memory.heard_until() {
            0 => {
                let started =
                    self.rooms.bot.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                u64::try_from(started.as_millis()).unwrap_or(u64::MAX)
            }
            heard => heard,
        }
    }

    async fn take_event(&mut self, room: &Room, event: EventFields, shown: TimelineEvent) -> bool {
        if let TimelineEventKind::UnableToDecrypt { event: raw, utd_info } = &shown.kind {
            self.unread.add(self.rooms.bot, room, event, raw.clone(), utd_info.clone());
            return true;
        }
        if event.act() == Some(EventAct::AsksForVerification) {
            verification::requested_in(self.rooms.bot, room, &event).await;
            return true;
        }
        match read_event(self.rooms.bot, room, &event, &shown.kind).await {
            Some(incoming) => self.inbox.deliver(incoming).await,
            None => true,
        }
    }

    async fn take_late(&mut self) -> bool {
        for (room, event, shown) in self.unread.try_again(self.rooms.bot).await {
            if !self.take_event(&room, event, shown).await {
                return false;
            }
        }
        true
    }
}

// An answer of `/sync` holds only a room's newest events. These are the ones between `since` and
// its beginning, `end`, in order.
async fn missed(room: &Room, since: &str, end: &str) -> Result<Vec<TimelineEvent>, AdapterError> {
    let mut missed = Vec::new();
    let mut from = Some(end.to_owned());
    for _ in 0..MOST_PAGES {
        let Some(at) = from else { break };
        let mut options = MessagesOptions::backward().from(at.as_str());
        options.to = Some(since.to_owned());
        options.limit = UInt::from(PAGE);
        let page = room.messages(options).await.map_err(|error| failure(&error).adapter_error())?;
        if page.chunk.is_empty() {
            break;
        }
        missed.extend(page.chunk);
        from = page.end;
    }
    missed.reverse();
    Ok(missed)
}

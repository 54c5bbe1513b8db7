//! The sync loop: invitations, people's acts, and events that were missed.
//!
//! `Client::sync` waits a second whenever two answers come within one, so the loop is our own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use matrix_sdk::{
    Client, Room, RoomState,
    config::{SyncSettings, SyncToken},
    deserialized_responses::{TimelineEvent, TimelineEventKind},
    room::MessagesOptions,
    ruma::{
        OwnedEventId, OwnedRoomId, UInt,
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
    errors::{RequestFailure, error_chain, failure},
    event::{EventAct, EventFields},
    incoming::{first_for_me, read_event},
    receipts, verification,
};
use crate::{
    AdapterError, Inbox,
    matrix::{
        notices,
        undecryptable::{self, UnreadableMessages},
    },
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
    let mut rooms = JoinedRooms {
        bot,
        client,
        cannot: BTreeMap::new(),
        plain: BTreeSet::new(),
        removed: BTreeMap::new(),
    };
    let mut known = false;
    rooms.join_listed().await;
    inbox.set_note(rooms.note());
    let mut timeout = Duration::ZERO;
    loop {
        let since = bot.memory.sync_token();
        let answer = client.sync_once(settings(since.clone(), timeout)).await;
        let answer = answer.map_err(|error| sync_error(bot, since.is_some(), &error))?;
        if since.is_none() || !answer.rooms.invited.is_empty() {
            rooms.follow_invitations().await;
            inbox.set_note(rooms.note());
        }
        if rooms.note_removals(&answer) {
            inbox.set_note(rooms.note());
        }
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
        timeout = if busy { SOON } else { IDLE };
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

struct JoinedRooms<'a> {
    bot: &'a Arc<MatrixBot>,
    client: &'a Client,
    cannot: BTreeMap<String, String>,
    /// Rooms that are ignored because they are not encrypted.
    plain: BTreeSet<String>,
    /// Rooms from which somebody removed the bot, and who.
    removed: BTreeMap<String, String>,
}

impl JoinedRooms<'_> {
    async fn join_listed(&mut self) {
        self.cannot.clear();
        for id in &self.bot.config.room_ids {
            let Ok(room) = OwnedRoomId::try_from(id.as_str()) else { continue };
            if self.client.get_room(&room).is_some_and(|room| room.state() == RoomState::Joined) {
                continue;
            }
            if let Err(error) = self.client.join_room_by_id(&room).await {
                self.cannot.insert(id.clone(), reason(&error));
            }
        }
    }

    async fn follow_invitations(&mut self) {
        for room in self.client.invited_rooms() {
            let id = room.room_id().to_string();
            let inviter = room.invite_details().await.map(|invite| invite.inviter_id.to_string());
            let inviter = inviter.unwrap_or_default();
            if !self.bot.follows_invitation(&id, &inviter) {
                tracing::warn!(
                    room = id,
                    inviter,
                    "an invitation is refused: the room is not in `room_ids`, or there are none and the person is not allowed"
                );
                if let Err(error) = room.leave().await {
                    tracing::warn!(error = error_chain(&error), room = id, "it could not be refused");
                }
                continue;
            }
            match room.join().await {
                Ok(()) => {
                    tracing::info!(room = id, inviter, "joined");
                    self.cannot.remove(&id);
                }
                Err(error) => {
                    tracing::warn!(
                        error = error_chain(&error),
                        room = id,
                        "an invitation could not be followed"
                    )
                }
            }
        }
    }

    /// Takes note of rooms that the bot was removed from, and of those it is in again. `true` if that changes the note.
    fn note_removals(&mut self, answer: &SyncResponse) -> bool {
        let before = self.removed.clone();
        self.removed.retain(|room, _| !answer.rooms.joined.keys().any(|joined| joined.as_str() == room));
        let me = self.client.user_id().map(ToString::to_string).unwrap_or_default();
        for (id, update) in &answer.rooms.left {
            let removals = read_all(&update.timeline.events).into_iter().filter(|(event, _)| {
                let membership = event.act();
                // Not an invitation that was refused or taken back.
                matches!(&membership, Some(EventAct::Membership { of, from, .. })
                    if *of == me && from.as_deref() == Some("join") && event.sender != me)
            });
            if let (true, Some((event, _))) = (self.bot.is_served(id.as_str()), removals.last()) {
                self.removed.insert(id.to_string(), event.sender);
            }
        }
        self.removed != before
    }

    /// Whether a room is ignored for its missing encryption; remembers that for the note.
    async fn check_encryption(&mut self, room: &Room) -> Result<bool, AdapterError> {
        let id = room.room_id().as_str();
        let ignored = self.bot.is_served(id) && self.bot.lacks_encryption(room).await?;
        match ignored {
            true if self.plain.insert(id.to_owned()) => {
                tracing::warn!(
                    room = id,
                    "the room is not encrypted and is ignored (`matrix.require_encryption`)"
                );
            }
            true => {}
            false => _ = self.plain.remove(id),
        }
        Ok(ignored)
    }

    fn note(&self) -> Option<String> {
        let me = self.client.user_id().map(ToString::to_string).unwrap_or_default();
        let cannot = self.cannot.iter().map(|(room, why)| notices::cannot_join(room, why, &me));
        let removed = self.removed.iter().map(|(room, by)| notices::removed(room, &me, by));
        let plain = self.plain.iter().map(|room| notices::not_encrypted(room));
        let sentences: Vec<_> = cannot.chain(removed).chain(plain).collect();
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }
}

/// The homeserver's own sentence, without what surrounds it.
fn reason(error: &matrix_sdk::Error) -> String {
    let body = error.as_client_api_error().map(|error| error.body.clone());
    match body {
        Some(matrix_sdk::ruma::api::error::ErrorBody::Standard(body)) => {
            body.message.trim_end_matches('.').to_owned()
        }
        _ => error_chain(error),
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
        let before = self.rooms.plain.len();
        let ignored = self.rooms.check_encryption(room).await?;
        if self.rooms.plain.len() != before {
            self.inbox.set_note(self.rooms.note());
        }
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

fn read_all(events: &[TimelineEvent]) -> Vec<(EventFields, TimelineEvent)> {
    let read = |shown: &TimelineEvent| Some((EventFields::read(shown.raw().json().get())?, shown.clone()));
    events.iter().filter_map(read).collect()
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

//! The rooms that the bot is in, wants to be in, was removed from, or ignores.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use matrix_sdk::{
    Client, Room, RoomState,
    deserialized_responses::TimelineEvent,
    ruma::{OwnedRoomId, RoomId, api::client::membership::leave_room},
    sync::SyncResponse,
};
use tokio::time::Instant;

use super::{
    bot::MatrixBot,
    errors::error_chain,
    event::{EventAct, EventFields},
    notices,
    pending_joins::{JoinCause, JoinFailure, PendingJoin, PendingJoins},
    rooms::RoomAddress,
};
use crate::{AdapterError, Inbox, MessengerNews};

pub(super) struct JoinedRooms<'a> {
    pub bot: &'a Arc<MatrixBot>,
    pub client: &'a Client,
    pub inbox: &'a Inbox,
    pub pending: PendingJoins,
    /// Rooms that are ignored because they are not encrypted.
    plain: BTreeSet<String>,
    /// Rooms from which somebody removed the bot, and who.
    removed: BTreeMap<String, String>,
}

impl<'a> JoinedRooms<'a> {
    pub(super) fn new(bot: &'a Arc<MatrixBot>, client: &'a Client, inbox: &'a Inbox) -> Self {
        let (pending, plain, removed) = Default::default();
        Self { bot, client, inbox, pending, plain, removed }
    }

    pub(super) async fn join_listed(&mut self) {
        for id in &self.bot.config.room_ids {
            let current = self.bot.memory.with_moves(|moves| moves.current(id).to_owned());
            let Ok(room) = OwnedRoomId::try_from(current) else { continue };
            if self.state_of(&room) != Some(RoomState::Joined) {
                self.attempt(room, JoinCause::Listed).await;
            }
        }
    }

    pub(super) async fn follow_invitations(&mut self) {
        for room in self.client.invited_rooms() {
            let id = room.room_id().to_owned();
            // The invitation that a replacement waited for: the end of the old room vouches for it, whoever invites.
            if let Some(cause @ JoinCause::Replaces { .. }) = self.pending.cause(&id).cloned() {
                self.attempt(id, cause).await;
                continue;
            }
            let inviter = room.invite_details().await.map(|invite| invite.inviter_id.to_string());
            let by = inviter.unwrap_or_default();
            if self.bot.follows_invitation(id.as_str(), &by) {
                let is_listed = self.bot.config.room_ids.iter().any(|listed| listed == id.as_str());
                let cause = if is_listed { JoinCause::Listed } else { JoinCause::Invited { by } };
                self.attempt(id, cause).await;
                continue;
            }
            tracing::warn!(
                room = %id,
                inviter = by,
                "an invitation is refused: the room is not in `room_ids`, or there are none and the person is not allowed"
            );
            self.leave(&id).await;
        }
    }

    /// Repeats the attempts that are due.
    pub(super) async fn try_again(&mut self) {
        for (room, cause) in self.pending.due(Instant::now()) {
            self.attempt(room, cause).await;
        }
    }

    pub(super) fn time_until_next_attempt(&self) -> Duration {
        let due = self.pending.next_due();
        due.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()))
    }

    pub(super) async fn attempt(&mut self, room: OwnedRoomId, cause: JoinCause) {
        let is_wanted = match &cause {
            JoinCause::Listed => true,
            // It may have been taken back.
            JoinCause::Invited { .. } => self.state_of(&room) == Some(RoomState::Invited),
            // The old room may name another one by now.
            JoinCause::Replaces { old, .. } => {
                self.bot.memory.with_moves(|moves| moves.pending(old.as_str()) == Some(room.as_str()))
            }
        };
        if !is_wanted {
            return self.pending.done(&room);
        }
        let joined = match &cause {
            JoinCause::Listed | JoinCause::Invited { .. } => {
                self.client.join_room_by_id(&room).await.map(drop).map_err(|error| reason(&error))
            }
            JoinCause::Replaces { old, via } => self.enter_replacement(old, &room, via).await,
        };
        match joined {
            Ok(()) => {
                tracing::info!(%room, ?cause, "joined");
                self.pending.done(&room);
            }
            Err(why) => self.note_failure(&room, cause, why).await,
        }
    }

    async fn note_failure(&mut self, room: &RoomId, cause: JoinCause, why: String) {
        tracing::warn!(%room, ?cause, why, "a room cannot be joined");
        let failure = self.pending.failed(room, cause, why, Instant::now());
        if failure == JoinFailure::GivenUp {
            // So that the person can invite again.
            self.leave(room).await;
        }
        let Some((_, join)) = self.pending.all().find(|(id, _)| *id == room) else { return };
        let place = match &join.cause {
            // The operator has just written it, and sees the note.
            JoinCause::Listed => return,
            JoinCause::Invited { .. } => room,
            JoinCause::Replaces { old, .. } => old,
        };
        if matches!(failure, JoinFailure::Lasting | JoinFailure::GivenUp) {
            let (room, why) = (self.bot.name_of(&RoomAddress::new(place, None)), self.sentence(room, join));
            self.inbox.report(MessengerNews::CannotJoin { room, why });
        }
    }

    // Not matrix-sdk's `Room::leave`: it also leaves every room that this one claims to replace, so a stranger's invitation would take the
    // bot out of its own room.
    pub(super) async fn leave(&self, room: &RoomId) {
        if let Err(error) = self.client.send(leave_room::v3::Request::new(room.to_owned())).await {
            tracing::warn!(error = error_chain(&error), %room, "it could not be left");
        }
    }

    pub(super) fn state_of(&self, room: &RoomId) -> Option<RoomState> {
        self.client.get_room(room).map(|room| room.state())
    }

    /// Takes note of rooms that the bot was removed from, and of those it is in again.
    pub(super) fn note_removals(&mut self, answer: &SyncResponse) {
        self.removed.retain(|room, _| !answer.rooms.joined.keys().any(|joined| joined.as_str() == room));
        let me = self.me();
        for (id, update) in &answer.rooms.left {
            let removals = read_all(&update.timeline.events).into_iter().filter(|(event, _)| {
                let membership = event.act();
                // Not an invitation that was refused or taken back.
                matches!(&membership, Some(EventAct::Membership { of, from, .. })
                    if *of == me && from.as_deref() == Some("join") && event.sender != me)
            });
            // Nobody has to be in a room that was replaced.
            let matters = self.bot.is_served(id.as_str())
                && self.bot.memory.with_moves(|moves| moves.replacement(id.as_str()).is_none());
            if let (true, Some((event, _))) = (matters, removals.last()) {
                self.removed.insert(id.to_string(), event.sender);
            }
        }
    }

    /// Whether a room is ignored for its missing encryption; remembers that for the note.
    pub(super) async fn check_encryption(&mut self, room: &Room) -> Result<bool, AdapterError> {
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

    /// What the operator should know about the rooms.
    pub(super) fn note(&self) -> Option<String> {
        let me = self.me();
        let pending = self.pending.all().map(|(room, join)| self.sentence(room, join));
        let removed = self.removed.iter().map(|(room, by)| notices::removed(room, &me, by));
        let plain = self.plain.iter().map(|room| notices::not_encrypted(room));
        let sentences: Vec<_> = pending.chain(removed).chain(plain).chain(self.notes_on_upgrades()).collect();
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }

    fn sentence(&self, room: &RoomId, join: &PendingJoin) -> String {
        let (room, why, me) = (room.as_str(), join.why.as_str(), self.me());
        match &join.cause {
            JoinCause::Listed => notices::cannot_join(room, why, &me),
            JoinCause::Invited { by } => notices::cannot_follow_invitation(room, by, why, join.over),
            JoinCause::Replaces { old, .. } => notices::cannot_follow_upgrade(old.as_str(), room, why, &me),
        }
    }

    fn me(&self) -> String {
        self.client.user_id().map(ToString::to_string).unwrap_or_default()
    }
}

/// The homeserver's own sentence, without what surrounds it.
pub(super) fn reason(error: &matrix_sdk::Error) -> String {
    let body = error.as_client_api_error().map(|error| error.body.clone());
    match body {
        Some(matrix_sdk::ruma::api::error::ErrorBody::Standard(body)) => {
            body.message.trim_end_matches('.').to_owned()
        }
        _ => error_chain(error),
    }
}

pub(super) fn read_all(events: &[TimelineEvent]) -> Vec<(EventFields, TimelineEvent)> {
    let read = |shown: &TimelineEvent| Some((EventFields::read(shown.raw().json().get())?, shown.clone()));
    events.iter().filter_map(read).collect()
}

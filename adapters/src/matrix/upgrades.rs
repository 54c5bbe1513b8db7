//! Follows a room's upgrade to its replacement.
//!
//! The old room's `m.room.tombstone` is a state event, so the homeserver vouches that its sender may close the room. The replacement must
//! name the old room as its predecessor itself: that is part of its first event, which nobody can change later.
//! <https://spec.matrix.org/v1.15/client-server-api/#room-upgrades>

use matrix_sdk::{
    RoomState,
    deserialized_responses::SyncOrStrippedState,
    ruma::{
        OwnedServerName, RoomId, RoomOrAliasId,
        api::client::state::get_state_event_for_key,
        events::{StateEventType, SyncStateEvent, room::tombstone::RoomTombstoneEventContent},
    },
};
use serde_json::Value;

use super::{
    errors::error_chain,
    membership::{JoinedRooms, reason},
    notices,
    pending_joins::JoinCause,
    rooms::RoomAddress,
};
use crate::MessengerNews;

impl JoinedRooms<'_> {
    /// Looks for rooms that were upgraded, and enters their replacements.
    pub(super) async fn follow_upgrades(&mut self) {
        for room in self.client.joined_rooms() {
            let old = room.room_id();
            let Some(new) = room.successor_room().map(|successor| successor.room_id) else { continue };
            let (is_settled, is_pending) = self.bot.memory.with_moves(|moves| {
                let (old, new) = (old.as_str(), new.as_str());
                let is_settled = moves.replacement(old) == Some(new) || moves.is_impostor(old, new);
                (is_settled, moves.pending(old) == Some(new))
            });
            if is_settled || self.pending.cause(&new).is_some() || !self.bot.is_served(old.as_str()) {
                continue;
            }
            // The bot already works there under that room's own name, for example since the operator listed it.
            let is_in_use =
                self.state_of(&new) == Some(RoomState::Joined) && self.bot.is_served(new.as_str());
            if is_in_use {
                continue;
            }
            if !is_pending {
                self.bot.memory.change_moves(|moves| moves.set_pending(old.as_str(), new.as_str()));
            }
            let cause = JoinCause::Replaces { old: old.to_owned(), via: servers(&room).await };
            self.attempt(new, cause).await;
        }
    }

    /// Joins the replacement and goes on there, if it is one.
    ///
    /// # Errors
    /// Why the bot cannot be there yet, for people.
    pub(super) async fn enter_replacement(
        &mut self,
        old: &RoomId,
        new: &RoomId,
        via: &[OwnedServerName],
    ) -> Result<(), String> {
        if self.state_of(new) != Some(RoomState::Joined) {
            let id = <&RoomOrAliasId>::from(new);
            self.client.join_room_by_id_or_alias(id, via).await.map_err(|error| reason(&error))?;
        }
        if self.predecessor_of(new).await?.as_deref() != Some(old.as_str()) {
            self.refuse_replacement(old, new).await;
            return Ok(());
        }
        // Otherwise the homeserver could read along after an upgrade.
        if self.is_encrypted(old).await? && !self.is_encrypted(new).await? {
            return Err(notices::REPLACEMENT_NOT_ENCRYPTED.into());
        }
        if !self.bot.memory.change_moves(|moves| moves.follow(old.as_str(), new.as_str())) {
            self.refuse_replacement(old, new).await;
            return Ok(());
        }
        self.bot.typing.forget(&old.to_owned());
        let room = self.bot.name_of(&RoomAddress::new(new, None));
        self.inbox.report(MessengerNews::Replaced { room, from: old.to_string(), to: new.to_string() });
        Ok(())
    }

    async fn refuse_replacement(&self, old: &RoomId, new: &RoomId) {
        tracing::warn!(%old, %new, "the room says that another one replaces it, which that room does not say");
        self.bot.memory.change_moves(|moves| moves.set_impostor(old.as_str(), new.as_str()));
        self.leave(new).await;
    }

    /// The room that this one says to replace. Asked for, since the first sync after the join may come later.
    async fn predecessor_of(&self, room: &RoomId) -> Result<Option<String>, String> {
        let request = get_state_event_for_key::v3::Request::new(
            room.to_owned(),
            StateEventType::RoomCreate,
            String::new(),
        );
        let answer = self.client.send(request).await.map_err(|error| error_chain(&error))?;
        let content: Value =
            serde_json::from_str(answer.event_or_content.get()).map_err(|error| error_chain(&error))?;
        Ok(content["predecessor"]["room_id"].as_str().map(str::to_owned))
    }

    async fn is_encrypted(&self, room: &RoomId) -> Result<bool, String> {
        let room = self.client.get_room(room).ok_or("the homeserver does not show it yet")?;
        let state = room.latest_encryption_state().await.map_err(|error| reason(&error))?;
        Ok(state.is_encrypted())
    }

    pub(super) fn notes_on_upgrades(&self) -> Vec<String> {
        let listed = &self.bot.config.room_ids;
        self.bot.memory.with_moves(|moves| {
            let impostors = self.client.joined_rooms().into_iter().filter_map(|room| {
                let (old, new) = (room.room_id().as_str(), room.successor_room()?.room_id);
                moves.is_impostor(old, new.as_str()).then(|| notices::not_its_replacement(old, new.as_str()))
            });
            let outdated = listed.iter().filter_map(|id| {
                let new = moves.current(id);
                let is_news = new != id && !listed.iter().any(|id| id == new);
                is_news.then(|| notices::write_new_id(id, new))
            });
            impostors.chain(outdated).collect()
        })
    }
}

/// Servers that know the replacement: that of the person who closed the room, and that of the room itself.
async fn servers(room: &matrix_sdk::Room) -> Vec<OwnedServerName> {
    let tombstone = room.get_state_event_static::<RoomTombstoneEventContent>().await.ok().flatten();
    let sender = match tombstone.and_then(|raw| raw.deserialize().ok()) {
        Some(SyncOrStrippedState::Sync(SyncStateEvent::Original(event))) => Some(event.sender),
        _ => None,
    };
    let of_sender = sender.map(|sender| sender.server_name().to_owned());
    of_sender.into_iter().chain(room.room_id().server_name().map(ToOwned::to_owned)).collect()
}

//! The encrypted room of two with a person, and who is in a room.

use std::sync::Arc;

use matrix_sdk::{
    Client, RoomMemberships, RoomState,
    ruma::{OwnedUserId, RoomId, UserId, events::room::member::MembershipState},
};
use tokio::time::Instant;

use super::{bot::MatrixBot, errors::failure, rooms::RoomAddress};
use crate::{AdapterError, Room};

/// The room of two with this person: the one that the bot made earlier, one to which they invited it, or a new one.
pub(super) async fn room_with(bot: &Arc<MatrixBot>, person: &str) -> Result<Room, AdapterError> {
    let user = OwnedUserId::try_from(person)
        .map_err(|_| AdapterError::Rejected(format!("`{person}` is no Matrix id")))?;
    let Some(client) = bot.client() else {
        return Err(AdapterError::Unreachable("not connected to the homeserver".into()));
    };
    // Two questions at once must not make two rooms.
    let _one = bot.making_direct.lock().await;
    if let Some(room) = made_before(bot, &client, &user).await? {
        return Ok(room);
    }
    for room in client.get_dm_rooms(&user).collect::<Vec<_>>() {
        let is_there = matches!(membership(&room, &user).await?, Some(MembershipState::Join));
        if is_there && bot.is_served(room.room_id().as_str()) && !bot.lacks_encryption(&room).await? {
            return Ok(name_of(bot, room.room_id()));
        }
    }
    let room = client.create_dm(&user).await.map_err(|error| failure(&error).adapter_error())?;
    bot.memory.set_direct(person, room.room_id().as_str());
    tracing::info!(room = %room.room_id(), person, "a direct room was made");
    Ok(name_of(bot, room.room_id()))
}

/// Whoever has left it is invited again.
async fn made_before(bot: &MatrixBot, client: &Client, user: &UserId) -> Result<Option<Room>, AdapterError> {
    let Some(id) = bot.memory.direct(user.as_str()) else { return Ok(None) };
    let current = bot.memory.with_moves(|moves| moves.current(&id).to_owned());
    let room = <&RoomId>::try_from(current.as_str()).ok().and_then(|id| client.get_room(id));
    let Some(room) = room.filter(|room| room.state() == RoomState::Joined) else { return Ok(None) };
    match membership(&room, user).await? {
        Some(MembershipState::Join | MembershipState::Invite) => {}
        _ => {
            if let Err(error) = room.invite_user_by_id(user).await {
                let error = failure(&error).adapter_error();
                if !matches!(error, AdapterError::Rejected(_)) {
                    return Err(error);
                }
                tracing::info!(room = %room.room_id(), %error, "nobody can be invited to the direct room");
                return Ok(None);
            }
        }
    }
    Ok(Some(name_of(bot, room.room_id())))
}

async fn membership(room: &matrix_sdk::Room, user: &UserId) -> Result<Option<MembershipState>, AdapterError> {
    let member = room.get_member(user).await.map_err(|error| failure(&error).adapter_error())?;
    Ok(member.map(|member| member.membership().clone()))
}

fn name_of(bot: &MatrixBot, room: &RoomId) -> Room {
    bot.name_of(&RoomAddress::new(room, None))
}

/// The people in the room, and those who are invited to it.
pub(super) async fn people_in(bot: &MatrixBot, room: &Room) -> Result<Vec<Arc<str>>, AdapterError> {
    let room = bot.room(&bot.place(room)?, Instant::now()).await?;
    let members = room.members(RoomMemberships::ACTIVE).await;
    let members = members.map_err(|error| failure(&error).adapter_error())?;
    let others = members.iter().filter(|member| !member.is_account_user());
    Ok(others.map(|member| member.user_id().as_str().into()).collect())
}

//! The state that the parts of the adapter share: settings, the client once logged in, and the memory.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use matrix_sdk::{
    Client, RoomState,
    ruma::{EventId, OwnedEventId, OwnedRoomId},
};
use parking_lot::{Mutex, RwLock};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    MatrixConfig,
    client::AccountFiles,
    config::can_be_named,
    errors::{RequestFailure, failure},
    event::TextContent,
    pace::SendPacer,
    receipts::ReadReceipts,
    rooms::RoomAddress,
    sent::SentMessages,
    typing::TypingNotices,
};
use crate::{
    AdapterContext, AdapterError, AllowedPeople, Identity, Room,
    matrix::{notices, saved_state::MatrixMemory},
};

// Bounds the memory. For a forgotten message the bot asks the homeserver.
const HERE_MAX: usize = 10_000;

pub(super) struct MatrixBot {
    pub config: MatrixConfig,
    pub identity: Identity,
    pub files: AccountFiles,
    pub memory: MatrixMemory,
    pub pace: SendPacer,
    pub sent: SentMessages,
    pub typing: TypingNotices,
    pub receipts: ReadReceipts,
    // A new bot does not act on messages from before its start.
    pub started: SystemTime,
    /// Messages of replacements, as far as that was of interest: the others may be in the rooms before them.
    here: Mutex<BTreeSet<OwnedEventId>>,
    // Changes with `bot.toml`; `config.people` holds the list of the start.
    people: RwLock<AllowedPeople>,
    // A watch, so that a message sent during a new login waits for the new client instead of failing.
    client: watch::Sender<Option<Client>>,
    stop: CancellationToken,
    /// Held while a direct room is looked for or made.
    pub making_direct: tokio::sync::Mutex<()>,
}

impl MatrixBot {
    pub(super) fn new(config: MatrixConfig, setting: AdapterContext) -> Result<Arc<Self>, AdapterError> {
        let files = AccountFiles::in_folder(&setting.state)?;
        Ok(Arc::new(Self {
            people: RwLock::new(config.people.clone()),
            config,
            identity: setting.identity,
            memory: MatrixMemory::open(files.saved_state()),
            files,
            pace: SendPacer::new(),
            sent: SentMessages::default(),
            typing: TypingNotices::default(),
            receipts: ReadReceipts::default(),
            started: SystemTime::now(),
            here: Mutex::default(),
            client: watch::Sender::new(None),
            stop: CancellationToken::new(),
            making_direct: tokio::sync::Mutex::default(),
        }))
    }

    pub(super) fn is_allowed(&self, user: &str) -> bool {
        self.people.read().is_allowed(user)
    }

    pub(super) fn set_allowed_people(&self, people: &AllowedPeople) {
        *self.people.write() = people.clone();
    }

    pub(super) fn client(&self) -> Option<Client> {
        self.client.borrow().clone()
    }

    pub(super) fn set_client(&self, client: Option<Client>) {
        self.client.send_replace(client);
    }

    /// The room, as soon as the account is logged in; waits until `deadline` for that.
    pub(super) async fn room(
        &self,
        place: &RoomAddress,
        deadline: Instant,
    ) -> Result<matrix_sdk::Room, AdapterError> {
        let mut clients = self.client.subscribe();
        let ready = tokio::time::timeout_at(deadline, clients.wait_for(Option::is_some)).await;
        let client = match ready {
            Ok(Ok(client)) => client.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        let Some(client) = client else {
            return Err(AdapterError::Unreachable("not connected to the homeserver".into()));
        };
        // The store also knows rooms that the bot has left or is only invited to.
        let room = client.get_room(&place.room);
        let state = room.as_ref().map(|room| room.state());
        room.filter(|_| state == Some(RoomState::Joined)).ok_or_else(|| {
            let me = client.user_id().map(ToString::to_string).unwrap_or_default();
            AdapterError::Rejected(notices::not_a_member(
                place.room.as_str(),
                &me,
                state == Some(RoomState::Banned),
            ))
        })
    }

    /// Where the bot writes what is meant for this room: in its replacement, if it was upgraded.
    pub(super) fn place(&self, room: &Room) -> Result<RoomAddress, AdapterError> {
        let mut place = RoomAddress::parse(room)?;
        self.memory.with_moves(|moves| {
            let current = OwnedRoomId::try_from(moves.current(place.room.as_str()));
            place.room = current.unwrap_or_else(|_| place.room.clone());
            let continued = place.thread.as_ref().and_then(|root| moves.continuation(root.as_str()));
            if let Some(root) = continued.and_then(|root| root.try_into().ok()) {
                place.thread = Some(root);
            }
        });
        Ok(place)
    }

    /// The thread or room that a message belongs to. A reply to a message that continues a thread of a replaced room does to that one.
    pub(super) fn place_of(&self, room: &matrix_sdk::Room, said: &TextContent) -> RoomAddress {
        let continues = |id: &&String| self.memory.with_moves(|moves| moves.continues_thread(id));
        let root = said.thread.as_ref().or(said.reply_to.as_ref().filter(continues));
        let place = RoomAddress::new(room.room_id(), root.map(String::as_str));
        if let Some(root) = &place.thread {
            self.note_here(&place, root.clone());
        }
        place
    }

    /// The name by which the bot knows a place: a replacement has that of the room that it replaces.
    pub(super) fn name_of(&self, place: &RoomAddress) -> Room {
        self.memory.with_moves(|moves| {
            let root = place.thread.as_ref().map(|root| moves.thread_name(root.as_str()));
            let room = <&matrix_sdk::ruma::RoomId>::try_from(moves.name_of(place.room.as_str()));
            RoomAddress::new(room.unwrap_or(&place.room), root).name()
        })
    }

    /// Notes that a message is in the place's room. Only of replacements that is of interest.
    pub(super) fn note_here(&self, place: &RoomAddress, event: OwnedEventId) {
        if self.memory.with_moves(|moves| moves.is_replacement(place.room.as_str())) {
            let mut here = self.here.lock();
            if here.len() >= HERE_MAX {
                here.clear();
            }
            here.insert(event);
        }
    }

    /// Whether a message is in the place's room, and not in one that it replaces.
    pub(super) async fn is_here(&self, place: &RoomAddress, event: &EventId) -> Result<bool, AdapterError> {
        let is_replacement = self.memory.with_moves(|moves| moves.is_replacement(place.room.as_str()));
        if !is_replacement || self.here.lock().contains(event) {
            return Ok(true);
        }
        let room = self.room(place, Instant::now()).await?;
        match room.event(event, None).await.map_err(|error| failure(&error)) {
            Ok(_) => {
                self.note_here(place, event.to_owned());
                Ok(true)
            }
            Err(RequestFailure::Refused(_) | RequestFailure::Forbidden(_) | RequestFailure::NotMatrix(_)) => {
                Ok(false)
            }
            Err(other) => Err(other.adapter_error()),
        }
    }

    /// Whether the bot acts in this room: one of bot.toml, the replacement of one, or a direct room that it made itself. Without any in
    /// bot.toml, every room that it is in.
    pub(super) fn is_served(&self, room: &str) -> bool {
        let listed = &self.config.room_ids;
        let is_own = self.memory.is_direct(room);
        self.memory.with_moves(|moves| {
            let is_listed = || moves.ancestry(room).any(|id| listed.iter().any(|it| it == id));
            can_be_named(room) && !moves.is_pending(room) && (is_own || listed.is_empty() || is_listed())
        })
    }

    /// Whether the bot joins a room to which `inviter` invites it. Anybody can invite it, and a room that the operator did not
    /// list must not get its answers through a person on the allow-list.
    pub(super) fn follows_invitation(&self, room: &str, inviter: &str) -> bool {
        self.is_served(room) && (!self.config.room_ids.is_empty() || self.is_allowed(inviter))
    }

    /// Whether the homeserver could read and write along in this room although the operator forbids that.
    pub(super) async fn lacks_encryption(&self, room: &matrix_sdk::Room) -> Result<bool, AdapterError> {
        if !self.config.require_encryption {
            return Ok(false);
        }
        // Not knowing is an error and no answer: the message would be lost, or sent in the open.
        let state = room.latest_encryption_state().await.map_err(|error| failure(&error).adapter_error())?;
        Ok(!state.is_encrypted())
    }

    /// Runs `work` in the background, at most for this time and no longer than the adapter lives.
    pub(super) fn spawn_with_timeout(&self, most: Duration, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            // The task holds the bot, and with it the store: without the token it would outlive the adapter.
            let _ = stop.run_until_cancelled(tokio::time::timeout(most, work)).await;
        });
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_calls_itself_a_thread_of_another_room() {
        const ANN: &str = "@ann:evil.example";
        let place = tempfile::tempdir().expect("a folder");
        let people = AllowedPeople { allowed_users: vec![ANN.into()], ..AllowedPeople::default() };
        let setting = AdapterContext { identity: Identity::default(), state: place.path().to_owned() };
        let config = MatrixConfig { people, ..MatrixConfig::default() };
        let listed = |ids: &[&str]| MatrixConfig {
            room_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            ..config.clone()
        };
        let forged = ["!abc/x:evil.example", "!abc/$x:evil.example"];
        for config in [config.clone(), listed(&forged), listed(&["!abc"])] {
            let bot = MatrixBot::new(config, setting.clone()).expect("a bot");
            assert!(bot.is_served("!abc") == bot.follows_invitation("!abc", ANN));
            for room in forged {
                assert_eq!(Room::new("matrix", room).above(), Some(Room::new("matrix", "!abc")));
                assert!(!bot.is_served(room) && !bot.follows_invitation(room, ANN), "{room}");
            }
        }
    }
}

//! The state that the parts of the adapter share: settings, the client once logged in, and the memory.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use matrix_sdk::{Client, RoomState};
use parking_lot::RwLock;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    MatrixConfig, client::AccountFiles, config::can_be_named, errors::failure, pace::SendPacer,
    receipts::ReadReceipts, rooms::RoomAddress, sent::SentMessages, typing::TypingNotices,
};
use crate::{
    AdapterContext, AdapterError, AllowedPeople, Identity,
    matrix::{notices, saved_state::MatrixMemory},
};

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
    // Changes with `bot.toml`; `config.people` holds the list of the start.
    people: RwLock<AllowedPeople>,
    // A watch, so that a message sent during a new login waits for the new client instead of failing.
    client: watch::Sender<Option<Client>>,
    stop: CancellationToken,
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
            client: watch::Sender::new(None),
            stop: CancellationToken::new(),
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

    /// Whether the bot acts in this room: one of bot.toml. Without any in bot.toml, every room that it is in.
    pub(super) fn is_served(&self, room: &str) -> bool {
        let listed = &self.config.room_ids;
        can_be_named(room) && (listed.is_empty() || listed.iter().any(|id| id == room))
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
    use crate::Room;

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

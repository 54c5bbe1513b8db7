//! Matrix as an [`Adapter`].

use std::sync::Arc;

use async_trait::async_trait;
use matrix_sdk::Client;
use tokio::{sync::Mutex, time::Duration};

use super::{
    ApprovalMode, MatrixConfig,
    bot::MatrixBot,
    client::{self, StoreLock},
    direct, identity, media, quotations,
    rooms::RoomAddress,
    send, sync,
};
use crate::{
    Activity, Adapter, AdapterContext, AdapterError, AllowedPeople, Attachment, Capabilities, ChoiceForm,
    Inbox, MessageId, Outgoing, Quotation, Room, SentFile,
};

// The shortest time between two edits of one message. On a homeserver that limits the bot it
// becomes five seconds, by `RateLimited`.
const EDIT: Duration = Duration::from_secs(1);
// An event may have 64 KiB, and an edit carries its text four times: `body` and `formatted_body`,
// both again in `m.new_content`.
// <https://spec.matrix.org/v1.15/client-server-api/#size-limits>
const MAX_LEN: usize = 8_000;

/// A bot's account on a homeserver.
pub struct Matrix {
    bot: Arc<MatrixBot>,
    // Held across reconnects until the adapter is dropped: another process must not get the store in between.
    lock: Mutex<Option<StoreLock>>,
}

impl Matrix {
    /// An adapter that has not connected yet; its store is made below `setting.state`. Fails with [`AdapterError::Config`],
    /// which names the wrong key.
    pub fn new(config: MatrixConfig, setting: AdapterContext) -> Result<Arc<Self>, AdapterError> {
        config.check()?;
        let bot = MatrixBot::new(config, setting)?;
        Ok(Arc::new(Self { bot, lock: Mutex::new(None) }))
    }

    /// Logs in and sets encryption up, unless that is done.
    async fn connect(&self) -> Result<Client, AdapterError> {
        let mut lock = self.lock.lock().await;
        // `prepare` may have connected already, and a store must have only one client.
        if let Some(client) = self.bot.client() {
            return Ok(client);
        }
        if lock.is_none() {
            *lock = Some(StoreLock::acquire(&self.bot.files)?);
        }
        let client = client::open(&self.bot.config, &self.bot.files, &self.bot.memory).await?;
        identity::set_up_identity(&self.bot.config, &self.bot.files, &client).await?;
        self.name_account(&client).await;
        // Published last: messages that wait for a client must not go out before encryption is set up.
        self.bot.set_client(Some(client.clone()));
        Ok(client)
    }

    // People mention the bot by its display name, and apps complete only a name that the account has. A name that somebody
    // chose for the account stays.
    async fn name_account(&self, client: &Client) {
        let wanted = &self.bot.identity.display_name;
        let local = client.user_id().map(|id| id.localpart().to_owned()).unwrap_or_default();
        let named = match client.account().get_display_name().await {
            Ok(name) if name.as_deref().is_none_or(|name| name == local) && !wanted.is_empty() => {
                client.account().set_display_name(Some(wanted)).await
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = named {
            tracing::warn!(%error, "the account's display name could not be set");
        }
    }
}

#[async_trait]
impl Adapter for Matrix {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edit: Some(EDIT),
            choices: match self.bot.config.approvals {
                ApprovalMode::Reactions => ChoiceForm::Reactions,
                ApprovalMode::Replies => ChoiceForm::None,
            },
            activity: true,
            files: true,
            history: true,
            private_replies: false,
            local: false,
            max_len: MAX_LEN,
        }
    }

    async fn prepare(&self) -> Result<(), AdapterError> {
        self.connect().await.map(drop)
    }

    fn set_allowed_people(&self, people: &AllowedPeople) {
        self.bot.set_allowed_people(people);
    }

    async fn run(&self, inbox: Inbox) -> Result<(), AdapterError> {
        let client = self.connect().await?;
        sync::run(&self.bot, &client, &inbox).await
    }

    async fn send(&self, room: &Room, message: &Outgoing) -> Result<MessageId, AdapterError> {
        send::send_message(&self.bot, room, message).await
    }

    async fn edit(&self, room: &Room, id: &MessageId, message: &Outgoing) -> Result<(), AdapterError> {
        send::edit(&self.bot, room, id, message).await
    }

    async fn direct_room(&self, person: &str) -> Result<Room, AdapterError> {
        direct::room_with(&self.bot, person).await
    }

    async fn people_in(&self, room: &Room) -> Result<Vec<Arc<str>>, AdapterError> {
        direct::people_in(&self.bot, room).await
    }

    async fn upload(&self, room: &Room, file: &Attachment) -> Result<MessageId, AdapterError> {
        send::upload(&self.bot, room, file).await
    }

    fn permalink(&self, room: &Room, message: &MessageId) -> Option<String> {
        self.bot.place(room).ok()?.permalink(message)
    }

    fn known_as(&self, room: &Room) -> Room {
        RoomAddress::parse(room).map_or_else(|_| room.clone(), |place| self.bot.name_of(&place))
    }

    async fn fetch_file(&self, file: &SentFile, max: u64) -> Result<Vec<u8>, AdapterError> {
        media::fetch(&self.bot, file, max).await
    }

    async fn read_thread(
        &self,
        room: &Room,
        before: &MessageId,
        max: usize,
    ) -> Result<Vec<Quotation>, AdapterError> {
        quotations::read_thread(&self.bot, &self.bot.place(room)?, before, max).await
    }

    async fn activity(&self, room: &Room, activity: &Activity) -> Result<(), AdapterError> {
        super::typing::set_activity(&self.bot, room, activity)
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        self.bot.stop();
    }
}

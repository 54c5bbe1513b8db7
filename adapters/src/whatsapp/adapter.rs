//! WhatsApp as an [`Adapter`].

use std::{
    collections::HashMap,
    fs, io,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::{
    NAME, WhatsAppConfig,
    contacts::ContactBook,
    graph::{ErrorMeaning, GraphApi, GraphError},
    incoming::IncomingQueue,
    pace::PairPacer,
    sent::RecentMessages,
};
use crate::{
    Activity, ActivityState, Adapter, AdapterContext, AdapterError, Attachment, Capabilities, ChoiceForm,
    Identity, Inbox, MessageId, Outgoing, Room, SentFile,
    delivery::webhook,
    whatsapp::{notices, operator_notes::DeliveryNotes},
};

// WhatsApp shows a typing mark for at most 25 s, so the bot renews it then.
// <https://developers.facebook.com/docs/whatsapp/cloud-api/typing-indicators>
const TYPING: Duration = Duration::from_secs(25);
const PATHS: &[&str] = &["/webhook/whatsapp"];

/// The source of the time, so that tests can move past the 24-hour window.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

pub struct WhatsApp {
    // For tasks that outlive a call. Weak, since a strong reference to itself would never be dropped.
    pub(super) me: Weak<Self>,
    pub(super) config: WhatsAppConfig,
    pub(super) identity: Identity,
    pub(super) clock: Clock,
    /// Where older versions kept people's files.
    old_files: PathBuf,
    pub(super) graph: GraphApi,
    pub(super) notes: DeliveryNotes,
    pub(super) queue: IncomingQueue,
    pub(super) contacts: Mutex<ContactBook>,
    pub(super) sending: SendingState,
    typing: Mutex<HashMap<Room, AbortOnDropHandle<()>>>,
    account: AccountState,
}

#[derive(Default)]
pub(super) struct SendingState {
    pub pace: Mutex<PairPacer>,
    pub recent: Mutex<RecentMessages>,
    // One sender at a time for each person: HTTP calls in parallel may overtake each other.
    pub locks: Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<()>>>>,
    pub tasks: TaskTracker,
    // Part of the ids of held messages, which Meta does not know yet.
    pub held: AtomicU64,
}

#[derive(Default)]
struct AccountState {
    token_refused: watch::Sender<bool>,
    has_menu: AtomicBool,
}

impl WhatsApp {
    /// An adapter on the machine's clock; fails with [`AdapterError::Config`] for the wrong key.
    pub fn new(config: WhatsAppConfig, setting: AdapterContext) -> Result<Arc<Self>, AdapterError> {
        Self::with_clock(config, setting, Arc::new(SystemTime::now))
    }

    /// Like [`WhatsApp::new`], on another clock, which decides when a person's 24-hour window closes.
    pub fn with_clock(
        config: WhatsAppConfig,
        setting: AdapterContext,
        clock: Clock,
    ) -> Result<Arc<Self>, AdapterError> {
        config.check()?;
        let graph = GraphApi::new(&config.api_url, &config.phone_number_id, config.access_token.clone());
        let graph =
            graph.map_err(|why| AdapterError::Config { key: "whatsapp.api_url", why: format!("{why}.") })?;
        let contacts = ContactBook::open(&setting.state, config.people.clone()).map_err(|error| {
            AdapterError::Config {
                key: "whatsapp",
                why: format!(
                    "its folder `{}` cannot be used: {error}; fix its owner or mode.",
                    setting.state.display()
                ),
            }
        })?;
        let notes = DeliveryNotes::default();
        contacts.waiting().into_iter().for_each(|(person, count)| notes.set_held(&person, count));
        Ok(Arc::new_cyclic(|me| Self {
            me: me.clone(),
            config,
            identity: setting.identity,
            clock,
            old_files: setting.state.join("files"),
            graph,
            notes,
            queue: IncomingQueue::default(),
            contacts: Mutex::new(contacts),
            sending: SendingState::default(),
            typing: Mutex::default(),
            account: AccountState::default(),
        }))
    }

    /// Converts a failed call, and reports problems of the account or the token to the operator as well.
    pub(super) fn adapter_error(&self, error: GraphError) -> AdapterError {
        let (meaning, retry_after) = match &error {
            GraphError::Refused { status, failure, retry_after } => {
                (ErrorMeaning::of(failure.code, *status), *retry_after)
            }
            GraphError::Unreachable(_) => (ErrorMeaning::Passing, None),
            GraphError::Garbled(_) => (ErrorMeaning::Passing, None),
            GraphError::TooLarge(_) => (ErrorMeaning::Ours, None),
        };
        match meaning {
            ErrorMeaning::Token => {
                self.account.token_refused.send_replace(true);
                AdapterError::Rejected(notices::TOKEN_REFUSED.into())
            }
            ErrorMeaning::Account => {
                self.notes.set_account(Some(format!("Meta limits this account: {error}")));
                AdapterError::Rejected(error.to_string())
            }
            ErrorMeaning::Pair | ErrorMeaning::Throughput => {
                AdapterError::RateLimited { retry_after: retry_after.unwrap_or(Duration::from_secs(1)) }
            }
            ErrorMeaning::Passing => AdapterError::Unreachable(error.to_string()),
            ErrorMeaning::Window | ErrorMeaning::Person | ErrorMeaning::Template | ErrorMeaning::Ours => {
                tracing::error!(%error, "a call to WhatsApp was refused");
                AdapterError::Rejected(error.to_string())
            }
        }
    }

    // The menu is set once per start, since Meta stores it. A failure there must not stop the messenger.
    async fn check_account(&self) -> Result<(), GraphError> {
        let number = self.graph.number().await?;
        self.account.token_refused.send_replace(false);
        let shown = number["display_phone_number"].as_str().unwrap_or_default();
        tracing::info!(number = shown, "WhatsApp's number answers");
        if !self.account.has_menu.load(Ordering::Relaxed) {
            match self.graph.set_menu(&self.identity.commands).await {
                Ok(()) => self.account.has_menu.store(true, Ordering::Relaxed),
                Err(error) => {
                    // The next connection tries again; until then commands work without the menu.
                    tracing::warn!(%error, "the menu of commands could not be set; commands work all the same")
                }
            }
        }
        Ok(())
    }

    // Meta calls this when the operator registers the webhook, and expects the bare challenge.
    // <https://developers.facebook.com/docs/graph-api/webhooks/getting-started#verification-requests>
    fn answer_registration(&self, query: &str) -> Response<Bytes> {
        let pairs: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
        let field = |name: &str| pairs.get(name).map(AsRef::as_ref).unwrap_or_default();
        let word = super::signature::secrets_match(&self.config.verify_token, field("hub.verify_token"));
        if field("hub.mode") == "subscribe" && word && !field("hub.challenge").is_empty() {
            tracing::info!("the webhook was registered");
            return webhook::respond(StatusCode::OK, field("hub.challenge").to_owned());
        }
        webhook::respond(StatusCode::FORBIDDEN, "The verify token does not match.")
    }
}

async fn keep_typing(messenger: Weak<WhatsApp>, message: String) {
    loop {
        tokio::time::sleep(TYPING).await;
        let Some(messenger) = messenger.upgrade() else { return };
        if let Err(error) = messenger.graph.read(&message, true).await {
            tracing::debug!(%error, "the typing mark was not renewed");
        }
    }
}

#[async_trait]
impl Adapter for WhatsApp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // The Cloud API has no call that edits or deletes a sent message.
            edit: None,
            choices: ChoiceForm::Buttons { max: super::compose::ROWS_MAX },
            activity: true,
            files: true,
            // Meta repeats undelivered messages for up to seven days, but has no call that asks for older ones.
            history: false,
            private_replies: false,
            local: false,
            max_len: super::marks::TEXT_MAX,
        }
    }

    async fn direct_room(&self, person: &str) -> Result<Room, AdapterError> {
        Ok(Room::new(NAME, person))
    }

    // Every conversation is with one person, by whose entry on the list it is called.
    async fn people_in(&self, room: &Room) -> Result<Vec<Arc<str>>, AdapterError> {
        Ok(vec![room.id().into()])
    }

    fn set_allowed_people(&self, people: &crate::AllowedPeople) {
        self.contacts.lock().set_allowed_people(people.clone());
    }

    async fn prepare(&self) -> Result<(), AdapterError> {
        if let Err(error) = fs::remove_dir_all(&self.old_files)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %self.old_files.display(), "people's files of an older version stay");
        }
        let Err(error) = self.check_account().await else { return Ok(()) };
        let GraphError::Refused { status, failure, .. } = &error else {
            return Err(self.adapter_error(error));
        };
        let wrong = |key, why: String| Err(AdapterError::Config { key, why });
        match ErrorMeaning::of(failure.code, *status) {
            ErrorMeaning::Token => wrong(
                "whatsapp.access_token",
                format!(
                    "Meta refuses it: {failure}. Make a token of a system user that does not expire; docs/whatsapp.md shows where."
                ),
            ),
            ErrorMeaning::Account => wrong(
                "whatsapp.access_token",
                format!(
                    "Meta says {failure}. The token needs the permission `whatsapp_business_messaging` and the system user this \
                     WhatsApp account."
                ),
            ),
            ErrorMeaning::Ours => wrong(
                "whatsapp.phone_number_id",
                format!(
                    "Meta does not know it, or not with this token: {failure}. Copy the Phone number ID from the app's page."
                ),
            ),
            _ => Err(self.adapter_error(error)),
        }
    }

    async fn run(&self, inbox: Inbox) -> Result<(), AdapterError> {
        self.check_account().await.map_err(|error| self.adapter_error(error))?;
        inbox.set_connected();
        self.notes.attach(inbox.clone());
        // Every later call would be refused as well, so the connection counts as lost and `status` shows the reason.
        let mut refused = self.account.token_refused.subscribe();
        tokio::select! {
            ended = self.deliver_queued(&inbox) => ended,
            _ = refused.wait_for(|refused| *refused) => Err(AdapterError::Rejected(notices::TOKEN_REFUSED.into())),
        }
    }

    async fn send(&self, room: &Room, message: &Outgoing) -> Result<MessageId, AdapterError> {
        self.send_message(room, message).await
    }

    async fn upload(&self, room: &Room, file: &Attachment) -> Result<MessageId, AdapterError> {
        self.send_file(room, file).await
    }

    async fn fetch_file(&self, file: &SentFile, max: u64) -> Result<Vec<u8>, AdapterError> {
        self.download(&file.reference, max).await
    }

    async fn activity(&self, room: &Room, activity: &Activity) -> Result<(), AdapterError> {
        // While a question waits, the person is to write, so nothing is typing.
        let works = activity.state == ActivityState::Working;
        // First, so that a renewal of the previous message cannot follow this one.
        self.typing.lock().remove(room);
        let message = activity.after.as_str().to_owned();
        self.graph.read(&message, works).await.map_err(|error| self.adapter_error(error))?;
        if works {
            let renewal = AbortOnDropHandle::new(tokio::spawn(keep_typing(self.me.clone(), message)));
            self.typing.lock().insert(room.clone(), renewal);
        }
        Ok(())
    }
}

#[async_trait]
impl crate::Webhooks for WhatsApp {
    fn paths(&self) -> &'static [&'static str] {
        PATHS
    }

    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        match *request.method() {
            Method::GET => self.answer_registration(request.uri().query().unwrap_or_default()),
            Method::POST => self.handle_notification(&request),
            _ => webhook::respond(StatusCode::METHOD_NOT_ALLOWED, "GET and POST only."),
        }
    }
}

//! Slack as an [`Adapter`].

use std::sync::Arc;

use async_trait::async_trait;
use slack_morphism::{SlackSigningSecret, signature_verifier::SlackEventSignatureVerifier};
use tokio::time::Instant;

use super::{
    ConnectionMode, SlackConfig,
    manifest::NEEDED_SCOPES,
    pace::FRAME_INTERVAL,
    render::{BUTTONS_MAX, TEXT_MAX},
    send::MessageSender,
    web::WebApi,
};
use crate::{
    Activity, Adapter, AdapterContext, AdapterError, AllowedPeople, Attachment, Capabilities, ChoiceForm,
    Inbox, MessageId, Outgoing, Quotation, Room, SentFile,
    slack::{
        call_failure::CallFailure,
        connection_watch::ConnectionWatch,
        conversation::{ConversationAddress, is_ts, ts_of},
        ephemeral::is_shown_to_one,
        incoming::EventReceiver,
        notices, sent_files,
        thread_history::ThreadHistory,
    },
};

/// Slack, as one app in one workspace or organisation.
pub struct Slack {
    config: SlackConfig,
    web: Arc<WebApi>,
    receiver: Arc<EventReceiver>,
    sender: MessageSender,
    history: ThreadHistory,
    watch: ConnectionWatch,
    verifier: Option<SlackEventSignatureVerifier>,
}

impl Slack {
    /// An adapter with these settings, not yet connected. Fails with [`AdapterError::Config`] for a wrong key.
    pub fn new(config: SlackConfig, setting: AdapterContext) -> Result<Arc<Self>, AdapterError> {
        config.check()?;
        let web = Arc::new(WebApi::new(&config)?);
        let receiver = Arc::new(EventReceiver::new(config.clone(), setting, web.clone()));
        let secret = SlackSigningSecret::new(config.signing_secret.reveal().to_owned());
        let signed = !config.signing_secret.is_empty();
        Ok(Arc::new(Self {
            sender: MessageSender::new(web.clone(), receiver.clone()),
            history: ThreadHistory::new(web.clone(), receiver.clone()),
            web,
            receiver,
            watch: ConnectionWatch::default(),
            verifier: signed.then(|| SlackEventSignatureVerifier::new(&secret)),
            config,
        }))
    }

    pub(super) fn config(&self) -> &SlackConfig {
        &self.config
    }

    pub(super) fn web(&self) -> &WebApi {
        &self.web
    }

    pub(super) fn receiver(&self) -> &EventReceiver {
        &self.receiver
    }

    pub(super) fn watch(&self) -> &ConnectionWatch {
        &self.watch
    }

    pub(super) fn verifier(&self) -> Option<&SlackEventSignatureVerifier> {
        self.verifier.as_ref()
    }

    /// Makes [`Slack::run_checks`] try the token at once.
    pub(super) fn token_may_be_gone(&self) {
        self.sender.token_refused.notify_one();
    }

    pub(super) async fn token_refused(&self) {
        self.sender.token_refused.notified().await;
    }

    async fn serve(&self, inbox: &Inbox) -> AdapterError {
        match self.config.mode {
            ConnectionMode::Socket => self.serve_socket(inbox).await,
            ConnectionMode::Http => {
                // In HTTP mode Slack connects to us, so the token that `identify` has tried is all there is to prove.
                inbox.set_connected();
                std::future::pending().await
            }
        }
    }
}

#[async_trait]
impl Adapter for Slack {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edit: Some(FRAME_INTERVAL),
            choices: ChoiceForm::Buttons { max: BUTTONS_MAX },
            activity: true,
            files: true,
            // Slack repeats undelivered events for some minutes; that is too short to count as history.
            history: false,
            private_replies: true,
            local: false,
            max_len: TEXT_MAX,
        }
    }

    async fn prepare(&self) -> Result<(), AdapterError> {
        let config = |key, why| Err(AdapterError::Config { key, why });
        match self.identify().await {
            Err(CallFailure::Auth(code)) => return config("slack.bot_token", notices::bot_token(&code)),
            result => result.map_err(|trouble| trouble.in_channel("the workspace"))?,
        }
        // A missing scope shows only in the call that needs it, perhaps days later, so all are checked at the start.
        if let Some(scopes) = self.missing_scopes(NEEDED_SCOPES).await {
            return config("slack.bot_token", notices::missing_scopes(&scopes));
        }
        if self.config.mode == ConnectionMode::Http {
            return Ok(());
        }
        // `run` connects to this address, since Slack limits how many are asked for.
        match self.socket_url().await.map(|url| self.watch.keep_address(url, Instant::now())) {
            Err(CallFailure::Auth(code)) => config("slack.app_token", notices::app_token(&code)),
            Err(CallFailure::Scope(_)) => config("slack.app_token", notices::app_token("missing_scope")),
            result => result.map_err(|trouble| trouble.in_channel("Socket Mode")),
        }
    }

    fn set_allowed_people(&self, people: &AllowedPeople) {
        self.receiver.set_people(people);
    }

    async fn run(&self, inbox: Inbox) -> Result<(), AdapterError> {
        if let Err(trouble) = self.identify().await {
            return Err(trouble.in_channel("the workspace"));
        }
        tokio::select! {
            // The inbox is closed: the bot is shutting down.
            () = self.receiver.deliver(&inbox) => Ok(()),
            error = self.serve(&inbox) => Err(error),
            error = self.run_checks(&inbox) => Err(error),
            () = self.sender.remove_marks() => Ok(()),
        }
    }

    async fn send(&self, room: &Room, message: &Outgoing) -> Result<MessageId, AdapterError> {
        self.sender.send(room, message).await
    }

    async fn edit(&self, room: &Room, id: &MessageId, message: &Outgoing) -> Result<(), AdapterError> {
        self.sender.edit(room, id, message).await
    }

    async fn direct_room(&self, person: &str) -> Result<Room, AdapterError> {
        self.open_direct(person).await
    }

    async fn people_in(&self, room: &Room) -> Result<Vec<Arc<str>>, AdapterError> {
        self.members(&ConversationAddress::of(room)?).await
    }

    async fn upload(&self, room: &Room, file: &Attachment) -> Result<MessageId, AdapterError> {
        self.sender.upload(room, file).await
    }

    async fn fetch_file(&self, file: &SentFile, max: u64) -> Result<Vec<u8>, AdapterError> {
        sent_files::fetch(&self.web, file, max).await
    }

    async fn read_thread(
        &self,
        room: &Room,
        before: &MessageId,
        max: usize,
    ) -> Result<Vec<Quotation>, AdapterError> {
        self.history.read(&ConversationAddress::of(room)?, before, max).await
    }

    async fn activity(&self, room: &Room, activity: &Activity) -> Result<(), AdapterError> {
        self.sender.activity(room, activity).await
    }

    fn open_thread(&self, room: &Room, message: &MessageId) -> Option<Room> {
        let place = ConversationAddress::of(room).ok()?;
        // In a conversation of two, answers are in nobody's way, and a thread would only hide them.
        if place.is_direct() || place.thread.is_some() || is_shown_to_one(message) || !is_ts(message.as_str())
        {
            return None;
        }
        // Recorded before anything is posted there: a person may write in the thread before the bot does.
        let place = ConversationAddress { thread: Some(message.as_str().to_owned()), ..place };
        self.receiver.threads.add(&place);
        Some(place.room())
    }

    fn permalink(&self, room: &Room, message: &MessageId) -> Option<String> {
        let workspace = self.receiver.bot_identity().workspace;
        let place = ConversationAddress::of(room).ok()?;
        place.permalink(&workspace, ts_of(message).ok()?)
    }
}

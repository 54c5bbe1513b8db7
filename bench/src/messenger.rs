//! A messenger in memory that records the bot's messages and their times: an adapter at the lowest possible cost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use adapters::{
    Adapter, AdapterError, Addressed, Capabilities, ChoiceForm, Identity, Inbox, Incoming, MessageId,
    Outgoing, PersonAct, Room, Sender, Tone, address, markdown,
};
use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use crate::machine::monotonic;

pub const NAME: &str = "bench";

/// The only person on it.
pub const PERSON: &str = "ann";

/// A message that the bot sent.
pub struct Shown {
    /// When the bot called the adapter, by [`monotonic`].
    pub at: u64,
    /// The room id, without the messenger's name.
    pub room: String,
    pub text: String,
    pub tone: Tone,
}

/// The messenger. It does not limit the rate of edits.
pub struct Messenger {
    inbox: watch::Sender<Option<Inbox>>,
    shown: mpsc::UnboundedSender<Shown>,
    identity: Identity,
    next_id: AtomicU64,
    renders: AtomicBool,
}

impl Messenger {
    /// The messenger, and a channel with the bot's messages.
    pub fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Shown>) {
        // Unbounded, so that a figure that reads slowly does not slow the bot.
        let (shown, receiver) = mpsc::unbounded_channel();
        let identity =
            Identity { display_name: "Timmy".into(), prefixes: vec!["!".into()], ..Identity::default() };
        let messenger = Self {
            inbox: watch::Sender::new(None),
            shown,
            identity,
            next_id: AtomicU64::new(1),
            renders: AtomicBool::new(false),
        };
        (Arc::new(messenger), receiver)
    }

    /// The person sends a direct message.
    pub async fn say(&self, text: &str) -> anyhow::Result<()> {
        self.say_in("room", text).await
    }

    /// The person sends a message in this room.
    pub async fn say_in(&self, room: &str, text: &str) -> anyhow::Result<()> {
        // There is no inbox before the bot runs the adapter.
        let mut inbox = self.inbox.subscribe();
        let inbox = inbox.wait_for(Option::is_some).await?.clone();
        let (addressed, text) =
            address::strip(text, &self.identity, &[]).unwrap_or((Addressed::Direct, text.to_owned()));
        let incoming = Incoming {
            id: self.id(),
            room: Room::new(NAME, room),
            sender: Sender { id: PERSON.into(), name: PERSON.into(), is_bot: false },
            act: PersonAct::Said { text },
            addressed: Some(addressed),
            shared: false,
            reply_to: None,
            sent_at: SystemTime::now(),
            enclosed: adapters::Enclosed::default(),
        };
        match inbox {
            Some(inbox) if inbox.deliver(incoming).await => Ok(()),
            _ => anyhow::bail!("the bot has ended"),
        }
    }

    /// Renders each message as plain text from now on, as a messenger without formatting does.
    pub fn render(&self) {
        self.renders.store(true, Ordering::Relaxed);
    }

    fn id(&self) -> MessageId {
        MessageId::new(format!("m{}", self.next_id.fetch_add(1, Ordering::Relaxed)))
    }

    fn show(&self, room: &Room, message: &Outgoing) {
        let at = monotonic();
        let text = match self.renders.load(Ordering::Relaxed) {
            true => markdown::plain(&message.markdown),
            false => message.markdown.clone(),
        };
        let shown = Shown { at, room: room.id().to_owned(), text, tone: message.tone };
        // The receiver is gone when the figure is measured.
        let _ = self.shown.send(shown);
    }
}

#[async_trait]
impl Adapter for Messenger {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edit: Some(Duration::ZERO),
            choices: ChoiceForm::None,
            activity: false,
            files: false,
            history: false,
            private_replies: false,
            local: false,
            max_len: 40_000,
        }
    }

    async fn run(&self, inbox: Inbox) -> Result<(), AdapterError> {
        inbox.set_connected();
        self.inbox.send_replace(Some(inbox));
        std::future::pending().await
    }

    async fn send(&self, room: &Room, message: &Outgoing) -> Result<MessageId, AdapterError> {
        self.show(room, message);
        Ok(self.id())
    }

    async fn edit(&self, room: &Room, _id: &MessageId, message: &Outgoing) -> Result<(), AdapterError> {
        self.show(room, message);
        Ok(())
    }
}

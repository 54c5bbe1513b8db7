//! The interface of a messenger: rooms, messages in and out, and the one trait every messenger implements.
//!
//! Nothing here knows of stories, of Claude or of commands. A missing ability is visible in a [`Capabilities`] field or as
//! [`AdapterError::Unsupported`]; never an `Ok` that did nothing.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{AdapterHealth, AllowedPeople};

/// One conversation on one messenger; a thread is a room of its own.
///
/// `id` is opaque: only the adapter that made it reads it. Written `adapter:id`, as in `bot.toml`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Room {
    adapter: Arc<str>,
    id: Arc<str>,
}

impl Room {
    /// A room of the adapter with this [`Adapter::name`].
    pub fn new(adapter: impl Into<Arc<str>>, id: impl Into<Arc<str>>) -> Self {
        Self { adapter: adapter.into(), id: id.into() }
    }

    /// Reads the form `adapter:id` that `bot.toml` and the store use; the id may hold colons itself.
    pub fn parse(text: &str) -> Option<Self> {
        let (adapter, id) = text.split_once(':')?;
        (!adapter.is_empty() && !id.is_empty()).then(|| Self::new(adapter, id))
    }

    /// The name of the adapter that serves this room.
    pub fn adapter(&self) -> &str {
        &self.adapter
    }

    /// The adapter's own id of the conversation.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The id of the conversation that the room is, or is a thread of: messengers with threads write `conversation/thread`.
    pub fn conversation(&self) -> &str {
        self.id.split('/').next().unwrap_or_default()
    }

    /// The conversation that the room is a thread of; `None` for a room that is no thread.
    pub fn above(&self) -> Option<Self> {
        self.id.contains('/').then(|| Self::new(self.adapter.clone(), self.conversation()))
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.adapter, self.id)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({self})")
    }
}

/// A messenger's id of one message, unique within its room; opaque outside the adapter that made it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageId(Arc<str>);

impl MessageId {
    /// Wraps the messenger's own id.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The messenger's own id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who wrote a message, as the messenger vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The id that allow-lists hold (`whoami` prints it).
    pub id: Arc<str>,
    /// How people call this person; falls back to the id.
    pub name: Arc<str>,
    /// Whether the messenger marks the sender as a bot (ourselves included). Bots are never obeyed.
    pub is_bot: bool,
}

/// How a message addresses the bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Addressed {
    /// A conversation of two: no address needed.
    Direct,
    /// A configured prefix such as `!` came first; the prefix is stripped.
    Prefix,
    /// The display name, user name or a real mention; the name is stripped where it came first.
    Name,
    /// A reply to one of the bot's messages.
    Reply,
    /// The messenger's own command form (`/storkit status`).
    Slash,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonAct {
    /// Wrote `text`; the address is already stripped from it.
    Said {
        /// The text without its address, trimmed.
        text: String,
    },
    /// Picked a [`Choice`] (button, list row, number or reaction) of the bot's message `on`.
    Chose {
        /// The message that offered the choice.
        on: MessageId,
        /// The [`Choice::key`] that was picked.
        key: String,
    },
    /// Changed an earlier message of theirs. The adapter vouches that the sender wrote that message.
    Edited {
        /// The message that was changed.
        message: MessageId,
        /// Its text now, without its address, trimmed.
        text: String,
    },
    /// Took back an earlier message of theirs.
    Redacted {
        /// The message that is gone.
        message: MessageId,
    },
}

/// One thing a person did in a room, as an adapter hands it to the bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The messenger's id; the same id delivered twice is the same act.
    pub id: MessageId,
    /// Where it was done.
    pub room: Room,
    pub sender: Sender,
    pub act: PersonAct,
    /// How it addresses the bot; `None` for talk among people, which only ambient rooms act on.
    pub addressed: Option<Addressed>,
    /// Whether more than one person can read along.
    pub shared: bool,
    /// The bot's message it replies to, if any.
    pub reply_to: Option<MessageId>,
    /// When the person did it, by the messenger's clock.
    pub sent_at: SystemTime,
    /// What came along with a text.
    pub enclosed: Enclosed,
}

/// What came along with a person's text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enclosed {
    /// Fetched with [`Adapter::fetch_file`] when a prompt needs them.
    pub files: Vec<SentFile>,
    /// Messages that it quotes or forwards.
    pub quotes: Vec<Quotation>,
}

/// A file, image or voice message that a person sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentFile {
    /// As its sender named it; may be empty, and is never a path to trust.
    pub name: String,
    /// In bytes, where the messenger says it.
    pub size: Option<u64>,
    /// The messenger's way to it; opaque outside the adapter.
    pub reference: String,
}

/// Words of another message inside a person's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotation {
    pub author: QuotedAuthor,
    pub text: String,
}

/// Who wrote a quoted message, as the messenger vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuotedAuthor {
    Bot,
    Person {
        id: Arc<str>,
        name: Arc<str>,
    },
    /// Nobody vouches for it: the message was forwarded.
    Unknown,
}

impl Enclosed {
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.quotes.is_empty()
    }
}

/// The kind of an outgoing message, from which a messenger chooses its form (and a script its exit code).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tone {
    /// An answer to a person.
    #[default]
    Answer,
    /// Status that needs nobody's attention: htop, progress, notices.
    Notice,
    /// A question that waits for a person: worth a notification.
    Question,
    /// An answer that reports a failure.
    Failure,
}

/// One answer a person can pick. Shown as a button, reaction or number, as the messenger can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Comes back in [`PersonAct::Chose`]; at most 200 bytes (Slack's and WhatsApp's limits are 255 and 256).
    pub key: String,
    /// The text on the button; within 20 characters (WhatsApp's limit).
    pub label: String,
    /// The choice's sign where only reactions exist.
    pub emoji: Option<String>,
}

/// A message to a room, written once in Markdown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// CommonMark with tables and strikethrough; raw HTML is shown as text.
    pub markdown: String,
    pub tone: Tone,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// The choices to offer; empty for none. On an edit, empty removes the choices.
    pub choices: Vec<Choice>,
    /// Whether edits will follow; false on the last state, so that a terminal knows what to redraw and what to print.
    #[serde(default)]
    pub live: bool,
    /// People to notify, by [`Sender::id`]; nobody else is pinged, whatever the text contains.
    pub mentions: Vec<Arc<str>>,
    /// It holds a secret: no copy of it is kept on this machine's disk.
    #[serde(default)]
    pub is_secret: bool,
}

impl Outgoing {
    /// An answer with nothing but text.
    pub fn text(markdown: impl Into<String>) -> Self {
        Self { markdown: markdown.into(), ..Self::default() }
    }

    /// The same message with another tone.
    #[must_use]
    pub fn with_tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    /// The same message as a reply to `id`.
    #[must_use]
    pub fn replying_to(mut self, id: Option<MessageId>) -> Self {
        self.reply_to = id;
        self
    }
}

/// A file to show in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// File name with its ending.
    pub name: String,
    pub bytes: Vec<u8>,
    /// A caption of one line.
    pub caption: String,
}

/// How a messenger shows [`Choice`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChoiceForm {
    /// It cannot: the text must name the words to type.
    None,
    /// Numbers in the text that a person types.
    Numbers,
    /// Buttons or list rows, at most `max` of them.
    Buttons {
        /// The most that one message holds.
        max: usize,
    },
    /// Reactions on the message.
    Reactions,
}

/// The abilities of a messenger. The bot asks here and never for a messenger's name.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// The shortest time between two edits of one message, or `None` where nothing can be edited.
    pub edit: Option<Duration>,
    pub choices: ChoiceForm,
    /// Whether [`Adapter::activity`] shows anything (typing, a spinner).
    pub activity: bool,
    /// Whether [`Adapter::upload`] works.
    pub files: bool,
    /// Whether messages sent while the bot was away arrive later.
    pub history: bool,
    /// Whether a reply to a slash command, or to a picked choice, is seen by that person alone.
    pub private_replies: bool,
    /// Whether its people sit at this machine, with the main checkout before them.
    pub local: bool,
    /// The longest message, in bytes of the rendered form.
    pub max_len: usize,
}

/// The present work of a room, for typing marks and for scripts that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    pub state: ActivityState,
    /// The last message the room has accepted; all before it are answered, queued or running.
    pub after: MessageId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActivityState {
    /// Nothing runs and nothing is queued.
    Idle,
    /// A turn runs or waits to be retried.
    Working,
    /// A question waits for a person.
    Asking,
}

/// Why a call to a messenger failed.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// The messenger has no such ability; ask [`Adapter::capabilities`] first.
    #[error("this messenger cannot do that: {0}")]
    Unsupported(&'static str),
    /// A setting is wrong; the bot does not start and shows this sentence.
    #[error("`{key}` in bot.toml: {why}")]
    Config {
        /// The dotted key, e.g. `slack.bot_token`.
        key: &'static str,
        /// The fault and its remedy, as a sentence.
        why: String,
    },
    /// Too fast; the message was not accepted.
    #[error("rate limited, again in {} s", .retry_after.as_secs())]
    RateLimited {
        /// How long the messenger asks to wait.
        retry_after: Duration,
    },
    /// Not reachable now; worth another try.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// Permanently refused: the same call will fail again.
    #[error("refused: {0}")]
    Rejected(String),
}

/// A messenger. Implement the first four methods; each further one only with its capability.
///
/// Reconnecting, splitting, repeats, allow-lists, commands, permission wording and live updates are
/// common and not an adapter's business; `docs/adapters.md` shows how to write one.
#[async_trait]
pub trait Adapter: Send + Sync + 'static {
    /// The constant name that [`Room`]s and `bot.toml` carry.
    fn name(&self) -> &'static str;

    /// The abilities of this messenger; constant over its life.
    fn capabilities(&self) -> Capabilities;

    /// Checks settings and credentials once before the start. After [`AdapterError::Config`] the bot does not start and shows
    /// its sentence; after any other error it starts anyway, and [`Adapter::run`] repeats the attempt.
    async fn prepare(&self) -> Result<(), AdapterError> {
        Ok(())
    }

    /// Called when the people of its section change while the bot runs. Only an adapter that checks the lists itself needs it.
    fn set_allowed_people(&self, _people: &AllowedPeople) {}

    /// Connects and delivers to `inbox` until the connection is lost. Called again after an error, with growing delay (see
    /// [`crate::supervise`]); `Ok` means that it is over for good. Must call [`Inbox::set_connected`].
    async fn run(&self, inbox: Inbox) -> Result<(), AdapterError>;

    /// Sends one message whose rendered form fits [`Capabilities::max_len`]; use [`crate::deliver`] for any length.
    async fn send(&self, room: &Room, message: &Outgoing) -> Result<MessageId, AdapterError>;

    /// Replaces a message of the bot, choices included.
    async fn edit(&self, _room: &Room, _id: &MessageId, _message: &Outgoing) -> Result<(), AdapterError> {
        Err(AdapterError::Unsupported("editing a message"))
    }

    /// The thread of this message, for a prompt and all that follows it; asked once when a prompt begins.
    /// `None`, the default, leaves the conversation in the room itself.
    fn open_thread(&self, _room: &Room, _message: &MessageId) -> Option<Room> {
        None
    }

    /// What was said in the thread that `room` is before the message `before`: the message that the thread is below, and the newest
    /// of what followed, at most `max` messages in all, oldest first. Asked when the bot's conversation begins in a thread.
    async fn read_thread(
        &self,
        _room: &Room,
        _before: &MessageId,
        _max: usize,
    ) -> Result<Vec<Quotation>, AdapterError> {
        Err(AdapterError::Unsupported("reading a thread"))
    }

    /// The room by which the bot knows one that `bot.toml` names. It differs where a messenger replaces rooms: the replacement goes on
    /// under the name of the first one, and the bot uses no other.
    fn known_as(&self, room: &Room) -> Room {
        room.clone()
    }

    /// The address at which people find a message again, where the messenger has such addresses.
    fn permalink(&self, _room: &Room, _message: &MessageId) -> Option<String> {
        None
    }

    /// The conversation of two with this person, a [`Sender::id`]; begun where there is none. Asked before each use.
    async fn direct_room(&self, _person: &str) -> Result<Room, AdapterError> {
        Err(AdapterError::Unsupported("writing to a person directly"))
    }

    /// Everybody who reads along in the room but the bot, by [`Sender::id`].
    async fn people_in(&self, _room: &Room) -> Result<Vec<Arc<str>>, AdapterError> {
        Err(AdapterError::Unsupported("naming the people of a room"))
    }

    /// Rooms in which somebody is present now, where the messenger knows that. They follow the pipeline for as long.
    fn attended_rooms(&self) -> Vec<Room> {
        Vec::new()
    }

    /// Shows a file in the room.
    async fn upload(&self, _room: &Room, _file: &Attachment) -> Result<MessageId, AdapterError> {
        Err(AdapterError::Unsupported("sending a file"))
    }

    /// The content of a file that a person sent, at most `max` bytes.
    ///
    /// # Errors
    /// [`AdapterError::Rejected`] if it is larger, gone or not for the bot; its sentence is shown to the person.
    async fn fetch_file(&self, _file: &SentFile, _max: u64) -> Result<Vec<u8>, AdapterError> {
        Err(AdapterError::Unsupported("receiving a file"))
    }

    /// Shows the room's activity. Called on every change, and again after each message the room accepts.
    async fn activity(&self, _room: &Room, _activity: &Activity) -> Result<(), AdapterError> {
        Err(AdapterError::Unsupported("showing activity"))
    }
}

/// What a messenger reports of a conversation, which no person did there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessengerNews {
    /// The messenger has replaced the conversation's room. It goes on in the new one, under its old name.
    Replaced {
        room: Room,
        /// The messenger's ids, for people.
        from: String,
        to: String,
    },
    /// The bot cannot be in a conversation although it should. For the operator.
    CannotJoin {
        room: Room,
        /// What is wrong and what to do, as a sentence without its full stop.
        why: String,
    },
    /// A question of the bot, which the messenger had taken, did not reach anybody.
    NotDelivered { room: Room, message: MessageId, why: String },
}

/// Where an adapter delivers what people did and reports the state of its connection.
#[derive(Clone)]
pub struct Inbox {
    sender: mpsc::Sender<Incoming>,
    health: Arc<AdapterHealth>,
}

impl Inbox {
    pub fn new(sender: mpsc::Sender<Incoming>, health: Arc<AdapterHealth>) -> Self {
        Self { sender, health }
    }

    /// Delivers one act; waits while the bot is behind. `false` means that the bot is shutting down.
    pub async fn deliver(&self, incoming: Incoming) -> bool {
        // Before the wait: `status` shows when the service last delivered, and the bot may be behind.
        self.health.note_event();
        self.sender.send(incoming).await.is_ok()
    }

    /// Waits until the bot shuts down.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Whether the bot has accepted everything that was delivered.
    pub fn is_drained(&self) -> bool {
        self.sender.capacity() == self.sender.max_capacity()
    }

    pub fn set_connected(&self) {
        self.health.set_connected();
    }

    /// Reports what concerns the bot's conversations and is no person's act.
    pub fn report(&self, news: MessengerNews) {
        self.health.report(news);
    }

    /// Sets a note for `status` about a problem despite the connection; `None` clears it.
    pub fn set_note(&self, note: Option<String>) {
        self.health.set_note(note);
    }
}

/// The bot's names and commands, for recognising messages to it (see [`crate::address`]) and for menus.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// How people call the bot.
    pub display_name: String,
    /// The signs that a command may begin with, e.g. `!`.
    pub prefixes: Vec<String>,
    /// The bot's commands, for menus, slash commands and completion.
    pub commands: Vec<CommandInfo>,
}

/// One of the bot's commands, as a messenger's menu shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandInfo {
    /// Its name, without a prefix.
    pub name: String,
    /// Its arguments in usage notation; empty for none.
    pub args: String,
    /// One line of help.
    pub summary: String,
}

/// The common part of every messenger's settings.
#[derive(Clone, Debug)]
pub struct AdapterContext {
    pub identity: Identity,
    /// A folder of this messenger's own that outlives restarts, mode 0700; made when needed.
    pub state: PathBuf,
}

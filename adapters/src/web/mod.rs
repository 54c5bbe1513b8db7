//! The web page's chat: a messenger without an account and without a network of its own. Whoever serves the page hands over what
//! signed-in people do, and follows what there is to show. Knows no HTTP.

mod log;
mod uploads;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc};

use self::log::{MessageLog, MessagePage};
pub use self::log::{ShownFile, WebMessage};
pub use self::uploads::{UploadRefused, Uploads};
use crate::{
    Activity, ActivityState, Adapter, AdapterError, Addressed, Attachment, Capabilities, ChoiceForm,
    Enclosed, Identity, Inbox, Incoming, MessageId, Outgoing, PersonAct, Room, Sender, SentFile,
    text::address,
};

/// The adapter's name in rooms and in `bot.toml`.
pub const NAME: &str = "web";

/// The room of everybody who may use the page.
pub const TEAM: &str = "team";

// In bytes. The page has no limit of its own; this one bounds the memory of a room.
const MAX_LEN: usize = 1024 * 1024;

/// What people did and the bot has not taken yet. Beyond this a browser waits.
const WAITING_ACTS: usize = 64;

/// News that a follower may be behind. After more it reads the rooms again.
const NEWS: usize = 4096;

/// The page's chat. Cheap to clone through its `Arc`.
pub struct Web {
    identity: Identity,
    started: SystemTime,
    given: AtomicU64,
    rooms: Mutex<HashMap<Arc<str>, MessageLog>>,
    is_attended: AtomicBool,
    news: broadcast::Sender<Arc<WebNews>>,
    uploads: Uploads,
    acts: mpsc::Sender<Incoming>,
    waiting: tokio::sync::Mutex<mpsc::Receiver<Incoming>>,
}

/// A change of a room.
#[derive(Clone, Debug, PartialEq)]
pub struct WebNews {
    /// The room's id.
    pub room: Arc<str>,
    pub change: WebChange,
}

#[derive(Clone, Debug, PartialEq)]
pub enum WebChange {
    /// A message is new, or has another state.
    Message(Arc<WebMessage>),
    Activity(ActivityState),
}

/// Somebody who is signed in at the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSpeaker {
    /// [`Sender::id`]: `messenger:id` of the account that they signed in with.
    pub id: Arc<str>,
    pub name: Arc<str>,
}

/// What somebody writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebText {
    pub text: String,
    pub reply_to: Option<MessageId>,
    /// From [`Uploads::send`].
    pub files: Vec<SentFile>,
}

impl Web {
    /// A page that nobody looks at yet.
    pub fn new(identity: Identity) -> Arc<Self> {
        let (acts, waiting) = mpsc::channel(WAITING_ACTS);
        Arc::new(Self {
            identity,
            started: SystemTime::now(),
            given: AtomicU64::new(0),
            rooms: Mutex::default(),
            is_attended: AtomicBool::new(false),
            news: broadcast::Sender::new(NEWS),
            uploads: Uploads::default(),
            acts,
            waiting: tokio::sync::Mutex::new(waiting),
        })
    }

    /// The room of a person alone. Its id is that of their account, so nobody else can have it.
    pub fn room_of(person: &str) -> Room {
        // Some ids have a `/`, which would make it a thread of another room.
        Room::new(NAME, person.replace('%', "%25").replace('/', "%2F"))
    }

    /// The room of everybody.
    pub fn team() -> Room {
        Room::new(NAME, TEAM)
    }

    /// Whether somebody is signed in, who may come back at any time: then [`Web::team`] follows the pipeline.
    pub fn set_attended(&self, is_attended: bool) {
        self.is_attended.store(is_attended, Ordering::Relaxed);
    }

    /// Every change from now on, in all rooms. One that lags gets an error from the channel, and reads its rooms again.
    pub fn follow(&self) -> broadcast::Receiver<Arc<WebNews>> {
        self.news.subscribe()
    }

    /// The newest messages of a room before this one, oldest first, and whether there are more.
    pub fn page(&self, room: &Room, before: Option<&MessageId>, most: usize) -> MessagePage {
        self.rooms.lock().get(room.id()).map(|log| log.page(before, most)).unwrap_or_default()
    }

    /// A file that was shown in a room.
    pub fn file(&self, room: &Room, message: &MessageId) -> Option<Arc<ShownFile>> {
        self.rooms.lock().get(room.id())?.file(message)
    }

    /// What the room does now.
    pub fn activity_of(&self, room: &Room) -> ActivityState {
        self.rooms.lock().get(room.id()).map_or(ActivityState::Idle, MessageLog::activity)
    }

    /// Somebody writes to the bot. Returns the message's id, or `None` while the bot shuts down.
    pub async fn say(&self, speaker: &WebSpeaker, room: &Room, said: WebText) -> Option<MessageId> {
        let WebText { text, reply_to, files } = said;
        let id = self.next_id();
        let message = WebMessage {
            by: Some(speaker.name.clone()),
            reply_to: reply_to.clone(),
            ..WebMessage::new(id.clone(), SystemTime::now(), &Outgoing::text(with_names(&text, &files)))
        };
        // Nobody writes here to anybody else, addressed or not.
        let (addressed, text) = address::strip(&text, &self.identity, &[])
            .unwrap_or_else(|| (Addressed::Direct, text.trim().to_owned()));
        let said = self.incoming(speaker, room, id.clone(), PersonAct::Said { text });
        let enclosed = Enclosed { files, ..Enclosed::default() };
        let incoming = Incoming { addressed: Some(addressed), enclosed, ..said };
        // A place first: the message is shown only if the bot gets it.
        let place = self.acts.reserve().await.ok()?;
        self.show(room, message);
        place.send(Incoming { reply_to, ..incoming });
        Some(id)
    }

    /// Where files of people wait.
    pub fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    /// Somebody picks a choice of the bot's message. Returns the act's id, or `None` while the bot shuts down.
    pub async fn choose(
        &self,
        speaker: &WebSpeaker,
        room: &Room,
        on: MessageId,
        key: String,
    ) -> Option<MessageId> {
        let id = self.next_id();
        let incoming = self.incoming(speaker, room, id.clone(), PersonAct::Chose { on, key });
        self.acts.send(incoming).await.ok()?;
        Some(id)
    }

    fn incoming(&self, speaker: &WebSpeaker, room: &Room, id: MessageId, act: PersonAct) -> Incoming {
        let shared = room.id() == TEAM;
        Incoming {
            id,
            room: room.clone(),
            sender: Sender { id: speaker.id.clone(), name: speaker.name.clone(), is_bot: false },
            act,
            addressed: Some(Addressed::Direct),
            shared,
            reply_to: None,
            sent_at: SystemTime::now(),
            enclosed: Enclosed::default(),
        }
    }

    /// Ids that no other life of the program has: the bot remembers those it has seen.
    fn next_id(&self) -> MessageId {
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let number = self.given.fetch_add(1, Ordering::Relaxed) + 1;
        MessageId::new(format!("{started:x}-{number}"))
    }

    fn show(&self, room: &Room, message: WebMessage) {
        let message = Arc::new(message);
        let mut rooms = self.rooms.lock();
        rooms.entry(room.id().into()).or_default().put(message.clone());
        // Under the lock, so that news come in the order of the log.
        self.tell(room, WebChange::Message(message));
    }

    fn tell(&self, room: &Room, change: WebChange) {
        // Nobody may look.
        let _ = self.news.send(Arc::new(WebNews { room: room.id().into(), change }));
    }

    async fn forward(&self, inbox: &Inbox) {
        // The receiver outlives a run, so that nothing is lost when it is called again.
        let mut waiting = self.waiting.lock().await;
        loop {
            let act = tokio::select! {
                act = waiting.recv() => act,
                () = inbox.closed() => None,
            };
            let Some(act) = act else { return };
            if !inbox.deliver(act).await {
                return;
            }
        }
    }
}

#[async_trait]
impl Adapter for Web {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edit: Some(Duration::from_millis(100)),
            choices: ChoiceForm::Buttons { max: 20 },
            activity: true,
            files: true,
            history: false,
            private_replies: true,
            local: false,
            max_len: MAX_LEN,
        }
    }

    async fn run(&self, inbox: Inbox) -> Result<(), AdapterError> {
        inbox.set_connected();
        self.forward(&inbox).await;
        Ok(())
    }

    async fn send(&self, room: &Room, message: &Outgoing) -> Result<MessageId, AdapterError> {
        fits(message)?;
        let id = self.next_id();
        self.show(room, WebMessage::new(id.clone(), SystemTime::now(), message));
        Ok(id)
    }

    async fn edit(&self, room: &Room, id: &MessageId, message: &Outgoing) -> Result<(), AdapterError> {
        fits(message)?;
        let known = self.rooms.lock().get(room.id()).and_then(|log| log.find(id));
        // Rooms are in memory only, so one of before the restart is on no page that could show the edit.
        let Some(known) = known else {
            return Err(AdapterError::Rejected(format!("no message `{id}` since this page started")));
        };
        let edited =
            WebMessage { reply_to: known.reply_to.clone(), ..WebMessage::new(id.clone(), known.at, message) };
        self.show(room, edited);
        Ok(())
    }

    fn attended_rooms(&self) -> Vec<Room> {
        self.is_attended.load(Ordering::Relaxed).then(Self::team).into_iter().collect()
    }

    async fn upload(&self, room: &Room, file: &Attachment) -> Result<MessageId, AdapterError> {
        let id = self.next_id();
        let shown = ShownFile { name: file.name.clone(), bytes: file.bytes.clone() };
        let message = WebMessage {
            file: Some(Arc::new(shown)),
            ..WebMessage::new(id.clone(), SystemTime::now(), &Outgoing::text(file.caption.clone()))
        };
        self.show(room, message);
        Ok(id)
    }

    async fn fetch_file(&self, file: &SentFile, max: u64) -> Result<Vec<u8>, AdapterError> {
        self.uploads.fetch(file, max)
    }

    async fn activity(&self, room: &Room, activity: &Activity) -> Result<(), AdapterError> {
        self.rooms.lock().entry(room.id().into()).or_default().set_activity(activity.state);
        self.tell(room, WebChange::Activity(activity.state));
        Ok(())
    }
}

/// A person's text as the room shows it: below it the files that came along.
fn with_names(text: &str, files: &[SentFile]) -> String {
    let names = files.iter().map(|file| format!("📎 {}", file.name));
    let lines = (!text.is_empty()).then(|| text.to_owned()).into_iter().chain(names);
    lines.collect::<Vec<_>>().join("\n")
}

fn fits(message: &Outgoing) -> Result<(), AdapterError> {
    match message.markdown.len() > MAX_LEN {
        true => Err(AdapterError::Rejected(format!("the message has more than {MAX_LEN} bytes"))),
        false => Ok(()),
    }
}

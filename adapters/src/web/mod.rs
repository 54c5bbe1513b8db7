//! The web page's chat: a messenger without an account and without a network of its own. Whoever serves the page hands over what
//! signed-in people do, and follows what there is to show. Knows no HTTP.

mod archive;
mod log;
mod uploads;

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc};

use self::log::{MessageLog, MessagePage};
pub use self::{
    archive::ChatArchive,
    log::{ShownFile, WebMessage},
    uploads::{UploadRefused, Uploads},
};
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

/// Chats that one person may have, each with a session of its own.
const CHATS: u32 = 9;

/// News that a follower may be behind. After more it reads the rooms again.
const NEWS: usize = 4096;

/// The page's chat. Cheap to clone through its `Arc`.
pub struct Web {
    identity: Identity,
    started: SystemTime,
    given: AtomicU64,
    rooms: Mutex<HashMap<Arc<str>, MessageLog>>,
    archive: OnceLock<Arc<dyn ChatArchive>>,
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

/// One of a person's own rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonalChat {
    /// From 1.
    pub number: u32,
    pub room: Room,
    /// Nobody has said anything in it.
    pub is_new: bool,
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
            archive: OnceLock::new(),
            is_attended: AtomicBool::new(false),
            news: broadcast::Sender::new(NEWS),
            uploads: Uploads::default(),
            acts,
            waiting: tokio::sync::Mutex::new(waiting),
        })
    }

    /// Keeps the messages of all rooms here from now on, and shows those that it has. To be called before anything is said.
    pub fn keep_in(&self, archive: Arc<dyn ChatArchive>) {
        let _ = self.archive.set(archive);
    }

    /// The room of a person alone. Its id is that of their account, so nobody else can have it.
    pub fn room_of(person: &str) -> Room {
        Self::chat_of(person, 1)
    }

    /// A person's own rooms: those in which somebody has said something, then one that is new.
    pub fn chats_of(&self, person: &str) -> Vec<PersonalChat> {
        let mut chats = Vec::new();
        for number in 1..=CHATS {
            let room = Self::chat_of(person, number);
            let is_new = self.with_log(&room, |log| log.is_empty());
            chats.push(PersonalChat { number, room, is_new });
            if is_new && number > 1 {
                break;
            }
        }
        chats
    }

    // Some ids have a `/`, which would make it a thread of another room; and so would a number after one: threads of a conversation
    // share its session.
    fn chat_of(person: &str, number: u32) -> Room {
        let id = person.replace('%', "%25").replace('/', "%2F").replace('#', "%23");
        Room::new(NAME, if number == 1 { id } else { format!("{id}#{number}") })
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
        self.with_log(room, |log| log.page(before, most))
    }

    /// A file that was shown in a room.
    pub fn file(&self, room: &Room, message: &MessageId) -> Option<Arc<ShownFile>> {
        self.with_log(room, |log| log.file(message))
    }

    /// What the room does now.
    pub fn activity_of(&self, room: &Room) -> ActivityState {
        self.with_log(room, |log| log.activity())
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
        self.with_log(room, |log| {
            let is_known = log.find(&message.id).is_some();
            let forgotten = log.put(message.clone());
            if let Some(archive) = self.archive.get() {
                // What is still being written is kept as it began, and as it ends.
                if !message.is_secret && (!is_known || !message.live) {
                    archive.keep(room, &message);
                }
                archive.forget(room, &forgotten);
            }
            // Under the lock, so that news come in the order of the log.
            self.tell(room, WebChange::Message(message));
        });
    }

    /// The log of a room: in memory, or else as the archive has it.
    fn with_log<T>(&self, room: &Room, act: impl FnOnce(&mut MessageLog) -> T) -> T {
        let mut rooms = self.rooms.lock();
        let log = rooms.entry(room.id().into()).or_insert_with(|| {
            let kept = self.archive.get().map(|archive| archive.messages(room));
            MessageLog::restored(kept.unwrap_or_default())
        });
        act(log)
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
        let Some(known) = self.with_log(room, |log| log.find(id)) else {
            return Err(AdapterError::Rejected(format!("this room remembers no message `{id}`")));
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
        self.with_log(room, |log| log.set_activity(activity.state));
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

#[cfg(test)]
mod tests {
    use super::*;

    type KeptMessages = Vec<(Room, WebMessage)>;

    #[derive(Default)]
    struct MemoryArchive(Mutex<KeptMessages>);

    impl ChatArchive for MemoryArchive {
        fn messages(&self, room: &Room) -> Vec<WebMessage> {
            let kept = self.0.lock();
            kept.iter().filter(|(of, _)| of == room).map(|(_, message)| message.clone()).collect()
        }

        fn keep(&self, room: &Room, message: &WebMessage) {
            let mut kept = self.0.lock();
            match kept.iter_mut().find(|(of, known)| of == room && known.id == message.id) {
                Some((_, known)) => *known = message.clone(),
                None => kept.push((room.clone(), message.clone())),
            }
        }

        fn forget(&self, room: &Room, messages: &[MessageId]) {
            self.0.lock().retain(|(of, message)| of != room || !messages.contains(&message.id));
        }
    }

    fn page_with(archive: &Arc<MemoryArchive>) -> Arc<Web> {
        let page = Web::new(Identity::default());
        page.keep_in(archive.clone());
        page
    }

    fn texts(page: &Web, room: &Room) -> Vec<String> {
        page.page(room, None, 50).messages.iter().map(|message| message.text.clone()).collect()
    }

    fn said(text: &str) -> WebText {
        WebText { text: text.into(), ..WebText::default() }
    }

    fn ann() -> WebSpeaker {
        WebSpeaker { id: "slack:U01".into(), name: "Ann".into() }
    }

    #[tokio::test]
    async fn a_room_has_its_messages_after_a_restart_and_they_can_still_be_edited() {
        let archive = Arc::new(MemoryArchive::default());
        let room = Web::room_of("slack:U01");
        let first = page_with(&archive);
        first.say(&ann(), &room, said("status")).await.unwrap();
        let question = first.send(&room, &Outgoing::text("May I?")).await.unwrap();
        let live = Outgoing { live: true, ..Outgoing::text("I lo") };
        let answer = first.send(&room, &live).await.unwrap();
        first.send(&room, &Outgoing { is_secret: true, ..Outgoing::text("a link") }).await.unwrap();
        first.edit(&room, &answer, &Outgoing { live: true, ..Outgoing::text("I look") }).await.unwrap();
        drop(first);
        let second = page_with(&archive);
        assert_eq!(texts(&second, &room), ["status", "May I?", "I lo"]);
        assert!(second.page(&room, None, 50).messages.iter().all(|message| !message.live));
        second.edit(&room, &question, &Outgoing::text("Nobody answered.")).await.unwrap();
        assert_eq!(texts(&page_with(&archive), &room), ["status", "Nobody answered.", "I lo"]);
    }

    #[tokio::test]
    async fn a_person_has_as_many_chats_as_they_began_and_one_that_is_new() {
        let page = page_with(&Arc::default());
        let numbers = |page: &Web| -> Vec<(u32, bool)> {
            page.chats_of("slack:U01").iter().map(|chat| (chat.number, chat.is_new)).collect()
        };
        assert_eq!(numbers(&page), [(1, true), (2, true)]);
        for number in 2..=CHATS {
            let room = Web::chat_of("slack:U01", number);
            assert_eq!(room.above(), None, "a thread would share the session of the first chat");
            page.say(&ann(), &room, said("hello")).await.unwrap();
            assert_eq!(numbers(&page).len(), CHATS.min(number + 1) as usize);
        }
        assert_eq!(page.chats_of("slack:U02").len(), 2, "they are Ann's alone");
        assert_ne!(Web::chat_of("slack:U01", 2), Web::room_of("slack:U01#2"));
    }
}

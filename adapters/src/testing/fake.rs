//! A messenger in memory for tests: people are played through [`FakeRoom`], faults through [`Fake`].
//!
//! It ships with the crate so that every crate's tests talk to the bot the same way. It obeys its capabilities strictly: where
//! a real messenger would refuse (too long, too many choices, an unknown message), it refuses too.

mod room;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
pub use room::FakeRoom;
use tokio::sync::watch;

use crate::{
    Activity, ActivityState, Adapter, AdapterError, Attachment, Capabilities, Choice, ChoiceForm, Identity,
    Inbox, Incoming, MessageId, Outgoing, Quotation, Room, SentFile, Tone,
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Ids are unique in the process: a test that starts a second bot on the first one's store must not repeat one.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A message of the bot as a room shows it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeMessage {
    pub id: MessageId,
    /// Its Markdown, last edit applied.
    pub text: String,
    pub tone: Tone,
    /// What can be picked now.
    pub choices: Vec<Choice>,
    pub mentions: Vec<Arc<str>>,
    /// How often it was edited.
    pub edits: usize,
    pub reply_to: Option<MessageId>,
}

/// The messenger. Give it to the bot as its adapter, and play people through its [`Fake::room`]s.
pub struct Fake {
    name: &'static str,
    capabilities: Capabilities,
    state: Mutex<FakeState>,
    changes: watch::Sender<()>,
    answer_held: watch::Sender<bool>,
    look: OnceLock<Look>,
}

type Look = Box<dyn Fn(&str) + Send + Sync>;

struct FakeState {
    identity: Identity,
    rooms: HashMap<Room, FakeRoomLog>,
    queue: VecDeque<Incoming>,
    connected: bool,
    drop_requested: bool,
    send_faults: VecDeque<AdapterError>,
    edit_faults: VecDeque<AdapterError>,
    upload_faults: VecDeque<AdapterError>,
    fetched: FakeFetched,
    rate_limit: Option<Duration>,
    /// Who is in a room, where a test says it.
    people: HashMap<Room, Vec<Arc<str>>>,
    hold_next: bool,
    counts: FakeCounts,
}

/// What the bot gets when it asks the messenger.
#[derive(Default)]
struct FakeFetched {
    /// People's files, by reference.
    files: HashMap<String, Result<Vec<u8>, String>>,
    threads: HashMap<Room, Result<Vec<Quotation>, String>>,
}

#[derive(Clone, Copy, Default)]
struct FakeCounts {
    connections: usize,
    sends: usize,
    edits: usize,
}

#[derive(Default)]
struct FakeRoomLog {
    entries: Vec<LogEntry>,
    activity: Option<Activity>,
    last_said: Option<MessageId>,
}

enum LogEntry {
    Person { who: Arc<str>, did: String },
    Bot { shown: FakeMessage, seen_edits: Option<usize> },
    File(Attachment),
}

impl Fake {
    /// A messenger that can do everything: instant edits, ten buttons, activity, files, history.
    pub fn new(name: &'static str) -> Arc<Self> {
        let capabilities = Capabilities {
            edit: Some(Duration::ZERO),
            choices: ChoiceForm::Buttons { max: 10 },
            activity: true,
            files: true,
            history: true,
            private_replies: false,
            local: false,
            max_len: 40_000,
        };
        Self::with(name, capabilities)
    }

    /// A messenger that can only send and receive texts of at most 4096 bytes. It shows no activity, so a
    /// test waits by [`FakeRoom::see`] instead of [`FakeRoom::settled`].
    pub fn plain(name: &'static str) -> Arc<Self> {
        let capabilities = Capabilities {
            edit: None,
            choices: ChoiceForm::None,
            activity: false,
            files: false,
            history: false,
            private_replies: false,
            local: false,
            max_len: 4096,
        };
        Self::with(name, capabilities)
    }

    /// A messenger that can do just this.
    pub fn with(name: &'static str, capabilities: Capabilities) -> Arc<Self> {
        let state = FakeState {
            identity: Identity {
                display_name: "Timmy".into(),
                prefixes: vec!["!".into()],
                ..Identity::default()
            },
            rooms: HashMap::new(),
            queue: VecDeque::new(),
            connected: false,
            drop_requested: false,
            send_faults: VecDeque::new(),
            edit_faults: VecDeque::new(),
            upload_faults: VecDeque::new(),
            fetched: FakeFetched::default(),
            rate_limit: None,
            people: HashMap::new(),
            hold_next: false,
            counts: FakeCounts::default(),
        };
        Arc::new(Self {
            name,
            capabilities,
            state: Mutex::new(state),
            changes: watch::Sender::new(()),
            answer_held: watch::Sender::new(false),
            look: OnceLock::new(),
        })
    }

    /// The conversation with this id; the same id is the same conversation.
    pub fn room(self: &Arc<Self>, id: impl Into<Arc<str>>) -> FakeRoom {
        FakeRoom::new(Arc::clone(self), Room::new(self.name, id))
    }

    /// The conversation of two in which the bot writes to this person by itself.
    pub fn direct(self: &Arc<Self>, person: &str) -> FakeRoom {
        self.room(direct_id(person))
    }

    /// Sets the bot's name and prefixes; the default is `Timmy` with `!`.
    pub fn set_identity(&self, identity: Identity) {
        self.change(|state| state.identity = identity);
    }

    /// `look` sees all that people are shown from now on: each state of a message, labels of choices, files. Once only.
    pub fn inspect(&self, look: impl Fn(&str) + Send + Sync + 'static) {
        let _ = self.look.set(Box::new(look));
    }

    /// The next send fails so. Called twice, the next two sends fail.
    pub fn fail_next_send(&self, error: AdapterError) {
        self.change(|state| state.send_faults.push_back(error));
    }

    /// The next edit fails so.
    pub fn fail_next_edit(&self, error: AdapterError) {
        self.change(|state| state.edit_faults.push_back(error));
    }

    /// The next upload fails so.
    pub fn fail_next_upload(&self, error: AdapterError) {
        self.change(|state| state.upload_faults.push_back(error));
    }

    /// The next send or edit, whichever comes first, is refused as too fast.
    pub fn rate_limit_next(&self, retry_after: Duration) {
        self.change(|state| state.rate_limit = Some(retry_after));
    }

    /// The room shows the next message before the bot hears so, until [`Fake::release_answer`]: like a
    /// server whose answer is slow.
    pub fn hold_next_answer(&self) {
        self.answer_held.send_replace(true);
        self.change(|state| state.hold_next = true);
    }

    /// The bot hears of the message that was held.
    pub fn release_answer(&self) {
        self.answer_held.send_replace(false);
    }

    /// Cuts the connection: `run` returns [`AdapterError::Unreachable`]. Without a connection this has no effect.
    pub fn drop_connection(&self) {
        self.change(|state| state.drop_requested = state.connected);
    }

    /// How often the bot connected.
    pub fn connections(&self) -> usize {
        self.state.lock().counts.connections
    }

    /// How many messages were taken.
    pub fn sends(&self) -> usize {
        self.state.lock().counts.sends
    }

    /// How many edits were taken.
    pub fn edits(&self) -> usize {
        self.state.lock().counts.edits
    }

    fn change<T>(&self, change: impl FnOnce(&mut FakeState) -> T) -> T {
        let value = change(&mut self.state.lock());
        self.changes.send_replace(());
        value
    }

    /// Waits until `check` finds something, looking again after every change; `None` after [`WAIT_TIMEOUT`].
    async fn until<T>(&self, mut check: impl FnMut(&mut FakeState) -> Option<T>) -> Option<T> {
        let mut changes = self.changes.subscribe();
        let found = async {
            loop {
                if let Some(value) = check(&mut self.state.lock()) {
                    return value;
                }
                // The sender is a field of `self`, so it cannot be gone.
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(WAIT_TIMEOUT, found).await.ok()
    }

    // Without history it waits for a connection, as nobody can type into a messenger that is not there.
    async fn receive(&self, incoming: Incoming, did: String) {
        if !self.capabilities.history {
            let connected = self.until(|state| state.connected.then_some(())).await;
            assert!(connected.is_some(), "the bot never connected to `{}`", self.name);
        }
        self.change(|state| {
            let log = state.rooms.entry(incoming.room.clone()).or_default();
            let repeated = log.last_said.as_ref() == Some(&incoming.id);
            if incoming.addressed.is_some() && !repeated {
                log.last_said = Some(incoming.id.clone());
            }
            log.entries.push(LogEntry::Person { who: Arc::clone(&incoming.sender.name), did });
            state.queue.push_back(incoming);
        });
    }

    fn show(&self, message: &Outgoing) {
        if let Some(look) = self.look.get() {
            look(&message.markdown);
            message.choices.iter().for_each(|choice| look(&choice.label));
        }
    }

    fn check_message(&self, message: &Outgoing) -> Result<(), AdapterError> {
        if message.markdown.len() > self.capabilities.max_len {
            return Err(AdapterError::Rejected(format!("a message of {} bytes", message.markdown.len())));
        }
        let most = match self.capabilities.choices {
            ChoiceForm::None => 0,
            ChoiceForm::Buttons { max } => max,
            ChoiceForm::Numbers | ChoiceForm::Reactions => usize::MAX,
        };
        if message.choices.len() > most {
            return Err(AdapterError::Rejected(format!("a message with {} choices", message.choices.len())));
        }
        Ok(())
    }
}

#[async_trait]
impl Adapter for Fake {
    fn name(&self) -> &'static str {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn run(&self, inbox: Inbox) -> Result<(), AdapterError> {
        let mut changes = self.changes.subscribe();
        let connection = FakeConnection::open(self);
        inbox.set_connected();
        loop {
            if connection.is_cut() {
                return Err(AdapterError::Unreachable("the connection was cut".into()));
            }
            // Taken off the queue only once it is delivered: a stop in between must not lose it.
            let next = self.state.lock().queue.front().cloned();
            match next {
                Some(incoming) => {
                    if !inbox.deliver(incoming).await {
                        return Ok(());
                    }
                    self.state.lock().queue.pop_front();
                }
                None => drop(changes.changed().await),
            }
        }
    }

    async fn send(&self, room: &Room, message: &Outgoing) -> Result<MessageId, AdapterError> {
        self.check_message(message)?;
        self.show(message);
        let (id, held) = self.change(|state| {
            state.fault(|state| &mut state.send_faults)?;
            state.counts.sends += 1;
            let shown = FakeMessage::new(next_id(), message);
            let id = shown.id.clone();
            state.log(room).entries.push(LogEntry::Bot { shown, seen_edits: None });
            Ok::<_, AdapterError>((id, std::mem::take(&mut state.hold_next)))
        })?;
        if held {
            // The sender is a field of `self`, so it cannot be gone.
            let _ = self.answer_held.subscribe().wait_for(|held| !held).await;
        }
        Ok(id)
    }

    async fn edit(&self, room: &Room, id: &MessageId, message: &Outgoing) -> Result<(), AdapterError> {
        if self.capabilities.edit.is_none() {
            return Err(AdapterError::Unsupported("editing a message"));
        }
        self.check_message(message)?;
        self.show(message);
        self.change(|state| {
            state.fault(|state| &mut state.edit_faults)?;
            let shown = state.log(room).find(id);
            let shown = shown.ok_or_else(|| AdapterError::Rejected(format!("no message `{id}` to edit")))?;
            let edited = FakeMessage::new(id.clone(), message);
            *shown = FakeMessage { edits: shown.edits + 1, reply_to: shown.reply_to.take(), ..edited };
            state.counts.edits += 1;
            Ok(())
        })
    }

    async fn read_thread(
        &self,
        room: &Room,
        _before: &MessageId,
        max: usize,
    ) -> Result<Vec<Quotation>, AdapterError> {
        match self.state.lock().fetched.threads.get(room).cloned() {
            Some(Ok(said)) => Ok(said.into_iter().rev().take(max).rev().collect()),
            Some(Err(why)) => Err(AdapterError::Unreachable(why)),
            None => Err(AdapterError::Unsupported("reading a thread")),
        }
    }

    async fn direct_room(&self, person: &str) -> Result<Room, AdapterError> {
        Ok(Room::new(self.name, direct_id(person)))
    }

    async fn people_in(&self, room: &Room) -> Result<Vec<Arc<str>>, AdapterError> {
        let people = self.state.lock().people.get(room).cloned();
        people.ok_or(AdapterError::Unsupported("naming the people of a room"))
    }

    async fn fetch_file(&self, file: &SentFile, max: u64) -> Result<Vec<u8>, AdapterError> {
        let content = self.state.lock().fetched.files.get(&file.reference).cloned();
        match content {
            Some(Ok(bytes)) if bytes.len() as u64 <= max => Ok(bytes),
            Some(Ok(_)) => Err(AdapterError::Rejected("it is too large".into())),
            Some(Err(why)) => Err(AdapterError::Rejected(why)),
            None => Err(AdapterError::Rejected("it is gone".into())),
        }
    }

    async fn upload(&self, room: &Room, file: &Attachment) -> Result<MessageId, AdapterError> {
        if !self.capabilities.files {
            return Err(AdapterError::Unsupported("sending a file"));
        }
        if let Some(look) = self.look.get() {
            look(&file.caption);
            look(&String::from_utf8_lossy(&file.bytes));
        }
        self.change(|state| {
            state.fault(|state| &mut state.upload_faults)?;
            state.log(room).entries.push(LogEntry::File(file.clone()));
            Ok(next_id())
        })
    }

    async fn activity(&self, room: &Room, activity: &Activity) -> Result<(), AdapterError> {
        if !self.capabilities.activity {
            return Err(AdapterError::Unsupported("showing activity"));
        }
        self.change(|state| state.log(room).activity = Some(activity.clone()));
        Ok(())
    }
}

fn direct_id(person: &str) -> String {
    format!("direct with {person}")
}

// A guard, because `run` is usually dropped and does not return.
struct FakeConnection<'a>(&'a Fake);

impl<'a> FakeConnection<'a> {
    fn open(fake: &'a Fake) -> Self {
        fake.change(|state| {
            state.connected = true;
            state.counts.connections += 1;
            state.drop_requested = false;
        });
        Self(fake)
    }

    fn is_cut(&self) -> bool {
        self.0.state.lock().drop_requested
    }
}

impl Drop for FakeConnection<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.connected = false);
    }
}

impl FakeState {
    fn log(&mut self, room: &Room) -> &mut FakeRoomLog {
        self.rooms.entry(room.clone()).or_default()
    }

    fn fault(
        &mut self,
        faults: impl FnOnce(&mut Self) -> &mut VecDeque<AdapterError>,
    ) -> Result<(), AdapterError> {
        if let Some(retry_after) = self.rate_limit.take() {
            return Err(AdapterError::RateLimited { retry_after });
        }
        faults(self).pop_front().map_or(Ok(()), Err)
    }
}

impl FakeRoomLog {
    fn find(&mut self, id: &MessageId) -> Option<&mut FakeMessage> {
        self.entries.iter_mut().find_map(|entry| match entry {
            LogEntry::Bot { shown, .. } if shown.id == *id => Some(shown),
            LogEntry::Bot { .. } | LogEntry::Person { .. } | LogEntry::File(_) => None,
        })
    }

    fn is_settled(&self) -> bool {
        let Some(activity) = &self.activity else { return false };
        let quiet = match activity.state {
            ActivityState::Idle | ActivityState::Asking => true,
            ActivityState::Working => false,
        };
        quiet && self.last_said.as_ref() == Some(&activity.after)
    }
}

impl FakeMessage {
    fn new(id: MessageId, message: &Outgoing) -> Self {
        Self {
            id,
            text: message.markdown.clone(),
            tone: message.tone,
            choices: message.choices.clone(),
            mentions: message.mentions.clone(),
            edits: 0,
            reply_to: message.reply_to.clone(),
        }
    }
}

fn next_id() -> MessageId {
    MessageId::new(format!("fake-{}", NEXT_ID.fetch_add(1, Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Addressed, PersonAct, delivery::supervise::supervise};

    /// Connects a bot that hears and says nothing by itself.
    fn connect(fake: &Arc<Fake>) -> (mpsc::Receiver<Incoming>, CancellationToken) {
        let (sender, inbox) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let adapter: Arc<dyn Adapter> = fake.clone();
        supervise(adapter, sender, stop.clone());
        (inbox, stop)
    }

    async fn heard(inbox: &mut mpsc::Receiver<Incoming>) -> Incoming {
        let next = tokio::time::timeout(WAIT_TIMEOUT, inbox.recv()).await;
        next.expect("nothing was heard").expect("the adapter ended")
    }

    fn yes_or_no() -> Outgoing {
        let choice = |key: &str, label: &str| Choice { key: key.into(), label: label.into(), emoji: None };
        let choices = vec![choice("yes", "Yes"), choice("no", "No")];
        Outgoing { choices, ..Outgoing::text("Run it?").with_tone(Tone::Question) }
    }

    #[tokio::test]
    async fn what_people_do_arrives_in_order_and_as_told() {
        let fake = Fake::new("fake");
        let (mut inbox, _stop) = connect(&fake);
        let room = fake.room("1");
        let said = room.say(" hello ").await;
        room.say_in_group("bob", "Timmy, status").await;
        room.say_in_group("bob", "hello all").await;
        let direct = heard(&mut inbox).await;
        assert_eq!(
            (direct.id.clone(), direct.addressed, direct.shared),
            (said, Some(Addressed::Direct), false)
        );
        assert_eq!(direct.act, PersonAct::Said { text: "hello".into() });
        let named = heard(&mut inbox).await;
        assert_eq!((named.addressed, named.shared), (Some(Addressed::Name), true));
        assert_eq!(named.act, PersonAct::Said { text: "status".into() });
        assert_eq!(heard(&mut inbox).await.addressed, None);
    }

    #[tokio::test]
    async fn a_choice_goes_to_the_newest_message_that_offers_it() {
        let fake = Fake::new("fake");
        let (mut inbox, _stop) = connect(&fake);
        let room = fake.room("1");
        fake.send(room.room(), &yes_or_no()).await.expect("sent");
        let newer = fake.send(room.room(), &yes_or_no()).await.expect("sent");
        room.choose_as("bob", "Yes").await;
        let picked = heard(&mut inbox).await;
        assert_eq!(picked.act, PersonAct::Chose { on: newer, key: "yes".into() });
        assert_eq!(&*picked.sender.id, "bob");
        insta::assert_snapshot!(room.transcript(), @r"
        bot (question): Run it? [Yes] [No]
        bot (question): Run it? [Yes] [No]
        bob picks yes
        ");
    }

    #[tokio::test]
    async fn see_waits_for_new_text_and_for_edits_but_not_for_what_was_seen() {
        let fake = Fake::new("fake");
        let room = fake.room("1");
        let first = fake.send(room.room(), &Outgoing::text("one")).await.expect("sent");
        let (seen, ()) = tokio::join!(room.see("two"), async {
            fake.send(room.room(), &Outgoing::text("two")).await.expect("sent");
        });
        assert_eq!(seen.text, "two");
        let (edited, ()) = tokio::join!(room.see("one"), async {
            fake.edit(room.room(), &first, &Outgoing::text("one again")).await.expect("edited");
        });
        assert_eq!((edited.text.as_str(), edited.edits), ("one again", 1));
        fake.edit(room.room(), &first, &Outgoing::text("one at last")).await.expect("edited");
        assert_eq!(room.see_edit("at last").await.edits, 2);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "bot: something else")]
    async fn what_is_never_seen_fails_with_the_transcript() {
        let fake = Fake::new("fake");
        let room = fake.room("1");
        fake.send(room.room(), &Outgoing::text("something else")).await.expect("sent");
        room.see("something").await;
        room.see("something").await;
    }

    #[tokio::test]
    async fn settled_waits_for_the_last_message_for_the_bot() {
        let fake = Fake::new("fake");
        let (mut inbox, _stop) = connect(&fake);
        let room = fake.room("1");
        room.say("one").await;
        let one = heard(&mut inbox).await.id;
        let tell = |after: &MessageId, state| Activity { after: after.clone(), state };
        fake.activity(room.room(), &tell(&one, ActivityState::Idle)).await.expect("told");
        room.settled().await;
        room.say("two").await;
        room.say_in_group("bob", "not for the bot").await;
        let two = heard(&mut inbox).await.id;
        fake.activity(room.room(), &tell(&two, ActivityState::Working)).await.expect("told");
        assert!(futures::FutureExt::now_or_never(room.settled()).is_none());
        fake.activity(room.room(), &tell(&two, ActivityState::Asking)).await.expect("told");
        room.settled().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_connection_comes_back_and_loses_nothing_said_meanwhile() {
        let fake = Fake::new("fake");
        let (mut inbox, _stop) = connect(&fake);
        let room = fake.room("1");
        room.say("before").await;
        heard(&mut inbox).await;
        fake.drop_connection();
        room.say("meanwhile").await;
        assert_eq!(heard(&mut inbox).await.act, PersonAct::Said { text: "meanwhile".into() });
        assert_eq!(fake.connections(), 2);
    }

    #[tokio::test]
    async fn a_plain_messenger_refuses_what_it_cannot_do() {
        let fake = Fake::plain("plain");
        let room = fake.room("1");
        let id = fake.send(room.room(), &Outgoing::text("x")).await.expect("sent");
        let edit = fake.edit(room.room(), &id, &Outgoing::text("y")).await;
        assert!(matches!(edit, Err(AdapterError::Unsupported(_))));
        assert!(matches!(fake.send(room.room(), &yes_or_no()).await, Err(AdapterError::Rejected(_))));
        let long = Outgoing::text("x".repeat(4097));
        assert!(matches!(fake.send(room.room(), &long).await, Err(AdapterError::Rejected(_))));
        assert_eq!(fake.sends(), 1);
    }
}

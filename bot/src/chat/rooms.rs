//! The directory of rooms: each has one task with a mailbox, made when something first happens there.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use adapters::{Attachment, Incoming, Outgoing, Room};
use agents::claude::PermissionAnswer;
use parking_lot::Mutex;
use pipeline::story::StoryId;
use tokio::sync::{mpsc, oneshot};

use crate::{
    chat::{session::SessionUpdate, workspace::EnteredRoom},
    permission::{Question, QuestionId, QuestionOutcome, QuestionRooms, TrialNews},
    replies::{PipelineNotice, RoomWork},
    store::{OpenQuestion, PromptState, QueuedPrompt},
    tools::MessageAnswer,
};

/// How many messages may wait in one room's mailbox. The task takes them in at once, so this is met only by a flood.
const MAILBOX: usize = 500;

/// An input for a room's task.
pub enum RoomInput {
    /// A person did something that is meant for the bot, and may.
    Message(Incoming),
    /// A reply that came before the id of its question's message was known, and was put off until then.
    EarlyReply(Incoming),
    /// People talk among themselves.
    Overheard(Incoming),
    /// The room's Claude Code session has an event.
    Session(SessionUpdate),
    /// The workspace for the room's next prompt is ready, or cannot be had.
    Entered(Box<Result<EnteredRoom, String>>),
    /// A permission question opens.
    Question(Arc<Question>),
    /// A trial of an open question runs, or has something to show.
    Trial(Arc<Question>, TrialNews),
    /// A permission question is over.
    Settled(Arc<Question>, QuestionOutcome),
    /// The answer for a question that this room's session asked.
    Verdict { request_id: String, answer: PermissionAnswer },
    /// The answer to a message of this room's session to storkit's tools, and a sentence for the room where a call was denied.
    ToolsAnswered { request_id: String, answered: MessageAnswer },
    /// A question that an earlier process left behind; it is closed now.
    LeftQuestion {
        id: QuestionId,
        question: Box<OpenQuestion>,
        /// The message that shows it.
        copy: adapters::MessageId,
    },
    /// A prompt that an earlier process left behind.
    LeftPrompt {
        /// Its number in the store.
        number: i64,
        /// How far it had come.
        state: PromptState,
        prompt: QueuedPrompt,
    },
    /// Something the room should know, e.g. that the state was damaged.
    Notice(String),
    /// News of the pipeline that the room follows.
    Tell(PipelineNotice),
    /// Files of a story that a run or a merge left, and what they are.
    Evidence(Outgoing, Arc<[Attachment]>),
    /// A story that waited for a person may go on.
    WentOn(StoryId),
    /// All messages from before the room decided to exit are sent.
    OutboxDrained,
    /// Stop the turn, announce it, and answer when everything is sent.
    Shutdown(oneshot::Sender<()>),
}

/// A room's mailbox, as its task holds it.
pub struct RoomMailbox {
    receiver: mpsc::UnboundedReceiver<RoomInput>,
    waiting: Arc<AtomicUsize>,
}

impl RoomMailbox {
    /// The next input; `None` when the program shuts down.
    pub async fn next(&mut self) -> Option<RoomInput> {
        let input = self.receiver.recv().await;
        if matches!(input, Some(RoomInput::Message(_) | RoomInput::Overheard(_))) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        input
    }
}

/// A way into one room's mailbox, without a reference to the directory.
#[derive(Clone)]
pub struct RoomSender(mpsc::UnboundedSender<RoomInput>);

impl RoomSender {
    /// Puts an input into the mailbox; `false` when the room's task is gone.
    pub fn send(&self, input: RoomInput) -> bool {
        self.0.send(input).is_ok()
    }
}

/// The room whose task a message is for. In a conversation of two, threads share one session and one worktree with the conversation:
/// whoever answers below a message there goes on with the same work. A thread that `has_session` of its own, from when others read along,
/// keeps it: its questions are open there, and its changes lie there.
pub fn serving_room(incoming: &Incoming, has_session: impl FnOnce(&Room) -> bool) -> Room {
    match incoming.room.above() {
        Some(above) if !incoming.shared && !has_session(&incoming.room) => above,
        Some(_) | None => incoming.room.clone(),
    }
}

struct RoomHandle {
    sender: RoomSender,
    waiting: Arc<AtomicUsize>,
}

type Starter = Box<dyn Fn(Room, RoomSender, RoomMailbox) -> bool + Send + Sync>;

/// All rooms. Cheap to clone.
#[derive(Clone, Default)]
pub struct RoomDirectory {
    entries: Arc<Mutex<HashMap<Room, RoomHandle>>>,
    start: Arc<OnceLock<Starter>>,
    work: Arc<Mutex<BTreeMap<Room, RoomWork>>>,
}

impl RoomDirectory {
    /// Sets how a room's task is started; `start` returns `false` where no adapter serves the room. To be called once.
    pub fn serve(&self, start: impl Fn(Room, RoomSender, RoomMailbox) -> bool + Send + Sync + 'static) {
        assert!(self.start.set(Box::new(start)).is_ok(), "rooms are served once");
    }

    /// Hands over an internal input; `false` where no adapter serves the room.
    pub fn post(&self, room: &Room, input: RoomInput) -> bool {
        self.with_entry(room, |entry| entry.sender.send(input)).unwrap_or(false)
    }

    /// Hands over a person's message; `false` where the room's mailbox is full or nobody serves it.
    pub fn offer(&self, room: &Room, incoming: Incoming, addressed: bool) -> bool {
        let hand_over = |entry: &RoomHandle| {
            // Only messages from people count: the channel itself is unbounded, so that a flood of them can never
            // block or drop a question, a verdict or a shutdown.
            if entry.waiting.fetch_add(1, Ordering::Relaxed) >= MAILBOX {
                entry.waiting.fetch_sub(1, Ordering::Relaxed);
                return false;
            }
            let input = if addressed { RoomInput::Message(incoming) } else { RoomInput::Overheard(incoming) };
            entry.sender.send(input)
        };
        self.with_entry(room, hand_over).unwrap_or(false)
    }

    /// Removes a room whose task is about to exit, unless an input waits in its mailbox. The
    /// next input starts another task.
    pub fn leave(&self, room: &Room, mailbox: &RoomMailbox) -> bool {
        // Senders hold the same lock, so no input can arrive between this check and the removal.
        let mut entries = self.lock();
        let left = mailbox.receiver.is_empty();
        if left {
            entries.remove(room);
        }
        left
    }

    /// A room's task tells what goes on there.
    pub fn set_work(&self, room: &Room, work: RoomWork) {
        let mut all = self.work.lock();
        match work == RoomWork::default() {
            true => _ = all.remove(room),
            false => _ = all.insert(room.clone(), work),
        }
    }

    /// The rooms where something goes on.
    pub fn work(&self) -> BTreeMap<Room, RoomWork> {
        self.work.lock().clone()
    }

    /// Every room that has a task.
    pub fn all(&self) -> Vec<Room> {
        let mut rooms: Vec<_> = self.lock().keys().cloned().collect();
        rooms.sort();
        rooms
    }

    /// Lets `act` send to the room's task, which is started if there is none. `None` where no adapter serves the room.
    fn with_entry<T>(&self, room: &Room, act: impl FnOnce(&RoomHandle) -> T) -> Option<T> {
        let mut entries = self.lock();
        // A task that panicked is started again: its room must not stay silent for that.
        if let Some(entry) = entries.get(room).filter(|entry| !entry.sender.0.is_closed()) {
            return Some(act(entry));
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let entry = RoomHandle { sender: RoomSender(sender), waiting: Arc::default() };
        let mailbox = RoomMailbox { receiver, waiting: entry.waiting.clone() };
        let start = self.start.get()?;
        if !start(room.clone(), entry.sender.clone(), mailbox) {
            return None;
        }
        let done = act(&entry);
        // The entry is stored only now: a room that no adapter serves must not stay in the directory.
        entries.insert(room.clone(), entry);
        Some(done)
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, HashMap<Room, RoomHandle>> {
        self.entries.lock()
    }
}

impl QuestionRooms for RoomDirectory {
    fn show(&self, room: &Room, question: Arc<Question>) -> bool {
        self.post(room, RoomInput::Question(question))
    }

    fn show_trial(&self, room: &Room, question: Arc<Question>, news: TrialNews) {
        self.post(room, RoomInput::Trial(question, news));
    }

    fn settle(&self, room: &Room, question: Arc<Question>, outcome: QuestionOutcome) {
        self.post(room, RoomInput::Settled(question, outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_room_is_left_only_with_an_empty_mailbox_and_then_has_a_new_task() {
        let rooms = RoomDirectory::default();
        let mailboxes = Arc::new(Mutex::new(Vec::new()));
        let kept = mailboxes.clone();
        rooms.serve(move |_, _, mailbox| {
            kept.lock().push(mailbox);
            true
        });
        let room = Room::new("fake", "a");
        assert!(rooms.post(&room, RoomInput::Notice("one".into())));
        let mut first = mailboxes.lock().pop().unwrap();
        assert!(!rooms.leave(&room, &first));
        assert!(matches!(first.next().await, Some(RoomInput::Notice(text)) if text == "one"));
        assert!(rooms.leave(&room, &first) && rooms.all().is_empty());
        assert!(rooms.post(&room, RoomInput::Notice("two".into())));
        let mut second = mailboxes.lock().pop().unwrap();
        assert!(matches!(second.next().await, Some(RoomInput::Notice(text)) if text == "two"));
    }

    #[test]
    fn a_yes_in_a_thread_that_others_have_left_settles_what_the_conversation_asked() {
        let thread = Room::new("fake", "a/m1");
        let served = |shared, has_session| {
            let heard = adapters::testing::fake::Fake::new("fake").room("a/m1").incoming("ann", "yes");
            let heard = Incoming { room: thread.clone(), shared, ..heard };
            serving_room(&heard, |_| has_session)
        };
        assert_eq!(served(false, false), Room::new("fake", "a"), "two share the session of the conversation");
        assert_eq!(served(true, false), thread, "whoever joins does not talk to it");
        assert_eq!(served(false, true), thread, "what several people began there is answered there");
    }

    #[test]
    fn a_room_whose_task_is_gone_gets_another_one() {
        let rooms = RoomDirectory::default();
        let starts = Arc::new(AtomicUsize::new(0));
        let (counted, kept) = (starts.clone(), Mutex::new(Vec::new()));
        rooms.serve(move |_, _, mailbox| {
            if counted.fetch_add(1, Ordering::Relaxed) > 0 {
                kept.lock().push(mailbox);
            }
            true
        });
        let room = Room::new("fake", "a");
        let notice = || RoomInput::Notice("hello".into());
        assert!(!rooms.post(&room, notice()), "the first task dies at once");
        assert!(rooms.post(&room, notice()) && rooms.post(&room, notice()));
        assert_eq!(starts.load(Ordering::Relaxed), 2);
    }
}

//! The only select loop: messages, agent events and permission questions of one room, one at a time.
//!
//! Nothing here waits for a network or a process: speaking is the [`Outbox`]'s, the CLI is the [`RoomSession`]'s.

mod answers;
mod intake;
mod pending;
mod questions;
mod retry;
mod ticker;
mod turns;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use adapters::{Activity, ActivityState, Adapter, Addressed, MessageId, Outgoing, Room, Sender, Tone};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use questions::QuestionCopy;
pub use retry::RetryPolicy;
use ticker::LiveTicker;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};
use turns::RoomTurn;

use crate::{
    chat::{
        outbox::Outbox,
        rooms::{RoomInput, RoomMailbox, RoomSender},
        services::ChatServices,
        sessions::RoomSession,
    },
    commands::command::{Command, CommandResult},
    permission::QuestionId,
    store::{QueuedPrompt, RoomRecord},
};

/// How many prompts may wait in a room.
pub const QUEUE_LIMIT: usize = 20;

/// How long nothing happens in a room until its task ends.
const REST: Duration = Duration::from_secs(3600);

/// What waits for the room to be free.
enum PendingWork {
    Prompt { number: Option<i64>, prompt: QueuedPrompt },
    Command { command: Arc<dyn Command>, args: String, call: CommandCall },
}

/// Who called a command, and how.
#[derive(Clone, Debug)]
struct CommandCall {
    sender: Sender,
    message: Option<MessageId>,
    addressed: Option<Addressed>,
    /// Under which it is kept in the store until it is answered.
    number: Option<i64>,
}

/// The answer of a slow command, or of one that waited in the queue.
struct LateAnswer {
    call: CommandCall,
    name: &'static str,
    result: CommandResult,
    queued: bool,
}

/// One room.
pub struct RoomTask {
    room: Room,
    services: Arc<ChatServices>,
    adapter: Arc<dyn Adapter>,
    sender: RoomSender,
    outbox: Outbox,
    session: RoomSession,
    record: RoomRecord,
    queue: VecDeque<PendingWork>,
    turn: Option<RoomTurn>,
    questions: BTreeMap<QuestionId, QuestionCopy>,
    /// The last questions that are over, newest first.
    settled: VecDeque<QuestionCopy>,
    ticker: Option<LiveTicker>,
    later: FuturesUnordered<BoxFuture<'static, LateAnswer>>,
    /// A command from the queue has the room for itself.
    command_runs: bool,
    /// Whether others read along, as far as the last message told.
    shared: bool,
    /// The last message taken in, for whoever waits for quiet.
    last: Option<MessageId>,
    told: Option<Activity>,
    /// When something last happened here.
    last_activity: Instant,
    /// Nothing happened since the room thought of rest.
    idle_exit_pending: bool,
    closing: Option<oneshot::Sender<()>>,
}

impl RoomTask {
    /// Starts the room's task.
    pub fn start(
        services: Arc<ChatServices>,
        adapter: Arc<dyn Adapter>,
        room: Room,
        sender: RoomSender,
        mailbox: RoomMailbox,
    ) {
        let record = services.store.room(&room).unwrap_or_else(|error| {
            tracing::error!(%error, %room, "the room's record cannot be read; it begins anew");
            RoomRecord::default()
        });
        let tracker = &services.tracker;
        let idle = services.config().claude.idle_timeout.limit();
        let task = Self {
            outbox: Outbox::new(adapter.clone(), room.clone(), services.redactor.clone(), tracker),
            session: RoomSession::new(sender.clone(), services.commands.agents.clone(), idle, tracker),
            services: services.clone(),
            room,
            adapter,
            sender,
            record,
            queue: VecDeque::new(),
            turn: None,
            questions: BTreeMap::new(),
            settled: VecDeque::new(),
            ticker: None,
            later: FuturesUnordered::new(),
            command_runs: false,
            shared: false,
            last: None,
            told: None,
            last_activity: Instant::now(),
            idle_exit_pending: false,
            closing: None,
        };
        tracker.spawn(task.run(mailbox));
    }

    async fn run(mut self, mut mailbox: RoomMailbox) {
        while self.closing.is_none() {
            let turn_due = self
                .turn
                .as_ref()
                .and_then(|turn| turn.due(&self.services.config(), !self.questions.is_empty()));
            let tick_due = self.ticker.as_ref().map(LiveTicker::due);
            tokio::select! {
                input = mailbox.next() => match input {
                    Some(RoomInput::AllSaid) if self.idle_exit_pending => {
                        if self.services.rooms.leave(&self.room, &mailbox) {
                            return;
                        }
                    }
                    Some(input) => self.handle_input(input).await,
                    None => break,
                },
                Some(later) = self.later.next() => self.later(later),
                () = at(turn_due) => self.turn_due(),
                () = at(tick_due) => self.tick().await,
                () = sleep_until(self.last_activity + REST) => {
                    self.last_activity = Instant::now();
                    self.try_idle_exit();
                    continue;
                }
            }
            self.last_activity = Instant::now();
            self.idle_exit_pending = false;
            self.tell_activity();
        }
        self.outbox.flush().await;
        if let Some(done) = self.closing.take() {
            let _ = done.send(());
        }
    }

    /// Every thread is a room: those that nobody speaks in any more must not pile up. Ends once all is said.
    fn try_idle_exit(&mut self) {
        self.idle_exit_pending = self.may_rest();
        if self.idle_exit_pending {
            let sender = self.sender.clone();
            self.outbox.then(move || _ = sender.send(RoomInput::AllSaid));
        }
    }

    /// Whether nothing goes on here that a new task could not take up from the store. A room that follows the pipeline is
    /// asked out of the blue, and then has to know whether people read along.
    fn may_rest(&self) -> bool {
        !self.services.config().pipeline.rooms().contains(&self.room)
            && self.turn.is_none()
            && self.queue.is_empty()
            && self.questions.is_empty()
            && self.ticker.is_none()
            && self.later.is_empty()
            && !self.command_runs
            && !self.session.lives()
    }

    async fn handle_input(&mut self, input: RoomInput) {
        match input {
            RoomInput::Message(incoming) => self.message(incoming).await,
            RoomInput::Again(incoming) => self.recheck_early_reply(incoming).await,
            RoomInput::Overheard(incoming) => self.on_unaddressed(&incoming),
            RoomInput::Session { prompt, event, place: _place } => self.session_said(prompt, event),
            RoomInput::Question(question) => self.question_opened(question),
            RoomInput::Settled(question, outcome) => self.question_settled(&question, &outcome),
            RoomInput::Verdict { request_id, answer } => self.verdict(request_id, answer),
            RoomInput::LeftQuestion { id, tool, copy } => self.left_question(id, &tool, copy),
            RoomInput::LeftPrompt { number, started, prompt } => self.left_prompt(number, started, prompt),
            RoomInput::Tell(message) => self.outbox.say(message),
            RoomInput::Notice(text) => self.outbox.say(Outgoing::text(text).with_tone(Tone::Notice)),
            RoomInput::Shutdown(done) => self.shut_down(done),
            // Something happened since.
            RoomInput::AllSaid => {}
        }
    }

    /// Tells the messenger what goes on here, whenever that changed or a message was taken in.
    fn tell_activity(&mut self) {
        let Some(after) = self.last.clone() else { return };
        // One that was answered this instant is not waited for, though its message still shows it.
        let asking = self.questions.keys().any(|id| self.services.broker.is_open(*id));
        let state = if asking {
            ActivityState::Asking
        } else if self.turn.is_some() || !self.queue.is_empty() || !self.later.is_empty() {
            ActivityState::Working
        } else {
            ActivityState::Idle
        };
        let now = Activity { state, after };
        if self.told.as_ref() != Some(&now) {
            self.told = Some(now.clone());
            self.outbox.activity(now);
        }
    }

    fn say(&self, text: impl Into<String>, tone: Tone, reply_to: Option<MessageId>) {
        self.outbox.say(Outgoing::text(text).with_tone(tone).replying_to(reply_to));
    }

    fn verbosity(&self) -> u8 {
        self.record.verbosity.unwrap_or(self.services.config().verbosity)
    }

    /// Logs a failure of the store; the room goes on with what it has in memory.
    fn log_store_error<T>(&self, result: rusqlite::Result<T>) -> Option<T> {
        result
            .inspect_err(
                |error| tracing::error!(%error, room = %self.room, "the room's state could not be written"),
            )
            .ok()
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

//! The only select loop: messages, agent events and permission questions of one room, one at a time.
//!
//! Each part owns its state: [`PromptQueue`], [`RoomTurn`], [`OpenQuestions`], [`LiveTicker`], [`RunningCommands`], [`RoomActivity`].
//! Nothing here waits for a network or a process: the [`Outbox`] sends, the session has a task of its own.

mod activity;
mod answer_text;
mod answers;
mod awaited;
mod background;
mod decisions;
mod edits;
#[cfg(test)]
pub(super) mod fixture;
mod intake;
mod left_work;
mod memory;
mod own_tools;
mod plan_replies;
mod prompt_parts;
mod prompt_queue;
mod questions;
mod requests;
mod run_command;
mod sent_times;
mod servers;
mod ticker;
mod trials;
mod turn;
mod turn_costs;
mod turn_end;
mod turn_events;

use std::{sync::Arc, time::Duration};

use activity::RoomActivity;
use adapters::{Adapter, MessageId, Outgoing, Room, Tone};
use prompt_queue::PromptQueue;
pub use prompt_queue::QUEUE_LIMIT;
use questions::OpenQuestions;
use run_command::RunningCommands;
use ticker::LiveTicker;
use tokio::time::{Instant, sleep_until};
use turn::RoomTurn;

use crate::{
    chat::{
        delivery::DeliveryReport,
        network::RoomSpending,
        outbox::Outbox,
        rooms::{RoomInput, RoomMailbox, RoomSender},
        services::ChatServices,
        session::{RoomSession, SessionOptions},
    },
    commands::command::{RoomCompany, RoomView},
    permission::Asker,
    store::RoomRecord,
};

/// How long a room is idle before its task exits.
const IDLE_EXIT: Duration = Duration::from_secs(3600);

pub struct RoomTask {
    room: Room,
    services: Arc<ChatServices>,
    adapter: Arc<dyn Adapter>,
    sender: RoomSender,
    outbox: Outbox,
    record: RoomRecord,
    queue: PromptQueue,
    turn: RoomTurn,
    questions: OpenQuestions,
    ticker: LiveTicker,
    commands: RunningCommands,
    activity: RoomActivity,
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
        let tracker = services.tasks.tracker.clone();
        tracker.spawn(Self::new(services, adapter, room, sender).run(mailbox));
    }

    fn new(services: Arc<ChatServices>, adapter: Arc<dyn Adapter>, room: Room, sender: RoomSender) -> Self {
        // A room whose record is unreadable still answers, without its session and its choices.
        let record = services.store.room(&room).unwrap_or_else(|error| {
            tracing::error!(%error, %room, "the room's record cannot be read; an empty one is used");
            RoomRecord::default()
        });
        let tracker = &services.tasks.tracker;
        let idle = services.config().claude.idle_timeout.limit();
        let updates = sender.clone();
        let spending = RoomSpending::below(&services.connections.day);
        let asker = Asker::room(room.clone());
        let options = SessionOptions {
            agents: services.commands.agents.clone(),
            idle_timeout: idle,
            background_timeout: services.config().claude.background_timeout.limit(),
            waiting: Arc::default(),
            meter: spending.meter(),
            read: asker.read().clone(),
        };
        let waiting = options.waiting.clone();
        let session =
            RoomSession::new(move |update| _ = updates.send(RoomInput::Session(update)), options, tracker);
        Self {
            outbox: Outbox::new(
                adapter.clone(),
                room.clone(),
                services.redactor.clone(),
                DeliveryReport::new(&services, &room),
                tracker,
            ),
            queue: PromptQueue::new(room.clone(), services.store.clone()),
            turn: RoomTurn::new(session, asker, spending, waiting),
            questions: OpenQuestions::default(),
            ticker: LiveTicker::default(),
            commands: RunningCommands::default(),
            activity: RoomActivity::default(),
            services,
            room,
            adapter,
            sender,
            record,
        }
    }

    async fn run(mut self, mut mailbox: RoomMailbox) {
        let done = loop {
            tokio::select! {
                input = mailbox.next() => match input {
                    Some(RoomInput::OutboxDrained) if self.activity.idle_exit_pending => {
                        // An input that arrived meanwhile saves the task: `leave` refuses, and the loop handles it.
                        if self.services.rooms.leave(&self.room, &mailbox) {
                            return;
                        }
                    }
                    Some(RoomInput::Shutdown(done)) => {
                        self.shut_down();
                        self.tell_activity();
                        break Some(done);
                    }
                    Some(input) => self.handle_input(input).await,
                    None => break None,
                },
                Some(answer) = self.commands.next_answer() => self.on_late_answer(answer),
                () = sleep_until_some(self.turn.due()) => self.send_prompt_again(),
                // While a question is open nothing is shown, and its end shows it.
                () = sleep_until_some(self.turn.progress_due().filter(|_| self.questions.is_empty())) => {
                    self.show_progress();
                    continue;
                }
                () = sleep_until_some(self.ticker.due()) => self.tick(),
                () = sleep_until(self.activity.last + IDLE_EXIT) => {
                    // Otherwise this branch would fire again at once, for as long as the room cannot exit. `continue`
                    // skips `touch`, which would cancel the exit that is pending.
                    self.activity.last = Instant::now();
                    self.try_idle_exit();
                    continue;
                }
            }
            self.activity.touch();
            self.tell_activity();
        };
        self.outbox.flush().await;
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    // Every thread is a room, and threads that nobody writes in any more must not pile up. The task waits for its
    // outbox first: messages still in it would be lost with the task.
    fn try_idle_exit(&mut self) {
        self.activity.idle_exit_pending = self.may_exit();
        if self.activity.idle_exit_pending {
            let sender = self.sender.clone();
            self.outbox.then(move || _ = sender.send(RoomInput::OutboxDrained));
        }
    }

    // A new task finds the rest in the store, so only live state needs the old one: a turn, a question, a
    // process. A room that follows the pipeline stays, because questions arrive there unprompted and it has to
    // know whether people read along.
    fn may_exit(&self) -> bool {
        !self.services.commands.messengers.followers(&self.services.config().pipeline).contains(&self.room)
            && !self.is_busy()
            && self.questions.is_empty()
            && !self.ticker.is_running()
            && self.commands.is_empty()
            && !self.turn.session.is_alive()
    }

    async fn handle_input(&mut self, input: RoomInput) {
        match input {
            RoomInput::Message(incoming) => self.on_message(incoming).await,
            RoomInput::EarlyReply(incoming) => self.recheck_early_reply(incoming).await,
            RoomInput::Overheard(incoming) => self.on_unaddressed(&incoming),
            RoomInput::Session(update) => self.on_session_update(update),
            RoomInput::Entered(entered) => self.on_entered(*entered),
            RoomInput::Question(question) => self.on_question(question),
            RoomInput::Trial(question, news) => self.on_trial(&question, &news),
            RoomInput::Settled(question, outcome) => self.on_question_settled(&question, &outcome),
            RoomInput::Verdict { request_id, answer } => self.on_verdict(request_id, answer),
            RoomInput::ToolsAnswered { request_id, answered } => self.on_tools_answered(request_id, answered),
            RoomInput::LeftQuestion { id, question, copy } => self.on_left_question(id, &question, copy),
            RoomInput::LeftPrompt { number, state, prompt } => self.on_left_prompt(number, state, prompt),
            RoomInput::Tell(notice) => self.on_pipeline_notice(notice),
            RoomInput::Evidence(message, files) => self.outbox.say_with(message, files),
            RoomInput::WentOn(story) => self.close_decision(story),
            RoomInput::Notice(text) => self.outbox.say(Outgoing::text(text).with_tone(Tone::Notice)),
            // The loop handles `Shutdown` itself. `OutboxDrained` arrives here when something happened after the room
            // decided to exit, so the exit is off.
            RoomInput::Shutdown(_) | RoomInput::OutboxDrained => {}
        }
    }

    fn is_busy(&self) -> bool {
        self.turn.is_running() || self.commands.has_room() || !self.queue.is_empty()
    }

    fn view(&self) -> RoomView {
        RoomView {
            running: self.running_turn(),
            queue: self.queue.describe(),
            questions: self.questions.iter().cloned().collect(),
            model: self.record.model.clone(),
            verbosity: self.verbosity(),
            company: RoomCompany {
                ambient: self.services.ambient.is_on(&self.room),
                shared: self.activity.shared,
            },
            session: self.record.session.as_ref().map(ToString::to_string),
            htop: self.ticker.is_running(),
            worktree: self.works_in_worktree(),
            place: self.place(),
            last_request: self.turn.last_request.clone(),
            background: self.turn.background.view(Instant::now()),
        }
    }

    /// Whether it works in a worktree of its own, or will with its first prompt.
    fn works_in_worktree(&self) -> bool {
        let now = self.turn.place.workspace.as_ref().map(|workspace| workspace.branch.is_some());
        now.unwrap_or_else(|| self.wants_worktree())
    }

    fn say(&self, text: impl Into<String>, tone: Tone, reply_to: Option<MessageId>) {
        // What replies to nobody belongs to the turn.
        let near = reply_to.as_ref().or_else(|| self.turn.current.as_ref()?.prompt.message.as_ref()).cloned();
        self.outbox.say_near(Outgoing::text(text).with_tone(tone).replying_to(reply_to), near.as_ref());
    }

    fn verbosity(&self) -> u8 {
        self.record.verbosity.unwrap_or(self.services.config().verbosity)
    }

    // A room without its store still works: it continues with its state in memory, and only a restart forgets.
    fn log_store_error<T>(&self, result: rusqlite::Result<T>) -> Option<T> {
        log_store_error(&self.room, result)
    }
}

fn log_store_error<T>(room: &Room, result: rusqlite::Result<T>) -> Option<T> {
    result.inspect_err(|error| tracing::error!(%error, %room, "the room's state could not be written")).ok()
}

async fn sleep_until_some(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

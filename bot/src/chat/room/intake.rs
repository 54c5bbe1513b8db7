//! What people say in the room: commands at once, answers to questions, prompts into the queue.

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll};

use adapters::{Addressed, Incoming, MessageId, Outgoing, PersonAct, Room, Sender, Tone};
use futures::FutureExt as _;

use super::{CommandCall, LateAnswer, PendingWork, QUEUE_LIMIT, RoomTask, answers};
use crate::{
    chat::rooms::RoomInput,
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, ParsedText, Reply, RoomAction, RoomView,
        RunningTurn,
    },
    permission::Question,
    replies,
    store::{OverheardTalk, QueuedPrompt},
};

impl RoomTask {
    pub(super) async fn message(&mut self, incoming: Incoming) {
        self.last = Some(incoming.id.clone());
        self.shared = incoming.shared;
        match &incoming.act {
            PersonAct::Said { text } => self.said(&incoming, text).await,
            PersonAct::Chose { key, .. } => self.chose(&incoming, key).await,
            PersonAct::Redacted { message } => self.redacted(message),
        }
    }

    /// Talk among people is kept as context for the next prompt.
    pub(super) fn on_unaddressed(&mut self, incoming: &Incoming) {
        let PersonAct::Said { text } = &incoming.act else { return };
        let talk = OverheardTalk { who: incoming.sender.name.to_string(), text: text.clone() };
        self.log_store_error(self.services.store.overhear(
            &self.room,
            &talk,
            self.services.config().history_size,
        ));
    }

    /// What was put off: by now it is known what it replies to.
    pub(super) async fn recheck_early_reply(&mut self, incoming: Incoming) {
        if let PersonAct::Said { text } = &incoming.act {
            self.said(&incoming, text).await;
        }
    }

    async fn said(&mut self, incoming: &Incoming, text: &str) {
        let call = CommandCall {
            sender: incoming.sender.clone(),
            message: Some(incoming.id.clone()),
            addressed: incoming.addressed,
            number: None,
        };
        if self.is_early(incoming, text) {
            let (sender, incoming) = (self.sender.clone(), incoming.clone());
            // A room that ends meanwhile has closed its questions.
            return self.outbox.then(move || _ = sender.send(RoomInput::Again(incoming)));
        }
        if self.answers_question(&call, text, incoming.reply_to.as_ref()) {
            return;
        }
        let services = self.services.clone();
        match services.commands.registry.parse(text, incoming.addressed) {
            ParsedText::Command(command, args)
                if self.is_meant(&*command, text, args, incoming.addressed) =>
            {
                self.command(command, args.to_owned(), call).await;
            }
            ParsedText::Unknown(word, near) => {
                self.say(replies::unknown_command(word, near), Tone::Failure, call.message);
            }
            ParsedText::Prompt if text.trim().is_empty() => {
                self.say(replies::greeting(&services.config().display_name), Tone::Answer, call.message);
            }
            ParsedText::Prompt | ParsedText::Command(..) => match self.thread_for(incoming) {
                Some(thread) => self.move_to(thread, incoming),
                None => self.enqueue_prompt(incoming, text),
            },
        }
    }

    /// An answer by reply to what may be a question that is just being sent: it is read once that is known.
    fn is_early(&self, incoming: &Incoming, text: &str) -> bool {
        let is_command = matches!(incoming.addressed, Some(Addressed::Prefix | Addressed::Slash));
        let reply_to = incoming.reply_to.as_ref().filter(|_| !is_command);
        reply_to.is_some_and(|message| self.may_answer_early(message, text))
    }

    /// Where the messenger has threads, a prompt opens one. In an ambient room the room itself is the conversation.
    fn thread_for(&self, incoming: &Incoming) -> Option<Room> {
        match self.services.ambient.is_on(&self.room) {
            true => None,
            false => self.adapter.open_thread(&self.room, &incoming.id),
        }
    }

    /// The prompt goes on in its thread, and what was said here before goes along.
    fn move_to(&self, thread: Room, incoming: &Incoming) {
        let history = self.services.config().history_size;
        for talk in self.log_store_error(self.services.store.take_talk(&self.room)).unwrap_or_default() {
            self.log_store_error(self.services.store.overhear(&thread, &talk, history));
        }
        if !self.services.rooms.offer(Incoming { room: thread, ..incoming.clone() }, true) {
            self.say(replies::queue_full(QUEUE_LIMIT), Tone::Failure, Some(incoming.id.clone()));
        }
    }

    async fn chose(&mut self, incoming: &Incoming, key: &str) {
        // Where a reply to a pick is seen by that person alone, it names the pick; elsewhere there is nothing to reply to.
        let private = self.adapter.capabilities().private_replies;
        let message = private.then(|| incoming.id.clone());
        let call = CommandCall {
            sender: incoming.sender.clone(),
            message,
            addressed: Some(Addressed::Prefix),
            number: None,
        };
        if let Some((id, answer)) = Question::parse_key(key) {
            self.give_answer(&call, id, answer);
        } else if let Some(line) = key.strip_prefix("cmd:") {
            let registry = self.services.clone();
            if let ParsedText::Command(command, args) = registry.commands.registry.parse(line, call.addressed)
            {
                self.command(command, args.to_owned(), call).await;
            }
        } else {
            tracing::warn!(key, room = %self.room, "a choice that nobody offered");
        }
    }

    /// A prompt that was taken back before its turn is not run.
    fn redacted(&mut self, message: &MessageId) {
        let position = self.queue.iter().position(|waiting| match waiting {
            PendingWork::Prompt { prompt, .. } => prompt.message == *message,
            PendingWork::Command { call, .. } => call.message.as_ref() == Some(message),
        });
        if let Some(waiting) = position.and_then(|position| self.queue.remove(position)) {
            self.forget(&waiting);
            self.say(replies::TAKEN_BACK, Tone::Notice, None);
        }
    }

    /// Whether a text that begins with a command's name is that command. With a prefix it always is.
    fn is_meant(&self, command: &dyn Command, text: &str, args: &str, addressed: Option<Addressed>) -> bool {
        if matches!(addressed, Some(Addressed::Prefix | Addressed::Slash)) {
            return true;
        }
        let answers_nothing =
            self.questions.is_empty() && answers::is_answer_word(text) && !answers::names_a_question(text);
        if let Some(begins) = command.spec().begins {
            return args.is_empty() || begins(args);
        }
        let prose = !command.spec().takes_text && reads_as_prose(args);
        !answers_nothing && !prose
    }

    pub(super) async fn command(&mut self, command: Arc<dyn Command>, args: String, mut call: CommandCall) {
        let spec = command.spec();
        let role = self.services.access().role(&self.room, &call.sender.id);
        if role.is_none_or(|role| role < spec.role) {
            return self.say(replies::not_allowed(spec.name, spec.role), Tone::Failure, call.message);
        }
        if !spec.immediate && self.is_busy() {
            let position = self.queue.len() + 1;
            if position > QUEUE_LIMIT {
                return self.say(replies::queue_full(QUEUE_LIMIT), Tone::Failure, call.message);
            }
            self.say(replies::command_waits(spec.name, position), Tone::Notice, call.message.clone());
            call.number = self.keep_command(&*command, &args, &call, false);
            return self.queue.push_back(PendingWork::Command { command, args, call });
        }
        self.run_command(&*command, &args, call).await;
    }

    /// Runs it. What is not answered at once is kept until it is; most commands are, and the store would cost them more than
    /// all else.
    pub(super) async fn run_command(&mut self, command: &dyn Command, args: &str, mut call: CommandCall) {
        let (number, result) = {
            let mut run = pin!(contained(command.run(self.context(&call.sender, args))));
            match futures::poll!(run.as_mut()) {
                Poll::Ready(result) if !goes_on(&result) => (None, result),
                Poll::Ready(result) => (self.keep_command(command, args, &call, true), result),
                Poll::Pending => (self.keep_command(command, args, &call, true), run.await),
            }
        };
        call.number = number;
        self.answer_command(&call, command.spec().name, result);
    }

    /// A slow command, or one that waited in the queue, has its answer.
    pub(super) fn later(&mut self, later: LateAnswer) {
        self.answer_command(&later.call, later.name, later.result);
        if later.queued {
            self.command_runs = false;
            self.next_in_queue();
        }
    }

    fn context<'a>(&'a self, sender: &'a Sender, args: &'a str) -> CommandContext<'a> {
        CommandContext {
            services: &self.services.commands,
            room: &self.room,
            sender,
            capabilities: self.adapter.capabilities(),
            view: self.view(),
            args,
        }
    }

    /// Tells what a command answers. From then on a kill has nothing to tell of it, unless it goes on.
    pub(super) fn answer_command(&mut self, call: &CommandCall, name: &'static str, result: CommandResult) {
        let goes_on = goes_on(&result);
        self.tell_answer(call, name, result);
        if let Some(number) = call.number.filter(|_| !goes_on) {
            self.done_when_told(number);
        }
    }

    fn tell_answer(&mut self, call: &CommandCall, name: &'static str, result: CommandResult) {
        let reply = match result {
            Ok(reply) => reply,
            Err(error) => return self.say(self.explain(name, error), Tone::Failure, call.message.clone()),
        };
        let Reply { text, tone, choices, then } = reply;
        // The router reads this for the next message, which may come as soon as the reply is seen.
        if let Some(RoomAction::SetAmbient(on)) = then {
            self.set_ambient(on);
        }
        if !text.is_empty() {
            let message = Outgoing { choices, ..Outgoing::text(text) };
            self.outbox.say(message.with_tone(tone).replying_to(call.message.clone()));
        }
        if let Some(action) = then {
            self.act(action, call, name);
        }
    }

    fn explain(&self, name: &str, error: CommandError) -> String {
        let usage = self
            .services
            .commands
            .registry
            .get(name)
            .map(|command| command.spec().usage())
            .unwrap_or_default();
        match error {
            CommandError::Usage(text) => replies::usage(&text, &usage),
            CommandError::User(text) => text,
            CommandError::Internal(error) => {
                let number = replies::incident();
                tracing::error!(incident = number, command = name, room = %self.room, "{error:#}");
                replies::internal_error(&number)
            }
        }
    }

    fn act(&mut self, action: RoomAction, call: &CommandCall, name: &'static str) {
        match action {
            RoomAction::StopTurn => self.stop_turn(),
            RoomAction::ClearQueue => self.clear_queue(),
            RoomAction::ResetSession => self.reset_session(),
            RoomAction::SetModel(model) => {
                self.log_store_error(self.services.store.set_model(&self.room, model.as_deref()));
                self.record.model = model;
                self.session.set_model(self.model());
            }
            RoomAction::SetVerbosity(verbosity) => {
                self.log_store_error(self.services.store.set_verbosity(&self.room, verbosity));
                self.record.verbosity = Some(verbosity);
            }
            RoomAction::SetAmbient(_) => {}
            RoomAction::Htop(length) => self.start_ticker(length),
            RoomAction::StopHtop => self.stop_ticker(),
            RoomAction::Restart => self.services.commands.restart.ask(Some(&self.room)),
            RoomAction::Later(answer) => {
                let call = call.clone();
                self.later.push(Box::pin(async move {
                    LateAnswer { call, name, result: contained(answer).await, queued: false }
                }));
            }
        }
    }

    fn set_ambient(&mut self, on: bool) {
        if let Err(error) = self.services.ambient.set(&self.room, on) {
            tracing::error!("{error:#}");
            self.say(replies::ambient_not_written(&error), Tone::Failure, None);
        }
    }

    // --- the queue ---

    fn enqueue_prompt(&mut self, incoming: &Incoming, text: &str) {
        if self.queue.len() >= QUEUE_LIMIT {
            // In an ambient room people talk among themselves: kept as context, without a word about the queue.
            return match incoming.addressed {
                None => self.on_unaddressed(incoming),
                Some(_) => {
                    self.say(replies::queue_full(QUEUE_LIMIT), Tone::Failure, Some(incoming.id.clone()));
                }
            };
        }
        let prompt = QueuedPrompt {
            message: incoming.id.clone(),
            sender_id: incoming.sender.id.to_string(),
            sender_name: incoming.sender.name.to_string(),
            text: text.to_owned(),
            addressed: incoming.addressed,
            shared: incoming.shared,
            sent_at: incoming.sent_at,
            is_command: false,
        };
        let number = self.log_store_error(self.services.store.queue_prompt(&self.room, &prompt));
        let busy = self.is_busy();
        self.queue.push_back(PendingWork::Prompt { number, prompt });
        if busy && incoming.addressed.is_some() {
            self.say(replies::queued(self.queue.len()), Tone::Notice, Some(incoming.id.clone()));
        }
        self.next_in_queue();
    }

    fn clear_queue(&mut self) {
        for waiting in std::mem::take(&mut self.queue) {
            self.forget(&waiting);
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.turn.is_some() || self.command_runs || !self.queue.is_empty()
    }

    /// Begins what waits, as far as the room is free. Commands that waited run in place.
    pub(super) fn next_in_queue(&mut self) {
        if self.turn.is_some() || self.command_runs || self.closing.is_some() {
            return;
        }
        match self.queue.pop_front() {
            Some(PendingWork::Prompt { number, prompt }) => self.begin_turn(number, prompt),
            Some(PendingWork::Command { command, args, call }) => {
                if let Some(number) = call.number {
                    self.log_store_error(self.services.store.prompt_started(number));
                }
                let services = self.services.clone();
                let room = self.room.clone();
                let (view, capabilities) = (self.view(), self.adapter.capabilities());
                let name = command.spec().name;
                self.later.push(Box::pin(async move {
                    let context = CommandContext {
                        services: &services.commands,
                        room: &room,
                        sender: &call.sender,
                        capabilities,
                        view,
                        args: &args,
                    };
                    let result = contained(command.run(context)).await;
                    LateAnswer { call, name, result, queued: true }
                }));
                self.command_runs = true;
            }
            None => {}
        }
    }

    pub(super) fn view(&self) -> RoomView {
        RoomView {
            running: self.turn.as_ref().map(|turn| RunningTurn {
                who: turn.prompt.sender_name.clone(),
                since: turn.since.into_std(),
                waiting: turn.waiting(),
            }),
            queue: self.queue.iter().map(PendingWork::describe).collect(),
            questions: self.questions.values().map(|copy| copy.question.clone()).collect(),
            model: self.record.model.clone(),
            verbosity: self.verbosity(),
            ambient: self.services.ambient.is_on(&self.room),
            session: self.record.session.as_ref().map(ToString::to_string),
            htop: self.ticker.is_some(),
        }
    }
}

impl PendingWork {
    fn describe(&self) -> (String, String) {
        match self {
            Self::Prompt { prompt, .. } => (prompt.sender_name.clone(), prompt.text.clone()),
            Self::Command { command, args, call } => {
                (call.sender.name.to_string(), format!("{} {args}", command.spec().name))
            }
        }
    }
}

/// Whether this is not its whole answer yet.
fn goes_on(result: &CommandResult) -> bool {
    matches!(result, Ok(Reply { then: Some(RoomAction::Later(_)), .. }))
}

/// A command that panics is a defect of that command, not the end of the room.
async fn contained(run: impl Future<Output = CommandResult>) -> CommandResult {
    let caught = AssertUnwindSafe(run).catch_unwind().await;
    caught.unwrap_or_else(|_| Err(CommandError::Internal(anyhow::anyhow!("the command panicked"))))
}

/// "help me fix the failing build" begins with a command's name and is none.
fn reads_as_prose(args: &str) -> bool {
    args.split_whitespace().count() >= 3
}

#[cfg(test)]
mod tests {
    use super::reads_as_prose;

    #[test]
    fn short_arguments_are_a_command_and_a_sentence_is_not() {
        assert!(!reads_as_prose("on"));
        assert!(!reads_as_prose("revoke 3"));
        assert!(reads_as_prose("me fix the failing build"));
    }
}

//! Commands: run at once or from the queue, answered, and what their answers do to the room.

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll};

use adapters::{Outgoing, SentFile, Tone};
use agents::prompt::AgentCommand;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use pipeline::{Pipeline, PipelineError, event::Actor, handle::Author};

use super::{
    QUEUE_LIMIT, RoomTask,
    prompt_queue::{CommandCall, QueuedWork},
};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, Reply, RoomAction},
    replies,
    sent_files::FileDelivery,
    store::QueuedPrompt,
};

/// Commands that have begun and have no answer yet.
#[derive(Default)]
pub(super) struct RunningCommands {
    answers: FuturesUnordered<BoxFuture<'static, LateAnswer>>,
    /// A command from the queue runs: no turn and no other queued command may start.
    has_room: bool,
}

/// The answer of a slow command, or of one that waited in the queue.
pub(super) struct LateAnswer {
    call: CommandCall,
    name: &'static str,
    result: CommandResult,
    queued: bool,
}

impl RunningCommands {
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.has_room
    }

    fn push(&mut self, answer: impl Future<Output = LateAnswer> + Send + 'static) {
        self.answers.push(Box::pin(answer));
    }

    /// The next answer; `None` while nothing runs.
    pub(super) async fn next_answer(&mut self) -> Option<LateAnswer> {
        self.answers.next().await
    }
}

impl RoomTask {
    pub(super) async fn call_command(
        &mut self,
        command: Arc<dyn Command>,
        args: String,
        mut call: CommandCall,
    ) {
        let spec = command.spec();
        let role = self.services.access().role(&self.room, &call.sender.id);
        if role.is_none_or(|role| role < spec.role) {
            return self.say(replies::not_allowed(spec.name, spec.role), Tone::Failure, call.message);
        }
        if !spec.immediate && self.is_busy() {
            if self.queue.is_full() {
                return self.say(replies::queue_full(QUEUE_LIMIT), Tone::Failure, call.message);
            }
            let position = self.queue.len() + 1;
            // A command that changes the session (`model`, `reset`) must not overtake the prompts before it.
            self.say(replies::command_waits(spec.name, position), Tone::Notice, call.message.clone());
            call.number = self.keep_command(&*command, &args, &call, false);
            return self.queue.push_stored(QueuedWork::Command { command, args, call });
        }
        self.run_command(&*command, &args, call).await;
    }

    // Most commands are answered at the first poll, and a write to the store would cost more than the command. Only
    // one that takes longer gets a row, so that a kill before its answer is reported.
    async fn run_command(&mut self, command: &dyn Command, args: &str, mut call: CommandCall) {
        let (number, result) = {
            let mut run = pin!(contained(command.run(self.context(&call, args))));
            match futures::poll!(run.as_mut()) {
                Poll::Ready(result) if !is_preliminary(&result) => (None, result),
                Poll::Ready(result) => (self.keep_command(command, args, &call, true), result),
                Poll::Pending => (self.keep_command(command, args, &call, true), run.await),
            }
        };
        call.number = number;
        self.answer_command(&call, command.spec().name, result);
    }

    /// A slow command, or one that waited in the queue, has its answer.
    pub(super) fn on_late_answer(&mut self, answer: LateAnswer) {
        self.answer_command(&answer.call, answer.name, answer.result);
        if answer.queued {
            self.commands.has_room = false;
            self.next_in_queue();
        }
    }

    fn context<'a>(&'a self, call: &'a CommandCall, args: &'a str) -> CommandContext<'a> {
        CommandContext {
            services: &self.services.commands,
            room: &self.room,
            sender: &call.sender,
            message: call.message.as_ref(),
            files: self.delivery(call.files.clone()),
            capabilities: self.adapter.capabilities(),
            view: self.view(),
            args,
        }
    }

    /// These files, from the room's messenger.
    pub(super) fn delivery(&self, files: Vec<SentFile>) -> FileDelivery {
        FileDelivery { adapter: self.adapter.clone(), files }
    }

    // A preliminary answer ("building …") leaves the row in the store: a restart must still report that
    // the whole answer never came.
    pub(super) fn answer_command(&mut self, call: &CommandCall, name: &'static str, result: CommandResult) {
        let is_preliminary = is_preliminary(&result);
        self.say_answer(call, name, result);
        if let Some(number) = call.number.filter(|_| !is_preliminary) {
            self.done_when_told(number);
        }
    }

    fn say_answer(&mut self, call: &CommandCall, name: &'static str, result: CommandResult) {
        let reply = match result {
            Ok(reply) => reply,
            Err(error) => return self.say(self.explain(name, error), Tone::Failure, call.message.clone()),
        };
        let Reply { text, tone, choices, then, is_secret } = reply;
        // Before the reply: the router reads the mode for the next message, which may come as soon
        // as people see the reply.
        if let Some(RoomAction::SetAmbient(on)) = then {
            self.set_ambient(on);
        }
        if !text.is_empty() {
            let message = Outgoing { choices, is_secret, ..Outgoing::text(text) };
            self.outbox.say(message.with_tone(tone).replying_to(call.message.clone()));
        }
        if let Some(action) = then {
            self.apply_action(action, call, name);
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

    fn apply_action(&mut self, action: RoomAction, call: &CommandCall, name: &'static str) {
        match action {
            RoomAction::StopTurn => self.stop_turn(),
            RoomAction::ClearQueue => self.queue.clear(),
            RoomAction::ResetSession => self.reset_session(),
            RoomAction::Compact(focus) => self.compact_session(&focus, call),
            RoomAction::SetModel(model) => {
                self.log_store_error(self.services.store.set_model(&self.room, model.as_deref()));
                self.record.model = model;
                self.turn.session.set_model(self.model());
            }
            RoomAction::SetVerbosity(verbosity) => {
                self.log_store_error(self.services.store.set_verbosity(&self.room, verbosity));
                self.record.verbosity = Some(verbosity);
            }
            RoomAction::SetAmbient(_) => {}
            RoomAction::Htop(length) => self.start_ticker(length, call.message.as_ref()),
            RoomAction::StopHtop => self.stop_ticker(),
            RoomAction::Restart => self.services.commands.restart.ask(Some(&self.room)),
            RoomAction::Land(title) => {
                let by = Actor::Person(call.sender.name.to_string());
                // The person who lands them has not written these changes.
                let author = Author { by, read: self.turn.asker.read().texts() };
                self.work_on_changes(call, name, move |pipeline, room| async move {
                    let landed = pipeline.land(&room, &title, author).await?;
                    Ok(replies::landed(&landed))
                });
            }
            RoomAction::Discard { keeps_copy } => {
                self.work_on_changes(call, name, move |pipeline, room| async move {
                    let discarded = pipeline.discard_room(&room, keeps_copy).await?;
                    Ok(replies::discarded(&discarded))
                });
            }
            RoomAction::Prompt(task) => self.prompt_for(call, task),
            RoomAction::Await(what) => self.await_text(call, what),
            RoomAction::Later(answer) => {
                let call = call.clone();
                self.commands.push(async move {
                    LateAnswer { call, name, result: contained(answer).await, queued: false }
                });
            }
        }
    }

    /// Begins a turn with the agent program's own command.
    fn compact_session(&mut self, focus: &str, call: &CommandCall) {
        let prompt = QueuedPrompt {
            message: call.message.clone(),
            sender_id: call.sender.id.to_string(),
            sender_name: call.sender.name.to_string(),
            text: AgentCommand::compact(focus).line(),
            addressed: call.addressed,
            shared: self.activity.shared,
            sent_at: self.services.clock.now(),
            is_command: false,
            enclosed: adapters::Enclosed::default(),
            continues: false,
            thread: call
                .message
                .as_ref()
                .and_then(|message| self.outbox.thread_of(message))
                .map(ToString::to_string),
        };
        let number = self.log_store_error(self.services.store.begin_prompt(&self.room, &prompt));
        self.begin_turn(number, prompt);
    }

    /// Lands or discards the room's changes. Meanwhile no turn starts: the worktree is nobody else's.
    fn work_on_changes<W>(
        &mut self,
        call: &CommandCall,
        name: &'static str,
        work: impl FnOnce(Pipeline, String) -> W + Send + 'static,
    ) where
        W: Future<Output = Result<String, PipelineError>> + Send,
    {
        if self.turn.is_running() || self.commands.has_room {
            let sentence =
                if self.turn.is_running() { replies::LAND_WHILE_BUSY } else { replies::LAND_LATER };
            return self.answer_command(call, name, Err(CommandError::User(sentence.into())));
        }
        let (pipeline, session) = (self.services.commands.pipeline.clone(), self.turn.session.closer());
        let (room, call) = (self.room.to_string(), call.clone());
        self.commands.has_room = true;
        self.commands.push(async move {
            let working = async {
                // Its processes may still write.
                session.close().await;
                let done = work(pipeline, room).await;
                let done = done.map_err(|error| CommandError::User(replies::refused_by_pipeline(&error)))?;
                Ok(Reply::notice(done))
            };
            LateAnswer { call, name, result: contained(working).await, queued: true }
        });
    }

    fn set_ambient(&mut self, on: bool) {
        if let Err(error) = self.services.ambient.set(&self.room, on) {
            tracing::error!("{error:#}");
            self.say(replies::ambient_not_written(&error), Tone::Failure, None);
        }
    }

    /// Begins the next work in the queue if the room is free.
    pub(super) fn next_in_queue(&mut self) {
        if self.turn.is_running() || self.commands.has_room {
            return;
        }
        match self.queue.pop() {
            Some(QueuedWork::Prompt { number, prompt }) => self.begin_turn(number, prompt),
            Some(QueuedWork::Command { command, args, call }) => {
                self.begin_queued_command(command, args, call);
            }
            None => {}
        }
    }

    fn begin_queued_command(&mut self, command: Arc<dyn Command>, args: String, call: CommandCall) {
        if let Some(number) = call.number {
            self.log_store_error(
                self.services.store.set_prompt_state(number, crate::store::PromptState::Acts),
            );
        }
        let services = self.services.clone();
        let room = self.room.clone();
        let (view, capabilities) = (self.view(), self.adapter.capabilities());
        let delivery = self.delivery(call.files.clone());
        let name = command.spec().name;
        self.commands.has_room = true;
        self.commands.push(async move {
            let context = CommandContext {
                services: &services.commands,
                room: &room,
                sender: &call.sender,
                message: call.message.as_ref(),
                files: delivery,
                capabilities,
                view,
                args: &args,
            };
            let result = contained(command.run(context)).await;
            LateAnswer { call, name, result, queued: true }
        });
    }
}

/// Whether this is not its whole answer yet.
fn is_preliminary(result: &CommandResult) -> bool {
    matches!(
        result,
        Ok(Reply { then: Some(RoomAction::Later(_) | RoomAction::Land(_) | RoomAction::Discard { .. }), .. })
    )
}

// A command that panics is a defect of that command; it must not take the room and its turn down.
async fn contained(run: impl Future<Output = CommandResult>) -> CommandResult {
    let caught = AssertUnwindSafe(run).catch_unwind().await;
    caught.unwrap_or_else(|_| Err(CommandError::Internal(anyhow::anyhow!("the command panicked"))))
}

#[cfg(test)]
mod tests {
    use adapters::{Addressed, Sender};

    use super::*;
    use crate::{chat::room::fixture::RoomFixture, config::access::UserRole};

    #[tokio::test]
    async fn a_command_that_panics_is_its_own_failure() {
        let result = contained(async { panic!("a defect") }).await;
        assert!(matches!(result, Err(CommandError::Internal(_))));
    }

    #[tokio::test]
    async fn nothing_answers_while_nothing_runs() {
        let mut commands = RunningCommands::default();
        assert!(commands.is_empty() && commands.next_answer().await.is_none());
        let sender = Sender { id: "@ann".into(), name: "Ann".into(), is_bot: false };
        let call = CommandCall { sender, message: None, addressed: None, files: Vec::new(), number: None };
        commands
            .push(async { LateAnswer { call, name: "status", result: Ok(Reply::default()), queued: false } });
        assert!(!commands.is_empty() && !commands.has_room());
        assert_eq!(commands.next_answer().await.map(|answer| answer.name), Some("status"));
        assert!(commands.is_empty());
    }

    fn act(fixture: &mut RoomFixture, action: RoomAction) {
        let call = fixture.call("ann", Some(Addressed::Prefix));
        fixture.task.answer_command(&call, "test", Ok(Reply::text("ok").then(action)));
    }

    #[tokio::test]
    async fn a_command_needs_its_role() {
        let mut fixture = RoomFixture::new().await;
        fixture.says("bob", "!restart").await;
        fixture.says("eve", "!whoami").await;
        let expected = [
            replies::not_allowed("restart", UserRole::Operator),
            replies::not_allowed("whoami", UserRole::User),
        ];
        let expected: String = expected.iter().map(|text| format!("bot (failure): {text}\n")).collect();
        assert_eq!(fixture.transcript().await, expected);
        assert!(!fixture.services.commands.restart.is_asked());
    }

    #[tokio::test]
    async fn what_changes_the_session_waits_for_the_prompts_before_it_and_then_has_the_room() {
        let mut fixture = RoomFixture::new().await;
        fixture.says("ann", "fix it").await;
        fixture.says("ann", "!model haiku").await;
        let waits = format!("bot (notice): {}\n", replies::command_waits("model", 1));
        assert_eq!(fixture.transcript().await, waits);
        assert_eq!(fixture.left(), [("fix it".into(), true), ("model haiku".into(), false)]);
        fixture.answers("done");
        assert_eq!(fixture.left()[..], [("fix it".into(), true), ("model haiku".into(), true)]);
        fixture.says("ann", "and this").await;
        assert!(
            !fixture.task.turn.is_running() && fixture.task.commands.has_room(),
            "the command goes first"
        );
        fixture.handles_answer().await;
        assert_eq!(fixture.task.record.model.as_deref(), Some("haiku"));
        assert!(fixture.task.turn.is_running() && !fixture.task.commands.has_room());
        fixture.task.outbox.flush().await;
        assert_eq!(fixture.left(), [("and this".into(), true)]);
    }

    #[tokio::test]
    async fn a_command_in_a_full_queue_is_refused() {
        let mut fixture = RoomFixture::new().await;
        for number in 0..=QUEUE_LIMIT {
            fixture.says("ann", &format!("prompt {number}")).await;
        }
        fixture.says("ann", "!reset").await;
        let refused = format!("bot (failure): {}\n", replies::queue_full(QUEUE_LIMIT));
        assert!(fixture.transcript().await.ends_with(&refused));
        assert_eq!(fixture.task.queue.len(), QUEUE_LIMIT);
    }

    #[tokio::test]
    async fn the_answer_that_takes_long_comes_later_and_its_command_is_stored_until_then() {
        let mut fixture = RoomFixture::new().await;
        let room = fixture.task.room.clone();
        let prompt = crate::chat::room::fixture::prompt("rebuild");
        let number = fixture.services.store.begin_prompt(&room, &prompt).ok();
        let call = CommandCall { number, ..fixture.call("ann", Some(Addressed::Prefix)) };
        let later = RoomAction::Later(Box::pin(async { Ok(Reply::text("built")) }));
        fixture.task.answer_command(&call, "rebuild", Ok(Reply::notice("building").then(later)));
        assert_eq!(fixture.transcript().await, "bot (notice): building\n");
        assert_eq!(fixture.left(), [("rebuild".into(), true)]);
        fixture.handles_answer().await;
        assert_eq!(fixture.transcript().await, "bot (notice): building\nbot: built\n");
        assert_eq!(fixture.left(), []);
    }

    #[tokio::test]
    async fn a_failure_is_explained_by_the_usage_by_its_sentence_or_by_a_number_for_the_log() {
        let mut fixture = RoomFixture::new().await;
        let call = fixture.call("ann", Some(Addressed::Prefix));
        let usage = fixture.services.commands.registry.get("model").unwrap().spec().usage();
        fixture.task.answer_command(&call, "model", Err(CommandError::Usage("Too much.".into())));
        fixture.task.answer_command(&call, "model", Err(CommandError::User("Not now.".into())));
        let expected =
            format!("bot (failure): {}\nbot (failure): Not now.\n", replies::usage("Too much.", &usage));
        assert_eq!(fixture.transcript().await, expected);
        let secret = CommandError::Internal(anyhow::anyhow!("the disk says no"));
        fixture.task.answer_command(&call, "model", Err(secret));
        let shown = fixture.transcript().await;
        assert!(shown.contains("Something went wrong on my side") && !shown.contains("disk"), "{shown}");
    }

    #[tokio::test]
    async fn a_rooms_choices_are_stored_and_apply_at_once() {
        let mut fixture = RoomFixture::new().await;
        act(&mut fixture, RoomAction::SetVerbosity(2));
        act(&mut fixture, RoomAction::SetModel(Some("haiku".into())));
        act(&mut fixture, RoomAction::SetAmbient(true));
        let stored = fixture.services.store.room(&fixture.task.room).unwrap();
        assert_eq!((stored.verbosity, stored.model.as_deref()), (Some(2), Some("haiku")));
        assert_eq!((fixture.task.verbosity(), fixture.task.model().as_deref()), (2, Some("haiku")));
        assert!(fixture.task.view().company.ambient);
        act(&mut fixture, RoomAction::SetModel(None));
        act(&mut fixture, RoomAction::SetAmbient(false));
        assert_eq!(fixture.task.model(), None);
        assert!(!fixture.task.view().company.ambient);
    }

    #[tokio::test]
    async fn an_emptied_queue_is_forgotten_and_the_turn_goes_on() {
        let mut fixture = RoomFixture::new().await;
        for text in ["one", "two", "three"] {
            fixture.says("ann", text).await;
        }
        act(&mut fixture, RoomAction::ClearQueue);
        assert_eq!(fixture.left(), [("one".into(), true)]);
        act(&mut fixture, RoomAction::Htop(std::time::Duration::from_secs(60)));
        assert!(fixture.task.view().htop && fixture.task.is_busy());
        act(&mut fixture, RoomAction::StopHtop);
        assert!(!fixture.task.view().htop);
        act(&mut fixture, RoomAction::Restart);
        assert!(fixture.services.commands.restart.is_asked());
    }
}

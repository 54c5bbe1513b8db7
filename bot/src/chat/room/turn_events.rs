//! The room's turn from its prompt to its final message: what each event and each outcome does in the room.

use std::path::PathBuf;

use adapters::{Outgoing, Tone};
use agents::{
    claude::{AgentEvent, McpServer, SessionId},
    prompt::{AgentCommand, AgentPrompt},
    turn::{TurnLimits, TurnUpdate},
};
use pipeline::strangers::AgentPlace;
use tokio::time::Instant;

use super::{
    RoomTask,
    requests::RequestOwner,
    turn::{CurrentTurn, EnteringTask},
};
use crate::{
    chat::{
        network::RoomConnection,
        prompt,
        rooms::RoomInput,
        session::{SessionEvent, SessionPrompt, SessionUpdate},
        thread::{ThreadExtent, UnreadThread},
        workspace::{EnteredRoom, RoomEntrance},
    },
    commands::command::RunningTurn,
    live_agents::AgentEntry,
    permission::WithdrawReason,
    replies::{self, RoomPlace},
    sent_files::FileDelivery,
    store::{PromptState, QueuedPrompt},
};

impl RoomTask {
    pub(super) fn begin_turn(&mut self, number: Option<i64>, prompt: QueuedPrompt) {
        let (input, thread) = match AgentCommand::parse(&prompt.text) {
            Some(command) => (AgentPrompt::Command(command), None),
            None => {
                let thread = self.unread_thread(&prompt);
                // The thread itself says more than what was heard of it.
                let talk = match &thread {
                    Some(UnreadThread { extent: ThreadExtent::Newest(_), .. }) => Vec::new(),
                    Some(_) | None => self.take_talk(),
                };
                (prompt::compose_prompt(&prompt, &talk).into(), thread)
            }
        };
        self.turn.asker.set_works_for(&prompt.sender_name);
        // Talk that nobody addressed to the agent is no task for it.
        if prompt.addressed.is_some() {
            self.turn.asker.read().on_person_spoke();
            self.turn.last_request = Some(prompt.text.clone());
        }
        self.turn.asker.read().on_read(self.strangers_among(&prompt.enclosed.quotes));
        self.turn.tools = Some(self.open_tools(&prompt));
        let mut turn = CurrentTurn::new(number, prompt, input, self.services.retry);
        turn.unfetched.thread = thread;
        self.turn.current = Some(turn);
        match self.begin_budgets() {
            None => self.send_prompt(),
            Some(spent) => self.close_turn(&replies::budget_spent(spent), Tone::Failure),
        }
    }

    /// Makes the workspace ready, outside the room's loop; then the prompt is sent.
    pub(super) fn send_prompt(&mut self) {
        let turn = self.turn.current.as_mut();
        let unfetched = turn.map(|turn| std::mem::take(&mut turn.unfetched)).unwrap_or_default();
        let entrance = RoomEntrance {
            pipeline: self.services.commands.pipeline.clone(),
            room: self.room.clone(),
            worktree: self.wants_worktree(),
            living: self.turn.place.workspace.clone().filter(|_| self.turn.session.is_alive()),
            session: self.turn.session.closer(),
            connection: self.connection(),
            delivery: FileDelivery { adapter: self.adapter.clone(), files: unfetched.files },
            thread: unfetched.thread,
        };
        let moved = self.is_moved_to_worktree();
        let sender = self.sender.clone();
        let Some(turn) = &mut self.turn.current else { return };
        let task = self.services.tasks.tracker.spawn(async move {
            let mut entered = entrance.enter().await;
            if let Ok(entered) = &mut entered
                && moved
                && entered.fallback.is_none()
            {
                entered.fallback = Some(replies::CHECKOUT_IS_UNPROTECTED.into());
            }
            sender.send(RoomInput::Entered(Box::new(entered)));
        });
        turn.begin_entering(EnteringTask::new(&task));
    }

    /// Whether the room is to work in a worktree of its own.
    pub(super) fn wants_worktree(&self) -> bool {
        let protects = self.services.commands.pipeline.snapshot().wall.protects_checkout();
        let choice = self.services.config().relay.workspace_of(&self.room);
        choice.is_worktree(self.adapter.capabilities().local, protects)
    }

    /// Whether it works in a worktree only because the wall cannot protect the main checkout.
    fn is_moved_to_worktree(&self) -> bool {
        let choice = self.services.config().relay.workspace_of(&self.room);
        self.wants_worktree() && !choice.is_worktree(self.adapter.capabilities().local, true)
    }

    fn connection(&self) -> RoomConnection {
        RoomConnection {
            hosts: self.services.connections.hosts.clone(),
            room: self.room.clone(),
            asker: self.turn.asker.clone(),
            waiting: self.turn.waiting.clone(),
            access: self.services.config().relay.network_access(),
            meter: self.turn.spending.meter(),
            base: self.services.base(),
        }
    }

    /// Where the room works.
    pub(super) fn folder(&self) -> PathBuf {
        let workspace = self.turn.place.workspace.as_ref().map(|workspace| workspace.folder.clone());
        workspace.unwrap_or_else(|| self.services.commands.project.root().to_owned())
    }

    pub(super) fn on_entered(&mut self, entered: Result<EnteredRoom, String>) {
        // A turn that was stopped meanwhile has ended its task, so this is the answer for the one that waits.
        if !self.turn.current.as_ref().is_some_and(CurrentTurn::is_entering) {
            return;
        }
        match entered {
            Ok(mut entered) => {
                let files = std::mem::take(&mut entered.files);
                let thread = entered.thread.take();
                let memory = std::mem::take(&mut entered.memory);
                for note in self.turn.place.enter(entered) {
                    self.say(note, Tone::Notice, None);
                }
                self.leave_other_session();
                self.take_thread(thread);
                self.take_memory(memory);
                if self.take_files(&files) {
                    self.start_attempt();
                }
            }
            Err(why) => self.close_turn(&replies::no_workspace(&why), Tone::Failure),
        }
    }

    // The CLI keeps a session with the folder where it began, and behind the wall it sees that of its own folder alone.
    fn leave_other_session(&mut self) {
        let Some(session) = self.record.session.clone() else { return };
        let began = self.log_store_error(self.services.store.session_folder(&session)).flatten();
        let began = began.unwrap_or_else(|| self.services.commands.project.root().to_owned());
        if began != self.folder() {
            self.forget_session("its folder is another now");
            let worktree = self.place().worktree.map(|(folder, _)| folder);
            let sentence = replies::session_left_behind(session.as_str(), worktree.as_deref());
            self.say(sentence, Tone::Notice, None);
        }
    }

    /// Where the room works, for people.
    pub(super) fn place(&self) -> RoomPlace {
        let root = self.services.commands.project.root();
        let worktree = self.turn.place.workspace.as_ref().and_then(|workspace| {
            let folder = workspace.folder.strip_prefix(root).unwrap_or(&workspace.folder);
            Some((folder.display().to_string(), workspace.branch.clone()?))
        });
        let missing_servers = self.turn.once.servers.lacking();
        RoomPlace { worktree, own: self.turn.place.own, missing_servers }
    }

    fn start_attempt(&mut self) {
        // Built for each attempt: the session may have been lost and the model changed since the last one.
        let Some(workspace) = &self.turn.place.workspace else { return };
        let launch = self.services.launch_in(workspace, self.record.session.as_ref(), self.model());
        let Some(turn) = &mut self.turn.current else { return };
        self.turn.folder = Some(launch.program.cwd.clone());
        turn.begin_attempt(self.record.session.is_some());
        let (number, prompt) = (turn.number, turn.input.clone());
        let place = AgentPlace {
            root: self.services.commands.project.root().to_owned(),
            folder: workspace.folder.clone(),
            base: self.services.base(),
            branch: workspace.branch.clone(),
        };
        // From here on the prompt may have effects. Marked before it is sent, so that a kill in between reports the
        // prompt and never runs it twice.
        if let Some(number) = number {
            self.log_store_error(self.services.store.set_prompt_state(number, PromptState::Thinks));
        }
        let entry = AgentEntry {
            name: self.room.to_string(),
            story: None,
            since: Instant::now().into_std(),
            cost_usd: self.services.store.room_cost(&self.room).unwrap_or_default(),
        };
        let silence = self.services.config().claude.turn_timeout.limit();
        let limits = TurnLimits { silence, ..TurnLimits::default() };
        self.turn.session.prompt(SessionPrompt { launch, prompt, limits, entry, place });
    }

    /// The wait for the model's service is over.
    pub(super) fn send_prompt_again(&mut self) {
        if let Some(turn) = &mut self.turn.current {
            turn.forget_attempt();
            self.send_prompt();
        }
    }

    pub(super) fn model(&self) -> Option<String> {
        let configured = Some(self.services.config().claude.model.clone()).filter(|model| !model.is_empty());
        self.record.model.clone().or(configured)
    }

    pub(super) fn running_turn(&self) -> Option<RunningTurn> {
        self.turn.current.as_ref().map(|turn| RunningTurn {
            who: turn.prompt.sender_name.clone(),
            since: turn.since.into_std(),
            waiting: turn.waiting(),
        })
    }

    pub(super) fn on_session_update(&mut self, update: SessionUpdate) {
        let is_current = update.prompt == self.turn.session.sent_prompts();
        if let (SessionEvent::Turn(update), Some(tools), true) =
            (&update.event, &mut self.turn.tools, is_current)
        {
            tools.follow(&update.event);
        }
        match update.event {
            SessionEvent::Turn(TurnUpdate { event, outcome }) => {
                self.on_agent_event(event);
                // An older prompt may still report its outcome when the next one is already sent. It must not close
                // the new prompt's turn.
                if let Some(outcome) = outcome.filter(|_| is_current) {
                    self.on_outcome(outcome);
                }
            }
            SessionEvent::Closed { ended, was_idle } => self.on_session_closed(&ended, was_idle),
            SessionEvent::Failed(error) if is_current => self.on_no_process(&error),
            SessionEvent::Failed(error) => {
                tracing::warn!(%error, room = %self.room, "an older prompt had no session")
            }
        }
    }

    fn on_agent_event(&mut self, event: AgentEvent) {
        let acted = self.runs_a_tool();
        let changed = self.turn.current.as_mut().is_some_and(|turn| turn.transcript.apply(&event));
        self.note_what_runs(&event, acted);
        for (task, end) in self.turn.background.on_event(&event, self.turn.is_running(), Instant::now()) {
            self.say(replies::background_ended(&task, end), Tone::Notice, None);
        }
        if matches!(event, AgentEvent::Compacted { .. }) {
            self.turn.once.memory.forget();
        }
        match event {
            AgentEvent::Started { session, mcp_servers, .. } => {
                self.tell_missing_servers(&session, &mcp_servers);
                self.keep_session(session);
            }
            AgentEvent::Permission(request) => self.permission_asked(request),
            AgentEvent::OwnTools(message) => self.on_tools_message(message),
            // In a turn it is a line of its message.
            AgentEvent::Compacted { automatic, before, after } if !self.turn.is_running() => {
                self.say(replies::compacted(automatic, before, after), Tone::Notice, None);
            }
            AgentEvent::PermissionCancelled { request_id } => self.on_request_cancelled(&request_id),
            AgentEvent::TurnEnded(end) => self.on_result(*end),
            AgentEvent::Exited(_) => {
                self.withdraw_questions(RequestOwner::Session, WithdrawReason::AgentGone);
                self.tell_ended_background(None);
                if !self.turn.is_running() {
                    self.count_rest(None);
                }
            }
            AgentEvent::ControlFailed { error, .. } => {
                tracing::warn!(error, room = %self.room, "the CLI refused a control request");
            }
            AgentEvent::Noise(noise) => {
                self.services.metrics.noise.inc();
                tracing::debug!(?noise, room = %self.room, "output that is no event");
            }
            // What calls bring in, the session has noted before it passed them on.
            AgentEvent::ToolUse(_)
            | AgentEvent::MessageEnded
            | AgentEvent::ToolResult { .. }
            | AgentEvent::SubAgentToolUse(_)
            | AgentEvent::SubAgentToolResult { .. }
            | AgentEvent::BackgroundTasks(_)
            | AgentEvent::TaskEnded { .. }
            | AgentEvent::Servers(_)
            | AgentEvent::Mode(_)
            | AgentEvent::TextDelta(_)
            | AgentEvent::Text(_)
            | AgentEvent::Compacted { .. }
            | AgentEvent::RateLimit { .. }
            | AgentEvent::Retrying { .. } => {}
        }
        if changed {
            self.show_progress();
        }
    }

    fn runs_a_tool(&self) -> bool {
        self.turn.current.as_ref().is_some_and(|turn| turn.transcript.runs_a_tool())
    }

    /// Stores what runs, for the start after a kill. `acted`: whether a tool ran before this event.
    fn note_what_runs(&self, event: &AgentEvent, acted: bool) {
        if let AgentEvent::BackgroundTasks(tasks) = event {
            self.log_store_error(self.services.store.set_background(&self.room, tasks));
        }
        let acts = self.runs_a_tool();
        if let Some(number) =
            self.turn.current.as_ref().and_then(|turn| turn.number).filter(|_| acts != acted)
        {
            let state = if acts { PromptState::Acts } else { PromptState::Thinks };
            self.log_store_error(self.services.store.set_prompt_state(number, state));
        }
    }

    fn tell_missing_servers(&mut self, session: &SessionId, found: &[McpServer]) {
        let loaded = self.services.settings.loaded();
        let missing = self.turn.once.servers.missing(loaded.servers.servers.names(), session, found);
        if !missing.is_empty() {
            self.say(replies::servers_missing(&missing), Tone::Notice, None);
        }
    }

    // Stored with the first event and not with the result: after a kill in between, the next start resumes this
    // session and finds its process.
    pub(super) fn keep_session(&mut self, session: SessionId) {
        if self.record.session.as_ref() != Some(&session) {
            let now = self.services.clock.now();
            self.log_store_error(self.services.store.set_session(&self.room, &session, now));
            self.log_store_error(self.services.store.set_session_folder(&session, &self.folder()));
            self.record.session = Some(session);
        }
    }

    pub(super) fn forget_session(&mut self, why: &str) {
        self.record.session = None;
        let now = self.services.clock.now();
        self.log_store_error(self.services.store.end_session(&self.room, why, now));
        self.withdraw_questions(RequestOwner::Session, WithdrawReason::AgentGone);
        self.tell_ended_background(None);
        self.turn.session.close();
    }

    pub(super) fn reset_session(&mut self) {
        self.forget_session("reset");
    }

    /// Shows the turn's state in its live message.
    pub(super) fn show_progress(&mut self) {
        let verbosity = self.verbosity();
        // While a question is open no progress appears below it: people would scroll past the question.
        let Some(turn) = self.turn.current.as_mut().filter(|_| self.questions.is_empty()) else { return };
        let Some(text) = turn.progress(verbosity) else { return };
        let slot = *turn.slot.get_or_insert_with(|| self.outbox.open(turn.prompt.message.as_ref()));
        let message = Outgoing::text(text).replying_to(turn.prompt.message.clone());
        self.outbox.show(slot, message.with_tone(Tone::Notice));
    }

    /// A question goes below the text so far: the live message is closed, and later text begins a new one.
    pub(super) fn pause_live_message(&mut self) {
        let verbosity = self.verbosity();
        let Some(turn) = &mut self.turn.current else { return };
        turn.forget_due_calls();
        let Some(slot) = turn.slot else { return };
        let text = turn.transcript.cut_at_question(verbosity);
        if !text.trim().is_empty() {
            turn.slot = None;
            self.outbox.finish(slot, Outgoing::text(text).replying_to(turn.prompt.message.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use adapters::testing::fake::Fake;
    use agents::{
        claude::{ProcessError, TurnEnd},
        turn::TurnOutcome,
    };
    use serde_json::json;

    use super::*;
    use crate::chat::room::fixture::RoomFixture;

    fn session(id: &str) -> AgentEvent {
        AgentEvent::Started { session: SessionId::new(id), model: String::new(), mcp_servers: Vec::new() }
    }

    fn text(text: &str) -> AgentEvent {
        AgentEvent::Text(text.into())
    }

    fn stored_session(fixture: &RoomFixture) -> Option<String> {
        let record = fixture.services.store.room(&fixture.task.room).unwrap();
        record.session.map(|session| session.to_string())
    }

    #[tokio::test]
    async fn a_prompt_counts_as_begun_before_it_is_sent_and_as_done_when_its_answer_is_there() {
        let mut fixture = RoomFixture::asked("fix it").await;
        assert_eq!(fixture.left(), [("fix it".into(), true)]);
        assert_eq!(fixture.task.turn.session.sent_prompts(), 1);
        fixture.answers("done");
        assert_eq!(fixture.transcript().await, "bot: done\n");
        assert_eq!((fixture.left(), fixture.task.is_busy()), (vec![], false));
        assert_eq!(fixture.services.metrics.turns.get(), 1);
    }

    #[tokio::test]
    async fn the_session_is_stored_with_its_first_event() {
        let mut fixture = RoomFixture::asked("fix it").await;
        assert_eq!(stored_session(&fixture), None);
        fixture.event(session("s1"));
        assert_eq!(stored_session(&fixture).as_deref(), Some("s1"));
        fixture.event(session("s2"));
        assert_eq!(stored_session(&fixture).as_deref(), Some("s2"), "the CLI may continue in another one");
        fixture.task.reset_session();
        assert_eq!((stored_session(&fixture), fixture.task.record.session.clone()), (None, None));
    }

    #[tokio::test]
    async fn progress_is_one_message_that_becomes_the_answer() {
        let mut fixture = RoomFixture::asked("fix it").await;
        fixture.event(text("First."));
        let shown = fixture.last_shown().await;
        assert_eq!((shown.text.as_str(), shown.tone), ("First.", Tone::Notice));
        fixture.event(AgentEvent::TextDelta(" ".into()));
        fixture.event(text("Second."));
        fixture.answers("Second.");
        let shown = fixture.last_shown().await;
        assert_eq!((shown.text.as_str(), shown.tone), ("First.\n\nSecond.", Tone::Answer));
        assert_eq!(fixture.room().shown().len(), 1);
    }

    #[tokio::test]
    async fn no_progress_appears_below_an_open_question() {
        let mut fixture = RoomFixture::asked("fix it").await;
        fixture.event(text("Before."));
        let (_, decision) = fixture.asks_for_bash().await;
        fixture.event(text("Meanwhile."));
        fixture.task.outbox.flush().await;
        let texts = |fixture: &RoomFixture| -> Vec<String> {
            fixture.room().shown().into_iter().map(|message| message.text).collect()
        };
        assert_eq!((texts(&fixture)[0].as_str(), texts(&fixture).len()), ("Before.", 2));
        fixture.says("ann", "yes").await;
        decision.await.unwrap();
        fixture.handles_all().await;
        fixture.answers("Done.");
        assert_eq!(
            fixture.last_shown().await.text,
            "Meanwhile.\n\nDone.",
            "below the question, in a new message"
        );
        assert_eq!((texts(&fixture)[0].as_str(), texts(&fixture).len()), ("Before.", 3));
    }

    #[tokio::test]
    async fn a_call_that_asks_is_named_by_its_question_alone() {
        let mut fixture = RoomFixture::asked("fix it").await;
        let call = agents::claude::ToolUse { id: "1".into(), name: "Bash".into(), input: json!({}) };
        fixture.event(AgentEvent::ToolUse(call));
        let (_, decision) = fixture.asks_for_bash().await;
        assert_eq!(fixture.room().shown().len(), 1);
        fixture.says("ann", "yes").await;
        decision.await.unwrap();
        fixture.handles_all().await;
        fixture.event(AgentEvent::ToolResult { id: "1".into(), is_error: false });
        fixture.answers("Done.");
        assert_eq!(fixture.last_shown().await.text, "- Bash ✓\n\nDone.");
    }

    #[tokio::test]
    async fn an_outcome_of_an_older_prompt_does_not_end_the_turn() {
        let mut fixture = RoomFixture::asked("fix it").await;
        let outcome = Some(TurnOutcome::Answered(Box::default()));
        let event = SessionEvent::Turn(TurnUpdate { event: AgentEvent::TextDelta(String::new()), outcome });
        fixture.task.on_session_update(SessionUpdate { prompt: 0, event, place: None });
        let failed = |prompt| {
            let event = SessionEvent::Failed(ProcessError::Gone);
            SessionUpdate { prompt, event, place: None }
        };
        fixture.task.on_session_update(failed(0));
        assert!(fixture.task.turn.is_running());
        fixture.task.on_session_update(failed(1));
        let sentence = replies::no_process(&ProcessError::Gone, &fixture.services.config());
        assert_eq!(fixture.transcript().await, format!("bot (failure): {sentence}\n"));
        assert!(!fixture.task.turn.is_running());
    }

    #[tokio::test]
    async fn each_turn_costs_its_part_of_the_session_and_the_prompts_author() {
        let mut fixture = RoomFixture::asked("fix it").await;
        let end = |session: Option<&str>, session_cost_usd| {
            let session = session.map(SessionId::new);
            AgentEvent::TurnEnded(Box::new(TurnEnd { session, session_cost_usd, ..TurnEnd::default() }))
        };
        fixture.event(end(Some("s"), 0.5));
        fixture.event(end(Some("s"), 0.75));
        fixture.event(end(None, 9.0));
        assert_eq!(fixture.services.store.room_cost(&fixture.task.room).unwrap(), 0.75);
        fixture.answers("done");
        fixture.event(end(Some("s"), 1.0));
        let (people, _) = fixture.services.store.costs_since(SystemTime::UNIX_EPOCH).unwrap();
        let mut names: Vec<String> = people.into_iter().map(|row| row.of).collect();
        names.sort();
        assert_eq!(names, ["-", "ann"], "what nobody prompted is nobody's");
    }

    #[tokio::test]
    async fn the_rooms_model_goes_before_the_configured_one() {
        let mut fixture = RoomFixture::new().await;
        assert_eq!(fixture.task.model(), None, "the CLI chooses");
        fixture.task.record.model = Some("haiku".into());
        assert_eq!(fixture.task.model().as_deref(), Some("haiku"));
    }

    #[tokio::test]
    async fn a_permission_request_of_the_session_is_asked_in_its_room() {
        let mut fixture = RoomFixture::asked("fix it").await;
        let request = agents::claude::PermissionRequest {
            request_id: "1".into(),
            tool: "Bash".into(),
            input: json!({"command": "ls"}),
            tool_use_id: None,
            agent_id: None,
            blocked_path: None,
        };
        fixture.event(AgentEvent::Permission(request));
        assert_eq!(fixture.task.running_turn().unwrap().waiting.as_deref(), Some(replies::WAITS_FOR_ANSWER));
        while fixture.task.questions.is_empty() {
            fixture.handles_next().await;
        }
        assert!(fixture.last_shown().await.text.contains("Question"), "{}", fixture.transcript().await);
    }

    #[tokio::test]
    async fn where_nothing_can_be_edited_only_the_end_of_a_turn_is_shown() {
        let mut fixture = RoomFixture::on(Fake::plain("fake")).await;
        fixture.says("ann", "fix it").await;
        fixture.event(text("First."));
        fixture.task.outbox.flush().await;
        fixture.event(text("Second."));
        fixture.answers("Second.");
        let expected = format!("bot (notice): {}\nbot: First.\n\nSecond.\n", replies::WORKING);
        assert_eq!(fixture.transcript().await, expected);
    }
}

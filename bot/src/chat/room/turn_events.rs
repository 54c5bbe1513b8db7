//! The room's turn from its prompt to its final message: what each event and each outcome does in the room.

use adapters::{Outgoing, Tone};
use agents::{
    claude::{AgentEvent, BusyService, ProcessError, SessionId, TurnEnd, TurnFailure},
    turn::{BusyWait, RetryStep, TurnLimits, TurnOutcome, TurnUpdate},
};
use tokio::time::Instant;

use super::{
    RoomTask,
    turn::{CurrentTurn, StopAction},
};
use crate::{
    chat::{
        prompt,
        session::{SessionEvent, SessionPrompt, SessionUpdate},
    },
    commands::command::RunningTurn,
    live_agents::AgentEntry,
    permission::WithdrawReason,
    replies,
    store::{CostEntry, QueuedPrompt},
};

impl RoomTask {
    pub(super) fn begin_turn(&mut self, number: Option<i64>, prompt: QueuedPrompt) {
        let talk = self.log_store_error(self.services.store.take_talk(&self.room)).unwrap_or_default();
        let text = prompt::compose_prompt(&prompt, &talk);
        self.asker.on_person_spoke();
        self.turn.current = Some(CurrentTurn::new(number, prompt, text, self.services.retry));
        self.send_prompt();
    }

    fn send_prompt(&mut self) {
        // Built for each attempt: the session may have been lost and the model changed since the last one.
        let launch = self.services.launch(self.record.session.as_ref(), self.model());
        let Some(turn) = &mut self.turn.current else { return };
        self.turn.folder = Some(launch.program.cwd.clone());
        turn.begin_attempt(self.record.session.is_some());
        let (number, text) = (turn.number, turn.text.clone());
        // From here on the prompt may have effects. Marked before it is sent, so that a kill in between reports the
        // prompt and never runs it twice.
        if let Some(number) = number {
            self.log_store_error(self.services.store.prompt_started(number));
        }
        let entry = AgentEntry {
            name: self.room.to_string(),
            story: None,
            since: Instant::now().into_std(),
            cost_usd: self.services.store.room_cost(&self.room).unwrap_or_default(),
        };
        let silence = self.services.config().claude.turn_timeout.limit();
        let limits = TurnLimits { silence, ..TurnLimits::default() };
        self.turn.session.prompt(SessionPrompt { launch, text, limits, entry });
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
        match update.event {
            SessionEvent::Turn(TurnUpdate { event, outcome }) => {
                self.on_agent_event(event);
                // An older prompt may still report its outcome when the next one is already sent. It must not close
                // the new prompt's turn.
                if let Some(outcome) = outcome.filter(|_| is_current) {
                    self.on_outcome(outcome);
                }
            }
            SessionEvent::Failed(error) if is_current => self.on_no_process(&error),
            SessionEvent::Failed(error) => {
                tracing::warn!(%error, room = %self.room, "an older prompt had no session")
            }
        }
    }

    fn on_agent_event(&mut self, event: AgentEvent) {
        let changed = self.turn.current.as_mut().is_some_and(|turn| turn.transcript.apply(&event));
        match event {
            AgentEvent::Started { session, .. } => self.keep_session(session),
            AgentEvent::Permission(request) => self.permission_asked(request),
            AgentEvent::PermissionCancelled { .. } => self.withdraw_questions(WithdrawReason::AgentCancelled),
            AgentEvent::TurnEnded(end) => self.on_result(*end),
            AgentEvent::Exited(_) => self.withdraw_questions(WithdrawReason::AgentGone),
            AgentEvent::ControlFailed { error, .. } => {
                tracing::warn!(error, room = %self.room, "the CLI refused a control request");
            }
            AgentEvent::Noise(noise) => {
                self.services.metrics.noise.inc();
                tracing::debug!(?noise, room = %self.room, "output that is no event");
            }
            AgentEvent::ToolUse(tool) => self.turn.fetches.on_call(&tool),
            // Some pages are fetched without a question, so the results count and not only what people allowed.
            AgentEvent::ToolResult { id, is_error } => {
                self.asker.on_read(self.turn.fetches.on_result(&id, is_error));
            }
            AgentEvent::Mode(_)
            | AgentEvent::TextDelta(_)
            | AgentEvent::Text(_)
            | AgentEvent::RateLimit { .. }
            | AgentEvent::Retrying { .. } => {}
        }
        if changed {
            self.show_progress();
        }
    }

    // Stored with the first event and not with the result: after a kill in between, the next start resumes this
    // session and finds its process.
    fn keep_session(&mut self, session: SessionId) {
        if self.record.session.as_ref() != Some(&session) {
            let now = self.services.clock.now();
            self.log_store_error(self.services.store.set_session(&self.room, &session, now));
            self.record.session = Some(session);
        }
    }

    fn forget_session(&mut self, why: &str) {
        self.record.session = None;
        let now = self.services.clock.now();
        self.log_store_error(self.services.store.end_session(&self.room, why, now));
        self.turn.session.close();
    }

    pub(super) fn reset_session(&mut self) {
        self.forget_session("reset");
    }

    /// Shows the turn's state in its live message.
    fn show_progress(&mut self) {
        let verbosity = self.verbosity();
        // While a question is open no progress appears below it: people would scroll past the question.
        let Some(turn) = self.turn.current.as_mut().filter(|_| self.questions.is_empty()) else { return };
        let Some(text) = turn.progress(verbosity) else { return };
        let slot = *turn.slot.get_or_insert_with(|| self.outbox.open());
        let message = Outgoing::text(text).replying_to(Some(turn.prompt.message.clone()));
        self.outbox.show(slot, message.with_tone(Tone::Notice));
    }

    /// A question goes below the text so far: the live message is closed, and later text begins a new one.
    pub(super) fn pause_live_message(&mut self) {
        let verbosity = self.verbosity();
        let Some(turn) = &mut self.turn.current else { return };
        let Some(slot) = turn.slot else { return };
        let text = turn.transcript.cut_at_question(verbosity);
        if !text.trim().is_empty() {
            turn.slot = None;
            self.outbox.finish(slot, Outgoing::text(text).replying_to(Some(turn.prompt.message.clone())));
        }
    }

    // --- closing a turn ---

    /// A result, whether or not it closes the prompt's turn.
    fn on_result(&mut self, end: TurnEnd) {
        if end.failure != Some(TurnFailure::SessionLost)
            // The result of a lost session names the id that we asked for, and there is nothing to resume under it.
            && let Some(session) = &end.session
        {
            self.keep_session(session.clone());
        }
        self.count_cost(&end);
        // Nobody prompted: a background task woke the model.
        let is_own = !self.turn.is_running() || end.unprompted;
        if is_own && !end.text.trim().is_empty() {
            self.say(end.text, Tone::Answer, None);
        }
    }

    fn count_cost(&self, end: &TurnEnd) {
        let Some(session) = &end.session else { return };
        let who = self.turn.current.as_ref().map_or("-", |turn| &turn.prompt.sender_id).to_owned();
        let entry = CostEntry {
            room: self.room.clone(),
            who,
            session: session.to_string(),
            usd: 0.0,
            input_tokens: end.input_tokens,
            output_tokens: end.output_tokens,
        };
        let now = self.services.clock.now();
        self.log_store_error(self.services.store.add_turn_cost(&entry, end.session_cost_usd, now));
        let total = self.services.store.room_cost(&self.room).unwrap_or_default();
        self.services.commands.agents.set_cost(&self.room.to_string(), total);
    }

    fn on_outcome(&mut self, outcome: TurnOutcome) {
        // Nobody waits for these answers any more: a later click must get "not open" instead of a seeming success.
        self.withdraw_questions(WithdrawReason::TurnOver);
        let now = self.services.clock.now();
        let Some(turn) = &mut self.turn.current else { return };
        match turn.on_outcome(outcome, now) {
            RetryStep::NewSession => self.start_over(),
            RetryStep::Wait(service, wait) => self.announce_wait(service, wait),
            RetryStep::End(outcome) => self.end_turn(outcome),
        }
    }

    /// The session does not exist any more: the prompt goes to a new one.
    fn start_over(&mut self) {
        if let Some(lost) = self.record.session.clone() {
            self.forget_session("could not be resumed");
            self.say(replies::session_lost(&lost), Tone::Notice, None);
        }
        self.send_prompt();
    }

    fn announce_wait(&mut self, service: BusyService, wait: BusyWait) {
        self.services.metrics.rate_limits.inc();
        let attempt = wait.counted.then_some((wait.tries, self.services.retry.tries));
        let sentence = replies::service_busy(service, wait.wait, self.services.clock.now(), attempt);
        let message = self.turn.current.as_ref().map(|turn| turn.prompt.message.clone());
        self.say(sentence, Tone::Notice, message);
    }

    fn end_turn(&mut self, outcome: TurnOutcome) {
        match outcome {
            TurnOutcome::Answered(end) => self.close_turn_with_answer(&end.text),
            TurnOutcome::Stopped => self.close_turn(&replies::stopped(), Tone::Answer),
            TurnOutcome::Silent => {
                self.close_turn(&replies::turn_timed_out(&self.services.config()), Tone::Failure);
            }
            TurnOutcome::Busy { service, .. } => {
                let tries = self.services.retry.tries;
                self.close_turn(&replies::service_stays_busy(service, tries), Tone::Failure);
            }
            TurnOutcome::SessionLost => {
                self.close_turn(&replies::turn_failed(TurnFailure::SessionLost, ""), Tone::Failure);
            }
            TurnOutcome::Failed { cause, text } => {
                self.close_turn(&replies::turn_failed(cause, &text), Tone::Failure);
            }
            TurnOutcome::Died(exit) => self.close_turn(&replies::process_died(&exit), Tone::Failure),
        }
    }

    fn close_turn_with_answer(&mut self, answer: &str) {
        let verbosity = self.verbosity();
        let Some(turn) = self.turn.current.take() else { return };
        if let Some(text) = turn.answer(verbosity, answer) {
            self.finish_message(&turn, text, Tone::Answer);
        }
        self.on_turn_over(&turn);
    }

    /// Closes the turn with its text so far and a sentence below it.
    fn close_turn(&mut self, sentence: &str, tone: Tone) {
        let verbosity = self.verbosity();
        let Some(turn) = self.turn.current.take() else { return };
        self.finish_message(&turn, turn.cut_short(verbosity, sentence), tone);
        self.on_turn_over(&turn);
    }

    fn finish_message(&mut self, turn: &CurrentTurn, text: String, tone: Tone) {
        if text.trim().is_empty() {
            return;
        }
        let message = Outgoing::text(text).with_tone(tone).replying_to(Some(turn.prompt.message.clone()));
        match turn.slot {
            Some(slot) => self.outbox.finish(slot, message),
            None => self.outbox.say(message),
        }
    }

    fn on_turn_over(&mut self, turn: &CurrentTurn) {
        if let Some(number) = turn.number {
            self.done_when_told(number);
        }
        self.services.metrics.turns.inc();
        self.next_in_queue();
    }

    pub(super) fn stop_turn(&mut self) {
        let Some(turn) = &mut self.turn.current else { return };
        let action = turn.stop();
        self.withdraw_questions(WithdrawReason::Stopped);
        match action {
            StopAction::Interrupt => self.turn.session.interrupt(),
            StopAction::End => self.close_turn(&replies::stopped(), Tone::Answer),
        }
    }

    fn on_no_process(&mut self, error: &ProcessError) {
        tracing::error!(%error, room = %self.room, "no Claude Code session");
        self.close_turn(&replies::no_process(error, &self.services.config()), Tone::Failure);
    }

    /// Stops the turn and announces it. No further input is handled.
    pub(super) fn shut_down(&mut self) {
        self.withdraw_questions(WithdrawReason::ShuttingDown);
        self.stop_ticker();
        if let Some(turn) = self.turn.current.take() {
            let text = turn.cut_short(self.verbosity(), replies::STOPPED_BY_SHUTDOWN);
            self.finish_message(&turn, text, Tone::Notice);
            if let Some(number) = turn.number {
                self.done_when_told(number);
            }
        }
        self.end_questions(WithdrawReason::ShuttingDown);
        self.turn.session.close();
    }
}

//! A turn of the room's session: begun, shown as it goes, ended, retried when the service is busy.

use adapters::{Outgoing, Tone};
use agents::claude::{AgentEvent, ProcessError, ProcessExit, SessionId, TurnEnd};
use tokio::{sync::oneshot, time::Instant};

use super::RoomTask;
use crate::{
    chat::{outbox::LiveSlot, prompt, sessions::SessionEvent, transcript::TurnTranscript},
    config::BotConfig,
    live_agents::AgentEntry,
    permission::WithdrawReason,
    replies,
    store::{CostEntry, QueuedPrompt},
};

/// How often a turn is tried again when the model's service is busy.
const MAX_RETRIES: u32 = 5;

/// A turn under way.
pub(super) struct RoomTurn {
    pub(super) prompt: QueuedPrompt,
    pub(super) since: Instant,
    /// Permission requests of the CLI that wait.
    pub(super) asking: Vec<String>,
    number: Option<i64>,
    /// The text as the CLI got it, for another try.
    text: String,
    transcript: TurnTranscript,
    slot: Option<LiveSlot>,
    heard: Instant,
    state: TurnState,
    retries: u32,
    resets_at: Option<i64>,
    resuming: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TurnState {
    Running,
    /// The model's service is busy; the turn is tried again then.
    Waiting {
        until: Instant,
    },
    /// A person stopped it.
    Stopping,
    /// It said nothing for too long.
    TimedOut,
}

impl RoomTurn {
    /// When something is due: another try, or giving up on silence.
    pub(super) fn due(&self, config: &BotConfig, asking: bool) -> Option<Instant> {
        match self.state {
            TurnState::Waiting { until } => Some(until),
            TurnState::Running if asking || !self.asking.is_empty() => None,
            TurnState::Running => config.claude.turn_timeout.limit().map(|limit| self.heard + limit),
            TurnState::Stopping | TurnState::TimedOut => None,
        }
    }

    /// What it waits for besides the model.
    pub(super) fn waiting(&self) -> Option<String> {
        match self.state {
            TurnState::Waiting { until } => {
                Some(replies::waits_for_service(until.saturating_duration_since(Instant::now())))
            }
            TurnState::Running if !self.asking.is_empty() => Some(replies::WAITS_FOR_ANSWER.into()),
            TurnState::Running | TurnState::Stopping | TurnState::TimedOut => None,
        }
    }

    /// Silence is counted from here.
    pub(super) fn heard_now(&mut self) {
        self.heard = Instant::now();
    }
}

impl RoomTask {
    pub(super) fn begin_turn(&mut self, number: Option<i64>, prompt: QueuedPrompt) {
        let talk = self.log_store_error(self.services.store.take_talk(&self.room)).unwrap_or_default();
        let text = prompt::compose(&prompt, &talk);
        let now = Instant::now();
        self.turn = Some(RoomTurn {
            prompt,
            since: now,
            asking: Vec::new(),
            number,
            text,
            transcript: TurnTranscript::default(),
            slot: None,
            heard: now,
            state: TurnState::Running,
            retries: 0,
            resets_at: None,
            resuming: self.record.session.is_some(),
        });
        self.send_prompt();
    }

    fn send_prompt(&mut self) {
        let launch = self.services.launch(self.record.session.as_ref(), self.model());
        let Some(turn) = &mut self.turn else { return };
        if let Some(number) = turn.number {
            let result = self.services.store.prompt_started(number);
            if let Err(error) = result {
                tracing::error!(%error, "a prompt's start could not be recorded");
            }
        }
        let cost_usd = self.services.store.room_cost(&self.room).unwrap_or_default();
        let entry = AgentEntry {
            name: self.room.to_string(),
            story: None,
            since: Instant::now().into_std(),
            cost_usd,
        };
        self.session.prompt(launch, turn.text.clone(), entry);
    }

    pub(super) fn model(&self) -> Option<String> {
        let configured = Some(self.services.config().claude.model.clone()).filter(|model| !model.is_empty());
        self.record.model.clone().or(configured)
    }

    pub(super) fn session_said(&mut self, prompt: u64, event: SessionEvent) {
        match event {
            // The process went before the turn's prompt came to it, and the prompt gets another one.
            SessionEvent::Agent(AgentEvent::Exited(_)) if prompt != self.session.prompts() => {
                self.withdraw_questions(WithdrawReason::AgentGone);
            }
            SessionEvent::Agent(event) => self.agent_said(event),
            SessionEvent::Failed(error) => self.session_failed(&error),
        }
    }

    fn agent_said(&mut self, event: AgentEvent) {
        let changed = match &mut self.turn {
            Some(turn) => {
                // A CLI that prints nothing but noise says nothing.
                if !matches!(event, AgentEvent::Noise(_)) {
                    turn.heard_now();
                }
                turn.transcript.apply(&event)
            }
            None => false,
        };
        match event {
            AgentEvent::Started { session, .. } => self.session_is(session),
            AgentEvent::Permission(request) => self.permission_asked(request),
            AgentEvent::PermissionCancelled { .. } => self.withdraw_questions(WithdrawReason::AgentCancelled),
            // An allowed window ends some time too, but nobody waits for that.
            AgentEvent::RateLimit { resets_at, status } => {
                if let Some(turn) = self.turn.as_mut().filter(|_| status == "rejected") {
                    turn.resets_at = resets_at;
                }
            }
            AgentEvent::TurnEnded(end) => self.turn_ended(*end),
            AgentEvent::Exited(exit) => self.process_gone(&exit),
            AgentEvent::ControlFailed { error, .. } => {
                tracing::warn!(error, room = %self.room, "the CLI refused a control request");
            }
            AgentEvent::Noise(noise) => {
                self.services.metrics.noise.inc();
                tracing::debug!(?noise, room = %self.room, "output that is no event");
            }
            AgentEvent::TextDelta(_)
            | AgentEvent::Text(_)
            | AgentEvent::ToolUse(_)
            | AgentEvent::ToolResult { .. }
            | AgentEvent::Retrying { .. } => {}
        }
        if changed {
            self.show_progress();
        }
    }

    fn session_is(&mut self, session: SessionId) {
        if self.record.session.as_ref() != Some(&session) {
            self.log_store_error(self.services.store.set_session(
                &self.room,
                &session,
                self.services.clock.now(),
            ));
            self.record.session = Some(session);
        }
    }

    /// Shows the turn's state in its live message; a turn that may stay silent shows nothing until it speaks.
    fn show_progress(&mut self) {
        let verbosity = self.verbosity();
        let Some(turn) = &mut self.turn else { return };
        if !self.questions.is_empty() || turn.state != TurnState::Running {
            return;
        }
        if turn.prompt.addressed.is_none() && prompt::may_become_silence(&turn.transcript.text()) {
            return;
        }
        let text = turn.transcript.running(verbosity);
        if text.trim().is_empty() {
            return;
        }
        let slot = *turn.slot.get_or_insert_with(|| self.outbox.open());
        let message = Outgoing::text(text).replying_to(Some(turn.prompt.message.clone()));
        self.outbox.show(slot, message.with_tone(Tone::Notice));
    }

    /// A question goes below what was said so far: the live message ends, and what follows begins a new one.
    pub(super) fn pause_live_message(&mut self) {
        let verbosity = self.verbosity();
        let Some(turn) = &mut self.turn else { return };
        let Some(slot) = turn.slot else { return };
        let text = turn.transcript.cut(verbosity);
        if !text.trim().is_empty() {
            turn.slot = None;
            self.outbox.finish(slot, Outgoing::text(text).replying_to(Some(turn.prompt.message.clone())));
        }
    }

    // --- the end of a turn ---

    fn turn_ended(&mut self, end: TurnEnd) {
        if let Some(session) = end.session.clone().filter(|_| !lost_session(&end)) {
            self.session_is(session);
        }
        self.count_cost(&end);
        let Some(turn) = &self.turn else {
            if !end.text.trim().is_empty() {
                self.say(end.text, Tone::Answer, None);
            }
            return;
        };
        if end.unprompted {
            return self.say(end.text, Tone::Answer, None);
        }
        let (state, resuming) = (turn.state, turn.resuming);
        self.withdraw_questions(WithdrawReason::TurnOver);
        match state {
            TurnState::Stopping => self.close_turn(&replies::stopped(), Tone::Answer),
            TurnState::TimedOut => {
                self.close_turn(&replies::turn_timed_out(&self.services.config()), Tone::Failure)
            }
            TurnState::Running | TurnState::Waiting { .. } if lost_session(&end) && resuming => {
                self.start_over()
            }
            TurnState::Running | TurnState::Waiting { .. } if is_busy_service(&end) => {
                self.wait_for_service(&end)
            }
            TurnState::Running | TurnState::Waiting { .. } if end.is_error => {
                self.close_turn(&replies::turn_failed(&end), Tone::Failure);
            }
            TurnState::Running | TurnState::Waiting { .. } => self.close_turn_with_answer(&end),
        }
    }

    fn close_turn_with_answer(&mut self, end: &TurnEnd) {
        let verbosity = self.verbosity();
        let Some(turn) = self.turn.take() else { return };
        let silent = turn.prompt.addressed.is_none() && prompt::is_silence(&end.text);
        let text = turn.transcript.finished(verbosity, &end.text);
        if !silent {
            let text = if text.trim().is_empty() && turn.slot.is_none() && end.text.trim().is_empty() {
                replies::EMPTY_ANSWER.to_owned()
            } else {
                text
            };
            self.finish_message(&turn, text, Tone::Answer);
        }
        self.turn_is_over(&turn);
    }

    /// Ends the turn with what was said so far and a sentence below it.
    fn close_turn(&mut self, sentence: &str, tone: Tone) {
        let verbosity = self.verbosity();
        let Some(turn) = self.turn.take() else { return };
        let so_far = turn.transcript.running(verbosity);
        let text =
            if so_far.trim().is_empty() { sentence.to_owned() } else { format!("{so_far}\n\n{sentence}") };
        self.finish_message(&turn, text, tone);
        self.turn_is_over(&turn);
    }

    fn finish_message(&mut self, turn: &RoomTurn, text: String, tone: Tone) {
        if text.trim().is_empty() {
            return;
        }
        let message = Outgoing::text(text).with_tone(tone).replying_to(Some(turn.prompt.message.clone()));
        match turn.slot {
            Some(slot) => self.outbox.finish(slot, message),
            None => self.outbox.say(message),
        }
    }

    fn turn_is_over(&mut self, turn: &RoomTurn) {
        if let Some(number) = turn.number {
            self.done_when_told(number);
        }
        self.services.metrics.turns.inc();
        self.next_in_queue();
    }

    fn count_cost(&self, end: &TurnEnd) {
        let Some(session) = &end.session else { return };
        let who = self.turn.as_ref().map_or("-", |turn| &turn.prompt.sender_id).to_owned();
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

    // --- what goes wrong ---

    /// The session is not there any more: said, kept in the record, and the prompt goes to a new one.
    fn start_over(&mut self) {
        let Some(lost) = self.record.session.take() else { return };
        self.log_store_error(self.services.store.end_session(
            &self.room,
            "could not be resumed",
            self.services.clock.now(),
        ));
        self.say(replies::session_lost(&lost), Tone::Notice, None);
        self.session.close();
        if let Some(turn) = &mut self.turn {
            turn.resuming = false;
            turn.heard_now();
        }
        self.send_prompt();
    }

    fn wait_for_service(&mut self, end: &TurnEnd) {
        let now = self.services.clock.now();
        let Some(turn) = &mut self.turn else { return };
        turn.retries += 1;
        if turn.retries > MAX_RETRIES {
            return self.close_turn(&replies::service_stays_busy(end, MAX_RETRIES), Tone::Failure);
        }
        let wait = self.services.retry.delay(turn.retries, turn.resets_at, now);
        turn.state = TurnState::Waiting { until: Instant::now() + wait };
        let (attempt, message) = (turn.retries, turn.prompt.message.clone());
        self.services.metrics.rate_limits.inc();
        let sentence = replies::service_busy(end, wait, now, attempt, MAX_RETRIES);
        self.say(sentence, Tone::Notice, Some(message));
    }

    /// Another try, or giving up on a silent turn.
    pub(super) fn turn_due(&mut self) {
        let Some(turn) = &mut self.turn else { return };
        match turn.state {
            TurnState::Waiting { .. } => {
                turn.state = TurnState::Running;
                turn.transcript = TurnTranscript::default();
                turn.heard_now();
                turn.resuming = self.record.session.is_some();
                self.send_prompt();
            }
            TurnState::Running => {
                turn.state = TurnState::TimedOut;
                self.withdraw_questions(WithdrawReason::TurnOver);
                self.session.kill();
            }
            TurnState::Stopping | TurnState::TimedOut => {}
        }
    }

    pub(super) fn stop_turn(&mut self) {
        let Some(turn) = &mut self.turn else { return };
        let waited = matches!(turn.state, TurnState::Waiting { .. });
        turn.state = TurnState::Stopping;
        self.withdraw_questions(WithdrawReason::Stopped);
        if waited {
            self.close_turn(&replies::stopped(), Tone::Answer);
        } else {
            self.session.interrupt();
        }
    }

    pub(super) fn reset_session(&mut self) {
        self.session.close();
        self.record.session = None;
        self.log_store_error(self.services.store.end_session(&self.room, "reset", self.services.clock.now()));
    }

    fn process_gone(&mut self, exit: &ProcessExit) {
        self.withdraw_questions(WithdrawReason::AgentGone);
        let Some(turn) = &self.turn else { return };
        match turn.state {
            TurnState::Stopping => self.close_turn(&replies::stopped(), Tone::Answer),
            TurnState::TimedOut => {
                self.close_turn(&replies::turn_timed_out(&self.services.config()), Tone::Failure)
            }
            TurnState::Waiting { .. } => {}
            TurnState::Running => self.close_turn(&replies::process_died(exit), Tone::Failure),
        }
    }

    fn session_failed(&mut self, error: &ProcessError) {
        tracing::error!(%error, room = %self.room, "no Claude Code session");
        self.close_turn(&replies::no_process(error, &self.services.config()), Tone::Failure);
    }

    // --- shutdown ---

    pub(super) fn shut_down(&mut self, done: oneshot::Sender<()>) {
        self.withdraw_questions(WithdrawReason::ShuttingDown);
        self.stop_ticker();
        if let Some(turn) = self.turn.take() {
            let so_far = turn.transcript.running(self.verbosity());
            let text = [so_far.as_str(), replies::STOPPED_BY_SHUTDOWN].join("\n\n");
            self.finish_message(&turn, text.trim().to_owned(), Tone::Notice);
            if let Some(number) = turn.number {
                self.done_when_told(number);
            }
        }
        self.end_questions(WithdrawReason::ShuttingDown);
        self.session.close();
        self.closing = Some(done);
    }
}

/// The CLI knows no conversation of this id (facts: exit 1, one result, no init).
fn lost_session(end: &TurnEnd) -> bool {
    end.is_error && end.text.contains("No conversation found")
}

/// 429 and 529: the service's limits, not the turn's fault.
fn is_busy_service(end: &TurnEnd) -> bool {
    end.is_error && matches!(end.api_error_status, Some(429 | 529))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(is_error: bool, status: Option<u16>, text: &str) -> TurnEnd {
        TurnEnd { is_error, api_error_status: status, text: text.into(), ..TurnEnd::default() }
    }

    #[test]
    fn only_the_services_limits_are_waited_for() {
        assert!(is_busy_service(&end(true, Some(429), "")));
        assert!(is_busy_service(&end(true, Some(529), "")));
        assert!(!is_busy_service(&end(true, Some(401), "")));
        assert!(!is_busy_service(&end(false, Some(429), "")));
    }
}

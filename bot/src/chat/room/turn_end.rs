//! The end of a room's turn: what each outcome does in the room, and what follows it.

use std::time::Duration;

use adapters::{Choice, Outgoing, Tone};
use agents::{
    claude::{BackgroundTask, BusyService, ProcessError, TurnEnd, TurnFailure},
    turn::{BusyWait, RetryStep, TurnOutcome},
};
use tokio::time::Instant;

use super::{
    RoomTask,
    requests::RequestOwner,
    turn::{CurrentTurn, StopAction},
};
use crate::{chat::rooms::RoomInput, permission::WithdrawReason, replies, store::PromptState};

impl RoomTask {
    /// A result, whether or not it closes the prompt's turn.
    pub(super) fn on_result(&mut self, end: TurnEnd) {
        if end.failure != Some(TurnFailure::SessionLost)
            // The result of a lost session names the id that we asked for, and there is nothing to resume under it.
            && let Some(session) = &end.session
        {
            self.keep_session(session.clone());
        }
        self.count_cost(&end);
        // Nobody prompted: a background task woke the model.
        let is_own = !self.turn.is_running() || end.unprompted;
        if !is_own {
            return;
        }
        // A prompt that was sent meanwhile has not begun: what its message shows is of this turn.
        if let Some(turn) = &mut self.turn.current {
            turn.forget_attempt();
        }
        match end.failure {
            // Whoever stopped it was told so.
            Some(TurnFailure::Interrupted) => {}
            Some(cause) => self.say(replies::turn_failed(cause, &end.text), Tone::Failure, None),
            None if end.text.trim().is_empty() => {}
            None => self.say(end.text, Tone::Answer, None),
        }
    }

    /// The session's process was closed, by us.
    pub(super) fn on_session_closed(&mut self, ended: &[BackgroundTask], was_idle: bool) {
        let config = self.services.config();
        let idle = config.claude.background_timeout.limit().filter(|_| was_idle && !ended.is_empty());
        self.withdraw_questions(RequestOwner::Session, WithdrawReason::AgentGone);
        self.tell_ended_background(idle);
    }

    /// The room hears what ended with the session's process.
    pub(super) fn tell_ended_background(&mut self, idle: Option<Duration>) {
        if !self.turn.background.is_empty() {
            self.log_store_error(self.services.store.set_background(&self.room, &[]));
        }
        let ended = self.turn.background.take();
        if !ended.is_empty() {
            self.say(replies::background_closed(&ended, idle), Tone::Notice, None);
        }
    }

    pub(super) fn on_outcome(&mut self, outcome: TurnOutcome) {
        // Nobody waits for these answers any more: a later click must get "not open" instead of a seeming success.
        self.withdraw_questions(RequestOwner::Conversation, WithdrawReason::TurnOver);
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
        let message = self.turn.current.as_ref().and_then(|turn| turn.prompt.message.clone());
        self.say(sentence, Tone::Notice, message);
        if let Some(number) = self.turn.current.as_ref().and_then(|turn| turn.number) {
            self.log_store_error(self.services.store.set_prompt_state(number, PromptState::WaitsForService));
        }
    }

    fn end_turn(&mut self, outcome: TurnOutcome) {
        let spent = self.turn.spending.stopped_by();
        match outcome {
            TurnOutcome::Answered(end) => {
                self.close_turn_with_answer(&end.text);
                if let Some(spent) = spent {
                    self.say(replies::budget_spent(spent), Tone::Notice, None);
                }
            }
            // Whatever its end looks like: this is the reason.
            _ if spent.is_some() => {
                let sentence = spent.map(replies::budget_spent).unwrap_or_default();
                self.close_turn(&sentence, Tone::Failure);
            }
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
                let offers = match cause {
                    TurnFailure::SessionTooLong | TurnFailure::RequestTooLarge => replies::shorter_session(),
                    _ => Vec::new(),
                };
                self.close_turn_offering(&replies::turn_failed(cause, &text), Tone::Failure, offers);
            }
            TurnOutcome::Died(exit) => self.close_turn(&replies::process_died(&exit), Tone::Failure),
        }
    }

    fn close_turn_with_answer(&mut self, answer: &str) {
        let verbosity = self.verbosity();
        self.turn.tools = None;
        let Some(turn) = self.turn.current.take() else { return };
        if let Some(text) = turn.answer(verbosity, answer) {
            self.finish_message(&turn, Outgoing::text(text).with_tone(Tone::Answer));
        }
        self.on_turn_over(&turn);
    }

    /// Closes the turn with its text so far and a sentence below it.
    pub(super) fn close_turn(&mut self, sentence: &str, tone: Tone) {
        self.close_turn_offering(sentence, tone, Vec::new());
    }

    /// The same, with what can be done about it.
    fn close_turn_offering(&mut self, sentence: &str, tone: Tone, choices: Vec<Choice>) {
        let verbosity = self.verbosity();
        self.turn.tools = None;
        let Some(turn) = self.turn.current.take() else { return };
        let message = Outgoing { choices, ..Outgoing::text(turn.cut_short(verbosity, sentence)) };
        self.finish_message(&turn, message.with_tone(tone));
        self.on_turn_over(&turn);
    }

    fn finish_message(&mut self, turn: &CurrentTurn, message: Outgoing) {
        if message.markdown.trim().is_empty() {
            return;
        }
        let message = message.replying_to(turn.prompt.message.clone());
        match turn.slot {
            Some(slot) => self.outbox.finish(slot, message),
            None => self.outbox.say(message),
        }
    }

    fn on_turn_over(&mut self, turn: &CurrentTurn) {
        self.count_rest(Some(turn));
        let egress = self.turn.place.workspace.as_ref().and_then(|workspace| workspace.egress.as_ref());
        if let Some(refused) = egress.and_then(|egress| egress.refusals()) {
            self.say(refused, Tone::Notice, None);
        }
        if let Some(number) = turn.number {
            self.done_when_told(number);
        }
        self.services.metrics.turns.inc();
        self.take_commits_over();
        self.next_in_queue();
    }

    // After each turn, so that people see the agent's commits, and hear of one that is not accepted.
    fn take_commits_over(&self) {
        if self.turn.place.workspace.as_ref().is_none_or(|workspace| workspace.branch.is_none()) {
            return;
        }
        let (pipeline, room) = (self.services.commands.pipeline.clone(), self.room.to_string());
        let sender = self.sender.clone();
        self.services.tasks.tracker.spawn(async move {
            if let Some(why) = pipeline.settle_room(&room).await {
                sender.send(RoomInput::Notice(replies::commits_refused(&why)));
            }
        });
    }

    /// Stops the turn, and whatever goes on beside it.
    pub(super) fn stop_turn(&mut self) {
        self.turn.tools = None;
        let is_awake = self.turn.background.view(Instant::now()).is_awake;
        let action = self.turn.current.as_mut().map(CurrentTurn::stop);
        self.withdraw_questions(RequestOwner::Session, WithdrawReason::Stopped);
        let ended = self.turn.background.stop();
        if !ended.is_empty() {
            self.say(replies::background_stopped(&ended), Tone::Notice, None);
            self.turn.session.stop_background();
        }
        match action {
            Some(StopAction::Interrupt) => self.turn.session.interrupt(),
            Some(StopAction::End) => self.close_turn(&replies::stopped(), Tone::Answer),
            None if is_awake => {
                self.say(replies::stopped(), Tone::Answer, None);
                self.turn.session.interrupt();
            }
            None => {}
        }
    }

    pub(super) fn on_no_process(&mut self, error: &ProcessError) {
        tracing::error!(%error, room = %self.room, "no Claude Code session");
        self.close_turn(&replies::no_process(error, &self.services.config()), Tone::Failure);
    }

    /// Stops the turn and announces it. No further input is handled.
    pub(super) fn shut_down(&mut self) {
        self.withdraw_questions(RequestOwner::Session, WithdrawReason::ShuttingDown);
        self.stop_ticker();
        self.turn.tools = None;
        // Its row stays: the next start reports it, too, as after a kill.
        let ended = self.turn.background.take();
        if !ended.is_empty() {
            self.say(replies::background_closed(&ended, None), Tone::Notice, None);
        }
        if let Some(turn) = self.turn.current.take() {
            // The same for its row.
            let text = turn.cut_short(self.verbosity(), turn.words_at_shutdown());
            self.finish_message(&turn, Outgoing::text(text).with_tone(Tone::Notice));
        }
        self.end_questions(WithdrawReason::ShuttingDown);
        self.turn.session.close();
    }
}

#[cfg(test)]
mod tests {

    use adapters::Incoming;
    use agents::{
        claude::{AgentEvent, ProcessExit, SessionId},
        prompt::{AgentCommand, AgentPrompt},
        turn::RetryPolicy,
    };

    use super::*;
    use crate::{
        chat::room::fixture::{RoomFixture, now},
        permission::{DenialReason, PermissionDecision},
    };

    fn text(text: &str) -> AgentEvent {
        AgentEvent::Text(text.into())
    }

    #[tokio::test]
    async fn without_the_cli_the_person_hears_why_nothing_happens() {
        let mut fixture = RoomFixture::asked("fix it").await;
        fixture.handles_session().await;
        assert!(
            fixture.last_shown().await.text.contains("/no/such/claude"),
            "{}",
            fixture.last_shown().await.text
        );
        assert_eq!((fixture.left(), fixture.task.is_busy()), (vec![], false));
    }

    #[tokio::test]
    async fn a_session_that_is_too_long_offers_a_summary() {
        let mut fixture = RoomFixture::asked("fix it").await;
        fixture.ends(TurnOutcome::Failed { cause: TurnFailure::SessionTooLong, text: String::new() });
        let offered: Vec<_> =
            fixture.last_shown().await.choices.into_iter().map(|choice| choice.key).collect();
        assert_eq!(offered, ["cmd:compact", "cmd:reset"]);
        fixture.task.record.session = Some(SessionId::new("old"));
        fixture.picks("ann", "cmd:compact").await;
        let input = &fixture.task.turn.current.as_ref().expect("a turn").input;
        assert_eq!(*input, AgentPrompt::Command(AgentCommand::compact("")));
        assert_eq!(fixture.left(), [("/compact".into(), true)], "a kill now is reported");
        let done = AgentEvent::Compacted { automatic: false, before: 190_400, after: Some(800) };
        fixture.event(done.clone());
        fixture.answers("");
        let told = replies::compacted(false, 190_400, Some(800));
        assert_eq!(fixture.last_shown().await.text, told);
        fixture.event(done);
        assert_eq!(
            fixture.last_shown().await.tone,
            Tone::Notice,
            "outside a turn it is a message of its own"
        );
    }

    #[tokio::test]
    async fn a_lost_session_is_replaced_by_a_new_one_and_the_room_is_told() {
        let mut fixture = RoomFixture::new().await;
        fixture.task.record.session = Some(SessionId::new("old"));
        fixture.says("ann", "fix it").await;
        let lost = TurnEnd {
            session: Some(SessionId::new("old")),
            failure: Some(TurnFailure::SessionLost),
            ..TurnEnd::default()
        };
        fixture.event(AgentEvent::TurnEnded(Box::new(lost)));
        fixture.ends(TurnOutcome::SessionLost);
        let notice = replies::session_lost(&SessionId::new("old"));
        assert_eq!(fixture.transcript().await, format!("bot (notice): {notice}\n"));
        assert_eq!(
            (fixture.task.turn.session.sent_prompts(), fixture.task.record.session.clone()),
            (2, None)
        );
        fixture.ends(TurnOutcome::SessionLost);
        let failed = replies::turn_failed(TurnFailure::SessionLost, "");
        assert!(
            fixture.transcript().await.ends_with(&format!("bot (failure): {failed}\n")),
            "once is enough"
        );
    }

    #[tokio::test]
    async fn a_busy_service_is_announced_and_the_prompt_is_sent_again() {
        let mut fixture = RoomFixture::asked("fix it").await;
        fixture.event(text("Half."));
        let busy = TurnOutcome::Busy { service: BusyService::Overloaded, until: None };
        fixture.ends(busy);
        let policy = RetryPolicy::default();
        let sentence =
            replies::service_busy(BusyService::Overloaded, policy.first, now(), Some((1, policy.tries)));
        assert!(fixture.transcript().await.ends_with(&format!("bot (notice): {sentence}\n")));
        assert!(fixture.task.turn.due().is_some());
        assert_eq!(fixture.services.metrics.rate_limits.get(), 1);
        fixture.task.send_prompt_again();
        fixture.enters();
        assert_eq!((fixture.task.turn.session.sent_prompts(), fixture.task.turn.due()), (2, None));
        fixture.answers("Whole.");
        assert_eq!(fixture.room().shown()[0].text, "Half.");
        assert!(fixture.transcript().await.starts_with("bot: Whole.\n"), "{}", fixture.transcript().await);
    }

    #[tokio::test]
    async fn a_reset_that_the_service_names_is_waited_for_and_not_counted() {
        let mut fixture = RoomFixture::asked("fix it").await;
        let hour = Duration::from_secs(3600);
        let until = Some(now() + hour);
        fixture.ends(TurnOutcome::Busy { service: BusyService::UsageLimit, until });
        let sentence = replies::service_busy(BusyService::UsageLimit, hour, now(), None);
        assert_eq!(fixture.transcript().await, format!("bot (notice): {sentence}\n"));
    }

    #[tokio::test]
    async fn every_end_of_a_turn_has_its_sentence_and_only_an_answer_is_none_of_failure() {
        let exit = || ProcessExit { code: Some(3), signal: None, tail: "no key".into() };
        let fixture = RoomFixture::new().await;
        let config = fixture.services.config();
        let failed = TurnFailure::StepLimit;
        let ends = [
            (TurnOutcome::Stopped, replies::stopped(), Tone::Answer),
            (TurnOutcome::Silent, replies::turn_timed_out(&config), Tone::Failure),
            (
                TurnOutcome::Failed { cause: failed, text: "too many".into() },
                replies::turn_failed(failed, "too many"),
                Tone::Failure,
            ),
            (TurnOutcome::Died(exit()), replies::process_died(&exit()), Tone::Failure),
            (TurnOutcome::Answered(Box::default()), replies::EMPTY_ANSWER.into(), Tone::Answer),
        ];
        for (outcome, sentence, tone) in ends {
            let mut fixture = RoomFixture::asked("fix it").await;
            fixture.ends(outcome);
            let shown = fixture.last_shown().await;
            assert_eq!((shown.text, shown.tone), (sentence, tone));
            assert_eq!((fixture.left(), fixture.task.is_busy()), (vec![], false));
        }
    }

    #[tokio::test]
    async fn a_service_that_stays_busy_ends_the_turn() {
        let mut fixture = RoomFixture::asked("fix it").await;
        let tries = RetryPolicy::default().tries;
        for _ in 0..=tries {
            fixture.ends(TurnOutcome::Busy { service: BusyService::Overloaded, until: None });
        }
        let shown = fixture.last_shown().await;
        let sentence = replies::service_stays_busy(BusyService::Overloaded, tries);
        assert_eq!((shown.text, shown.tone), (sentence, Tone::Failure));
        assert!(!fixture.task.turn.is_running());
    }

    #[tokio::test]
    async fn a_stop_ends_a_waiting_turn_at_once_and_a_running_one_by_its_outcome() {
        let mut fixture = RoomFixture::asked("fix it").await;
        fixture.task.stop_turn();
        assert!(fixture.task.turn.is_running(), "the interrupt has to be obeyed first");
        fixture.answers("done all the same");
        assert_eq!(fixture.transcript().await, "bot: Stopped.\n");
        let mut fixture = RoomFixture::asked("fix it").await;
        fixture.ends(TurnOutcome::Busy { service: BusyService::Overloaded, until: None });
        fixture.task.stop_turn();
        assert!(fixture.transcript().await.ends_with("bot: Stopped.\n"));
        assert_eq!((fixture.left(), fixture.task.is_busy()), (vec![], false));
        fixture.task.stop_turn();
        assert_eq!(fixture.room().shown().len(), 2, "nothing is left to stop");
    }

    #[tokio::test]
    async fn the_questions_of_a_turn_close_with_it() {
        type EndsTurn = fn(&mut RoomFixture);
        let ends: [(EndsTurn, WithdrawReason); 4] = [
            (|fixture| fixture.answers("done"), WithdrawReason::TurnOver),
            (|fixture| fixture.task.stop_turn(), WithdrawReason::Stopped),
            (
                |fixture| fixture.event(AgentEvent::PermissionCancelled { request_id: "r0".into() }),
                WithdrawReason::AgentCancelled,
            ),
            (
                |fixture| {
                    fixture.event(AgentEvent::Exited(ProcessExit {
                        code: None,
                        signal: None,
                        tail: String::new(),
                    }));
                },
                WithdrawReason::AgentGone,
            ),
        ];
        for (end, why) in ends {
            let mut fixture = RoomFixture::asked("fix it").await;
            let (_, decision) = fixture.asks_for_bash().await;
            end(&mut fixture);
            let withdrawn = PermissionDecision::Denied(DenialReason::Withdrawn(why));
            assert_eq!(decision.await.unwrap(), withdrawn);
        }
    }

    #[tokio::test]
    async fn what_the_model_says_unasked_is_a_message_of_its_own() {
        let mut fixture = RoomFixture::new().await;
        let woken = |text: &str, unprompted| {
            AgentEvent::TurnEnded(Box::new(TurnEnd { text: text.into(), unprompted, ..TurnEnd::default() }))
        };
        fixture.event(woken("The build is done.", true));
        fixture.event(woken(" ", true));
        assert_eq!(fixture.transcript().await, "bot: The build is done.\n");
        fixture.says("ann", "fix it").await;
        fixture.event(woken("The tests, too.", true));
        fixture.event(woken("An answer that its outcome shows.", false));
        assert_eq!(fixture.transcript().await, "bot: The build is done.\nbot: The tests, too.\n");
    }

    #[tokio::test]
    async fn an_ambient_turn_may_end_in_silence() {
        let mut fixture = RoomFixture::new().await;
        let talk = Incoming { addressed: None, ..fixture.room().incoming("ann", "nice weather") };
        fixture.gets(talk).await;
        fixture.event(text("NOTHING_TO_ADD"));
        fixture.answers("NOTHING_TO_ADD");
        assert_eq!(fixture.transcript().await, "");
        assert_eq!((fixture.left(), fixture.task.is_busy()), (vec![], false));
    }

    #[tokio::test]
    async fn the_next_prompt_begins_when_the_turn_is_over() {
        let mut fixture = RoomFixture::asked("one").await;
        fixture.says("ann", "two").await;
        assert_eq!(fixture.task.queue.len(), 1);
        fixture.answers("done");
        let running = fixture.task.running_turn().unwrap();
        assert_eq!((running.who.as_str(), running.waiting), ("ann", None));
        assert_eq!((fixture.task.queue.len(), fixture.task.turn.session.sent_prompts()), (0, 2));
    }

    #[tokio::test]
    async fn a_shutdown_ends_turn_and_questions_with_their_final_words() {
        let mut fixture = RoomFixture::asked("fix it").await;
        fixture.event(text("Half."));
        let (id, _decision) = fixture.asks_for_bash().await;
        fixture.task.shut_down();
        let shown = fixture.transcript().await;
        assert!(shown.contains(&format!("Question {id} is closed: the bot is shutting down.")), "{shown}");
        assert!(shown.ends_with(&format!("bot (notice): {}\n", replies::STOPPED_BY_SHUTDOWN)), "{shown}");
        let left = vec![("fix it".into(), true)];
        assert_eq!(
            (fixture.left(), fixture.task.turn.is_running()),
            (left, false),
            "the next start reports it"
        );
        assert!(fixture.task.questions.is_empty());
    }
}

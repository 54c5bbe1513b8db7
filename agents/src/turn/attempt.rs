//! The rules of one attempt at a turn: what each event, each moment and a stop mean. Pure.

use std::{collections::BTreeSet, time::SystemTime};

use tokio::time::Instant;

use super::outcome::{TurnLimits, TurnOutcome};
use crate::event::{AgentEvent, ProcessExit, RateLimitStatus, TurnEnd, TurnFailure};

/// The event that completes the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptKind {
    /// The result of the prompt; the process then waits for the next prompt.
    Live,
    /// The exit of the process. It may print several results before, if a background task outlives the answer: the last
    /// of these results counts.
    OneShot,
}

/// The next step of the caller with the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptAction {
    Nothing,
    Interrupt,
    Kill,
}

/// One prompt on its way through the agent program.
#[derive(Debug)]
pub struct TurnAttempt {
    kind: AttemptKind,
    limits: TurnLimits,
    state: AttemptState,
    /// When the agent program last showed that it works.
    last_sign: Instant,
    /// Permission requests that wait for a person.
    asked: BTreeSet<String>,
    /// The CLI repeats an API call by itself.
    service_busy: bool,
    limit_ends: Option<SystemTime>,
    last_result: Option<TurnEnd>,
}

/// The agent program's reaction to the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AttemptState {
    Running,
    /// Interrupted; killed then unless it obeys.
    Stopping {
        kill_at: Instant,
    },
    KilledByStop,
    KilledForSilence,
    /// It may run calls that nobody was asked about.
    KilledForMode,
}

impl TurnAttempt {
    pub fn new(kind: AttemptKind, limits: TurnLimits, now: Instant) -> Self {
        Self {
            kind,
            limits,
            state: AttemptState::Running,
            last_sign: now,
            asked: BTreeSet::new(),
            service_busy: false,
            limit_ends: None,
            last_result: None,
        }
    }

    /// Permission requests that an earlier turn left open: the agent program waits for them in this one too.
    pub fn with_open_requests(mut self, asked: BTreeSet<String>) -> Self {
        self.asked = asked;
        self
    }

    /// Applies an event; returns the outcome if the attempt is over with it.
    pub fn on_event(&mut self, event: &AgentEvent, now: Instant) -> Option<TurnOutcome> {
        match event {
            // An agent program that prints nothing but noise may well hang.
            AgentEvent::Noise(_) => return None,
            // The CLI waits before each retry and prints nothing meanwhile.
            AgentEvent::Retrying { .. } => self.service_busy = true,
            AgentEvent::RateLimit { status, resets_at } => {
                // An allowed request names its window too, but nobody waits for that, and it ends no other window.
                if *status == RateLimitStatus::Rejected {
                    self.limit_ends = *resets_at;
                }
            }
            AgentEvent::Permission(request) => {
                self.service_busy = false;
                self.asked.insert(request.request_id.clone());
            }
            AgentEvent::PermissionCancelled { request_id } => _ = self.asked.remove(request_id),
            AgentEvent::TurnEnded(end) => {
                self.service_busy = false;
                self.last_sign = now;
                return self.on_result(end);
            }
            AgentEvent::Exited(exit) => return Some(self.on_exit(exit)),
            AgentEvent::Started { .. }
            | AgentEvent::BackgroundTasks(_)
            | AgentEvent::TaskEnded { .. }
            | AgentEvent::Mode(_)
            | AgentEvent::TextDelta(_)
            | AgentEvent::Text(_)
            | AgentEvent::ToolUse(_)
            | AgentEvent::MessageEnded
            | AgentEvent::ToolResult { .. }
            | AgentEvent::SubAgentToolUse(_)
            | AgentEvent::SubAgentToolResult { .. }
            | AgentEvent::OwnTools(_)
            | AgentEvent::Servers(_)
            | AgentEvent::Compacted { .. }
            | AgentEvent::ControlFailed { .. } => self.service_busy = false,
        }
        self.last_sign = now;
        None
    }

    fn on_result(&mut self, end: &TurnEnd) -> Option<TurnOutcome> {
        match self.kind {
            AttemptKind::OneShot => {
                self.last_result = Some(end.clone());
                None
            }
            // The CLI began this turn by itself, after a background task; the prompt is still to be answered.
            AttemptKind::Live if end.unprompted => None,
            AttemptKind::Live => Some(self.outcome(end.clone())),
        }
    }

    fn on_exit(&mut self, exit: &ProcessExit) -> TurnOutcome {
        match (self.state, self.last_result.take()) {
            (AttemptState::Running, None) => TurnOutcome::Died(exit.clone()),
            // A process that was stopped may have printed no result: the state alone decides.
            (_, end) => self.outcome(end.unwrap_or_default()),
        }
    }

    fn outcome(&self, end: TurnEnd) -> TurnOutcome {
        // A stop counts even if the answer was faster than the interrupt: the person who stopped it expects that.
        match self.state {
            AttemptState::Stopping { .. } | AttemptState::KilledByStop => return TurnOutcome::Stopped,
            AttemptState::KilledForSilence => return TurnOutcome::Silent,
            AttemptState::KilledForMode => {
                return TurnOutcome::Failed { cause: TurnFailure::WrongMode, text: String::new() };
            }
            AttemptState::Running => {}
        }
        match end.failure {
            None => TurnOutcome::Answered(Box::new(end)),
            Some(TurnFailure::SessionLost) => TurnOutcome::SessionLost,
            Some(TurnFailure::Busy(service)) => TurnOutcome::Busy { service, until: self.limit_ends },
            Some(cause) => TurnOutcome::Failed { cause, text: end.text },
        }
    }

    /// When [`TurnAttempt::on_deadline`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            AttemptState::Stopping { kill_at } => Some(kill_at),
            AttemptState::Running if self.service_busy || !self.asked.is_empty() => None,
            AttemptState::Running => self.limits.silence.map(|limit| self.last_sign + limit),
            AttemptState::KilledByStop | AttemptState::KilledForSilence | AttemptState::KilledForMode => None,
        }
    }

    /// The deadline has passed: the turn is silent, or disobeys an interrupt.
    pub fn on_deadline(&mut self, now: Instant) -> AttemptAction {
        // An event may have moved the deadline since the caller's timer was set.
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return AttemptAction::Nothing;
        }
        self.state = match self.state {
            AttemptState::Running => AttemptState::KilledForSilence,
            _ => AttemptState::KilledByStop,
        };
        AttemptAction::Kill
    }

    /// Somebody stops the turn. Asking again gives no more time to obey.
    pub fn stop(&mut self, now: Instant) -> AttemptAction {
        match self.state {
            AttemptState::Running => {
                self.state = AttemptState::Stopping { kill_at: now + self.limits.interrupt_grace };
                AttemptAction::Interrupt
            }
            AttemptState::Stopping { .. } => AttemptAction::Interrupt,
            AttemptState::KilledByStop | AttemptState::KilledForSilence | AttemptState::KilledForMode => {
                AttemptAction::Nothing
            }
        }
    }

    /// As [`TurnAttempt::stop`], but without an interrupt first.
    pub fn kill(&mut self) -> AttemptAction {
        // The first cause counts: a kill during the exit of a silent process changes nothing.
        if !matches!(self.state, AttemptState::KilledForSilence | AttemptState::KilledForMode) {
            self.state = AttemptState::KilledByStop;
        }
        AttemptAction::Kill
    }

    /// The agent program is in a mode that asks less than agreed. Even if an answer is on its way, the attempt failed: nobody knows
    /// what ran for it.
    pub fn kill_for_mode(&mut self) -> AttemptAction {
        self.state = AttemptState::KilledForMode;
        AttemptAction::Kill
    }

    /// A permission request has its answer. Silence is counted from here.
    pub fn on_answer(&mut self, request_id: &str, now: Instant) {
        self.asked.remove(request_id);
        self.last_sign = now;
    }

    /// A question that came past the agent program's events still waits for a person: silence is counted from here.
    pub fn on_person_asked(&mut self, now: Instant) {
        self.last_sign = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::event::{BusyService, PermissionRequest, UnparsedOutput};

    const MINUTE: Duration = Duration::from_secs(60);

    fn limits() -> TurnLimits {
        TurnLimits { silence: Some(MINUTE), ..TurnLimits::default() }
    }

    fn live() -> (TurnAttempt, Instant) {
        let now = Instant::now();
        (TurnAttempt::new(AttemptKind::Live, limits(), now), now)
    }

    fn ended(failure: Option<TurnFailure>) -> AgentEvent {
        AgentEvent::TurnEnded(Box::new(TurnEnd { failure, text: "words".into(), ..TurnEnd::default() }))
    }

    fn exited() -> AgentEvent {
        AgentEvent::Exited(ProcessExit { code: Some(1), signal: None, tail: String::new() })
    }

    fn asks(id: &str) -> AgentEvent {
        AgentEvent::Permission(PermissionRequest {
            request_id: id.into(),
            tool: "Bash".into(),
            input: json!({}),
            tool_use_id: None,
            agent_id: None,
            blocked_path: None,
        })
    }

    fn retrying() -> AgentEvent {
        let delay = Duration::from_secs(1);
        AgentEvent::Retrying { attempt: 1, max: 3, delay, status: Some(529), error: "overloaded".into() }
    }

    #[test]
    fn a_live_attempt_ends_with_its_result_and_a_background_turn_is_not_its_end() {
        let (mut attempt, now) = live();
        let woke = TurnEnd { unprompted: true, ..TurnEnd::default() };
        assert_eq!(attempt.on_event(&AgentEvent::TurnEnded(Box::new(woke)), now), None);
        assert_eq!(attempt.on_event(&AgentEvent::Text("hello".into()), now), None);
        assert!(
            matches!(attempt.on_event(&ended(None), now), Some(TurnOutcome::Answered(end)) if end.text == "words")
        );
    }

    #[test]
    fn a_one_shot_attempt_ends_with_its_process_and_the_last_result_counts() {
        let now = Instant::now();
        let mut attempt = TurnAttempt::new(AttemptKind::OneShot, limits(), now);
        assert_eq!(attempt.on_event(&ended(Some(TurnFailure::Other)), now), None);
        assert_eq!(attempt.on_event(&ended(None), now), None);
        assert!(matches!(attempt.on_event(&exited(), now), Some(TurnOutcome::Answered(_))));
    }

    #[test]
    fn an_end_without_a_result_is_a_death() {
        let (mut attempt, now) = live();
        assert!(
            matches!(attempt.on_event(&exited(), now), Some(TurnOutcome::Died(exit)) if exit.code == Some(1))
        );
    }

    #[test]
    fn failures_are_told_apart_by_their_cause() {
        let outcome = |failure| {
            let (mut attempt, now) = live();
            attempt.on_event(&ended(Some(failure)), now).expect("it ends")
        };
        assert_eq!(outcome(TurnFailure::SessionLost), TurnOutcome::SessionLost);
        let overloaded = TurnOutcome::Busy { service: BusyService::Overloaded, until: None };
        assert_eq!(outcome(TurnFailure::Busy(BusyService::Overloaded)), overloaded);
        let failed = TurnOutcome::Failed { cause: TurnFailure::Budget, text: "words".into() };
        assert_eq!(outcome(TurnFailure::Budget), failed);
    }

    #[test]
    fn a_rejected_window_tells_the_reset_time_and_an_allowed_one_does_not() {
        let week = SystemTime::UNIX_EPOCH + 7 * 24 * 60 * MINUTE;
        let until = |status| {
            let (mut attempt, now) = live();
            attempt.on_event(&AgentEvent::RateLimit { status, resets_at: Some(week) }, now);
            match attempt.on_event(&ended(Some(TurnFailure::Busy(BusyService::UsageLimit))), now) {
                Some(TurnOutcome::Busy { until, .. }) => until,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(until(RateLimitStatus::Rejected), Some(week));
        assert_eq!(until(RateLimitStatus::AllowedWithWarning), None);
    }

    #[test]
    fn silence_is_counted_from_the_last_event_and_noise_is_none() {
        let (mut attempt, start) = live();
        attempt.on_event(&AgentEvent::Text("hello".into()), start + MINUTE / 2);
        attempt.on_event(&AgentEvent::Noise(UnparsedOutput::NotJson("x".into())), start + MINUTE);
        assert_eq!(attempt.on_deadline(start + MINUTE), AttemptAction::Nothing);
        assert_eq!(attempt.on_deadline(start + MINUTE * 3 / 2), AttemptAction::Kill);
        assert_eq!(attempt.on_event(&exited(), start + MINUTE * 2), Some(TurnOutcome::Silent));
    }

    #[test]
    fn waiting_for_a_person_is_no_silence_and_counts_from_the_last_answer() {
        let (mut attempt, start) = live();
        attempt.on_event(&asks("1"), start);
        attempt.on_event(&asks("2"), start);
        assert_eq!(attempt.deadline(), None);
        attempt.on_answer("1", start + 10 * MINUTE);
        assert_eq!(attempt.deadline(), None, "the second one is open");
        attempt.on_answer("2", start + 20 * MINUTE);
        assert_eq!(attempt.deadline(), Some(start + 21 * MINUTE));
        attempt.on_person_asked(start + 30 * MINUTE);
        assert_eq!(attempt.deadline(), Some(start + 31 * MINUTE), "asked past the events");
    }

    #[test]
    fn a_question_that_the_program_takes_back_is_not_waited_for() {
        let (mut attempt, start) = live();
        attempt.on_event(&asks("1"), start);
        attempt.on_event(&AgentEvent::PermissionCancelled { request_id: "1".into() }, start);
        assert_eq!(attempt.deadline(), Some(start + MINUTE));
    }

    #[test]
    fn waiting_for_a_busy_service_is_no_silence() {
        let (mut attempt, start) = live();
        attempt.on_event(&retrying(), start);
        let limit = AgentEvent::RateLimit { status: RateLimitStatus::Rejected, resets_at: None };
        attempt.on_event(&limit, start);
        assert_eq!(attempt.deadline(), None);
        attempt.on_event(&AgentEvent::TextDelta("x".into()), start + 10 * MINUTE);
        assert_eq!(attempt.deadline(), Some(start + 11 * MINUTE));
    }

    #[test]
    fn a_wrong_mode_fails_the_turn_whatever_it_answers() {
        let failed = TurnOutcome::Failed { cause: TurnFailure::WrongMode, text: String::new() };
        for event in [ended(None), exited()] {
            let (mut attempt, now) = live();
            assert_eq!(attempt.kill_for_mode(), AttemptAction::Kill);
            assert_eq!((attempt.deadline(), attempt.stop(now)), (None, AttemptAction::Nothing));
            attempt.kill();
            assert_eq!(attempt.on_event(&event, now), Some(failed.clone()));
        }
    }

    #[test]
    fn what_does_not_obey_an_interrupt_is_killed_and_asking_again_gives_no_more_time() {
        let (mut attempt, start) = live();
        let grace = limits().interrupt_grace;
        assert_eq!(attempt.stop(start), AttemptAction::Interrupt);
        assert_eq!(attempt.stop(start + grace / 2), AttemptAction::Interrupt);
        assert_eq!(attempt.on_deadline(start + grace / 2), AttemptAction::Nothing);
        assert_eq!(attempt.on_deadline(start + grace), AttemptAction::Kill);
        assert_eq!(attempt.stop(start + grace), AttemptAction::Nothing);
        assert_eq!(attempt.on_event(&exited(), start + grace), Some(TurnOutcome::Stopped));
    }

    #[test]
    fn a_stop_that_races_with_the_end_is_a_stop_and_ends_with_its_attempt() {
        let (mut attempt, now) = live();
        attempt.stop(now);
        assert_eq!(attempt.on_event(&ended(None), now), Some(TurnOutcome::Stopped));
        // The next prompt has an attempt of its own: no kill is left over for it.
        let next = TurnAttempt::new(AttemptKind::Live, limits(), now);
        assert_eq!(next.deadline(), Some(now + MINUTE));
    }

    #[test]
    fn a_question_of_an_earlier_turn_stops_the_clock_of_the_next_prompt() {
        let start = Instant::now();
        let asked = BTreeSet::from(["r1".to_owned()]);
        let mut attempt = TurnAttempt::new(AttemptKind::Live, limits(), start).with_open_requests(asked);
        assert_eq!(attempt.deadline(), None);
        attempt.on_answer("r1", start);
        assert!(attempt.deadline().is_some());
    }

    #[test]
    fn an_allowed_window_does_not_end_a_rejected_one() {
        let (start, reset) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut attempt = TurnAttempt::new(AttemptKind::Live, limits(), start);
        for status in [RateLimitStatus::Rejected, RateLimitStatus::Allowed] {
            let resets_at = (status == RateLimitStatus::Rejected).then_some(reset);
            attempt.on_event(&AgentEvent::RateLimit { status, resets_at }, start);
        }
        assert_eq!(attempt.limit_ends, Some(reset));
    }

    #[test]
    fn a_stop_while_a_person_is_asked_still_has_its_deadline() {
        let (mut attempt, now) = live();
        attempt.on_event(&asks("1"), now);
        attempt.stop(now);
        assert_eq!(attempt.deadline(), Some(now + limits().interrupt_grace));
    }
}

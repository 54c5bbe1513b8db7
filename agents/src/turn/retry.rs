//! Decides after an attempt: a new session, a wait for the model's service, or the turn is over. Pure.

use std::time::{Duration, SystemTime};

use super::outcome::TurnOutcome;
use crate::event::BusyService;

/// No window of the service's limits is longer than a week: a later time is a mistake, and is waited for no longer than this.
const LONGEST_WINDOW: Duration = Duration::from_secs(8 * 24 * 3600);

/// How a busy service is waited for.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The first wait where the service names no time; doubled each time.
    pub first: Duration,
    /// No wait of our own choice is longer.
    pub longest: Duration,
    /// How many waits of our own choice there are before the turn fails.
    pub tries: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first: Duration::from_secs(30), longest: Duration::from_secs(3600), tries: 5 }
    }
}

/// A wait for the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyWait {
    pub wait: Duration,
    /// How many tries are used up, this one included.
    pub tries: u32,
    /// Whether this one is among them. The service's own reset time is waited for as often as it names one.
    pub counted: bool,
}

impl RetryPolicy {
    /// The wait after `tries` tries, until `reset` where the service names a time to come; `None` when the tries are used up.
    pub fn next_wait(&self, tries: u32, reset: Option<SystemTime>, now: SystemTime) -> Option<BusyWait> {
        let named =
            reset.and_then(|reset| reset.duration_since(now).ok()).map(|wait| wait.min(LONGEST_WINDOW));
        // A time that is past or about to come counts as a try, or a service that names one each time makes a tight loop.
        if let Some(wait) = named.filter(|wait| *wait >= self.first) {
            return Some(BusyWait { wait, tries, counted: false });
        }
        if tries >= self.tries {
            return None;
        }
        let own = self.first.saturating_mul(2_u32.saturating_pow(tries)).min(self.longest);
        Some(BusyWait { wait: named.unwrap_or(own), tries: tries + 1, counted: true })
    }
}

/// What follows an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum RetryStep {
    /// Send the prompt again, in a new session.
    NewSession,
    /// Send the prompt again after the wait.
    Wait(BusyService, BusyWait),
    /// The turn is over.
    End(TurnOutcome),
}

/// The attempts of one turn.
#[derive(Clone, Copy, Debug)]
pub struct TurnRetries {
    /// `None`: a busy service finishes the turn, since the caller has better things to do than to wait.
    busy: Option<RetryPolicy>,
    tries: u32,
}

impl TurnRetries {
    pub fn new(busy: Option<RetryPolicy>) -> Self {
        Self { busy, tries: 0 }
    }

    /// Decides on the next step; `resumed`: whether the attempt began with a session to resume.
    pub fn next_step(&mut self, outcome: TurnOutcome, resumed: bool, now: SystemTime) -> RetryStep {
        match outcome {
            // A new session that is lost at once would be lost for ever.
            TurnOutcome::SessionLost if resumed => RetryStep::NewSession,
            TurnOutcome::Busy { service, until } => {
                match self.busy.and_then(|policy| policy.next_wait(self.tries, until, now)) {
                    Some(wait) => {
                        self.tries = wait.tries;
                        RetryStep::Wait(service, wait)
                    }
                    None => RetryStep::End(TurnOutcome::Busy { service, until }),
                }
            }
            outcome @ (TurnOutcome::Answered(_)
            | TurnOutcome::SessionLost
            | TurnOutcome::Silent
            | TurnOutcome::Failed { .. }
            | TurnOutcome::Died(_)
            | TurnOutcome::Stopped) => RetryStep::End(outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY
    }

    fn busy(until: Option<SystemTime>) -> TurnOutcome {
        TurnOutcome::Busy { service: BusyService::UsageLimit, until }
    }

    fn wait(step: RetryStep) -> BusyWait {
        match step {
            RetryStep::Wait(_, wait) => wait,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_then_the_turn_is_given_up() {
        let policy = RetryPolicy { longest: Duration::from_secs(200), ..RetryPolicy::default() };
        let mut retries = TurnRetries::new(Some(policy));
        let waits = [1, 2, 3, 4, 5].map(|_| wait(retries.next_step(busy(None), true, now())));
        assert_eq!(waits.map(|wait| wait.wait.as_secs()), [30, 60, 120, 200, 200]);
        assert_eq!(waits.map(|wait| wait.tries), [1, 2, 3, 4, 5]);
        assert_eq!(retries.next_step(busy(None), true, now()), RetryStep::End(busy(None)));
    }

    #[test]
    fn a_weekly_reset_is_waited_for_and_never_gives_the_turn_up() {
        let mut retries = TurnRetries::new(Some(RetryPolicy::default()));
        let reset = Some(now() + 6 * DAY);
        for _ in 0..20 {
            let expected = BusyWait { wait: 6 * DAY, tries: 0, counted: false };
            assert_eq!(wait(retries.next_step(busy(reset), true, now())), expected);
        }
    }

    #[test]
    fn a_reset_beyond_every_window_is_a_mistake() {
        let policy = RetryPolicy::default();
        let far = policy.next_wait(0, Some(now() + 10_000 * DAY), now()).expect("a wait");
        assert_eq!(far.wait, LONGEST_WINDOW);
    }

    #[test]
    fn a_reset_that_is_past_or_at_hand_cannot_make_a_tight_loop() {
        let policy = RetryPolicy::default();
        let past = policy.next_wait(0, Some(now() - DAY), now()).expect("a wait");
        assert_eq!((past.wait, past.counted), (policy.first, true));
        let soon = policy.next_wait(1, Some(now() + Duration::from_secs(2)), now()).expect("a wait");
        assert_eq!(soon, BusyWait { wait: Duration::from_secs(2), tries: 2, counted: true });
        assert_eq!(policy.next_wait(5, Some(now() + Duration::from_secs(2)), now()), None);
    }

    #[test]
    fn a_lost_session_is_begun_again_once() {
        let mut retries = TurnRetries::new(None);
        assert_eq!(retries.next_step(TurnOutcome::SessionLost, true, now()), RetryStep::NewSession);
        let again = retries.next_step(TurnOutcome::SessionLost, false, now());
        assert_eq!(again, RetryStep::End(TurnOutcome::SessionLost));
    }

    #[test]
    fn who_does_not_wait_is_told_when_the_service_is_back() {
        let mut retries = TurnRetries::new(None);
        let reset = Some(now() + DAY);
        assert_eq!(retries.next_step(busy(reset), true, now()), RetryStep::End(busy(reset)));
    }

    #[test]
    fn everything_else_ends_the_turn() {
        let mut retries = TurnRetries::new(Some(RetryPolicy::default()));
        for outcome in [TurnOutcome::Stopped, TurnOutcome::Silent] {
            assert_eq!(retries.next_step(outcome.clone(), true, now()), RetryStep::End(outcome));
        }
    }
}

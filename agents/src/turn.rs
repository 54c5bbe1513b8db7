//! The turn engine: one prompt to an agent program, from its start to its [`TurnOutcome`], and what may follow it.
//!
//! [`TurnAttempt`] and [`TurnRetries`] are the rules: pure, given events and times. [`AgentSession`] owns the process and applies them.
//! A room has one session for many turns; a run of a story has a session for one. Neither is known here.

mod attempt;
mod cost;
mod outcome;
mod retry;
mod session;

pub use self::{
    attempt::{AttemptAction, AttemptKind, TurnAttempt},
    cost::SessionCost,
    outcome::{TurnLimits, TurnOutcome},
    retry::{BusyWait, RetryPolicy, RetryStep, TurnRetries},
    session::{AgentSession, TurnUpdate},
};

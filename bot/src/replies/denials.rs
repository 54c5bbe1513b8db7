//! Denials: why a call does not run, for the agent and for the room.

use agents::claude::PermissionAnswer;

use super::trials;
use crate::permission::{DenialReason, PermissionDecision, WithdrawReason};

/// The answer for the CLI: the input to run with, or a sentence for the model.
pub fn permission_answer(decision: PermissionDecision) -> PermissionAnswer {
    match decision {
        PermissionDecision::Allowed { input } => PermissionAnswer::Allow { updated_input: input },
        PermissionDecision::Denied(why) => PermissionAnswer::Deny { message: denial(why) },
        // Nobody hears it: the process ends. Should one hear it, nothing runs.
        PermissionDecision::Parked => PermissionAnswer::Deny { message: PARKED.into() },
    }
}

const PARKED: &str = "Nobody has answered the permission question yet, and it waits on. Stop here.";

/// Why something does not happen, for the agent.
pub fn denial(why: DenialReason) -> String {
    match why {
        DenialReason::Person { by, reason: Some(reason), plan: true } => {
            format!("{} wants the plan changed: {reason}", by.name)
        }
        DenialReason::Person { by, reason: None, plan: true } => {
            format!("{} does not approve the plan yet. Ask what to change.", by.name)
        }
        DenialReason::Person { by, reason: Some(reason), plan: false } => {
            format!("{} denied this: {reason}", by.name)
        }
        DenialReason::Person { by, reason: None, plan: false } => {
            format!("{} denied this. Do not try it again in another way; ask what to do instead.", by.name)
        }
        DenialReason::Kept { by, effect } => trials::command_kept(&by, &effect),
        DenialReason::TimedOut => {
            "Nobody answered the permission question in time, so it is denied. Do not try it again \
             without permission; say what you wanted to do and why."
                .into()
        }
        DenialReason::Unreachable => {
            "No person could be reached to answer the permission question, so it is denied. \
             Continue without it or say what you need."
                .into()
        }
        DenialReason::Withdrawn(why) => {
            format!("The permission question was closed, because {}. It counts as denied.", withdrawn(why))
        }
    }
}

/// Why a host cannot be reached, as a clause for the agent.
pub fn host_refused(why: DenialReason) -> String {
    match why {
        DenialReason::Person { by, reason: Some(reason), .. } => format!("{} denied it: {reason}", by.name),
        DenialReason::Person { by, reason: None, .. } => {
            format!("{} denied it; ask what to do instead", by.name)
        }
        // No host is tried.
        DenialReason::Kept { by, .. } => format!("{} kept the effect of something else", by.name),
        DenialReason::TimedOut => "nobody answered the question about it in time".into(),
        DenialReason::Unreachable => NO_PERSON_FOR_HOST.into(),
        DenialReason::Withdrawn(why) => {
            format!("the question about it was closed, because {}", withdrawn(why))
        }
    }
}

pub const NO_PERSON_FOR_HOST: &str = "no person could be asked about it";

/// To the project's commands, which ask nobody.
pub const HOST_NOT_ALLOWED_YET: &str = "nobody has allowed it yet";

/// Why a question was closed, as a clause: "Question 3 is closed: ...".
pub(super) fn withdrawn(why: WithdrawReason) -> &'static str {
    match why {
        WithdrawReason::TurnOver => "the turn is over",
        WithdrawReason::Stopped => "the turn was stopped",
        WithdrawReason::ShuttingDown => "the bot is shutting down",
        WithdrawReason::BotRestarted => "the bot was restarted, and the agent with it",
        WithdrawReason::AgentGone => "the agent that asked has ended",
        WithdrawReason::AgentCancelled => "the agent withdrew it",
        WithdrawReason::NotRecorded => "it could not be recorded",
        WithdrawReason::Changed => "what it is about has changed since, so it is asked anew",
        WithdrawReason::StoryOver => "its story was stopped, moved or decided",
        WithdrawReason::TooManyQuestions => "too many questions of this agent wait already",
    }
}

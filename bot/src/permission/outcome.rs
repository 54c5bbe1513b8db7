//! How a permission question ended, and what the agent and the audit are told of it.

use std::sync::Arc;

use agents::trial::TrialEffect;
use serde_json::Value;

use super::{BoardConsent, Person, RuleScope, model_question::with_answers};

/// How a question ended.
#[derive(Clone, Debug, PartialEq)]
pub enum QuestionOutcome {
    /// Allowed for this one call.
    Allowed { by: Person },
    /// Allowed, and a rule made.
    Always {
        by: Person,
        /// The calls that the new rule allows.
        scope: RuleScope,
    },
    /// The model's questions were answered.
    Answered {
        by: Person,
        /// Question and answer, in order.
        answers: Vec<(String, String)>,
    },
    /// Some entries of a list were allowed, counted from 1.
    Picked { by: Person, entries: Vec<usize> },
    Denied {
        by: Person,
        /// Why, for the model.
        reason: Option<String>,
    },
    /// The effect of its trial was applied instead.
    Kept { by: Person, effect: Arc<TrialEffect> },
    /// A standing rule covered it; nobody was asked.
    ByRule { rule: i64 },
    /// Nobody answered in time.
    TimedOut,
    /// Nobody answered in time, and the question waits on without its agent.
    Parked,
    /// No room could be reached.
    Unreachable,
    /// The question was closed without an answer.
    Withdrawn { why: WithdrawReason },
}

/// Why a question was closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithdrawReason {
    /// The turn ended first.
    TurnOver,
    /// A person stopped the turn.
    Stopped,
    /// The bot shuts down.
    ShuttingDown,
    /// The bot was restarted, and the agent with it.
    BotRestarted,
    /// The agent's process or connection is gone.
    AgentGone,
    /// The CLI cancelled its own request.
    AgentCancelled,
    /// The store could not record the question.
    NotRecorded,
    /// Too many calls of the same agent wait already.
    TooManyQuestions,
    /// What it is about has changed while it was parked; it is asked anew.
    Changed,
    /// The story that waited for it is not gone on with.
    StoryOver,
}

/// The answer to an agent's request.
#[derive(Clone, Debug, PartialEq)]
pub enum PermissionDecision {
    Allowed {
        /// The exact input that was shown, with the answers to the model's own questions.
        input: Value,
    },
    /// The call does not run.
    Denied(DenialReason),
    /// Nobody has decided: the agent's process is to end, and the call waits.
    Parked,
}

/// Why a call does not run.
#[derive(Clone, Debug, PartialEq)]
pub enum DenialReason {
    Person {
        by: Person,
        reason: Option<String>,
        /// Whether the question was about a plan.
        plan: bool,
    },
    /// It ran as a trial already, and its changes were applied.
    Kept { by: Person, effect: Arc<TrialEffect> },
    /// Nobody answered in time.
    TimedOut,
    /// No room could be reached.
    Unreachable,
    /// The question was closed without an answer.
    Withdrawn(WithdrawReason),
}

impl QuestionOutcome {
    /// Whether the call runs.
    pub(super) fn allows(&self) -> bool {
        match self {
            Self::Allowed { .. }
            | Self::Always { .. }
            | Self::Answered { .. }
            | Self::Picked { .. }
            | Self::ByRule { .. } => true,
            Self::Denied { .. }
            | Self::Kept { .. }
            | Self::TimedOut
            | Self::Parked
            | Self::Unreachable
            | Self::Withdrawn { .. } => false,
        }
    }

    /// The audit's word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Allowed { .. } | Self::Answered { .. } | Self::Picked { .. } => "allow",
            Self::Always { .. } => "always",
            Self::ByRule { .. } => "rule",
            Self::Denied { .. } => "deny",
            Self::Kept { .. } => "keep",
            Self::TimedOut => "timeout",
            Self::Parked => "parked",
            Self::Unreachable => "unreachable",
            Self::Withdrawn { .. } => "withdrawn",
        }
    }

    /// Who or what decided, for the audit.
    pub fn by(&self) -> String {
        match self {
            Self::Allowed { by }
            | Self::Always { by, .. }
            | Self::Answered { by, .. }
            | Self::Picked { by, .. }
            | Self::Kept { by, .. }
            | Self::Denied { by, .. } => by.recorded().to_owned(),
            Self::ByRule { rule } => format!("rule {rule}"),
            Self::TimedOut | Self::Parked => "deadline".into(),
            Self::Unreachable => "nobody reachable".into(),
            Self::Withdrawn { why } => why.word().into(),
        }
    }

    /// The person who decided, if one did.
    pub(super) fn person(&self) -> Option<&Person> {
        match self {
            Self::Allowed { by }
            | Self::Always { by, .. }
            | Self::Answered { by, .. }
            | Self::Picked { by, .. }
            | Self::Kept { by, .. }
            | Self::Denied { by, .. } => Some(by),
            Self::ByRule { .. }
            | Self::TimedOut
            | Self::Parked
            | Self::Unreachable
            | Self::Withdrawn { .. } => None,
        }
    }

    /// The decision for the agent; an allow carries the exact input that was shown.
    pub(super) fn into_decision(self, tool: &str, input: Value) -> PermissionDecision {
        match self {
            Self::Allowed { .. } | Self::Always { .. } | Self::Picked { .. } | Self::ByRule { .. } => {
                PermissionDecision::Allowed { input }
            }
            Self::Answered { answers, .. } => {
                PermissionDecision::Allowed { input: with_answers(input, answers) }
            }
            Self::Denied { by, reason } => {
                PermissionDecision::Denied(DenialReason::Person { by, reason, plan: tool == "ExitPlanMode" })
            }
            Self::Kept { by, effect } => PermissionDecision::Denied(DenialReason::Kept { by, effect }),
            Self::TimedOut => PermissionDecision::Denied(DenialReason::TimedOut),
            Self::Parked => PermissionDecision::Parked,
            Self::Unreachable => PermissionDecision::Denied(DenialReason::Unreachable),
            Self::Withdrawn { why } => PermissionDecision::Denied(DenialReason::Withdrawn(why)),
        }
    }
}

impl QuestionOutcome {
    /// The decision about an act on the board. A rule allows none.
    pub(super) fn into_consent(self) -> Result<BoardConsent, DenialReason> {
        match self {
            Self::Allowed { by } => Ok(BoardConsent { by, picked: None }),
            Self::Picked { by, entries } => Ok(BoardConsent { by, picked: Some(entries) }),
            Self::Denied { by, reason } => Err(DenialReason::Person { by, reason, plan: false }),
            Self::TimedOut | Self::Parked => Err(DenialReason::TimedOut),
            Self::Withdrawn { why } => Err(DenialReason::Withdrawn(why)),
            Self::Always { .. }
            | Self::Answered { .. }
            | Self::Kept { .. }
            | Self::ByRule { .. }
            | Self::Unreachable => Err(DenialReason::Unreachable),
        }
    }
}

impl WithdrawReason {
    /// The audit's word for it.
    fn word(self) -> &'static str {
        match self {
            Self::TurnOver => "end of turn",
            Self::Stopped => "stop",
            Self::ShuttingDown => "shutdown",
            Self::BotRestarted => "restart",
            Self::AgentGone => "end of agent",
            Self::AgentCancelled => "agent",
            Self::NotRecorded => "store failure",
            Self::TooManyQuestions => "too many questions",
            Self::Changed => "change",
            Self::StoryOver => "end of story",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_says_what_was_decided_and_by_whom() {
        let by = || Person::new("ann", "Ann");
        let scope = RuleScope::Host { host: "docs.rs".into() };
        let outcomes = [
            QuestionOutcome::Allowed { by: by() },
            QuestionOutcome::Always { by: by(), scope },
            QuestionOutcome::Answered { by: by(), answers: Vec::new() },
            QuestionOutcome::Denied { by: by(), reason: None },
            QuestionOutcome::ByRule { rule: 7 },
            QuestionOutcome::TimedOut,
            QuestionOutcome::Unreachable,
            QuestionOutcome::Withdrawn { why: WithdrawReason::Stopped },
            QuestionOutcome::Withdrawn { why: WithdrawReason::AgentGone },
        ];
        let lines =
            outcomes.map(|outcome| format!("{} {}: {}", outcome.word(), outcome.by(), outcome.allows()));
        insta::assert_snapshot!(lines.join("\n"), @"
        allow ann: true
        always ann: true
        allow ann: true
        deny ann: false
        rule rule 7: true
        timeout deadline: false
        unreachable nobody reachable: false
        withdrawn stop: false
        withdrawn end of agent: false
        ");
    }
}

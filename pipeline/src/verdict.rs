//! What becomes of a story when an agent's run has ended: a pure function of what was seen.

use crate::stage::Role;

/// What was seen of a run that ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFacts {
    /// Commits on the story's branch that base does not have.
    pub commits: usize,
    /// Files in the worktree that are not committed.
    pub uncommitted: usize,
    /// What the comparison of base and main checkout found, in words.
    pub tampering: Vec<String>,
    /// Whether it was resumed once already to commit its work.
    pub reminded: bool,
    /// What the agent said through its tools about a review.
    pub review: Option<ReviewDecision>,
    /// Why it was ended from outside.
    pub ended: Option<StopReason>,
    /// Whether the CLI said that the turn failed, and its words.
    pub failure: Option<String>,
}

/// A reviewer's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReviewDecision {
    /// Good to merge.
    Approved,
    /// Back to the coder, with reasons.
    Rejected(String),
}

/// Why a run was ended from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A person said stop.
    Stopped,
    /// It made no progress for too long.
    Stalled,
    /// Its budget is spent: a person decides how to go on.
    Budget(String),
    /// The model's service is busy: waited for, and neither a failure nor a stall.
    RateLimited,
    /// storkit itself went down.
    Shutdown,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum NextAction {
    /// The work goes to the gates.
    Gates,
    /// Resume the session once, with a reminder to commit.
    RemindToCommit,
    /// To the merge stage.
    Approve,
    /// Back to the coding stage, with the reason in the next prompt.
    SendBack(String),
    /// The mergemaster says that it is resolved: the queue goes on with the merge.
    ContinueMerge,
    /// The run failed and counts against the retries.
    Failed(String),
    /// Nobody goes on until a person has looked.
    Block(String),
    /// As it was: the story waits for its next start, and nothing is counted.
    Wait(Option<String>),
}

/// The rules, in the order of their weight: what endangers the base branch goes before all else.
pub fn next(role: Role, facts: &RunFacts) -> NextAction {
    if !facts.tampering.is_empty() {
        return NextAction::Block(format!(
            "the agent touched what is not its own: {}",
            facts.tampering.join("; ")
        ));
    }
    match &facts.ended {
        Some(StopReason::Stopped) => return NextAction::Wait(Some("stopped by a person".into())),
        Some(StopReason::Shutdown | StopReason::RateLimited) => return NextAction::Wait(None),
        Some(StopReason::Budget(which)) => {
            return NextAction::Block(format!("the budget is spent ({which})"));
        }
        Some(StopReason::Stalled) => return NextAction::Failed("no progress for too long".into()),
        None => {}
    }
    match role {
        Role::Coder => coder(facts),
        Role::Qa => reviewer(facts),
        Role::Mergemaster => mergemaster(facts),
        Role::Supervisor => NextAction::Wait(None),
    }
}

fn coder(facts: &RunFacts) -> NextAction {
    match (facts.commits, facts.uncommitted) {
        (_, 1..) if !facts.reminded => NextAction::RemindToCommit,
        (_, files @ 1..) => {
            NextAction::Failed(format!("{files} files were left uncommitted, also after a reminder"))
        }
        (0, 0) => NextAction::Failed(ghost(facts)),
        (1.., 0) => match &facts.failure {
            Some(why) => NextAction::Failed(why.clone()),
            None => NextAction::Gates,
        },
    }
}

/// A run that ended well by its own word and left nothing: the field's commonest lie.
fn ghost(facts: &RunFacts) -> String {
    match &facts.failure {
        Some(why) => format!("no commit was made: {why}"),
        None => "no commit was made".into(),
    }
}

fn reviewer(facts: &RunFacts) -> NextAction {
    match (&facts.review, &facts.failure) {
        (Some(ReviewDecision::Approved), _) => NextAction::Approve,
        (Some(ReviewDecision::Rejected(reason)), _) => NextAction::SendBack(reason.clone()),
        (None, Some(why)) => NextAction::Failed(why.clone()),
        (None, None) => NextAction::Failed("the review ended without a word".into()),
    }
}

fn mergemaster(facts: &RunFacts) -> NextAction {
    match (&facts.failure, facts.uncommitted) {
        (Some(why), _) => NextAction::Failed(why.clone()),
        (None, _) => NextAction::ContinueMerge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(role: Role, facts: RunFacts) -> NextAction {
        next(role, &facts)
    }

    #[test]
    fn a_run_that_made_no_commit_fails_at_once() {
        assert_eq!(after(Role::Coder, RunFacts::default()), NextAction::Failed("no commit was made".into()));
    }

    #[test]
    fn uncommitted_work_is_asked_for_once() {
        let left = RunFacts { uncommitted: 2, ..RunFacts::default() };
        assert_eq!(after(Role::Coder, left.clone()), NextAction::RemindToCommit);
        assert!(matches!(after(Role::Coder, RunFacts { reminded: true, ..left }), NextAction::Failed(_)));
    }

    #[test]
    fn committed_work_goes_to_the_gates_and_never_further_by_itself() {
        let worked = RunFacts { commits: 1, review: Some(ReviewDecision::Approved), ..RunFacts::default() };
        assert_eq!(after(Role::Coder, worked), NextAction::Gates, "a coder cannot approve");
    }

    #[test]
    fn touching_base_blocks_whatever_else_was_done() {
        for role in [Role::Coder, Role::Qa, Role::Mergemaster, Role::Supervisor] {
            let facts = RunFacts {
                commits: 3,
                tampering: vec!["main moved".into()],
                review: Some(ReviewDecision::Approved),
                ended: Some(StopReason::RateLimited),
                ..RunFacts::default()
            };
            assert!(matches!(after(role, facts), NextAction::Block(_)), "{role:?}");
        }
    }

    #[test]
    fn waiting_for_the_service_is_neither_a_failure_nor_a_stall() {
        let waited = RunFacts { ended: Some(StopReason::RateLimited), ..RunFacts::default() };
        assert_eq!(after(Role::Coder, waited), NextAction::Wait(None));
    }

    #[test]
    fn a_review_without_a_word_is_no_approval() {
        assert!(matches!(after(Role::Qa, RunFacts::default()), NextAction::Failed(_)));
        let rejected =
            RunFacts { review: Some(ReviewDecision::Rejected("no tests".into())), ..RunFacts::default() };
        assert_eq!(after(Role::Qa, rejected), NextAction::SendBack("no tests".into()));
    }
}

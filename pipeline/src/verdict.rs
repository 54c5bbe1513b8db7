//! Decides about a story when an agent's run has ended: a pure function of the facts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    sentence::{listed, one_line, plural},
    story::{BlockReason, stage::Role},
    worktree::GitOperation,
};

/// How many uncommitted files are named.
const NAMED: usize = 5;

/// The facts about a run that ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFacts {
    /// Commits on the story's branch that base does not have.
    pub commits: usize,
    /// Files in the worktree that are not committed, from its top.
    pub uncommitted: Vec<String>,
    /// Whether its last commits were not accepted.
    pub refused: bool,
    /// The operation of git that it began and did not end.
    pub operation: Option<GitOperation>,
    /// Findings of the comparison of base and main checkout, in words for people.
    pub tampering: Vec<String>,
    /// Whether it was resumed once already to commit its work.
    pub reminded: bool,
    /// The review that the agent gave through its tools.
    pub review: Option<ReviewDecision>,
    /// Why it was ended from outside.
    pub ended: Option<StopReason>,
    /// Why the CLI's turn failed, if it did.
    pub failure: Option<FailureCause>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReviewDecision {
    Approved,
    /// Back to the coder, with reasons.
    Rejected(String),
}

/// Why a run was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody stopped it, or its story was moved or decided meanwhile.
    Stopped,
    /// It made no progress for too long.
    Stalled,
    Shutdown,
    /// A question of it waits for a person, without a process.
    Parked,
}

/// Why a run failed. Stored in the ledger and in a story's memo; [`fmt::Display`] is a clause on one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FailureCause {
    /// A coder ended without a commit. Where the turn failed too, `why` is how.
    GhostRun { why: Option<String> },
    /// Work was left uncommitted, also after a reminder.
    Uncommitted {
        files: usize,
        /// The first of them.
        #[serde(default)]
        names: Vec<String>,
    },
    /// A rebase, a merge or the like was left in progress, also after a reminder.
    OperationLeft { operation: GitOperation },
    /// A gate failed on its commits.
    GatesFailed { gate: String },
    /// It made no progress for too long.
    Stalled,
    /// A component's setup failed in a new worktree.
    SetupFailed { why: String },
    /// Its commits break a rule: a file is too large, `.storkit/` is changed.
    Refused { why: String },
    /// The CLI reports that the turn failed.
    TurnFailed { why: String },
    /// The CLI ended without a result.
    Died { why: String },
    /// A reviewer ended without a decision.
    LostReview,
    /// A coder that was to plan first ended without a plan.
    NoPlan,
    /// storkit itself could not go on: a repository or disk that cannot be read.
    Internal { why: String },
}

impl FailureCause {
    /// Whether the coder's next try resumes this session. Everywhere else what went wrong may be in the session
    /// itself, so that the next try begins with a new one.
    pub fn keeps_session(&self) -> bool {
        match self {
            Self::GatesFailed { .. } => true,
            Self::GhostRun { .. }
            | Self::Uncommitted { .. }
            | Self::OperationLeft { .. }
            | Self::Stalled
            | Self::SetupFailed { .. }
            | Self::Refused { .. }
            | Self::TurnFailed { .. }
            | Self::Died { .. }
            | Self::LostReview
            | Self::NoPlan
            | Self::Internal { .. } => false,
        }
    }
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GhostRun { why: None } => f.write_str("no commit was made"),
            Self::GhostRun { why: Some(why) } => write!(f, "no commit was made: {}", one_line(why)),
            Self::Uncommitted { files, names } => {
                let (count, were) = (plural(*files, "file"), if *files == 1 { "was" } else { "were" });
                write!(f, "{count} {were} left uncommitted, also after a reminder")?;
                if names.is_empty() {
                    return Ok(());
                }
                let more = files.saturating_sub(names.len());
                let more = if more > 0 { format!(", and {more} more") } else { String::new() };
                write!(f, ": {}{more}", listed(names))
            }
            Self::OperationLeft { operation } => {
                write!(f, "a `git {operation}` was left in progress, also after a reminder")
            }
            Self::GatesFailed { gate } => write!(f, "the gate {}", one_line(gate)),
            Self::Stalled => f.write_str("no progress for too long"),
            Self::SetupFailed { why }
            | Self::Refused { why }
            | Self::TurnFailed { why }
            | Self::Died { why }
            | Self::Internal { why } => f.write_str(&one_line(why)),
            Self::NoPlan => f.write_str("it ended without a plan"),
            Self::LostReview => f.write_str("the review ended without a decision"),
        }
    }
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
    /// The mergemaster has resolved it: the queue continues the merge.
    ContinueMerge,
    /// The run failed and counts against the retries.
    Failed(FailureCause),
    /// Stays blocked until a person has looked at it.
    Block(BlockReason),
    /// The story waits for its next start, and nothing is counted.
    Wait,
}

/// The rules, in the order of their weight: what endangers the base branch goes before all else.
pub fn next(role: Role, facts: &RunFacts) -> NextAction {
    if !facts.tampering.is_empty() {
        return NextAction::Block(BlockReason::Tampering { found: facts.tampering.clone() });
    }
    match facts.ended {
        Some(StopReason::Stopped | StopReason::Shutdown | StopReason::Parked) => return NextAction::Wait,
        Some(StopReason::Stalled) => return NextAction::Failed(FailureCause::Stalled),
        None => {}
    }
    match role {
        Role::Coder => coder(facts),
        Role::Qa => reviewer(facts),
        Role::Mergemaster => mergemaster(facts),
        Role::Supervisor => NextAction::Wait,
    }
}

fn coder(facts: &RunFacts) -> NextAction {
    let is_unfinished = !facts.uncommitted.is_empty() || facts.refused || facts.operation.is_some();
    // Before the ghost run: a coder that only forgot to commit gets one chance.
    if is_unfinished && !facts.reminded {
        return NextAction::RemindToCommit;
    }
    if let Some(operation) = facts.operation {
        return NextAction::Failed(FailureCause::OperationLeft { operation });
    }
    if !facts.uncommitted.is_empty() {
        let names = facts.uncommitted.iter().take(NAMED).cloned().collect();
        return NextAction::Failed(FailureCause::Uncommitted { files: facts.uncommitted.len(), names });
    }
    match facts.commits {
        // It ended well by its own account and left nothing: the commonest lie in this field.
        0 => NextAction::Failed(FailureCause::GhostRun {
            why: facts.failure.as_ref().map(ToString::to_string),
        }),
        1.. => match &facts.failure {
            Some(cause) => NextAction::Failed(cause.clone()),
            None => NextAction::Gates,
        },
    }
}

fn reviewer(facts: &RunFacts) -> NextAction {
    match (&facts.review, &facts.failure) {
        // A decision counts although the turn failed later: the tool had recorded it.
        (Some(ReviewDecision::Approved), _) => NextAction::Approve,
        (Some(ReviewDecision::Rejected(reason)), _) => NextAction::SendBack(reason.clone()),
        (None, Some(cause)) => NextAction::Failed(cause.clone()),
        (None, None) => NextAction::Failed(FailureCause::LostReview),
    }
}

fn mergemaster(facts: &RunFacts) -> NextAction {
    match &facts.failure {
        Some(cause) => NextAction::Failed(cause.clone()),
        None => NextAction::ContinueMerge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 4] = [Role::Coder, Role::Qa, Role::Mergemaster, Role::Supervisor];

    fn died() -> FailureCause {
        FailureCause::Died { why: "code 137".into() }
    }

    fn files(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("{number}.txt")).collect()
    }

    fn worked() -> RunFacts {
        RunFacts { commits: 1, ..RunFacts::default() }
    }

    #[test]
    fn a_run_that_made_no_commit_fails_at_once() {
        let ghost = |why| NextAction::Failed(FailureCause::GhostRun { why });
        assert_eq!(next(Role::Coder, &RunFacts::default()), ghost(None));
        let failed = RunFacts { failure: Some(died()), ..RunFacts::default() };
        assert_eq!(next(Role::Coder, &failed), ghost(Some("code 137".into())));
    }

    #[test]
    fn uncommitted_work_is_asked_for_once() {
        for commits in [0, 2] {
            let left = RunFacts { commits, uncommitted: files(2), ..RunFacts::default() };
            assert_eq!(next(Role::Coder, &left), NextAction::RemindToCommit);
            let again = RunFacts { reminded: true, ..left };
            let cause = FailureCause::Uncommitted { files: 2, names: files(2) };
            assert_eq!(next(Role::Coder, &again), NextAction::Failed(cause));
        }
        let other = RunFacts { uncommitted: files(1), ..RunFacts::default() };
        assert_eq!(next(Role::Mergemaster, &other), NextAction::ContinueMerge, "the queue looks itself");
    }

    #[test]
    fn an_operation_of_git_that_was_left_in_progress_is_asked_for_once() {
        let left = RunFacts { operation: Some(GitOperation::Rebase), ..worked() };
        assert_eq!(next(Role::Coder, &left), NextAction::RemindToCommit);
        let again = RunFacts { reminded: true, uncommitted: files(1), ..left };
        let cause = FailureCause::OperationLeft { operation: GitOperation::Rebase };
        assert_eq!(next(Role::Coder, &again), NextAction::Failed(cause));
    }

    #[test]
    fn refused_commits_are_a_reason_to_remind() {
        let refused = RunFacts { refused: true, ..worked() };
        assert_eq!(next(Role::Coder, &refused), NextAction::RemindToCommit);
    }

    #[test]
    fn uncommitted_files_are_named_and_many_are_counted() {
        let cause = |count| FailureCause::Uncommitted { files: count, names: files(count.min(NAMED)) };
        insta::assert_snapshot!([1, 5, 7].map(|count| cause(count).to_string()).join("\n"), @"
        1 file was left uncommitted, also after a reminder: `1.txt`
        5 files were left uncommitted, also after a reminder: `1.txt`, `2.txt`, `3.txt`, `4.txt`, `5.txt`
        7 files were left uncommitted, also after a reminder: `1.txt`, `2.txt`, `3.txt`, `4.txt`, `5.txt`, and 2 more
        ");
        let older = serde_json::from_str::<FailureCause>(r#"{"kind":"uncommitted","files":2}"#).unwrap();
        assert_eq!(older.to_string(), "2 files were left uncommitted, also after a reminder");
    }

    #[test]
    fn committed_work_goes_to_the_gates_and_never_further_by_itself() {
        let approved = RunFacts { review: Some(ReviewDecision::Approved), ..worked() };
        assert_eq!(next(Role::Coder, &approved), NextAction::Gates, "a coder cannot approve");
        let failed = RunFacts { failure: Some(died()), ..worked() };
        assert_eq!(next(Role::Coder, &failed), NextAction::Failed(died()));
    }

    #[test]
    fn touching_base_blocks_whatever_else_was_done() {
        for role in ROLES {
            for ended in
                [None, Some(StopReason::Stopped), Some(StopReason::Stalled), Some(StopReason::Shutdown)]
            {
                let facts = RunFacts {
                    commits: 3,
                    tampering: vec!["main moved".into()],
                    review: Some(ReviewDecision::Approved),
                    ended,
                    ..RunFacts::default()
                };
                let block = BlockReason::Tampering { found: vec!["main moved".into()] };
                assert_eq!(next(role, &facts), NextAction::Block(block), "{role:?}");
            }
        }
    }

    #[test]
    fn a_run_that_was_ended_from_outside_is_not_judged_by_what_it_left() {
        for role in ROLES {
            let ended = |why| next(role, &RunFacts { ended: Some(why), failure: Some(died()), ..worked() });
            assert_eq!(ended(StopReason::Stopped), NextAction::Wait);
            assert_eq!(ended(StopReason::Shutdown), NextAction::Wait);
            assert_eq!(ended(StopReason::Stalled), NextAction::Failed(FailureCause::Stalled));
        }
    }

    #[test]
    fn only_a_decision_of_the_reviewer_moves_its_story() {
        let lost = NextAction::Failed(FailureCause::LostReview);
        assert_eq!(next(Role::Qa, &worked()), lost);
        let review = |review: ReviewDecision, failure| {
            next(Role::Qa, &RunFacts { review: Some(review), failure, ..RunFacts::default() })
        };
        for failure in [None, Some(died())] {
            assert_eq!(review(ReviewDecision::Approved, failure.clone()), NextAction::Approve);
            let rejected = review(ReviewDecision::Rejected("no tests".into()), failure);
            assert_eq!(rejected, NextAction::SendBack("no tests".into()));
        }
        let failed = RunFacts { failure: Some(died()), ..worked() };
        assert_eq!(next(Role::Qa, &failed), NextAction::Failed(died()));
    }

    #[test]
    fn a_mergemaster_hands_back_to_the_queue_and_a_supervisor_decides_nothing() {
        assert_eq!(next(Role::Mergemaster, &RunFacts::default()), NextAction::ContinueMerge);
        let failed = RunFacts { failure: Some(died()), ..RunFacts::default() };
        assert_eq!(next(Role::Mergemaster, &failed), NextAction::Failed(died()));
        assert_eq!(next(Role::Supervisor, &failed), NextAction::Wait);
    }

    fn every_cause() -> [FailureCause; 12] {
        let why = || "we investigate the gate\nand its budget".to_owned();
        [
            FailureCause::GhostRun { why: None },
            FailureCause::GhostRun { why: Some(why()) },
            FailureCause::Uncommitted { files: 1, names: Vec::new() },
            FailureCause::OperationLeft { operation: GitOperation::CherryPick },
            FailureCause::Stalled,
            FailureCause::SetupFailed { why: why() },
            FailureCause::Refused { why: why() },
            FailureCause::TurnFailed { why: why() },
            FailureCause::Died { why: why() },
            FailureCause::LostReview,
            FailureCause::Internal { why: why() },
            FailureCause::GatesFailed { gate: "`make` failed with code 1".into() },
        ]
    }

    #[test]
    fn a_failed_gate_alone_keeps_the_session_whatever_the_words_are() {
        let kept: Vec<FailureCause> = every_cause().into_iter().filter(FailureCause::keeps_session).collect();
        assert_eq!(kept, [FailureCause::GatesFailed { gate: "`make` failed with code 1".into() }]);
    }

    #[test]
    fn causes_are_stored_as_they_are_and_shown_on_one_line() {
        for cause in every_cause() {
            let stored = serde_json::to_string(&cause).unwrap();
            assert_eq!(serde_json::from_str::<FailureCause>(&stored).unwrap(), cause, "{stored}");
        }
        insta::assert_snapshot!(every_cause().map(|cause| cause.to_string()).join("\n"), @"
        no commit was made
        no commit was made: we investigate the gate
        1 file was left uncommitted, also after a reminder
        a `git cherry-pick` was left in progress, also after a reminder
        no progress for too long
        we investigate the gate
        we investigate the gate
        we investigate the gate
        we investigate the gate
        the review ended without a decision
        we investigate the gate
        the gate `make` failed with code 1
        ");
    }
}

//! How a run ended: for the orchestrator, for the story's next run, and for the ledger.

use std::{fmt, time::SystemTime};

use settings::duration::human;

use crate::{
    branch_review::ReviewFindings,
    ledger::RunSummary,
    sentence::{one_line, plural},
    story::BlockReason,
    verdict::FailureCause,
};

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RunOutcome {
    /// A coder committed, and the gates are green.
    Passed,
    Approved,
    /// A coder proposes this plan.
    Planned(String),
    /// A branch was reviewed.
    Reviewed(ReviewFindings),
    /// A reviewer rejected, for these reasons.
    SentBack(String),
    /// A mergemaster is done.
    ContinueMerge,
    /// It failed, and that counts.
    Failed(RunFailure),
    /// Stays blocked until a person has looked at it.
    Blocked(BlockReason),
    Stopped,
    /// The model's service is busy, maybe until then. Not a failure.
    Busy {
        /// When the service expects to be free again.
        until: Option<SystemTime>,
    },
    Shutdown,
    /// A question of it waits for a person; its process has ended.
    Parked,
    /// It could not even begin, for a reason that no story is to blame for.
    NotStarted(String),
}

/// Why a run failed, with details for the next one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunFailure {
    pub cause: FailureCause,
    /// The tail of a log or of a gate's output.
    pub details: Option<String>,
}

impl From<FailureCause> for RunFailure {
    fn from(cause: FailureCause) -> Self {
        Self { cause, details: None }
    }
}

impl RunFailure {
    /// Feedback for the story's next run.
    pub(crate) fn feedback(&self) -> String {
        match &self.details {
            Some(details) => format!("{}\n\n{details}", self.cause),
            None => self.cause.to_string(),
        }
    }
}

impl RunOutcome {
    pub(crate) fn failed(cause: FailureCause) -> Self {
        Self::Failed(cause.into())
    }

    /// storkit itself could not go on.
    pub(crate) fn internal(why: impl fmt::Display) -> Self {
        Self::failed(FailureCause::Internal { why: why.to_string() })
    }

    /// The outcome for people and the ledger.
    pub(crate) fn summary(&self) -> RunSummary {
        let fine = |outcome: String| RunSummary { outcome, failed: false, cause: None };
        match self {
            Self::Passed => fine("committed, and the gates passed".into()),
            Self::Approved => fine("approved".into()),
            Self::Planned(_) => fine("proposed a plan".into()),
            Self::Reviewed(found) => fine(match found.findings.len() {
                0 => "reviewed, without findings".into(),
                count => format!("reviewed, with {}", plural(count, "finding")),
            }),
            Self::SentBack(why) => fine(format!("rejected: {}", one_line(why))),
            Self::ContinueMerge => fine("resolved the conflicts".into()),
            Self::Failed(RunFailure { cause, .. }) => {
                RunSummary { outcome: cause.to_string(), failed: true, cause: Some(cause.clone()) }
            }
            Self::Blocked(reason) => RunSummary { failed: !reason.is_budget(), ..fine(reason.to_string()) },
            Self::Stopped => fine("stopped".into()),
            Self::Busy { until } => fine(match until.map(|until| until.duration_since(SystemTime::now())) {
                Some(Ok(left)) => {
                    format!(
                        "the usage limit of the model's service is reached; it is lifted in {}",
                        human(left)
                    )
                }
                Some(Err(_)) | None => "the model's service is busy".into(),
            }),
            Self::Shutdown => fine("storkit was shut down".into()),
            Self::Parked => fine("parked: its question waits for an answer".into()),
            Self::NotStarted(why) => fine(format!("could not be started: {}", one_line(why))),
        }
    }
}

#[derive(Debug)]
pub(crate) struct RunEnd {
    pub outcome: RunOutcome,
    /// US dollars of this run alone.
    pub usd: f64,
    /// `3 files, +20 -4` against base.
    pub diff: Option<String>,
}

impl RunEnd {
    /// A run whose task panicked: nothing else is known of it.
    pub(crate) fn panicked(error: &tokio::task::JoinError) -> Self {
        let outcome = RunOutcome::internal(format_args!("the run failed inside storkit: {error}"));
        Self { outcome, usd: 0.0, diff: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(outcome: RunOutcome) -> (String, bool, Option<FailureCause>) {
        let RunSummary { outcome, failed, cause } = outcome.summary();
        (outcome, failed, cause)
    }

    #[test]
    fn the_next_run_reads_why_the_last_one_failed_and_the_details() {
        let failure = RunFailure::from(FailureCause::LostReview);
        assert_eq!(failure.feedback(), "the review ended without a decision");
        let failure = RunFailure { details: Some("The end of its log:\nx".into()), ..failure };
        assert_eq!(failure.feedback(), "the review ended without a decision\n\nThe end of its log:\nx");
    }

    #[test]
    fn only_a_failure_counts_as_one_and_only_it_has_a_cause() {
        let fine = |outcome: RunOutcome| {
            let (text, failed, cause) = summary(outcome);
            assert_eq!((failed, cause), (false, None), "{text}");
            text
        };
        assert_eq!(fine(RunOutcome::Passed), "committed, and the gates passed");
        assert_eq!(fine(RunOutcome::Approved), "approved");
        assert_eq!(fine(RunOutcome::SentBack("no tests\nat all".into())), "rejected: no tests");
        assert_eq!(fine(RunOutcome::ContinueMerge), "resolved the conflicts");
        assert_eq!(fine(RunOutcome::Stopped), "stopped");
        assert_eq!(fine(RunOutcome::Busy { until: None }), "the model's service is busy");
        let week = SystemTime::now() + std::time::Duration::from_secs(6 * 24 * 3600 + 1800);
        let limit = fine(RunOutcome::Busy { until: Some(week) });
        assert_eq!(limit, "the usage limit of the model's service is reached; it is lifted in 6d");
        assert_eq!(fine(RunOutcome::Shutdown), "storkit was shut down");
        assert_eq!(fine(RunOutcome::NotStarted("no disk\n".into())), "could not be started: no disk");
        let failed = summary(RunOutcome::failed(FailureCause::LostReview));
        let sentence = "the review ended without a decision".to_owned();
        assert_eq!(failed, (sentence, true, Some(FailureCause::LostReview)));
        let internal = FailureCause::Internal { why: "no disk".into() };
        assert_eq!(summary(RunOutcome::internal("no disk")), ("no disk".into(), true, Some(internal)));
    }

    #[test]
    fn a_story_that_waits_for_money_has_not_failed_and_one_that_was_tampered_with_has() {
        let spent = BlockReason::RunBudget { spent_usd: 1.0 };
        assert_eq!(summary(RunOutcome::Blocked(spent.clone())), (spent.to_string(), false, None));
        let tampering = BlockReason::Tampering { found: vec!["main moved".into()] };
        assert_eq!(summary(RunOutcome::Blocked(tampering.clone())), (tampering.to_string(), true, None));
    }

    #[tokio::test]
    async fn a_run_that_panics_is_a_failure_inside_storkit() {
        let error = tokio::spawn(async { panic!("a defect") }).await.unwrap_err();
        let RunEnd { outcome, usd, diff } = RunEnd::panicked(&error);
        let (text, failed, _) = summary(outcome);
        assert!(failed && text.starts_with("the run failed inside storkit: "), "{text}");
        assert_eq!((usd, diff), (0.0, None));
    }
}

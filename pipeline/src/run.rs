//! One run of an agent on one story: worktree, process, its result, gates. It decides nothing about the story:
//! the result goes back to the orchestrator as a [`RunOutcome`].
//!
//! `job` is the sequence, `workspace` where the agent works and its sandbox, `turn` one process of the CLI,
//! `check` the comparison of before and after, `log` its log, `prompt` its prompts.

mod check;
#[cfg(test)]
mod fixture;
pub(crate) mod job;
mod log;
mod prompt;
mod turn;
mod workspace;

use std::{collections::BTreeSet, fmt, sync::Arc, time::SystemTime};

use agents::claude::SessionId;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

pub(crate) use self::workspace::needs;
pub(crate) use self::{
    check::branch_content,
    log::{folder as log_folder, last_lines},
};
use crate::{
    Project,
    board::{WorkError, WorkFolder},
    config::{self, ProjectConfig},
    event::{RunInfo, RunPhase},
    guard::OwnCommits,
    host::{AgentSettings, PipelineHost},
    ledger::{RunLedger, RunSummary},
    open_hosts::registries,
    quarantine,
    sentence::one_line,
    story::{BlockReason, Story},
    strangers::{StrangerText, StrangersRead},
    verdict::{FailureCause, ReviewDecision, StopReason},
    worktree::Worktrees,
};

/// How many updates may wait for the receiver before the run waits; lines of output are dropped then.
const TOLD: usize = 256;

/// What all runs of a project share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RunContext {
    pub project: Project,
    pub settings: Arc<AgentSettings>,
    pub host: Arc<dyn PipelineHost>,
    pub own: OwnCommits,
    pub ledger: RunLedger,
    pub worktrees: Worktrees,
}

/// One run as it was decided. All facts are fixed at its start.
#[derive(Clone)]
pub(crate) struct RunPlan {
    pub run: RunInfo,
    pub story: Arc<Story>,
    /// The story's whole file; read when the run starts.
    pub text: String,
    pub agent: config::Agent,
    pub config: Arc<ProjectConfig>,
    pub base: String,
    /// Why the last try failed or was rejected.
    pub feedback: Option<String>,
    pub resume: Option<SessionId>,
    pub budget_usd: Option<f64>,
    /// What its agent has read by strangers.
    pub read: StrangersRead,
    pub in_quarantine: bool,
}

/// An update from a running agent.
#[derive(Debug, PartialEq)]
pub(crate) enum RunUpdate {
    Phase(RunPhase),
    Pid(Option<u32>),
    Session(SessionId),
    Cost(f64),
    Line(String),
    Alarm(String),
    /// What its agent has read by strangers so far.
    Read(BTreeSet<StrangerText>),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RunOutcome {
    /// A coder committed, and the gates are green.
    Passed,
    Approved,
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
            Self::SentBack(why) => fine(format!("rejected: {}", one_line(why))),
            Self::ContinueMerge => fine("resolved the conflicts".into()),
            Self::Failed(RunFailure { cause, .. }) => {
                RunSummary { outcome: cause.to_string(), failed: true, cause: Some(cause.clone()) }
            }
            Self::Blocked(reason) => RunSummary { failed: !reason.is_budget(), ..fine(reason.to_string()) },
            Self::Stopped => fine("stopped".into()),
            Self::Busy { .. } => fine("the model's service is busy".into()),
            Self::Shutdown => fine("storkit was shut down".into()),
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

/// Holds an agent's review until its run is over.
pub(crate) type ReviewSlot = Arc<Mutex<Option<ReviewDecision>>>;

/// The way to a living run.
#[derive(Debug)]
pub(crate) struct RunControl {
    end: watch::Sender<Option<StopReason>>,
    review: ReviewSlot,
}

impl RunControl {
    /// Stops it, for this reason; the first one counts. Its result is still inspected.
    pub(crate) fn end(&self, why: StopReason) {
        self.end.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(why);
            }
            first
        });
    }

    /// The agent's word through its tools; the last one counts.
    pub(crate) fn review(&self, review: ReviewDecision) {
        *self.review.lock() = Some(review);
    }
}

/// The run's side of its [`RunControl`].
pub(crate) struct RunSignals {
    pub ended: watch::Receiver<Option<StopReason>>,
    pub review: ReviewSlot,
}

impl RunControl {
    pub(crate) fn pair() -> (Self, RunSignals) {
        let (end, ended) = watch::channel(None);
        let review = Arc::default();
        (Self { end, review: Arc::clone(&review) }, RunSignals { ended, review })
    }
}

/// Starts a run on a story, whose text is read from `work`. Its channel closes when the run is over; then the
/// handle returns the outcome.
pub(crate) fn start(
    context: RunContext,
    work: Arc<WorkFolder>,
    plan: RunPlan,
) -> (RunControl, mpsc::Receiver<RunUpdate>, JoinHandle<RunEnd>) {
    let (told, hears) = mpsc::channel(TOLD);
    let (control, RunSignals { ended, review }) = RunControl::pair();
    let handle = tokio::spawn(async move {
        let story = plan.run.story;
        let text = job::blocking(move || work.text(story)).await;
        let text = match text.unwrap_or(Err(WorkError::Unknown(story))) {
            Ok(text) => text,
            Err(error) => return RunEnd { outcome: RunOutcome::internal(error), usd: 0.0, diff: None },
        };
        let plan = RunPlan { text, ..plan };
        let (context, plan) = match plan.in_quarantine {
            false => (context, plan),
            true => match job::blocking(move || restricted(context, plan)).await {
                Some(restricted) => restricted,
                None => {
                    let outcome = RunOutcome::internal("the quarantine's limits cannot be read");
                    return RunEnd { outcome, usd: 0.0, diff: None };
                }
            },
        };
        job::RunJob::new(context, plan, told, ended, review).run().await
    });
    (control, hears, handle)
}

/// A run on a stranger's story, with the limits of the quarantine. Blocks.
fn restricted(context: RunContext, plan: RunPlan) -> (RunContext, RunPlan) {
    let registries = registries(&context.project, &plan.base);
    let config = quarantine::restricted_project(&plan.config, &registries);
    let mut agent = plan.agent;
    agent.network = agent.network.registries_only(&registries);
    let settings = quarantine::restricted(&context.settings);
    (RunContext { settings, ..context }, RunPlan { config, agent, ..plan })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::StoryId;

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

    #[test]
    fn the_first_reason_to_stop_counts_and_the_last_review() {
        let (control, signals) = RunControl::pair();
        assert_eq!((*signals.ended.borrow(), signals.review.lock().clone()), (None, None));
        control.end(StopReason::Stopped);
        control.end(StopReason::Shutdown);
        assert_eq!(*signals.ended.borrow(), Some(StopReason::Stopped));
        control.review(ReviewDecision::Rejected("no tests".into()));
        control.review(ReviewDecision::Approved);
        assert_eq!(*signals.review.lock(), Some(ReviewDecision::Approved));
    }

    #[tokio::test]
    async fn a_run_that_panics_is_a_failure_inside_storkit() {
        let error = tokio::spawn(async { panic!("a defect") }).await.unwrap_err();
        let RunEnd { outcome, usd, diff } = RunEnd::panicked(&error);
        let (text, failed, _) = summary(outcome);
        assert!(failed && text.starts_with("the run failed inside storkit: "), "{text}");
        assert_eq!((usd, diff), (0.0, None));
    }

    #[tokio::test]
    async fn an_agent_reads_the_text_that_its_story_has_when_the_run_starts() {
        let fixture = fixture::RunFixture::coder("commit one; result");
        assert_eq!(fixture.plan.text, "");
        assert_eq!(*fixture.run().await.outcome(), RunOutcome::Passed);
        let prompt = fixture.arguments(1).unwrap();
        assert!(
            prompt.contains("<story id=\"7\">\n---\nname: Fix the door\n---\n# Fix the door\n</story>"),
            "{prompt}"
        );
    }

    #[tokio::test]
    async fn a_story_whose_file_is_gone_starts_no_process() {
        let mut fixture = fixture::RunFixture::coder("result");
        fixture.plan.run.story = StoryId(8);
        let run = fixture.run().await;
        assert_eq!(*run.outcome(), RunOutcome::internal(WorkError::Unknown(StoryId(8))));
        assert_eq!(fixture.arguments(1), None);
    }
}

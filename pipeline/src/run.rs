//! One run of an agent on one story: worktree, process, its result, gates. It decides nothing about the story:
//! the result goes back to the orchestrator as a [`RunOutcome`].
//!
//! `job` is the sequence, `workspace` where the agent works and its sandbox, `turn` one process of the CLI,
//! `check` the comparison of before and after, `log` its log, `prompt` its prompts.

mod check;
mod job;
mod log;
mod prompt;
mod turn;
mod workspace;

use std::{fmt, sync::Arc, time::SystemTime};

use agents::claude::SessionId;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

pub(crate) use self::{
    check::branch_content,
    log::{folder as log_folder, last_lines},
    workspace::agent_confinement,
};
use crate::{
    Project,
    board::{WorkError, WorkFolder},
    config::{self, ProjectConfig},
    event::{RunInfo, RunPhase},
    guard::OwnCommits,
    host::{AgentSettings, PipelineHost},
    ledger::{RunLedger, RunSummary},
    sentence::one_line,
    story::{BlockReason, Story},
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
}

/// An update from a running agent.
#[derive(Debug, PartialEq)]
pub(crate) enum RunUpdate {
    Phase(RunPhase),
    Pid(Option<u32>),
    Session(SessionId),
    Cost(f64),
    Said(String),
    Alarm(String),
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
        job::RunJob::new(context, RunPlan { text, ..plan }, told, ended, review).run().await
    });
    (control, hears, handle)
}

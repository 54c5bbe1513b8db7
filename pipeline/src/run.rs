//! One run of an agent on one story: worktree, process, what it left, gates. It decides nothing about the story:
//! what came of it goes back to the orchestrator as an [`Outcome`].
//!
//! `job` is the order of things, `spot` where the agent works and what keeps it in, `turn` one process of the CLI,
//! `check` what is compared before and after, `log` what people read of it, `prompt` what it reads.

mod check;
mod job;
mod log;
mod prompt;
mod spot;
mod turn;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use agents::claude::SessionId;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

pub(crate) use self::{
    check::brings,
    log::{folder as log_folder, last_lines},
};
use crate::{
    Project,
    config::{self, ProjectConfig},
    event::{Phase, RunInfo},
    guard::OwnCommits,
    host::{Host, Settings},
    ledger::Ledger,
    story::Story,
    verdict::{Ended, Review},
    worktree::Worktrees,
};

/// How much a run may tell before it waits for its hearer; lines of output are dropped then.
const TOLD: usize = 256;

/// What all runs of a project share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shop {
    pub project: Project,
    pub settings: Arc<Settings>,
    pub host: Arc<dyn Host>,
    pub own: OwnCommits,
    pub ledger: Ledger,
    pub worktrees: Worktrees,
}

/// One run as it was decided. All facts are fixed at its start.
#[derive(Clone)]
pub(crate) struct Plan {
    pub run: RunInfo,
    pub story: Arc<Story>,
    /// The story's whole file.
    pub text: String,
    pub agent: config::Agent,
    pub config: Arc<ProjectConfig>,
    pub base: String,
    /// Why the last try failed or was rejected.
    pub feedback: Option<String>,
    pub resume: Option<SessionId>,
    pub budget_usd: Option<f64>,
}

/// What a run tells while it lives.
#[derive(Debug, PartialEq)]
pub(crate) enum Told {
    Phase(Phase),
    Pid(Option<u32>),
    Session(SessionId),
    Cost(f64),
    Said(String),
    Alarm(String),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// A coder committed, and the gates are green.
    Passed,
    /// A reviewer approved.
    Approved,
    /// A reviewer rejected, for these reasons.
    SentBack(String),
    /// A mergemaster is done.
    ContinueMerge,
    /// It failed, and that counts.
    Failed(String),
    /// Nobody goes on until a person has looked.
    Blocked(String),
    /// Somebody stopped it.
    Stopped,
    /// The model's service is busy, maybe until then. Not a failure.
    Busy {
        /// When it is said to be over.
        until: Option<SystemTime>,
    },
    /// Its money is spent.
    Budget(String),
    /// storkit goes down.
    Shutdown,
    /// It could not even begin, for a reason that no story is to blame for.
    NotStarted(String),
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ending {
    pub outcome: Outcome,
    /// US dollars of this run alone.
    pub usd: f64,
    /// `3 files, +20 -4` against base.
    pub diff: Option<String>,
}

impl Ending {
    /// A run of which nothing is known but that it failed.
    pub(crate) fn failed(why: String) -> Self {
        Self { outcome: Outcome::Failed(why), usd: 0.0, diff: None }
    }
}

/// The way to a living run.
#[derive(Debug)]
pub(crate) struct Control {
    end: watch::Sender<Option<Ended>>,
    review: Arc<Mutex<Option<Review>>>,
}

impl Control {
    /// Ends it, for this reason; the first one counts. What it left is still looked at.
    pub(crate) fn end(&self, why: Ended) {
        self.end.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(why);
            }
            first
        });
    }

    /// The agent's word through its tools; the last one counts.
    pub(crate) fn review(&self, review: Review) {
        *self.review.lock().unwrap_or_else(PoisonError::into_inner) = Some(review);
    }
}

/// Starts a run. Its channel closes when it is over; then the handle has the ending.
pub(crate) fn start(shop: Shop, plan: Plan) -> (Control, mpsc::Receiver<Told>, JoinHandle<Ending>) {
    let (told, hears) = mpsc::channel(TOLD);
    let (end, ended) = watch::channel(None);
    let review = Arc::default();
    let control = Control { end, review: Arc::clone(&review) };
    let handle = tokio::spawn(job::Job::new(shop, plan, told, ended, review).run());
    (control, hears, handle)
}

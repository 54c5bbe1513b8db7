//! The facts of a run that are fixed at its start, and its channels.

use std::{collections::BTreeSet, sync::Arc};

use agents::claude::SessionId;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    Project,
    branch_review::{ReviewFindings, ReviewedBranch},
    config::{self, ProjectConfig},
    event::{RunInfo, RunPhase},
    evidence::TakenEvidence,
    guard::OwnCommits,
    host::{AgentSettings, PipelineHost},
    ledger::RunLedger,
    mailbox::{PersonMessage, RunMailbox},
    run_log::LogLine,
    story::Story,
    strangers::{StrangerText, StrangersRead},
    verdict::{ReviewDecision, StopReason},
    worktree::Worktrees,
};

/// State that all runs of a project share. Cheap to clone.
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
    /// The branch that it reviews, and the room that asked, in the place of the story.
    pub review: Option<(ReviewedBranch, Option<String>)>,
    /// Whether it only makes a plan, which a person accepts before it codes.
    pub plans: bool,
    /// The story's whole file; read when the run starts.
    pub text: String,
    pub agent: config::Agent,
    pub config: Arc<ProjectConfig>,
    pub base: String,
    /// Why the last try failed or was rejected.
    pub feedback: Option<String>,
    pub resume: Option<SessionId>,
    pub budget_usd: Option<f64>,
    /// What people asked to be remembered, for its prompt; read when the run starts.
    pub memory: String,
    /// What its agent has read by strangers.
    pub read: StrangersRead,
    pub in_quarantine: bool,
    /// Whether its text is another one than the session knows that goes on.
    pub is_edited: bool,
}

/// An update from a running agent.
#[derive(Debug, PartialEq)]
pub(crate) enum RunUpdate {
    Phase(RunPhase),
    Pid(Option<u32>),
    Session(SessionId),
    Cost(f64),
    Line(LogLine),
    Alarm(String),
    /// What its agent and its gates left for people.
    Evidence(TakenEvidence),
    /// What its agent has read by strangers so far.
    Read(BTreeSet<StrangerText>),
}

/// Holds an agent's review until its run is over.
pub(crate) type ReviewSlot = Arc<Mutex<Option<ReviewDecision>>>;

/// Holds the plan that a coder proposes.
pub(crate) type PlanSlot = Arc<Mutex<Option<String>>>;

/// Holds what the reviewer of a branch reports.
pub(crate) type FindingsSlot = Arc<Mutex<Option<ReviewFindings>>>;

/// The way to a living run.
#[derive(Debug)]
pub(crate) struct RunControl {
    end: watch::Sender<Option<StopReason>>,
    review: ReviewSlot,
    findings: FindingsSlot,
    proposal: PlanSlot,
    /// Whether its agent only plans.
    plans: bool,
    mailbox: RunMailbox,
}

impl RunControl {
    pub(crate) fn planning(self, plans: bool) -> Self {
        Self { plans, ..self }
    }

    /// Leaves a message for its agent. Returns `false` where it takes none any more.
    pub(crate) fn tell(&self, message: PersonMessage) -> bool {
        self.mailbox.put(message)
    }

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

    /// The plan of a coder that only plans; the last one counts. Returns `false` for any other run.
    pub(crate) fn propose(&self, plan: String) -> bool {
        if self.plans {
            *self.proposal.lock() = Some(plan);
        }
        self.plans
    }

    /// The same for the findings of a branch's reviewer.
    pub(crate) fn report(&self, findings: ReviewFindings) {
        *self.findings.lock() = Some(findings);
    }
}

/// The run's side of its [`RunControl`].
pub(crate) struct RunSignals {
    pub ended: watch::Receiver<Option<StopReason>>,
    pub review: ReviewSlot,
    pub findings: FindingsSlot,
    pub proposal: PlanSlot,
    pub mailbox: RunMailbox,
}

impl RunControl {
    pub(crate) fn pair() -> (Self, RunSignals) {
        let (end, ended) = watch::channel(None);
        let (review, mailbox) = (ReviewSlot::default(), RunMailbox::default());
        let (findings, proposal) = (FindingsSlot::default(), PlanSlot::default());
        let control = Self {
            end,
            review: Arc::clone(&review),
            findings: Arc::clone(&findings),
            proposal: Arc::clone(&proposal),
            plans: false,
            mailbox: mailbox.clone(),
        };
        (control, RunSignals { ended, review, findings, proposal, mailbox })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

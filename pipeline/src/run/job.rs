//! The order of a run: place, process (`launch`), what it left and the gates over that (`left`).

mod launch;
mod left;

use std::{sync::Arc, time::SystemTime};

use agents::{
    claude::{Launch, ProcessError, SessionId, TurnFailure},
    confine::EgressProxy,
    turn::{RetryStep, SessionCost, TurnOutcome, TurnRetries},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    ReviewSlot, RunContext, RunEnd, RunFailure, RunOutcome, RunPlan, RunUpdate,
    log::RunLog,
    turn::{RunSpending, TurnResult},
    workspace::Workspace,
};
use crate::{
    event::RunPhase,
    host::RunAccess,
    story::BlockReason,
    verdict::{self, FailureCause, NextAction, StopReason},
    worktree::{self, ComponentError, ComponentProgress, run_components},
};

/// A run while it lives.
pub(super) struct RunJob {
    pub shop: RunContext,
    pub plan: RunPlan,
    pub ended: watch::Receiver<Option<StopReason>>,
    pub access: Option<RunAccess>,
    pub spot: Option<Workspace>,
    /// The way out of the sandbox of an agent that has not the whole network.
    egress: Option<Arc<EgressProxy>>,
    pub session: Option<SessionId>,
    pub spending: RunSpending,
    /// Whether the CLI waits for the model's service.
    pub busy: bool,
    pub branch: BranchProgress,
    output: RunOutput,
    review: ReviewSlot,
}

/// What is known of the run's branch.
#[derive(Default)]
pub(super) struct BranchProgress {
    /// Why the last commits were not taken in.
    pub refused: Option<String>,
    /// `3 files, +20 -4` against base.
    pub diff: Option<String>,
}

/// Where a run's words go.
struct RunOutput {
    updates: mpsc::Sender<RunUpdate>,
    log: RunLog,
}

/// Runs what blocks. `None` where it panicked: that is logged by the panic itself.
pub(super) async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(act).await.ok()
}

impl RunJob {
    pub(super) fn new(
        shop: RunContext,
        plan: RunPlan,
        updates: mpsc::Sender<RunUpdate>,
        ended: watch::Receiver<Option<StopReason>>,
        review: ReviewSlot,
    ) -> Self {
        let log = RunLog::create(&shop.project, &plan.run.id);
        let resumed = plan.resume.as_ref().map(SessionId::to_string);
        let entries = resumed.map(|session| (session, shop.ledger.of_story(plan.run.story)));
        let before_usd = entries.map_or(0.0, |(session, entries)| {
            entries
                .iter()
                .filter(|entry| entry.session.as_ref() == Some(&session))
                .map(|entry| entry.usd)
                .sum()
        });
        Self {
            shop,
            plan,
            ended,
            access: None,
            spot: None,
            egress: None,
            session: None,
            spending: RunSpending { session: SessionCost::resumed(before_usd), ..RunSpending::default() },
            busy: false,
            branch: BranchProgress::default(),
            output: RunOutput { updates, log },
            review,
        }
    }

    pub(super) async fn run(mut self) -> RunEnd {
        let outcome = match self.work().await {
            Ok(outcome) | Err(outcome) => outcome,
        };
        self.tell_refusals().await;
        if let Some(spot) = self.spot.take() {
            blocking(move || spot.close()).await;
        }
        let summary = outcome.summary();
        self.output.log.write(&format!("== {}", summary.outcome));
        let RunSpending { usd, tokens, .. } = self.spending;
        self.shop.ledger.ended(&self.plan.run.id, usd, tokens, summary);
        RunEnd { outcome, usd, diff: self.branch.diff }
    }

    /// `Err` is an outcome too: one that ends the run early.
    async fn work(&mut self) -> Result<RunOutcome, RunOutcome> {
        self.prepare().await?;
        let before = self.before().await?;
        let mut reminded = false;
        let mut launch = self.first_launch().await?;
        loop {
            self.phase(if reminded { RunPhase::Reminded } else { RunPhase::Working }).await;
            let turn = self.process(launch).await?;
            let resumed = self.plan.resume.is_some();
            let next = TurnRetries::new(None).next_step(turn.outcome.clone(), resumed, SystemTime::now());
            if next == RetryStep::NewSession {
                self.plan.resume = None;
                self.say("(its earlier session is gone: a new one begins)");
                self.spending.session = SessionCost::default();
                launch = self.first_launch().await?;
                continue;
            }
            self.phase(RunPhase::Settling).await;
            let facts = self.facts(&before, &turn, reminded).await?;
            if let TurnOutcome::Busy { until, .. } = turn.outcome
                && facts.tampering.is_empty()
                && facts.ended.is_none()
            {
                return Ok(RunOutcome::Busy { until });
            }
            match verdict::next(self.plan.run.role, &facts) {
                NextAction::RemindToCommit => {
                    reminded = true;
                    launch = self.reminder_launch().await?;
                }
                NextAction::Gates => return self.gates().await,
                NextAction::Approve => return Ok(RunOutcome::Approved),
                NextAction::SendBack(reason) => return Ok(RunOutcome::SentBack(reason)),
                NextAction::ContinueMerge => return Ok(RunOutcome::ContinueMerge),
                NextAction::Failed(cause) => return Ok(self.failed(&turn, cause)),
                NextAction::Block(reason) => return Ok(RunOutcome::Blocked(reason)),
                NextAction::Wait => {
                    return Ok(match facts.ended {
                        Some(StopReason::Shutdown) => RunOutcome::Shutdown,
                        Some(StopReason::Stopped | StopReason::Stalled) | None => RunOutcome::Stopped,
                    });
                }
            }
        }
    }

    /// Once for the whole run, which may have asked a hundred times.
    async fn tell_refusals(&mut self) {
        let Some(text) = self.egress.take().and_then(|egress| egress.refusals()) else { return };
        self.say(&format!("({text})"));
        let text = format!("`{}` (story {}): {text}", self.plan.run.slot, self.plan.run.story);
        self.tell(RunUpdate::Alarm(text)).await;
    }

    /// A failure with the end of its log; the CLI's own limit of money is not the work's fault.
    fn failed(&self, turn: &TurnResult, cause: FailureCause) -> RunOutcome {
        if matches!(turn.outcome, TurnOutcome::Failed { cause: TurnFailure::Budget, .. }) {
            return RunOutcome::Blocked(BlockReason::RunBudget { spent_usd: self.spending.usd });
        }
        let tail = self.output.log.tail(12);
        let details = (!tail.is_empty()).then(|| format!("The end of its log:\n{tail}"));
        RunOutcome::Failed(RunFailure { cause, details })
    }

    async fn prepare(&mut self) -> Result<(), RunOutcome> {
        let (shop, plan) = (self.shop.clone(), self.plan.clone());
        let spot = blocking(move || Workspace::prepare(&shop, &plan)).await;
        self.spot = Some(spot.unwrap_or_else(|| Err(panicked()))?);
        self.stop_if_told()?;
        self.set_up().await?;
        let access = self.shop.host.open(&self.plan.run);
        if let Some(spot) = &self.spot {
            spot.write_mcp(&access.route);
        }
        self.access = Some(access);
        Ok(())
    }

    fn stop_if_told(&self) -> Result<(), RunOutcome> {
        match &*self.ended.borrow() {
            None => Ok(()),
            Some(StopReason::Shutdown) => Err(RunOutcome::Shutdown),
            Some(StopReason::Stopped | StopReason::Stalled) => Err(RunOutcome::Stopped),
        }
    }

    /// The setup of the project's components, in a worktree that was made now.
    async fn set_up(&mut self) -> Result<(), RunOutcome> {
        let fresh = self.spot.as_ref().is_some_and(|spot| spot.fresh);
        if !fresh || self.plan.config.components.is_empty() {
            return Ok(());
        }
        let (gates, confined) = (Workspace::gates(&self.shop, &self.plan), self.confined().await?);
        let path = self.path();
        let components = self.plan.config.components.clone();
        let mut lines = Vec::new();
        let done = {
            let progress = |progress: ComponentProgress<'_>| match progress {
                ComponentProgress::Started { component, command } => {
                    lines.push(format!("setup {component}: {command}"))
                }
                ComponentProgress::Missing { component } => {
                    lines.push(format!("setup {component}: passed over, its folder is not here"));
                }
                ComponentProgress::Ended { .. } => {}
            };
            let cancel = self.cancelled();
            let phase = worktree::ComponentPhase::Setup;
            run_components(&path, &components, phase, &gates, Some(&confined), &cancel, progress).await
        };
        lines.iter().for_each(|line| self.say(line));
        if let Err(error) = done {
            self.stop_if_told()?;
            // The next try is to set it up again.
            if let Some(worktree) = self.worktree() {
                let worktrees = self.shop.worktrees.clone();
                blocking(move || worktrees.remove(worktree.name(), worktree::BranchFate::Keep)).await;
            }
            return Err(match error {
                ComponentError::Sandbox(why) => RunOutcome::NotStarted(why),
                error => RunOutcome::failed(FailureCause::SetupFailed { why: error.to_string() }),
            });
        }
        Ok(())
    }

    /// Is cancelled when somebody wants the run's end.
    fn cancelled(&self) -> CancellationToken {
        let (token, mut ended) = (CancellationToken::new(), self.ended.clone());
        let cancel = token.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = ended.wait_for(Option::is_some) => cancel.cancel(),
                () = cancel.cancelled() => {}
            }
        });
        token
    }

    async fn process(&mut self, launch: Launch) -> Result<TurnResult, RunOutcome> {
        self.stop_if_told()?;
        self.turn(launch).await.map_err(|error| match error {
            ProcessError::NotFound { .. } => RunOutcome::NotStarted(format!(
                "{error}. Install Claude Code, or name it with `[claude] command` in bot.toml."
            )),
            ProcessError::Io { .. } | ProcessError::Gone => RunOutcome::internal(error),
        })
    }

    fn path(&self) -> std::path::PathBuf {
        self.spot.as_ref().map(|spot| spot.path().to_owned()).unwrap_or_default()
    }

    pub(super) async fn phase(&mut self, phase: RunPhase) {
        self.tell(RunUpdate::Phase(phase)).await;
    }

    pub(super) async fn tell(&self, told: RunUpdate) {
        // Nobody hears where storkit goes down.
        let _ = self.output.updates.send(told).await;
    }

    /// Into the log, and to whoever follows, unless they lag.
    pub(super) fn say(&mut self, text: &str) {
        for line in self.output.log.write(text) {
            let _ = self.output.updates.try_send(RunUpdate::Said(line));
        }
    }
}

fn panicked() -> RunOutcome {
    RunOutcome::internal("a part of the run failed inside storkit; the log has the details")
}

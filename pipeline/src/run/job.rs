//! A run, step by step: workspace, processes (`launch`), their results and the gates (`left`).

mod launch;
mod left;

use std::{sync::Arc, time::SystemTime};

use agents::{
    claude::{Launch, ProcessError, SessionId, TurnFailure},
    confine::EgressProxy,
    model_proxy::ModelSpending,
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
    pub context: RunContext,
    pub plan: RunPlan,
    pub ended: watch::Receiver<Option<StopReason>>,
    pub access: Option<RunAccess>,
    pub workspace: Option<Workspace>,
    /// The proxy of a sandbox with limited network access.
    egress: Option<Arc<EgressProxy>>,
    /// Where the agent finds the way to its model on this machine's loopback.
    model_port: Option<u16>,
    pub session: Option<SessionId>,
    pub spending: RunSpending,
    /// Whether the CLI waits for the model's service.
    pub busy: bool,
    pub branch: BranchProgress,
    output: RunOutput,
    review: ReviewSlot,
}

/// The run's branch, as far as it was imported.
#[derive(Default)]
pub(super) struct BranchProgress {
    /// Why the last commits were not imported.
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
        context: RunContext,
        plan: RunPlan,
        updates: mpsc::Sender<RunUpdate>,
        ended: watch::Receiver<Option<StopReason>>,
        review: ReviewSlot,
    ) -> Self {
        let log = RunLog::create(&context.project, &plan.run.id);
        let resumed = plan.resume.as_ref().map(SessionId::to_string);
        // The CLI reports the cost of the whole session, earlier runs included.
        let entries = resumed.map(|session| (session, context.ledger.of_story(plan.run.story)));
        let before_usd = entries.map_or(0.0, |(session, entries)| {
            entries
                .iter()
                .filter(|entry| entry.session.as_ref() == Some(&session))
                .map(|entry| entry.usd)
                .sum()
        });
        Self {
            context,
            plan,
            ended,
            access: None,
            workspace: None,
            egress: None,
            model_port: None,
            session: None,
            spending: RunSpending::new(SessionCost::resumed(before_usd)),
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
        self.report_refusals().await;
        if let Some(workspace) = self.workspace.take() {
            blocking(move || workspace.close()).await;
        }
        let summary = outcome.summary();
        self.output.log.write(&format!("== {}", summary.outcome));
        let ModelSpending { usd, input_tokens, output_tokens } = self.spending.total();
        self.context.ledger.ended(&self.plan.run.id, usd, (input_tokens, output_tokens), summary);
        RunEnd { outcome, usd, diff: self.branch.diff }
    }

    /// `Err` is an outcome too, one that cuts the run short.
    async fn work(&mut self) -> Result<RunOutcome, RunOutcome> {
        self.prepare().await?;
        // After the worktree is made, which itself changes refs and git's configuration.
        let before = self.before().await?;
        let mut reminded = false;
        let mut launch = self.first_launch().await?;
        loop {
            self.set_phase(if reminded { RunPhase::Reminded } else { RunPhase::Working }).await;
            let turn = self.run_process(launch).await?;
            let resumed = self.plan.resume.is_some();
            let next = TurnRetries::new(None).next_step(turn.outcome.clone(), resumed, SystemTime::now());
            if next == RetryStep::NewSession {
                self.plan.resume = None;
                self.log_line("(its earlier session no longer exists: starting a new one)");
                self.spending.session = SessionCost::default();
                launch = self.first_launch().await?;
                continue;
            }
            self.set_phase(RunPhase::Settling).await;
            let facts = self.facts(&before, &turn, reminded).await?;
            // Tampering and a stop outweigh a busy service.
            if let TurnOutcome::Busy { until, .. } = turn.outcome
                && facts.tampering.is_empty()
                && facts.ended.is_none()
            {
                return Ok(RunOutcome::Busy { until });
            }
            // An answer counts though it was the last that the budget paid for.
            if self.spending.is_over_budget()
                && !matches!(turn.outcome, TurnOutcome::Answered(_))
                && facts.tampering.is_empty()
                && facts.ended.is_none()
            {
                return Ok(RunOutcome::Blocked(BlockReason::RunBudget {
                    spent_usd: self.spending.total().usd,
                }));
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

    // Once for the whole run, which may have asked a hundred times.
    async fn report_refusals(&mut self) {
        let Some(text) = self.egress.take().and_then(|egress| egress.refusals()) else { return };
        self.log_line(&format!("({text})"));
        let text = format!("`{}` (story {}): {text}", self.plan.run.slot, self.plan.run.story);
        self.send_update(RunUpdate::Alarm(text)).await;
    }

    // Adds the tail of the log. A run that reached the CLI's own budget limit is not at fault: a person has
    // to decide about money.
    fn failed(&self, turn: &TurnResult, cause: FailureCause) -> RunOutcome {
        if matches!(turn.outcome, TurnOutcome::Failed { cause: TurnFailure::Budget, .. }) {
            return RunOutcome::Blocked(BlockReason::RunBudget { spent_usd: self.spending.total().usd });
        }
        let tail = self.output.log.tail(12);
        let details = (!tail.is_empty()).then(|| format!("The end of its log:\n{tail}"));
        RunOutcome::Failed(RunFailure { cause, details })
    }

    async fn prepare(&mut self) -> Result<(), RunOutcome> {
        let (context, plan) = (self.context.clone(), self.plan.clone());
        let workspace = blocking(move || Workspace::prepare(&context, &plan)).await;
        self.workspace = Some(workspace.unwrap_or_else(|| Err(panicked()))?);
        self.check_stopped()?;
        self.set_up().await?;
        // Opened after the setup, whose commands so never see the run's token.
        let access = self.context.host.open(&self.plan.run);
        if let Some(workspace) = &self.workspace {
            workspace.write_mcp(&access.route);
        }
        self.access = Some(access);
        Ok(())
    }

    fn check_stopped(&self) -> Result<(), RunOutcome> {
        match &*self.ended.borrow() {
            None => Ok(()),
            Some(StopReason::Shutdown) => Err(RunOutcome::Shutdown),
            Some(StopReason::Stopped | StopReason::Stalled) => Err(RunOutcome::Stopped),
        }
    }

    /// The setup of the project's components, in a worktree that was made now.
    async fn set_up(&mut self) -> Result<(), RunOutcome> {
        let fresh = self.workspace.as_ref().is_some_and(|workspace| workspace.fresh);
        if !fresh || self.plan.config.components.is_empty() {
            return Ok(());
        }
        let (gates, confined) = (self.gate_runner().await?, self.confined().await?);
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
            let cancel = self.stop_token();
            let phase = worktree::ComponentPhase::Setup;
            run_components(&path, &components, phase, &gates, Some(&confined), &cancel, progress).await
        };
        lines.iter().for_each(|line| self.log_line(line));
        if let Err(error) = done {
            self.check_stopped()?;
            // The next try is to set it up again.
            if let Some(worktree) = self.worktree() {
                let worktrees = self.context.worktrees.clone();
                blocking(move || worktrees.remove(worktree.name(), worktree::BranchFate::Keep)).await;
            }
            return Err(match error {
                ComponentError::Sandbox(why) => RunOutcome::NotStarted(why),
                error => RunOutcome::failed(FailureCause::SetupFailed { why: error.to_string() }),
            });
        }
        Ok(())
    }

    /// A token that is cancelled when the run is to stop.
    fn stop_token(&self) -> CancellationToken {
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

    async fn run_process(&mut self, launch: Launch) -> Result<TurnResult, RunOutcome> {
        self.check_stopped()?;
        self.run_turn(launch).await.map_err(|error| match error {
            ProcessError::NotFound { .. } => RunOutcome::NotStarted(format!(
                "{error}. Install Claude Code, or name it with `[claude] command` in bot.toml."
            )),
            ProcessError::Io { .. } | ProcessError::Gone => RunOutcome::internal(error),
        })
    }

    fn path(&self) -> std::path::PathBuf {
        self.workspace.as_ref().map(|workspace| workspace.path().to_owned()).unwrap_or_default()
    }

    pub(super) async fn set_phase(&mut self, phase: RunPhase) {
        self.send_update(RunUpdate::Phase(phase)).await;
    }

    pub(super) async fn send_update(&self, update: RunUpdate) {
        // The receiver is gone only when storkit shuts down.
        let _ = self.output.updates.send(update).await;
    }

    /// Writes to the log, and to whoever follows it, unless they lag.
    pub(super) fn log_line(&mut self, text: &str) {
        for line in self.output.log.write(text) {
            let _ = self.output.updates.try_send(RunUpdate::Said(line));
        }
    }
}

fn panicked() -> RunOutcome {
    RunOutcome::internal("a part of the run failed inside storkit; the log has the details")
}

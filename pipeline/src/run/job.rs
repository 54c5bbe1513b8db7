//! A run, step by step: workspace, processes (`launch`), their results and the gates (`left`).

pub(crate) mod attacked;
mod launch;
mod left;
mod planning;
mod review;

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
    outcome::{RunEnd, RunFailure, RunOutcome},
    plan::{FindingsSlot, PlanSlot, ReviewSlot, RunContext, RunPlan, RunSignals, RunUpdate},
    turn::{RunSpending, TurnResult},
    workspace::Workspace,
};
use crate::{
    event::RunPhase,
    host::RunAccess,
    mailbox::RunMailbox,
    run_log::RunLog,
    story::BlockReason,
    verdict::{self, FailureCause, NextAction, StopReason},
    worktree::{ComponentError, ComponentProgress, SetupRun, set_up},
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
    pub session: Option<SessionId>,
    pub spending: RunSpending,
    /// Whether the CLI waits for the model's service.
    pub busy: bool,
    pub branch: BranchProgress,
    pub mailbox: RunMailbox,
    pub findings: FindingsSlot,
    pub proposal: PlanSlot,
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
        RunSignals { ended, review, findings, proposal, mailbox }: RunSignals,
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
            session: None,
            spending: RunSpending::new(SessionCost::resumed(before_usd)),
            busy: false,
            branch: BranchProgress::default(),
            mailbox,
            findings,
            proposal,
            output: RunOutput { updates, log },
            review,
        }
    }

    pub(super) async fn run(mut self) -> RunEnd {
        let outcome = match self.work().await {
            Ok(outcome) | Err(outcome) => outcome,
        };
        self.report_refusals().await;
        self.report_unread().await;
        self.take_evidence().await;
        self.watch_over_products(&outcome).await;
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
        if let Some((branch, _)) = self.plan.review.clone() {
            return self.review(branch, &before).await;
        }
        if self.is_landed(&before) {
            return self.check_landed().await;
        }
        let mut reminded = false;
        let mut launch = self.first_launch().await?;
        loop {
            self.set_phase(match (reminded, self.plan.plans) {
                (_, true) => RunPhase::Planning,
                (true, false) => RunPhase::Reminded,
                (false, false) => RunPhase::Working,
            })
            .await;
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
                && self.proposal.lock().is_none()
                && !matches!(turn.outcome, TurnOutcome::Answered(_))
                && facts.tampering.is_empty()
                && facts.ended.is_none()
            {
                return Ok(RunOutcome::Blocked(BlockReason::RunBudget {
                    spent_usd: self.spending.total().usd,
                }));
            }
            if self.plan.plans {
                return Ok(self.planned(&turn, facts));
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
        let text = format!("`{}` ({}): {text}", self.plan.run.slot, self.plan.run.subject());
        self.send_update(RunUpdate::Alarm(text)).await;
    }

    /// Writes what people said, and what of it the agent has.
    pub(super) fn log_mailbox(&mut self) {
        for note in self.mailbox.notes() {
            self.log_line(&note.line());
        }
    }

    /// Tells people which of their words nobody has read.
    async fn report_unread(&mut self) {
        let unread = self.mailbox.close();
        self.log_mailbox();
        let (slot, story) = (self.plan.run.slot.clone(), self.plan.run.story);
        for message in unread {
            let (by, text) = (message.by, message.text);
            let text = format!(
                "`{slot}` (story {story}) ended before it read what {by} said (“{text}”). Say it again to whoever works on it next, or put it into \
                 the story with `edit {story}`."
            );
            self.send_update(RunUpdate::Alarm(text)).await;
        }
    }

    /// Without the folder the run goes on: it is for people alone.
    async fn open_evidence(&mut self) {
        let Some(folder) = self.workspace.as_ref().map(Workspace::evidence) else { return };
        if let Some(Err(error)) = blocking(move || folder.open()).await {
            self.log_line(&format!("(no folder for evidence can be made: {error})"));
        }
    }

    async fn take_evidence(&mut self) {
        let Some(folder) = self.workspace.as_ref().map(Workspace::evidence) else { return };
        match blocking(move || folder.take()).await {
            Some(taken) if !taken.is_empty() => self.send_update(RunUpdate::Evidence(taken)).await,
            _ => {}
        }
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
        let workspace = workspace.unwrap_or_else(|| Err(panicked()))?;
        if let Some(news) = &workspace.rewritten {
            self.log_line(&format!("({news})"));
            let feedback =
                self.plan.feedback.take().map(|feedback| format!("{feedback}\n\n")).unwrap_or_default();
            self.plan.feedback = Some(format!("{feedback}{news}"));
        }
        self.workspace = Some(workspace);
        self.open_evidence().await;
        self.check_stopped()?;
        self.set_up().await?;
        // Opened after the setup, whose commands so never see the run's token.
        let access = self.context.host.open(&self.plan.run, &self.plan.read, &self.mailbox);
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

    /// Sets up the project's components in a story's worktree, as far as that is due.
    pub(super) async fn set_up(&mut self) -> Result<(), RunOutcome> {
        let Some(worktree) = self.worktree() else { return Ok(()) };
        if self.plan.config.components.is_empty() {
            return Ok(());
        }
        let (gates, confined) = (self.gate_runner().await?, self.confined().await?);
        let place = blocking(move || worktree.setup_place()).await.ok_or_else(panicked)?;
        let (place, tree) = place.map_err(RunOutcome::internal)?;
        let config = Arc::clone(&self.plan.config);
        let mut lines = Vec::new();
        let done = {
            let progress = |progress: ComponentProgress<'_>| match progress {
                ComponentProgress::Started { component, command } => {
                    lines.push(format!("setup {component}: {command}"))
                }
                ComponentProgress::Missing { component } => {
                    lines.push(format!("setup {component}: passed over, its folder is not here"));
                }
                ComponentProgress::Ended { result, .. } if !result.passed() => {
                    lines.extend([result.tail.clone(), result.to_string()]);
                }
                ComponentProgress::Ended { .. } => {}
            };
            let run = SetupRun {
                components: &config.components,
                gates: &gates,
                confined: &confined,
                cancel: &self.stop_token(),
            };
            set_up(&place, tree, run, progress).await
        };
        lines.iter().for_each(|line| self.log_line(line));
        // One that failed is not recorded, so the next run tries it again.
        let Err(error) = done else { return Ok(()) };
        self.check_stopped()?;
        Err(match error {
            ComponentError::Sandbox(why) => RunOutcome::NotStarted(why),
            ComponentError::Copy(why) => RunOutcome::Blocked(BlockReason::Worktree { why }),
            error => RunOutcome::failed(FailureCause::SetupFailed { why: error.to_string() }),
        })
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

    pub(super) fn path(&self) -> std::path::PathBuf {
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
            let _ = self.output.updates.try_send(RunUpdate::Line(line));
        }
    }
}

fn panicked() -> RunOutcome {
    RunOutcome::internal("a part of the run failed inside storkit; the log has the details")
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use agents::confine::{NetworkAccess, NetworkPlan};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixStream,
    };

    use super::*;
    use crate::{
        config::Component,
        run::fixture::{BRANCH, HANGS, RunFixture, STORY},
        verdict::ReviewDecision,
    };

    /// The coder's output, commit and end.
    const WORKS: &str = "commit one; result";

    fn setup(commands: &[&str]) -> Component {
        let setup = commands.iter().map(|command| (*command).to_owned()).collect();
        Component { name: "app".into(), setup, ..Component::default() }
    }

    #[tokio::test]
    async fn a_coder_that_commits_passes_and_its_cost_diff_and_end_are_recorded() {
        let fixture = RunFixture::coder("say hello; commit one; result");
        let run = fixture.run().await;
        assert_eq!(*run.outcome(), RunOutcome::Passed);
        assert_eq!((run.end.usd, run.end.diff.as_deref()), (0.5, Some("1 file, +1 -0")));
        assert_eq!(run.phases(), [RunPhase::Working, RunPhase::Settling, RunPhase::Gates]);
        assert_eq!((run.said(), run.alarms()), (vec!["hello"], vec![]));
        let entry = fixture.context.ledger.of_story(STORY).pop().unwrap();
        assert_eq!(entry.session, fixture.option(1, "--session-id"));
        assert_eq!((entry.usd, entry.tokens), (0.5, (10, 5)));
        assert_eq!(entry.summary, RunOutcome::Passed.summary());
        let log = fixture.git.read(".storkit/logs/agents/7-agent-1.log");
        assert_eq!(log, "hello\n== committed, and the gates passed\n");
    }

    #[tokio::test]
    async fn who_leaves_work_uncommitted_is_reminded_once_in_the_same_session() {
        let script =
            "case $turn in 1) echo x > one.txt ;; *) git add -A; git commit -q -m one ;; esac; result";
        let fixture = RunFixture::coder(script);
        let run = fixture.run().await;
        assert_eq!(*run.outcome(), RunOutcome::Passed);
        let phases =
            [RunPhase::Working, RunPhase::Settling, RunPhase::Reminded, RunPhase::Settling, RunPhase::Gates];
        assert_eq!(run.phases(), phases);
        assert_eq!(fixture.option(2, "--resume"), fixture.option(1, "--session-id"));
        assert!(fixture.arguments(2).unwrap().contains("\n- `one.txt`\n"));
        let fixture = RunFixture::coder("echo x > one.txt; result");
        let failed =
            RunOutcome::failed(FailureCause::Uncommitted { files: 1, names: vec!["one.txt".into()] });
        assert_eq!(*fixture.run().await.outcome(), failed);
        assert_eq!(fixture.arguments(3), None);
    }

    #[tokio::test]
    async fn a_failure_comes_with_the_end_of_the_log_if_there_is_any() {
        let ghost = FailureCause::GhostRun { why: None };
        let run = RunFixture::coder("say I give up; result").run().await;
        let details = Some("The end of its log:\nI give up".into());
        assert_eq!(*run.outcome(), RunOutcome::Failed(RunFailure { cause: ghost.clone(), details }));
        let run = RunFixture::coder("result").run().await;
        assert_eq!(*run.outcome(), RunOutcome::failed(ghost));
    }

    #[tokio::test]
    async fn a_run_that_spent_its_budget_is_blocked_and_has_not_failed() {
        let run = RunFixture::coder("result error_max_budget_usd true").run().await;
        assert_eq!(*run.outcome(), RunOutcome::Blocked(BlockReason::RunBudget { spent_usd: 0.5 }));
    }

    #[tokio::test]
    async fn a_busy_service_is_no_failure_unless_the_agent_has_tampered() {
        let busy = "result success true 529 busy";
        let run = RunFixture::coder(busy).run().await;
        assert_eq!(*run.outcome(), RunOutcome::Busy { until: None });
        let run =
            RunFixture::coder(&format!("unguarded commit -q --allow-empty -m evil; {busy}")).run().await;
        assert!(matches!(run.outcome(), RunOutcome::Blocked(BlockReason::Tampering { .. })));
    }

    #[tokio::test]
    async fn a_lost_session_is_replaced_by_a_new_one_that_gets_the_whole_prompt() {
        let lost = "result error_during_execution true null 'No conversation found with session ID: old'";
        let mut fixture =
            RunFixture::coder(&format!("case $turn in 1) cost=0; {lost} ;; *) {WORKS} ;; esac"));
        fixture.plan.resume = Some(SessionId::new("old"));
        let run = fixture.run().await;
        assert_eq!(*run.outcome(), RunOutcome::Passed);
        assert_eq!(fixture.option(1, "--resume").as_deref(), Some("old"));
        let new = fixture.option(2, "--session-id").unwrap();
        assert!(run.updates.contains(&RunUpdate::Session(SessionId::new(new))));
        assert!(fixture.arguments(2).unwrap().contains("Do story 7."));
        assert!(run.said().contains(&"(its earlier session no longer exists: starting a new one)"));
        let run = RunFixture::coder(lost).run().await;
        assert!(matches!(run.outcome(), RunOutcome::Failed(_)), "a new session cannot be replaced");
    }

    #[tokio::test]
    async fn a_resumed_run_pays_only_for_what_its_session_has_not_cost_before() {
        let mut fixture = RunFixture::coder("cost=2.25; commit one; result");
        for (session, usd) in [("mine", 0.5), ("other", 4.0), ("mine", 1.5)] {
            fixture.context.ledger.started(&fixture.plan.run, session);
            fixture.context.ledger.ended(&fixture.plan.run.id, usd, (0, 0), RunOutcome::Passed.summary());
            fixture.next();
        }
        fixture.plan.resume = Some(SessionId::new("mine"));
        assert_eq!(fixture.run().await.end.usd, 0.25);
    }

    #[tokio::test]
    async fn a_run_that_is_stopped_ends_at_once_and_does_not_fail() {
        for (reason, outcome) in
            [(StopReason::Stopped, RunOutcome::Stopped), (StopReason::Shutdown, RunOutcome::Shutdown)]
        {
            let fixture = RunFixture::coder(HANGS);
            let mut run = fixture.begin();
            run.until_said("waiting").await;
            run.control.end(reason);
            assert_eq!(*run.end().await.outcome(), outcome);
            let fixture = RunFixture::coder(HANGS);
            let run = fixture.begin();
            run.control.end(reason);
            assert_eq!(*run.end().await.outcome(), outcome);
            assert_eq!(fixture.arguments(1), None, "it was stopped before its process");
        }
    }

    #[tokio::test]
    async fn a_run_without_output_is_stalled_and_without_a_limit_it_never_is() {
        let mut fixture = RunFixture::coder("exec sleep 600");
        fixture.settings().stall = Duration::from_millis(50);
        assert_eq!(*fixture.run().await.outcome(), RunOutcome::failed(FailureCause::Stalled));
        let fixture = RunFixture::coder(WORKS);
        assert_eq!(fixture.context.settings.stall, Duration::ZERO);
        assert_eq!(*fixture.run().await.outcome(), RunOutcome::Passed);
    }

    #[tokio::test]
    async fn without_the_cli_nothing_starts_and_a_person_is_told_what_to_do() {
        let mut fixture = RunFixture::coder(WORKS);
        fixture.settings().command = vec!["/no/such/claude".into()];
        let run = fixture.run().await;
        let RunOutcome::NotStarted(why) = run.outcome() else { panic!("{:?}", run.end) };
        assert!(why.contains("/no/such/claude") && why.contains("Install Claude Code"), "{why}");
    }

    #[tokio::test]
    async fn components_are_set_up_in_a_new_worktree_and_only_there() {
        let mut fixture = RunFixture::coder(WORKS);
        let absent = Component { name: "web".into(), path: "web".into(), ..setup(&["false"]) };
        fixture.config().components = vec![setup(&["echo made >> ../../../made"]), absent];
        let run = fixture.run().await;
        let expected =
            ["setup app: echo made >> ../../../made", "setup web: passed over, its folder is not here"];
        assert_eq!(run.said(), expected);
        fixture.next();
        assert_eq!(fixture.run().await.said(), Vec::<&str>::new());
        assert_eq!(fixture.git.read("made"), "made\n");
    }

    #[tokio::test]
    async fn a_setup_that_fails_is_repeated_by_the_next_run() {
        let mut fixture = RunFixture::coder(WORKS);
        fixture.config().components = vec![setup(&["test -e ../../../ready || (echo why; exit 1)"])];
        let run = fixture.run().await;
        assert_eq!(run.said()[1], "why", "its output is in the log");
        let RunOutcome::Failed(RunFailure { cause: FailureCause::SetupFailed { why }, .. }) = run.outcome()
        else {
            panic!("{:?}", run.end)
        };
        assert!(
            why.starts_with(
                "setup of the component `app`: `test -e ../../../ready || (echo why; exit 1)` failed"
            ),
            "{why}"
        );
        assert_eq!(fixture.arguments(1), None);
        fixture.git.write("ready", "");
        fixture.next();
        assert_eq!(*fixture.run().await.outcome(), RunOutcome::Passed);
    }

    #[tokio::test]
    async fn a_setup_can_be_stopped() {
        let mut fixture = RunFixture::coder(WORKS);
        fixture.config().components = vec![setup(&["touch ../../../begun; exec sleep 600"])];
        let run = fixture.begin();
        let begun = fixture.git.root().join("begun");
        run.until(|| begun.exists()).await;
        run.control.end(StopReason::Stopped);
        assert_eq!(*run.end().await.outcome(), RunOutcome::Stopped);
    }

    #[tokio::test]
    async fn a_reviewers_decision_is_the_outcome_and_its_changes_are_undone() {
        let decisions = [
            (ReviewDecision::Approved, RunOutcome::Approved),
            (ReviewDecision::Rejected("no tests".into()), RunOutcome::SentBack("no tests".into())),
        ];
        for (decision, outcome) in decisions {
            let fixture = RunFixture::reviewer("commit sneaky; echo x > left.txt; result");
            let run = fixture.begin();
            run.control.review(decision);
            let run = run.end().await;
            assert_eq!(*run.outcome(), outcome);
            assert_eq!(run.said(), ["(the reviewer's changes were undone)"]);
            assert_eq!(fixture.tip(BRANCH), fixture.tip("main"));
            assert!(!fixture.worktree().path().join("left.txt").exists());
        }
    }

    #[tokio::test]
    async fn a_reviewer_that_changes_nothing_is_not_said_to_have_been_undone() {
        let run = RunFixture::reviewer("result").run().await;
        assert_eq!(*run.outcome(), RunOutcome::failed(FailureCause::LostReview));
        assert_eq!(run.said(), Vec::<&str>::new());
    }

    #[tokio::test]
    async fn a_mergemaster_works_in_the_conflicts_worktree_and_the_merge_goes_on() {
        let fixture = RunFixture::mergemaster("say $PWD; result");
        let run = fixture.run().await;
        assert_eq!(*run.outcome(), RunOutcome::ContinueMerge);
        let place = fixture.git.root().join(".storkit/worktrees/merge-7");
        assert_eq!(run.said(), [place.to_str().unwrap()]);
        assert!(!fixture.git.root().join(".storkit/worktrees/.private/merge-7").exists());
    }

    #[tokio::test]
    async fn what_a_sandbox_refused_is_reported_once_at_the_end() {
        let fixture = RunFixture::coder(WORKS);
        let (mut job, _control, mut updates) = fixture.job();
        job.report_refusals().await;
        assert!(updates.try_recv().is_err(), "there was no proxy");
        let plan = NetworkPlan::new(NetworkAccess::Only(Vec::new()), "`network`");
        let egress = EgressProxy::for_plan(plan, &fixture.git.project.run_dir()).unwrap();
        let agents::confine::NetworkReach::Through(folder) = egress.reach() else { panic!("a folder") };
        let socket = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
        let mut client = UnixStream::connect(socket).await.unwrap();
        let request =
            b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\nConnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        client.read_to_string(&mut String::new()).await.unwrap();
        job.egress = Some(Arc::new(egress));
        job.report_refusals().await;
        let sentence = "Blocked access to `evil.example:443`: not listed in `network`.";
        let line = crate::run_log::LogLine { number: 1, text: format!("({sentence})") };
        assert_eq!(updates.try_recv(), Ok(RunUpdate::Line(line)));
        assert_eq!(updates.try_recv(), Ok(RunUpdate::Alarm(format!("`agent` (story 7): {sentence}"))));
        job.report_refusals().await;
        assert!(updates.try_recv().is_err(), "it was said");
    }
}

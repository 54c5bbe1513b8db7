//! One process of the CLI in a run: turns the events of its turn into the run's log and updates.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use agents::{
    claude::{AgentEvent, Launch, ProcessError, ProcessExit, TurnEnd},
    model_proxy::{ModelProxy, ModelSpending},
    turn::{AgentSession, SessionCost, TurnLimits, TurnOutcome},
};
use tokio::{sync::watch, time::interval};

use super::{job::RunJob, plan::RunUpdate, workspace::WorkspaceKind};
use crate::{
    event::RunPhase,
    run_log::tool_line,
    strangers::{AgentPlace, StrangerText},
    verdict::{FailureCause, StopReason},
    worktree::Worktree,
};

// Between two imports of a confined agent's commits. An import without news takes a millisecond.
const IMPORT: Duration = Duration::from_secs(5);

/// What came of a process.
pub(super) struct TurnResult {
    pub outcome: TurnOutcome,
    /// Why it was ended from outside.
    pub ended: Option<StopReason>,
}

impl TurnResult {
    /// Why the turn failed by itself.
    pub(super) fn failure(&self) -> Option<FailureCause> {
        let failed = |why: &str| Some(FailureCause::TurnFailed { why: why.to_owned() });
        match &self.outcome {
            TurnOutcome::Answered(_) | TurnOutcome::Silent | TurnOutcome::Stopped => None,
            TurnOutcome::Busy { .. } => failed("the model's service is busy"),
            TurnOutcome::SessionLost => failed("its session does not exist any more"),
            TurnOutcome::Failed { cause, text } if text.trim().is_empty() => failed(&cause.to_string()),
            TurnOutcome::Failed { text, .. } => failed(text.trim()),
            TurnOutcome::Died(exit) => Some(FailureCause::Died { why: died(exit) }),
        }
    }
}

fn died(exit: &ProcessExit) -> String {
    let how = match (exit.code, exit.signal) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no code".into(),
    };
    match exit.tail.trim() {
        "" => format!("Claude Code ended without a result ({how})"),
        tail => format!("Claude Code ended without a result ({how}): {tail}"),
    }
}

/// The spending of a run.
#[derive(Default)]
pub(super) struct RunSpending {
    /// Counted from the cost that the session had before.
    pub session: SessionCost,
    /// By the CLI's own sums.
    reported: ModelSpending,
    /// The run's way to the model, which counts as well; absent where the CLI has its own.
    pub proxy: Option<Arc<ModelProxy>>,
}

impl RunSpending {
    pub(super) fn new(session: SessionCost) -> Self {
        Self { session, ..Self::default() }
    }

    fn add(&mut self, end: &TurnEnd) {
        self.reported.usd += self.session.add(end.session_cost_usd);
        self.reported.input_tokens += end.input_tokens;
        self.reported.output_tokens += end.output_tokens;
    }

    /// The greater of both counts: the CLI's sums are an agent's word, and after a kill there are none.
    pub(super) fn total(&self) -> ModelSpending {
        let counted = self.proxy.as_ref().map(|proxy| proxy.spending()).unwrap_or_default();
        ModelSpending {
            usd: counted.usd.max(self.reported.usd),
            input_tokens: counted.input_tokens.max(self.reported.input_tokens),
            output_tokens: counted.output_tokens.max(self.reported.output_tokens),
        }
    }

    /// Whether the run's budget is spent, by the proxy's count.
    pub(super) fn is_over_budget(&self) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.is_budget_spent())
    }

    /// Waits until the model was asked for more than the budget allows; for ever where nothing counts.
    async fn budget_refused(proxy: Option<Arc<ModelProxy>>) {
        match proxy {
            Some(proxy) => proxy.budget_refused().await,
            None => std::future::pending().await,
        }
    }
}

impl RunJob {
    /// Runs one process until it exits.
    pub(super) async fn run_turn(&mut self, launch: Launch) -> Result<TurnResult, ProcessError> {
        let mut session = match &self.access {
            Some(access) => AgentSession::asking_elsewhere(access.waiting.clone()),
            None => AgentSession::default(),
        };
        let stall = self.context.settings.stall;
        let silence = Some(stall).filter(|stall| !stall.is_zero());
        self.plan.read.enter(self.place()).await;
        session.run_once(launch, TurnLimits { silence, ..TurnLimits::default() }).await?;
        self.send_update(RunUpdate::Pid(session.pid())).await;
        let mut importing = interval(IMPORT);
        let mut end = self.ended.clone();
        let (mut ended, mut over_budget, mut shown_usd) = (None, false, 0.0);
        let mut told_read = self.plan.read.texts();
        let mailbox = self.mailbox.clone();
        let parking = self.access.as_ref().map(|access| access.parking.clone()).unwrap_or_default();
        let outcome = loop {
            tokio::select! {
                update = session.next() => {
                    self.plan.read.follow(&update.event).await;
                    parking.follow(&update.event);
                    self.on_event(update.event).await;
                    self.tell_read(&mut told_read).await;
                    if let Some(outcome) = update.outcome {
                        break outcome;
                    }
                }
                () = mailbox.changed() => self.log_mailbox(),
                _ = importing.tick() => {
                    self.import().await;
                    self.tell_read(&mut told_read).await;
                    let usd = self.spending.total().usd;
                    if usd > shown_usd {
                        shown_usd = usd;
                        self.send_update(RunUpdate::Cost(usd)).await;
                    }
                }
                () = RunSpending::budget_refused(self.spending.proxy.clone()), if !over_budget => {
                    over_budget = true;
                    self.log_line("(the run's budget is spent)");
                    drop(session.stop().await);
                }
                () = parking.parked(), if ended.is_none() => {
                    // Killed while it waits for the answer: it must not see that the question's connection ends.
                    session.kill();
                    ended = Some(StopReason::Parked);
                }
                why = stop_reason(&mut end), if ended.is_none() => {
                    match why {
                        StopReason::Shutdown => session.kill(),
                        // An interrupted CLI still reports its cost; a killed one does not.
                        _ => drop(session.stop().await),
                    }
                    ended = Some(why);
                }
            }
        };
        self.tell_read(&mut told_read).await;
        self.send_update(RunUpdate::Pid(None)).await;
        if outcome == TurnOutcome::Silent {
            // A person's stop outweighs the silence that may follow it.
            ended.get_or_insert(StopReason::Stalled);
        }
        Ok(TurnResult { outcome, ended })
    }

    /// Reports the text by strangers that the agent has read, where that is news.
    async fn tell_read(&mut self, told: &mut BTreeSet<StrangerText>) {
        let read = self.plan.read.texts();
        if read != *told {
            told.clone_from(&read);
            self.send_update(RunUpdate::Read(read)).await;
        }
    }

    fn place(&self) -> AgentPlace {
        AgentPlace {
            root: self.context.project.root().to_owned(),
            folder: self.path(),
            base: self.plan.base.clone(),
            branch: self.worktree().map(|worktree| worktree.branch()),
        }
    }

    async fn on_event(&mut self, event: AgentEvent) {
        if self.busy && !matches!(event, AgentEvent::Retrying { .. } | AgentEvent::RateLimit { .. }) {
            self.busy = false;
            self.set_phase(RunPhase::Working).await;
        }
        match event {
            AgentEvent::Started { session, .. } => {
                self.session = Some(session.clone());
                self.send_update(RunUpdate::Session(session)).await;
            }
            AgentEvent::Text(text) => self.log_line(&text),
            AgentEvent::ToolUse(tool) => self.log_line(&tool_line(&tool)),
            AgentEvent::ToolResult { is_error: true, .. } => self.log_line("< failed or refused"),
            AgentEvent::Retrying { attempt, max, error, .. } => {
                self.log_line(&format!("(the model's service: {error}; try {attempt} of {max})"));
                if !self.busy {
                    self.busy = true;
                    self.set_phase(RunPhase::ServiceBusy).await;
                }
            }
            AgentEvent::Compacted { before, .. } => {
                self.log_line(&format!("(the session had {before} tokens; its older part is a summary now)"));
            }
            AgentEvent::RateLimit { status, .. } => self.log_line(&format!("(usage limit: {status})")),
            AgentEvent::TurnEnded(end) => {
                self.spending.add(&end);
                self.send_update(RunUpdate::Cost(self.spending.total().usd)).await;
                if end.failure.is_some() {
                    self.log_line(&end.text);
                }
            }
            AgentEvent::Exited(_)
            | AgentEvent::Mode(_)
            | AgentEvent::TextDelta(_)
            | AgentEvent::MessageEnded
            | AgentEvent::ToolResult { is_error: false, .. }
            | AgentEvent::SubAgentToolUse(_)
            | AgentEvent::SubAgentToolResult { .. }
            | AgentEvent::OwnTools(_)
            | AgentEvent::Servers(_)
            | AgentEvent::Permission(_)
            | AgentEvent::PermissionCancelled { .. }
            | AgentEvent::BackgroundTasks(_)
            | AgentEvent::TaskEnded { .. }
            | AgentEvent::ControlFailed { .. } => {}
            AgentEvent::Noise(noise) => tracing::debug!(?noise, run = %self.plan.run.id, "no event"),
        }
    }

    // Imports a confined agent's commits while it runs, so that a crash loses little.
    async fn import(&mut self) {
        let Some(worktree) = self.worktree() else { return };
        let imported = super::job::blocking(move || worktree.import()).await;
        self.branch.refused = match imported {
            Some(Err(error)) => Some(error.to_string()),
            Some(Ok(_)) | None => None,
        };
    }

    /// The story's worktree, if that is where it works.
    pub(super) fn worktree(&self) -> Option<Worktree> {
        match self.workspace.as_ref().map(|workspace| &workspace.kind) {
            Some(WorkspaceKind::Story(worktree)) => Some(worktree.clone()),
            Some(WorkspaceKind::Conflict(_) | WorkspaceKind::Review(_)) | None => None,
        }
    }
}

/// Waits until somebody stops the run.
async fn stop_reason(end: &mut watch::Receiver<Option<StopReason>>) -> StopReason {
    match end.wait_for(Option::is_some).await {
        Ok(why) => why.unwrap_or(StopReason::Shutdown),
        // Whoever could want it is gone, and with it storkit.
        Err(_) => StopReason::Shutdown,
    }
}

#[cfg(test)]
mod tests {
    use agents::{
        claude::{BusyService, SessionId, ToolUse, TurnFailure},
        event::RateLimitStatus,
    };
    use serde_json::json;

    use super::*;
    use crate::{run::fixture::RunFixture, run_log::LogLine};

    fn failure(outcome: TurnOutcome) -> Option<String> {
        TurnResult { outcome, ended: None }.failure().map(|cause| cause.to_string())
    }

    #[test]
    fn a_failure_has_the_programs_words_or_the_causes() {
        let failed = |text: &str| TurnOutcome::Failed { cause: TurnFailure::StepLimit, text: text.into() };
        assert_eq!(failure(failed(" no more ")).as_deref(), Some("no more"));
        assert_eq!(failure(failed("")).as_deref(), Some("the limit of steps is reached"));
        let exit = ProcessExit { code: None, signal: Some(9), tail: "killed\n".into() };
        let died = "Claude Code ended without a result (signal 9): killed";
        assert_eq!(failure(TurnOutcome::Died(exit)).as_deref(), Some(died));
        for outcome in [TurnOutcome::Stopped, TurnOutcome::Silent, TurnOutcome::Answered(Box::default())] {
            assert_eq!(failure(outcome), None);
        }
        let busy = TurnOutcome::Busy { service: BusyService::Overloaded, until: None };
        assert_eq!(failure(busy).as_deref(), Some("the model's service is busy"));
        assert_eq!(failure(TurnOutcome::SessionLost).as_deref(), Some("its session does not exist any more"));
    }

    #[test]
    fn a_process_that_died_is_described_by_its_end_and_its_last_words() {
        let exit = |code, signal, tail: &str| died(&ProcessExit { code, signal, tail: tail.into() });
        assert_eq!(exit(Some(3), None, " no key\n"), "Claude Code ended without a result (code 3): no key");
        assert_eq!(exit(Some(0), Some(9), ""), "Claude Code ended without a result (code 0)");
        assert_eq!(exit(None, None, " "), "Claude Code ended without a result (no code)");
    }

    #[test]
    fn a_run_pays_for_its_own_part_of_a_session() {
        let mut spending = RunSpending::new(SessionCost::resumed(1.0));
        let end = |session_cost_usd| TurnEnd {
            session_cost_usd,
            input_tokens: 10,
            output_tokens: 3,
            ..TurnEnd::default()
        };
        spending.add(&end(1.5));
        spending.add(&end(1.75));
        assert_eq!(spending.total(), ModelSpending { usd: 0.75, input_tokens: 20, output_tokens: 6 });
    }

    /// The updates that a run reports for these events; lines without their numbers.
    async fn reported(events: impl IntoIterator<Item = AgentEvent>) -> Vec<RunUpdate> {
        let (mut job, _control, mut updates) = RunFixture::coder("").job();
        for event in events {
            job.on_event(event).await;
        }
        drop(job);
        let mut reported = Vec::new();
        while let Some(update) = updates.recv().await {
            reported.push(match update {
                RunUpdate::Line(line) => said(&line.text),
                other => other,
            });
        }
        reported
    }

    fn said(line: &str) -> RunUpdate {
        RunUpdate::Line(LogLine { number: 0, text: line.into() })
    }

    #[tokio::test]
    async fn the_log_has_words_tool_calls_and_failures() {
        let tool = ToolUse { id: "1".into(), name: "Bash".into(), input: json!({"command": "ls"}) };
        let result = |is_error| AgentEvent::ToolResult { id: "1".into(), is_error };
        let limit = AgentEvent::RateLimit { status: RateLimitStatus::AllowedWithWarning, resets_at: None };
        let events = [
            AgentEvent::Text("one\ntwo".into()),
            AgentEvent::TextDelta("two".into()),
            AgentEvent::ToolUse(tool),
            result(false),
            result(true),
            limit,
        ];
        let expected =
            ["one", "two", "> Bash: ls", "< failed or refused", "(usage limit: nearly reached)"].map(said);
        assert_eq!(reported(events).await, expected);
    }

    #[tokio::test]
    async fn the_session_and_the_cost_are_reported_and_a_failed_turns_words_are_logged() {
        let session = SessionId::new("s");
        let started =
            AgentEvent::Started { session: session.clone(), model: "m".into(), mcp_servers: vec![] };
        let end = |session_cost_usd, failure, text: &str| {
            AgentEvent::TurnEnded(Box::new(TurnEnd {
                session_cost_usd,
                failure,
                text: text.into(),
                ..TurnEnd::default()
            }))
        };
        let events = [started, end(0.5, None, "an answer"), end(0.75, Some(TurnFailure::Other), "it failed")];
        let expected =
            [RunUpdate::Session(session), RunUpdate::Cost(0.5), RunUpdate::Cost(0.75), said("it failed")];
        assert_eq!(reported(events).await, expected);
    }

    #[tokio::test]
    async fn text_by_strangers_that_a_run_has_read_is_reported_once() {
        let (mut job, _control, mut updates) = RunFixture::coder("").job();
        let page = StrangerText::Page("docs.example".into());
        job.plan.read.on_read([page.clone()]);
        let mut told = BTreeSet::new();
        job.tell_read(&mut told).await;
        job.tell_read(&mut told).await;
        drop(job);
        assert_eq!(updates.recv().await, Some(RunUpdate::Read([page].into())));
        assert_eq!(updates.recv().await, None);
    }

    #[tokio::test]
    async fn a_busy_service_is_one_phase_until_something_else_happens() {
        let retrying = |attempt| AgentEvent::Retrying {
            attempt,
            max: 3,
            delay: Duration::ZERO,
            status: Some(529),
            error: "overloaded".into(),
        };
        let limit = || AgentEvent::RateLimit { status: RateLimitStatus::Rejected, resets_at: None };
        let text = || AgentEvent::Text("again".into());
        let expected = [
            said("(the model's service: overloaded; try 1 of 3)"),
            RunUpdate::Phase(RunPhase::ServiceBusy),
            said("(usage limit: reached)"),
            said("(the model's service: overloaded; try 2 of 3)"),
            RunUpdate::Phase(RunPhase::Working),
            said("again"),
            said("again"),
        ];
        assert_eq!(reported([retrying(1), limit(), retrying(2), text(), text()]).await, expected);
    }

    #[tokio::test]
    async fn an_import_notes_why_commits_were_refused_until_they_are_accepted() {
        let mut fixture = RunFixture::coder("");
        fixture.git.limits.file = 10;
        fixture.context.worktrees = fixture.git.worktrees();
        let (mut job, _control, _updates) = fixture.job();
        job.import().await;
        assert_eq!(job.branch.refused, None, "there is no worktree yet");
        let workspace = super::super::workspace::Workspace::prepare(&fixture.context, &fixture.plan);
        job.workspace = Some(workspace.unwrap());
        let path = job.worktree().unwrap().path().to_owned();
        let git = |args: &[&str]| fixture.git.git_in(&path, args);
        std::fs::write(path.join("large"), "more than ten bytes").unwrap();
        git(&["add", "large"]);
        git(&["commit", "-q", "-m", "large"]);
        job.import().await;
        assert!(job.branch.refused.as_ref().unwrap().starts_with("`large` on the branch has"));
        git(&["reset", "-q", "--hard", "main"]);
        job.import().await;
        assert_eq!(job.branch.refused, None);
    }

    #[tokio::test]
    async fn a_run_whose_control_is_gone_is_shut_down() {
        let (control, signals) = super::super::RunControl::pair();
        let mut ended = signals.ended.clone();
        control.end(StopReason::Stopped);
        assert_eq!(stop_reason(&mut ended).await, StopReason::Stopped);
        let (control, signals) = super::super::RunControl::pair();
        drop(control);
        assert_eq!(stop_reason(&mut signals.ended.clone()).await, StopReason::Shutdown);
    }
}

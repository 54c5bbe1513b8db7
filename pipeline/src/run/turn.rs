//! One process of the CLI, from its start to its end: what it says is logged, told, and summed up.

use std::{
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use agents::claude::{AgentEvent, AgentProcess, Launch, ProcessError, ProcessExit, TurnEnd};
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, interval, sleep_until},
};

use super::{RunUpdate, job::RunJob, log::tool_line, workspace::WorkspaceKind};
use crate::{
    event::RunPhase,
    verdict::{FailureCause, StopReason},
    worktree::Worktree,
};

/// Between two imports of a confined agent's commits.
const IMPORT: Duration = Duration::from_secs(5);

/// How long the last words of a process that was ended may take.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What a process left.
#[derive(Default)]
pub(super) struct ProcessResult {
    /// Its last result line.
    pub end: Option<TurnEnd>,
    /// How the process ended.
    pub exit: Option<ProcessExit>,
    /// Why it was ended from outside.
    pub ended: Option<StopReason>,
    /// When a usage limit that it met ends.
    pub limited_until: Option<SystemTime>,
}

impl ProcessResult {
    /// Whether the model's service was busy: HTTP 429 or 529, as the CLI tells it.
    pub(super) fn was_busy(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.is_error && matches!(end.api_error_status, Some(429 | 529)))
    }

    /// The CLI's words for a turn that failed; `None` for one that did not.
    pub(super) fn failure(&self) -> Option<FailureCause> {
        match (&self.end, &self.exit) {
            (Some(end), _) if end.is_error => {
                let text = end.text.trim();
                let why = match text.is_empty() {
                    true => format!("it ended with `{}`", end.subtype),
                    false => text.to_owned(),
                };
                Some(FailureCause::TurnFailed { why })
            }
            (Some(_), _) => None,
            (None, Some(exit)) => {
                let how = match (exit.code, exit.signal) {
                    (Some(code), _) => format!("code {code}"),
                    (None, Some(signal)) => format!("signal {signal}"),
                    (None, None) => "no code".into(),
                };
                let tail = exit.tail.trim();
                let said = if tail.is_empty() { String::new() } else { format!(": {tail}") };
                Some(FailureCause::Died { why: format!("Claude Code ended without a result ({how}){said}") })
            }
            (None, None) => Some(FailureCause::Died { why: "Claude Code ended without a result".into() }),
        }
    }

    /// Whether it could not resume its session.
    pub(super) fn lost_session(&self) -> bool {
        self.failure().is_some_and(|cause| match cause {
            FailureCause::TurnFailed { why } | FailureCause::Died { why } => {
                why.contains("No conversation found")
            }
            _ => false,
        })
    }
}

impl RunJob {
    /// Runs one process to its end.
    pub(super) async fn turn(&mut self, launch: Launch) -> Result<ProcessResult, ProcessError> {
        let (process, mut events) = AgentProcess::start(launch).await?;
        self.tell(RunUpdate::Pid(Some(process.pid()))).await;
        let mut turn = ProcessResult::default();
        let stall = self.shop.settings.stall;
        let mut last = Instant::now();
        let mut importing = interval(IMPORT);
        let mut end = self.ended.clone();
        while turn.exit.is_none() && turn.ended.is_none() {
            let stalled = async {
                if stall.is_zero() { std::future::pending().await } else { sleep_until(last + stall).await }
            };
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => {
                        last = Instant::now();
                        self.heard(event, &mut turn).await;
                    }
                    None => break,
                },
                _ = importing.tick() => self.import().await,
                why = ended(&mut end) => turn.ended = Some(why),
                () = stalled => {
                    // Waiting for a person, or for the service to answer again, is no standstill.
                    if self.asks() || self.busy { last = Instant::now() } else { turn.ended = Some(StopReason::Stalled) }
                }
            }
        }
        process.end().await;
        self.drain(&mut events, &mut turn).await;
        self.tell(RunUpdate::Pid(None)).await;
        Ok(turn)
    }

    /// What it still said before it was gone.
    async fn drain(&mut self, events: &mut Receiver<AgentEvent>, turn: &mut ProcessResult) {
        let until = Instant::now() + LAST_WORDS;
        while turn.exit.is_none() {
            match tokio::time::timeout_at(until, events.recv()).await {
                Ok(Some(event)) => self.heard(event, turn).await,
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn asks(&self) -> bool {
        self.access.as_ref().is_some_and(|access| access.waiting.load(Ordering::Relaxed) > 0)
    }

    async fn heard(&mut self, event: AgentEvent, turn: &mut ProcessResult) {
        if self.busy && !matches!(event, AgentEvent::Retrying { .. } | AgentEvent::RateLimit { .. }) {
            self.busy = false;
            self.phase(RunPhase::Working).await;
        }
        match event {
            AgentEvent::Started { session, .. } => {
                self.session = Some(session.clone());
                self.tell(RunUpdate::Session(session)).await;
            }
            AgentEvent::Text(text) => self.say(&text),
            AgentEvent::ToolUse(tool) => self.say(&tool_line(&tool)),
            AgentEvent::ToolResult { is_error: true, .. } => self.say("< failed or refused"),
            AgentEvent::Retrying { attempt, max, error, .. } => {
                self.say(&format!("(the model's service: {error}; try {attempt} of {max})"));
                if !self.busy {
                    self.busy = true;
                    self.phase(RunPhase::ServiceBusy).await;
                }
            }
            AgentEvent::RateLimit { status, resets_at } => {
                self.say(&format!("(usage limit: {status})"));
                let at = resets_at.filter(|_| status == "rejected").and_then(|at| u64::try_from(at).ok());
                turn.limited_until = at.map(|at| SystemTime::UNIX_EPOCH + Duration::from_secs(at));
            }
            AgentEvent::TurnEnded(end) => {
                self.spent(&end).await;
                if end.is_error {
                    self.say(&end.text);
                }
                turn.end = Some(*end);
            }
            AgentEvent::Exited(exit) => turn.exit = Some(exit),
            AgentEvent::TextDelta(_)
            | AgentEvent::ToolResult { is_error: false, .. }
            | AgentEvent::Permission(_)
            | AgentEvent::PermissionCancelled { .. }
            | AgentEvent::ControlFailed { .. } => {}
            AgentEvent::Noise(noise) => tracing::debug!(?noise, run = %self.plan.run.id, "no event"),
        }
    }

    async fn spent(&mut self, end: &TurnEnd) {
        // The CLI counts the whole session, also what earlier runs of it have cost.
        self.usd = self.usd.max(end.session_cost_usd - self.before_usd).max(0.0);
        self.tokens.0 += end.input_tokens;
        self.tokens.1 += end.output_tokens;
        self.tell(RunUpdate::Cost(self.usd)).await;
    }

    /// Takes in what a confined agent has committed so far, so that a crash costs little.
    async fn import(&mut self) {
        let Some(worktree) = self.worktree() else { return };
        let imported = super::job::blocking(move || worktree.import()).await;
        self.refused = match imported {
            Some(Err(error)) => Some(error.to_string()),
            Some(Ok(_)) | None => None,
        };
    }

    /// The story's worktree, if that is where it works.
    pub(super) fn worktree(&self) -> Option<Worktree> {
        match self.spot.as_ref().map(|spot| &spot.kind) {
            Some(WorkspaceKind::Story(worktree)) => Some(worktree.clone()),
            Some(WorkspaceKind::Conflict(_)) | None => None,
        }
    }
}

/// Waits until somebody wants the end.
async fn ended(end: &mut tokio::sync::watch::Receiver<Option<StopReason>>) -> StopReason {
    match end.wait_for(Option::is_some).await {
        Ok(why) => why.unwrap_or(StopReason::Shutdown),
        // Whoever could want it is gone, and with it storkit.
        Err(_) => StopReason::Shutdown,
    }
}

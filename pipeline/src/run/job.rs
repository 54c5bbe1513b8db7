//! The order of a run: place, process (`launch`), what it left and the gates over that (`left`).

mod launch;
mod left;

use std::sync::{Arc, Mutex};

use agents::{
    claude::{Launch, ProcessError, SessionId},
    confine::Egress,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Ending, Outcome, Plan, Shop, Told, log::Log, spot::Spot, turn::Turn};
use crate::{
    event::Phase,
    host::Access,
    verdict::{self, Ended, Next, Review},
    worktree::{self, ComponentError, Progress, run_components},
};

/// A run while it lives.
pub(super) struct Job {
    pub shop: Shop,
    pub plan: Plan,
    pub ended: watch::Receiver<Option<Ended>>,
    pub access: Option<Access>,
    pub spot: Option<Spot>,
    /// The way out of the sandbox of an agent that has not the whole network.
    egress: Option<Arc<Egress>>,
    pub session: Option<SessionId>,
    /// What the session had cost before this run, and what this run has.
    pub before_usd: f64,
    pub usd: f64,
    pub tokens: (u64, u64),
    /// Whether the CLI waits for the model's service.
    pub busy: bool,
    /// Why the last commits were not taken in.
    pub refused: Option<String>,
    diff: Option<String>,
    told: mpsc::Sender<Told>,
    log: Log,
    review: Arc<Mutex<Option<Review>>>,
}

/// Runs what blocks. `None` where it panicked: that is logged by the panic itself.
pub(super) async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(act).await.ok()
}

impl Job {
    pub(super) fn new(
        shop: Shop,
        plan: Plan,
        told: mpsc::Sender<Told>,
        ended: watch::Receiver<Option<Ended>>,
        review: Arc<Mutex<Option<Review>>>,
    ) -> Self {
        let log = Log::create(&shop.project, &plan.run.id);
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
            before_usd,
            usd: 0.0,
            tokens: (0, 0),
            busy: false,
            refused: None,
            diff: None,
            told,
            log,
            review,
        }
    }

    pub(super) async fn run(mut self) -> Ending {
        let outcome = match self.work().await {
            Ok(outcome) | Err(outcome) => outcome,
        };
        self.tell_refusals().await;
        if let Some(spot) = self.spot.take() {
            blocking(move || spot.close()).await;
        }
        let (words, failed) = summary(&outcome);
        self.log.write(&format!("== {words}"));
        self.shop.ledger.ended(&self.plan.run.id, self.usd, self.tokens, &words, failed);
        Ending { outcome, usd: self.usd, diff: self.diff }
    }

    /// `Err` is an outcome too: one that ends the run early.
    async fn work(&mut self) -> Result<Outcome, Outcome> {
        self.prepare().await?;
        let before = self.before().await?;
        let mut reminded = false;
        let mut launch = self.first_launch().await?;
        loop {
            self.phase(if reminded { Phase::Reminded } else { Phase::Working }).await;
            let turn = self.process(launch).await?;
            if turn.lost_session() && self.plan.resume.take().is_some() {
                self.say("(its earlier session is gone: a new one begins)");
                self.before_usd = 0.0;
                launch = self.first_launch().await?;
                continue;
            }
            self.phase(Phase::Settling).await;
            let facts = self.facts(&before, &turn, reminded).await?;
            if turn.was_busy() && facts.tampering.is_empty() && facts.ended.is_none() {
                return Ok(Outcome::Busy { until: turn.limited_until });
            }
            match verdict::next(self.plan.run.role, &facts) {
                Next::RemindToCommit => {
                    reminded = true;
                    launch = self.reminder_launch().await?;
                }
                Next::Gates => return self.gates().await,
                Next::Approve => return Ok(Outcome::Approved),
                Next::SendBack(reason) => return Ok(Outcome::SentBack(reason)),
                Next::ContinueMerge => return Ok(Outcome::ContinueMerge),
                Next::Failed(why) => return Ok(self.failed(&turn, why)),
                Next::Block(why) => return Ok(Outcome::Blocked(why)),
                Next::Wait(_) => {
                    return Ok(match facts.ended {
                        Some(Ended::Shutdown) => Outcome::Shutdown,
                        Some(Ended::RateLimited) => Outcome::Busy { until: None },
                        Some(Ended::Stopped | Ended::Stalled | Ended::Budget(_)) | None => Outcome::Stopped,
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
        self.tell(Told::Alarm(text)).await;
    }

    /// A failure in words; a limit of the CLI's own is not the work's fault, but the money's.
    fn failed(&self, turn: &Turn, why: String) -> Outcome {
        let subtype = turn.end.as_ref().map_or("", |end| end.subtype.as_str());
        if subtype.contains("budget") {
            return Outcome::Budget(format!("the run's own limit, after ${:.2}", self.usd));
        }
        let tail = self.log.tail(12);
        if tail.is_empty() {
            Outcome::Failed(why)
        } else {
            Outcome::Failed(format!("{why}\n\nThe end of its log:\n{tail}"))
        }
    }

    async fn prepare(&mut self) -> Result<(), Outcome> {
        let (shop, plan) = (self.shop.clone(), self.plan.clone());
        let spot = blocking(move || Spot::prepare(&shop, &plan)).await;
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

    fn stop_if_told(&self) -> Result<(), Outcome> {
        match &*self.ended.borrow() {
            None => Ok(()),
            Some(Ended::Shutdown) => Err(Outcome::Shutdown),
            Some(Ended::Stopped | Ended::Stalled | Ended::Budget(_) | Ended::RateLimited) => {
                Err(Outcome::Stopped)
            }
        }
    }

    /// The setup of the project's components, in a worktree that was made now.
    async fn set_up(&mut self) -> Result<(), Outcome> {
        let fresh = self.spot.as_ref().is_some_and(|spot| spot.fresh);
        if !fresh || self.plan.config.components.is_empty() {
            return Ok(());
        }
        let (gates, confined) = (Spot::gates(&self.shop, &self.plan), self.confined().await?);
        let path = self.path();
        let components = self.plan.config.components.clone();
        let mut lines = Vec::new();
        let done = {
            let progress = |progress: Progress<'_>| match progress {
                Progress::Started { component, command } => {
                    lines.push(format!("setup {component}: {command}"))
                }
                Progress::Missing { component } => {
                    lines.push(format!("setup {component}: passed over, its folder is not here"));
                }
                Progress::Ended { .. } => {}
            };
            let cancel = self.cancelled();
            let phase = worktree::Phase::Setup;
            run_components(&path, &components, phase, &gates, Some(&confined), &cancel, progress).await
        };
        lines.iter().for_each(|line| self.say(line));
        if let Err(error) = done {
            self.stop_if_told()?;
            // The next try is to set it up again.
            if let Some(worktree) = self.worktree() {
                let worktrees = self.shop.worktrees.clone();
                blocking(move || worktrees.remove(worktree.name(), worktree::Branch::Keep)).await;
            }
            return Err(match error {
                ComponentError::Sandbox(why) => Outcome::NotStarted(why),
                error => Outcome::Failed(error.to_string()),
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

    async fn process(&mut self, launch: Launch) -> Result<Turn, Outcome> {
        self.stop_if_told()?;
        self.turn(launch).await.map_err(|error| match error {
            ProcessError::NotFound { .. } => Outcome::NotStarted(format!(
                "{error}. Install Claude Code, or name it with `[claude] command` in bot.toml."
            )),
            ProcessError::Io { .. } | ProcessError::Gone => Outcome::Failed(error.to_string()),
        })
    }

    fn path(&self) -> std::path::PathBuf {
        self.spot.as_ref().map(|spot| spot.path().to_owned()).unwrap_or_default()
    }

    pub(super) async fn phase(&mut self, phase: Phase) {
        self.tell(Told::Phase(phase)).await;
    }

    pub(super) async fn tell(&self, told: Told) {
        // Nobody hears where storkit goes down.
        let _ = self.told.send(told).await;
    }

    /// Into the log, and to whoever follows, unless they lag.
    pub(super) fn say(&mut self, text: &str) {
        for line in self.log.write(text) {
            let _ = self.told.try_send(Told::Said(line));
        }
    }
}

fn panicked() -> Outcome {
    Outcome::Failed("a part of the run failed inside storkit; the log says more".into())
}

/// What the ledger says of it.
fn summary(outcome: &Outcome) -> (String, bool) {
    let line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    match outcome {
        Outcome::Passed => ("committed, and the gates passed".into(), false),
        Outcome::Approved => ("approved".into(), false),
        Outcome::SentBack(why) => (format!("rejected: {}", line(why)), false),
        Outcome::ContinueMerge => ("resolved the conflicts".into(), false),
        Outcome::Failed(why) | Outcome::Blocked(why) => (line(why), true),
        Outcome::Stopped => ("stopped".into(), false),
        Outcome::Busy { .. } => ("the model's service is busy".into(), false),
        Outcome::Budget(why) => (line(why), false),
        Outcome::Shutdown => ("storkit was shut down".into(), false),
        Outcome::NotStarted(why) => (format!("could not be started: {}", line(why)), false),
    }
}

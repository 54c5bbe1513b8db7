//! The order of a run: place, process, what it left, gates.

use std::sync::{Arc, Mutex, PoisonError};

use git2::Repository;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Ending, Outcome, Plan, Shop, Told,
    check::{self, Before, Brings},
    log::Log,
    prompt,
    spot::{Spot, agent_network, needs},
    turn::Turn,
};
use crate::{
    claude::{Launch, Mode, PermissionRoute, ProcessError, SessionId, Start},
    event::Phase,
    gates::{GATE_NETWORK, Gates, head_tree},
    host::Access,
    sandbox::{Bwrap, Confined, Confinement, Egress},
    stage::Role,
    verdict::{self, Ended, Next, Review, RunFacts},
    worktree::{self, ComponentError, Imported, Progress, Worktree, run_components},
};

/// How much of a failed gate's output goes back to the coder.
const GATE_LINES: usize = 40;

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

    async fn before(&self) -> Result<Before, Outcome> {
        let (shop, base, story) = (self.shop.clone(), self.plan.base.clone(), self.plan.run.story);
        let own = self.worktree().map_or_else(|| "storkit/none".to_owned(), |worktree| worktree.branch());
        let taken = blocking(move || Before::take(&shop, &base, &own, story)).await;
        taken
            .ok_or_else(panicked)?
            .map_err(|error| Outcome::Failed(format!("the repository cannot be read: {error}")))
    }

    /// The launch that begins the run: a new session, or the story's own with what came back.
    async fn first_launch(&mut self) -> Result<Launch, Outcome> {
        let path = self.path();
        let wrong = |error: crate::config::UnknownPlaceholder| {
            Outcome::NotStarted(format!("a prompt in `.storkit/project.toml` is wrong: {error}."))
        };
        let (start, text) = match &self.plan.resume {
            Some(session) => (Start::Resume(session.clone()), prompt::again(&self.plan)),
            None => {
                let text = prompt::prompt(&self.plan, &self.shop.project, &path).map_err(wrong)?;
                (Start::New(SessionId::random()), text)
            }
        };
        let trusted = self.shop.settings.trust_project_settings;
        let system = prompt::system(&self.plan, &self.shop.project, &path, trusted).map_err(wrong)?;
        let (Start::New(session) | Start::Resume(session)) = &start;
        self.shop.ledger.started(&self.plan.run, session.as_str());
        self.session = Some(session.clone());
        self.launch(start, text, Some(system)).await
    }

    async fn reminder_launch(&mut self) -> Result<Launch, Outcome> {
        let files = self.uncommitted().await?;
        let text = prompt::reminder(&files, self.refused.as_deref());
        let session = self.session.clone().unwrap_or_else(SessionId::random);
        self.launch(Start::Resume(session), text, None).await
    }

    async fn launch(
        &mut self,
        start: Start,
        prompt: String,
        system: Option<String>,
    ) -> Result<Launch, Outcome> {
        let confined = self.confined().await?;
        let confined = self.limited(confined).await?;
        let settings = &self.shop.settings;
        let agent = &self.plan.agent;
        let spot = self.spot.as_ref().ok_or_else(panicked)?;
        let mut env: Vec<(String, String)> =
            settings.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        env.extend(spot.environment());
        let model = if agent.model.is_empty() { &settings.model } else { &agent.model };
        let limits = [agent.max_budget_usd, self.plan.config.budget.run_usd, self.plan.budget_usd];
        let permissions =
            self.access.as_ref().map_or(PermissionRoute::Control, |access| access.route.clone());
        Ok(Launch {
            command: settings.command.clone(),
            cwd: spot.path().to_owned(),
            runtime_dir: self.shop.project.run_dir(),
            start,
            mode: Mode::OneShot { prompt },
            permissions,
            model: (!model.is_empty()).then(|| model.clone()),
            append_system_prompt: system,
            trust_project_settings: settings.trust_project_settings,
            env_remove: settings.secret_env.clone(),
            env,
            max_turns: agent.max_turns,
            max_budget_usd: limits.into_iter().flatten().reduce(f64::min),
            accept_edits: true,
            confine: Some(confined),
        })
    }

    async fn confined(&self) -> Result<Confined, Outcome> {
        let spot = self.spot.clone().ok_or_else(panicked)?;
        blocking(move || spot.confine()).await.ok_or_else(panicked)?
    }

    /// With the agent's part of the network, by a way out that serves all processes of the run.
    async fn limited(&mut self, confined: Confined) -> Result<Confined, Outcome> {
        if let (Some(egress), Confinement::Bwrap(bwrap)) = (&self.egress, &confined.confinement) {
            let confinement = Confinement::Bwrap(Bwrap { reach: egress.reach(), ..bwrap.clone() });
            return Ok(Confined { confinement, ..confined });
        }
        let agent = self.plan.agent.clone();
        if !agent.network.is_limited() {
            return Ok(confined);
        }
        let route = self.access.as_ref().map(|access| &access.route);
        let needs = needs(&self.shop.settings, route).map_err(Outcome::NotStarted)?;
        let limiting = move || confined.limited(&agent.network, &agent_network(&agent.name), Some(needs));
        let (confined, egress) =
            blocking(limiting).await.ok_or_else(panicked)?.map_err(Outcome::NotStarted)?;
        self.egress = egress;
        Ok(confined)
    }

    async fn confined_gates(&self) -> Result<Gates, Outcome> {
        let confined = self.confined().await?;
        let (gates, network) = (Spot::gates(&self.shop, &self.plan), self.plan.config.gate_network.clone());
        let kept = blocking(move || gates.kept_in(&confined, &network, GATE_NETWORK)).await;
        kept.ok_or_else(panicked)?.map_err(Outcome::NotStarted)
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

    /// What was seen of a process that ended, and what had to be done at once.
    async fn facts(&mut self, before: &Before, turn: &Turn, reminded: bool) -> Result<RunFacts, Outcome> {
        let reviewed = before.tip();
        let mut facts = RunFacts {
            reminded,
            review: self.review.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ended: turn.ended.clone(),
            failure: turn.failure(),
            ..RunFacts::default()
        };
        if let Some(worktree) = self.worktree() {
            self.take_in(&worktree, &mut facts).await?;
            if self.plan.run.role == Role::Qa {
                self.undo_review(worktree, reviewed).await;
            }
        }
        let found = self.compare(before).await?;
        if let Some(rescued) = &found.rescued {
            let text = format!(
                "`{}` (story {}) touched what is not its own: {}. {rescued}",
                self.plan.run.slot,
                self.plan.run.story,
                found.agents.join("; ")
            );
            self.tell(Told::Alarm(text)).await;
        }
        // In a sandbox it cannot have been the agent.
        let confined = self.spot.as_ref().is_some_and(|spot| spot.confinement.encloses());
        if !found.unclear.is_empty() && !confined {
            let text = format!(
                "While `{}` worked on story {} without a sandbox, this changed outside its worktree, by it or by a \
                 person: {}.",
                self.plan.run.slot,
                self.plan.run.story,
                found.unclear.join("; ")
            );
            self.tell(Told::Alarm(text)).await;
        }
        facts.tampering = found.agents;
        Ok(facts)
    }

    /// The branch as it is now: its commits, what is not committed, what it brings.
    async fn take_in(&mut self, worktree: &Worktree, facts: &mut RunFacts) -> Result<(), Outcome> {
        let settling = worktree.clone();
        let (base, root) = (self.plan.base.clone(), self.shop.project.root().to_owned());
        let settled = blocking(move || {
            let imported = settling.settle()?;
            let brings = Repository::open(root).and_then(|found| check::brings(&found, &base, imported.tip));
            Ok::<_, worktree::ImportError>((imported, brings.unwrap_or_default()))
        });
        match settled.await.ok_or_else(panicked)? {
            Ok((Imported { ahead, rewritten, .. }, Brings { diff, pipelines })) => {
                facts.commits = ahead;
                self.diff = diff;
                self.refused = None;
                if rewritten {
                    self.say("(it rewrote the history of its branch)");
                }
                if !pipelines.is_empty() && self.plan.run.role == Role::Coder {
                    let files = pipelines.join("`, `");
                    return Err(Outcome::Failed(format!(
                        "the branch changes `{files}`; what is below `.storkit/` is the pipeline's and no story's. \
                         Take it out of the branch."
                    )));
                }
            }
            Err(worktree::ImportError::Gone(_)) => facts.tampering.push("the story's branch is gone".into()),
            Err(error) => {
                self.refused = Some(error.to_string());
                if facts.reminded || facts.ended.is_some() {
                    return Err(Outcome::Failed(error.to_string()));
                }
            }
        }
        facts.uncommitted = self.uncommitted().await?.len().max(usize::from(self.refused.is_some()));
        Ok(())
    }

    async fn undo_review(&mut self, worktree: Worktree, reviewed: Option<git2::Oid>) {
        let Some(tip) = reviewed else { return };
        match blocking(move || worktree.put_back(tip)).await {
            Some(Ok(true)) => self.say("(what the reviewer changed was undone)"),
            Some(Ok(false)) => {}
            Some(Err(error)) => tracing::warn!(%error, "a reviewer's changes could not be undone"),
            None => {}
        }
    }

    async fn compare(&self, before: &Before) -> Result<check::Found, Outcome> {
        let (before, shop) = (before.clone(), self.shop.clone());
        let found = blocking(move || before.compare(&shop)).await.ok_or_else(panicked)?;
        found.map_err(|why| Outcome::Failed(format!("the repository cannot be compared: {why}")))
    }

    async fn uncommitted(&self) -> Result<Vec<String>, Outcome> {
        let Some(worktree) = self.worktree() else { return Ok(Vec::new()) };
        let files = blocking(move || worktree.uncommitted()).await.ok_or_else(panicked)?;
        files.map_err(|error| Outcome::Failed(error.to_string()))
    }

    async fn gates(&mut self) -> Result<Outcome, Outcome> {
        self.phase(Phase::Gates).await;
        let gates = self.confined_gates().await?;
        let path = self.path();
        let root = path.clone();
        let tree = blocking(move || head_tree(&root)).await.ok_or_else(panicked)?;
        let tree = tree.map_err(|error| Outcome::Failed(format!("the worktree cannot be read: {error}")))?;
        let Ok(report) = gates.run(&path, &tree, &self.cancelled()).await else {
            self.stop_if_told()?;
            return Ok(Outcome::Stopped);
        };
        for result in &report.results {
            self.say(&result.to_string());
        }
        let Some(failure) = report.failure() else { return Ok(Outcome::Passed) };
        let lines: Vec<&str> = failure.tail.lines().collect();
        let tail = lines[lines.len().saturating_sub(GATE_LINES)..].join("\n");
        Ok(Outcome::Failed(format!("the gate {failure}\n\nThe end of what it printed:\n{tail}")))
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

//! Builds the launch of a run's process: session, prompt, environment, sandbox.

use std::sync::Arc;

use agents::{
    claude::{
        Launch, LaunchLimits, LaunchModel, LaunchPermissions, LaunchProgram, LaunchSession, OperatorServers,
        PermissionRoute, PromptMode, SessionId, SessionStart,
    },
    confine::{Confined, NetworkPlan},
    model_proxy::{ModelAccess, ModelProxy},
    trial::TrialPlace,
};

use super::{RunJob, blocking, panicked};
use crate::{
    board::attached_paths,
    evidence,
    gates::{GATE_NETWORK, GateRunner},
    host::HostAsker,
    open_hosts::registries,
    run::{
        outcome::RunOutcome,
        plan::RunUpdate,
        prompt,
        workspace::{Workspace, agent_network, needs, own_listener},
    },
};

impl RunJob {
    /// The launch that begins the run: a new session, or the story's own with what came back.
    pub(super) async fn first_launch(&mut self) -> Result<Launch, RunOutcome> {
        let path = self.path();
        let wrong = |error: crate::config::UnknownPlaceholder| {
            RunOutcome::NotStarted(format!("a prompt in `.storkit/project.toml` is wrong: {error}."))
        };
        let (start, text) = match &self.plan.resume {
            Some(session) => (
                SessionStart::Resume(session.clone()),
                prompt::resumed_prompt(&self.plan, &self.context.project),
            ),
            None => {
                let text = prompt::prompt(&self.plan, &self.context.project, &path).map_err(wrong)?;
                (SessionStart::New(SessionId::random()), text)
            }
        };
        let trusted = self.context.settings.trust_project_settings;
        let system = prompt::system(&self.plan, &self.context.project, &path, trusted).map_err(wrong)?;
        let (SessionStart::New(session) | SessionStart::Resume(session)) = &start;
        // In the ledger before the process lives: after a kill the next start finds the process by its
        // session.
        self.context.ledger.started(&self.plan.run, session.as_str());
        self.session = Some(session.clone());
        self.launch(start, PromptMode::OneShot { prompt: text }, Some(system)).await
    }

    pub(super) async fn reminder_launch(&mut self) -> Result<Launch, RunOutcome> {
        let files = self.uncommitted().await?;
        let text = prompt::reminder(&files, self.branch.refused.as_deref(), self.operation().await);
        let session = self.session.clone().unwrap_or_else(SessionId::random);
        self.launch(SessionStart::Resume(session), PromptMode::OneShot { prompt: text }, None).await
    }

    /// Goes on with the call that the session's last process deferred.
    pub(super) async fn deferred_launch(&mut self) -> Result<Launch, RunOutcome> {
        let session = self.session.clone().unwrap_or_else(SessionId::random);
        self.launch(SessionStart::Resume(session), PromptMode::Deferred, None).await
    }

    /// The same in a run of its own, after the question was answered.
    pub(super) async fn parked_launch(&mut self, call: String) -> Result<Launch, RunOutcome> {
        let Some(session) = self.plan.resume.clone() else { return self.first_launch().await };
        self.context.ledger.started(&self.plan.run, session.as_str());
        self.session = Some(session.clone());
        // It tells its session only after the call.
        self.send_update(RunUpdate::Session(session)).await;
        if let Some(access) = &self.access {
            access.parking.set_deferred(Some(call));
        }
        self.log_line("(its question is answered: it goes on with that call)");
        self.deferred_launch().await
    }

    async fn launch(
        &mut self,
        start: SessionStart,
        mode: PromptMode,
        system: Option<String>,
    ) -> Result<Launch, RunOutcome> {
        let confined = self.confined().await?;
        let (confined, model_way) = self.limited(confined).await?;
        let settings = &self.context.settings;
        let agent = &self.plan.agent;
        let workspace = self.workspace.as_ref().ok_or_else(panicked)?;
        let mut env: Vec<(String, String)> =
            settings.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let own = workspace.environment();
        if let Some(access) = &self.access {
            access.trials.set(TrialPlace::new(confined.clone(), &env, &own).hiding(workspace.secret_files()));
        }
        env.extend(own);
        let evidence = confined.place.evidence();
        env.push((evidence::VARIABLE.to_owned(), evidence.to_string_lossy().into_owned()));
        let model = if agent.model.is_empty() { &settings.model } else { &agent.model };
        let route = self.access.as_ref().map_or(PermissionRoute::Control, |access| access.route.clone());
        Ok(Launch {
            program: LaunchProgram {
                command: settings.command.clone(),
                cwd: workspace.path().to_owned(),
                runtime_dir: self.context.project.run_dir(),
                env_remove: settings.secret_env.clone(),
                env,
            },
            session: LaunchSession {
                start,
                model: (!model.is_empty()).then(|| model.clone()),
                append_system_prompt: system,
                // The branch's files are nobody's settings.
                trust_project_settings: settings.trust_project_settings && self.plan.review.is_none(),
            },
            mode,
            // Edits inside its worktree need no question; commands do.
            permissions: LaunchPermissions {
                route,
                accept_edits: self.plan.review.is_none(),
                plans: self.plan.plans,
                offers_tools: false,
                // A plan is the end of its run, and its call waits for nobody.
                defers: !self.plan.plans
                    && self.access.as_ref().is_some_and(|access| access.parking.is_allowed()),
                readable: attached_paths(&self.context.project, self.plan.run.story),
                writable: Some(evidence),
            },
            limits: LaunchLimits { max_turns: agent.max_turns, max_budget_usd: self.budget_left() },
            model: model_way,
            servers: OperatorServers::default(),
            confine: Some(confined),
        })
    }

    pub(super) async fn confined(&self) -> Result<Confined, RunOutcome> {
        let workspace = self.workspace.clone().ok_or_else(panicked)?;
        let settings = Arc::clone(&self.context.settings);
        blocking(move || workspace.confine(&settings)).await.ok_or_else(panicked)?
    }

    /// With the agent's part of the network and its way to the model; both serve all processes of the run.
    async fn limited(&mut self, confined: Confined) -> Result<(Confined, LaunchModel), RunOutcome> {
        let access = self.context.settings.model_access.clone();
        if let (ModelAccess::Proxied(service), None) = (&access, &self.spending.proxy) {
            let proxy = ModelProxy::new(Arc::clone(service), self.budget_usd());
            self.spending.proxy = Some(Arc::new(proxy));
        }
        let confined = self.with_network(confined).await?;
        let proxy = match self.spending.proxy.clone() {
            Some(proxy) => Some((Arc::clone(&proxy), self.model_port(&proxy)?)),
            None => None,
        };
        Ok((confined, LaunchModel { access, proxy }))
    }

    async fn with_network(&mut self, confined: Confined) -> Result<Confined, RunOutcome> {
        if let Some(egress) = &self.egress {
            return Ok(confined.through(egress));
        }
        let agent = &self.plan.agent;
        if !agent.network.is_limited() {
            return Ok(confined);
        }
        let mut plan = NetworkPlan::new(agent.network.clone(), agent_network(&agent.name));
        plan.needs = needs(&self.context.settings).map_err(RunOutcome::NotStarted)?;
        if let Some(access) = &self.access {
            plan.own = own_listener(&access.route);
            let asker = HostAsker::Agent { run: self.plan.run.clone(), waiting: Arc::clone(&access.waiting) };
            plan.open.gate = self.context.host.host_gate(asker);
        }
        plan.model = self.spending.proxy.clone();
        let (project, base) = (self.context.project.clone(), self.plan.base.clone());
        let limiting = move || {
            if plan.access.asking().is_some() {
                plan.open.registries = registries(&project, &base);
            }
            confined.limited(plan)
        };
        let (confined, egress) =
            blocking(limiting).await.ok_or_else(panicked)?.map_err(RunOutcome::NotStarted)?;
        self.egress = egress;
        Ok(confined)
    }

    /// The port on the agent's loopback behind which the model is: in a sandbox without a network one of its
    /// own, else one of this machine's.
    fn model_port(&self, proxy: &ModelProxy) -> Result<u16, RunOutcome> {
        if let Some(port) = self.egress.as_ref().and_then(|egress| egress.model_port()) {
            return Ok(port);
        }
        proxy.loopback_port().map_err(|error| {
            RunOutcome::NotStarted(format!("the way to the model cannot be opened: {error}."))
        })
    }

    /// The least of the limits that hold for this run.
    fn budget_usd(&self) -> Option<f64> {
        let limits = [self.plan.agent.max_budget_usd, self.plan.config.budget.run_usd, self.plan.budget_usd];
        limits.into_iter().flatten().reduce(f64::min)
    }

    /// The CLI counts the spending of one process only, and a run may have many.
    fn budget_left(&self) -> Option<f64> {
        const LEAST: f64 = 0.01;
        self.budget_usd().map(|budget| (budget - self.spending.total().usd).max(LEAST))
    }

    pub(super) async fn confined_gates(&self) -> Result<GateRunner, RunOutcome> {
        let confined = self.confined().await?;
        let gates = self.gate_runner().await?;
        let network = self.plan.config.gate_network.clone();
        let kept = blocking(move || gates.kept_in(&confined, &network, GATE_NETWORK)).await;
        kept.ok_or_else(panicked)?.map_err(RunOutcome::NotStarted)
    }

    pub(super) async fn gate_runner(&self) -> Result<GateRunner, RunOutcome> {
        let (context, plan) = (self.context.clone(), self.plan.clone());
        blocking(move || Workspace::gates(&context, &plan)).await.ok_or_else(panicked)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use agents::confine::{Bwrap, Confinement, EgressProxy, NetworkAccess};
    use settings::duration::ConfigDuration;

    use super::*;
    use crate::run::fixture::{RunFixture, STORY};

    async fn prepared(fixture: &RunFixture) -> RunJob {
        let (mut job, _control, _updates) = fixture.job();
        job.prepare().await.unwrap();
        job
    }

    #[tokio::test]
    async fn a_run_begins_a_session_of_its_own_which_the_ledger_knows_before_its_process_lives() {
        let fixture = RunFixture::coder("");
        let mut job = prepared(&fixture).await;
        let launch = job.first_launch().await.unwrap();
        let SessionStart::New(session) = &launch.session.start else { panic!("{:?}", launch.session) };
        let entry = fixture.context.ledger.of_story(STORY).pop().unwrap();
        assert_eq!(entry.session.as_deref(), Some(session.as_str()));
        assert_eq!(job.session.as_ref(), Some(session));
        let PromptMode::OneShot { prompt } = &launch.mode else { panic!("{:?}", launch.mode) };
        assert!(prompt.starts_with("Do story 7."), "{prompt}");
        let system = launch.session.append_system_prompt.unwrap();
        assert!(system.starts_with("You are a software engineer"), "{system}");
    }

    #[tokio::test]
    async fn a_run_that_continues_gets_only_what_came_back() {
        let mut fixture = RunFixture::coder("");
        fixture.plan.resume = Some(SessionId::new("old"));
        fixture.plan.feedback = Some("no tests".into());
        let mut job = prepared(&fixture).await;
        let launch = job.first_launch().await.unwrap();
        assert_eq!(launch.session.start, SessionStart::Resume(SessionId::new("old")));
        assert_eq!(
            launch.mode,
            PromptMode::OneShot { prompt: prompt::resumed_prompt(&fixture.plan, &fixture.context.project) }
        );
        let reminder = job.reminder_launch().await.unwrap();
        assert_eq!(reminder.session.start, SessionStart::Resume(SessionId::new("old")));
        assert_eq!(reminder.session.append_system_prompt, None);
    }

    #[tokio::test]
    async fn the_process_gets_the_worktree_the_settings_and_may_edit_there_unasked() {
        let mut fixture = RunFixture::coder("");
        let route = PermissionRoute::Mcp { url: "http://127.0.0.1:1/mcp".into(), token: "t".into() };
        fixture.route(route.clone());
        fixture.settings().secret_env = vec!["SECRET".into()];
        fixture.settings().trust_project_settings = true;
        fixture.plan.agent.max_turns = Some(9);
        let mut job = prepared(&fixture).await;
        let Launch { program, session, permissions, limits, confine, .. } = job.first_launch().await.unwrap();
        let worktree = fixture.worktree();
        assert_eq!(
            (program.cwd.as_path(), &program.command),
            (worktree.path(), &fixture.context.settings.command)
        );
        assert_eq!(
            (program.runtime_dir, program.env_remove),
            (fixture.git.project.run_dir(), vec!["SECRET".into()])
        );
        let own = fixture.context.settings.env.clone().into_iter();
        let evidence = worktree.place().evidence();
        let variable = (evidence::VARIABLE.to_owned(), evidence.to_string_lossy().into_owned());
        let expected = own.chain(worktree.environment(&Confinement::None)).chain([variable]);
        assert_eq!(program.env, expected.collect::<Vec<_>>());
        assert!(evidence.is_dir(), "it writes there unasked");
        assert_eq!(permissions.writable, Some(evidence));
        assert!(session.trust_project_settings && permissions.accept_edits);
        assert_eq!((permissions.route, limits.max_turns), (route, Some(9)));
        let expected =
            Confined { confinement: Confinement::None, place: worktree.place(), variables: vec![] };
        assert_eq!(confine, Some(expected));
    }

    #[tokio::test]
    async fn the_agents_model_goes_before_that_of_the_settings_and_may_be_the_clis_own() {
        let mut fixture = RunFixture::coder("");
        for (agent, settings, model) in
            [("", "", None), ("", "opus", Some("opus")), ("haiku", "opus", Some("haiku"))]
        {
            fixture.plan.agent.model = agent.into();
            fixture.settings().model = settings.into();
            let launch = prepared(&fixture).await.first_launch().await.unwrap();
            assert_eq!(launch.session.model.as_deref(), model);
        }
    }

    #[tokio::test]
    async fn the_smallest_budget_counts() {
        let mut fixture = RunFixture::coder("");
        let budgets = [
            ([None, None, None], None),
            ([Some(3.0), Some(2.0), Some(1.0)], Some(1.0)),
            ([Some(1.0), Some(2.0), None], Some(1.0)),
            ([Some(3.0), Some(2.0), None], Some(2.0)),
        ];
        for ([agent, project, left], expected) in budgets {
            fixture.plan.agent.max_budget_usd = agent;
            fixture.config().budget.run_usd = project;
            fixture.plan.budget_usd = left;
            let launch = prepared(&fixture).await.first_launch().await.unwrap();
            assert_eq!(launch.limits.max_budget_usd, expected);
        }
    }

    #[tokio::test]
    async fn a_wrong_prompt_starts_nothing() {
        let mut fixture = RunFixture::coder("");
        fixture.plan.agent.prompt = "Do {{storey}}.".into();
        let Err(RunOutcome::NotStarted(why)) = prepared(&fixture).await.first_launch().await else {
            panic!("it started")
        };
        let expected = "a prompt in `.storkit/project.toml` is wrong: `{{storey}}` is no placeholder";
        assert!(why.starts_with(expected), "{why}");
    }

    #[tokio::test]
    async fn a_limit_of_the_network_that_cannot_be_enforced_starts_nothing() {
        let mut fixture = RunFixture::coder("");
        let mut job = prepared(&fixture).await;
        let confined = job.confined().await.unwrap();
        fixture.settings().env.insert("ANTHROPIC_BASE_URL".into(), "nowhere".into());
        job.context = fixture.context.clone();
        job.plan.agent.network = NetworkAccess::All;
        assert_eq!(
            job.with_network(confined.clone()).await,
            Ok(confined.clone()),
            "without a limit nothing is needed"
        );
        job.plan.agent.network = NetworkAccess::Only(Vec::new());
        let why = "`ANTHROPIC_BASE_URL` is not the address of a service, so access to it cannot be allowed.";
        assert_eq!(job.with_network(confined.clone()).await, Err(RunOutcome::NotStarted(why.into())));
        fixture.settings().env.insert("ANTHROPIC_BASE_URL".into(), "https://example.com".into());
        job.context = fixture.context.clone();
        let Err(RunOutcome::NotStarted(why)) = job.with_network(confined).await else {
            panic!("it is allowed")
        };
        let expected = "`network` of the agent `agent` in `.storkit/project.toml` cannot be enforced: ";
        assert!(why.starts_with(expected), "{why}");
    }

    #[tokio::test]
    async fn all_processes_of_a_run_share_one_way_out_of_the_sandbox() {
        let fixture = RunFixture::coder("");
        let mut job = prepared(&fixture).await;
        let plan = NetworkPlan::new(NetworkAccess::Only(Vec::new()), "`network`");
        let egress = EgressProxy::for_plan(plan, &fixture.git.project.run_dir()).unwrap();
        let bwrap = Bwrap::for_home("/nonexistent".as_ref());
        let limited = Confinement::Bwrap(Bwrap { reach: egress.reach(), ..bwrap.clone() });
        job.egress = Some(std::sync::Arc::new(egress));
        let place = fixture.worktree().place();
        let confined =
            Confined { confinement: Confinement::Bwrap(bwrap), place: place.clone(), variables: vec![] };
        assert_eq!(
            job.with_network(confined).await,
            Ok(Confined { confinement: limited, place, variables: vec![] })
        );
    }

    #[tokio::test]
    async fn gates_run_behind_the_wall_and_for_as_long_as_the_project_allows() {
        let mut fixture = RunFixture::coder("");
        let config = fixture.config();
        (config.gates, config.gate_timeout) = (vec!["make".into()], ConfigDuration::minutes(2));
        let gates = prepared(&fixture).await.confined_gates().await.unwrap();
        assert_eq!((gates.commands, gates.timeout.as_secs()), (vec!["make".into()], 120));
        assert_eq!(gates.wall.map(|wall| wall.confinement), Some(Confinement::None));
        fixture.config().gate_timeout = ConfigDuration::minutes(0);
        let gates = prepared(&fixture).await.confined_gates().await.unwrap();
        assert_eq!(gates.timeout.as_secs(), 500 * 3600, "without a limit");
    }

    #[tokio::test]
    async fn a_run_without_a_workspace_launches_nothing() {
        let fixture = RunFixture::coder("");
        let (mut job, _control, _updates) = fixture.job();
        assert_eq!(job.path(), PathBuf::new());
        assert!(job.first_launch().await.is_err() && job.confined_gates().await.is_err());
    }
}

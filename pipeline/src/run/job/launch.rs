//! Builds the launch of a run's process: session, prompt, environment, sandbox.

use std::sync::Arc;

use agents::{
    claude::{
        Launch, LaunchLimits, LaunchModel, LaunchPermissions, LaunchProgram, LaunchSession, PermissionRoute,
        PromptMode, SessionId, SessionStart,
    },
    confine::{Bwrap, Confined, Confinement, NetworkAccess, NetworkPlan},
    model_proxy::{ModelAccess, ModelProxy},
};

use super::{RunJob, blocking, panicked};
use crate::{
    gates::{GATE_NETWORK, GateRunner},
    host::HostAsker,
    open_hosts::registries,
    run::{
        RunOutcome, prompt,
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
            Some(session) => (SessionStart::Resume(session.clone()), prompt::resumed_prompt(&self.plan)),
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
        self.launch(start, text, Some(system)).await
    }

    pub(super) async fn reminder_launch(&mut self) -> Result<Launch, RunOutcome> {
        let files = self.uncommitted().await?;
        let text = prompt::reminder(&files, self.branch.refused.as_deref());
        let session = self.session.clone().unwrap_or_else(SessionId::random);
        self.launch(SessionStart::Resume(session), text, None).await
    }

    async fn launch(
        &mut self,
        start: SessionStart,
        prompt: String,
        system: Option<String>,
    ) -> Result<Launch, RunOutcome> {
        let confined = self.confined().await?;
        let (confined, model_way) = self.limited(confined).await?;
        let settings = &self.context.settings;
        let agent = &self.plan.agent;
        let workspace = self.workspace.as_ref().ok_or_else(panicked)?;
        let mut env: Vec<(String, String)> =
            settings.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        env.extend(workspace.environment());
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
                trust_project_settings: settings.trust_project_settings,
            },
            mode: PromptMode::OneShot { prompt },
            // Edits inside its worktree need no question; commands do.
            permissions: LaunchPermissions { route, accept_edits: true },
            limits: LaunchLimits { max_turns: agent.max_turns, max_budget_usd: self.budget_usd() },
            model: model_way,
            confine: Some(confined),
        })
    }

    pub(super) async fn confined(&self) -> Result<Confined, RunOutcome> {
        let workspace = self.workspace.clone().ok_or_else(panicked)?;
        blocking(move || workspace.confine()).await.ok_or_else(panicked)?
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
        if let (Some(egress), Confinement::Bwrap(bwrap)) = (&self.egress, &confined.confinement) {
            let confinement = Confinement::Bwrap(Bwrap { reach: egress.reach(), ..bwrap.clone() });
            return Ok(Confined { confinement, ..confined });
        }
        let agent = &self.plan.agent;
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
            if matches!(plan.access, NetworkAccess::Ask(_)) {
                plan.open.registries = registries(&project, &base);
            }
            confined.limited(plan)
        };
        let (confined, egress) =
            blocking(limiting).await.ok_or_else(panicked)?.map_err(RunOutcome::NotStarted)?;
        self.egress = egress;
        Ok(confined)
    }

    /// The port on the agent's loopback behind which the model is: in a sandbox without a network one of its own, else one of
    /// this machine's.
    fn model_port(&mut self, proxy: &ModelProxy) -> Result<u16, RunOutcome> {
        if let Some(port) = self.egress.as_ref().and_then(|egress| egress.model_port()).or(self.model_port) {
            return Ok(port);
        }
        let port = proxy.listen().map_err(|error| {
            RunOutcome::NotStarted(format!("the way to the model cannot be opened: {error}."))
        })?;
        self.model_port = Some(port);
        Ok(port)
    }

    /// The least of the limits that hold for this run.
    fn budget_usd(&self) -> Option<f64> {
        let limits = [self.plan.agent.max_budget_usd, self.plan.config.budget.run_usd, self.plan.budget_usd];
        limits.into_iter().flatten().reduce(f64::min)
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

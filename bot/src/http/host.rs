//! The bot's side of the pipeline: each run can ask people and call tools.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use agents::{claude::PermissionRoute, confine::HostGate, model_proxy::ModelAccess};
use pipeline::{
    event::RunInfo,
    host::{AgentSettings, HostAsker, PipelineHost, RunAccess},
    mailbox::RunMailbox,
    stage::Role,
    strangers::StrangersRead,
    trust::TrustStore,
};

use crate::{
    config::{LoadedConfig, current::LiveSettings, redact::Redactor},
    host_questions::HostQuestions,
    http::runs::McpRuns,
    permission::Asker,
    tools::McpRun,
};

/// The bot as the pipeline sees it.
pub struct BotHost {
    runs: McpRuns,
    port: u16,
    settings: Arc<LiveSettings>,
    hosts: Arc<HostQuestions>,
}

impl BotHost {
    /// Agents call in on this port.
    pub fn new(settings: Arc<LiveSettings>, runs: McpRuns, port: u16, hosts: Arc<HostQuestions>) -> Self {
        Self { runs, port, settings, hosts }
    }
}

impl PipelineHost for BotHost {
    fn open(&self, run: &RunInfo, read: &StrangersRead, mailbox: &RunMailbox) -> RunAccess {
        let waiting = Arc::new(AtomicUsize::new(0));
        let settings = self.settings.loaded();
        let asker = Asker::run(run.story, run.role, read.clone());
        let trials = asker.trials().clone();
        let guard = self.runs.open(McpRun {
            rooms: Vec::new(),
            asked_for: format!("{} ({})", run.subject(), run.slot),
            timeout: settings.config.claude.permission_timeout.limit(),
            agent: Some(run.clone()),
            mailbox: mailbox.clone(),
            waiting: waiting.clone(),
            asker,
            ..McpRun::default()
        });
        let route = PermissionRoute::Mcp {
            url: format!("http://127.0.0.1:{}/mcp", self.port),
            token: guard.token().to_owned(),
        };
        RunAccess { route, waiting, trials, guard: Box::new(guard) }
    }

    fn host_gate(&self, asker: HostAsker) -> Option<Arc<dyn HostGate>> {
        // The run's own, so that its questions about hosts and about calls are one agent's.
        let asks_as = match &asker {
            HostAsker::Agent { run, .. } => {
                self.runs.asker_of(&run.id).unwrap_or_else(|| Asker::role(run.role))
            }
            HostAsker::Commands { .. } => Asker::role(Role::Coder),
        };
        Some(self.hosts.gate(asker, asks_as))
    }

    fn has_secret(&self, content: &[u8]) -> bool {
        Redactor::new(&self.settings.loaded(), settings::environment::var).has_secret(content)
    }
}

/// How agents are started, from `bot.toml`.
pub fn settings(loaded: &LoadedConfig, trust: TrustStore, model_access: ModelAccess) -> AgentSettings {
    let claude = &loaded.config.claude;
    let home: PathBuf = std::env::var_os("HOME").map_or_else(|| "/".into(), Into::into);
    AgentSettings {
        command: claude.command.clone(),
        model_access,
        model: claude.model.clone(),
        env: claude.env.clone(),
        secret_env: loaded.secret_env.clone(),
        wall: loaded.config.wall.settings(&home, &loaded.secret_env),
        home,
        stall: claude.turn_timeout.0,
        trust_project_settings: claude.trust_project_settings,
        busy_wait: Duration::from_secs(30),
        settle: Duration::from_millis(100),
        trust,
    }
}

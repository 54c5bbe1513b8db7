//! The bot's side of the pipeline: each run can ask people and call tools.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use agents::{claude::PermissionRoute, confine::HostGate, model_proxy::ModelAccess};
use pipeline::{
    event::RunInfo,
    host::{AgentSettings, HostAsker, PipelineHost, RunAccess},
};

use crate::{
    config::{LoadedConfig, current::LiveSettings},
    http::{
        network::HostQuestions,
        runs::{McpRun, McpRuns},
    },
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
    fn open(&self, run: &RunInfo) -> RunAccess {
        let waiting = Arc::new(AtomicUsize::new(0));
        let settings = self.settings.loaded();
        let guard = self.runs.open(McpRun {
            rooms: Vec::new(),
            asked_for: format!("story {} ({})", run.story, run.slot),
            timeout: settings.config.claude.permission_timeout.limit(),
            agent: Some(run.clone()),
            operator: false,
            waiting: waiting.clone(),
        });
        let route = PermissionRoute::Mcp {
            url: format!("http://127.0.0.1:{}/mcp", self.port),
            token: guard.token().to_owned(),
        };
        RunAccess { route, waiting, guard: Box::new(guard) }
    }

    fn host_gate(&self, asker: HostAsker) -> Option<Arc<dyn HostGate>> {
        Some(self.hosts.gate(asker))
    }
}

/// How agents are started, from `bot.toml`.
pub fn settings(loaded: &LoadedConfig, model_access: ModelAccess) -> AgentSettings {
    let claude = &loaded.config.claude;
    AgentSettings {
        command: claude.command.clone(),
        model_access,
        model: claude.model.clone(),
        env: claude.env.clone(),
        secret_env: loaded.secret_env.clone(),
        home: std::env::var_os("HOME").map_or_else(|| "/".into(), Into::into),
        stall: claude.turn_timeout.0,
        trust_project_settings: claude.trust_project_settings,
        busy_wait: Duration::from_secs(30),
        settle: Duration::from_millis(100),
    }
}

//! The bot's side of the pipeline: each run can ask people and call tools.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use agents::claude::PermissionRoute;
use pipeline::{
    event::RunInfo,
    host::{AgentSettings, PipelineHost, RunAccess},
    trust::TrustStore,
};

use crate::{
    config::{LoadedConfig, current::LiveSettings},
    http::runs::{McpRun, McpRuns},
    permission::Asker,
};

/// The bot as the pipeline sees it.
pub struct BotHost {
    runs: McpRuns,
    port: u16,
    settings: Arc<LiveSettings>,
}

impl BotHost {
    /// Agents call in on this port.
    pub fn new(settings: Arc<LiveSettings>, runs: McpRuns, port: u16) -> Self {
        Self { runs, port, settings }
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
            waiting: waiting.clone(),
            asker: Asker::role(run.role),
            ..McpRun::default()
        });
        let route = PermissionRoute::Mcp {
            url: format!("http://127.0.0.1:{}/mcp", self.port),
            token: guard.token().to_owned(),
        };
        RunAccess { route, waiting, guard: Box::new(guard) }
    }
}

/// How agents are started, from `bot.toml`.
pub fn settings(loaded: &LoadedConfig, trust: TrustStore) -> AgentSettings {
    let claude = &loaded.config.claude;
    let home: PathBuf = std::env::var_os("HOME").map_or_else(|| "/".into(), Into::into);
    AgentSettings {
        command: claude.command.clone(),
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

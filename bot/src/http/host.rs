//! What the pipeline needs of the bot: a way for each run to ask people and call tools.

use std::{
    sync::{Arc, OnceLock, atomic::AtomicUsize},
    time::Duration,
};

use agents::claude::PermissionRoute;
use pipeline::{
    event::RunInfo,
    host::{Access, Host, Settings},
};

use crate::{
    config::{Loaded, current::Current},
    http::{Run, Runs},
};

/// The bot as the pipeline sees it.
pub struct BotHost {
    runs: Runs,
    port: Arc<OnceLock<u16>>,
    settings: Arc<Current<Loaded>>,
}

impl BotHost {
    /// Agents ask in the rooms that follow the pipeline when they start, and call in on this port.
    pub fn new(settings: Arc<Current<Loaded>>, runs: Runs, port: Arc<OnceLock<u16>>) -> Self {
        Self { runs, port, settings }
    }
}

impl Host for BotHost {
    fn open(&self, run: &RunInfo) -> Access {
        let waiting = Arc::new(AtomicUsize::new(0));
        let settings = self.settings.get();
        let guard = self.runs.open(Run {
            rooms: settings.config.pipeline.rooms(),
            asked_for: format!("story {} ({})", run.story, run.slot),
            timeout: settings.config.claude.permission_timeout.limit(),
            agent: Some(run.clone()),
            operator: false,
            waiting: waiting.clone(),
        });
        let route = PermissionRoute::Mcp {
            url: format!("http://127.0.0.1:{}/mcp", self.port.get().copied().unwrap_or_default()),
            token: guard.token().to_owned(),
        };
        Access { route, waiting, guard: Box::new(guard) }
    }
}

/// How agents are started, as `bot.toml` says.
pub fn settings(loaded: &Loaded) -> Settings {
    let claude = &loaded.config.claude;
    Settings {
        command: claude.command.clone(),
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

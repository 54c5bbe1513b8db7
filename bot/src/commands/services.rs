//! The services that commands use.

use std::{sync::Arc, time::Instant};

use adapters::{CommandInfo, Identity};
use agents::usage::{MachineUsage, TreeUsage};
use futures::future::BoxFuture;
use pipeline::{Pipeline, Project};

use super::command::CommandRegistry;
use crate::{
    clock::Clock,
    config::{
        BotConfig,
        access::AccessTable,
        current::{CurrentSettings, LiveSettings},
    },
    live_agents::{AgentEntry, LiveAgents},
    messengers::ConnectedMessengers,
    permission::PermissionBroker,
    restart::RestartRequest,
    store::Store,
    web_sessions::WebPage,
};

/// Runs the checks of `storkit doctor` and returns the report. The program owns them.
pub type DoctorReport = Box<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// The services that commands use, the same for every room.
pub struct CommandServices {
    /// The project the bot serves.
    pub project: Project,
    /// The settings and the people they allow.
    pub settings: Arc<LiveSettings>,
    pub store: Store,
    /// The time of day.
    pub clock: Clock,
    pub broker: PermissionBroker,
    pub registry: CommandRegistry,
    /// Stories and the agents that work on them.
    pub pipeline: Pipeline,
    /// Living Claude Code processes.
    pub agents: LiveAgents,
    /// The messengers and their health.
    pub messengers: ConnectedMessengers,
    pub restart: Arc<RestartRequest>,
    /// The web page, if there is one.
    pub web: Option<WebPage>,
    /// When the bot was started.
    pub started: Instant,
    /// The checks behind `doctor`.
    pub doctor: DoctorReport,
}

impl CommandServices {
    /// The settings as they are now.
    pub fn config(&self) -> CurrentSettings {
        self.settings.config()
    }

    /// Who may do what, now.
    pub fn access(&self) -> Arc<AccessTable> {
        self.settings.access()
    }

    /// Samples the machine, the rooms' agents and the pipeline's. Takes some milliseconds of /proc.
    pub fn sample(&self) -> (MachineUsage, Vec<(AgentEntry, TreeUsage)>) {
        self.agents.sample(&self.pipeline.snapshot().runs)
    }
}

/// The bot as its messengers present it: name, prefixes and commands.
pub fn identity(config: &BotConfig, registry: &CommandRegistry) -> Identity {
    let commands = registry.specs().map(|spec| CommandInfo {
        name: spec.name.into(),
        args: spec.args.into(),
        summary: spec.summary.into(),
    });
    Identity {
        display_name: config.display_name.clone(),
        prefixes: config.prefixes.clone(),
        commands: commands.collect(),
    }
}

//! All that the rooms of one bot share.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Instant,
};

use adapters::{Adapter, AdapterHealth, CommandInfo, HealthSnapshot, Identity};
use agents::{
    claude::{Launch, LaunchProgram, LaunchSession, PromptMode, SessionId, SessionStart},
    turn::RetryPolicy,
    usage::UsageSampler,
};
use pipeline::{Pipeline, Project};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    chat::{
        agents::{AgentEntry, LiveAgents},
        ambient::AmbientRooms,
        prompt,
        rooms::RoomDirectory,
    },
    clock::Clock,
    commands::command::CommandRegistry,
    config::{BotConfig, LoadedConfig, access::AccessTable, current::CurrentValue, redact::Redactor},
    metrics::BotMetrics,
    permission::PermissionBroker,
    program::restart::RestartRequest,
    store::Store,
};

/// All that the rooms of one bot share.
pub struct Services {
    /// What is served.
    pub project: Project,
    /// The settings, see [`Services::config`].
    pub(crate) settings: Arc<CurrentValue<LoadedConfig>>,
    /// What survives.
    pub store: Store,
    /// The time of day.
    pub clock: Clock,
    /// Permission questions.
    pub broker: PermissionBroker,
    /// The rooms.
    pub rooms: RoomDirectory,
    /// The commands.
    pub registry: CommandRegistry,
    /// Who may what, see [`Services::access`].
    pub(crate) access: CurrentValue<AccessTable>,
    /// Which rooms are ambient.
    pub ambient: AmbientRooms,
    /// Living Claude Code processes.
    pub agents: LiveAgents,
    /// Counters.
    pub metrics: BotMetrics,
    /// How rate limits are waited for.
    pub retry: RetryPolicy,
    /// Tasks that the shutdown waits for.
    pub tracker: TaskTracker,
    /// Set when the bot goes down.
    pub stop: CancellationToken,
    /// Whether it is to start anew after that.
    pub restart: RestartRequest,
    /// Knows what must not be said.
    pub redactor: Arc<Redactor>,
    /// When the bot was started.
    pub started: Instant,
    /// The port that was really bound.
    pub port: Arc<OnceLock<u16>>,
    /// Stories and those who work on them.
    pub pipeline: Pipeline,
    /// A label that is shown with the bot's greeting, e.g. for the demo.
    pub label: Option<String>,
    pub(crate) adapters: Vec<(Arc<dyn Adapter>, Arc<AdapterHealth>)>,
    pub(crate) sampler: Mutex<UsageSampler>,
}

/// The settings at one moment.
pub struct CurrentSettings(Arc<LoadedConfig>);

impl std::ops::Deref for CurrentSettings {
    type Target = BotConfig;

    fn deref(&self) -> &BotConfig {
        &self.0.config
    }
}

impl Services {
    /// The settings as they are now.
    pub fn config(&self) -> CurrentSettings {
        CurrentSettings(self.settings.get())
    }

    /// Environment variables that hold the bot's secrets; agents do not get them.
    pub fn secret_env(&self) -> Vec<String> {
        self.settings.get().secret_env.clone()
    }

    /// Who may what, now.
    pub fn access(&self) -> Arc<AccessTable> {
        self.access.get()
    }

    /// The state of every messenger.
    pub fn health(&self) -> Vec<HealthSnapshot> {
        self.adapters.iter().map(|(_, health)| health.snapshot()).collect()
    }

    /// Takes up whom the settings say is heard, here and at the messengers.
    pub(crate) fn set_allowed_people(&self, config: &BotConfig) {
        let mut access = AccessTable::clone(&self.access());
        let sections = [
            (adapters::matrix::NAME, config.matrix.as_ref().map(|section| &section.people)),
            (adapters::slack::NAME, config.slack.as_ref().map(|section| &section.people)),
            (adapters::whatsapp::NAME, config.whatsapp.as_ref().map(|section| &section.people)),
        ];
        for (name, people) in sections {
            let Some(people) = people else { continue };
            access = access.with(name, people.clone().into());
            if let Some(adapter) = self.adapter(name) {
                adapter.set_allowed_people(people);
            }
        }
        self.access.set(access);
    }

    /// The messenger of this name.
    pub fn adapter(&self, name: &str) -> Option<Arc<dyn Adapter>> {
        self.adapters.iter().map(|(adapter, _)| adapter).find(|adapter| adapter.name() == name).cloned()
    }

    /// What an adapter needs to know of the bot.
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

    /// How a room's session is started: resumed if it has one, new if not.
    pub fn launch(&self, session: Option<&SessionId>, model: Option<String>) -> Launch {
        let config = self.config();
        let claude = &config.claude;
        let trusted = claude.trust_project_settings;
        let start = match session {
            Some(session) => SessionStart::Resume(session.clone()),
            None => SessionStart::New(SessionId::random()),
        };
        let program = LaunchProgram {
            env_remove: self.secret_env(),
            env: claude.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            ..LaunchProgram::new(claude.command.clone(), self.project.root(), self.project.run_dir())
        };
        let session = LaunchSession {
            start: start.clone(),
            model,
            append_system_prompt: Some(prompt::system_prompt(&config.display_name, &self.project, trusted)),
            trust_project_settings: trusted,
        };
        Launch { session, ..Launch::new(program, start, PromptMode::Live) }
    }

    /// Samples the machine and the living agents. Some milliseconds of /proc.
    pub fn sample(&self) -> (agents::usage::MachineUsage, Vec<(AgentEntry, agents::usage::TreeUsage)>) {
        let mut living = self.agents.all();
        living.extend(self.pipeline.snapshot().runs.iter().filter_map(AgentEntry::of_run));
        let (pids, entries): (Vec<u32>, Vec<_>) = living.into_iter().unzip();
        let (machine, trees) = self.sampler.lock().unwrap_or_else(PoisonError::into_inner).sample(&pids);
        (machine, entries.into_iter().zip(trees).collect())
    }
}

//! What all rooms of one bot share.

use std::sync::Arc;

use agents::{
    claude::{Launch, LaunchModel, LaunchProgram, LaunchSession, PromptMode, SessionId, SessionStart},
    confine::Confined,
    trial::TrialPlace,
    turn::RetryPolicy,
};
use pipeline::{guard::base_branch, rooms::RoomWorkspace};

use crate::{
    bot_tasks::BotTasks,
    chat::{ambient::AmbientRooms, network::RoomConnections, prompt, rooms::RoomDirectory},
    clock::Clock,
    commands::services::CommandServices,
    config::{
        RoomServers,
        access::AccessTable,
        current::{CurrentSettings, LiveSettings},
        redact::Redactor,
    },
    metrics::BotMetrics,
    permission::PermissionBroker,
    store::Store,
    tools::ToolServices,
};

/// What all rooms of one bot share.
pub struct ChatServices {
    pub commands: Arc<CommandServices>,
    /// The settings and the people they allow.
    pub settings: Arc<LiveSettings>,
    /// The rooms' ways out of their walls.
    pub connections: RoomConnections,
    /// What survives a restart.
    pub store: Store,
    pub clock: Clock,
    pub broker: PermissionBroker,
    pub rooms: RoomDirectory,
    pub ambient: AmbientRooms,
    pub metrics: Arc<BotMetrics>,
    /// How long a turn waits for a busy service.
    pub retry: RetryPolicy,
    /// Takes secrets out of whatever a room posts.
    pub redactor: Arc<Redactor>,
    /// What the rooms' agents can call.
    pub tools: Arc<ToolServices>,
    pub tasks: BotTasks,
}

impl ChatServices {
    /// The branch that stories merge to, and that agents' briefings are read from; empty where there is none yet.
    pub fn base(&self) -> String {
        let commands = &self.commands;
        let known = commands.pipeline.snapshot().base.clone();
        match known.is_empty() {
            // Where the pipeline cannot work, rooms still do.
            true => base_branch(&commands.project, None).unwrap_or_default(),
            false => known,
        }
    }

    /// The settings as they are now.
    pub fn config(&self) -> CurrentSettings {
        self.settings.config()
    }

    /// Who may do what, now.
    pub fn access(&self) -> Arc<AccessTable> {
        self.settings.access()
    }

    /// How a room's session is started in its workspace, behind its wall.
    pub fn launch_in(
        &self,
        workspace: &RoomWorkspace,
        session: Option<&SessionId>,
        model: Option<String>,
    ) -> Launch {
        let mut launch = self.launch(session, model);
        launch.program.cwd.clone_from(&workspace.folder);
        launch.program.env.extend(workspace.env.iter().cloned());
        let RoomServers { servers, files } = self.settings.loaded().servers.clone();
        let confined = workspace.confined.clone();
        launch.confine = Some(Confined { confinement: confined.confinement.showing(&files), ..confined });
        launch.servers = servers;
        launch.model = workspace.model.clone();
        if let (Some(branch), Some(text)) = (&workspace.branch, &mut launch.session.append_system_prompt) {
            text.push_str(&prompt::worktree_prompt(branch));
        }
        launch
    }

    /// Where commands of a room's agent are tried.
    pub fn trial_place_in(&self, workspace: &RoomWorkspace) -> TrialPlace {
        let set: Vec<_> = self.config().claude.env.clone().into_iter().collect();
        TrialPlace::new(workspace.confined.clone(), &set, &workspace.env)
    }

    /// How a session is started: resumed, or new. Without a wall, in the main checkout.
    pub fn launch(&self, session: Option<&SessionId>, model: Option<String>) -> Launch {
        let (config, project) = (self.config(), &self.commands.project);
        let claude = &config.claude;
        let trusted = claude.trust_project_settings;
        let start = match session {
            Some(session) => SessionStart::Resume(session.clone()),
            // Chosen here, not by the CLI, so that the process carries it in its environment from the start: that
            // is how the next start finds the process if this one is killed.
            None => SessionStart::New(SessionId::random()),
        };
        let program = LaunchProgram {
            // The CLI inherits the bot's environment, and an agent can print its own: the
            // bot's secrets are removed first.
            env_remove: self.settings.secret_env(),
            env: claude.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            ..LaunchProgram::new(claude.command.clone(), project.root(), project.run_dir())
        };
        let session = LaunchSession {
            start: start.clone(),
            model,
            append_system_prompt: Some(prompt::system_prompt(
                &config.display_name,
                (project, &self.base()),
                trusted,
            )),
            trust_project_settings: trusted,
        };
        let model = LaunchModel { access: self.commands.pipeline.model_access(), proxy: None };
        let mut launch = Launch::new(program, start, PromptMode::Live);
        launch.permissions.offers_tools = true;
        Launch { session, model, ..launch }
    }
}

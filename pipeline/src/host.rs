//! The interface to the program around the pipeline: how agents are started, and how they call back.

use std::{
    any::Any,
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use agents::{claude::PermissionRoute, confine::HostGate, model_proxy::ModelAccess};

use crate::{event::RunInfo, story::StoryId};

/// The program around the pipeline.
pub trait PipelineHost: Send + Sync + 'static {
    /// Lets a run call in. Called once for each run, before its process starts. Must not block.
    fn open(&self, run: &RunInfo) -> RunAccess;

    /// Who decides about hosts that no setting lists; `None` if nobody does, so that none is open. Must not block.
    fn host_gate(&self, _asker: HostAsker) -> Option<Arc<dyn HostGate>> {
        None
    }
}

/// Who wants to reach hosts that no setting lists.
pub enum HostAsker {
    /// An agent, about whose hosts people are asked.
    Agent {
        run: RunInfo,
        /// As [`RunAccess::waiting`].
        waiting: Arc<AtomicUsize>,
    },
    /// The project's commands for a story: they reach what was allowed before, and ask nobody.
    Commands { story: StoryId },
}

/// A run's way in.
pub struct RunAccess {
    /// Where its permission questions go, and its tools are.
    pub route: PermissionRoute,
    /// How many questions of it wait for a person: meanwhile its silence is no stall.
    pub waiting: Arc<AtomicUsize>,
    /// Closes the way when dropped.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// How agents are started. From `bot.toml`, while `project.toml` defines the agents.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// The CLI: program and leading arguments.
    pub command: Vec<String>,
    /// The CLI's model where an agent names none; empty for its default.
    pub model: String,
    /// How agents reach their model.
    pub model_access: ModelAccess,
    /// Extra environment of the CLI.
    pub env: BTreeMap<String, String>,
    /// Names of variables that hold storkit's own secrets: agents and gates do not get them, and `${VAR}` in
    /// `project.toml` cannot name them.
    pub secret_env: Vec<String>,
    /// The home folder of the user that storkit runs as.
    pub home: PathBuf,
    /// A run without output for so long is stalled; 0 never.
    pub stall: Duration,
    /// Whether the repository's own CLI settings take effect.
    pub trust_project_settings: bool,
    /// First wait after the model's service was busy, doubled each time.
    pub busy_wait: Duration,
    /// Files must be quiet for so long before a change of them is taken up.
    pub settle: Duration,
}

//! The services of the loopback listener.

use std::sync::Arc;

use pipeline::{Pipeline, Project};
use tokio::sync::Semaphore;

use crate::{
    bot_tasks::BotTasks, config::current::LiveSettings, host_questions::HostQuestions,
    live_agents::LiveAgents, messengers::ConnectedMessengers, metrics::BotMetrics,
    permission::PermissionBroker, restart::RestartRequest,
};

/// Everything the loopback listener needs.
pub struct HttpServices {
    /// The project the bot serves.
    pub project: Project,
    pub settings: Arc<LiveSettings>,
    /// Permission questions, which agents ask over MCP.
    pub broker: PermissionBroker,
    pub hosts: Arc<HostQuestions>,
    /// Stories and the agents that work on them.
    pub pipeline: Pipeline,
    /// Living Claude Code processes.
    pub agents: LiveAgents,
    /// The messengers and their health.
    pub messengers: ConnectedMessengers,
    pub metrics: Arc<BotMetrics>,
    pub restart: Arc<RestartRequest>,
    /// Places for clients of `/ws`.
    pub followers: Arc<Semaphore>,
    pub tasks: BotTasks,
}

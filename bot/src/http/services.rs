//! The services of the loopback listener.

use std::sync::Arc;

use pipeline::Pipeline;
use tokio::sync::Semaphore;

use crate::{
    bot_tasks::BotTasks, config::current::LiveSettings, live_agents::LiveAgents,
    messengers::ConnectedMessengers, metrics::BotMetrics, permission::PermissionBroker, tools::ToolServices,
};

/// Everything the loopback listener needs.
pub struct HttpServices {
    pub settings: Arc<LiveSettings>,
    /// Permission questions, which agents ask over MCP.
    pub broker: PermissionBroker,
    /// Stories and the agents that work on them.
    pub pipeline: Pipeline,
    /// Living Claude Code processes.
    pub agents: LiveAgents,
    /// The messengers and their health.
    pub messengers: ConnectedMessengers,
    pub metrics: Arc<BotMetrics>,
    /// Places for clients of `/ws`.
    pub followers: Arc<Semaphore>,
    pub tasks: BotTasks,
    /// What agents can call.
    pub tools: Arc<ToolServices>,
}

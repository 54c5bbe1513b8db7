//! What the tools work with.

use std::sync::Arc;

use pipeline::{Pipeline, Project};

use crate::{
    bot_tasks::BotTasks, config::current::LiveSettings, host_questions::HostQuestions,
    messengers::ConnectedMessengers, permission::PermissionBroker, restart::RestartRequest, store::Store,
};

/// Everything that storkit's tools need.
pub struct ToolServices {
    pub project: Project,
    pub settings: Arc<LiveSettings>,
    /// Knows which conversation a story came from.
    pub store: Store,
    pub broker: PermissionBroker,
    pub hosts: Arc<HostQuestions>,
    pub pipeline: Pipeline,
    pub messengers: ConnectedMessengers,
    pub restart: Arc<RestartRequest>,
    pub tasks: BotTasks,
}

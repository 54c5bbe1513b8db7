//! A room's part of the network, and its way to the model: opened for each process, behind the wall of its workspace.

use std::sync::Arc;

use agents::{
    claude::LaunchModel,
    confine::{HostGate, NetworkAccess, NetworkPlan},
    model_proxy::{ModelAccess, ModelProxy, SpendingMeter},
};

use super::workspace::{RoomWorkspace, blocking};
use crate::{Pipeline, PipelineError, Project, host::AgentSettings, open_hosts::registries, run::needs};

/// The setting's name in sentences.
pub const ROOM_NETWORK: &str = "`network` below `[relay]` in `.storkit/bot.toml`";

/// The hosts that a room's agent may reach.
#[derive(Clone)]
pub struct RoomNetwork {
    pub access: NetworkAccess,
    /// Decides about hosts that no setting lists.
    pub gate: Arc<dyn HostGate>,
    /// Counts the room's spending at its model.
    pub meter: Arc<SpendingMeter>,
    /// The branch whose files say which registries are open.
    pub base: String,
}

impl Pipeline {
    /// Opens a workspace's ways out for a new process: to the model, and to the hosts that the room may reach.
    pub async fn connect_room(
        &self,
        workspace: RoomWorkspace,
        network: RoomNetwork,
    ) -> Result<RoomWorkspace, PipelineError> {
        let (project, settings) = (self.project().clone(), Arc::clone(&self.settings));
        let connect = move || connect(&project, &settings, workspace, network);
        blocking(connect).await.and_then(|connected| connected).map_err(PipelineError::Refused)
    }
}

/// Opens a workspace's ways out for a new process. Blocks; needs a tokio runtime.
///
/// # Errors
/// A sentence, if a limit that is set cannot be enforced.
pub fn connect(
    project: &Project,
    settings: &AgentSettings,
    workspace: RoomWorkspace,
    network: RoomNetwork,
) -> Result<RoomWorkspace, String> {
    let proxy = match &settings.model_access {
        ModelAccess::Proxied(service) => {
            Some(Arc::new(ModelProxy::metered(Arc::clone(service), network.meter)))
        }
        ModelAccess::Login | ModelAccess::Cloud(_) => None,
    };
    let mut plan = NetworkPlan::new(network.access, ROOM_NETWORK);
    if plan.access.is_limited() {
        plan.needs = needs(settings)?;
    }
    plan.model.clone_from(&proxy);
    plan.open.gate = Some(network.gate);
    if plan.access.asking().is_some() {
        plan.open.registries = registries(project, &network.base);
    }
    let (confined, egress) = workspace.confined.limited(plan)?;
    let port = |proxy: &ModelProxy| match egress.as_ref().and_then(|egress| egress.model_port()) {
        Some(port) => Ok(port),
        None => {
            proxy.loopback_port().map_err(|error| format!("the way to the model cannot be opened: {error}."))
        }
    };
    let proxy = proxy.map(|proxy| port(&proxy).map(|port| (proxy, port))).transpose()?;
    let model = LaunchModel { access: settings.model_access.clone(), proxy };
    Ok(RoomWorkspace { confined, egress, model, ..workspace })
}

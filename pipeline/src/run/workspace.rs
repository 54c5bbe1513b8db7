//! Where an agent works, and its sandbox: a story's worktree, or the worktree of a merge conflict.

use std::{fs, io::Write as _, net::SocketAddr, os::unix::fs::OpenOptionsExt as _, path::Path};

use agents::{
    claude::PermissionRoute,
    confine::{AllowedHost, Confined, Confinement, RequiredAccess},
};

use super::{RunContext, RunOutcome, RunPlan};
use crate::{
    gates::{GATE_NETWORK, GateRunner},
    host::AgentSettings,
    merge,
    story::{BlockReason, stage::Role},
    worktree::{DetachedWorktree, Worktree, WorktreeError, WorktreeName},
};

#[derive(Clone)]
pub(super) struct Workspace {
    pub kind: WorkspaceKind,
    pub confinement: Confinement,
    /// Whether the worktree was made now: then its components are to be set up.
    pub fresh: bool,
}

/// Which of the two.
#[derive(Clone)]
pub(super) enum WorkspaceKind {
    /// A story's own worktree.
    Story(Worktree),
    /// The half-merged files of a conflict.
    Conflict(DetachedWorktree),
}

impl Workspace {
    /// Makes the place ready. Blocks.
    pub(super) fn prepare(context: &RunContext, plan: &RunPlan) -> Result<Self, RunOutcome> {
        let confinement = confinement(context, plan).map_err(RunOutcome::NotStarted)?;
        let id = plan.story.id();
        if plan.run.role == Role::Mergemaster {
            let folder = merge::conflict_worktree(&context.project, id);
            let detached =
                DetachedWorktree::open(&context.project, &folder).map_err(|error| failed(&error))?;
            return Ok(Self { kind: WorkspaceKind::Conflict(detached), confinement, fresh: false });
        }
        let name = WorktreeName::new(id, &plan.story.file.slug)
            .map_err(|error| RunOutcome::Blocked(BlockReason::Worktree { why: error.to_string() }))?;
        // Asked before `prepare`, which makes it.
        let fresh = !context.project.dir().join("worktrees").join(name.to_string()).exists();
        let worktree =
            context.worktrees.prepare(&name, &plan.base, &plan.run.slot).map_err(|error| failed(&error))?;
        Ok(Self { kind: WorkspaceKind::Story(worktree), confinement, fresh })
    }

    pub(super) fn path(&self) -> &Path {
        match &self.kind {
            WorkspaceKind::Story(worktree) => worktree.path(),
            WorkspaceKind::Conflict(detached) => detached.path(),
        }
    }

    pub(super) fn environment(&self) -> Vec<(String, String)> {
        match &self.kind {
            WorkspaceKind::Story(worktree) => worktree.environment(&self.confinement),
            WorkspaceKind::Conflict(detached) => detached.environment(&self.confinement),
        }
    }

    /// The sandbox of a process here. Blocks while private copies are made.
    pub(super) fn confine(&self, settings: &AgentSettings) -> Result<Confined, RunOutcome> {
        let place = match &self.kind {
            WorkspaceKind::Story(worktree) if self.confinement.encloses() => {
                worktree.enclose().map_err(RunOutcome::internal)?
            }
            WorkspaceKind::Story(worktree) => worktree.place(),
            WorkspaceKind::Conflict(detached) if self.confinement.encloses() => {
                detached.enclose().map_err(|error| failed(&error))?
            }
            WorkspaceKind::Conflict(detached) => detached.place(),
        };
        Ok(settings.confined(self.confinement.clone(), place))
    }

    /// How commands of `project.toml` are run here; not yet confined.
    pub(super) fn gates(plan: &RunPlan) -> GateRunner {
        let defaults = GateRunner::default();
        GateRunner {
            commands: plan.config.gates.clone(),
            // Without a limit: 500 hours are as good as none.
            timeout: plan.config.gate_timeout.limit().unwrap_or(defaults.timeout * 1_000),
            ..defaults
        }
    }

    /// Writes `.mcp.json`, which git ignores in this worktree, so that a person who opens the CLI here while the
    /// run lives has its tools. A project's own is left alone.
    pub(super) fn write_mcp(&self, route: &PermissionRoute) {
        let (PermissionRoute::Mcp { url, token }, WorkspaceKind::Story(worktree)) = (route, &self.kind)
        else {
            return;
        };
        if worktree.tracks(".mcp.json") {
            return;
        }
        let path = worktree.path().join(".mcp.json");
        let config = serde_json::json!({"mcpServers": {"storkit": {
            "type": "http", "url": url, "headers": {"Authorization": format!("Bearer {token}")},
        }}});
        let write = || {
            // A link that an agent left there is not followed.
            let _ = fs::remove_file(&path);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(config.to_string().as_bytes())
        };
        if let Err(error) = write() {
            tracing::warn!(%error, path = %path.display(), "no .mcp.json");
        }
    }

    /// Takes away what served this run alone: the token in `.mcp.json` is void by now.
    pub(super) fn close(&self) {
        match &self.kind {
            WorkspaceKind::Story(worktree) if !worktree.tracks(".mcp.json") => {
                let _ = fs::remove_file(worktree.path().join(".mcp.json"));
            }
            WorkspaceKind::Story(_) => {}
            WorkspaceKind::Conflict(detached) => {
                if let Err(error) = detached.clear() {
                    tracing::warn!(%error, "the private copies of a conflict's worktree cannot be removed");
                }
            }
        }
    }
}

fn confinement(context: &RunContext, plan: &RunPlan) -> Result<Confinement, String> {
    let chosen = context.settings.confinement()?;
    // Known before anything is spent.
    chosen.can_limit(&plan.agent.network, &agent_network(&plan.agent.name))?;
    chosen.can_limit(&plan.config.gate_network, GATE_NETWORK)?;
    Ok(chosen)
}

/// The name of an agent's network setting in sentences.
pub(super) fn agent_network(agent: &str) -> String {
    format!("`network` of the agent `{agent}`")
}

/// The access that every agent needs: the model's service, as its environment names it, and its tools.
pub(super) fn needs(
    settings: &AgentSettings,
    route: Option<&PermissionRoute>,
) -> Result<RequiredAccess, String> {
    const VARIABLE: &str = "ANTHROPIC_BASE_URL";
    let inherited =
        || std::env::var(VARIABLE).ok().filter(|_| !settings.secret_env.iter().any(|name| name == VARIABLE));
    let base = settings.env.get(VARIABLE).cloned().or_else(inherited).filter(|base| !base.trim().is_empty());
    let base = base.unwrap_or_else(|| "https://api.anthropic.com".into());
    let api = endpoint(base.trim()).and_then(|(host, port)| AllowedHost::exact(&host, port));
    let api = api.ok_or_else(|| {
        format!("`{VARIABLE}` is not the address of a service, so access to it cannot be allowed.")
    })?;
    let own = match route {
        Some(PermissionRoute::Mcp { url, .. }) => {
            endpoint(url).and_then(|(host, port)| Some(SocketAddr::new(host.parse().ok()?, port)))
        }
        Some(PermissionRoute::Control) | None => None,
    };
    Ok(RequiredAccess { api, own })
}

fn endpoint(url: &str) -> Option<(String, u16)> {
    let url: hyper::Uri = url.parse().ok()?;
    let default = match url.scheme_str()? {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    Some((url.host()?.to_owned(), url.port_u16().unwrap_or(default)))
}

// A problem that a person has to solve blocks the story; a full disk stops everything.
fn failed(error: &WorktreeError) -> RunOutcome {
    match error {
        WorktreeError::DiskFull { .. } => RunOutcome::NotStarted(error.to_string()),
        WorktreeError::BranchInTheWay(..) | WorktreeError::Linked(_) => {
            RunOutcome::Blocked(BlockReason::Worktree { why: error.to_string() })
        }
        WorktreeError::Git(_) | WorktreeError::Read(_) | WorktreeError::Io { .. } => {
            RunOutcome::internal(error)
        }
    }
}

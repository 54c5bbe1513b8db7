//! Where an agent works, and its sandbox: a story's worktree, or the worktree of a merge conflict.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use agents::{
    claude::PermissionRoute,
    confine::{AllowedHost, Bwrap, Confined, Confinement},
    model_proxy::ModelAccess,
};

use super::{RunContext, RunOutcome, RunPlan};
use crate::{
    gates::{GATE_NETWORK, GateRunner},
    host::AgentSettings,
    merge,
    open_hosts::CommandHosts,
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
        let confined = self.confinement.encloses();
        match &self.kind {
            WorkspaceKind::Story(worktree) => worktree.environment(confined),
            WorkspaceKind::Conflict(detached) => detached.environment(confined),
        }
    }

    /// The sandbox of a process here. Blocks while private copies are made.
    pub(super) fn confine(&self) -> Result<Confined, RunOutcome> {
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
        Ok(Confined { confinement: self.confinement.clone(), place })
    }

    /// How commands of `project.toml` are run here, without storkit's secrets; not yet confined. Blocks.
    pub(super) fn gates(context: &RunContext, plan: &RunPlan) -> GateRunner {
        let defaults = GateRunner::default();
        GateRunner {
            open_hosts: CommandHosts::new(&context.project, &plan.base, &context.host).of(plan.run.story),
            commands: plan.config.gates.clone(),
            // Without a limit: 500 hours are as good as none.
            timeout: plan.config.gate_timeout.limit().unwrap_or(defaults.timeout * 1_000),
            env_remove: context.settings.secret_env.clone(),
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
    let chosen = Confinement::chosen(plan.agent.sandbox.as_ref(), &context.settings.home)?;
    // Known before anything is spent.
    chosen.can_limit(&plan.agent.network, &agent_network(&plan.agent.name))?;
    chosen.can_limit(&plan.config.gate_network, GATE_NETWORK)?;
    Ok(match chosen {
        Confinement::Bwrap(bwrap) => {
            let claude = claude_folder(&context.settings.env, &context.settings.home);
            let readable = programs(&context.settings.command, &context.settings.env);
            Confinement::Bwrap(Bwrap { claude, readable, ..bwrap })
        }
        other @ (Confinement::None | Confinement::Prefix(_)) => other,
    })
}

/// The name of an agent's network setting in sentences.
pub(super) fn agent_network(agent: &str) -> String {
    format!("`network` of the agent `{agent}`")
}

/// Hosts that every agent needs: the model's service, as its environment names it, unless storkit's own way leads there.
pub(super) fn needs(settings: &AgentSettings) -> Result<Vec<AllowedHost>, String> {
    const VARIABLE: &str = "ANTHROPIC_BASE_URL";
    if !matches!(settings.model_access, ModelAccess::Login) {
        return Ok(Vec::new());
    }
    let inherited =
        || std::env::var(VARIABLE).ok().filter(|_| !settings.secret_env.iter().any(|name| name == VARIABLE));
    let base = settings.env.get(VARIABLE).cloned().or_else(inherited).filter(|base| !base.trim().is_empty());
    let base = base.unwrap_or_else(|| "https://api.anthropic.com".into());
    let api = endpoint(base.trim()).and_then(|(host, port)| AllowedHost::exact(&host, port));
    let api = api.ok_or_else(|| {
        format!("`{VARIABLE}` is not the address of a service, so access to it cannot be allowed.")
    })?;
    Ok(vec![api])
}

/// Storkit's listener, where the agents' tools are.
pub(super) fn own_listener(route: &PermissionRoute) -> Option<SocketAddr> {
    let PermissionRoute::Mcp { url, .. } = route else { return None };
    endpoint(url).and_then(|(host, port)| Some(SocketAddr::new(host.parse().ok()?, port)))
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

// The files of the CLI's command, which a sandbox would hide if they lay below `/tmp`: the program, and what
// its words name, since the command may be one that starts another.
fn programs(command: &[String], env: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let path = env.get("PATH").map(Into::into).or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    let first = command.first().and_then(|name| match name.contains('/') {
        true => Some(PathBuf::from(name)),
        false => std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()),
    });
    let named = first.into_iter().chain(command.iter().skip(1).map(PathBuf::from));
    named.filter(|file| file.is_absolute() && file.is_file()).flat_map(|file| both_names(&file)).collect()
}

/// A file's real path, and the path by which it is called. bubblewrap cannot mount below a symbolic link, so the folder of
/// either is the real one; what leads there is visible as it is.
fn both_names(file: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let folder = file.parent().and_then(|folder| folder.canonicalize().ok());
    let called = folder.zip(file.file_name()).map(|(folder, name)| folder.join(name));
    file.canonicalize().ok().into_iter().chain(called)
}

/// The CLI's state folder: `CLAUDE_CONFIG_DIR`, else `.claude` in its home.
fn claude_folder(env: &BTreeMap<String, String>, home: &Path) -> PathBuf {
    let set =
        |name: &str| env.get(name).map(PathBuf::from).or_else(|| std::env::var_os(name).map(PathBuf::from));
    set("CLAUDE_CONFIG_DIR").unwrap_or_else(|| env.get("HOME").map_or(home, Path::new).join(".claude"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_and_what_it_is_to_start_are_shown_and_no_other_word_is() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let file = |name: &str| {
            let path = folder.join(name);
            std::fs::write(&path, "").unwrap();
            path
        };
        let (wrapper, claude) = (file("wrapper"), file("claude"));
        let words =
            [wrapper.to_str().unwrap(), "--guard", "-p", claude.to_str().unwrap(), folder.to_str().unwrap()];
        let command = words.map(String::from);
        let mut shown = programs(&command, &BTreeMap::new());
        shown.dedup();
        assert_eq!(shown, [wrapper.clone(), claude]);
        let path = BTreeMap::from([("PATH".to_owned(), folder.display().to_string())]);
        let mut shown = programs(&["wrapper".to_owned()], &path);
        shown.dedup();
        assert_eq!(shown, [wrapper]);
        assert!(programs(&[], &path).is_empty());
    }

    #[test]
    fn a_program_below_a_linked_folder_is_shown_in_the_real_one() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        std::fs::create_dir(folder.join("tools")).unwrap();
        std::fs::write(folder.join("tools/cli.js"), "").unwrap();
        std::os::unix::fs::symlink("cli.js", folder.join("tools/claude")).unwrap();
        std::os::unix::fs::symlink("tools", folder.join("link")).unwrap();
        let called = folder.join("link/claude").display().to_string();
        let shown = programs(&[called], &BTreeMap::new());
        assert_eq!(shown, [folder.join("tools/cli.js"), folder.join("tools/claude")]);
    }
}

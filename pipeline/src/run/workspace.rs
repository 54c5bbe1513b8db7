//! Where an agent works, and its sandbox: a story's worktree, or the worktree of a merge conflict.

use std::{
    fs, io::Write as _, net::SocketAddr, os::unix::fs::OpenOptionsExt as _, path::Path, path::PathBuf,
};

use agents::{
    claude::PermissionRoute,
    confine::{AllowedHost, Confined, Confinement},
    model_proxy::ModelAccess,
};

use super::{
    outcome::RunOutcome,
    plan::{RunContext, RunPlan},
};
use crate::{
    branch_review::folder,
    evidence::EvidenceFolder,
    gates::{GATE_NETWORK, GateRunner},
    host::{AgentSettings, command_gates},
    merge,
    open_hosts::CommandHosts,
    sentence::listed,
    story::{BlockReason, stage::Role},
    strangers,
    worktree::{BaseFollowed, DetachedWorktree, Worktree, WorktreeError, WorktreeName},
};

/// Where a person who opens the CLI in a worktree finds the run's tools, with its token.
const MCP_FILE: &str = ".mcp.json";

#[derive(Clone)]
pub(super) struct Workspace {
    pub kind: WorkspaceKind,
    pub confinement: Confinement,
    /// What a rewritten base means for the branch, in sentences for its coder.
    pub rewritten: Option<String>,
}

/// Which of the two.
#[derive(Clone)]
pub(super) enum WorkspaceKind {
    /// A story's own worktree.
    Story(Worktree),
    /// The half-merged files of a conflict.
    Conflict(DetachedWorktree),
    /// The files of a branch that is reviewed.
    Review(DetachedWorktree),
}

impl Workspace {
    /// Makes the place ready. Blocks.
    pub(super) fn prepare(context: &RunContext, plan: &RunPlan) -> Result<Self, RunOutcome> {
        let id = plan.story.id();
        let confinement = confinement(context, plan)?;
        if let Some((branch, _)) = &plan.review {
            let detached = folder::make(&context.project, branch.tip).map_err(|error| failed(&error))?;
            return Ok(Self { kind: WorkspaceKind::Review(detached), confinement, rewritten: None });
        }
        if plan.run.role == Role::Mergemaster {
            let folder = merge::conflict_worktree(&context.project, id);
            let detached =
                DetachedWorktree::open(&context.project, &folder).map_err(|error| failed(&error))?;
            return Ok(Self { kind: WorkspaceKind::Conflict(detached), confinement, rewritten: None });
        }
        let name = WorktreeName::new(id, &plan.story.file.slug)
            .map_err(|error| RunOutcome::Blocked(BlockReason::Worktree { why: error.to_string() }))?;
        let worktree =
            context.worktrees.prepare(&name, &plan.base, &plan.run.slot).map_err(|error| failed(&error))?;
        worktree.quit_operation().map_err(|error| failed(&error))?;
        let rewritten = match plan.run.role {
            Role::Coder => follow_base(&worktree, &plan.base),
            Role::Qa | Role::Mergemaster | Role::Supervisor => None,
        };
        Ok(Self { kind: WorkspaceKind::Story(worktree), confinement, rewritten })
    }

    pub(super) fn path(&self) -> &Path {
        match &self.kind {
            WorkspaceKind::Story(worktree) => worktree.path(),
            WorkspaceKind::Conflict(detached) | WorkspaceKind::Review(detached) => detached.path(),
        }
    }

    pub(super) fn environment(&self) -> Vec<(String, String)> {
        match &self.kind {
            WorkspaceKind::Story(worktree) => worktree.environment(&self.confinement),
            WorkspaceKind::Conflict(detached) | WorkspaceKind::Review(detached) => {
                detached.environment(&self.confinement)
            }
        }
    }

    /// The sandbox of a process here. Blocks while private copies are made.
    pub(super) fn confine(&self, settings: &AgentSettings) -> Result<Confined, RunOutcome> {
        let place = match &self.kind {
            WorkspaceKind::Story(worktree) if self.confinement.encloses() => {
                worktree.enclose().map_err(RunOutcome::internal)?
            }
            WorkspaceKind::Story(worktree) => worktree.place(),
            WorkspaceKind::Conflict(detached) | WorkspaceKind::Review(detached)
                if self.confinement.encloses() =>
            {
                detached.enclose().map_err(|error| failed(&error))?
            }
            WorkspaceKind::Conflict(detached) | WorkspaceKind::Review(detached) => detached.place(),
        };
        Ok(settings.confined(self.confinement.clone(), place))
    }

    /// How commands of `project.toml` are run here; not yet confined. Blocks.
    pub(super) fn gates(context: &RunContext, plan: &RunPlan) -> GateRunner {
        let defaults = GateRunner::default();
        GateRunner {
            open_hosts: CommandHosts::new(&context.project, &plan.base, command_gates(&context.host))
                .of(plan.run.story),
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
        if worktree.tracks(MCP_FILE) {
            return;
        }
        let path = worktree.path().join(MCP_FILE);
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

    /// Where the run's agent and gates leave files for people.
    pub(super) fn evidence(&self) -> EvidenceFolder {
        let place = match &self.kind {
            WorkspaceKind::Story(worktree) => worktree.place(),
            WorkspaceKind::Conflict(detached) | WorkspaceKind::Review(detached) => detached.place(),
        };
        EvidenceFolder::of(&place.private)
    }

    /// Files with the run's own secrets in the folder.
    pub(super) fn secret_files(&self) -> Vec<PathBuf> {
        match &self.kind {
            WorkspaceKind::Story(worktree) if !worktree.tracks(MCP_FILE) => {
                vec![worktree.path().join(MCP_FILE)]
            }
            WorkspaceKind::Story(_) | WorkspaceKind::Conflict(_) | WorkspaceKind::Review(_) => Vec::new(),
        }
    }

    /// Takes away what served this run alone: the token in `.mcp.json` is void by now.
    pub(super) fn close(&self) {
        match &self.kind {
            WorkspaceKind::Story(worktree) if !worktree.tracks(MCP_FILE) => {
                let _ = fs::remove_file(worktree.path().join(MCP_FILE));
            }
            WorkspaceKind::Story(_) => {}
            // `orchestrator/reviews.rs` removes it with all that is in it.
            WorkspaceKind::Review(_) => {}
            WorkspaceKind::Conflict(detached) => {
                if let Err(error) = detached.settle() {
                    tracing::warn!(%error, "what a mergemaster staged cannot be read, so its conflict stays");
                }
                if let Err(error) = detached.clear() {
                    tracing::warn!(%error, "the private copies of a conflict's worktree cannot be removed");
                }
            }
        }
    }
}

/// Puts the branch onto a base that was rewritten. What cannot be done now, the merge finds again.
fn follow_base(worktree: &Worktree, base: &str) -> Option<String> {
    let followed = worktree.follow_rewritten_base();
    let followed =
        followed.inspect_err(|error| tracing::warn!(%error, "a branch cannot follow its base")).ok()?;
    match followed {
        BaseFollowed::Unchanged => None,
        BaseFollowed::Rebased { from } => Some(format!(
            "`{base}` was rewritten: it no longer has the commit `{from:.10}`, where your branch began. Your commits were rebased \
             onto the new `{base}`."
        )),
        BaseFollowed::Conflict { from, paths } => {
            let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            Some(format!(
                "`{base}` was rewritten: it no longer has the commit `{from:.10}`, where your branch began. Your commits cannot be \
                 rebased onto the new `{base}` without conflicts in {}. Run `git rebase --onto {base} {from:.10}` and resolve them.",
                listed(&paths)
            ))
        }
    }
}

fn confinement(context: &RunContext, plan: &RunPlan) -> Result<Confinement, RunOutcome> {
    let chosen = context.settings.confinement().map_err(RunOutcome::NotStarted)?;
    if plan.in_quarantine {
        // Other stories can go on.
        let cannot = |why| RunOutcome::Blocked(BlockReason::Worktree { why });
        strangers::check_wall(&chosen, plan.story.id()).map_err(cannot)?;
    }
    // Known before anything is spent.
    chosen
        .can_limit(&plan.agent.network, &agent_network(&plan.agent.name))
        .map_err(RunOutcome::NotStarted)?;
    chosen.can_limit(&plan.config.gate_network, GATE_NETWORK).map_err(RunOutcome::NotStarted)?;
    Ok(chosen)
}

/// The name of an agent's network setting in sentences.
pub(super) fn agent_network(agent: &str) -> String {
    format!("`network` of the agent `{agent}` in `.storkit/project.toml`")
}

/// Where a login of the CLI is renewed (2.1.330).
const LOGIN_SERVICE: &str = "platform.claude.com";

/// Hosts that every agent needs: the model's service, as its environment names it, unless storkit's own way leads there.
pub(crate) fn needs(settings: &AgentSettings) -> Result<Vec<AllowedHost>, String> {
    const VARIABLE: &str = "ANTHROPIC_BASE_URL";
    if !matches!(settings.model_access, ModelAccess::Login) {
        return Ok(Vec::new());
    }
    let inherited = || {
        settings::environment::var(VARIABLE)
            .filter(|_| !settings.secret_env.iter().any(|name| name == VARIABLE))
    };
    let base = settings.env.get(VARIABLE).cloned().or_else(inherited).filter(|base| !base.trim().is_empty());
    let login = if base.is_none() { AllowedHost::exact(LOGIN_SERVICE, 443) } else { None };
    let base = base.unwrap_or_else(|| "https://api.anthropic.com".into());
    let api = endpoint(base.trim()).and_then(|(host, port)| AllowedHost::exact(&host, port));
    let api = api.ok_or_else(|| {
        format!("`{VARIABLE}` is not the address of a service, so access to it cannot be allowed.")
    })?;
    Ok(login.into_iter().chain([api]).collect())
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

// A problem that a person has to solve blocks the story; a full disk stops everything.
fn failed(error: &WorktreeError) -> RunOutcome {
    match error {
        WorktreeError::DiskFull { .. } => RunOutcome::NotStarted(error.to_string()),
        WorktreeError::BranchInTheWay(..) | WorktreeError::Linked(_) | WorktreeError::Lfs(_) => {
            RunOutcome::Blocked(BlockReason::Worktree { why: error.to_string() })
        }
        WorktreeError::Git(_) | WorktreeError::Read(_) | WorktreeError::Io { .. } => {
            RunOutcome::internal(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use agents::confine::Bwrap;

    use super::*;
    use crate::run::fixture::{RunFixture, STORY};

    fn route() -> PermissionRoute {
        PermissionRoute::Mcp { url: "http://127.0.0.1:4321/mcp".into(), token: "secret".into() }
    }

    fn prepared(fixture: &RunFixture) -> Workspace {
        Workspace::prepare(&fixture.context, &fixture.plan).unwrap()
    }

    /// The same in bubblewrap, which is not started.
    fn enclosed(workspace: &Workspace) -> Workspace {
        let confinement = Confinement::Bwrap(Bwrap::for_home("/nonexistent".as_ref()));
        Workspace { confinement, ..workspace.clone() }
    }

    #[test]
    fn a_story_works_in_its_slot_and_a_conflict_in_a_worktree_of_its_own() {
        let fixture = RunFixture::coder("");
        let (first, again) = (prepared(&fixture), prepared(&fixture));
        assert_eq!(first.path(), fixture.git.root().join(".storkit/worktrees/slot-1"));
        assert_eq!(again.path(), first.path());
        let fixture = RunFixture::mergemaster("");
        let conflict = prepared(&fixture);
        assert_eq!(conflict.path(), fixture.git.root().join(".storkit/worktrees/merge-7"));
        assert!(!fixture.git.root().join(".storkit/worktrees/slot-1").exists());
    }

    #[test]
    fn an_agent_outside_a_sandbox_is_told_of_the_hooks_and_one_inside_needs_none() {
        for fixture in [RunFixture::coder(""), RunFixture::mergemaster("")] {
            let plain = prepared(&fixture);
            let names = |workspace: &Workspace| workspace.environment().into_iter().map(|(name, _)| name);
            assert!(names(&plain).any(|name| name == "GIT_CONFIG_KEY_0"));
            let mut inside = names(&enclosed(&plain));
            assert!(
                inside.any(|name| name == "STORKIT_GUARD_REF")
                    && inside.all(|name| name != "GIT_CONFIG_KEY_0")
            );
        }
    }

    #[test]
    fn only_a_sandbox_gets_private_copies_of_gits_data() {
        for fixture in [RunFixture::coder(""), RunFixture::mergemaster("")] {
            let plain = prepared(&fixture);
            let confined = plain.confine(&fixture.context.settings).unwrap();
            let copies = confined.place.private.join("admin");
            assert_eq!((confined.confinement, copies.exists()), (Confinement::None, false));
            let inside = enclosed(&plain);
            let confined = inside.confine(&fixture.context.settings).unwrap();
            assert_eq!((confined.confinement, copies.exists()), (inside.confinement, true));
        }
    }

    #[test]
    fn the_tools_of_a_run_are_listed_in_a_private_file_as_long_as_it_lives() {
        let fixture = RunFixture::coder("");
        let workspace = prepared(&fixture);
        let path = workspace.path().join(".mcp.json");
        workspace.write_mcp(&PermissionRoute::Control);
        assert!(!path.exists(), "there are none");
        let elsewhere = fixture.git.root().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        workspace.write_mcp(&route());
        assert!(!elsewhere.exists(), "a link is not followed");
        let config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let server = &config["mcpServers"]["storkit"];
        assert_eq!((&server["type"], &server["url"]), (&"http".into(), &"http://127.0.0.1:4321/mcp".into()));
        assert_eq!(server["headers"]["Authorization"], "Bearer secret");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(workspace.secret_files(), [path.as_path()], "a trial hides it");
        workspace.close();
        assert!(!path.exists());
    }

    #[test]
    fn a_projects_own_list_of_tools_is_left_alone() {
        let fixture = RunFixture::coder("");
        fixture.git.write(".mcp.json", "{}");
        fixture.git.git(&["add", ".mcp.json"]);
        fixture.git.git(&["commit", "-q", "-m", "tools"]);
        let workspace = prepared(&fixture);
        workspace.write_mcp(&route());
        assert!(workspace.secret_files().is_empty());
        workspace.close();
        assert_eq!(fs::read_to_string(workspace.path().join(".mcp.json")).unwrap(), "{}");
    }

    #[test]
    fn the_private_copies_of_a_conflict_go_with_its_run() {
        let fixture = RunFixture::mergemaster("");
        let workspace = enclosed(&prepared(&fixture));
        workspace.write_mcp(&route());
        assert!(!workspace.path().join(".mcp.json").exists(), "its files are the merge");
        assert!(workspace.secret_files().is_empty());
        let private = workspace.confine(&fixture.context.settings).unwrap().place.private;
        assert!(private.exists());
        workspace.close();
        assert!(!private.exists());
    }

    #[test]
    fn what_a_person_has_to_solve_blocks_the_story_and_a_full_disk_stops_everything() {
        let mut fixture = RunFixture::coder("");
        fixture.git.git(&["branch", "feature"]);
        let Err(RunOutcome::Blocked(BlockReason::Worktree { why })) =
            Workspace::prepare(&fixture.context, &fixture.plan)
        else {
            panic!("it is prepared")
        };
        assert!(why.starts_with("The branch `feature` is in the way"), "{why}");
        fixture.git.limits.free = 1 << 60;
        fixture.context.worktrees = fixture.git.worktrees();
        let full = Workspace::prepare(&fixture.context, &fixture.plan);
        let Err(RunOutcome::NotStarted(why)) = full else { panic!("it is prepared") };
        assert!(why.starts_with("Too little space for a worktree"), "{why}");
        let broken = WorktreeError::Read(git2::Error::from_str("broken"));
        assert_eq!(failed(&broken), RunOutcome::internal(&broken));
        fs::remove_dir_all(merge::conflict_worktree(&fixture.git.project, STORY)).ok();
        fixture.plan.run.role = Role::Mergemaster;
        let gone = Workspace::prepare(&fixture.context, &fixture.plan);
        assert!(matches!(gone, Err(RunOutcome::Failed(_))), "no conflict waits");
    }

    #[test]
    fn a_limit_that_this_machine_cannot_enforce_is_known_before_anything_is_spent() {
        let mut fixture = RunFixture::coder("");
        fixture.config().gate_network = agents::confine::NetworkAccess::Only(Vec::new());
        let refused = |fixture: &RunFixture| match confinement(&fixture.context, &fixture.plan) {
            Err(RunOutcome::NotStarted(why)) => why,
            other => panic!("{other:?}"),
        };
        let why = refused(&fixture);
        assert!(why.starts_with("`gate_network` in `.storkit/project.toml` cannot be enforced"), "{why}");
        fixture.plan.agent.network = agents::confine::NetworkAccess::Only(Vec::new());
        let why = refused(&fixture);
        assert!(why.starts_with("`network` of the agent `agent` in"), "{why}");
    }

    #[test]
    fn an_agent_needs_the_models_service_and_its_tools() {
        let mut fixture = RunFixture::coder("");
        let mut needed = |base: &str, route: Option<&PermissionRoute>| {
            fixture.settings().env.insert("ANTHROPIC_BASE_URL".into(), base.into());
            let mut hosts = needs(&fixture.context.settings)?;
            Ok::<_, String>((hosts.pop().unwrap(), route.and_then(own_listener)))
        };
        let host = |name, port| AllowedHost::exact(name, port).unwrap();
        assert_eq!(needed(" https://example.com/v1 ", None), Ok((host("example.com", 443), None)));
        assert_eq!(needed("http://example.com", None), Ok((host("example.com", 80), None)));
        let own = Some("127.0.0.1:4321".parse().unwrap());
        assert_eq!(needed("http://127.0.0.1:8080", Some(&route())), Ok((host("127.0.0.1", 8080), own)));
        let control = Some(&PermissionRoute::Control);
        assert_eq!(needed("https://example.com:1", control), Ok((host("example.com", 1), None)));
        for wrong in ["example.com", "ftp://example.com", "https://"] {
            assert!(needed(wrong, None).is_err(), "{wrong}");
        }
        if std::env::var_os("ANTHROPIC_BASE_URL").is_none() {
            assert_eq!(needed(" ", None), Ok((host("api.anthropic.com", 443), None)));
        }
    }
}

//! Which of the operator's MCP servers load: the real CLI starts them in a scratch project, behind a wall like a room's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agents::{
    claude::{
        AgentEvent, AgentProcess, Launch, LaunchProgram, McpServer, McpServerState, OperatorServers,
        PromptMode, ServerTransport, SessionId, SessionStart,
    },
    confine::{Confined, HostDecision, HostGate, HostTarget, NetworkAccess, allowed},
};
use futures::future::BoxFuture;
use pipeline::{
    Project,
    host::{AgentSettings, program_files},
    rooms::{RoomNetwork, RoomWorkspace, connect, scratch_workspace},
    trust::TrustStore,
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{DoctorCheck, bad, good};
use crate::{
    config::LoadedConfig,
    http::host,
    replies::servers::{self as say, ServerHint},
};

/// Longer than the CLI itself waits for a server (30 s).
const PATIENCE: Duration = Duration::from_secs(45);

/// Between two questions about servers that are still connecting.
const POLL: Duration = Duration::from_millis(250);

/// This machine, as lists of hosts name it.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub(super) async fn checks(project: &Project, store: &TrustStore, loaded: &LoadedConfig) -> Vec<DoctorCheck> {
    let servers = &loaded.servers.servers;
    if servers.is_empty() {
        return Vec::new();
    }
    match states(project, store, loaded).await {
        Err(why) => vec![bad(say::untested(&why))],
        Ok(found) => servers.names().map(|name| finding(name, &found, loaded)).collect(),
    }
}

fn finding(name: &str, found: &[McpServer], loaded: &LoadedConfig) -> DoctorCheck {
    let Some(server) = found.iter().find(|server| server.name == name) else {
        return bad(say::left_out(name));
    };
    match &server.state {
        McpServerState::Connected => good(say::loads(name, server.tools)),
        McpServerState::Pending => bad(say::silent(name, PATIENCE.as_secs())),
        McpServerState::WantsLogin => bad(say::wants_login(name)),
        McpServerState::Failed(words) => {
            let transport = loaded.servers.servers.transport(name);
            bad(say::fails(name, words, transport.and_then(|transport| hint(&transport, loaded)).as_ref()))
        }
    }
}

/// The reason that can be seen from here.
fn hint(transport: &ServerTransport, loaded: &LoadedConfig) -> Option<ServerHint> {
    match transport {
        ServerTransport::Stdio { command, args } => {
            let path = loaded.config.claude.env.get("PATH").map(AsRef::as_ref);
            if program_files(std::slice::from_ref(command), path).is_empty() {
                return Some(ServerHint::NoProgram(command.clone()));
            }
            let wall = &loaded.config.wall;
            let shown: Vec<&PathBuf> =
                loaded.servers.files.iter().chain(&wall.visible).chain(&wall.writable).collect();
            let is_hidden = |arg: &&String| {
                let path = Path::new(arg);
                let is_shown =
                    ["/usr", "/bin", "/lib", "/nix/store"].iter().any(|folder| path.starts_with(folder))
                        || shown.iter().any(|folder| path.starts_with(folder));
                path.is_absolute() && !is_shown && path.exists()
            };
            args.iter().find(is_hidden).cloned().map(ServerHint::HiddenFile)
        }
        ServerTransport::Network { host, port } => {
            let access = loaded.config.relay.network_access();
            let listed = match &access {
                NetworkAccess::All => return None,
                NetworkAccess::Unset => &[][..],
                NetworkAccess::Ask(hosts) | NetworkAccess::Only(hosts) => hosts,
            };
            let target = HostTarget::new(host, *port)?;
            let is_here = LOOPBACK.contains(&target.host.as_str());
            let names = if is_here { &LOOPBACK[..] } else { &[target.host.as_str()][..] };
            let is_open = names.iter().any(|name| allowed(listed, name, *port).is_some());
            (!is_open).then(|| match is_here {
                true => ServerHint::ClosedPort(*port),
                false => ServerHint::ClosedHost(target.to_string()),
            })
        }
    }
}

/// The servers as a CLI reports them that is started as a room's.
async fn states(
    project: &Project,
    store: &TrustStore,
    loaded: &LoadedConfig,
) -> Result<Vec<McpServer>, String> {
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let access = loaded.config.claude.model_access(&loaded.secret_env)?;
    let settings = host::settings(loaded, store.clone(), access);
    let (served, folder) = (project.clone(), scratch.path().to_owned());
    let network = RoomNetwork {
        access: loaded.config.relay.network_access(),
        gate: Arc::new(AsksNobody),
        meter: Arc::default(),
        base: String::new(),
    };
    let made = tokio::task::spawn_blocking(move || workspace(&served, &folder, &settings, network));
    let workspace = made.await.map_err(|error| error.to_string())??;
    let launch = launch(&scratch.path().join(".storkit/run"), &workspace, loaded);
    let (process, mut events) = AgentProcess::start(launch).await.map_err(|error| error.to_string())?;
    let found = ask(&process, &mut events).await;
    process.end().await;
    found
}

fn workspace(
    served: &Project,
    folder: &Path,
    settings: &AgentSettings,
    network: RoomNetwork,
) -> Result<RoomWorkspace, String> {
    connect(served, settings, scratch_workspace(folder, settings)?, network)
}

fn launch(runtime_dir: &Path, workspace: &RoomWorkspace, loaded: &LoadedConfig) -> Launch {
    let claude = &loaded.config.claude;
    let program = LaunchProgram {
        env_remove: loaded.secret_env.clone(),
        env: claude.env.clone().into_iter().chain(workspace.env.iter().cloned()).collect(),
        ..LaunchProgram::new(claude.command.clone(), &workspace.folder, runtime_dir)
    };
    let mut launch = Launch::new(program, SessionStart::New(SessionId::random()), PromptMode::Live);
    let confinement = workspace.confined.confinement.showing(&loaded.servers.files);
    launch.confine = Some(Confined { confinement, ..workspace.confined.clone() });
    launch.model = workspace.model.clone();
    launch.servers = OperatorServers::clone(&loaded.servers.servers);
    launch
}

/// Asks until no server is still connecting. Nothing is sent to the model.
async fn ask(
    process: &AgentProcess,
    events: &mut tokio::sync::mpsc::Receiver<AgentEvent>,
) -> Result<Vec<McpServer>, String> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = Err(say::NO_ANSWER.to_owned());
    process.ask_servers().await.map_err(|error| error.to_string())?;
    while let Ok(event) = timeout_at(deadline, events.recv()).await {
        match event {
            Some(AgentEvent::Servers(found)) => {
                let is_pending = found.iter().any(|server| server.state == McpServerState::Pending);
                last = Ok(found);
                if !is_pending {
                    break;
                }
                sleep(POLL).await;
                process.ask_servers().await.map_err(|error| error.to_string())?;
            }
            Some(AgentEvent::Exited(exit)) => return Err(say::agent_ended(&exit.tail)),
            Some(_) => {}
            None => break,
        }
    }
    last
}

/// What a room would be asked about is refused here.
struct AsksNobody;

impl HostGate for AsksNobody {
    fn decide(&self, _: HostTarget) -> BoxFuture<'static, HostDecision> {
        Box::pin(async { HostDecision::Refused(say::NOBODY_IS_ASKED.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use agents::claude::ServerVariable;

    use super::*;
    use crate::config::RoomServers;

    fn hint_for(server: &str, network: &str) -> Option<ServerHint> {
        let text = format!(r#"{{"mcpServers": {{"db": {server}}}}}"#);
        let servers = OperatorServers::parse(&text, |_| ServerVariable::Unset).unwrap();
        let config =
            toml::from_str(&format!("[relay]\n{network}\n[wall]\nvisible = [\"/etc/ssl\"]")).unwrap();
        let transport = servers.transport("db").unwrap();
        let servers = RoomServers { servers, files: vec!["/etc/hosts".into()] };
        hint(&transport, &LoadedConfig { config, servers, ..LoadedConfig::default() })
    }

    #[test]
    fn a_program_a_file_and_a_host_that_are_missing_behind_the_wall_are_found() {
        let shell = |arguments: &str| hint_for(&format!(r#"{{"command": "sh", "args": [{arguments}]}}"#), "");
        assert_eq!(
            shell(r#""-c", "/etc/hosts", "/etc/ssl/certs", "/usr/bin/env", "/not/there", "passwd""#),
            None
        );
        assert_eq!(shell(r#""/etc/passwd""#), Some(ServerHint::HiddenFile("/etc/passwd".into())));
        let none = hint_for(r#"{"command": "no-such-program"}"#, "");
        assert_eq!(none, Some(ServerHint::NoProgram("no-such-program".into())));

        let at =
            |url: &str, network: &str| hint_for(&format!(r#"{{"type": "http", "url": {url:?}}}"#), network);
        let closed = |host: &str| Some(ServerHint::ClosedHost(host.into()));
        assert_eq!(at("https://a.example/mcp", ""), closed("a.example:443"));
        assert_eq!(at("https://a.example/mcp", "network = false"), closed("a.example:443"));
        assert_eq!(at("https://a.example/mcp", "network = [\"ask\", \"a.example\"]"), None);
        assert_eq!(at("https://a.example/mcp", "network = true"), None);
        assert_eq!(at("http://127.0.0.1:8080/", ""), Some(ServerHint::ClosedPort(8080)));
        assert_eq!(at("http://127.0.0.1:8080/", "network = [\"localhost:8080\"]"), None);
        assert_eq!(at("http://localhost:8080/", "network = [\"127.0.0.1:8080\"]"), None);
    }
}

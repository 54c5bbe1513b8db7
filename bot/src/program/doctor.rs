//! What storkit needs from its machine, checked; each line says what to do where something is missing.

use std::{fmt::Write as _, process::Stdio, time::Duration};

use adapters::markdown::inert;
use agents::{
    claude::TESTED_VERSION,
    confine::{Confinement, NetworkAccess},
};
use pipeline::{
    Project,
    config::{Agent, ProjectConfig},
    guard::base_branch,
    project::ProjectContext,
    stage::Role,
};
use tokio::process::Command;

use crate::{
    commands,
    config::BotConfig,
    program::{lock, messengers},
    replies,
};

/// How long one check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorCheck {
    /// How it went.
    pub state: CheckState,
    /// What was found, and what to do.
    pub text: String,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// As it should be.
    Good,
    /// Works, but should be known.
    Note,
    /// Does not work.
    Bad,
}

fn good(text: impl Into<String>) -> DoctorCheck {
    DoctorCheck { state: CheckState::Good, text: text.into() }
}

fn note(text: impl Into<String>) -> DoctorCheck {
    DoctorCheck { state: CheckState::Note, text: text.into() }
}

fn bad(text: impl Into<String>) -> DoctorCheck {
    DoctorCheck { state: CheckState::Bad, text: text.into() }
}

/// Runs all checks.
pub async fn check(project: &Project, config: &BotConfig, secret_env: &[String]) -> Vec<DoctorCheck> {
    let mut checks = vec![claude_version(config, secret_env).await];
    checks.extend(claude_key(config, secret_env).await);
    checks.extend(git(project).await);
    checks.push(trust(config));
    checks.push(sandbox());
    checks.extend(stories(project));
    checks.extend(network(project));
    checks.push(config_file(project));
    checks.push(context(project));
    checks.push(port(project, config).await);
    checks.push(disk(project));
    checks.push(clock(project));
    checks.extend(messengers(project, config).await);
    checks
}

/// Each messenger's settings and credentials, tried at its service.
async fn messengers(project: &Project, config: &BotConfig) -> Vec<DoctorCheck> {
    let identity = commands::services::identity(config, &commands::all());
    let made = match messengers::configured(config, project, &identity) {
        Ok(made) => made,
        Err(error) => return vec![bad(inert(&error.to_string()).to_string())],
    };
    // One that serves holds what a second connection would spoil.
    let serving = lock::holder(project);
    let checks = made.adapters.iter().map(|adapter| async {
        let name = adapter.name();
        if let Some(pid) = serving {
            return note(format!(
                "{name}: a storkit serves here (process {pid}); `status` there says how it is connected"
            ));
        }
        match tokio::time::timeout(CHECK_TIMEOUT, adapter.prepare()).await {
            Ok(Ok(())) => good(format!("{name}: its service takes the credentials")),
            Ok(Err(error)) => bad(format!("{name}: {}", inert(&error.to_string()))),
            Err(_) => bad(format!("{name}: no answer in {} s", CHECK_TIMEOUT.as_secs())),
        }
    });
    futures::future::join_all(checks).await
}

fn context(project: &Project) -> DoctorCheck {
    match project.context() {
        ProjectContext::Text(_) => good("agents are told what `.storkit/context.md` says"),
        ProjectContext::Untouched => note(
            "`.storkit/context.md` is still the template. Fill it in, or ask the bot to do it with you: agents read it",
        ),
        ProjectContext::Missing => note(
            "there is no `.storkit/context.md` to tell agents what this project is. `storkit init` writes one",
        ),
    }
}

/// Whether the loopback listener can listen; where a storkit serves already it does.
async fn port(project: &Project, config: &BotConfig) -> DoctorCheck {
    let port = config.http.port;
    match (lock::holder(project), crate::http::bind(port).await) {
        (Some(pid), _) => good(format!("a storkit serves this project (process {pid})")),
        (None, Ok(_)) if port == 0 => good("the port of the agents' tools is chosen at each start"),
        (None, Ok(_)) => good(format!("port {port} on 127.0.0.1 is free")),
        (None, Err(error)) => bad(format!(
            "port {port} on 127.0.0.1 cannot be used: {error}. Choose another in `[http] port`, or 0 for a free one"
        )),
    }
}

/// Room for worktrees, builds and the state.
fn disk(project: &Project) -> DoctorCheck {
    const LITTLE: u64 = 5 << 30;
    match rustix::fs::statvfs(project.dir()) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let text = format!("{} GiB are free on the project's disk", free >> 30);
            match free < LITTLE {
                true => note(format!("{text}; worktrees and builds of several agents may need more")),
                false => good(text),
            }
        }
        Err(error) => note(format!("how much disk is free is not known: {error}")),
    }
}

/// A clock that is wrong makes old messages of new ones, and the other way round.
fn clock(project: &Project) -> DoctorCheck {
    let newest = pipeline::git::head_time(project).ok().flatten();
    match newest.filter(|newest| *newest > std::time::SystemTime::now()) {
        None => good("the clock is not behind the newest commit"),
        Some(_) => bad(
            "the clock is behind the newest commit, so messages would be taken for older than they are. Set it (`timedatectl set-ntp true`)",
        ),
    }
}

/// The CLI as agents get it: without the bot's secrets, with what is configured for it.
async fn claude(config: &BotConfig, secret_env: &[String], arguments: &[&str]) -> Result<String, String> {
    let (name, leading) = config.claude.command.split_first().ok_or("no program is configured")?;
    let mut command = Command::new(name);
    for secret in secret_env {
        command.env_remove(secret);
    }
    command.args(leading).args(arguments).envs(&config.claude.env);
    output(command).await
}

async fn run_git(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    command.args(arguments);
    output(command).await
}

async fn output(mut command: Command) -> Result<String, String> {
    let child = command.stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(CHECK_TIMEOUT, child).await {
        Err(_) => Err(format!("it did not answer in {} s", CHECK_TIMEOUT.as_secs())),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(output)) => {
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if output.status.success() || text.starts_with('{') { Ok(text) } else { Err(text) }
        }
    }
}

async fn claude_version(config: &BotConfig, secret_env: &[String]) -> DoctorCheck {
    let program = config.claude.command.first().map(String::as_str).unwrap_or_default();
    match claude(config, secret_env, &["--version"]).await {
        Ok(version) if version.contains(TESTED_VERSION) => good(format!("Claude Code {TESTED_VERSION}")),
        Ok(version) => note(format!(
            "Claude Code {}; storkit is tested with {TESTED_VERSION}",
            inert(&replies::shorten(&version, 60))
        )),
        Err(_) if which(program).is_none() => bad(replies::claude_missing(program)),
        Err(why) => bad(format!("`{program} --version` failed: {}", inert(&why))),
    }
}

fn which(program: &str) -> Option<std::path::PathBuf> {
    if program.contains('/') {
        return Some(program.into()).filter(|path: &std::path::PathBuf| path.is_file());
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Nothing where there is no program: that is said already.
async fn claude_key(config: &BotConfig, secret_env: &[String]) -> Option<DoctorCheck> {
    let program = config.claude.command.first().map(String::as_str).unwrap_or_default();
    which(program)?;
    Some(match claude(config, secret_env, &["auth", "status"]).await {
        Ok(text) if logged_in(&text) => good("Claude Code has a key or a login"),
        Ok(_) => bad("Claude Code has no key. Set `ANTHROPIC_API_KEY`, or run `claude` once and log in"),
        Err(why) => note(format!(
            "whether Claude Code has a key is not known: {}",
            inert(&replies::shorten(&why, 120))
        )),
    })
}

fn logged_in(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|status| status["loggedIn"] == true)
}

async fn git(project: &Project) -> Vec<DoctorCheck> {
    let root = project.root().to_string_lossy().into_owned();
    let mut checks = Vec::new();
    match run_git(&["--version"]).await {
        Ok(version) => checks.push(good(version)),
        Err(_) => return vec![bad("`git` was not found. Install it (`apt-get install git`)")],
    }
    let identity = run_git(&["-C", &root, "config", "user.email"]).await;
    checks.push(match identity {
        Ok(email) if !email.is_empty() => good(format!("commits are made as {}", inert(&email))),
        _ => note("git has no identity here. Run `git config user.email YOU@EXAMPLE` and `git config user.name NAME`"),
    });
    checks
}

fn trust(config: &BotConfig) -> DoctorCheck {
    match config.claude.trust_project_settings {
        true => note(
            "`trust_project_settings` is on: this repository's settings, hooks and MCP servers run on this machine",
        ),
        false => good("the project's own settings, hooks and MCP servers do not take effect"),
    }
}

/// What agents on stories run in. Bubblewrap is tried: containers often have the program and forbid what it does.
fn sandbox() -> DoctorCheck {
    let home = std::env::var_os("HOME").map_or_else(|| "/".into(), std::path::PathBuf::from);
    match Confinement::strongest_available(&home) {
        (_, None) => good("agents on stories run in bubblewrap; those in chat rooms are held by permissions"),
        (_, Some(why)) => note(format!(
            "agents run without a sandbox, held by permissions, hooks and the comparison of base before and after: {}",
            inert(&why)
        )),
    }
}

/// What agents and commands may reach, and whether this machine can keep them to it.
fn network(project: &Project) -> Option<DoctorCheck> {
    let path = project.dir().join("project.toml");
    // What is wrong in it is told already.
    let config = ProjectConfig::load(&path, |name| std::env::var(name).ok()).ok()?.config;
    let parts = network_parts(&config);
    let Some((_, _, limited)) = parts.iter().find(|(_, _, network)| network.is_limited()) else {
        return Some(good("agents, gates and components have the whole network"));
    };
    let home = std::env::var_os("HOME").map_or_else(|| "/".into(), std::path::PathBuf::from);
    let (strongest, _) = Confinement::strongest_available(&home);
    let told = network_told(&parts);
    Some(match strongest.can_limit(limited, "`network`") {
        Ok(()) => match way_around(&config) {
            Some(why) => note(format!("{told}. {why}")),
            None => good(told),
        },
        Err(why) => bad(format!("{told}. No run is started: {}", inert(&why))),
    })
}

/// Who may reach what: its name, what it has besides, and its part of the network.
type Part<'a> = (String, &'static str, &'a NetworkAccess);

fn network_parts(config: &ProjectConfig) -> Vec<Part<'_>> {
    const NEEDS: &str = "the model's API, storkit's tools";
    let agents = config.agents.iter().map(|agent| (format!("`{}`", agent.name), NEEDS, &agent.network));
    let components = config
        .components
        .iter()
        .map(|component| (format!("component `{}`", component.name), "", &component.network));
    let gates = ("gates".to_owned(), "", &config.gate_network);
    agents.chain([gates]).chain(components).collect()
}

/// What runs an agent's work and reaches more than any agent may.
fn way_around(config: &ProjectConfig) -> Option<String> {
    // What a reviewer changes is undone.
    let writes = |agent: &&Agent| agent.network.is_limited() && agent.role != Role::Qa;
    let limited = config.agents.iter().find(writes)?;
    let gates = Some("`gate_network`".to_owned()).filter(|_| !config.gate_network.is_limited());
    let components = config.components.iter().filter(|component| !component.network.is_limited());
    let components = components.map(|component| format!("`network` of the component `{}`", component.name));
    let open: Vec<String> = gates.into_iter().chain(components).collect();
    (!open.is_empty()).then(|| {
        format!(
            "What `{}` writes is run with the whole network all the same; limit {} too",
            limited.name,
            open.join(" and ")
        )
    })
}

/// Those that have the same together.
fn network_told(parts: &[Part<'_>]) -> String {
    let mut told: Vec<(Vec<&str>, String)> = Vec::new();
    for (name, needs, network) in parts {
        let reach = match network {
            NetworkAccess::All => "everything".to_owned(),
            NetworkAccess::Only(hosts) if hosts.is_empty() && needs.is_empty() => "nothing".to_owned(),
            NetworkAccess::Only(hosts) => {
                let needs = Some((*needs).to_owned()).filter(|needs| !needs.is_empty());
                let hosts = hosts.iter().map(|host| format!("`{host}`"));
                needs.into_iter().chain(hosts).collect::<Vec<_>>().join(", ")
            }
        };
        match told.iter_mut().find(|(_, other)| *other == reach) {
            Some((names, _)) => names.push(name),
            None => told.push((vec![name], reach)),
        }
    }
    let told: Vec<String> =
        told.iter().map(|(names, reach)| format!("{}: {reach}", names.join(", "))).collect();
    format!("network: {}", told.join("; "))
}

/// What stories need: a valid `project.toml`, and a branch to merge to.
fn stories(project: &Project) -> Vec<DoctorCheck> {
    let path = project.dir().join("project.toml");
    let (configured, config) = match ProjectConfig::load(&path, |name| std::env::var(name).ok()) {
        Ok(loaded) => {
            let agents = loaded.config.agents.len();
            let gates = loaded.config.gates.len();
            let text = format!("stories: {agents} kinds of agents, {gates} gates");
            (loaded.config.base_branch, good(text))
        }
        Err(error) => (None, bad(inert(&error.to_string()).to_string())),
    };
    let base = match base_branch(project, configured.as_deref()) {
        Ok(base) => good(format!("stories merge to `{base}`")),
        Err(error) => note(format!("no story can be merged yet: {}", inert(&error.to_string()))),
    };
    vec![config, base]
}

fn config_file(project: &Project) -> DoctorCheck {
    use std::os::unix::fs::PermissionsExt as _;
    let path = project.dir().join("bot.toml");
    match std::fs::metadata(&path) {
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
            note("`.storkit/bot.toml` can be read by other users. Run `chmod 600 .storkit/bot.toml`")
        }
        Ok(_) => good("`.storkit/bot.toml` is for its owner only"),
        Err(_) => good("no `.storkit/bot.toml`; all settings have their defaults"),
    }
}

/// The checks as a list in Markdown.
pub fn report(checks: &[DoctorCheck]) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.state {
            CheckState::Good => "✅",
            CheckState::Note => "ℹ️",
            CheckState::Bad => "❌",
        };
        let _ = writeln!(text, "- {mark} {}", check.text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_read_from_the_clis_own_json() {
        assert!(logged_in(r#"{"loggedIn": true, "authMethod": "api_key"}"#));
        assert!(!logged_in(r#"{"loggedIn": false}"#));
        assert!(!logged_in("no json"));
    }

    #[test]
    fn the_report_marks_what_is_wrong() {
        insta::assert_snapshot!(report(&[good("a"), note("b"), bad("c")]), @r"
        - ✅ a
        - ℹ️ b
        - ❌ c
        ");
    }

    #[test]
    fn the_network_is_told_of_each_and_together_where_it_is_alike() {
        let text = r#"
            gate_network = false
            [[component]]
            name = "web"
            network = ["registry.npmjs.org"]
            [[agent]]
            name = "coder"
            stage = "coder"
            network = ["crates.io", "*.crates.io"]
            [[agent]]
            name = "qa"
            stage = "qa"
            network = false
            [[agent]]
            name = "boss"
            stage = "supervisor"
            [[agent]]
            name = "merger"
            stage = "mergemaster"
        "#;
        let config =
            ProjectConfig::parse(text, "project.toml".as_ref(), |_| None).expect("it is valid").config;
        insta::assert_snapshot!(network_told(&network_parts(&config)), @"network: `coder`: the model's API, storkit's tools, `crates.io`, `*.crates.io`; `qa`: the model's API, storkit's tools; `boss`, `merger`: everything; gates: nothing; component `web`: `registry.npmjs.org`");
    }

    #[test]
    fn gates_that_undo_an_agents_limit_are_told() {
        let told = |text: &str| {
            let agent = "[[agent]]\nname = \"coder\"\nstage = \"coder\"\n";
            let text = format!("{text}\n{agent}network = false\n");
            way_around(&ProjectConfig::parse(&text, "project.toml".as_ref(), |_| None).expect("valid").config)
        };
        insta::assert_snapshot!(told("[[component]]\nname = \"web\"\nnetwork = true").expect("told"), @"What `coder` writes is run with the whole network all the same; limit `gate_network` and `network` of the component `web` too");
        assert_eq!(told("gate_network = false"), None);
    }

    #[tokio::test]
    async fn a_missing_program_says_how_to_get_it() {
        let mut config = BotConfig::default();
        config.claude.command = vec!["no-such-program-here".into()];
        let check = claude_version(&config, &[]).await;
        assert_eq!(check.state, CheckState::Bad);
        assert!(check.text.contains("npm install"), "{}", check.text);
    }

    #[tokio::test]
    async fn the_cli_is_checked_without_the_bots_secrets_and_with_its_own_environment() {
        let mut config = BotConfig::default();
        // The home folder's name stands for a secret: every test has one.
        config.claude.command = ["/bin/sh", "-c", "echo \"${HOME-none} $MINE\""].map(str::to_owned).into();
        config.claude.env.insert("MINE".into(), "mine".into());
        assert_eq!(claude(&config, &["HOME".into()], &[]).await, Ok("none mine".into()));
        assert_ne!(claude(&config, &[], &[]).await, Ok("none mine".into()));
    }
}

//! Checks of everything storkit needs from its machine. [`crate::replies::doctor`] words the findings.

mod onboarding;
mod servers;
pub mod walls;

use std::{fmt::Write as _, path::PathBuf, process::Stdio, time::Duration};

use agents::{
    claude::TESTED_VERSION,
    confine::{Confinement, NetworkAccess},
    model_proxy::{ModelAccess, is_model_variable},
};
use pipeline::{
    Project,
    config::{Agent, ProjectConfig},
    git::kind::{self, RepositoryTrait},
    stage::Role,
    trust::{ProjectTrust, TrustError, TrustStore},
};
use tokio::process::Command;

use crate::{
    commands,
    config::{BotConfig, LoadedConfig},
    program::{
        claude_settings::{self, UnaskedCalls},
        lock, messengers,
    },
    replies::doctor::{self as say, NetworkPart},
};

/// How long one check may take. A program that hangs must not hang `doctor`.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorCheck {
    pub state: CheckState,
    /// The finding, and the remedy where there is one.
    pub text: String,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// As it should be.
    Good,
    /// Works, but should be known.
    Note,
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

pub async fn check(project: &Project, store: &TrustStore, loaded: &LoadedConfig) -> Vec<DoctorCheck> {
    let (config, secret_env) = (&loaded.config, &loaded.secret_env);
    let trust = ProjectTrust::read(project, store);
    let mut checks = vec![claude_version(config, secret_env).await];
    let key = claude_key(config, secret_env).await;
    let has_login = key.as_ref().is_some_and(|check| check.state == CheckState::Good);
    checks.extend(key);
    checks.extend(model_way(config, secret_env, has_login));
    checks.extend(git(project).await);
    checks.extend(repository(project));
    checks.push(project_settings(config));
    checks.extend(unasked_calls(config));
    let wall = walls::chosen_wall(config, secret_env);
    checks.extend(walls::checks(&trust, &wall, config.relay.workspace));
    match &trust {
        Ok(trust) => {
            checks.extend(stories(trust));
            checks.extend(confirmation(trust));
            checks.extend(network(trust, &config.relay.network_access(), &wall));
            checks.extend(onboarding::checks(project, trust));
        }
        Err(TrustError::Base(error)) => checks.push(note(say::merges_nowhere(&error.to_string()))),
        Err(error) => checks.push(bad(say::as_reported(&error.to_string()))),
    }
    checks.extend(servers::checks(project, store, loaded).await);
    checks.push(config_file(project));
    checks.push(port(project, config).await);
    checks.push(page(config));
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
        Err(error) => return vec![bad(say::as_reported(&error.to_string()))],
    };
    // A storkit that serves has these connections open, and a second one could disturb them.
    let serving = lock::holder(project);
    let checks = made.adapters.iter().map(|adapter| async {
        let name = adapter.name();
        if let Some(pid) = serving {
            return note(say::messenger_in_use(name, pid));
        }
        match tokio::time::timeout(CHECK_TIMEOUT, adapter.prepare()).await {
            Ok(Ok(())) => good(say::messenger_ready(name)),
            Ok(Err(error)) => bad(say::messenger_refused(name, &error.to_string())),
            Err(_) => bad(say::messenger_silent(name, CHECK_TIMEOUT.as_secs())),
        }
    });
    futures::future::join_all(checks).await
}

/// Whether the loopback listener can listen; where a storkit serves already it does.
async fn port(project: &Project, config: &BotConfig) -> DoctorCheck {
    let port = config.http.port;
    match (lock::holder(project), crate::http::bind(port).await) {
        (Some(pid), _) => good(say::served_by(pid)),
        (None, Ok(_)) if port == 0 => good(say::PORT_CHOSEN_AT_START),
        (None, Ok(_)) => good(say::port_free(port)),
        (None, Err(error)) => bad(say::port_unusable(port, &error)),
    }
}

/// Whether there is a web page, and where.
fn page(config: &BotConfig) -> DoctorCheck {
    match config.web.address() {
        None => good(say::NO_PAGE),
        Some(_) if crate::http::web::build().is_empty() => note(say::PAGE_NOT_BUILT),
        Some(address) => good(say::page_at(&address, &config.web.origin)),
    }
}

/// Room for worktrees, builds and the state.
fn disk(project: &Project) -> DoctorCheck {
    const LITTLE: u64 = 5 << 30;
    match rustix::fs::statvfs(project.dir()) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            match free < LITTLE {
                true => note(say::disk_low(free >> 30)),
                false => good(say::disk_free(free >> 30)),
            }
        }
        Err(error) => note(say::disk_unknown(&error)),
    }
}

// A wrong clock makes new messages look old and old ones new, so that the first are skipped and the second run.
fn clock(project: &Project) -> DoctorCheck {
    let newest = pipeline::git::head_time(project).ok().flatten();
    match newest.filter(|newest| *newest > std::time::SystemTime::now()) {
        None => good(say::CLOCK_PLAUSIBLE),
        Some(_) => bad(say::CLOCK_BEHIND),
    }
}

/// Runs the CLI as agents do: without the bot's secrets and the model's key, with its configured environment.
async fn claude(config: &BotConfig, secret_env: &[String], arguments: &[&str]) -> Result<String, String> {
    let (name, leading) = config.claude.command.split_first().ok_or(say::NO_PROGRAM)?;
    let mut command = Command::new(name);
    // As agents get it: the model's key is not in the environment of a storkit that serves.
    command.env_clear().envs(settings::environment::all());
    for secret in secret_env {
        command.env_remove(secret);
    }
    // `model_way` reports an error.
    let access = config.claude.model_access(secret_env).unwrap_or_default();
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(|name| access.withholds(name)))
    {
        command.env_remove(name);
    }
    let configured = config.claude.env.iter().filter(|(name, _)| !access.replaces(name));
    command.args(leading).args(arguments).envs(configured).envs(access.placeholders());
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
        Err(_) => Err(say::no_answer_in(CHECK_TIMEOUT.as_secs())),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(output)) => {
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            // `claude auth status` may print its JSON and still fail, where nobody is logged in.
            // That is an answer, too.
            if output.status.success() || text.starts_with('{') { Ok(text) } else { Err(text) }
        }
    }
}

async fn claude_version(config: &BotConfig, secret_env: &[String]) -> DoctorCheck {
    let program = config.claude.command.first().map(String::as_str).unwrap_or_default();
    match claude(config, secret_env, &["--version"]).await {
        Ok(version) if version.contains(TESTED_VERSION) => good(say::claude_tested()),
        Ok(version) => note(say::claude_untested(&version)),
        Err(_) if which(program).is_none() => bad(say::claude_missing(program)),
        Err(why) => bad(say::claude_fails(program, &why)),
    }
}

fn which(program: &str) -> Option<std::path::PathBuf> {
    if program.contains('/') {
        return Some(program.into()).filter(|path: &std::path::PathBuf| path.is_file());
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// `None` where there is no program: `claude_version` reports that.
async fn claude_key(config: &BotConfig, secret_env: &[String]) -> Option<DoctorCheck> {
    let program = config.claude.command.first().map(String::as_str).unwrap_or_default();
    which(program)?;
    Some(match claude(config, secret_env, &["auth", "status"]).await {
        Ok(text) if logged_in(&text) => good(say::CLAUDE_HAS_KEY),
        Ok(_) => bad(say::CLAUDE_HAS_NO_KEY),
        Err(why) => note(say::claude_key_unknown(&why)),
    })
}

/// Whether agents can see what opens the way to their model.
fn model_way(config: &BotConfig, secret_env: &[String], has_login: bool) -> Option<DoctorCheck> {
    match config.claude.model_access(secret_env) {
        Err(why) => Some(bad(say::as_reported(&why))),
        Ok(ModelAccess::Proxied(_)) => Some(match settings_with_key(config) {
            None => good(say::KEY_STAYS_OUTSIDE),
            Some(file) => note(say::key_in_settings(&file)),
        }),
        Ok(ModelAccess::Login) => has_login.then(|| note(say::LOGIN_IS_VISIBLE)),
        Ok(ModelAccess::Cloud(cloud)) => Some(note(say::cloud_is_visible(cloud))),
    }
}

/// The user's own settings of the CLI, if they set a key or an address, which count for the CLI before those that storkit gives it.
fn settings_with_key(config: &BotConfig) -> Option<PathBuf> {
    let folder = claude_settings::folder(config)?;
    let file = folder.join("settings.json");
    let settings: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
    let variables = settings["env"].as_object().into_iter().flatten();
    let of_model = variables.into_iter().any(|(name, _)| is_model_variable(name));
    (of_model || settings.get("apiKeyHelper").is_some()).then_some(file)
}

fn logged_in(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|status| status["loggedIn"] == true)
}

async fn git(project: &Project) -> Vec<DoctorCheck> {
    let root = project.root().to_string_lossy().into_owned();
    let mut checks = Vec::new();
    match run_git(&["--version"]).await {
        Ok(version) => checks.push(good(say::git_version(&version))),
        Err(_) => return vec![bad(say::GIT_MISSING)],
    }
    let identity = run_git(&["-C", &root, "config", "user.email"]).await;
    checks.push(match identity {
        Ok(email) if !email.is_empty() => good(say::git_identity(&email)),
        _ => note(say::GIT_HAS_NO_IDENTITY),
    });
    checks
}

/// What is unusual about the repository, and whether storkit can work in it.
fn repository(project: &Project) -> Vec<DoctorCheck> {
    let found = match kind::traits(project) {
        Ok(found) => found,
        Err(error) => return vec![bad(say::as_reported(&error.to_string()))],
    };
    let check = |found: &RepositoryTrait| match found.refusal() {
        Some(why) => bad(say::as_reported(&why)),
        None => match found {
            RepositoryTrait::Submodules { missing, .. } if missing.is_empty() => {
                good(say::repository_trait(found))
            }
            RepositoryTrait::Shallow
            | RepositoryTrait::Partial { .. }
            | RepositoryTrait::LinkedWorktree { .. }
            | RepositoryTrait::DetachedHead => good(say::repository_trait(found)),
            _ => note(say::repository_trait(found)),
        },
    };
    if found.is_empty() { vec![good(say::USUAL_REPOSITORY)] } else { found.iter().map(check).collect() }
}

fn project_settings(config: &BotConfig) -> DoctorCheck {
    match config.claude.trust_project_settings {
        true => note(say::PROJECT_SETTINGS_TRUSTED),
        false => good(say::PROJECT_SETTINGS_IGNORED),
    }
}

/// What Claude Code's own settings allow: permissions for everybody in a room.
fn unasked_calls(config: &BotConfig) -> Vec<DoctorCheck> {
    let checks = claude_settings::files(config).into_iter().flat_map(|file| {
        match claude_settings::unasked_calls(&file) {
            Ok(UnaskedCalls { rules, folders }) => {
                let rules = (!rules.is_empty()).then(|| note(say::rules_for_everybody(&file, &rules)));
                let folders =
                    (!folders.is_empty()).then(|| note(say::folders_for_everybody(&file, &folders)));
                rules.into_iter().chain(folders).collect()
            }
            Err(error) => vec![note(say::claude_settings_unreadable(&file, &error))],
        }
    });
    let checks: Vec<_> = checks.collect();
    if checks.is_empty() { vec![good(say::NO_RULES_FOR_EVERYBODY)] } else { checks }
}

/// The network access of agents, chat rooms and commands, and whether this machine can enforce its limits.
fn network(
    trust: &ProjectTrust,
    rooms: &NetworkAccess,
    wall: &Result<Confinement, String>,
) -> Option<DoctorCheck> {
    // `stories` reports settings that are wrong, and `confirmation` those that nobody confirmed.
    let config = trust.in_force(settings::environment::var).ok()??.config;
    let parts = network_parts(&config, rooms);
    let limited = || parts.iter().map(|part| part.network).filter(|network| network.is_limited());
    // What somebody set comes first: it stops runs where it cannot be enforced.
    let Some(limited) = limited().max_by_key(|network| (network.is_strict(), network.is_set())) else {
        return Some(good(say::NETWORK_OPEN));
    };
    let access = say::network_access(&parts);
    let can_limit =
        |wall: &&Confinement| wall.can_limit(limited, "`network`").is_ok() && !limited.is_strict();
    let gap = wall.as_ref().ok().filter(can_limit).and_then(Confinement::network_gap);
    if let Some(gap) = gap {
        return Some(note(say::network_open_here(&access, &gap)));
    }
    Some(match wall.as_ref().map_err(Clone::clone).and_then(|wall| wall.can_limit(limited, "`network`")) {
        Ok(()) => match way_around(&config) {
            Some(why) => note(format!("{access} {why}")),
            None => good(access),
        },
        Err(why) => bad(format!("{access} {}", say::network_not_limited(&why.to_string()))),
    })
}

fn network_parts<'a>(config: &'a ProjectConfig, rooms: &'a NetworkAccess) -> Vec<NetworkPart<'a>> {
    const ALWAYS: &str = "the model's API, storkit's tools";
    let part = |name, always, network| NetworkPart { name, always, network };
    let agents = config.agents.iter().map(|agent| part(format!("`{}`", agent.name), ALWAYS, &agent.network));
    let components = config
        .components
        .iter()
        .map(|component| part(format!("component `{}`", component.name), "", &component.network));
    let gates = part("gates".to_owned(), "", &config.gate_network);
    let rooms = part("chat rooms".to_owned(), "the model's API", rooms);
    agents.chain([rooms, gates]).chain(components).collect()
}

// Gates and components run code that an agent wrote. If they reach more than the agent may, its
// limit has a way around.
fn way_around(config: &ProjectConfig) -> Option<String> {
    // A reviewer's changes are undone, so they never run.
    let writes = |agent: &&Agent| agent.network.is_limited() && agent.role != Role::Qa;
    let limited = config.agents.iter().find(writes)?;
    let gates = Some("`gate_network`".to_owned()).filter(|_| !config.gate_network.is_limited());
    let components = config.components.iter().filter(|component| !component.network.is_limited());
    let components = components.map(|component| say::component_network_key(&component.name));
    let open: Vec<String> = gates.into_iter().chain(components).collect();
    (!open.is_empty()).then(|| say::network_way_around(&limited.name, &open))
}

/// What stories need: valid settings on base, and a branch to merge to.
fn stories(trust: &ProjectTrust) -> Vec<DoctorCheck> {
    let config = match trust.proposed_config(settings::environment::var) {
        Ok(loaded) => good(say::team(loaded.config.agents.len(), loaded.config.gates.len())),
        Err(why) => bad(say::as_reported(&why)),
    };
    vec![config, good(say::merges_to(&trust.base))]
}

/// Whether the operator has confirmed the repository's commands and settings.
fn confirmation(trust: &ProjectTrust) -> Vec<DoctorCheck> {
    let confirmed = match trust.is_confirmed() {
        _ if trust.has_unconfirmed_programs() => bad(say::as_reported(&trust.programs_sentence())),
        false => bad(say::as_reported(&trust.unconfirmed_sentence())),
        true if trust.proposed.is_empty() => good(say::DEFAULTS_APPLY),
        true => good(say::confirmed(&trust.base)),
    };
    let edited = trust.edited.then(|| note(say::settings_edited(&trust.base)));
    [confirmed].into_iter().chain(edited).collect()
}

fn config_file(project: &Project) -> DoctorCheck {
    use std::os::unix::fs::PermissionsExt as _;
    let path = project.dir().join("bot.toml");
    match std::fs::metadata(&path) {
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => note(say::CONFIG_READABLE),
        Ok(_) => good(say::CONFIG_PRIVATE),
        Err(_) => good(say::CONFIG_MISSING),
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
        insta::assert_snapshot!(say::network_access(&network_parts(&config, &NetworkAccess::default())), @"Network access (`coder`: the model's API, storkit's tools, `crates.io`, `*.crates.io`; `qa`: the model's API, storkit's tools; `boss`, `merger`: the model's API, storkit's tools, package registries, other hosts after a question; chat rooms: the model's API, package registries, other hosts after a question; gates: nothing; component `web`: `registry.npmjs.org`).");
    }

    #[test]
    fn gates_that_undo_an_agents_limit_are_told() {
        let told = |text: &str| {
            let agent = "[[agent]]\nname = \"coder\"\nstage = \"coder\"\n";
            let text = format!("{text}\n{agent}network = false\n");
            way_around(&ProjectConfig::parse(&text, "project.toml".as_ref(), |_| None).expect("valid").config)
        };
        insta::assert_snapshot!(told("gate_network = true\n[[component]]\nname = \"web\"\nnetwork = true").expect("told"), @"What `coder` writes still runs with full network access; limit `gate_network` and `network` of the component `web` too.");
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
        // `HOME` serves as the secret: every test has it.
        config.claude.command = ["/bin/sh", "-c", "echo \"${HOME-none} $MINE\""].map(str::to_owned).into();
        config.claude.env.insert("MINE".into(), "mine".into());
        assert_eq!(claude(&config, &["HOME".into()], &[]).await, Ok("none mine".into()));
        assert_ne!(claude(&config, &[], &[]).await, Ok("none mine".into()));
    }
}

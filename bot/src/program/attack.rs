//! `storkit doctor --attack`: tries harmless attacks from inside every wall that is in force here.
//!
//! This process makes a machine with canaries in a temporary folder ([`machine`]) and starts storkit once more as the one that is attacked
//! ([`stage`]): with canaries in place of its secrets, on a project of its own, with the wall and the network of this installation. There
//! `agents::attacks` runs in the place of agents, gates and components' commands. What that storkit reports is printed here.

mod living;
mod machine;
mod stage;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};

use agents::{
    attacks::{ATTACKS, canary},
    confine::environment,
    model_proxy::{ModelAccess, is_model_variable},
};
use pipeline::{Project, trust::ProjectTrust, worktree::remove_tree};
use tokio::process::Command;

use self::machine::AttackedMachine;
use crate::{
    config::{BotConfig, LoadedConfig},
    program::{
        claude_settings,
        common_args::{CommonArgs, open},
        doctor, harden,
        output::{complain, print},
        trust,
    },
    replies::attacks::{self as say, AttackReport},
};

/// Set for the storkit that is attacked: the folder of its machine.
const STAGE: &str = "STORKIT_ATTACKED_MACHINE";

/// Variables that no agent may see; `NAME=canary` for each of them.
const PLANTED: [&str; 5] =
    ["AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "GITHUB_TOKEN", "OPENAI_API_KEY", "OPERATORS_PASSWORD"];

/// Variables of the model's service that hold no secret, but lead there.
const ADDRESSES: [&str; 2] = ["ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS"];

/// Nobody listens there (discard).
const NOWHERE: &str = "http://127.0.0.1:9";

/// Runs the attacks and prints what held. Exit code 0 if everything did, 1 if something got through or could not be tried.
pub async fn run(common: &CommonArgs, json: bool) -> ExitCode {
    if let Some(folder) = std::env::var_os(STAGE) {
        return stage::run(&AttackedMachine::at(Path::new(&folder))).await;
    }
    let in_a_project = common.project.is_some() || Project::open(&PathBuf::from(".")).is_ok();
    let (project, loaded) = match in_a_project.then(|| open(common)) {
        None => (None, LoadedConfig::default()),
        Some(Ok((project, loaded))) => (Some(project), loaded),
        Some(Err(code)) => return code,
    };
    let wall = match doctor::walls::chosen_wall(&loaded.config, &loaded.secret_env) {
        Ok(wall) => wall,
        Err(why) => return complain(1, &say::nothing_starts(&why)),
    };
    match attacked(project.as_ref(), &loaded).await {
        Ok(report) => {
            let text = match json {
                true => format!("{}\n", as_json(&report)),
                false => format!("{}\n", adapters::markdown::plain(&say::report(&report, &wall))),
            };
            print(&text);
            ExitCode::from(u8::from(!report.all_held()))
        }
        Err(error) => complain(1, &say::not_tried(&error.to_string())),
    }
}

/// Removed with whatever attackers and walls leave in it: nobody but root can list the working folders of layers, for example.
struct MachineFolder(tempfile::TempDir);

impl Drop for MachineFolder {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(self.0.path()) {
            tracing::warn!(%error, "the folder of the attacks could not be removed");
        }
    }
}

/// Makes the machine, and has a storkit attacked there. The machine goes with the temporary folder.
async fn attacked(project: Option<&Project>, loaded: &LoadedConfig) -> io::Result<AttackReport> {
    let folder = tempfile::Builder::new().prefix("storkit-attack-").tempdir()?;
    let folder = MachineFolder(folder);
    let machine = AttackedMachine::at(&folder.0.path().canonicalize()?);
    machine.make(&installation_settings(loaded), in_force(project).as_deref())?;
    if has_login(loaded) {
        machine.add_login()?;
    }
    machine.note_operators_files(project)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["doctor", "--attack"]).current_dir(machine.project());
    plant(&mut command, loaded, &machine);
    let output =
        command.stdin(Stdio::inherit()).stderr(Stdio::inherit()).stdout(Stdio::piped()).kill_on_drop(true);
    let output = output.spawn()?.wait_with_output().await?;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        io::Error::other(format!("the storkit that is attacked ended early ({}): {error}", output.status))
    })
}

/// This installation's settings, as far as the wall depends on them, without its messengers and without secrets.
fn installation_settings(loaded: &LoadedConfig) -> BotConfig {
    let home = std::env::var_os("HOME").map_or_else(|| "/".into(), PathBuf::from);
    let real = |paths: &[PathBuf]| -> Vec<PathBuf> {
        paths.iter().map(|path| path.strip_prefix("~").map_or(path.clone(), |rest| home.join(rest))).collect()
    };
    let mut config = BotConfig {
        relay: loaded.config.relay.clone(),
        wall: loaded.config.wall.clone(),
        ..BotConfig::default()
    };
    config.wall.visible = real(&config.wall.visible);
    config.wall.writable = real(&config.wall.writable);
    config.http.port = 0;
    // Of the CLI's own variables those that say which cloud it uses; others may hold secrets.
    let switches = loaded.config.claude.env.iter().filter(|(name, _)| name.starts_with("CLAUDE_CODE_USE_"));
    config.claude.env = switches.map(|(name, value)| (name.clone(), value.clone())).collect();
    config
}

/// Whether there is a token of a login for agents to see.
fn has_login(loaded: &LoadedConfig) -> bool {
    claude_settings::folder(&loaded.config).is_some_and(|folder| folder.join(".credentials.json").exists())
}

/// The text of `project.toml` that is in force, for what agents and gates may reach.
fn in_force(project: Option<&Project>) -> Option<String> {
    let trust = ProjectTrust::read(project?, &trust::store().ok()?).ok()?;
    trust.confirmed.and_then(|text| text.project_toml)
}

/// The environment of the storkit that is attacked: a home of its own, and canaries in place of secrets.
fn plant(command: &mut Command, loaded: &LoadedConfig, machine: &AttackedMachine) {
    let mut names: BTreeSet<String> = harden::secret_names(loaded).into_iter().collect();
    let inherited = settings::environment::all().filter_map(|(name, _)| name.into_string().ok());
    names.extend(inherited.filter(|name| is_model_variable(name) && !is_public(name)));
    for name in &names {
        command.env_remove(name);
    }
    let claude = &loaded.config.claude;
    let is_set = |name: &str| settings::environment::var(name).is_some() || claude.env.contains_key(name);
    let keys = names.iter().map(String::as_str).filter(|name| is_model_variable(name) && is_set(name));
    let mut planted: BTreeSet<&str> = keys.filter(|name| !ADDRESSES.contains(name)).chain(PLANTED).collect();
    if matches!(claude.model_access(&loaded.secret_env), Ok(ModelAccess::Proxied(_))) {
        planted.insert("ANTHROPIC_API_KEY");
        command.env("ANTHROPIC_BASE_URL", NOWHERE);
    }
    command.envs(planted.into_iter().map(|name| (name, canary())));
    for name in ["CLAUDE_CONFIG_DIR", "STORKIT_PROJECT", "STORKIT_PORT", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"]
    {
        command.env_remove(name);
    }
    command.env("HOME", machine.home()).env("XDG_STATE_HOME", machine.home().join(".local/state"));
    command.env("SSH_AUTH_SOCK", machine.ssh_agent()).env(STAGE, machine.folder());
}

/// Whether gates get this variable, too, because programs need it: `AWS_CA_BUNDLE` names certificates.
fn is_public(name: &str) -> bool {
    !environment::for_commands([(name.into(), "x".into())], &[]).is_empty()
}

fn as_json(report: &AttackReport) -> String {
    let attacks = ATTACKS.iter().map(|attack| {
        serde_json::json!({"name": attack.name, "goal": attack.goal, "gets_through_without_wall": report.is_real(attack.name)})
    });
    let attacks: Vec<_> = attacks.collect();
    serde_json::json!({"all_held": report.all_held(), "attacks": attacks, "processes": report.processes})
        .to_string()
}

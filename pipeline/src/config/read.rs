//! Reads `project.toml`: its keys, and a sentence for everything that can be wrong with them.

use std::{
    collections::HashSet,
    path::{Component as Part, Path, PathBuf},
};

use agents::confine::{AllowedHost, NetworkAccess};
use serde::{Deserialize, Serialize};
use settings::{
    duration::ConfigDuration,
    keys::KeyError,
    reader::{self, FileError, FileKeys, LoadedKeys},
};

use super::{Agent, Budget, Component, ProjectConfig, check_prompt, listed_files::files};
use crate::story::stage::Role;

/// For a key of earlier versions.
const MOVED_TO_THE_WALL: &str = "a file of the repository cannot choose or weaken the wall around its agents. Remove the key; the operator \
     can set `confine` below `[wall]` in `.storkit/bot.toml`.";

/// Most workers of one agent.
const MOST_WORKERS: u32 = 100;

/// A configuration, and the environment variables it uses.
#[derive(Clone, Debug, Default)]
pub struct LoadedProjectConfig {
    pub config: ProjectConfig,
    /// Environment variables that `${VAR}` named.
    pub secret_env: Vec<String>,
}

impl ProjectConfig {
    /// Reads the file; a missing one gives the defaults. `lookup` reads the environment for `${VAR}`.
    pub fn load(
        path: &Path,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<LoadedProjectConfig, FileError> {
        checked(reader::load(path, lookup)?, path)
    }

    /// Reads the text of the file at `path`, which only serves for the sentences.
    pub fn parse(
        text: &str,
        path: &Path,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<LoadedProjectConfig, FileError> {
        checked(reader::parse(text.to_owned(), path, lookup)?, path)
    }
}

/// The rules that a single key does not show.
fn checked(loaded: LoadedKeys<ProjectKeys>, path: &Path) -> Result<LoadedProjectConfig, FileError> {
    let config = loaded.keys.config().map_err(|error| FileError::value(path, error))?;
    Ok(LoadedProjectConfig { config, secret_env: loaded.variables })
}

/// Every key there is.
pub fn known_keys() -> Vec<String> {
    reader::known_keys::<ProjectKeys>()
}

/// The keys of the file. Every key may be absent.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ProjectKeys {
    base_branch: Option<String>,
    folder: PathBuf,
    max_retries: Option<u32>,
    gates: Option<CommandList>,
    gate_timeout: Option<ConfigDuration>,
    gate_network: Option<NetworkValue>,
    sweep_after: Option<ConfigDuration>,
    budget: BudgetKeys,
    component: Vec<ComponentKeys>,
    agent: Vec<AgentKeys>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct BudgetKeys {
    run_usd: Option<f64>,
    story_usd: Option<f64>,
    day_usd: Option<f64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ComponentKeys {
    name: String,
    path: PathBuf,
    setup: Option<CommandList>,
    teardown: Option<CommandList>,
    network: Option<NetworkValue>,
    inputs: Option<CommandList>,
    copy: Option<CommandList>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct AgentKeys {
    name: Option<String>,
    stage: Option<String>,
    role: Option<String>,
    model: Option<String>,
    max_turns: Option<u32>,
    max_budget_usd: Option<f64>,
    prompt: Option<String>,
    system_prompt: Option<String>,
    count: Option<u32>,
    sandbox: Option<CommandList>,
    network: Option<NetworkValue>,
}

/// `true`, `false`, `"ask"`, or a list of hosts that may contain `"ask"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "`true`, `false`, \"ask\" or a list of hosts like [\"ask\", \"example.org\"] is expected"
)]
pub enum NetworkValue {
    Whether(bool),
    Word(String),
    Hosts(Vec<String>),
}

/// People are asked about hosts that are not listed.
const ASK: &str = "ask";

impl NetworkValue {
    /// The access that the value of this key allows.
    ///
    /// # Errors
    /// If it is no setting, or names something that is no host.
    pub fn network(self, key: &str) -> Result<NetworkAccess, KeyError> {
        let hosts = match self {
            Self::Whether(true) => return Ok(NetworkAccess::All),
            Self::Whether(false) => Vec::new(),
            Self::Word(word) if word == ASK => vec![word],
            Self::Word(word) => {
                return wrong(
                    key,
                    format!("{word:?} is no setting; write \"ask\", `true`, `false` or a list of hosts."),
                );
            }
            Self::Hosts(hosts) => hosts,
        };
        let (asks, hosts): (Vec<_>, Vec<_>) = hosts.into_iter().partition(|entry| entry == ASK);
        let host =
            |entry: &String| AllowedHost::parse(entry).or_else(|why| wrong(key, format!("{entry:?} {why}.")));
        let hosts = hosts.iter().map(host).collect::<Result<_, _>>()?;
        Ok(if asks.is_empty() { NetworkAccess::Only(hosts) } else { NetworkAccess::Ask(hosts) })
    }
}

/// One word or line, or a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts is expected")]
enum CommandList {
    One(String),
    List(Vec<String>),
}

impl CommandList {
    fn list(self) -> Vec<String> {
        match self {
            Self::One(command) => vec![command],
            Self::List(commands) => commands,
        }
    }
}

impl FileKeys for ProjectKeys {
    fn all() -> Self {
        let (text, number, dollars) = (|| Some(String::new()), Some(1), Some(1.0));
        let commands = || Some(CommandList::List(Vec::new()));
        let agent = AgentKeys {
            name: text(),
            stage: text(),
            role: text(),
            model: text(),
            max_turns: number,
            max_budget_usd: dollars,
            prompt: text(),
            system_prompt: text(),
            count: number,
            sandbox: commands(),
            network: Some(NetworkValue::Whether(true)),
        };
        let component = ComponentKeys {
            name: String::new(),
            path: PathBuf::new(),
            setup: commands(),
            teardown: commands(),
            network: Some(NetworkValue::Whether(true)),
            inputs: commands(),
            copy: commands(),
        };
        Self {
            base_branch: text(),
            folder: "x".into(),
            max_retries: number,
            gates: commands(),
            gate_timeout: Some(ConfigDuration::minutes(1)),
            gate_network: Some(NetworkValue::Whether(true)),
            sweep_after: Some(ConfigDuration::minutes(1)),
            budget: BudgetKeys { run_usd: dollars, story_usd: dollars, day_usd: dollars },
            component: vec![component],
            agent: vec![agent],
        }
    }
}

impl ProjectKeys {
    fn config(self) -> Result<ProjectConfig, KeyError> {
        let default = ProjectConfig::default();
        let agents = match self.agent.is_empty() {
            true => default.agents,
            false => self.agent.into_iter().map(AgentKeys::agent).collect::<Result<_, _>>()?,
        };
        distinct(&agents)?;
        let gate_network = self.gate_network.map(|reach| reach.network("gate_network")).transpose()?;
        let gate_network = gate_network.unwrap_or(default.gate_network);
        let component = |keys: ComponentKeys| keys.component(&gate_network);
        let components: Vec<Component> =
            self.component.into_iter().map(component).collect::<Result<_, _>>()?;
        Ok(ProjectConfig {
            base_branch: self.base_branch.map(branch).transpose()?,
            folder: inside("folder", self.folder)?,
            max_retries: self.max_retries.unwrap_or(default.max_retries),
            gates: command_lines("gates", self.gates.map_or(default.gates, CommandList::list))?,
            gate_timeout: self.gate_timeout.unwrap_or(default.gate_timeout),
            sweep_after: self.sweep_after.unwrap_or(default.sweep_after),
            budget: self.budget.budget()?,
            gate_network,
            components,
            agents,
        })
    }
}

impl BudgetKeys {
    fn budget(self) -> Result<Budget, KeyError> {
        Ok(Budget {
            run_usd: dollars("budget.run_usd", self.run_usd)?,
            story_usd: dollars("budget.story_usd", self.story_usd)?,
            day_usd: dollars("budget.day_usd", self.day_usd)?,
        })
    }
}

impl ComponentKeys {
    fn component(self, gate_network: &NetworkAccess) -> Result<Component, KeyError> {
        if self.name.trim().is_empty() {
            return wrong("component.name", "every component needs a name, like \"frontend\".");
        }
        let path = inside("component.path", self.path)?;
        let inputs = self.inputs.map(|list| files(&path, list.list(), "component.inputs")).transpose()?;
        let copy = self.copy.map(|list| files(&path, list.list(), "component.copy")).transpose()?;
        Ok(Component {
            name: self.name,
            path,
            inputs,
            copy: copy.unwrap_or_default(),
            setup: command_lines("component.setup", self.setup.map(CommandList::list).unwrap_or_default())?,
            teardown: command_lines(
                "component.teardown",
                self.teardown.map(CommandList::list).unwrap_or_default(),
            )?,
            network: match self.network {
                Some(reach) => reach.network("component.network")?,
                None => gate_network.clone(),
            },
        })
    }
}

impl AgentKeys {
    fn agent(self) -> Result<Agent, KeyError> {
        let name = agent_name(self.name)?;
        if self.sandbox.is_some() {
            return wrong("agent.sandbox", MOVED_TO_THE_WALL);
        }
        let role = role(&name, self.stage)?;
        let count = self.count.unwrap_or(1);
        if !(1..=MOST_WORKERS).contains(&count) {
            return wrong(
                "agent.count",
                format!("`{name}` has the count {count}; write 1 to {MOST_WORKERS}, or leave the agent out."),
            );
        }
        if self.max_turns == Some(0) {
            return wrong(
                "agent.max_turns",
                format!("`{name}` could do nothing in 0 turns; write at least 1."),
            );
        }
        let default = Agent::new(&name, role);
        Ok(Agent {
            description: self.role.unwrap_or_default(),
            model: self.model.unwrap_or_default(),
            max_turns: self.max_turns,
            max_budget_usd: dollars("agent.max_budget_usd", self.max_budget_usd)?,
            prompt: prompt("agent.prompt", &name, self.prompt)?.unwrap_or(default.prompt),
            system_prompt: prompt("agent.system_prompt", &name, self.system_prompt)?
                .unwrap_or(default.system_prompt),
            count,
            network: self
                .network
                .map(|reach| reach.network("agent.network"))
                .transpose()?
                .unwrap_or_default(),
            name,
            role,
        })
    }
}

/// A folder of the project.
fn inside(key: &'static str, path: PathBuf) -> Result<PathBuf, KeyError> {
    if path.components().all(|part| matches!(part, Part::Normal(_) | Part::CurDir)) {
        return Ok(path);
    }
    wrong(key, format!("`{}` leads out of the project; write a folder in it, like \"web\".", path.display()))
}

fn wrong<T>(key: &str, why: impl Into<String>) -> Result<T, KeyError> {
    Err(KeyError { key: key.to_owned(), why: why.into() })
}

/// It becomes part of paths, commits and messages.
fn agent_name(name: Option<String>) -> Result<String, KeyError> {
    const LONGEST: usize = 40;
    let Some(name) = name else { return wrong("agent.name", "every agent needs a name, like \"coder\".") };
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    match begins && name.len() <= LONGEST && name.bytes().all(letters) {
        true => Ok(name),
        false => wrong(
            "agent.name",
            format!(
                "{name:?} is no name; write a letter and then `a-z`, `0-9`, `_` and `-`, {LONGEST} at most."
            ),
        ),
    }
}

fn role(agent: &str, stage: Option<String>) -> Result<Role, KeyError> {
    const ROLES: &str = "write \"coder\", \"qa\", \"mergemaster\" or \"supervisor\".";
    match stage.as_deref() {
        Some("coder") => Ok(Role::Coder),
        Some("qa") => Ok(Role::Qa),
        Some("mergemaster") => Ok(Role::Mergemaster),
        Some("supervisor") => Ok(Role::Supervisor),
        Some(other) => {
            wrong("agent.stage", format!("{other:?} is no role that `{agent}` could have; {ROLES}"))
        }
        None => wrong("agent.stage", format!("the agent `{agent}` has no role; {ROLES}")),
    }
}

fn prompt(key: &str, agent: &str, text: Option<String>) -> Result<Option<String>, KeyError> {
    let Some(text) = text else { return Ok(None) };
    if text.trim().is_empty() {
        return wrong(key, format!("`{agent}` has an empty one; leave the key out for the default."));
    }
    match check_prompt(&text) {
        Ok(()) => Ok(Some(text)),
        Err(unknown) => wrong(key, format!("in the agent `{agent}`, {unknown}.")),
    }
}

fn distinct(agents: &[Agent]) -> Result<(), KeyError> {
    let mut seen = HashSet::new();
    match agents.iter().flat_map(Agent::workers).find(|name| !seen.insert(name.clone())) {
        None => Ok(()),
        Some(twice) => wrong(
            "agent.name",
            format!(
                "two agents are called `{twice}`; with `count`, an agent's workers are `NAME`, `NAME-2` and so on."
            ),
        ),
    }
}

fn branch(name: String) -> Result<String, KeyError> {
    let full = format!("refs/heads/{name}");
    match git2::Reference::is_valid_name(&full) && !name.starts_with('-') {
        true => Ok(name),
        false => wrong(
            "base_branch",
            format!("{name:?} is no branch's name; leave the key out to have it detected."),
        ),
    }
}

fn dollars(key: &str, amount: Option<f64>) -> Result<Option<f64>, KeyError> {
    match amount {
        Some(amount) if !(amount.is_finite() && amount > 0.0) => {
            wrong(key, "it is an amount of US dollars over 0; leave the key out for no limit.")
        }
        amount => Ok(amount),
    }
}

fn command_lines(key: &str, commands: Vec<String>) -> Result<Vec<String>, KeyError> {
    match commands.iter().any(|command| command.trim().is_empty()) {
        true => wrong(key, "a command is empty; write a command line, like [\"script/test\"]."),
        false => Ok(commands),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<LoadedProjectConfig, FileError> {
        ProjectConfig::parse(text, Path::new("project.toml"), |name| {
            (name == "MODEL").then(|| "opus".to_owned())
        })
    }

    fn sentences(texts: &[&str]) -> String {
        texts.iter().map(|text| format!("{}\n", parse(text).unwrap_err())).collect()
    }

    #[test]
    fn a_project_can_be_a_folder_of_its_repository_and_none_outside() {
        assert_eq!(parse("folder = \"packages/api\"").unwrap().config.folder, Path::new("packages/api"));
        insta::assert_snapshot!(sentences(&["folder = \"../other\""]), @r#"`folder` in `project.toml`: `../other` leads out of the project; write a folder in it, like "web"."#);
    }

    #[test]
    fn no_file_gives_a_team_that_can_do_a_story() {
        let config = ProjectConfig::load(Path::new("/nonexistent/project.toml"), |_| None).unwrap().config;
        let team: Vec<_> = config.agents.iter().flat_map(|agent| agent.workers()).collect();
        assert_eq!(team, ["coder", "coder-2", "qa", "mergemaster"]);
        assert_eq!((config.max_retries, config.sweep_after), (3, ConfigDuration::minutes(240)));
        assert_eq!(parse("").unwrap().config, config);
    }

    #[test]
    fn every_key_is_read() {
        let text = r#"
            base_branch = "release/1.0"
            max_retries = 0
            gates = "a b"
            gate_timeout = "30s"
            gate_network = false
            sweep_after = "0"
            [budget]
            run_usd = 1
            story_usd = 2.5
            [[component]]
            name = "web"
            path = "front/web"
            setup = "npm ci"
            teardown = ["a", "b"]
            network = ["Registry.npmjs.org"]
            inputs = ["package-lock.json", "../tools.lock"]
            copy = ".env.test"
            [[component]]
            name = "api"
            [[agent]]
            name = "rust-1"
            stage = "coder"
            role = "Knows Rust."
            model = "${MODEL}"
            max_turns = 50
            max_budget_usd = 5
            prompt = "Do {{story_id}}."
            system_prompt = "Be brief."
            count = 3
            network = ["crates.io", "*.crates.io", "github.com:443"]
            [[agent]]
            name = "boss"
            stage = "supervisor"
            [[agent]]
            name = "merger"
            stage = "mergemaster"
        "#;
        let loaded = parse(text).unwrap();
        assert_eq!(loaded.secret_env, ["MODEL"]);
        let config = loaded.config;
        assert_eq!(config.agent("boss").unwrap(), &Agent::new("boss", Role::Supervisor));
        let networks = [&config.agents[0].network, &config.agents[1].network, &config.gate_network];
        let networks =
            networks.into_iter().chain(config.components.iter().map(|component| &component.network));
        let networks: Vec<String> = networks.map(ToString::to_string).collect();
        insta::assert_snapshot!(networks.join("; "), @"`crates.io`, `*.crates.io`, `github.com:443`; package registries, other hosts after a question; nothing; `registry.npmjs.org`; nothing");
        insta::assert_debug_snapshot!((&config.budget, &config.components[..1], &config.agents[0]), @r#"
        (
            Budget {
                run_usd: Some(
                    1.0,
                ),
                story_usd: Some(
                    2.5,
                ),
                day_usd: None,
            },
            [
                Component {
                    name: "web",
                    path: "front/web",
                    setup: [
                        "npm ci",
                    ],
                    teardown: [
                        "a",
                        "b",
                    ],
                    network: Only(
                        [
                            AllowedHost {
                                name: "registry.npmjs.org",
                                below: false,
                                port: None,
                            },
                        ],
                    ),
                    inputs: Some(
                        [
                            "front/web/package-lock.json",
                            "front/tools.lock",
                        ],
                    ),
                    copy: [
                        "front/web/.env.test",
                    ],
                },
            ],
            Agent {
                name: "rust-1",
                role: Coder,
                description: "Knows Rust.",
                model: "opus",
                max_turns: Some(
                    50,
                ),
                max_budget_usd: Some(
                    5.0,
                ),
                prompt: "Do {{story_id}}.",
                system_prompt: "Be brief.",
                count: 3,
                network: Only(
                    [
                        AllowedHost {
                            name: "crates.io",
                            below: false,
                            port: None,
                        },
                        AllowedHost {
                            name: "crates.io",
                            below: true,
                            port: None,
                        },
                        AllowedHost {
                            name: "github.com",
                            below: false,
                            port: Some(
                                443,
                            ),
                        },
                    ],
                ),
            },
        )
        "#);
    }

    #[test]
    fn an_unknown_key_names_itself_and_the_nearest_right_one() {
        insta::assert_snapshot!(sentences(&["gate = []", "[budget]\nday = 1", "[[agent]]\nname = \"a\"\nmax_turn = 1", "run_usd = 1", "zzzzzzzz = 1", "a = ["]), @"
        `project.toml` has an unknown key `gate` (did you mean `gates`?).
        `project.toml` has an unknown key `budget.day` (did you mean `budget.day_usd`?).
        `project.toml` has an unknown key `agent.max_turn` (did you mean `agent.max_turns`?).
        `project.toml` has an unknown key `run_usd` (did you mean `budget.run_usd`?).
        `project.toml` has an unknown key `zzzzzzzz`.
        `project.toml` is not valid TOML: TOML parse error at line 1, column 6
          |
        1 | a = [
          |      ^
        unclosed array, expected `]`
        ");
    }

    #[test]
    fn a_wrong_agent_gets_a_sentence() {
        let agent = |rest: &str| format!("[[agent]]\nname = \"a\"\n{rest}");
        let coder = |rest: &str| agent(&format!("stage = \"coder\"\n{rest}"));
        let texts = [
            "[[agent]]\nstage = \"qa\"".to_owned(),
            "[[agent]]\nname = \"../a\"\nstage = \"qa\"".to_owned(),
            agent(""),
            agent("stage = \"tester\""),
            coder("count = 0"),
            coder("count = -1"),
            coder("max_turns = 0"),
            coder("max_budget_usd = 0"),
            coder("prompt = \"Do {{story}}.\""),
            coder("system_prompt = \"\""),
            coder("sandbox = \"none\""),
            coder("sandbox = [\"podman\", \"run\"]"),
            coder("count = 2\n[[agent]]\nname = \"a-2\"\nstage = \"qa\""),
        ];
        insta::assert_snapshot!(sentences(&texts.each_ref().map(String::as_str)), @r#"
        `agent.name` in `project.toml`: every agent needs a name, like "coder".
        `agent.name` in `project.toml`: "../a" is no name; write a letter and then `a-z`, `0-9`, `_` and `-`, 40 at most.
        `agent.stage` in `project.toml`: the agent `a` has no role; write "coder", "qa", "mergemaster" or "supervisor".
        `agent.stage` in `project.toml`: "tester" is no role that `a` could have; write "coder", "qa", "mergemaster" or "supervisor".
        `agent.count` in `project.toml`: `a` has the count 0; write 1 to 100, or leave the agent out.
        `agent.count` in `project.toml`: invalid value: integer `-1`, expected u32.
        `agent.max_turns` in `project.toml`: `a` could do nothing in 0 turns; write at least 1.
        `agent.max_budget_usd` in `project.toml`: it is an amount of US dollars over 0; leave the key out for no limit.
        `agent.prompt` in `project.toml`: in the agent `a`, `{{story}}` is no placeholder; there are `{{story_id}}`, `{{story_file}}`, `{{worktree_path}}`, `{{base_branch}}`, `{{branch}}`, `{{gates}}`.
        `agent.system_prompt` in `project.toml`: `a` has an empty one; leave the key out for the default.
        `agent.sandbox` in `project.toml`: a file of the repository cannot choose or weaken the wall around its agents. Remove the key; the operator can set `confine` below `[wall]` in `.storkit/bot.toml`.
        `agent.sandbox` in `project.toml`: a file of the repository cannot choose or weaken the wall around its agents. Remove the key; the operator can set `confine` below `[wall]` in `.storkit/bot.toml`.
        `agent.name` in `project.toml`: two agents are called `a-2`; with `count`, an agent's workers are `NAME`, `NAME-2` and so on.
        "#);
    }

    #[test]
    fn people_are_asked_about_hosts_unless_a_limit_is_set() {
        let network = |value: &str| {
            let agent = format!("[[agent]]\nname = \"a\"\nstage = \"coder\"\n{value}");
            parse(&agent).unwrap().config.agents[0].network.to_string()
        };
        let asked = "package registries, other hosts after a question";
        assert_eq!(network(""), asked);
        assert_eq!(network("network = \"ask\""), asked);
        let with = "package registries, `example.org`, other hosts after a question";
        assert_eq!(network("network = [\"example.org\", \"ask\"]"), with);
        assert_eq!(network("network = [\"example.org\"]"), "`example.org`");
    }

    #[test]
    fn other_wrong_values_get_a_sentence() {
        insta::assert_snapshot!(sentences(&[
            "gate_timeout = \"soon\"",
            "gates = [\"\"]",
            "gates = 3",
            "base_branch = \"--force\"",
            "base_branch = \"\"",
            "[budget]\nday_usd = nan",
            "[[component]]\npath = \"web\"",
            "[[component]]\nname = \"web\"\npath = \"../web\"",
            "[[component]]\nname = \"web\"\npath = \"/web\"",
            "gate_network = \"no\"",
            "gate_network = [\"https://crates.io/\"]",
            "gate_network = [\"crates.io:0\"]",
            "gate_network = [\"*\"]",
            "gate_network = [\"*.10.0.0.1\"]",
            "gate_network = [\"127.1\"]",
            "gate_network = [\"fe80::1\"]",
            "gate_network = [\"bücher.example\"]",
            "[[agent]]\nname = \"a\"\nstage = \"qa\"\nnetwork = 3",
            "[[agent]]\nname = \"a\"\nstage = \"qa\"\nnetworks = true",
            "agent = 3",
            "[[agent]]\nname = \"a\"\nstage = \"qa\"\nmodel = \"${NOPE}\"",
        ]), @r#"
        `gate_timeout` in `project.toml`: `soon` is no length of time; write it like "30s", "5m" or "2h".
        `gates` in `project.toml`: a command is empty; write a command line, like ["script/test"].
        `gates` in `project.toml`: a text or a list of texts is expected.
        `base_branch` in `project.toml`: "--force" is no branch's name; leave the key out to have it detected.
        `base_branch` in `project.toml`: "" is no branch's name; leave the key out to have it detected.
        `budget.day_usd` in `project.toml`: it is an amount of US dollars over 0; leave the key out for no limit.
        `component.name` in `project.toml`: every component needs a name, like "frontend".
        `component.path` in `project.toml`: `../web` leads out of the project; write a folder in it, like "web".
        `component.path` in `project.toml`: `/web` leads out of the project; write a folder in it, like "web".
        `gate_network` in `project.toml`: "no" is no setting; write "ask", `true`, `false` or a list of hosts.
        `gate_network` in `project.toml`: "https://crates.io/" is no host; write a name like "crates.io", "*.crates.io" or "github.com:443", in ASCII and without `https://` or a path.
        `gate_network` in `project.toml`: "crates.io:0" has a port that is none; write 1 to 65535.
        `gate_network` in `project.toml`: "*" is no host; write a name like "crates.io", "*.crates.io" or "github.com:443", in ASCII and without `https://` or a path.
        `gate_network` in `project.toml`: "*.10.0.0.1" is no host; an address has no names below it.
        `gate_network` in `project.toml`: "127.1" is no host; write a name like "crates.io", "*.crates.io" or "github.com:443", in ASCII and without `https://` or a path.
        `gate_network` in `project.toml`: "fe80::1" is no host; write a name like "crates.io", "*.crates.io" or "github.com:443", in ASCII and without `https://` or a path.
        `gate_network` in `project.toml`: "bücher.example" is no host; write a name like "crates.io", "*.crates.io" or "github.com:443", in ASCII and without `https://` or a path.
        `agent.network` in `project.toml`: `true`, `false`, "ask" or a list of hosts like ["ask", "example.org"] is expected.
        `project.toml` has an unknown key `agent.networks` (did you mean `agent.network`?).
        `agent` in `project.toml`: invalid type: integer `3`, expected a sequence.
        `agent.model` in `project.toml`: the environment variable `NOPE` is not set. Set it, or write the value here.
        "#);
    }
}

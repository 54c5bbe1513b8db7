//! `bot.toml`: its keys, their defaults and their rules.

pub mod access;
pub mod current;
mod hours;
mod people;
pub mod redact;
mod relay;
mod servers;
mod web;

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Component, Path, PathBuf},
};

use adapters::{AdapterError, MESSENGERS, MessengerSections, Room, Secret};
use agents::{
    confine::{ConfineChoice, WallSettings},
    model_proxy::ModelAccess,
};
pub use hours::{read_day, read_time};
pub use people::{LadderSection, ListedPerson, People, PersonAccount, PersonSection, RungTimes};
pub use relay::{RelaySection, WorkspaceChoice};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
pub use servers::RoomServers;
use settings::{
    atomic,
    keys::KeyError,
    reader::{self, FileKeys},
};
pub use settings::{duration::ConfigDuration, reader::FileError};
use toml::{Table, Value};
pub use web::{WebSection, page_origin};

/// The settings of one bot. Every key has a default, so that no file at all is a valid file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct BotConfig {
    /// How people call the bot; part of every prompt.
    pub display_name: String,
    /// The prefixes of commands, e.g. `!`.
    pub prefixes: Vec<String>,
    /// How many messages of a room's recent talk go along with a prompt.
    pub history_size: usize,
    /// Messages older than this on arrival are not acted on.
    pub catch_up: ConfigDuration,
    /// Rooms (`adapter:id`) in which every message counts as addressed.
    pub ambient_rooms: Vec<String>,
    /// How much of a turn's progress rooms show: 0, 1 or 2.
    pub verbosity: u8,
    pub claude: ClaudeSection,
    pub relay: RelaySection,
    pub http: HttpSection,
    pub web: WebSection,
    pub console: ConsoleSection,
    pub pipeline: PipelineSection,
    pub wall: WallSection,
    /// People with accounts on several messengers.
    pub person: Vec<PersonSection>,
    /// When a question that nobody answers goes elsewhere.
    pub ladder: LadderSection,
    /// The network messengers whose sections the file has.
    #[serde(flatten, serialize_with = "write_sections", deserialize_with = "read_sections")]
    pub messengers: MessengerSections,
}

/// The section `[claude]` of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ClaudeSection {
    /// Program, or program and arguments.
    #[serde(deserialize_with = "string_or_list")]
    pub command: Vec<String>,
    /// Model; empty for the CLI's default.
    pub model: String,
    /// A turn without output for so long is ended; waiting for a person does not count. 0 waits for ever.
    pub turn_timeout: ConfigDuration,
    /// After this nobody waits for the answer to a permission question any more: it is denied, or its agent is parked; 0 waits for ever.
    pub permission_timeout: ConfigDuration,
    /// A live session without work is closed after this.
    pub idle_timeout: ConfigDuration,
    /// The same for one with work in the background, counted from its last turn or change of that work; 0 waits for ever.
    pub background_timeout: ConfigDuration,
    /// Let the project's own settings, hooks and MCP servers take effect. Only for repositories you trust.
    pub trust_project_settings: bool,
    /// Extra environment of the CLI.
    pub env: BTreeMap<String, String>,
    /// A file with MCP servers for chat rooms, from the folder of bot.toml; empty for none.
    pub mcp_config: PathBuf,
    /// Files and folders that these servers need: they exist behind the walls of rooms, too, read-only.
    pub mcp_visible: Vec<PathBuf>,
}

/// The section `[http]` of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpSection {
    /// Port on 127.0.0.1 for MCP, health and metrics; 0 takes a free one.
    pub port: u16,
    /// Address and port of the public listener, which serves webhooks and nothing else; empty for none.
    pub webhook_listen: String,
    /// A bearer token for `/metrics` and `/ws`; empty for the operator's alone, which changes with each start.
    pub monitor_token: Secret,
}

/// The section `[console]` of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsoleSection {
    /// Whether terminals can attach.
    pub enabled: bool,
}

/// The section `[pipeline]` of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct PipelineSection {
    /// Rooms (`adapter:id`) that get notices and agents' permission questions.
    pub rooms: Vec<String>,
    /// Whether a story waits without its agent when nobody answers a question in time; else the call is denied.
    pub park: bool,
}

/// The section `[wall]` of the file: the wall around agents on stories and everything that they wrote.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WallSection {
    /// Absent: the strongest that this machine has. "bwrap", "landlock", "none", or a command to run them by.
    pub confine: ConfineKey,
    /// Files and folders that exist behind the wall, too, read-only.
    pub visible: Vec<PathBuf>,
    /// Folders that exist behind the wall, too, and can be changed there.
    pub writable: Vec<PathBuf>,
    /// Names of environment variables that go behind the wall, too.
    pub variables: Vec<String>,
}

/// The form of `confine` in the file: a word, or a command.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a word like \"none\", or a command like [\"podman\", \"run\", \"IMAGE\"], is expected"
)]
pub enum ConfineKey {
    Word(String),
    Command(Vec<String>),
}

impl Default for ConfineKey {
    fn default() -> Self {
        Self::Word("strongest".into())
    }
}

impl WallSection {
    /// The settings, with `~` as this home. Without the names in `secrets`: the bot's own never go inside.
    pub fn settings(&self, home: &Path, secrets: &[String]) -> WallSettings {
        let paths = |paths: &[PathBuf]| paths.iter().map(|path| in_home(home, path)).collect();
        WallSettings {
            confine: self.choice().unwrap_or_default(),
            visible: paths(&self.visible),
            writable: paths(&self.writable),
            variables: self.variables.iter().filter(|name| !secrets.contains(name)).cloned().collect(),
        }
    }

    fn choice(&self) -> Option<ConfineChoice> {
        match &self.confine {
            ConfineKey::Word(word) => match word.as_str() {
                "strongest" => Some(ConfineChoice::Strongest),
                "none" => Some(ConfineChoice::None),
                "bwrap" => Some(ConfineChoice::Bwrap),
                "landlock" => Some(ConfineChoice::Landlock),
                _ => None,
            },
            ConfineKey::Command(words) => {
                let named = words.first().is_some_and(|program| !program.trim().is_empty());
                named.then(|| ConfineChoice::Prefix(words.clone()))
            }
        }
    }

    fn check(&self) -> Result<(), KeyError> {
        let wrong = |key: &str, why: String| Err(KeyError { key: key.into(), why });
        if self.choice().is_none() {
            let why = "it is \"strongest\", \"bwrap\", \"landlock\", \"none\", or a command like [\"podman\", \"run\", \"IMAGE\"].";
            return wrong("wall.confine", why.into());
        }
        for (key, paths) in [("wall.visible", &self.visible), ("wall.writable", &self.writable)] {
            if let Some(path) = paths.iter().find(|path| !is_part_of_this_machine(path)) {
                let why = format!(
                    "{path:?} is no part of this machine's files; write paths like \"/srv/data\" or \"~/.m2/settings.xml\"."
                );
                return wrong(key, why);
            }
        }
        Ok(())
    }
}

/// The path with `~` as this home.
fn in_home(home: &Path, path: &Path) -> PathBuf {
    path.strip_prefix("~").map_or_else(|_| path.to_owned(), |rest| home.join(rest))
}

/// Whether it is a whole path, of neither the home nor everything: that is no wall.
fn is_part_of_this_machine(path: &Path) -> bool {
    let rest = path.strip_prefix("~").or_else(|_| path.strip_prefix("/"));
    rest.is_ok_and(|rest| {
        rest.components().next().is_some() && !rest.components().any(|part| part == Component::ParentDir)
    })
}

impl PipelineSection {
    /// The rooms. [`BotConfig::load`] refuses entries that are not `adapter:id`.
    pub fn rooms(&self) -> Vec<Room> {
        self.rooms
            .iter()
            .filter_map(|room| room.split_once(':'))
            .map(|(adapter, id)| Room::new(adapter, id))
            .collect()
    }
}

impl Default for BotConfig {
    fn default() -> Self {
        Self {
            display_name: "Timmy".into(),
            prefixes: vec!["!".into()],
            history_size: 20,
            catch_up: ConfigDuration::minutes(10),
            ambient_rooms: Vec::new(),
            verbosity: 1,
            claude: ClaudeSection::default(),
            relay: RelaySection::default(),
            http: HttpSection::default(),
            web: WebSection::default(),
            console: ConsoleSection::default(),
            pipeline: PipelineSection::default(),
            wall: WallSection::default(),
            person: Vec::new(),
            ladder: LadderSection::default(),
            messengers: MessengerSections::default(),
        }
    }
}

impl Default for ClaudeSection {
    fn default() -> Self {
        Self {
            command: vec!["claude".into()],
            model: String::new(),
            turn_timeout: ConfigDuration::minutes(15),
            permission_timeout: ConfigDuration::minutes(5),
            idle_timeout: ConfigDuration::minutes(10),
            background_timeout: ConfigDuration::minutes(6 * 60),
            trust_project_settings: false,
            env: BTreeMap::new(),
            mcp_config: PathBuf::new(),
            mcp_visible: Vec::new(),
        }
    }
}

impl Default for PipelineSection {
    fn default() -> Self {
        Self { rooms: Vec::new(), park: true }
    }
}

impl Default for HttpSection {
    fn default() -> Self {
        Self { port: 3001, webhook_listen: String::new(), monitor_token: Secret::default() }
    }
}

impl Default for ConsoleSection {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Each messenger is a section of the file, next to the bot's own.
fn write_sections<S: Serializer>(sections: &MessengerSections, to: S) -> Result<S::Ok, S::Error> {
    sections.to_table().serialize(to)
}

fn read_sections<'de, D: Deserializer<'de>>(from: D) -> Result<MessengerSections, D::Error> {
    let mut table = Table::deserialize(from)?;
    MessengerSections::take_from(&mut table).map_err(|error| D::Error::custom(error.why))
}

fn string_or_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum CommandForm {
        One(String),
        List(Vec<String>),
    }
    let list = match CommandForm::deserialize(deserializer)? {
        CommandForm::One(program) => vec![program],
        CommandForm::List(list) => list,
    };
    match list.first() {
        Some(program) if !program.trim().is_empty() => Ok(list),
        _ => Err(D::Error::custom(
            "the program is missing; write it like \"claude\" or [\"claude\", \"--option\"]",
        )),
    }
}

/// A configuration, and the environment variables that went into it.
#[derive(Clone, Debug, Default)]
pub struct LoadedConfig {
    pub config: BotConfig,
    /// Environment variables that `${VAR}` named, and [`usual_secrets`]: the bot's secrets, which agents never see.
    pub secret_env: Vec<String>,
    /// The file, whether it exists or not.
    pub path: PathBuf,
    /// Those of `[claude] mcp_config`.
    pub servers: RoomServers,
    /// Those of `[[person]]`.
    pub people: People,
    /// The file's [`fingerprint`] when it was read.
    pub fingerprint: u64,
}

impl ClaudeSection {
    /// How agents reach their model, by the variables that Claude Code would get: those of `env`, and storkit's own but for
    /// `secret_env`.
    ///
    /// # Errors
    /// A sentence, if a variable cannot be used.
    pub fn model_access(&self, secret_env: &[String]) -> Result<ModelAccess, String> {
        let inherited = |name: &str| {
            let secret = secret_env.iter().any(|secret| secret == name);
            if secret { None } else { settings::environment::var(name) }
        };
        ModelAccess::resolve(|name| self.env.get(name).cloned().or_else(|| inherited(name)))
    }
}
/// A shorter token could be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Equal for equal texts, within one process. A number, because the text may hold secrets and must not stay
/// in memory for a comparison.
pub fn fingerprint(text: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(text, &mut hasher);
    std::hash::Hasher::finish(&hasher)
}

// The bot's secrets under the names that `bot.toml.example` and the guides give them. They may be
// in the environment even where `bot.toml` does not name them: a messenger that is switched off, or one
// file of variables for several programs.
fn usual_secrets() -> impl Iterator<Item = &'static str> {
    MESSENGERS.iter().flat_map(|kind| kind.secret_env.iter().copied()).chain(["STORKIT_MONITOR_TOKEN"])
}

impl FileKeys for BotConfig {
    const KEYS_ARE_LISTED: &'static str = " All keys are in `bot.toml.example`.";

    fn all() -> Self {
        let mut empty =
            MESSENGERS.iter().map(|kind| (kind.name.to_owned(), Value::Table(Table::new()))).collect();
        Self {
            messengers: MessengerSections::take_from(&mut empty).unwrap_or_default(),
            relay: RelaySection {
                network: Some(pipeline::config::NetworkValue::Whether(true)),
                turn_usd: Some(1.0),
                day_usd: Some(1.0),
                ..RelaySection::default()
            },
            person: vec![PersonSection {
                accounts: people::messenger_names().map(|name| (name.to_owned(), String::new())).collect(),
                ..PersonSection::default()
            }],
            ..Self::default()
        }
    }
}

impl BotConfig {
    /// Reads the file; a missing one gives the defaults. `lookup` reads the environment.
    pub fn load(path: &Path, lookup: impl Fn(&str) -> Option<String>) -> Result<LoadedConfig, FileError> {
        let loaded = reader::load(path, &lookup)?;
        Self::checked(loaded, path, &lookup).map_err(|error| FileError::value(path, error))
    }

    fn checked(
        loaded: reader::LoadedKeys<Self>,
        path: &Path,
        lookup: &impl Fn(&str) -> Option<String>,
    ) -> Result<LoadedConfig, KeyError> {
        let reader::LoadedKeys { keys: config, variables: mut secret_env, text } = loaded;
        secret_env.extend(usual_secrets().map(String::from));
        config.check()?;
        let people = People::read(&config.person, &config.messengers)?;
        let servers = servers::load(&config, path, lookup, &secret_env)?;
        secret_env.extend(servers::secret_variables(&servers.servers, lookup));
        Ok(LoadedConfig {
            config,
            secret_env,
            path: path.into(),
            servers,
            people,
            fingerprint: fingerprint(&text),
        })
    }

    fn check(&self) -> Result<(), KeyError> {
        let wrong = |key: &str, why: &str| Err(KeyError { key: key.into(), why: why.into() });
        if self.display_name.trim().is_empty() {
            return wrong("display_name", "the bot needs a name; write one like \"Timmy\".");
        }
        if self.verbosity > 2 {
            return wrong(
                "verbosity",
                "it is 0 (answers only), 1 (tools by name) or 2 (tools with their input).",
            );
        }
        if self.prefixes.iter().any(|prefix| prefix.trim().is_empty()) {
            return wrong("prefixes", "a prefix cannot be empty; write [\"!\"], or [] for none.");
        }
        if self.pipeline.rooms.iter().any(|room| !room.contains(':')) {
            return wrong("pipeline.rooms", "a room is written `adapter:id`, like \"console:main\".");
        }
        let listen = &self.http.webhook_listen;
        if !listen.is_empty() && listen.parse::<SocketAddr>().is_err() {
            return wrong(
                "http.webhook_listen",
                "it is an address with a port, like \"0.0.0.0:3002\", or empty for none.",
            );
        }
        self.web.check()?;
        self.relay.check()?;
        self.wall.check()?;
        servers::check_visible(&self.claude.mcp_visible)?;
        let token = self.http.monitor_token.reveal();
        if !token.is_empty()
            && (token.len() < SHORTEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return wrong(
                "http.monitor_token",
                "it is at least 16 letters, digits and signs without spaces; make one with `openssl rand -hex 32`.",
            );
        }
        self.messengers.check().map_err(|error| match error {
            AdapterError::Config { key, why } => KeyError { key: key.into(), why },
            other => KeyError { key: "bot.toml".into(), why: other.to_string() },
        })
    }
}

/// Writes `ambient_rooms` back into the file, leaving every other byte of it as the person wrote it.
pub fn write_ambient_rooms(path: &Path, rooms: &[String]) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context("bot.toml cannot be read"),
    };
    let mut document: toml_edit::DocumentMut = text.parse().context("bot.toml is not valid TOML")?;
    let mut list = toml_edit::Array::new();
    list.extend(rooms.iter().map(String::as_str));
    match document.get_mut("ambient_rooms").and_then(|item| item.as_value_mut()) {
        Some(value) => {
            // The spacing and the comment on this line are the person's.
            let decor = value.decor().clone();
            *value = list.into();
            *value.decor_mut() = decor;
        }
        None => {
            document.insert("ambient_rooms", toml_edit::value(list));
        }
    }
    atomic::write(path, document.to_string().as_bytes()).context("bot.toml cannot be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn parse(text: &str) -> Result<LoadedConfig, FileError> {
        let path = Path::new("bot.toml");
        let lookup = |name: &str| (name == "TOKEN").then(|| "s3cret".to_owned());
        let loaded = reader::parse(text.to_owned(), path, lookup)?;
        BotConfig::checked(loaded, path, &lookup).map_err(|error| FileError::value(path, error))
    }

    pub(super) fn sentence(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn no_file_is_a_valid_file() {
        let dir = tempfile::tempdir().unwrap();
        let loaded = BotConfig::load(&dir.path().join("bot.toml"), |_| None).unwrap();
        assert_eq!(loaded.config.display_name, "Timmy");
        assert_eq!(loaded.config.http.port, 3001);
    }

    #[test]
    fn an_unknown_key_names_itself_and_the_nearest_right_one() {
        insta::assert_snapshot!(sentence("dispaly_name = \"x\""), @"`bot.toml` has an unknown key `dispaly_name` (did you mean `display_name`?). All keys are in `bot.toml.example`.");
        insta::assert_snapshot!(sentence("[claude]\nidle_timout = \"5m\""), @"`bot.toml` has an unknown key `claude.idle_timout` (did you mean `claude.idle_timeout`?). All keys are in `bot.toml.example`.");
        insta::assert_snapshot!(sentence("turn_timeout = \"5m\""), @"`bot.toml` has an unknown key `turn_timeout` (did you mean `claude.turn_timeout`?). All keys are in `bot.toml.example`.");
        insta::assert_snapshot!(sentence("zzz = 1"), @"`bot.toml` has an unknown key `zzz`. All keys are in `bot.toml.example`.");
    }

    #[test]
    fn a_value_that_does_not_fit_names_its_key() {
        insta::assert_snapshot!(sentence("catch_up = \"soon\""), @r#"`catch_up` in `bot.toml`: `soon` is no length of time; write it like "30s", "5m" or "2h"."#);
        insta::assert_snapshot!(sentence("[http]\nport = 99999"), @"`http.port` in `bot.toml`: invalid value: integer `99999`, expected u16.");
        insta::assert_snapshot!(sentence("verbosity = 7"), @"`verbosity` in `bot.toml`: it is 0 (answers only), 1 (tools by name) or 2 (tools with their input).");
        insta::assert_snapshot!(sentence("[claude]\ncommand = []"), @r#"`claude.command` in `bot.toml`: the program is missing; write it like "claude" or ["claude", "--option"]."#);
    }

    #[test]
    fn variables_are_expanded_and_remembered_as_secrets() {
        let loaded = parse("[claude]\nenv = { A = \"x-${TOKEN}-y\" }").unwrap();
        assert_eq!(loaded.config.claude.env["A"], "x-s3cret-y");
        let all: Vec<&str> = std::iter::once("TOKEN").chain(usual_secrets()).collect();
        assert_eq!(loaded.secret_env, all);
        assert!(sentence("display_name = \"${NOPE}\"").contains("`NOPE` is not set"));
    }

    #[test]
    fn the_usual_secrets_are_those_that_the_example_and_the_container_name() {
        let (example, container) =
            (include_str!("../../bot.toml.example"), include_str!("../../docker/example.env"));
        for name in usual_secrets() {
            assert!(
                example.contains(&format!("${{{name}}}")) && container.contains(&format!("\n{name}=")),
                "{name}"
            );
        }
        let named = example.split("${").skip(1).filter_map(|rest| rest.split('}').next());
        let secret = |name: &&str| ["TOKEN", "SECRET", "PASSWORD"].iter().any(|word| name.contains(word));
        let named: Vec<&str> = named.filter(secret).collect();
        assert!(named.iter().all(|name| usual_secrets().any(|usual| usual == *name)), "{named:?}");
    }

    #[test]
    fn the_wall_is_as_strong_as_it_can_be_unless_the_operator_says_otherwise() {
        let wall = |text: &str| {
            let section = parse(text).unwrap().config.wall;
            section.settings(Path::new("/home/ann"), &["TOKEN".to_owned()])
        };
        assert_eq!(wall(""), WallSettings::default());
        let text = "[wall]\nconfine = \"none\"\nvisible = [\"~/.m2/settings.xml\"]\nwritable = [\"/srv/data\"]\n\
                    variables = [\"TEST_URL\", \"TOKEN\"]";
        let expected = WallSettings {
            confine: ConfineChoice::None,
            visible: vec!["/home/ann/.m2/settings.xml".into()],
            writable: vec!["/srv/data".into()],
            // The bot's own secrets never go inside.
            variables: vec!["TEST_URL".into()],
        };
        assert_eq!(wall(text), expected);
        let prefix = ConfineChoice::Prefix(vec!["podman".into(), "run".into()]);
        assert_eq!(wall("[wall]\nconfine = [\"podman\", \"run\"]").confine, prefix);
    }

    #[test]
    fn a_wall_with_a_hole_as_large_as_itself_is_refused() {
        for path in ["/", "~", "~/", "..", "~/../bob", "relative"] {
            let told = sentence(&format!("[wall]\nvisible = [\"{path}\"]"));
            assert!(told.starts_with("`wall.visible` in `bot.toml`: "), "{told}");
        }
        insta::assert_snapshot!(sentence("[wall]\nconfine = \"nothing\""), @r#"`wall.confine` in `bot.toml`: it is "strongest", "bwrap", "landlock", "none", or a command like ["podman", "run", "IMAGE"]."#);
    }

    #[test]
    fn the_command_may_be_a_word_or_a_list() {
        assert_eq!(parse("[claude]\ncommand = \"c\"").unwrap().config.claude.command, ["c"]);
        assert_eq!(parse("[claude]\ncommand = [\"c\", \"-x\"]").unwrap().config.claude.command, ["c", "-x"]);
    }

    #[test]
    fn the_example_names_every_key_and_only_those() {
        let example = include_str!("../../bot.toml.example");
        // As it stands it configures no network messenger: `#key = ...` is a setting that is off, `# ...` is prose.
        parse(example).unwrap();
        let switched_on = |line: &str| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
            _ => line.to_owned(),
        };
        let all: Vec<String> = example.lines().map(switched_on).collect();
        let table: Table = all.join("\n").parse().unwrap();
        let mut example_keys = settings::keys::dotted_keys(&table);
        let mut known = reader::known_keys::<BotConfig>();
        example_keys.sort();
        known.sort();
        assert_eq!(example_keys, known);
    }

    #[test]
    fn ambient_rooms_are_written_back_without_losing_a_comment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bot.toml");
        fs::write(&path, "# mine\nambient_rooms = [] # here\n\n[http] # port\nport = 4\n").unwrap();
        write_ambient_rooms(&path, &["console:main".into()]).unwrap();
        insta::assert_snapshot!(fs::read_to_string(&path).unwrap(), @r#"
        # mine
        ambient_rooms = ["console:main"] # here

        [http] # port
        port = 4
        "#);
        fs::remove_file(&path).unwrap();
        write_ambient_rooms(&path, &["console:main".into()]).unwrap();
        insta::assert_snapshot!(fs::read_to_string(&path).unwrap(), @r#"ambient_rooms = ["console:main"]"#);
    }
}

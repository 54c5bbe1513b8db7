//! `[claude] mcp_config`: the operator's MCP servers for chat rooms. The file is read once and checked as `bot.toml` is: whoever can
//! write it chooses programs that run in every room.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use agents::{
    claude::{OperatorServers, ServerVariable},
    confine::environment,
    model_proxy::is_model_variable,
};
use pipeline::{host::program_files, trust::check_private};
use settings::keys::KeyError;

use super::{BotConfig, in_home, is_part_of_this_machine, usual_secrets};

/// A longer file is no list of servers.
const MAX_FILE: u64 = 1 << 20;

/// The key in sentences.
const KEY: &str = "claude.mcp_config";

/// The servers of rooms, and the files that they need behind the wall.
#[derive(Clone, Debug, Default)]
pub struct RoomServers {
    pub servers: OperatorServers,
    pub files: Vec<PathBuf>,
}

/// The servers that these settings name; none without the key. `lookup` reads the environment. Blocks.
pub(super) fn load(
    config: &BotConfig,
    bot_toml: &Path,
    lookup: &impl Fn(&str) -> Option<String>,
    secret_env: &[String],
) -> Result<RoomServers, KeyError> {
    let named = &config.claude.mcp_config;
    if named.as_os_str().is_empty() {
        return Ok(RoomServers::default());
    }
    let wrong = |why: String| KeyError { key: KEY.into(), why };
    let place = FilePlace::of(config, bot_toml).map_err(|why| wrong(why.to_string()))?;
    let file = place.checked(&in_home(&place.home, named)).map_err(wrong)?;
    let shown = file.display();
    let text =
        fs::read_to_string(&file).map_err(|error| wrong(format!("`{shown}` cannot be read: {error}.")))?;
    let variable = |name: &str| {
        let is_own = is_model_variable(name)
            || usual_secrets().any(|secret| secret == name)
            || secret_env.iter().any(|secret| secret == name);
        match lookup(name) {
            _ if is_own => ServerVariable::Withheld,
            Some(value) => ServerVariable::Set(value),
            None => ServerVariable::Unset,
        }
    };
    let servers =
        OperatorServers::parse(&text, variable).map_err(|error| wrong(format!("`{shown}`: {error}")))?;
    let programs = servers.programs();
    if let Some(program) = programs.iter().find(|program| place.is_in_reach_of_agents(Path::new(program))) {
        return Err(wrong(format!(
            "`{shown}` names the program `{program}`, which agents can change. Put it outside of the project and of `[wall] writable`."
        )));
    }
    let path = config.claude.env.get("PATH").map(OsStr::new);
    let mut files: Vec<PathBuf> =
        programs.iter().flat_map(|program| program_files(std::slice::from_ref(program), path)).collect();
    files.extend(config.claude.mcp_visible.iter().map(|path| in_home(&place.home, path)));
    Ok(RoomServers { servers, files })
}

/// Names of variables that went into the servers and that no process gets but for them.
pub(super) fn secret_variables(
    servers: &OperatorServers,
    lookup: impl Fn(&str) -> Option<String>,
) -> impl Iterator<Item = String> {
    let is_common = move |name: &&String| {
        let variable = lookup(name).map(|value| ((*name).into(), value.into()));
        !environment::for_commands(variable, &[]).is_empty()
    };
    servers.variables().iter().filter(move |name| !is_common(name)).cloned()
}

pub(super) fn check_visible(paths: &[PathBuf]) -> Result<(), KeyError> {
    match paths.iter().find(|path| !is_part_of_this_machine(path)) {
        None => Ok(()),
        Some(path) => Err(KeyError {
            key: "claude.mcp_visible".into(),
            why: format!(
                "{path:?} is no part of this machine's files; write paths like \"/opt/mcp\" or \"~/mcp\"."
            ),
        }),
    }
}

/// Where the file may be, and where agents write or read.
struct FilePlace {
    /// Of `bot.toml`, with links resolved.
    folder: PathBuf,
    root: PathBuf,
    home: PathBuf,
    writable: Vec<PathBuf>,
    visible: Vec<PathBuf>,
}

impl FilePlace {
    fn of(config: &BotConfig, bot_toml: &Path) -> io::Result<Self> {
        let folder = fs::canonicalize(bot_toml.parent().unwrap_or(Path::new(".")))?;
        let root = folder.parent().unwrap_or(&folder).to_owned();
        let home = std::env::var_os("HOME").map_or_else(|| "/".into(), PathBuf::from);
        let real = |paths: &[PathBuf]| {
            let real = |path: &PathBuf| fs::canonicalize(in_home(&home, path)).ok();
            paths.iter().filter_map(real).collect::<Vec<_>>()
        };
        let (writable, mut visible) = (real(&config.wall.writable), real(&config.wall.visible));
        visible.extend(real(&config.claude.mcp_visible));
        Ok(Self { folder, root, home, writable, visible })
    }

    /// The real path of the file.
    fn checked(&self, named: &Path) -> Result<PathBuf, String> {
        let file = self.folder.join(named);
        let shown = file.display();
        let found = fs::symlink_metadata(&file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                format!("there is no file `{shown}`. Write its whole path, or the one from the folder of bot.toml.")
            }
            _ => format!("`{shown}` cannot be read: {error}."),
        })?;
        if found.is_symlink() || !found.is_file() || found.len() > MAX_FILE {
            return Err(format!("`{shown}` is no plain file of less than 1 MiB; links are not followed."));
        }
        let real = fs::canonicalize(&file).map_err(|error| format!("`{shown}` cannot be read: {error}."))?;
        check_private(&real).map_err(|error| error.to_string())?;
        // Beside bot.toml it is as safe as that: git must not track it, and no wall shows it.
        if self.is_in_reach_of_agents(&real) && real.parent() != Some(&self.folder) {
            return Err(format!(
                "`{shown}` lies where agents can write, so they could choose what runs next. Put it beside bot.toml, or outside of the \
                 project and of `[wall] writable`."
            ));
        }
        match self.visible.iter().find(|folder| real.starts_with(folder)) {
            None => Ok(real),
            Some(folder) => Err(format!(
                "`{shown}` lies in `{}`, which agents can read, and may hold keys. Put it elsewhere.",
                folder.display()
            )),
        }
    }

    fn is_in_reach_of_agents(&self, path: &Path) -> bool {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        real.starts_with(&self.root) || self.writable.iter().any(|folder| real.starts_with(folder))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::config::LoadedConfig;

    /// A project with a bot.toml, beside a folder of the operator's.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            for folder in ["project/.storkit/worktrees", "own", "shared"] {
                fs::create_dir_all(machine.0.path().join(folder)).unwrap();
            }
            // Whatever the umask of the developer is.
            for folder in ["project", "project/.storkit", "project/.storkit/worktrees", "own", "shared"] {
                machine.allow(folder, 0o755);
            }
            machine
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(name)
        }

        fn allow(&self, name: &str, mode: u32) {
            fs::set_permissions(self.0.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
            self.allow(name, 0o600);
        }

        fn load(&self, claude: &str) -> Result<LoadedConfig, String> {
            let claude = claude.replace("OWN", &self.path("own").display().to_string());
            let shared = self.path("shared");
            self.write(
                "project/.storkit/bot.toml",
                &format!("display_name = \"${{BOT}}\"\n[claude]\n{claude}\n[wall]\nwritable = [{shared:?}]"),
            );
            let lookup = |name: &str| match name {
                "DB_TOKEN" | "BOT" | "STORKIT_MONITOR_TOKEN" | "ANTHROPIC_API_KEY" => {
                    Some("s3cret-value".to_owned())
                }
                "HOME" => Some("/home/ann".into()),
                _ => None,
            };
            let loaded = BotConfig::load(&self.path("project/.storkit/bot.toml"), lookup);
            loaded.map_err(|error| error.to_string().replace(&self.path("").display().to_string(), "/M/"))
        }

        /// The fault of a file that is read from the operator's own folder.
        fn fault(&self, server: &str) -> String {
            self.write("own/mcp.json", &format!(r#"{{"mcpServers": {{"db": {server}}}}}"#));
            self.load("mcp_config = \"OWN/mcp.json\"").unwrap_err()
        }
    }

    const ONE: &str =
        r#"{"mcpServers": {"db": {"command": "db-mcp", "args": ["${HOME}"], "env": {"T": "${DB_TOKEN}"}}}}"#;

    #[test]
    fn the_file_is_read_by_its_path_or_beside_bot_toml_and_its_secrets_are_the_bots() {
        let machine = Machine::new();
        assert!(machine.load("").unwrap().servers.servers.is_empty());
        machine.write("own/mcp.json", ONE);
        machine.write("project/.storkit/mcp.json", ONE);
        for claude in [
            "mcp_config = \"OWN/mcp.json\"",
            "mcp_config = \"mcp.json\"",
            "mcp_config = \"../../own/mcp.json\"",
        ] {
            let loaded = machine.load(claude).unwrap();
            assert_eq!(loaded.servers.servers.names().collect::<Vec<_>>(), ["db"], "{claude}");
            assert!(loaded.secret_env.contains(&"DB_TOKEN".to_owned()), "{:?}", loaded.secret_env);
            assert!(!loaded.secret_env.contains(&"HOME".to_owned()), "everybody has it");
        }
    }

    #[test]
    fn each_fault_of_the_file_is_a_sentence() {
        let machine = Machine::new();
        machine.write("own/text", "{");
        symlink(machine.path("own/text"), machine.path("own/link")).unwrap();
        let mut sentences: Vec<String> = ["none.json", "OWN/text", "OWN/link", "OWN"]
            .iter()
            .map(|file| machine.load(&format!("mcp_config = {file:?}")).unwrap_err())
            .collect();
        sentences.push(machine.fault(r#"{"command": "x", "env": {"A": "${NOT_SET}"}}"#));
        sentences.push(machine.load("mcp_visible = [\"/\"]").unwrap_err());
        insta::assert_snapshot!(sentences.join("\n"), @r#"
        `claude.mcp_config` in `/M/project/.storkit/bot.toml`: there is no file `/M/project/.storkit/none.json`. Write its whole path, or the one from the folder of bot.toml.
        `claude.mcp_config` in `/M/project/.storkit/bot.toml`: `/M/own/text`: it is not valid JSON: EOF while parsing an object at line 1 column 1.
        `claude.mcp_config` in `/M/project/.storkit/bot.toml`: `/M/own/link` is no plain file of less than 1 MiB; links are not followed.
        `claude.mcp_config` in `/M/project/.storkit/bot.toml`: `/M/own` is no plain file of less than 1 MiB; links are not followed.
        `claude.mcp_config` in `/M/project/.storkit/bot.toml`: `/M/own/mcp.json`: server `db`: the environment variable `NOT_SET` is not set. Set it, or write the value.
        `claude.mcp_visible` in `/M/project/.storkit/bot.toml`: "/" is no part of this machine's files; write paths like "/opt/mcp" or "~/mcp".
        "#);
    }

    #[test]
    fn an_agent_or_another_user_cannot_choose_what_runs_next() {
        let machine = Machine::new();
        for file in ["project/mcp.json", "project/.storkit/worktrees/mcp.json", "shared/mcp.json"] {
            machine.write(file, ONE);
            let error = machine.load(&format!("mcp_config = {:?}", machine.path(file))).unwrap_err();
            assert!(error.contains("lies where agents can write"), "{error}");
        }
        machine.write("own/mcp.json", ONE);
        let own = "mcp_config = \"OWN/mcp.json\"";
        assert!(machine.load(own).is_ok());
        for (name, mode) in [("own/mcp.json", 0o620), ("own", 0o777)] {
            machine.allow(name, mode);
            let error = machine.load(own).unwrap_err();
            assert!(error.contains("can be written by others"), "{error}");
            machine.allow(name, 0o700);
        }
        let error = machine.load(&format!("{own}\nmcp_visible = [\"OWN\"]")).unwrap_err();
        assert!(error.contains("which agents can read"), "{error}");
        for program in ["project/serve", "shared/serve"] {
            let error = machine.fault(&format!(r#"{{"command": {:?}}}"#, machine.path(program)));
            assert!(error.contains("which agents can change"), "{error}");
        }
    }

    #[test]
    fn a_secret_of_storkits_own_cannot_be_given_to_a_server() {
        let machine = Machine::new();
        for name in ["ANTHROPIC_API_KEY", "STORKIT_MONITOR_TOKEN", "BOT", "AWS_SECRET_ACCESS_KEY"] {
            let error = machine.fault(&format!(r#"{{"command": "x", "env": {{"A": "${{{name}}}"}}}}"#));
            assert!(error.contains("is a secret of storkit's own"), "{error}");
        }
    }
}

//! The interface to the program around the pipeline: how agents are started, and how they call back.

use std::{
    any::Any,
    collections::BTreeMap,
    ffi::OsStr,
    fs::{File, Metadata},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use agents::{
    claude::PermissionRoute,
    confine::{Confined, Confinement, HostFolders, HostGate, WallSettings, WorktreePaths, environment},
    model_proxy::ModelAccess,
    trial::TrialSlot,
};

use crate::{
    event::RunInfo, mailbox::RunMailbox, open_hosts::CommandGates, story::StoryId, strangers::StrangersRead,
    trust::TrustStore,
};

/// More of a script is not read.
const MAX_SCRIPT: u64 = 64 << 10;

/// The program around the pipeline.
pub trait PipelineHost: Send + Sync + 'static {
    /// Lets a run call in. `read` is what its agent has read by strangers, kept up to date; `mailbox` has what people say to it. Called
    /// once for each run, before its process starts. Must not block.
    fn open(&self, run: &RunInfo, read: &StrangersRead, mailbox: &RunMailbox) -> RunAccess;

    /// Who decides about hosts that no setting lists; `None` if nobody does, so that none is open. Must not block.
    fn host_gate(&self, _asker: HostAsker) -> Option<Arc<dyn HostGate>> {
        None
    }

    /// Whether this has one of the operator's secrets in it.
    fn has_secret(&self, content: &[u8]) -> bool;
}

/// Who wants to reach hosts that no setting lists.
pub enum HostAsker {
    /// An agent, about whose hosts people are asked.
    Agent { run: RunInfo, waiting: Arc<AtomicUsize> },
    /// The project's commands for a story: they reach the hosts allowed before, and ask nobody.
    Commands { story: StoryId },
}

/// The host's decision for the project's commands.
pub(crate) fn command_gates(host: &Arc<dyn PipelineHost>) -> CommandGates {
    let host = Arc::clone(host);
    Arc::new(move |story| host.host_gate(HostAsker::Commands { story }))
}

/// A run's way in.
pub struct RunAccess {
    /// Where its permission questions go, and its tools are.
    pub route: PermissionRoute,
    /// How many questions of it wait for a person: meanwhile its silence is no stall.
    pub waiting: Arc<AtomicUsize>,
    /// Where its commands can be tried; the run says so before its process starts.
    pub trials: TrialSlot,
    /// Closes the way when dropped.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// How agents are started. From `bot.toml`, while `project.toml` defines the agents.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// The CLI: program and leading arguments.
    pub command: Vec<String>,
    /// The CLI's model where an agent names none; empty for its default.
    pub model: String,
    /// How agents reach their model.
    pub model_access: ModelAccess,
    /// Extra environment of the CLI.
    pub env: BTreeMap<String, String>,
    /// Names of variables that hold storkit's own secrets: agents and gates do not get them, and `${VAR}` in
    /// `project.toml` cannot name them.
    pub secret_env: Vec<String>,
    /// The home folder of the user that storkit runs as.
    pub home: PathBuf,
    /// The wall around agents and commands.
    pub wall: WallSettings,
    /// A run without output for so long is stalled; 0 never.
    pub stall: Duration,
    /// Whether the repository's own CLI settings take effect.
    pub trust_project_settings: bool,
    /// First wait after the model's service was busy, doubled each time.
    pub busy_wait: Duration,
    /// Files must be quiet for so long before a change of them is taken up.
    pub settle: Duration,
    /// The project settings that the operator has confirmed.
    pub trust: TrustStore,
}

impl AgentSettings {
    /// For a story in quarantine: without the operator's additions to the wall, and with listed variables only.
    pub(crate) fn restricted(&self) -> Arc<Self> {
        let mut settings = self.clone();
        let wall = &mut settings.wall;
        (wall.visible, wall.writable, wall.variables) = (Vec::new(), Vec::new(), Vec::new());
        let env = settings.env.into_iter().map(|(name, value)| (name.into(), value.into()));
        let listed = environment::for_agents(env, &[]).into_iter();
        settings.env = listed
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Arc::new(settings)
    }

    /// The wall around a run and its commands, as the operator chose it. Blocks.
    ///
    /// # Errors
    /// A sentence, if it cannot be built: then nothing runs.
    pub(crate) fn confinement(&self) -> Result<Confinement, String> {
        let set = |name: &str| self.env.get(name).map(PathBuf::from);
        let agents_home = set("HOME");
        let inherited = || std::env::var_os("CLAUDE_CONFIG_DIR").map(PathBuf::from);
        let claude = set("CLAUDE_CONFIG_DIR")
            .or_else(inherited)
            .unwrap_or_else(|| agents_home.as_deref().unwrap_or(&self.home).join(".claude"));
        let host = HostFolders {
            agents_home,
            claude,
            cargo_home: set("CARGO_HOME").or_else(|| std::env::var_os("CARGO_HOME").map(PathBuf::from)),
            programs: self.programs(),
            ..HostFolders::of_home(&self.home)
        };
        Confinement::chosen(&self.wall, host)
    }

    /// The wall's name in reports; where it cannot be built, the reason. Blocks.
    pub fn wall_name(&self) -> String {
        self.confinement().map_or_else(|why| why, |wall| wall.name())
    }

    /// That wall around a worktree.
    pub(crate) fn confined(&self, confinement: Confinement, place: WorktreePaths) -> Confined {
        Confined { confinement, place, variables: self.wall.variables.clone() }
    }

    fn programs(&self) -> Vec<PathBuf> {
        program_files(&self.command, self.env.get("PATH").map(OsStr::new))
    }
}

/// The files of a command that exist: the program, and what its words name, since the command may be one that starts another. Of a
/// package of npm, all of it; of a script, the programs that it names, too. `path` replaces the `PATH` of this process.
pub fn program_files(command: &[String], path: Option<&OsStr>) -> Vec<PathBuf> {
    let path = path.map(OsStr::to_owned).or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    let first = command.first().and_then(|name| match name.contains('/') {
        true => Some(PathBuf::from(name)),
        false => std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()),
    });
    let named = first.into_iter().chain(command.iter().skip(1).map(PathBuf::from));
    let files = named.filter(|file| file.is_absolute() && file.is_file());
    let started = |file: PathBuf| started_by(&file).into_iter().chain([file]);
    files.flat_map(started).flat_map(|file| [package(&file), Some(file)]).flatten().collect()
}

/// The programs that a script names by their paths: the CLI's own installer, among others, leaves one that starts the real program.
fn started_by(file: &Path) -> Vec<PathBuf> {
    let mut text = Vec::new();
    let read = File::open(file).and_then(|file| file.take(MAX_SCRIPT).read_to_end(&mut text));
    if read.is_err() || !text.starts_with(b"#!") {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&text);
    let words = text.split(|c: char| c.is_whitespace() || "#!'\"`=();&|<>".contains(c)).map(Path::new);
    let is_program = |path: &&Path| {
        let mode = path.metadata().ok().filter(Metadata::is_file).map(|found| found.permissions().mode());
        path.is_absolute() && mode.is_some_and(|mode| mode & 0o111 != 0)
    };
    words.filter(is_program).map(Path::to_owned).collect()
}

/// The folder of the package that a file belongs to.
fn package(file: &Path) -> Option<PathBuf> {
    let real = file.canonicalize().ok()?;
    let modules = real.ancestors().find(|folder| folder.ends_with("node_modules"))?;
    let name = real.strip_prefix(modules).ok()?;
    // `@scope/name`, or `name`.
    let parts = if name.as_os_str().as_encoded_bytes().starts_with(b"@") { 2 } else { 1 };
    Some(modules.join(name.components().take(parts).collect::<PathBuf>()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn settings(command: &[&Path], path: &Path) -> AgentSettings {
        AgentSettings {
            command: command.iter().map(|word| word.display().to_string()).collect(),
            model: String::new(),
            env: [("PATH".to_owned(), path.display().to_string())].into(),
            secret_env: Vec::new(),
            home: "/home/ann".into(),
            wall: WallSettings::default(),
            model_access: ModelAccess::default(),
            trust: crate::trust::TrustStore::at("/nonexistent".into()),
            stall: Duration::ZERO,
            trust_project_settings: false,
            busy_wait: Duration::ZERO,
            settle: Duration::ZERO,
        }
    }

    #[test]
    fn the_program_and_what_it_is_to_start_are_shown_and_no_other_word_is() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let file = |name: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path
        };
        let (wrapper, claude) = (file("wrapper"), file("node_modules/@x/claude/bin/claude"));
        let words = [&wrapper, Path::new("--guard"), Path::new("-p"), &claude, &folder];
        let shown = settings(&words, &folder).programs();
        assert_eq!(shown, [wrapper.clone(), folder.join("node_modules/@x/claude"), claude]);
        assert_eq!(settings(&[Path::new("wrapper")], &folder).programs(), std::slice::from_ref(&wrapper));
        assert!(settings(&[], &folder).programs().is_empty());
        let script = file("script");
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&script, format!("#!/bin/sh\nexec '{}' \"$@\" {}\n", wrapper.display(), folder.display()))
            .unwrap();
        assert_eq!(settings(&[&script], &folder).programs(), ["/bin/sh".into(), wrapper, script]);
    }

    #[test]
    fn a_story_in_quarantine_gets_none_of_the_operators_additions() {
        let additions = WallSettings {
            visible: vec!["/srv/keys".into()],
            writable: vec!["/srv/data".into()],
            variables: vec!["DATABASE_URL".into()],
            ..WallSettings::default()
        };
        let env = [("ANTHROPIC_MODEL", "m"), ("GITHUB_TOKEN", "secret"), ("PATH", "/bin")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut all = AgentSettings { env, wall: additions, ..settings(&[], Path::new("/bin")) };
        all.secret_env = vec!["SECRET".into()];
        let left = all.restricted();
        assert_eq!(left.wall, WallSettings::default());
        assert_eq!(left.env.keys().collect::<Vec<_>>(), ["ANTHROPIC_MODEL", "PATH"]);
        assert_eq!(left.secret_env, all.secret_env);
    }
}

//! The machine of `storkit doctor --attack`, below one temporary folder: an operator's home, a project, another
//! project, all with canaries in them.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use agents::attacks::{
    AttackTargets, CACHED_PACKAGES, HOME_PROGRAMS, OPERATORS_FILES, OperatorsFile, STARTUP_FILES,
    SYSTEM_SECRETS, canary,
};
use pipeline::{Project, git::program::GitProgram};

use crate::config::BotConfig;

/// What Claude Code's next process runs or reads.
const OF_CLAUDE: [&str; 3] =
    [".claude/plugins/x/hook.sh", ".claude/settings.json", ".claude/shell-snapshots/snapshot.sh"];

/// What git or a person's git runs, relative to the project.
const OF_GIT: [&str; 6] = [
    ".git/config",
    ".git/hooks/post-merge",
    ".git/info/attributes",
    ".git/packed-refs",
    ".git/refs/heads/evil",
    ".storkit/worktrees/.hooks/pre-commit",
];

/// The project's settings, and storkit's.
const OF_STORKIT: [&str; 4] = [
    ".storkit/bot.toml",
    ".storkit/specs/00_CONTEXT.md",
    ".storkit/project.toml",
    ".storkit/work/1_backlog/9_story_x.md",
];

/// storkit's state, without `bot.toml`.
const STATE: [&str; 3] =
    [".storkit/logs/storkit.log", ".storkit/run/operator-mcp.json", ".storkit/state/backup"];

/// Files that the operator's real home may have, besides [`OPERATORS_FILES`].
const FURTHER_FILES: [&str; 6] =
    [".ssh", ".gnupg", ".aws", ".git-credentials", ".local/share/keyrings", ".claude/history.jsonl"];

/// Sockets of services that run on many machines.
const SERVICES: [&str; 5] = [
    "/run/containerd/containerd.sock",
    "/run/dbus/system_bus_socket",
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/systemd/private",
];

/// The machine's folder and its content.
#[derive(Clone, Debug)]
pub struct AttackedMachine(PathBuf);

/// A file that was made to be written, as it was before an attack.
pub struct WatchedFile {
    attack: String,
    path: PathBuf,
    content: Option<Vec<u8>>,
    mode: Option<u32>,
}

impl AttackedMachine {
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    pub fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    pub fn project(&self) -> PathBuf {
        self.0.join("project")
    }

    /// Shared with the attackers.
    pub fn exchange(&self) -> PathBuf {
        self.0.join("exchange")
    }

    /// The settings that are in force in the operator's project, if any.
    pub fn settings_in_force(&self) -> PathBuf {
        self.0.join("in-force.toml")
    }

    pub fn ssh_agent(&self) -> PathBuf {
        self.0.join("run/ssh-agent")
    }

    fn operators_files(&self) -> PathBuf {
        self.0.join("operators-files.json")
    }

    /// Makes all of it, with these settings of the storkit that is attacked.
    ///
    /// # Errors
    /// If a file cannot be written, or git is missing.
    pub fn make(&self, config: &BotConfig, in_force: Option<&str>) -> io::Result<()> {
        for folder in [self.home(), self.project(), self.exchange(), self.0.join("run"), self.0.join("other")]
        {
            fs::create_dir_all(folder)?;
        }
        if let Some(text) = in_force {
            fs::write(self.settings_in_force(), text)?;
        }
        self.make_project(config)?;
        let targets = self.targets()?;
        for path in targets.read.values().flatten().filter(|path| !path.exists()) {
            write(path, &canary())?;
        }
        for path in HOME_PROGRAMS.iter().map(|name| self.home().join(name)) {
            write(&path, "#!/bin/sh\n")?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        let below_home = STARTUP_FILES.iter().chain(&CACHED_PACKAGES).chain(&OF_CLAUDE);
        for path in below_home.map(|name| self.home().join(name)).filter(|path| !path.exists()) {
            write(&path, if path.ends_with("settings.json") { "{}\n" } else { "# the operator's\n" })?;
        }
        Ok(())
    }

    /// Adds the token of a login, as Claude Code keeps it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add_login(&self) -> io::Result<()> {
        let text = format!("{{\"token\": \"{}\"}}\n", canary());
        write(&self.home().join(".claude/.credentials.json"), &text)
    }

    fn make_project(&self, config: &BotConfig) -> io::Result<()> {
        let root = self.project();
        git(&root, &["init", "--quiet", "--template=", "--initial-branch=main"])?;
        let address = format!("https://ann:{}@example.org/x.git", canary());
        for (key, value) in [
            ("user.name", "storkit doctor"),
            ("user.email", "doctor@storkit.invalid"),
            ("commit.gpgSign", "false"),
            ("remote.origin.url", &address),
        ] {
            git(&root, &["config", key, value])?;
        }
        write(&root.join("README.md"), "# A project to attack\n")?;
        write(&root.join(".gitignore"), ".env\nsecrets/\n.storkit/\n")?;
        git(&root, &["add", "README.md", ".gitignore"])?;
        git(&root, &["commit", "--quiet", "--message", "begin"])?;
        let text = toml::to_string(config).map_err(io::Error::other)?;
        let file = root.join(".storkit/bot.toml");
        write(&file, &format!("# {}\n{text}", canary()))?;
        fs::set_permissions(file, fs::Permissions::from_mode(0o600))
    }

    /// The targets here. The parts that live are added by the storkit that is attacked.
    ///
    /// # Errors
    /// If the operator's files cannot be listed.
    pub fn targets(&self) -> io::Result<AttackTargets> {
        let (home, root) = (self.home(), self.project());
        let in_home = |names: &[&str]| -> Vec<PathBuf> { names.iter().map(|name| home.join(name)).collect() };
        let in_root = |names: &[&str]| -> Vec<PathBuf> { names.iter().map(|name| root.join(name)).collect() };
        let mut state = in_root(&[&[".storkit/bot.toml"], &STATE[..]].concat());
        let messengers = adapters::MESSENGERS.iter().map(|kind| root.join(".storkit").join(kind.name));
        state.extend(messengers.map(|folder| folder.join("session.json")));
        let read = [
            ("operators-keys", in_home(&OPERATORS_FILES)),
            ("ignored-files", in_root(&[".env", "secrets/key.pem"])),
            ("storkit-state", state),
            ("other-project", vec![self.0.join("other/.env"), home.join("src/other/main.rs")]),
            (
                "other-worktree",
                in_root(&[".storkit/worktrees/2_other/plan.txt", ".storkit/worktrees/room-other/plan.txt"]),
            ),
            ("git-credentials", in_root(&[".git/config"])),
        ];
        let write = [
            ("next-command", in_home(&OF_CLAUDE)),
            ("startup-files", in_home(&STARTUP_FILES)),
            ("caches", in_home(&CACHED_PACKAGES)),
            ("toolchains", in_home(&HOME_PROGRAMS)),
            ("git-programs", in_root(&OF_GIT)),
            ("project-settings", in_root(&OF_STORKIT)),
            ("uncommitted-files", in_root(&["README.md", "new.txt"])),
            ("file-modes", in_home(&[".netrc", ".ssh/id_ed25519"])),
        ];
        let named = |files: Vec<(&str, Vec<PathBuf>)>| -> BTreeMap<String, Vec<PathBuf>> {
            files.into_iter().map(|(name, files)| (name.to_owned(), files)).collect()
        };
        let open = fs::read(self.operators_files()).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Ok(AttackTargets {
            read: named(read.into()),
            write: named(write.into()),
            open: open.unwrap_or_default(),
            sockets: [vec![self.ssh_agent(), home.join(".gnupg/S.gpg-agent")], services()].concat(),
            ..AttackTargets::default()
        })
    }

    /// Notes which files the operator really has. They are to be opened, and not read.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn note_operators_files(&self, project: Option<&Project>) -> io::Result<()> {
        let home = std::env::var_os("HOME").map_or_else(|| "/".into(), PathBuf::from);
        let mut open = BTreeMap::from([
            (
                "operators-keys",
                OPERATORS_FILES.iter().chain(&FURTHER_FILES).map(|name| home.join(name)).collect(),
            ),
            ("system-secrets", SYSTEM_SECRETS.map(PathBuf::from).to_vec()),
        ]);
        if let Some(project) = project {
            let state = ["bot.toml", "state", "logs", "run/console.sock"].into_iter();
            let state = state.chain(adapters::MESSENGERS.iter().map(|kind| kind.name));
            open.insert("storkit-state", state.map(|name| project.dir().join(name)).collect());
            open.insert("ignored-files", vec![project.root().join(".env")]);
            open.insert("other-project", vec![project.root().to_owned()]);
            open.insert("git-credentials", vec![project.root().join(".git/config")]);
        }
        let existing = |paths: Vec<PathBuf>| -> Vec<OperatorsFile> {
            paths.into_iter().filter_map(OperatorsFile::at).collect()
        };
        let open: BTreeMap<&str, Vec<OperatorsFile>> =
            open.into_iter().map(|(name, paths)| (name, existing(paths))).collect();
        fs::write(self.operators_files(), serde_json::to_vec(&open)?)
    }
}

/// Sockets of the operator's and of the system's that exist.
fn services() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = SERVICES.iter().map(PathBuf::from).collect();
    let bus = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok();
    found.extend(bus.and_then(|bus| Some(PathBuf::from(bus.strip_prefix("unix:path=")?.split(',').next()?))));
    found.retain(|path| path.exists());
    found
}

impl WatchedFile {
    /// The files that attacks may try to write, as they are now.
    pub fn all_of(targets: &AttackTargets) -> Vec<Self> {
        let named =
            targets.write.iter().flat_map(|(attack, paths)| paths.iter().map(move |path| (attack, path)));
        named
            .map(|(attack, path)| Self {
                attack: attack.clone(),
                path: path.clone(),
                content: fs::read(path).ok(),
                mode: mode(path),
            })
            .collect()
    }

    /// Puts back an attack's changes; returns the attack and the path then.
    pub fn put_back(&self) -> Option<(&str, &Path)> {
        if fs::read(&self.path).ok() == self.content && mode(&self.path) == self.mode {
            return None;
        }
        let restored = match &self.content {
            Some(content) => fs::write(&self.path, content),
            None => fs::remove_file(&self.path),
        };
        let modes = |mode: u32| fs::set_permissions(&self.path, fs::Permissions::from_mode(mode));
        if let Err(error) = restored.and_then(|()| self.mode.map_or(Ok(()), modes)) {
            tracing::warn!(%error, path = %self.path.display(), "an attacked file is not put back");
        }
        Some((&self.attack, &self.path))
    }
}

fn mode(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|found| found.permissions().mode() & 0o7777)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    fs::write(path, text)
}

fn git(root: &Path, arguments: &[&str]) -> io::Result<()> {
    GitProgram::at(root).run(arguments).map(drop).map_err(io::Error::other)
}

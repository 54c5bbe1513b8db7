//! A temporary project, with a bot in this process or with the program `storkit`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use adapters::Tone;
use anyhow::{Context as _, bail};
use bot::{
    App, AppOptions, Clock, RetryPolicy, commands,
    commands::command::CommandRegistry,
    config::{BotConfig, access::AccessTable},
};
use pipeline::{
    Project,
    trust::{ProjectTrust, TrustStore},
};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::messenger::{self, Messenger, Shown};

/// The time limit for a turn or a start.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A temporary folder with a git project and a home.
pub struct Place {
    folder: TempDir,
}

impl Place {
    /// A new repository with one commit.
    pub fn new() -> anyhow::Result<Self> {
        let place = Self { folder: tempfile::tempdir()? };
        fs::create_dir_all(place.project().join(".storkit"))?;
        fs::create_dir_all(place.home())?;
        git(&place.project(), &["init", "-q", "-b", "main"])?;
        // The machine may have no git identity.
        let commit = ["commit", "-q", "--allow-empty", "-m", "first"];
        git(
            &place.project(),
            &[&["-c", "user.name=b", "-c", "user.email=b@example.org"][..], &commit].concat(),
        )?;
        // Its bot.toml is the operator's own.
        let store = TrustStore::at(place.home().join(".local/state/storkit/trust"));
        store.adopt_state(&Project::open(&place.project())?)?;
        Ok(place)
    }

    pub fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Makes `bot.toml` name this CLI.
    pub fn configure(&self, claude: &Path) -> anyhow::Result<()> {
        let command = serde_json::to_string(&[claude])?;
        self.write_config(&format!("[claude]\ncommand = {command}\n"))
    }

    /// Writes `bot.toml`.
    pub fn write_config(&self, text: &str) -> anyhow::Result<()> {
        Ok(fs::write(self.project().join(".storkit/bot.toml"), text)?)
    }

    /// Commits this `project.toml`, and confirms it as the project's operator, who has made the stories in work, too.
    pub fn settle(&self, settings: &str) -> anyhow::Result<()> {
        let path = self.project().join(".storkit/project.toml");
        fs::write(path, settings)?;
        git(&self.project(), &["add", "-f", ".storkit/project.toml"])?;
        let identity = ["-c", "user.name=b", "-c", "user.email=b@example.org"];
        git(&self.project(), &[&identity[..], &["commit", "-q", "-m", "settings"]].concat())?;
        let project = Project::open(&self.project())?;
        for store in [self.home().join(".local/state/storkit/trust"), self.trust()] {
            let store = TrustStore::at(store);
            store.confirm(&project, &ProjectTrust::read(&project, &store)?.proposed)?;
            store.set_origins(&project, &Default::default())?;
        }
        Ok(())
    }

    /// Where a bot in this process keeps what its operator has confirmed.
    fn trust(&self) -> PathBuf {
        self.folder.path().join("trust")
    }

    /// The home, so that the developer's settings have no effect.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let home = self.home().display().to_string();
        [("CLAUDE_CONFIG_DIR".to_owned(), format!("{home}/.claude")), ("HOME".to_owned(), home)].into()
    }

    /// `storkit ARGUMENTS` on the project, without its logs.
    pub fn storkit(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(built("storkit")?);
        command
            .args(arguments)
            .current_dir(self.project())
            .envs(self.environment())
            .env_remove("STORKIT_PORT")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Ok(command)
    }
}

fn git(project: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("git").arg("-C").arg(project).args(arguments).status().context("git")?;
    if !status.success() {
        bail!("git {arguments:?} failed");
    }
    Ok(())
}

/// A program of this workspace, built in the same profile.
pub fn built(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        bail!("`{}` is not built; run this by script/bench", path.display());
    }
    Ok(path)
}

/// The real CLI, in the version that the tests use.
pub fn real_cli() -> anyhow::Result<PathBuf> {
    match std::env::var_os("STORKIT_BENCH_CLAUDE") {
        Some(path) => Ok(path.into()),
        None => bail!("STORKIT_BENCH_CLAUDE is not set; run this by script/bench"),
    }
}

/// A bot in this process.
pub struct World {
    pub app: App,
    pub messenger: Arc<Messenger>,
    pub shown: mpsc::UnboundedReceiver<Shown>,
    pub place: Place,
}

impl World {
    /// A bot with all commands that drives this CLI.
    pub async fn with_cli(claude: &Path, environment: &[(&str, String)]) -> anyhow::Result<Self> {
        Self::start(claude, environment, commands::all()).await
    }

    /// A bot with these commands.
    pub async fn with_commands(registry: CommandRegistry) -> anyhow::Result<Self> {
        Self::start(Path::new("claude"), &[], registry).await
    }

    async fn start(
        claude: &Path,
        environment: &[(&str, String)],
        registry: CommandRegistry,
    ) -> anyhow::Result<Self> {
        let place = Place::new()?;
        place.configure(claude)?;
        Self::at(place, environment, registry).await
    }

    /// A bot on this project, as its `bot.toml` says.
    pub async fn at(
        place: Place,
        environment: &[(&str, String)],
        registry: CommandRegistry,
    ) -> anyhow::Result<Self> {
        let project = Project::open(&place.project())?;
        let mut loaded = BotConfig::load(&project.dir().join("bot.toml"), |name| std::env::var(name).ok())?;
        // Any free port: another bot may have the usual one.
        loaded.config.http.port = 0;
        loaded.config.claude.env.extend(place.environment());
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        loaded.config.claude.env.extend(environment);
        let (messenger, shown) = Messenger::new();
        let people = adapters::AllowedPeople {
            allowed_users: vec![messenger::PERSON.to_owned()],
            ..adapters::AllowedPeople::default()
        }
        .into();
        let options = AppOptions {
            project,
            loaded,
            adapters: vec![messenger.clone()],
            listeners: bot::AppListeners { webhooks: Vec::new(), page: None, checks_peer: |_, _| Ok(()) },
            access: AccessTable::default().with(messenger::NAME, people),
            clock: Clock::system(),
            retry: RetryPolicy::default(),
            label: None,
            notices: Vec::new(),
            program: bot::RunningProgram::running(),
            trust: TrustStore::at(place.trust()),
        };
        let app = App::start_with(options, registry).await?;
        Ok(Self { app, messenger, shown, place })
    }

    /// Waits for the bot's next message.
    pub async fn next(&mut self) -> anyhow::Result<Shown> {
        let next = tokio::time::timeout(PATIENCE, self.shown.recv()).await;
        next.context("the bot said nothing for too long")?.context("the bot has ended")
    }

    /// Sends a message and waits for the final answer. Returns all messages of the bot, the answer last.
    pub async fn ask(&mut self, text: &str) -> anyhow::Result<Vec<Shown>> {
        self.messenger.say(text).await?;
        let mut all = Vec::new();
        loop {
            let shown = self.next().await?;
            match shown.tone {
                Tone::Failure => bail!("the bot failed: {}", shown.text),
                Tone::Question => bail!("the bot asked: {}", shown.text),
                Tone::Answer => {
                    all.push(shown);
                    return Ok(all);
                }
                Tone::Notice => all.push(shown),
            }
        }
    }

    pub async fn end(self) {
        self.app.shutdown().await;
    }
}

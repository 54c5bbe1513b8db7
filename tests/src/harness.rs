//! A whole bot in the test's own process, with a fake messenger and a project of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use adapters::{
    Adapter,
    testing::fake::{Fake, FakeRoom},
    web::Web,
};
use agents::confine::OwnProgram;
use bot::{
    App, AppOptions, Clock, RetryPolicy, StartError,
    commands::command::CommandRegistry,
    config::{
        BotConfig,
        access::{AccessTable, MessengerPeople},
    },
    program::messengers::{NetworkMessengers, configured, prepare},
};
use needs::Need;
use pipeline::{
    Project,
    trust::{ProjectTrust, TrustStore},
    worktree::RoomName,
};
use scripted_model::{ModelScript, ScriptedModel, SeenRequest};

use crate::place::{self, Place};

/// Which Claude Code CLI the bot drives.
pub enum Cli {
    /// `claude-stand-in`, which follows directives in the prompt.
    StandIn,
    /// The real CLI with this scripted model.
    Real(ScriptedModel),
    /// Any other command line, for example a program that does not exist.
    Program(Vec<String>),
}

/// The choices for a bot that starts.
pub struct Setup {
    cli: Cli,
    toml: String,
    adapters: Vec<Arc<Fake>>,
    users: Vec<String>,
    approvers: Vec<String>,
    operators: Vec<String>,
    retry: RetryPolicy,
    clock: Clock,
    claude_env: Vec<(String, String)>,
    commands: fn() -> CommandRegistry,
    files: Vec<(String, String)>,
    committed: Vec<(String, String)>,
    has_page: bool,
    has_messengers: bool,
}

/// A running bot. Its temporary folder is removed when the bot is dropped.
pub struct Bot {
    pub app: App,
    /// The first of its messengers.
    pub fake: Arc<Fake>,
    /// The web page's chat, if it is served.
    pub page: Option<Arc<Web>>,
    setup: Setup,
    place: Arc<Place>,
}

impl Setup {
    /// A bot on the real CLI, with a model that follows this script.
    pub fn real(script: ModelScript) -> Self {
        Self::new(Cli::Real(ScriptedModel::start(script).expect("the model is served")))
    }

    /// A bot on this CLI with one fake messenger, on which `ann` and `bob` are allowed.
    pub fn new(cli: Cli) -> Self {
        Self {
            cli,
            toml: String::new(),
            adapters: vec![Fake::new("fake")],
            users: vec!["ann".into(), "bob".into()],
            approvers: Vec::new(),
            operators: Vec::new(),
            // Short, because the test waits for it. The real delays have unit tests.
            retry: RetryPolicy {
                first: Duration::from_millis(20),
                longest: Duration::from_millis(50),
                ..RetryPolicy::default()
            },
            clock: Clock::system(),
            claude_env: Vec::new(),
            commands: bot::commands::all,
            files: Vec::new(),
            committed: Vec::new(),
            has_page: false,
            has_messengers: false,
        }
    }

    /// Adds lines to `bot.toml`. Plain keys must come before the first table. Without `[relay]`, rooms work in the main checkout.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.toml.push_str(toml);
        self.toml.push('\n');
        self
    }

    #[must_use]
    pub fn on(mut self, adapters: Vec<Arc<Fake>>) -> Self {
        self.adapters = adapters;
        self
    }

    /// Only these people may answer permission questions.
    #[must_use]
    pub fn approvers(mut self, approvers: &[&str]) -> Self {
        self.approvers = approvers.iter().map(|&id| id.to_owned()).collect();
        self
    }

    /// These people may do everything.
    #[must_use]
    pub fn operators(mut self, operators: &[&str]) -> Self {
        self.operators = operators.iter().map(|&id| id.to_owned()).collect();
        self
    }

    /// Serves the web page, on a free port.
    #[must_use]
    pub fn page(mut self) -> Self {
        self.has_page = true;
        self
    }

    /// Connects the messengers that its `bot.toml` has, besides the fake ones.
    #[must_use]
    pub fn messengers(mut self) -> Self {
        self.has_messengers = true;
        self
    }

    /// Replaces the bot's commands.
    #[must_use]
    pub fn commands(mut self, commands: fn() -> CommandRegistry) -> Self {
        self.commands = commands;
        self
    }

    /// Replaces the wall clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Replaces the delays before a busy service is asked again.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Adds a variable to the CLI's environment.
    #[must_use]
    pub fn claude_env(mut self, name: &str, value: &str) -> Self {
        self.claude_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds an uncommitted file to the project; `project.toml` is committed, as it counts only on base. The operator has
    /// confirmed it.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    /// Adds a committed file to the project.
    #[must_use]
    pub fn committed(mut self, path: &str, text: &str) -> Self {
        self.committed.push((path.to_owned(), text.to_owned()));
        self
    }

    /// Makes the project and starts the bot.
    pub async fn start(self) -> Bot {
        let place = Arc::new(Place::new());
        git_project(&place.project());
        for (path, _) in &self.committed {
            self.commit(place.path(), path);
        }
        for (path, text) in &self.files {
            let path = place.project().join(path);
            fs::create_dir_all(path.parent().expect("a folder in the project")).expect("its folder is made");
            fs::write(path, text).expect("the file is written");
        }
        if self.files.iter().any(|(path, _)| path == PROJECT_TOML) {
            commit_as_person(&place.project(), PROJECT_TOML);
        }
        confirm_settings(&place.project(), &trust_beside(&place));
        // This process is not storkit, which a wall with a limited network calls inside.
        let own = OwnProgram { file: beside_the_tests("storkit"), arguments: Vec::new() };
        own.register_as();
        self.start_in(place).await.expect("the bot starts")
    }

    fn commit(&self, folder: &Path, path: &str) {
        let text = self.committed.iter().find(|(other, _)| other == path).map(|(_, text)| text);
        let project = folder.join("project");
        let file = project.join(path);
        fs::create_dir_all(file.parent().expect("a folder in the project")).expect("its folder is made");
        fs::write(file, text.expect("it is listed")).expect("the file is written");
        commit_as_person(&project, path);
    }

    async fn start_in(self, place: Arc<Place>) -> Result<Bot, StartError> {
        let project = Project::open(&place.project()).expect("the project opens");
        let file = project.dir().join("bot.toml");
        if !file.exists() {
            fs::write(&file, place::with_checkout(&self.toml)).expect("bot.toml is written");
            // Whatever the umask of the developer is.
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode is set");
        }
        let mut loaded = BotConfig::load(&file, |name| std::env::var(name).ok()).expect("a valid bot.toml");
        loaded.config.http.port = 0;
        loaded.config.web.listen = "127.0.0.1:0".into();
        loaded.config.claude.command = self.command();
        for (name, value) in self.environment(&place) {
            loaded.config.claude.env.insert(name, value);
        }
        // As if bot.toml named it; `script/test` sets it.
        loaded.secret_env.push(place::TOKEN_VARIABLE.to_owned());
        for fake in &self.adapters {
            let place = Arc::downgrade(&place);
            fake.inspect(move |shown| {
                if let Some(place) = place.upgrade() {
                    place.check("a room", shown);
                }
            });
        }
        let people = MessengerPeople::from(adapters::AllowedPeople {
            allowed_users: self.users.clone(),
            approvers: self.approvers.clone(),
            operators: self.operators.clone(),
        });
        let access = self
            .adapters
            .iter()
            .fold(AccessTable::default(), |access, fake| access.with(fake.name(), people.clone()));
        let registry = (self.commands)();
        let page =
            self.has_page.then(|| Web::new(bot::commands::services::identity(&loaded.config, &registry)));
        let (shown, chat) = (page.clone().map(|page| page as Arc<dyn Adapter>), page.clone());
        let others = MessengerPeople { of_others: true, ..MessengerPeople::default() };
        let mut access = access.with(adapters::web::NAME, others);
        let mut network = NetworkMessengers::default();
        if self.has_messengers {
            let identity = bot::commands::services::identity(&loaded.config, &registry);
            network = configured(&loaded.config, &project, &identity).expect("valid sections");
            prepare(&network.adapters).await.expect("valid credentials");
            for section in loaded.config.messengers.iter() {
                access = access.with(section.kind().name, section.people().clone().into());
            }
        }
        let options = AppOptions {
            project,
            loaded,
            adapters: self
                .adapters
                .iter()
                .map(|fake| fake.clone() as Arc<dyn Adapter>)
                .chain(shown)
                .chain(network.adapters)
                .collect(),
            listeners: bot::AppListeners {
                webhooks: network.webhooks,
                page,
                // The journey's clients are children of this process, as agents would be.
                checks_peer: |_, _| Ok(()),
            },
            access,
            clock: self.clock.clone(),
            retry: self.retry,
            label: None,
            notices: Vec::new(),
            program: bot::RunningProgram::running(),
            trust: trust_beside(&place),
        };
        let app = App::start_with(options, registry).await?;
        let fake = self.adapters[0].clone();
        Ok(Bot { app, fake, page: chat, setup: self, place })
    }

    fn command(&self) -> Vec<String> {
        match &self.cli {
            Cli::StandIn => vec![beside_the_tests("claude-stand-in").display().to_string()],
            Cli::Real(_) => guarded(real_cli()),
            Cli::Program(command) => command.clone(),
        }
    }

    /// A home of its own, so that the developer's settings have no effect.
    fn environment(&self, place: &Place) -> Vec<(String, String)> {
        let folder = place.path();
        let mut environment = vec![
            place.report_variable(),
            ("GATEWAY_TOKEN".to_owned(), place::TOKEN.to_owned()),
            ("HOME".to_owned(), folder.join("home").display().to_string()),
            ("CLAUDE_CONFIG_DIR".to_owned(), folder.join("home/.claude").display().to_string()),
            ("CLAUDE_CODE_MAX_RETRIES".to_owned(), "1".to_owned()),
        ];
        if let Cli::Real(model) = &self.cli {
            environment.push(("ANTHROPIC_BASE_URL".to_owned(), model.base_url()));
            environment.push(("ANTHROPIC_API_KEY".to_owned(), place::KEY.to_owned()));
            environment.push(("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC".to_owned(), "1".to_owned()));
        }
        environment.extend(self.claude_env.iter().cloned());
        environment
    }
}

impl Bot {
    /// A room on the first messenger.
    pub fn room(&self, id: &str) -> FakeRoom {
        self.fake.room(id)
    }

    /// The requests that the scripted model received; empty without the real CLI.
    pub fn model_requests(&self) -> Vec<SeenRequest> {
        match &self.setup.cli {
            Cli::Real(model) => model.requests(),
            Cli::StandIn | Cli::Program(_) => Vec::new(),
        }
    }

    /// A path in the project.
    pub fn file(&self, path: &str) -> PathBuf {
        self.place.project().join(path)
    }

    /// Where the agent of this room works, on the first messenger. A worktree is there once the room has been spoken in.
    pub fn room_folder(&self, room: &str) -> PathBuf {
        let name = RoomName::of(&format!("{}:{room}", self.fake.name()));
        match place::works_in_checkout(&self.setup.toml) {
            true => self.place.project(),
            false => self.file(&format!(".storkit/worktrees/{name}")),
        }
    }

    /// Waits until the pipeline has read the board.
    pub async fn started(&self) {
        self.app.services().commands.pipeline.rescan().await.expect("the pipeline works");
    }

    /// Waits until the story is done.
    pub async fn until_done(&self, story: u32) {
        let pipeline = &self.app.services().commands.pipeline;
        // Subscribed before the first look, so that the last event is not missed.
        let (_, mut events) = pipeline.follow();
        let done = || {
            let snapshot = pipeline.snapshot();
            let story = snapshot.board.story(pipeline::story::StoryId(story));
            story.is_some_and(|story| story.stage == pipeline::stage::Stage::Done)
        };
        while !done() {
            let next = tokio::time::timeout(Duration::from_secs(120), events.recv()).await;
            self.place.check_processes(std::process::id());
            assert!(next.is_ok(), "story {story} is not done: {:?}", pipeline.snapshot());
        }
    }

    /// Waits until the board's branch has this file of the stories' folder, and returns its content there.
    pub async fn until_on_board(&self, path: &str) -> Vec<u8> {
        let until = std::time::Instant::now() + Duration::from_secs(60);
        let name = format!("storkit/board:.storkit/work/{path}");
        loop {
            let mut show = Command::new("git");
            let shown = show.arg("-C").arg(self.file("")).args(["show", &name]).output().expect("git runs");
            if shown.status.success() {
                return shown.stdout;
            }
            assert!(std::time::Instant::now() < until, "{}", String::from_utf8_lossy(&shown.stderr));
            tokio::task::yield_now().await;
        }
    }

    /// Waits until no story has a worktree. They are removed in the background.
    pub async fn until_no_worktrees(&self) {
        let until = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let left = self.app.services().commands.pipeline.worktrees().await.expect("they can be listed");
            if left.is_empty() {
                return;
            }
            assert!(std::time::Instant::now() < until, "{left:?} are left");
            tokio::task::yield_now().await;
        }
    }

    /// The home that the CLI runs with.
    pub fn home(&self) -> PathBuf {
        self.place.path().join("home")
    }

    /// Shuts the bot down and starts it again on the same project, with new fake messengers of the same names.
    pub async fn restart(self) -> Self {
        let Self { app, fake: _, page: _, mut setup, place } = self;
        app.shutdown().await;
        // The connection of the old messenger ended with its bot.
        setup.adapters =
            setup.adapters.iter().map(|old| Fake::with(old.name(), old.capabilities())).collect();
        setup.start_in(place).await.expect("the bot starts again")
    }

    /// The number of running Claude Code processes.
    pub fn sessions(&self) -> usize {
        self.app.services().commands.agents.all().len()
    }

    /// The id of the one Claude Code process that is running.
    pub fn agent_pid(&self) -> i32 {
        let agents = self.app.services().commands.agents.all();
        assert_eq!(agents.len(), 1, "{agents:?}");
        agents[0].0.cast_signed()
    }

    /// The id of the one running CLI itself, behind its wall: the programs of the wall around it have its arguments, too, and it has no
    /// child with them.
    pub fn cli_pid(&self) -> i32 {
        let mut pid = self.agent_pid();
        let is_session = |child: &i32| {
            let arguments = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            arguments.split(|byte| *byte == 0).any(|word| word == b"--session-id")
        };
        loop {
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.expect("the process lives");
            match children.split_whitespace().filter_map(|child| child.parse().ok()).find(is_session) {
                Some(child) => pid = child,
                None => return pid,
            }
        }
    }

    /// The number of running processes of the bot's agents, with everything they started.
    pub fn agent_processes(&self) -> usize {
        self.app.services().commands.sample().1.iter().map(|(_, tree)| tree.processes).sum()
    }
}

pub(crate) const PROJECT_TOML: &str = ".storkit/project.toml";

/// Where a bot in the test's own process keeps what the operator confirmed.
fn trust_beside(place: &Place) -> TrustStore {
    TrustStore::at(place.path().join("trust"))
}

/// Commits one file of a project.
pub fn commit_as_person(project: &Path, path: &str) {
    git(project, &["add", "-f", path]);
    git(project, &["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", path]);
}

/// The operator confirms what the repository has on base now.
pub fn confirm_settings(project: &Path, store: &TrustStore) {
    let project = Project::open(project).expect("the project opens");
    let proposed = ProjectTrust::read(&project, store).expect("base can be read").proposed;
    store.confirm(&project, &proposed).expect("it is recorded");
}

/// Runs git in a folder and returns its output.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Makes a repository with one commit.
pub fn git_project(path: &Path) {
    fs::create_dir_all(path).expect("a folder for the project");
    for arguments in [
        &["init", "-q", "-b", "main"][..],
        &[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "first",
        ],
    ] {
        let status = Command::new("git").arg("-C").arg(path).args(arguments).status().expect("git runs");
        assert!(status.success(), "git {arguments:?}");
    }
}

/// The command line that checks for the bot's secrets and then becomes this program (`stand_in/guard.rs`).
pub fn guarded(program: String) -> Vec<String> {
    vec![beside_the_tests("claude-stand-in").display().to_string(), "--guard".to_owned(), program]
}

/// The real CLI. Tests that use it begin with `needs!(Claude)`.
pub fn real_cli() -> String {
    let path = Need::Claude.path().unwrap_or_else(|| panic!("{}", Need::Claude.missing()));
    // Without `..` in it: a wall shows the program, and not the folders that a detour leads through.
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    let path = folder.zip(path.file_name()).map_or_else(|| path.clone(), |(folder, name)| folder.join(name));
    path.display().to_string()
}

/// The path of a program of this workspace.
pub fn beside_the_tests(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let folder = test.ancestors().find(|folder| folder.join(name).exists());
    folder.unwrap_or_else(|| panic!("`{name}` is not built; run `cargo build --workspace`")).join(name)
}

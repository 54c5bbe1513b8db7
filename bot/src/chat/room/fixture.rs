//! A room whose task a test drives by hand, on the fake messenger, with a CLI that cannot be started.

use std::{
    path::Path,
    process::Command,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant, SystemTime},
};

use adapters::{
    Adapter, AdapterHealth, Addressed, AllowedPeople, Incoming, MessageId, PersonAct, Sender,
    testing::fake::{Fake, FakeMessage, FakeRoom},
};
use agents::{
    claude::{AgentEvent, PermissionRoute, SessionId, TurnEnd},
    confine::{Confined, Confinement, WorktreePaths},
    turn::{RetryPolicy, TurnOutcome, TurnUpdate},
};
use futures::FutureExt as _;
use parking_lot::Mutex;
use pipeline::{
    Pipeline, Project,
    event::RunInfo,
    host::{AgentSettings, PipelineHost, RunAccess},
    mailbox::RunMailbox,
    memory::MemoryBackground,
    rooms::RoomWorkspace,
    strangers::StrangersRead,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{RoomTask, prompt_queue::CommandCall, turn::CurrentTurn};
use crate::{
    bot_tasks::BotTasks,
    chat::{
        ambient::AmbientRooms,
        network::{DayBudget, RoomConnections},
        rooms::{RoomDirectory, RoomInput, RoomMailbox},
        services::ChatServices,
        session::{SessionEvent, SessionUpdate},
        thread::ReadThread,
        workspace::EnteredRoom,
    },
    clock::Clock,
    commands::{self, services::CommandServices},
    config::{
        BotConfig, LoadedConfig,
        access::{AccessTable, MessengerPeople},
        current::LiveSettings,
    },
    host_questions::HostQuestions,
    live_agents::LiveAgents,
    messengers::ConnectedMessengers,
    permission::{
        BoardConsent, BoardQuestion, DenialReason, PermissionAsk, PermissionBroker, PermissionDecision,
        PlannedStory, QuestionId,
    },
    restart::{RestartRequest, RunningProgram},
    store::{PromptState, QueuedPrompt, Store},
    tools::ToolServices,
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// `ann` may approve, `bob` may only write. Story 1 waits in the backlog.
pub(in crate::chat) struct RoomFixture {
    pub(super) task: RoomTask,
    pub(super) fake: Arc<Fake>,
    pub(in crate::chat) services: Arc<ChatServices>,
    mailbox: RoomMailbox,
    _folder: tempfile::TempDir,
}

struct NoHost;

impl PipelineHost for NoHost {
    fn open(&self, _run: &RunInfo, _read: &StrangersRead, _mailbox: &RunMailbox) -> RunAccess {
        let waiting = Arc::new(AtomicUsize::new(0));
        RunAccess {
            route: PermissionRoute::Control,
            waiting,
            trials: Default::default(),
            guard: Box::new(()),
        }
    }

    fn has_secret(&self, _content: &[u8]) -> bool {
        false
    }
}

pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

/// A prompt of ann's that was written now.
pub(super) fn prompt(text: &str) -> QueuedPrompt {
    QueuedPrompt { sent_at: now(), ..QueuedPrompt::for_tests(text) }
}

impl RoomFixture {
    pub(in crate::chat) async fn new() -> Self {
        Self::on(Fake::new("fake")).await
    }

    /// The room `a` of this messenger.
    pub(super) async fn on(fake: Arc<Fake>) -> Self {
        Self::start(fake, "a", Self::config()).await
    }

    /// A room that may be a thread.
    pub(super) async fn of(id: &str) -> Self {
        Self::start(Fake::new("fake"), id, Self::config()).await
    }

    /// The room `a` of a bot with these settings.
    pub(super) async fn with(config: BotConfig) -> Self {
        Self::start(Fake::new("fake"), "a", config).await
    }

    pub(super) fn config() -> BotConfig {
        let claude = crate::config::ClaudeSection {
            command: vec!["/no/such/claude".into()],
            ..BotConfig::default().claude
        };
        BotConfig { claude, ..BotConfig::default() }
    }

    async fn start(fake: Arc<Fake>, id: &str, config: BotConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let project = project(folder.path());
        let path = project.dir().join("bot.toml");
        let loaded = LoadedConfig { config, path: path.clone(), ..LoadedConfig::default() };
        let people = AllowedPeople {
            allowed_users: vec!["ann".into(), "bob".into()],
            approvers: vec!["ann".into()],
            ..AllowedPeople::default()
        };
        let access = AccessTable::default().with("fake", MessengerPeople::from(people));
        let services = services(&project, &fake, Arc::new(LiveSettings::new(loaded, access)));
        services.commands.pipeline.started().await;
        let opened = Arc::new(Mutex::new(None));
        let kept = opened.clone();
        services.rooms.serve(move |_, sender, mailbox| {
            *kept.lock() = Some((sender, mailbox));
            true
        });
        let room = fake.room(id).room().clone();
        assert!(services.rooms.post(&room, RoomInput::Notice("it opens".into())));
        let (sender, mut mailbox) = opened.lock().take().expect("it is open");
        mailbox.next().await;
        let task = RoomTask::new(services.clone(), fake.clone(), room, sender);
        Self { task, fake, services, mailbox, _folder: folder }
    }

    pub(in crate::chat) fn room(&self) -> FakeRoom {
        self.fake.room("a")
    }

    /// The room's messages when everything is sent.
    pub(super) async fn transcript(&self) -> String {
        self.task.outbox.flush().await;
        self.room().transcript()
    }

    /// A person writes in a conversation of two.
    pub(super) async fn says(&mut self, person: &str, text: &str) -> MessageId {
        let incoming = self.room().incoming(person, text);
        self.gets(incoming).await
    }

    /// A room in which ann has just written.
    pub(super) async fn asked(prompt: &str) -> Self {
        let mut fixture = Self::new().await;
        fixture.says("ann", prompt).await;
        fixture
    }

    /// The room's last message when everything is sent.
    pub(super) async fn last_shown(&self) -> FakeMessage {
        self.task.outbox.flush().await;
        self.room().shown().pop().expect("a message")
    }

    /// A message for the bot arrives.
    pub(super) async fn gets(&mut self, incoming: Incoming) -> MessageId {
        let id = incoming.id.clone();
        self.task.handle_input(RoomInput::Message(incoming)).await;
        self.enters();
        id
    }

    /// The workspace of a turn that waits for one is ready: the main checkout, without a wall.
    pub(super) fn enters(&mut self) {
        self.enters_after(None);
    }

    /// The same, after its thread was read.
    pub(super) fn enters_after(&mut self, thread: Option<ReadThread>) {
        self.enters_with(thread, MemoryBackground::default());
    }

    /// The same, and this is remembered.
    pub(super) fn enters_knowing(&mut self, memory: MemoryBackground) {
        self.enters_with(None, memory);
    }

    fn enters_with(&mut self, thread: Option<ReadThread>, memory: MemoryBackground) {
        if self.task.turn.current.as_ref().is_some_and(CurrentTurn::is_entering) {
            let workspace = checkout(self.services.commands.project.root());
            self.task.on_entered(Ok(EnteredRoom {
                workspace,
                own: None,
                notes: Vec::new(),
                fallback: None,
                files: Vec::new(),
                thread,
                memory,
            }));
        }
    }

    /// A person picks a choice.
    pub(super) async fn picks(&mut self, person: &str, key: &str) {
        let act = PersonAct::Chose { on: MessageId::new("offer"), key: key.into() };
        let incoming = Incoming { act, ..self.room().incoming(person, "") };
        self.gets(incoming).await;
    }

    async fn next_input(&mut self) -> RoomInput {
        let next = tokio::time::timeout(PATIENCE, self.mailbox.next()).await;
        next.expect("it comes").expect("the room is open")
    }

    /// Handles the next input of the mailbox. The session and the workspace have none: their events are the test's.
    pub(super) async fn handles_next(&mut self) {
        loop {
            match self.next_input().await {
                RoomInput::Session(_) | RoomInput::Entered(_) => {}
                input => {
                    self.task.handle_input(input).await;
                    return self.enters();
                }
            }
        }
    }

    /// Handles the next update of the session, which could not start the CLI.
    pub(super) async fn handles_session(&mut self) {
        loop {
            if let RoomInput::Session(update) = self.next_input().await {
                return self.task.on_session_update(update);
            }
        }
    }

    /// Handles the mailbox once everything is sent, the session's events excepted.
    pub(super) async fn handles_all(&mut self) {
        self.task.outbox.flush().await;
        while let Some(Some(input)) = self.mailbox.next().now_or_never() {
            if !matches!(input, RoomInput::Session(_) | RoomInput::Entered(_)) {
                self.task.handle_input(input).await;
            }
        }
        self.enters();
    }

    /// Waits for the answer of a command that runs, and handles it.
    pub(super) async fn handles_answer(&mut self) {
        let answer = tokio::time::timeout(PATIENCE, self.task.commands.next_answer()).await;
        self.task.on_late_answer(answer.expect("it comes").expect("a command runs"));
        self.enters();
    }

    /// Somebody who wrote a message, as a command or an answer.
    pub(super) fn call(&self, person: &str, addressed: Option<Addressed>) -> CommandCall {
        let sender = Sender { id: person.into(), name: person.into(), is_bot: false };
        CommandCall { sender, message: Some(MessageId::new("m")), addressed, files: Vec::new(), number: None }
    }

    /// The room's session asks for a tool call, and the room shows the question.
    pub(super) async fn asks(
        &mut self,
        tool: &str,
        input: Value,
    ) -> (QuestionId, JoinHandle<PermissionDecision>) {
        let (broker, ask) = (self.services.broker.clone(), self.ask(tool, input));
        self.shows(async move { broker.ask(ask).await }).await
    }

    /// The room's session proposes stories of these titles, and the room shows the list.
    pub(super) async fn proposes(
        &mut self,
        titles: &[&str],
    ) -> (QuestionId, JoinHandle<Result<BoardConsent, DenialReason>>) {
        let list = BoardQuestion::Plan(titles.iter().map(|title| PlannedStory::for_tests(title)).collect());
        let (broker, ask) = (self.services.broker.clone(), self.ask("Stories", Value::Null));
        self.shows(async move { broker.ask_about_board(ask, list).await }).await
    }

    fn ask(&mut self, tool: &str, input: Value) -> PermissionAsk {
        PermissionAsk {
            rooms: vec![self.task.room.clone()],
            asker: self.task.turn.asker.clone(),
            request: self.task.turn.requests.insert_for_tests(),
            folder: None,
            call: None,
            blocked_path: None,
            asked_for: "Ann".into(),
            tool: tool.into(),
            input,
            timeout: None,
        }
    }

    /// Waits until the room shows the question that this asks.
    async fn shows<T: Send + 'static>(
        &mut self,
        asking: impl Future<Output = T> + Send + 'static,
    ) -> (QuestionId, JoinHandle<T>) {
        let newest = |task: &RoomTask| task.questions.iter().map(|question| question.id).max();
        let before = newest(&self.task);
        let decision =
            tokio::spawn(async move { tokio::time::timeout(PATIENCE, asking).await.expect("it is decided") });
        while newest(&self.task) <= before {
            self.handles_next().await;
        }
        self.task.outbox.flush().await;
        (newest(&self.task).expect("a question"), decision)
    }

    pub(super) async fn asks_for_bash(&mut self) -> (QuestionId, JoinHandle<PermissionDecision>) {
        self.asks("Bash", json!({"command": "ls"})).await
    }

    /// The message that shows the newest question.
    pub(super) fn question_message(&self) -> MessageId {
        let shown = self.room().shown();
        shown.into_iter().rev().find(|message| message.text.contains("Question")).expect("a question").id
    }

    /// An event of the newest prompt's process.
    pub(super) fn event(&mut self, event: AgentEvent) {
        self.update(event, None);
    }

    /// The end of the newest prompt's attempt.
    pub(super) fn ends(&mut self, outcome: TurnOutcome) {
        self.update(AgentEvent::TextDelta(String::new()), Some(outcome));
    }

    /// The newest prompt is answered by the session `s`.
    pub(super) fn answers(&mut self, text: &str) {
        let end = TurnEnd { session: Some(SessionId::new("s")), text: text.into(), ..TurnEnd::default() };
        self.update(AgentEvent::TurnEnded(Box::new(end.clone())), Some(TurnOutcome::Answered(Box::new(end))));
    }

    fn update(&mut self, event: AgentEvent, outcome: Option<TurnOutcome>) {
        let prompt = self.task.turn.session.sent_prompts();
        let event = SessionEvent::Turn(TurnUpdate { event, outcome });
        self.task.on_session_update(SessionUpdate { prompt, event, place: None });
        self.enters();
    }

    /// The texts of the prompts that a start after a crash would find, and whether they had begun.
    pub(super) fn left(&self) -> Vec<(String, bool)> {
        let left = self.services.store.left_prompts().unwrap().into_iter();
        left.map(|(_, _, state, prompt)| (prompt.text, state != PromptState::Waits)).collect()
    }
}

fn checkout(root: &Path) -> RoomWorkspace {
    let place = WorktreePaths {
        root: root.to_owned(),
        common: root.join(".git"),
        folder: root.to_owned(),
        admin: root.join(".git"),
        private: root.join(".storkit/run/checkout"),
        hooks: root.join(".storkit/worktrees/.hooks"),
        ref_folders: Vec::new(),
        is_slot: false,
    };
    let confined = Confined { confinement: Confinement::None, place, variables: Vec::new() };
    let model = Default::default();
    RoomWorkspace { folder: root.to_owned(), branch: None, env: Vec::new(), confined, egress: None, model }
}

/// A repository with one commit and one story.
fn project(folder: &Path) -> Project {
    let root = folder.join("project");
    std::fs::create_dir(&root).unwrap();
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
        let done = Command::new("git").current_dir(&root).args(identity).args(args).status().unwrap();
        assert!(done.success(), "git {args:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["commit", "-q", "--allow-empty", "-m", "first"]);
    let project = Project::open(&root).unwrap();
    let backlog = project.dir().join("work/1_backlog");
    std::fs::create_dir_all(&backlog).unwrap();
    std::fs::write(backlog.join("1_story_x.md"), "---\nname: Fix the door\n---\n").unwrap();
    project
}

fn services(project: &Project, fake: &Arc<Fake>, settings: Arc<LiveSettings>) -> Arc<ChatServices> {
    let agents = AgentSettings {
        model_access: Default::default(),
        command: vec!["/no/such/claude".into()],
        model: String::new(),
        env: Default::default(),
        secret_env: Vec::new(),
        home: project.root().to_owned(),
        wall: Default::default(),
        trust: pipeline::trust::TrustStore::at(project.root().with_file_name("trust")),
        stall: Duration::ZERO,
        trust_project_settings: false,
        busy_wait: Duration::ZERO,
        settle: Duration::ZERO,
    };
    let pipeline = Pipeline::open(project, agents, Arc::new(NoHost)).unwrap();
    let clock = Clock::from_fn(now);
    let store = Store::open_in(&project.dir(), now()).unwrap();
    let rooms = RoomDirectory::default();
    let broker = PermissionBroker::new(store.clone(), clock.clone(), Arc::new(rooms.clone()));
    let messenger = (fake.clone() as Arc<dyn Adapter>, Arc::new(AdapterHealth::new("fake")));
    let commands = CommandServices {
        project: project.clone(),
        settings: settings.clone(),
        store: store.clone(),
        clock: clock.clone(),
        broker: broker.clone(),
        registry: commands::all(),
        pipeline,
        agents: LiveAgents::default(),
        messengers: ConnectedMessengers::new([messenger]),
        restart: Arc::new(RestartRequest::of(RunningProgram::running())),
        web: None,
        started: Instant::now(),
        doctor: Box::new(|| Box::pin(async { "fine".into() })),
    };
    let (hosts, tasks) = (HostQuestions::new(settings.clone()), BotTasks::default());
    let tools = ToolServices {
        project: project.clone(),
        settings: settings.clone(),
        store: store.clone(),
        broker: broker.clone(),
        hosts: hosts.clone(),
        pipeline: commands.pipeline.clone(),
        messengers: commands.messengers.clone(),
        restart: commands.restart.clone(),
        tasks: tasks.clone(),
    };
    Arc::new(ChatServices {
        connections: RoomConnections { hosts, day: DayBudget::default() },
        commands: Arc::new(commands),
        ambient: AmbientRooms::new(settings.loaded().path.clone(), &[]),
        settings,
        store,
        clock,
        broker,
        rooms,
        metrics: Arc::default(),
        retry: RetryPolicy::default(),
        redactor: Arc::default(),
        tools: Arc::new(tools),
        tasks,
    })
}

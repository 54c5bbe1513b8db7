//! The bot as a whole: started, served, shut down.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use adapters::{Adapter, Incoming, Room, Webhooks, supervise::supervise, web::Web};
use agents::turn::RetryPolicy;
use pipeline::{Pipeline, Project, trust::TrustStore};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot},
};

use crate::{
    bot_tasks::BotTasks,
    chat::{
        ambient::AmbientRooms,
        network::{DayBudget, RoomConnections},
        news, notify,
        room::RoomTask,
        rooms::{RoomDirectory, RoomInput},
        router,
        services::ChatServices,
    },
    clock::Clock,
    commands::{
        self,
        command::CommandRegistry,
        services::{CommandServices, DoctorReport},
    },
    config::{LoadedConfig, WebSection, access::AccessTable, current::LiveSettings, redact::Redactor},
    host_questions::HostQuestions,
    http::{
        self, McpRun, McpRuns, OperatorAccess, RunGuard, TcpPeerCheck,
        host::{self, BotHost},
        services::HttpServices,
        web::{PageOrigins, WebParts, WebServices},
    },
    live_agents::LiveAgents,
    messengers::ConnectedMessengers,
    permission::{LadderServices, PermissionBroker, QuestionId, RestoredQuestion, WithdrawReason},
    program::{
        doctor,
        lock::{self, InstanceLock, LockError},
        reload,
    },
    replies,
    restart::{RestartNote, RestartRequest, RunningProgram},
    store::{OpenError, PromptState, Store},
    tools::ToolServices,
    web_sessions::{WebPage, WebSessions},
};

/// The whole shutdown may take so long (PRODUCT: 10 s, of which a CLI may need 5).
const SHUTDOWN: Duration = Duration::from_secs(9);

/// The part of it for agents' runs; the next start sweeps up whatever they leave behind.
const AGENTS: Duration = Duration::from_secs(6);

/// How long messages wait for the pipeline: reading the stories takes milliseconds, but a broken disk must not silence the bot.
const PIPELINE_START: Duration = Duration::from_secs(10);

/// The parts of a bot.
pub struct AppOptions {
    /// The repository it serves.
    pub project: Project,
    pub loaded: LoadedConfig,
    pub adapters: Vec<Arc<dyn Adapter>>,
    /// What serves some of them.
    pub listeners: AppListeners,
    /// Who may what on them.
    pub access: AccessTable,
    /// The time of day.
    pub clock: Clock,
    /// How rate limits are waited for.
    pub retry: RetryPolicy,
    /// Shown with the greeting, e.g. by the demo.
    pub label: Option<String>,
    /// Where news about the bot itself go.
    pub notices: Vec<Room>,
    /// The program that a restart starts.
    pub program: RunningProgram,
    /// The project settings that the operator has confirmed.
    pub trust: TrustStore,
}

/// The messengers that a listener of the bot's serves, and how the listeners know agents' processes.
pub struct AppListeners {
    /// Those that are called by webhook, on `http.webhook_listen`.
    pub webhooks: Vec<Arc<dyn Webhooks>>,
    /// The web page's chat, served on `web.listen`; it is one of the adapters, too.
    pub page: Option<Arc<Web>>,
    /// Tells agents' processes from the operator's on the loopback listener, and from people's browsers on the page's.
    pub checks_peer: TcpPeerCheck,
}

/// Why a bot does not start. Each is one sentence for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another one serves the project.
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The way to the model cannot be used.
    #[error("{0}")]
    Model(String),
    /// The record of runs cannot be opened.
    #[error("`.storkit/logs/runs.jsonl` cannot be used: {0}.")]
    Ledger(std::io::Error),
    /// `[pipeline] rooms` names a messenger that is not there.
    #[error(
        "`pipeline.rooms` in bot.toml names `{room}`, but no messenger `{adapter}` is configured; there {is} {known}.",
        is = if known.contains(',') { "are" } else { "is" }
    )]
    NoSuchRoom {
        /// As it is written.
        room: String,
        adapter: String,
        /// Those that are there.
        known: String,
    },
    /// The port is taken.
    #[error(
        "Port {port} on 127.0.0.1 is in use, probably by another storkit or a development server (`ss -ltnp 'sport = :{port}'` \
         shows which). Choose another with `--port N` or `[http] port` in bot.toml; `--port 0` takes a free one."
    )]
    Port { port: u16 },
    /// The public listener cannot listen.
    #[error("`http.webhook_listen` in bot.toml: {address} cannot be listened on: {source}.")]
    Webhooks {
        /// As it is written.
        address: String,
        source: std::io::Error,
    },
    /// The page's listener cannot listen.
    #[error(
        "`web.listen` in bot.toml: {address} cannot be listened on: {source}. Choose another port, or \"\" for no page."
    )]
    Page { address: String, source: std::io::Error },
    /// The listener failed otherwise.
    #[error("127.0.0.1:{port} cannot be listened on: {source}.")]
    Listen { port: u16, source: std::io::Error },
}

pub struct App {
    services: Arc<ChatServices>,
    runs: McpRuns,
    operator: OperatorAccess,
    lock: InstanceLock,
    port: u16,
    label: Option<String>,
}

impl App {
    /// Starts the bot: lock, state, listener, messengers, and the leftovers of an earlier process.
    pub async fn start(options: AppOptions) -> Result<Self, StartError> {
        Self::start_with(options, commands::all()).await
    }

    /// The same with commands of the caller's choice, as the benchmarks need.
    pub async fn start_with(options: AppOptions, registry: CommandRegistry) -> Result<Self, StartError> {
        check_rooms(&options)?;
        // The lock comes before the store, because opening the store can set a damaged database aside: only the
        // project's one owner may do that.
        let lock = lock::take(&options.project)?;
        let store = Store::open_in(&options.project.dir(), options.clock.now())?;
        // Before the pipeline opens: its runs get this port in their MCP address.
        let (listener, port) = bind_loopback(options.loaded.config.http.port).await?;
        let public = bind_public(&options).await?;
        let page = bind_page(&options).await?;
        if let Some(page) = &page {
            page.chat.keep_in(Arc::new(store.clone()));
        }
        let sessions = WebSessions::new(store.clone(), options.clock.clone());
        let address = page.as_ref().map(|page| page.origins.first().to_owned());
        let web = address.map(|address| WebPage { sessions: sessions.clone(), address });
        let (notices, label) = (options.notices.clone(), options.label.clone());
        let settings = Arc::new(LiveSettings::new(options.loaded.clone(), options.access.clone()));
        let runs = McpRuns::default();
        let hosts = HostQuestions::new(settings.clone());
        let host = BotHost::new(settings.clone(), runs.clone(), port, (hosts.clone(), store.clone()));
        let host_broker = host.broker();
        let access = options.loaded.config.claude.model_access(&options.loaded.secret_env);
        let access = access.map_err(StartError::Model)?;
        let agents = host::settings(&options.loaded, options.trust.clone(), access);
        let pipeline =
            Pipeline::open(&options.project, agents, Arc::new(host)).map_err(StartError::Ledger)?;
        // Subscribed before the first event, so that rooms hear of an earlier storkit's leftovers.
        let (_, events) = pipeline.follow();
        let operator = OperatorAccess::open(&runs, port);
        let checks_peer = options.listeners.checks_peer;
        let (services, inbox) =
            chat_services(options, (registry, store, web), pipeline, (settings, hosts.clone()));
        follow_parked(&services, &host_broker);
        hosts.follow(services.commands.pipeline.clone());
        hosts.connect(services.broker.clone(), services.commands.messengers.clone());
        serve_rooms(&services);
        let app = Self { services, runs, operator, lock, port, label };
        // Before messages and agents arrive: prompts from now on queue behind those of the predecessor, and closing
        // its questions must not close new ones.
        app.clean_up_after_predecessor(&notices).await;
        let (services, tracker) = (&app.services, &app.services.tasks.tracker);
        let http = Arc::new(http_services(services));
        tracker.spawn(http::serve(listener, http, app.runs.clone(), checks_peer));
        if let Some((listener, webhooks)) = public {
            tracker.spawn(http::webhooks::serve(listener, webhooks, services.tasks.stop.clone()));
        }
        if let Some(PageListener { listener, origins, chat }) = page {
            let services = web_services(services, sessions, chat, checks_peer);
            tracker.spawn(http::web::serve(listener, services, origins));
        }
        tracker.spawn(route(services.clone(), inbox));
        tracker.spawn(notify::run(services.clone(), events));
        news::follow(services);
        tracker.spawn(reload::run(services.clone(), notices));
        tracker.spawn(prune(services.clone()));
        app.tell_of_restart();
        Ok(app)
    }

    // Processes first: one that still runs could change files while its prompt is reported or run again.
    async fn clean_up_after_predecessor(&self, notices: &[Room]) {
        let services = &self.services;
        let sessions = services.store.live_sessions().unwrap_or_default();
        let ended = agents::claude::sweep_orphans(&sessions).await;
        agents::claude::remove_leftovers(&services.commands.project.run_dir());
        if ended > 0 {
            tracing::warn!(ended, "processes that an earlier storkit left behind were ended");
        }
        if let Some(path) = services.store.set_aside() {
            for room in notices {
                services.rooms.post(room, RoomInput::Notice(replies::state_set_aside(path)));
            }
        }
        let dropped = services.broker.drop_wide_rules();
        if !dropped.is_empty() {
            for room in notices {
                services.rooms.post(room, RoomInput::Notice(replies::rules_dropped(&dropped)));
            }
        }
        // Before the open ones, which are told below.
        let settled = services.store.settled_copies().unwrap_or_else(|error| {
            tracing::error!(%error, "copies of closed questions cannot be read");
            Vec::new()
        });
        for copy in settled {
            let (question, room) = (copy.question, copy.room.clone());
            if !services.rooms.post(&room, RoomInput::SettledCopy(Box::new(copy))) {
                tracing::warn!(%room, question, "nobody serves a room that shows a question as open");
                let _ = services.store.copy_settled(question, &room);
            }
        }
        for left in services.broker.close_left_over() {
            for (room, copy) in left.copies {
                let (id, question) = (QuestionId(left.id), Box::new(left.question.clone()));
                services.rooms.post(&room, RoomInput::LeftQuestion { id, question, copy });
            }
        }
        for RestoredQuestion { question, copies } in services.broker.restore_parked() {
            for (room, copy) in copies {
                services.rooms.post(&room, RoomInput::ParkedCopy { question: question.clone(), copy });
            }
            for room in &question.rooms {
                services.rooms.post(room, RoomInput::Question(question.clone()));
            }
        }
        self.take_up_left_work();
    }

    fn take_up_left_work(&self) {
        let services = &self.services;
        let background = services.store.take_background().unwrap_or_else(|error| {
            tracing::error!(%error, "work in the background cannot be read");
            Vec::new()
        });
        for (room, tasks) in &background {
            services.rooms.post(room, RoomInput::Notice(replies::background_cut(tasks)));
        }
        match services.store.left_prompts() {
            Ok(left) => {
                for (room, number, state, prompt) in left {
                    let acts = state == PromptState::Thinks && background.iter().any(|(of, _)| *of == room);
                    let state = if acts { PromptState::Acts } else { state };
                    services.rooms.post(&room, RoomInput::LeftPrompt { number, state, prompt });
                }
            }
            Err(error) => tracing::error!(%error, "prompts under way cannot be read"),
        }
    }

    /// The room that asked for the restart hears that it is done.
    fn tell_of_restart(&self) {
        let Some(note) = RestartNote::take(&self.services.commands.project) else { return };
        let took = self.services.clock.now().duration_since(note.asked()).unwrap_or_default();
        if let Some(room) = note.room() {
            let text = replies::restarted(&self.services.config().display_name, took);
            self.services.rooms.post(&room, RoomInput::Notice(text));
        }
    }

    /// Waits until somebody asks for a restart.
    pub async fn restart_asked(&self) {
        self.services.commands.restart.asked().await;
    }

    /// The first words to a person at the terminal: the bot's name, and the label where one is set.
    pub fn greeting(&self) -> String {
        replies::hello(&self.services.config().display_name, self.label.as_deref())
    }

    /// The port of the loopback listener.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How the operator's own Claude Code reaches the tools. It holds a token.
    pub fn operator_mcp_config(&self) -> serde_json::Value {
        self.operator.mcp_config()
    }

    /// The rooms' services; for tests, completion and benchmarks.
    pub fn services(&self) -> &Arc<ChatServices> {
        &self.services
    }

    /// The runs that may call in.
    pub fn runs(&self) -> McpRuns {
        self.runs.clone()
    }

    /// Lets an agent's run ask for permission over MCP.
    pub fn open_run(&self, run: McpRun) -> RunGuard {
        self.runs.open(run)
    }

    /// What goes on at this moment.
    pub fn open_work(&self) -> replies::OpenWork {
        replies::OpenWork::of(self.services.rooms.work(), &self.services.commands.pipeline.snapshot())
    }

    /// Stops the bot within 10 s: intake first, then agents, then rooms, whose live messages get their final state.
    pub async fn shutdown(self) {
        let services = &self.services;
        services.tasks.stop.cancel();
        let ended = tokio::time::timeout(SHUTDOWN, async {
            // First the agents: their last questions are still closed in the rooms.
            let _ = tokio::time::timeout(AGENTS, services.commands.pipeline.shutdown()).await;
            let rooms = services.rooms.all();
            let closing: Vec<_> = rooms
                .iter()
                .filter_map(|room| {
                    let (done, wait) = oneshot::channel();
                    services.rooms.post(room, RoomInput::Shutdown(done)).then_some(wait)
                })
                .collect();
            for wait in closing {
                let _ = wait.await;
            }
            services.broker.withdraw_all(WithdrawReason::ShuttingDown);
            services.broker.trials_ended().await;
            services.tasks.tracker.close();
            services.tasks.tracker.wait().await;
        });
        if ended.await.is_err() {
            tracing::warn!("the shutdown took too long; what is left ends with the process");
        }
        let commands = &services.commands;
        if commands.restart.is_asked() {
            commands.restart.leave_note(&commands.project);
        }
        // The lock goes last, so that the next storkit starts only after all of this.
        drop(self.operator);
        drop(self.lock);
    }
}

/// Answers to parked questions let their stories go on, and stories that are over close their parked questions.
fn follow_parked(services: &Arc<ChatServices>, host_broker: &OnceLock<PermissionBroker>) {
    let _ = host_broker.set(services.broker.clone());
    let pipeline = services.commands.pipeline.clone();
    services.broker.on_parked_answer(move |story| {
        let pipeline = pipeline.clone();
        tokio::spawn(async move {
            if let Err(error) = pipeline.read_parked(story).await {
                tracing::error!(%error, %story, "the pipeline does not know that a parked story can go on");
            }
        });
    });
}

async fn bind_loopback(port: u16) -> Result<(TcpListener, u16), StartError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => StartError::Port { port },
        _ => StartError::Listen { port, source },
    };
    let listener = http::bind(port).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?.port();
    Ok((listener, bound))
}

/// The public listener, where a messenger is called by webhook.
async fn bind_public(
    options: &AppOptions,
) -> Result<Option<(TcpListener, Vec<Arc<dyn Webhooks>>)>, StartError> {
    if options.listeners.webhooks.is_empty() {
        return Ok(None);
    }
    let address = &options.loaded.config.http.webhook_listen;
    let failed = |source| StartError::Webhooks { address: address.clone(), source };
    let parsed = address.parse().map_err(|error| failed(std::io::Error::other(error)))?;
    let listener = http::webhooks::bind(parsed).await.map_err(failed)?;
    Ok(Some((listener, options.listeners.webhooks.clone())))
}

/// The page's listener, with the addresses under which it is served.
struct PageListener {
    listener: TcpListener,
    origins: PageOrigins,
    chat: Arc<Web>,
}

async fn bind_page(options: &AppOptions) -> Result<Option<PageListener>, StartError> {
    let section = &options.loaded.config.web;
    let (Some(chat), Some(address)) = (options.listeners.page.clone(), section.address()) else {
        return Ok(None);
    };
    let failed = |source| StartError::Page { address: section.listen.clone(), source };
    let bound = match http::web::bind(address).await {
        // Nobody chose the port: another storkit on this machine may have it.
        Err(error)
            if error.kind() == std::io::ErrorKind::AddrInUse && section.listen == WebSection::USUAL =>
        {
            http::web::bind((address.ip(), 0).into()).await
        }
        bound => bound,
    };
    let listener = bound.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let origins = PageOrigins::new(&section.origin, port);
    tracing::info!(address = origins.first(), "the web page is served");
    Ok(Some(PageListener { listener, origins, chat }))
}

// A notice to a room that no messenger serves would vanish, and nobody would notice before it matters.
fn check_rooms(options: &AppOptions) -> Result<(), StartError> {
    let names: Vec<&str> = options.adapters.iter().map(|adapter| adapter.name()).collect();
    let rooms = options.loaded.config.pipeline.rooms();
    match rooms.iter().find(|room| !names.contains(&room.adapter())) {
        None => Ok(()),
        Some(room) => Err(StartError::NoSuchRoom {
            room: room.to_string(),
            adapter: room.adapter().to_owned(),
            known: format!("`{}`", names.join("`, `")),
        }),
    }
}

/// The rooms' services, and the inbox that the messengers fill from now on.
fn chat_services(
    options: AppOptions,
    (registry, store, web): (CommandRegistry, Store, Option<WebPage>),
    pipeline: Pipeline,
    (settings, hosts): (Arc<LiveSettings>, Arc<HostQuestions>),
) -> (Arc<ChatServices>, mpsc::Receiver<Incoming>) {
    let AppOptions { project, adapters, clock, retry, program, trust, .. } = options;
    // Bounded: a flood makes the adapters wait, instead of filling the memory.
    let (sender, inbox) = mpsc::channel(1_000);
    let (tasks, rooms) = (BotTasks::default(), RoomDirectory::default());
    let messengers = ConnectedMessengers::new(adapters.into_iter().map(|adapter| {
        let supervised = supervise(adapter.clone(), sender.clone(), tasks.stop.clone());
        tasks.tracker.spawn(async move { supervised.task.await.unwrap_or_default() });
        (adapter, supervised.health)
    }));
    let broker = PermissionBroker::new(store.clone(), clock.clone(), Arc::new(rooms.clone()))
        .with_ladder(LadderServices { settings: settings.clone(), messengers: messengers.clone() });
    let loaded = settings.loaded();
    let restart = Arc::new(RestartRequest::of(program));
    let tools = ToolServices {
        project: project.clone(),
        settings: settings.clone(),
        store: store.clone(),
        broker: broker.clone(),
        hosts: hosts.clone(),
        pipeline: pipeline.clone(),
        messengers: messengers.clone(),
        restart: restart.clone(),
        tasks: tasks.clone(),
    };
    let ambient = messengers.known_names(&loaded.config.ambient_rooms);
    let commands = CommandServices {
        doctor: doctor_report(project.clone(), trust, settings.clone()),
        project,
        settings: settings.clone(),
        store: store.clone(),
        clock: clock.clone(),
        broker: broker.clone(),
        registry,
        pipeline,
        agents: LiveAgents::default(),
        messengers,
        restart,
        web,
        started: Instant::now(),
    };
    let services = ChatServices {
        commands: Arc::new(commands),
        settings,
        connections: RoomConnections { hosts, day: DayBudget::default() },
        store,
        clock,
        broker,
        rooms,
        ambient: AmbientRooms::new(loaded.path.clone(), &ambient),
        metrics: Arc::default(),
        retry,
        redactor: Arc::new(Redactor::new(&loaded, settings::environment::var)),
        tools: Arc::new(tools),
        tasks,
    };
    (Arc::new(services), inbox)
}

fn http_services(services: &ChatServices) -> HttpServices {
    let commands = &services.commands;
    HttpServices {
        settings: services.settings.clone(),
        broker: services.broker.clone(),
        pipeline: commands.pipeline.clone(),
        agents: commands.agents.clone(),
        messengers: commands.messengers.clone(),
        metrics: services.metrics.clone(),
        followers: Arc::new(Semaphore::new(http::events::FOLLOWERS)),
        tasks: services.tasks.clone(),
        tools: services.tools.clone(),
    }
}

fn web_services(
    services: &ChatServices,
    sessions: WebSessions,
    chat: Arc<Web>,
    checks_peer: TcpPeerCheck,
) -> Arc<WebServices> {
    WebServices::new(WebParts {
        settings: services.settings.clone(),
        sessions,
        pipeline: services.commands.pipeline.clone(),
        broker: services.broker.clone(),
        chat,
        clock: services.clock.clone(),
        tasks: services.tasks.clone(),
        checks_peer,
    })
}

fn doctor_report(project: Project, trust: TrustStore, settings: Arc<LiveSettings>) -> DoctorReport {
    Box::new(move || {
        let (project, trust, settings) = (project.clone(), trust.clone(), settings.clone());
        Box::pin(async move { doctor::report(&doctor::check(&project, &trust, &settings.loaded()).await) })
    })
}

// Messages wait for the stories, because without them the first `status` would show an empty board.
async fn route(services: Arc<ChatServices>, inbox: mpsc::Receiver<Incoming>) {
    tokio::select! {
        () = services.tasks.stop.cancelled() => return,
        ready = tokio::time::timeout(PIPELINE_START, services.commands.pipeline.started()) => {
            if ready.is_err() {
                tracing::warn!("the pipeline is still starting; messages are answered without it");
            }
        }
    }
    router::run(services, inbox).await;
}

/// Lets each room's task start when something first happens there.
fn serve_rooms(services: &Arc<ChatServices>) {
    let for_rooms = services.clone();
    services.rooms.serve(move |room, sender, mailbox| {
        match for_rooms.commands.messengers.get(room.adapter()) {
            // Late input must not start a room again while the bot goes down.
            Some(_) if for_rooms.tasks.stop.is_cancelled() => false,
            Some(adapter) => {
                RoomTask::start(for_rooms.clone(), adapter, room, sender, mailbox);
                true
            }
            None => false,
        }
    });
}

/// Forgets old message ids once an hour.
async fn prune(services: Arc<ChatServices>) {
    let mut hourly = tokio::time::interval(Duration::from_secs(3600));
    loop {
        tokio::select! {
            () = services.tasks.stop.cancelled() => break,
            _ = hourly.tick() => {
                if let Err(error) = services.store.prune(services.clock.now()) {
                    tracing::warn!(%error, "old message ids could not be forgotten");
                }
            }
        }
    }
}

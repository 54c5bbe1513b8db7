//! The bot as a whole: started, served, shut down.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use adapters::{Adapter, Room, Webhooks, supervise::supervise};
use agents::turn::RetryPolicy;
use pipeline::{Pipeline, Project};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    chat::{
        ambient::AmbientRooms,
        notify,
        room::RoomTask,
        rooms::{RoomDirectory, RoomInput},
        router,
        services::Services,
    },
    clock::Clock,
    commands,
    commands::command::CommandRegistry,
    config::{LoadedConfig, access::AccessTable, current::CurrentValue, redact::Redactor},
    http::{
        self, McpRun, McpRuns, OperatorAccess, RunGuard,
        host::{self, BotHost},
    },
    permission::{PermissionBroker, QuestionId},
    program::{
        lock::{self, InstanceLock, LockError},
        reload,
        restart::{RestartNote, RestartRequest, RunningProgram},
    },
    replies,
    store::{OpenError, Store},
};

/// The whole shutdown may take so long (PRODUCT: 10 s, of which a CLI may need 5).
const SHUTDOWN: Duration = Duration::from_secs(9);

/// Of this the agents' runs may take so long; what is left of them then is found by the next start.
const AGENTS: Duration = Duration::from_secs(6);

/// What a bot is made of.
pub struct AppOptions {
    /// The repository it serves.
    pub project: Project,
    /// Its settings.
    pub loaded: LoadedConfig,
    /// Its messengers.
    pub adapters: Vec<Arc<dyn Adapter>>,
    /// Those of them that are called by webhook, on `http.webhook_listen`.
    pub webhooks: Vec<Arc<dyn Webhooks>>,
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
    /// What a restart starts.
    pub program: RunningProgram,
}

/// Why a bot does not start. Each is one sentence for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another one serves the project.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// No state.
    #[error(transparent)]
    Store(#[from] OpenError),
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
        /// Its first part.
        adapter: String,
        /// Those that are there.
        known: String,
    },
    /// The port is taken.
    #[error(
        "Port {port} on 127.0.0.1 is taken, probably by another storkit or a development server (`ss -ltnp 'sport = :{port}'` \
         shows which). Choose another with `--port N` or `[http] port` in bot.toml; `--port 0` takes a free one."
    )]
    Port {
        /// The port.
        port: u16,
    },
    /// The public listener cannot listen.
    #[error("`http.webhook_listen` in bot.toml: {address} cannot be listened on: {source}.")]
    Webhooks {
        /// As it is written.
        address: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// The listener failed otherwise.
    #[error("127.0.0.1:{port} cannot be listened on: {source}.")]
    Listen {
        /// The port.
        port: u16,
        /// The system's word.
        source: std::io::Error,
    },
}

/// A running bot.
pub struct App {
    services: Arc<Services>,
    runs: McpRuns,
    /// The operator's file; without it only that way is closed.
    operator: Option<OperatorAccess>,
    lock: InstanceLock,
}

impl App {
    /// Starts the bot: lock, state, listener, messengers, and what an earlier process left behind.
    pub async fn start(options: AppOptions) -> Result<Self, StartError> {
        Self::start_with(options, commands::all()).await
    }

    /// The same with commands of the caller's choice, as the benchmarks need.
    pub async fn start_with(options: AppOptions, registry: CommandRegistry) -> Result<Self, StartError> {
        check_rooms(&options)?;
        let lock = lock::take(&options.project)?;
        let store = Store::open(&options.project.dir().join("state.db"), options.clock.now())?;
        let port = options.loaded.config.http.port;
        let listener = http::bind(port).await.map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => StartError::Port { port },
            _ => StartError::Listen { port, source },
        })?;
        let public = match options.webhooks.is_empty() {
            true => None,
            false => Some((
                bind_public(&options.loaded.config.http.webhook_listen).await?,
                options.webhooks.clone(),
            )),
        };
        let (sender, inbox) = mpsc::channel(1_000);
        let notices = options.notices.clone();
        let (runs, port) = (McpRuns::default(), Arc::<OnceLock<u16>>::default());
        if let Ok(address) = listener.local_addr() {
            let _ = port.set(address.port());
        }
        let settings = Arc::new(CurrentValue::new(options.loaded.clone()));
        let host = BotHost::new(settings.clone(), runs.clone(), port.clone());
        let pipeline = Pipeline::open(&options.project, host::settings(&options.loaded), Arc::new(host))
            .map_err(StartError::Ledger)?;
        // From the first event on: what an earlier storkit left is told, too.
        let (_, events) = pipeline.follow();
        let services = Arc::new(services(options, registry, store, &sender, (pipeline, port), settings));
        drop(sender);
        let for_rooms = services.clone();
        services.rooms.serve(move |room, sender, mailbox| match for_rooms.adapter(room.adapter()) {
            // A room that has ended with the bot is not started again by what still comes for it.
            Some(_) if for_rooms.stop.is_cancelled() => false,
            Some(adapter) => {
                RoomTask::start(for_rooms.clone(), adapter, room, sender, mailbox);
                true
            }
            None => false,
        });
        let operator =
            OperatorAccess::open(&services.project, &runs, services.port.get().copied().unwrap_or_default())
                .inspect_err(|error| tracing::warn!(%error, "the operator's MCP file cannot be written"))
                .ok();
        let app = Self { services, runs, operator, lock };
        app.clean_up_after_predecessor(&notices).await;
        let (services, runs) = (app.services.clone(), app.runs.clone());
        app.services.tracker.spawn(http::serve(listener, services.clone(), runs));
        if let Some((listener, webhooks)) = public {
            app.services.tracker.spawn(http::webhooks::serve(listener, webhooks, services.stop.clone()));
        }
        app.services.tracker.spawn(router::run(services.clone(), inbox));
        app.services.tracker.spawn(notify::run(services.clone(), events));
        app.services.tracker.spawn(reload::run(services.clone(), notices));
        app.services.tracker.spawn(prune(services));
        app.tell_of_restart();
        Ok(app)
    }

    /// Processes, questions and prompts that a killed predecessor left: ended, closed, told or run.
    async fn clean_up_after_predecessor(&self, notices: &[Room]) {
        let services = &self.services;
        let sessions = services.store.live_sessions().unwrap_or_default();
        let ended = agents::claude::sweep_orphans(&sessions).await;
        agents::claude::remove_leftovers(&services.project.run_dir());
        if ended > 0 {
            tracing::warn!(ended, "processes that an earlier storkit left behind were ended");
        }
        if let Some(path) = services.store.set_aside() {
            for room in notices {
                services.rooms.post(room, RoomInput::Notice(replies::state_set_aside(path)));
            }
        }
        for left in services.broker.close_left_over() {
            for (room, copy) in left.copies {
                let (id, tool) = (QuestionId(left.id), left.question.tool.clone());
                services.rooms.post(&room, RoomInput::LeftQuestion { id, tool, copy });
            }
        }
        match services.store.left_prompts() {
            Ok(left) => {
                for (room, number, started, prompt) in left {
                    services.rooms.post(&room, RoomInput::LeftPrompt { number, started, prompt });
                }
            }
            Err(error) => tracing::error!(%error, "prompts under way cannot be read"),
        }
    }

    /// The room that asked for the restart hears that it is done.
    fn tell_of_restart(&self) {
        let Some(note) = RestartNote::take(&self.services.project) else { return };
        let took = self.services.clock.now().duration_since(note.asked()).unwrap_or_default();
        if let Some(room) = note.room() {
            let text = replies::restarted(&self.services.config().display_name, took);
            self.services.rooms.post(&room, RoomInput::Notice(text));
        }
    }

    /// Waits until somebody asks for a restart.
    pub async fn restart_asked(&self) {
        self.services.restart.asked().await;
    }

    /// Says hello in a room: who this is, and the label where one is set.
    pub fn greet(&self, room: &Room) {
        let greeting = replies::hello(&self.services.config().display_name, self.services.label.as_deref());
        self.services.rooms.post(room, RoomInput::Notice(greeting));
    }

    /// The port of the loopback listener.
    pub fn port(&self) -> u16 {
        self.services.port.get().copied().unwrap_or_default()
    }

    /// What the rooms share; for tests, completion and benchmarks.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Lets an agent's run ask for permission over MCP.
    pub fn open_run(&self, run: McpRun) -> RunGuard {
        self.runs.open(run)
    }

    /// Ends the bot: intake stops, live messages get their end, agents are ended, within 10 s.
    pub async fn shutdown(self) {
        let services = &self.services;
        services.stop.cancel();
        let ended = tokio::time::timeout(SHUTDOWN, async {
            // First the agents: their last questions are still closed in the rooms.
            let _ = tokio::time::timeout(AGENTS, services.pipeline.shutdown()).await;
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
            services.broker.withdraw_all(replies::SHUTTING_DOWN);
            services.tracker.close();
            services.tracker.wait().await;
        });
        if ended.await.is_err() {
            tracing::warn!("the shutdown took too long; what is left ends with the process");
        }
        if services.restart.is_asked() {
            services.restart.leave_note(&services.project);
        }
        drop(self.operator);
        drop(self.lock);
    }
}

async fn bind_public(address: &str) -> Result<tokio::net::TcpListener, StartError> {
    let failed = |source| StartError::Webhooks { address: address.to_owned(), source };
    let parsed = address.parse().map_err(|error| failed(std::io::Error::other(error)))?;
    http::webhooks::bind(parsed).await.map_err(failed)
}

/// Notices into nowhere would be missed by nobody until it matters.
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

fn services(
    options: AppOptions,
    registry: CommandRegistry,
    store: Store,
    sender: &mpsc::Sender<adapters::Incoming>,
    (pipeline, port): (Pipeline, Arc<OnceLock<u16>>),
    settings: Arc<CurrentValue<LoadedConfig>>,
) -> Services {
    let AppOptions {
        project,
        loaded: _,
        adapters,
        access,
        clock,
        retry,
        label,
        program,
        webhooks: _,
        notices: _,
    } = options;
    let loaded = settings.get();
    let stop = CancellationToken::new();
    let tracker = TaskTracker::new();
    let rooms = RoomDirectory::default();
    let adapters = adapters
        .into_iter()
        .map(|adapter| {
            let supervised = supervise(adapter.clone(), sender.clone(), stop.clone());
            tracker.spawn(async move { supervised.task.await.unwrap_or_default() });
            (adapter, supervised.health)
        })
        .collect();
    Services {
        broker: PermissionBroker::new(store.clone(), clock.clone(), rooms.clone()),
        ambient: AmbientRooms::new(loaded.path.clone(), &loaded.config.ambient_rooms),
        project,
        settings,
        store,
        clock,
        rooms,
        registry,
        access: CurrentValue::new(access),
        restart: RestartRequest::of(program),
        redactor: Arc::new(Redactor::new(&loaded, |name| std::env::var(name).ok())),
        agents: Default::default(),
        metrics: Default::default(),
        retry,
        tracker,
        stop,
        started: Instant::now(),
        port,
        pipeline,
        label,
        adapters,
        sampler: Default::default(),
    }
}

/// Forgets old message ids once an hour.
async fn prune(services: Arc<Services>) {
    let mut hourly = tokio::time::interval(Duration::from_secs(3600));
    loop {
        tokio::select! {
            () = services.stop.cancelled() => break,
            _ = hourly.tick() => {
                if let Err(error) = services.store.prune(services.clock.now()) {
                    tracing::warn!(%error, "old message ids could not be forgotten");
                }
            }
        }
    }
}

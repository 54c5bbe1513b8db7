//! Starts the bot with its messengers and, on request, a chat in this terminal; stops it on a signal.

use std::{io, path::PathBuf, process::ExitCode, sync::Arc};

use adapters::{
    Adapter, AdapterError, Room,
    console::{
        self, Completion, Console, ConsoleConfig, client,
        script::script,
        terminal::{TerminalOptions, interactive},
    },
    web::{self, Web},
};
use agents::turn::RetryPolicy;
use pipeline::{Project, trust::TrustStore};
use scripted_model::ScriptedModel;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    clock::Clock,
    commands::{self, services::CommandServices},
    config::{LoadedConfig, WebSection, access::MessengerPeople, redact::Redactor},
    permission::ConsentWords,
    program::{
        app::{App, AppListeners, AppOptions},
        common_args::{CommonArgs, open},
        demo, harden, logging, messengers,
        output::{complain, not_started},
        trust,
    },
    replies::{ask_to_end, program_ended, terminal as say},
    restart::RunningProgram,
};

/// How much an in-process terminal and its console hold between them.
const STREAM_BUFFER: usize = 64 * 1024;

/// What this terminal does while the bot runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FrontEnd {
    /// The terminal shows only logs.
    None,
    Terminal,
    /// Lines from standard input, and text to standard output.
    Script,
}

pub async fn project(common: &CommonArgs, front: FrontEnd) -> ExitCode {
    match open(common) {
        Ok((project, loaded)) => serve(project, loaded, front, None).await,
        Err(code) => code,
    }
}

/// Talks to the bot that serves the project, or to one of its own.
pub async fn chat(common: &CommonArgs, front: FrontEnd) -> ExitCode {
    let (project, mut loaded) = match open(common) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    // An answer on the socket means that a bot serves the project; this terminal then is one of its clients.
    if let Ok(stream) = client::connect(&socket(&project)).await {
        return exit(talk(stream, front, &project).await);
    }
    if common.port.is_none() {
        // A chat of one's own needs no known port.
        loaded.config.http.port = 0;
        loaded.config.web.listen = WebSection::FREE_PORT.into();
    }
    serve(project, loaded, front, None).await
}

/// Asks the bot that serves the project for a link to its page, as its operator. Exit code 75 where nobody serves it.
pub async fn web_link(common: &CommonArgs) -> ExitCode {
    let start = common.project.clone().unwrap_or_else(|| PathBuf::from("."));
    // Without bot.toml: its variables may be set only for the process that serves.
    let project = match Project::open(&start) {
        Ok(project) => project,
        Err(error) => return complain(2, &error.to_string()),
    };
    match client::connect(&socket(&project)).await {
        Ok(stream) => exit(script(stream, "web\n".as_bytes(), tokio::io::stdout()).await),
        Err(error) => complain(75, &say::nobody_serves(&error)),
    }
}

/// The same program against a scripted model, in a scratch project.
pub async fn demo(common: &CommonArgs, front: FrontEnd) -> ExitCode {
    // Before the scratch project is made: a start anew would leave it behind.
    if let Err(error) = harden::start_without_secrets(&LoadedConfig::default()) {
        return complain(1, &say::not_closed(&error));
    }
    let scratch = match demo::prepare(common.project.as_deref()) {
        Ok(scratch) => scratch,
        Err(error) => return complain(1, &format!("{error:#}")),
    };
    let model = match ScriptedModel::start(demo::script()) {
        Ok(model) => model,
        Err(error) => return complain(1, &say::no_demo_model(&error)),
    };
    let in_scratch =
        CommonArgs { project: Some(scratch.path().to_owned()), port: Some(common.port.unwrap_or(0)) };
    let (project, mut loaded) = match open(&in_scratch) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let environment = scratch.environment(&model.base_url());
    loaded.config.web.listen = WebSection::FREE_PORT.into();
    loaded.config.claude.env.extend(environment.into_iter().map(|(name, value)| (name.to_owned(), value)));
    if let Err(error) = trust::store().and_then(|store| scratch.confirm(&project, &store)) {
        return complain(2, &error.to_string());
    }
    let code = serve(project.clone(), loaded, front, Some(scratch.greeting())).await;
    if let (true, Ok(store)) = (scratch.is_temporary(), trust::store()) {
        store.forget(&project);
    }
    code
}

async fn serve(project: Project, loaded: LoadedConfig, front: FrontEnd, label: Option<String>) -> ExitCode {
    match run(project, loaded, front, label).await {
        Ok(code) | Err(code) => code,
    }
}

async fn run(
    project: Project,
    loaded: LoadedConfig,
    front: FrontEnd,
    label: Option<String>,
) -> Result<ExitCode, ExitCode> {
    let not_closed = |error: io::Error| complain(1, &say::not_closed(&error));
    harden::start_without_secrets(&loaded).map_err(not_closed)?;
    let inherited = harden::close_process().map_err(not_closed)?;
    let store = trust::store().map_err(|error| complain(2, &error.to_string()))?;
    // Before anything below `.storkit/` is read or written.
    store.check_state(&project).map_err(|error| complain(2, &error.to_string()))?;
    start_log(&project, &loaded, front)?;
    tokio::spawn(agents::adopted::reap_orphans());
    let console = loaded.config.console.enabled.then(|| console_of(&project, &loaded));
    if console.is_none() && front != FrontEnd::None {
        return Err(complain(2, say::NO_CONSOLE));
    }
    if front == FrontEnd::Terminal {
        trust::ask_at_start(&project, &store);
    }
    // What goes on in a demo is nobody else's.
    let is_demo = label.is_some();
    let options = app_options(&project, loaded, store, console.as_ref(), label).await?;
    let mut signals = ExitSignals::listen().map_err(|error| complain(1, &say::no_signals(&error)))?;
    let app = App::start(options).await.map_err(|error| not_started(&error))?;
    tracing::info!(project = %project.root().display(), port = app.port(), "storkit serves");
    if let Some(console) = &console {
        console.set_completions(completions(&app.services().commands));
        console.set_mcp_config(app.operator_mcp_config());
        console.set_greeting(app.greeting());
    }
    let commands = app.services().commands.clone();
    let code = loop {
        let (code, is_left) = tokio::select! {
            code = front_end(front, console.clone(), &project) => (code, true),
            () = signals.one_came() => (Ok(0), false),
            () = app.restart_asked() => (Ok(0), false),
        };
        let asks = is_left && front == FrontEnd::Terminal && !is_demo && matches!(code, Ok(0));
        if !asks || may_end(&app, &mut signals).await {
            break code;
        }
    };
    let restarts = commands.restart.is_asked();
    let secrets = harden::secret_names(&commands.settings.loaded());
    let ended = program_ended(&app.open_work());
    app.shutdown().await;
    if let Some(console) = console {
        console.close(if restarts { say::GOING_TO_RESTART } else { &ended }).await;
    }
    if !restarts && ended != say::ENDED {
        report_ended(front, &ended);
    }
    harden::end_descendants(&inherited);
    if restarts {
        // After the full shutdown, so that nothing of this life remains in the next. `exec` returns only on failure.
        let error = commands.restart.program().exec_again(&secrets);
        return Err(complain(1, &say::not_restarted(&error)));
    }
    Ok(exit(code))
}

/// Asks the person who left the terminal, once, if other people's work would end with it.
async fn may_end(app: &App, signals: &mut ExitSignals) -> bool {
    let others = app.open_work().of_others_than(&main_room());
    if others.is_empty() {
        return true;
    }
    eprint!("{}", ask_to_end(&others));
    let answered = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        // A second Ctrl-D, or a terminal that is gone, is a yes.
        let read = io::stdin().read_line(&mut line);
        read.map_or(true, |read| read == 0 || matches!(ConsentWords::of(&line), ConsentWords::Yes))
    });
    tokio::select! {
        answered = answered => answered.unwrap_or(true),
        () = signals.one_came() => true,
        () = app.restart_asked() => true,
    }
}

/// One line about what ended with the program: at the terminal, or in the log where nobody looks at one.
fn report_ended(front: FrontEnd, ended: &str) {
    match front {
        FrontEnd::None => tracing::warn!("{ended}"),
        FrontEnd::Terminal | FrontEnd::Script => eprintln!("{ended}"),
    }
}

/// Where the terminal shows the chat, logs go to a file.
fn start_log(project: &Project, loaded: &LoadedConfig, front: FrontEnd) -> Result<(), ExitCode> {
    let log = project.dir().join("logs/storkit.log");
    let target =
        if front == FrontEnd::None { logging::LogTarget::Stderr } else { logging::LogTarget::File(&log) };
    let redactor = Redactor::new(loaded, settings::environment::var);
    logging::start(target, redactor).map_err(|error| complain(1, &say::cannot_write(&log, &error)))
}

/// The bot's parts, with every messenger's settings and credentials checked.
async fn app_options(
    project: &Project,
    loaded: LoadedConfig,
    trust: TrustStore,
    console: Option<&Arc<Console>>,
    label: Option<String>,
) -> Result<AppOptions, ExitCode> {
    let refused = |error: AdapterError| complain(2, &error.to_string());
    let identity = commands::services::identity(&loaded.config, &commands::all());
    let page = loaded.config.web.address().map(|_| Web::new(identity.clone()));
    let network = messengers::configured(&loaded.config, project, &identity).map_err(refused)?;
    messengers::prepare(&network.adapters).await.map_err(refused)?;
    let local = console.map(|console| console.clone() as Arc<dyn Adapter>);
    let people = MessengerPeople { local: true, ..MessengerPeople::default() };
    let others = MessengerPeople { of_others: true, ..MessengerPeople::default() };
    let shown = page.clone().map(|page| page as Arc<dyn Adapter>);
    Ok(AppOptions {
        adapters: local.into_iter().chain(network.adapters).chain(shown).collect(),
        listeners: AppListeners {
            webhooks: network.webhooks,
            page,
            checks_peer: agents::peer::check_tcp_peer,
        },
        access: network.access.with(console::NAME, people).with(web::NAME, others),
        notices: console.map(|_| main_room()).into_iter().collect(),
        program: RunningProgram::running(),
        clock: Clock::system(),
        retry: RetryPolicy::default(),
        project: project.clone(),
        loaded,
        label,
        trust,
    })
}

fn main_room() -> Room {
    Room::new(console::NAME, "main")
}

async fn front_end(front: FrontEnd, console: Option<Arc<Console>>, project: &Project) -> io::Result<i32> {
    match (front, console) {
        (FrontEnd::None, _) | (_, None) => std::future::pending().await,
        (front, Some(console)) => {
            let (ours, theirs) = tokio::io::duplex(STREAM_BUFFER);
            console.attach(theirs);
            talk(ours, front, project).await
        }
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    front: FrontEnd,
    project: &Project,
) -> io::Result<i32> {
    if front == FrontEnd::Terminal {
        let options = TerminalOptions {
            room: None,
            history: Some(project.run_dir().join("history")),
            interrupt_line: "!stop".into(),
        };
        return interactive(stream, options).await;
    }
    script(stream, BufReader::new(tokio::io::stdin()), tokio::io::stdout()).await
}

// Listened to from before the start on: a signal that comes while storkit starts leads to
// an orderly shutdown as well.
struct ExitSignals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl ExitSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn one_came(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            _ = self.hup.recv() => {}
        }
        tracing::info!("a signal asks me to stop");
    }
}

pub(super) fn console_of(project: &Project, loaded: &LoadedConfig) -> Arc<Console> {
    let config = ConsoleConfig {
        socket: Some(socket(project)),
        user: std::env::var("USER").unwrap_or_else(|_| "operator".into()),
        files: project.run_dir().join("files"),
        admits: |stream| agents::peer::check_unix_peer(stream).map_err(|why| why.to_string()),
    };
    Console::new(config, commands::services::identity(&loaded.config, &commands::all()))
}

pub(super) fn socket(project: &Project) -> PathBuf {
    project.run_dir().join("console.sock")
}

fn completions(services: &CommandServices) -> Vec<Completion> {
    let specs = services.registry.specs();
    specs.map(|spec| Completion { name: spec.name.into(), help: spec.summary.into() }).collect()
}

fn exit(code: io::Result<i32>) -> ExitCode {
    match code {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => complain(1, &say::terminal_failed(&error)),
    }
}

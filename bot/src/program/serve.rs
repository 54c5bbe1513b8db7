//! Starts the bot with its messengers and, where asked, a chat in this terminal; ends it on a signal.

use std::{io, path::PathBuf, process::ExitCode, sync::Arc};

use adapters::{
    Adapter, Room,
    console::{
        self, Completion, Console, ConsoleConfig, client,
        script::script,
        terminal::{TerminalOptions, interactive},
    },
};
use agents::turn::RetryPolicy;
use pipeline::Project;
use scripted_model::ScriptedModel;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    clock::Clock,
    commands::{self, services::CommandServices},
    config::{LoadedConfig, access::MessengerPeople, redact::Redactor},
    program::{
        app::{App, AppOptions},
        common_args::{CommonArgs, open},
        demo, logging, messengers,
        output::{complain, not_started},
    },
    restart::RunningProgram,
};

/// How much an in-process terminal and its console hold between them.
const STREAM_BUFFER: usize = 64 * 1024;

/// What this terminal does while the bot runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FrontEnd {
    /// Nothing: only logs.
    None,
    /// A chat.
    Terminal,
    /// Lines from standard input.
    Script,
}

/// Serves the project.
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
    if let Ok(stream) = client::connect(&socket(&project)).await {
        return exit(talk(stream, front, &project).await);
    }
    if common.port.is_none() {
        // A chat of one's own needs no known port.
        loaded.config.http.port = 0;
    }
    serve(project, loaded, front, None).await
}

/// The same program against a scripted model, in a scratch project.
pub async fn demo(common: &CommonArgs, front: FrontEnd) -> ExitCode {
    let scratch = match demo::prepare(common.project.as_deref()) {
        Ok(scratch) => scratch,
        Err(error) => return complain(1, &format!("{error:#}")),
    };
    let model = match ScriptedModel::start(demo::script()) {
        Ok(model) => model,
        Err(error) => return complain(1, &format!("the demo's model cannot be served: {error}.")),
    };
    let in_scratch =
        CommonArgs { project: Some(scratch.path().to_owned()), port: Some(common.port.unwrap_or(0)) };
    let (project, mut loaded) = match open(&in_scratch) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let environment = scratch.environment(&model.base_url());
    loaded.config.claude.env.extend(environment.into_iter().map(|(name, value)| (name.to_owned(), value)));
    serve(project, loaded, front, Some(scratch.greeting())).await
}

async fn serve(project: Project, loaded: LoadedConfig, front: FrontEnd, label: Option<String>) -> ExitCode {
    let log = project.dir().join("logs/storkit.log");
    let target =
        if front == FrontEnd::None { logging::LogTarget::Stderr } else { logging::LogTarget::File(&log) };
    let redactor = Redactor::new(&loaded, |name| std::env::var(name).ok());
    if let Err(error) = logging::start(target, redactor) {
        return complain(1, &format!("`{}` cannot be written: {error}.", log.display()));
    }
    let console = loaded.config.console.enabled.then(|| console_of(&project, &loaded));
    if console.is_none() && front != FrontEnd::None {
        return complain(
            2,
            "`console.enabled` is false in bot.toml, so there is no chat here. Use `storkit serve`.",
        );
    }
    let main_room = Room::new(console::NAME, "main");
    let identity = commands::services::identity(&loaded.config, &commands::all());
    let network = match messengers::configured(&loaded.config, &project, &identity) {
        Ok(network) => network,
        Err(error) => return complain(2, &error.to_string()),
    };
    if let Err(error) = messengers::prepare(&network.adapters).await {
        return complain(2, &error.to_string());
    }
    let local = console.iter().map(|console| console.clone() as Arc<dyn Adapter>);
    let options = AppOptions {
        adapters: local.chain(network.adapters).collect(),
        webhooks: network.webhooks,
        access: network
            .access
            .with(console::NAME, MessengerPeople { local: true, ..MessengerPeople::default() }),
        notices: console.iter().map(|_| main_room.clone()).collect(),
        program: RunningProgram::running(),
        clock: Clock::system(),
        retry: RetryPolicy::default(),
        project: project.clone(),
        loaded,
        label,
    };
    let mut signals = match ExitSignals::listen() {
        Ok(signals) => signals,
        Err(error) => return complain(1, &format!("signals cannot be listened to: {error}.")),
    };
    let app = match App::start(options).await {
        Ok(app) => app,
        Err(error) => return not_started(&error),
    };
    tracing::info!(project = %project.root().display(), port = app.port(), "storkit serves");
    if let Some(console) = &console {
        console.set_completions(completions(&app.services().commands));
        app.greet(&main_room);
    }
    let services = app.services().clone();
    let code = tokio::select! {
        code = front_end(front, console.clone(), &project) => code,
        () = signals.one_came() => Ok(0),
        () = app.restart_asked() => Ok(0),
    };
    let again = services.commands.restart.is_asked();
    app.shutdown().await;
    if let Some(console) = console {
        console.close(if again { "storkit restarts." } else { "storkit has ended." }).await;
    }
    if again {
        let error = services.commands.restart.program().exec_again();
        return complain(1, &format!("storkit could not be restarted: {error}. Start it by hand."));
    }
    exit(code)
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

/// The signals that ask for the end. Listened to from before the start on: one that comes while storkit starts
/// ends it in good order too.
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

fn console_of(project: &Project, loaded: &LoadedConfig) -> Arc<Console> {
    let config = ConsoleConfig {
        socket: Some(socket(project)),
        user: std::env::var("USER").unwrap_or_else(|_| "operator".into()),
        files: project.run_dir().join("files"),
    };
    Console::new(config, commands::services::identity(&loaded.config, &commands::all()))
}

fn socket(project: &Project) -> PathBuf {
    project.run_dir().join("console.sock")
}

fn completions(services: &CommandServices) -> Vec<Completion> {
    let specs = services.registry.specs();
    specs.map(|spec| Completion { name: spec.name.into(), help: spec.summary.into() }).collect()
}

fn exit(code: io::Result<i32>) -> ExitCode {
    match code {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => complain(1, &format!("the terminal failed: {error}.")),
    }
}

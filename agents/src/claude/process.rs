//! The running process: PTY, FIFO and reader, and a termination that leaves nothing behind.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustix::{
    fs::{Access, access},
    process::Signal,
};
use serde_json::{Value, json};
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    end::ProcessSupervisor,
    error::ProcessError,
    event_sender::{CAPACITY, EventSender},
    folder::RunFolder,
    input::{self, LineQueue},
    launch::{Launch, LaunchModel, PromptMode, environment_of, walled},
    noise::OutputTail,
};
use crate::{
    confine::{WalledCommand, environment::uses_login},
    event::{AgentEvent, PermissionAnswer},
    model_proxy::{ModelAccess, ModelProxy, SpendingMeter},
    prompt::AgentPrompt,
    pty::{self, ProcessLeader, PtyReader, PtyTerminal},
};

/// A Claude Code process in a PTY, its prompts fed through a FIFO. Dropping it terminates the process in the background
/// (SIGTERM); [`AgentProcess::end`] also waits until no descendant is left.
///
/// A PTY and not a pipe: when storkit dies, the kernel closes the PTY and the CLI exits by SIGHUP. With pipes it works
/// on to the last tool call of its turn (2.1.330).
#[derive(Debug)]
pub struct AgentProcess {
    leader: Arc<ProcessLeader>,
    /// `None` for a one-shot process, which reads nothing.
    input: Option<LineQueue>,
    stop: CancellationToken,
    ended: Option<JoinHandle<usize>>,
    /// Knows the limits of the service, where the process reaches it through a proxy.
    meter: Option<Arc<SpendingMeter>>,
}

/// Names the operation that failed.
fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> ProcessError {
    move |source| ProcessError::Io { what, source }
}

impl AgentProcess {
    /// Starts the process. Events come on the channel until [`AgentEvent::Exited`]; a slow receiver slows the
    /// process and costs no memory. After [`AgentProcess::end`] was called or the process dropped, events for which
    /// the channel has no place are dropped, but never [`AgentEvent::Exited`].
    ///
    /// # Errors
    /// [`ProcessError::NotFound`] if the program does not exist; [`ProcessError::Io`] if the working directory does not exist or
    /// the system refuses a file, a terminal or a process.
    pub async fn start(mut launch: Launch) -> Result<(Self, mpsc::Receiver<AgentEvent>), ProcessError> {
        open_way_to_model(&mut launch.model).map_err(io_error("opening the way to the model"))?;
        // The random part distinguishes the processes that one session has over time.
        let run = format!("{}/{}", launch.session_id(), uuid::Uuid::new_v4());
        let started = start_blocking(launch, run);
        let started = tokio::task::spawn_blocking(started).await;
        started.map_err(|error| io_error("starting Claude Code")(io::Error::other(error)))??.supervise()
    }

    /// The process id, for usage and doctor.
    pub fn pid(&self) -> u32 {
        self.leader.pid()
    }

    /// Sends a prompt ([`super::PromptMode::Live`]). The caller sends one at a time: the CLI would join queued ones.
    /// Text that begins with `/` is prefixed with `Message: `, so that it runs no command of the CLI.
    ///
    /// # Errors
    /// [`ProcessError::Gone`] after the exit; [`ProcessError::Io`] for a one-shot process, and when the CLI has
    /// left 64 lines unread. Never waits.
    pub async fn prompt(&self, prompt: &AgentPrompt) -> Result<(), ProcessError> {
        self.push(input::prompt(prompt))
    }

    /// Interrupts the turn; its [`AgentEvent::TurnEnded`] follows. Harmless when idle. A one-shot process gets
    /// SIGINT, and then prints its result and exits. Fails as [`AgentProcess::prompt`] does.
    pub async fn interrupt(&self) -> Result<(), ProcessError> {
        if self.input.is_none() {
            // It reads no control requests.
            self.leader.signal(Signal::INT);
            return Ok(());
        }
        self.push(input::request(&json!({"subtype": "interrupt"})))
    }

    /// Changes the model from the next turn on; `None` for the default. Fails as [`AgentProcess::prompt`] does.
    pub async fn set_model(&self, model: Option<&str>) -> Result<(), ProcessError> {
        self.push(input::request(&match model {
            Some(model) => json!({"subtype": "set_model", "model": model}),
            None => json!({"subtype": "set_model"}),
        }))
    }

    /// Asks for the state of all MCP servers; [`AgentEvent::Servers`] follows. Fails as [`AgentProcess::prompt`] does.
    pub async fn ask_servers(&self) -> Result<(), ProcessError> {
        self.push(input::request(&json!({"subtype": "mcp_status"})))
    }

    /// Ends a task in the background; [`AgentEvent::TaskEnded`] follows. Fails as [`AgentProcess::prompt`] does.
    pub async fn stop_task(&self, id: &str) -> Result<(), ProcessError> {
        self.push(input::request(&json!({"subtype": "stop_task", "task_id": id})))
    }

    /// Answers a [`super::PermissionRequest`]. Fails as [`AgentProcess::prompt`] does.
    pub async fn answer(&self, request_id: &str, answer: &PermissionAnswer) -> Result<(), ProcessError> {
        self.push(input::answer(request_id, answer))
    }

    /// Answers an [`crate::event::OwnToolsMessage`] with JSON-RPC. Fails as [`AgentProcess::prompt`] does.
    pub async fn answer_own_tools(&self, request_id: &str, answer: &Value) -> Result<(), ProcessError> {
        self.push(input::own_tools_answer(request_id, answer))
    }

    /// Requests termination and returns at once; [`AgentEvent::Exited`] follows.
    pub fn request_end(&self) {
        self.stop.cancel();
    }

    /// Terminates the process and everything it started: SIGTERM, up to 5 s, then SIGKILL to all descendants,
    /// those included that left its group and session. Returns how many had to be killed.
    ///
    /// Does not wait for a receiver; when it returns, [`AgentEvent::Exited`] is in the channel.
    pub async fn end(mut self) -> usize {
        self.stop.cancel();
        let Some(ended) = self.ended.take() else { return 0 };
        ended.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the task that ends a Claude Code process failed");
            0
        })
    }

    /// When the limit of the model's service is lifted, as its last refusal told.
    pub fn limit_ends(&self) -> Option<SystemTime> {
        self.meter.as_ref()?.limit_ends()
    }

    fn push(&self, line: String) -> Result<(), ProcessError> {
        let one_shot =
            || io_error("sending to Claude Code")(io::Error::other("a one-shot process takes no input"));
        self.input.as_ref().ok_or_else(one_shot)?.push(line)
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        self.stop.cancel();
        self.leader.ask_to_end();
    }
}

/// Gives a process without a run's proxy one of its own, which lives as long as the process.
fn open_way_to_model(model: &mut LaunchModel) -> io::Result<()> {
    if let (ModelAccess::Proxied(service), None) = (&model.access, &model.proxy) {
        let proxy = ModelProxy::new(Arc::clone(service), None);
        let port = proxy.loopback_port()?;
        model.proxy = Some((Arc::new(proxy), port));
    }
    Ok(())
}

/// A process that runs and has no supervisor yet.
struct StartedProcess {
    launch: Launch,
    run: String,
    folder: RunFolder,
    terminal: PtyTerminal,
    leader: ProcessLeader,
}

/// The part of a start that may block.
fn start_blocking(launch: Launch, run: String) -> impl FnOnce() -> Result<StartedProcess, ProcessError> {
    move || {
        // Checked first, for an error that names the cause instead of a failed start.
        let is_folder = std::fs::metadata(&launch.program.cwd)
            .and_then(|cwd| if cwd.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) });
        is_folder.map_err(io_error("opening the working directory"))?;
        let folder =
            RunFolder::create(&launch).map_err(io_error("making the folder for a Claude Code process"))?;
        let mut environment = environment_of(&launch, folder.files(), &run, settings::environment::all());
        check_program(&launch, &environment)?;
        let WalledCommand { argv, environment: moved, scratch } =
            walled(&launch, folder.files(), uses_login(&environment))
                .map_err(io_error("building the wall of Claude Code"))?;
        let folder = folder.with_scratch(scratch);
        // The CLI's own temporary folder stays the one of this process.
        environment.extend(moved.into_iter().filter(|(name, _)| name != "TMPDIR"));
        let sandboxed = launch.confine.as_ref().is_some_and(|confined| confined.confinement.is_bubblewrap());
        let (terminal, leader) = pty::spawn(&argv, &launch.program.cwd, &environment, sandboxed)
            .map_err(io_error("starting Claude Code in a terminal"))?;
        Ok(StartedProcess { launch, run, folder, terminal, leader })
    }
}

/// Looks for the program as the shell will.
fn check_program(launch: &Launch, environment: &[(OsString, OsString)]) -> Result<(), ProcessError> {
    // The shell would report a missing program only by its own exit code, which a CLI could also return.
    let program = launch.program.command.first().map_or("", String::as_str);
    let path = environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_os_str());
    let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    let runs = |file: &Path| file.is_file() && access(file, Access::EXEC_OK).is_ok();
    let candidates: Vec<PathBuf> = match program {
        "" => vec![],
        direct if direct.contains('/') => vec![launch.program.cwd.join(direct)],
        name => {
            std::env::split_paths(path).map(|folder| launch.program.cwd.join(folder).join(name)).collect()
        }
    };
    if candidates.iter().any(|file| runs(file)) {
        return Ok(());
    }
    Err(ProcessError::NotFound { program: program.into() })
}

impl StartedProcess {
    /// Starts the writer, the reader, and the task that waits for the exit.
    fn supervise(self) -> Result<(AgentProcess, mpsc::Receiver<AgentEvent>), ProcessError> {
        let leader = Arc::new(self.leader);
        let made = Self::start_threads(&leader, &self.launch, self.terminal, &self.folder);
        // Without a supervisor nobody else would kill and reap the process.
        let ProcessThreads { input, reader, ended, stop, over, last, receiver } = made.inspect_err(|_| {
            leader.signal(Signal::KILL);
            leader.reap();
        })?;
        let session = self.launch.session_id().clone();
        let (folder, run, model) = (self.folder, self.run, self.launch.model);
        let meter = model.proxy.as_ref().map(|(proxy, _)| proxy.meter());
        let process = (Arc::clone(&leader), stop.clone());
        let supervised = ProcessSupervisor {
            leader,
            ended,
            reader,
            folder,
            session,
            run,
            _model: model,
            stop,
            over,
            last,
        };
        let ended = Some(tokio::spawn(supervised.run()));
        Ok((AgentProcess { leader: process.0, input, stop: process.1, ended, meter }, receiver))
    }

    fn start_threads(
        leader: &Arc<ProcessLeader>,
        launch: &Launch,
        terminal: PtyTerminal,
        folder: &RunFolder,
    ) -> Result<ProcessThreads, ProcessError> {
        let (stop, over) = (CancellationToken::new(), CancellationToken::new());
        let fifo = folder.files().fifo.clone();
        let input = match launch.mode {
            PromptMode::Live => {
                Some(LineQueue::open(&fifo, over.clone()).map_err(io_error("opening the FIFO"))?)
            }
            PromptMode::OneShot { .. } | PromptMode::Deferred => None,
        };
        // One slot more than events may fill: it is reserved for the last event.
        let (events, receiver) = mpsc::channel(CAPACITY + 1);
        let last = events.clone().try_reserve_owned();
        let last = last.map_err(|_| io_error("making a channel")(io::Error::other("no place")))?;
        let sender = EventSender {
            events,
            runtime: Handle::current(),
            stop: stop.clone(),
            input: input.clone(),
            tail: OutputTail::default(),
            pieces: String::new(),
        };
        let threads = io_error("starting a thread");
        let ended = leader.watch().map_err(threads)?;
        // A CLI that prints has its standard input open: from then on nobody else can open the FIFO.
        let unlink = move || drop(std::fs::remove_file(fifo));
        let reader = PtyReader::start(terminal, |next| sender.send_all(next), unlink)
            .map_err(io_error("starting a thread"))?;
        Ok(ProcessThreads { input, reader, ended, stop, over, last, receiver })
    }
}

/// The threads and channels of a process.
struct ProcessThreads {
    input: Option<LineQueue>,
    reader: PtyReader,
    ended: tokio::sync::oneshot::Receiver<()>,
    stop: CancellationToken,
    over: CancellationToken,
    last: mpsc::OwnedPermit<AgentEvent>,
    receiver: mpsc::Receiver<AgentEvent>,
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, time::Duration};

    use super::*;
    use crate::claude::{LaunchProgram, ProcessExit, SessionId, SessionStart, UnparsedOutput, sweep_orphans};

    const LIVE: PromptMode = PromptMode::Live;

    /// A CLI written for one test, and the folder it lives in.
    struct Cli {
        place: tempfile::TempDir,
        launch: Launch,
    }

    impl Cli {
        fn new(mode: PromptMode, script: &str) -> Self {
            let place = tempfile::tempdir().expect("a folder");
            let program = place.path().join("cli");
            std::fs::write(&program, script).expect("the script");
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("it can run");
            let command = vec![program.to_str().expect("text").into()];
            let program = LaunchProgram::new(command, place.path(), place.path().join("run"));
            let launch = Launch::new(program, SessionStart::New(SessionId::random()), mode);
            Self { place, launch }
        }

        fn shell(script: &str) -> Self {
            Self::new(LIVE, &format!("#!/bin/sh\n{script}"))
        }

        /// Python with `say(text)`, `put(line)` and `take()`, which reads a line.
        fn python(script: &str) -> Self {
            let head = "#!/usr/bin/env python3\nimport json, os, signal, sys\n\
                def put(line): print(json.dumps(line), flush=True)\n\
                def say(text): put({'message': {'content': [{'type': 'text', 'text': text}]}, 'type': 'assistant'})\n\
                def take(): return json.loads(sys.stdin.readline())\n";
            Self::new(LIVE, &format!("{head}{script}"))
        }

        async fn start(&self) -> (AgentProcess, Events) {
            let (process, events) = AgentProcess::start(self.launch.clone()).await.expect("it starts");
            (process, Events(events))
        }

        /// The process whose id the script wrote to this file.
        fn pid_in(&self, name: &str) -> i32 {
            let text = std::fs::read_to_string(self.place.path().join(name)).expect("a pid");
            text.trim().parse().expect("a number")
        }
    }

    struct Events(mpsc::Receiver<AgentEvent>);

    impl Events {
        async fn next(&mut self) -> AgentEvent {
            let next = tokio::time::timeout(Duration::from_secs(60), self.0.recv());
            next.await.expect("nothing came for a minute").expect("no event after the last")
        }

        async fn text(&mut self) -> String {
            match self.next().await {
                AgentEvent::Text(text) => text,
                other => panic!("{other:?}"),
            }
        }

        async fn exit(&mut self) -> ProcessExit {
            loop {
                if let AgentEvent::Exited(exit) = self.next().await {
                    assert_eq!(self.0.recv().await, None, "it is the last event");
                    return exit;
                }
            }
        }
    }

    fn is_there(pid: i32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists() && {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z") || rest.is_empty())
        }
    }

    #[tokio::test]
    async fn prompts_go_in_and_answers_come_out() {
        let cli = Cli::python("for line in sys.stdin: say(json.loads(line)['message']['content'])");
        let (process, mut events) = cli.start().await;
        for prompt in ["hello", "two\nlines ✓"] {
            process.prompt(&prompt.into()).await.expect("it takes prompts");
            assert_eq!(events.text().await, prompt);
        }
        process.prompt(&"/compact now".into()).await.expect("it takes prompts");
        assert_eq!(events.text().await, "Message: /compact now");
        assert_eq!(process.end().await, 0);
        assert_eq!(events.exit().await.signal, Some(15));
    }

    #[tokio::test]
    async fn a_prompt_of_200_kb_arrives_whole() {
        let cli = Cli::python("say(str(len(take()['message']['content'])))");
        let (process, mut events) = cli.start().await;
        process.prompt(&"x".repeat(200_000).into()).await.expect("it takes prompts");
        assert_eq!(events.text().await, "200000");
        assert_eq!(events.exit().await.code, Some(0));
        assert!(matches!(process.prompt(&"more".into()).await, Err(ProcessError::Gone)));
    }

    #[tokio::test]
    async fn questions_are_answered_and_what_nobody_understands_is_refused() {
        let cli = Cli::python(
            "put({'request': {'subtype': 'can_use_tool', 'tool_name': 'Bash', 'input': {'command': 'ls'}},\n\
             'request_id': 'q1', 'type': 'control_request'})\n\
             say(json.dumps(take()['response']['response']))\n\
             put({'type': 'control_request', 'request_id': 'q2', 'request': {'subtype': 'brand_new'}})\n\
             answer = take()['response']\n\
             say(answer['subtype'] + ' ' + answer['request_id'])\n\
             say(take()['request']['subtype'])\n\
             say(take()['request']['model'])",
        );
        let (process, mut events) = cli.start().await;
        let AgentEvent::Permission(request) = events.next().await else { panic!("no question") };
        let no = PermissionAnswer::Deny { message: "Not here.".into() };
        process.answer(&request.request_id, &no).await.expect("it takes answers");
        let answer: serde_json::Value = serde_json::from_str(&events.text().await).expect("JSON");
        assert_eq!(answer, json!({"behavior": "deny", "message": "Not here."}));
        assert_eq!(events.text().await, "error q2");
        process.interrupt().await.expect("it takes requests");
        assert_eq!(events.text().await, "interrupt");
        process.set_model(Some("opus")).await.expect("it takes requests");
        assert_eq!(events.text().await, "opus");
    }

    #[tokio::test]
    async fn garbage_and_broken_utf8_are_noise_and_the_next_line_is_read() {
        let cli = Cli::shell(
            r#"printf 'Oops \377\376 \033[31mred\033[0m\n{"type":\n'
               printf '{"type":"assistant","message":{"content":"a\377b"}}\n'; echo last >&2; exit 3"#,
        );
        let (_process, mut events) = cli.start().await;
        let noise = |text: &str| AgentEvent::Noise(UnparsedOutput::NotJson(text.into()));
        assert_eq!(events.next().await, noise("Oops \u{fffd}\u{fffd} red"));
        assert_eq!(events.next().await, noise(r#"{"type":"#));
        assert_eq!(events.text().await, "a\u{fffd}b");
        let tail = "Oops \u{fffd}\u{fffd} red\n{\"type\":\nlast".into();
        assert_eq!(events.next().await, noise("last"));
        assert_eq!(events.exit().await, ProcessExit { code: Some(3), signal: None, tail });
    }

    #[tokio::test]
    async fn a_huge_line_is_dropped_and_counted() {
        let cli = Cli::python("for _ in range(320): sys.stdout.write('x' * 65536)\nprint()\nsay('after')");
        let (_process, mut events) = cli.start().await;
        // The terminal adds a carriage return.
        let too_long = UnparsedOutput::TooLong { bytes: 320 * 65536 + 1 };
        assert_eq!(events.next().await, AgentEvent::Noise(too_long));
        assert_eq!(events.text().await, "after");
    }

    #[tokio::test]
    async fn a_cli_that_says_nothing_ends_when_asked_and_leaves_no_file_and_no_zombie() {
        let cli = Cli::shell("exec cat > /dev/null");
        let (process, mut events) = cli.start().await;
        let pid = process.pid().cast_signed();
        assert!(is_there(pid));
        assert_eq!(process.end().await, 0);
        assert_eq!(events.exit().await, ProcessExit { code: None, signal: Some(15), tail: String::new() });
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert_eq!(std::fs::read_dir(cli.place.path().join("run")).expect("it stays").count(), 0);
    }

    #[tokio::test]
    async fn the_fifo_has_no_name_once_the_cli_speaks() {
        let cli = Cli::shell(r#"echo '{"type":"assistant","message":{"content":"hi"}}'; cat > /dev/null"#);
        let (_process, mut events) = cli.start().await;
        assert_eq!(events.text().await, "hi");
        let run = std::fs::read_dir(cli.place.path().join("run")).expect("the folder").next();
        let run = run.expect("of this run").expect("it can be read").path();
        assert!(run.join("t").exists() && !run.join("in").exists());
    }

    #[tokio::test]
    async fn a_cli_that_dies_before_it_reads_is_told_and_nothing_hangs() {
        let cli = Cli::shell("exit 7");
        let (process, mut events) = cli.start().await;
        // Either is right, depending on who is faster.
        let sent = process.prompt(&"x".repeat(200_000).into()).await;
        assert!(matches!(sent, Ok(()) | Err(ProcessError::Gone)), "{sent:?}");
        assert_eq!(events.exit().await.code, Some(7));
        assert_eq!(process.end().await, 0);
    }

    #[tokio::test]
    async fn a_cli_that_never_reads_gets_a_refusal_and_not_our_memory() {
        let cli = Cli::shell("read -r nothing < /dev/tty");
        let (process, mut events) = cli.start().await;
        let prompt = "x".repeat(100_000).into();
        let mut sent = 0;
        while process.prompt(&prompt).await.is_ok() {
            sent += 1;
            assert!(sent < 100, "the queue has no end");
            tokio::task::yield_now().await;
        }
        process.end().await;
        events.exit().await;
    }

    #[tokio::test]
    async fn what_ignores_every_polite_signal_is_gone_after_the_end() {
        let cli = Cli::shell(
            "trap '' TERM HUP\n\
             setsid sh -c 'trap \"\" TERM HUP; echo $$ > stubborn; while :; do sleep 600; done' < /dev/null &\n\
             env -i setsid sh -c 'trap \"\" TERM HUP; echo $$ > unmarked; while :; do sleep 600; done' < /dev/null &\n\
             until [ -s stubborn ] && [ -s unmarked ]; do sleep 0.01; done\n\
             echo ready; while :; do sleep 600; done",
        );
        let (process, mut events) = cli.start().await;
        assert_eq!(events.next().await, AgentEvent::Noise(UnparsedOutput::NotJson("ready".into())));
        let pids = [process.pid().cast_signed(), cli.pid_in("stubborn"), cli.pid_in("unmarked")];
        assert_eq!(pids.map(is_there), [true; 3]);
        // Itself, its two children, and those of their `sleep`s that had begun.
        let killed = process.end().await;
        assert!(killed >= 3, "{killed}");
        assert_eq!(pids.map(is_there), [false; 3]);
        assert_eq!(events.exit().await.signal, Some(9));
    }

    #[tokio::test]
    async fn a_cli_killed_from_outside_is_told_and_its_orphans_are_ended() {
        let cli = Cli::shell(
            "setsid sh -c 'trap \"\" TERM HUP; echo $$ > orphan; exec sleep 600' < /dev/null > /dev/null 2>&1 &\n\
             until [ -s orphan ]; do sleep 0.01; done; echo ready; read -r nothing",
        );
        let (process, mut events) = cli.start().await;
        events.next().await;
        let orphan = cli.pid_in("orphan");
        let status = std::process::Command::new("kill").args(["-9", &process.pid().to_string()]).status();
        assert!(status.expect("kill").success());
        let exit = events.exit().await;
        assert_eq!((exit.code, exit.signal), (None, Some(9)));
        assert!(!is_there(orphan));
        assert_eq!(process.end().await, 1);
    }

    #[tokio::test]
    async fn a_stranger_who_keeps_the_terminal_open_does_not_delay_the_end() {
        let cli = Cli::shell(
            "env -i setsid sh -c 'trap \"\" HUP; echo $$ > stranger; exec sleep 600' &\n\
             until [ -s stranger ]; do sleep 0.01; done; exit 0",
        );
        let (_process, mut events) = cli.start().await;
        assert_eq!(events.exit().await.code, Some(0));
        let stranger = cli.pid_in("stranger").to_string();
        assert!(std::process::Command::new("kill").args(["-9", &stranger]).status().expect("kill").success());
    }

    #[tokio::test]
    async fn a_slow_receiver_slows_the_cli_and_loses_nothing() {
        let cli = Cli::python("for n in range(5000): say(str(n) + ' ' * 4096)\nopen('done', 'w').close()");
        let (_process, mut events) = cli.start().await;
        let full = async {
            while events.0.len() < CAPACITY {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), full).await.expect("the channel fills");
        assert!(!cli.place.path().join("done").exists(), "20 MB fit nowhere");
        for number in 0..5000 {
            assert_eq!(events.text().await.trim(), number.to_string());
        }
        assert_eq!(events.exit().await.code, Some(0));
    }

    #[tokio::test]
    async fn the_end_does_not_wait_for_a_receiver_and_is_still_the_last_event() {
        let cli = Cli::python("while True: say('more')");
        let (process, mut events) = cli.start().await;
        events.text().await;
        assert_eq!(process.end().await, 0);
        assert_eq!(events.exit().await.signal, Some(15));
    }

    #[tokio::test]
    async fn dropping_the_handle_ends_the_process() {
        let cli = Cli::shell("echo ready; cat > /dev/null");
        let (process, mut events) = cli.start().await;
        events.next().await;
        let pid = process.pid().cast_signed();
        drop(process);
        assert_eq!(events.exit().await.signal, Some(15));
        assert!(!is_there(pid));
    }

    #[tokio::test]
    async fn a_one_shot_prompt_comes_as_argument_or_by_standard_input_and_can_be_interrupted() {
        let script = "#!/usr/bin/env python3\nimport signal, sys, time\n\
            print(len(sys.argv[-1]), len(sys.stdin.read()), flush=True)\n\
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\nprint('ready', flush=True)\n\
            signal.sigwait({signal.SIGINT})\n";
        let tail = async |prompt: String| {
            let cli = Cli::new(PromptMode::OneShot { prompt }, script);
            let (process, mut events) = cli.start().await;
            while events.next().await != AgentEvent::Noise(UnparsedOutput::NotJson("ready".into())) {}
            assert!(process.prompt(&"more".into()).await.is_err());
            process.interrupt().await.expect("it can be interrupted");
            let exit = events.exit().await;
            assert_eq!(exit.code, Some(0));
            exit.tail
        };
        assert_eq!(tail("-x".repeat(60_000)).await, "120000 0\nready");
        let option = "--include-partial-messages".len();
        assert_eq!(tail("-x".repeat(60_001)).await, format!("{option} 120002\nready"));
    }

    #[tokio::test]
    async fn what_cannot_start_says_why() {
        let mut cli = Cli::shell("exit");
        cli.launch.program.command = vec!["no-such-claude".into()];
        let error = AgentProcess::start(cli.launch.clone()).await.expect_err("there is no such program");
        assert_eq!(error.to_string(), "`no-such-claude` was not found on the PATH");
        cli.launch.program.cwd = cli.place.path().join("gone");
        let error = AgentProcess::start(cli.launch.clone()).await.expect_err("there is no such folder");
        assert!(error.to_string().starts_with("opening the working directory: "), "{error}");
        assert_eq!(std::fs::read_dir(cli.place.path().join("run")).expect("it stays").count(), 0);
    }

    #[tokio::test]
    async fn what_a_killed_storkit_left_is_swept_and_other_sessions_are_not() {
        let (ours, other) = (SessionId::random(), SessionId::random());
        let spawn = |name, value: String| {
            std::process::Command::new("sleep").arg("600").env(name, value).spawn().expect("sleep")
        };
        let mut children = [
            spawn("CLAUDE_CODE_SESSION_ID", ours.to_string()),
            spawn("STORKIT_RUN", format!("{ours}/1")),
            spawn("CLAUDE_CODE_SESSION_ID", other.to_string()),
        ];
        assert_eq!(sweep_orphans(std::slice::from_ref(&ours)).await, 2);
        let pids = children.each_ref().map(|child| child.id().cast_signed());
        assert_eq!(pids.map(is_there), [false, false, true]);
        assert_eq!(sweep_orphans(&[ours]).await, 0);
        children[2].kill().expect("it runs");
        for child in &mut children {
            child.wait().expect("it is our child");
        }
    }
}

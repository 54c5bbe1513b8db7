//! Confined processes for real: in a terminal, asked to end, and after the thread that started them is gone.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use agents::{
    claude::{
        AgentEvent, AgentProcess, Launch, LaunchProgram, PermissionRoute, ProcessExit, PromptMode, SessionId,
        SessionStart,
    },
    confine::{
        Bwrap, Confined, Confinement, HostFolders, LandlockWall, NetworkReach, OwnProgram, PortReach, Tenant,
        WalledCommand,
    },
};
use needs::needs;
use tokio::sync::mpsc::Receiver;

use crate::worktree::{fixture::WorktreeFixture, worktrees::Worktree};

/// A story's worktree, and a sandbox around it.
pub(super) fn confined() -> (WorktreeFixture, Worktree, Confined) {
    confined_in(WorktreeFixture::new())
}

fn confined_in(fixture: WorktreeFixture) -> (WorktreeFixture, Worktree, Confined) {
    let worktree = fixture.prepare("7_x");
    let place = worktree.enclose().expect("a place");
    let confinement = Confinement::Bwrap(bwrap(&fixture.root().with_file_name("home")));
    (fixture, worktree, Confined { confinement, place, variables: vec![] })
}

/// The wall of an operator with this home, with all of its parts.
pub(crate) fn bwrap(home: &Path) -> Bwrap {
    let tests = std::env::current_exe().expect("this program");
    // The project may have been cloned below `/tmp`.
    let host = HostFolders { programs: vec![tests.clone()], ..HostFolders::of_home(home) };
    Bwrap { own: Some(own_program(tests)), ..Bwrap::for_host(host) }
}

/// The same by Landlock; `None` where the kernel cannot enforce it.
pub(crate) fn landlock(home: &Path) -> Option<LandlockWall> {
    let Bwrap { own, host, .. } = bwrap(home);
    let wall = LandlockWall { own: own.expect("this program"), host, reach: PortReach::Everything };
    wall.try_out().is_ok().then_some(wall)
}

/// The tests' own program in place of storkit's: it comes to `confined_network::inside_the_sandbox`. The shell hides
/// what the test harness prints on the way there.
pub(crate) fn own_program(tests: PathBuf) -> OwnProgram {
    let shell = ["-c", r#"exec "$@" 3>&1 >/dev/null"#, "sh"].map(OsString::from);
    let test = ["--exact", "worktree::confined_network::inside_the_sandbox", "--nocapture", "--"]
        .map(OsString::from);
    OwnProgram { file: "/bin/sh".into(), arguments: [shell.into(), vec![tests.into()], test.into()].concat() }
}

/// A CLI that is a shell script in the worktree.
fn launch(
    fixture: &WorktreeFixture,
    worktree: &Worktree,
    confined: Confined,
    mode: PromptMode,
    script: &str,
) -> Launch {
    let program = worktree.path().join("cli");
    fs::write(&program, format!("#!/bin/sh\n{script}")).expect("the script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it can run");
    let command = vec![program.to_str().expect("text").into()];
    let mut program = LaunchProgram::new(command, worktree.path(), fixture.project.run_dir());
    program.env = worktree.environment(&confined.confinement);
    let mut launch = Launch::new(program, SessionStart::New(SessionId::random()), mode);
    launch.permissions.route =
        PermissionRoute::Mcp { url: "http://127.0.0.1:1/mcp".into(), token: "s3cret".into() };
    launch.confine = Some(confined);
    launch
}

async fn next(events: &mut Receiver<AgentEvent>) -> AgentEvent {
    let next = tokio::time::timeout(Duration::from_secs(60), events.recv()).await;
    next.expect("nothing came for a minute").expect("no event after the last")
}

async fn exit(events: &mut Receiver<AgentEvent>) -> ProcessExit {
    loop {
        if let AgentEvent::Exited(exit) = next(events).await {
            return exit;
        }
    }
}

const SAY: &str = r#"say() { printf '{"type":"assistant","message":{"content":[{"type":"text","text":"%s"}]}}\n' "$1"; }
"#;

#[tokio::test]
async fn a_confined_agent_takes_prompts_and_is_asked_to_end_before_it_is_killed() {
    needs!(Bubblewrap);
    let (fixture, worktree, confined) = confined();
    takes_prompts_and_is_asked_to_end(&fixture, &worktree, confined).await;
}

pub(super) async fn takes_prompts_and_is_asked_to_end(
    fixture: &WorktreeFixture,
    worktree: &Worktree,
    place: Confined,
) {
    // It waits on a FIFO of its own: a child that it waited in could be met by the end and count as killed.
    let script = format!(
        "{SAY}trap 'echo bye > ended; exit 143' TERM\nmkfifo wait; exec 3<>wait\n\
         read -r line; [ -t 1 ] && say heard\nwhile :; do read -r line <&3; done"
    );
    let launch = launch(fixture, worktree, place, PromptMode::Live, &script);
    let (process, mut events) = AgentProcess::start(launch).await.expect("it starts");
    process.prompt(&"hello".into()).await.expect("it takes prompts");
    assert_eq!(next(&mut events).await, AgentEvent::Text("heard".into()));
    // The number of killed processes proves nothing: bubblewrap's own processes may be met while they exit.
    process.end().await;
    assert_eq!(exit(&mut events).await.code, Some(143));
    assert_eq!(fs::read_to_string(worktree.path().join("ended")).expect("its own end"), "bye\n");
}

#[tokio::test]
async fn an_interrupt_reaches_a_confined_one_shot() {
    needs!(Bubblewrap);
    let (fixture, worktree, confined) = confined();
    is_interrupted(&fixture, &worktree, confined).await;
}

pub(super) async fn is_interrupted(fixture: &WorktreeFixture, worktree: &Worktree, place: Confined) {
    let script = format!("{SAY}trap 'say interrupted; exit 0' INT\nsay ready\nwhile :; do sleep 0.1; done");
    let mode = PromptMode::OneShot { prompt: "hi".into() };
    let (process, mut events) =
        AgentProcess::start(launch(fixture, worktree, place, mode, &script)).await.expect("it starts");
    assert_eq!(next(&mut events).await, AgentEvent::Text("ready".into()));
    process.interrupt().await.expect("it can be interrupted");
    assert_eq!(next(&mut events).await, AgentEvent::Text("interrupted".into()));
    assert_eq!(exit(&mut events).await.code, Some(0));
}

#[tokio::test]
async fn what_ignores_the_request_is_killed_with_all_it_started() {
    needs!(Bubblewrap);
    let (fixture, worktree, place) = confined();
    let script = format!("{SAY}trap '' TERM\nsetsid sleep 600 &\nsay ready\nwhile :; do sleep 600; done");
    let launch = launch(&fixture, &worktree, place, PromptMode::Live, &script);
    let (process, mut events) = AgentProcess::start(launch).await.expect("it starts");
    assert_eq!(next(&mut events).await, AgentEvent::Text("ready".into()));
    let below = agents::tree::descendants(process.pid());
    assert!(below.len() >= 4, "{below:?}");
    process.end().await;
    assert!(below.iter().all(|seen| !seen.is_alive()));
}

#[test]
fn a_confined_process_outlives_the_thread_that_started_it() {
    needs!(Bubblewrap);
    let (_fixture, _worktree, confined) = confined();
    let WalledCommand { argv, scratch, .. } = command(&confined, &["/bin/cat"]);
    let start = move || {
        let mut cat = CatProcess::start(&argv);
        cat.answers("first");
        (cat, fs::read_link("/proc/thread-self").expect("a name"))
    };
    let (mut cat, thread) = std::thread::spawn(start).join().expect("a thread that ends");
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while std::path::Path::new("/proc").join(&thread).exists() && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    // The kernel's signal is on its way now, if there is one; death takes a few answers.
    (0..2_000).for_each(|_| cat.answers("still here"));
    drop(cat.stdin);
    assert!(cat.child.wait().expect("it ends").success());
    drop(scratch);
}

/// As a gate runs it.
pub(super) fn command(confined: &Confined, argv: &[&str]) -> WalledCommand {
    let argv = argv.iter().map(OsString::from).collect();
    confined.command(argv, Tenant::Command { folder: &confined.place.folder }).expect("a wall")
}

/// As an agent runs it.
fn agents_command(confined: &Confined, argv: &[&str]) -> WalledCommand {
    let argv = argv.iter().map(OsString::from).collect();
    confined.command(argv, Tenant::Agent { own: &[], login: false }).expect("a wall")
}

struct CatProcess {
    child: std::process::Child,
    stdin: std::process::ChildStdin,
    stdout: BufReader<std::process::ChildStdout>,
}

impl CatProcess {
    fn start(argv: &[OsString]) -> Self {
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let (stdin, stdout) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        Self { child, stdin, stdout: BufReader::new(stdout) }
    }

    fn answers(&mut self, word: &str) {
        writeln!(self.stdin, "{word}").expect("it lives");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it answers");
        assert_eq!(line.trim_end(), word);
    }
}

#[test]
fn the_exit_code_is_the_commands_and_without_a_network_nothing_answers() {
    needs!(Bubblewrap);
    let (_fixture, worktree, confined) = confined();
    let Confinement::Bwrap(bwrap) = confined.confinement.clone() else { panic!("no bubblewrap") };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    let code = |network: bool, script: &str| {
        let reach = if network { NetworkReach::Everything } else { NetworkReach::Nothing };
        let confinement = Confinement::Bwrap(Bwrap { reach, ..bwrap.clone() });
        let confined = Confined { confinement, ..confined.clone() };
        let WalledCommand { argv, scratch: _scratch, .. } = command(&confined, &["/bin/bash", "-c", script]);
        let output = Command::new(&argv[0]).args(&argv[1..]).output().expect("it starts");
        output.status.code()
    };
    assert_eq!(code(true, "exit 7"), Some(7));
    assert_eq!(code(true, &connect), Some(0));
    assert_ne!(code(false, &connect), Some(0));
    drop(worktree);
}

/// `/tmp` inside is the run's own, and `.storkit` is hidden: the CLI's folder may lie in either, the project in the first.
#[test]
fn the_clis_folder_is_shown_below_tmp_and_in_the_projects_state_and_nothing_beside_it() {
    needs!(Bubblewrap);
    let (fixture, _worktree, confined) = confined_in(WorktreeFixture::within("/tmp".as_ref()));
    let Confinement::Bwrap(bwrap) = confined.confinement.clone() else { panic!("no bubblewrap") };
    fs::write(fixture.root().with_file_name("neighbour"), "secret").expect("a file");
    fs::write(fixture.project.dir().join("bot.toml"), "secret").expect("a file");
    let below_tmp = fixture.root().with_file_name("home").join(".claude");
    let linked = fixture.root().join("linked");
    symlink(&below_tmp, &linked).expect("a link");
    for claude in [below_tmp, linked, fixture.project.run_dir().join("claude")] {
        fs::create_dir_all(claude.join("projects/of-another")).expect("a folder");
        fs::write(claude.join("settings.json"), "{}").expect("a file");
        let host = HostFolders { claude: claude.clone(), ..bwrap.host.clone() };
        let confinement = Confinement::Bwrap(Bwrap { host, ..bwrap.clone() });
        let script = format!(
            "cd '{}' && cat settings.json && ! touch settings.json && ! ls projects/of-another \
             && cd projects/* && touch session && cd '{}' && ! ls a.txt && ! ls ../neighbour && ! ls .storkit/bot.toml",
            claude.display(),
            fixture.root().display()
        );
        let confined = Confined { confinement, ..confined.clone() };
        let WalledCommand { argv, scratch: _scratch, .. } =
            agents_command(&confined, &["/bin/sh", "-c", &script]);
        let output = Command::new(&argv[0]).args(&argv[1..]).output().expect("it starts");
        assert!(output.status.success(), "{}: {output:?}", claude.display());
        let session = fixture.root().join(".storkit/worktrees/.private/7_x/sessions/session");
        assert!(fs::remove_file(session).is_ok());
    }
}

#[test]
fn what_a_machine_cannot_do_is_not_replaced_by_something_weaker() {
    needs!(Bubblewrap);
    use agents::confine::{ConfineChoice, WallSettings};
    let chosen = |confine: ConfineChoice| {
        let wall = WallSettings { confine, ..WallSettings::default() };
        Confinement::chosen(&wall, HostFolders::of_home(Path::new("/nonexistent")))
    };
    assert_eq!(chosen(ConfineChoice::None), Ok(Confinement::None));
    let prefix = vec!["runsc".to_owned(), "do".to_owned()];
    assert_eq!(chosen(ConfineChoice::Prefix(prefix.clone())), Ok(Confinement::Prefix(prefix)));
    assert!(matches!(chosen(ConfineChoice::Bwrap), Ok(Confinement::Bwrap(_))));
    assert!(matches!(chosen(ConfineChoice::Strongest), Ok(Confinement::Bwrap(_))));
}

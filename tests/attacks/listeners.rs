//! Becoming the operator by a listener, reading what storkit holds, and making it deaf.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use e2e::{Program, Serving, Terminal, beside_the_tests};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};

const ATTACKER: &str = include_str!("data/attacker.py");

/// A token that bot.toml sets for monitors.
const MONITOR: &str = "m0nitor-0123456789";

const PATIENCE: Duration = Duration::from_secs(60);

/// A project whose storkit serves, with an attacker among its files.
struct Target {
    program: Program,
    serving: Serving,
}

impl Target {
    fn new() -> Self {
        Self::with("")
    }

    /// With these lines in bot.toml. Agents have no wall, which would stop these attacks as well.
    fn with(toml: &str) -> Self {
        let program = Program::with_stand_in();
        program.write_config(&format!("{toml}\n[wall]\nconfine = \"none\""));
        fs::write(program.file("attacker.py"), ATTACKER).expect("a file");
        let serving = program.serve();
        Self { program, serving }
    }

    fn console(&self) -> String {
        self.program.file(".storkit/run/console.sock").display().to_string()
    }

    /// The operator's token, as `storkit mcp-config` prints it.
    fn token(&self) -> String {
        let output = self.program.run(&["mcp-config"], "");
        let config: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a configuration");
        let token = config["mcpServers"]["storkit"]["headers"]["Authorization"].as_str();
        token.expect("a token").to_owned()
    }

    /// What the attacker finds when a room's agent runs it, with a person's approval.
    fn attack(&self, terminal: &mut Terminal, arguments: &str) -> String {
        // A message grows and is edited, so each attack is known by a number of its own.
        static ATTACKS: AtomicUsize = AtomicUsize::new(1);
        let number = ATTACKS.fetch_add(1, Ordering::Relaxed);
        terminal.say(&format!("bash python3 attacker.py {arguments}; echo attack $(({number} + 1000))"));
        terminal.see("Question");
        terminal.say("yes");
        terminal.see(&format!("attack {}", number + 1000))
    }

    /// Sends these bytes and returns the answer's first line and its rest.
    fn ask(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.serving.port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream.write_all(request.as_bytes()).expect("sent");
        // A stream of events never ends, so only its head is read.
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => answer.extend_from_slice(&buffer[..read]),
                // The end of a child of another test, where all run in one process.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no answer, but {error}"),
            }
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (first, rest) = text.split_once("\r\n").unwrap_or((&text, ""));
        (first.to_owned(), rest.to_owned())
    }

    fn status(&self, request: &str) -> u16 {
        let (first, _) = self.ask(request);
        first.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }
}

#[track_caller]
fn turned_away(result: &str) {
    assert!(result.contains("result: turned away") || result.contains("result: status 403"), "{result}");
}

#[test]
fn an_approved_script_of_a_room_becomes_the_operator_at_the_console() {
    let target = Target::new();
    let mut terminal = target.program.terminal();
    turned_away(&target.attack(&mut terminal, &format!("console {}", target.console())));
    turned_away(&target.attack(&mut terminal, &format!("escaped console {}", target.console())));
}

#[test]
fn a_room_asks_for_the_operators_token() {
    let target = Target::new();
    let mut terminal = target.program.terminal();
    let storkit = beside_the_tests("storkit");
    terminal.say(&format!("bash {} mcp-config 2>&1; echo \"result: $? (o\"ver\")\"", storkit.display()));
    terminal.see("Question");
    terminal.say("yes");
    let said = terminal.see("(over)");
    assert!(!said.contains("Bearer") && said.contains("result: 1 "), "{said}");
}

/// What an earlier storkit, or another project's, left behind: nobody of its family is there any more.
#[test]
fn a_gate_that_outlived_its_storkit_becomes_the_operator_at_the_console() {
    let target = Target::new();
    for mark in ["STORKIT_GATE", "STORKIT_RUN"] {
        let mut gate = Command::new("python3");
        gate.arg(target.program.file("attacker.py")).args(["console", &target.console()]);
        let output = gate.env(mark, "/srv/other/8a3e").output().expect("it runs");
        turned_away(&String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn an_agent_of_one_project_becomes_the_operator_of_another() {
    let (theirs, ours) = (Target::new(), Target::with(&format!("[http]\nmonitor_token = \"{MONITOR}\"")));
    let mut terminal = theirs.program.terminal();
    let (console, token) = (ours.console(), ours.token());
    for escaped in ["", "escaped "] {
        turned_away(&theirs.attack(&mut terminal, &format!("{escaped}console {console}")));
        for (path, token) in [("/mcp", &token), ("/metrics", &token), ("/ws", &token)] {
            let call = format!("{escaped}http {} {path} '{token}'", ours.serving.port);
            turned_away(&theirs.attack(&mut terminal, &call));
        }
        let call = format!("{escaped}http {} /metrics 'Bearer {MONITOR}'", ours.serving.port);
        turned_away(&theirs.attack(&mut terminal, &call));
    }
}

#[test]
fn an_agent_uses_a_token_of_the_operator_that_it_has_found() {
    let target = Target::new();
    let mut terminal = target.program.terminal();
    let token = target.token();
    for escaped in ["", "escaped "] {
        for path in ["/mcp", "/metrics", "/ws"] {
            let call = format!("{escaped}http {} {path} '{token}'", target.serving.port);
            turned_away(&target.attack(&mut terminal, &call));
        }
    }
    // The same token is good for a program of the operator's.
    let metrics = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n");
    assert_eq!(target.status(&metrics), 200);
}

#[test]
fn a_token_of_the_operator_lies_in_the_project() {
    let target = Target::new();
    let token = target.token();
    let secret = token.strip_prefix("Bearer ").expect("a bearer token");
    let found = Command::new("grep").args(["-rlF", secret]).arg(target.program.project()).output();
    assert_eq!(String::from_utf8_lossy(&found.expect("grep runs").stdout), "");
}

#[test]
fn a_page_on_another_port_reads_the_events() {
    let target = Target::new();
    let port = target.serving.port;
    let token = target.token();
    let follow = |more: &str| {
        target.status(&format!(
            "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        ))
    };
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    let known = format!("Authorization: {token}\r\n");
    assert_eq!(follow(&format!("{host}{known}")), 101, "the operator's program");
    assert_eq!(follow(&format!("{host}{known}Origin: http://127.0.0.1:{port}\r\n")), 101);
    assert_eq!(follow(&host), 401, "no token");
    assert_eq!(follow(&format!("{host}Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n")), 401);
    for page in ["http://localhost:5173", "http://127.0.0.1", "http://evil.example", "null"] {
        assert_eq!(follow(&format!("{host}{known}Origin: {page}\r\n")), 403, "{page}");
    }
    assert_eq!(follow(&format!("{host}{known}Sec-Fetch-Site: same-site\r\n")), 403);
    let token_in_the_address = format!("GET /ws?token={} HTTP/1.1\r\n{host}\r\n", &token["Bearer ".len()..]);
    assert_eq!(target.status(&token_in_the_address), 401, "addresses end up in logs");
}

#[test]
fn a_page_rebinds_its_name_to_this_machine() {
    let target = Target::new();
    let token = target.token();
    let port = target.serving.port;
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "0.0.0.0"] {
        for path in ["/health", "/metrics", "/ws", "/mcp", "/nothing"] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: {token}\r\n\r\n");
            assert_eq!(target.status(&request), 403, "{host}{path}");
        }
    }
    let absolute = format!("GET http://evil.example/health HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    assert_eq!(target.status(&absolute), 403);
    assert_eq!(target.status(&format!("GET /nothing HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n")), 404);
}

/// The command as a process of storkit's user that has no power over others.
fn without_capabilities(command: &[&str]) -> Output {
    let strip = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"];
    let mut run = match rustix::process::getuid().is_root() {
        true => Command::new("setpriv"),
        false => Command::new("env"),
    };
    if rustix::process::getuid().is_root() {
        run.args(strip);
    }
    run.args(command).output().expect("it runs")
}

#[test]
fn a_process_of_the_same_user_reads_storkits_secrets() {
    let target = Target::new();
    let pid = target.serving.pid();
    // root may read this, and finds no secret: they are not there any more.
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let environment = String::from_utf8_lossy(&environment);
    for secret in [e2e::KEY, e2e::TOKEN] {
        assert!(!environment.contains(secret), "{environment}");
    }
    for file in ["environ", "maps", "auxv", "syscall", "io"] {
        let read = without_capabilities(&["head", "-c", "1", &format!("/proc/{pid}/{file}")]);
        assert!(!read.status.success() || read.stdout.is_empty(), "{file}: {read:?}");
    }
    let opened = without_capabilities(&["sh", "-c", &format!("exec 3< /proc/{pid}/mem")]);
    assert!(!opened.status.success(), "{opened:?}");
    let descriptors = without_capabilities(&["readlink", &format!("/proc/{pid}/fd/0")]);
    assert!(!descriptors.status.success(), "{descriptors:?}");
    let attacker = target.program.file("attacker.py").display().to_string();
    let traced = without_capabilities(&["python3", &attacker, "trace", &pid.to_string()]);
    turned_away(&String::from_utf8_lossy(&traced.stdout));
    // Its agents reach the model all the same, by a key of their own.
    let mut terminal = target.program.terminal();
    terminal.say("env ANTHROPIC_API_KEY");
    terminal.see("storkit-run-");
}

#[test]
fn a_restart_puts_the_secrets_back_into_the_environment() {
    let mut target = Target::new();
    let mut terminal = target.program.terminal();
    terminal.say("restart");
    terminal.see("restart");
    target.serving.serves_again();
    let environment = fs::read(format!("/proc/{}/environ", target.serving.pid())).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&environment).contains(e2e::KEY));
    let file = format!("/proc/{}/environ", target.serving.pid());
    let read = without_capabilities(&["head", "-c", "1", &file]);
    assert!(!read.status.success(), "{read:?}");
    let mut terminal = target.program.terminal();
    terminal.say("env ANTHROPIC_API_KEY");
    terminal.see("storkit-run-");
}

#[test]
fn a_crash_writes_the_secrets_to_disk() {
    let program = Program::with_stand_in();
    let line = program.command(&["serve"]);
    let storkit = line.get_program().to_owned();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited; exec \"$0\" serve --port 0"]).arg(storkit);
    shell.current_dir(program.project()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    for (name, value) in line.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let mut child = shell.spawn().expect("it starts");
    let mut log = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
    let mut said = String::new();
    while !said.contains("storkit serves") {
        assert!(std::io::BufRead::read_line(&mut log, &mut said).expect("a line") > 0, "{said}");
    }
    kill_process(Pid::from_child(&child), Signal::ABORT).expect("it lives");
    let status = child.wait().expect("it ends");
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped(), "{status:?}");
}

/// A connection that holds a place and never brings a whole request.
fn attack_connection(port: u16, opening: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    // The listener may have closed it already, which is as good.
    let _ = stream.write_all(opening);
    Some(stream)
}

#[test]
fn a_flood_of_connections_makes_the_local_listener_deaf() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many files as the system gives");
    let target = Target::with(&format!("[http]\nmonitor_token = \"{MONITOR}\""));
    let port = target.serving.port;
    let head = format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {MONITOR}\r\n");
    let huge = format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let pipelined = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2_000);
    let kinds: [(&str, Vec<u8>); 7] = [
        ("idle", Vec::new()),
        ("slow headers", b"GET /health HTTP/1.1\r\nHost: loc".to_vec()),
        ("a body that never comes", format!("{head}Content-Length: 1000000\r\n\r\n{{").into_bytes()),
        ("a body of tiny chunks", format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").into_bytes()),
        ("huge headers", huge.into_bytes()),
        ("pipelined requests that are not read", pipelined.into_bytes()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
    ];
    let metrics =
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {MONITOR}\r\n\r\n");
    for (kind, opening) in &kinds {
        let held: Vec<TcpStream> = (0..1_200).filter_map(|_| attack_connection(port, opening)).collect();
        assert!(held.len() > 1_100, "{kind}: {} connections", held.len());
        for _ in 0..20 {
            assert_eq!(target.status("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200, "{kind}");
        }
        assert_eq!(target.status(&metrics), 200, "{kind}");
        let output = target.program.run(&["chat"], "echo still here\n");
        assert!(String::from_utf8_lossy(&output.stdout).contains("echo: still here"), "{kind}");
        held.iter().for_each(|stream| _ = stream.shutdown(Shutdown::Both));
    }
    assert_eq!(target.serving.end().0, Some(0));
}

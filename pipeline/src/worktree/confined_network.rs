//! The network of confined processes for real: what is listed answers, all else is refused or not there.
//!
//! `127.0.0.2` plays a host somewhere else: clients go to it by the proxy, which they do not for `127.0.0.1`.

use std::{
    ffi::OsString,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use agents::confine::{
    AllowedHost, Bwrap, Confined, Confinement, EgressProxy, HostDecision, HostGate, HostTarget,
    NetworkAccess, NetworkPlan, NetworkReach, OpenHosts, WalledCommand,
};
use futures::future::BoxFuture;
use needs::needs;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};
use tokio_util::sync::CancellationToken;

use crate::{
    gates::GateRunner,
    worktree::{
        confined::{command, confined, is_interrupted, landlock, takes_prompts_and_is_asked_to_end},
        fixture::WorktreeFixture,
        worktrees::Worktree,
    },
};

/// Not a test by itself: what forwards inside a sandbox, since this program has no subcommands.
#[test]
fn inside_the_sandbox() {
    let own: Vec<OsString> = std::env::args_os().collect();
    let Some(at) = own.iter().position(|word| word == "--") else { return };
    let words = &own[at + 1..];
    let words = match words.iter().position(|word| word == "--") {
        Some(dashes) => {
            let back = ["/bin/sh", "-c", r#"exec "$@" >&3 3>&-"#, "sh"].map(OsString::from);
            [&words[..=dashes], &back[..], &words[dashes + 1..]].concat()
        }
        None => words.to_vec(),
    };
    let why = agents::confine::enter(&own[..=at], &words).expect("a subcommand");
    eprintln!("{why}");
    std::process::exit(125);
}

/// A web server that answers every request with what it was asked.
struct EchoServer(SocketAddr);

impl EchoServer {
    fn start(address: &str) -> Self {
        let listener =
            TcpListener::bind((address.parse::<IpAddr>().expect("an address"), 0)).expect("a port");
        let own = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
                    head.push(byte[0]);
                }
                let length = head.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
                );
                let _ = stream.write_all(&head);
            }
        });
        Self(own)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0)
    }

    fn entry(&self) -> String {
        self.0.to_string()
    }
}

/// A sandbox with a part of the network.
struct NetworkRoom {
    _fixture: WorktreeFixture,
    _worktree: Worktree,
    confined: Confined,
    egress: Option<Arc<EgressProxy>>,
}

impl NetworkRoom {
    fn new(hosts: &[&str]) -> Self {
        let hosts = hosts.iter().map(|host| AllowedHost::parse(host).expect("a host")).collect();
        Self::with(NetworkPlan::new(NetworkAccess::Only(hosts), "`network` of the agent `coder`"))
    }

    fn with(plan: NetworkPlan) -> Self {
        Self::limited(confined(), plan)
    }

    fn limited(
        (fixture, worktree, confined): (WorktreeFixture, Worktree, Confined),
        plan: NetworkPlan,
    ) -> Self {
        let (confined, egress) = confined.limited(plan).expect("it can be kept");
        Self { _fixture: fixture, _worktree: worktree, confined, egress }
    }

    fn command(&self, argv: &[&str]) -> Command {
        let WalledCommand { argv, scratch, environment } = command(&self.confined, argv);
        // Removed by the next `enclose`, as after a kill.
        if let Some(scratch) = scratch {
            std::mem::forget(scratch);
        }
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).envs(environment).stdin(Stdio::null());
        command
    }

    async fn run(&self, argv: &[&str]) -> Output {
        let mut command = self.command(argv);
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it starts")
    }

    async fn curl(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(&[&["curl", "-sS", "--max-time", "60"], arguments].concat()).await;
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    fn refused(&self) -> Option<String> {
        self.egress.as_ref().and_then(|egress| egress.refusals())
    }
}

#[tokio::test]
async fn a_listed_host_is_reached_by_the_proxy_and_no_other() {
    needs!(Bubblewrap);
    let (listed, other) = (EchoServer::start("127.0.0.2"), EchoServer::start("127.0.0.2"));
    let room = NetworkRoom::new(&[&listed.entry()]);
    let (code, text) = room.curl(&[&listed.url("/a?b=c")]).await;
    assert_eq!((code, text.contains("GET /a?b=c HTTP/1.1")), (Some(0), true), "{text}");
    // A tunnel, as for HTTPS.
    let (code, text) = room.curl(&["--proxytunnel", &listed.url("/tunnel")]).await;
    assert_eq!((code, text.contains("GET /tunnel")), (Some(0), true), "{text}");
    assert_eq!(room.refused(), None);

    let sentence =
        format!("storkit refuses {}: it is not listed in `network` of the agent `coder`.", other.0);
    let (_, text) = room.curl(&["-i", &other.url("/")]).await;
    assert!(text.starts_with("HTTP/1.1 403 storkit refuses"), "{text}");
    assert!(text.contains(&sentence) && !text.contains("200 OK"), "{text}");
    let (code, text) = room.curl(&["-v", "--proxytunnel", &other.url("/")]).await;
    assert!(code != Some(0) && text.contains(&sentence), "{text}");
    // Each host once, however often it was asked for; and told once.
    let told = room.refused().expect("something was refused");
    assert_eq!(told.matches(&other.0.to_string()).count(), 1, "{told}");
    assert_eq!(room.refused(), None);
}

#[tokio::test]
async fn the_host_of_the_address_counts_and_not_the_header() {
    needs!(Bubblewrap);
    let (listed, other) = (EchoServer::start("127.0.0.2"), EchoServer::start("127.0.0.2"));
    let room = NetworkRoom::new(&[&listed.entry()]);
    let header = format!("Host: {}", other.0);
    let (_, text) = room.curl(&["-H", &header, "-H", "Proxy-Authorization: x", &listed.url("/")]).await;
    let lower = text.to_lowercase();
    assert!(
        lower.contains(&format!("host: {}", listed.0)) && !lower.contains(&other.0.to_string()),
        "{text}"
    );
    assert!(!lower.contains("proxy-"), "{text}");
    let (_, text) = room.curl(&[&format!("http://{}@{}/", listed.0, other.0)]).await;
    assert!(text.contains("storkit refuses"), "{text}");
}

#[tokio::test]
async fn nothing_is_reached_past_the_proxy() {
    needs!(Bubblewrap);
    let (listed, local) = (EchoServer::start("127.0.0.2"), EchoServer::start("127.0.0.1"));
    let room = NetworkRoom::new(&[&listed.entry()]);
    for url in [listed.url("/"), local.url("/")] {
        let (code, text) = room.curl(&["--noproxy", "*", &url]).await;
        assert_eq!(code, Some(7), "{text}");
    }
    let (code, text) = room.curl(&["--noproxy", "*", "http://crates.io/"]).await;
    assert_eq!(code, Some(6), "there is nothing to look names up by: {text}");
}

#[tokio::test]
async fn a_listed_port_of_this_machine_is_at_the_same_port_inside_and_its_neighbour_is_not() {
    needs!(Bubblewrap);
    let (listed, other) = (EchoServer::start("127.0.0.1"), EchoServer::start("127.0.0.1"));
    let (port, other) = (listed.0.port(), other.0.port());
    let room = NetworkRoom::new(&[&format!("localhost:{port}")]);
    // Neither goes by the proxy: `NO_PROXY` names both.
    for host in ["localhost", "127.0.0.1"] {
        let (code, text) = room.curl(&["-4", &format!("http://{host}:{port}/x")]).await;
        assert_eq!((code, text.contains("GET /x")), (Some(0), true), "{text}");
        let (code, text) = room.curl(&["-4", &format!("http://{host}:{other}/x")]).await;
        assert_eq!(code, Some(7), "{text}");
    }
    // By the proxy only the very name.
    let by_proxy = |host: &str, port: u16| format!("http://{host}:{port}/x");
    let (_, text) = room.curl(&["--noproxy", "", &by_proxy("localhost", port)]).await;
    assert!(text.contains("GET /x"), "{text}");
    let (_, text) = room.curl(&["--noproxy", "", &by_proxy("127.0.0.1", port)]).await;
    assert!(text.contains("storkit refuses 127.0.0.1"), "{text}");
}

#[tokio::test]
async fn an_agent_with_no_network_reaches_its_model_and_its_tools_only() {
    needs!(Bubblewrap);
    let (api, tools) = (EchoServer::start("127.0.0.2"), EchoServer::start("127.0.0.1"));
    let room = NetworkRoom::with(NetworkPlan {
        needs: vec![AllowedHost::exact("127.0.0.2", api.0.port()).expect("a host")],
        own: Some(tools.0),
        ..NetworkPlan::new(NetworkAccess::Only(vec![]), "`network` of the agent `coder`")
    });
    let (_, text) = room.curl(&[&api.url("/v1/messages")]).await;
    assert!(text.contains("GET /v1/messages"), "{text}");
    let (_, text) = room.curl(&[&tools.url("/mcp")]).await;
    // It checks the header, so that has to be as it was sent.
    assert!(
        text.contains("GET /mcp") && text.to_lowercase().contains(&format!("host: {}", tools.0)),
        "{text}"
    );
    for path in ["/ws", "/metrics", "/mcp/../ws"] {
        let (_, text) = room.curl(&["--path-as-is", &tools.url(path)]).await;
        assert!(text.contains("Only /mcp, /messages and /calls are reached"), "{text}");
    }
    let (_, text) = room.curl(&["http://crates.io/"]).await;
    assert!(text.contains("storkit refuses crates.io:80"), "{text}");
}

/// Answers `yes` to everybody who asks, or `no`.
struct TestGate {
    says: HostDecision,
    asked: Mutex<Vec<String>>,
}

impl HostGate for TestGate {
    fn decide(&self, target: HostTarget) -> BoxFuture<'static, HostDecision> {
        self.asked.lock().expect("no panic").push(target.to_string());
        let says = self.says.clone();
        Box::pin(async { says })
    }
}

impl NetworkRoom {
    fn asking(says: HostDecision) -> (Self, Arc<TestGate>) {
        let gate = Arc::new(TestGate { says, asked: Mutex::default() });
        let open = OpenHosts { registries: Vec::new(), gate: Some(gate.clone()) };
        let plan = NetworkPlan::new(NetworkAccess::default(), "`network` of the agent `coder`");
        (Self::with(NetworkPlan { open, ..plan }), gate)
    }

    /// The answers of the proxy to `CONNECT` with each of these, byte for byte.
    async fn connects(&self, targets: &[String]) -> Vec<String> {
        let script = r#"for target; do
            exec 3<>/dev/tcp/127.0.0.1/${HTTPS_PROXY##*:}
            printf 'CONNECT %s HTTP/1.1\r\n\r\n' "$target" >&3
            read -r line <&3; echo "$line"; exec 3>&-
        done"#;
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        let output = self.run(&[&["bash", "-c", script, "bash"], &targets[..]].concat()).await;
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn no_answer_of_a_person_opens_the_machines_own_network() {
    needs!(Bubblewrap);
    let local = EchoServer::start("127.0.0.2");
    let (room, gate) = NetworkRoom::asking(HostDecision::Allowed);
    let port = local.0.port();
    let targets: Vec<String> = [
        "127.0.0.2",
        "2130706434",
        "0x7f000002",
        "0177.0.0.2",
        "127.2",
        "[::ffff:127.0.0.2]",
        "[::ffff:7f00:2]",
        "[64:ff9b::7f00:2]",
        "[2002:7f00:2::]",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "localhost",
        "LocalHost.",
        "a.localhost",
        "169.254.169.254",
        "2852039166",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        "metadata",
        "10.0.0.1",
        "good.example@127.0.0.2",
    ]
    .map(|host| format!("{host}:{port}"))
    .into();
    let said = room.connects(&targets).await;
    assert_eq!(said.len(), targets.len(), "{said:?}");
    for (target, line) in targets.iter().zip(&said) {
        assert!(line.starts_with("HTTP/1.1 403 ") || line.starts_with("HTTP/1.1 400 "), "{target}: {line}");
    }
    assert_eq!(*gate.asked.lock().expect("no panic"), Vec::<String>::new(), "nobody is even asked");
    // A name is asked for, in the form in which it is compared, and looked up only then.
    let said = room.connects(&["Not.There.invalid:8443".into()]).await;
    assert!(said[0].starts_with("HTTP/1.1 502 storkit cannot reach"), "{said:?}");
    assert_eq!(*gate.asked.lock().expect("no panic"), ["not.there.invalid:8443"]);
}

#[tokio::test]
async fn a_name_is_not_looked_up_before_it_is_allowed() {
    needs!(Bubblewrap);
    let (room, gate) = NetworkRoom::asking(HostDecision::Refused("nobody answered".into()));
    let secret: String = "s3cret.exfil.invalid:443".into();
    let said = room.connects(&[secret.clone(), secret.clone()]).await;
    for line in &said {
        assert!(
            line.starts_with("HTTP/1.1 403 storkit refuses s3cret.exfil.invalid:443: nobody answered"),
            "{line}"
        );
    }
    assert_eq!(gate.asked.lock().expect("no panic").len(), 1, "once for the run");
    let told = room.refused().expect("it was refused");
    assert!(told.contains("s3cret.exfil.invalid:443") && told.contains("answer `always`"), "{told}");
}

#[tokio::test]
async fn exit_code_signals_and_children_are_the_commands_own() {
    needs!(Bubblewrap);
    let room = NetworkRoom::new(&["crates.io"]);
    let output = room.run(&["sh", "-c", "echo out; echo err >&2; exit 7"]).await;
    assert_eq!(output.status.code(), Some(7));
    assert_eq!((output.stdout, output.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
    assert_eq!(room.run(&["sh", "-c", "kill -KILL $$"]).await.status.code(), Some(137));
    // Whoever waits for all its children waits for what it started itself.
    assert_eq!(room.run(&["perl", "-e", "exit(wait() == -1 ? 3 : 4)"]).await.status.code(), Some(3));
    assert_eq!(room.run(&["/no/such/program"]).await.status.code(), Some(127));
}

#[tokio::test]
async fn an_agent_without_the_network_has_its_terminal_and_is_asked_to_end() {
    needs!(Bubblewrap);
    let NetworkRoom { _fixture: fixture, _worktree: worktree, confined, egress: _egress } =
        NetworkRoom::new(&["crates.io"]);
    takes_prompts_and_is_asked_to_end(&fixture, &worktree, confined).await;
}

#[tokio::test]
async fn an_interrupt_reaches_an_agent_without_the_network() {
    needs!(Bubblewrap);
    let NetworkRoom { _fixture: fixture, _worktree: worktree, confined, egress: _egress } =
        NetworkRoom::new(&["crates.io"]);
    is_interrupted(&fixture, &worktree, confined).await;
}

async fn gate(network: NetworkAccess, line: &str) -> (Option<i32>, String) {
    let (_fixture, worktree, confined) = confined();
    let gates = GateRunner { commands: vec![line.into()], ..GateRunner::default() };
    let gates = gates.kept_in(&confined, &network, "`gate_network`").expect("it can be kept");
    let report = gates.run(worktree.path(), "", &CancellationToken::new()).await.expect("it runs");
    let result = &report.results[0];
    (result.code, result.tail.clone())
}

#[tokio::test]
async fn gates_have_nothing_or_what_is_listed_and_say_what_was_refused() {
    needs!(Bubblewrap);
    let (listed, other) = (EchoServer::start("127.0.0.2"), EchoServer::start("127.0.0.2"));
    let ask = format!("curl -sSf {} && ! curl -sSf {}", listed.url("/a"), other.url("/b"));
    assert_eq!(gate(NetworkAccess::All, &format!("curl -sSf {}", other.url("/b"))).await.0, Some(0));
    let (code, tail) =
        gate(NetworkAccess::Only(vec![AllowedHost::parse(&listed.entry()).expect("a host")]), &ask).await;
    assert_eq!(code, Some(0), "{tail}");
    let told = format!("Blocked access to `{}`: not listed in `gate_network`.\n", other.0);
    assert!(tail.ends_with(&told), "{tail}");
    // Without any there is no proxy either, and no loopback but one of its own.
    let (code, tail) = gate(NetworkAccess::Only(vec![]), &format!("curl -sSf {}", listed.url("/a"))).await;
    assert_eq!(code, Some(7), "{tail}");
    let (code, tail) =
        gate(NetworkAccess::Only(vec![]), "env | grep -i _proxy; grep -c : /proc/net/dev").await;
    assert_eq!((code, tail.as_str()), (Some(0), "1\n"));
}

#[test]
fn where_nothing_can_keep_it_nothing_is_started() {
    needs!(Bubblewrap);
    let missing = Bwrap { program: "/no/such/bwrap".into(), ..Bwrap::for_home(Path::new("/")) };
    let limited = NetworkAccess::Only(vec![]);
    let key = "`network` of the agent `coder`";
    let why = Confinement::Bwrap(missing).can_limit(&limited, key).expect_err("it is missing");
    insta::assert_snapshot!(why, @"`network` of the agent `coder` cannot be enforced: bubblewrap is not installed. On Debian or Ubuntu: `sudo apt-get install bubblewrap`. Fix that, or set it to `true`.");
    for open in [Confinement::None, Confinement::Prefix(vec!["runsc".into()])] {
        assert!(open.can_limit(&limited, key).is_err());
        assert_eq!(open.can_limit(&NetworkAccess::All, key), Ok(()));
    }
}

#[tokio::test]
async fn the_way_out_ends_with_its_run_and_open_connections_too() {
    needs!(Bubblewrap);
    let local = EchoServer::start("127.0.0.2");
    let room = NetworkRoom::new(&[&local.entry()]);
    let NetworkReach::Through(folder) = room.egress.as_ref().expect("a way out").reach() else {
        panic!("no way out")
    };
    let mut stream = UnixStream::connect(folder.join("proxy")).await.expect("it listens");
    let ask = format!("CONNECT {} HTTP/1.1\r\n\r\n", local.0);
    stream.write_all(ask.as_bytes()).await.expect("it reads");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("it answers");
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(room);
    let rest = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut vec![])).await;
    assert!(rest.is_ok(), "the tunnel is still open");
    assert!(!folder.exists());
}

#[tokio::test]
async fn what_somebody_set_and_nothing_can_enforce_starts_nothing() {
    let fixture = WorktreeFixture::new();
    let worktree = fixture.prepare("7_x");
    for confinement in [Confinement::None, Confinement::Prefix(vec!["env".into()])] {
        let place = worktree.enclose().expect("a place");
        let confined = Confined { confinement, place, variables: vec![] };
        let limited = |access| confined.limited(NetworkPlan::new(access, "`relay.network`"));
        let listed = vec![AllowedHost::parse("example.org").expect("a host")];
        let set =
            [NetworkAccess::Ask(Vec::new()), NetworkAccess::Ask(listed.clone()), NetworkAccess::Only(listed)];
        for access in set {
            let why = limited(access.clone()).err().unwrap_or_else(|| panic!("{access:?} starts"));
            assert!(why.starts_with("`relay.network` cannot be enforced: "), "{why}");
        }
        for access in [NetworkAccess::Unset, NetworkAccess::All] {
            assert!(limited(access).is_ok_and(|(_, proxy)| proxy.is_none()));
        }
    }
}

/// Behind Landlock, where people allow every host; `None` where the kernel cannot limit ports.
fn behind_landlock(hosts: &[&str]) -> Option<(NetworkRoom, Arc<TestGate>)> {
    let fixture = WorktreeFixture::new();
    let worktree = fixture.prepare("7_x");
    let confinement = Confinement::Landlock(landlock(&fixture.root().with_file_name("home"))?);
    if !confinement.limits(&NetworkAccess::default()) {
        return None;
    }
    let confined = Confined { confinement, place: worktree.enclose().expect("a place"), variables: vec![] };
    let gate = Arc::new(TestGate { says: HostDecision::Allowed, asked: Mutex::default() });
    let hosts = hosts.iter().map(|host| AllowedHost::parse(host).expect("a host")).collect();
    let plan = NetworkPlan::new(NetworkAccess::Ask(hosts), "`gate_network`");
    let plan = NetworkPlan { open: OpenHosts { registries: Vec::new(), gate: Some(gate.clone()) }, ..plan };
    Some((NetworkRoom::limited((fixture, worktree, confined), plan), gate))
}

#[tokio::test]
async fn behind_landlock_a_listed_host_is_reached_by_the_proxy_and_no_other_port_at_all() {
    let (listed, other, local) =
        (EchoServer::start("127.0.0.2"), EchoServer::start("127.0.0.2"), EchoServer::start("127.0.0.1"));
    let open = EchoServer::start("127.0.0.1");
    let Some((room, gate)) = behind_landlock(&[&listed.entry(), &format!("localhost:{}", open.0.port())])
    else {
        return;
    };
    let (code, text) = room.curl(&[&listed.url("/a")]).await;
    assert_eq!((code, text.contains("GET /a HTTP/1.1")), (Some(0), true), "{text}");
    let (code, text) = room.curl(&["--proxytunnel", &listed.url("/tunnel")]).await;
    assert_eq!((code, text.contains("GET /tunnel")), (Some(0), true), "{text}");
    assert!(!text.to_lowercase().contains("proxy-authorization"), "{text}");
    let (code, text) = room.curl(&["-4", &format!("http://localhost:{}/own", open.0.port())]).await;
    assert_eq!((code, text.contains("GET /own")), (Some(0), true), "{text}");
    for server in [&listed, &other, &local] {
        let (code, text) = room.curl(&["--noproxy", "*", &server.url("/")]).await;
        assert_eq!(code, Some(7), "{text}");
    }
    let (_, text) = room.curl(&["--noproxy", "", "-i", &local.url("/")]).await;
    assert!(text.contains("403 storkit refuses 127.0.0.1"), "{text}");
    assert_eq!(
        *gate.asked.lock().expect("no panic"),
        Vec::<String>::new(),
        "nobody is asked about this machine"
    );
}

#[tokio::test]
async fn behind_landlock_nothing_goes_out_but_by_tcp() {
    let Some((room, _gate)) = behind_landlock(&[]) else { return };
    let other = EchoServer::start("127.0.0.2");
    let script = r#"
import socket, sys
for family, kind, protocol in [(2, 2, 0), (2, 3, 1), (2, 3, 255), (10, 2, 0), (10, 3, 58), (2, 1, 262), (2, 1, 132), (2, 5, 132),
                               (2, 6, 33), (43, 1, 0), (17, 3, 0), (1, 1, 0), (40, 1, 0), (38, 5, 0), (16, 3, 16), (2, 2 | 2048, 0)]:
    try: socket.socket(family, kind, protocol); print("made", family, kind, protocol)
    except OSError: pass
def tries(what, act):
    try: act(); print("did", what)
    except OSError: pass
fast = socket.socket()
tries("fast open", lambda: fast.sendto(b"GET / HTTP/1.0\r\n\r\n", 0x20000000, ("127.0.0.2", int(sys.argv[1]))))
fast = socket.socket()
tries("fast open by message", lambda: fast.sendmsg([b"x"], [], 0x20000000, ("127.0.0.2", int(sys.argv[1]))))
later = socket.socket(); later.setsockopt(6, 30, 1)
tries("fast open at connect", lambda: later.connect(("127.0.0.2", int(sys.argv[1]))))
six = socket.socket(socket.AF_INET6)
tries("a mapped address", lambda: six.connect(("::ffff:127.0.0.2", int(sys.argv[1]))))
tries("a server on a known port", lambda: socket.socket().bind(("127.0.0.1", 18099)))
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen()
socket.getaddrinfo("127.0.0.1", 80)
print("end")
"#;
    let output = room.run(&["python3", "-c", script, &other.0.port().to_string()]).await;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "end\n");
}

/// With a thread for the proxy: this one waits for curl.
#[tokio::test(flavor = "multi_thread")]
async fn behind_landlock_the_proxy_is_for_its_own_process_alone() {
    let listed = EchoServer::start("127.0.0.2");
    let Some((room, _gate)) = behind_landlock(&[&listed.entry()]) else { return };
    let output = room.run(&["sh", "-c", "echo $HTTP_PROXY"]).await;
    let proxy = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let (start, address) = proxy.split_once('@').expect("an address with a password");
    for proxy in [
        format!("http://{address}"),
        format!("http://storkit:wrong@{address}"),
        format!("{start}x@{address}"),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "--max-time", "60", "-x", &proxy, &listed.url("/")]);
        // The proxy runs in this test's own thread.
        let output = tokio::task::spawn_blocking(move || curl.output()).await.expect("no panic");
        let output = output.expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.starts_with("HTTP/1.1 407 "), "{proxy}: {text}");
    }
    assert!(!format!("{:?}", room.confined).contains(&start["http://storkit:".len()..]), "it is in no log");
}

#[test]
fn what_landlock_cannot_keep_whole_is_not_started() {
    let fixture = WorktreeFixture::new();
    let Some(wall) = landlock(&fixture.root().with_file_name("home")) else { return };
    let wall = Confinement::Landlock(wall);
    for hosts in [vec![], vec![AllowedHost::parse("crates.io").expect("a host")]] {
        let why = wall.can_limit(&NetworkAccess::Only(hosts), "`gate_network`").expect_err("it cannot");
        assert!(
            why.starts_with("`gate_network` cannot be enforced: ") && why.contains("bubblewrap"),
            "{why}"
        );
    }
    assert!(wall.network_gap().is_some());
}

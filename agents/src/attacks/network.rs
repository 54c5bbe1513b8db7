//! Attacks on sockets, and ways out.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddr, UnixStream},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::Url;

use super::targets::AttackTargets;

/// Loopback connections answer at once, and closed ports refuse at once.
const PATIENCE: Duration = Duration::from_secs(3);

const SHORTLY: Duration = Duration::from_millis(300);

/// Belongs to nobody (RFC 5737). A UDP socket that is connected sends nothing: it only asks the kernel for a way.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// A name that no server knows (RFC 6761).
const UNLISTED: &str = "canary.invalid:443";

pub(super) fn path_sockets(targets: &AttackTargets) -> Vec<String> {
    let reached = targets.sockets.iter().filter(|path| UnixStream::connect(path).is_ok());
    reached.map(|path| path.display().to_string()).collect()
}

pub(super) fn abstract_sockets(targets: &AttackTargets) -> Vec<String> {
    let address = UnixAddr::from_abstract_name(&targets.abstract_socket);
    let reached = address.is_ok_and(|address| UnixStream::connect_addr(&address).is_ok());
    reached.then(|| format!("@{}", targets.abstract_socket)).into_iter().collect()
}

/// The console greets a terminal with its rooms, and a process that it refuses with a reason.
pub(super) fn attaches_to_console(targets: &AttackTargets) -> Vec<String> {
    let asks = |mut console: UnixStream| {
        console.set_read_timeout(Some(PATIENCE)).ok()?;
        console.write_all(b"{\"type\":\"ask_mcp_config\"}\n").ok()?;
        answer(&mut console, |text| text.contains('\n'))
    };
    let answered = UnixStream::connect(&targets.operator.console).ok().and_then(asks).unwrap_or_default();
    answered.contains("mcpServers").then(|| "the operator's token".to_owned()).into_iter().collect()
}

pub(super) fn shows_operators_token(targets: &AttackTargets) -> Vec<String> {
    let (port, token) = (targets.operator.port, &targets.operator.token);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let requests = [
        (
            "/metrics",
            format!(
                "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
            ),
        ),
        (
            "/mcp",
            format!(
                "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\nAccept: application/json, \
                 text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            ),
        ),
    ];
    let answered = |request: &str| {
        let mut stream = connect((Ipv4Addr::LOCALHOST, port).into())?;
        stream.write_all(request.as_bytes()).ok()?;
        status(&mut stream)
    };
    // Whatever else it answers, it has not refused the caller.
    let admitted = |request: &str| answered(request).is_some_and(|code| !matches!(code, 401 | 403));
    requests.iter().filter(|(_, request)| admitted(request)).map(|(path, _)| (*path).to_owned()).collect()
}

pub(super) fn reaches_this_machine(targets: &AttackTargets) -> Vec<String> {
    let greets = |address: &&SocketAddr| {
        let said = connect(**address)
            .and_then(|mut stream| answer(&mut stream, |text| text.contains(&targets.greeting)));
        said.is_some_and(|text| text.contains(&targets.greeting))
    };
    let direct = targets.listeners.iter().filter(greets);
    let mut found: Vec<String> = direct.map(ToString::to_string).collect();
    let ports = targets.listeners.iter().map(|address| address.port());
    let spellings = |port: u16| {
        ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"].map(|host| format!("{host}:{port}"))
    };
    let named = targets.listeners.iter().map(ToString::to_string).chain(ports.flat_map(spellings));
    found.extend(named.filter(|target| proxy_opens(target)).map(|target| format!("{target} by the proxy")));
    found
}

pub(super) fn has_a_way_out(_: &AttackTargets) -> Vec<String> {
    let has_way = |to: SocketAddr| {
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| socket.connect(to)).is_ok()
    };
    let mut found = Vec::new();
    if has_way(NOBODY) || connects_out() {
        found.push("a route to the internet".to_owned());
    }
    let servers = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers =
        servers.lines().filter_map(|line| line.strip_prefix("nameserver ")?.trim().parse::<IpAddr>().ok());
    found.extend(
        servers
            .filter(|server| has_way((*server, 53).into()))
            .map(|server| format!("the name server {server}")),
    );
    if proxy_opens(UNLISTED) {
        found.push(format!("{UNLISTED} by the proxy"));
    }
    found
}

/// Whether a connection by TCP is begun, though nobody answers.
fn connects_out() -> bool {
    let begun = TcpStream::connect_timeout(&SocketAddr::new(NOBODY.ip(), 443), SHORTLY);
    begun.map_or_else(|error| error.kind() == ErrorKind::TimedOut, |_| true)
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

/// Asks the proxy of the wall for a tunnel; an operator's own proxy elsewhere is left alone. It answers 403 where it refuses.
fn proxy_opens(target: &str) -> bool {
    let proxy = std::env::var("HTTPS_PROXY").ok().and_then(|proxy| Url::parse(&proxy).ok());
    let Some(proxy) = proxy.filter(|proxy| proxy.host_str() == Some("127.0.0.1")) else { return false };
    let login = proxy.password().map(|password| format!("{}:{password}", proxy.username()));
    let login = login.map(|login| BASE64_STANDARD.encode(login));
    let header = login.map(|login| format!("Proxy-Authorization: Basic {login}\r\n")).unwrap_or_default();
    let asked = |port: u16| {
        let mut stream = connect((Ipv4Addr::LOCALHOST, port).into())?;
        write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{header}\r\n").ok()?;
        status(&mut stream)
    };
    proxy.port().and_then(asked).is_some_and(|code| !(400..500).contains(&code))
}

/// The status code of an HTTP response.
fn status(stream: &mut impl Read) -> Option<u16> {
    answer(stream, |text| text.contains("\r\n"))?.split(' ').nth(1)?.parse().ok()
}

/// Reads until enough has come, or nothing more comes.
fn answer(stream: &mut impl Read, is_enough: impl Fn(&str) -> bool) -> Option<String> {
    let (mut text, mut piece) = (Vec::new(), [0; 1024]);
    while !is_enough(&String::from_utf8_lossy(&text)) {
        match stream.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(read) => text.extend_from_slice(&piece[..read]),
        }
    }
    Some(String::from_utf8_lossy(&text).into_owned()).filter(|text| !text.is_empty())
}

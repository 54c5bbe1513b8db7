//! The egress proxy of a sandbox that has no network: a forward proxy on a Unix socket (HTTP `CONNECT`, and plain HTTP by
//! absolute URL) that reaches only the listed hosts, and sockets for ports of this machine. Where a process keeps the machine's network
//! and only its ports are limited, the proxy is on a port of 127.0.0.1, and takes only who has its password.
//!
//! A name is checked as the client sent it, then resolved here: there is no DNS inside. Tunnels are not inspected, so a
//! listed host that also serves other names (a CDN) can lead to those. [`super::inside`] is its counterpart in the sandbox.

mod forward;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http_body_util::{Either, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    ext::ReasonPhrase,
    header::{self, HeaderValue},
    http::uri::Authority,
    server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixListener, lookup_host},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::forward::{own_tools, pass_on, tunnel};
use super::{
    bwrap::NetworkReach,
    host_gate::{AskedHosts, HostDecision, HostGate, HostTarget},
    hosts::{AllowedHost, AllowedReach, allowed, host_name, is_public},
    inside::PROXY,
    landlock_wall::{LoopbackProxy, PROXY_USER, PortReach},
};
use crate::{model_proxy::ModelProxy, runtime_dir::short_dir};

/// Connections of one sandbox at a time; further ones wait. Each takes two file descriptors of storkit.
const MOST: usize = 128;

/// The first port that the way to the model may have in a sandbox, whose loopback is its own.
const MODEL_PORT: u16 = 4001;

/// How long a DNS lookup or a connection to one address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The hosts that may be reached, and the setting that lists them.
pub(super) struct EgressRules {
    pub hosts: Vec<AllowedHost>,
    /// The setting that a person can change with its file, as it appears in a sentence.
    pub key: String,
    /// Whether the setting is `"ask"`, so that more hosts can be opened without changing it.
    pub asks: bool,
    /// Decides about hosts that are not listed.
    pub gate: Option<Arc<dyn HostGate>>,
    /// Storkit's own listener, for the agents' tools.
    pub own: Option<SocketAddr>,
    /// The way to the model.
    pub model: Option<Arc<ModelProxy>>,
}

impl EgressRules {
    fn loopback_ports(&self) -> BTreeSet<u16> {
        self.hosts.iter().filter_map(AllowedHost::loopback_port).collect()
    }

    /// Whether nothing can be reached.
    pub(super) fn is_closed(&self) -> bool {
        self.hosts.is_empty() && self.gate.is_none() && self.own.is_none() && self.model.is_none()
    }
}

/// A running proxy. Dropping it closes all connections.
pub struct EgressProxy {
    entrance: EgressEntrance,
    shared: Arc<EgressShared>,
    /// Where the sandbox reaches the model.
    model_port: Option<u16>,
    _stop: DropGuard,
}

/// Where a sandbox comes in.
enum EgressEntrance {
    /// By sockets in a folder that only the sandbox has.
    Sockets(tempfile::TempDir),
    /// By ports of the machine's loopback.
    Loopback { proxy: LoopbackProxy, open: Vec<u16> },
}

enum EgressListener {
    Socket(UnixListener),
    Loopback(TcpListener),
}

struct EgressShared {
    rules: EgressRules,
    asked: Option<AskedHosts>,
    /// The header that clients of the loopback's proxy have to send.
    login: Option<HeaderValue>,
    refused: Mutex<BTreeSet<String>>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// A refusal for the client: a status and a sentence.
struct EgressRefusal(StatusCode, String);

impl EgressProxy {
    /// Listens in a new folder below `runtime_dir`. Needs a tokio runtime. Fails if a folder or socket cannot be made.
    pub(super) fn open(rules: EgressRules, runtime_dir: &Path) -> io::Result<Self> {
        let folder = short_dir(runtime_dir)?;
        let shared = Arc::new(EgressShared::new(rules, None));
        let bind = |name: &str| UnixListener::bind(folder.path().join(name));
        let listen = |listener, door| {
            tokio::spawn(Arc::clone(&shared).listen(EgressListener::Socket(listener), door));
        };
        listen(bind(PROXY)?, PortDoor::Proxy);
        if let Some(own) = shared.rules.own {
            listen(bind(&own.port().to_string())?, PortDoor::Own(own));
        }
        let own = shared.rules.own.map(|own| own.port());
        let ports = shared.rules.loopback_ports();
        // Clients bypass the proxy for this machine's own name (`NO_PROXY`), so each listed port has a socket. Below 1024
        // the forwarder could not listen: it has no privileges.
        for port in ports.iter().copied().filter(|port| *port >= 1024 && Some(*port) != own) {
            listen(bind(&port.to_string())?, PortDoor::Port(port));
        }
        let model_port = match &shared.rules.model {
            None => None,
            Some(model) => {
                let free = |port: &u16| Some(*port) != own && !ports.contains(port);
                let port = (MODEL_PORT..).find(free).ok_or_else(|| io::Error::other("no port is free"))?;
                model.serve_socket(bind(&port.to_string())?);
                Some(port)
            }
        };
        let stop = shared.stop.clone().drop_guard();
        Ok(Self { entrance: EgressEntrance::Sockets(folder), shared, model_port, _stop: stop })
    }

    /// Listens on the machine's loopback. Needs a tokio runtime. Fails if there is no port.
    pub(super) fn open_on_loopback(rules: EgressRules) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        // 122 random bits: every process of the machine can connect.
        let password = uuid::Uuid::new_v4().simple().to_string();
        let login = BASE64_STANDARD.encode(format!("{PROXY_USER}:{password}"));
        let login = HeaderValue::try_from(format!("Basic {login}")).map_err(io::Error::other)?;
        let shared = Arc::new(EgressShared::new(rules, Some(login)));
        let listener = EgressListener::Loopback(TcpListener::from_std(listener)?);
        tokio::spawn(Arc::clone(&shared).listen(listener, PortDoor::Proxy));
        let model_port = shared.rules.model.as_ref().map(|model| model.loopback_port()).transpose()?;
        let own = shared.rules.own.map(|own| own.port());
        let open = [Some(port), model_port, own].into_iter().flatten();
        let open = open.chain(shared.rules.loopback_ports()).collect();
        let stop = shared.stop.clone().drop_guard();
        let entrance = EgressEntrance::Loopback { proxy: LoopbackProxy { port, password }, open };
        Ok(Self { entrance, shared, model_port, _stop: stop })
    }

    /// The port on the sandbox's loopback behind which the model is.
    pub fn model_port(&self) -> Option<u16> {
        self.model_port
    }

    /// How a sandbox with a namespace of its own reaches it; nothing where it has none.
    pub fn reach(&self) -> NetworkReach {
        match &self.entrance {
            EgressEntrance::Sockets(folder) => NetworkReach::Through(folder.path().to_owned()),
            EgressEntrance::Loopback { .. } => NetworkReach::Nothing,
        }
    }

    /// How a process in the machine's own network reaches it; nothing where its sockets are for a sandbox.
    pub(super) fn port_reach(&self) -> PortReach {
        match &self.entrance {
            EgressEntrance::Sockets(_) => PortReach::Ports { open: Vec::new(), proxy: None },
            EgressEntrance::Loopback { proxy, open } => {
                PortReach::Ports { open: open.clone(), proxy: Some(proxy.clone()) }
            }
        }
    }

    /// From now on, hosts that were refused are asked for again: a person has given the agent another task.
    pub fn forget_refusals(&self) {
        if let Some(asked) = &self.shared.asked {
            asked.forget_refusals();
        }
    }

    /// A socket by which a process in the sandbox lets itself be watched.
    ///
    /// # Errors
    /// If it cannot be made, or there is no sandbox with a namespace of its own.
    pub fn watch_socket(&self) -> io::Result<std::os::unix::net::UnixListener> {
        match &self.entrance {
            EgressEntrance::Sockets(folder) => {
                std::os::unix::net::UnixListener::bind(folder.path().join(super::watch::SOCKET))
            }
            EgressEntrance::Loopback { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The hosts that were refused since the last call, as `name:port`.
    pub fn take_refused(&self) -> Vec<String> {
        let mut refused = self.shared.refused.lock();
        std::mem::take(&mut *refused).into_iter().collect()
    }

    /// A sentence on the hosts refused since the last call; `None` if there were none.
    pub fn refusals(&self) -> Option<String> {
        const SHOWN: usize = 10;
        let refused = self.take_refused();
        if refused.is_empty() {
            return None;
        }
        let names: Vec<String> = refused.iter().take(SHOWN).map(|host| format!("`{host}`")).collect();
        let more = match refused.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let key = &self.shared.rules.key;
        let names = names.join(", ");
        Some(match self.shared.rules.asks {
            false => {
                format!("Blocked access to {names}{more}: not listed in {key}.")
            }
            true => format!(
                "Blocked access to {names}{more}. To allow a host for good, answer `always` when an agent asks for it, or add it to \
                 {key}, like `[\"ask\", \"HOST:PORT\"]`."
            ),
        })
    }
}

impl fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressProxy").field("hosts", &self.shared.rules.hosts).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
enum PortDoor {
    /// To the listed hosts.
    Proxy,
    /// To storkit's tools.
    Own(SocketAddr),
    /// To a port of this machine.
    Port(u16),
}

impl EgressShared {
    fn new(rules: EgressRules, login: Option<HeaderValue>) -> Self {
        let asked = rules.gate.clone().map(AskedHosts::new);
        Self {
            rules,
            asked,
            login,
            refused: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST)),
            stop: CancellationToken::new(),
        }
    }

    async fn listen(self: Arc<Self>, listener: EgressListener, door: PortDoor) {
        let stop = self.stop.clone();
        let accept = async {
            loop {
                // Before `accept`, so that connections over the limit wait in the backlog and cost no descriptor.
                let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
                let accepted = match &listener {
                    EgressListener::Socket(listener) => listener
                        .accept()
                        .await
                        .map(|(stream, _)| self.spawn(Arc::clone(&self).serve(stream, door, place))),
                    EgressListener::Loopback(listener) => listener
                        .accept()
                        .await
                        .map(|(stream, _)| self.spawn(Arc::clone(&self).serve(stream, door, place))),
                };
                if let Err(error) = accepted {
                    tracing::warn!(%error, "the proxy of a sandbox accepts no connection");
                    // Too many open files, for example: without a pause this would spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        };
        stop.run_until_cancelled(accept).await;
    }

    /// Runs something that is cancelled with the sandbox at the latest.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(task).await });
    }

    async fn serve<S>(self: Arc<Self>, mut stream: S, door: PortDoor, place: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let place = Arc::new(place);
        // Any protocol, for example that of a database.
        if let PortDoor::Port(port) = door {
            if let Ok(mut local) = TcpStream::connect(("127.0.0.1", port)).await {
                let _ = copy_bidirectional(&mut stream, &mut local).await;
            }
            return;
        }
        let answer = service_fn(|request| {
            let (shared, place) = (Arc::clone(&self), Arc::clone(&place));
            async move {
                let answered = match door {
                    PortDoor::Proxy if !shared.admits(&request) => Err(EgressRefusal(
                        StatusCode::PROXY_AUTHENTICATION_REQUIRED,
                        "This proxy is for one process behind its wall.".into(),
                    )),
                    PortDoor::Own(own) => own_tools(&shared, own, request).await,
                    PortDoor::Proxy | PortDoor::Port(_) if request.method() == Method::CONNECT => {
                        tunnel(&shared, request, place).await
                    }
                    PortDoor::Proxy | PortDoor::Port(_) => pass_on(&shared, request).await,
                };
                Ok::<_, Infallible>(answered.unwrap_or_else(EgressRefusal::answer))
            }
        });
        let served = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        if let Err(error) = served.with_upgrades().await {
            tracing::debug!(%error, "a connection out of a sandbox ended");
        }
    }

    fn admits(&self, request: &Request<Incoming>) -> bool {
        let sent = || request.headers().get(header::PROXY_AUTHORIZATION);
        self.login.as_ref().is_none_or(|login| sent() == Some(login))
    }

    /// A connection to a host that is listed.
    async fn connect(&self, authority: &Authority, port: u16) -> Result<TcpStream, EgressRefusal> {
        let host = authority.host();
        let how = self.permit(authority, port).await?;
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let found =
            timeout(CONNECT_TIMEOUT, lookup_host((name, port))).await.unwrap_or_else(|late| Err(late.into()));
        let found: Vec<SocketAddr> = match found {
            Ok(found) => found.collect(),
            Err(error) => return Err(unreachable(host, port, &error)),
        };
        // Checked after the look-up: whoever owns a name below a `*.` entry can point it at the local network.
        let addresses = permitted_addresses(how, &found);
        if addresses.is_empty() && !found.is_empty() {
            let why = format!(
                "it leads to an address that is not public, and its exact name is not listed in {}",
                self.rules.key
            );
            return Err(self.refuse(host, port, &why));
        }
        let mut last = io::Error::other("it has no address");
        // Not by name again: a second look-up could give other addresses (DNS rebinding).
        for address in addresses {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
                .await
                .unwrap_or_else(|late| Err(late.into()))
            {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(unreachable(host, port, &last))
    }

    /// Whether a host may be reached, by the settings or by a decision. No name is looked up before: whoever owns the
    /// name's zone reads it.
    async fn permit(&self, authority: &Authority, port: u16) -> Result<AllowedReach, EgressRefusal> {
        let host = authority.host();
        let plain = !authority.as_str().contains('@');
        if let Some(how) = allowed(&self.rules.hosts, host, port).filter(|_| plain) {
            return Ok(how);
        }
        let unlisted = format!("it is not listed in {}", self.rules.key);
        let (Some(asked), Some(name)) = (&self.asked, host_name(host).filter(|_| plain)) else {
            return Err(self.refuse(host, port, &unlisted));
        };
        // No question can open the machine's own network: a person would have to know what is there.
        if name.parse::<IpAddr>().is_ok_and(|address| !is_public(address)) || is_local(&name) {
            return Err(self.refuse(host, port, &format!("it is not public, and {unlisted}")));
        }
        match asked.decide(HostTarget { host: name, port }, |question| self.spawn(question)).await {
            HostDecision::Allowed => Ok(AllowedReach::Public),
            HostDecision::Refused(why) => Err(self.refuse(host, port, &why)),
        }
    }

    fn refuse(&self, host: &str, port: u16, why: &str) -> EgressRefusal {
        // An agent wrote it, and people read it.
        let host: String = host.chars().take(100).collect();
        let text = format!("storkit refuses {host}:{port}: {why}. A person can change that.");
        let mut refused = self.refused.lock();
        // Bounded, since an agent chooses the names.
        if refused.len() < MOST {
            refused.insert(format!("{host}:{port}"));
        }
        EgressRefusal(StatusCode::FORBIDDEN, text)
    }
}

/// Names that mean this machine or its network, whatever a resolver says (RFC 6761, RFC 6762, RFC 8375).
fn is_local(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    !name.contains('.') && name.parse::<IpAddr>().is_err()
        || ["localhost", "local", "internal", "lan", "home", "corp", "intranet"].contains(&last)
        || name.ends_with(".home.arpa")
}

/// The addresses of a name that it may lead to.
fn permitted_addresses(how: AllowedReach, found: &[SocketAddr]) -> Vec<SocketAddr> {
    let may = |address: &&SocketAddr| how == AllowedReach::Anywhere || is_public(address.ip());
    found.iter().filter(may).copied().collect()
}

fn unreachable(host: &str, port: u16, error: &io::Error) -> EgressRefusal {
    EgressRefusal(StatusCode::BAD_GATEWAY, format!("storkit cannot reach {host}:{port}: {error}."))
}

impl EgressRefusal {
    /// The status line repeats the sentence: most clients show nothing else of an answer to `CONNECT`.
    fn answer(self) -> Answer {
        let Self(status, text) = self;
        let reason = ReasonPhrase::try_from(text.as_bytes()).ok();
        let mut response = Response::new(Either::Right(Full::from(format!("{text}\n"))));
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            // Some clients send their password only then (RFC 9110, 11.7.1).
            let challenge = HeaderValue::from_static("Basic realm=\"storkit\"");
            response.headers_mut().insert(header::PROXY_AUTHENTICATE, challenge);
        }
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Some(reason) = reason {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_listed_by_a_star_leads_to_public_addresses_only() {
        let found = ["127.0.0.1:80", "1.1.1.1:80", "10.0.0.1:80", "[::1]:80"];
        let found = found.map(|address| address.parse().expect("an address"));
        assert_eq!(permitted_addresses(AllowedReach::Public, &found), [found[1]]);
        assert_eq!(permitted_addresses(AllowedReach::Anywhere, &found), found);
    }
}

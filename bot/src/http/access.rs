//! Who may call the loopback listener: no web page, agents only with the token of their run, and the operator's programs with
//! a token and as processes that no agent started.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use agents::peer::PeerRefusal;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, Response, StatusCode, Version, header, request::Parts},
    middleware::Next,
};
use sha2::{Digest as _, Sha256};

use super::{
    connections::{ConnectionEnds, hold_until_sent, refuse},
    runs::McpRuns,
};
use crate::config::current::LiveSettings;

/// Checks the process at the other end of a TCP connection, given its address and ours. Blocks.
pub type TcpPeerCheck = fn(SocketAddr, SocketAddr) -> Result<(), PeerRefusal>;

/// How many calls of one run may be under way. An agent makes one at a time, and a few for its subagents.
const CALLS_OF_A_RUN: usize = 32;

/// A header by which browsers tell where a request comes from, also where they send no `Origin`.
/// <https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header>
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// State that the checks need. Cheap to clone.
#[derive(Clone)]
pub struct HttpAccess {
    pub runs: McpRuns,
    pub settings: Arc<LiveSettings>,
    pub checks_peer: TcpPeerCheck,
}

/// A web page must not reach this listener through a browser on this machine: neither under another name (DNS rebinding)
/// nor from its own origin, be that another port of this machine.
pub async fn only_programs(State(port): State<u16>, request: Request, next: Next) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match is_no_page(&parts, port) {
        true => next.run(Request::from_parts(parts, body)).await,
        false => refuse(StatusCode::FORBIDDEN, "This listener is for programs on this machine only."),
    }
}

/// Each run has a token of its own: it decides which tools the caller sees and which rooms its questions go to.
pub async fn only_runs(State(access): State<HttpAccess>, mut request: Request, next: Next) -> Response<Body> {
    let Some(run) = bearer(request.headers()).and_then(|token| access.runs.find(token)) else {
        return refuse(StatusCode::UNAUTHORIZED, "A run's bearer token is missing or not valid.");
    };
    if run.operator && !access.is_operators(ends_of(&request)).await {
        return not_the_operator();
    }
    let Some(call) = CallGuard::begin(&run.calls) else {
        return refuse(StatusCode::TOO_MANY_REQUESTS, "This run has too many calls under way.");
    };
    request.extensions_mut().insert(run);
    hold_until_sent(next.run(request).await, call)
}

/// For `/metrics` and `/ws`: the operator's token, or the one of bot.toml.
pub async fn only_monitors(State(access): State<HttpAccess>, request: Request, next: Next) -> Response<Body> {
    if !bearer(request.headers()).is_some_and(|token| access.is_monitors_token(token)) {
        return refuse(StatusCode::UNAUTHORIZED, "A bearer token is missing or not valid.");
    }
    match access.is_operators(ends_of(&request)).await {
        true => next.run(request).await,
        false => not_the_operator(),
    }
}

fn ends_of(request: &Request) -> Option<ConnectionEnds> {
    request.extensions().get().copied()
}

fn not_the_operator() -> Response<Body> {
    refuse(StatusCode::FORBIDDEN, "An agent's process may not call this, whatever its token.")
}

impl HttpAccess {
    fn is_monitors_token(&self, token: &str) -> bool {
        let monitor = &self.settings.config().http.monitor_token;
        // Compared by hash, so that timing tells nothing about the token.
        let same = || Sha256::digest(monitor.reveal()) == Sha256::digest(token);
        (!monitor.is_empty() && same()) || self.runs.find(token).is_some_and(|run| run.operator)
    }

    async fn is_operators(&self, ends: Option<ConnectionEnds>) -> bool {
        let Some(ends) = ends else { return false };
        let checks_peer = self.checks_peer;
        let checked = tokio::task::spawn_blocking(move || checks_peer(ends.peer, ends.local)).await;
        match checked {
            Ok(Ok(())) => true,
            Ok(Err(why)) => {
                tracing::warn!(%why, "a process showed a token of the operator and was refused");
                false
            }
            Err(_) => false,
        }
    }
}

struct CallGuard(Arc<AtomicUsize>);

impl CallGuard {
    fn begin(calls: &Arc<AtomicUsize>) -> Option<Self> {
        // Made first: its drop takes the count back.
        let guard = Self(calls.clone());
        (calls.fetch_add(1, Ordering::AcqRel) < CALLS_OF_A_RUN).then_some(guard)
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn is_no_page(request: &Parts, port: u16) -> bool {
    let all = |name: &HeaderName, passes: &dyn Fn(&str) -> bool| {
        request.headers.get_all(name).iter().all(|value| value.to_str().is_ok_and(passes))
    };
    let named = request.headers.contains_key(header::HOST) || request.version == Version::HTTP_10;
    named
        && all(&header::HOST, &is_loopback)
        && request.uri.authority().is_none_or(|authority| is_loopback(authority.as_str()))
        && all(&header::ORIGIN, &|origin| is_ours(origin, port))
        && all(&FETCH_SITE, &|site| matches!(site, "none" | "same-origin"))
}

/// Whether a `Host` names this machine. With any port: the listener may be reached through a tunnel.
fn is_loopback(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').or(rest.is_empty().then_some("0"))),
        None => authority.split_once(':').map_or((authority, Some("0")), |(host, port)| (host, Some(port))),
    };
    matches!(host, "localhost" | "127.0.0.1" | "::1") && port.is_some_and(|port| port.parse::<u16>().is_ok())
}

fn is_ours(origin: &str, port: u16) -> bool {
    let ours = ["localhost", "127.0.0.1", "[::1]"].map(|host| format!("http://{host}:{port}"));
    ours.iter().any(|ours| ours == origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(headers: &[(&str, &str)]) -> bool {
        let request = headers
            .iter()
            .fold(Request::builder().uri("/ws"), |request, (name, value)| request.header(*name, *value));
        is_no_page(&request.body(()).unwrap().into_parts().0, 3001)
    }

    #[test]
    fn only_this_machines_names_are_let_in() {
        for host in ["localhost", "localhost:3001", "127.0.0.1:3001", "[::1]:3001", "[::1]", "localhost:9000"]
        {
            assert!(passes(&[("host", host)]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:3001",
            "localhost.evil.example",
            "localhost.",
            "127.0.0.1.evil.example:80",
            "127.0.0.1:3001@evil.example",
            "localhost:evil.example",
            "[::2]",
            "[::1]evil.example",
            "[::1",
            "2130706433",
            "0.0.0.0:3001",
            "",
        ] {
            assert!(!passes(&[("host", host)]), "{host}");
        }
        assert!(!passes(&[]), "HTTP/1.1 always names the host");
        assert!(!passes(&[("host", "localhost"), ("host", "evil.example")]));
    }

    #[test]
    fn a_page_is_let_in_from_no_other_origin_and_no_other_port() {
        let with = |name, value| passes(&[("host", "localhost:3001"), (name, value)]);
        assert!(with("origin", "http://localhost:3001") && with("origin", "http://127.0.0.1:3001"));
        for origin in [
            "http://localhost:5173",
            "http://localhost",
            "https://localhost:3001",
            "http://localhost:3001.evil.example",
            "http://evil.example:3001",
            "http://localhost:3001/",
            "null",
            "",
        ] {
            assert!(!with("origin", origin), "{origin}");
        }
        assert!(with("sec-fetch-site", "none") && with("sec-fetch-site", "same-origin"));
        // A picture or a form sends no origin, and `same-site` is another port of this machine.
        assert!(!with("sec-fetch-site", "cross-site") && !with("sec-fetch-site", "same-site"));
        let twice =
            [("host", "localhost"), ("origin", "http://localhost:3001"), ("origin", "http://a.example")];
        assert!(!passes(&twice));
    }

    #[test]
    fn a_run_has_a_bounded_number_of_calls() {
        let calls = Arc::new(AtomicUsize::new(0));
        let under_way: Vec<_> = (0..CALLS_OF_A_RUN).map(|_| CallGuard::begin(&calls).unwrap()).collect();
        assert!(CallGuard::begin(&calls).is_none());
        drop(under_way);
        assert!(CallGuard::begin(&calls).is_some());
        assert_eq!(calls.load(Ordering::Acquire), 0);
    }
}

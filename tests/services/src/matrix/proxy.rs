//! A proxy between the bot and the homeserver, which fails on demand.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// The fate of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused as too fast, with this wait in milliseconds.
    TooFast(u64),
    /// An answer of a server in trouble, with a page that is no JSON.
    Broken(u16),
    /// Taken by the homeserver, but the answer is lost.
    AnswerLost,
    /// The connection is closed without an answer.
    Cut,
    /// Taken by the homeserver, and never answered.
    Hangs,
}

#[derive(Default)]
struct Faults {
    /// For the next requests whose path contains this.
    next: VecDeque<(String, Fault)>,
    all: Option<Fault>,
    /// How many requests had a fault.
    met: u64,
    /// How many the homeserver itself refused as too fast.
    too_fast: u64,
}

struct Shared {
    target: String,
    faults: Mutex<Faults>,
    client: reqwest::Client,
    /// Changes when all that is under way is cut.
    cuts: watch::Sender<u64>,
}

/// A reverse proxy on a port of its own.
pub struct Proxy {
    url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of this homeserver.
    pub async fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            faults: Mutex::default(),
            client: reqwest::Client::new(),
            cuts: watch::Sender::new(0),
        });
        let app = Router::new().fallback(pass).with_state(shared.clone());
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Self { url, shared, server }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next request whose path contains `part` meets this.
    pub fn next(&self, part: &str, fault: Fault) {
        self.faults().next.push_back((part.to_owned(), fault));
    }

    /// All requests meet this, or none any more.
    pub fn all(&self, fault: Option<Fault>) {
        self.faults().all = fault;
    }

    /// Cuts every request that is under way.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many requests have met a fault.
    pub fn met(&self) -> u64 {
        self.faults().met
    }

    /// How many requests the homeserver itself refused as too fast.
    pub fn too_fast(&self) -> u64 {
        self.faults().too_fast
    }

    fn faults(&self) -> std::sync::MutexGuard<'_, Faults> {
        self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn fault(&self, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let at = faults.next.iter().position(|(part, _)| path.contains(part.as_str()));
        let fault = at.and_then(|at| faults.next.remove(at)).map(|(_, fault)| fault).or(faults.all);
        faults.met += u64::from(fault.is_some());
        fault
    }

    async fn forward(&self, request: Request) -> Result<Response, reqwest::Error> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |it| it.as_str());
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        let mut headers = head.headers;
        headers.remove("host");
        let url = format!("{}{path}", self.target);
        let answer = self.client.request(head.method, url).headers(headers).body(body).send().await?;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            self.faults.lock().unwrap_or_else(PoisonError::into_inner).too_fast += 1;
        }
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
            response = response.header(name, value);
        }
        let body = answer.bytes().await?;
        Ok(response.body(Body::from(body)).unwrap_or_default())
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    match shared.fault(&path) {
        None => {}
        Some(Fault::TooFast(wait)) => {
            let body = format!(
                "{{\"errcode\":\"M_LIMIT_EXCEEDED\",\"error\":\"Too fast\",\"retry_after_ms\":{wait}}}"
            );
            return (StatusCode::TOO_MANY_REQUESTS, [("content-type", "application/json")], body)
                .into_response();
        }
        Some(Fault::Broken(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            return (status, "<html>a proxy is in trouble</html>").into_response();
        }
        Some(Fault::AnswerLost) => {
            let _ = shared.forward(request).await;
            return cut();
        }
        Some(Fault::Cut) => return cut(),
        Some(Fault::Hangs) => {
            let _ = shared.forward(request).await;
            tokio::time::sleep(Duration::from_secs(600)).await;
            return cut();
        }
    }
    let mut cuts = shared.cuts.subscribe();
    tokio::select! {
        // A homeserver that is away looks to the bot as it would without a proxy.
        answer = shared.forward(request) => answer.unwrap_or_else(|_| cut()),
        _ = cuts.changed() => cut(),
    }
}

/// A body that breaks off: the client sees a connection that failed.
fn cut() -> Response {
    let broken = futures::stream::iter([Err::<bytes::Bytes, _>(std::io::Error::other("cut"))]);
    Response::new(Body::from_stream(broken))
}

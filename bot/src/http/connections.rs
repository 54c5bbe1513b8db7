//! Serves a router on a listener within limits: see [`super::connection_table`]. HTTP/1.1 only.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{Request, Response, StatusCode, header},
    response::IntoResponse as _,
};
use futures::StreamExt as _;
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::connection_table::{ConnectionPlace, ConnectionTable, ListenerLimits};

/// The longest head of a request, and the most of it that is read at once.
const HEAD_MAX: usize = 16 * 1024;

const HEADERS_MAX: usize = 100;

/// How often late connections are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// The two ends of a connection, in every request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionEnds {
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

/// How long a body may be, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    pub bytes: usize,
    pub time: Duration,
}

/// Serves until `stop`; then answers complete requests and returns.
pub async fn serve(listener: TcpListener, router: Router, limits: ListenerLimits, stop: CancellationToken) {
    let (table, tasks) = (ConnectionTable::new(limits), TaskTracker::new());
    let accepting = async {
        loop {
            table.has_room().await;
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // An address that uses all of its places gets no answer: that would take a place.
                    let Some(place) = table.admit(peer.ip(), Instant::now()) else { continue };
                    tasks.spawn(serve_one(stream, peer, router.clone(), place, stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    // Out of file handles, most likely.
                    table.close_one();
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    let sweeping = async {
        loop {
            // Without connections nothing wakes this process.
            table.is_occupied().await;
            tokio::time::sleep(SWEEP).await;
            table.close_late(Instant::now());
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accepting => {}
        () = sweeping => {}
    }
    drop(listener);
    table.close_waiting();
    tasks.close();
    tasks.wait().await;
}

async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    place: ConnectionPlace,
    stop: CancellationToken,
) {
    let Ok(local) = stream.local_addr() else { return };
    let ends = ConnectionEnds { peer, local };
    let router = Arc::new(TowerToHyperService::new(router));
    let service = service_fn(|request: Request<Incoming>| {
        let (router, place) = (router.clone(), place.clone());
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ends);
            request.extensions_mut().insert(place.clone());
            if request.body().is_end_stream() {
                place.request_is_whole();
            }
            let answer = router.call(request).await.unwrap_or_else(|never| match never {});
            Ok::<_, Infallible>(hold_until_sent(answer, AnswerGuard(place)))
        }
    });
    let mut builder = http1::Builder::new();
    // The timer of the head is the table's; this one only has to exist.
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    builder.max_headers(HEADERS_MAX).max_header_size(HEAD_MAX).max_buf_size(HEAD_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, %peer, "a connection ended");
                }
                return;
            }
            () = place.closed() => {
                tracing::debug!(%peer, "a connection had to make way");
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

struct AnswerGuard(ConnectionPlace);

impl Drop for AnswerGuard {
    fn drop(&mut self) {
        self.0.is_answered(Instant::now());
    }
}

/// Reads the whole body, so that whoever handles the request waits for nobody. The error is the answer.
pub async fn whole(request: Request<Body>, limits: BodyLimits) -> Result<Request<Bytes>, Response<Body>> {
    let (parts, body) = request.into_parts();
    let too_long = || refuse(StatusCode::PAYLOAD_TOO_LARGE, "The body is too long, or broke off.");
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    // Refused before the first byte is read: anybody can send to a public port.
    if announced.is_some_and(|length: u64| length > limits.bytes as u64) {
        return Err(too_long());
    }
    let place = parts.extensions.get::<ConnectionPlace>().cloned();
    let reading = async {
        let (mut stream, mut whole) = (body.into_data_stream(), Vec::new());
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.ok()?;
            if whole.len() + chunk.len() > limits.bytes {
                return None;
            }
            whole.extend_from_slice(&chunk);
            if let Some(place) = &place {
                place.body_grew(chunk.len());
            }
        }
        Some(Bytes::from(whole))
    };
    match tokio::time::timeout(limits.time, reading).await {
        Ok(Some(bytes)) => {
            if let Some(place) = &place {
                place.request_is_whole();
            }
            Ok(Request::from_parts(parts, bytes))
        }
        Ok(None) => Err(too_long()),
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "The body took too long.")),
    }
}

/// An answer with a sentence.
pub fn refuse(status: StatusCode, sentence: &'static str) -> Response<Body> {
    (status, sentence).into_response()
}

/// The answer, with something that lives until it is sent or given up.
pub fn hold_until_sent(answer: Response<Body>, guard: impl Send + Unpin + 'static) -> Response<Body> {
    answer.map(|inner| Body::new(HeldBody { inner, _guard: guard }))
}

struct HeldBody<G> {
    inner: Body,
    _guard: G,
}

impl<G: Unpin> HttpBody for HeldBody<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

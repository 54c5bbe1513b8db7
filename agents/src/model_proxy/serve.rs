//! The proxy's connections: one request after the other is checked, sent on with the operator's key, and answered.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Bytes, Incoming},
    header::{self, HeaderMap, HeaderValue},
    http::request,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    access::ModelService,
    body::MeteredBody,
    limit::limit_ends,
    meter::{AnswerReader, RequestCost, SpendingMeter},
    request::{ApiPath, ModelRequest, Refusal, admit, passed_headers, read_messages},
};

/// The API takes 32 MB.
const MAX_BODY: usize = 33 << 20;
const MAX_HEADERS: usize = 64;
/// All headers of a request together.
const MAX_HEAD: usize = 32 << 10;
/// How long a connection may take to send the headers of its next request; the CLI opens a new one then.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// Of an answer's headers, those that are meant for this proxy (RFC 9110, 7.6.1), and cookies, which no agent needs.
const STRIPPED: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "trailer",
    "set-cookie",
];

/// State that the connections of one run share.
pub(super) struct ProxyShared {
    pub service: Arc<ModelService>,
    pub key: String,
    pub meter: Arc<SpendingMeter>,
    pub requests: Arc<Semaphore>,
    pub connections: Arc<Semaphore>,
    pub stop: CancellationToken,
}

/// Where an agent's connections come from.
pub(super) enum ProxyListener {
    Loopback(TcpListener),
    Socket(UnixListener),
}

type ProxyBody = Either<MeteredBody, Full<Bytes>>;

impl ProxyShared {
    /// Accepts connections for ever.
    pub(super) async fn listen(self: Arc<Self>, listener: ProxyListener) {
        loop {
            // Before `accept`, so that connections over the limit wait in the backlog and cost no descriptor.
            let Ok(place) = Arc::clone(&self.connections).acquire_owned().await else { return };
            let accepted = match &listener {
                ProxyListener::Loopback(listener) => listener
                    .accept()
                    .await
                    .map(|(stream, _)| self.spawn(|shared| shared.serve(stream, place))),
                ProxyListener::Socket(listener) => listener
                    .accept()
                    .await
                    .map(|(stream, _)| self.spawn(|shared| shared.serve(stream, place))),
            };
            if let Err(error) = accepted {
                tracing::warn!(%error, "the way to the model accepts no connection");
                // Too many open files, for example: without a pause this would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    fn spawn<T: Future<Output = ()> + Send + 'static>(self: &Arc<Self>, task: impl FnOnce(Arc<Self>) -> T) {
        let (task, stop) = (task(Arc::clone(self)), self.stop.clone());
        tokio::spawn(async move { stop.run_until_cancelled(task).await });
    }

    async fn serve<S>(self: Arc<Self>, stream: S, _place: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let answering = service_fn(|request| {
            let shared = Arc::clone(&self);
            async move { Ok::<_, Infallible>(shared.answer(request).await.unwrap_or_else(refused)) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), answering);
        if let Err(error) = served.await {
            tracing::debug!(%error, "a connection to the model ended");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<ProxyBody>, Refusal> {
        let (head, body) = request.into_parts();
        let api = admit(&head, &self.key)?;
        let body = whole_body(body).await?;
        let (cost, place) = match api {
            ApiPath::Messages => {
                let ModelRequest { model, .. } = read_messages(&body)?;
                let place = Arc::clone(&self.requests).acquire_owned().await.ok();
                // Only now: those before it may have spent the rest.
                self.check_budget()?;
                (Some(RequestCost::new(Arc::clone(&self.meter), model, body.len())), place)
            }
            // Free, but its content is read by the same service.
            ApiPath::CountTokens => {
                read_messages(&body)?;
                (None, None)
            }
            ApiPath::Models => (None, None),
        };
        self.forward(&head, body, cost, place).await
    }

    fn check_budget(&self) -> Result<(), Refusal> {
        match self.meter.spent_budget() {
            None => Ok(()),
            Some(budget) => {
                self.meter.note_refusal(budget);
                // 403 is the status that the CLI (2.1.330) does not try again.
                Err(Refusal(StatusCode::FORBIDDEN, budget.to_string()))
            }
        }
    }

    async fn forward(
        &self,
        head: &request::Parts,
        body: Bytes,
        mut cost: Option<RequestCost>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Response<ProxyBody>, Refusal> {
        let url = self.service.url(head.uri.path(), head.uri.query());
        let headers = passed_headers(&head.headers, self.service.key_headers());
        let sent =
            self.service.client().request(head.method.clone(), url).headers(headers).body(body).send().await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => {
                cost.iter_mut().for_each(RequestCost::is_free);
                return Err(unreachable(error));
            }
        };
        let (mut parts, body) = hyper::http::Response::<reqwest::Body>::from(response).into_parts();
        if !parts.status.is_success() {
            cost.iter_mut().for_each(RequestCost::is_free);
        }
        match parts.status {
            StatusCode::TOO_MANY_REQUESTS => {
                self.meter.set_limit_ends(limit_ends(&parts.headers, SystemTime::now()));
            }
            status if status.is_success() && cost.is_some() => self.meter.set_limit_ends(None),
            _ => {}
        }
        if parts.status.is_redirection() {
            // Followed by nobody: not with the operator's key here, and not by the agent, which has none.
            return Err(bad_gateway(
                "The model's service answers with a redirect. Set `ANTHROPIC_BASE_URL` to its real address.",
            ));
        }
        let encoding = parts.headers.get(header::CONTENT_ENCODING);
        if cost.is_some() && encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(bad_gateway(
                "The model's service compresses its answer though it was asked not to, so nobody could count it.",
            ));
        }
        let streams = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let streams = streams.is_some_and(|kind| kind.starts_with("text/event-stream"));
        let reader =
            cost.map(|cost| if streams { AnswerReader::events(cost) } else { AnswerReader::message(cost) });
        strip(&mut parts.headers);
        Ok(Response::from_parts(parts, Either::Left(MeteredBody::new(body, reader, place))))
    }
}

async fn whole_body(body: Incoming) -> Result<Bytes, Refusal> {
    let bad = |text: &str| Refusal(StatusCode::BAD_REQUEST, text.into());
    let too_large = || Refusal(StatusCode::PAYLOAD_TOO_LARGE, "A request has at most 32 MB.".into());
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(bad("The request broke off.")),
        Err(_) => Err(bad("The request took too long to arrive.")),
    }
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_owned()))
        .collect();
    named.iter().map(String::as_str).chain(STRIPPED).for_each(|name| drop(headers.remove(name)));
}

fn bad_gateway(text: &str) -> Refusal {
    Refusal(StatusCode::BAD_GATEWAY, text.into())
}

/// The cause without the address, which may carry a password.
fn unreachable(error: reqwest::Error) -> Refusal {
    let error = error.without_url();
    let mut causes = vec![error.to_string()];
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    Refusal(
        StatusCode::BAD_GATEWAY,
        format!("storkit cannot reach the model's service: {}.", causes.join(": ")),
    )
}

/// In the API's own form, so that the agent program shows the sentence.
fn refused(refusal: Refusal) -> Response<ProxyBody> {
    let body = serde_json::json!({
        "type": "error",
        "error": { "type": refusal.kind(), "message": refusal.1 },
    });
    let mut response = Response::new(Either::Right(Full::from(body.to_string())));
    *response.status_mut() = refusal.0;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

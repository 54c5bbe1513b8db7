//! The public listener: messengers' webhooks and nothing else.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use adapters::{
    Webhooks,
    webhook::{self, BODY_MAX},
};
use axum::{
    Router,
    body::{self, Body},
    extract::{Request, State},
    http::{Response, StatusCode, header},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

// A request's body must arrive within this time: a sender that dawdles would hold a connection for nothing.
const BODY_TIME: Duration = Duration::from_secs(10);

type Hooks = Arc<Vec<Arc<dyn Webhooks>>>;

/// Binds the public listener.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves the messengers' webhooks until the bot stops. Whatever is not one of their paths is 404.
pub async fn serve(listener: TcpListener, webhooks: Vec<Arc<dyn Webhooks>>, stop: CancellationToken) {
    let router = Router::new().fallback(hand_over).with_state(Arc::new(webhooks));
    let served =
        axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await;
    if let Err(error) = served {
        tracing::error!(%error, "the public listener ended");
    }
}

async fn hand_over(State(hooks): State<Hooks>, request: Request) -> Response<Body> {
    let Some(hook) = webhook::find(&hooks, request.uri().path()).cloned() else {
        return refuse(StatusCode::NOT_FOUND, "There is nothing here.");
    };
    let (parts, body) = request.into_parts();
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    // Refused before the first byte is read: anybody can send to a public port.
    if announced.is_some_and(|length: u64| length > BODY_MAX as u64) {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "The body is too long.");
    }
    match tokio::time::timeout(BODY_TIME, body::to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => hook.handle(Request::from_parts(parts, bytes)).await.map(Body::from),
        Ok(Err(_)) => refuse(StatusCode::PAYLOAD_TOO_LARGE, "The body is too long, or broke off."),
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "The body took too long."),
    }
}

fn refuse(status: StatusCode, sentence: &'static str) -> Response<Body> {
    webhook::respond(status, sentence).map(Body::from)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;

    struct Echo;

    #[async_trait]
    impl Webhooks for Echo {
        fn paths(&self) -> &'static [&'static str] {
            &["/webhook/echo"]
        }

        async fn handle(&self, request: http::Request<Bytes>) -> http::Response<Bytes> {
            webhook::respond(StatusCode::OK, request.into_body())
        }
    }

    async fn ask(path: &str, body: Vec<u8>) -> (StatusCode, Bytes) {
        let hooks: Hooks = Arc::new(vec![Arc::new(Echo)]);
        let request = Request::builder().uri(path).body(Body::from(body)).unwrap();
        let response = hand_over(State(hooks), request).await;
        let status = response.status();
        (status, body::to_bytes(response.into_body(), usize::MAX).await.unwrap())
    }

    #[tokio::test]
    async fn the_public_listener_serves_webhooks_and_nothing_else() {
        assert_eq!(
            ask("/webhook/echo", b"as it \xff came".into()).await.1,
            Bytes::from_static(b"as it \xff came")
        );
        for path in
            ["/", "/health", "/metrics", "/mcp", "/ws", "/webhook/echo/", "/webhook/echo/../echo", "/webhook"]
        {
            assert_eq!(ask(path, Vec::new()).await.0, StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(ask("/webhook/echo", vec![0; BODY_MAX]).await.0, StatusCode::OK);
        assert_eq!(ask("/webhook/echo", vec![0; BODY_MAX + 1]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    }
}

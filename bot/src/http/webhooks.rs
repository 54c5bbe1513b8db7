//! The public listener: messengers' webhooks and nothing else.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use adapters::{
    Webhooks,
    webhook::{self, BODY_MAX},
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Response, StatusCode},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    connection_table::ListenerLimits,
    connections::{self, BodyLimits, refuse},
};

// A sender that dawdles would hold a connection for nothing.
const BODY: BodyLimits = BodyLimits { bytes: BODY_MAX, time: Duration::from_secs(10) };

// Anybody can connect here. Meta and Slack send a request at once and at most some dozens at a time.
const LIMITS: ListenerLimits = ListenerLimits {
    connections: 512,
    per_address: 64,
    unfinished: 64 * 1024 * 1024,
    patience: Duration::from_secs(15),
};

type Hooks = Arc<Vec<Arc<dyn Webhooks>>>;

/// Binds the public listener.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves the messengers' webhooks until the bot stops. Whatever is not one of their paths is 404.
pub async fn serve(listener: TcpListener, webhooks: Vec<Arc<dyn Webhooks>>, stop: CancellationToken) {
    let router = Router::new().fallback(hand_over).with_state(Arc::new(webhooks));
    connections::serve(listener, router, LIMITS, stop).await;
}

async fn hand_over(State(hooks): State<Hooks>, request: Request) -> Response<Body> {
    let Some(hook) = webhook::find(&hooks, request.uri().path()).cloned() else {
        return refuse(StatusCode::NOT_FOUND, "There is nothing here.");
    };
    match connections::whole(request, BODY).await {
        Ok(request) => hook.handle(request).await.map(Body::from),
        Err(refusal) => refusal,
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;

    use axum::body;
    use rustix::process::{Resource, getrlimit, setrlimit};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

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

    /// A connection that sends this and then nothing more.
    async fn held(address: SocketAddr, opening: &[u8]) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(address).await.ok()?;
        // The listener may have closed it already.
        let _ = stream.write_all(opening).await;
        Some(stream)
    }

    async fn post(address: SocketAddr, body: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /webhook/echo HTTP/1.1\r\nHost: bot.example.org\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_flood_of_connections_makes_the_public_listener_deaf() {
        let mut files = getrlimit(Resource::Nofile);
        files.current = files.maximum;
        setrlimit(Resource::Nofile, files).unwrap();
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = tokio::spawn(serve(listener, vec![Arc::new(Echo)], stop.clone()));
        let head = "POST /webhook/echo HTTP/1.1\r\nHost: a\r\n";
        let half = format!("{head}Content-Length: 3000000\r\n\r\n{}", "x".repeat(400_000));
        let chunks = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", "1\r\nx\r\n".repeat(100));
        let floods = [
            ("idle", 1_200, String::new()),
            ("slow headers", 1_200, "POST /webhook/echo HTTP/1.1\r\nHost".into()),
            ("slow bodies", 1_200, format!("{head}Content-Length: 100\r\n\r\nx")),
            ("tiny chunks", 1_200, chunks),
            // 160 MB that wait for their end.
            ("huge bodies", 400, half),
        ];
        for (kind, count, opening) in floods {
            let mut connections = Vec::new();
            for _ in 0..count {
                connections.extend(held(address, opening.as_bytes()).await);
            }
            assert!(connections.len() > count * 9 / 10, "{kind}: {}", connections.len());
            for number in 0..20 {
                let body = format!("message {number}");
                let answer = post(address, &body).await;
                assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&body), "{kind}: {answer}");
            }
        }
        stop.cancel();
        serving.await.unwrap();
    }
}

//! A place on loopback where an app in HTTP mode is called, for tests of an app that has no listener of its own.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http,
};
use futures::future::BoxFuture;
use tokio::{net::TcpListener, task::AbortHandle};

/// Answers a request whose body is whole.
pub type Hooks = Arc<dyn Fn(http::Request<Bytes>) -> BoxFuture<'static, http::Response<Bytes>> + Send + Sync>;

/// The listener; it stops when dropped.
pub struct HookServer {
    /// Its address, without a path.
    pub url: String,
    server: AbortHandle,
}

impl HookServer {
    /// Listens, and hands every request over.
    pub async fn start(hooks: Hooks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let router = Router::new().fallback(hand_over).with_state(hooks);
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { url, server: server.abort_handle() }
    }
}

impl Drop for HookServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn hand_over(State(hooks): State<Hooks>, request: Request) -> http::Response<Body> {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    hooks(http::Request::from_parts(parts, bytes)).await.map(Body::from)
}

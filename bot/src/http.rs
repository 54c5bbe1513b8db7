//! The loopback listener: MCP for agents, health and metrics. The only part that names axum.

mod events;
pub mod host;
mod mcp;
pub mod network;
mod operator;
mod runs;
pub mod services;
pub mod webhooks;

use std::{io, net::Ipv4Addr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
pub use operator::OperatorAccess;
pub use runs::{McpRun, McpRuns, RunGuard};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::http::services::HttpServices;

/// Binds the port on 127.0.0.1; 0 takes a free one.
pub async fn bind(port: u16) -> io::Result<TcpListener> {
    // Never another address: tokens travel here without TLS.
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// Serves until the bot stops.
pub async fn serve(listener: TcpListener, services: Arc<HttpServices>, runs: McpRuns) {
    let stop = services.stop.clone();
    let mcp = Router::new()
        .route_service("/mcp", mcp::service(services.clone()))
        .layer(middleware::from_fn_with_state(runs, authorize));
    let router = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/ws", get(events::follow))
        .with_state(services)
        .merge(mcp)
        .layer(middleware::from_fn(only_loopback));
    let served =
        axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await;
    if let Err(error) = served {
        tracing::error!(%error, "the HTTP listener ended");
    }
}

// A web page must not reach this listener through a browser on this machine: neither under another name (DNS
// rebinding) nor from its own origin.
async fn only_loopback(request: Request, next: Next) -> Response {
    if comes_from_here(request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "This listener is for this machine only.").into_response()
    }
}

fn comes_from_here(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).is_none_or(is_loopback);
    let of_page = text(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    host && (!headers.contains_key(header::ORIGIN) || of_page.is_some_and(|(_, host)| is_loopback(host)))
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    matches!(host, "localhost" | "127.0.0.1" | "::1")
}

// Each run has a token of its own: it decides which tools the caller sees and which rooms its questions go to.
async fn authorize(State(runs): State<McpRuns>, mut request: Request, next: Next) -> Response {
    match bearer(request.headers()).and_then(|token| runs.find(token)) {
        Some(run) => {
            request.extensions_mut().insert(run);
            next.run(request).await
        }
        None => (StatusCode::UNAUTHORIZED, "A run's bearer token is missing or not valid.").into_response(),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

async fn health(State(services): State<Arc<HttpServices>>) -> Response {
    let adapters = services.messengers.health();
    // One messenger is enough: ready means that somebody can reach the bot.
    let ready = adapters.iter().any(|adapter| adapter.up) && !services.stop.is_cancelled();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let list: Vec<Value> = adapters
        .iter()
        .map(|adapter| {
            json!({
                "name": adapter.name,
                "up": adapter.up,
                "reconnects": adapter.reconnects,
                "note": adapter.note,
                "error": adapter.last_error.as_ref().filter(|_| !adapter.up),
            })
        })
        .collect();
    let body =
        json!({ "live": true, "ready": ready, "version": env!("CARGO_PKG_VERSION"), "adapters": list });
    (status, Json(body)).into_response()
}

async fn metrics(State(services): State<Arc<HttpServices>>) -> Response {
    services.metrics.sessions.set(services.agents.all().len() as i64);
    services.metrics.questions.set(services.broker.open_questions().len() as i64);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], services.metrics.text()).into_response()
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machines_names_are_let_in() {
        for host in ["localhost", "localhost:3001", "127.0.0.1:3001", "[::1]:3001"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "[::2]", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}

//! The loopback listener: MCP for agents, health and metrics. The only part that names axum.

mod access;
mod calls;
mod connection_table;
mod connections;
pub mod events;
pub mod host;
mod mcp;
mod messages;
mod operator;
mod runs;
pub mod services;
pub mod web;
pub mod webhooks;

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

pub use access::TcpPeerCheck;
use access::{HttpAccess, only_monitors, only_programs, only_runs};
use adapters::{HealthSnapshot, UnreachedConversation};
use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use connection_table::ListenerLimits;
use connections::BodyLimits;
pub use operator::OperatorAccess;
pub use runs::{McpRuns, RunGuard};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::http::services::HttpServices;
pub use crate::tools::McpRun;

// Everybody here has the same address, agents and the operator's programs alike. A call that asks a person lasts long, and
// such a connection never makes way.
const LIMITS: ListenerLimits = ListenerLimits {
    connections: 512,
    per_address: 512,
    unfinished: 64 * 1024 * 1024,
    patience: Duration::from_secs(30),
};

// An agent's call: a story's text, at most.
const BODY: BodyLimits = BodyLimits { bytes: 4 * 1024 * 1024, time: Duration::from_secs(20) };

/// Binds the port on 127.0.0.1; 0 takes a free one.
pub async fn bind(port: u16) -> io::Result<TcpListener> {
    // Never another address: tokens travel here without TLS.
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// Serves until the bot stops.
pub async fn serve(
    listener: TcpListener,
    services: Arc<HttpServices>,
    runs: McpRuns,
    checks_peer: TcpPeerCheck,
) {
    let port = listener.local_addr().map_or(0, |bound| bound.port());
    let stop = services.tasks.stop.clone();
    let access = HttpAccess { runs, settings: services.settings.clone(), checks_peer };
    // `route_layer`, so that an unknown path is 404 for everybody.
    let mcp = Router::new()
        .route_service("/mcp", mcp::service(services.clone()))
        .route("/messages", post(messages::take))
        .route("/calls", post(calls::before).with_state(services.tools.clone()))
        .route_layer(middleware::from_fn(read_body))
        .route_layer(middleware::from_fn_with_state(access.clone(), only_runs));
    let monitors = Router::new()
        .route("/metrics", get(metrics))
        .route("/ws", get(events::follow))
        .route_layer(middleware::from_fn_with_state(access, only_monitors));
    let router = Router::new()
        .route("/health", get(health))
        .merge(monitors)
        .with_state(services)
        .merge(mcp)
        .layer(middleware::from_fn_with_state(port, only_programs));
    connections::serve(listener, router, LIMITS, stop).await;
}

async fn read_body(request: Request, next: Next) -> Response {
    match connections::whole(request, BODY).await {
        Ok(request) => next.run(request.map(Body::from)).await,
        Err(refusal) => refusal,
    }
}

async fn health(State(services): State<Arc<HttpServices>>) -> Response {
    let adapters = services.messengers.health();
    // One messenger is enough: ready means that somebody can reach the bot.
    let ready = adapters.iter().any(|adapter| adapter.up) && !services.tasks.stop.is_cancelled();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let list: Vec<Value> = adapters
        .iter()
        .map(|adapter| {
            json!({
                "name": adapter.name,
                "up": adapter.up,
                "reconnects": adapter.reconnects,
                "note": adapter.note,
                "undelivered": undelivered(adapter),
                "error": adapter.last_error.as_ref().filter(|_| !adapter.up),
            })
        })
        .collect();
    let body =
        json!({ "live": true, "ready": ready, "version": env!("CARGO_PKG_VERSION"), "adapters": list });
    (status, Json(body)).into_response()
}

/// The conversations in which messages do not arrive.
fn undelivered(adapter: &HealthSnapshot) -> Vec<Value> {
    let entry = |it: &UnreachedConversation| json!({ "room": it.id, "why": it.why, "messages": it.messages });
    adapter.unreached.iter().map(entry).collect()
}

async fn metrics(State(services): State<Arc<HttpServices>>) -> Response {
    services.metrics.sessions.set(services.agents.all().len() as i64);
    services.metrics.questions.set(services.broker.open_questions().len() as i64);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], services.metrics.text()).into_response()
}

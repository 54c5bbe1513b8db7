//! The web page's listener: its files, signing in, what it reads, and the socket that keeps it current.
//!
//! A listener of its own, because a tunnel or a proxy in front of the page must not publish what the loopback listener has.

mod api;
mod board;
mod cards;
mod files;
mod kept;
mod live;
mod origin;
mod output;
mod sign_in;
mod view;
mod visitors;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use adapters::web::Web;
use axum::{
    Router, middleware,
    routing::{get, post},
};
use pipeline::{Pipeline, event::RunId};
use tokio::{net::TcpListener, sync::Semaphore};
use tower_http::compression::CompressionLayer;

pub use self::{board::LiveBoard, files::build, origin::PageOrigins};
use self::{
    origin::{only_this_page, protect},
    visitors::only_people,
};
use super::{connection_table::ListenerLimits, connections};
use crate::{
    bot_tasks::BotTasks, clock::Clock, config::current::LiveSettings, permission::PermissionBroker,
    web_sessions::WebSessions,
};

// A page has one socket and a few requests at a time; behind a proxy all of them have one address.
const LIMITS: ListenerLimits = ListenerLimits {
    connections: 1024,
    per_address: 1024,
    unfinished: 16 * 1024 * 1024,
    patience: Duration::from_secs(30),
};

/// Everything that the page needs.
pub struct WebServices {
    pub settings: Arc<LiveSettings>,
    pub sessions: WebSessions,
    pub pipeline: Pipeline,
    pub chat: Arc<Web>,
    pub clock: Clock,
    pub tasks: BotTasks,
    board: LiveBoard,
    browsers: Arc<Semaphore>,
}

/// The parts of [`WebServices`] that others have, too.
pub struct WebParts {
    pub settings: Arc<LiveSettings>,
    pub sessions: WebSessions,
    pub pipeline: Pipeline,
    pub broker: PermissionBroker,
    pub chat: Arc<Web>,
    pub clock: Clock,
    pub tasks: BotTasks,
}

impl WebServices {
    pub fn new(parts: WebParts) -> Arc<Self> {
        let WebParts { settings, sessions, pipeline, broker, chat, clock, tasks } = parts;
        let board = LiveBoard::new(pipeline.clone(), broker, clock.clone());
        let browsers = Arc::new(Semaphore::new(live::BROWSERS));
        Arc::new(Self { settings, sessions, pipeline, chat, clock, tasks, board, browsers })
    }

    fn is_living(&self, run: &RunId) -> bool {
        self.pipeline.snapshot().runs.iter().any(|living| living.id == *run)
    }
}

/// Binds the page's address.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until the bot stops.
pub async fn serve(listener: TcpListener, services: Arc<WebServices>, origins: PageOrigins) {
    let stop = services.tasks.stop.clone();
    let watching = services.tasks.tracker.spawn({
        let (board, stop) = (services.board.clone(), stop.clone());
        let (chat, sessions) = (services.chat.clone(), services.sessions.clone());
        async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = board.run() => {}
                () = attend(chat, sessions) => {}
            }
        }
    });
    let read = Router::new()
        .route("/api/me", get(api::me))
        .route("/api/board", get(api::board))
        .route("/api/archive", get(api::archive))
        .route("/api/story/{id}", get(api::story))
        .route("/api/story/{id}/diff", get(api::diff))
        .route("/api/run/{id}/log", get(api::log))
        .route("/api/cost", get(api::cost))
        .route("/api/file", get(api::file))
        .route("/logout", post(sign_in::logout))
        .route_layer(middleware::from_fn_with_state(services.clone(), only_people))
        .layer(CompressionLayer::new());
    let router = Router::new()
        .route("/login", post(sign_in::login))
        .route("/live", get(live::live))
        .merge(read)
        .fallback(get(files::serve))
        .with_state(services)
        .layer(middleware::from_fn_with_state(Arc::new(origins), only_this_page))
        .layer(middleware::from_fn(protect));
    connections::serve(listener, router, LIMITS, stop).await;
    let _ = watching.await;
}

/// The room of everybody follows the pipeline as long as somebody is signed in, also without an open page: a question waits for them.
async fn attend(chat: Arc<Web>, sessions: WebSessions) {
    let mut changes = sessions.changes();
    loop {
        chat.set_attended(sessions.has_any());
        if changes.changed().await.is_err() {
            return;
        }
    }
}

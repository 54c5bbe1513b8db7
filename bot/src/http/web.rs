//! The web page's listener: its files, signing in, what it reads, and the socket that keeps it current.
//!
//! A listener of its own, because a tunnel or a proxy in front of the page must not publish what the loopback listener has.

mod api;
mod board;
mod cards;
mod files;
mod frames;
mod history;
mod kept;
mod live;
mod origin;
mod output;
mod sign_in;
mod upload;
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
    visitors::{no_agents, only_people},
};
use super::{access::TcpPeerCheck, connection_table::ListenerLimits, connections};
use crate::{
    bot_tasks::BotTasks, clock::Clock, config::current::LiveSettings, permission::PermissionBroker,
    sent_files::FILE_MAX, web_sessions::WebSessions,
};

// A page has one socket and a few requests at a time; behind a proxy all of them have one address.
const LIMITS: ListenerLimits = ListenerLimits {
    connections: 1024,
    per_address: 1024,
    // Files of people who are signed in, and small bodies.
    unfinished: upload::AT_ONCE * FILE_MAX as usize + 16 * 1024 * 1024,
    patience: Duration::from_secs(30),
};

/// Everything that the page needs.
pub struct WebServices {
    pub settings: Arc<LiveSettings>,
    pub sessions: WebSessions,
    pub pipeline: Pipeline,
    pub broker: PermissionBroker,
    pub chat: Arc<Web>,
    pub clock: Clock,
    pub tasks: BotTasks,
    checks_peer: TcpPeerCheck,
    board: LiveBoard,
    browsers: Arc<Semaphore>,
    uploading: Arc<Semaphore>,
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
    /// Tells agents' processes from others of this machine.
    pub checks_peer: TcpPeerCheck,
}

impl WebServices {
    pub fn new(parts: WebParts) -> Arc<Self> {
        let WebParts { settings, sessions, pipeline, broker, chat, clock, tasks, checks_peer } = parts;
        let board = LiveBoard::new(pipeline.clone(), broker.clone(), clock.clone());
        let browsers = Arc::new(Semaphore::new(live::BROWSERS));
        let uploading = Arc::new(Semaphore::new(upload::AT_ONCE));
        Arc::new(Self {
            settings,
            sessions,
            pipeline,
            broker,
            chat,
            clock,
            tasks,
            checks_peer,
            board,
            browsers,
            uploading,
        })
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
        .route("/api/story/{id}/history", get(history::history))
        .route("/api/run/{id}/log", get(api::log))
        .route("/api/cost", get(api::cost))
        .route("/api/file", get(api::file))
        .route("/api/upload", post(upload::upload))
        .route("/logout", post(sign_in::logout))
        .route_layer(middleware::from_fn_with_state(services.clone(), only_people))
        .layer(CompressionLayer::new());
    let act = Router::new()
        .route("/login", post(sign_in::login))
        .route("/live", get(live::live))
        .route_layer(middleware::from_fn_with_state(services.clone(), no_agents));
    let router = act
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

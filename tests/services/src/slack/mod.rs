//! A Slack on this machine: Web API, Socket Mode and HTTP events, with verbs to play people and faults, and a log of all it was asked.
//!
//! It is no echo of storkit's own client: `tests/slack/bolt.py` runs the official SDK (slack_bolt) against it. It refuses what
//! Slack refuses: unknown tokens, missing scopes, channels without the bot, blocks that are too long, edits of what is not the
//! app's own, over fifty edits a minute. What it sends has the form of the payloads in Slack's own documentation.

mod api;
mod blocks;
mod deliver;
mod files;
mod hooks;
mod replies;
mod state;
mod verbs;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use deliver::signature;
pub use files::only_its_id;
pub use hooks::{HookServer, Hooks};
pub use reqwest;
use state::State;
pub use state::{Call, Fault, Message};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::AbortHandle,
};

pub const BOT_TOKEN: &str = "xoxb-m4rked-5ecret";
/// The app's token for Socket Mode.
pub const APP_TOKEN: &str = "xapp-m4rked-5ecret";
/// The secret that signs requests of the HTTP mode.
pub const SIGNING_SECRET: &str = "8f742231b10e8888m4rked-5ecret";
/// The bot's user id.
pub const BOT: &str = "U0BOT";
/// The bot's id as an app.
pub const BOT_ID: &str = "B0BOT";

const PATIENCE: Duration = Duration::from_secs(60);

/// The stand-in; it stops when dropped.
pub struct Slack {
    shared: Arc<Shared>,
    tasks: [AbortHandle; 2],
}

struct Shared {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    posts: mpsc::UnboundedSender<deliver::Post>,
    base: String,
}

impl Slack {
    /// A workspace with the channel `C1`, the people `U1` (Ann), `U2` (Bob) and `U3` (Cleo) in it, and direct conversations `D1` and
    /// `D2` of the first two with the bot. `C2` is a channel without the bot, and `C7` the group conversation of Ann, Bob and the
    /// bot.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("its address");
        let (posts, to_post) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            posts,
            state: Mutex::new(State::new()),
            changes: watch::Sender::new(0),
            base: format!("http://{address}"),
        });
        let router = api::router(shared.clone());
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        let poster = tokio::spawn(deliver::post_all(shared.clone(), to_post));
        Self { shared, tasks: [server.abort_handle(), poster.abort_handle()] }
    }

    pub fn api_url(&self) -> String {
        format!("{}/api", self.shared.base)
    }
}

impl Drop for Slack {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        let shown = {
            let mut state = self.shared.state();
            state.drop_sockets();
            state.all_shown()
        };
        crate::no_secret_in("Slack", &shown);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut self.state());
        self.changes.send_modify(|number| *number += 1);
        value
    }

    /// Waits until `check` finds something, looking again after every change.
    async fn until<T>(&self, mut check: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let mut changes = self.changes.subscribe();
        let found = async {
            loop {
                changes.mark_unchanged();
                if let Some(value) = check(&self.state()) {
                    return value;
                }
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.ok()
    }
}

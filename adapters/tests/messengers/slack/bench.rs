//! A stand-in Slack and the adapter's side of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use adapters::{
    AdapterContext, AdapterError, AllowedPeople, CommandInfo, HealthSnapshot, Identity, Incoming, PersonAct,
    Room, Secret, Webhooks as _,
    slack::{ConnectionMode, Slack as Adapter, SlackConfig},
    supervise::{SupervisedAdapter, supervise},
};
use services::slack::{APP_TOKEN, BOT_TOKEN, HookServer, SIGNING_SECRET, Slack};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

/// How Slack reaches the bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Socket,
    Http,
}

/// The one that runs now, for the hooks.
type Current = Arc<Mutex<Option<Arc<Adapter>>>>;

/// See the module.
pub struct Bench {
    pub slack: Slack,
    pub way: Way,
    state: tempfile::TempDir,
    current: Current,
    hooks: HookServer,
}

impl Bench {
    pub async fn new(way: Way) -> Self {
        let slack = Slack::start().await;
        let current = Current::default();
        let hooks = hooks(current.clone()).await;
        if way == Way::Http {
            let url = &hooks.url;
            slack.call_app_at(
                &format!("{url}/webhook/slack"),
                &format!("{url}/webhook/slack/command"),
                &format!("{url}/webhook/slack/interactive"),
            );
        }
        Self { slack, way, state: tempfile::tempdir().expect("a folder"), current, hooks }
    }

    pub fn config(&self) -> SlackConfig {
        SlackConfig {
            mode: if self.way == Way::Socket { ConnectionMode::Socket } else { ConnectionMode::Http },
            bot_token: Secret::new(BOT_TOKEN),
            app_token: Secret::new(APP_TOKEN),
            signing_secret: Secret::new(SIGNING_SECRET),
            channel_ids: vec!["C1".into()],
            people: AllowedPeople {
                allowed_users: vec!["U1".into(), "U2".into()],
                ..AllowedPeople::default()
            },
            api_url: self.slack.api_url(),
        }
    }

    pub fn with(&self, config: SlackConfig) -> Arc<Adapter> {
        let command =
            |name: &str| CommandInfo { name: name.into(), args: String::new(), summary: String::new() };
        let identity = Identity {
            display_name: "Timmy".into(),
            prefixes: vec!["!".into()],
            commands: vec![command("status")],
        };
        let setting = AdapterContext { identity, state: self.state.path().join("slack") };
        let adapter = Adapter::new(config, setting).expect("good settings");
        *self.current.lock().expect("no panic") = Some(adapter.clone());
        adapter
    }

    pub fn make(&self) -> Arc<Adapter> {
        self.with(self.config())
    }

    /// Runs and connects.
    pub async fn open(&self) -> Running {
        let running = Running::start(self.make());
        running.up().await;
        running
    }

    /// Where Slack calls the bot.
    pub fn hook(&self, path: &str) -> String {
        format!("{}{path}", self.hooks.url)
    }
}

/// An adapter that runs, and what it heard.
pub struct Running {
    pub adapter: Arc<Adapter>,
    pub inbox: mpsc::Receiver<Incoming>,
    pub supervised: SupervisedAdapter,
    stop: CancellationToken,
}

impl Running {
    /// The bot takes one message at a time.
    pub fn start(adapter: Arc<Adapter>) -> Self {
        let (sender, inbox) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let supervised = supervise(adapter.clone(), sender, stop.clone());
        Self { adapter, inbox, supervised, stop }
    }

    pub fn health(&self) -> HealthSnapshot {
        self.supervised.health.snapshot()
    }

    /// Waits until the health is so.
    pub async fn healthy(&self, what: &str, check: impl Fn(&HealthSnapshot) -> bool) {
        let so = async {
            while !check(&self.health()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, so).await;
        assert!(came.is_ok(), "never {what}: {:?}", self.health());
    }

    pub async fn up(&self) {
        self.healthy("up", |health| health.up).await;
    }

    pub async fn hear(&mut self) -> Incoming {
        let next = tokio::time::timeout(PATIENCE, self.inbox.recv()).await;
        next.unwrap_or_else(|_| panic!("nothing was heard: {:?}", self.health())).expect("it runs")
    }

    /// The next thing a person wrote.
    pub async fn hear_text(&mut self) -> String {
        match self.hear().await.act {
            PersonAct::Said { text } => text,
            other => panic!("not words but {other:?}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn hooks(current: Current) -> HookServer {
    HookServer::start(Arc::new(move |request| {
        let adapter = current.lock().expect("no panic").clone();
        Box::pin(async move {
            match adapter {
                Some(adapter) => adapter.handle(request).await,
                None => adapters::webhook::respond(http::StatusCode::SERVICE_UNAVAILABLE, "nobody is here"),
            }
        })
    }))
    .await
}

pub fn room(id: &str) -> Room {
    Room::new("slack", id)
}

/// The sentence of a setting that is wrong.
#[track_caller]
pub fn config_error(result: Result<(), AdapterError>, key: &str) -> String {
    match result {
        Err(AdapterError::Config { key: named, why }) => {
            assert_eq!(named, key, "{why}");
            why
        }
        other => panic!("no error of {key} but {other:?}"),
    }
}

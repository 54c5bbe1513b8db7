//! WhatsApp against the stand-in Graph API, which `tests/whatsapp` checks against an independent client.

mod enclosed;
mod errors;
mod incoming;
mod outgoing;
mod sdk;
mod window;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use adapters::{
    Adapter, AdapterContext, AdapterError, AllowedPeople, CommandInfo, Identity, Incoming, MessageId, Room,
    Secret, Webhooks,
    supervise::{SupervisedAdapter, supervise},
    testing::conformance::{self, MessengerFixture, SeenMessage},
    whatsapp::{NAME, WhatsApp, WhatsAppConfig},
};
use async_trait::async_trait;
use services::whatsapp::{APP_SECRET, Graph, NUMBER_ID, Person, TOKEN, VERIFY_TOKEN, listen};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

/// A stand-in, a person on the allow-list, and a place for the adapter's state.
pub struct Place {
    pub graph: Graph,
    pub ann: Person,
    pub config: WhatsAppConfig,
    folder: TempDir,
    /// Who answers the webhook now.
    current: Arc<Mutex<Option<Arc<WhatsApp>>>>,
}

impl Place {
    /// Where the person is known by a user id and a number.
    pub async fn new() -> Self {
        let graph = Graph::start().await;
        let ann = graph.somebody("Ann");
        Self::of(graph, ann).await
    }

    /// Where this person is on the list, by user id if they have one.
    pub async fn of(graph: Graph, ann: Person) -> Self {
        let current: Arc<Mutex<Option<Arc<WhatsApp>>>> = Arc::default();
        let answering = current.clone();
        let address = listen(move |request| {
            let adapter = answering.lock().expect("no test panicked in it").clone();
            async move {
                match adapter {
                    Some(adapter) => adapter.handle(request).await,
                    None => adapters::webhook::respond(http::StatusCode::BAD_GATEWAY, "nobody is there"),
                }
            }
        })
        .await;
        graph.call_back(&format!("{address}/webhook/whatsapp"));
        let entry = ann.user_id().or(ann.phone()).expect("some id");
        let config = WhatsAppConfig {
            phone_number_id: NUMBER_ID.into(),
            access_token: Secret::new(TOKEN),
            app_secret: Secret::new(APP_SECRET),
            verify_token: Secret::new(VERIFY_TOKEN),
            people: AllowedPeople { allowed_users: vec![entry], ..AllowedPeople::default() },
            window_template: String::new(),
            api_url: graph.url(),
        };
        Self { graph, ann, config, folder: tempfile::tempdir().expect("a folder"), current }
    }

    /// Another adapter on the same state, which takes over the webhook.
    pub fn adapter(&self) -> Arc<WhatsApp> {
        let graph = self.graph.clone();
        let setting = AdapterContext { identity: identity(), state: self.folder.path().join("whatsapp") };
        let adapter = WhatsApp::with_clock(self.config.clone(), setting, Arc::new(move || graph.now()));
        let adapter = adapter.expect("the settings are good");
        *self.current.lock().expect("no test panicked in it") = Some(adapter.clone());
        adapter
    }

    /// A file in the adapter's folder.
    pub fn file(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join("whatsapp").join(path)
    }

    /// The adapter runs, and what it hears comes to the test.
    pub async fn bot(&self) -> Bot {
        self.bot_with_room_for(64).await
    }

    /// The same with an inbox that holds so many messages.
    pub async fn bot_with_room_for(&self, messages: usize) -> Bot {
        let adapter = self.adapter();
        adapter.prepare().await.expect("it is prepared");
        let (sender, inbox) = mpsc::channel(messages);
        let stop = CancellationToken::new();
        let supervised = supervise(adapter.clone(), sender, stop.clone());
        let bot = Bot { adapter, inbox, supervised, stop };
        bot.until(|health| health.up.then_some(())).await;
        bot
    }

    /// The person's conversation.
    pub fn room(&self) -> Room {
        Room::new(NAME, self.config.people.allowed_users[0].as_str())
    }

    /// The bot, after the person wrote, so that their window is open.
    pub async fn talking(&self) -> Bot {
        let mut bot = self.bot().await;
        self.ann.say("hello").await;
        assert_eq!(bot.hear_text().await, "hello");
        bot
    }
}

/// How the tests' bot is called.
pub fn identity() -> Identity {
    let command = |name: &str, summary: &str| CommandInfo {
        name: name.into(),
        args: String::new(),
        summary: summary.into(),
    };
    Identity {
        display_name: "Timmy".into(),
        prefixes: vec!["!".into()],
        commands: vec![command("status", "Show what runs"), command("htop", "Show load")],
    }
}

/// The adapter as the bot runs it.
pub struct Bot {
    pub adapter: Arc<WhatsApp>,
    pub inbox: mpsc::Receiver<Incoming>,
    pub supervised: SupervisedAdapter,
    pub stop: CancellationToken,
}

impl Bot {
    pub async fn hear(&mut self) -> Incoming {
        let next = tokio::time::timeout(PATIENCE, self.inbox.recv()).await;
        next.unwrap_or_else(|_| panic!("nothing was heard: {:?}", self.supervised.health)).expect("it runs")
    }

    pub async fn hear_text(&mut self) -> String {
        match self.hear().await.act {
            adapters::PersonAct::Said { text } => text,
            other => panic!("not words but {other:?}"),
        }
    }

    /// Waits for a state of health.
    pub async fn until<T>(&self, check: impl Fn(&adapters::HealthSnapshot) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(value) = check(&self.supervised.health.snapshot()) {
                    return value;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("never so: {:?}", self.supervised.health))
    }

    /// Waits until the operator is told this.
    pub async fn noted(&self, text: &str) -> String {
        self.until(|health| health.note.clone().filter(|note| note.contains(text))).await
    }

    pub async fn close(self) {
        self.stop.cancel();
        drop(self.inbox);
        tokio::time::timeout(PATIENCE, self.supervised.task).await.expect("it ends").expect("no panic");
    }
}

struct Conversation(Place);

impl Conversation {
    async fn new() -> Self {
        let place = Place::new().await;
        // A conversation is begun by the person: before that nothing can be sent.
        let _first = place.adapter();
        place.ann.say("hello").await;
        Self(place)
    }
}

#[async_trait]
impl MessengerFixture for Conversation {
    fn adapter(&self) -> Arc<dyn Adapter> {
        self.0.adapter()
    }

    fn room(&self) -> Room {
        self.0.room()
    }

    fn person(&self) -> String {
        self.0.ann.user_id().expect("she has one")
    }

    async fn say(&self, text: &str) -> MessageId {
        MessageId::new(self.0.ann.say(text).await)
    }

    async fn reply(&self, to: &MessageId, text: &str) -> MessageId {
        MessageId::new(self.0.ann.reply(to.as_str(), text).await)
    }

    async fn say_in_thread(&self, _root: &MessageId, _text: &str) -> Option<MessageId> {
        None
    }

    async fn pick(&self, on: &MessageId, choice: &str) {
        self.0.ann.press(on.as_str(), choice).await;
    }

    async fn another_bot_says(&self, _text: &str) -> bool {
        false
    }

    async fn redeliver(&self, id: &MessageId) -> bool {
        self.0.ann.redeliver(id.as_str()).await;
        true
    }

    async fn limit_next(&self) {
        self.0.graph.fail_next(131_056, 400);
    }

    async fn cut(&self) {
        self.0.graph.lose_next_webhook();
    }

    async fn see(&self, text: &str) -> SeenMessage {
        seen(self, self.0.ann.see(text).await)
    }

    async fn shown(&self) -> Vec<SeenMessage> {
        self.0.ann.shown().into_iter().map(|shown| seen(self, shown)).collect()
    }
}

fn seen(world: &Conversation, shown: services::whatsapp::Shown) -> SeenMessage {
    SeenMessage {
        choices: shown.titles(),
        id: MessageId::new(shown.id),
        text: shown.text,
        reply_to: shown.reply_to.map(MessageId::new),
        room: world.room(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_what_every_messenger_does() {
    conformance::all(Conversation::new).await;
}

#[tokio::test]
async fn wrong_settings_end_the_start_with_the_key() {
    let place = Place::new().await;
    let setting = || AdapterContext { identity: identity(), state: place.file("other") };
    let made = |change: fn(&mut WhatsAppConfig)| {
        let mut config = place.config.clone();
        change(&mut config);
        WhatsApp::new(config, setting())
    };
    for (key, change) in [
        ("whatsapp.app_secret", (|config| config.app_secret = Secret::default()) as fn(&mut WhatsAppConfig)),
        ("whatsapp.verify_token", |config| config.verify_token = Secret::default()),
        ("whatsapp.allowed_users", |config| config.people = AllowedPeople::default()),
    ] {
        let error = made(change).err().expect("refused");
        assert!(matches!(&error, AdapterError::Config { key: it, .. } if *it == key), "{error}");
    }
    let asked = |change: fn(&mut WhatsAppConfig)| {
        let adapter = made(change).expect("Meta has to be asked");
        async move { adapter.prepare().await.expect_err("Meta refuses").to_string() }
    };
    let token = asked(|config| config.access_token = Secret::new("EAAJanother")).await;
    insta::assert_snapshot!(token, @"`whatsapp.access_token` in bot.toml: Meta refuses it: (190) Error validating access token. Make a token of a system user that does not expire; docs/whatsapp.md shows where.");
    let number = asked(|config| config.phone_number_id = "15550783881".into()).await;
    assert!(number.starts_with("`whatsapp.phone_number_id` in bot.toml: Meta does not know it"), "{number}");
    assert!(!format!("{token}{number}").contains("EAAJ"));
}

#[tokio::test]
async fn without_an_answer_the_start_goes_on() {
    let place = Place::new().await;
    let mut config = place.config.clone();
    config.api_url = "http://127.0.0.1:9/v23.0".into();
    let setting = AdapterContext { identity: identity(), state: place.file("other") };
    let adapter = WhatsApp::new(config, setting).unwrap();
    assert!(matches!(adapter.prepare().await, Err(AdapterError::Unreachable(_))));
}

#[tokio::test]
async fn the_menu_is_the_registrys_commands() {
    let place = Place::new().await;
    let bot = place.bot().await;
    let menu: Vec<_> = place.graph.menu().into_iter().map(|(name, text)| format!("{name}: {text}")).collect();
    assert_eq!(menu, ["status: Show what runs", "htop: Show load"]);
    bot.close().await;
}

/// The time by which tests say "long ago".
pub fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

/// Not before the stand-in's time.
pub fn is_recent(graph: &Graph, at: SystemTime) -> bool {
    graph.now().duration_since(at).is_ok_and(|age| age < Duration::from_secs(300))
}

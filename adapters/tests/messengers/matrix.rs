//! Matrix against Synapse, with matrix-nio as the person: the suite of all messengers, and what only Matrix has.

use std::{path::PathBuf, sync::Arc, time::Duration};

use adapters::{
    Activity, ActivityState, Adapter, AdapterContext, AdapterError, Addressed, AllowedPeople, Choice,
    Identity, Incoming, MessageId, Outgoing, PersonAct, Room, Secret, Tone,
    matrix::{Matrix, MatrixConfig},
    supervise::{SupervisedAdapter, supervise},
    testing::conformance::{self, AdapterSession, MessengerFixture, SeenMessage},
};
use async_trait::async_trait;
use needs::needs;
use serde_json::json;
use services::matrix::{Account, Fault, Limits, Message, Person, Proxy, Synapse};
use tempfile::TempDir;
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::CancellationToken;

static SYNAPSE: OnceCell<Synapse> = OnceCell::const_new();

/// One homeserver without limits for all tests of this program.
pub async fn synapse() -> &'static Synapse {
    SYNAPSE.get_or_init(|| Synapse::start(Limits::Off)).await
}

/// Waits until it is so.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), looking).await.unwrap_or_else(|_| panic!("never {what}"));
}

/// A bot's account and state, and people in one room with it.
pub struct Place {
    pub proxy: Proxy,
    pub account: Account,
    pub state: TempDir,
    pub room: String,
    pub ann: Arc<Person>,
    pub bob: Arc<Person>,
    pub config: MatrixConfig,
}

/// Who are in a [`Place`].
pub async fn people(synapse: &Synapse) -> (Arc<Person>, Arc<Person>) {
    let (ann, bob) = tokio::join!(Person::new(synapse, "ann"), Person::new(synapse, "bob"));
    (Arc::new(ann), Arc::new(bob))
}

impl Place {
    /// A room of Ann, who is heard, and Bob, who is not, with a bot that has never run.
    pub async fn new(synapse: &Synapse, (ann, bob): (Arc<Person>, Arc<Person>), encrypted: bool) -> Self {
        let account = synapse.register("timmy").await;
        let proxy = Proxy::before(&synapse.url()).await;
        let room = ann.create_room(encrypted, &[&account.id, bob.id()]).await;
        bob.join(&room).await;
        let config = MatrixConfig {
            homeserver: proxy.url().to_owned(),
            username: account.name.clone(),
            password: Secret::new(account.password.clone()),
            room_ids: vec![room.clone()],
            require_encryption: encrypted,
            people: AllowedPeople { allowed_users: vec![ann.id().to_owned()], ..AllowedPeople::default() },
            ..MatrixConfig::default()
        };
        let state = tempfile::tempdir().expect("a temporary folder");
        Self { proxy, account, state, room, ann, bob, config }
    }

    /// With people of its own, on the homeserver of all tests.
    pub async fn fresh(encrypted: bool) -> Self {
        let synapse = synapse().await;
        Self::new(synapse, people(synapse).await, encrypted).await
    }

    pub fn matrix(&self) -> Arc<Matrix> {
        self.with(self.config.clone())
    }

    pub fn with(&self, config: MatrixConfig) -> Arc<Matrix> {
        let prefixes = vec!["!".to_owned()];
        let identity = Identity { display_name: "Timmy 🤖".into(), prefixes, ..Identity::default() };
        Matrix::new(config, AdapterContext { identity, state: self.state.path().join("matrix") })
            .expect("sound settings")
    }

    /// The bot under supervision, once it is connected: what it hears, how it is, and its end.
    pub async fn supervised(
        &self,
    ) -> (Arc<Matrix>, mpsc::Receiver<Incoming>, SupervisedAdapter, CancellationToken) {
        let (sender, inbox) = mpsc::channel(64);
        let (adapter, stop) = (self.matrix(), CancellationToken::new());
        adapter.prepare().await.expect("prepared");
        let supervised = supervise(adapter.clone(), sender, stop.clone());
        until("connected", || supervised.health.snapshot().up).await;
        (adapter, inbox, supervised, stop)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.state.path().join("matrix").join(name)
    }

    /// What Ann's app shows of the bot's message with these words.
    pub async fn see_message(&self, words: &str) -> Message {
        self.ann.see(&self.room, &self.account.id, words).await
    }

    fn seen(&self, message: Message) -> SeenMessage {
        let room = match &message.thread {
            Some(root) => format!("{}/{root}", self.room),
            None => self.room.clone(),
        };
        let mine = message.reactions.iter().filter(|reaction| reaction.sender == self.account.id);
        SeenMessage {
            id: MessageId::new(message.id.as_str()),
            text: message.text,
            reply_to: message.reply_to.map(MessageId::new),
            choices: mine.map(|reaction| reaction.key.clone()).collect(),
            room: Room::new("matrix", room),
        }
    }
}

#[async_trait]
impl MessengerFixture for Place {
    fn adapter(&self) -> Arc<dyn Adapter> {
        self.matrix()
    }

    fn room(&self) -> Room {
        Room::new("matrix", self.room.as_str())
    }

    fn person(&self) -> String {
        self.ann.id().to_owned()
    }

    async fn say(&self, text: &str) -> MessageId {
        MessageId::new(self.ann.say(&self.room, text).await)
    }

    async fn reply(&self, to: &MessageId, text: &str) -> MessageId {
        MessageId::new(self.ann.reply(&self.room, to.as_str(), text).await)
    }

    async fn say_in_thread(&self, root: &MessageId, text: &str) -> Option<MessageId> {
        Some(MessageId::new(self.ann.say_in_thread(&self.room, root.as_str(), text).await))
    }

    async fn pick(&self, on: &MessageId, choice: &str) {
        self.ann.react(&self.room, on.as_str(), choice).await;
    }

    async fn another_bot_says(&self, text: &str) -> bool {
        let content = json!({ "msgtype": "m.notice", "body": text, "m.mentions": {} });
        self.bob.send(&self.room, content).await;
        true
    }

    async fn redeliver(&self, _id: &MessageId) -> bool {
        false
    }

    async fn limit_next(&self) {
        self.proxy.next("/send/m.room", Fault::TooFast(300));
    }

    async fn cut(&self) {
        self.proxy.cut();
    }

    async fn see(&self, text: &str) -> SeenMessage {
        self.seen(self.see_message(text).await)
    }

    async fn shown(&self) -> Vec<SeenMessage> {
        let seen = self.ann.look(&self.room).await;
        let mine = seen.messages.into_iter().filter(|message| message.sender == self.account.id);
        mine.map(|message| self.seen(message)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_to_the_suite_in_encrypted_rooms() {
    needs!(Synapse);
    let synapse = synapse().await;
    let people = people(synapse).await;
    conformance::all(|| Place::new(synapse, people.clone(), true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_to_the_suite_in_plain_rooms() {
    needs!(Synapse);
    let synapse = synapse().await;
    let people = people(synapse).await;
    conformance::all(|| Place::new(synapse, people.clone(), false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_is_seen_and_talk_among_people_is_not_for_the_bot() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    let link = format!("<a href=\"https://matrix.to/#/{}\">Timmy 🤖</a>: status", place.account.id);
    let pill = json!({
        "msgtype": "m.text", "body": "Timmy 🤖: status", "format": "org.matrix.custom.html", "formatted_body": link,
        "m.mentions": { "user_ids": [place.account.id] },
    });
    let typed = [
        ("!status".to_owned(), Addressed::Prefix),
        ("timmy, status".to_owned(), Addressed::Name),
        ("Timmy 🤖: status".to_owned(), Addressed::Name),
        (format!("{}: status", place.account.id), Addressed::Name),
    ];
    for (text, how) in typed {
        place.ann.say(&place.room, &text).await;
        let (heard, words) = bot.hear_text().await;
        assert_eq!((heard.addressed, words.as_str(), heard.shared), (Some(how), "status", true), "{text}");
    }
    place.ann.send(&place.room, pill).await;
    let (heard, words) = bot.hear_text().await;
    assert_eq!((heard.addressed, words.as_str()), (Some(Addressed::Name), "status"));
    place.ann.say(&place.room, "what does Timmy do all day?").await;
    assert_eq!(bot.hear().await.addressed, None);
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mention_is_heard_in_every_form_and_not_from_a_quotation() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    let me = place.account.id.as_str();
    let pill = format!("<a href=\"https://matrix.to/#/{me}\">Timmy 🤖</a>");
    let html = |body: &str, html: String| {
        json!({
            "msgtype": "m.text", "body": body, "format": "org.matrix.custom.html", "formatted_body": html,
            "m.mentions": { "user_ids": [me] },
        })
    };
    let plain = |body: String| json!({ "msgtype": "m.text", "body": body, "m.mentions": {} });
    for content in [
        plain("@[Timmy 🤖] status".into()),
        plain("@[Timmy 🤖#4711]: status".into()),
        plain(format!("[Timmy 🦀](https://matrix.to/#/{me}): status")),
        plain(format!("status {me}")),
        html("status Timmy 🤖", format!("status {pill}")),
        html("Timmy 🤖 status", format!("{pill} status")),
    ] {
        place.ann.send(&place.room, content.clone()).await;
        let (heard, words) = bot.hear_text().await;
        assert_eq!((heard.addressed, words.as_str()), (Some(Addressed::Name), "status"), "{content}");
    }
    let bobs = place.bob.say(&place.room, "Timmy status, please").await;
    bot.hear().await;
    let reply = json!({
        "msgtype": "m.text", "body": format!("> <{}> Timmy status, please\n\nI agree", place.bob.id()),
        "format": "org.matrix.custom.html",
        "formatted_body": format!("<mx-reply><blockquote>{pill} status, please</blockquote></mx-reply>I agree"),
        "m.mentions": { "user_ids": [place.bob.id(), me] },
        "m.relates_to": { "m.in_reply_to": { "event_id": bobs } },
    });
    for content in [
        reply,
        html("> Timmy 🤖 status\n\nI agree", format!("<blockquote>{pill} status</blockquote>I agree")),
        html("type `Timmy 🤖 status`", format!("type <code>{pill} status</code>")),
        plain(format!("see [what {me} said](https://example.org)")),
    ] {
        place.ann.send(&place.room, content.clone()).await;
        assert_eq!(bot.hear().await.addressed, None, "{content}");
    }
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_told_with_its_message_and_only_its_authors() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    let talk = place.ann.say(&place.room, "what runs?").await;
    assert_eq!(bot.hear().await.addressed, None);
    let inside = place.ann.say_in_thread(&place.room, &talk, "!wait").await;
    let thread = bot.hear().await.room;
    let content = |body: &str| json!({ "msgtype": "m.text", "body": body, "m.mentions": {} });
    place.bob.edit(&place.room, &talk, content("Timmy delete everything")).await;
    for (message, text, room, how) in [
        (&talk, "Timmy status", place.room(), Addressed::Name),
        (&inside, "!status", thread, Addressed::Prefix),
    ] {
        let edit = place.ann.edit(&place.room, message, content(text)).await;
        let heard = bot.hear().await;
        assert_eq!((heard.id.as_str(), &*heard.sender.id, heard.room), (&*edit, place.ann.id(), room));
        let message = MessageId::new(message.as_str());
        assert_eq!(
            (heard.act, heard.addressed),
            (PersonAct::Edited { message, text: "status".into() }, Some(how))
        );
    }
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_formatted_calls_nobody_and_is_marked_as_read_and_typed() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    let asked = place.ann.say(&place.room, "!go").await;
    let heard = bot.hear().await;
    let (ann, room, me) = (&place.ann, place.room.as_str(), place.account.id.as_str());
    ann.until(room, "read", |seen| (seen.receipts.get(me) == Some(&asked)).then_some(())).await;
    let working = Activity { state: ActivityState::Working, after: heard.id.clone() };
    bot.adapter.activity(&heard.room, &working).await.expect("told");
    let types = |seen: &services::matrix::Seen| seen.typing.iter().any(|user| user == me);
    ann.until(room, "typed", |seen| types(seen).then_some(())).await;
    let idle = Activity { state: ActivityState::Idle, ..working };
    bot.adapter.activity(&heard.room, &idle).await.expect("told");
    ann.until(room, "stopped typing", |seen| (!types(seen)).then_some(())).await;
    let text = Outgoing::text("**Bold**, `code` and @room\n\n- one").with_tone(Tone::Notice);
    bot.adapter.send(&heard.room, &text).await.expect("sent");
    let seen = place.see_message("Bold").await;
    assert_eq!(
        (seen.kind.as_deref(), seen.mentions, seen.encrypted),
        (Some("m.notice"), Some(json!({})), true)
    );
    let html = seen.html.expect("HTML").replace('\u{200b}', "");
    assert_eq!(html, "<p><strong>Bold</strong>, <code>code</code> and @room</p>\n<ul>\n<li>one</li>\n</ul>");
    let mentions = vec![ann.id().into()];
    let question = Outgoing { mentions, ..Outgoing::text("May I?").with_tone(Tone::Question) };
    bot.adapter.send(&heard.room, &question).await.expect("sent");
    let seen = place.see_message("May I?").await;
    assert_eq!(
        (seen.kind.as_deref(), seen.mentions),
        (Some("m.text"), Some(json!({ "user_ids": [ann.id()] })))
    );
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_edits_are_one_message_with_its_history() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let bot = AdapterSession::open(&place).await;
    let room = place.room();
    // Beyond what a homeserver with limits lets pass, so that the bot knows that this one has none.
    for n in 0..20 {
        bot.adapter.send(&room, &Outgoing::text(format!("warm {n}"))).await.expect("sent");
    }
    let live = |text: String| Outgoing { live: true, ..Outgoing::text(text).with_tone(Tone::Notice) };
    let id = bot.adapter.send(&room, &live("frame 0".into())).await.expect("sent");
    for n in 1..20 {
        bot.adapter.edit(&room, &id, &live(format!("frame {n}"))).await.expect("edited");
    }
    bot.adapter.edit(&room, &id, &Outgoing::text("ended")).await.expect("edited");
    let seen = place.see_message("ended").await;
    assert_eq!((seen.id.as_str(), seen.edits), (id.as_str(), 20));
    assert_eq!(place.ann.edits(&place.room, id.as_str()).await, 20);
    let all = place.shown().await;
    assert_eq!(all.len(), 21, "{all:?}");
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn picks_of_anybody_come_with_their_name_and_a_withdrawn_one_is_no_answer() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    let choice =
        |key: &str, emoji: &str| Choice { key: key.into(), label: key.into(), emoji: Some(emoji.into()) };
    let choices = vec![choice("yes", "👍"), choice("no", "👎")];
    let question = Outgoing { choices, ..Outgoing::text("Run it?").with_tone(Tone::Question) };
    let id = bot.adapter.send(&place.room(), &question).await.expect("sent");
    let mine = |seen: &services::matrix::Seen| {
        let question = seen.messages.iter().find(|message| message.id == id.as_str())?;
        (question.reactions.len() == 2).then(|| question.text.clone())
    };
    let text = place.ann.until(&place.room, "offered", mine).await;
    assert!(text.ends_with("👍 yes · 👎 no"), "{text}");
    let bobs = place.bob.react(&place.room, id.as_str(), "👍🏽").await;
    let heard = bot.hear().await;
    assert_eq!(
        (&*heard.sender.id, &heard.act),
        (place.bob.id(), &PersonAct::Chose { on: id.clone(), key: "yes".into() })
    );
    place.bob.react(&place.room, id.as_str(), "🎉").await;
    place.bob.redact(&place.room, &bobs).await;
    let heard = bot.hear().await;
    assert_eq!(heard.act, PersonAct::Redacted { message: MessageId::new(bobs) });
    bot.adapter.edit(&place.room(), &id, &Outgoing::text("Allowed by Ann.")).await.expect("edited");
    place.ann.react(&place.room, id.as_str(), "👎").await;
    let late = bot.hear().await;
    assert_eq!(
        late.act,
        PersonAct::Chose { on: id, key: "no".into() },
        "a late pick is told, so that it can be answered"
    );
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_taken_back_is_told_also_in_a_thread() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    let said = place.ann.say(&place.room, "!one").await;
    bot.hear().await;
    let inside = place.ann.say_in_thread(&place.room, &said, "!two").await;
    let in_thread = bot.hear().await.room;
    for (event, room) in [(said, place.room()), (inside, in_thread)] {
        place.ann.redact(&place.room, &event).await;
        let heard = bot.hear().await;
        assert_eq!((heard.act, heard.room), (PersonAct::Redacted { message: MessageId::new(event) }, room));
    }
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_rooms_in_bot_toml_an_invitation_to_another_room_is_refused() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let bot = AdapterSession::open(&place).await;
    let (me, ann) = (place.account.id.as_str(), &place.ann);
    let other = ann.create_room(true, &[me]).await;
    let refused = async {
        while ann.members(&other).await.get(me).is_some_and(|it| it != "leave") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.expect("refused");
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_without_encryption_is_ignored_and_told_why_and_nothing_is_sent_there() {
    needs!(Synapse);
    let mut place = Place::fresh(false).await;
    place.config.require_encryption = true;
    let (bot, mut inbox, supervised, stop) = place.supervised().await;
    until("a note", || supervised.health.snapshot().note.is_some()).await;
    let note = supervised.health.snapshot().note.expect("a note");
    assert!(note.contains(&place.room) && note.contains("require_encryption = false"), "{note}");
    place.ann.say(&place.room, "!status").await;
    place.see_message("I ignore this room, because it is not encrypted").await;
    let room = Room::new("matrix", place.room.clone());
    let sent = bot.send(&room, &Outgoing::text("a secret")).await;
    assert!(matches!(&sent, Err(AdapterError::Rejected(why)) if why.contains("not encrypted")), "{sent:?}");
    assert!(inbox.try_recv().is_err(), "nobody is heard there");
    stop.cancel();
    supervised.task.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_followed_only_from_people_who_are_heard() {
    needs!(Synapse);
    let mut place = Place::fresh(false).await;
    place.config.room_ids.clear();
    let mut bot = AdapterSession::open(&place).await;
    let (me, ann, bob) = (place.account.id.as_str(), &place.ann, &place.bob);
    let strange = bob.create_room(true, &[me]).await;
    let direct = ann.create_room(false, &[me]).await;
    let words = ann.say(&direct, "said before you came").await;
    let (heard, text) = bot.hear_text().await;
    assert_eq!((heard.id.as_str(), text.as_str()), (words.as_str(), "said before you came"));
    assert_eq!((heard.addressed, heard.shared), (Some(Addressed::Direct), false));
    let refused = async {
        while bob.members(&strange).await.get(me).is_some_and(|it| it != "leave") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.expect("refused");
    assert_eq!(ann.members(&direct).await.get(me).map(String::as_str), Some("join"));
    // The allow-list changes while the bot runs.
    bot.adapter.set_allowed_people(&AllowedPeople {
        allowed_users: vec![bob.id().to_owned()],
        ..AllowedPeople::default()
    });
    let invited = bob.create_room(false, &[me]).await;
    let words = bob.say(&invited, "may I now?").await;
    assert_eq!(bot.hear_text().await.0.id.as_str(), words);
    bot.close().await;
}

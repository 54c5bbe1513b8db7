//! The behaviour that all messengers share, as checks against each adapter's real server or its substitute.
//!
//! A messenger's tests implement [`MessengerFixture`], one fresh conversation of a person and the bot, and run the checks: all by
//! [`all`], or each by its name. Every function here panics where the adapter does not conform, and shows the difference. No
//! check waits to see that nothing comes: the person writes a marker afterwards, and the marker must be the next message.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    Activity, ActivityState, Adapter, AdapterError, Addressed, Attachment, Choice, ChoiceForm, Incoming,
    MessageId, Outgoing, PersonAct, Room, Tone,
    delivery::{
        deliver,
        supervise::{SupervisedAdapter, supervise},
    },
};

const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// A message of the bot as the person's own client shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenMessage {
    /// The id by which the adapter knows it.
    pub id: MessageId,
    /// Its text, last edit applied.
    pub text: String,
    /// The message it replies to, where the messenger shows that.
    pub reply_to: Option<MessageId>,
    /// What can be picked now: labels, or the emoji of reactions.
    pub choices: Vec<String>,
    /// The room of the message, a thread's own where it is in one.
    pub room: Room,
}

/// One messenger with a person, the bot, and a conversation that only this check uses.
#[async_trait]
pub trait MessengerFixture: Send + Sync {
    /// The bot's side. Each call makes another connection to the same account and state, as a restart does.
    fn adapter(&self) -> Arc<dyn Adapter>;

    fn room(&self) -> Room;

    /// The person's [`crate::Sender::id`].
    fn person(&self) -> String;

    /// The person writes to the bot, addressed by its prefix `!` (`!text` arrives as `text`). Returns the id that the adapter
    /// will give to the message.
    async fn say(&self, text: &str) -> MessageId;

    /// The person replies to a message of the bot, without any other address.
    async fn reply(&self, to: &MessageId, text: &str) -> MessageId;

    /// The person writes in a thread below this message of theirs; `None` where the messenger has no threads.
    async fn say_in_thread(&self, root: &MessageId, text: &str) -> Option<MessageId>;

    /// The person picks the choice with this label (or emoji) of the bot's message.
    async fn pick(&self, on: &MessageId, choice: &str);

    /// Another bot writes here; `false` where the messenger has no other bots.
    async fn another_bot_says(&self, text: &str) -> bool;

    /// The service delivers this message a second time; `false` where it never does.
    async fn redeliver(&self, id: &MessageId) -> bool;

    /// The service refuses the bot's next call as too fast.
    async fn limit_next(&self);

    /// The connection is cut; where the service calls the bot, its next call fails and is repeated.
    async fn cut(&self);

    /// Waits until the person's client shows a message of the bot that contains this text, and returns it.
    async fn see(&self, text: &str) -> SeenMessage;

    /// Every message of the bot that the person's client shows now, in order, threads included.
    async fn shown(&self) -> Vec<SeenMessage>;
}

/// The bot's side of a check: a running adapter and its inbox.
pub struct AdapterSession {
    pub adapter: Arc<dyn Adapter>,
    inbox: mpsc::Receiver<Incoming>,
    supervised: SupervisedAdapter,
    stop: CancellationToken,
}

impl AdapterSession {
    pub async fn open(world: &dyn MessengerFixture) -> Self {
        let adapter = world.adapter();
        adapter.prepare().await.expect("the adapter is prepared");
        let (sender, inbox) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let supervised = supervise(adapter.clone(), sender, stop.clone());
        let session = Self { adapter, inbox, supervised, stop };
        session.until_up().await;
        session
    }

    pub async fn until_up(&self) {
        let up = async {
            while !self.supervised.health.snapshot().up {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let came = tokio::time::timeout(STEP_TIMEOUT, up).await;
        assert!(came.is_ok(), "never connected: {:?}", self.supervised.health);
    }

    pub async fn hear(&mut self) -> Incoming {
        let next = tokio::time::timeout(STEP_TIMEOUT, self.inbox.recv()).await;
        next.unwrap_or_else(|_| panic!("nothing was heard: {:?}", self.supervised.health)).expect("it runs")
    }

    /// The next thing a person wrote, and its text.
    pub async fn hear_text(&mut self) -> (Incoming, String) {
        let incoming = self.hear().await;
        let PersonAct::Said { text } = incoming.act.clone() else { panic!("not words but {incoming:?}") };
        (incoming, text)
    }

    /// Stops the adapter, as a shutdown does.
    pub async fn close(self) {
        self.stop.cancel();
        drop(self.inbox);
        let ended = tokio::time::timeout(STEP_TIMEOUT, self.supervised.task).await;
        ended.expect("the adapter ends").expect("it does not panic");
    }
}

/// Every check, each in a conversation of its own from `make`.
pub async fn all<W: MessengerFixture, F: Future<Output = W>>(make: impl Fn() -> F) {
    said_and_answered(&make().await).await;
    replies_both_ways(&make().await).await;
    threads_are_rooms(&make().await).await;
    edits_or_says_no(&make().await).await;
    choices_come_back(&make().await).await;
    long_text_arrives_whole(&make().await).await;
    repeats_have_one_id(&make().await).await;
    bots_are_not_obeyed(&make().await).await;
    a_rate_limit_delays_and_loses_nothing(&make().await).await;
    a_cut_connection_comes_back(&make().await).await;
    order_is_kept(&make().await).await;
    what_came_meanwhile_is_caught_up(&make().await).await;
}

/// A person's message arrives with sender, time and room, and the person sees the bot's answer.
pub async fn said_and_answered(world: &dyn MessengerFixture) {
    let mut bot = AdapterSession::open(world).await;
    let id = world.say("!status of things").await;
    let (heard, text) = bot.hear_text().await;
    assert_eq!((text.as_str(), &heard.id, &heard.room), ("status of things", &id, &world.room()));
    assert_eq!(heard.addressed, Some(Addressed::Prefix));
    assert_eq!((&*heard.sender.id, heard.sender.is_bot), (world.person().as_str(), false));
    assert!(!heard.sender.name.is_empty());
    let now = SystemTime::now();
    let far = now.duration_since(heard.sent_at).or_else(|_| heard.sent_at.duration_since(now));
    assert!(far.is_ok_and(|far| far < Duration::from_secs(300)), "sent at {:?}", heard.sent_at);
    for (tone, text) in
        [(Tone::Answer, "an answer"), (Tone::Notice, "a notice"), (Tone::Failure, "a failure")]
    {
        let message = Outgoing::text(format!("It is **{text}** & <b>no more</b>.")).with_tone(tone);
        let sent = bot.adapter.send(&heard.room, &message).await.expect("sent");
        let seen = world.see(text).await;
        assert_eq!(seen.id, sent);
        assert!(seen.text.contains("<b>no more</b>"), "markup from outside is text: {}", seen.text);
    }
    activity_is_shown_or_refused(&bot, &heard).await;
    file_is_shown_or_refused(world, &bot).await;
    bot.close().await;
}

async fn activity_is_shown_or_refused(bot: &AdapterSession, heard: &Incoming) {
    for state in [ActivityState::Working, ActivityState::Idle] {
        let told = bot.adapter.activity(&heard.room, &Activity { state, after: heard.id.clone() }).await;
        match bot.adapter.capabilities().activity {
            true => told.expect("activity is shown"),
            false => assert!(matches!(told, Err(AdapterError::Unsupported(_))), "{told:?}"),
        }
    }
}

async fn file_is_shown_or_refused(world: &dyn MessengerFixture, bot: &AdapterSession) {
    let file = Attachment { name: "log.txt".into(), bytes: b"a line\n".to_vec(), caption: "The log.".into() };
    let sent = bot.adapter.upload(&world.room(), &file).await;
    match bot.adapter.capabilities().files {
        true => drop(sent.expect("the file is taken")),
        false => assert!(matches!(sent, Err(AdapterError::Unsupported(_))), "{sent:?}"),
    }
}

/// A reply to the bot needs no other address and names its message; the bot's reply shows as one.
pub async fn replies_both_ways(world: &dyn MessengerFixture) {
    let mut bot = AdapterSession::open(world).await;
    let asked = world.say("!first").await;
    let heard = bot.hear().await;
    let answer = Outgoing::text("the first answer").replying_to(Some(heard.id.clone()));
    let answer = bot.adapter.send(&heard.room, &answer).await.expect("sent");
    let seen = world.see("the first answer").await;
    assert!(seen.reply_to.is_none_or(|id| id == asked), "a reply to something else");
    world.reply(&answer, "and then?").await;
    let (heard, text) = bot.hear_text().await;
    assert_eq!((text.as_str(), heard.reply_to), ("and then?", Some(answer)));
    assert!(heard.addressed.is_some(), "a reply to the bot is meant for the bot");
    bot.close().await;
}

/// A thread is a room of its own, and messages sent there are seen there.
pub async fn threads_are_rooms(world: &dyn MessengerFixture) {
    let mut bot = AdapterSession::open(world).await;
    let root = world.say("!root").await;
    bot.hear().await;
    let Some(id) = world.say_in_thread(&root, "!inside").await else { return bot.close().await };
    let (heard, text) = bot.hear_text().await;
    assert_eq!((text.as_str(), &heard.id), ("inside", &id));
    assert_ne!(heard.room, world.room(), "a thread is a room of its own");
    let room = Room::parse(&heard.room.to_string()).expect("a room can be written down");
    bot.adapter.send(&room, &Outgoing::text("in the thread")).await.expect("sent");
    assert_eq!(world.see("in the thread").await.room, heard.room);
    bot.close().await;
}

/// An edit replaces the message, or fails as unsupported where nothing can be edited.
pub async fn edits_or_says_no(world: &dyn MessengerFixture) {
    let bot = AdapterSession::open(world).await;
    let room = world.room();
    let first = Outgoing { live: true, ..Outgoing::text("state one") };
    let id = bot.adapter.send(&room, &first).await.expect("sent");
    world.see("state one").await;
    let second = Outgoing::text("state two");
    if bot.adapter.capabilities().edit.is_none() {
        let edited = bot.adapter.edit(&room, &id, &second).await;
        assert!(matches!(edited, Err(AdapterError::Unsupported(_))), "{edited:?}");
        return bot.close().await;
    }
    patiently_edit(&*bot.adapter, &room, &id, &second).await;
    assert_eq!(world.see("state two").await.id, id);
    let shown = world.shown().await;
    assert!(!shown.iter().any(|seen| seen.text.contains("state one")), "the old state stands: {shown:?}");
    let unknown = bot.adapter.edit(&room, &MessageId::new("no-such-message"), &second).await;
    assert!(unknown.is_err(), "an edit of nothing is no success");
    bot.close().await;
}

async fn patiently_edit(adapter: &dyn Adapter, room: &Room, id: &MessageId, message: &Outgoing) {
    loop {
        match adapter.edit(room, id, message).await {
            Ok(()) => return,
            Err(AdapterError::RateLimited { retry_after }) => tokio::time::sleep(retry_after).await,
            Err(error) => panic!("not edited: {error}"),
        }
    }
}

/// A picked choice comes back by its key, once, and an edit takes the choices away.
pub async fn choices_come_back(world: &dyn MessengerFixture) {
    let mut bot = AdapterSession::open(world).await;
    let room = world.room();
    let choice = |key: &str, label: &str, emoji: &str| Choice {
        key: key.into(),
        label: label.into(),
        emoji: Some(emoji.into()),
    };
    let choices = vec![choice("question:7:yes", "Allow", "✅"), choice("question:7:no", "Deny", "❌")];
    let question = Outgoing { choices, ..Outgoing::text("May I?").with_tone(Tone::Question) };
    let pick = match bot.adapter.capabilities().choices {
        ChoiceForm::Buttons { .. } => "Deny",
        ChoiceForm::Reactions => "❌",
        ChoiceForm::None | ChoiceForm::Numbers => return bot.close().await,
    };
    let id = bot.adapter.send(&room, &question).await.expect("sent");
    while !world.see("May I?").await.choices.iter().any(|choice| choice == pick) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.pick(&id, pick).await;
    let heard = bot.hear().await;
    assert_eq!(heard.act, PersonAct::Chose { on: id.clone(), key: "question:7:no".into() });
    assert_eq!((&*heard.sender.id, &heard.room), (world.person().as_str(), &room));
    if bot.adapter.capabilities().edit.is_some() {
        patiently_edit(&*bot.adapter, &room, &id, &Outgoing::text("Denied by a person.")).await;
        let settled = async {
            while !world.see("Denied by a person.").await.choices.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(STEP_TIMEOUT, settled).await.expect("the choices go with the edit");
    }
    world.say("!marker").await;
    assert_eq!(bot.hear_text().await.1, "marker", "a choice comes once");
    bot.close().await;
}

/// Text of any length arrives whole, in order, with its code blocks closed, or as a file where that is possible.
pub async fn long_text_arrives_whole(world: &dyn MessengerFixture) {
    let bot = AdapterSession::open(world).await;
    let room = world.room();
    let max = bot.adapter.capabilities().max_len;
    let lines: Vec<String> = (0..max * 2 / 25).map(|n| format!("line {n:05} of the text")).collect();
    let text = format!("A beginning.\n\n```\n{}\n```\n\nThe very end.", lines.join("\n"));
    deliver::deliver(&*bot.adapter, &room, &Outgoing::text(text)).await.expect("delivered");
    world.see("The very end.").await;
    let shown: String = world.shown().await.into_iter().map(|seen| seen.text + "\n").collect();
    let mut at = 0;
    for line in &lines {
        let found = shown[at..].find(line.as_str());
        at += found.unwrap_or_else(|| panic!("`{line}` is missing or out of order"));
    }
    bot.close().await;
}

/// A message that the service delivers again has the same id, so that the bot recognises it.
pub async fn repeats_have_one_id(world: &dyn MessengerFixture) {
    let mut bot = AdapterSession::open(world).await;
    let id = world.say("!once").await;
    assert_eq!(bot.hear().await.id, id);
    if world.redeliver(&id).await {
        world.say("!marker").await;
        loop {
            let (heard, text) = bot.hear_text().await;
            if text == "marker" {
                break;
            }
            assert_eq!((heard.id, text.as_str()), (id.clone(), "once"), "a repeat under another id");
        }
    }
    bot.close().await;
}

/// Messages of the bot itself and of other bots do not arrive, or arrive as a bot's.
pub async fn bots_are_not_obeyed(world: &dyn MessengerFixture) {
    let mut bot = AdapterSession::open(world).await;
    let room = world.room();
    bot.adapter.send(&room, &Outgoing::text("!delete 12")).await.expect("sent");
    world.see("!delete 12").await;
    world.another_bot_says("!delete 13").await;
    world.say("!marker").await;
    loop {
        let heard = bot.hear().await;
        match heard.act {
            PersonAct::Said { text } if text == "marker" => break,
            _ => assert!(heard.sender.is_bot, "a bot is taken for a person: {heard:?}"),
        }
    }
    bot.close().await;
}

/// After a refusal as too fast the message still arrives, once.
pub async fn a_rate_limit_delays_and_loses_nothing(world: &dyn MessengerFixture) {
    let bot = AdapterSession::open(world).await;
    let room = world.room();
    world.limit_next().await;
    deliver::deliver(&*bot.adapter, &room, &Outgoing::text("after the limit")).await.expect("delivered");
    world.see("after the limit").await;
    let shown = world.shown().await;
    assert_eq!(shown.iter().filter(|seen| seen.text.contains("after the limit")).count(), 1, "{shown:?}");
    bot.close().await;
}

/// After a cut the bot receives messages again, those from the time between included.
pub async fn a_cut_connection_comes_back(world: &dyn MessengerFixture) {
    let mut bot = AdapterSession::open(world).await;
    world.say("!before").await;
    assert_eq!(bot.hear_text().await.1, "before");
    world.cut().await;
    let id = world.say("!after").await;
    let (heard, text) = bot.hear_text().await;
    assert_eq!((text.as_str(), heard.id), ("after", id));
    deliver::deliver(&*bot.adapter, &world.room(), &Outgoing::text("here again")).await.expect("delivered");
    world.see("here again").await;
    bot.close().await;
}

/// Messages arrive in order, and a live message finally shows its last state.
pub async fn order_is_kept(world: &dyn MessengerFixture) {
    let mut bot = AdapterSession::open(world).await;
    let mut said = Vec::new();
    for n in 0..5 {
        said.push((world.say(&format!("!number {n}")).await, format!("number {n}")));
    }
    for (id, text) in said {
        let (heard, heard_text) = bot.hear_text().await;
        assert_eq!((heard.id, heard_text), (id, text));
    }
    if bot.adapter.capabilities().edit.is_some() {
        let frame = |n: u32| Outgoing { live: true, ..Outgoing::text(format!("frame {n}")) };
        let room = world.room();
        let mut posted = deliver::post(&*bot.adapter, &room, &frame(0)).await.expect("posted");
        for n in 1..=5 {
            // The pace may drop a frame, which then must not come later.
            let _ = deliver::show_frame(&*bot.adapter, &room, &mut posted, &frame(n)).await;
        }
        deliver::update(&*bot.adapter, &room, &mut posted, &Outgoing::text("the last state"))
            .await
            .expect("told");
        world.see("the last state").await;
        deliver::deliver(&*bot.adapter, &room, &Outgoing::text("a marker")).await.expect("delivered");
        world.see("a marker").await;
        let shown = world.shown().await;
        assert!(shown.iter().all(|seen| !seen.text.contains("frame")), "an old frame came last: {shown:?}");
    }
    bot.close().await;
}

/// Where the messenger has history, messages from the time the bot was down arrive once it is up, and only once.
pub async fn what_came_meanwhile_is_caught_up(world: &dyn MessengerFixture) {
    let mut bot = AdapterSession::open(world).await;
    world.say("!known").await;
    bot.hear().await;
    let history = bot.adapter.capabilities().history;
    bot.close().await;
    if !history {
        return;
    }
    let id = world.say("!meanwhile").await;
    let mut bot = AdapterSession::open(world).await;
    // Earlier messages may arrive again under their own ids, which the bot recognises.
    let heard = loop {
        let (heard, text) = bot.hear_text().await;
        if text != "known" {
            break (heard.id, text);
        }
    };
    assert_eq!(heard, (id, "meanwhile".to_owned()));
    bot.close().await;
}

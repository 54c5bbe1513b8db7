//! Every command on every messenger: one that can do everything, one that can only send and receive text, and the web page.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use adapters::{
    Room,
    testing::fake::Fake,
    web::{WebChange, WebSpeaker, WebText},
};
use e2e::{
    Bot, Cli, Setup,
    page::{Browser, Live},
};
use serde_json::{Value, json};

fn messengers() -> [Arc<Fake>; 2] {
    [Fake::new("fake"), Fake::plain("plain")]
}

/// Nothing that the bot shows may be an excuse of ours.
fn assert_sound(name: &str, command: &str, transcript: &str) {
    assert!(!transcript.contains("went wrong on my side"), "`{command}` on {name}\n{transcript}");
}

/// Says it in a room of its own and returns the first answer.
async fn answer(bot: &Bot, fake: &Arc<Fake>, command: &str) -> String {
    let room = fake.room(format!("{command} room"));
    room.say_as("root", command).await;
    let answer = room.see("").await.text;
    assert_sound(adapters::Adapter::name(&**fake), command, &room.transcript());
    assert!(!answer.trim().is_empty(), "`{command}` answered nothing");
    assert!(bot.app.services().commands.registry.specs().count() > 0);
    answer
}

/// The same on the web page, where root is signed in with the account of the first messenger.
async fn answer_on_page(bot: &Bot, command: &str) -> String {
    static ROOMS: AtomicU64 = AtomicU64::new(0);
    let page = bot.page.as_ref().expect("a page");
    let room = Room::new(adapters::web::NAME, format!("room-{}", ROOMS.fetch_add(1, Ordering::Relaxed)));
    let mut news = page.follow();
    let root = WebSpeaker { id: "fake:root".into(), name: "root".into() };
    page.say(&root, &room, WebText { text: command.into(), ..WebText::default() })
        .await
        .expect("it is taken");
    let shown = async {
        loop {
            let news = news.recv().await.expect("the page is there");
            match &news.change {
                WebChange::Message(message) if *news.room == *room.id() && message.by.is_none() => {
                    return message.text.to_string();
                }
                WebChange::Message(_) | WebChange::Activity(_) => {}
            }
        }
    };
    let shown = tokio::time::timeout(std::time::Duration::from_secs(60), shown).await;
    let answer = shown.unwrap_or_else(|_| panic!("`{command}` is not answered on the page"));
    assert_sound(adapters::web::NAME, command, &answer);
    assert!(!answer.trim().is_empty(), "`{command}` answered nothing on the page");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_answers_on_every_messenger() {
    let fakes = messengers();
    let bot = Setup::new(Cli::StandIn).on(fakes.to_vec()).operators(&["root"]).page().start().await;
    let specs: Vec<_> = bot.app.services().commands.registry.specs().copied().collect();
    assert!(specs.len() >= 18, "the registry lost a command");
    for spec in &specs {
        for fake in &fakes {
            for line in spec.examples.iter().copied().chain([spec.name]) {
                answer(&bot, fake, line).await;
            }
            let wrong = answer(&bot, fake, &format!("!{} \u{202e}` -- ;", spec.name)).await;
            assert!(!adapters::markdown::plain(&wrong).contains('\u{202e}'), "{wrong}");
        }
        for line in spec.examples.iter().copied().chain([spec.name]) {
            answer_on_page(&bot, line).await;
        }
        let wrong = answer_on_page(&bot, &format!("!{} \u{202e}` -- ;", spec.name)).await;
        assert!(!adapters::markdown::plain(&wrong).contains('\u{202e}'), "{wrong}");
    }
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alias_is_its_command() {
    let fakes = messengers();
    let bot = Setup::new(Cli::StandIn).on(fakes.to_vec()).operators(&["root"]).page().start().await;
    let specs: Vec<_> = bot.app.services().commands.registry.specs().copied().collect();
    for spec in &specs {
        for alias in spec.aliases {
            for fake in &fakes {
                let help = answer(&bot, fake, &format!("help {alias}")).await;
                assert!(help.contains(spec.name), "`{alias}` is not explained as `{}`\n{help}", spec.name);
                answer(&bot, fake, &format!("!{}", alias.to_uppercase())).await;
            }
            let help = answer_on_page(&bot, &format!("help {alias}")).await;
            assert!(help.contains(spec.name), "`{alias}` is not explained as `{}`\n{help}", spec.name);
            answer_on_page(&bot, &format!("!{}", alias.to_uppercase())).await;
        }
    }
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_journey_ends_the_same_on_both() {
    for fake in messengers() {
        let bot = Setup::new(Cli::StandIn).on(vec![fake.clone()]).start().await;
        let room = bot.room("a");
        room.say("bash echo by $USER_OF_TEST > made.txt").await;
        room.see("Question 1").await;
        room.say("status").await;
        room.see("Open questions**: 1").await;
        room.say("yes").await;
        room.see("ann allowed").await;
        room.see("no output").await;
        assert!(bot.file("made.txt").exists());
        // Text is shown before its turn is over; a prompt said in between would wait in the queue.
        if adapters::Adapter::capabilities(&*fake).activity {
            room.settled().await;
        }
        room.say("slow").await;
        room.say("echo after").await;
        room.see("Queued, number 1").await;
        room.say("stop").await;
        room.see("Stopped.").await;
        room.see("echo: after").await;
        room.say("reset").await;
        room.see("starts a new one").await;
        room.say("history").await;
        room.see("nothing yet").await;
        bot.app.shutdown().await;
    }
}

/// Ann's own room on the page.
struct PageRoom(Live);

impl PageRoom {
    const ROOM: &str = "web:fake:ann";

    async fn open(bot: &Bot) -> Self {
        let mut live = Browser::sign_in(bot, "ann").await.live(Value::Null).await;
        live.say(json!({ "type": "open", "room": Self::ROOM, "before": null })).await;
        live.until_type("opened").await;
        Self(live)
    }

    async fn say(&mut self, text: &str) {
        self.0.say(json!({ "type": "say", "ticket": 1, "room": Self::ROOM, "text": text })).await;
    }

    async fn settled(&mut self) {
        self.0.until(|frame| frame["type"] == "activity" && frame["state"] == "idle").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_journey_ends_the_same_on_the_page() {
    let bot = Setup::new(Cli::StandIn).page().start().await;
    let mut room = PageRoom::open(&bot).await;
    room.say("bash echo by $USER_OF_TEST > made.txt").await;
    room.0.see("Question 1").await;
    room.say("status").await;
    room.0.see("Open questions</strong>: 1").await;
    room.say("yes").await;
    room.0.see("ann allowed").await;
    room.0.see("no output").await;
    assert!(bot.file("made.txt").exists());
    room.settled().await;
    room.say("slow").await;
    room.say("echo after").await;
    room.0.see("Queued, number 1").await;
    room.say("stop").await;
    room.0.see("Stopped.").await;
    room.0.see("echo: after").await;
    room.say("reset").await;
    room.0.see("starts a new one").await;
    room.say("history").await;
    room.0.see("nothing yet").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_messengers_at_once_are_two_conversations() {
    let [rich, plain] = messengers();
    let bot = Setup::new(Cli::StandIn).on(vec![rich.clone(), plain.clone()]).start().await;
    let (one, two) = (rich.room("same-name"), plain.room("same-name"));
    one.say("echo on the rich one").await;
    two.say("echo on the plain one").await;
    one.see("echo: on the rich one").await;
    two.see("echo: on the plain one").await;
    one.say("history").await;
    one.see("1. echo on the rich one").await;
    assert!(!one.transcript().contains("plain one") && !two.transcript().contains("rich one"));
    rich.drop_connection();
    two.say("echo the other one is down").await;
    two.see("echo: the other one is down").await;
    bot.app.shutdown().await;
}

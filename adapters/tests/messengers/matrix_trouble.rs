//! Matrix: wrong settings, and a homeserver that is away, slow, limited or broken.

use std::time::Duration;

use adapters::{
    Adapter as _, AdapterError, Choice, Outgoing, Room, Secret, Tone, deliver,
    matrix::MatrixConfig,
    testing::conformance::{AdapterSession, MessengerFixture as _},
};
use needs::needs;
use services::matrix::{Fault, Limits, Proxy, Synapse};

use super::matrix::{Place, people, until};

async fn refusal(place: &Place, config: MatrixConfig) -> AdapterError {
    place.with(config).prepare().await.expect_err("refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_what_is_no_homeserver_are_sentences_about_their_keys() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let wrong = MatrixConfig { password: Secret::new("guess"), ..place.config.clone() };
    insta::assert_snapshot!(refusal(&place, wrong).await.to_string().replace(&place.account.name, "timmy"), @"`matrix.password` in bot.toml: the homeserver refuses it for the user `timmy`; check both.");
    let page = Proxy::before("http://127.0.0.1:9").await;
    page.all(Some(Fault::Broken(404)));
    let no_matrix = MatrixConfig { homeserver: page.url().to_owned(), ..place.config.clone() };
    let error = refusal(&place, no_matrix).await;
    let AdapterError::Config { key: "matrix.homeserver", why } = error else { panic!("{error}") };
    assert!(why.contains("no Matrix homeserver answers at"), "{why}");
    let away = MatrixConfig { homeserver: "http://127.0.0.1:9".into(), ..place.config.clone() };
    let error = refusal(&place, away).await;
    let AdapterError::Unreachable(why) = error else { panic!("{error}") };
    assert!(why.contains("`matrix.homeserver` in bot.toml) does not answer"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_cannot_be_joined_is_noted_by_its_id_and_the_others_work() {
    needs!(Synapse);
    let mut place = Place::fresh(true).await;
    let closed = place.bob.create_room(true, &[]).await;
    place.config.room_ids.push(closed.clone());
    let (_adapter, mut inbox, supervised, stop) = place.supervised().await;
    place.ann.say(&place.room, "!works").await;
    inbox.recv().await.expect("heard");
    let note = supervised.health.snapshot().note.expect("a note");
    assert!(note.contains(&closed) && note.contains("invite") && note.contains("matrix.room_ids"), "{note}");
    place.bob.invite(&closed, &place.account.id).await;
    until("joined when it is invited to a listed room", || supervised.health.snapshot().note.is_none()).await;
    stop.cancel();
    supervised.task.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_in_which_it_may_not_write_or_is_no_more_is_told_with_what_to_do() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let (adapter, _inbox, supervised, stop) = place.supervised().await;
    let me = place.account.id.as_str();
    let refused = async || match adapter.send(&place.room(), &Outgoing::text("hello")).await {
        Err(AdapterError::Rejected(why)) => why,
        other => panic!("not refused: {other:?}"),
    };
    place.ann.messages_need(&place.room, 50).await;
    let why = refused().await;
    assert!(why.contains("power level") && why.contains(&place.room) && why.contains(me), "{why}");

    place.ann.messages_need(&place.room, 0).await;
    adapter.send(&place.room(), &Outgoing::text("hello")).await.expect("sent");

    place.ann.kick(&place.room, me).await;
    until("noted", || supervised.health.snapshot().note.is_some()).await;
    let note = supervised.health.snapshot().note.expect("a note");
    assert!(
        note.contains(place.ann.id()) && note.contains("removed me") && note.contains("invite"),
        "{note}"
    );
    let why = refused().await;
    assert!(why.contains("I am not in the room") && why.contains("invite"), "{why}");

    place.ann.invite(&place.room, me).await;
    until("back", || supervised.health.snapshot().note.is_none()).await;
    stop.cancel();
    supervised.task.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_homeserver_refuses_breaks_or_loses_arrives_once() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let bot = AdapterSession::open(&place).await;
    let faults = [Fault::TooFast(200), Fault::Broken(502), Fault::Broken(500), Fault::Cut, Fault::AnswerLost];
    for (n, fault) in faults.into_iter().enumerate() {
        place.proxy.next("/send/m.room.encrypted", fault);
        let text = format!("message {n}, through it all");
        bot.adapter.send(&place.room(), &Outgoing::text(&text)).await.expect("sent");
        place.see_message(&text).await;
    }
    assert_eq!(place.proxy.met(), 5);
    let shown = place.shown().await;
    assert_eq!(shown.len(), 5, "nothing doubled: {shown:?}");
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_state_is_not_waited_for() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let bot = AdapterSession::open(&place).await;
    let live = Outgoing { live: true, ..Outgoing::text("a frame") };
    let id = bot.adapter.send(&place.room(), &live).await.expect("sent");
    place.proxy.next("/send/", Fault::TooFast(60_000));
    let refused = bot.adapter.edit(&place.room(), &id, &live).await;
    assert!(matches!(refused, Err(AdapterError::RateLimited { .. })), "{refused:?}");
    let again = bot.adapter.edit(&place.room(), &id, &live).await;
    assert!(matches!(again, Err(AdapterError::RateLimited { .. })), "not even asked: {again:?}");
    assert_eq!(place.proxy.met(), 1);
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_an_outage_nothing_is_lost_nothing_doubled_and_health_tells() {
    needs!(Synapse);
    let mut server = Synapse::start(Limits::Off).await;
    let place = Place::new(&server, people(&server).await, true).await;
    let (adapter, mut inbox, supervised, stop) = place.supervised().await;
    place.ann.say(&place.room, "!before").await;
    inbox.recv().await.expect("heard");
    server.stop().await;
    until("told by its health", || !supervised.health.snapshot().up).await;
    assert!(supervised.health.snapshot().last_error.is_some());
    let (room, speaker) = (place.room(), adapter.clone());
    let sending = tokio::spawn(async move {
        for n in 0..3 {
            let text = Outgoing::text(format!("said in the dark {n}"));
            deliver::deliver(&*speaker, &room, &text).await.expect("delivered");
        }
    });
    server.run().await;
    sending.await.expect("sent");
    let said = place.ann.say(&place.room, "!after").await;
    let heard = inbox.recv().await.expect("heard");
    assert_eq!(heard.id.as_str(), said);
    place.see_message("said in the dark 2").await;
    let texts: Vec<_> = place.shown().await.into_iter().map(|seen| seen.text).collect();
    assert_eq!(texts, ["said in the dark 0", "said in the dark 1", "said in the dark 2"]);
    assert!(supervised.health.snapshot().reconnects >= 1);
    stop.cancel();
    supervised.task.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_takes_everything_and_answers_nothing_loses_nothing_and_doubles_nothing() {
    needs!(Synapse);
    let mut place = Place::fresh(true).await;
    place.config.request_timeout = Duration::from_secs(5);
    let (adapter, mut inbox, supervised, stop) = place.supervised().await;
    place.ann.say(&place.room, "!before").await;
    inbox.recv().await.expect("heard");
    // With this the room has the bot's keys.
    adapter.send(&place.room(), &Outgoing::text("said in the light")).await.expect("sent");
    place.proxy.all(Some(Fault::Hangs));
    let dark = place.ann.say(&place.room, "!in the dark").await;
    let (room, speaker) = (place.room(), adapter.clone());
    let sending = tokio::spawn(async move {
        for n in 0..3 {
            let text = Outgoing::text(format!("said in the dark {n}"));
            deliver::deliver(&*speaker, &room, &text).await.expect("delivered");
        }
    });
    until("told by its health", || !supervised.health.snapshot().up).await;
    let error = supervised.health.snapshot().last_error.expect("a reason");
    // The first is taken, and the bot cannot know it.
    place.see_message("said in the dark 0").await;
    place.proxy.all(None);
    sending.await.expect("sent");
    until("up again", || supervised.health.snapshot().up).await;
    let after = place.ann.say(&place.room, "!after").await;
    let mut heard = Vec::new();
    while heard.last() != Some(&after) {
        heard.push(inbox.recv().await.expect("heard").id.as_str().to_owned());
    }
    assert_eq!(heard, [dark, after]);
    place.see_message("said in the dark 2").await;
    let texts: Vec<_> = place.shown().await.into_iter().map(|seen| seen.text).collect();
    let all = ["said in the light", "said in the dark 0", "said in the dark 1", "said in the dark 2"];
    assert_eq!(texts, all);
    assert!(supervised.health.snapshot().reconnects >= 1 && !error.is_empty());
    stop.cancel();
    supervised.task.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_messages_than_one_answer_holds_are_all_heard_in_order() {
    needs!(Synapse);
    let place = Place::fresh(false).await;
    AdapterSession::open(&place).await.close().await;
    let mut said = Vec::new();
    for n in 0..130 {
        said.push(place.ann.say(&place.room, &format!("!message {n}")).await);
    }
    let mut bot = AdapterSession::open(&place).await;
    for (n, id) in said.iter().enumerate() {
        let (heard, text) = bot.hear_text().await;
        assert_eq!((heard.id.as_str(), text), (id.as_str(), format!("message {n}")));
    }
    bot.close().await;
}

/// The last states of two live messages and a question arrive although all of them share ten events and one in five seconds.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_default_limits_a_question_comes_within_seconds_and_last_states_arrive() {
    needs!(Synapse);
    let server = Synapse::start(Limits::Default).await;
    let mut place = Place::new(&server, people(&server).await, true).await;
    place.config.room_ids.clear();
    let bot = AdapterSession::open(&place).await;
    let second = place.ann.create_room(true, &[&place.account.id]).await;
    let joined = async {
        while place.ann.members(&second).await.get(&place.account.id).is_none_or(|it| it != "join") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), joined).await.expect("joined");
    let rooms = [place.room(), Room::new("matrix", second.as_str())];
    let live = |text: String| Outgoing { live: true, ..Outgoing::text(text).with_tone(Tone::Notice) };
    let mut posted = Vec::new();
    for room in &rooms {
        posted.push(deliver::post(&*bot.adapter, room, &live("frame 0".into())).await.expect("posted"));
    }
    // Frames as fast as they are taken, until the homeserver's burst is used up to the reserve.
    let mut refused = 0;
    for n in 1..40 {
        for (room, posted) in rooms.iter().zip(&mut posted) {
            let shown = deliver::show_frame(&*bot.adapter, room, posted, &live(format!("frame {n}"))).await;
            refused += u32::from(matches!(shown, Err(AdapterError::RateLimited { .. })));
        }
    }
    assert!(refused > 60, "frames do not eat what questions need");
    let choice =
        |key: &str, emoji: &str| Choice { key: key.into(), label: key.into(), emoji: Some(emoji.into()) };
    let choices = vec![choice("yes", "✅"), choice("no", "❌")];
    let question = Outgoing { choices, ..Outgoing::text("May I?").with_tone(Tone::Question) };
    bot.adapter.send(&rooms[0], &question).await.expect("asked");
    place.see_message("May I?").await;
    // One that had to wait would have been refused first: each wait is 5 s for every event before it.
    assert_eq!(place.proxy.too_fast(), 0, "the question went out at once");
    for (n, (room, posted)) in rooms.iter().zip(&mut posted).enumerate() {
        let last = Outgoing::text(format!("last state {n}")).with_tone(Tone::Notice);
        deliver::update(&*bot.adapter, room, posted, &last).await.expect("told");
    }
    place.see_message("last state 0").await;
    place.ann.see(&second, &place.account.id, "last state 1").await;
    bot.close().await;
}

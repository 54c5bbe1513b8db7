//! A question that nobody answers finds a person who may: on one messenger after the other, in their hours, and not while they are away.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use adapters::{
    AdapterError, Capabilities, ChoiceForm, Incoming, PersonAct,
    testing::fake::{Fake, FakeRoom},
};
use bot::{Clock, ClockHand};
use e2e::{Bot, Cli, Setup, page::Browser};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);

/// The clock of a test is far from the machine's, by which people write.
const LATE: &str = "catch_up = \"9999h\"";

const ANN: &str = "[[person]]\nname = \"Ann Berg\"\nslack = \"ann\"\nmatrix = \"ann\"\nwhatsapp = \"ann\"\n";

/// A bot on three messengers, on each of which `ann` may approve and `bob` may not, and the hand of its clock.
struct Scene {
    bot: Bot,
    hand: ClockHand,
    clock: Clock,
    slack: Arc<Fake>,
    matrix: Arc<Fake>,
    whatsapp: Arc<Fake>,
    team: FakeRoom,
}

impl Scene {
    async fn start(people: &str) -> Self {
        // Behind the machine's, so that what people write is never older than what they answer.
        Self::at(SystemTime::now() - 300 * MINUTE, people).await
    }

    async fn at(now: SystemTime, people: &str) -> Self {
        Self::with(Self::setup(now, people)).await
    }

    fn setup(now: SystemTime, people: &str) -> (Setup, Clock, ClockHand, [Arc<Fake>; 3]) {
        let (clock, hand) = Clock::by_hand(now);
        let rich = Fake::new("slack");
        let abilities = adapters::Adapter::capabilities(&*rich);
        let matrix = Fake::with("matrix", Capabilities { choices: ChoiceForm::Reactions, ..abilities });
        let whatsapp = Fake::with("whatsapp", Capabilities { edit: None, ..abilities });
        let fakes = [rich, matrix, whatsapp];
        let setup = Setup::new(Cli::StandIn).on(fakes.to_vec()).approvers(&["ann"]).clock(clock.clone());
        (setup.config(&format!("{LATE}\n{people}")), clock, hand, fakes)
    }

    async fn with((setup, clock, hand, fakes): (Setup, Clock, ClockHand, [Arc<Fake>; 3])) -> Self {
        let bot = setup.start().await;
        let [slack, matrix, whatsapp] = fakes;
        let team = slack.room("team");
        Self { bot, hand, clock, slack, matrix, whatsapp, team }
    }

    /// Bob's agent wants to make this file.
    async fn asks(&self, file: &str) {
        self.team.say_in_group("bob", &format!("Timmy bash touch {file}")).await;
        self.team.see("may I use").await;
    }

    /// Says it in a conversation of two, by the bot's clock.
    async fn says(&self, room: &FakeRoom, who: &str, text: &str) {
        let incoming = room.incoming(who, text);
        room.send_incoming(Incoming { sent_at: self.clock.now(), ..incoming }).await;
    }

    fn audit(&self) -> Vec<String> {
        let entries = self.bot.app.services().store.audit_tail(10).expect("it can be read");
        entries.into_iter().map(|(_, entry)| format!("{} by {}", entry.outcome, entry.by)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_in_three_places_answers_once_and_every_copy_is_closed() {
    let scene = Scene::start(ANN).await;
    scene.asks("made.txt").await;
    scene.hand.advance(5 * MINUTE);
    let in_slack = scene.slack.direct("ann");
    in_slack.see("Question 1").await;
    scene.team.see("asked Ann Berg (in Slack) directly").await;
    scene.hand.advance(15 * MINUTE);
    let in_matrix = scene.matrix.direct("ann");
    in_matrix.see("Question 1").await;
    scene.team.see("asked Ann Berg (in Matrix) directly").await;
    scene.hand.advance(15 * MINUTE);
    let in_whatsapp = scene.whatsapp.direct("ann");
    in_whatsapp.see("Question 1").await;
    scene.team.see("asked Ann Berg (in WhatsApp) directly").await;
    assert!(!scene.bot.file("made.txt").exists());
    in_whatsapp.choose("Allow").await;
    for room in [&scene.team, &in_slack, &in_matrix] {
        let closed = room.see_edit("Ann Berg (in WhatsApp) allowed").await;
        assert!(closed.choices.is_empty(), "{closed:?}");
    }
    in_whatsapp.see("Ann Berg (in WhatsApp) allowed").await;
    scene.team.see("no output").await;
    assert!(scene.bot.file("made.txt").exists());
    // A late press elsewhere changes nothing and is answered.
    let old = in_matrix.shown().into_iter().find(|shown| shown.edits > 0).expect("the copy");
    let press = PersonAct::Chose { on: old.id, key: "q:1:no".into() };
    in_matrix.send_incoming(Incoming { act: press, ..in_matrix.incoming("ann", "") }).await;
    in_matrix.see("Question 1 is not open").await;
    assert_eq!(scene.audit(), ["allow by Ann Berg"]);
    scene.bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_known_by_one_name_wherever_they_write_and_gets_no_right_by_it() {
    let people = format!("{ANN}[[person]]\nname = \"Bob\"\nslack = \"bob\"\nwhatsapp = \"bob\"");
    let scene = Scene::start(&people).await;
    let room = scene.whatsapp.room("a");
    scene.says(&room, "ann", "whoami").await;
    let who = room.see("You are Ann Berg").await.text;
    assert!(
        who.contains("`ann` in Slack") && who.contains("`ann` in Matrix") && !who.contains("in WhatsApp"),
        "{who}"
    );
    scene.says(&room, "bob", "whoami").await;
    room.see("Bob (`bob`, role: user)").await;
    scene.asks("made.txt").await;
    scene.hand.advance(5 * MINUTE);
    scene.slack.direct("ann").see("Question 1").await;
    scene.team.say_in_group("bob", "!allow 1").await;
    scene.team.see("you may not answer permission questions here").await;
    assert!(!scene.bot.file("made.txt").exists());
    assert!(scene.slack.direct("bob").shown().is_empty(), "he may not answer");
    scene.bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_the_hours_of_everybody_the_room_reads_who_is_back_when_and_that_one_is_asked() {
    // A Monday, 8:30 in Berlin.
    let early = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_023_800);
    let zone = "time_zone = \"Europe/Berlin\"";
    let people = format!(
        "{ANN}hours = \"Mon-Fri 9:00-18:00\"\n{zone}\n[[person]]\nname = \"Cleo\"\nslack = \"cleo\"\n[claude]\npermission_timeout = \"2h\""
    );
    let scene = Scene::at(early, &people).await;
    scene.asks("made.txt").await;
    let told = scene.team.see("nobody whom I could ask directly is there").await.text;
    assert!(told.contains("Ann Berg is back first, at 9:00"), "{told}");
    scene.hand.advance(29 * MINUTE);
    assert!(scene.slack.direct("ann").shown().is_empty());
    scene.hand.advance(MINUTE);
    scene.slack.direct("ann").see("Question 1").await;
    scene.bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn away_is_said_once_holds_everywhere_and_over_a_restart() {
    let people = format!("{ANN}[[person]]\nname = \"Bob\"\nslack = \"bob\"");
    let scene = Scene::start(&people).await;
    let phone = scene.whatsapp.room("a");
    scene.says(&phone, "ann", "away until soon").await;
    phone.see("is no time that I can read").await;
    scene.says(&phone, "ann", "away for 2h").await;
    phone.see("You are away until").await;
    scene.asks("made.txt").await;
    scene.team.see("nobody whom I could ask directly is there").await;
    let Scene { bot, hand, clock, .. } = scene;
    let bot = bot.restart().await;
    let laptop = bot.fake.room("laptop");
    let says = async |text: &str| {
        let incoming = laptop.incoming("ann", text);
        laptop.send_incoming(Incoming { sent_at: clock.now(), ..incoming }).await;
    };
    says("whoami").await;
    laptop.see("You are away until").await;
    says("back").await;
    laptop.see("Welcome back").await;
    says("back").await;
    laptop.see("You were not away").await;
    says("away").await;
    laptop.see("until you say `back`").await;
    hand.advance(100 * MINUTE);
    says("whoami").await;
    laptop.see("away until you say `back`").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_messenger_that_limits_the_bot_is_passed_over_at_once_and_its_copy_counts_when_it_comes() {
    let scene = Scene::start(ANN).await;
    scene.asks("made.txt").await;
    // The next message of the bot there is the question.
    scene.slack.fail_next_send(AdapterError::RateLimited { retry_after: Duration::from_secs(1) });
    scene.hand.advance(5 * MINUTE);
    scene.matrix.direct("ann").see("Question 1").await;
    scene.team.see("does not reach Ann Berg (in Slack) now: rate limited").await;
    let late = scene.slack.direct("ann");
    late.see("Question 1").await;
    late.choose("Allow").await;
    scene.matrix.direct("ann").see_edit("Ann Berg (in Slack) allowed").await;
    scene.team.see("no output").await;
    assert!(scene.bot.file("made.txt").exists());
    assert_eq!(scene.audit(), ["allow by Ann Berg"]);
    scene.bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_messenger_that_refuses_the_question_is_passed_over_at_once() {
    let scene = Scene::start("[[person]]\nname = \"Ann\"\nwhatsapp = \"ann\"\nmatrix = \"ann\"").await;
    scene.asks("made.txt").await;
    scene.matrix.fail_next_send(AdapterError::Rejected("the room is gone".into()));
    scene.hand.advance(5 * MINUTE);
    scene.whatsapp.direct("ann").see("Question 1").await;
    scene.team.see("does not reach Ann (in Matrix) now: refused: the room is gone. I go on at once").await;
    scene.whatsapp.direct("ann").choose("Deny").await;
    scene.team.see_edit("Ann (in WhatsApp) denied").await;
    assert!(!scene.bot.file("made.txt").exists());
    scene.bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_in_which_nobody_may_answer_reads_so_with_its_first_question() {
    let scene = Scene::start("").await;
    scene.team.has_people(&["bob", "cleo"]);
    scene.asks("made.txt").await;
    let told = scene.team.see("Nobody in this room may answer question 1").await.text;
    assert!(told.contains("Invite somebody who may (`ann`)") && told.contains("`slack.approvers`"), "{told}");
    scene.bot.app.shutdown().await;
    let scene = Scene::start(ANN).await;
    scene.team.has_people(&["bob", "cleo"]);
    scene.asks("made.txt").await;
    let told = scene.team.see("Nobody in this room may answer question 1").await.text;
    assert!(
        told.contains("I ask somebody who may directly, now.") && told.contains("(`Ann Berg`)"),
        "{told}"
    );
    // Without a wait.
    scene.slack.direct("ann").see("Question 1").await;
    scene.bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_page_a_person_has_the_same_name_and_answers_there_too() {
    let (setup, clock, hand, fakes) = Scene::setup(SystemTime::now() - 300 * MINUTE, ANN);
    let scene = Scene::with((setup.page(), clock, hand, fakes)).await;
    let mut live = Browser::sign_in(&scene.bot, "ann").await.live(Value::Null).await;
    let room = "web:slack:ann";
    live.say(json!({ "type": "open", "room": room, "before": null })).await;
    live.until_type("opened").await;
    live.say(json!({ "type": "say", "ticket": 1, "room": room, "text": "whoami" })).await;
    live.see("You are Ann Berg").await;
    live.say(json!({ "type": "say", "ticket": 2, "room": room, "text": "bash touch made.txt" })).await;
    live.see("Question 1").await;
    scene.hand.advance(5 * MINUTE);
    scene.matrix.direct("ann").see("for Ann Berg").await;
    live.say(json!({ "type": "say", "ticket": 3, "room": room, "text": "yes 1" })).await;
    scene.matrix.direct("ann").see_edit("Ann Berg (on the page) allowed").await;
    live.see("no output").await;
    assert_eq!(scene.audit(), ["allow by Ann Berg"]);
    scene.bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_closes_the_direct_copies_and_a_press_on_one_runs_nothing() {
    let scene = Scene::start(ANN).await;
    scene.asks("made.txt").await;
    scene.hand.advance(5 * MINUTE);
    scene.slack.direct("ann").see("Question 1").await;
    scene.team.see("asked Ann Berg (in Slack) directly").await;
    let bot = scene.bot.restart().await;
    let direct = bot.fake.direct("ann");
    let press = PersonAct::Chose { on: adapters::MessageId::new("gone"), key: "q:1:yes".into() };
    direct.send_incoming(Incoming { act: press, ..direct.incoming("ann", "") }).await;
    direct.see("Question 1 is not open").await;
    assert!(!bot.file("made.txt").exists());
    bot.app.shutdown().await;
}

/// What others report: the button's sign of life comes, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn a_press_on_any_copy_runs_the_command_also_after_the_conversation_was_left_alone() {
    let scene = Scene::start(ANN).await;
    let direct = scene.slack.direct("ann");
    for number in 1..=5 {
        let file = format!("made-{number}.txt");
        scene.asks(&file).await;
        scene.hand.advance(5 * MINUTE);
        direct.see(&format!("Question {number}")).await;
        direct.choose("Allow").await;
        scene.team.see_edit(&format!("Question {number}: Ann Berg")).await;
        scene.team.see("no output").await;
        assert!(scene.bot.file(&file).exists(), "the press was taken and the call did not run");
        scene.team.settled().await;
    }
    scene.bot.app.shutdown().await;
}

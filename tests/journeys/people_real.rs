//! The way of a question on the stand-ins for Slack and WhatsApp and on a real Synapse, with the real adapters.

use std::{
    net::TcpListener,
    time::{Duration, SystemTime},
};

use bot::{Clock, ClockHand};
use e2e::{Bot, Cli, Program, Setup};
use needs::needs;
use services::{
    matrix,
    slack::{APP_TOKEN, BOT, BOT_TOKEN, Fault, Message, Slack},
    whatsapp::{APP_SECRET, Graph, NUMBER_ID, Person, Shown, TOKEN, VERIFY_TOKEN},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Slack and WhatsApp, where Ann may approve; Bob may only talk, in Slack.
struct Scene {
    bot: Bot,
    hand: ClockHand,
    slack: Slack,
    graph: Graph,
    phone: Person,
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

impl Scene {
    /// With these lines about WhatsApp, and these sections.
    async fn start((whatsapp, ann, sections): (&str, &str, &str)) -> Self {
        let (slack, graph) = (Slack::start().await, Graph::start().await);
        let phone = graph.person("annb", Some("491701234567"), Some("DE.1001"));
        let public = free_address();
        graph.call_back(&format!("http://{public}/webhook/whatsapp"));
        // Behind the clocks of the services, so that what people write is never older than what they answer.
        let (clock, hand) = Clock::by_hand(SystemTime::now() - 120 * MINUTE);
        let setup = Setup::new(Cli::StandIn).clock(clock).messengers().config(&format!(
            "[http]\nwebhook_listen = \"{public}\"\n\
             [slack]\nbot_token = \"{BOT_TOKEN}\"\napp_token = \"{APP_TOKEN}\"\nchannel_ids = [\"C1\"]\n\
             allowed_users = [\"U1\", \"U2\"]\napprovers = [\"U1\"]\napi_url = \"{}\"\n\
             [whatsapp]\nphone_number_id = \"{NUMBER_ID}\"\naccess_token = \"{TOKEN}\"\napp_secret = \"{APP_SECRET}\"\n\
             verify_token = \"{VERIFY_TOKEN}\"\nallowed_users = [\"+49 170 1234567\"]\napi_url = \"{}\"\n{whatsapp}\n\
             [[person]]\nname = \"Ann Berg\"\nslack = \"U1\"\nwhatsapp = \"491701234567\"\n{ann}\n{sections}",
            slack.api_url(),
            graph.url(),
        ));
        let bot = setup.start().await;
        slack.connected(1).await;
        graph.register_rightly().await;
        phone.say("whoami").await;
        phone.see("You are Ann Berg (`+49 170 1234567`, role: approver)").await;
        Self { bot, hand, slack, graph, phone }
    }

    /// Bob's agent asks in the channel.
    async fn asks(&self, file: &str) -> Message {
        self.slack.say("C1", "U2", &format!("<@{BOT}> bash touch {file}"));
        self.slack
            .see_which("C1", "the question", |it| it.shown().contains(file) && !it.buttons().is_empty())
            .await
    }

    /// The bot's message there with this `ts` says so.
    async fn closed(&self, channel: &str, message: &Message, words: &str) {
        let is_closed =
            |it: &Message| it.ts == message.ts && it.shown().contains(words) && it.buttons().is_empty();
        self.slack.see_which(channel, words, is_closed).await;
    }

    async fn told(&self, words: &str) {
        self.slack.see_which("C1", words, |it| it.shown().contains(words)).await;
    }

    fn audit(&self) -> Vec<String> {
        let entries = self.bot.app.services().store.audit_tail(10).expect("it can be read");
        let line = |entry: &_| format!("{entry:?}");
        entries.iter().map(|(_, entry)| line(entry)).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_person_on_three_real_messengers_answers_once() {
    needs!(Synapse);
    let synapse = crate::matrix::synapse().await;
    let (ann, timmy) = (matrix::Person::new(synapse, "ann").await, synapse.register("timmy").await);
    let room = ann.create_room(true, &[&timmy.id]).await;
    let section = format!(
        "[matrix]\nhomeserver = \"{}\"\nusername = \"{}\"\npassword = \"{}\"\nroom_ids = [\"{room}\"]\nallowed_users = [\"{}\"]",
        synapse.url(),
        timmy.name,
        timmy.password,
        ann.id(),
    );
    let scene = Scene::start(("", &format!("matrix = \"{}\"", ann.id()), &section)).await;
    ann.say(&room, "Timmy, whoami").await;
    ann.see(&room, &timmy.id, "You are Ann Berg").await;
    let question = scene.asks("made.txt").await;
    scene.hand.advance(5 * MINUTE);
    let in_slack = scene.slack.see("D1", "Question 1").await;
    scene.told("asked Ann Berg (in Slack) directly").await;
    scene.hand.advance(15 * MINUTE);
    // The room of two is new, and not among the rooms of bot.toml.
    let direct = ann.follow_invitation().await;
    let in_matrix = ann.see(&direct, &timmy.id, "Question 1").await;
    assert!(in_matrix.encrypted);
    scene.told("asked Ann Berg (in Matrix) directly").await;
    scene.hand.advance(15 * MINUTE);
    scene.phone.see("Question 1").await;
    scene.told("asked Ann Berg (in WhatsApp) directly").await;
    ann.until(&direct, "the choices", |seen| {
        let offered = seen.messages.iter().find(|it| it.id == in_matrix.id)?.reactions.len();
        (offered >= 2).then_some(())
    })
    .await;
    assert!(!scene.bot.file("made.txt").exists());
    ann.react(&direct, &in_matrix.id, "✅").await;
    scene.closed("C1", &question, "Ann Berg (in Matrix) allowed").await;
    scene.closed("D1", &in_slack, "Ann Berg (in Matrix) allowed").await;
    scene.phone.see("Ann Berg (in Matrix) allowed").await;
    ann.until(&direct, "its end", |seen| {
        seen.messages.iter().find(|it| it.id == in_matrix.id && it.text.contains("allowed")).cloned()
    })
    .await;
    scene.told("no output").await;
    assert!(scene.bot.file("made.txt").exists());
    let audit = scene.audit();
    assert_eq!(audit.len(), 1, "{audit:?}");
    assert_eq!(audit[0].matches("Ann Berg").count(), 1, "{audit:?}");
    // The next one finds the same room.
    let second = scene.asks("second.txt").await;
    scene.hand.advance(5 * MINUTE);
    scene.slack.see("D1", "Question 2").await;
    scene.told("Question 2 waits, so I asked Ann Berg (in Slack)").await;
    scene.hand.advance(15 * MINUTE);
    let again = ann.see(&direct, &timmy.id, "Question 2").await;
    ann.reply(&direct, &again.id, "no, not that").await;
    scene.closed("C1", &second, "Ann Berg (in Matrix) denied").await;
    scene.bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_closed_window_is_passed_over_and_what_was_held_for_it_cannot_be_answered_later() {
    let scene = Scene::start(("", "", "[ladder]\ndirect = \"1m\"\nelsewhere = \"1m\"")).await;
    let question = scene.asks("made.txt").await;
    scene.hand.advance(MINUTE);
    let in_slack = scene.slack.see("D1", "Question 1").await;
    scene.told("asked Ann Berg (in Slack) directly").await;
    scene.graph.close_windows();
    scene.hand.advance(MINUTE);
    scene.told("does not reach Ann Berg (in WhatsApp) now").await;
    scene.slack.press("D1", &in_slack.ts, "U1", "Deny");
    scene.closed("C1", &question, "Ann Berg (in Slack) denied").await;
    // Her next message opens the window: what was held comes, and the question with its end.
    scene.phone.say("version").await;
    let find = |shown: &[_]| shown.iter().find(|it: &&Shown| !it.choices.is_empty()).cloned();
    let held = scene.phone.until("the question", find).await;
    scene.phone.see("Ann Berg (in Slack) denied").await;
    let seen = scene.phone.shown().len();
    scene.phone.press(&held.id, "Allow").await;
    scene.phone.see_after(seen, "Question 1 is not open").await;
    assert!(!scene.bot.file("made.txt").exists());
    scene.bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_template_carries_the_question_through_a_closed_window() {
    let scene = Scene::start((
        "window_template = \"storkit_notice\"",
        "",
        "[ladder]\ndirect = \"1m\"\nelsewhere = \"1m\"",
    ))
    .await;
    scene.graph.approve_template("storkit_notice", "en");
    let question = scene.asks("made.txt").await;
    scene.hand.advance(MINUTE);
    scene.slack.see("D1", "Question 1").await;
    scene.told("asked Ann Berg (in Slack) directly").await;
    scene.graph.close_windows();
    scene.hand.advance(MINUTE);
    scene.told("asked Ann Berg (in WhatsApp) directly").await;
    scene.phone.until("the template", |shown| shown.iter().find(|it| it.kind == "template").cloned()).await;
    scene.phone.say("yes 1").await;
    scene.closed("C1", &question, "Ann Berg (in WhatsApp) allowed").await;
    scene.told("no output").await;
    assert!(scene.bot.file("made.txt").exists());
    scene.bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slack_that_limits_the_bot_sends_the_question_on_at_once() {
    let scene = Scene::start(("", "", "[ladder]\ndirect = \"1m\"\nelsewhere = \"1h\"")).await;
    let question = scene.asks("made.txt").await;
    scene.slack.fault("conversations.open", Fault::Limited(30));
    scene.hand.advance(MINUTE);
    scene.told("does not reach Ann Berg (in Slack) now: rate limited").await;
    let in_whatsapp = scene.phone.see("Question 1").await;
    scene.phone.press(&in_whatsapp.id, "Allow").await;
    scene.closed("C1", &question, "Ann Berg (in WhatsApp) allowed").await;
    scene.told("no output").await;
    scene.bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_whatsapp_took_and_did_not_deliver_is_no_question_that_somebody_sees() {
    let scene = Scene::start(("", "", "[ladder]\ndirect = \"1m\"\nelsewhere = \"1m\"")).await;
    let question = scene.asks("made.txt").await;
    scene.hand.advance(MINUTE);
    let in_slack = scene.slack.see("D1", "Question 1").await;
    scene.told("asked Ann Berg (in Slack) directly").await;
    scene.hand.advance(MINUTE);
    let in_whatsapp = scene.phone.see("Question 1").await;
    scene.told("asked Ann Berg (in WhatsApp) directly").await;
    scene.graph.fail_later(&in_whatsapp.id, "DE.1001", 131_026).await;
    scene.told("does not reach Ann Berg (in WhatsApp) now: (131026)").await;
    scene.slack.press("D1", &in_slack.ts, "U1", "Deny");
    scene.closed("C1", &question, "Ann Berg (in Slack) denied").await;
    scene.bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_channel_in_which_nobody_may_answer_is_told_so_with_its_first_question() {
    let scene = Scene::start(("", "", "")).await;
    scene.slack.leave("C1", "U1");
    let question = scene.asks("made.txt").await;
    scene.told("Nobody in this room may answer question 1. I ask somebody who may directly, now.").await;
    // No time has passed.
    let direct = scene.slack.see("D1", "Question 1").await;
    scene.slack.press("D1", &direct.ts, "U1", "Allow");
    scene.closed("C1", &question, "Ann Berg allowed").await;
    scene.told("no output").await;
    scene.bot.app.shutdown().await;
}

/// The press is acknowledged, and storkit dies before, while or after it acts on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_press_that_was_acknowledged_runs_its_call_or_the_question_says_that_it_did_not() {
    let slack = Slack::start().await;
    let program = Program::with_stand_in();
    program.write_config(&format!(
        "[slack]\nbot_token = \"${{SLACK_BOT_TOKEN}}\"\napp_token = \"${{SLACK_APP_TOKEN}}\"\nchannel_ids = [\"C1\"]\n\
         allowed_users = [\"U1\", \"U2\"]\napprovers = [\"U1\"]\napi_url = \"{}\"\n\
         [[person]]\nname = \"Ann Berg\"\nslack = \"U1\"\n[ladder]\ndirect = \"1s\"\n",
        slack.api_url()
    ));
    for round in 1..=4 {
        let serving = tokio::task::block_in_place(|| program.serve());
        slack.connected(round).await;
        let file = format!("made-{round}.txt");
        slack.say("C1", "U2", &format!("<@{BOT}> bash touch {file}"));
        let direct = slack.see_which("D1", "the question", |it| it.shown().contains(&file)).await;
        let acknowledged = slack.acknowledged().len();
        slack.press("D1", &direct.ts, "U1", "Allow");
        slack.acknowledged_at_least(acknowledged + 1).await;
        if round % 2 == 0 {
            slack.see_which("D1", "its end", |it| it.ts == direct.ts && it.buttons().is_empty()).await;
        }
        serving.kill_9();
        let serving = tokio::task::block_in_place(|| program.serve());
        slack.connected(round).await;
        let end = slack.see_which("D1", "its end", |it| it.ts == direct.ts && it.buttons().is_empty()).await;
        let shown = end.shown();
        let was_allowed = shown.contains("Ann Berg allowed") || shown.contains("Ann Berg said yes");
        assert!(was_allowed || shown.contains("is closed") && !program.file(&file).exists(), "{shown}");
        assert_eq!(serving.end().0, Some(0));
    }
}

/// So many messages at once use the pair's allowance up, and the question is the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_burst_of_messages_loses_neither_the_question_nor_its_answer() {
    let scene = Scene::start(("", "", "[ladder]\ndirect = \"1m\"\nelsewhere = \"1h\"")).await;
    let many = vec!["version"; 19];
    scene.phone.say_at_once(&many).await;
    scene
        .phone
        .until("the answers", |shown| {
            let answers = shown.iter().filter(|it| it.text.contains("storkit ")).count();
            (answers == many.len()).then_some(())
        })
        .await;
    let question = scene.asks("made.txt").await;
    // Slack cannot be asked, so the turn is WhatsApp's, which takes no more messages for now.
    scene.slack.fault("conversations.open", Fault::Code("user_disabled".into()));
    scene.hand.advance(MINUTE);
    scene.told("does not reach Ann Berg (in WhatsApp) now: rate limited").await;
    // It comes as soon as it may, and an answer among other words counts.
    scene.phone.see("Question 1").await;
    scene.phone.say_at_once(&["I see", "one moment", "yes 1", "thanks"]).await;
    scene.closed("C1", &question, "Ann Berg (in WhatsApp) allowed").await;
    scene.told("no output").await;
    assert!(scene.bot.file("made.txt").exists());
    scene.bot.app.shutdown().await;
}

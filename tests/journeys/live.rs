//! Answers as they are written: one message that grows where it can be edited, one final message where not.

use std::time::Duration;

use adapters::{
    AdapterError, Tone,
    testing::fake::{Fake, FakeMessage, FakeRoom},
};
use e2e::{Bot, Cli, Setup};

fn go(bot: &Bot) {
    std::fs::write(bot.file("go"), "").expect("the file is written");
}

fn lines(count: usize) -> String {
    (1..=count).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n")
}

/// The bot's messages with this text.
fn with(room: &FakeRoom, text: &str) -> Vec<FakeMessage> {
    room.shown().into_iter().filter(|shown| shown.text.contains(text)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_grows_in_one_message_and_ends_complete() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    let prompt = room.say("wait go").await;
    let live = room.see("waiting").await;
    assert_eq!(live.tone, Tone::Notice);
    go(&bot);
    let done = room.see_edit("waited").await;
    room.settled().await;
    let shown = room.shown();
    assert_eq!((shown.len(), &shown[0].id), (1, &done.id), "{}", room.transcript());
    assert_eq!((&done.id, &done.reply_to), (&live.id, &Some(prompt)));
    assert_eq!((shown[0].text.as_str(), shown[0].tone), ("waited", Tone::Answer));
    room.say("lines 300").await;
    room.settled().await;
    assert_eq!(room.shown()[1..].iter().map(|shown| shown.text.clone()).collect::<Vec<_>>(), [lines(300)]);
    room.say("echo short").await;
    room.see("echo: short").await;
    room.settled().await;
    assert_eq!(room.shown().len(), 3);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_edited_the_answer_comes_once_and_whole() {
    let bot = Setup::new(Cli::StandIn).on(vec![Fake::plain("plain")]).start().await;
    let room = bot.room("a");
    room.say("lines 300").await;
    assert_eq!(room.see("line 300").await.text, lines(300));
    room.say("status").await;
    room.see("**Here**: idle").await;
    let shown: Vec<String> = room.shown().iter().map(|shown| shown.text.clone()).collect();
    assert_eq!(shown[..2], ["Working on it.".to_owned(), lines(300)], "{}", room.transcript());
    assert_eq!((shown.len(), bot.fake.edits()), (3, 0));
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_are_no_buttons_a_question_names_the_words_to_type() {
    let bot = Setup::new(Cli::StandIn).on(vec![Fake::plain("plain")]).start().await;
    let room = bot.room("a");
    room.say("bash touch plain.txt").await;
    let question = room.see("Question 1").await;
    assert!(question.choices.is_empty() && question.text.contains("Answer `yes`, `no REASON`"));
    room.say("yes").await;
    room.see("ann allowed").await;
    room.see("no output").await;
    assert!(bot.file("plain.txt").exists());
    room.say("ask").await;
    assert!(room.see("Which colour?").await.text.contains("1. Red"));
    room.say("1").await;
    room.see("ann answered `Red`").await;
    room.see(r#"="Red""#).await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_stands_below_what_was_said_and_freezes_it() {
    let bot = Setup::new(Cli::StandIn).config("verbosity = 2").start().await;
    let room = bot.room("a");
    room.say("twice echo first ;; echo second").await;
    room.see("Question 1").await;
    room.say("yes").await;
    room.see("Question 2").await;
    room.say("no").await;
    room.see("ann denied this").await;
    room.settled().await;
    insta::assert_snapshot!(room.transcript(), @r"
    ann: twice echo first ;; echo second
    bot: ✅ Question 1: ann allowed Bash `echo first`.
    ann: yes
    bot: - Bash `echo first` ✓
    bot: ❌ Question 2: ann denied Bash `echo second`.
    ann: no
    bot: - Bash `echo second` ✗

    first
    ann denied this. Do not try it again in another way; ask what to do instead.
    ");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rate_limit_the_final_state_still_arrives_in_the_same_message() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("wait go").await;
    let live = room.see("waiting").await;
    bot.fake.rate_limit_next(Duration::from_millis(50));
    go(&bot);
    let done = room.see("waited").await;
    assert_eq!((done.id, done.tone), (live.id, Tone::Answer));
    room.settled().await;
    assert_eq!(room.shown().len(), 1);
    bot.fake.rate_limit_next(Duration::from_millis(50));
    room.say("lines 50").await;
    assert_eq!(room.see("line 50").await.text.lines().count(), 50);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_an_edit_is_refused_the_end_comes_as_a_message_of_its_own() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("wait go").await;
    let live = room.see("waiting").await;
    bot.fake.fail_next_edit(AdapterError::Rejected("too old to be edited".into()));
    go(&bot);
    room.see("waited").await;
    room.settled().await;
    let last = with(&room, "waited").pop().expect("shown");
    assert!(last.tone == Tone::Answer && last.id != live.id, "{}", room.transcript());
    room.say("echo next").await;
    room.see("echo: next").await;
    room.settled().await;
    assert_eq!(with(&room, "echo: next").len(), 1);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_survives_a_cut_connection() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("wait go").await;
    room.see("waiting").await;
    bot.fake.fail_next_edit(AdapterError::Unreachable("gone for a moment".into()));
    bot.fake.drop_connection();
    room.say("echo meanwhile").await;
    go(&bot);
    room.see("waited").await;
    room.see("echo: meanwhile").await;
    room.settled().await;
    assert_eq!((with(&room, "waited").len(), bot.fake.connections()), (1, 2));
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verbosity_says_how_much_of_the_work_is_seen_and_is_remembered() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    for (level, shows) in [("0", &[][..]), ("1", &["- Agent ✓"]), ("2", &["- Agent `look around` ✓"])] {
        room.say(&format!("verbosity {level}")).await;
        room.see(&format!("Verbosity is {level} from now on.")).await;
        room.say("subagent").await;
        room.see("the child has looked").await;
        room.settled().await;
        let text = room.shown().pop().expect("an answer").text;
        assert_eq!(text.lines().filter(|line| line.starts_with('-')).collect::<Vec<_>>(), shows, "{text}");
        assert!(!text.contains("seen by the child"), "sub-agents are not shown: {text}");
    }
    let bot = bot.restart().await;
    bot.room("a").say("verbosity").await;
    bot.room("a").see("Verbosity is 2.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_is_split_and_a_very_long_one_becomes_a_file() {
    let bot = Setup::new(Cli::StandIn).on(vec![Fake::new("fake"), Fake::plain("plain")]).start().await;
    let room = bot.room("a");
    room.say("long 100").await;
    room.see("long answer").await;
    room.settled().await;
    let whole: Vec<String> = room.shown().into_iter().map(|shown| shown.text).collect();
    assert!(whole.len() > 1);
    assert_eq!(whole.join(" ").matches("long answer").count(), 100 * 1024 / 12, "nothing is cut off");
    room.say("long 400").await;
    let file = room.see_file("answer.md").await;
    assert_eq!(String::from_utf8_lossy(&file.bytes).matches("long answer").count(), 400 * 1024 / 12);
    room.settled().await;
    room.say("echo short again").await;
    room.see("echo: short again").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_wakes_by_itself_is_said_too() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("background").await;
    room.see("Started it.").await;
    room.see("The task has ended.").await;
    room.say("echo usable").await;
    room.see("echo: usable").await;
    room.settled().await;
    assert_eq!(with(&room, "The task has ended.").len(), 1, "{}", room.transcript());
    bot.app.shutdown().await;
}

//! Exactly once, only for the right people, only in time; and how a message is known to be for the bot.

use std::time::{Duration, SystemTime};

use adapters::{Identity, Incoming, Sender, testing::fake::FakeRoom};
use e2e::{Bot, Cli, Setup};

async fn start() -> Bot {
    Setup::new(Cli::StandIn).start().await
}

/// What the session knows: every prompt that was ever run.
async fn prompts(room: &FakeRoom) -> String {
    room.say("history").await;
    room.settled().await;
    room.shown().pop().expect("an answer").text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_message_five_times_is_one_run_and_a_restart_does_not_forget_it() {
    let bot = start().await;
    let room = bot.room("a");
    for _ in 0..5 {
        room.say_with_id("webhook-1", "echo once").await;
    }
    room.see("echo: once").await;
    assert_eq!(prompts(&room).await, "1. echo once");
    let bot = bot.restart().await;
    let room = bot.room("a");
    room.say_with_id("webhook-1", "echo once").await;
    assert_eq!(prompts(&room).await, "1. echo once\n2. history");
    // The same id in another room is another message.
    let other = bot.room("b");
    other.say_with_id("webhook-1", "echo elsewhere").await;
    other.see("echo: elsewhere").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bots_and_strangers_are_not_heard_and_not_answered() {
    let bot = start().await;
    let room = bot.room("a");
    let from_bot = Incoming {
        sender: Sender { id: "ann".into(), name: "ann".into(), is_bot: true },
        ..room.incoming("ann", "echo from a bot")
    };
    room.send_incoming(from_bot).await;
    room.say_as("eve", "echo from a stranger").await;
    room.say_as("eve", "!status").await;
    room.say("bash touch guarded.txt").await;
    let question = room.see("Question 1").await;
    assert_eq!(room.shown().len(), 1, "{}", room.transcript());
    room.say_as("eve", "yes").await;
    let click = adapters::PersonAct::Chose { on: question.id, key: question.choices[0].key.clone() };
    room.send_incoming(Incoming { act: click, ..room.incoming("eve", "") }).await;
    room.say("no").await;
    room.see("ann denied this").await;
    assert!(!bot.file("guarded.txt").exists());
    assert_eq!(prompts(&room).await, "1. bash touch guarded.txt");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_too_late_is_told_and_not_run() {
    let bot = start().await;
    let room = bot.room("a");
    let sent = |text: &str, minutes: u64| Incoming {
        sent_at: SystemTime::now() - Duration::from_secs(minutes * 60),
        ..room.incoming("ann", text)
    };
    room.send_incoming(sent("echo yesterday's idea", 11)).await;
    room.see("`echo yesterday's idea` from ann is 11m old and was not run").await;
    room.send_incoming(sent("!stop", 60)).await;
    room.see("`stop` from ann is 1h old").await;
    room.send_incoming(sent("echo a minute ago", 1)).await;
    room.see("echo: a minute ago").await;
    assert_eq!(prompts(&room).await, "1. echo a minute ago");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_say_while_the_connection_is_down_is_answered_afterwards() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("echo before").await;
    room.see("echo: before").await;
    bot.fake.drop_connection();
    room.say("echo meanwhile").await;
    room.see("echo: meanwhile").await;
    assert_eq!(prompts(&room).await, "1. echo before\n2. echo meanwhile");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_address_is_heard_in_a_group_and_small_talk_is_not() {
    let bot = start().await;
    let room = bot.room("team");
    for call in
        ["!status", "Timmy status", "timmy: status", "@timmy, status", "TIMMY, Status", "Timmy !status"]
    {
        room.say_in_group("bob", call).await;
        room.see("**Here**: idle").await;
    }
    for talk in ["status", "the status is bad", "Timmyx status", "ask timmy for the status", "! really"] {
        room.say_in_group("bob", talk).await;
    }
    room.say_in_group("bob", "timmy").await;
    room.see("Timmy here.").await;
    assert_eq!(room.shown().len(), 7, "{}", room.transcript());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_an_emoji_and_a_space_is_heard() {
    let bot = Setup::new(Cli::StandIn).config("display_name = \"🦀 Captain Crab\"").start().await;
    let prefixes = vec!["!".into()];
    bot.fake.set_identity(Identity {
        display_name: "🦀 Captain Crab".into(),
        prefixes,
        ..Identity::default()
    });
    let room = bot.room("team");
    for call in ["🦀 Captain Crab status", "@🦀 captain crab: status", "Captain Crab, status"] {
        room.say_in_group("ann", call).await;
        room.see("**Here**: idle").await;
    }
    room.say_in_group("ann", "captain crab system").await;
    room.see("Your name is 🦀 Captain Crab.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn talk_among_people_goes_along_with_the_next_prompt_once_and_bounded() {
    let bot = Setup::new(Cli::StandIn).config("history_size = 3").start().await;
    let room = bot.room("team");
    for talk in ["too long ago", "the build is red", "since lunch", "who broke it?"] {
        room.say_in_group("bob", talk).await;
    }
    room.say_in_group("ann", "Timmy, what do you think?").await;
    let answer = room.see("ann: what do you think?").await.text;
    assert!(answer.contains("> bob: the build is red\n> bob: since lunch\n> bob: who broke it?"), "{answer}");
    assert!(!answer.contains("too long ago"), "{answer}");
    room.settled().await;
    room.say_in_group("ann", "Timmy, and now?").await;
    let answer = room.see("ann: and now?").await.text;
    assert!(!answer.contains("red"), "what was told is not told again: {answer}");
    room.settled().await;
    room.say_in_group("ann", "Timmy, history").await;
    room.see("1. [Said in the room before").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_command_gets_the_nearest_one_and_a_sentence_is_no_command() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("!statsu").await;
    room.see("There is no command `statsu`. Did you mean `status`?").await;
    room.say("!xyzzyplugh").await;
    room.see("`help` lists them all").await;
    room.say("help me fix the build please").await;
    room.see("You said: help me fix the build please").await;
    room.say("stop using tabs in this file").await;
    room.see("You said: stop using tabs in this file").await;
    room.say("yes").await;
    room.see("You said: yes").await;
    room.say("cost me no time please").await;
    room.see("You said: cost me no time please").await;
    room.say("verbosity 7").await;
    room.see("`7` is not a verbosity; use 0, 1 or 2.\nUsage: `verbosity [0|1|2]`").await;
    room.say("!help me fix the build please").await;
    room.settled().await;
    assert!(!room.shown().pop().expect("an answer").text.contains("You said"), "a prefix means a command");
    bot.app.shutdown().await;
}

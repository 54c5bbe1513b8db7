//! Busy rooms: what comes meanwhile waits in order, is shown, bounded, and can be dropped or taken back.

use adapters::testing::fake::FakeRoom;
use e2e::{Bot, Cli, Setup};

/// A bot in whose room `a` a turn runs until [`go`].
async fn busy() -> (Bot, FakeRoom) {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("wait go").await;
    room.see("waiting").await;
    (bot, room)
}

fn go(bot: &Bot) {
    std::fs::write(bot.file("go"), "").expect("the file is written");
}

/// The bot's messages that contain one of `wanted`, in the order of the room.
fn order<'w>(room: &FakeRoom, wanted: &[&'w str]) -> Vec<&'w str> {
    let shown = room.shown();
    shown
        .iter()
        .filter_map(|shown| wanted.iter().find(|wanted| shown.text.contains(**wanted)).copied())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_queue_with_their_position_and_run_in_order() {
    let (bot, room) = busy().await;
    room.say("echo one").await;
    room.see("Queued, number 1").await;
    room.say_as("bob", "echo two").await;
    room.see("Queued, number 2").await;
    room.say("queue").await;
    let list = room.see("1. ann: echo one").await.text;
    assert!(list.contains("2. bob: echo two"), "{list}");
    room.say("status").await;
    room.see("1. ann: echo one").await;
    go(&bot);
    room.see("echo: two").await;
    assert_eq!(order(&room, &["waited", "echo: one", "echo: two"]), ["waited", "echo: one", "echo: two"]);
    room.say("queue").await;
    room.see("Nothing waits here.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_twenty_first_prompt_is_refused_and_clear_drops_all_but_the_turn() {
    let (bot, room) = busy().await;
    for number in 1..=20 {
        room.say(&format!("echo {number}")).await;
    }
    room.see("Queued, number 20").await;
    room.say("echo one too many").await;
    room.see("The queue is full (20 wait)").await;
    room.say("reset").await;
    room.see("The queue is full (20 wait)").await;
    room.say("whoami").await;
    room.see("You are `ann`").await;
    room.say("queue clear").await;
    room.see("Dropped 20 prompts").await;
    room.say("history").await;
    room.see("Queued, number 1").await;
    go(&bot);
    assert_eq!(room.see("1. wait go").await.text.trim(), "1. wait go", "nothing that was dropped has run");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_is_taken_back_before_its_turn_is_not_run() {
    let (bot, room) = busy().await;
    let wrong = room.say("echo my password").await;
    room.see("Queued, number 1").await;
    room.say("history").await;
    room.see("Queued, number 2").await;
    room.redact(&wrong).await;
    room.see("Taken back").await;
    go(&bot);
    assert_eq!(room.see("1. wait go").await.text.trim(), "1. wait go");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_change_the_session_wait_their_turn_between_the_prompts() {
    let (bot, room) = busy().await;
    room.say("echo before").await;
    room.see("Queued, number 1").await;
    room.say("reset").await;
    room.see("`reset` waits until the turn is over, number 2").await;
    room.say("history").await;
    room.see("Queued, number 3").await;
    room.say("model sonnet").await;
    room.see("`model` waits until the turn is over, number 4").await;
    room.say("args").await;
    room.see("Queued, number 5").await;
    go(&bot);
    room.see("echo: before").await;
    room.see("is closed. Your next message starts a new one").await;
    room.see("nothing yet").await;
    room.see("uses `sonnet` from the next turn on").await;
    room.see("--session-id").await;
    room.say("please\nmodel").await;
    room.see("sonnet").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn immediate_commands_never_queue() {
    let (bot, room) = busy().await;
    for (command, answer) in [
        ("help", "status"),
        ("status", "working for ann"),
        ("whoami", "You are `ann`"),
        ("htop", "htop"),
        ("htop stop", "ended"),
        ("cost", "Today"),
        ("version", "storkit"),
        ("git", "main"),
    ] {
        room.say(command).await;
        room.see(answer).await;
    }
    go(&bot);
    room.see("waited").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_in_one_room_holds_up_no_other_room() {
    let (bot, room) = busy().await;
    let other = bot.room("b");
    other.say("echo free").await;
    other.see("echo: free").await;
    other.say("queue").await;
    other.see("Nothing waits here.").await;
    go(&bot);
    room.see("waited").await;
    bot.app.shutdown().await;
}

//! Ambient rooms: every message counts, silence is an answer, and the choice survives in bot.toml.

use e2e::{Cli, Setup};

const QUIET: &str = "NOTHING_TO_ADD";

#[tokio::test(flavor = "multi_thread")]
async fn ambient_is_remembered_in_bot_toml_whose_comments_stay() {
    let toml =
        "# Our bot, ask Bob before you change it.\nambient_rooms = [] # rooms that listen\nhistory_size = 7";
    let bot = Setup::new(Cli::StandIn).config(toml).start().await;
    let room = bot.room("team");
    let file = || std::fs::read_to_string(bot.file(".storkit/bot.toml")).expect("bot.toml");
    room.say_in_group("ann", "hello everybody").await;
    room.say_in_group("ann", "!ambient").await;
    room.see("Ambient is off").await;
    room.say_in_group("ann", "!ambient on").await;
    room.see("Ambient is on").await;
    room.say_in_group("bob", "echo I am heard").await;
    room.see("echo: I am heard").await;
    assert!(file().contains("fake:team") && file().contains("# Our bot, ask Bob"), "{}", file());
    assert!(file().contains("# rooms that listen") && file().contains("history_size = 7"), "{}", file());
    let bot = bot.restart().await;
    let room = bot.room("team");
    room.say_in_group("bob", "echo still heard").await;
    room.see("echo: still heard").await;
    room.say_in_group("ann", "ambient off").await;
    room.see("Ambient is off").await;
    room.say_in_group("bob", "echo not heard").await;
    room.say_in_group("ann", "!whoami").await;
    room.see("You are `ann`").await;
    room.settled().await;
    assert!(!room.transcript().contains("echo: not heard"), "{}", room.transcript());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_to_add_the_bot_shows_nothing_but_an_address_is_always_answered() {
    let bot = Setup::new(Cli::StandIn)
        .config("ambient_rooms = [\"fake:team\"]")
        .claude_env("QUIET", QUIET)
        .start()
        .await;
    let room = bot.room("team");
    room.say_in_group("bob", "env QUIET").await;
    room.say_in_group("bob", "nice weather").await;
    let prompt = room.see("bob: nice weather").await;
    assert!(prompt.text.contains("answer with exactly NOTHING_TO_ADD"), "{}", prompt.text);
    assert_eq!(room.shown().len(), 1, "not even the queue is spoken of\n{}", room.transcript());
    room.say_in_group("bob", "Timmy, env QUIET").await;
    room.see(QUIET).await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_rooms_ambient_is_not_anothers() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let (team, hall) = (bot.room("team"), bot.room("hall"));
    team.say_in_group("ann", "!ambient on").await;
    team.see("Ambient is on").await;
    hall.say_in_group("ann", "echo psst").await;
    hall.say_in_group("ann", "!ambient").await;
    hall.see("Ambient is off").await;
    team.say_in_group("bob", "echo heard").await;
    team.see("echo: heard").await;
    assert!(!hall.transcript().contains("echo: psst"));
    bot.app.shutdown().await;
}

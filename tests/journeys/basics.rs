//! The first things anybody does.

use e2e::{Cli, Setup};

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_answered_and_the_next_one_knows_it() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("echo hello").await;
    room.see("echo: hello").await;
    room.say("history").await;
    room.see("echo hello").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_answered_while_a_turn_runs() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("slow").await;
    room.say("status").await;
    room.see("working for ann").await;
    room.say("stop").await;
    room.see("Stopped.").await;
    room.settled().await;
    bot.app.shutdown().await;
}

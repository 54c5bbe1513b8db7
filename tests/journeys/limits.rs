//! A busy or failing model service: said, retried by itself where that helps, a clear sentence where not.

use adapters::Tone;
use e2e::{Cli, Setup};

fn count(room: &adapters::testing::fake::FakeRoom, text: &str) -> usize {
    room.shown().iter().filter(|shown| shown.text.contains(text)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_usage_limit_is_said_retried_five_times_and_counted_apart() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("error 429").await;
    let waits = room.see("The usage limit of the model's service is reached (429). I try again at").await;
    assert_eq!(waits.tone, Tone::Notice, "a wait is no failure");
    room.see("still busy (429) after 5 more tries").await;
    room.settled().await;
    assert_eq!(count(&room, "I try again at"), 5, "{}", room.transcript());
    assert_eq!(bot.app.services().metrics.rate_limits.get(), 5);
    assert_eq!(bot.app.services().metrics.turns.get(), 1, "six tries are one turn");
    room.say("history").await;
    assert!(!room.see("6. error 429").await.text.contains("7."), "one try and five more");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_met_an_overload_is_answered_without_being_asked_again() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("busy 3").await;
    room.see("overloaded (529)").await;
    room.say("echo next").await;
    room.see("no longer busy").await;
    room.see("echo: next").await;
    room.settled().await;
    assert_eq!(count(&room, "I try again at"), 3);
    assert_eq!(count(&room, "no longer busy"), 1);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_try_is_at_the_limits_end_and_a_window_that_allows_is_no_limit() {
    let retry = bot::RetryPolicy::default();
    let bot = Setup::new(Cli::StandIn).retry(retry).start().await;
    let room = bot.room("a");
    let next_century = 4_102_444_800_u64;
    room.say(&format!("busy 1 rejected {next_century}")).await;
    // Waited for, however far away: it is not one of the five tries. No window is longer than a week and a day.
    room.see("(in 8d). `stop` gives up.").await;
    room.say("stop").await;
    room.see("Stopped.").await;
    room.say("echo between").await;
    room.see("echo: between").await;
    room.say(&format!("busy 1 allowed {next_century}")).await;
    room.see("(in 30s), 1 of 5").await;
    room.say("stop").await;
    room.see("Stopped.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_waiting_does_not_cure_each_get_their_sentence() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("error 401").await;
    assert_eq!(room.see("Claude's service refused the key.").await.tone, Tone::Failure);
    room.say("error 500").await;
    assert_eq!(room.see("Claude's service failed.").await.tone, Tone::Failure);
    room.say("flaky").await;
    room.see("after two retries").await;
    room.settled().await;
    assert_eq!(count(&room, "I try again at"), 0, "nothing here is retried by storkit");
    room.say("history").await;
    room.see("3. flaky").await;
    bot.app.shutdown().await;
}

//! Commands that people know from Claude Code's own terminal, with the real CLI.

use e2e::Setup;
use needs::needs;
use scripted_model::{ApiFailure, ModelScript};

use crate::real::last_request;

/// The words with which the CLI (2.1.330) asks for a summary.
const ASKS_FOR_SUMMARY: &str = "Respond with TEXT ONLY";

fn script() -> ModelScript {
    let too_long = ApiFailure::new(400, "invalid_request_error")
        .message("prompt is too long: 210000 tokens > 200000 maximum")
        .times(1);
    ModelScript::new()
        .on(ASKS_FOR_SUMMARY)
        .says("<summary>We greeted each other.</summary>")
        .on("a long story")
        .fails(too_long)
        .says("That was long.")
        .on("hello")
        .says("Hello, too.")
        .on("again")
        .says("Before that: {history}.")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_summarized_on_request_and_goes_on_from_there() {
    needs!(Claude);
    let bot = Setup::real(script()).start().await;
    let room = bot.room("a");
    room.say("/compact").await;
    room.see("There is no session here yet").await;
    room.say("hello").await;
    room.see("Hello, too.").await;
    room.settled().await;
    room.say("compact keep the keys").await;
    room.see("The older part of the session is a summary from here on.").await;
    room.settled().await;
    let asked = last_request(&bot).conversation;
    assert!(asked.prompt.contains("keep the keys"), "{asked:?}");
    room.say("again").await;
    room.see("Before that:").await;
    room.settled().await;
    let after = last_request(&bot).conversation;
    assert!(!after.history.contains(&"hello".to_owned()), "{after:?}");
    assert!(after.history.iter().any(|text| text.contains("We greeted each other.")), "{after:?}");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_becomes_too_long_is_summarized_and_the_room_is_told() {
    needs!(Claude);
    let bot = Setup::real(script()).start().await;
    let room = bot.room("a");
    room.say("hello").await;
    room.see("Hello, too.").await;
    room.settled().await;
    room.say("a long story").await;
    let answer = room.see("That was long.").await;
    room.settled().await;
    let told = room.shown().into_iter().find(|shown| shown.id == answer.id).expect("the answer").text;
    assert!(
        told.contains("The session became too long, so its older part is a summary from here on."),
        "{told}"
    );
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_starts_a_new_session_and_commands_of_the_terminal_say_what_to_do_instead() {
    needs!(Claude);
    let bot = Setup::real(script()).start().await;
    let room = bot.room("a");
    room.say("hello").await;
    room.see("Hello, too.").await;
    room.settled().await;
    room.say("/context").await;
    room.see("Context Usage").await;
    room.settled().await;
    room.say("/config permissions bypass").await;
    room.see("`/config` does nothing here.").await;
    room.say("/clear").await;
    room.see("session").await;
    room.say("again").await;
    room.see("Before that:").await;
    room.settled().await;
    assert_eq!(last_request(&bot).conversation.history, [""; 0]);
    bot.app.shutdown().await;
}

//! The real CLI when things go wrong: the service refuses, the line is cut, the process is killed, the session is lost.

use std::{fs, net::TcpListener};

use e2e::{Bot, PidPost, Setup, ended, kill_9};
use needs::needs;
use scripted_model::{ApiFailure, ModelScript};

use crate::real::{bash, last_request};

/// One prompt that fails as scripted, and one after it that does not.
async fn answered_after(bot: &Bot, sentence: &str) {
    let room = bot.room("a");
    room.say("try it").await;
    room.see(sentence).await;
    room.settled().await;
    room.say("hello").await;
    room.see("Good morning.").await;
    room.settled().await;
}

fn failing(failure: ApiFailure) -> ModelScript {
    ModelScript::new().on("try it").fails(failure).says("It worked.").on("hello").says("Good morning.")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_a_sentence_that_says_what_to_do() {
    needs!(Claude);
    let bot = Setup::real(failing(ApiFailure::unauthorized())).start().await;
    answered_after(&bot, "Claude's service refused the key. Set a valid `ANTHROPIC_API_KEY`").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_at_all_is_a_sentence_that_says_what_to_do() {
    needs!(Claude);
    let bot = Setup::real(ModelScript::new()).claude_env("ANTHROPIC_API_KEY", "").start().await;
    let room = bot.room("a");
    room.say("hello").await;
    room.see("Claude Code has no key. Set `ANTHROPIC_API_KEY`").await;
    room.settled().await;
    room.say("status").await;
    room.see("idle").await;
    assert_eq!(bot.model_requests().len(), 0);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_and_a_failing_service_are_sentences() {
    needs!(Claude);
    let script = ModelScript::new()
        .on("try it")
        .fails(ApiFailure::new(404, "not_found_error"))
        .on("and this")
        .fails(ApiFailure::new(500, "api_error"))
        .on("hello")
        .says("Good morning.");
    let bot = Setup::real(script).start().await;
    answered_after(&bot, "does not know the model. Choose another with `model NAME`.").await;
    let room = bot.room("a");
    room.say("and this").await;
    room.see("Claude's service failed. Send your message again later.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_service_is_said_and_the_prompt_tried_again_by_itself() {
    needs!(Claude);
    for (failure, sentence) in [
        (ApiFailure::rate_limited().times(2), "The usage limit of the model's service is reached (429)."),
        (ApiFailure::overloaded().times(4), "The model's service is overloaded (529)."),
    ] {
        let bot = Setup::real(failing(failure)).start().await;
        let room = bot.room("a");
        room.say("try it").await;
        room.see(sentence).await;
        room.see("It worked.").await;
        room.settled().await;
        room.say("hello").await;
        room.see("Good morning.").await;
        let history = last_request(&bot).conversation.history;
        assert!(history.iter().all(|prompt| prompt == "try it"), "{history:?}");
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weekly_limit_is_said_with_its_reset_and_waited_for_also_over_a_restart() {
    needs!(Claude);
    let limit = ApiFailure::rate_limited().retry_after(6 * 24 * 3600 - 60);
    let bot = Setup::real(failing(limit)).retry(bot::RetryPolicy::default()).start().await;
    let room = bot.room("a");
    room.say("try it").await;
    let said = room.see("The usage limit of the model's service is reached (429). I try again at").await;
    assert_eq!(said.tone, adapters::Tone::Notice, "it is no failure");
    assert!(said.text.contains("(in 5d 23h)") && !said.text.contains("of 5"), "{said:?}");
    room.say("status").await;
    room.see("waits 5d 23h for the model's service").await;
    let bot = bot.restart().await;
    room.see("I am shutting down. This prompt waits for the next start.").await;
    let room = bot.room("a");
    room.see("(in 5d 23h)").await;
    room.say("stop").await;
    room.see("Stopped.").await;
    room.say("hello").await;
    room.see("Good morning.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stays_busy_is_given_up_and_said() {
    needs!(Claude);
    let bot = Setup::real(failing(ApiFailure::rate_limited())).start().await;
    answered_after(&bot, "still busy (429) after 5 more tries, so I give up").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_ends_in_an_answer_and_a_broken_one_in_a_sentence() {
    needs!(Claude);
    let mut script = ModelScript::new()
        .on("cut it")
        .says("Half of it.")
        .cuts_the_stream(usize::MAX)
        .on("hello")
        .says("Good morning.")
        .on("try it");
    // The CLI keeps what came and asks the model to go on, three times.
    for _ in 0..6 {
        script = script.says("Half of it.").breaks_the_stream("api_error", usize::MAX).then();
    }
    let bot = Setup::real(script).start().await;
    let room = bot.room("a");
    room.say("cut it").await;
    room.see("Half of it.").await;
    room.settled().await;
    answered_after(&bot, "Claude's service broke off").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_cannot_be_reached_is_a_sentence_and_the_room_lives() {
    needs!(Claude);
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", nobody.local_addr().expect("its address"));
    drop(nobody);
    let bot = Setup::real(ModelScript::new()).claude_env("ANTHROPIC_BASE_URL", &url).start().await;
    let room = bot.room("a");
    room.say("hello").await;
    room.see("cannot be reached from here").await;
    room.settled().await;
    room.say("status").await;
    room.see("idle").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_cli_is_said_its_tool_goes_with_it_and_the_next_prompt_resumes() {
    needs!(Claude);
    let script = ModelScript::new()
        .on("wait")
        .calls("Bash", bash("echo $$ > pid; exec tail -f /dev/null"))
        .then_says("never")
        .on("hello")
        .says("Before: {history}.");
    let bot = Setup::real(script).start().await;
    let post = PidPost::at(&bot.file("pid"));
    let room = bot.room("a");
    room.say("wait").await;
    room.see("tail -f").await;
    room.say("yes").await;
    let tool = post.pid().await;
    kill_9(bot.cli_pid());
    room.see("ended with code 137 before its answer was complete").await;
    ended(tool).await;
    room.settled().await;
    assert_eq!(bot.agent_processes(), 0);

    room.say("hello").await;
    room.see("Before: wait.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_is_said_and_the_prompt_answered_in_a_new_one() {
    needs!(Claude);
    let bot = Setup::real(ModelScript::new().says("Before: {history}. Now: {prompt}.")).start().await;
    let room = bot.room("a");
    room.say("first").await;
    room.see("Now: first.").await;
    room.settled().await;
    fs::remove_dir_all(bot.file("../home/.claude/projects")).expect("the CLI's sessions");

    let bot = bot.restart().await;
    let room = bot.room("a");
    room.say("second").await;
    room.see("could not be resumed, so I start a new one").await;
    room.see("Before: . Now: second.").await;
    room.settled().await;
    room.say("third").await;
    room.see("Before: second. Now: third.").await;
    assert!(!room.transcript().contains("before its answer was complete"), "{room:?}");
    bot.app.shutdown().await;
}

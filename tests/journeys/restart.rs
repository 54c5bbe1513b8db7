//! A bot that is ended in good order and started again: nothing lost, nothing twice, and all of it said.

use e2e::{Cli, Setup, ended};

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_a_restart_cuts_is_told_and_its_session_resumes() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let before = bot.room("a");
    before.say("echo remember me").await;
    before.see("echo: remember me").await;
    before.say("slow").await;
    let live = before.see("slow answer").await;
    let pid = bot.agent_pid();
    let bot = bot.restart().await;
    let end = before.see("I am shutting down, so this turn ends here").await;
    assert_eq!(end.id, live.id, "the live message gets its end");
    ended(pid).await;
    let room = bot.room("a");
    room.see("I was restarted while I worked on `slow`. What was done so far remains; say `go on`").await;
    room.say("history").await;
    room.see("1. echo remember me\n2. slow").await;
    room.settled().await;
    assert_eq!(room.shown().len(), 2, "nothing else is said\n{}", room.transcript());
    let bot = bot.restart().await;
    let room = bot.room("a");
    room.say("history").await;
    room.see("2. slow").await;
    room.settled().await;
    assert_eq!(room.shown().len(), 1, "what was told is not told again\n{}", room.transcript());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_that_had_not_begun_are_run_after_the_restart_in_order() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("slow").await;
    room.see("slow answer").await;
    room.say("echo later").await;
    room.see("Queued, number 1").await;
    room.say_as("bob", "echo last").await;
    room.see("Queued, number 2").await;
    let bot = bot.restart().await;
    let room = bot.room("a");
    room.see("I was restarted while I worked on `slow`").await;
    room.see("echo: later").await;
    room.see("echo: last").await;
    room.say("history").await;
    room.see("1. slow\n2. echo later\n3. echo last").await;
    // A turn that is not over would be reported.
    room.settled().await;
    let bot = bot.restart().await;
    let room = bot.room("a");
    room.say("history").await;
    room.see("4. history").await;
    room.settled().await;
    assert_eq!(room.shown().len(), 1, "what was run is not run again\n{}", room.transcript());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_waited_is_run_after_the_restart_in_its_turn() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("slow").await;
    room.see("slow answer").await;
    room.say("echo later").await;
    room.see("Queued, number 1").await;
    room.say("model haiku").await;
    room.see("number 2").await;
    let bot = bot.restart().await;
    let room = bot.room("a");
    room.see("echo: later").await;
    room.see("uses `haiku` from the next turn on").await;
    let bot = bot.restart().await;
    let room = bot.room("a");
    room.say("args").await;
    room.see("--model haiku").await;
    room.settled().await;
    assert_eq!(room.shown().len(), 1, "what was run is not told again\n{}", room.transcript());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_question_is_closed_as_denied_with_the_reason() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let before = bot.room("a");
    before.say("bash touch asked.txt").await;
    let question = before.see("Question 1").await;
    let bot = bot.restart().await;
    let closed = before.see_edit("Question 1 is closed: the bot is shutting down").await;
    assert_eq!((closed.id, closed.choices.len()), (question.id, 0));
    let room = bot.room("a");
    room.say("yes 1").await;
    room.see("Question 1 is not open").await;
    room.say("bash touch asked.txt").await;
    room.see("Question 2").await;
    assert!(!bot.file("asked.txt").exists());
    room.say("yes").await;
    room.see("no output").await;
    let audit = bot.app.services().store.audit_tail(9).expect("the audit");
    let outcomes: Vec<_> = audit.iter().map(|(_, entry)| entry.outcome.as_str()).collect();
    assert_eq!(outcomes, ["allow", "withdrawn"], "the newest first");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rooms_choices_survive_and_reset_is_for_good() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("echo one").await;
    room.see("echo: one").await;
    room.settled().await;
    room.say("model haiku").await;
    room.see("uses `haiku` from the next turn on").await;
    room.say("reset").await;
    room.see("is closed. Your next message starts a new one").await;
    room.say("history").await;
    room.see("nothing yet").await;
    room.settled().await;
    let bot = bot.restart().await;
    let room = bot.room("a");
    room.say("args").await;
    room.see("--model haiku").await;
    room.say("history").await;
    room.see("1. history\n2. args").await;
    room.settled().await;
    room.say("model default").await;
    room.see("Claude Code's default").await;
    bot.app.shutdown().await;
}

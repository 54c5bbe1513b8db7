//! `stop`: the room is free at once and nothing is left running.

use std::time::Duration;

use bot::RetryPolicy;
use e2e::{Cli, PidPost, Setup, ended};

#[tokio::test(flavor = "multi_thread")]
async fn stop_in_mid_tool_frees_the_room_and_ends_what_the_tool_started() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    let (shell, child) = (PidPost::at(&bot.file("shell")), PidPost::at(&bot.file("child")));
    room.say("echo first").await;
    room.settled().await;
    let idle = bot.agent_processes();
    room.say("bash echo $$ > shell; (echo $BASHPID > child; exec sleep 1000)").await;
    room.see("Question 1").await;
    room.say("yes").await;
    let (shell, child) = (shell.pid().await, child.pid().await);
    room.say("stop").await;
    room.see("Stopped.").await;
    ended(shell).await;
    ended(child).await;
    room.say("history").await;
    room.see("2. bash echo $$ > shell; (echo $BASHPID > child; exec sleep 1000)").await;
    room.settled().await;
    assert_eq!(
        (bot.sessions(), bot.agent_processes()),
        (1, idle),
        "only the idle session itself, and its wall"
    );
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cli_that_ignores_interrupt_and_signals_is_gone_after_stop() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("echo first").await;
    room.settled().await;
    let pid = bot.agent_pid();
    room.say("stubborn").await;
    // Only a CLI that has the prompt is asked to stop.
    room.see("no signal ends me").await;
    room.say("stop").await;
    room.see("Stopped.").await;
    ended(pid).await;
    assert_eq!(bot.agent_processes(), 0);
    room.say("history").await;
    room.see("1. echo first").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_closes_an_open_question_as_denied() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("bash touch asked.txt").await;
    let question = room.see("Question 1").await;
    room.say("stop").await;
    let closed = room.see_edit("the turn was stopped").await;
    assert_eq!((closed.id, closed.choices.len()), (question.id, 0));
    room.see("Stopped.").await;
    room.say("!yes 1").await;
    room.see("Question 1 is not open").await;
    room.say("echo on").await;
    room.see("echo: on").await;
    assert!(!bot.file("asked.txt").exists());
    let audit = bot.app.services().store.audit_tail(9).expect("the audit");
    assert_eq!(audit.len(), 1);
    assert_eq!(audit[0].1.outcome, "withdrawn");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_ends_the_wait_for_a_busy_service() {
    let hour = Duration::from_secs(3600);
    let retry = RetryPolicy { first: hour, longest: hour, ..RetryPolicy::default() };
    let bot = Setup::new(Cli::StandIn).retry(retry).start().await;
    let room = bot.room("a");
    room.say("error 529").await;
    room.see("overloaded (529). I try again").await;
    room.say("status").await;
    room.see("for the model's service").await;
    room.say("stop").await;
    room.see("Stopped.").await;
    room.say("history").await;
    room.see("1. error 529").await;
    room.settled().await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_stop_the_queue_goes_on_in_order() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("slow").await;
    room.see("slow answer").await;
    room.say("echo one").await;
    room.see("Queued, number 1").await;
    room.say("echo two").await;
    room.see("Queued, number 2").await;
    room.say("stop").await;
    room.see("2 prompts are next in the queue").await;
    room.see("echo: one").await;
    room.see("echo: two").await;
    let stopped = room.shown().iter().position(|shown| shown.text.contains("Stopped.")).expect("said");
    let next = room.shown().iter().position(|shown| shown.text.contains("echo: one")).expect("said");
    assert!(stopped < next);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_twice_and_stop_for_nothing_harm_nothing() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("stop").await;
    room.see("Nothing runs here.").await;
    room.say("slow").await;
    room.see("slow answer").await;
    room.say("stop").await;
    room.say("stop").await;
    room.see("Stopped.").await;
    room.settled().await;
    for turn in 0..20 {
        // The stop races with the end of the turn; whoever wins, the next prompt is answered.
        room.say("echo quick").await;
        room.say("stop").await;
        room.say(&format!("echo after {turn}")).await;
        room.see(&format!("echo: after {turn}")).await;
    }
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_leaves_no_process_behind() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let (one, two) = (bot.room("one"), bot.room("two"));
    let post = PidPost::at(&bot.file("tool"));
    one.say("bash echo $$ > tool; sleep 1000").await;
    one.see("Question 1").await;
    one.say("yes").await;
    let tool = post.pid().await;
    two.say("slow").await;
    two.see("slow answer").await;
    let processes = bot.app.services().commands.agents.all();
    assert_eq!(processes.len(), 2);
    bot.app.shutdown().await;
    one.see("I am shutting down").await;
    two.see("I am shutting down").await;
    ended(tool).await;
    for (pid, _) in processes {
        ended(pid as i32).await;
    }
}

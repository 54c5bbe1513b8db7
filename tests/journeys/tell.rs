//! People talk to running work: the real Claude Code CLI gets their words between two tool calls, and before its turn ends.

use std::fs;

use adapters::{Incoming, MessageId, testing::fake::FakeRoom};
use e2e::{Bot, Setup};
use needs::needs;
use scripted_model::{AnswerGate, ModelScript, SeenRequest};
use serde_json::json;

use crate::real::bash;

const TEAM: &str = "gates = [\"test -e base.txt\"]\n[[agent]]\nname = \"coder\"\nstage = \"coder\"\n\
                    [[agent]]\nname = \"qa\"\nstage = \"qa\"\n";

fn commit(colour: &str) -> serde_json::Value {
    bash(&format!("echo {colour} > door.txt && git add door.txt && git commit -qm {colour}"))
}

/// A coder that looks first, and then makes the door red, unless somebody says another colour; `looks` and `ends` hold its answers.
fn script(looks: &AnswerGate, ends: &AnswerGate) -> ModelScript {
    ModelScript::new()
        .on_start("Review story")
        .calls("mcp__storkit__approve_qa", json!({}))
        .then_says("Good.")
        .when(|conversation| conversation.prompt.starts_with("Stop hook feedback"))
        .calls("Bash", commit("green"))
        .then_says("It is green.")
        .when(|conversation| conversation.reminders.contains("ann: use blue"))
        .says("not here")
        .then_calls("Bash", commit("blue"))
        .then()
        .waits_for(ends)
        .says("It is blue.")
        .on_start("Do story 1")
        .waits_for(looks)
        .calls("Bash", bash("ls"))
        .then_calls("Bash", commit("red"))
        .then()
        .waits_for(ends)
        .says("It is red.")
}

async fn start(looks: &AnswerGate, ends: &AnswerGate) -> Bot {
    start_in("ops", looks, ends).await
}

/// Ann asks for the story in this room.
async fn start_in(room: &str, looks: &AnswerGate, ends: &AnswerGate) -> Bot {
    let setup = Setup::real(script(looks, ends)).config("[pipeline]\nrooms = [\"fake:ops\"]");
    let bot = setup.file(".storkit/project.toml", TEAM).committed("base.txt", "base\n").start().await;
    bot.started().await;
    let room = bot.room(room);
    let said = |text: &str| Incoming { shared: true, ..room.incoming("ann", text) };
    room.send_incoming(said("new story Paint the door\n- [ ] It has a colour")).await;
    room.see("is in the backlog").await;
    room.send_incoming(said("start 1")).await;
    room.see("`coder` works on story `1` now").await;
    bot
}

/// Waits until the coder has asked its model so often.
async fn until_asked(bot: &Bot, times: usize) {
    let is_coders = |seen: &SeenRequest| seen.conversation.prompt.starts_with("Do story");
    let asked = async {
        while bot.model_requests().iter().filter(|seen| is_coders(seen)).count() < times {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), asked).await.expect("it does not ask its model");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_reach_the_agent_between_two_tool_calls_and_before_it_ends() {
    needs!(Claude);
    let (looks, ends) = (AnswerGate::new(), AnswerGate::new());
    let bot = start(&looks, &ends).await;
    let room = bot.room("ops");
    room.say("tell 1 use blue").await;
    room.see("`coder` (story 1) gets it between two of its steps.").await;
    looks.open();
    room.see("echo blue").await;
    room.say("yes").await;
    // Two people at once, while it gives its last answer.
    until_asked(&bot, 3).await;
    room.say("tell 1 rather green").await;
    room.see("gets it between two of its steps").await;
    bot.room("elsewhere").say_as("bob", "tell 1 yes, green").await;
    bot.room("elsewhere").see("gets it between two of its steps").await;
    ends.open();
    room.see("echo green").await;
    room.say("yes 2").await;
    room.see("**1 Paint the door**: merged as").await;
    assert_eq!(fs::read_to_string(bot.file("door.txt")).expect("it is merged"), "green\n");
    let prompts: Vec<String> =
        bot.model_requests().into_iter().map(|seen| seen.conversation.prompt).collect();
    let both = |prompt: &&String| prompt.ends_with("ann: rather green\n\nbob: yes, green");
    assert!(prompts.iter().any(|prompt| both(&prompt)), "both in the order they came: {prompts:#?}");
    room.say("log 1").await;
    let log = fs::read_to_string(bot.file(".storkit/logs/agents/1-coder-1.log")).expect("a log");
    for line in ["(ann says: use blue)", "(bob says: yes, green)", "(the agent has what ann said)"] {
        assert!(log.contains(line), "{log}");
    }
    room.say("tell 1 too late").await;
    room.see("Story 1 is done, so nobody works on it").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_said_what_nobody_read_is_told_so() {
    needs!(Claude);
    let (looks, ends) = (AnswerGate::new(), AnswerGate::new());
    let bot = start(&looks, &ends).await;
    let room = bot.room("ops");
    room.say("tell 1 use blue").await;
    room.see("gets it between two of its steps").await;
    room.say("stop 1").await;
    room.see("`coder` (story 1) ended before it read what ann said (“use blue”)").await;
    room.say("tell 1 use blue").await;
    room.see("Nobody works on story 1 now").await;
    room.say("tell 1").await;
    room.see("The words for the agent come behind the story's number.").await;
    room.say("tell 9 hello").await;
    room.see("There is no story 9.").await;
    bot.app.shutdown().await;
}

async fn reply(room: &FakeRoom, to: &MessageId, text: &str) {
    room.send_incoming(Incoming { reply_to: Some(to.clone()), ..room.incoming("ann", text) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_a_notice_about_a_story_at_work_reaches_its_agent() {
    needs!(Claude);
    let (looks, ends) = (AnswerGate::new(), AnswerGate::new());
    let bot = start(&looks, &ends).await;
    let room = bot.room("ops");
    let notice = room.see("**1 Paint the door**").await;
    reply(&room, &notice.id, "use blue").await;
    room.see("`coder` (story 1) gets it between two of its steps.").await;
    looks.open();
    room.see("echo blue").await;
    room.say("yes").await;
    ends.open();
    room.see("**1 Paint the door**: merged as").await;
    // Nobody works on it any more: the reply is a prompt as ever.
    reply(&room, &notice.id, "which colour is it?").await;
    room.settled().await;
    let prompts = bot.model_requests().into_iter().map(|seen| seen.conversation.prompt);
    assert!(prompts.into_iter().any(|prompt| prompt.contains("which colour is it?")));
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_in_the_thread_where_the_story_was_asked_for_reach_its_agent() {
    needs!(Claude);
    let (looks, ends) = (AnswerGate::new(), AnswerGate::new());
    let bot = start_in("ops/m1", &looks, &ends).await;
    let (room, thread) = (bot.room("ops"), bot.room("ops/m1"));
    let said = Incoming { shared: true, ..thread.incoming("ann", "use blue") };
    thread.send_incoming(said).await;
    thread.see("`coder` (story 1) gets it between two of its steps.").await;
    looks.open();
    room.see("echo blue").await;
    room.say("yes").await;
    ends.open();
    room.see("**1 Paint the door**: merged as").await;
    bot.app.shutdown().await;
}

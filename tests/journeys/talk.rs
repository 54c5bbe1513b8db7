//! The real CLI: what people say to its questions, and what it does in the background.

use std::{fs, time::Duration};

use e2e::{Bot, PidPost, Setup, ended};
use needs::needs;
use scripted_model::ModelScript;
use serde_json::{Value, json};

use crate::real::{bash, last_tool_result};

fn which(question: &str, labels: &[&str], several: bool) -> Value {
    let options: Vec<_> = labels.iter().map(|label| json!({ "label": label, "description": "" })).collect();
    json!({ "question": question, "header": "Which", "multiSelect": several, "options": options })
}

pub fn asks() -> ModelScript {
    ModelScript::new()
        .on("delete it")
        .calls("AskUserQuestion", json!({ "questions": [which("Really?", &["Yes", "No"], false)] }))
        .then_says("I was told: {last_tool_result}")
        .on("how many")
        .calls("AskUserQuestion", json!({ "questions": [which("How many?", &["2", "4", "8"], false)] }))
        .then_says("I was told: {last_tool_result}")
        .on("plan the meal")
        .calls(
            "AskUserQuestion",
            json!({ "questions": [
                which("What to drink?", &["Tea", "Coffee"], false),
                which("What to eat?", &["Bread", "Rice", "Soup"], true),
            ] }),
        )
        .then_says("I was told: {last_tool_result}")
        .on("make a file")
        .calls("Bash", bash("touch made"))
        .then_says("I was told: {last_tool_result}")
        .on("hello")
        .says("Good morning.")
}

/// A question is answered in these words; returns what the model is told.
async fn told(bot: &Bot, prompt: &str, words: &str) -> String {
    let room = bot.room("a");
    room.say(prompt).await;
    room.see("**Question").await;
    room.say(words).await;
    room.see("I was told:").await;
    room.settled().await;
    last_tool_result(bot)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_question_is_answered_by_label_then_position_then_words() {
    needs!(Claude);
    let bot = Setup::real(asks()).start().await;
    for (prompt, words, answer) in [
        ("delete it", "no", "\"Really?\"=\"No\""),
        ("delete it", "Yes!", "\"Really?\"=\"Yes\""),
        ("delete it", "👍🏽", "\"Really?\"=\"Yes\""),
        ("how many", "2", "\"How many?\"=\"2\""),
        ("how many", "3", "\"How many?\"=\"8\""),
        ("how many", "16", "\"How many?\"=\"16\""),
    ] {
        let told = told(&bot, prompt, words).await;
        assert!(told.contains(answer), "{words}: {told}");
    }
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_questions_of_one_call_are_asked_one_after_the_other() {
    needs!(Claude);
    let bot = Setup::real(asks()).start().await;
    let room = bot.room("a");
    room.say("plan the meal").await;
    let first = room.see("What to drink?").await;
    assert!(first.text.contains("(1 of 2)") && !first.text.contains("What to eat?"), "{first:?}");
    room.choose("Tea").await;
    room.see("What to eat?").await;
    room.say("bread and 3").await;
    room.see("I was told:").await;
    let told = last_tool_result(&bot);
    assert!(
        told.contains("\"What to drink?\"=\"Tea\"") && told.contains("\"What to eat?\"=\"Bread, Soup\""),
        "{told}"
    );
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn natural_words_answer_and_what_is_unclear_or_other_talk_is_said() {
    needs!(Claude);
    let bot = Setup::real(asks()).start().await;
    let room = bot.room("a");
    room.say("make a file").await;
    room.see("touch made").await;
    for unclear in ["yes but only in /tmp", "sure?", "no problem"] {
        room.say(unclear).await;
        room.see("Question 1 still waits: yes or no. I did not pass your words on.").await;
    }
    room.say("hello there").await;
    room.see("Question 1 still waits: yes or no. Your message is queued, number 1").await;
    assert!(!bot.file("made").exists());
    room.say("👍").await;
    room.see("I was told:").await;
    assert!(bot.file("made").exists());
    room.see("Good morning.").await;
    room.settled().await;
    let prompts: Vec<_> = bot.model_requests().into_iter().map(|seen| seen.conversation.prompt).collect();
    assert!(!prompts.iter().any(|prompt| prompt.contains("/tmp") || prompt.contains("sure?")), "{prompts:?}");
    bot.app.shutdown().await;
}

/// A sub-agent, which the CLI starts in the background, and a command there that ends when the file `go` is made.
fn background() -> ModelScript {
    let waits = "echo $$ > pid; while [ ! -e go ]; do sleep 0.1; done";
    ModelScript::new()
        .on_start("child:")
        .calls("Bash", bash("touch made-by-child"))
        .then_says("The child is done.")
        .on("look around")
        .calls("Agent", json!({ "description": "look around", "prompt": "child: touch", "subagent_type": "general-purpose" }))
        .then_says("It looks around.")
        .then_says("I saw its end.")
        .on("count")
        .calls("Bash", json!({ "command": waits, "description": "count", "run_in_background": true }))
        .then_says("It counts.")
        .then_says("I saw its end.")
        .on("hello")
        .says("Good morning.")
        .then_says("I saw its end.")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_agents_question_outlives_its_turn_and_the_talk_after_it() {
    needs!(Claude);
    let bot = Setup::real(background()).start().await;
    let room = bot.room("a");
    room.say("look around").await;
    room.see("touch made-by-child").await;
    room.say("hello").await;
    room.see("Good morning.").await;
    room.say("status").await;
    room.see("In the background: sub-agent `look around`").await;
    assert!(!room.transcript().contains("is closed"), "{}", room.transcript());
    room.say("yes").await;
    room.see("The sub-agent `look around`, which ran in the background, is done.").await;
    assert!(bot.file("made-by-child").exists());
    room.see("I saw its end.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_the_background_delays_the_idle_close_and_reports_its_end() {
    needs!(Claude);
    let bot = Setup::real(background()).config("[claude]\nidle_timeout = \"1s\"").start().await;
    let (room, other) = (bot.room("a"), bot.room("b"));
    let post = PidPost::at(&bot.file("pid"));
    room.say("count").await;
    room.see("**Bash**").await;
    room.say("yes").await;
    room.see("It counts.").await;
    post.pid().await;
    // This one is idle later than the first, and is closed.
    other.say("hello").await;
    other.see("Good morning.").await;
    let name = |bot: &Bot, name: &str| {
        let agents = bot.app.services().commands.agents.all();
        agents.into_iter().find(|(_, entry)| entry.name == name).map(|(pid, _)| pid.cast_signed())
    };
    if let Some(pid) = name(&bot, "fake:b") {
        tokio::time::timeout(Duration::from_secs(60), ended(pid)).await.expect("closed when idle");
    }
    assert!(name(&bot, "fake:a").is_some(), "{}", room.transcript());
    fs::write(bot.file("go"), "").expect("written");
    room.see("The command `count`, which ran in the background, is done.").await;
    room.see("I saw its end.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_ends_what_runs_in_the_background_and_names_it() {
    needs!(Claude);
    let bot = Setup::real(background()).start().await;
    let post = PidPost::at(&bot.file("pid"));
    let room = bot.room("a");
    room.say("count").await;
    room.see("**Bash**").await;
    room.say("yes").await;
    room.see("It counts.").await;
    room.settled().await;
    let command = post.pid().await;
    room.say("stop").await;
    room.see("Stopped in the background: command `count`.").await;
    ended(command).await;
    room.say("hello").await;
    room.see("Good morning.").await;
    room.settled().await;
    room.say("stop").await;
    room.see("Nothing runs here").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reset_or_the_end_of_the_bot_ends_in_the_background_is_named() {
    needs!(Claude);
    let bot = Setup::real(background()).start().await;
    let post = PidPost::at(&bot.file("pid"));
    let room = bot.room("a");
    for how in ["reset", "shutdown"] {
        room.say("count").await;
        room.see("**Bash**").await;
        room.say("yes").await;
        room.see("It counts.").await;
        room.settled().await;
        if how == "reset" {
            let command = post.pid().await;
            room.say("reset").await;
            room.see("The session is closed. That ended in the background: command `count`.").await;
            ended(command).await;
            fs::remove_file(bot.file("pid")).expect("removed");
        }
    }
    bot.app.shutdown().await;
    room.see("The session is closed. That ended in the background: command `count`.").await;
}

//! A story whose coder plans first, with the real CLI: the plan goes to the room and into the story, people accept it or want another,
//! and no process waits for them.

use std::fs;

use e2e::{Bot, Setup, page::Browser};
use needs::needs;
use scripted_model::{ModelConversation, ModelScript};
use serde_json::{Value, json};

use crate::real::bash;

const TEAM: &str = "gates = [\"test -e base.txt\"]\n[[agent]]\nname = \"coder\"\nstage = \"coder\"\n";

const PAGE: &str = "web:fake:ann";

fn plan(text: &str) -> Value {
    json!({ "file_path": "{plan_file}", "content": text })
}

/// Proposes red, and after a wish blue; codes what was accepted.
fn script() -> ModelScript {
    let says =
        |words: &'static str| move |conversation: &ModelConversation| conversation.prompt.contains(words);
    ModelScript::new()
        .when(says("People want another plan"))
        .calls("Write", plan("# Blue\n\n- [ ] Paint it blue\n"))
        .then_calls("ExitPlanMode", json!({}))
        .then_says("(nobody hears this)")
        .when(says("People accepted the plan"))
        .calls("Bash", bash("echo blue > door.txt && git add door.txt && git commit -qm blue"))
        .then_says("It is blue.")
        .when(says("Plan first"))
        .calls("Write", plan("# Red\n\n1. Paint it red\n## Plan\n@room\n"))
        .then_calls("ExitPlanMode", json!({}))
        .then_says("(nobody hears this)")
}

async fn start() -> Bot {
    let bot = Setup::real(script())
        .page()
        .approvers(&["ann"])
        .config("[pipeline]\nrooms = [\"fake:ops\"]")
        .file(".storkit/project.toml", TEAM)
        .committed("base.txt", "base\n")
        .start()
        .await;
    bot.started().await;
    bot
}

fn story(bot: &Bot, stage: &str) -> String {
    let path = bot.file(&format!(".storkit/work/{stage}/1_story_paint_the_door.md"));
    fs::read_to_string(path).expect("the story's file")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_shown_changed_and_accepted_and_a_restart_in_between_loses_nothing() {
    needs!(Claude);
    let bot = start().await;
    let room = bot.room("ops");
    room.say("new story Paint the door\n- [ ] It has a colour").await;
    room.see("is in the backlog").await;
    room.say("start 1 plan").await;
    room.see("`coder` works on story `1` now").await;
    let shown = room.see("its coder proposes this plan:").await.text;
    assert!(shown.contains("\n> 1. Paint it red\n") && !shown.contains("@room"), "{shown}");
    let asked = room.see("its plan waits for a person to accept or reject it").await.text;
    assert!(asked.contains("`accept 1` or `reject 1 WHY`"), "{asked}");
    let text = story(&bot, "2_current");
    assert!(text.contains("\n## Plan\n\n> # Red\n>\n> 1. Paint it red\n> ## Plan\n> @room\n"), "{text}");
    assert!(text.contains("blocked_cause:") && text.contains("plan: true"), "{text}");
    assert!(bot.app.services().commands.pipeline.snapshot().runs.is_empty(), "no process waits");
    assert_eq!(bot.agent_processes(), 0);
    for line in ["start 1", "retry 1"] {
        room.say(line).await;
        room.see("The plan of story 1 waits").await;
    }
    room.say_as("bob", "accept 1").await;
    room.see("Only approvers can use `accept` here.").await;

    // Nothing of it is in memory alone.
    let bot = bot.restart().await;
    bot.started().await;
    let room = bot.room("ops");
    room.say("reject 1 rather blue").await;
    room.see("> - [ ] Paint it blue").await;
    room.see("its plan waits for a person").await;
    let text = story(&bot, "2_current");
    assert!(
        text.contains("\n## Plan\n\n> # Blue\n>\n> - [ ] Paint it blue\n") && !text.contains("red"),
        "{text}"
    );

    // The page's person accepts.
    let ann = Browser::sign_in(&bot, "ann").await;
    let board = ann.read("/api/board").await;
    assert_eq!(board["stories"][0]["wanted"], "review", "{board}");
    assert_eq!(board["stories"][0]["criteria"], 1, "what the plan lists is no criterion: {board}");
    let mut live = ann.live(Value::Null).await;
    live.say(json!({ "type": "open", "room": PAGE, "before": null })).await;
    live.until_type("opened").await;
    live.say(json!({ "type": "say", "ticket": 1, "room": PAGE, "text": "accept 1" })).await;
    room.see("echo blue").await;
    assert!(story(&bot, "2_current").contains("plan: accepted"), "{}", story(&bot, "2_current"));
    room.say("yes").await;
    room.see("current → qa").await;
    let requests = bot.model_requests();
    let coding = requests
        .iter()
        .find(|seen| seen.conversation.prompt.contains("People accepted the plan"))
        .expect("it");
    let history = coding.conversation.history.join("\n");
    assert!(history.contains("Plan first") && history.contains("rather blue"), "the same session: {history}");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_the_plan_decides_about_it() {
    needs!(Claude);
    let bot = start().await;
    let room = bot.room("ops");
    room.say("new story Paint the door\n\nIt stands open.\n\n- [ ] It has a colour").await;
    room.see("is in the backlog").await;
    // As a person writes it into the file.
    let file = bot.file(".storkit/work/1_backlog/1_story_paint_the_door.md");
    let text = fs::read_to_string(&file).expect("the story").replacen("---\n", "---\nplan: true\n", 1);
    fs::write(&file, text).expect("it is written");
    bot.started().await;
    room.say("start 1").await;
    let shown = room.see("its coder proposes this plan:").await;
    room.see("its plan waits for a person").await;
    let reply = |person: &str, to: &adapters::MessageId, text: &str| adapters::Incoming {
        reply_to: Some(to.clone()),
        addressed: Some(adapters::Addressed::Reply),
        ..room.incoming(person, text)
    };
    room.send_incoming(reply("bob", &shown.id, "yes")).await;
    room.see("Only approvers can use `accept` here.").await;
    room.send_incoming(reply("ann", &shown.id, "rather blue")).await;
    room.see("> - [ ] Paint it blue").await;
    let asked = room.see("its plan waits for a person").await;
    room.send_incoming(reply("ann", &asked.id, "yes")).await;
    room.see("echo blue").await;
    assert!(story(&bot, "2_current").contains("plan: accepted"), "{}", story(&bot, "2_current"));
    room.say("stop 1").await;
    room.see("Stopped: `coder` on story `1`").await;
    bot.app.shutdown().await;
}

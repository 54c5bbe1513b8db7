//! Planning in plain words: the agent of a room proposes stories, the room picks and starts them, and the pipeline merges them. With the
//! real Claude Code CLI on a scripted model; `slack.rs` and `matrix.rs` tell the same story there.

use std::fs;

use e2e::{Bot, Setup};
use needs::needs;
use scripted_model::ModelScript;
use serde_json::{Value, json};

use crate::real::{bash, last_request, last_tool_result};

/// A coder, a reviewer, and a gate that passes.
pub const TEAM: &str = "gates = [\"true\"]\n[[agent]]\nname = \"coder\"\nstage = \"coder\"\n[[agent]]\nname = \"qa\"\nstage = \"qa\"\n";

pub const WISH: &str = "we need a door bell, a door and a roof; bell after door";

pub fn bell() -> Value {
    json!({ "title": "Door bell", "criteria": ["It rings at the door"], "after": [2] })
}

pub fn door() -> Value {
    json!({ "title": "Door", "criteria": ["It opens", "It closes"] })
}

pub fn roof() -> Value {
    json!({ "title": "Roof", "criteria": ["No rain comes in"], "after": [2] })
}

/// A model that plans the house, and coders that build it.
pub fn house() -> ModelScript {
    let tool = |name: &str| format!("mcp__storkit__{name}");
    // First: their prompts hold the words of the wish.
    let mut script = ModelScript::new()
        .on_start("Review story")
        .calls(tool("approve_qa"), json!({}))
        .then_says("I approved it.");
    for (number, file) in [(1, "door"), (2, "bell")] {
        let work = format!("echo {file} > {file}.txt && git add {file}.txt && git commit -qm {file}");
        script = script.on_start(&format!("Do story {number}")).calls("Bash", bash(&work)).then_says("Done.");
    }
    script
        .on("we need a door bell")
        .calls(tool("plan_stories"), json!({ "stories": [bell(), door(), roof()] }))
        .then_calls(tool("plan_stories"), json!({ "stories": [bell(), door()] }))
        .then_says("Planned: {last_tool_result}")
        .on("start them")
        .calls(tool("start_stories"), json!({ "story_ids": [1, 2] }))
        .then_says("I was told: {last_tool_result}")
        .on("delete the door")
        .calls(tool("delete_story"), json!({ "story_id": 1 }))
        .then_says("I was told: {last_tool_result}")
        .on("merge the door")
        .calls(tool("merge_agent_work"), json!({ "story_id": 1 }))
        .then_says("I was told: {last_tool_result}")
        .on("how is the door")
        .calls(tool("get_story"), json!({ "story_id": 1 }))
        .then_says("Read: {last_tool_result}")
        .on("draft acceptance criteria for story")
        .calls(tool("update_story"), json!({ "story_id": 1, "criteria": ["It keeps the wind out"] }))
        .then_says("Drafted: {last_tool_result}")
}

async fn start(approvers: &[&str]) -> Bot {
    let setup = Setup::real(house()).config("[pipeline]\nrooms = [\"fake:ops\"]");
    let bot = setup.file(".storkit/project.toml", TEAM).approvers(approvers).start().await;
    bot.started().await;
    bot
}

fn text(bot: &Bot, path: &str) -> String {
    fs::read_to_string(bot.file(&format!(".storkit/work/{path}"))).expect("the story's file")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_in_plain_words_becomes_two_merged_stories() {
    needs!(Claude);
    let bot = start(&["ann"]).await;
    let (room, ops) = (bot.room("a"), bot.room("ops"));
    let wish = room.say(WISH).await;
    let list = room.see("**Question 1**").await.text;
    assert!(list.contains("1. **Door bell**, after 2\n   - It rings at the door\n2. **Door**\n"), "{list}");
    assert!(list.contains("3. **Roof**, after 2"), "{list}");
    room.say("yes, but without the roof").await;
    room.see_edit("ann wants the list of 3 stories changed (yes, but without the roof)").await;
    let list = room.see("**Question 2**").await.text;
    assert!(!list.contains("Roof"), "{list}");
    assert!(!bot.file(".storkit/work/1_backlog/1_story_door.md").exists(), "half a yes is none");
    room.choose_as("bob", "Create all").await;
    room.see_edit("bob allowed the list of 2 stories").await;
    room.see("Number 1 is story 2 (starts after story 1).").await;
    let bell = text(&bot, "1_backlog/2_story_door_bell.md");
    assert!(
        bell.contains("\ndepends_on: [1]\n") && bell.contains("\n- [ ] It rings at the door\n"),
        "{bell}"
    );
    let remembered = json!({ "room": "fake:a", "excerpt": WISH });
    assert!(bell.contains(&format!("\nconversation: {remembered}\n")), "{bell}");
    assert!(text(&bot, "1_backlog/1_story_door.md").contains("- [ ] It opens\n- [ ] It closes\n"));
    room.settled().await;

    // A list may be approved by everybody who may write stories; work is started by who may.
    room.say_as("bob", "start them").await;
    let question = room.see("**Question 3**").await.text;
    assert!(question.contains("may I start story `1` **Door** and story `2` **Door bell**?"), "{question}");
    assert!(
        bot.file(".storkit/work/1_backlog/1_story_door.md").exists(),
        "nothing happens before the answer"
    );
    room.choose_as("bob", "Allow").await;
    room.see("bob, you may not answer permission questions here").await;
    room.choose("Allow").await;
    room.see("`coder` works on story 1 now").await;
    // The second one waits for the first.
    for (question, title) in [(4, "Door"), (5, "Door bell")] {
        ops.see(&format!("**Question {question}**")).await;
        ops.say(&format!("yes {question}")).await;
        let told = room.see(&format!("**{} {title}**: merged as", question - 3)).await;
        assert_eq!(told.reply_to.as_ref(), Some(&wish), "in the conversation that asked for it");
    }
    // The next question may come before the notice of what was merged.
    ops.see("**2 Door bell**: merged as").await;
    assert!(ops.shown().iter().any(|message| message.text.contains("**1 Door**: merged as")));
    for story in [1, 2] {
        bot.until_done(story).await;
    }
    assert!(bot.file("door.txt").exists() && bot.file("bell.txt").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_of_a_list_are_picked_by_number() {
    needs!(Claude);
    let bot = start(&[]).await;
    let room = bot.room("a");
    room.say(WISH).await;
    room.see("**Question 1**").await;
    room.say("yes 1").await;
    room.see("`yes 1` could mean all of them or number 1").await;
    room.say("4").await;
    room.see("numbers from 1 to 3").await;
    room.say("1 3").await;
    room.see_edit("ann allowed numbers 1 and 3 of the list of 3 stories").await;
    let question = room.see("**Question 2**").await;
    let created = last_tool_result(&bot);
    assert!(created.contains("Number 1 is story 1.") && created.contains("Not created: 2."), "{created}");
    let bell = text(&bot, "1_backlog/1_story_door_bell.md");
    assert!(!bell.contains("depends_on"), "nobody waits for what was not picked: {bell}");
    assert!(question.text.contains("shall I add these stories"), "{question:?}");
    room.choose("None of them").await;
    room.see("Planned: ann denied this").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_approver_reads_and_plans_and_cannot_have_the_agent_merge_or_delete() {
    needs!(Claude);
    let bot = start(&["ann"]).await;
    let room = bot.room("a");
    room.say("new story Door").await;
    room.see("What must be true when it is done?").await;
    room.say("- It opens").await;
    room.see("Story `1` has 1 criterion now").await;
    room.say_as("bob", "how is the door").await;
    room.see("Read:").await;
    assert!(last_tool_result(&bot).contains("- [ ] It opens"));
    for wish in ["delete the door", "merge the door"] {
        room.say_as("bob", wish).await;
        room.see("🚫").await;
        room.settled().await;
        let told =
            "I was told: Only approvers can have this done here. This turn is bob's, whose role is user";
        assert!(room.transcript().contains(told), "{}", room.transcript());
    }
    assert!(!room.transcript().contains("**Question"), "there is nothing that an approver could allow");
    assert!(bot.file(".storkit/work/1_backlog/1_story_door.md").exists());
    // The same words of an approver are a question.
    room.say("delete the door").await;
    room.see("may I delete story `1` **Door**, which is in backlog, with its worktree and branch?").await;
    room.choose_as("bob", "Allow").await;
    room.see("bob, you may not answer permission questions here").await;
    room.choose("Allow").await;
    room.see("I was told: Story 1 is deleted").await;
    assert!(!bot.file(".storkit/work/1_backlog/1_story_door.md").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_drafts_criteria_and_knows_its_tools_from_the_start() {
    needs!(Claude);
    let bot = start(&[]).await;
    let room = bot.room("a");
    room.say("new story Door").await;
    room.see("or say `draft 1`").await;
    room.say("draft 1").await;
    room.see("Drafted: Story 1 is changed.").await;
    assert!(text(&bot, "1_backlog/1_story_door.md").contains("\n- [ ] It keeps the wind out\n"));
    let tools = last_request(&bot).tools;
    for name in ["plan_stories", "get_story", "delete_story"] {
        assert!(tools.contains(&format!("mcp__storkit__{name}")), "{name} must be searched for: {tools:?}");
    }
    bot.app.shutdown().await;
}

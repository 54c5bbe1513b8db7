//! Whole lives of stories, told in the chat and done by the real Claude Code CLI on a scripted model.

use adapters::testing::fake::FakeRoom;
use e2e::{Bot, Setup, git};
use needs::{Need, is_to_be_skipped, needs};
use scripted_model::ModelScript;
use serde_json::json;

use crate::real::bash;

/// Two coders, a reviewer, a mergemaster; the gate is met by what the stories do.
const TEAM: &str = r#"
gates = ["test -e base.txt"]
[[agent]]
name = "coder"
stage = "coder"
count = 3
[[agent]]
name = "qa"
stage = "qa"
[[agent]]
name = "merger"
stage = "mergemaster"
"#;

/// A model that writes, commits and approves.
fn team(script: ModelScript) -> Setup {
    let script = script
        .on_start("Review story")
        .calls("mcp__storkit__approve_qa", json!({}))
        .then_says("I approved it: {last_tool_result}");
    Setup::real(script).config("[pipeline]\nrooms = [\"fake:ops\"]").file(".storkit/project.toml", TEAM)
}

async fn start(setup: Setup) -> Bot {
    let bot = setup.committed("base.txt", "base\n").start().await;
    bot.started().await;
    bot
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_goes_from_the_chat_to_a_tested_squash_merge() {
    needs!(Claude);
    let script = ModelScript::new()
        .on_start("Do story 1")
        .calls(
            "Bash",
            bash("grep -c Bearer .mcp.json; echo open > door.txt && git add door.txt && git commit -qm 'open the door'"),
        )
        .then_says("The door is open: {last_tool_result}");
    let bot = start(team(script)).await;
    let room = bot.room("ops");
    room.say("new story Fix the door").await;
    room.see("Story `1` **Fix the door** is in the backlog").await;
    room.say("start 1").await;
    room.see("`coder` works on story `1` now").await;
    // Agents ask in the rooms that follow.
    let question = room.see("git commit -qm").await;
    assert!(question.text.contains("story 1 (coder)"), "{question:?}");
    if !is_to_be_skipped(Need::Bubblewrap) {
        room.say("try").await;
        let tried = room.see_edit("**Tried** by ann: exit 0").await;
        assert!(tried.text.contains("added `door.txt`"), "{tried:?}");
        assert!(tried.text.contains("it changed git's data, and only files can be kept"), "{tried:?}");
        assert!(tried.text.contains("```\n0\n```"), "it has no token of the agent's: {tried:?}");
        assert!(!bot.file(".storkit/worktrees/slot-1/door.txt").exists());
    }
    room.say("yes").await;
    room.see("**1 Fix the door**: merged as").await;
    assert_eq!(std::fs::read_to_string(bot.file("door.txt")).expect("it is there"), "open\n");
    assert!(bot.file(".storkit/proofs/1.json").exists());
    assert!(bot.file(".storkit/work/5_done/1_story_fix_the_door.md").exists());

    room.say("overview 1").await;
    let told = room.see("storkit: merge 1 Fix the door").await.text;
    assert!(told.contains("`door.txt` +1 -0"), "{told}");
    room.say("log 1").await;
    room.see("approve_qa").await;
    room.say("status").await;
    room.see("- done: 1").await;
    bot.until_no_worktrees().await;
    assert_eq!(git(&bot.file(""), &["branch", "--list", "feature/*"]), "");
    assert_eq!(git(&bot.file(""), &["log", "--merges", "--oneline"]), "");
    bot.app.shutdown().await;
}

/// Answers the next question in the room, whichever it is.
async fn allow_next(room: &FakeRoom) -> String {
    let question = room.see("may I use").await;
    let (_, rest) = question.text.split_once("**Question ").expect("its number");
    let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
    room.say(&format!("yes {number}")).await;
    question.text
}

#[tokio::test(flavor = "multi_thread")]
async fn three_coders_work_at_once_and_all_their_stories_merge() {
    needs!(Claude);
    let mut script = ModelScript::new();
    for number in 1..=3 {
        let work = format!("echo {number} > {number}.txt && git add {number}.txt && git commit -qm {number}");
        script = script.on_start(&format!("Do story {number}")).calls("Bash", bash(&work)).then_says("Done.");
    }
    let bot = start(team(script)).await;
    let room = bot.room("ops");
    for number in 1..=3 {
        room.say(&format!("new story Number {number}")).await;
        room.see(&format!("Story `{number}` **Number {number}** is in the backlog")).await;
        room.say(&format!("start {number}")).await;
        room.see(&format!("works on story `{number}` now")).await;
    }
    // All three wait for an answer before the first gets one.
    let questions: Vec<String> = {
        let mut questions = Vec::new();
        for _ in 0..3 {
            questions.push(room.see("may I use").await.text);
        }
        questions
    };
    room.say("status").await;
    let status = room.see("**Stories**").await.text;
    for slot in ["`coder` works", "`coder-2` works", "`coder-3` works"] {
        assert!(status.contains(slot), "{status}");
    }
    for question in questions {
        let (_, rest) = question.split_once("**Question ").expect("its number");
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        room.say(&format!("yes {number}")).await;
    }
    for number in 1..=3 {
        bot.until_done(number).await;
    }
    for number in 1..=3 {
        assert!(bot.file(&format!("{number}.txt")).exists());
    }
    bot.until_no_worktrees().await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stories_that_conflict_are_joined_by_the_mergemaster() {
    needs!(Claude);
    let mut script = ModelScript::new();
    for (number, text) in [(1, "one"), (2, "two")] {
        let work = format!("echo {text} > base.txt && git commit -qam {text}");
        script = script.on_start(&format!("Do story {number}")).calls("Bash", bash(&work)).then_says("Done.");
    }
    let script = script
        .on_start("The merge of story")
        .calls("Bash", bash("printf 'one\\ntwo\\n' > base.txt && git add base.txt"))
        .then_says("Both hold.");
    let bot = start(team(script)).await;
    let room = bot.room("ops");
    for (number, title) in [(1, "One"), (2, "Two")] {
        room.say(&format!("new story {title}")).await;
        room.see(&format!("Story `{number}`")).await;
        room.say(&format!("start {number}")).await;
        room.see(&format!("works on story `{number}` now")).await;
    }
    let asked = [allow_next(&room).await, allow_next(&room).await, allow_next(&room).await];
    assert!(asked[2].contains("(merger)"), "the third to ask resolves the conflict: {}", asked[2]);
    bot.until_done(1).await;
    bot.until_done(2).await;
    assert_eq!(std::fs::read_to_string(bot.file("base.txt")).expect("it is there"), "one\ntwo\n");
    bot.app.shutdown().await;
}

//! Whole lives of stories, told in the chat and done by the real Claude Code CLI on a scripted model.

use bot::http::scripted_model::Script;
use e2e::{Bot, Setup, git};
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
fn team(script: Script) -> Setup {
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
    let script = Script::new()
        .on_start("Do story 1")
        .calls("Bash", bash("echo open > door.txt && git add door.txt && git commit -qm 'open the door'"))
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
    room.say("yes").await;
    room.see("1 Fix the door: merged").await;
    assert_eq!(std::fs::read_to_string(bot.file("door.txt")).expect("it is there"), "open\n");
    assert!(bot.file(".storkit/proofs/1.json").exists());
    assert!(bot.file(".storkit/work/5_done/1_story_fix_the_door.md").exists());

    room.say("overview 1").await;
    room.see("storkit: merge 1 Fix the door").await;
    room.see("`door.txt` +1 -0").await;
    room.say("log 1").await;
    room.see("approve_qa").await;
    room.say("status").await;
    room.see("- done: 1").await;
    bot.until_no_worktrees().await;
    assert_eq!(git(&bot.file(""), &["branch", "--list", "feature/*"]), "");
    assert_eq!(git(&bot.file(""), &["log", "--merges", "--oneline"]), "");
    bot.app.shutdown().await;
}

//! Files with which runs and merges show what they did: with the real CLI, a real wall, and a screenshot by a real Chromium.

use e2e::{Bot, Setup, git};
use needs::needs;
use scripted_model::ModelScript;
use serde_json::json;

use crate::real::bash;

/// The gate opens the page in a browser and keeps what it looks like.
const TEAM: &str = r#"gates = ["HOME=/tmp chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=300,200 --screenshot=$STORKIT_EVIDENCE/door.png door.html"]
[[agent]]
name = "coder"
stage = "coder"
[[agent]]
name = "qa"
stage = "qa"
"#;

const WORK: &str = "echo '<h1>A red door</h1>' > door.html && git add door.html && git commit -qm door && \
                    mkdir -p $STORKIT_EVIDENCE/logs && echo 'It is red.' > $STORKIT_EVIDENCE/logs/notes.md && \
                    echo sk-ant-$(printf 'a%.0s' $(seq 40)) > $STORKIT_EVIDENCE/key.txt && \
                    ln -s /etc/passwd $STORKIT_EVIDENCE/users.txt";

fn script() -> ModelScript {
    ModelScript::new()
        .on_start("Review story")
        .calls("Bash", bash("cp door.html $STORKIT_EVIDENCE/seen.html && ls $STORKIT_EVIDENCE"))
        .then_calls("mcp__storkit__approve_qa", json!({}))
        .then_says("Good.")
        .on_start("Do story 1")
        .calls("Bash", bash(WORK))
        .then_says("Done.")
}

async fn start() -> Bot {
    let setup = Setup::real(script()).config("[pipeline]\nrooms = [\"fake:ops\"]");
    let bot = setup.file(".storkit/project.toml", TEAM).committed("base.txt", "base\n").start().await;
    bot.started().await;
    bot
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screenshot_of_a_gate_is_shown_where_the_story_is_followed_and_kept_with_it() {
    needs!(Claude, Browser, Bubblewrap);
    let bot = start().await;
    let (ops, asker) = (bot.room("ops"), bot.room("elsewhere"));
    asker.say("new story Paint the door\n- [ ] It is red").await;
    asker.see("is in the backlog").await;
    asker.say("start 1").await;
    ops.see("echo sk-ant").await;
    ops.say("yes").await;
    let told = asker.see("Evidence of story `1` **Paint the door** by its coder").await.text;
    assert!(told.contains("`evidence-coder-door.png`, `evidence-coder-logs-notes.md`."), "{told}");
    for left_out in ["`key.txt` holds a key of Anthropic", "`users.txt` is no plain file"] {
        assert!(told.contains(left_out), "{told}");
    }
    for room in [&ops, &asker] {
        let picture = room.see_file("evidence-coder-door.png").await;
        assert!(picture.bytes.starts_with(b"\x89PNG"), "a real picture");
        assert_eq!(room.see_file("evidence-coder-logs-notes.md").await.bytes, b"It is red.\n");
    }
    ops.see("cp door.html").await;
    ops.say("yes 2").await;
    let told = asker.see("by its reviewer").await.text;
    assert!(told.ends_with("`evidence-reviewer-seen.html`."), "the coder's is not there any more: {told}");
    ops.see("**1 Paint the door**: merged as").await;
    ops.see_file("evidence-merge-door.png").await;
    ops.settled().await;
    let files = bot.file(".storkit/work/files/1");
    let mut names: Vec<String> = std::fs::read_dir(&files)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let expected = [
        "evidence-coder-door.png",
        "evidence-coder-logs-notes.md",
        "evidence-merge-door.png",
        "evidence-reviewer-seen.html",
    ];
    assert_eq!(names, expected);
    let project = bot.file(".");
    bot.app.shutdown().await;
    let kept = git(&project, &["ls-tree", "-r", "--name-only", "storkit/board", ".storkit/work/files/1"]);
    assert_eq!(kept.lines().count(), expected.len(), "{kept}");
    let branches = git(&project, &["ls-tree", "-r", "--name-only", "main"]);
    assert!(!branches.contains("evidence"), "{branches}");
}

//! A question that is asked on Friday is answered on Monday: its story waits without a process, and exactly its call goes on. With the real
//! Claude Code CLI.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bot::Clock;
use e2e::{Bot, Setup, commit_as_person, git};
use needs::needs;
use pipeline::story::StoryId;
use scripted_model::{ModelScript, SeenRequest};
use serde_json::json;

use crate::real::bash;

const TEAM: &str = "gates = [\"test -e base.txt\"]\n[[agent]]\nname = \"coder\"\nstage = \"coder\"\n\
                    [[agent]]\nname = \"qa\"\nstage = \"qa\"\n";

/// After this nobody waits any more.
const PARKS: &str = "[claude]\npermission_timeout = \"1s\"\n[pipeline]\nrooms = [\"fake:ops\"]";

/// Leaves a trace of each time that it runs, outside of what git has.
const PAINTS: &str = "id -u >> ../ran; echo red > door.txt && git add door.txt && git commit -qm red";

const WEEKEND: u64 = 3 * 24 * 3600;

/// A coder whose one command needs an approval, and a reviewer that approves.
fn painter() -> ModelScript {
    ModelScript::new()
        .on_start("Review story")
        .calls("mcp__storkit__approve_qa", json!({}))
        .then_says("Good.")
        .on_start("Do story 1")
        .calls("Bash", bash(PAINTS))
        .then_says("The tool said: {last_tool_result}")
}

/// A clock that can be set forward.
fn clock() -> (Clock, Arc<AtomicU64>) {
    let ahead = Arc::new(AtomicU64::new(0));
    let read = ahead.clone();
    let now = move || SystemTime::now() + Duration::from_secs(read.load(Ordering::Relaxed));
    (Clock::from_fn(now), ahead)
}

fn setup(script: ModelScript) -> Setup {
    Setup::real(script).config(PARKS).file(".storkit/project.toml", TEAM).committed("base.txt", "base\n")
}

async fn paints(bot: &Bot) {
    bot.started().await;
    let room = bot.room("ops");
    room.say("new story Paint the door\n- [ ] It has a colour").await;
    room.see("is in the backlog").await;
    room.say("start 1").await;
    room.see("`coder` works on story `1` now").await;
}

/// Waits until the story has no run and is parked.
async fn until_parked(bot: &Bot) {
    let pipeline = &bot.app.services().commands.pipeline;
    let (_, mut events) = pipeline.follow();
    let is_parked = || {
        let snapshot = pipeline.snapshot();
        snapshot.parked.contains_key(&StoryId(1)) && snapshot.runs.is_empty()
    };
    while !is_parked() {
        let next = tokio::time::timeout(Duration::from_secs(60), events.recv()).await;
        assert!(next.is_ok(), "it is not parked: {:?}", pipeline.snapshot());
    }
}

/// The requests of the story's coder.
fn coders(bot: &Bot) -> Vec<SeenRequest> {
    let is_coders = |seen: &SeenRequest| seen.conversation.prompt.starts_with("Do story 1");
    bot.model_requests().into_iter().filter(is_coders).collect()
}

/// How often the command has run.
fn times(bot: &Bot) -> usize {
    let worktrees = fs::read_dir(bot.file(".storkit/worktrees")).into_iter().flatten().flatten();
    let ran = worktrees.map(|entry| entry.path()).chain([bot.file(".storkit/worktrees/ran")]);
    let ran = ran.filter(|path| path.ends_with("ran")).collect::<std::collections::BTreeSet<_>>();
    ran.iter().map(|path| fs::read_to_string(path).unwrap_or_default().lines().count()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_on_friday_and_allowed_on_monday_after_two_restarts_exactly_that_call_runs_once() {
    needs!(Claude);
    let (clock, ahead) = clock();
    let bot = setup(painter()).clock(clock).start().await;
    paints(&bot).await;
    let room = bot.room("ops");
    room.see("its agent stops, and the question waits on").await;
    room.see("Nobody has answered question 1 in time.").await;
    until_parked(&bot).await;
    assert_eq!((bot.sessions(), bot.agent_processes()), (0, 0));
    let asked = coders(&bot).len();
    room.say("status").await;
    let status = room.see("**Open questions**: 1").await;
    assert!(status.text.contains("parked for"), "{}", status.text);
    let bot = bot.restart().await;
    bot.room("ops").see("**Question 1**").await;
    fs::write(bot.file("other.txt"), "x").expect("a file");
    commit_as_person(&bot.file(""), "other.txt");
    ahead.store(WEEKEND, Ordering::Relaxed);
    let bot = bot.restart().await;
    let room = bot.room("ops");
    let again = room.see("**Question 1**").await;
    assert!(again.text.contains("goes on with exactly this call"), "{}", again.text);
    room.say("status").await;
    room.see("parked for 3d").await;
    assert_eq!((coders(&bot).len(), bot.sessions()), (asked, 0), "nobody works");
    room.say("yes").await;
    room.see("Question 1: ann allowed").await;
    bot.until_done(1).await;
    assert_eq!(git(&bot.file(""), &["show", "main:door.txt"]), "red");
    let coder = coders(&bot);
    assert_eq!(coder.len(), asked + 1, "the call goes on without another request to the model");
    let log = fs::read_to_string(bot.file(".storkit/logs/agents/1-coder-2.log")).expect("a log");
    assert!(log.contains("(its question is answered: it goes on with that call)"), "{log}");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zz_debug() {
    needs!(Claude);
    let bot = setup(painter()).start().await;
    paints(&bot).await;
    let room = bot.room("ops");
    let q = room.see("Question 1").await;
    eprintln!("QUESTION {}", q.text);
    eprintln!("LOG {}", fs::read_to_string(bot.file(".storkit/logs/agents/1-coder-1.log")).unwrap_or_default());
    for f in walk(&bot.home()) {
        let text = fs::read_to_string(&f).unwrap_or_default();
        for line in text.lines().filter(|line| line.contains("tool_use") || line.contains("hook")) {
            eprintln!("TR {}", line.chars().take(1500).collect::<String>());
        }
    }
    bot.app.shutdown().await;
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(walk(&path)) } else if path.extension().is_some_and(|e| e == "jsonl") { found.push(path) }
    }
    found
}

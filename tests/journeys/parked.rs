//! A question that is asked on Friday is answered on Monday: its story waits without a process, and exactly its call goes on. With the real
//! Claude Code CLI.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use adapters::{Incoming, testing::fake::FakeRoom};
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

/// Its file shows how often it has run.
const PAINTS: &str = "id -u; echo red >> door.txt && git add door.txt && git commit -qm red";

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

/// By the clock that is ahead.
async fn on_monday(room: &FakeRoom, text: &str) {
    let sent_at = SystemTime::now() + Duration::from_secs(WEEKEND + 5);
    room.send_incoming(Incoming { sent_at, ..room.incoming("ann", text) }).await;
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

/// The folder that the story works in.
fn folder(bot: &Bot) -> PathBuf {
    let worktrees = fs::read_dir(bot.file(".storkit/worktrees")).expect("worktrees").flatten();
    let found = worktrees.map(|entry| entry.path()).find(|path| path.join("base.txt").exists());
    found.expect("the story's folder")
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
    on_monday(&room, "status").await;
    room.see("parked for 3d").await;
    assert_eq!((coders(&bot).len(), bot.sessions()), (asked, 0), "nobody works");
    on_monday(&room, "yes").await;
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
async fn a_no_never_runs_the_call_and_the_agent_goes_on_with_the_reason() {
    needs!(Claude);
    let script = painter().on("ann denied").says("not here");
    let bot = setup(script).start().await;
    paints(&bot).await;
    until_parked(&bot).await;
    let bot = bot.restart().await;
    let room = bot.room("ops");
    room.see("**Question 1**").await;
    room.say("no not red").await;
    room.see("Question 1: ann denied").await;
    room.see("`coder` failed: no commit was made").await;
    let told = coders(&bot)
        .iter()
        .any(|seen| seen.conversation.last_tool_result().contains("ann denied this: not red"));
    assert!(told, "{:#?}", coders(&bot));
    assert!(!folder(&bot).join("door.txt").exists());
    room.say("stop 1").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_meanwhile_is_said_and_asked_anew_and_only_the_new_answer_counts() {
    needs!(Claude);
    let bot = setup(painter()).start().await;
    paints(&bot).await;
    until_parked(&bot).await;
    let room = bot.room("ops");
    let (link, tip) = (folder(&bot).join("door.txt"), "refs/heads/feature/story-1_paint_the_door/work");
    std::os::unix::fs::symlink("../elsewhere", &link).expect("a link");
    room.say("yes").await;
    room.see("Question 1 is closed: what it is about has changed since, so it is asked anew").await;
    let fresh = room.see("**Question 2**").await;
    let change = "since then `door.txt` led to a plain file or nothing and leads to ";
    assert!(fresh.text.contains(change), "{}", fresh.text);
    assert!(!bot.file(".storkit/worktrees/elsewhere").exists(), "the first answer allowed something else");
    fs::remove_file(&link).expect("it is a link");
    let root = bot.file("");
    let before = git(&root, &["rev-parse", tip]);
    let other = git(
        &root,
        &[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "commit-tree",
            "-m",
            "x",
            &format!("{tip}^{{tree}}"),
        ],
    );
    git(&root, &["update-ref", tip, &other]);
    room.say("yes 2").await;
    let fresh = room.see("**Question 3**").await;
    assert!(
        fresh.text.contains(&format!("the story's branch went from `{}` to `{}`", &before[..8], &other[..8])),
        "{}",
        fresh.text
    );
    git(&root, &["update-ref", tip, &before]);
    room.say("yes 3").await;
    room.see("**Question 4**").await;
    room.say("yes 4").await;
    bot.until_done(1).await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_that_is_stopped_moved_or_deleted_closes_its_parked_question() {
    needs!(Claude);
    for order in ["stop 1", "move 1 backlog", "delete 1"] {
        let bot = setup(painter()).start().await;
        paints(&bot).await;
        until_parked(&bot).await;
        let room = bot.room("ops");
        room.say(order).await;
        if order == "delete 1" {
            room.see("confirms").await;
            room.choose("Delete it").await;
        }
        room.see("Question 1 is closed: its story was stopped, moved or decided").await;
        room.say("yes 1").await;
        room.see("Question 1 is not open (any more)").await;
        assert_eq!(git(&bot.file(""), &["log", "--all", "--format=%s", "--grep=^red$"]), "", "{order}");
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_calls_only_the_last_can_wait_and_the_others_say_so() {
    needs!(Claude);
    let script = ModelScript::new()
        .on_start("Do story 1")
        .calls("Bash", bash("git commit -q --allow-empty -m one"))
        .calls("Bash", bash("git commit -q --allow-empty -m two"))
        .then_says("The tool said: {last_tool_result}");
    let bot = setup(script).start().await;
    paints(&bot).await;
    let room = bot.room("ops");
    room.see("because its agent made several calls at once").await;
    room.see_edit("Question 1: nobody answered in time").await;
    room.see("Nobody has answered question 2 in time.").await;
    until_parked(&bot).await;
    room.say("yes 2").await;
    room.see("Question 2: ann allowed").await;
    // Without a change of a file its work goes no further than to the reviewer.
    room.see("current → qa").await;
    let commits = git(&bot.file(""), &["log", "--format=%s", "main..feature/story-1_paint_the_door/work"]);
    assert_eq!(commits, "two");
    room.say("stop 1").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_with_commits_is_not_done_while_nobody_can_approve_its_next_command() {
    needs!(Claude);
    let script = ModelScript::new()
        .on_start("Do story 1")
        .calls("Bash", bash("echo red > door.txt && git add door.txt && git commit -qm red"))
        .then_calls("Bash", bash("git commit -q --allow-empty -m more"))
        .then_says("Done.");
    let bot = setup(script).start().await;
    paints(&bot).await;
    let room = bot.room("ops");
    room.see("**Question 1**").await;
    room.say("yes").await;
    room.see("Nobody has answered question 2 in time.").await;
    until_parked(&bot).await;
    let bot = bot.restart().await;
    bot.started().await;
    let snapshot = bot.app.services().commands.pipeline.snapshot();
    let story = snapshot.board.story(StoryId(1)).expect("the story");
    assert_eq!(story.stage, pipeline::stage::Stage::Current);
    assert!(snapshot.parked.contains_key(&StoryId(1)) && snapshot.holds[&StoryId(1)].contains("parked"));
    assert_eq!(story.front.retry_count, 0);
    bot.app.shutdown().await;
}

//! Rooms that work in worktrees of their own, and land what they changed.

use std::path::PathBuf;

use adapters::testing::fake::FakeRoom;
use e2e::{Bot, Cli, Setup, git};
use pipeline::{
    event::{MergeView, PipelineEvent},
    stage::Stage,
    story::StoryId,
    worktree::RoomName,
};

/// What is landed needs no agent's work; without a reviewer a person accepts it.
const TEAM: &str = "gates = [\"test ! -e broken\"]\n[[agent]]\nname = \"coder\"\nstage = \"coder\"\n";

const WORKTREES: &str = "[relay]\nworkspace = \"worktree\"";

async fn start(project: &str) -> Bot {
    let setup = Setup::new(Cli::StandIn).config(WORKTREES).committed("README.md", "one\ntwo\n");
    let bot = setup.file(".storkit/project.toml", project).start().await;
    bot.started().await;
    bot
}

/// Has the room's agent run a command.
async fn run(room: &FakeRoom, command: &str) {
    room.say(&format!("bash {command}")).await;
    let asked = room.see("may I use **Bash**").await.text;
    // By its number: a bare word so soon after another question would be for neither.
    let number: String =
        asked.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    room.say(&format!("yes {number}")).await;
    room.see("allowed").await;
    room.settled().await;
}

fn worktree(bot: &Bot, room: &str) -> PathBuf {
    bot.file(&format!(".storkit/worktrees/{}", RoomName::of(&format!("fake:{room}"))))
}

/// Waits until the gates have passed.
async fn in_review(bot: &Bot, story: u32) {
    let pipeline = &bot.app.services().commands.pipeline;
    let (_, mut events) = pipeline.follow();
    let stage = || pipeline.snapshot().board.story(StoryId(story)).map(|story| story.stage);
    while stage() != Some(Stage::Qa) {
        let next = tokio::time::timeout(std::time::Duration::from_secs(120), events.recv()).await;
        assert!(next.is_ok(), "story {story} is not in review: {:?}", pipeline.snapshot());
    }
}

fn base(bot: &Bot, file: &str) -> String {
    git(&bot.file(""), &["show", &format!("main:{file}")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_edits_two_files_and_lands_them_through_gates_review_and_merge() {
    let bot = start(TEAM).await;
    let room = bot.room("a");
    run(&room, "sed -i s/one/ONE/ README.md; echo new > new.txt").await;
    assert!(!bot.file("new.txt").exists(), "the people's checkout is not touched");
    assert_eq!(std::fs::read_to_string(worktree(&bot, "a").join("new.txt")).expect("written"), "new\n");
    room.say("git").await;
    room.see("2 files uncommitted").await;
    room.say("land Fix the typo").await;
    room.see("Story `1` **Fix the typo** has this room's changes (2 files, +2 -1)").await;
    in_review(&bot, 1).await;
    room.say("accept 1").await;
    room.see("This room's changes are merged: story `1` **Fix the typo**").await;
    assert_eq!((base(&bot, "README.md").as_str(), base(&bot, "new.txt").as_str()), ("ONE\ntwo", "new"));
    room.say("echo after").await;
    room.see("echo: after").await;
    room.settled().await;
    room.say("git").await;
    room.see("level with the base branch").await;
    room.say("land Again").await;
    room.see("This room has no changes to land.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rooms_have_different_files_and_land_different_stories() {
    let bot = start("[[agent]]\nname = \"boss\"\nstage = \"supervisor\"\n").await;
    let (one, other) = (bot.room("a"), bot.room("b"));
    run(&one, "echo one > same.txt").await;
    run(&other, "echo other > same.txt").await;
    let text = |room: &str| std::fs::read_to_string(worktree(&bot, room).join("same.txt")).expect("written");
    assert_eq!((text("a").as_str(), text("b").as_str()), ("one\n", "other\n"));
    one.say("land One").await;
    one.see("**One** has this room's changes (1 file, +1 -0)").await;
    other.say("land Other").await;
    other.see("**Other** has this room's changes (1 file, +1 -0)").await;
    let tips: Vec<String> = ["story-1_one", "story-2_other"]
        .map(|story| git(&bot.file(""), &["show", &format!("feature/{story}/work:same.txt")]))
        .into();
    assert_eq!(tips, ["one", "other"]);
    one.say("land Once more").await;
    one.see("Story 1 has these changes already").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_landed_without_changes_a_title_or_while_a_turn_runs() {
    let bot = start(TEAM).await;
    let room = bot.room("a");
    room.say("land").await;
    room.see("The story needs a title.").await;
    room.say("land Something").await;
    room.see("This room has no changes to land.").await;
    room.say("slow").await;
    room.see("slow answer").await;
    room.say("land Something").await;
    room.see("A turn runs here.").await;
    room.say("stop").await;
    room.see("Stopped.").await;
    room.settled().await;
    run(&room, "echo x > x.txt").await;
    // Without a title it is what was asked for.
    room.say("land").await;
    room.see("**bash echo x").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_with_changes_stays_where_it_is_and_says_once_how_far_base_has_moved() {
    let bot = start(TEAM).await;
    let room = bot.room("a");
    run(&room, "echo mine > mine.txt").await;
    let commit = |name: &str| {
        std::fs::write(bot.file(name), name).expect("written");
        git(&bot.file(""), &["add", name]);
        git(
            &bot.file(""),
            &["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", name],
        );
    };
    commit("b.txt");
    room.say("echo one").await;
    room.see("The base branch has moved on by 1 commit.").await;
    room.see("echo: one").await;
    room.settled().await;
    assert!(!worktree(&bot, "a").join("b.txt").exists());
    room.say("echo two").await;
    room.see("echo: two").await;
    room.settled().await;
    assert_eq!(room.transcript().matches("has moved on by").count(), 1);
    room.say("status").await;
    room.see("1 file uncommitted, 1 commit behind the base branch").await;
    // A room without changes follows, also one whose process lives.
    let other = bot.room("b");
    other.say("echo hi").await;
    other.see("echo: hi").await;
    other.settled().await;
    commit("c.txt");
    other.say("history").await;
    other.see("1. echo hi").await;
    assert!(worktree(&bot, "b").join("c.txt").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_conflicts_with_base_and_the_story_says_so() {
    let bot = start(TEAM).await;
    let room = bot.room("a");
    run(&room, "sed -i s/one/room/ README.md").await;
    std::fs::write(bot.file("README.md"), "base\ntwo\n").expect("written");
    git(
        &bot.file(""),
        &["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-am", "base"],
    );
    room.say("land Both").await;
    room.see("Story `1` **Both**").await;
    in_review(&bot, 1).await;
    let (_, mut events) = bot.app.services().commands.pipeline.follow();
    room.say("accept 1").await;
    let is_conflict = |event: &PipelineEvent| matches!(event, PipelineEvent::Merge { merge: MergeView::Conflict { files }, .. } if files[0].ends_with("README.md"));
    while !is_conflict(&events.recv().await.expect("an event").event) {}
    room.say("reject 1 take both").await;
    room.see(
        "This room's changes did not pass: sent back: take both. A coder works on the branch of story `1`",
    )
    .await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_main_checkout_a_room_sees_uncommitted_files_and_has_nothing_to_land() {
    let bot = Setup::new(Cli::StandIn).file("mine.txt", "uncommitted").start().await;
    bot.started().await;
    let room = bot.room("a");
    run(&room, "cat mine.txt > seen.txt; touch .git/made .storkit/made; true").await;
    assert_eq!(std::fs::read_to_string(bot.file("seen.txt")).expect("written"), "uncommitted");
    assert!(!bot.file(".git/made").exists() && !bot.file(".storkit/made").exists(), "both are protected");
    room.say("land It").await;
    room.see("This room works in the main checkout").await;
    room.say("git").await;
    room.see("**The main checkout**").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_the_main_checkout_is_replaced_with_a_notice_when_the_room_gets_a_worktree() {
    let bot = Setup::new(Cli::StandIn).start().await;
    bot.started().await;
    bot.room("a").say("echo before").await;
    bot.room("a").see("echo: before").await;
    bot.room("a").settled().await;
    std::fs::write(bot.file(".storkit/bot.toml"), WORKTREES).expect("written");
    let bot = bot.restart().await;
    bot.started().await;
    let room = bot.room("a");
    room.say("history").await;
    room.see("This room now works in its own worktree").await;
    room.see("nothing yet").await;
    room.settled().await;
    let bot = bot.restart().await;
    bot.started().await;
    bot.room("a").say("history").await;
    bot.room("a").see("1. history").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_commit_a_room_works_in_the_main_checkout_and_says_so() {
    let bot = Setup::new(Cli::StandIn).config(WORKTREES).start().await;
    git(&bot.file(""), &["update-ref", "-d", "refs/heads/main"]);
    let bot = bot.restart().await;
    let room = bot.room("a");
    room.say("cwd").await;
    room.see("This room cannot have a worktree of its own yet, so I work in the main checkout.").await;
    room.see(bot.file("").display().to_string().trim_end_matches('/')).await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_discards_its_changes_after_a_second_word_and_a_branch_keeps_them() {
    let bot = start(TEAM).await;
    let room = bot.room("a");
    room.say("discard").await;
    room.see("This room has no changes to discard.").await;
    run(&room, "echo new > new.txt; git commit -q --allow-empty -m 'A step'").await;
    room.say("discard").await;
    let asked = room.see("not committed: `new.txt`").await.text;
    assert!(asked.contains("A step") && worktree(&bot, "a").join("new.txt").exists(), "{asked}");
    room.say("discard yes").await;
    let done = room.see("Discarded 1 commit and 1 uncommitted file.").await.text;
    assert!(!worktree(&bot, "a").join("new.txt").exists());
    let branch =
        git(&bot.file(""), &["branch", "--list", "storkit/discarded/*", "--format=%(refname:short)"]);
    assert!(done.contains(&format!("`{branch}`")), "{done}");
    assert_eq!(git(&bot.file(""), &["show", &format!("{branch}:new.txt")]), "new");
    room.say("echo after").await;
    room.see("echo: after").await;
    room.settled().await;
    room.say("git").await;
    room.see("level with the base branch").await;
    bot.app.shutdown().await;
}

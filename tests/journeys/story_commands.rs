//! Stories written, changed and ticked in the chat.

use std::{fs, os::unix::fs::PermissionsExt as _};

use adapters::{Enclosed, SentFile, testing::fake::FakeRoom};
use e2e::{Bot, Cli, Program, Setup, git};

use crate::enclosed::PNG;

/// Only a supervisor, who is never started by itself, and two coders who are never free.
const TEAM: &str = "[[agent]]\nname = \"boss\"\nstage = \"supervisor\"\n[[agent]]\nname = \"coder\"\nstage = \"coder\"\ncount = 2\n";

async fn start() -> Bot {
    let bot = Setup::new(Cli::StandIn).approvers(&["ann"]).file(".storkit/project.toml", TEAM).start().await;
    bot.started().await;
    bot
}

fn story_text(bot: &Bot, path: &str) -> String {
    fs::read_to_string(bot.file(&format!(".storkit/work/{path}"))).expect("the story's file")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_comes_with_its_text_and_its_criteria_count() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("new bug The door squeaks\n\nIt squeaks in **winter**:\n\n    ls /door\n\n- [ ] It is silent\n- [x] It opens")
        .await;
    let told = room.see("Story `1` **The door squeaks** is in the backlog").await.text;
    assert!(!told.contains("What must be true"), "its criteria are there: {told}");
    let text = story_text(&bot, "1_backlog/1_bug_the_door_squeaks.md");
    let body = "# The door squeaks\n\nIt squeaks in **winter**:\n\n    ls /door\n\n- [ ] It is silent\n- [x] It opens\n";
    assert!(text.ends_with(body), "{text}");
    let committed = bot.until_on_board("1_backlog/1_bug_the_door_squeaks.md").await;
    assert_eq!(committed, text.into_bytes());
    room.say("new story\nA window\nIt lets light in.").await;
    room.see("Story `2` **A window** is in the backlog").await;
    room.say("- [ ] It is clear\n- It opens").await;
    room.see("Story `2` has 2 criteria now").await;
    let text = story_text(&bot, "1_backlog/2_story_a_window.md");
    let body = "It lets light in.\n\n## Acceptance criteria\n\n- [ ] It is clear\n- [ ] It opens\n";
    assert!(text.ends_with(body), "{text}");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_of_a_story_is_edited_from_the_chat() {
    let bot = start().await;
    let room = bot.room("a");
    for title in ["A door", "A window"] {
        room.say(&format!("new story {title}\n- one")).await;
        room.see(&format!("**{title}** is in the backlog")).await;
    }
    for (line, told) in [
        ("edit 2 title A *big* window", "title **A window** → **A *big* window**."),
        ("edit #2 agent coder", "preferred agent none → `coder`."),
        ("edit 2 qa on", "review by a person off → on."),
        ("edit 2 after #1", "starts after none → 1."),
        ("edit 2 after 1", "Story `2` is as it was"),
        ("edit 1 after 2", "Story 1 cannot wait for story 2: story 2 waits for story 1."),
        ("edit 2 agent coder-9", "There is no agent `coder-9`"),
        ("!edit 2 colour red", "`colour` is not a part of a story"),
        ("edit 9 title x", "There is no story `9`"),
        ("edit 2\nIt lets light in.\n\n- [ ] It is clear\n- [ ] It opens", "→ 3 lines with 2 criteria."),
    ] {
        room.say(line).await;
        room.see(told).await;
    }
    let text = story_text(&bot, "1_backlog/2_story_a_window.md");
    for part in ["name: \"A *big* window\"\n", "agent: coder\n", "manual_qa: true\n", "depends_on: [1]\n"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(
        text.ends_with("---\n\n# A *big* window\n\nIt lets light in.\n\n- [ ] It is clear\n- [ ] It opens\n"),
        "{text}"
    );
    room.say("edit 2").await;
    let shown = room.see("Copy what you want to change").await.text;
    for line in ["edit 2 title A *big* window", "edit 2 agent coder", "edit 2 qa on", "edit 2 after 1"] {
        assert!(shown.contains(&format!("{line}\n")), "{line} is not in {shown}");
    }
    let (_, block) = shown.split_once("```markdown\n").expect("its text");
    let (copied, _) = block.split_once("```").expect("the end of its text");
    room.say(copied).await;
    room.see("Story `2` is as it was: that is what it has already.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_backlog_and_for_a_persons_review_an_edit_takes_an_approver() {
    let bot = start().await;
    let room = bot.room("a");
    room.say_as("bob", "!new story A door\n- one").await;
    room.see("**A door** is in the backlog").await;
    room.say_as("bob", "!edit 1 qa on").await;
    room.see("review by a person off → on").await;
    room.say_as("bob", "!edit 1 qa off").await;
    room.see("Only approvers can give up a person's review, as story `1` has it.").await;
    room.say("edit 1 after none").await;
    room.see("is as it was").await;
    room.say("edit 1 qa off").await;
    room.see("review by a person on → off").await;
    room.say("stop 1").await;
    room.see("No agent runs for `1`").await;
    fs::rename(
        bot.file(".storkit/work/1_backlog/1_story_a_door.md"),
        bot.file(".storkit/work/3_qa/1_story_a_door.md"),
    )
    .expect("a person drags it");
    bot.started().await;
    room.say_as("bob", "!edit 1 title Another").await;
    room.see("Only approvers can change a story that has left the backlog; story `1` is in qa.").await;
    room.say_as("bob", "!edit 1 agent coder").await;
    room.see("`coder` does not do what story 1 needs in qa").await;
    room.say("edit 1 title Another").await;
    room.see("title **A door** → **Another**").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn criteria_are_listed_ticked_and_opened_again_by_their_numbers() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("new story A door\n- It opens\n- It closes").await;
    room.see("Story `1`").await;
    for (line, told) in [
        ("tick 1", "Acceptance criteria of story `1`, 0 of 2 done:"),
        ("tick 1 2", "Criterion 2 of story `1` is ticked, 1 of 2 done: ☑ It closes"),
        ("untick 1 2", "Criterion 2 of story `1` is open, 0 of 2 done: ☐ It closes"),
        ("tick 1 #1", "Criterion 1 of story `1` is ticked, 1 of 2 done: ☑ It opens"),
        ("tick 1 1", "Criterion 1 of story `1` is open, 0 of 2 done: ☐ It opens"),
        ("tick 1 3", "there is no criterion 3; the story's criteria are numbered 1 to 2."),
        ("tick 1 0", "there is no criterion 0; the story's criteria are numbered 1 to 2."),
        ("!tick 1 all", "`all` is not a criterion's number"),
        ("!tick", "Which story?"),
        ("tick 9 1", "There is no story `9`"),
        ("tick 1 2", "Criterion 2 of story `1` is ticked, 1 of 2 done: ☑ It closes"),
    ] {
        room.say(line).await;
        room.see(told).await;
    }
    let text = story_text(&bot, "1_backlog/1_story_a_door.md");
    assert!(text.contains("- [ ] It opens\n- [x] It closes\n"), "{text}");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentence_that_begins_like_an_edit_is_a_prompt() {
    let bot = start().await;
    let room = bot.room("a");
    for prompt in ["edit 12 lines of the readme", "edit the readme", "tick the boxes", "tick 3 boxes there"] {
        room.say(prompt).await;
        room.see(&format!("You said: {prompt}")).await;
        room.settled().await;
    }
    bot.app.shutdown().await;
}

async fn says_with(room: &FakeRoom, text: &str, files: Vec<SentFile>) {
    room.say_with(text, Enclosed { files, quotes: Vec::new() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_and_files_lie_beside_the_story_and_on_the_board_and_what_is_lost_is_named() {
    let bot = start().await;
    let room = bot.room("a");
    let files = vec![
        room.file("door.png", Ok(PNG)),
        SentFile { size: Some(11 << 20), ..room.file("film.mp4", Ok(b"")) },
        room.file("plan.pdf", Err("it is not there any more")),
    ];
    says_with(&room, "new bug Door squeaks\nSee the picture.\n- [ ] It is silent", files).await;
    let told = room.see("**Door squeaks** is in the backlog").await.text;
    for part in [
        "Story `1` has `door.png` beside it now.",
        "- `film.mp4`: it is larger than 10 MB",
        "- `plan.pdf`: it is not there any more",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    let file = bot.file(".storkit/work/files/1/door.png");
    assert_eq!(fs::read(&file).expect("the picture"), PNG);
    assert_eq!(file.metadata().expect("the picture").permissions().mode() & 0o111, 0, "no program");
    assert_eq!(bot.until_on_board("files/1/door.png").await, PNG);

    says_with(&room, "edit 1", vec![room.file("Door.png", Ok(b"another"))]).await;
    room.see("Story `1` has `Door-2.png` beside it now.").await;
    says_with(&room, "edit 1 title The door", vec![room.file("log.txt", Ok(b"squeak"))]).await;
    room.see("title **Door squeaks** → **The door**.").await;
    room.say("edit 1\nNow without the picture in its text.").await;
    room.see("Story `1`: text").await;
    let text = story_text(&bot, "1_backlog/1_bug_door_squeaks.md");
    for link in [
        "![door.png](../files/1/door.png)",
        "![Door-2.png](../files/1/Door-2.png)",
        "[log.txt](../files/1/log.txt)",
    ] {
        assert!(text.contains(link), "{link} is not in {text}");
    }
    says_with(&room, "status", vec![room.file("door.png", Ok(PNG))]).await;
    room.see("I did not pass on `door.png`: commands and answers take no files.").await;

    room.say_as("bob", "!edit 1 remove plan.pdf").await;
    room.see("Story 1 has no file `plan.pdf`; it has `Door-2.png`, `door.png`, `log.txt`.").await;
    room.say("edit 1 remove log.txt").await;
    room.see("`log.txt` is no longer beside story `1`.").await;
    assert!(!bot.file(".storkit/work/files/1/log.txt").exists());
    assert!(!story_text(&bot, "1_backlog/1_bug_door_squeaks.md").contains("log.txt"));

    says_with(&room, "edit 7", vec![room.file("door.png", Ok(PNG))]).await;
    room.see("There is no story `7`").await;
    assert!(!bot.file(".storkit/work/files/7").exists());
    room.say("delete 1 yes").await;
    room.see("Story `1` is deleted: its file in backlog, 2 files beside it").await;
    assert!(!bot.file(".storkit/work/files/1").exists());
    let board = || git(&bot.file(""), &["ls-tree", "-r", "--name-only", "storkit/board"]);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !board().is_empty() {
        assert!(std::time::Instant::now() < until, "{}", board());
        tokio::task::yield_now().await;
    }
    bot.app.shutdown().await;
}

#[test]
fn a_file_that_is_named_in_the_terminal_lies_beside_the_story() {
    let program = Program::with_stand_in();
    let place = tempfile::tempdir().expect("a folder");
    let picture = place.path().join("my door.png");
    fs::write(&picture, PNG).expect("a picture");
    let lines = format!("new bug The door squeaks, see '@{}'\nedit 1 qa on\n", picture.display());
    let output = program.run(&["chat"], &lines);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("has `my_door.png` beside it now"), "{said}");
    assert!(said.contains("review by a person off → on"), "{said}");
    let file = program.file(".storkit/work/files/1/my_door.png");
    assert_eq!(fs::read(file).expect("the picture"), PNG);
}

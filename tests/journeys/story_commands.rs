//! Stories written, changed and ticked in the chat.

use std::fs;

use e2e::{Bot, Cli, Setup};

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

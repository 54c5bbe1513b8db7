//! The story commands in the chat, in a project where no agent takes anything up: what each says, right and wrong.

use e2e::{Bot, Cli, Setup};

/// Only a supervisor, who is never started by itself.
const NOBODY: &str = "[[agent]]\nname = \"boss\"\nstage = \"supervisor\"\n";

async fn start() -> Bot {
    let bot =
        Setup::new(Cli::StandIn).approvers(&["ann"]).file(".storkit/project.toml", NOBODY).start().await;
    bot.started().await;
    bot
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_is_made_shown_moved_and_deleted_from_the_chat() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("new story Let *people* sign in @room").await;
    // Its marks are text, and nobody is pinged.
    room.see("Story `1` **Let *people* sign in @\u{200b}room** is in the backlog").await;
    room.say("show 1").await;
    let shown = room.see("criteria: 0 of 1 done").await.text;
    assert!(shown.contains("- in **backlog**") && shown.contains("name: "), "{shown}");
    room.say("start 1").await;
    room.see("no agent of `project.toml` has the stage `coder`").await;
    room.say("status").await;
    room.see("- current: 1").await;
    room.say("move 1 done").await;
    room.see("done means merged, so only a merge brings it there").await;
    room.say("move 1 backlog").await;
    room.see("Story `1` is now in backlog").await;
    room.say("delete 1").await;
    room.see("Delete story `1`").await;
    assert!(
        bot.file(".storkit/work/1_backlog").read_dir().expect("a folder").next().is_some(),
        "it only asks"
    );
    room.choose("Delete it").await;
    room.see("Story `1` is deleted: its file in backlog").await;
    assert!(bot.file(".storkit/work/1_backlog").read_dir().expect("a folder").next().is_none());
    room.say("show 1").await;
    room.see("There is no story `1`").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_arguments_get_a_sentence_and_the_usage() {
    let bot = start().await;
    let room = bot.room("a");
    for (line, sentence) in [
        ("!new", "What kind of story"),
        ("!new idea x", "`idea` is not a kind of story"),
        ("!show", "Which story?"),
        ("!show door", "`door` is not a story's number"),
        ("!show 1 2", "`2` is too much"),
        ("!start 1 a b", "`a b` is not an agent's name"),
        ("!assign 1", "Which agent?"),
        ("!move 1 heaven", "`heaven` is not a stage"),
        ("!reject 1", "Why?"),
        ("!delete 1 maybe", "`maybe` is not `yes`"),
        ("!log", "Whose log?"),
        ("!log coder 0", "`0` is not a number of lines"),
        ("!cost never", "`never` is not a period"),
    ] {
        room.say(line).await;
        let said = room.see(sentence).await.text;
        assert!(said.contains("Usage: "), "{line}: {said}");
    }
    for (line, sentence) in [
        ("!start 9", "There is no story 9"),
        ("!retry 9", "There is no story 9"),
        ("!accept 9", "There is no story 9"),
        ("!delete 9", "There is no story `9`"),
        ("!overview 9", "is not merged to `main` yet"),
        ("!log 9", "No agent has worked on story `9`"),
        ("!stop 9", "No agent runs for `9`"),
        ("!log nobody", "No agent `nobody` has run"),
    ] {
        room.say(line).await;
        room.see(sentence).await;
    }
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentence_that_begins_like_a_story_command_is_a_prompt() {
    let bot = start().await;
    let room = bot.room("a");
    for prompt in ["start the server please", "show me the door", "new ideas are welcome", "move it"] {
        room.say(prompt).await;
        room.see(&format!("You said: {prompt}")).await;
        room.settled().await;
    }
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deciding_about_a_story_is_for_approvers() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("new bug A").await;
    room.see("Story `1`").await;
    for line in ["!accept 1", "!reject 1 no", "!move 1 current", "!retry 1", "!delete 1 yes"] {
        room.say_as("bob", line).await;
        room.see("approver").await;
    }
    room.say_as("bob", "!show 1").await;
    room.see("- in **backlog**").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reject_with_a_storys_number_is_about_the_story_also_while_a_question_is_open() {
    let bot = start().await;
    let room = bot.room("a");
    for title in ["A", "B", "C", "D"] {
        room.say(&format!("new bug {title}")).await;
        room.see(&format!("**{title}** is in the backlog")).await;
    }
    // Each of them asks for its criteria.
    room.say("skip").await;
    room.see("All right, it stays as it is.").await;
    room.say("bash touch made").await;
    room.see("may I use **Bash**").await;
    room.say("reject 4 not like this").await;
    room.see("Story 4 is in backlog; only one in qa waits for that decision").await;
    assert!(room.transcript().contains("may I use"), "the question is still open");
    room.say("reject use another file").await;
    room.see("denied").await;
    assert!(!bot.file("made").exists());
    bot.app.shutdown().await;
}

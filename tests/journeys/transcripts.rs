//! One conversation on every messenger, and what people saw of it, in `docs/transcripts`. With the real Claude Code CLI on a scripted model.
//!
//! The tests compare the pages with what happens; `script/transcripts` writes them anew.

#[cfg(feature = "matrix")]
pub mod matrix;
#[cfg_attr(
    not(all(feature = "matrix", feature = "slack", feature = "whatsapp")),
    allow(dead_code, reason = "a terminal has neither threads nor edits")
)]
mod page;
#[cfg(feature = "slack")]
pub mod slack;
pub mod terminal;
#[cfg(feature = "whatsapp")]
pub mod whatsapp;

use std::fs;

use e2e::Program;
pub use page::BotLine;
use page::{Act, ChatPage, Draft, Relation};
use scripted_model::{ModelScript, ScriptedModel, SeenRequest};
use serde_json::json;

use crate::{plan, real::bash};

/// A messenger as Ann uses it, in a conversation of her own with the bot. Each act says how the page shows it.
pub trait ChatApp {
    const PAGE: ChatPage;
    /// Whether the bot learns what an act is about: a thread's root, or what Ann quotes.
    const TELLS_CONTEXT: bool = true;
    /// Whether Ann's correction replaces the prompt that waits. Otherwise she takes it back, and says it again.
    const EDITS: bool = true;
    /// The bot's words when Ann has corrected a prompt or taken it back.
    const CORRECTED: &'static str = "Changed: when its turn comes";

    async fn say(&mut self, words: &str) -> Act;

    /// Sends the image of [`crate::enclosed::PNG`].
    async fn send_image(&mut self, words: &str) -> Act;

    /// Speaks about a message of the bot: in the thread below it, or quoting it.
    async fn say_about(&mut self, line: &BotLine, words: &str) -> Act;

    /// Answers a question in words.
    async fn answer(&mut self, question: &BotLine, words: &str) -> Act;

    /// Says yes with a thumb.
    async fn nod(&mut self, question: &BotLine) -> Act {
        self.answer(question, "👍").await
    }

    /// Picks a choice of a question.
    async fn choose(&mut self, question: &BotLine, label: &str) -> Act;

    /// Corrects a prompt that waits, or takes it back.
    async fn correct(&mut self, prompt: &Act, words: &str) -> Act;

    /// Waits until the bot's messages are so; panics with them if they never are.
    async fn until<T>(&mut self, what: &str, find: impl Fn(&[BotLine]) -> Option<T>) -> T;

    /// Waits until the bot works on nothing, where the messenger shows that. Elsewhere a prompt may come before the end of the turn whose
    /// answer Ann has read, so the page leaves out that it is queued.
    async fn settle(&mut self) {}
}

struct DoorConversation<'a, A> {
    app: A,
    draft: Draft,
    model: &'a ScriptedModel,
}

impl<A: ChatApp> DoorConversation<'_, A> {
    async fn say(&mut self, words: &str) -> Act {
        let before = self.count().await;
        let act = self.app.say(words).await;
        self.draft.add(before, act)
    }

    /// Says it once nothing else is being done.
    async fn say_next(&mut self, words: &str) {
        self.app.settle().await;
        self.say(words).await;
    }

    async fn answer(&mut self, question: &BotLine, words: &str) {
        let before = self.count().await;
        let act = self.app.answer(question, words).await;
        self.draft.add(before, act);
    }

    async fn choose(&mut self, question: &BotLine, label: &str) {
        let before = self.count().await;
        let act = self.app.choose(question, label).await;
        self.draft.add(before, act);
    }

    /// How many messages of the bot there are.
    async fn count(&mut self) -> usize {
        self.app.until("any", |lines| Some(lines.len())).await
    }

    /// Waits for a message with these words. It may still be written.
    async fn see(&mut self, words: &str) -> BotLine {
        let find = |lines: &[BotLine]| lines.iter().find(|line| line.text.contains(words)).cloned();
        self.app.until(&format!("saw {words:?}"), find).await
    }

    /// Waits for an open question with these words.
    async fn see_question(&mut self, words: &str) -> BotLine {
        let is_it = |line: &&BotLine| line.is_open_question && line.text.contains(words);
        let find = |lines: &[BotLine]| lines.iter().find(is_it).cloned();
        let question = self.app.until(&format!("saw the question {words:?}"), find).await;
        self.draft.add_question(&question);
        question
    }

    fn requests(&self) -> Vec<SeenRequest> {
        let mut requests = self.model.requests();
        requests.retain(|seen| !seen.is_side_request());
        requests
    }

    fn last_request(&self) -> SeenRequest {
        self.requests().pop().expect("the model was asked")
    }
}

/// The model's side.
fn script() -> ModelScript {
    let colours = json!([
        { "label": "Red", "description": "as it is now" },
        { "label": "Blue", "description": "like the window frames" },
    ]);
    let question = json!({ "question": "Which colour shall the door get?", "header": "Colour", "multiSelect": false, "options": colours });
    let dries = json!({
        "command": "until [ -e dry ]; do sleep 0.1; done; echo dry >> door.txt", "description": "let the door dry", "run_in_background": true,
    });
    let tool = "mcp__storkit__plan_stories";
    ModelScript::new()
        .on("what is this")
        .says("A wooden door. Its paint is peeling off.")
        .on("which colour")
        .says("Red, where there is any paint left.")
        .on("paint it")
        .calls("AskUserQuestion", json!({ "questions": [question] }))
        .then_calls("Bash", bash("echo 'dark green' > door.txt"))
        .then_says("The door is dark green now.")
        .on("let it dry")
        .calls("Bash", dries)
        .then_says("It is drying. I will tell you when it is dry.")
        .on("how wide")
        .calls("Bash", bash("echo 90 > width.txt"))
        .then_says("The door is 90 cm wide.")
        .on("how much paint")
        .says("Half a tin.")
        .on("we need a door bell")
        .calls(tool, json!({ "stories": [plan::bell(), plan::door(), plan::roof()] }))
        .then_calls(tool, json!({ "stories": [plan::bell(), plan::door()] }))
        .then_says("The door and the door bell are in the backlog. The bell waits for the door.")
        // The end of what runs in the background is no prompt, so this belongs to the last one.
        .then_says("The door is dry.")
}

/// Has the conversation, checks what comes of it, and checks or writes the page.
async fn converse<A: ChatApp>(app: A, program: &Program, model: &ScriptedModel) {
    let mut talk = DoorConversation { app, draft: Draft::default(), model };
    show_an_image_and_ask_about_the_answer(&mut talk).await;
    answer_in_words(&mut talk, program).await;
    correct_what_waits_beside_background_work(&mut talk, program).await;
    plan_without_the_roof(&mut talk, program).await;
    fs::write(program.file("dry"), "").expect("written");
    talk.see("`let the door dry`, which ran in the background, is done").await;
    talk.see("The door is dry.").await;
    let lines = talk.app.until("any", |lines| Some(lines.to_vec())).await;
    talk.draft.check(&A::PAGE, &lines, program);
}

async fn show_an_image_and_ask_about_the_answer<A: ChatApp>(talk: &mut DoorConversation<'_, A>) {
    let act = talk.app.send_image("what is this?").await;
    talk.draft.add(0, act);
    let answer = talk.see("Its paint is peeling off.").await;
    assert_eq!(talk.last_request().images, ["image/png"]);
    talk.app.settle().await;
    let before = talk.count().await;
    let act = talk.app.say_about(&answer, "and which colour?").await;
    talk.draft.add(before, act);
    talk.see("Red, where there is any paint left.").await;
    let prompt = talk.last_request().conversation.prompt;
    let context = "> A wooden door. Its paint is peeling off.";
    assert!(!A::TELLS_CONTEXT || prompt.contains(context), "{prompt}");
}

async fn answer_in_words<A: ChatApp>(talk: &mut DoorConversation<'_, A>, program: &Program) {
    talk.say_next("paint it").await;
    let question = talk.see_question("Which colour shall the door get?").await;
    talk.answer(&question, "dark green, like the gate").await;
    let question = talk.see_question("> door.txt").await;
    let told = talk.last_request().conversation.last_tool_result().to_owned();
    assert!(told.contains("dark green, like the gate"), "{told}");
    assert!(!program.file("door.txt").exists(), "nothing runs before the answer");
    talk.answer(&question, "sure, go ahead").await;
    talk.see("The door is dark green now.").await;
    assert_eq!(fs::read_to_string(program.file("door.txt")).expect("a file"), "dark green\n");
}

async fn correct_what_waits_beside_background_work<A: ChatApp>(
    talk: &mut DoorConversation<'_, A>,
    program: &Program,
) {
    talk.say_next("let it dry, and tell me when it is dry").await;
    let question = talk.see_question("-e dry").await;
    talk.choose(&question, "Allow").await;
    talk.see("I will tell you when it is dry.").await;

    talk.say_next("how wide is the door?").await;
    let question = talk.see_question("> width.txt").await;
    let prompt = talk.say("how much pain is left?").await;
    talk.see("Your message is queued, number 1").await;
    let before = talk.count().await;
    let act = talk.app.correct(&prompt, "how much paint is left?").await;
    talk.draft.add(before, act);
    talk.see(A::CORRECTED).await;
    if !A::EDITS {
        let before = talk.count().await;
        talk.say("how much paint is left?").await;
        let is_queued =
            |lines: &[BotLine]| lines[before..].iter().any(|line| line.text.contains("queued, number 1"));
        talk.app.until("queued again", |lines| is_queued(lines).then_some(())).await;
    }
    assert!(!program.file("width.txt").exists(), "a prompt is no answer");
    talk.choose(&question, "Allow").await;
    talk.see("The door is 90 cm wide.").await;
    talk.see("Half a tin.").await;
    let prompts: Vec<String> = talk.requests().into_iter().map(|seen| seen.conversation.prompt).collect();
    assert!(!prompts.iter().any(|prompt| prompt.contains("how much pain is")), "{prompts:?}");
}

async fn plan_without_the_roof<A: ChatApp>(talk: &mut DoorConversation<'_, A>, program: &Program) {
    talk.say_next(plan::WISH).await;
    let list = talk.see_question("Roof").await;
    talk.answer(&list, "yes, but without the roof").await;
    let list = talk.see_question("Question 6").await;
    assert!(!list.text.contains("Roof"), "{list:?}");
    talk.choose(&list, "Create all").await;
    talk.see("The bell waits for the door.").await;
    let story = |file: &str| {
        let text = fs::read_to_string(program.file(&format!(".storkit/work/1_backlog/{file}")));
        text.expect("the story's file")
    };
    assert!(story("1_story_door.md").contains("- [ ] It opens\n- [ ] It closes\n"));
    let bell = story("2_story_door_bell.md");
    assert!(bell.contains("\ndepends_on: [1]\n") && bell.contains("- [ ] It rings at the door"), "{bell}");
    assert!(!program.file(".storkit/work/1_backlog/3_story_roof.md").exists());
}

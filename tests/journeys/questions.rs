//! Questions of the real CLI on every messenger: several of one call, picks and words, signs, talk beside them, and answers that come
//! too late. At its end, commands as people type them in the CLI's own terminal.

use std::fmt::Display;

use e2e::Program;
use needs::needs;
use scripted_model::{ModelScript, ScriptedModel, SeenRequest};
use serde_json::json;

use crate::{
    real::bash,
    talk::asks,
    transcripts::{BotLine, ChatApp, terminal::TerminalApp},
};

/// Ann, on one messenger.
struct Asked<'a, A> {
    app: A,
    program: &'a Program,
    model: &'a ScriptedModel,
    /// How often the model has said good morning.
    greetings: usize,
}

/// The model's side; the last rule of [`asks`] is that of `hello`.
fn script() -> ModelScript {
    let child =
        json!({ "description": "look around", "prompt": "child: touch", "subagent_type": "general-purpose" });
    asks()
        .then_says("I saw its end.")
        .on_start("child:")
        .calls("Bash", bash("touch made-by-child"))
        .then_says("The child is done.")
        .on("look around")
        .calls("Agent", child)
        .then_says("It looks around.")
}

impl<'a, A: ChatApp> Asked<'a, A> {
    fn by(app: A, program: &'a Program, model: &'a ScriptedModel) -> Self {
        Self { app, program, model, greetings: 0 }
    }

    /// Waits for so many messages with these words. They may still be written.
    async fn see(&mut self, words: impl Display, times: usize) -> BotLine {
        let words = words.to_string();
        let find = |lines: &[BotLine]| {
            let mut with = lines.iter().filter(|line| line.text.contains(&words));
            with.nth(times - 1).cloned()
        };
        self.app.until(&format!("saw {words:?}, {times} times"), find).await
    }

    /// Waits for a question that can be answered.
    async fn see_question(&mut self, words: &str) -> BotLine {
        let is_it = |line: &&BotLine| line.is_open_question && line.text.contains(words);
        let find = |lines: &[BotLine]| lines.iter().find(is_it).cloned();
        self.app.until(&format!("saw the question {words:?}"), find).await
    }

    async fn say_next(&mut self, words: &str) {
        self.app.settle().await;
        self.app.say(words).await;
    }

    /// What the model was told when it has said so for the `times`th time.
    async fn told(&mut self, times: usize) -> String {
        self.see("I was told:", times).await;
        let is_told = |seen: &SeenRequest| !seen.conversation.last_tool_result().is_empty();
        let told = self.model.requests().into_iter().rfind(|seen| !seen.is_side_request() && is_told(seen));
        told.expect("the model was told").conversation.last_tool_result().to_owned()
    }

    async fn is_greeted(&mut self) {
        self.greetings += 1;
        self.see("Good morning.", self.greetings).await;
    }

    async fn converse(&mut self) {
        self.answers().await;
        self.works_in_the_background().await;
    }

    async fn answers(&mut self) {
        self.answers_several_questions_of_one_call().await;
        self.answers_by_label().await;
        self.says_unclear_words_and_other_talk_and_then_yes().await;
    }

    async fn works_in_the_background(&mut self) {
        self.talks_beside_the_question_of_a_sub_agent().await;
        self.types_commands_of_the_cli().await;
    }

    async fn answers_several_questions_of_one_call(&mut self) {
        self.app.say("plan the meal").await;
        let first = self.see_question("What to drink?").await;
        assert!(first.text.contains("(1 of 2)") && !first.text.contains("What to eat?"), "{first:?}");
        self.app.choose(&first, "Tea").await;
        let second = self.see("What to eat?", 1).await;
        assert!(second.text.contains("(2 of 2)"), "{second:?}");
        self.app.answer(&second, "bread and 3").await;
        let told = self.told(1).await;
        assert!(
            told.contains("\"What to drink?\"=\"Tea\"") && told.contains("\"What to eat?\"=\"Bread, Soup\""),
            "{told}"
        );
    }

    /// "No" is an option, and no denial.
    async fn answers_by_label(&mut self) {
        self.say_next("delete it").await;
        let question = self.see_question("Really?").await;
        self.app.answer(&question, "no!").await;
        let told = self.told(2).await;
        assert!(told.contains("\"Really?\"=\"No\""), "{told}");
    }

    async fn says_unclear_words_and_other_talk_and_then_yes(&mut self) {
        self.say_next("make a file").await;
        let question = self.see_question("touch made").await;
        self.app.answer(&question, "sure?").await;
        self.see("Question 4 still waits: yes or no. I did not pass your words on.", 1).await;
        self.app.say("hello there").await;
        self.see("Question 4 still waits: yes or no. Your message is queued, number 1", 1).await;
        assert!(!self.program.file("made").exists(), "neither is consent");
        self.app.nod(&question).await;
        self.told(3).await;
        assert!(self.program.file("made").exists());
        self.is_greeted().await;
        self.app.say("no 4").await;
        self.see("Question 4 is not open (any more). Nothing was changed.", 1).await;
        let asked = self.model.requests().into_iter().map(|seen| seen.conversation.prompt);
        let never = ["sure?", "no 4"];
        assert!(!asked.into_iter().any(|prompt| never.iter().any(|words| prompt.contains(words))));
    }

    /// Neither the end of its turn nor another prompt closes it.
    async fn talks_beside_the_question_of_a_sub_agent(&mut self) {
        self.say_next("look around").await;
        let question = self.see_question("touch made-by-child").await;
        self.app.say("hello again").await;
        self.is_greeted().await;
        self.app.say("status").await;
        self.see("In the background: sub-agent", 1).await;
        assert!(!self.program.file("made-by-child").exists());
        // So soon after another question closed, bare words or a typed position could be meant for that one.
        match A::TELLS_CONTEXT {
            true => self.app.choose(&question, "Allow").await,
            false => self.app.answer(&question, "go ahead with 5").await,
        };
        self.see("which ran in the background, is done", 1).await;
        assert!(self.program.file("made-by-child").exists());
        self.see("I saw its end.", 1).await;
    }

    async fn types_commands_of_the_cli(&mut self) {
        self.say_next("/config permissions bypass").await;
        self.see("/config", 1).await;
        self.app.say("/clear").await;
        self.app.say("hello once more").await;
        self.is_greeted().await;
        let mut requests = self.model.requests().into_iter();
        let last = requests.rfind(|seen| !seen.is_side_request()).expect("the model was asked");
        assert_eq!(last.conversation.history, [""; 0], "a new session");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_in_the_terminal_are_answered_by_pick_by_words_and_by_sign() {
    needs!(Claude);
    let model = ScriptedModel::start(script()).expect("a port");
    let program = Program::with_real_cli(&model);
    let serving = program.serve();
    let app = TerminalApp { terminal: program.terminal(), program: &program };
    Asked::by(app, &program, &model).converse().await;
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_questions_are_answered_by_the_next_lines_of_a_script() {
    needs!(Claude);
    let model = ScriptedModel::start(asks()).expect("a port");
    let program = Program::with_real_cli(&model);
    let lines =
        "plan the meal\nCoffee\nrice and soup\ndelete it\nNope, keep it\nmake a file\nsure, go ahead\n";
    let output = tokio::task::block_in_place(|| program.run(&["chat"], lines));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    let told: String =
        model.requests().iter().map(|seen| seen.conversation.last_tool_result().to_owned() + "\n").collect();
    for answer in
        ["\"What to drink?\"=\"Coffee\"", "\"What to eat?\"=\"Rice, Soup\"", "\"Really?\"=\"Nope, keep it\""]
    {
        assert!(told.contains(answer), "{answer}: {told}\n{printed}");
    }
    assert!(program.file("made").exists(), "{printed}");
}

#[cfg(feature = "slack")]
#[tokio::test(flavor = "multi_thread")]
async fn questions_on_slack_are_answered_by_button_by_words_and_by_sign() {
    needs!(Claude);
    let slack = services::slack::Slack::start().await;
    let model = ScriptedModel::start(script()).expect("a port");
    let program = Program::with_real_cli(&model);
    program.write_config(&crate::slack::section(&slack));
    let serving = program.serve();
    slack.connected(1).await;
    let app = crate::transcripts::slack::SlackApp(&slack);
    Asked::by(app, &program, &model).converse().await;
    assert_eq!(serving.end().0, Some(0));
}

#[cfg(feature = "matrix")]
#[tokio::test(flavor = "multi_thread")]
async fn questions_on_matrix_are_answered_by_reaction_by_words_and_by_sign() {
    needs!(Claude, Synapse);
    let model = ScriptedModel::start(script()).expect("a port");
    let synapse = crate::matrix::synapse().await;
    let mut team = crate::matrix::Team::with(synapse, Program::with_real_cli(&model)).await;
    let room = team.ann.create_room(true, &[&team.account.id]).await;
    team.more_rooms.push(room.clone());
    team.configure(&synapse.url(), "");
    let serving = team.serve();
    team.joined(&room).await;
    let app = crate::transcripts::matrix::MatrixApp { team: &team, room };
    Asked::by(app, &team.program, &model).converse().await;
    assert_eq!(serving.end().0, Some(0));
}

#[cfg(feature = "whatsapp")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn questions_on_whatsapp_are_answered_by_button_by_words_and_by_sign() {
    use crate::transcripts::whatsapp::Phone;

    needs!(Claude);
    let model = ScriptedModel::start(script()).expect("a port");
    let keys = ("verbosity = 0", "");
    let start = || crate::whatsapp::World::with_keys(Program::with_real_cli(&model), "debug", keys);
    let world = start().await;
    Asked::by(Phone::of(&world), &world.program, &model).answers().await;
    world.end();
    // Another conversation: after twenty messages at once, WhatsApp takes one in six seconds.
    let world = start().await;
    Asked::by(Phone::of(&world), &world.program, &model).works_in_the_background().await;
    world.end();
}

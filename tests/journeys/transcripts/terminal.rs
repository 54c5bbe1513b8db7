//! The conversation in a terminal, attached to the storkit that serves.

use std::fs;

use e2e::{Program, Terminal};
use needs::needs;
use scripted_model::ScriptedModel;
use serde_json::Value;

use super::{Act, BotLine, ChatApp, ChatPage, Relation, converse, script};
use crate::enclosed::PNG;

pub struct TerminalApp<'p> {
    pub terminal: Terminal,
    pub program: &'p Program,
}

impl TerminalApp<'_> {
    /// Waits for the last activity that is shown to be this one, after what Ann said last.
    fn until_activity(&mut self, wanted: &str) {
        let find = |heard: &[Value]| {
            let last = |kind: &str| heard.iter().rfind(|line| line["type"] == kind);
            let activity = last("activity")?;
            let is_of_last = last("delivered")?["id"] == activity["after"];
            (is_of_last && activity["state"] == wanted).then_some(())
        };
        tokio::task::block_in_place(|| self.terminal.until(wanted, find));
    }
}

/// The bot's messages in their last state.
fn lines(heard: &[Value]) -> Vec<BotLine> {
    let mut lines: Vec<BotLine> = Vec::new();
    for message in heard.iter().filter(|line| line["type"] == "message" || line["type"] == "edited") {
        let line = line(message);
        match lines.iter_mut().find(|old| old.id == line.id) {
            Some(old) => *old = line,
            None => lines.push(line),
        }
    }
    lines.retain(|line| !line.is_long_call());
    lines
}

fn line(message: &Value) -> BotLine {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let choices = message["choices"].as_array().into_iter().flatten().zip(1..);
    let choices: Vec<String> = choices.map(|(it, n)| format!("{n}) {}", text(&it["label"]))).collect();
    BotLine {
        id: text(&message["id"]),
        text: text(&message["markdown"]),
        is_open_question: !choices.is_empty(),
        choices,
        relation: Relation::None,
    }
}

impl ChatApp for TerminalApp<'_> {
    const PAGE: ChatPage = ChatPage {
        file: "terminal.md",
        title: "A conversation in the terminal",
        about: "A terminal has neither threads nor quotations nor edits. Ann says what she means in a line of its own, names the image by its path,\n\
                picks a choice by its number, and drops what waits when there is a mistake in it.",
        edits: true,
    };
    const TELLS_CONTEXT: bool = false;
    const EDITS: bool = false;
    const CORRECTED: &'static str = "Dropped 1 prompt";

    async fn say(&mut self, words: &str) -> Act {
        self.terminal.say(words);
        Act::said(None, words, Relation::None)
    }

    async fn send_image(&mut self, words: &str) -> Act {
        let path = self.program.file("door.png");
        fs::write(&path, PNG).expect("written");
        self.say(&format!("@{} {words}", path.display())).await
    }

    async fn say_about(&mut self, _line: &BotLine, words: &str) -> Act {
        self.say(words).await
    }

    async fn answer(&mut self, _question: &BotLine, words: &str) -> Act {
        self.until_activity("Asking");
        self.say(words).await
    }

    async fn choose(&mut self, question: &BotLine, label: &str) -> Act {
        let at = question.choices.iter().position(|choice| choice.ends_with(label)).expect("a choice");
        // The second list took the place of the first a moment ago, so a bare number could be meant for that.
        let is_second_list = question.text.contains("Question 6");
        let words = if is_second_list { "yes 6".to_owned() } else { (at + 1).to_string() };
        self.until_activity("Asking");
        self.say(&words).await
    }

    async fn correct(&mut self, _prompt: &Act, _words: &str) -> Act {
        self.say("queue clear").await
    }

    async fn until<T>(&mut self, what: &str, find: impl Fn(&[BotLine]) -> Option<T>) -> T {
        tokio::task::block_in_place(|| self.terminal.until(what, |heard| find(&lines(heard))))
    }

    async fn settle(&mut self) {
        self.until_activity("Idle");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conversation_in_the_terminal_is_as_its_page_says() {
    needs!(Claude, Bubblewrap);
    let model = ScriptedModel::start(script()).expect("a port");
    let mut program = Program::with_real_cli(&model);
    program.set_env("USER", "Ann");
    let serving = program.serve();
    let terminal = program.terminal();
    converse(TerminalApp { terminal, program: &program }, &program, &model).await;
    assert_eq!(serving.end().0, Some(0));
}

//! The conversation on Slack: a direct conversation on the stand-in.

use e2e::Program;
use needs::needs;
use scripted_model::ScriptedModel;
use services::slack::{BOT, Message, Slack};

use super::{Act, BotLine, ChatApp, ChatPage, Relation, converse, script};
use crate::{enclosed::PNG, slack::section};

/// The direct conversation, and who speaks in it.
const PLACE: &str = "D1";
const ANN: &str = "U1";

pub struct SlackApp<'s>(pub &'s Slack);

impl SlackApp<'_> {
    /// Waits until storkit knows what Slack has shown: it answers a command behind that.
    async fn catch_up(&self) {
        let answers = |all: &[Message]| all.iter().filter(|message| message.only_for.is_some()).count();
        let before = answers(&self.0.messages(PLACE));
        self.0.slash(PLACE, ANN, "/storkit-whoami", "");
        self.0.until(PLACE, "answered who it is", |all| answers(all) > before).await;
    }
}

fn line(message: &Message) -> BotLine {
    let choices = message.buttons();
    BotLine {
        id: message.ts.clone(),
        // As Slack shows a mention.
        text: message.shown().trim().replace("<@U1>", "@Ann"),
        is_open_question: !choices.is_empty(),
        choices,
        relation: message.thread.clone().map_or(Relation::None, Relation::InThread),
    }
}

/// Of the bot, for everybody. That a prompt is queued is left out, and a call that takes long: they depend on who is faster.
fn lines(all: &[Message]) -> Vec<BotLine> {
    let of_bot = all.iter().filter(|message| message.user == BOT && message.only_for.is_none());
    of_bot.map(line).filter(|line| !line.text.starts_with("Queued, number") && !line.is_long_call()).collect()
}

impl ChatApp for SlackApp<'_> {
    const PAGE: ChatPage = ChatPage {
        file: "slack.md",
        title: "A conversation on Slack",
        about: "Ann talks to Timmy in a direct conversation. What she says in a thread is answered there.",
        edits: true,
    };

    async fn say(&mut self, words: &str) -> Act {
        Act::said(Some(self.0.say(PLACE, ANN, words)), words, Relation::None)
    }

    async fn send_image(&mut self, words: &str) -> Act {
        let image = self.0.file("door.png", "image/png", PNG);
        let id = self.0.send_files(PLACE, ANN, words, &[image]);
        Act { how: "Ann, with the image door.png".to_owned(), ..Act::said(Some(id), words, Relation::None) }
    }

    async fn say_about(&mut self, line: &BotLine, words: &str) -> Act {
        let id = self.0.say_in_thread(PLACE, ANN, &line.id, words);
        Act::said(Some(id), words, Relation::InThread(line.id.clone()))
    }

    async fn answer(&mut self, _question: &BotLine, words: &str) -> Act {
        self.catch_up().await;
        self.say(words).await
    }

    async fn choose(&mut self, question: &BotLine, label: &str) -> Act {
        let shown = question.choices.iter().find(|choice| choice.contains(label)).expect("a button");
        self.0.press(PLACE, &question.id, ANN, shown);
        Act::done(&format!("Ann presses [{shown}] of"), "", &question.id)
    }

    async fn correct(&mut self, prompt: &Act, words: &str) -> Act {
        let id = prompt.id.as_deref().expect("a message");
        self.0.edit(PLACE, id, words);
        Act::done("Ann edits", words, id)
    }

    async fn until<T>(&mut self, what: &str, find: impl Fn(&[BotLine]) -> Option<T>) -> T {
        self.0.until(PLACE, what, |all| find(&lines(all)).is_some()).await;
        find(&lines(&self.0.messages(PLACE))).expect("it was there")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conversation_on_slack_is_as_its_page_says() {
    needs!(Claude, Bubblewrap);
    let slack = Slack::start().await;
    let model = ScriptedModel::start(script()).expect("a port");
    let program = Program::with_real_cli(&model);
    program.write_config(&section(&slack));
    let serving = program.serve();
    slack.connected(1).await;
    converse(SlackApp(&slack), &program, &model).await;
    assert_eq!(serving.end().0, Some(0));
}

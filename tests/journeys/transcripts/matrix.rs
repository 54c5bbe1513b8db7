//! The conversation on Matrix: an encrypted room of Ann and the bot on a Synapse.

use e2e::Program;
use needs::needs;
use scripted_model::ScriptedModel;
use serde_json::json;
use services::matrix::{Message, PersonFile};

use super::{Act, BotLine, ChatApp, ChatPage, Relation, converse, script};
use crate::{
    enclosed::PNG,
    matrix::{Team, synapse},
};

pub struct MatrixApp<'t> {
    pub team: &'t Team,
    pub room: String,
}

impl MatrixApp<'_> {
    /// The choices are reactions, and the last line of the text says what they mean.
    fn line(&self, message: &Message) -> BotLine {
        let offered: Vec<&str> = message
            .reactions
            .iter()
            .filter(|it| it.sender == self.team.account.id)
            .map(|it| it.key.as_str())
            .collect();
        let whole = self.with_fixed_names(&message.text);
        let (text, legend) = whole.rsplit_once('\n').unwrap_or((&whole, ""));
        let legend: Vec<String> = legend.split(" · ").map(str::to_owned).collect();
        let explains = |entry: &String| offered.iter().any(|key| entry.starts_with(key));
        let is_open_question = !offered.is_empty() && legend.iter().all(explains);
        let (thread, reply) = (message.thread.clone(), message.reply_to.clone());
        let relation = thread.map(Relation::InThread).or(reply.map(Relation::ReplyTo));
        BotLine {
            id: message.id.clone(),
            text: if is_open_question { text.to_owned() } else { whole },
            choices: if is_open_question { legend } else { Vec::new() },
            is_open_question,
            relation: relation.unwrap_or(Relation::None),
        }
    }

    /// The homeserver is shared by the tests, so the names of its accounts have numbers.
    fn with_fixed_names(&self, text: &str) -> String {
        let ann = &self.team.ann;
        text.replace(ann.id(), "@ann:example.org").replace(&ann.account.name, "Ann")
    }

    /// That a prompt is queued is left out: it depends on who is faster.
    fn lines(&self, all: &[Message]) -> Vec<BotLine> {
        let of_bot = all.iter().filter(|message| message.sender == self.team.account.id);
        of_bot
            .map(|message| self.line(message))
            .filter(|line| !line.text.contains("Queued, number"))
            .collect()
    }
}

impl ChatApp for MatrixApp<'_> {
    const PAGE: ChatPage = ChatPage {
        file: "matrix.md",
        title: "A conversation on Matrix",
        about: "Ann and Timmy are alone in an encrypted room. Timmy's answers are replies, and choices are reactions that it puts below its questions.\n\
                With `verbosity = 0` it does not name the tools that it uses.",
        edits: true,
    };

    async fn say(&mut self, words: &str) -> Act {
        Act::said(Some(self.team.ann.say(&self.room, words).await), words, Relation::None)
    }

    async fn send_image(&mut self, words: &str) -> Act {
        let file = PersonFile { content: PNG, caption: Some(words), ..PersonFile::default() };
        let id = self.team.ann.send_file(&self.room, "m.image", "door.png", &file).await;
        Act { how: "Ann, with the image door.png".to_owned(), ..Act::said(Some(id), words, Relation::None) }
    }

    async fn say_about(&mut self, line: &BotLine, words: &str) -> Act {
        let id = self.team.ann.say_in_thread(&self.room, &line.id, words).await;
        Act::said(Some(id), words, Relation::InThread(line.id.clone()))
    }

    async fn answer(&mut self, question: &BotLine, words: &str) -> Act {
        let id = self.team.ann.reply(&self.room, &question.id, words).await;
        Act::said(Some(id), words, Relation::ReplyTo(question.id.clone()))
    }

    async fn choose(&mut self, question: &BotLine, label: &str) -> Act {
        let entry = question.choices.iter().find(|entry| entry.ends_with(label)).expect("a choice");
        let key = entry.strip_suffix(label).unwrap_or_default().trim();
        self.team.ann.react(&self.room, &question.id, key).await;
        Act::done(&format!("Ann reacts with {key} to"), "", &question.id)
    }

    async fn nod(&mut self, question: &BotLine) -> Act {
        self.team.ann.react(&self.room, &question.id, "👍").await;
        Act::done("Ann reacts with 👍 to", "", &question.id)
    }

    async fn correct(&mut self, prompt: &Act, words: &str) -> Act {
        let id = prompt.id.as_deref().expect("a message");
        let content = json!({ "msgtype": "m.text", "body": words, "m.mentions": {} });
        self.team.ann.edit(&self.room, id, content).await;
        Act::done("Ann edits", words, id)
    }

    async fn until<T>(&mut self, what: &str, find: impl Fn(&[BotLine]) -> Option<T>) -> T {
        self.team.ann.until(&self.room, what, |seen| find(&self.lines(&seen.messages))).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conversation_on_matrix_is_as_its_page_says() {
    needs!(Claude, Bubblewrap, Synapse);
    let model = ScriptedModel::start(script()).expect("a port");
    let mut team = Team::with(synapse().await, Program::with_real_cli(&model)).await;
    let room = team.ann.create_room(true, &[&team.account.id]).await;
    team.more_rooms.push(room.clone());
    team.configure(&synapse().await.url(), "");
    let serving = team.serve();
    team.joined(&room).await;
    converse(MatrixApp { team: &team, room }, &team.program, &model).await;
    assert_eq!(serving.end().0, Some(0));
}

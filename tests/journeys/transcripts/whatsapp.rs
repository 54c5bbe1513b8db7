//! The conversation on WhatsApp: the stand-in Graph API and Ann's phone.

use e2e::Program;
use needs::needs;
use scripted_model::ScriptedModel;
use services::whatsapp::Shown;

use super::{Act, BotLine, ChatApp, ChatPage, Relation, converse, script};
use crate::{enclosed::PNG, whatsapp::World};

pub struct Phone<'w> {
    world: &'w World,
    /// The last thing that Ann did.
    last: String,
}

impl<'w> Phone<'w> {
    pub fn of(world: &'w World) -> Self {
        Self { world, last: String::new() }
    }

    fn said(&mut self, id: String, words: &str, relation: Relation) -> Act {
        self.last.clone_from(&id);
        Act::said(Some(id), words, relation)
    }
}

fn line(shown: &Shown) -> BotLine {
    BotLine {
        id: shown.id.clone(),
        text: shown.text.clone(),
        choices: shown.titles(),
        is_open_question: !shown.choices.is_empty(),
        relation: shown.reply_to.clone().map_or(Relation::None, Relation::ReplyTo),
    }
}

impl ChatApp for Phone<'_> {
    const PAGE: ChatPage = ChatPage {
        file: "whatsapp.md",
        title: "A conversation on WhatsApp",
        about: "WhatsApp has no threads, so Ann quotes what she means. A bot can't edit its messages there, so an outcome is a message of its own; and\n\
                it does not hear of edits, so Ann deletes a prompt with a mistake in it and sends it again. `verbosity = 0` saves the messages that name\n\
                the tools.",
        edits: false,
    };
    const EDITS: bool = false;
    const CORRECTED: &'static str = "Taken back";

    async fn say(&mut self, words: &str) -> Act {
        let id = self.world.ann.say(words).await;
        self.said(id, words, Relation::None)
    }

    async fn send_image(&mut self, words: &str) -> Act {
        let id = self.world.ann.send_image(PNG, words).await;
        Act { how: "Ann, with an image".to_owned(), ..self.said(id, words, Relation::None) }
    }

    async fn say_about(&mut self, line: &BotLine, words: &str) -> Act {
        let id = self.world.ann.reply(&line.id, words).await;
        self.said(id, words, Relation::ReplyTo(line.id.clone()))
    }

    // WhatsApp states whole seconds: bare words as quick as a test's could come from before the question.
    async fn answer(&mut self, question: &BotLine, words: &str) -> Act {
        self.say_about(question, words).await
    }

    async fn choose(&mut self, question: &BotLine, label: &str) -> Act {
        self.last = self.world.ann.press(&question.id, label).await;
        Act::done(&format!("Ann presses [{label}] of"), "", &question.id)
    }

    async fn nod(&mut self, question: &BotLine) -> Act {
        self.last = self.world.ann.react(&question.id, "👍").await;
        Act::done("Ann reacts with 👍 to", "", &question.id)
    }

    async fn correct(&mut self, prompt: &Act, _words: &str) -> Act {
        let id = prompt.id.as_deref().expect("a message");
        self.world.ann.revoke(id).await;
        Act::done("Ann deletes", "", id)
    }

    async fn until<T>(&mut self, what: &str, find: impl Fn(&[BotLine]) -> Option<T>) -> T {
        let found = |shown: &[Shown]| find(&shown.iter().map(line).collect::<Vec<_>>());
        self.world.ann.until(what, found).await
    }

    async fn settle(&mut self) {
        if !self.last.is_empty() {
            self.world.graph.marked_read(&self.last).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_conversation_on_whatsapp_is_as_its_page_says() {
    needs!(Claude, Bubblewrap);
    let model = ScriptedModel::start(script()).expect("a port");
    let world = World::with_keys(Program::with_real_cli(&model), "debug", ("verbosity = 0", "")).await;
    converse(Phone::of(&world), &world.program, &model).await;
    world.end();
}

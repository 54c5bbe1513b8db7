//! Slack against a stand-in, in Socket Mode and in HTTP mode: the suite that all messengers keep to, and what is Slack's own.

mod bench;
mod enclosed;
mod faults;
mod http_mode;
mod live;
mod private;
mod said;
mod sdk;

use std::sync::Arc;

use adapters::{
    Adapter, MessageId, Room,
    testing::conformance::{self, MessengerFixture, SeenMessage},
};
use async_trait::async_trait;
use bench::{Bench, Way};
use services::slack::{BOT, Fault, Message};

#[async_trait]
impl MessengerFixture for Bench {
    fn adapter(&self) -> Arc<dyn Adapter> {
        self.make()
    }

    fn room(&self) -> Room {
        Room::new("slack", "C1")
    }

    fn person(&self) -> String {
        "U1".into()
    }

    async fn say(&self, text: &str) -> MessageId {
        MessageId::new(self.slack.say("C1", "U1", text))
    }

    async fn reply(&self, to: &MessageId, text: &str) -> MessageId {
        MessageId::new(self.slack.say_in_thread("C1", "U1", to.as_str(), text))
    }

    async fn say_in_thread(&self, root: &MessageId, text: &str) -> Option<MessageId> {
        Some(self.reply(root, text).await)
    }

    async fn pick(&self, on: &MessageId, choice: &str) {
        self.slack.press("C1", on.as_str(), "U1", choice);
    }

    async fn another_bot_says(&self, text: &str) -> bool {
        self.slack.bot_says("C1", text);
        true
    }

    async fn redeliver(&self, id: &MessageId) -> bool {
        self.slack.redeliver("C1", id.as_str());
        true
    }

    async fn limit_next(&self) {
        self.slack.fault("chat.postMessage", Fault::Limited(1));
    }

    async fn cut(&self) {
        match self.way {
            Way::Socket => self.slack.cut(),
            Way::Http => self.slack.doubt_next(),
        }
    }

    async fn see(&self, text: &str) -> SeenMessage {
        seen(&self.slack.see("C1", text).await)
    }

    async fn shown(&self) -> Vec<SeenMessage> {
        self.slack.messages("C1").iter().filter(|message| message.user == BOT).map(seen).collect()
    }
}

fn seen(message: &Message) -> SeenMessage {
    let thread = message.thread.as_ref().map(|thread| format!("/{thread}")).unwrap_or_default();
    SeenMessage {
        id: MessageId::new(message.ts.as_str()),
        text: message.shown(),
        reply_to: None,
        choices: message.buttons(),
        room: Room::new("slack", format!("{}{thread}", message.channel)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_mode_keeps_to_the_suite() {
    conformance::all(|| Bench::new(Way::Socket)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_mode_keeps_to_the_suite() {
    conformance::all(|| Bench::new(Way::Http)).await;
}

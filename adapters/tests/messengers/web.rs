//! The web page's chat keeps to the suite that all messengers keep to. The page itself is played by what serves it.

use std::sync::Arc;

use adapters::{
    Adapter, Identity, MessageId, PersonAct, Room,
    testing::conformance::{self, MessengerFixture, SeenMessage},
    web::{Web, WebChange, WebSpeaker, WebText},
};
use async_trait::async_trait;

const ANN: &str = "slack:U01";

struct Page {
    web: Arc<Web>,
    room: Room,
}

impl Page {
    fn new() -> Self {
        let identity =
            Identity { display_name: "Timmy".into(), prefixes: vec!["!".into()], ..Identity::default() };
        Self { web: Web::new(identity), room: Web::room_of(ANN) }
    }

    fn ann() -> WebSpeaker {
        WebSpeaker { id: ANN.into(), name: "Ann".into() }
    }
}

fn said(text: &str, reply_to: Option<&MessageId>) -> WebText {
    WebText { text: text.into(), reply_to: reply_to.cloned(), files: Vec::new() }
}

#[async_trait]
impl MessengerFixture for Page {
    fn adapter(&self) -> Arc<dyn Adapter> {
        self.web.clone()
    }

    fn room(&self) -> Room {
        self.room.clone()
    }

    fn person(&self) -> String {
        ANN.into()
    }

    async fn say(&self, text: &str) -> MessageId {
        self.web.say(&Self::ann(), &self.room, said(text, None)).await.expect("it is taken")
    }

    async fn reply(&self, to: &MessageId, text: &str) -> MessageId {
        self.web.say(&Self::ann(), &self.room, said(text, Some(to))).await.expect("it is taken")
    }

    async fn say_in_thread(&self, _root: &MessageId, _text: &str) -> Option<MessageId> {
        None
    }

    async fn pick(&self, on: &MessageId, choice: &str) {
        let page = self.web.page(&self.room, None, usize::MAX);
        let message = page.messages.iter().find(|message| message.id == *on).expect("the message");
        let choice = message.choices.iter().find(|offered| offered.label == choice).expect("the choice");
        let picked = self.web.choose(&Self::ann(), &self.room, on.clone(), choice.key.clone()).await;
        picked.expect("it is taken");
    }

    async fn another_bot_says(&self, _text: &str) -> bool {
        false
    }

    async fn redeliver(&self, _id: &MessageId) -> bool {
        false
    }

    // There is no network between the two.
    async fn limit_next(&self) {}

    async fn cut(&self) {}

    async fn see(&self, text: &str) -> SeenMessage {
        let mut news = self.web.follow();
        loop {
            if let Some(seen) = self.shown().await.into_iter().find(|seen| seen.text.contains(text)) {
                return seen;
            }
            // Lagging is no harm: the room is read again.
            let _ = news.recv().await;
        }
    }

    async fn shown(&self) -> Vec<SeenMessage> {
        let page = self.web.page(&self.room, None, usize::MAX);
        let bots = page.messages.iter().filter(|message| message.by.is_none());
        bots.map(|message| SeenMessage {
            id: message.id.clone(),
            text: message.text.clone(),
            reply_to: message.reply_to.clone(),
            choices: message.choices.iter().map(|choice| choice.label.clone()).collect(),
            room: self.room.clone(),
        })
        .collect()
    }
}

#[tokio::test]
async fn conformance() {
    conformance::all(|| async { Page::new() }).await;
}

#[tokio::test]
async fn files_come_with_a_message_and_are_named_below_it() {
    let page = Page::new();
    let mut bot = conformance::AdapterSession::open(&page).await;
    let (uploads, now) = (page.web.uploads(), std::time::Instant::now());
    let id = uploads.put(&ANN.into(), "door.png", b"picture".to_vec(), now).expect("there is room");
    let files = uploads.send(ANN, &[id], now).expect("it is hers");
    let text = WebText { text: "look".into(), reply_to: None, files };
    page.web.say(&Page::ann(), &page.room, text).await.expect("it is taken");
    let heard = bot.hear().await;
    assert_eq!(heard.act, PersonAct::Said { text: "look".into() });
    assert_eq!(page.web.fetch_file(&heard.enclosed.files[0], 9).await.expect("it is there"), b"picture");
    let shown = page.web.page(&page.room, None, 9);
    assert_eq!(shown.messages[0].text, "look\n📎 door.png");
}

#[tokio::test]
async fn a_follower_sees_what_people_and_the_bot_write_in_order_and_a_late_one_reads_it() {
    let page = Page::new();
    let mut news = page.web.follow();
    let mut bot = conformance::AdapterSession::open(&page).await;
    let said = page.say("Timmy, status").await;
    let heard = bot.hear().await;
    assert_eq!(heard.act, PersonAct::Said { text: "status".into() });
    let answered = page.web.send(&page.room, &adapters::Outgoing::text("fine")).await.expect("sent");
    let elsewhere = page.web.send(&Web::team(), &adapters::Outgoing::text("all")).await.expect("sent");
    let mut seen = Vec::new();
    for _ in 0..3 {
        let news = news.recv().await.expect("news");
        let WebChange::Message(message) = &news.change else { panic!("not a message but {news:?}") };
        seen.push((news.room.to_string(), message.id.clone(), message.by.as_deref().map(str::to_owned)));
    }
    let expected = [
        (ANN.to_owned(), said.clone(), Some("Ann".to_owned())),
        (ANN.to_owned(), answered.clone(), None),
        ("team".to_owned(), elsewhere, None),
    ];
    assert_eq!(seen, expected);
    let late = page.web.page(&page.room, None, 9);
    assert_eq!(late.messages.iter().map(|message| message.id.clone()).collect::<Vec<_>>(), [said, answered]);
    bot.close().await;
}

#[test]
fn no_account_has_the_room_of_another() {
    let rooms = ["matrix:@a/b:x", "matrix:@a", "matrix:@a%2Fb:x", "team"].map(Web::room_of);
    let distinct: std::collections::BTreeSet<_> = rooms.iter().map(Room::conversation).collect();
    assert_eq!(distinct.len(), 4);
    assert!(rooms.iter().all(|room| room.above().is_none()));
}

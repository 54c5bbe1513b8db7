//! The messenger in memory keeps to the suite that all messengers keep to, once with all abilities and once with the least.

use std::{sync::Arc, time::Duration};

use adapters::{
    Adapter, AdapterError, Incoming, MessageId, PersonAct, Room,
    testing::{
        conformance::{self, MessengerFixture, SeenMessage},
        fake::{Fake, FakeRoom},
    },
};
use async_trait::async_trait;

struct InMemory {
    fake: Arc<Fake>,
    room: FakeRoom,
}

impl InMemory {
    fn new(fake: Arc<Fake>) -> Self {
        Self { room: fake.room("1"), fake }
    }

    fn rooms(&self) -> [FakeRoom; 2] {
        [self.room.clone(), self.fake.room("1/thread")]
    }
}

#[async_trait]
impl MessengerFixture for InMemory {
    fn adapter(&self) -> Arc<dyn Adapter> {
        self.fake.clone()
    }

    fn room(&self) -> Room {
        self.room.room().clone()
    }

    fn person(&self) -> String {
        "ann".into()
    }

    async fn say(&self, text: &str) -> MessageId {
        self.room.say(text).await
    }

    async fn reply(&self, to: &MessageId, text: &str) -> MessageId {
        let incoming = Incoming { reply_to: Some(to.clone()), ..self.room.incoming("ann", text) };
        self.room.send_incoming(incoming).await
    }

    async fn say_in_thread(&self, _root: &MessageId, text: &str) -> Option<MessageId> {
        Some(self.rooms()[1].say(text).await)
    }

    async fn pick(&self, _on: &MessageId, choice: &str) {
        self.room.choose(choice).await;
    }

    async fn another_bot_says(&self, text: &str) -> bool {
        let mut incoming = self.room.incoming("another", text);
        incoming.sender.is_bot = true;
        self.room.send_incoming(incoming).await;
        true
    }

    async fn redeliver(&self, id: &MessageId) -> bool {
        self.room.say_with_id(id.as_str(), "!once").await;
        true
    }

    async fn limit_next(&self) {
        self.fake.rate_limit_next(Duration::from_millis(10));
    }

    async fn cut(&self) {
        self.fake.drop_connection();
    }

    async fn see(&self, text: &str) -> SeenMessage {
        loop {
            if let Some(seen) = self.shown().await.into_iter().find(|seen| seen.text.contains(text)) {
                return seen;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn shown(&self) -> Vec<SeenMessage> {
        let in_room = |room: &FakeRoom| {
            let at = room.room().clone();
            room.shown().into_iter().map(move |shown| SeenMessage {
                id: shown.id,
                text: shown.text,
                reply_to: shown.reply_to,
                choices: shown.choices.into_iter().map(|choice| choice.label).collect(),
                room: at.clone(),
            })
        };
        self.rooms().iter().flat_map(in_room).collect()
    }
}

#[tokio::test]
async fn with_all_abilities() {
    conformance::all(|| async { InMemory::new(Fake::new("fake")) }).await;
}

#[tokio::test]
async fn with_the_least_abilities() {
    conformance::all(|| async { InMemory::new(Fake::plain("plain")) }).await;
}

/// Gives every message another id when it comes again, as a careless adapter would.
struct Careless(InMemory);

#[async_trait]
impl MessengerFixture for Careless {
    fn adapter(&self) -> Arc<dyn Adapter> {
        self.0.adapter()
    }

    fn room(&self) -> Room {
        self.0.room()
    }

    fn person(&self) -> String {
        self.0.person()
    }

    async fn say(&self, text: &str) -> MessageId {
        self.0.say(text).await
    }

    async fn reply(&self, _to: &MessageId, text: &str) -> MessageId {
        self.0.say(text).await
    }

    async fn say_in_thread(&self, _root: &MessageId, text: &str) -> Option<MessageId> {
        Some(self.0.say(text).await)
    }

    async fn pick(&self, on: &MessageId, _choice: &str) {
        let act = PersonAct::Chose { on: on.clone(), key: "another".into() };
        self.0.room.send_incoming(Incoming { act, ..self.0.room.incoming("ann", "") }).await;
    }

    async fn another_bot_says(&self, text: &str) -> bool {
        self.0.room.say_as("another", text).await;
        true
    }

    async fn redeliver(&self, _id: &MessageId) -> bool {
        self.0.room.say("!once").await;
        true
    }

    async fn limit_next(&self) {
        self.0.fake.fail_next_send(AdapterError::Rejected("too fast".into()));
    }

    async fn cut(&self) {
        self.0.cut().await;
    }

    async fn see(&self, text: &str) -> SeenMessage {
        self.0.see(text).await
    }

    async fn shown(&self) -> Vec<SeenMessage> {
        self.0.shown().await
    }
}

/// The suite can fail: each of these breaks what one check promises.
#[tokio::test]
async fn a_careless_messenger_does_not_pass() {
    type Check = for<'a> fn(&'a dyn MessengerFixture) -> futures::future::BoxFuture<'a, ()>;
    let checks: [(&str, Check); 6] = [
        ("replies", |world| Box::pin(conformance::replies_both_ways(world))),
        ("threads", |world| Box::pin(conformance::threads_are_rooms(world))),
        ("choices", |world| Box::pin(conformance::choices_come_back(world))),
        ("repeats", |world| Box::pin(conformance::repeats_have_one_id(world))),
        ("bots", |world| Box::pin(conformance::bots_are_not_obeyed(world))),
        ("limits", |world| Box::pin(conformance::a_rate_limit_delays_and_loses_nothing(world))),
    ];
    for (name, check) in checks {
        let world = Careless(InMemory::new(Fake::new("fake")));
        let result = tokio::spawn(async move { check(&world).await }).await;
        assert!(result.is_err_and(|error| error.is_panic()), "{name} passed");
    }
}

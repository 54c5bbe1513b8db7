//! Tells people what a messenger reports of their conversations.

use std::sync::Arc;

use adapters::{AdapterHealth, MessengerNews, Room};

use crate::{
    chat::{rooms::RoomInput, services::ChatServices},
    replies::{self, CarriedOver},
    store::RuleOwner,
};

/// Starts a task for each messenger, which ends with the bot.
pub fn follow(services: &Arc<ChatServices>) {
    for health in services.commands.messengers.records() {
        services.tasks.tracker.spawn(follow_one(services.clone(), health));
    }
}

async fn follow_one(services: Arc<ChatServices>, health: Arc<AdapterHealth>) {
    let stop = services.tasks.stop.clone();
    while let Some(news) = stop.run_until_cancelled(health.next_news()).await {
        tell(&services, &news);
    }
}

fn tell(services: &ChatServices, news: &MessengerNews) {
    let (room, text) = match news {
        MessengerNews::Replaced { room, from, to } => {
            let text = replies::room_replaced(from, &carried_over(services, room));
            services.rooms.post(room, RoomInput::Notice(text));
            (room, replies::room_was_replaced(room.adapter(), from, to))
        }
        MessengerNews::CannotJoin { room, why } => (room, replies::cannot_join(room.adapter(), why)),
    };
    let followers = services.commands.messengers.followers(&services.config().pipeline);
    let elsewhere = |it: &&Room| (it.adapter(), it.conversation()) != (room.adapter(), room.conversation());
    for follower in followers.iter().filter(elsewhere) {
        services.rooms.post(follower, RoomInput::Notice(text.clone()));
    }
}

// Kept by the room's name, which stays: nothing has to be moved.
fn carried_over(services: &ChatServices, room: &Room) -> CarriedOver {
    let unreadable = |error| tracing::error!(%error, %room, "what a room has cannot be read");
    let record = services.store.room(room).map_err(unreadable).unwrap_or_default();
    let rules = services.store.rules().map_err(unreadable).unwrap_or_default();
    let owner = RuleOwner::Room(room.clone());
    CarriedOver {
        session: record.session.is_some(),
        rules: rules.iter().filter(|rule| rule.owner == owner).count(),
        model: record.model,
        verbosity: record.verbosity.is_some(),
        ambient: services.ambient.is_on(room),
        pipeline: services.commands.messengers.followers(&services.config().pipeline).contains(room),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use agents::claude::SessionId;

    use super::*;
    use crate::{chat::room::fixture::RoomFixture, store::RuleScope};

    #[tokio::test]
    async fn a_room_that_was_replaced_hears_what_was_carried_over() {
        let fixture = RoomFixture::new().await;
        let (services, room) = (&fixture.services, fixture.room().room().clone());
        services.store.set_session(&room, &SessionId::new("s"), SystemTime::now()).unwrap();
        services.store.set_model(&room, Some("opus")).unwrap();
        for host in ["a", "b"] {
            let scope = RuleScope::Host { host: host.into() };
            services
                .store
                .add_rule(&RuleOwner::Room(room.clone()), &scope, "ann", SystemTime::now())
                .unwrap();
        }
        let other = RuleOwner::Room(Room::new("fake", "other"));
        let scope = RuleScope::Host { host: "c".into() };
        services.store.add_rule(&other, &scope, "ann", SystemTime::now()).unwrap();
        let carried = carried_over(services, &room);
        assert_eq!((carried.session, carried.rules, carried.ambient), (true, 2, false));
        insta::assert_snapshot!(replies::room_replaced("!old", &carried), @"");
        insta::assert_snapshot!(replies::room_replaced("!old", &CarriedOver::default()), @"");
    }

    #[tokio::test]
    async fn the_operator_hears_of_a_room_elsewhere_than_there() {
        let fixture = RoomFixture::new().await;
        let services = &fixture.services;
        let news =
            MessengerNews::CannotJoin { room: Room::new("fake", "x"), why: "no way; invite me".into() };
        tell(services, &news);
        insta::assert_snapshot!(replies::cannot_join("matrix", "no way; invite me"), @"");
        insta::assert_snapshot!(replies::room_was_replaced("matrix", "!a", "!b"), @"");
    }
}

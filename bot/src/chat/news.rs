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
        if let MessengerNews::NotDelivered { room, message, why } = &news {
            services.broker.not_delivered(room, message, why);
            continue;
        }
        let followers = services.commands.messengers.followers(&services.config().pipeline);
        for (room, text) in messages(&services, &news, &followers) {
            services.rooms.post(&room, RoomInput::Notice(text));
        }
    }
}

/// Who hears what: the room itself, and the rooms that follow the pipeline.
fn messages(services: &ChatServices, news: &MessengerNews, followers: &[Room]) -> Vec<(Room, String)> {
    let (room, here, elsewhere) = match news {
        MessengerNews::Replaced { room, from, to } => {
            let here = replies::room_replaced(from, &carried_over(services, room, followers));
            (room, Some(here), replies::room_was_replaced(room.adapter(), from, to))
        }
        // Nothing can be said there.
        MessengerNews::NotDelivered { .. } => return Vec::new(),
        MessengerNews::CannotJoin { room, why } => (room, None, replies::cannot_join(room.adapter(), why)),
    };
    let is_elsewhere =
        |it: &&Room| (it.adapter(), it.conversation()) != (room.adapter(), room.conversation());
    let told = followers.iter().filter(is_elsewhere).map(|it| (it.clone(), elsewhere.clone()));
    here.map(|text| (room.clone(), text)).into_iter().chain(told).collect()
}

// Kept by the room's name, which stays: nothing has to be moved.
fn carried_over(services: &ChatServices, room: &Room, followers: &[Room]) -> CarriedOver {
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
        pipeline: followers.contains(room),
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
        let carried = carried_over(services, &room, &[]);
        assert_eq!((carried.session, carried.rules, carried.ambient), (true, 2, false));
        assert_eq!(
            replies::room_replaced("!old", &carried),
            "This room replaces `!old`, and I go on here as there. Carried over: the session, 2 standing rules, `opus` as the model."
        );
        let bare = replies::room_replaced("!old", &CarriedOver::default());
        assert_eq!(bare, "This room replaces `!old`, and I go on here as there.");
    }

    #[tokio::test]
    async fn a_room_and_those_that_follow_the_pipeline_hear_of_it_each_in_its_place() {
        let fixture = RoomFixture::new().await;
        let (room, ops) = (fixture.room().room().clone(), Room::new("fake", "ops"));
        let thread = Room::new("fake", format!("{}/1", room.id()));
        let heard = |news: MessengerNews| {
            let followers = [room.clone(), thread.clone(), ops.clone()];
            let said = messages(&fixture.services, &news, &followers);
            said.iter().map(|(room, text)| format!("{}: {text}", room.id())).collect::<Vec<_>>()
        };
        let replaced = MessengerNews::Replaced { room: room.clone(), from: "!a".into(), to: "!b".into() };
        assert_eq!(
            heard(replaced),
            [
                "a: This room replaces `!a`, and I go on here as there. Carried over: the news of the pipeline.",
                "ops: The fake room `!a` was replaced by `!b`, where I go on as before. `status` names what to change in bot.toml, if \
                 anything.",
            ]
        );
        let outside = MessengerNews::CannotJoin { room: room.clone(), why: "no way in; invite me".into() };
        assert_eq!(heard(outside), ["ops: fake: no way in; invite me."]);
    }
}

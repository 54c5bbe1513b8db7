//! The one way in for all messengers: drops bots, repeats and strangers, and hands everything else to its room.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use adapters::{Incoming, PersonAct};
use tokio::sync::mpsc;

use crate::{
    chat::{
        ambient::AmbientRooms,
        rooms::{RoomDirectory, RoomInput, serving_room},
        services::ChatServices,
    },
    config::{People, access::AccessTable},
    metrics::BotMetrics,
    replies,
    store::Store,
};

/// How many messages are taken from the inbox at once; they share one write of the store.
const BATCH: usize = 64;

/// Routes until the inbox closes or the bot stops.
pub async fn run(services: Arc<ChatServices>, mut inbox: mpsc::Receiver<Incoming>) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            () = services.tasks.stop.cancelled() => break,
            count = inbox.recv_many(&mut batch, BATCH) => if count == 0 { break },
        }
        // Settings are read for each batch, so that a change of the allow-list applies to the very next message.
        let router = Router {
            store: &services.store,
            access: &services.access(),
            people: &services.settings.people(),
            ambient: &services.ambient,
            rooms: &services.rooms,
            metrics: &services.metrics,
            catch_up: services.config().catch_up.0,
        };
        router.route(&mut batch, services.clock.now());
    }
}

struct Router<'a> {
    store: &'a Store,
    access: &'a AccessTable,
    people: &'a People,
    ambient: &'a AmbientRooms,
    rooms: &'a RoomDirectory,
    metrics: &'a BotMetrics,
    catch_up: Duration,
}

/// What becomes of a message that is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    /// Its sender is not on the allow-list.
    Stranger,
    /// It is for the bot, but too old to act on; the room gets a message.
    TooOld(Duration),
    /// It is for the bot.
    Addressed,
    /// People talk among themselves.
    Overheard,
}

/// Decides about a message. `may_talk`: its sender has a role here; `ambient`: every message in its room is for the bot.
fn admit(
    incoming: &Incoming,
    may_talk: bool,
    ambient: bool,
    now: SystemTime,
    catch_up: Duration,
) -> Admission {
    if !may_talk {
        return Admission::Stranger;
    }
    let said = matches!(incoming.act, PersonAct::Said { .. });
    if said && incoming.addressed.is_none() && !ambient {
        return Admission::Overheard;
    }
    // A clock that was set back makes a message of the future: it is not old.
    match now.duration_since(incoming.sent_at).unwrap_or_default() {
        // What it would have changed is over.
        age if age > catch_up && matches!(incoming.act, PersonAct::Edited { .. }) => Admission::Overheard,
        age if age > catch_up => Admission::TooOld(age),
        _ => Admission::Addressed,
    }
}

impl Router<'_> {
    /// Routes a batch, leaving it empty.
    fn route(&self, batch: &mut Vec<Incoming>, now: SystemTime) {
        self.metrics.messages.inc_by(batch.len() as u64);
        // Before anything is recorded or answered: two bots could otherwise answer each other for ever.
        batch.retain(|incoming| !incoming.sender.is_bot);
        let ids: Vec<_> = batch.iter().map(|incoming| (incoming.room.clone(), incoming.id.clone())).collect();
        let fresh = self.store.mark_seen(&ids, now).unwrap_or_else(|error| {
            // Better silent than twice: what cannot be remembered as seen is not run.
            tracing::error!(%error, "message ids could not be stored; {} messages are dropped", ids.len());
            vec![false; ids.len()]
        });
        for (incoming, fresh) in batch.drain(..).zip(fresh) {
            let passed = fresh && self.pass(incoming, now);
            if !passed {
                self.metrics.dropped.inc();
            }
        }
    }

    /// Hands one message on; `false` if nobody takes it.
    fn pass(&self, mut incoming: Incoming, now: SystemTime) -> bool {
        // Everything from here on calls a person of `bot.toml` by one name, wherever they write.
        let sender = &mut incoming.sender;
        if let Some(name) = self.people.name_of(incoming.room.adapter(), &sender.id, &sender.name) {
            sender.name = name.into();
        }
        let room = serving_room(&incoming, |thread| {
            self.store.room(thread).is_ok_and(|record| record.session.is_some())
        });
        let may_talk = self.access.role(&room, &incoming.sender.id).is_some();
        let admission = admit(&incoming, may_talk, self.ambient.is_on(&room), now, self.catch_up);
        let taken = match admission {
            Admission::Stranger => {
                tracing::info!(%room, sender = %incoming.sender.id, "a message from somebody who is not on the allow-list");
                return false;
            }
            Admission::TooOld(age) => {
                // Not dropped in silence: the person believes that the bot has the message, so the
                // room reports it as skipped.
                return self.rooms.post(&room, RoomInput::Notice(replies::too_old(&incoming, age)));
            }
            Admission::Addressed => self.rooms.offer(&room, incoming, true),
            Admission::Overheard => self.rooms.offer(&room, incoming, false),
        };
        if !taken {
            tracing::warn!(%room, "the room is flooded or unknown; a message is dropped");
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use adapters::{Addressed, AllowedPeople, MessageId, Room, Sender};

    use super::*;
    use crate::{chat::room::fixture::RoomFixture, config::access::MessengerPeople};

    const CATCH_UP: Duration = Duration::from_secs(600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
    }

    fn incoming(id: &str, sender: &str) -> Incoming {
        Incoming {
            id: MessageId::new(id),
            room: Room::new("here", "a"),
            sender: Sender { id: sender.into(), name: sender.into(), is_bot: false },
            act: PersonAct::Said { text: "hello".into() },
            addressed: Some(Addressed::Direct),
            shared: false,
            reply_to: None,
            sent_at: now(),
            enclosed: adapters::Enclosed::default(),
        }
    }

    fn decided(incoming: &Incoming, ambient: bool) -> Admission {
        admit(incoming, true, ambient, now(), CATCH_UP)
    }

    #[test]
    fn whoever_has_no_role_is_a_stranger_whatever_they_send() {
        let addressed = incoming("1", "eve");
        let click = Incoming {
            act: PersonAct::Chose { on: MessageId::new("q"), key: "q:1:yes".into() },
            ..incoming("2", "eve")
        };
        for incoming in [addressed, click] {
            assert_eq!(admit(&incoming, false, true, now(), CATCH_UP), Admission::Stranger);
        }
    }

    #[test]
    fn unaddressed_talk_is_overheard_unless_the_room_is_ambient() {
        let talk = Incoming { addressed: None, ..incoming("1", "ann") };
        assert_eq!(decided(&talk, false), Admission::Overheard);
        assert_eq!(decided(&talk, true), Admission::Addressed);
        assert_eq!(decided(&incoming("2", "ann"), false), Admission::Addressed);
    }

    #[test]
    fn a_click_or_a_redaction_is_always_for_the_bot() {
        let message = MessageId::new("m");
        for act in [
            PersonAct::Chose { on: message.clone(), key: "cmd:htop".into() },
            PersonAct::Redacted { message },
        ] {
            let incoming = Incoming { addressed: None, act, ..incoming("1", "ann") };
            assert_eq!(decided(&incoming, false), Admission::Addressed);
        }
    }

    #[test]
    fn only_what_is_for_the_bot_and_older_than_the_limit_is_too_old() {
        let aged =
            |age: Duration, addressed| Incoming { sent_at: now() - age, addressed, ..incoming("1", "ann") };
        let (late, direct) = (CATCH_UP + Duration::from_secs(1), Some(Addressed::Direct));
        assert_eq!(decided(&aged(CATCH_UP, direct), false), Admission::Addressed);
        assert_eq!(decided(&aged(late, direct), false), Admission::TooOld(late));
        assert_eq!(decided(&aged(late, None), true), Admission::TooOld(late));
        assert_eq!(decided(&aged(late, None), false), Admission::Overheard, "old talk is still context");
        let future = Incoming { sent_at: now() + late, ..incoming("2", "ann") };
        assert_eq!(decided(&future, false), Admission::Addressed);
        let edited = |age| {
            let act = PersonAct::Edited { message: MessageId::new("1"), text: "x".into() };
            decided(&Incoming { act, ..aged(age, direct) }, false)
        };
        assert_eq!(edited(CATCH_UP), Admission::Addressed);
        assert_eq!(edited(late), Admission::Overheard, "nobody waits for an answer to that");
    }

    /// Routes a batch with ann on the allow-list of `here`; what reached the room, how many were counted, how many dropped.
    fn routed(mut batch: Vec<Incoming>) -> (Vec<String>, u64, u64) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db"), now()).unwrap();
        let people = AllowedPeople { allowed_users: vec!["ann".into()], ..AllowedPeople::default() };
        let (rooms, mailboxes) = (RoomDirectory::default(), Arc::new(parking_lot::Mutex::new(Vec::new())));
        let opened = mailboxes.clone();
        rooms.serve(move |room, _, mailbox| {
            let served = room.adapter() == "here";
            if served {
                opened.lock().push(mailbox);
            }
            served
        });
        let metrics = BotMetrics::default();
        let router = Router {
            people: &People::default(),
            store: &store,
            access: &AccessTable::default()
                .with("here", MessengerPeople::from(people.clone()))
                .with("gone", people.into()),
            ambient: &AmbientRooms::new(dir.path().join("bot.toml"), &[]),
            rooms: &rooms,
            metrics: &metrics,
            catch_up: CATCH_UP,
        };
        router.route(&mut batch, now());
        assert!(batch.is_empty());
        let mut reached = Vec::new();
        for mut mailbox in std::mem::take(&mut *mailboxes.lock()) {
            while let Some(Some(input)) = futures::FutureExt::now_or_never(mailbox.next()) {
                reached.push(match input {
                    RoomInput::Message(incoming) => format!("message {}", incoming.id),
                    RoomInput::Overheard(incoming) => format!("talk {}", incoming.id),
                    RoomInput::Notice(text) => text,
                    _ => "something else".into(),
                });
            }
        }
        (reached, metrics.messages.get(), metrics.dropped.get())
    }

    #[test]
    fn each_message_reaches_its_room_once_and_in_order() {
        let talk = Incoming { addressed: None, ..incoming("2", "ann") };
        let (reached, counted, dropped) = routed(vec![incoming("1", "ann"), talk, incoming("1", "ann")]);
        assert_eq!(reached, ["message 1", "talk 2"]);
        assert_eq!((counted, dropped), (3, 1), "a repeated id is dropped");
    }

    #[tokio::test]
    async fn it_routes_until_the_inbox_closes_or_the_bot_stops() {
        let fixture = RoomFixture::new().await;
        let services = &fixture.services;
        let (sender, inbox) = mpsc::channel(2);
        for person in ["ann", "eve"] {
            sender.send(fixture.room().incoming(person, "hello")).await.unwrap();
        }
        drop(sender);
        run(services.clone(), inbox).await;
        assert_eq!((services.metrics.messages.get(), services.metrics.dropped.get()), (2, 1));
        let (_sender, inbox) = mpsc::channel(1);
        services.tasks.stop.cancel();
        run(services.clone(), inbox).await;
    }

    #[test]
    fn bots_strangers_and_rooms_that_nobody_serves_are_dropped() {
        let mut bot = incoming("1", "ann");
        bot.sender.is_bot = true;
        let unserved = Incoming { room: Room::new("gone", "a"), ..incoming("3", "ann") };
        let (reached, counted, dropped) = routed(vec![bot, incoming("2", "eve"), unserved]);
        assert!(reached.is_empty(), "{reached:?}");
        assert_eq!(
            (counted, dropped),
            (3, 2),
            "another bot is not counted as dropped: there are many, and they are no loss"
        );
    }

    #[test]
    fn a_message_that_is_too_old_is_named_in_its_room_and_not_run() {
        let late = Incoming { sent_at: now() - Duration::from_secs(660), ..incoming("1", "ann") };
        let (reached, _, dropped) = routed(vec![late]);
        assert_eq!(
            reached,
            ["I was away. `hello` from ann is 11m old and was not run. Send it again if you still want it."]
        );
        assert_eq!(dropped, 0);
    }
}

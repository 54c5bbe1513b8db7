//! Matrix: rooms that are upgraded, and invitations that cannot be followed at once.

use std::time::Duration;

use adapters::{
    Adapter, AdapterError, Incoming, MessengerNews, Outgoing, PersonAct, Room,
    supervise::SupervisedAdapter,
    testing::conformance::{AdapterSession, MessengerFixture as _},
};
use needs::needs;
use serde_json::json;
use services::matrix::{Fault, Person};
use tokio::sync::mpsc;

use super::matrix::{Place, synapse, until};

async fn until_is(person: &Person, room: &str, user: &str, membership: &str) {
    let looking = async {
        while person.members(room).await.get(user).map(String::as_str) != Some(membership) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(60), looking).await;
    came.unwrap_or_else(|_| panic!("never {membership} in {room}"));
}

async fn until_noted(supervised: &SupervisedAdapter, words: &str) -> String {
    let looking = async {
        loop {
            match supervised.health.snapshot().note.filter(|note| note.contains(words)) {
                Some(note) => return note,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let noted = tokio::time::timeout(Duration::from_secs(120), looking).await;
    noted.unwrap_or_else(|_| panic!("never {words:?}: {:?}", supervised.health))
}

async fn hear(inbox: &mut mpsc::Receiver<Incoming>) -> Incoming {
    tokio::time::timeout(Duration::from_secs(120), inbox.recv()).await.expect("in time").expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_room_and_its_threads_go_on_under_their_names() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let (adapter, mut inbox, supervised, stop) = place.supervised().await;
    let (ann, old, me) = (&place.ann, place.room.as_str(), place.account.id.as_str());
    let root = ann.say(old, "!begin").await;
    hear(&mut inbox).await;
    ann.say_in_thread(old, &root, "!in a thread").await;
    let thread = hear(&mut inbox).await.room;
    let before = adapter.send(&place.room(), &Outgoing::text("said before")).await.expect("sent");
    let live = ann.say(old, "!wait").await;
    assert_eq!(hear(&mut inbox).await.id.as_str(), live);

    // Upgraded, and private as it was: nobody has invited the bot yet.
    let new = ann.upgrade(old).await;
    let note = until_noted(&supervised, "which I cannot join").await;
    assert!(
        note.contains(old) && note.contains(&new) && note.contains(&format!("invite `{me}` there")),
        "{note}"
    );
    let unsaid = adapter.send(&place.room(), &Outgoing::text("to nobody")).await;
    assert!(matches!(&unsaid, Err(AdapterError::Rejected(why)) if why.contains(&new)), "{unsaid:?}");
    let news = supervised.health.next_news().await;
    assert!(
        matches!(&news, MessengerNews::CannotJoin { room, why } if *room == place.room() && why.contains(&new))
    );

    ann.invite(&new, me).await;
    let news = supervised.health.next_news().await;
    assert_eq!(news, MessengerNews::Replaced { room: place.room(), from: old.into(), to: new.clone() });
    let note = until_noted(&supervised, "write the new id there").await;
    assert!(!note.contains("cannot join"), "{note}");
    let said = ann.say(&new, "!still here?").await;
    let heard = hear(&mut inbox).await;
    assert_eq!((heard.room, heard.id.as_str()), (place.room(), said.as_str()));
    assert_eq!(adapter.known_as(&Room::new("matrix", new.as_str())), place.room());
    adapter.send(&place.room(), &Outgoing::text("said after")).await.expect("sent");
    ann.see(&new, me, "said after").await;
    let edited = adapter.edit(&place.room(), &before, &Outgoing::text("changed")).await;
    assert!(matches!(edited, Err(AdapterError::Rejected(_))), "so that it is said anew: {edited:?}");

    adapter.send(&thread, &Outgoing::text("the thread goes on")).await.expect("sent");
    let first = ann.see(&new, me, "the thread goes on").await;
    assert_eq!(first.thread, None, "its root is in the old room");
    ann.say_in_thread(&new, &first.id, "!below it").await;
    assert_eq!(hear(&mut inbox).await.room, thread);
    ann.reply(&new, &first.id, "in reply to it").await;
    assert_eq!(hear(&mut inbox).await.room, thread);
    adapter.send(&thread, &Outgoing::text("and on")).await.expect("sent");
    assert_eq!(ann.see(&new, me, "and on").await.thread.as_deref(), Some(first.id.as_str()));
    stop.cancel();
    supervised.task.await.expect("it ends");
    drop(adapter);

    let mut bot = AdapterSession::open(&place).await;
    ann.say(&new, "!after a restart").await;
    while bot.hear().await.act != (PersonAct::Said { text: "after a restart".into() }) {}
    bot.adapter.send(&thread, &Outgoing::text("a second time")).await.expect("sent");
    assert_eq!(ann.see(&new, me, "a second time").await.thread.as_deref(), Some(first.id.as_str()));
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_room_cannot_claim_to_replace_one_and_a_room_is_not_replaced_by_any_other() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let (_adapter, mut inbox, supervised, stop) = place.supervised().await;
    let (ann, bob, old, me) = (&place.ann, &place.bob, place.room.as_str(), place.account.id.as_str());
    // Bob's room says so, and the room itself does not.
    let claimed = bob.create_replacement(old, &[me]).await;
    until_is(bob, &claimed, me, "leave").await;
    assert_eq!(ann.members(old).await.get(me).map(String::as_str), Some("join"), "it declines only that one");
    // The room says so, and Bob's does not.
    let other = bob.create_room(true, &[]).await;
    bob.set_state(&other, "m.room.join_rules", json!({ "join_rule": "public" })).await;
    let tombstone = json!({ "body": "moved", "replacement_room": other });
    ann.set_state(old, "m.room.tombstone", tombstone).await;
    until_noted(&supervised, "which is not made as its replacement").await;
    until_is(bob, &other, me, "leave").await;
    let said = ann.say(old, "!still heard here").await;
    let heard = hear(&mut inbox).await;
    assert_eq!((heard.room, heard.id.as_str()), (place.room(), said.as_str()));
    assert!(bob.members(&claimed).await.get(me).is_some_and(|it| it == "leave"));
    stop.cancel();
    supervised.task.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_room_that_the_bot_does_not_serve_leads_it_nowhere() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let (bob, me) = (&place.bob, place.account.id.as_str());
    let unserved = bob.create_room(true, &[me]).await;
    let (_, token) = synapse().await.log_in(&place.account).await;
    synapse().await.join(&token, &unserved).await;
    bob.set_state(&unserved, "m.room.join_rules", json!({ "join_rule": "public" })).await;
    let mut bot = AdapterSession::open(&place).await;
    let new = bob.upgrade(&unserved).await;
    place.ann.say(&place.room, "!marker").await;
    bot.hear_text().await;
    assert_eq!(bob.members(&new).await.get(me), None);
    bot.close().await;
}

/// Otherwise the homeserver could read along, and write in anybody's name.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_does_not_lead_out_of_encryption() {
    needs!(Synapse);
    let mut place = Place::fresh(true).await;
    place.config.require_encryption = false;
    let (ann, old, me) = (place.ann.clone(), place.room.clone(), place.account.id.clone());
    let (_adapter, mut inbox, supervised, stop) = place.supervised().await;
    let order = json!({ "do": "create_room", "encrypted": false, "predecessor": old });
    let plain = ann.ask(order).await.as_str().expect("an id").to_owned();
    let tombstone = json!({ "body": "moved", "replacement_room": plain });
    ann.set_state(&old, "m.room.tombstone", tombstone).await;
    ann.invite(&plain, &me).await;
    until_noted(&supervised, "it is not encrypted, and the old room is").await;
    ann.say(&plain, "!not heard").await;
    let said = ann.say(&old, "!heard").await;
    assert_eq!(hear(&mut inbox).await.id.as_str(), said);
    stop.cancel();
    supervised.task.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_cannot_be_followed_is_tried_again_and_noted_meanwhile() {
    needs!(Synapse);
    let mut place = Place::fresh(true).await;
    place.config.room_ids.clear();
    let (_adapter, mut inbox, supervised, stop) = place.supervised().await;
    let (ann, me) = (&place.ann, place.account.id.as_str());
    // That of the place itself is followed first.
    until_is(ann, &place.room, me, "join").await;
    for _ in 0..3 {
        place.proxy.next("/join", Fault::Broken(502));
    }
    let room = ann.create_room(true, &[me]).await;
    let note = until_noted(&supervised, &room).await;
    assert!(
        note.contains(ann.id()) && note.contains("invited me") && note.contains("I keep trying"),
        "{note}"
    );
    let news = supervised.health.next_news().await;
    let told = matches!(&news, MessengerNews::CannotJoin { room: of, why } if of.id() == room && why.contains("invited me"));
    assert!(told, "{news:?}");
    until("joined", || supervised.health.snapshot().note.is_none()).await;
    let said = ann.say(&room, "!at last").await;
    while hear(&mut inbox).await.id.as_str() != said {}
    stop.cancel();
    supervised.task.await.expect("it ends");
}

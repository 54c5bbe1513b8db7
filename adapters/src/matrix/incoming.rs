//! Turns an event in a room into an [`Incoming`]: its address, its thread, and the bot's message it refers to.

use std::sync::Arc;

use matrix_sdk::{Room, deserialized_responses::TimelineEventKind, ruma::UserId};

use super::{
    bot::MatrixBot,
    event::{EventAct, EventFields, TextContent},
    reactions,
    rooms::RoomAddress,
    send,
    sent::MessageAuthor,
};
use crate::{Addressed, Incoming, MessageId, PersonAct, Sender, matrix::undecryptable, text::address};

/// Reads a decrypted or plain event. `None` for events that are no person's act, or that the bot must not trust.
pub(super) async fn read_event(
    bot: &Arc<MatrixBot>,
    room: &Room,
    event: &EventFields,
    kind: &TimelineEventKind,
) -> Option<Incoming> {
    let me = room.own_user_id();
    if event.sender == me.as_str() {
        return None;
    }
    match event.act()? {
        EventAct::Said(said) => {
            let place = RoomAddress::new(room.room_id(), said.thread.as_deref());
            if is_forgeable(bot, room, kind).await {
                undecryptable::not_encrypted(bot, room, event);
                return None;
            }
            Some(read_message(bot, room, event, said, &place).await)
        }
        EventAct::Reacted { on, emoji } => {
            let on = MessageId::new(on);
            // Before the lookup below, which finds nothing for a question without offered emoji.
            reactions::tell_if_words_are_wanted(bot, room, &event.sender, &on);
            let key = bot.sent.picked(&on, &emoji)?;
            let (_, thread) = bot.sent.find(on.as_str())?;
            let place = RoomAddress::new(room.room_id(), thread.as_deref());
            Some(to_incoming(room, event, PersonAct::Chose { on, key }, &place).await)
        }
        EventAct::Redacted(message) => {
            // A redaction does not name a thread, so the bot remembers people's messages too.
            let thread = bot.sent.find(&message).and_then(|(_, thread)| thread);
            let place = RoomAddress::new(room.room_id(), thread.as_deref());
            let message = MessageId::new(message);
            Some(to_incoming(room, event, PersonAct::Redacted { message }, &place).await)
        }
        EventAct::AsksForVerification | EventAct::Membership { .. } => None,
    }
}

// The homeserver may have written a plain message itself. In a room where everybody encrypts, such a message
// proves nothing about its sender.
async fn is_forgeable(bot: &MatrixBot, room: &Room, kind: &TimelineEventKind) -> bool {
    let plain = matches!(kind, TimelineEventKind::PlainText { .. });
    plain
        && bot.config.require_verified
        && room.latest_encryption_state().await.is_ok_and(|state| state.is_encrypted())
}

async fn read_message(
    bot: &MatrixBot,
    room: &Room,
    event: &EventFields,
    said: TextContent,
    place: &RoomAddress,
) -> Incoming {
    bot.sent.add(&event.event_id, MessageAuthor::Others, place.thread.as_ref().map(ToString::to_string));
    let to_me = match &said.reply_to {
        Some(id) => replies_to_me(bot, place, id).await,
        None => false,
    };
    let mut incoming = to_incoming(room, event, PersonAct::Said { text: String::new() }, place).await;
    let (addressed, text) = addressed(bot, room.own_user_id(), &said, to_me, incoming.shared);
    incoming.sender.is_bot = said.is_notice;
    incoming.addressed = addressed;
    incoming.act = PersonAct::Said { text };
    incoming.reply_to = said.reply_to.map(MessageId::new);
    incoming
}

async fn replies_to_me(bot: &MatrixBot, place: &RoomAddress, id: &str) -> bool {
    let Ok(id) = id.try_into() else { return false };
    send::is_mine(bot, place, &id).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "whose message a reply is to could not be found out");
        false
    })
}

/// How a message addresses the bot, and its text without the address.
fn addressed(
    bot: &MatrixBot,
    me: &UserId,
    said: &TextContent,
    to_me: bool,
    shared: bool,
) -> (Option<Addressed>, String) {
    let display = &bot.identity.display_name;
    let link = format!("https://matrix.to/#/{me}");
    // Apps that write Markdown send a mention as a link to matrix.to in the plain body.
    let pills = [format!("[{display}]({link})"), format!("[{me}]({link})"), format!("[@{display}]({link})")];
    let names: Vec<&str> =
        [me.localpart(), me.as_str()].into_iter().chain(pills.iter().map(String::as_str)).collect();
    // Clients older than version 1.7 of the specification do not send `m.mentions`; their mention is only the link in the HTML.
    // <https://spec.matrix.org/v1.15/client-server-api/#user-and-room-mentions>
    let mentioned = match &said.mentions {
        Some(people) => people.iter().any(|id| id == me.as_str()),
        None => said.html.contains(&format!("{link}\"")),
    };
    match address::strip(&said.text, &bot.identity, &names) {
        Some((how, text)) => (Some(how), text),
        None if mentioned => (Some(Addressed::Name), said.text.clone()),
        None if to_me => (Some(Addressed::Reply), said.text.clone()),
        None => ((!shared).then_some(Addressed::Direct), said.text.clone()),
    }
}

async fn to_incoming(room: &Room, event: &EventFields, act: PersonAct, place: &RoomAddress) -> Incoming {
    Incoming {
        id: MessageId::new(event.event_id.as_str()),
        room: place.name(),
        sender: Sender {
            id: event.sender.as_str().into(),
            name: name_of(room, &event.sender).await.as_str().into(),
            is_bot: false,
        },
        act,
        addressed: None,
        // Where the homeserver gives no number (0), others may read along, so the bot then waits for an address.
        shared: !(1..=2).contains(&room.active_members_count()),
        reply_to: None,
        sent_at: event.sent_at(),
        enclosed: crate::Enclosed::default(),
    }
}

async fn name_of(room: &Room, id: &str) -> String {
    let Ok(user) = <&UserId>::try_from(id) else { return id.to_owned() };
    // With lazy loading, members who have not written yet are unknown; only then does this cost a request.
    let member = match room.get_member_no_sync(user).await.ok().flatten() {
        Some(member) => Some(member),
        None => room.get_member(user).await.ok().flatten(),
    };
    member.and_then(|member| member.display_name().map(str::to_owned)).unwrap_or_else(|| id.to_owned())
}

/// The index of the first event that is meant for the bot: the one after its last invitation or join.
pub(super) fn first_for_me(events: &[EventFields], me: &UserId) -> usize {
    let enters = |event: &EventFields| match event.act() {
        Some(EventAct::Membership { of, from, to }) if of == me.as_str() => {
            // A profile change is a join after a join, and a join after an invitation follows events that were
            // sent to the bot already.
            to == "invite" || to == "join" && !matches!(from.as_deref(), Some("join" | "invite"))
        }
        _ => false,
    };
    events.iter().rposition(enters).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{AdapterContext, Identity, matrix::MatrixConfig};

    fn bot(display_name: &str) -> (std::sync::Arc<MatrixBot>, tempfile::TempDir) {
        let place = tempfile::tempdir().expect("a folder");
        let identity =
            Identity { display_name: display_name.into(), prefixes: vec!["!".into()], ..Identity::default() };
        let setting = AdapterContext { identity, state: place.path().to_owned() };
        (MatrixBot::new(MatrixConfig::default(), setting).expect("a bot"), place)
    }

    fn heard(name: &str, said: TextContent, to_me: bool, shared: bool) -> (Option<Addressed>, String) {
        let me = UserId::parse("@timmy_bot:example.org").expect("an id");
        addressed(&bot(name).0, &me, &said, to_me, shared)
    }

    fn text(text: &str) -> TextContent {
        TextContent { text: text.into(), ..TextContent::default() }
    }

    fn pill(mentions: Option<Vec<String>>, body: &str) -> TextContent {
        let html = "<a href=\"https://matrix.to/#/@timmy_bot:example.org\">Timmy 🤖</a>: status".into();
        TextContent { html, mentions, ..text(body) }
    }

    #[test]
    fn every_address_of_matrix_is_seen_and_taken_off() {
        let by = |how, text: &str| (Some(how), text.to_owned());
        for said in
            ["Timmy 🤖: status", "timmy status", "@timmy_bot:example.org: status", "timmy_bot, status"]
        {
            assert_eq!(heard("Timmy 🤖", text(said), false, true), by(Addressed::Name, "status"), "{said}");
        }
        let me = vec!["@timmy_bot:example.org".to_owned()];
        for said in [
            pill(Some(me.clone()), "Timmy 🤖: status"),
            pill(None, "Timmy 🤖: status"),
            pill(Some(me.clone()), "[Timmy 🤖](https://matrix.to/#/@timmy_bot:example.org): status"),
        ] {
            assert_eq!(heard("Timmy 🤖", said, false, true), by(Addressed::Name, "status"));
        }
        assert_eq!(heard("Timmy", text("!status"), false, true), by(Addressed::Prefix, "status"));
        assert_eq!(heard("Timmy", text("yes"), true, true), by(Addressed::Reply, "yes"));
        assert_eq!(heard("Timmy", text("yes"), false, false), by(Addressed::Direct, "yes"));
        let within = TextContent { mentions: Some(me), ..text("ask the bot") };
        assert_eq!(heard("Other", within, false, true), by(Addressed::Name, "ask the bot"));
    }

    #[test]
    fn talk_and_mentions_of_others_are_not_for_the_bot() {
        let other = pill(Some(vec!["@ann:example.org".into()]), "hello Ann");
        assert_eq!(heard("Timmy", other, false, true).0, None);
        let longer = TextContent {
            html: "<a href=\"https://matrix.to/#/@timmy_bot:example.org.evil\">x</a>".into(),
            ..text("x")
        };
        assert_eq!(heard("Timmy", longer, false, true).0, None);
        assert_eq!(heard("Timmy", text("what does timmy do?"), false, true).0, None);
    }

    fn member(to: &str, from: Value) -> EventFields {
        let json = json!({ "event_id": "$m", "sender": "@a:x", "type": "m.room.member", "state_key": "@me:x",
                           "content": { "membership": to }, "unsigned": { "prev_content": { "membership": from } } });
        EventFields::read(&json.to_string()).expect("an event")
    }

    #[test]
    fn what_was_said_before_the_invitation_is_not_for_the_bot() {
        let me = UserId::parse("@me:x").expect("an id");
        let said = || {
            EventFields::read(r#"{"event_id":"$s","sender":"@a:x","type":"m.room.message"}"#).expect("one")
        };
        let invited =
            [said(), member("invite", Value::Null), said(), member("join", json!("invite")), said()];
        assert_eq!(first_for_me(&invited, &me), 2);
        assert_eq!(first_for_me(&[said(), member("join", Value::Null), said()], &me), 2);
        let renamed = [said(), member("join", json!("join")), said()];
        assert_eq!(first_for_me(&renamed, &me), 0);
        assert_eq!(first_for_me(&[said(), member("join", json!("invite")), said()], &me), 0);
    }
}

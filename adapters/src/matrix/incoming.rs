//! Turns an event in a room into an [`Incoming`]: its address, its thread, and the bot's message it refers to.

use std::sync::Arc;

use matrix_sdk::{Room, deserialized_responses::TimelineEventKind, ruma::UserId};

use super::{
    bot::MatrixBot,
    event::{EventAct, EventFields, TextContent},
    media, pills, quotations, reactions,
    rooms::RoomAddress,
    send,
};
use crate::{
    Addressed, Enclosed, Incoming, MessageId, PersonAct, Sender,
    matrix::undecryptable,
    text::{address, mentions},
};

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
            if is_forgeable(bot, room, kind).await {
                undecryptable::not_encrypted(bot, room, event);
                return None;
            }
            Some(read_message(bot, room, (event, kind), said).await)
        }
        // Each edit may cost a request, and nobody else's messages are acted on.
        EventAct::Edited { message, said } if bot.is_allowed(&event.sender) => {
            if is_forgeable(bot, room, kind).await {
                return None;
            }
            read_edit(bot, room, (event, kind), message, said).await
        }
        EventAct::Edited { .. } => None,
        EventAct::Reacted { on, emoji } => {
            let on = MessageId::new(on);
            // Before the lookup below, which finds nothing for a question without offered emoji.
            reactions::tell_if_words_are_wanted(bot, room, &event.sender, &on);
            let key = bot.sent.picked(&on, &emoji)?;
            let (_, thread) = bot.sent.find(on.as_str())?;
            let place = RoomAddress::new(room.room_id(), thread.as_deref());
            Some(to_incoming(bot, room, event, PersonAct::Chose { on, key }, &place).await)
        }
        EventAct::Redacted(message) => {
            // A redaction does not name a thread, so the bot remembers people's messages too.
            let thread = bot.sent.find(&message).and_then(|(_, thread)| thread);
            let place = RoomAddress::new(room.room_id(), thread.as_deref());
            let message = MessageId::new(message);
            Some(to_incoming(bot, room, event, PersonAct::Redacted { message }, &place).await)
        }
        EventAct::AsksForVerification | EventAct::Membership { .. } => None,
    }
}

/// Reads an edit; `None` if somebody else wrote the message. Homeservers check this, too, but not all did.
async fn read_edit(
    bot: &MatrixBot,
    room: &Room,
    (event, kind): (&EventFields, &TimelineEventKind),
    message: String,
    said: TextContent,
) -> Option<Incoming> {
    let (author, thread) = author_of(bot, room, &message).await?;
    if author != event.sender {
        return None;
    }
    let place = RoomAddress::new(room.room_id(), thread.as_deref());
    let mut incoming = to_incoming(bot, room, event, PersonAct::Said { text: String::new() }, &place).await;
    let (addressed, text) = addressed(bot, room.own_user_id(), &said, false, incoming.shared);
    incoming.sender.is_bot = said.is_notice;
    incoming.addressed = addressed;
    incoming.act = PersonAct::Edited { message: MessageId::new(message), text };
    incoming.enclosed.files.extend(said.file.as_ref().map(|file| media::sent_file(file, kind)));
    Some(incoming)
}

/// Who wrote a message, and the thread it is in.
async fn author_of(bot: &MatrixBot, room: &Room, id: &str) -> Option<(String, Option<String>)> {
    if let Some(known) = bot.sent.person_of(id) {
        return Some(known);
    }
    let event = room.event(id.try_into().ok()?, None).await.inspect_err(|error| {
        tracing::warn!(%error, "whose message an edit changes could not be found out");
    });
    let event = EventFields::read(event.ok()?.raw().json().get())?;
    let thread = event.thread();
    bot.sent.add_of(id, &event.sender, thread.clone());
    Some((event.sender, thread))
}

// The homeserver may have written a plain message itself. In a room where everybody encrypts, such a message
// proves nothing about its sender.
pub(super) async fn is_forgeable(bot: &MatrixBot, room: &Room, kind: &TimelineEventKind) -> bool {
    let plain = matches!(kind, TimelineEventKind::PlainText { .. });
    plain
        && bot.config.require_verified
        && room.latest_encryption_state().await.is_ok_and(|state| state.is_encrypted())
}

async fn read_message(
    bot: &MatrixBot,
    room: &Room,
    (event, kind): (&EventFields, &TimelineEventKind),
    said: TextContent,
) -> Incoming {
    let place = bot.place_of(room, &said);
    bot.sent.add_of(&event.event_id, &event.sender, place.thread.as_ref().map(ToString::to_string));
    // Each quotation costs a request, and strangers are not acted on.
    let quoted = match said.reply_to.as_deref().filter(|_| bot.is_allowed(&event.sender)) {
        Some(id) => quotations::fetch(bot, room, id).await,
        None => None,
    };
    let to_me = match (&quoted, &said.reply_to) {
        (Some(quoted), _) => quoted.is_by_the_bot(),
        (None, Some(id)) => replies_to_me(bot, &place, id).await,
        (None, None) => false,
    };
    let mut incoming = to_incoming(bot, room, event, PersonAct::Said { text: String::new() }, &place).await;
    let (addressed, text) = addressed(bot, room.own_user_id(), &said, to_me, incoming.shared);
    incoming.sender.is_bot = said.is_notice;
    incoming.addressed = addressed;
    incoming.act = PersonAct::Said { text };
    let file = said.file.as_ref().map(|file| media::sent_file(file, kind));
    incoming.enclosed.files.extend(file);
    if let Some(quoted) = quoted {
        incoming.enclosed.files.extend(quoted.files);
        incoming.enclosed.quotes.push(quoted.quotation);
    }
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
    let display = bot.identity.display_name.as_str();
    let without_emoji = display.trim_matches(|c: char| !c.is_alphanumeric());
    let names = [display, without_emoji, me.localpart()];
    let pills = pills::in_html(&said.html, me);
    // Clients older than version 1.7 of the specification do not send `m.mentions`; their mention is only the link in the HTML.
    // <https://spec.matrix.org/v1.15/client-server-api/#user-and-room-mentions>
    let listed = said.mentions.as_ref().map(|people| people.iter().any(|id| id == me.as_str()));
    let by_pill = listed.unwrap_or(true) && !pills.labels.is_empty();
    let labels = if by_pill { pills.labels.as_slice() } else { &[] };
    let taken = mentions::take(&said.text, |text| pills::at_start(text, me, &names, labels));
    // Some clients list nobody but the person whose words are quoted, or everybody whom a quotation mentions.
    let only_quoted = pills.quoted || taken.quoted;
    let mentioned = taken.mentioned || by_pill || listed == Some(true) && !only_quoted;
    let name_is_off = taken.at_start;
    let by_name = if name_is_off {
        let prefixed = address::strip_prefix_of(&taken.text, &bot.identity);
        prefixed.map(|text| (Addressed::Prefix, text.to_owned()))
    } else {
        address::strip(&taken.text, &bot.identity, &[me.localpart(), me.as_str()])
    };
    match by_name {
        Some((how, text)) => (Some(how), text),
        None if mentioned => (Some(Addressed::Name), taken.text),
        None if to_me => (Some(Addressed::Reply), taken.text),
        None => ((!shared).then_some(Addressed::Direct), taken.text),
    }
}

async fn to_incoming(
    bot: &MatrixBot,
    room: &Room,
    event: &EventFields,
    act: PersonAct,
    place: &RoomAddress,
) -> Incoming {
    Incoming {
        id: MessageId::new(event.event_id.as_str()),
        room: bot.name_of(place),
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
        enclosed: Enclosed::default(),
    }
}

pub(super) async fn name_of(room: &Room, id: &str) -> String {
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
    fn mentions_count_in_every_form_that_clients_write() {
        let me = || Some(vec!["@timmy_bot:example.org".to_owned()]);
        let html = |label: &str| {
            format!("status <a href=\"https://matrix.to/#/@timmy_bot:example.org\">{label}</a>")
        };
        let said = |body: &str, html: String, mentions: Option<Vec<String>>| TextContent {
            html,
            mentions,
            ..text(body)
        };
        let status = (Some(Addressed::Name), "status".to_owned());
        for (form, content) in [
            ("FluffyChat", said("@[Timmy 🤖] status", String::new(), Some(Vec::new()))),
            ("FluffyChat, several of the name", said("@[Timmy 🤖#4711]: status", String::new(), None)),
            (
                "an emoji in the label",
                said("[Timmy 🦀](https://matrix.to/#/@timmy_bot:example.org): status", String::new(), None),
            ),
            ("a pill after the command", said("status Timmy 🤖", html("Timmy 🤖"), me())),
            ("the same from an older client", said("status Timmy the bot", html("Timmy the bot"), None)),
            ("a whole id after the command", said("status @timmy_bot:example.org", String::new(), None)),
        ] {
            assert_eq!(heard("Timmy 🤖", content, false, true), status, "{form}");
        }
        let prefixed = said("!status Timmy 🤖", html("Timmy 🤖"), me());
        assert_eq!(heard("Timmy 🤖", prefixed, false, true), (Some(Addressed::Prefix), "status".to_owned()));
    }

    #[test]
    fn a_mention_that_is_only_quoted_is_not_for_the_bot() {
        let me = || Some(vec!["@timmy_bot:example.org".to_owned()]);
        let pill = "<a href=\"https://matrix.to/#/@timmy_bot:example.org\">Timmy</a>";
        for (body, html) in [
            ("I agree", format!("<mx-reply><blockquote>{pill} status</blockquote></mx-reply>I agree")),
            ("> Timmy status\n\nI agree", format!("<blockquote>{pill} status</blockquote><p>I agree</p>")),
            ("type `Timmy status`", format!("type <code>{pill} status</code>")),
            ("> @timmy_bot:example.org status\n\nI agree", String::new()),
            ("see [what @timmy_bot:example.org said](https://example.org)", String::new()),
        ] {
            for mentions in [me(), None] {
                let said = TextContent { html: html.clone(), mentions, ..text(body) };
                assert_eq!(heard("Timmy", said, false, true), (None, body.to_owned()), "{body} {html}");
            }
        }
        let both = TextContent {
            html: format!("<blockquote>{pill} status</blockquote><p>what is that, {pill}</p>"),
            mentions: me(),
            ..text("> Timmy status\n\nwhat is that, Timmy")
        };
        assert_eq!(heard("Timmy", both, false, true).0, Some(Addressed::Name));
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

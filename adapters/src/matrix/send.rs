//! Sends, edits and uploads: a message that must arrive is repeated until it has, a passing state is tried once.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use matrix_sdk::{
    attachment::AttachmentConfig,
    room::reply::{EnforceThread, Reply},
    ruma::{
        OwnedEventId, OwnedTransactionId, TransactionId,
        events::room::message::{AddMentions, ReplyWithinThread, TextMessageEventContent},
    },
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    ApprovalMode,
    bot::MatrixBot,
    errors::{RequestFailure, failure},
    pace::SendPriority,
    reactions,
    rooms::RoomAddress,
    sent::MessageAuthor,
};
use crate::{
    AdapterError, Attachment, Choice, MessageId, Outgoing, Room, Tone,
    delivery::backoff::Backoff,
    matrix::notices,
    text::{html::html, markdown},
};

// A message is given up after this long without the homeserver: longer than a restart or an upgrade takes.
const SEND_DEADLINE: Duration = Duration::from_secs(15 * 60);
// Shorter, since the question's own deadline runs meanwhile: the bot must learn in time that nobody can see it.
const PATIENCE_OF_A_QUESTION: Duration = Duration::from_secs(3 * 60);
const RETRY: Backoff = Backoff::doubling(Duration::from_millis(500), Duration::from_secs(10));
// Bytes of a text and its HTML together. An edit has both twice, and encryption adds a third; 64 KiB is the limit.
const FORMATTED_MAX: usize = 20_000;

/// Sends a message and offers its choices.
pub(super) async fn send_message(
    bot: &Arc<MatrixBot>,
    room: &Room,
    message: &Outgoing,
) -> Result<MessageId, AdapterError> {
    let (place, continued) = place_to_write(bot, room).await?;
    refuse_plain(bot, &place, priority_of(message)).await?;
    let choices = reactions::with_emoji(&message.choices);
    let mut content = content(message, &choices);
    if let Some(relation) = relation(&place, message.reply_to.as_ref()) {
        content["m.relates_to"] = relation;
    }
    let id = dispatch(bot, &place, "m.room.message", content, priority_of(message)).await?;
    note_sent(bot, &place, continued, &id);
    if !choices.is_empty() {
        reactions::offer_choices(bot, &place, &id, &choices);
    }
    if message.tone == Tone::Question && bot.config.approvals == ApprovalMode::Replies {
        bot.sent.wants_words(id.as_str());
    }
    Ok(MessageId::new(id.as_str()))
}

/// Replaces a message of the bot.
pub(super) async fn edit(
    bot: &Arc<MatrixBot>,
    room: &Room,
    id: &MessageId,
    message: &Outgoing,
) -> Result<(), AdapterError> {
    let place = bot.place(room)?;
    refuse_plain(bot, &place, priority_of(message)).await?;
    let not_mine = || AdapterError::Rejected(format!("`{id}` is no message of the bot"));
    // The homeserver accepts an edit of a foreign message, and clients ignore it: without this check the
    // edit would seem to work.
    let event: OwnedEventId = id.as_str().try_into().map_err(|_| not_mine())?;
    if !is_mine(bot, &place, &event).await? {
        return Err(not_mine());
    }
    // The room was upgraded since: nothing changes in the old one any more.
    if !bot.is_here(&place, &event).await? {
        return Err(AdapterError::Rejected(format!("`{id}` is in the room before this one")));
    }
    let choices = reactions::with_emoji(&message.choices);
    let new = content(message, &choices);
    let mut edit = new.clone();
    // Clients without edits show this as a new message. The `* ` is the convention for it.
    // <https://spec.matrix.org/v1.15/client-server-api/#event-replacements>
    edit["body"] = format!("* {}", new["body"].as_str().unwrap_or_default()).into();
    edit["m.new_content"] = new;
    edit["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": event });
    dispatch(bot, &place, "m.room.message", edit, priority_of(message)).await?;
    match choices.is_empty() {
        true => reactions::remove_choices(bot, &place, &event),
        false => reactions::offer_choices(bot, &place, &event, &choices),
    }
    Ok(())
}

/// Shows a file, encrypted where the room is.
pub(super) async fn upload(
    bot: &Arc<MatrixBot>,
    room: &Room,
    file: &Attachment,
) -> Result<MessageId, AdapterError> {
    let (place, continued) = place_to_write(bot, room).await?;
    refuse_plain(bot, &place, Some(SendPriority::Final)).await?;
    let transaction = TransactionId::new();
    let attempt = |room: matrix_sdk::Room| -> BoxFuture<'_, matrix_sdk::Result<OwnedEventId>> {
        let config = attachment(&place, &file.caption, transaction.clone());
        Box::pin(async move {
            let kind = kind_of(&file.name)
                .parse()
                .map_err(|error| matrix_sdk::Error::UnknownError(Box::new(error)))?;
            let sent = room.send_attachment(&file.name, &kind, file.bytes.clone(), config).await?;
            Ok(sent.event_id)
        })
    };
    let id = send_with_retries(bot, &place, SendPriority::Final, attempt).await?;
    note_sent(bot, &place, continued, &id);
    Ok(MessageId::new(id.as_str()))
}

/// Where a message for this room goes, and the root of its thread, if that is in a room that was replaced and nothing continues it yet.
async fn place_to_write(
    bot: &MatrixBot,
    room: &Room,
) -> Result<(RoomAddress, Option<OwnedEventId>), AdapterError> {
    let mut place = bot.place(room)?;
    let continued = match &place.thread {
        Some(root) if !bot.is_here(&place, root).await? => place.thread.take(),
        _ => None,
    };
    Ok((place, continued))
}

/// Remembers a message of the bot. A thread whose beginning is in a replaced room goes on below it.
fn note_sent(bot: &MatrixBot, place: &RoomAddress, continued: Option<OwnedEventId>, id: &OwnedEventId) {
    if let Some(root) = &continued {
        bot.memory.change_moves(|moves| moves.continue_thread(root.as_str(), id.as_str()));
    }
    bot.note_here(place, id.clone());
    let thread = if continued.is_some() { Some(id) } else { place.thread.as_ref() };
    bot.sent.add(id.as_str(), MessageAuthor::Mine, thread.map(ToString::to_string));
}

/// Fails in a room without encryption, where the operator requires it. A passing state does not wait for the homeserver.
async fn refuse_plain(
    bot: &MatrixBot,
    place: &RoomAddress,
    urgency: Option<SendPriority>,
) -> Result<(), AdapterError> {
    let mut deadline = Instant::now() + urgency.map_or(Duration::ZERO, patience_for);
    let mut backoff = RETRY;
    loop {
        let room = bot.room(place, deadline).await?;
        match bot.lacks_encryption(&room).await {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let why = notices::not_encrypted(place.room.as_str());
                return Err(AdapterError::Rejected(why));
            }
            Err(error @ AdapterError::Unreachable(_)) if Instant::now() < deadline => {
                let wait = backoff.next_delay();
                tracing::debug!(%error, ?wait, "whether the room is encrypted will be asked again");
                sleep(wait).await;
            }
            Err(AdapterError::RateLimited { retry_after }) if urgency.is_some() => {
                sleep(retry_after).await;
                deadline = Instant::now() + urgency.map_or(Duration::ZERO, patience_for);
            }
            Err(error) => return Err(error),
        }
    }
}

fn patience_for(urgency: SendPriority) -> Duration {
    if urgency == SendPriority::Question { PATIENCE_OF_A_QUESTION } else { SEND_DEADLINE }
}

/// Sends one event of this type. A passing state fails at once, all else waits for its turn and for the homeserver.
pub(super) async fn dispatch(
    bot: &MatrixBot,
    place: &RoomAddress,
    kind: &'static str,
    content: Value,
    urgency: Option<SendPriority>,
) -> Result<OwnedEventId, AdapterError> {
    // The same for each repetition: the homeserver answers with the first event if it has already accepted it.
    let transaction = TransactionId::new();
    let attempt = |room: matrix_sdk::Room| -> BoxFuture<'_, matrix_sdk::Result<OwnedEventId>> {
        let (content, transaction) = (content.clone(), transaction.clone());
        Box::pin(async move {
            let sent = room.send_raw(kind, content).with_transaction_id(&transaction).await?;
            Ok(sent.response.event_id)
        })
    };
    match urgency {
        Some(urgency) => send_with_retries(bot, place, urgency, attempt).await,
        None => send_once(bot, place, attempt).await,
    }
}

async fn send_once<'a, T>(
    bot: &MatrixBot,
    place: &RoomAddress,
    attempt: impl FnOnce(matrix_sdk::Room) -> BoxFuture<'a, matrix_sdk::Result<T>>,
) -> Result<T, AdapterError> {
    let room = bot.room(place, Instant::now()).await?;
    bot.pace.try_frame()?;
    let sent = attempt(room).await;
    sent.map_err(|error| {
        let failure = failure(&error);
        if let RequestFailure::Limited(wait) = failure {
            bot.pace.on_refused(wait);
        }
        failure.adapter_error()
    })
}

/// Repeats until the homeserver has taken it, has refused it for good, or was away too long.
pub(super) async fn send_with_retries<'a, T>(
    bot: &MatrixBot,
    place: &RoomAddress,
    urgency: SendPriority,
    attempt: impl Fn(matrix_sdk::Room) -> BoxFuture<'a, matrix_sdk::Result<T>>,
) -> Result<T, AdapterError> {
    let patience = patience_for(urgency);
    let mut deadline = Instant::now() + patience;
    let mut backoff = RETRY;
    loop {
        // Asked for on each attempt, since a new login makes a new client.
        let room = bot.room(place, deadline).await?;
        bot.pace.wait_for_turn(urgency).await;
        let failure = match attempt(room).await {
            Ok(sent) => {
                bot.pace.on_accepted();
                return Ok(sent);
            }
            Err(error) => failure(&error),
        };
        match failure {
            RequestFailure::Limited(retry_after) => {
                bot.pace.on_refused(retry_after);
                // The homeserver answers, so the wait for an absent one starts over.
                deadline = Instant::now() + patience;
            }
            RequestFailure::Unreachable(_) | RequestFailure::LoggedOut | RequestFailure::NotMatrix(_)
                if Instant::now() < deadline =>
            {
                let wait = backoff.next_delay();
                tracing::debug!(?failure, ?wait, "will be sent again");
                sleep(wait).await;
            }
            // The bot is in the room, as `bot.room` has seen.
            RequestFailure::Forbidden(why) => {
                return Err(AdapterError::Rejected(why_not_writing(bot, place, &why)));
            }
            failure => return Err(failure.adapter_error()),
        }
    }
}

fn why_not_writing(bot: &MatrixBot, place: &RoomAddress, why: &str) -> String {
    let (room, me) = (place.room.as_str(), own_id(bot));
    bot.memory.with_moves(|moves| match moves.pending(room) {
        Some(new) => notices::cannot_follow_upgrade(room, new, why, &me),
        None => notices::may_not_write(room, &me, why),
    })
}

fn own_id(bot: &MatrixBot) -> String {
    bot.client().and_then(|client| client.user_id().map(ToString::to_string)).unwrap_or_default()
}

// After a restart the bot no longer remembers its older messages, so it asks the homeserver.
pub(super) async fn is_mine(
    bot: &MatrixBot,
    place: &RoomAddress,
    id: &OwnedEventId,
) -> Result<bool, AdapterError> {
    if let Some((whose, _)) = bot.sent.find(id.as_str()) {
        return Ok(whose == MessageAuthor::Mine);
    }
    let room = bot.room(place, Instant::now()).await?;
    match room.event(id, None).await {
        Ok(event) => {
            let mine = event.kind.sender().as_deref() == Some(room.own_user_id());
            bot.sent.add(id.as_str(), if mine { MessageAuthor::Mine } else { MessageAuthor::Others }, None);
            Ok(mine)
        }
        Err(error) => match failure(&error) {
            RequestFailure::Forbidden(_) | RequestFailure::Refused(_) | RequestFailure::NotMatrix(_) => {
                Ok(false)
            }
            other => Err(other.adapter_error()),
        },
    }
}

/// `None` for a passing state.
fn priority_of(message: &Outgoing) -> Option<SendPriority> {
    match (message.live, message.tone) {
        (true, _) => None,
        (false, Tone::Question) => Some(SendPriority::Question),
        (false, Tone::Answer | Tone::Notice | Tone::Failure) => Some(SendPriority::Final),
    }
}

/// The content of a message, without its relation.
fn content(message: &Outgoing, choices: &[(String, Choice)]) -> Value {
    let labels: Vec<_> =
        choices.iter().map(|(emoji, choice)| (emoji.clone(), choice.label.clone())).collect();
    let source = match labels.is_empty() {
        true => message.markdown.clone(),
        false => format!("{}\n\n{}", message.markdown, notices::legend(&labels)),
    };
    let plain = markdown::inert(&markdown::plain(&source)).into_owned();
    let formatted = html(&source);
    // Padded tables can be much longer than their source, which is readable as well.
    let body = if plain.len() > FORMATTED_MAX / 2 { markdown::inert(&source).into_owned() } else { plain };
    let people: Vec<_> = message.mentions.iter().filter(|id| id.starts_with('@')).collect();
    // Without this field, clients would look for names and `@room` in the text.
    // <https://spec.matrix.org/v1.15/client-server-api/#user-and-room-mentions>
    let mentions = if people.is_empty() { json!({}) } else { json!({ "user_ids": people }) };
    let kind = match message.tone {
        Tone::Notice => "m.notice",
        Tone::Answer | Tone::Question | Tone::Failure => "m.text",
    };
    let mut content = json!({ "msgtype": kind, "body": body, "m.mentions": mentions });
    if body.len() + formatted.len() <= FORMATTED_MAX {
        content["format"] = "org.matrix.custom.html".into();
        content["formatted_body"] = formatted.into();
    }
    content
}

/// A notice from the adapter to one person, in reply to a message.
pub(super) fn notice_to(person: &str, text: &str, place: &RoomAddress, on: &MessageId) -> Value {
    json!({
        "msgtype": "m.notice",
        "body": text,
        "m.mentions": { "user_ids": [person] },
        "m.relates_to": relation(place, Some(on)),
    })
}

/// The `m.relates_to` of a message: its thread, the message it answers, or both.
fn relation(place: &RoomAddress, reply_to: Option<&MessageId>) -> Option<Value> {
    let reply_to = reply_to.map(MessageId::as_str).filter(|id| id.starts_with('$'));
    match (&place.thread, reply_to) {
        (Some(root), Some(id)) if id != root.as_str() => Some(json!({
            "rel_type": "m.thread", "event_id": root, "is_falling_back": false, "m.in_reply_to": { "event_id": id },
        })),
        // Clients without threads show it as a reply to the thread's beginning.
        (Some(root), _) => Some(json!({
            "rel_type": "m.thread", "event_id": root, "is_falling_back": true, "m.in_reply_to": { "event_id": root },
        })),
        (None, Some(id)) => Some(json!({ "m.in_reply_to": { "event_id": id } })),
        (None, None) => None,
    }
}

fn attachment(place: &RoomAddress, caption: &str, transaction: OwnedTransactionId) -> AttachmentConfig {
    let caption = (!caption.is_empty()).then(|| TextMessageEventContent::plain(caption));
    let reply = place.thread.clone().map(|event_id| Reply {
        event_id,
        enforce_thread: EnforceThread::Threaded(ReplyWithinThread::No),
        add_mentions: AddMentions::No,
    });
    AttachmentConfig::new().txn_id(transaction).caption(caption).reply(reply)
}

// By the name's ending: the bot sends only files that it has made and named itself.
fn kind_of(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("md") => "text/markdown",
        Some("json") => "application/json",
        Some("diff" | "patch") => "text/x-diff",
        Some("png") => "image/png",
        _ => "text/plain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> RoomAddress {
        RoomAddress::parse(&Room::new("matrix", name)).expect("an id")
    }

    #[test]
    fn a_message_mentions_only_who_is_meant_and_a_notice_calls_nobody() {
        let message = Outgoing::text("**Done**, @room & `@ann:x`").with_tone(Tone::Notice);
        insta::assert_snapshot!(content(&message, &[]).to_string().replace('\u{200b}', "·"), @r#"{"body":"Done, @·room & `@ann:x`","format":"org.matrix.custom.html","formatted_body":"<p><strong>Done</strong>, @·room &amp; <code>@ann:x</code></p>","m.mentions":{},"msgtype":"m.notice"}"#);
        let mentions = vec!["@ann:x".into(), "not an id".into()];
        let question = Outgoing { mentions, ..Outgoing::text("May I?").with_tone(Tone::Question) };
        let content = content(&question, &[]);
        assert_eq!(
            (&content["msgtype"], &content["m.mentions"]),
            (&"m.text".into(), &json!({ "user_ids": ["@ann:x"] }))
        );
    }

    #[test]
    fn an_edit_of_the_longest_message_fits_into_an_event() {
        let wide: String = (0..300).map(|n| format!("| {n} | {} |\n", "&".repeat(20))).collect();
        for text in ["<&>\"'".repeat(1_600), "x".repeat(8_000), format!("| a | b |\n|---|---|\n{wide}")] {
            let new = content(&Outgoing::text(&text), &[]);
            let mut edit = new.clone();
            edit["m.new_content"] = new;
            let encrypted = edit.to_string().len() * 4 / 3 + 1_000;
            assert!(encrypted < 64 * 1024, "{encrypted} bytes of {}", text.len());
        }
    }

    #[test]
    fn an_answer_stands_where_it_was_asked_for() {
        let id = MessageId::new("$asked");
        assert_eq!(relation(&place("!a"), None), None);
        let reply = relation(&place("!a"), Some(&id)).expect("a reply");
        assert_eq!(reply, json!({ "m.in_reply_to": { "event_id": "$asked" } }));
        let inside = relation(&place("!a/$root"), Some(&id)).expect("a thread");
        assert_eq!((&inside["event_id"], &inside["is_falling_back"]), (&"$root".into(), &false.into()));
        let plain = relation(&place("!a/$root"), Some(&MessageId::new("foreign"))).expect("a thread");
        assert_eq!(
            (&plain["m.in_reply_to"]["event_id"], &plain["is_falling_back"]),
            (&"$root".into(), &true.into())
        );
    }

    #[test]
    fn only_passing_states_are_passing() {
        let live = Outgoing { live: true, ..Outgoing::text("x").with_tone(Tone::Notice) };
        assert_eq!(priority_of(&live), None);
        assert_eq!(priority_of(&Outgoing::text("x")), Some(SendPriority::Final));
        assert_eq!(priority_of(&Outgoing::text("x").with_tone(Tone::Question)), Some(SendPriority::Question));
    }
}

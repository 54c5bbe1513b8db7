//! Choices as reactions: the bot adds the emoji to its message and removes them once the question is settled.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use matrix_sdk::ruma::{OwnedEventId, TransactionId, api::client::redact::redact_event};
use serde_json::json;

use super::{bot::MatrixBot, pace::SendPriority, rooms::RoomAddress, send};
use crate::{Choice, MessageId, matrix::notices};

// Reactions wait behind everything that is more urgent, and after half an hour nobody needs them.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// Each choice with its emoji; one that has none is shown by its number.
pub(super) fn with_emoji(choices: &[Choice]) -> Vec<(String, Choice)> {
    let emoji = |(index, choice): (usize, &Choice)| {
        let emoji = choice.emoji.clone().unwrap_or_else(|| number(index + 1));
        (emoji, choice.clone())
    };
    choices.iter().enumerate().map(emoji).collect()
}

fn number(n: usize) -> String {
    match n {
        1..=9 => format!("{n}\u{FE0F}\u{20E3}"),
        10 => "🔟".to_owned(),
        n => char::from_u32(0x1F1E6 + u32::try_from(n - 11).unwrap_or(25).min(25))
            .map(String::from)
            .unwrap_or_default(),
    }
}

// In the background: the homeserver may delay each reaction, and the message itself is already shown.
pub(super) fn offer_choices(
    bot: &Arc<MatrixBot>,
    place: &RoomAddress,
    id: &OwnedEventId,
    choices: &[(String, Choice)],
) {
    let new = bot.sent.open_choices(id.as_str(), choices);
    if !new.is_empty() {
        bot.spawn_with_timeout(LONGEST, add_reactions(bot.clone(), place.clone(), id.clone(), new));
    }
}

/// Takes the bot's emoji away from a message that is settled.
pub(super) fn remove_choices(bot: &Arc<MatrixBot>, place: &RoomAddress, id: &OwnedEventId) {
    let seeds = bot.sent.close_choices(id.as_str());
    if !seeds.is_empty() {
        bot.spawn_with_timeout(LONGEST, redact_all(bot.clone(), place.clone(), seeds));
    }
}

// Without this notice a person who reacts would believe the question to be answered. Once per question is enough.
pub(super) fn tell_if_words_are_wanted(
    bot: &Arc<MatrixBot>,
    room: &matrix_sdk::Room,
    sender: &str,
    on: &MessageId,
) {
    if !bot.is_allowed(sender) || !bot.sent.take_wants_words(on.as_str()) {
        return;
    }
    let thread = bot.sent.find(on.as_str()).and_then(|(_, thread)| thread);
    let place = RoomAddress::new(room.room_id(), thread.as_deref());
    let content = send::notice_to(sender, notices::WANTS_WORDS, &place, on);
    let client = bot.clone();
    bot.spawn_with_timeout(LONGEST, async move {
        let sent =
            send::dispatch(&client, &place, "m.room.message", content, Some(SendPriority::Final)).await;
        if let Err(error) = sent {
            tracing::warn!(%error, "nobody could be told that a reaction does not answer");
        }
    });
}

async fn add_reactions(bot: Arc<MatrixBot>, place: RoomAddress, id: OwnedEventId, emoji: Vec<String>) {
    for emoji in emoji {
        // On a homeserver with Synapse's limit each emoji takes five seconds, and a person may answer in words meanwhile.
        if !bot.sent.is_open(id.as_str()) {
            return;
        }
        let relation = json!({ "rel_type": "m.annotation", "event_id": id, "key": emoji });
        let content = json!({ "m.relates_to": relation });
        match send::dispatch(&bot, &place, "m.reaction", content, Some(SendPriority::Decoration)).await {
            Ok(reaction) if bot.sent.add_own_reaction(id.as_str(), reaction.as_str()) => {}
            Ok(reaction) => redact(&bot, &place, reaction).await,
            Err(error) => {
                return tracing::warn!(%error, "a reaction could not be offered; words still answer");
            }
        }
    }
}

async fn redact_all(bot: Arc<MatrixBot>, place: RoomAddress, reactions: Vec<String>) {
    for reaction in reactions {
        if let Ok(reaction) = OwnedEventId::try_from(reaction) {
            redact(&bot, &place, reaction).await;
        }
    }
}

async fn redact(bot: &MatrixBot, place: &RoomAddress, reaction: OwnedEventId) {
    let transaction = TransactionId::new();
    let attempt = |room: matrix_sdk::Room| -> BoxFuture<'_, matrix_sdk::Result<()>> {
        let request =
            redact_event::v3::Request::new(room.room_id().to_owned(), reaction.clone(), transaction.clone());
        Box::pin(async move { Ok(room.client().send(request).await.map(drop)?) })
    };
    if let Err(error) = send::send_with_retries(bot, place, SendPriority::Decoration, attempt).await {
        tracing::warn!(%error, "a reaction could not be taken away");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_without_an_emoji_is_a_number() {
        let choice = |label: &str, emoji: Option<&str>| Choice {
            key: label.into(),
            label: label.into(),
            emoji: emoji.map(str::to_owned),
        };
        let choices = [choice("yes", Some("✅")), choice("two", None)];
        let emoji: Vec<_> = with_emoji(&choices).into_iter().map(|(emoji, _)| emoji).collect();
        assert_eq!(emoji, ["✅", "2\u{FE0F}\u{20E3}"]);
        let all: std::collections::HashSet<_> = (1..=30).map(number).collect();
        assert_eq!((all.len(), all.contains("")), (30, false));
    }
}

//! The bot's own messages: ids, threads, and the choices they offer.

use std::collections::{HashMap, HashSet, VecDeque};

use parking_lot::Mutex;

use crate::{Choice, MessageId, text::emoji};

// Bounds the memory. For older messages the bot asks the homeserver.
const MOST: usize = 10_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfferedChoices {
    // Emoji without variation selectors, and the key of each choice.
    choices: Vec<(String, String)>,
    /// The bot's own reactions.
    seeds: Vec<String>,
    open: bool,
}

#[derive(Default)]
struct SentState {
    /// The thread that each message is in, if any, by its id: the bot's own, and people's that a redaction may name.
    threads: HashMap<String, (MessageAuthor, Option<String>)>,
    order: VecDeque<String>,
    /// Who wrote people's messages.
    people: HashMap<String, String>,
    offers: HashMap<String, OfferedChoices>,
    /// Open questions that only words answer, until the first reaction to each was answered with a notice.
    by_words: HashSet<String>,
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageAuthor {
    Mine,
    Others,
}

#[derive(Default)]
pub(super) struct SentMessages {
    state: Mutex<SentState>,
}

impl SentMessages {
    /// Remembers a message that was sent or received, with its thread.
    pub(super) fn add(&self, id: &str, whose: MessageAuthor, thread: Option<String>) {
        let mut state = self.state.lock();
        if state.threads.insert(id.to_owned(), (whose, thread)).is_some() {
            return;
        }
        state.order.push_back(id.to_owned());
        if state.order.len() > MOST
            && let Some(oldest) = state.order.pop_front()
        {
            state.threads.remove(&oldest);
            state.people.remove(&oldest);
            state.offers.remove(&oldest);
            state.by_words.remove(&oldest);
        }
    }

    /// Remembers a person's message.
    pub(super) fn add_of(&self, id: &str, person: &str, thread: Option<String>) {
        self.add(id, MessageAuthor::Others, thread);
        self.state.lock().people.insert(id.to_owned(), person.to_owned());
    }

    /// The person who wrote the message, and its thread.
    pub(super) fn person_of(&self, id: &str) -> Option<(String, Option<String>)> {
        let state = self.state.lock();
        let (_, thread) = state.threads.get(id)?;
        Some((state.people.get(id)?.clone(), thread.clone()))
    }

    /// The message's author and thread; `None` for one that is not remembered.
    pub(super) fn find(&self, id: &str) -> Option<(MessageAuthor, Option<String>)> {
        self.state.lock().threads.get(id).cloned()
    }

    /// The message offers these choices; returns the emoji that it did not offer before.
    pub(super) fn open_choices(&self, id: &str, choices: &[(String, Choice)]) -> Vec<String> {
        let mut state = self.state.lock();
        let offer = state.offers.entry(id.to_owned()).or_default();
        let before = std::mem::take(&mut offer.choices);
        let was_open = std::mem::replace(&mut offer.open, true);
        offer.choices =
            choices.iter().map(|(emoji, choice)| (emoji::plain(emoji), choice.key.clone())).collect();
        let new = |emoji: &&String| !was_open || !before.iter().any(|(old, _)| *old == emoji::plain(emoji));
        choices.iter().map(|(emoji, _)| emoji).filter(new).cloned().collect()
    }

    /// The message is a question that only words answer.
    pub(super) fn wants_words(&self, id: &str) {
        self.state.lock().by_words.insert(id.to_owned());
    }

    /// Somebody reacts to such a question: `true` once, while it is open.
    pub(super) fn take_wants_words(&self, id: &str) -> bool {
        self.state.lock().by_words.remove(id)
    }

    /// Closes the offer; returns the bot's own reactions, which the caller removes.
    pub(super) fn close_choices(&self, id: &str) -> Vec<String> {
        let mut state = self.state.lock();
        state.by_words.remove(id);
        let Some(offer) = state.offers.get_mut(id) else { return Vec::new() };
        // The choices themselves stay: a late pick still gets an answer.
        offer.open = false;
        std::mem::take(&mut offer.seeds)
    }

    /// Whether the message still offers something.
    pub(super) fn is_open(&self, id: &str) -> bool {
        self.state.lock().offers.get(id).is_some_and(|offer| offer.open)
    }

    /// The bot reacted to its own message; `false` where the offer was closed meanwhile and the reaction must go again.
    pub(super) fn add_own_reaction(&self, id: &str, reaction: &str) -> bool {
        let mut state = self.state.lock();
        let Some(offer) = state.offers.get_mut(id).filter(|offer| offer.open) else { return false };
        offer.seeds.push(reaction.to_owned());
        true
    }

    /// The key of the choice with this emoji. Closed choices count too, since the bot answers a late pick.
    pub(super) fn picked(&self, id: &MessageId, emoji: &str) -> Option<String> {
        let state = self.state.lock();
        let offer = state.offers.get(id.as_str())?;
        let picked = emoji::meant(emoji, offer.choices.iter().map(|(offered, _)| offered.as_str()))?;
        offer.choices.get(picked).map(|(_, key)| key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(emoji: &str, key: &str) -> (String, Choice) {
        (emoji.into(), Choice { key: key.into(), label: key.into(), emoji: Some(emoji.into()) })
    }

    #[test]
    fn an_emoji_is_picked_in_whatever_form_the_keyboard_gives_it() {
        let sent = SentMessages::default();
        sent.open_choices("$q", &[choice("👍", "yes"), choice("✖\u{FE0F}", "no")]);
        let picked = |emoji: &str| sent.picked(&MessageId::new("$q"), emoji);
        assert_eq!(picked("👍🏽").as_deref(), Some("yes"));
        assert_eq!(picked("👍\u{FE0F}").as_deref(), Some("yes"));
        assert_eq!(picked("✖").as_deref(), Some("no"));
        assert_eq!((picked("🎉"), sent.picked(&MessageId::new("$other"), "👍")), (None, None));
    }

    #[test]
    fn a_closed_offer_gives_its_reactions_back_and_still_tells_a_late_pick() {
        let sent = SentMessages::default();
        assert_eq!(sent.open_choices("$q", &[choice("✅", "yes"), choice("❌", "no")]), ["✅", "❌"]);
        assert!(sent.add_own_reaction("$q", "$r1") && sent.is_open("$q"));
        assert_eq!(sent.open_choices("$q", &[choice("✅", "yes"), choice("♻", "always")]), ["♻"]);
        assert_eq!(sent.close_choices("$q"), ["$r1"]);
        assert!(!sent.add_own_reaction("$q", "$r2") && !sent.is_open("$q"));
        assert_eq!(sent.picked(&MessageId::new("$q"), "✅").as_deref(), Some("yes"));
        assert!(sent.close_choices("$unknown").is_empty() && !sent.add_own_reaction("$unknown", "$r"));
    }

    #[test]
    fn that_a_question_wants_words_is_said_once_and_only_while_it_is_open() {
        let sent = SentMessages::default();
        for id in ["$q", "$settled"] {
            sent.wants_words(id);
        }
        assert!(sent.close_choices("$settled").is_empty());
        let said = ["$q", "$q", "$settled", "$other"].map(|id| sent.take_wants_words(id));
        assert_eq!(said, [true, false, false, false]);
    }

    #[test]
    fn old_messages_are_forgotten() {
        let sent = SentMessages::default();
        for n in 0..=MOST {
            sent.add(&format!("${n}"), MessageAuthor::Mine, Some("$t".into()));
        }
        assert_eq!(
            (sent.find("$0"), sent.find("$1")),
            (None, Some((MessageAuthor::Mine, Some("$t".into()))))
        );
    }
}

//! Recently sent messages: finds the one that a reply, a reaction or a later failure report refers to.

use std::{collections::VecDeque, sync::Arc};

use crate::{Outgoing, text::emoji};

// Bounds the memory. A reply to an older message is still a reply, but no longer an answer to its question.
const KEPT: usize = 300;

#[derive(Clone, Debug)]
pub struct SentMessage {
    pub id: String,
    // A long question's text and its buttons are two messages at Meta; the bot knows both by this one id.
    pub known_as: String,
    /// For whom, by the room's id.
    pub person: Arc<str>,
    pub message: Arc<Outgoing>,
    /// Its place in the order of all messages, given by [`RecentMessages::add`].
    pub number: u64,
}

#[derive(Default)]
pub struct RecentMessages {
    sent: VecDeque<SentMessage>,
    count: u64,
}

impl RecentMessages {
    pub fn add(&mut self, sent: SentMessage) {
        if self.sent.len() == KEPT {
            self.sent.pop_front();
        }
        self.count += 1;
        self.sent.push_back(SentMessage { number: self.count, ..sent });
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    // Removed, so that a repeated report about the same message has no effect.
    pub fn give_back(&mut self, id: &str) -> Option<SentMessage> {
        let at = self.sent.iter().rposition(|sent| sent.id == id)?;
        self.sent.remove(at)
    }

    pub fn get(&self, id: &str) -> Option<&SentMessage> {
        self.sent.iter().rev().find(|sent| sent.id == id)
    }

    /// The id by which the bot knows it.
    pub fn known_as<'a>(&'a self, id: &'a str) -> &'a str {
        self.get(id).map_or(id, |sent| &sent.known_as)
    }

    /// The message and the key of its choice with this emoji, if this person got the message.
    pub fn picked_by(&self, on: &str, person: &str, emoji: &str) -> Option<(String, String)> {
        let sent = self.get(on).filter(|sent| &*sent.person == person)?;
        let offered = sent.message.choices.iter().map(|choice| choice.emoji.as_deref().unwrap_or_default());
        let choice = sent.message.choices.get(emoji::meant(emoji, offered)?)?;
        Some((sent.known_as.clone(), choice.key.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Choice;

    fn recent() -> RecentMessages {
        let choice =
            Choice { key: "q:1:always".into(), label: "Always".into(), emoji: Some("♾️".into()) };
        let message = Arc::new(Outgoing { choices: vec![choice], ..Outgoing::text("May I?") });
        let mut recent = RecentMessages::default();
        recent.add(SentMessage {
            id: "a".into(),
            known_as: "b".into(),
            person: "DE.1".into(),
            message,
            number: 0,
        });
        recent
    }

    #[test]
    fn a_reaction_is_a_choice_only_where_it_was_offered_to_this_person() {
        let recent = recent();
        assert_eq!(recent.picked_by("a", "DE.1", "♾"), Some(("b".into(), "q:1:always".into())));
        assert_eq!(recent.picked_by("a", "DE.2", "♾"), None);
        assert_eq!(recent.picked_by("a", "DE.1", "👍"), None);
        assert_eq!(recent.picked_by("a", "DE.1", ""), None);
        assert_eq!(recent.picked_by("z", "DE.1", "♾"), None);
    }

    #[test]
    fn the_newest_are_kept() {
        let mut recent = recent();
        assert_eq!((recent.known_as("a"), recent.known_as("z")), ("b", "z"));
        let sent = recent.get("a").cloned().unwrap();
        assert_eq!((sent.number, recent.count()), (1, 1));
        (0..KEPT).for_each(|n| recent.add(SentMessage { id: n.to_string(), ..sent.clone() }));
        assert!(recent.get("a").is_none() && recent.get("0").is_some());
        assert!(recent.give_back("0").is_some() && recent.give_back("0").is_none());
    }
}

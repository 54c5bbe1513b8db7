//! Problems that the operator should know about although the bot is up, for `status`; each is reported once.

use std::{collections::BTreeMap, fmt::Write as _};

use parking_lot::Mutex;

use super::notification::VouchedPerson;
use crate::{Inbox, MessengerNews};

// Anybody can write to the number, so the list needs a bound: `status` names so many people, and counts the messages of all.
const STRANGERS_MAX: usize = 100;
const FAILURES_MAX: usize = 20;

#[derive(Debug, Default)]
pub struct DeliveryFacts {
    pub account: Option<String>,
    pub template: Option<String>,
    /// The number of waiting messages, by person.
    pub held: BTreeMap<String, usize>,
    pub failures: BTreeMap<String, FailedMessage>,
    /// Who wrote without being on the list, each once, by id and by name where there is one.
    pub strangers: Vec<(String, Option<String>)>,
    /// How many messages of such people were ignored.
    pub stranger_messages: u64,
    /// How many of these were of people who are not named above.
    pub unnamed_messages: u64,
    /// Requests whose signature was wrong.
    pub wrong_signatures: u64,
    /// Requests that had none.
    pub unsigned: u64,
}

#[derive(Debug)]
pub struct FailedMessage {
    pub why: String,
    // The number of messages sent when the failure was reported: the delivery of a later one proves that
    // the person is reachable again.
    pub after: u64,
}

/// [`DeliveryFacts`], and the inbox through which they are reported.
#[derive(Default)]
pub struct DeliveryNotes {
    facts: Mutex<DeliveryFacts>,
    inbox: Mutex<Option<Inbox>>,
}

impl DeliveryNotes {
    /// Reports through this inbox from now on, beginning with the facts so far.
    pub fn attach(&self, inbox: Inbox) {
        *self.inbox.lock() = Some(inbox);
        self.publish();
    }

    /// Tells the bot of a conversation.
    pub fn report(&self, news: MessengerNews) {
        if let Some(inbox) = &*self.inbox.lock() {
            inbox.report(news);
        }
    }

    /// Counts a message from somebody who is not on the list. Each stranger is reported once, or strangers could fill the log.
    pub fn add_stranger(&self, who: &VouchedPerson) {
        let mut facts = self.facts.lock();
        facts.stranger_messages += 1;
        let id = who.id();
        if facts.strangers.iter().any(|(known, _)| *known == id) {
            return;
        }
        let is_news = facts.strangers.len() < STRANGERS_MAX;
        if is_news {
            facts.strangers.push((id, who.name.as_deref().and_then(plain_name)));
        } else {
            facts.unnamed_messages += 1;
        }
        if is_news || facts.unnamed_messages.is_power_of_two() {
            drop(facts);
            self.publish();
        }
    }

    // Anybody can send such requests, so only every power of two is reported.
    pub fn refused_signature(&self, was_there: bool) {
        let mut facts = self.facts.lock();
        let count = if was_there { &mut facts.wrong_signatures } else { &mut facts.unsigned };
        *count += 1;
        if count.is_power_of_two() {
            drop(facts);
            self.publish();
        }
    }

    pub fn add_failure(&self, person: &str, why: String, after: u64) {
        let mut facts = self.facts.lock();
        if facts.failures.len() >= FAILURES_MAX && !facts.failures.contains_key(person) {
            facts.failures.pop_first();
        }
        facts.failures.insert(person.to_owned(), FailedMessage { why, after });
        drop(facts);
        self.publish();
    }

    /// The message with this number was delivered.
    pub fn on_delivered(&self, person: &str, number: u64) {
        let is_later = self.facts.lock().failures.get(person).is_some_and(|failed| number > failed.after);
        if is_later {
            self.clear_failure(person);
        }
    }

    pub fn clear_failure(&self, person: &str) {
        let was_there = self.facts.lock().failures.remove(person).is_some();
        if was_there {
            self.publish();
        }
    }

    pub fn set_held(&self, person: &str, count: usize) {
        let mut facts = self.facts.lock();
        let before =
            if count == 0 { facts.held.remove(person) } else { facts.held.insert(person.to_owned(), count) };
        drop(facts);
        if before.unwrap_or_default() != count {
            self.publish();
        }
    }

    /// Sets a trouble of the account; `None` clears it, once Meta accepts a message again.
    pub fn set_account(&self, trouble: Option<String>) {
        let before = std::mem::replace(&mut self.facts.lock().account, trouble.clone());
        if before != trouble {
            self.publish();
        }
    }

    /// Sets a trouble of the template; `None` clears it.
    pub fn set_template(&self, trouble: Option<String>) {
        let before = std::mem::replace(&mut self.facts.lock().template, trouble.clone());
        if before != trouble {
            self.publish();
        }
    }

    fn publish(&self) {
        let text = summary(&self.facts.lock());
        if let Some(inbox) = &*self.inbox.lock() {
            inbox.set_note(text);
        }
    }
}

fn summary(facts: &DeliveryFacts) -> Option<String> {
    let mut text = String::new();
    for trouble in [&facts.account, &facts.template].into_iter().flatten() {
        let _ = write!(text, "{trouble}. ");
    }
    for (person, count) in &facts.held {
        let (messages, wait) = if *count == 1 { ("message", "waits") } else { ("messages", "wait") };
        let _ =
            write!(text, "{count} {messages} for {person} {wait} until they write again (24-hour window). ");
    }
    for (person, FailedMessage { why, .. }) in &facts.failures {
        let _ = write!(text, "Not delivered to {person}: {}. ", why.trim_end_matches('.'));
    }
    if !facts.strangers.is_empty() {
        let stranger = |(id, name): &(String, Option<String>)| match name {
            Some(name) => format!("{id} ({name})"),
            None => id.clone(),
        };
        let list: Vec<String> = facts.strangers.iter().map(stranger).collect();
        let list = list.join(", ");
        let (messages, others) = (facts.stranger_messages, facts.unnamed_messages);
        let others = if others > 0 { format!(" and others (messages: {others})") } else { String::new() };
        let _ = write!(
            text,
            "Ignored people who are not in `whatsapp.allowed_users` (messages: {messages}): {list}{others}. "
        );
    }
    if facts.wrong_signatures > 0 {
        let _ = write!(
            text,
            "Refused webhooks with a wrong signature ({}); if messages are missing, `whatsapp.app_secret` is not this app's. ",
            facts.wrong_signatures
        );
    }
    if facts.unsigned > 0 {
        let _ = write!(text, "Refused webhooks without a signature ({}). ", facts.unsigned);
    }
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

// A stranger chooses this text, and the operator reads it between the bot's own sentences.
fn plain_name(name: &str) -> Option<String> {
    let plain: String =
        name.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-')).take(24).collect();
    Some(plain.trim().to_owned()).filter(|plain| !plain.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::*;
    use crate::AdapterHealth;

    fn stranger(user_id: &str) -> VouchedPerson {
        VouchedPerson { user_id: Some(user_id.into()), ..VouchedPerson::default() }
    }

    fn attached() -> (DeliveryNotes, Arc<AdapterHealth>) {
        let health = Arc::new(AdapterHealth::new("whatsapp"));
        let notes = DeliveryNotes::default();
        notes.attach(Inbox::new(mpsc::channel(1).0, health.clone()));
        (notes, health)
    }

    #[test]
    fn what_is_known_reads_as_sentences_and_goes_when_it_is_over() {
        let (notes, health) = attached();
        let eve = VouchedPerson {
            phone: Some("4915100000".into()),
            name: Some("Eve. *Restart me*: `rm`".into()),
            ..VouchedPerson::default()
        };
        notes.add_stranger(&eve);
        notes.add_stranger(&eve);
        notes.add_stranger(&stranger("DE.7"));
        notes.add_failure("DE.1", "(131026) Message undeliverable".into(), 7);
        notes.set_held("DE.2", 2);
        notes.refused_signature(true);
        notes.refused_signature(false);
        insta::assert_snapshot!(health.snapshot().note.unwrap(), @"2 messages for DE.2 wait until they write again (24-hour window). Not delivered to DE.1: (131026) Message undeliverable. Ignored people who are not in `whatsapp.allowed_users` (messages: 3): +4915100000 (Eve Restart me rm), DE.7. Refused webhooks with a wrong signature (1); if messages are missing, `whatsapp.app_secret` is not this app's. Refused webhooks without a signature (1).");
        notes.on_delivered("DE.1", 7);
        assert!(health.snapshot().note.is_some_and(|note| note.contains("DE.1")), "an older one arrived");
        notes.on_delivered("DE.1", 8);
        notes.set_held("DE.2", 0);
        let note = health.snapshot().note.unwrap();
        assert!(!note.contains("DE.1") && !note.contains("DE.2"), "{note}");
    }

    #[test]
    fn a_stranger_is_told_once_and_a_flood_ever_more_rarely() {
        let (notes, health) = attached();
        notes.add_stranger(&stranger("DE.1"));
        let told = health.snapshot().note;
        for _ in 0..100 {
            notes.add_stranger(&stranger("DE.1"));
        }
        assert_eq!(health.snapshot().note, told, "the same stranger is not told again");
        let mut tellings = std::collections::HashSet::new();
        for _ in 0..1000 {
            notes.refused_signature(false);
            tellings.insert(health.snapshot().note);
        }
        assert_eq!(tellings.len(), 10, "1, 2, 4 ... 512");
    }

    #[test]
    fn every_stranger_is_named_up_to_a_bound_and_a_flood_of_them_is_counted() {
        let (notes, health) = attached();
        for n in 0..STRANGERS_MAX + 5 {
            notes.add_stranger(&stranger(&format!("DE.{n}")));
        }
        let note = health.snapshot().note.unwrap();
        assert!((0..STRANGERS_MAX).all(|n| note.contains(&format!("DE.{n}"))), "{note}");
        assert!(note.ends_with("DE.99 and others (messages: 4)."), "1, 2 and 4 are told: {note}");
    }

    #[test]
    fn what_was_known_before_the_connection_is_told_when_it_stands() {
        let notes = DeliveryNotes::default();
        notes.add_stranger(&stranger("DE.1"));
        let health = Arc::new(AdapterHealth::new("whatsapp"));
        notes.attach(Inbox::new(mpsc::channel(1).0, health.clone()));
        assert!(health.snapshot().note.is_some_and(|note| note.contains("DE.1")));
    }
}

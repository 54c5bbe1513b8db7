//! The last messages of one room, in memory.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use crate::{ActivityState, Choice, MessageId, Outgoing, Tone};

/// Messages that a room remembers.
const REMEMBERED: usize = 500;

/// Their bytes, files included. The newest message stays, however long.
const REMEMBERED_BYTES: usize = 16 * 1024 * 1024;

/// A message in its present state.
#[derive(Clone, Debug, PartialEq)]
pub struct WebMessage {
    pub id: MessageId,
    /// When it was sent first.
    pub at: SystemTime,
    /// The person who wrote it; `None` for the bot.
    pub by: Option<Arc<str>>,
    /// CommonMark of the bot; a person's text as it was typed.
    pub text: String,
    pub tone: Tone,
    pub choices: Vec<Choice>,
    /// Whether edits will follow.
    pub live: bool,
    pub reply_to: Option<MessageId>,
    pub file: Option<Arc<WebFile>>,
}

/// A file that the bot showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebFile {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl WebMessage {
    /// `message` of the bot as it is sent under `id`.
    pub(super) fn new(id: MessageId, at: SystemTime, message: &Outgoing) -> Self {
        let Outgoing { markdown, tone, choices, live, reply_to, mentions: _ } = message.clone();
        Self { id, at, by: None, text: markdown, tone, choices, live, reply_to, file: None }
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.file.as_ref().map_or(0, |file| file.bytes.len())
    }
}

/// A part of a room's messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WebPage {
    /// Oldest first.
    pub messages: Vec<Arc<WebMessage>>,
    /// Whether there are older ones.
    pub more: bool,
}

#[derive(Debug)]
pub(super) struct MessageLog {
    messages: VecDeque<Arc<WebMessage>>,
    bytes: usize,
    activity: ActivityState,
}

impl Default for MessageLog {
    fn default() -> Self {
        Self { messages: VecDeque::new(), bytes: 0, activity: ActivityState::Idle }
    }
}

impl MessageLog {
    /// Adds a message, or replaces it by its new state.
    pub(super) fn put(&mut self, message: Arc<WebMessage>) {
        self.bytes += message.bytes();
        // The newest are edited.
        match self.messages.iter_mut().rev().find(|known| known.id == message.id) {
            Some(known) => {
                self.bytes -= known.bytes();
                *known = message;
            }
            None => self.messages.push_back(message),
        }
        while self.messages.len() > 1 && (self.messages.len() > REMEMBERED || self.bytes > REMEMBERED_BYTES) {
            self.bytes -= self.messages.pop_front().map_or(0, |oldest| oldest.bytes());
        }
    }

    pub(super) fn find(&self, id: &MessageId) -> Option<Arc<WebMessage>> {
        self.messages.iter().rev().find(|message| message.id == *id).cloned()
    }

    pub(super) fn file(&self, id: &MessageId) -> Option<Arc<WebFile>> {
        self.find(id)?.file.clone()
    }

    /// The newest messages before this one. One that is forgotten has none before it.
    pub(super) fn page(&self, before: Option<&MessageId>, most: usize) -> WebPage {
        let end = match before {
            Some(id) => self.messages.iter().position(|message| message.id == *id).unwrap_or(0),
            None => self.messages.len(),
        };
        let start = end.saturating_sub(most);
        WebPage { messages: self.messages.range(start..end).cloned().collect(), more: start > 0 }
    }

    pub(super) fn activity(&self) -> ActivityState {
        self.activity
    }

    pub(super) fn set_activity(&mut self, activity: ActivityState) {
        self.activity = activity;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, text: &str) -> Arc<WebMessage> {
        let message = WebMessage::new(MessageId::new(id), SystemTime::UNIX_EPOCH, &Outgoing::text(text));
        Arc::new(message)
    }

    fn texts(page: &WebPage) -> Vec<&str> {
        page.messages.iter().map(|message| message.text.as_str()).collect()
    }

    #[test]
    fn a_room_is_read_backwards_in_parts() {
        let mut log = MessageLog::default();
        for number in 0..5 {
            log.put(message(&number.to_string(), &format!("text {number}")));
        }
        log.put(message("4", "text 4, edited"));
        let newest = log.page(None, 2);
        assert_eq!((texts(&newest), newest.more), (vec!["text 3", "text 4, edited"], true));
        let rest = log.page(Some(&MessageId::new("3")), 9);
        assert_eq!((texts(&rest), rest.more), (vec!["text 0", "text 1", "text 2"], false));
        assert_eq!(log.page(Some(&MessageId::new("forgotten")), 9), WebPage::default());
    }

    #[test]
    fn a_room_forgets_its_oldest_messages_by_number_and_by_size() {
        let mut log = MessageLog::default();
        for number in 0..REMEMBERED + 10 {
            log.put(message(&number.to_string(), "x"));
        }
        assert_eq!((log.messages.len(), log.bytes), (REMEMBERED, REMEMBERED));
        assert_eq!(log.messages[0].id.as_str(), "10");
        log.put(message("long", &"x".repeat(REMEMBERED_BYTES + 1)));
        assert_eq!(log.messages.len(), 1);
        log.put(message("long", "short"));
        assert_eq!(log.bytes, 5);
    }
}

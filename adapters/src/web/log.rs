//! The last messages of one room.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::{ActivityState, Choice, MessageId, Outgoing, Tone};

/// Messages that a room remembers.
const REMEMBERED: usize = 500;

/// Their bytes, files included. The newest message stays, however long.
const REMEMBERED_BYTES: usize = 16 * 1024 * 1024;

/// A message in its present state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    pub file: Option<Arc<ShownFile>>,
    /// No archive keeps it.
    #[serde(default)]
    pub is_secret: bool,
}

/// A file that the bot showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownFile {
    pub name: String,
    /// An archive keeps them beside the message.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

impl WebMessage {
    /// `message` of the bot as it is sent under `id`.
    pub(super) fn new(id: MessageId, at: SystemTime, message: &Outgoing) -> Self {
        let Outgoing { markdown, tone, choices, live, reply_to, mentions: _, is_secret } = message.clone();
        Self { id, at, by: None, text: markdown, tone, choices, live, reply_to, file: None, is_secret }
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.file.as_ref().map_or(0, |file| file.bytes.len())
    }
}

/// A part of a room's messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessagePage {
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
    /// The log that an archive kept. Whoever was still writing a message when the program ended writes no more of it.
    pub(super) fn restored(messages: Vec<WebMessage>) -> Self {
        let mut log = Self::default();
        for message in messages {
            log.put(Arc::new(WebMessage { live: false, ..message }));
        }
        log
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds a message, or replaces it by its new state. Returns those that are forgotten for it.
    pub(super) fn put(&mut self, message: Arc<WebMessage>) -> Vec<MessageId> {
        self.bytes += message.bytes();
        // The newest are edited.
        match self.messages.iter_mut().rev().find(|known| known.id == message.id) {
            Some(known) => {
                self.bytes -= known.bytes();
                *known = message;
            }
            None => self.messages.push_back(message),
        }
        let mut forgotten = Vec::new();
        while self.messages.len() > 1 && (self.messages.len() > REMEMBERED || self.bytes > REMEMBERED_BYTES) {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.bytes();
            forgotten.push(oldest.id.clone());
        }
        forgotten
    }

    pub(super) fn find(&self, id: &MessageId) -> Option<Arc<WebMessage>> {
        self.messages.iter().rev().find(|message| message.id == *id).cloned()
    }

    pub(super) fn file(&self, id: &MessageId) -> Option<Arc<ShownFile>> {
        self.find(id)?.file.clone()
    }

    /// The newest messages before this one. One that is forgotten has none before it.
    pub(super) fn page(&self, before: Option<&MessageId>, most: usize) -> MessagePage {
        let end = match before {
            Some(id) => self.messages.iter().position(|message| message.id == *id).unwrap_or(0),
            None => self.messages.len(),
        };
        let start = end.saturating_sub(most);
        MessagePage { messages: self.messages.range(start..end).cloned().collect(), more: start > 0 }
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

    fn texts(page: &MessagePage) -> Vec<&str> {
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
        assert_eq!(log.page(Some(&MessageId::new("forgotten")), 9), MessagePage::default());
    }

    #[test]
    fn a_room_forgets_its_oldest_messages_by_number_and_by_size() {
        let mut log = MessageLog::default();
        let mut forgotten = Vec::new();
        for number in 0..REMEMBERED + 10 {
            forgotten.extend(log.put(message(&number.to_string(), "x")));
        }
        assert_eq!(
            forgotten,
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|number| MessageId::new(number.to_string()))
        );
        assert_eq!((log.messages.len(), log.bytes), (REMEMBERED, REMEMBERED));
        assert_eq!(log.messages[0].id.as_str(), "10");
        log.put(message("long", &"x".repeat(REMEMBERED_BYTES + 1)));
        assert_eq!(log.messages.len(), 1);
        log.put(message("long", "short"));
        assert_eq!(log.bytes, 5);
    }
}

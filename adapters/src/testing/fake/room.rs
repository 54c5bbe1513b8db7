//! A person's side of the fake messenger: writing, choosing, and waiting for the bot's messages.

use std::{fmt, fmt::Write as _, sync::Arc, time::SystemTime};

use super::{Fake, FakeMessage, FakeRoomLog, LogEntry, next_id};
use crate::{
    Addressed, Attachment, Enclosed, Incoming, MessageId, PersonAct, Quotation, Room, Sender, SentFile, Tone,
    text::address,
};

/// One conversation with the bot, as a test plays it. Clones are the same conversation.
#[derive(Clone)]
pub struct FakeRoom {
    fake: Arc<Fake>,
    room: Room,
}

impl fmt::Debug for FakeRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeRoom({})\n{}", self.room, self.transcript())
    }
}

impl FakeRoom {
    pub(super) fn new(fake: Arc<Fake>, room: Room) -> Self {
        Self { fake, room }
    }

    /// The room's address, as the bot sees it.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// `ann` writes in a conversation of two.
    pub async fn say(&self, text: &str) -> MessageId {
        self.say_as("ann", text).await
    }

    /// `person` (id and name alike) writes in a conversation of two.
    pub async fn say_as(&self, person: &str, text: &str) -> MessageId {
        self.send_incoming(self.incoming(person, text)).await
    }

    /// `person` writes where others read along: for the bot only if the text begins with its address.
    pub async fn say_in_group(&self, person: &str, text: &str) -> MessageId {
        let identity = self.fake.state.lock().identity.clone();
        let (addressed, rest) = match address::strip(text, &identity, &[]) {
            Some((addressed, rest)) => (Some(addressed), rest),
            None => (None, text.trim().to_owned()),
        };
        let incoming = Incoming {
            addressed,
            shared: true,
            act: PersonAct::Said { text: rest },
            ..self.incoming(person, text)
        };
        let id = incoming.id.clone();
        self.fake.receive(incoming, format!(": {text}")).await;
        id
    }

    /// `ann` writes in a conversation of two, with these files and quotations.
    pub async fn say_with(&self, text: &str, enclosed: Enclosed) -> MessageId {
        self.send_incoming(Incoming { enclosed, ..self.incoming("ann", text) }).await
    }

    /// A file that `ann` may send: fetching it gives `content`, or this refusal.
    pub fn file(&self, name: &str, content: Result<&[u8], &str>) -> SentFile {
        let reference = next_id().to_string();
        let size = content.ok().map(|bytes| bytes.len() as u64);
        let content = content.map(<[u8]>::to_vec).map_err(str::to_owned);
        self.fake.state.lock().fetched.files.insert(reference.clone(), content);
        SentFile { name: name.to_owned(), size, reference }
    }

    /// `ann` writes with an id of the test's choice: the same id again is a redelivery.
    pub async fn say_with_id(&self, id: &str, text: &str) -> MessageId {
        self.send_incoming(Incoming { id: MessageId::new(id), ..self.incoming("ann", text) }).await
    }

    /// What [`FakeRoom::say_as`] would send, to be changed (an old `sent_at`, a bot as sender) and given to
    /// [`FakeRoom::send_incoming`]. An address is stripped, as every messenger does it.
    pub fn incoming(&self, person: &str, text: &str) -> Incoming {
        let stripped = address::strip(text, &self.fake.state.lock().identity, &[]);
        let (addressed, text) = stripped.unwrap_or_else(|| (Addressed::Direct, text.trim().to_owned()));
        Incoming {
            id: next_id(),
            room: self.room.clone(),
            sender: Sender { id: person.into(), name: person.into(), is_bot: false },
            act: PersonAct::Said { text },
            addressed: Some(addressed),
            shared: false,
            reply_to: None,
            sent_at: SystemTime::now(),
            enclosed: Enclosed::default(),
        }
    }

    /// Delivers this as it is.
    pub async fn send_incoming(&self, incoming: Incoming) -> MessageId {
        let did = match &incoming.act {
            PersonAct::Said { text } => format!(": {text}"),
            PersonAct::Chose { key, .. } => format!(" picks {key}"),
            PersonAct::Edited { text, .. } => format!(" changes a message: {text}"),
            PersonAct::Redacted { .. } => " takes a message back".to_owned(),
        };
        let id = incoming.id.clone();
        self.fake.receive(incoming, did).await;
        id
    }

    /// `ann` picks a choice by its label or key, on the newest message that offers it; waits for one.
    pub async fn choose(&self, label_or_key: &str) -> MessageId {
        self.choose_as("ann", label_or_key).await
    }

    /// The same by another person.
    pub async fn choose_as(&self, person: &str, label_or_key: &str) -> MessageId {
        let found = self.fake.until(|state| state.log(&self.room).offer(label_or_key)).await;
        let Some((on, key)) = found else {
            self.fail(&format!("nobody offered the choice {label_or_key:?}"))
        };
        self.send_incoming(Incoming { act: PersonAct::Chose { on, key }, ..self.incoming(person, "") }).await
    }

    /// The bot can know who is in this room: these.
    pub fn has_people(&self, people: &[&str]) {
        let people = people.iter().map(|&id| id.into()).collect();
        self.fake.change(|state| state.people.insert(self.room.clone(), people));
    }

    /// What was said in the thread that this room is, or why it cannot be read now.
    pub fn thread_holds(&self, said: Result<Vec<Quotation>, &str>) {
        let said = said.map_err(str::to_owned);
        self.fake.change(|state| state.fetched.threads.insert(self.room.clone(), said));
    }

    /// `ann` changes the text of an earlier message of hers.
    pub async fn change(&self, id: &MessageId, text: &str) -> MessageId {
        self.change_as("ann", id, text).await
    }

    /// The same by another person.
    pub async fn change_as(&self, person: &str, id: &MessageId, text: &str) -> MessageId {
        self.send_incoming(self.changed(person, id, text)).await
    }

    /// What [`FakeRoom::change_as`] would send.
    pub fn changed(&self, person: &str, id: &MessageId, text: &str) -> Incoming {
        let incoming = self.incoming(person, text);
        let PersonAct::Said { text } = incoming.act.clone() else { return incoming };
        Incoming { act: PersonAct::Edited { message: id.clone(), text }, ..incoming }
    }

    /// `ann` takes an earlier message back.
    pub async fn redact(&self, id: &MessageId) -> MessageId {
        let act = PersonAct::Redacted { message: id.clone() };
        self.send_incoming(Incoming { act, ..self.incoming("ann", "") }).await
    }

    /// Waits for a message of the bot that contains `text` and was not seen yet, and marks it and all before
    /// it as seen. An edit makes a message unseen again. Panics after a minute, with the whole transcript.
    pub async fn see(&self, text: &str) -> FakeMessage {
        let wanted = |shown: &FakeMessage| shown.text.contains(text);
        let found = self.fake.until(|state| state.log(&self.room).see(wanted)).await;
        found.unwrap_or_else(|| self.fail(&format!("never saw {text:?}")))
    }

    /// Like [`FakeRoom::see`], but only a message that was edited counts.
    pub async fn see_edit(&self, text: &str) -> FakeMessage {
        let wanted = |shown: &FakeMessage| shown.edits > 0 && shown.text.contains(text);
        let found = self.fake.until(|state| state.log(&self.room).see(wanted)).await;
        found.unwrap_or_else(|| self.fail(&format!("never saw an edit with {text:?}")))
    }

    /// Waits for a file with this name, like [`FakeRoom::see`].
    pub async fn see_file(&self, name: &str) -> Attachment {
        let wanted = |file: &Attachment| file.name == name;
        let found = self.fake.until(|state| state.log(&self.room).files().find(|file| wanted(file)).cloned());
        found.await.unwrap_or_else(|| self.fail(&format!("never saw a file `{name}`")))
    }

    /// Waits until the bot has accepted the last message for it and is idle or asks.
    ///
    /// Only for messengers with activity, and not after a message that the bot ignores: a stranger's or a repeated one. Panics
    /// after a minute, with the whole transcript.
    pub async fn settled(&self) {
        let found = self.fake.until(|state| state.log(&self.room).is_settled().then_some(())).await;
        found.unwrap_or_else(|| self.fail("the room never settled"));
    }

    /// All messages of the bot, as they are now.
    pub fn shown(&self) -> Vec<FakeMessage> {
        let mut state = self.fake.state.lock();
        state.log(&self.room).shown().cloned().collect()
    }

    /// All files of the bot.
    pub fn uploads(&self) -> Vec<Attachment> {
        self.fake.state.lock().log(&self.room).files().cloned().collect()
    }

    /// The conversation as a person would read it now, one message a line, for snapshots. How often a
    /// message was edited is left out, since that depends on timing.
    pub fn transcript(&self) -> String {
        let mut state = self.fake.state.lock();
        state.log(&self.room).entries.iter().map(LogEntry::line).collect()
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        let mut state = self.fake.state.lock();
        let log = state.log(&self.room);
        let (activity, last) = (log.activity.clone(), log.last_said.clone());
        drop(state);
        panic!(
            "{}: {what}\nlast activity {activity:?}, last said {last:?}\n--- transcript\n{}---",
            self.room,
            self.transcript()
        );
    }
}

impl LogEntry {
    fn line(&self) -> String {
        match self {
            Self::Person { who, did } => format!("{who}{did}\n"),
            Self::File(file) => format!("bot (file): {}, {} bytes\n", file.name, file.bytes.len()),
            Self::Bot { shown, .. } => bot_line(shown),
        }
    }
}

fn bot_line(shown: &FakeMessage) -> String {
    let tone = match shown.tone {
        Tone::Answer => "",
        Tone::Notice => " (notice)",
        Tone::Question => " (question)",
        Tone::Failure => " (failure)",
    };
    let mut line = format!("bot{tone}: {}", shown.text);
    for choice in &shown.choices {
        let _ = write!(line, " [{}]", choice.label);
    }
    line.push('\n');
    line
}

impl FakeRoomLog {
    pub(super) fn shown(&self) -> impl Iterator<Item = &FakeMessage> {
        self.entries.iter().filter_map(|entry| match entry {
            LogEntry::Bot { shown, .. } => Some(shown),
            LogEntry::Person { .. } | LogEntry::File(_) => None,
        })
    }

    fn files(&self) -> impl Iterator<Item = &Attachment> {
        self.entries.iter().filter_map(|entry| match entry {
            LogEntry::File(file) => Some(file),
            LogEntry::Person { .. } | LogEntry::Bot { .. } => None,
        })
    }

    fn offer(&self, label_or_key: &str) -> Option<(MessageId, String)> {
        let shown: Vec<_> = self.shown().collect();
        shown.iter().rev().find_map(|shown| {
            let fits = |name: &str| name == label_or_key;
            let choice = shown.choices.iter().find(|choice| fits(&choice.key) || fits(&choice.label))?;
            Some((shown.id.clone(), choice.key.clone()))
        })
    }

    fn see(&mut self, wanted: impl Fn(&FakeMessage) -> bool) -> Option<FakeMessage> {
        let found = self.entries.iter().position(|entry| match entry {
            LogEntry::Bot { shown, seen_edits } => *seen_edits != Some(shown.edits) && wanted(shown),
            LogEntry::Person { .. } | LogEntry::File(_) => false,
        })?;
        let mut last = None;
        for entry in &mut self.entries[..=found] {
            if let LogEntry::Bot { shown, seen_edits } = entry {
                *seen_edits = Some(shown.edits);
                last = Some(shown);
            }
        }
        last.cloned()
    }
}

//! One console room: its recent messages in their present state, and its terminals.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::wire::{SaidLine, ShownMessage, StoredFile, ToTerminal};
use crate::{Activity, MessageId};

// Messages that a terminal gets when it attaches later, so that it does not begin with an empty screen.
const REMEMBERED: usize = 50;

const REMEMBERED_BYTES: usize = 4 * 1024 * 1024;

// A stopped terminal (Ctrl-Z) does not read. Beyond this it is disconnected, so that it neither blocks the
// room nor fills the memory.
const WAITING_BYTES: usize = 16 * 1024 * 1024;

/// The queue of lines for one terminal. Never blocks: a terminal that is too slow is disconnected.
#[derive(Clone)]
pub(super) struct LineSender {
    lines: mpsc::UnboundedSender<Arc<str>>,
    waiting: Arc<AtomicUsize>,
    /// Closes the connection at once, whatever waits.
    pub(super) gone: CancellationToken,
}

/// The receiving side of a [`LineSender`], for the task that writes to the terminal.
pub(super) struct LineReceiver {
    lines: mpsc::UnboundedReceiver<Arc<str>>,
    waiting: Arc<AtomicUsize>,
}

pub(super) fn line_channel() -> (LineSender, LineReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let outlet = LineSender { lines: sender, waiting: waiting.clone(), gone: CancellationToken::new() };
    (outlet, LineReceiver { lines: receiver, waiting })
}

impl LineSender {
    /// Queues one message; `false` when this terminal is gone or was just let go.
    pub(super) fn send(&self, message: &ToTerminal) -> bool {
        self.push(encode(message))
    }

    fn push(&self, line: Arc<str>) -> bool {
        let waiting = self.waiting.fetch_add(line.len(), Ordering::Relaxed);
        // A single line of any size passes: only a backlog shows that the terminal does not read.
        if waiting + line.len() > WAITING_BYTES && waiting > 0 {
            tracing::warn!(waiting, "a console terminal does not read what it is sent; it was let go");
            self.gone.cancel();
            return false;
        }
        self.lines.send(line).is_ok()
    }
}

impl LineReceiver {
    /// The next line with its line break; `None` once every [`LineSender`] of this terminal is dropped.
    pub(super) async fn next(&mut self) -> Option<Arc<str>> {
        let line = self.lines.recv().await?;
        self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
        Some(line)
    }
}

fn encode(message: &ToTerminal) -> Arc<str> {
    // Only a path that is not UTF-8 can fail here: the types have no maps with odd keys.
    let mut line = serde_json::to_string(message).unwrap_or_else(|error| {
        let reason = format!("a message could not be shown: {error}");
        serde_json::json!({ "type": "refused", "ticket": null, "why": reason }).to_string()
    });
    line.push('\n');
    line.into()
}

enum RoomEntry {
    Shown(ShownMessage),
    Said(SaidLine),
    File(StoredFile),
}

impl RoomEntry {
    fn bytes(&self) -> usize {
        match self {
            Self::Shown(shown) => shown.markdown.len(),
            Self::Said(said) => said.text.len(),
            Self::File(file) => file.caption.len(),
        }
    }

    fn replayed(&self) -> ToTerminal {
        match self {
            Self::Shown(shown) => ToTerminal::Message(ShownMessage { replay: true, ..shown.clone() }),
            Self::Said(said) => ToTerminal::Said(SaidLine { replay: true, ..said.clone() }),
            Self::File(file) => ToTerminal::File(StoredFile { replay: true, ..file.clone() }),
        }
    }
}

#[derive(Default)]
pub(super) struct RoomLog {
    entries: VecDeque<RoomEntry>,
    bytes: usize,
    activity: Option<Activity>,
    terminals: Vec<(u64, LineSender)>,
}

impl RoomLog {
    /// Whether somebody looks at the room.
    pub(super) fn has_terminals(&self) -> bool {
        !self.terminals.is_empty()
    }

    /// Whether nothing would be lost by forgetting the room.
    pub(super) fn is_unused(&self) -> bool {
        self.entries.is_empty() && self.terminals.is_empty()
    }

    /// Adds a terminal and sends it the room's present messages.
    pub(super) fn join(&mut self, terminal: u64, outlet: LineSender, hello: &ToTerminal) {
        outlet.send(hello);
        for entry in &self.entries {
            outlet.send(&entry.replayed());
        }
        if let Some(activity) = &self.activity {
            outlet.send(&ToTerminal::Activity(activity.clone()));
        }
        self.terminals.push((terminal, outlet));
    }

    pub(super) fn greet(&mut self, hello: &ToTerminal) {
        self.broadcast(hello, None);
    }

    pub(super) fn leave(&mut self, terminal: u64) {
        self.terminals.retain(|(id, _)| *id != terminal);
    }

    /// Lets every terminal go once what waits for it is written.
    pub(super) fn close_all(&mut self, reason: &str) {
        self.broadcast(&ToTerminal::Bye { reason: reason.into() }, None);
        self.terminals.clear();
    }

    pub(super) fn show(&mut self, shown: ShownMessage) {
        self.broadcast(&ToTerminal::Message(shown.clone()), None);
        self.remember(RoomEntry::Shown(shown));
    }

    /// Replaces a message; one that is no longer remembered is still replaced at the terminals.
    pub(super) fn edit(&mut self, edited: ShownMessage) {
        let (mut before, mut after) = (0, 0);
        for entry in &mut self.entries {
            if let RoomEntry::Shown(shown) = entry
                && shown.id == edited.id
            {
                (before, after) = (shown.markdown.len(), edited.markdown.len());
                shown.clone_from(&edited);
            }
        }
        self.bytes = self.bytes - before + after;
        self.broadcast(&ToTerminal::Edited(edited), None);
        self.forget_old();
    }

    // Not to the terminal where it was typed, which shows it already.
    pub(super) fn show_line(&mut self, said: SaidLine, terminal: u64) {
        self.broadcast(&ToTerminal::Said(said.clone()), Some(terminal));
        self.remember(RoomEntry::Said(said));
    }

    pub(super) fn file(&mut self, file: StoredFile) {
        self.broadcast(&ToTerminal::File(file.clone()), None);
        self.remember(RoomEntry::File(file));
    }

    pub(super) fn activity(&mut self, activity: Activity) {
        self.broadcast(&ToTerminal::Activity(activity.clone()), None);
        self.activity = Some(activity);
    }

    /// The choice that `text` picks by its number, counted from 1, from the newest message that offers any.
    pub(super) fn chosen(&self, text: &str) -> Option<(MessageId, String)> {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number: usize = text.parse().ok()?;
        let open = self.entries.iter().rev().find_map(|entry| match entry {
            RoomEntry::Shown(shown) if shown.is_open_question() => Some(shown),
            _ => None,
        })?;
        // A label that is a number itself goes before a position.
        let labelled = open.choices.iter().find(|choice| choice.label.trim() == text);
        let choice = labelled.or_else(|| open.choices.get(number.checked_sub(1)?))?;
        Some((open.id.clone(), choice.key.clone()))
    }

    fn remember(&mut self, entry: RoomEntry) {
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        self.forget_old();
    }

    fn forget_old(&mut self) {
        while self.entries.len() > REMEMBERED || (self.bytes > REMEMBERED_BYTES && self.entries.len() > 1) {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
    }

    fn broadcast(&mut self, message: &ToTerminal, but: Option<u64>) {
        let line = encode(message);
        self.terminals.retain(|(id, outlet)| Some(*id) == but || outlet.push(line.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Choice, Outgoing, Tone};

    fn shown(id: &str, text: &str) -> ShownMessage {
        ShownMessage::new(MessageId::new(id), &Outgoing::text(text))
    }

    fn question(id: &str, labels: &[&str]) -> ShownMessage {
        let choice = |label: &&str| Choice { key: label.to_lowercase(), label: (*label).into(), emoji: None };
        let choices = labels.iter().map(choice).collect();
        let message = Outgoing { choices, tone: Tone::Question, ..Outgoing::text("which?") };
        ShownMessage::new(MessageId::new(id), &message)
    }

    fn replay_of(room: &mut RoomLog) -> Vec<String> {
        let (outlet, mut outflow) = line_channel();
        room.join(99, outlet, &ToTerminal::Bye { reason: "hello".into() });
        room.leave(99);
        let mut texts = Vec::new();
        while let Ok(line) = outflow.lines.try_recv() {
            if let ToTerminal::Message(shown) = serde_json::from_str(&line).unwrap() {
                assert!(shown.replay);
                texts.push(shown.markdown);
            }
        }
        texts
    }

    #[test]
    fn a_number_picks_from_the_newest_open_question_and_an_edit_closes_it() {
        let mut room = RoomLog::default();
        assert_eq!(room.chosen("1"), None);
        room.show(question("a", &["Red", "Blue", "Green"]));
        room.show(question("b", &["Yes", "No"]));
        room.show(shown("c", "by the way"));
        let picked = |id: &str, key: &str| Some((MessageId::new(id), key.to_owned()));
        assert_eq!(room.chosen("2"), picked("b", "no"));
        for other in ["0", "3", "+1", "1.", "one", "99999999999999999999999", ""] {
            assert_eq!(room.chosen(other), None, "{other}");
        }
        room.edit(shown("b", "yes it is"));
        assert_eq!(room.chosen("3"), picked("a", "green"));
        room.edit(shown("a", "red it is"));
        assert_eq!(room.chosen("1"), None);
        room.show(question("d", &["2", "4", "8"]));
        assert_eq!(
            ["2", "3", "8"].map(|typed| room.chosen(typed)),
            [picked("d", "2"), picked("d", "8"), picked("d", "8")]
        );
        assert_eq!(room.chosen("16"), None, "words of their own");
    }

    #[test]
    fn the_last_fifty_are_remembered_as_they_are_now() {
        let mut room = RoomLog::default();
        for number in 0..60 {
            room.show(shown(&number.to_string(), &format!("message {number}")));
        }
        room.edit(shown("30", "message 30, edited"));
        room.edit(shown("5", "too old to be replayed"));
        let texts = replay_of(&mut room);
        assert_eq!(texts.len(), REMEMBERED);
        assert_eq!(texts[0], "message 10");
        assert_eq!(texts[20], "message 30, edited");
    }

    #[test]
    fn large_messages_are_forgotten_sooner() {
        let mut room = RoomLog::default();
        room.show(shown("first", "small"));
        for number in 0..5 {
            room.show(shown(&number.to_string(), "x"));
            room.edit(shown(&number.to_string(), &"x".repeat(REMEMBERED_BYTES / 4)));
        }
        assert_eq!(replay_of(&mut room).len(), 4);
    }

    #[test]
    fn a_terminal_that_does_not_read_is_let_go_and_the_others_stay() {
        let mut room = RoomLog::default();
        let (stuck, _never_read) = line_channel();
        let (reading, mut outflow) = line_channel();
        room.terminals = vec![(1, stuck.clone()), (2, reading.clone())];
        for number in 0..=(WAITING_BYTES >> 20) {
            room.show(shown(&number.to_string(), &"x".repeat(1 << 20)));
            let line = outflow.lines.try_recv().unwrap();
            outflow.waiting.fetch_sub(line.len(), Ordering::Relaxed);
        }
        assert!(stuck.gone.is_cancelled());
        assert!(!reading.gone.is_cancelled());
        assert_eq!(room.terminals.len(), 1);
    }
}

//! What people say to an agent while it works on a story: its hooks take it between two tool calls, and before the turn ends.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::event::Actor;

/// A person's words to an agent at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonMessage {
    pub by: Actor,
    pub text: String,
}

/// What happened to a message, for the run's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MailboxNote {
    Came(PersonMessage),
    Read(PersonMessage),
}

/// The messages of one run. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RunMailbox(Arc<SharedMailbox>);

#[derive(Debug, Default)]
struct SharedMailbox {
    state: Mutex<MailboxState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct MailboxState {
    waiting: Vec<PersonMessage>,
    notes: Vec<MailboxNote>,
    is_closed: bool,
}

impl RunMailbox {
    /// Leaves a message for the agent. Returns `false` where its run takes none any more.
    pub(crate) fn put(&self, message: PersonMessage) -> bool {
        {
            let mut state = self.0.state.lock();
            if state.is_closed {
                return false;
            }
            state.notes.push(MailboxNote::Came(message.clone()));
            state.waiting.push(message);
        }
        self.0.changed.notify_one();
        true
    }

    /// The messages that the agent gets now, each once.
    pub fn take(&self) -> Vec<PersonMessage> {
        let taken = {
            let mut state = self.0.state.lock();
            let taken = std::mem::take(&mut state.waiting);
            state.notes.extend(taken.iter().cloned().map(MailboxNote::Read));
            taken
        };
        if !taken.is_empty() {
            self.0.changed.notify_one();
        }
        taken
    }

    /// Takes no more messages. Returns those that nobody has read.
    pub(crate) fn close(&self) -> Vec<PersonMessage> {
        let mut state = self.0.state.lock();
        state.is_closed = true;
        std::mem::take(&mut state.waiting)
    }

    /// What happened since the last call.
    pub(crate) fn notes(&self) -> Vec<MailboxNote> {
        std::mem::take(&mut self.0.state.lock().notes)
    }

    /// Waits until something has happened. Can be cancelled without loss.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

impl MailboxNote {
    /// The line of the run's log.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Came(PersonMessage { by, text }) => format!("({by} says: {text})"),
            Self::Read(PersonMessage { by, .. }) => format!("(the agent has what {by} said)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> PersonMessage {
        PersonMessage { by: Actor::Person("Ann".into()), text: text.into() }
    }

    #[tokio::test]
    async fn each_message_is_taken_once_and_the_log_hears_of_both_ends() {
        let mailbox = RunMailbox::default();
        assert!(mailbox.put(message("use blue")) && mailbox.put(message("not red")));
        mailbox.changed().await;
        assert_eq!(mailbox.take(), [message("use blue"), message("not red")]);
        assert_eq!(mailbox.take(), []);
        let lines: Vec<String> = mailbox.notes().iter().map(MailboxNote::line).collect();
        let expected = [
            "(Ann says: use blue)",
            "(Ann says: not red)",
            "(the agent has what Ann said)",
            "(the agent has what Ann said)",
        ];
        assert_eq!(lines, expected);
        assert_eq!(mailbox.notes(), []);
    }

    #[test]
    fn a_run_that_ends_gives_back_what_was_not_read_and_takes_no_more() {
        let mailbox = RunMailbox::default();
        mailbox.put(message("too late"));
        assert_eq!(mailbox.close(), [message("too late")]);
        assert!(!mailbox.put(message("later still")));
        assert_eq!((mailbox.take(), mailbox.close()), (vec![], vec![]));
    }
}

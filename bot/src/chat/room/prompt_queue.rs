//! The prompts and commands that wait for the room, in order, and their rows in the store.

use std::{collections::VecDeque, sync::Arc};

use adapters::{Addressed, MessageId, Room, Sender, SentFile};

use super::log_store_error;
use crate::{
    commands::command::Command,
    store::{QueuedPrompt, Store},
};

/// How many prompts and commands may wait in a room. People see "queue full" and stop, instead of
/// waiting hours for an answer.
pub const QUEUE_LIMIT: usize = 20;

/// A prompt or a command, not yet begun.
pub(super) enum QueuedWork {
    Prompt { number: Option<i64>, prompt: QueuedPrompt },
    Command { command: Arc<dyn Command>, args: String, call: CommandCall },
}

/// Who called a command, and how.
#[derive(Clone, Debug)]
pub(super) struct CommandCall {
    pub(super) sender: Sender,
    pub(super) message: Option<MessageId>,
    pub(super) addressed: Option<Addressed>,
    /// What came with the message.
    pub(super) files: Vec<SentFile>,
    /// Its row in the store until it is answered.
    pub(super) number: Option<i64>,
}

/// The queue of a room.
pub(super) struct PromptQueue {
    room: Room,
    store: Store,
    waiting: VecDeque<QueuedWork>,
}

impl PromptQueue {
    pub(super) fn new(room: Room, store: Store) -> Self {
        Self { room, store, waiting: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= QUEUE_LIMIT
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Queues a prompt; from now on a kill does not lose it.
    pub(super) fn push_prompt(&mut self, prompt: QueuedPrompt) {
        let number = log_store_error(&self.room, self.store.queue_prompt(&self.room, &prompt));
        self.waiting.push_back(QueuedWork::Prompt { number, prompt });
    }

    /// Queues work whose row is in the store already.
    pub(super) fn push_stored(&mut self, work: QueuedWork) {
        self.waiting.push_back(work);
    }

    pub(super) fn pop(&mut self) -> Option<QueuedWork> {
        self.waiting.pop_front()
    }

    /// Takes out what this message asked for. `false` if it does not wait here.
    pub(super) fn remove(&mut self, message: &MessageId) -> bool {
        let position = self.waiting.iter().position(|work| work.message() == Some(message));
        let removed = position.and_then(|position| self.waiting.remove(position));
        if let Some(work) = &removed {
            self.forget(work);
        }
        removed.is_some()
    }

    /// Who asked for what waits under this message.
    pub(super) fn author(&self, message: &MessageId) -> Option<&str> {
        let work = self.waiting.iter().find(|work| work.message() == Some(message))?;
        Some(match work {
            QueuedWork::Prompt { prompt, .. } => &prompt.sender_id,
            QueuedWork::Command { call, .. } => &call.sender.id,
        })
    }

    /// Changes the text of a prompt, which keeps its place. `None` if no prompt waits under this message, else
    /// whether the text is another one.
    pub(super) fn change_prompt(&mut self, message: &MessageId, text: &str) -> Option<bool> {
        let work = self.waiting.iter_mut().find(|work| work.message() == Some(message))?;
        let QueuedWork::Prompt { number, prompt } = work else { return None };
        if prompt.text == text {
            return Some(false);
        }
        text.clone_into(&mut prompt.text);
        if let Some(number) = *number {
            log_store_error(&self.room, self.store.change_prompt(number, prompt));
        }
        Some(true)
    }

    pub(super) fn clear(&mut self) {
        for work in std::mem::take(&mut self.waiting) {
            self.forget(&work);
        }
    }

    // Its row goes as well, or the next start would run it.
    fn forget(&self, work: &QueuedWork) {
        if let Some(number) = work.number() {
            log_store_error(&self.room, self.store.prompt_done(number));
        }
    }

    /// Who waits, and for what.
    pub(super) fn describe(&self) -> Vec<(String, String)> {
        self.waiting.iter().map(QueuedWork::describe).collect()
    }
}

impl QueuedWork {
    fn message(&self) -> Option<&MessageId> {
        match self {
            Self::Prompt { prompt, .. } => prompt.message.as_ref(),
            Self::Command { call, .. } => call.message.as_ref(),
        }
    }

    fn number(&self) -> Option<i64> {
        match self {
            Self::Prompt { number, .. } => *number,
            Self::Command { call, .. } => call.number,
        }
    }

    fn describe(&self) -> (String, String) {
        match self {
            Self::Prompt { prompt, .. } => (prompt.sender_name.clone(), prompt.text.clone()),
            Self::Command { command, args, call } => {
                (call.sender.name.to_string(), format!("{} {args}", command.spec().name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::commands;

    fn queue() -> (PromptQueue, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db"), SystemTime::now()).unwrap();
        (PromptQueue::new(Room::new("fake", "a"), store), folder)
    }

    fn prompt(number: usize) -> QueuedPrompt {
        let message = MessageId::new(format!("m{number}"));
        QueuedPrompt { message: Some(message), ..QueuedPrompt::for_tests(&format!("prompt {number}")) }
    }

    /// A command with a row of its own.
    fn command(queue: &PromptQueue, message: &str) -> QueuedWork {
        let message = MessageId::new(message);
        let kept = QueuedPrompt { is_command: true, message: Some(message.clone()), ..prompt(0) };
        let number = queue.store.queue_prompt(&queue.room, &kept).ok();
        let sender = Sender { id: "@ann".into(), name: "Ann".into(), is_bot: false };
        let files = Vec::new();
        let call = CommandCall { sender, message: Some(message), addressed: None, files, number };
        let command = commands::all().get("status").unwrap().clone();
        QueuedWork::Command { command, args: "all".into(), call }
    }

    fn stored(queue: &PromptQueue) -> usize {
        queue.store.left_prompts().unwrap().len()
    }

    #[test]
    fn work_comes_out_in_the_order_it_came_in_and_is_kept_until_it_is_answered() {
        let (mut queue, _folder) = queue();
        queue.push_prompt(prompt(1));
        let status = command(&queue, "m2");
        queue.push_stored(status);
        queue.push_prompt(prompt(3));
        let described: Vec<String> = queue.describe().into_iter().map(|(_, text)| text).collect();
        assert_eq!(described, ["prompt 1", "status all", "prompt 3"]);
        assert!(
            matches!(queue.pop(), Some(QueuedWork::Prompt { prompt, number: Some(_) }) if prompt.text == "prompt 1")
        );
        assert!(matches!(queue.pop(), Some(QueuedWork::Command { .. })));
        assert_eq!((queue.len(), stored(&queue)), (1, 3), "what has begun is not answered");
    }

    #[test]
    fn what_is_taken_back_is_not_run_after_a_restart_either() {
        let (mut queue, _folder) = queue();
        (1..=3).for_each(|number| queue.push_prompt(prompt(number)));
        let status = command(&queue, "m4");
        queue.push_stored(status);
        assert!(queue.remove(&MessageId::new("m2")) && queue.remove(&MessageId::new("m4")));
        assert!(!queue.remove(&MessageId::new("m2")), "it is gone");
        assert_eq!((queue.len(), stored(&queue)), (2, 2));
        queue.clear();
        assert_eq!((queue.is_empty(), stored(&queue)), (true, 0));
    }

    #[test]
    fn a_changed_prompt_keeps_its_place_also_over_a_restart() {
        let (mut queue, _folder) = queue();
        (1..=2).for_each(|number| queue.push_prompt(prompt(number)));
        let status = command(&queue, "m3");
        queue.push_stored(status);
        assert_eq!(queue.change_prompt(&MessageId::new("m1"), "another text"), Some(true));
        assert_eq!(queue.change_prompt(&MessageId::new("m1"), "another text"), Some(false));
        assert_eq!(queue.change_prompt(&MessageId::new("m3"), "x"), None, "a command");
        assert_eq!(queue.change_prompt(&MessageId::new("m9"), "x"), None);
        assert_eq!(
            (queue.author(&MessageId::new("m3")), queue.author(&MessageId::new("m9"))),
            (Some("@ann"), None)
        );
        let texts: Vec<String> =
            queue.store.left_prompts().unwrap().into_iter().map(|(_, _, _, prompt)| prompt.text).collect();
        assert_eq!(texts[..2], ["another text", "prompt 2"]);
        assert_eq!(queue.describe()[0].1, "another text");
    }

    #[test]
    fn the_queue_has_an_end() {
        let (mut queue, _folder) = queue();
        (1..QUEUE_LIMIT).for_each(|number| queue.push_prompt(prompt(number)));
        assert!(!queue.is_full());
        queue.push_prompt(prompt(QUEUE_LIMIT));
        assert!(queue.is_full());
    }
}

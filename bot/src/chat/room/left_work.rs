//! Commands and prompts in the store: written before they run, and taken up, reported or skipped by
//! the start after a crash.

use std::sync::Arc;

use adapters::{Addressed, Sender, Tone};

use super::{
    RoomTask, log_store_error,
    prompt_queue::{CommandCall, QueuedWork},
};
use crate::{
    commands::command::{Command, ParsedText},
    replies,
    store::QueuedPrompt,
};

impl RoomTask {
    /// Stores a command until it is answered; `None` for a click, whose button can be clicked again.
    pub(super) fn keep_command(
        &self,
        command: &dyn Command,
        args: &str,
        call: &CommandCall,
        begins: bool,
    ) -> Option<i64> {
        let kept = QueuedPrompt {
            message: call.message.clone()?,
            sender_id: call.sender.id.to_string(),
            sender_name: call.sender.name.to_string(),
            text: format!("{} {args}", command.spec().name).trim_end().to_owned(),
            addressed: call.addressed,
            shared: self.activity.shared,
            sent_at: self.services.clock.now(),
            is_command: true,
        };
        let store = &self.services.store;
        let number = match begins {
            true => store.begin_prompt(&self.room, &kept),
            false => store.queue_prompt(&self.room, &kept),
        };
        log_store_error(&self.room, number)
    }

    // It runs only if it had not begun and is not old. One that had begun may have had effects, so it is reported
    // instead of run twice; an old one may no longer be wanted.
    pub(super) fn on_left_prompt(&mut self, number: i64, started: bool, prompt: QueuedPrompt) {
        let age = self.services.clock.now().duration_since(prompt.sent_at).unwrap_or_default();
        let sentence = match (started, prompt.is_command) {
            (true, true) => replies::command_cut_by_restart(&prompt),
            (true, false) => replies::cut_by_restart(&prompt),
            (false, _) if age > self.services.config().catch_up.0 => replies::skipped(&prompt, age),
            (false, false) => {
                let message = prompt.message.clone();
                return self.queue_left(QueuedWork::Prompt { number: Some(number), prompt }, message);
            }
            (false, true) => match self.left_command(number, &prompt) {
                Ok(command) => return self.queue_left(command, prompt.message),
                Err(sentence) => sentence,
            },
        };
        self.say(sentence, Tone::Notice, Some(prompt.message));
        self.done_when_told(number);
    }

    fn queue_left(&mut self, work: QueuedWork, message: adapters::MessageId) {
        // After a restart no message has arrived yet, and without one the messenger cannot show activity.
        self.activity.last_message.get_or_insert(message);
        self.queue.push_stored(work);
        self.next_in_queue();
    }

    /// A command that waited, as it waits again; or the sentence why it does not.
    fn left_command(&self, number: i64, kept: &QueuedPrompt) -> Result<QueuedWork, String> {
        let services = self.services.clone();
        let ParsedText::Command(command, args) =
            services.commands.registry.parse(&kept.text, Some(Addressed::Prefix))
        else {
            return Err(replies::command_cut_by_restart(kept));
        };
        // The check of the role was in the earlier process; `bot.toml` can have changed with the restart.
        let role = services.access().role(&self.room, &kept.sender_id);
        if role.is_none_or(|role| role < command.spec().role) {
            return Err(replies::not_allowed(command.spec().name, command.spec().role));
        }
        let sender = Sender {
            id: Arc::from(kept.sender_id.as_str()),
            name: Arc::from(kept.sender_name.as_str()),
            is_bot: false,
        };
        let (message, addressed) = (Some(kept.message.clone()), kept.addressed);
        let call = CommandCall { sender, message, addressed, number: Some(number) };
        Ok(QueuedWork::Command { command, args: args.to_owned(), call })
    }

    // The row goes only after the answer has left the outbox: if a kill comes before that, the next start finds the
    // row and reports the prompt. The other order could lose an answer in silence.
    pub(super) fn done_when_told(&self, number: i64) {
        let services = self.services.clone();
        self.outbox.then(move || {
            if let Err(error) = services.store.prompt_done(number) {
                tracing::error!(%error, "what is over could not be taken out of the store");
            }
        });
    }
}

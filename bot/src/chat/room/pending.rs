//! Prompts and commands as the store keeps them until they are answered, and what a start makes of those that are left.

use std::sync::Arc;

use adapters::{Addressed, Sender, Tone};

use super::{CommandCall, PendingWork, RoomTask};
use crate::{
    commands::command::{Command, ParsedText},
    replies,
    store::QueuedPrompt,
};

impl RoomTask {
    /// Keeps a command until it is answered; `None` for a click, whose button still stands there.
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
            shared: self.shared,
            sent_at: self.services.clock.now(),
            is_command: true,
        };
        let store = &self.services.store;
        self.log_store_error(match begins {
            true => store.begin_prompt(&self.room, &kept),
            false => store.queue_prompt(&self.room, &kept),
        })
    }

    /// What an earlier process left: run only if it had not begun and is not old.
    pub(super) fn left_prompt(&mut self, number: i64, started: bool, prompt: QueuedPrompt) {
        let age = self.services.clock.now().duration_since(prompt.sent_at).unwrap_or_default();
        let told = match (started, prompt.is_command) {
            (true, true) => replies::command_cut_by_restart(&prompt),
            (true, false) => replies::cut_by_restart(&prompt),
            (false, _) if age > self.services.config().catch_up.0 => replies::skipped(&prompt, age),
            (false, false) => {
                self.last.get_or_insert_with(|| prompt.message.clone());
                self.queue.push_back(PendingWork::Prompt { number: Some(number), prompt });
                return self.next_in_queue();
            }
            (false, true) => match self.left_command(number, &prompt) {
                Ok(waiting) => {
                    self.last.get_or_insert(prompt.message);
                    self.queue.push_back(waiting);
                    return self.next_in_queue();
                }
                Err(why) => why,
            },
        };
        self.say(told, Tone::Notice, Some(prompt.message));
        self.done_when_told(number);
    }

    /// A command that waited, as it waits again; or what is to be told of it.
    fn left_command(&self, number: i64, kept: &QueuedPrompt) -> Result<PendingWork, String> {
        let services = self.services.clone();
        let ParsedText::Command(command, args) =
            services.commands.registry.parse(&kept.text, Some(Addressed::Prefix))
        else {
            return Err(replies::command_cut_by_restart(kept));
        };
        // Who may do what can have changed with the restart.
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
        Ok(PendingWork::Command { command, args: args.to_owned(), call })
    }

    /// A prompt or command is over once the room has been told how it ended: a kill before that is told by the next start.
    pub(super) fn done_when_told(&self, number: i64) {
        let services = self.services.clone();
        self.outbox.then(move || {
            if let Err(error) = services.store.prompt_done(number) {
                tracing::error!(%error, "what is over could not be taken out of the store");
            }
        });
    }

    /// It was taken back before its turn.
    pub(super) fn forget(&self, waiting: &PendingWork) {
        let (PendingWork::Prompt { number, .. }
        | PendingWork::Command { call: CommandCall { number, .. }, .. }) = waiting;
        if let Some(number) = number {
            self.log_store_error(self.services.store.prompt_done(*number));
        }
    }
}

//! Commands and prompts in the store: written before they run, and taken up, reported or skipped by
//! the start after a crash.

use std::sync::Arc;

use adapters::{Addressed, Room, Sender, Tone};

use super::{
    RoomTask, log_store_error,
    prompt_queue::{CommandCall, QueuedWork},
};
use crate::{
    commands::command::{Command, ParsedText},
    replies,
    store::{PromptState, QueuedPrompt},
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
            message: Some(call.message.clone()?),
            sender_id: call.sender.id.to_string(),
            sender_name: call.sender.name.to_string(),
            text: format!("{} {args}", command.spec().name).trim_end().to_owned(),
            addressed: call.addressed,
            shared: self.activity.shared,
            sent_at: self.services.clock.now(),
            is_command: true,
            enclosed: adapters::Enclosed::default(),
            continues: false,
            thread: self.outbox.thread_of(call.message.as_ref()?).map(ToString::to_string),
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
    pub(super) fn on_left_prompt(&mut self, number: i64, state: PromptState, prompt: QueuedPrompt) {
        let thread = prompt.thread.as_deref().and_then(Room::parse);
        if let (Some(message), Some(thread)) = (&prompt.message, thread) {
            self.outbox.set_thread(message.clone(), thread);
        }
        let age = self.services.clock.now().duration_since(prompt.sent_at).unwrap_or_default();
        let sentence = match (state, prompt.is_command) {
            (PromptState::Thinks | PromptState::Acts | PromptState::WaitsForService, true) => {
                replies::command_cut_by_restart(&prompt)
            }
            (PromptState::Thinks, false) if self.may_continue(&prompt) => {
                return self.continue_turn(number, prompt);
            }
            (PromptState::Thinks | PromptState::Acts, false) => replies::cut_by_restart(&prompt),
            (PromptState::Waits, _) if age > self.services.config().catch_up.0 => {
                replies::skipped(&prompt, age)
            }
            // However old: its author was told that it is sent again.
            (PromptState::Waits | PromptState::WaitsForService, false) => {
                let message = prompt.message.clone();
                return self.queue_left(QueuedWork::Prompt { number: Some(number), prompt }, message);
            }
            (PromptState::Waits, true) => match self.left_command(number, &prompt) {
                Ok(command) => return self.queue_left(command, prompt.message),
                Err(sentence) => sentence,
            },
        };
        self.say(sentence, Tone::Notice, prompt.message);
        self.done_when_told(number);
    }

    /// Once: a turn that ends its bot must not be begun again and again.
    fn may_continue(&self, prompt: &QueuedPrompt) -> bool {
        self.services.config().relay.continue_interrupted && !prompt.continues
    }

    /// Goes on with a turn that was cut while no tool ran, so that nothing is half done.
    fn continue_turn(&mut self, number: i64, prompt: QueuedPrompt) {
        self.say(replies::continued_after_restart(&prompt), Tone::Notice, prompt.message.clone());
        let message = prompt.message.clone();
        // Its session has the files already.
        let enclosed = adapters::Enclosed::default();
        let continued = QueuedPrompt { continues: true, enclosed, ..prompt };
        let stored = log_store_error(&self.room, self.services.store.queue_prompt(&self.room, &continued));
        self.done_when_told(number);
        self.queue_left(QueuedWork::Prompt { number: stored, prompt: continued }, message);
    }

    fn queue_left(&mut self, work: QueuedWork, message: Option<adapters::MessageId>) {
        // After a restart no message has arrived yet, and without one the messenger cannot show activity.
        let last = &mut self.activity.last_message;
        *last = last.take().or(message);
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
        let (message, addressed) = (kept.message.clone(), kept.addressed);
        let call = CommandCall { sender, message, addressed, files: Vec::new(), number: Some(number) };
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adapters::MessageId;

    use super::*;
    use crate::{
        chat::{
            room::fixture::{RoomFixture, now, prompt},
            rooms::RoomInput,
        },
        commands,
        config::{BotConfig, RelaySection},
    };

    /// A prompt or command that an earlier process has in the store.
    async fn left(fixture: &mut RoomFixture, started: bool, prompt: QueuedPrompt) {
        left_in(fixture, if started { PromptState::Acts } else { PromptState::Waits }, prompt).await;
    }

    async fn left_in(fixture: &mut RoomFixture, state: PromptState, prompt: QueuedPrompt) {
        let room = fixture.room().room().clone();
        let number = fixture.services.store.queue_prompt(&room, &prompt).unwrap();
        fixture.services.store.set_prompt_state(number, state).unwrap();
        fixture.task.handle_input(RoomInput::LeftPrompt { number, state, prompt }).await;
        fixture.task.outbox.flush().await;
        fixture.enters();
    }

    fn command(text: &str) -> QueuedPrompt {
        QueuedPrompt { is_command: true, ..prompt(text) }
    }

    fn notice(sentence: &str) -> String {
        format!("bot (notice): {sentence}\n")
    }

    #[tokio::test]
    async fn what_had_begun_is_reported_once_and_never_run_again() {
        let mut fixture = RoomFixture::new().await;
        left(&mut fixture, true, prompt("fix it")).await;
        assert_eq!(fixture.transcript().await, notice(&replies::cut_by_restart(&prompt("fix it"))));
        let mut fixture = RoomFixture::new().await;
        left(&mut fixture, true, command("status")).await;
        assert_eq!(fixture.transcript().await, notice(&replies::command_cut_by_restart(&command("status"))));
        assert_eq!(fixture.room().shown()[0].reply_to, Some(MessageId::new("m")));
        assert_eq!((fixture.left(), fixture.task.is_busy()), (vec![], false));
    }

    #[tokio::test]
    async fn what_waited_for_the_models_service_is_sent_again_however_old_it_is() {
        let mut fixture = RoomFixture::new().await;
        let old = QueuedPrompt { sent_at: now() - Duration::from_secs(600_000), ..prompt("fix it") };
        left_in(&mut fixture, PromptState::WaitsForService, old).await;
        assert!(fixture.task.turn.is_running() && fixture.transcript().await.is_empty());
    }

    #[tokio::test]
    async fn a_turn_is_continued_only_where_the_operator_wants_it_and_no_tool_ran_and_once() {
        for (wanted, state, continues, is_continued) in [
            (true, PromptState::Thinks, false, true),
            (false, PromptState::Thinks, false, false),
            (true, PromptState::Acts, false, false),
            (true, PromptState::Thinks, true, false),
        ] {
            let config = BotConfig {
                relay: RelaySection { continue_interrupted: wanted, ..RelaySection::default() },
                ..RoomFixture::config()
            };
            let mut fixture = RoomFixture::with(config).await;
            left_in(&mut fixture, state, QueuedPrompt { continues, ..prompt("fix it") }).await;
            let sentence = match is_continued {
                true => replies::continued_after_restart(&prompt("fix it")),
                false => replies::cut_by_restart(&prompt("fix it")),
            };
            assert_eq!(fixture.transcript().await, notice(&sentence), "{wanted} {state:?}");
            assert_eq!(fixture.task.turn.is_running(), is_continued);
            let left: &[_] = if is_continued { &[("fix it".into(), true)] } else { &[] };
            assert_eq!(fixture.left(), left);
            if let Some(turn) = &fixture.task.turn.current {
                let input = format!("{:?}", turn.input);
                assert!(input.contains("restarted") && input.contains("fix it"), "{input}");
            }
        }
    }

    #[tokio::test]
    async fn what_waited_too_long_is_skipped_and_its_author_is_told() {
        let limit = Duration::from_secs(600);
        let aged = |age| QueuedPrompt { sent_at: now() - age, ..prompt("fix it") };
        let mut fixture = RoomFixture::new().await;
        assert_eq!(fixture.services.config().catch_up.0, limit);
        let late = limit + Duration::from_secs(1);
        left(&mut fixture, false, aged(late)).await;
        assert_eq!(fixture.transcript().await, notice(&replies::skipped(&aged(late), late)));
        assert_eq!((fixture.left(), fixture.task.is_busy()), (vec![], false));
        left(&mut fixture, false, aged(limit)).await;
        assert!(fixture.task.turn.is_running(), "just in time");
    }

    #[tokio::test]
    async fn prompts_that_waited_run_in_their_order_and_stay_stored_until_they_are_answered() {
        let mut fixture = RoomFixture::new().await;
        left(&mut fixture, false, QueuedPrompt { message: Some(MessageId::new("m1")), ..prompt("one") })
            .await;
        left(&mut fixture, false, QueuedPrompt { message: Some(MessageId::new("m2")), ..prompt("two") })
            .await;
        assert_eq!(fixture.task.activity.last_message, Some(MessageId::new("m1")));
        assert_eq!(fixture.left(), [("one".into(), true), ("two".into(), false)]);
        fixture.answers("done");
        assert_eq!(fixture.transcript().await, "bot: done\n");
        assert_eq!(fixture.left(), [("two".into(), true)]);
    }

    #[tokio::test]
    async fn a_command_that_waited_is_run_with_the_right_that_its_author_has_now() {
        let mut fixture = RoomFixture::new().await;
        left(&mut fixture, false, command("whoami")).await;
        fixture.handles_answer().await;
        assert!(fixture.transcript().await.contains("role: approver)"), "{}", fixture.transcript().await);
        assert_eq!(fixture.left(), []);
        for person in ["ann", "eve"] {
            let mut fixture = RoomFixture::new().await;
            left(&mut fixture, false, QueuedPrompt { sender_id: person.into(), ..command("restart") }).await;
            let role = crate::config::access::UserRole::Operator;
            assert_eq!(fixture.transcript().await, notice(&replies::not_allowed("restart", role)));
            assert_eq!((fixture.left(), fixture.task.is_busy()), (vec![], false));
        }
    }

    #[tokio::test]
    async fn a_command_that_this_version_does_not_know_is_reported() {
        let mut fixture = RoomFixture::new().await;
        left(&mut fixture, false, command("frobnicate 3")).await;
        let expected = replies::command_cut_by_restart(&command("frobnicate 3"));
        assert_eq!(fixture.transcript().await, notice(&expected));
        assert_eq!(fixture.left(), []);
    }

    #[tokio::test]
    async fn a_command_is_stored_with_its_arguments_and_a_click_is_not() {
        let fixture = RoomFixture::new().await;
        let registry = commands::all();
        let status = registry.get("status").unwrap();
        let call = fixture.call("ann", Some(Addressed::Prefix));
        let waits = fixture.task.keep_command(&**status, "all", &call, false);
        let begins = fixture.task.keep_command(&**status, "", &call, true);
        assert!(waits.is_some() && begins.is_some());
        assert_eq!(fixture.left(), [("status all".into(), false), ("status".into(), true)]);
        let (_, _, _, kept) = fixture.services.store.left_prompts().unwrap().swap_remove(0);
        let expected = QueuedPrompt {
            sender_name: "ann".into(),
            addressed: Some(Addressed::Prefix),
            ..command("status all")
        };
        assert_eq!(kept, expected);
        let click = CommandCall { message: None, ..call };
        assert_eq!(fixture.task.keep_command(&**status, "", &click, false), None);
    }
}

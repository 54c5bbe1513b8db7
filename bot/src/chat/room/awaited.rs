//! Words that answer the bot itself: the title or the criteria of a new story, after `new`.

use std::time::Duration;

use adapters::{Addressed, Incoming, PersonAct, Tone};
use pipeline::{event::Actor, handle::StoryChange, story::StoryId};
use tokio::time::Instant;

use super::{RoomTask, prompt_queue::CommandCall};
use crate::{
    commands::{
        command::{AwaitedText, CommandError, CommandResult, Reply, RoomAction},
        new::written,
        story::{create, criteria_of},
    },
    replies,
    store::OverheardTalk,
};

/// How long the bot expects an answer. Later words are a prompt, as ever.
const PATIENCE: Duration = Duration::from_secs(600);

/// Words that leave a story as it is.
const LATER: &[&str] = &["no", "none", "nothing", "skip", "later", "not now", "never mind"];

/// Whose next words are taken for what.
pub(super) struct AwaitedAnswer {
    person: String,
    what: AwaitedText,
    until: Instant,
}

impl RoomTask {
    /// From now on the next words of who called, if they are no command, are taken for this.
    pub(super) fn await_text(&mut self, call: &CommandCall, what: AwaitedText) {
        let until = Instant::now() + PATIENCE;
        self.activity.awaited = Some(AwaitedAnswer { person: call.sender.id.to_string(), what, until });
        if let AwaitedText::Criteria(id) = what {
            self.note_question(id);
        }
    }

    /// If somebody answers in another way than expected, the words go to the agent, which has to know what they are about.
    fn note_question(&self, id: StoryId) {
        let board = self.services.commands.pipeline.snapshot().board.clone();
        let Some(story) = board.story(id) else { return };
        let config = self.services.config();
        let text = replies::asked_for_criteria(id, &story.front.name);
        let talk = OverheardTalk { who: config.display_name.clone(), text };
        self.log_store_error(self.services.store.overhear(&self.room, &talk, config.history_size));
    }

    /// Takes the words for what was asked of their author. A question is for the agent.
    pub(super) fn take_awaited(&mut self, call: &CommandCall, text: &str) -> bool {
        let is_command = matches!(call.addressed, Some(Addressed::Prefix | Addressed::Slash));
        let is_meant = |awaited: &mut AwaitedAnswer| {
            *awaited.person == *call.sender.id && Instant::now() < awaited.until
        };
        if is_command || text.trim().is_empty() || text.trim_end().ends_with('?') {
            return false;
        }
        let Some(AwaitedAnswer { what, .. }) = self.activity.awaited.take_if(is_meant) else { return false };
        if LATER.iter().any(|word| text.trim().trim_end_matches(['.', '!']).eq_ignore_ascii_case(word)) {
            self.say(replies::LEFT_AS_IT_IS, Tone::Notice, call.message.clone());
            return true;
        }
        let answered = match what {
            AwaitedText::Story(kind) => self.write_story(call, kind, text),
            AwaitedText::Criteria(id) => self.write_criteria(call, id, text),
        };
        self.answer_command(call, "new", answered);
        true
    }

    fn write_story(&self, call: &CommandCall, kind: pipeline::story::StoryKind, text: &str) -> CommandResult {
        let Some(new) = written(kind, text) else {
            return Err(CommandError::User(replies::NO_TITLE.into()));
        };
        let (services, by) = (self.services.commands.clone(), Actor::Person(call.sender.name.to_string()));
        let origin = services.messengers.origin(&self.room, call.message.as_ref(), text);
        let work = async move { create(&services, new, by, &origin).await };
        Ok(Reply::default().then(RoomAction::Later(Box::pin(work))))
    }

    fn write_criteria(&self, call: &CommandCall, id: StoryId, text: &str) -> CommandResult {
        let criteria = criteria_of(text);
        let count = criteria.len();
        let change = StoryChange { criteria: Some(criteria), ..StoryChange::default() };
        let pipeline = self.services.commands.pipeline.clone();
        let by = Actor::Person(call.sender.name.to_string());
        let work = async move {
            let changed = pipeline.update(id, change, by).await;
            changed.map_err(|error| CommandError::User(replies::refused_by_pipeline(&error)))?;
            Ok(Reply::notice(replies::criteria_written(id, count)))
        };
        Ok(Reply::default().then(RoomAction::Later(Box::pin(work))))
    }

    /// Gives the agent a task on behalf of who called a command.
    pub(super) fn prompt_for(&mut self, call: &CommandCall, task: String) {
        let Some(message) = call.message.clone() else { return };
        let now = self.services.clock.now();
        let incoming = Incoming {
            id: message,
            room: self.room.clone(),
            sender: call.sender.clone(),
            act: PersonAct::Said { text: task.clone() },
            addressed: call.addressed.or(Some(Addressed::Name)),
            shared: self.activity.shared,
            reply_to: None,
            enclosed: Default::default(),
            sent_at: now,
        };
        self.prompt_or_move(&incoming, &task, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::room::fixture::RoomFixture;

    async fn text_of(fixture: &RoomFixture, id: u32) -> String {
        fixture.services.commands.pipeline.text(StoryId(id)).await.unwrap()
    }

    #[tokio::test]
    async fn a_new_storys_criteria_are_asked_for_and_the_next_words_of_its_author_are_taken() {
        let mut fixture = RoomFixture::new().await;
        fixture.says("ann", "!new story A door").await;
        fixture.handles_answer().await;
        let asked = fixture.transcript().await;
        assert!(
            asked.contains("What must be true when it is done?") && asked.contains("`draft 2`"),
            "{asked}"
        );
        fixture.says("ann", "is it blue?").await;
        assert!(fixture.task.turn.is_running(), "a question is for the agent");
        assert!(
            format!("{:?}", fixture.task.turn.current.as_ref().unwrap().input)
                .contains("asked for its acceptance criteria")
        );
        fixture.answers("no");
        fixture.says("ann", "- It opens\n- It closes").await;
        fixture.handles_answer().await;
        assert!(fixture.transcript().await.contains("Story `2` has 2 criteria now"));
        let text = text_of(&fixture, 2).await;
        assert!(text.contains("- [ ] It opens\n- [ ] It closes\n") && !text.contains("- [ ] ..."), "{text}");
        fixture.says("ann", "and now fix it").await;
        assert!(fixture.task.turn.is_running(), "once");
    }

    #[tokio::test]
    async fn an_edit_of_words_that_were_taken_is_no_prompt() {
        let mut fixture = RoomFixture::new().await;
        fixture.says("ann", "!new story A door").await;
        fixture.handles_answer().await;
        let criteria = fixture.says("ann", "- It opens").await;
        fixture.handles_answer().await;
        let seen = [(fixture.task.room.clone(), criteria.clone())];
        fixture.services.store.mark_seen(&seen, fixture.services.clock.now()).unwrap();
        let edit = fixture.room().changed("ann", &criteria, "Timmy - It opens and closes");
        fixture.gets(edit).await;
        assert!(!fixture.task.turn.is_running());
        assert!(fixture.transcript().await.contains(replies::ALREADY_DONE));
    }

    #[tokio::test]
    async fn other_people_and_a_refusal_leave_the_story_as_it_is() {
        let mut fixture = RoomFixture::new().await;
        fixture.says("ann", "!new bug").await;
        assert!(fixture.transcript().await.contains("What is the bug about?"));
        fixture.says("bob", "the door squeaks").await;
        assert!(fixture.task.turn.is_running());
        fixture.answers("ok");
        fixture.says("ann", "Skip.").await;
        assert!(fixture.transcript().await.ends_with("All right, it stays as it is.\n"));
        fixture.says("ann", "!new bug").await;
        fixture.says("ann", "The door squeaks\n- It is silent").await;
        fixture.handles_answer().await;
        assert!(text_of(&fixture, 2).await.contains("- [ ] It is silent"));
    }
}

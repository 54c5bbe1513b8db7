//! Words that answer the bot itself: the title or the criteria of a new story, after `new`.

use std::time::Duration;

use adapters::{Addressed, Incoming, PersonAct, SentFile, Tone};
use pipeline::{event::Actor, handle::StoryChange, story::StoryId};
use tokio::time::Instant;

use super::{RoomTask, prompt_queue::CommandCall};
use crate::{
    commands::{
        command::{AwaitedText, CommandError, CommandResult, Reply, RoomAction},
        new::written,
        story::{StoryRequest, attach, create, criteria_of},
    },
    replies,
    sent_files::FileDelivery,
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
    /// Files for a story that has no title yet.
    files: Vec<SentFile>,
    until: Instant,
}

impl AwaitedAnswer {
    fn is_of(&self, person: &str) -> bool {
        self.person == person && Instant::now() < self.until
    }
}

impl RoomTask {
    /// From now on the next words of who called, if they are no command, are taken for this.
    pub(super) fn await_text(&mut self, call: &CommandCall, what: AwaitedText) {
        let files = match what {
            AwaitedText::Story(_) => call.files.clone(),
            // The story has them already.
            AwaitedText::Criteria(_) => Vec::new(),
        };
        let (person, until) = (call.sender.id.to_string(), Instant::now() + PATIENCE);
        self.activity.awaited = Some(AwaitedAnswer { person, what, files, until });
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
        if is_command || text.trim_end().ends_with('?') {
            return false;
        }
        if text.trim().is_empty() {
            return !call.files.is_empty() && self.take_files_alone(call);
        }
        let taken = self.activity.awaited.take_if(|awaited| awaited.is_of(&call.sender.id));
        let Some(AwaitedAnswer { what, files, .. }) = taken else { return false };
        if LATER.iter().any(|word| text.trim().trim_end_matches(['.', '!']).eq_ignore_ascii_case(word)) {
            self.say(replies::LEFT_AS_IT_IS, Tone::Notice, call.message.clone());
            self.tell_unused_files(call);
            return true;
        }
        let files = self.delivery(files.into_iter().chain(call.files.iter().cloned()).collect());
        let answered = match what {
            AwaitedText::Story(kind) => self.write_story(call, kind, text, files),
            AwaitedText::Criteria(id) => self.write_criteria(call, id, text, files),
        };
        self.answer_command(call, "new", answered);
        true
    }

    /// A telephone sends each further picture as a message of its own. The words are still expected.
    fn take_files_alone(&mut self, call: &CommandCall) -> bool {
        let awaited = self.activity.awaited.as_mut().filter(|awaited| awaited.is_of(&call.sender.id));
        let id = match awaited {
            None => return false,
            Some(AwaitedAnswer { what: AwaitedText::Story(_), files, .. }) => {
                files.extend(call.files.iter().cloned());
                self.say(replies::FILE_KEPT_FOR_STORY, Tone::Notice, call.message.clone());
                return true;
            }
            Some(AwaitedAnswer { what: AwaitedText::Criteria(id), .. }) => *id,
        };
        let (pipeline, files) = (self.services.commands.pipeline.clone(), self.delivery(call.files.clone()));
        let work = async move { Ok(Reply::notice(attach(&pipeline, id, &files).await.unwrap_or_default())) };
        self.answer_command(call, "new", Ok(Reply::default().then(RoomAction::Later(Box::pin(work)))));
        true
    }

    fn write_story(
        &self,
        call: &CommandCall,
        kind: pipeline::story::StoryKind,
        text: &str,
        files: FileDelivery,
    ) -> CommandResult {
        let Some(new) = written(kind, text) else {
            return Err(CommandError::User(replies::NO_TITLE.into()));
        };
        let (services, by) = (self.services.commands.clone(), Actor::Person(call.sender.name.to_string()));
        let origin = services.messengers.origin(&self.room, call.message.as_ref(), text);
        let asked = StoryRequest { new, by, origin, files };
        let work = async move { create(&services, asked).await };
        Ok(Reply::default().then(RoomAction::Later(Box::pin(work))))
    }

    fn write_criteria(
        &self,
        call: &CommandCall,
        id: StoryId,
        text: &str,
        files: FileDelivery,
    ) -> CommandResult {
        let criteria = criteria_of(text);
        let count = criteria.len();
        let change = StoryChange { criteria: Some(criteria), ..StoryChange::default() };
        let pipeline = self.services.commands.pipeline.clone();
        let by = Actor::Person(call.sender.name.to_string());
        let work = async move {
            let changed = pipeline.update(id, change, by).await;
            changed.map_err(|error| CommandError::User(replies::refused_by_pipeline(&error)))?;
            let mut told = replies::criteria_written(id, count);
            if let Some(attached) = attach(&pipeline, id, &files).await {
                told = format!("{told}\n{attached}");
            }
            Ok(Reply::notice(told))
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
    use adapters::Enclosed;

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
    async fn files_come_with_the_command_the_words_or_alone_and_all_lie_beside_the_story() {
        let mut fixture = RoomFixture::new().await;
        let with_file = |fixture: &RoomFixture, text: &str, name: &str| {
            let files = vec![fixture.room().file(name, Ok(b"x"))];
            Incoming {
                enclosed: Enclosed { files, quotes: Vec::new() },
                ..fixture.room().incoming("ann", text)
            }
        };
        let command = with_file(&fixture, "!new bug", "one.png");
        fixture.gets(command).await;
        let alone = with_file(&fixture, "", "two.png");
        fixture.gets(alone).await;
        assert!(fixture.transcript().await.ends_with(&format!("{}\n", replies::FILE_KEPT_FOR_STORY)));
        let title = with_file(&fixture, "The door squeaks", "three.png");
        fixture.gets(title).await;
        fixture.handles_answer().await;
        let told = fixture.transcript().await;
        assert!(told.contains("Story `2` has `one.png`, `two.png`, `three.png` beside it now."), "{told}");
        let alone = with_file(&fixture, "", "four.png");
        fixture.gets(alone).await;
        fixture.handles_answer().await;
        let criteria = with_file(&fixture, "- It is silent", "five.png");
        fixture.gets(criteria).await;
        fixture.handles_answer().await;
        let text = text_of(&fixture, 2).await;
        for name in ["one", "two", "three", "four", "five"] {
            assert!(text.contains(&format!("![{name}.png](../files/2/{name}.png)")), "{name}: {text}");
        }
        assert!(text.contains("- [ ] It is silent"), "{text}");
        let later = with_file(&fixture, "", "six.png");
        fixture.gets(later).await;
        assert!(fixture.task.turn.is_running(), "nothing is expected any more");
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

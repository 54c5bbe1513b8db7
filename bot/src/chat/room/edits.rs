//! Messages that people change or take back after they were sent.

use adapters::{Addressed, Incoming, MessageId, PersonAct, Tone};

use super::RoomTask;
use crate::replies;

/// What a room remembers of a message, besides that it was seen. The store keeps it as long as it keeps ids that were seen.
#[derive(Clone, Copy)]
enum MessageMark {
    /// The room took it as a command, an answer or a prompt.
    ActedOn,
    /// The room handed it to the message's thread.
    Moved,
    /// The person knows that an edit of it comes too late.
    ToldDone,
}

impl MessageMark {
    fn id(self, message: &MessageId) -> MessageId {
        let mark = match self {
            Self::ActedOn => "acted on",
            Self::Moved => "moved",
            Self::ToldDone => "told done",
        };
        MessageId::new(format!("{mark} {message}"))
    }
}

impl RoomTask {
    /// From now on an edit of this message does not run it again.
    pub(super) fn mark_acted_on(&self, message: &MessageId) {
        self.mark(MessageMark::ActedOn, message);
    }

    pub(super) fn mark_moved(&self, message: &MessageId) {
        self.mark(MessageMark::Moved, message);
    }

    /// Whether the mark is new.
    fn mark(&self, mark: MessageMark, message: &MessageId) -> bool {
        let marks = [(self.room.clone(), mark.id(message))];
        let fresh = self.services.store.mark_seen(&marks, self.services.clock.now());
        self.log_store_error(fresh).is_some_and(|fresh| fresh == [true])
    }

    /// Where the store cannot be read, the message counts as marked: better no second run.
    fn is_marked(&self, mark: MessageMark, message: &MessageId) -> bool {
        self.log_store_error(self.services.store.is_seen(&self.room, &mark.id(message))).unwrap_or(true)
    }

    /// What waits is changed; what was only talk and names the bot now is heard; what is done stays done.
    pub(super) async fn on_edit(&mut self, incoming: &Incoming, message: &MessageId, text: &str) {
        if let Some(author) = self.queue.author(message) {
            if *author == *incoming.sender.id {
                self.on_waiting_edit(incoming, message, text).await;
            }
        } else if self.is_marked(MessageMark::ActedOn, message) {
            self.on_late_edit(incoming, message);
        } else if matches!(incoming.addressed, Some(Addressed::Name | Addressed::Prefix))
            && self.log_store_error(self.services.store.is_seen(&incoming.room, message)).unwrap_or(false)
        {
            self.on_text(&as_said(incoming, message, text), text).await;
        }
    }

    async fn on_waiting_edit(&mut self, incoming: &Incoming, message: &MessageId, text: &str) {
        if self.is_prompt(text, incoming.addressed)
            && let Some(is_other) = self.queue.change_prompt(message, text)
        {
            if is_other {
                self.say(replies::PROMPT_CHANGED, Tone::Notice, Some(message.clone()));
            }
            return;
        }
        // A command has become a prompt, or the other way round.
        self.queue.remove(message);
        self.on_text(&as_said(incoming, message, text), text).await;
    }

    fn on_late_edit(&mut self, incoming: &Incoming, message: &MessageId) {
        if self.forward_to_thread(incoming, message) {
            return;
        }
        // In an ambient room people correct what they say to each other.
        let to_people = self.services.ambient.is_on(&self.room) && incoming.addressed.is_none();
        if !to_people && self.mark(MessageMark::ToldDone, message) {
            self.say(replies::ALREADY_DONE, Tone::Notice, Some(message.clone()));
        }
    }

    /// A prompt that was taken back before its turn is not run.
    pub(super) fn on_redaction(&mut self, incoming: &Incoming, message: &MessageId) {
        if self.queue.remove(message) {
            self.say(replies::TAKEN_BACK, Tone::Notice, None);
        } else {
            self.forward_to_thread(incoming, message);
        }
    }

    /// The messenger names the room in which the message stands; its prompt may wait in the thread below it.
    fn forward_to_thread(&self, incoming: &Incoming, message: &MessageId) -> bool {
        if !self.is_marked(MessageMark::Moved, message) {
            return false;
        }
        let Some(thread) = self.adapter.open_thread(&self.room, message) else { return false };
        self.services.rooms.offer(&thread, Incoming { room: thread.clone(), ..incoming.clone() }, true)
    }
}

/// The message as if it had been sent with this text.
fn as_said(incoming: &Incoming, message: &MessageId, text: &str) -> Incoming {
    Incoming { id: message.clone(), act: PersonAct::Said { text: text.to_owned() }, ..incoming.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chat::room::fixture::RoomFixture, store::Store};

    fn see(store: &Store, fixture: &RoomFixture, message: &MessageId) {
        let seen = [(fixture.task.room.clone(), message.clone())];
        store.mark_seen(&seen, fixture.services.clock.now()).unwrap();
    }

    async fn edits(fixture: &mut RoomFixture, person: &str, message: &MessageId, text: &str) {
        let edit = fixture.room().changed(person, message, text);
        fixture.gets(edit).await;
    }

    fn waiting(fixture: &RoomFixture) -> Vec<String> {
        fixture.task.queue.describe().into_iter().map(|(_, text)| text).collect()
    }

    #[tokio::test]
    async fn a_waiting_prompt_is_changed_by_its_author_and_nobody_else() {
        let mut fixture = RoomFixture::new().await;
        fixture.says("ann", "one").await;
        let second = fixture.says("ann", "two").await;
        fixture.says("ann", "three").await;
        edits(&mut fixture, "bob", &second, "format the disk").await;
        assert_eq!(waiting(&fixture), ["two", "three"]);
        edits(&mut fixture, "ann", &second, "number two").await;
        edits(&mut fixture, "ann", &second, "number two").await;
        assert_eq!(waiting(&fixture), ["number two", "three"]);
        let shown = fixture.transcript().await;
        assert_eq!(shown.matches(replies::PROMPT_CHANGED).count(), 1, "{shown}");
        edits(&mut fixture, "ann", &second, "!whoami").await;
        assert_eq!(waiting(&fixture), ["three"]);
        assert!(fixture.transcript().await.contains("role: approver"));
    }

    #[tokio::test]
    async fn an_edit_of_what_is_done_or_runs_is_answered_once_and_runs_nothing() {
        let mut fixture = RoomFixture::new().await;
        let command = fixture.says("ann", "!whoami").await;
        let running = fixture.says("ann", "one").await;
        for message in [&command, &running, &command] {
            edits(&mut fixture, "ann", message, "!whoami").await;
        }
        let shown = fixture.transcript().await;
        assert_eq!(shown.matches(replies::ALREADY_DONE).count(), 2, "once for each: {shown}");
        assert_eq!(shown.matches("role: approver").count(), 1, "{shown}");
    }

    #[tokio::test]
    async fn a_mistyped_command_runs_once_it_is_mended() {
        let mut fixture = RoomFixture::new().await;
        let mistyped = fixture.says("ann", "!whoamy").await;
        let store = fixture.services.store.clone();
        see(&store, &fixture, &mistyped);
        edits(&mut fixture, "ann", &mistyped, "!whoami").await;
        assert!(fixture.transcript().await.contains("role: approver"));
    }

    #[tokio::test]
    async fn an_edit_that_names_the_bot_is_heard_once() {
        let mut fixture = RoomFixture::new().await;
        let talk = Incoming { addressed: None, ..fixture.room().incoming("ann", "who am I") };
        let (id, store) = (talk.id.clone(), fixture.services.store.clone());
        fixture.task.on_unaddressed(&talk);
        edits(&mut fixture, "ann", &id, "Timmy whoami").await;
        assert_eq!(fixture.transcript().await, "", "a message that the bot never saw");
        see(&store, &fixture, &id);
        let unaddressed = Incoming { addressed: None, ..fixture.room().changed("ann", &id, "whoami") };
        fixture.gets(unaddressed).await;
        assert_eq!(fixture.transcript().await, "");
        for _ in 0..2 {
            edits(&mut fixture, "ann", &id, "Timmy whoami").await;
        }
        let shown = fixture.transcript().await;
        assert_eq!(shown.matches("role: approver").count(), 1, "{shown}");
        assert_eq!(shown.matches(replies::ALREADY_DONE).count(), 1, "{shown}");
    }
}

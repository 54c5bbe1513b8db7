//! What people asked to be remembered, as the room's agent gets it: before the first prompt of a session, and again once it has changed.

use adapters::{Outgoing, Tone};
use agents::prompt::AgentPrompt;
use pipeline::memory::MemoryBackground;

use super::{RoomTask, turn::CurrentTurn};
use crate::replies;

/// Everything is forgotten.
const NOTHING_LEFT: &str = "[Nothing of what you were told to be remembered is remembered any more.]";

/// What the session has been told, and people of it.
#[derive(Default)]
pub(super) struct ToldMemory {
    text: String,
    faults: Vec<String>,
}

impl ToldMemory {
    /// The session is gone, or knows only a summary of what it was told.
    pub(super) fn forget(&mut self) {
        self.text.clear();
    }
}

impl RoomTask {
    pub(super) fn take_memory(&mut self, memory: MemoryBackground) {
        let MemoryBackground { text, strangers, faults } = memory;
        for fault in faults.iter().filter(|fault| !self.turn.once.memory.faults.contains(fault)) {
            self.outbox.say(Outgoing::text(replies::memory_faults(fault)).with_tone(Tone::Notice));
        }
        self.turn.once.memory.faults = faults;
        let Some(turn) = &mut self.turn.current else { return };
        // A new session knows nothing, whatever an earlier one was told.
        let knows = Some(self.turn.once.memory.text.as_str()).filter(|_| self.record.session.is_some());
        let is_told = match (knows.unwrap_or_default(), text.as_str()) {
            (before, now) if before == now => true,
            (_, "") => turn.add_memory(NOTHING_LEFT),
            (_, now) => turn.add_memory(now),
        };
        if !is_told {
            return;
        }
        if knows.is_none_or(|before| before != text) {
            self.turn.asker.read().on_read(strangers);
        }
        self.turn.once.memory.text = text;
    }
}

impl CurrentTurn {
    /// Puts it before the prompt, unless an earlier attempt has. `false` for a command of the agent program, which has no place for it.
    fn add_memory(&mut self, memory: &str) -> bool {
        match &self.input {
            AgentPrompt::Command(_) => return false,
            AgentPrompt::Message { text, .. } if text.contains(memory) => {}
            AgentPrompt::Message { .. } => self.add_context(memory),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use agents::claude::SessionId;
    use pipeline::strangers::StrangerText;

    use super::*;
    use crate::chat::{room::fixture::RoomFixture, rooms::RoomInput};

    fn sent(fixture: &RoomFixture) -> String {
        match &fixture.task.turn.current.as_ref().expect("a turn").input {
            AgentPrompt::Message { text, .. } => text.clone(),
            AgentPrompt::Command(command) => command.line(),
        }
    }

    fn background(text: &str) -> MemoryBackground {
        MemoryBackground { text: text.into(), ..MemoryBackground::default() }
    }

    /// A turn of a room in which this is remembered; what its agent got.
    async fn turn(fixture: &mut RoomFixture, memory: MemoryBackground) -> String {
        let incoming = fixture.room().incoming("ann", "hi");
        fixture.task.handle_input(RoomInput::Message(incoming)).await;
        fixture.enters_knowing(memory);
        let sent = sent(fixture);
        fixture.task.keep_session(SessionId::new("s"));
        sent
    }

    #[tokio::test]
    async fn a_session_is_told_once_and_again_after_a_change_or_when_it_is_a_new_one() {
        let mut fixture = RoomFixture::new().await;
        for (memory, expected) in [
            ("[M]\n> 1: blue", "[M]\n> 1: blue\n\nhi".to_owned()),
            ("[M]\n> 1: blue", "hi".into()),
            ("[M]\n> 1: red", "[M]\n> 1: red\n\nhi".into()),
            ("", format!("{NOTHING_LEFT}\n\nhi")),
            ("", "hi".into()),
            ("[M]\n> 2: blue", "[M]\n> 2: blue\n\nhi".into()),
        ] {
            assert_eq!(turn(&mut fixture, background(memory)).await, expected);
            fixture.answers("Hello.");
        }
        fixture.task.reset_session();
        assert_eq!(turn(&mut fixture, background("[M]\n> 2: blue")).await, "[M]\n> 2: blue\n\nhi");
    }

    #[tokio::test]
    async fn notes_of_strangers_count_as_read_and_a_broken_file_is_told_once() {
        let mut fixture = RoomFixture::new().await;
        let strangers = [StrangerText::File("x.toml".into())].into();
        let faults = vec!["`x.toml` is broken.".to_owned()];
        let memory = MemoryBackground { text: "[M]".into(), strangers, faults };
        turn(&mut fixture, memory.clone()).await;
        assert_eq!(fixture.task.turn.asker.read().texts(), [StrangerText::File("x.toml".into())].into());
        fixture.answers("Hello.");
        turn(&mut fixture, memory).await;
        assert!(fixture.task.turn.asker.read().is_empty(), "it was not told again");
        fixture.answers("Hello.");
        let shown = fixture.transcript().await;
        assert_eq!(shown.matches("`x.toml` is broken.").count(), 1, "{shown}");
    }
}

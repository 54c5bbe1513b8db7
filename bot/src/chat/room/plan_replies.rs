//! Replies to the message that shows a coder's plan: consent lets the coder carry it out, other words are what people want differently.

use adapters::{Addressed, Incoming};
use pipeline::story::{BlockReason, StoryId};

use super::{RoomTask, answers, intake::is_meant, prompt_queue::CommandCall};
use crate::commands::command::ParsedText;

/// The command that a reply stands for.
#[derive(Debug, PartialEq, Eq)]
enum PlanReply {
    Accept,
    Reject(String),
}

impl RoomTask {
    /// Takes a reply to a plan that waits. Returns whether it was one. After a restart nobody knows these messages any more.
    pub(super) async fn take_plan_reply(
        &mut self,
        incoming: &Incoming,
        text: &str,
        call: &CommandCall,
    ) -> bool {
        let Some(story) = self.plan_replied_to(incoming) else { return false };
        let Some(reply) = self.read_plan_reply(text, incoming.addressed) else { return false };
        let (name, args) = match reply {
            PlanReply::Accept => ("accept", story.to_string()),
            PlanReply::Reject(why) => ("reject", format!("{story} {why}")),
        };
        let Some(command) = self.services.commands.registry.get(name).cloned() else { return false };
        self.mark_acted_on(&incoming.id);
        self.call_command(command, args, call.clone()).await;
        true
    }

    fn plan_replied_to(&self, incoming: &Incoming) -> Option<StoryId> {
        let replied = incoming.reply_to.as_ref()?;
        let snapshot = self.services.commands.pipeline.snapshot();
        let has_plan = |story: &StoryId| {
            let found = snapshot.board.story(*story);
            found.is_some_and(|story| story.front.blocked == Some(BlockReason::PlanProposed {}))
        };
        let mut planned = self.notices.stories(replied).into_iter().filter(has_plan);
        planned.next().filter(|_| planned.next().is_none())
    }

    /// `None` for a command of its own, such as `show 7`.
    fn read_plan_reply(&self, text: &str, addressed: Option<Addressed>) -> Option<PlanReply> {
        let text = text.trim();
        match self.services.commands.registry.parse(text, addressed) {
            ParsedText::Command(command, "") if command.spec().name == "allow" => Some(PlanReply::Accept),
            ParsedText::Command(command, why) if command.spec().name == "deny" => {
                Some(PlanReply::Reject(why.to_owned()))
            }
            ParsedText::Command(command, args)
                if is_meant(command.spec(), (text, args), addressed, false)
                    && !answers::is_answer(command.spec()) =>
            {
                None
            }
            ParsedText::Unknown(..) | ParsedText::AgentOnly(..) => None,
            ParsedText::Command(..) | ParsedText::Prompt if text.is_empty() => None,
            ParsedText::Command(..) | ParsedText::Prompt => Some(PlanReply::Reject(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::room::fixture::RoomFixture;

    #[tokio::test]
    async fn consent_accepts_other_words_want_another_plan_and_commands_stay_commands() {
        let fixture = RoomFixture::new().await;
        let read = |text: &str| fixture.task.read_plan_reply(text, Some(Addressed::Reply));
        for yes in ["yes", "ok", "Approve"] {
            assert_eq!(read(yes), Some(PlanReply::Accept), "{yes}");
        }
        let reject = |why: &str| Some(PlanReply::Reject(why.into()));
        assert_eq!(read("no, rather blue"), reject("no, rather blue"));
        assert_eq!(read("no rather blue"), reject("rather blue"));
        assert_eq!(read("ok but paint it blue"), reject("ok but paint it blue"));
        assert_eq!(read("paint it blue"), reject("paint it blue"));
        for other in ["show 7", "accept 7", ""] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}

//! `tell`: words to the agent that works on a story.

use async_trait::async_trait;
use pipeline::mailbox::PersonMessage;

use super::story::{begins_with_number, caller, later, number, refusal};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    config::access::UserRole,
    replies,
};

pub struct TellCommand;

/// In characters. What is longer belongs into the story.
const LONGEST: usize = 8_000;

const SPEC: CommandSpec = CommandSpec {
    name: "tell",
    args: "ID TEXT",
    summary: "Say something to the agent that works on a story",
    details: "The agent gets the words between two of its tool calls, or before it ends, and goes on with its work. The run's log shows them, \
              and when the agent has them. Where the run ends first you are told so. What should hold for whoever works on the story next \
              belongs into its text: `edit ID`. A reply to a notice about a story at work, or words in the thread where it was asked for, \
              reach its agent, too, unless that thread has a conversation of its own.",
    examples: &["tell 12 use the blue one", "tell 12 the test is flaky, leave it alone"],
    role: UserRole::Approver,
    takes_text: true,
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for TellCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (id, text) = number(cx.args)?;
        if text.is_empty() {
            return Err(CommandError::Usage(replies::TELL_WHAT.into()));
        }
        if text.chars().count() > LONGEST {
            return Err(CommandError::User(replies::tell_too_long(id, LONGEST)));
        }
        let message = PersonMessage { by: caller(&cx), text: text.to_owned() };
        let pipeline = cx.services.pipeline.clone();
        later(async move {
            let run = pipeline.tell(id, message).await.map_err(refusal)?;
            Ok(Reply::notice(replies::told(&run)))
        })
    }
}

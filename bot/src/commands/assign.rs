//! `assign`: the preferred agent of a story.

use async_trait::async_trait;

use super::story::{begins_with_number, caller, later, number, refusal};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    replies,
};

pub struct AssignCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "assign",
    args: "ID AGENT",
    summary: "Set the preferred agent of a story",
    details: "Sets which agent should work on a story. Its role must fit the stage; while it is busy the story waits for it.",
    examples: &["assign 12 coder-2"],
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for AssignCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (id, agent) = number(cx.args)?;
        if agent.is_empty() || agent.contains(char::is_whitespace) {
            return Err(CommandError::Usage(replies::WHICH_AGENT.into()));
        }
        let (pipeline, by, agent) = (cx.services.pipeline.clone(), caller(&cx), agent.to_owned());
        later(async move {
            pipeline.prefer(id, &agent, by).await.map_err(refusal)?;
            Ok(Reply::notice(replies::agent_preferred(id, &agent)))
        })
    }
}

//! `start`: bring a story into work.

use async_trait::async_trait;

use super::story::{begins_with_number, caller, later, number, refusal, started};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec},
    replies,
};

pub struct StartCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "start",
    args: "ID [AGENT]",
    summary: "Start work on a story, or continue a stopped one",
    details: "Moves a story from the backlog to current, where the next free agent takes it; a stopped or blocked story continues. With an \
              agent's name that agent is preferred.",
    examples: &["start 12", "start 12 coder-2"],
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for StartCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (id, rest) = number(cx.args)?;
        if rest.contains(char::is_whitespace) {
            return Err(CommandError::Usage(replies::not_an_agent(rest)));
        }
        let agent = (!rest.is_empty()).then(|| rest.to_owned());
        let (pipeline, by) = (cx.services.pipeline.clone(), caller(&cx));
        later(async move {
            let done = pipeline.start(id, agent, by).await.map_err(refusal)?;
            Ok(started(id, &done))
        })
    }
}

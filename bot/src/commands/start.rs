//! `start`: bring a story into work.

use async_trait::async_trait;
use pipeline::handle::StoryChange;

use super::story::{begins_with_number, caller, later, number, refusal, started};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec},
    replies,
};

pub struct StartCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "start",
    args: "ID [AGENT] [plan]",
    summary: "Start work on a story, or continue a stopped one",
    details: "Moves a story from the backlog to current, where the next free agent takes it; a stopped or blocked story continues. With an \
              agent's name that agent is preferred. With `plan` the coder first makes a plan and changes nothing: the plan is shown here and \
              goes into the story, `accept ID` lets the coder carry it out, `reject ID TEXT` asks for another. `plan: true` in a story's front \
              matter does the same.",
    examples: &["start 12", "start 12 coder-2", "start 12 plan"],
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
        let (rest, plans) = match rest.strip_suffix("plan") {
            Some(before) if before.is_empty() || before.ends_with(char::is_whitespace) => {
                (before.trim(), true)
            }
            _ => (rest, false),
        };
        if rest.contains(char::is_whitespace) {
            return Err(CommandError::Usage(replies::not_an_agent(rest)));
        }
        let agent = (!rest.is_empty()).then(|| rest.to_owned());
        let (pipeline, by) = (cx.services.pipeline.clone(), caller(&cx));
        later(async move {
            if plans {
                let change = StoryChange { plan: Some(true), ..StoryChange::default() };
                pipeline.update(id, change, by.clone()).await.map_err(refusal)?;
            }
            let done = pipeline.start(id, agent, by).await.map_err(refusal)?;
            Ok(started(id, &done))
        })
    }
}

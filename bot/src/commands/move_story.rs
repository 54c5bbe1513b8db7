//! `move`: a story to another stage, by hand.

use async_trait::async_trait;
use pipeline::stage::Stage;

use super::story::{begins_with_number, caller, later, number, refusal};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    config::access::UserRole,
    replies,
};

pub struct MoveCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "move",
    aliases: &["mv"],
    args: "ID backlog|current|qa|merge|done|archived",
    summary: "Move a story to another stage",
    details: "Moves a story, where that is allowed: forward one stage, or back to current or the backlog. Nobody moves a story to done: done \
              means merged. If an agent works on the story, it is stopped first.",
    examples: &["move 12 backlog"],
    role: UserRole::Approver,
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for MoveCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (id, word) = number(cx.args)?;
        let to = Stage::parse(word).ok_or_else(|| match word {
            "" => CommandError::Usage(replies::WHICH_STAGE.into()),
            word => CommandError::Usage(replies::not_a_stage(word)),
        })?;
        let (pipeline, by) = (cx.services.pipeline.clone(), caller(&cx));
        later(async move {
            pipeline.move_story(id, to, by).await.map_err(refusal)?;
            Ok(Reply::notice(replies::story_moved(id, to)))
        })
    }
}

//! `draft`: the room's agent writes a story's criteria.

use async_trait::async_trait;
use pipeline::stage::Stage;

use super::story::{begins_with_number, known, only_number};
use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    replies,
};

pub struct DraftCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "draft",
    args: "ID",
    summary: "Let the agent draft the acceptance criteria of a story",
    details: "Gives this room's agent the task of reading the story and the code that it concerns, and of writing acceptance criteria into it. \
              The story must be in the backlog. The agent lists what it wrote; say what to change.",
    examples: &["draft 12"],
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for DraftCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let id = only_number(cx.args)?;
        let story = known(&cx, id)?;
        match story.stage {
            Stage::Backlog => Ok(Reply::default().then(RoomAction::Prompt(replies::draft_prompt(id)))),
            stage => Err(CommandError::User(replies::not_in_backlog(id, stage))),
        }
    }
}

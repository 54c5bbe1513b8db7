//! `delete`: a story with all that belongs to it, after a second word.

use adapters::Choice;
use async_trait::async_trait;
use pipeline::{event::PipelineSnapshot, story::StoryId};

use super::story::{begins_with_number, caller, later, number, refusal, unknown};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    config::access::UserRole,
    replies,
};

pub struct DeleteCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "delete",
    aliases: &["rm"],
    args: "ID [yes]",
    summary: "Delete a story with its worktree and branch, after asking",
    details: "Shows what would be deleted: the file in any stage, the files beside it, the run of an agent, worktree and branch. `delete ID yes` deletes it and \
              commits. The number is not used again.",
    examples: &["delete 12", "delete 12 yes"],
    role: UserRole::Approver,
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for DeleteCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (id, word) = number(cx.args)?;
        match word.to_lowercase().as_str() {
            "" => question(id, &cx.services.pipeline.snapshot()),
            "yes" => {
                let (pipeline, by) = (cx.services.pipeline.clone(), caller(&cx));
                later(async move {
                    let deleted = pipeline.delete(id, by).await.map_err(refusal)?;
                    Ok(Reply::notice(replies::story_deleted(id, &deleted)))
                })
            }
            other => Err(CommandError::Usage(replies::not_yes(other))),
        }
    }
}

fn question(id: StoryId, snapshot: &PipelineSnapshot) -> CommandResult {
    let text = replies::confirm_delete(id, snapshot).ok_or_else(|| unknown(id))?;
    let choice = Choice { key: format!("cmd:delete {id} yes"), label: "Delete it".into(), emoji: None };
    Ok(Reply { text, choices: vec![choice], ..Reply::default() })
}

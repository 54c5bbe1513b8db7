//! `discard`: this room's changes are thrown away, after a second word.

use adapters::Choice;
use async_trait::async_trait;

use super::story::{later, refusal};
use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    config::access::UserRole,
    replies,
};

pub struct DiscardCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "discard",
    args: "[yes [without copy]]",
    summary: "Throw this room's changes away, after asking",
    details: "Shows the commits and files that this room's worktree has and the base branch does not. `discard yes` throws them away, so that \
              the room follows the base branch again, and keeps a copy of them on a branch for two weeks. Files that git ignores stay. \
              What cannot be kept, such as a file that is too large, goes with `discard yes without copy`, which removes the whole \
              worktree. Stories that were landed are not touched.",
    examples: &["discard", "discard yes"],
    role: UserRole::Approver,
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for DiscardCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        if cx.view.running.is_some() {
            return Err(CommandError::User(replies::DISCARD_WHILE_BUSY.into()));
        }
        if !cx.view.worktree {
            return Err(CommandError::User(replies::DISCARD_IN_CHECKOUT.into()));
        }
        match cx.args.to_lowercase().as_str() {
            "" => {
                let (pipeline, room) = (cx.services.pipeline.clone(), cx.room.to_string());
                later(async move {
                    let changes = pipeline.room_changes(&room).await.map_err(refusal)?;
                    if changes.is_empty() {
                        return Ok(Reply::text(replies::NOTHING_TO_DISCARD));
                    }
                    let choice =
                        Choice { key: "cmd:discard yes".into(), label: "Discard them".into(), emoji: None };
                    let text = replies::confirm_discard(&changes);
                    Ok(Reply { text, choices: vec![choice], ..Reply::default() })
                })
            }
            "yes" => Ok(Reply::default().then(RoomAction::Discard { keeps_copy: true })),
            "yes without copy" => Ok(Reply::default().then(RoomAction::Discard { keeps_copy: false })),
            other => Err(CommandError::Usage(replies::not_yes(other))),
        }
    }
}

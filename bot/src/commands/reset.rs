//! `reset`: forget the room's session.

use async_trait::async_trait;

use crate::{
    commands::command::{Command, CommandContext, CommandResult, CommandSpec, Reply, RoomAction},
    replies,
};

pub struct ResetCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "reset",
    aliases: &["new-session"],
    args: "",
    summary: "Start a new session here",
    details: "Closes this room's session: the next prompt starts a new one that knows nothing of the conversation so far. The old session's \
              id stays in the record. The files of the room's worktree stay as they are.",
    examples: &["reset"],
    immediate: false,
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for ResetCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        SPEC.no_args(cx.args)?;
        let session = cx.view.session.as_deref();
        let reply = Reply::text(replies::session_reset(session, cx.view.worktree));
        Ok(if session.is_some() { reply.then(RoomAction::ResetSession) } else { reply })
    }
}

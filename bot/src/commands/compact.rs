//! `compact`: a summary instead of the session's older part.

use async_trait::async_trait;

use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    replies,
};

pub struct CompactCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "compact",
    args: "[WHAT TO KEEP]",
    summary: "Summarize this room's session",
    details: "Has the model replace the older part of the session by a summary, and goes on from there. Cheaper and faster than a long \
              session; details that the summary leaves out are gone. Text after the command names what the summary has to keep. A session \
              that becomes too long is summarized without this command.",
    examples: &["compact", "compact keep the list of open questions"],
    immediate: false,
    takes_text: true,
    begins: Some(begins),
    ..CommandSpec::PLAIN
};

// "compact the database" is a prompt.
fn begins(args: &str) -> bool {
    args.to_lowercase().starts_with("keep ")
}

#[async_trait]
impl Command for CompactCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        if cx.view.session.is_none() {
            return Err(CommandError::User(replies::NOTHING_TO_COMPACT.into()));
        }
        Ok(Reply::default().then(RoomAction::Compact(cx.args.to_owned())))
    }
}

//! `queue`: the prompts that wait in this room.

use async_trait::async_trait;

use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    replies,
};

pub struct QueueCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "queue",
    aliases: &["q"],
    args: "[clear]",
    summary: "Show or drop the prompts that wait here",
    details: "Shows the prompts that wait behind the current turn, in order. `queue clear` drops all of them; the turn itself continues.",
    examples: &["queue", "queue clear"],
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for QueueCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let waiting = cx.view.queue.len();
        match cx.args {
            "" if waiting == 0 => Ok(Reply::text(replies::NOTHING_WAITS)),
            "" => Ok(Reply::notice(replies::queue_list(&cx.view.queue, 80))),
            "clear" => Ok(Reply::text(replies::queue_cleared(waiting)).then(RoomAction::ClearQueue)),
            other => Err(CommandError::Usage(replies::not_queue_argument(other))),
        }
    }
}

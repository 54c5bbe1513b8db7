//! `stop`: interrupt the room's turn.

use async_trait::async_trait;

use super::{PLAIN, no_args};
use crate::command::{Command, CommandResult, CommandSpec, Context, Reply, RoomAction};

/// See the module.
pub struct Stop;

const SPEC: CommandSpec = CommandSpec {
    name: "stop",
    aliases: &["cancel"],
    args: "",
    summary: "Interrupt what runs here",
    details: "Interrupts this room's turn at once, with every program it started, and closes its open questions as denied. The session is \
              kept; what waits in the queue comes next.",
    examples: &["stop"],
    ..PLAIN
};

#[async_trait]
impl Command for Stop {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: Context<'_>) -> CommandResult {
        no_args(cx.args, &SPEC)?;
        match (&cx.view.running, cx.view.queue.len()) {
            // The turn's own message ends with the fact.
            (Some(_), 0) => Ok(Reply::default().then(RoomAction::StopTurn)),
            (Some(_), waiting) => {
                let text = format!("Stopping. {waiting} in the queue come next; `queue clear` drops them.");
                Ok(Reply::notice(text).then(RoomAction::StopTurn))
            }
            (None, _) => Ok(Reply::text("Nothing runs here.")),
        }
    }
}

//! `queue`: the prompts that wait in this room.

use std::fmt::Write as _;

use adapters::markdown::inert;
use async_trait::async_trait;

use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    replies::shorten,
};

/// See the module.
pub struct QueueCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "queue",
    aliases: &["q"],
    args: "[clear]",
    summary: "Show or drop the prompts that wait here",
    details: "Shows what waits behind the turn under way, in order. `queue clear` drops all of it; the turn itself goes on.",
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
            "" if waiting == 0 => Ok(Reply::text("Nothing waits here.")),
            "" => Ok(Reply::notice(list(&cx.view.queue))),
            "clear" => Ok(Reply::text(format!("Dropped {waiting}.")).then(RoomAction::ClearQueue)),
            other => {
                let word = adapters::markdown::code_span(other);
                Err(CommandError::Usage(format!(
                    "{word} is no argument of `queue`; the only one is `clear`."
                )))
            }
        }
    }
}

fn list(queue: &[(String, String)]) -> String {
    let mut text = String::new();
    for (n, (who, what)) in queue.iter().enumerate() {
        let _ = writeln!(text, "{}. {}: {}", n + 1, inert(who), inert(&shorten(what, 80)));
    }
    text
}

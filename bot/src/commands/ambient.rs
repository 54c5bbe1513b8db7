//! `ambient`: whether every message in this room counts as addressed.

use async_trait::async_trait;

use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    replies,
};

pub struct AmbientCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "ambient",
    args: "[on|off]",
    summary: "Listen to every message here, or only when addressed",
    details: "`ambient on`: every message in this room counts as addressed to me, and I stay silent when I have nothing to add. `ambient \
              off`: only messages that address me. Remembered in `bot.toml` across restarts.",
    examples: &["ambient", "ambient on", "ambient off"],
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for AmbientCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        match cx.args {
            "" => Ok(Reply::text(replies::ambient(cx.view.company.ambient))),
            "on" | "off" => {
                let on = cx.args == "on";
                Ok(Reply::text(replies::ambient(on)).then(RoomAction::SetAmbient(on)))
            }
            other => Err(CommandError::Usage(replies::not_on_or_off(other))),
        }
    }
}

//! `ambient`: whether every message in this room counts as addressed.

use async_trait::async_trait;

use crate::commands::command::{
    Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
};

/// See the module.
pub struct AmbientCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "ambient",
    args: "[on|off]",
    summary: "Listen to every message here, or only when addressed",
    details: "`ambient on`: every message in this room counts as addressed, and I stay silent where I have nothing to add. `ambient off`: \
              only messages that address me. Remembered in `bot.toml`.",
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
            "" if cx.view.ambient => Ok(Reply::text("Ambient is on: I listen to every message here.")),
            "" => Ok(Reply::text("Ambient is off: I listen when addressed.")),
            "on" => Ok(Reply::text("Ambient is on: I listen to every message here.")
                .then(RoomAction::SetAmbient(true))),
            "off" => {
                Ok(Reply::text("Ambient is off: I listen when addressed.")
                    .then(RoomAction::SetAmbient(false)))
            }
            other => {
                let word = adapters::markdown::code_span(other);
                Err(CommandError::Usage(format!("{word} is neither `on` nor `off`.")))
            }
        }
    }
}

//! `verbosity`: how much of a turn this room sees.

use async_trait::async_trait;

use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    replies,
};

pub struct VerbosityCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "verbosity",
    aliases: &["verbose"],
    args: "[0|1|2]",
    summary: "Show or choose how much progress this room shows",
    details: "0 shows answers only, 1 adds the names of the tools used, 2 adds their input. Remembered for this room.",
    examples: &["verbosity", "verbosity 2"],
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for VerbosityCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        match cx.args {
            "" => Ok(Reply::text(replies::verbosity_now(cx.view.verbosity))),
            "0" | "1" | "2" => {
                let level = cx.args.as_bytes()[0] - b'0';
                Ok(Reply::text(replies::verbosity_chosen(level)).then(RoomAction::SetVerbosity(level)))
            }
            other => Err(CommandError::Usage(replies::not_a_verbosity(other))),
        }
    }
}

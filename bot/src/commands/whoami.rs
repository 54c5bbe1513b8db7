//! `whoami`: who the bot takes a person for.

use async_trait::async_trait;

use crate::{
    commands::command::{Command, CommandContext, CommandResult, CommandSpec, Reply},
    replies,
};

pub struct WhoamiCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "whoami",
    args: "",
    summary: "Show your id, your role and this room's id",
    details: "Shows the id to put into the allow-list, your role, and this room's id as `bot.toml` writes it.",
    examples: &["whoami"],
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for WhoamiCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        SPEC.no_args(cx.args)?;
        let role = cx.services.access().role(cx.room, &cx.sender.id);
        Ok(Reply::text(replies::who_you_are(cx.sender, role, cx.room)))
    }
}

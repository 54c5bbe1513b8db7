//! `version`: what runs here.

use async_trait::async_trait;

use crate::{
    commands::command::{Command, CommandContext, CommandResult, CommandSpec, Reply},
    replies,
};

pub struct VersionCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "version",
    args: "",
    summary: "Show the version and uptime",
    details: "Shows storkit's version, how long it has been running, and the version of Claude Code it was tested with. `doctor` shows the one installed.",
    examples: &["version"],
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for VersionCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        SPEC.no_args(cx.args)?;
        Ok(Reply::text(replies::version(cx.services.started.elapsed())))
    }
}

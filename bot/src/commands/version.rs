//! `version`: what runs here.

use agents::claude::TESTED_VERSION;
use async_trait::async_trait;
use settings::duration::human;

use crate::commands::command::{Command, CommandContext, CommandResult, CommandSpec, Reply};

/// See the module.
pub struct VersionCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "version",
    args: "",
    summary: "Show what runs here, and since when",
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
        Ok(Reply::text(format!(
            "storkit {}, up {}. Tested with Claude Code {TESTED_VERSION}.",
            env!("CARGO_PKG_VERSION"),
            human(cx.services.started.elapsed())
        )))
    }
}

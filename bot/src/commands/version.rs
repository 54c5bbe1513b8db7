//! `version`: what runs here.

use async_trait::async_trait;
use pipeline::claude::TESTED_VERSION;

use super::{PLAIN, no_args};
use crate::{
    command::{Command, CommandResult, CommandSpec, Context, Reply},
    duration::human,
};

/// See the module.
pub struct Version;

const SPEC: CommandSpec = CommandSpec {
    name: "version",
    args: "",
    summary: "Show what runs here, and since when",
    details: "Shows storkit's version, how long it has been running, and the version of Claude Code it was tested with. `doctor` shows the one installed.",
    examples: &["version"],
    ..PLAIN
};

#[async_trait]
impl Command for Version {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: Context<'_>) -> CommandResult {
        no_args(cx.args, &SPEC)?;
        Ok(Reply::text(format!(
            "storkit {}, up {}. Tested with Claude Code {TESTED_VERSION}.",
            env!("CARGO_PKG_VERSION"),
            human(cx.services.started.elapsed())
        )))
    }
}

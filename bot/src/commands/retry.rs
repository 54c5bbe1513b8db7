//! `retry`: continue a story that failed or is blocked.

use async_trait::async_trait;

use super::story::{begins_with_number, caller, later, only_number, refusal, started};
use crate::{
    commands::command::{Command, CommandContext, CommandResult, CommandSpec},
    config::access::UserRole,
};

pub struct RetryCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "retry",
    args: "ID",
    summary: "Continue a story that failed or is blocked",
    details: "Clears what blocks a story (a block, a failed merge, used-up retries, or a spent budget, which is granted once more) and \
              continues it in its stage.",
    examples: &["retry 12"],
    role: UserRole::Approver,
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for RetryCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let id = only_number(cx.args)?;
        let (pipeline, by) = (cx.services.pipeline.clone(), caller(&cx));
        later(async move {
            let done = pipeline.retry(id, by).await.map_err(refusal)?;
            Ok(started(id, &done))
        })
    }
}

//! `overview`: a story's changes, from its merge commit.

use async_trait::async_trait;

use super::story::{begins_with_number, later, only_number, refusal};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    replies,
};

pub struct OverviewCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "overview",
    args: "ID",
    summary: "Show what was done for a merged story",
    details: "Shows from a story's merge commit what was done: the commit, its files with added and removed lines, the gates that passed on \
              the merged result, and the cost. Finds merges after a rebase, and those of the older `story-kit:`, as well.",
    examples: &["overview 12"],
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for OverviewCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let id = only_number(cx.args)?;
        let pipeline = cx.services.pipeline.clone();
        later(async move {
            let cost = pipeline.ledger().story_usd(id);
            match pipeline.overview(id).await.map_err(refusal)? {
                Some(done) => Ok(Reply::text(replies::overview_page(id, &done, cost))),
                None => Err(CommandError::User(replies::not_merged(id, &pipeline.snapshot().base))),
            }
        })
    }
}

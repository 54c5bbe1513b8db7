//! `show`: a story's text, and how far it is.

use async_trait::async_trait;

use super::story::{begins_with_number, known, later, only_number, refusal};
use crate::{
    commands::command::{Command, CommandContext, CommandResult, CommandSpec, Reply},
    replies,
};

pub struct ShowCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "show",
    args: "ID",
    summary: "Show a story's text, criteria, branch and changes",
    details: "Shows a story's state: stage, worker, criteria done, branch with its commits and size, cost, the output of a merge gate that failed, and its full text.",
    examples: &["show 12"],
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for ShowCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let id = only_number(cx.args)?;
        let pipeline = cx.services.pipeline.clone();
        let story = match known(&cx, id) {
            Ok(story) => story,
            // One that cannot be read can still be shown.
            Err(why) => {
                return later(async move {
                    let text = pipeline.text(id).await.map_err(|_| why)?;
                    Ok(Reply::text(replies::broken_story(id, &text)))
                });
            }
        };
        later(async move {
            let text = pipeline.text(id).await.map_err(refusal)?;
            let work = pipeline.work_done(id).await.map_err(refusal)?;
            let cost = pipeline.ledger().story_usd(id);
            Ok(Reply::text(replies::story_page(&story, &pipeline.snapshot(), &work, cost, &text)))
        })
    }
}

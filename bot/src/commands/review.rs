//! `accept` and `reject`: a person's word on a story in QA.

use async_trait::async_trait;
use pipeline::verdict::ReviewDecision;

use super::story::{begins_with_number, caller, later, number, only_number, refusal};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    config::access::UserRole,
    replies,
};

pub struct AcceptCommand;

pub struct RejectCommand;

const ACCEPT: CommandSpec = CommandSpec {
    name: "accept",
    args: "ID",
    summary: "Accept a story in QA: it goes to the merge queue",
    details: "Accepts a story in QA, whether it waits for a person or an agent reviews it. Its gates must still pass on the merged result. A story \
              whose plan waits (`start ID plan`) is carried out as planned.",
    examples: &["accept 12"],
    role: UserRole::Approver,
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

const REJECT: CommandSpec = CommandSpec {
    name: "reject",
    args: "ID REASON",
    summary: "Send a story back to its coder, with the reason",
    details: "Sends a story in QA or merge back to the coding stage; the next run reads the reason. For a story whose plan waits, \
              its coder makes another plan with what you write. `reject` without a story's number answers \
              an open permission question, as `deny` does.",
    examples: &["reject 12 the second criterion is not met"],
    role: UserRole::Approver,
    takes_text: true,
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for AcceptCommand {
    fn spec(&self) -> &CommandSpec {
        &ACCEPT
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let id = only_number(cx.args)?;
        let (pipeline, by) = (cx.services.pipeline.clone(), caller(&cx));
        later(async move {
            pipeline.review(id, ReviewDecision::Approved, by).await.map_err(refusal)?;
            Ok(Reply::notice(replies::story_accepted(id)))
        })
    }
}

#[async_trait]
impl Command for RejectCommand {
    fn spec(&self) -> &CommandSpec {
        &REJECT
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (id, reason) = number(cx.args)?;
        if reason.is_empty() {
            return Err(CommandError::Usage(replies::WHY_REJECT.into()));
        }
        let (pipeline, by, reason) = (cx.services.pipeline.clone(), caller(&cx), reason.to_owned());
        later(async move {
            pipeline.review(id, ReviewDecision::Rejected(reason), by).await.map_err(refusal)?;
            Ok(Reply::notice(replies::story_rejected(id)))
        })
    }
}

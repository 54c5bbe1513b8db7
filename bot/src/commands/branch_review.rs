//! `review`: the reviewer looks at a branch that people work on. A person's word on a story in QA is in `review.rs`.

use async_trait::async_trait;
use pipeline::branch_review::StartedReview;

use super::story::{caller, refusal};
use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    replies,
};

pub struct ReviewCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "review",
    args: "BRANCH",
    summary: "Have a branch reviewed, without a story or a merge",
    details: "The agent with `stage = \"qa\"` looks at the branch, local or a remote's (`origin/x`), as it is now, and reports what it finds by file and \
              line. It works behind the wall in a worktree that is removed afterwards; no branch moves, and no file of yours changes. The \
              branch's own settings and instructions for agents have no effect, and its setup and gates are not run. What it costs counts \
              for the day's budget. One review runs at a time; `stop branch-review` ends it, and `log branch-review` shows what it does.",
    examples: &["review feature/login", "review origin/fix-door"],
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for ReviewCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let branch = match cx.args.split_whitespace().collect::<Vec<_>>().as_slice() {
            [branch] => (*branch).to_owned(),
            [] => return Err(CommandError::Usage(replies::WHICH_BRANCH.into())),
            [_, more, ..] => return Err(CommandError::Usage(replies::too_much(more))),
        };
        let (pipeline, by, room) = (cx.services.pipeline.clone(), caller(&cx), cx.room.to_string());
        let found = replies::looking_for_branch(&branch);
        // The whole of it is one command: a restart before the report is told.
        let review = async move {
            let StartedReview { ended, .. } =
                pipeline.review_branch(&branch, Some(room), by).await.map_err(refusal)?;
            let report = ended.await.map_err(|_| CommandError::User(replies::review_lost(&branch)))?;
            Ok(Reply::text(replies::review_report(&report)))
        };
        Ok(Reply::notice(found).then(RoomAction::Later(Box::pin(review))))
    }
}

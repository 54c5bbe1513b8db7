//! `git`: the state of the main checkout and its worktrees.

use async_trait::async_trait;

use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    replies,
};

pub struct GitCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "git",
    args: "",
    summary: "Show branch, changes, last commit and worktrees",
    details: "Shows the branch with how far it is ahead of and behind its upstream, changed files by kind, the last commit, and every \
              worktree with its state. It only reads.",
    examples: &["git"],
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for GitCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        SPEC.no_args(cx.args)?;
        let (project, now) = (cx.services.project.clone(), cx.services.clock.now());
        // A large repository takes a while, and the room must stay responsive.
        let read = async move {
            let summary = tokio::task::spawn_blocking(move || pipeline::git::summary(&project)).await?;
            let summary =
                summary.map_err(|error| CommandError::User(replies::sentence(&error.to_string())))?;
            Ok(Reply::notice(replies::git_report(&summary, now)))
        };
        Ok(Reply::default().then(RoomAction::Later(Box::pin(read))))
    }
}

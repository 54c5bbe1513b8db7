//! `git`: the state of the room's worktree, or of the main checkout, and of all worktrees.

use async_trait::async_trait;

use super::story::refusal;
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
    details: "Shows the checkout that this room works in: the branch with how far it is ahead of and behind its upstream, changed files by kind, the last commit, and every \
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
        let (pipeline, room) = (cx.services.pipeline.clone(), cx.room.to_string());
        let worktree = cx.view.worktree;
        // A large repository takes a while, and the room must stay responsive.
        let read = async move {
            let of_room = if worktree { pipeline.room(&room).await.map_err(refusal)? } else { None };
            let heading = replies::git_of_room(of_room.as_ref(), project.root());
            let checkout = of_room.map_or_else(|| project.root().to_owned(), |status| status.folder);
            let summary = tokio::task::spawn_blocking(move || pipeline::git::summary_of(&checkout)).await?;
            let summary =
                summary.map_err(|error| CommandError::User(replies::sentence(&error.to_string())))?;
            Ok(Reply::notice(format!("{heading}{}", replies::git_report(&summary, now))))
        };
        Ok(Reply::default().then(RoomAction::Later(Box::pin(read))))
    }
}

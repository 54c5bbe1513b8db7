//! `release`: a person has read a stranger's story and vouches for it.

use async_trait::async_trait;

use super::story::{begins_with_number, caller, later, only_number, refusal};
use crate::{
    commands::command::{Command, CommandContext, CommandResult, CommandSpec, Reply},
    config::access::UserRole,
    replies,
};

pub struct ReleaseCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "release",
    args: "ID",
    summary: "Lift the quarantine of a story that strangers may have written",
    details: "Read the story with `show` first. A story is in quarantine if its file came with the repository, or if an agent wrote it after \
              reading text by strangers. Its runs reach package registries only, get nothing that `[wall]` in `bot.toml` adds, and a person \
              has to accept its changes. After `release` it is a story like any other, from its next run on.",
    examples: &["release 12"],
    role: UserRole::Approver,
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for ReleaseCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let id = only_number(cx.args)?;
        let (pipeline, by) = (cx.services.pipeline.clone(), caller(&cx));
        later(async move {
            pipeline.release(id, by).await.map_err(refusal)?;
            Ok(Reply::notice(replies::story_released(id)))
        })
    }
}

//! `release`: a person has read a stranger's story and vouches for it.

use async_trait::async_trait;

use pipeline::strangers::QuarantineCause;

use super::story::{begins_with_number, caller, later, only_number, refusal};
use crate::{
    commands::command::{Command, CommandContext, CommandResult, CommandSpec, Reply},
    config::access::UserRole,
    replies,
};

pub struct ReleaseCommand;

const ALL: &str = "all";

const SPEC: CommandSpec = CommandSpec {
    name: "release",
    args: "ID|all",
    summary: "Lift the quarantine of a story that strangers may have written",
    details: "Read the story with `show` first. A story is in quarantine if its file came with the repository, or if an agent wrote it after \
              reading text by strangers. Its runs reach package registries only, get nothing that `[wall]` in `bot.toml` adds, and a person \
              has to accept its changes. After `release` it is a story like any other, from its next run on. `release all` lifts it from \
              all stories that came with the repository, for example after the first start in a project of your own team.",
    examples: &["release 12", "release all"],
    role: UserRole::Approver,
    begins: Some(|args| args == ALL || begins_with_number(args)),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for ReleaseCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        if cx.args == ALL {
            return release_all(&cx);
        }
        let id = only_number(cx.args)?;
        let (pipeline, by) = (cx.services.pipeline.clone(), caller(&cx));
        later(async move {
            pipeline.release(id, by).await.map_err(refusal)?;
            Ok(Reply::notice(replies::story_released(id)))
        })
    }
}

/// All that came with the repository. A story that an agent wrote after reading text by strangers has to be read.
fn release_all(cx: &CommandContext<'_>) -> CommandResult {
    let (pipeline, by) = (cx.services.pipeline.clone(), caller(cx));
    later(async move {
        let (mut released, mut left) = (0, 0);
        for (id, quarantine) in &*pipeline.snapshot().quarantined {
            match quarantine.cause {
                QuarantineCause::Repository => {
                    pipeline.release(*id, by.clone()).await.map_err(refusal)?;
                    released += 1;
                }
                QuarantineCause::Read { .. } => left += 1,
            }
        }
        Ok(Reply::notice(replies::stories_released(released, left)))
    })
}

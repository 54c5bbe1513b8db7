//! `restart` and `rebuild`: the program restarts in place, after a build from source if asked.

use async_trait::async_trait;

use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    config::access::UserRole,
    replies,
};

pub struct RestartCommand;

/// Builds it from source, then restarts it.
pub struct RebuildCommand;

const RESTART: CommandSpec = CommandSpec {
    name: "restart",
    args: "",
    summary: "Restart me in place",
    details: "Ends turns and agents cleanly and restarts the program under the same process id. Sessions, the queue, stories and merges \
              continue where they were. Settings that need a restart take effect.",
    examples: &["restart"],
    role: UserRole::Operator,
    ..CommandSpec::PLAIN
};

const REBUILD: CommandSpec = CommandSpec {
    name: "rebuild",
    args: "",
    summary: "Build me from source and restart in place",
    details: "Builds the program from the source it was built from, while rooms keep working, and then restarts it like `restart`. If the \
              build fails, the current program keeps running and the reason is shown.",
    examples: &["rebuild"],
    role: UserRole::Operator,
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for RestartCommand {
    fn spec(&self) -> &CommandSpec {
        &RESTART
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        RESTART.no_args(cx.args)?;
        Ok(Reply::notice(replies::RESTARTING).then(RoomAction::Restart))
    }
}

#[async_trait]
impl Command for RebuildCommand {
    fn spec(&self) -> &CommandSpec {
        &REBUILD
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        REBUILD.no_args(cx.args)?;
        let services = cx.services.clone();
        // A build takes minutes. Rooms continue meanwhile, and only a good build leads to a restart.
        let build = async move {
            match services.restart.rebuild().await {
                Ok(()) => Ok(Reply::notice(replies::REBUILT).then(RoomAction::Restart)),
                Err(error) => Err(CommandError::User(replies::build_failed(&error))),
            }
        };
        Ok(Reply::notice(replies::BUILDING).then(RoomAction::Later(Box::pin(build))))
    }
}

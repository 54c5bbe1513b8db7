//! `restart` and `rebuild`: the program starts anew in place, built from source before if asked.

use async_trait::async_trait;

use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    config::access::UserRole,
    replies,
};

/// Starts the program anew.
pub struct RestartCommand;

/// Builds it from source, then starts it anew.
pub struct RebuildCommand;

const RESTART: CommandSpec = CommandSpec {
    name: "restart",
    args: "",
    summary: "Start me anew in place",
    details: "Ends turns and agents in good order and starts the program anew, under the same process id. Sessions, the queue, stories and \
              merges go on where they were. Settings that wait for a restart take effect.",
    examples: &["restart"],
    role: UserRole::Operator,
    ..CommandSpec::PLAIN
};

const REBUILD: CommandSpec = CommandSpec {
    name: "rebuild",
    args: "",
    summary: "Build me from source and start anew in place",
    details: "Builds the program from the source it was built from, while the room goes on; then as `restart`. A build that fails leaves what \
              runs as it is, and says why.",
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
        let build = async move {
            match services.restart.rebuild().await {
                Ok(()) => Ok(Reply::notice(replies::REBUILT).then(RoomAction::Restart)),
                Err(why) => Err(CommandError::User(why)),
            }
        };
        Ok(Reply::notice(replies::BUILDING).then(RoomAction::Later(Box::pin(build))))
    }
}

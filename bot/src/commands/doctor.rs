//! `doctor`: the checks of `storkit doctor`, from the chat.

use async_trait::async_trait;

use crate::{
    commands::command::{Command, CommandContext, CommandResult, CommandSpec, Reply, RoomAction},
    config::access::UserRole,
};

pub struct DoctorCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "doctor",
    args: "",
    summary: "Check what I need: Claude Code, key, git, state, walls",
    details: "Checks Claude Code and its version, its key, git and its identity, the state folder, and which protections are active. \
              Each line says what to do if something is missing.",
    examples: &["doctor"],
    role: UserRole::Operator,
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for DoctorCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        SPEC.no_args(cx.args)?;
        let report = (cx.services.doctor)();
        // The checks start programs and connect to services, each for up to 20 s: the room must continue.
        let check = async move { Ok(Reply::text(report.await)) };
        Ok(Reply::default().then(RoomAction::Later(Box::pin(check))))
    }
}

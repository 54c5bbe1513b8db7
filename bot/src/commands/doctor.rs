//! `doctor`: the checks of [`crate::program::doctor`], from the chat.

use async_trait::async_trait;

use super::{PLAIN, no_args};
use crate::{
    commands::command::{Command, CommandContext, CommandResult, CommandSpec, Reply, RoomAction},
    config::access::UserRole,
    program::doctor,
};

/// See the module.
pub struct DoctorCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "doctor",
    args: "",
    summary: "Check what I need: Claude Code, key, git, state, sandbox",
    details: "Checks the Claude Code program and its version, the key, git and its identity, the state folder, and which protections are on. \
              Each line says what to do where something is missing.",
    examples: &["doctor"],
    role: UserRole::Operator,
    ..PLAIN
};

#[async_trait]
impl Command for DoctorCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        no_args(cx.args, &SPEC)?;
        let services = cx.services.clone();
        let check = async move {
            let checks = doctor::check(&services.project, &services.config(), &services.secret_env()).await;
            Ok(Reply::text(doctor::report(&checks)))
        };
        Ok(Reply::default().then(RoomAction::Later(Box::pin(check))))
    }
}

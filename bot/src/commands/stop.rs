//! `stop`: interrupt the room's turn.

use async_trait::async_trait;
use pipeline::handle::StopTarget;

use super::story::{caller, later, refusal};
use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    replies,
};

pub struct StopCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "stop",
    aliases: &["cancel"],
    args: "[ID|AGENT]",
    summary: "Interrupt this room's turn, or an agent's run on a story",
    details: "Interrupts this room's turn at once, with every program it started, its commands and sub-agents in the background too, and \
              closes its open questions as denied. The session is kept; the next prompt in the queue follows. With a story's number or an agent's name, stops that run; the story stays \
              blocked until `start` or `retry`.",
    examples: &["stop", "stop 12", "stop coder-2"],
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for StopCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        if !cx.args.is_empty() {
            return stop_run(&cx);
        }
        match (&cx.view.running, cx.view.queue.len()) {
            // No reply: the turn's own message shows that it was stopped.
            (Some(_), 0) => Ok(Reply::default().then(RoomAction::StopTurn)),
            (Some(_), waiting) => Ok(Reply::notice(replies::stopping(waiting)).then(RoomAction::StopTurn)),
            // The room names what it ends.
            (None, _) if cx.view.background.is_at_work() => Ok(Reply::default().then(RoomAction::StopTurn)),
            (None, _) => Ok(Reply::text(replies::NOTHING_RUNS)),
        }
    }
}

fn stop_run(cx: &CommandContext<'_>) -> CommandResult {
    let word = cx.args.to_owned();
    let target = word.parse().map_or_else(|_| StopTarget::Agent(word.clone()), StopTarget::Story);
    let (pipeline, by) = (cx.services.pipeline.clone(), caller(cx));
    later(async move {
        let stopped = pipeline.stop(target, by).await.map_err(refusal)?;
        if stopped.is_empty() {
            return Err(CommandError::User(replies::nothing_to_stop(&word)));
        }
        Ok(Reply::notice(replies::runs_stopped(&stopped)))
    })
}

//! `stop`: interrupt the room's turn.

use async_trait::async_trait;
use pipeline::{event::RunInfo, handle::StopTarget};

use super::story::{caller, later, refusal};
use crate::commands::command::{
    Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
};

/// See the module.
pub struct StopCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "stop",
    aliases: &["cancel"],
    args: "[ID|AGENT]",
    summary: "Interrupt what runs here, or an agent's run on a story",
    details: "Interrupts this room's turn at once, with every program it started, and closes its open questions as denied. The session is \
              kept; what waits in the queue comes next. With a story's number or an agent's name that run is ended, and its story stands still \
              until `start` or `retry`.",
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
            // The turn's own message ends with the fact.
            (Some(_), 0) => Ok(Reply::default().then(RoomAction::StopTurn)),
            (Some(_), waiting) => {
                let text = format!("Stopping. {waiting} in the queue come next; `queue clear` drops them.");
                Ok(Reply::notice(text).then(RoomAction::StopTurn))
            }
            (None, _) => Ok(Reply::text("Nothing runs here.")),
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
            let word = adapters::markdown::code_span(&word);
            return Err(CommandError::User(format!("No agent runs for {word}; `status` shows who does.")));
        }
        Ok(Reply::notice(told(&stopped)))
    })
}

fn told(stopped: &[RunInfo]) -> String {
    let runs: Vec<String> =
        stopped.iter().map(|run| format!("`{}` on story `{}`", run.slot, run.story)).collect();
    format!("Stopped: {}. `start ID` lets a story go on.", runs.join(", "))
}

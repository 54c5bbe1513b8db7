//! `htop`: the machine and every agent's process tree, live.

use std::time::Duration;

use adapters::Room;
use async_trait::async_trait;
use settings::duration;

use super::services::CommandServices;
use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    replies,
};

pub struct HtopCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "htop",
    aliases: &["top"],
    args: "[DURATION|stop]",
    summary: "Show load, memory and each agent's processes, live",
    details: "Shows the machine's load and memory, and for each agent the CPU and memory of all its processes. Updates every 5 s for \
              5 minutes or the given time (at most `1h`). A second call restarts it, `htop stop` ends it. Where messages cannot be \
              edited it is a single snapshot.",
    examples: &["htop", "htop 30s", "htop stop"],
    ..CommandSpec::PLAIN
};

const USUAL: Duration = Duration::from_secs(5 * 60);
const LONGEST: Duration = Duration::from_secs(3600);

#[async_trait]
impl Command for HtopCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        match cx.args {
            "" => Ok(Reply::default().then(RoomAction::Htop(USUAL))),
            "stop" | "off" if cx.view.htop => Ok(Reply::default().then(RoomAction::StopHtop)),
            "stop" | "off" if cx.capabilities.edit.is_none() => Ok(Reply::text(replies::HTOP_IS_A_SNAPSHOT)),
            "stop" | "off" => Ok(Reply::text(replies::NO_HTOP)),
            text => Ok(Reply::default().then(RoomAction::Htop(length(text)?))),
        }
    }
}

fn length(text: &str) -> Result<Duration, CommandError> {
    let length = duration::parse(text).ok_or_else(|| CommandError::Usage(replies::not_a_duration(text)))?;
    if length.is_zero() || length > LONGEST {
        return Err(CommandError::Usage(replies::htop_out_of_range(text)));
    }
    Ok(length)
}

/// A frame of this moment, as `room` sees it; `left` is the remaining time, `None` for the last one.
pub fn frame_now(services: &CommandServices, room: &Room, left: Option<Duration>) -> String {
    let here = room.to_string();
    let (machine, agents) = services.sample();
    let rows: Vec<replies::AgentRow> = agents
        .into_iter()
        .map(|(entry, usage)| replies::AgentRow {
            // A room's id means nothing to people, on most messengers.
            name: if entry.name == here { "this room".into() } else { entry.name },
            doing: entry.story.unwrap_or_default(),
            usage,
            elapsed: entry.since.elapsed(),
            cost_usd: Some(entry.cost_usd),
        })
        .collect();
    replies::htop_frame(&machine, &rows, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_from_a_second_to_an_hour() {
        assert_eq!(length("30s").unwrap(), Duration::from_secs(30));
        assert_eq!(length("1h").unwrap(), LONGEST);
        for wrong in ["2h", "0s", "soon", "-5m", "99999999999999999999h"] {
            assert!(matches!(length(wrong), Err(CommandError::Usage(_))), "{wrong}");
        }
    }
}

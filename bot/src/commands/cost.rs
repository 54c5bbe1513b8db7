//! `cost`: what turns have cost, by person and room.

use std::time::SystemTime;

use async_trait::async_trait;
use pipeline::story::StoryId;

use crate::{
    clock::midnight,
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    replies,
};

pub struct CostCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "cost",
    aliases: &["costs"],
    args: "[today|week|ID]",
    summary: "Show what turns and runs have cost",
    details: "Shows what Claude Code has cost today, or in the last seven days: turns by person and by room, agents' runs by agent and by \
              story; or every run of one story. The greater of two counts is shown: Claude Code's own, and that of storkit's proxy to the \
              model.",
    examples: &["cost", "cost week", "cost 12"],
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for CostCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (title, days) = match cx.args {
            "" | "today" => ("Today", 0),
            "week" => ("The last seven days", 6),
            other if other.parse::<StoryId>().is_ok() => {
                let id = super::story::only_number(other)?;
                return Ok(Reply::text(replies::story_costs(
                    id,
                    &cx.services.pipeline.ledger().of_story(id),
                )));
            }
            other => return Err(CommandError::Usage(replies::not_a_period(other))),
        };
        let since = midnight(cx.services.clock.now(), days)?;
        let (people, rooms) = cx.services.store.costs_since(since)?;
        let mut text = replies::turn_costs(title, &people, &rooms);
        let from = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let runs = cx.services.pipeline.ledger().entries();
        text.push_str(&replies::run_costs(runs.iter().filter(|run| run.started >= from)));
        let config = cx.services.config();
        text.push_str(&replies::room_budgets(config.relay.turn_usd, config.relay.day_usd));
        Ok(Reply::text(text))
    }
}

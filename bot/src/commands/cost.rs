//! `cost`: what turns have cost, by person and room.

use std::{collections::BTreeMap, fmt::Write as _, time::SystemTime};

use adapters::markdown::inert;
use async_trait::async_trait;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use pipeline::{ledger::LedgerEntry, story::StoryId};

use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    store::CostRow,
};

/// See the module.
pub struct CostCommand;

/// More stories than this are left out: the newest count.
const STORIES: usize = 20;

const SPEC: CommandSpec = CommandSpec {
    name: "cost",
    aliases: &["costs"],
    args: "[today|week|ID]",
    summary: "Show what turns have cost",
    details: "Shows what Claude Code has cost today, or in the last seven days: turns by person and by room, agents' runs by agent and by \
              story, as the CLI reports it; or every run of one story.",
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
                return Ok(Reply::text(of_story(id, &cx.services.pipeline.ledger().of_story(id))));
            }
            other => {
                let word = adapters::markdown::code_span(other);
                return Err(CommandError::Usage(format!(
                    "{word} is no period; it is `today`, `week` or a story's number."
                )));
            }
        };
        let since = midnight(cx.services.clock.now(), days)?;
        let (people, rooms) = cx.services.store.costs_since(since)?;
        let mut text = report(title, &people, &rooms);
        let from = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let runs = cx.services.pipeline.ledger().entries();
        text.push_str(&agents(runs.iter().filter(|run| run.started >= from)));
        Ok(Reply::text(text))
    }
}

/// The beginning of the day so many days before, in the machine's time zone.
fn midnight(now: SystemTime, days: i64) -> anyhow::Result<SystemTime> {
    let zoned = Timestamp::try_from(now)?.to_zoned(TimeZone::system());
    let start = zoned.start_of_day()?.checked_sub(days.days())?;
    Ok(start.timestamp().into())
}

fn report(title: &str, people: &[CostRow], rooms: &[CostRow]) -> String {
    if people.is_empty() {
        return format!("{title}: no turns.");
    }
    let total: f64 = people.iter().map(|row| row.usd).sum();
    let turns: u64 = people.iter().map(|row| row.turns).sum();
    let mut text = format!("**{title}**: ${total:.2} in {turns} turns\n");
    for (kind, rows) in [("person", people), ("room", rooms)] {
        let _ = write!(text, "\nBy {kind}:\n");
        for row in rows {
            let tokens = format!("{} in, {} out", short(row.input_tokens), short(row.output_tokens));
            let _ = writeln!(text, "- {}: ${:.2}, {} turns, {tokens}", inert(&row.of), row.usd, row.turns);
        }
    }
    text
}

/// What agents' runs have cost, by agent and by story; empty where none ran.
fn agents<'a>(runs: impl Iterator<Item = &'a LedgerEntry>) -> String {
    let (mut by_agent, mut by_story) = (BTreeMap::new(), BTreeMap::new());
    for run in runs {
        for (sum, count) in [
            by_agent.entry(run.agent.clone()).or_insert((0.0, 0)),
            by_story.entry(run.story).or_insert((0.0, 0)),
        ] {
            *sum += run.usd;
            *count += 1;
        }
    }
    if by_agent.is_empty() {
        return String::new();
    }
    let total: f64 = by_agent.values().map(|(usd, _)| usd).sum();
    let mut text = format!("\n**Agents**: ${total:.2}\n\nBy agent:\n");
    for (agent, (usd, runs)) in by_agent {
        let _ = writeln!(text, "- {}: ${usd:.2}, {runs} runs", inert(&agent));
    }
    text.push_str("\nBy story:\n");
    for (story, (usd, runs)) in by_story.into_iter().rev().take(STORIES) {
        let _ = writeln!(text, "- {story}: ${usd:.2}, {runs} runs");
    }
    text
}

fn of_story(id: StoryId, runs: &[LedgerEntry]) -> String {
    if runs.is_empty() {
        return format!("Story `{id}`: nobody has worked on it.");
    }
    let total: f64 = runs.iter().map(|run| run.usd).sum();
    let mut text = format!("**Story {id}**: ${total:.2} in {} runs\n\n", runs.len());
    for run in runs {
        let outcome = if run.ended.is_some() { inert(&run.outcome) } else { "at work".into() };
        let _ = writeln!(text, "- `{}`: ${:.2}, {outcome}", run.slot, run.usd);
    }
    text
}

fn short(tokens: u64) -> String {
    match tokens {
        0..1_000 => tokens.to_string(),
        1_000..1_000_000 => format!("{:.1}k", tokens as f64 / 1e3),
        _ => format!("{:.1}M", tokens as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_summed_by_person_and_room() {
        let row = |of: &str, usd| CostRow {
            of: of.into(),
            turns: 2,
            usd,
            input_tokens: 12_345,
            output_tokens: 678,
        };
        insta::assert_snapshot!(report("Today", &[row("ann", 0.5)], &[row("fake:a", 0.5)]), @r"
        **Today**: $0.50 in 2 turns

        By person:
        - ann: $0.50, 2 turns, 12.3k in, 678 out

        By room:
        - fake:a: $0.50, 2 turns, 12.3k in, 678 out
        ");
        assert_eq!(report("Today", &[], &[]), "Today: no turns.");
    }
}

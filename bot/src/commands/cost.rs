//! `cost`: what turns have cost, by person and room.

use std::{fmt::Write as _, time::SystemTime};

use adapters::markdown::inert;
use async_trait::async_trait;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};

use super::PLAIN;
use crate::{
    command::{Command, CommandError, CommandResult, CommandSpec, Context, Reply},
    store::CostRow,
};

/// See the module.
pub struct Cost;

const SPEC: CommandSpec = CommandSpec {
    name: "cost",
    aliases: &["costs"],
    args: "[today|week]",
    summary: "Show what turns have cost",
    details: "Shows what Claude Code's turns have cost today, or in the last seven days, by person and by room, as the CLI reports it.",
    examples: &["cost", "cost week"],
    ..PLAIN
};

#[async_trait]
impl Command for Cost {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: Context<'_>) -> CommandResult {
        let (title, days) = match cx.args {
            "" | "today" => ("Today", 0),
            "week" => ("The last seven days", 6),
            other => {
                let word = adapters::markdown::code_span(other);
                return Err(CommandError::Usage(format!("{word} is no period; it is `today` or `week`.")));
            }
        };
        let since = midnight(cx.services.clock.now(), days)?;
        let (people, rooms) = cx.services.store.costs_since(since)?;
        Ok(Reply::text(report(title, &people, &rooms)))
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

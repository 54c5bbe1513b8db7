//! The `cost` command.

use std::{collections::BTreeMap, fmt::Write as _};

use adapters::markdown::inert;
use pipeline::{ledger::LedgerEntry, story::StoryId};

use super::text::count;
use crate::store::CostRow;

/// More stories than this are left out: the newest count.
const STORIES: usize = 20;

/// What rooms' turns have cost, by person and by room.
pub fn turn_costs(title: &str, people: &[CostRow], rooms: &[CostRow]) -> String {
    if people.is_empty() {
        return format!("{title}: no turns.");
    }
    let total: f64 = people.iter().map(|row| row.usd).sum();
    let turns: u64 = people.iter().map(|row| row.turns).sum();
    let mut text = format!("**{title}**: ${total:.2} in {}\n", turn_count(turns));
    for (kind, rows) in [("person", people), ("room", rooms)] {
        let _ = write!(text, "\nBy {kind}:\n");
        for row in rows {
            let tokens = format!("{} in, {} out", short(row.input_tokens), short(row.output_tokens));
            let _ =
                writeln!(text, "- {}: ${:.2}, {}, {tokens}", inert(&row.of), row.usd, turn_count(row.turns));
        }
    }
    text
}

/// What agents' runs have cost, by agent and by story; empty where none ran.
pub fn run_costs<'a>(runs: impl Iterator<Item = &'a LedgerEntry>) -> String {
    let (mut by_agent, mut by_story) = (BTreeMap::new(), BTreeMap::new());
    for run in runs {
        for (sum, number) in [
            by_agent.entry(run.agent.clone()).or_insert((0.0, 0)),
            by_story.entry(run.story).or_insert((0.0, 0)),
        ] {
            *sum += run.usd;
            *number += 1;
        }
    }
    if by_agent.is_empty() {
        return String::new();
    }
    let total: f64 = by_agent.values().map(|(usd, _)| usd).sum();
    let mut text = format!("\n**Agents**: ${total:.2}\n\nBy agent:\n");
    for (agent, (usd, runs)) in by_agent {
        let _ = writeln!(text, "- {}: ${usd:.2}, {}", inert(&agent), count(runs, "run", "runs"));
    }
    text.push_str("\nBy story:\n");
    let of_branches = by_story.remove(&StoryId::NONE);
    for (story, (usd, runs)) in by_story.into_iter().rev().take(STORIES) {
        let _ = writeln!(text, "- {story}: ${usd:.2}, {}", count(runs, "run", "runs"));
    }
    if let Some((usd, runs)) = of_branches {
        let _ = writeln!(text, "- reviews of branches: ${usd:.2}, {}", count(runs, "run", "runs"));
    }
    text
}

/// What chat rooms may spend; empty without a limit.
pub fn room_budgets(turn_usd: Option<f64>, day_usd: Option<f64>) -> String {
    let turn = turn_usd.map(|usd| format!("${usd:.2} for one turn"));
    let day = day_usd.map(|usd| format!("${usd:.2} for all rooms in a day"));
    let limits: Vec<String> = turn.into_iter().chain(day).collect();
    if limits.is_empty() {
        String::new()
    } else {
        format!("\n**Budgets of chat rooms**: {}\n", limits.join(", "))
    }
}

/// What every run of one story has cost.
pub fn story_costs(id: StoryId, runs: &[LedgerEntry]) -> String {
    if runs.is_empty() {
        return format!("No agent has worked on story `{id}` yet.");
    }
    let total: f64 = runs.iter().map(|run| run.usd).sum();
    let mut text = format!("**Story {id}**: ${total:.2} in {}\n\n", count(runs.len(), "run", "runs"));
    for run in runs {
        let outcome = if run.ended.is_some() { inert(&run.summary.outcome) } else { "running".into() };
        let _ = writeln!(text, "- `{}`: ${:.2}, {outcome}", run.slot, run.usd);
    }
    text
}

/// `cost` with another word.
pub fn not_a_period(word: &str) -> String {
    let word = adapters::markdown::code_span(word);
    format!("{word} is not a period; use `today`, `week` or a story's number.")
}

fn turn_count(turns: u64) -> String {
    count(usize::try_from(turns).unwrap_or(usize::MAX), "turn", "turns")
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
        let row = |of: &str, turns, usd| CostRow {
            of: of.into(),
            turns,
            usd,
            input_tokens: 12_345,
            output_tokens: 678,
        };
        let (people, rooms) = ([row("ann", 1, 0.25), row("bob", 2, 0.5)], [row("fake:a", 3, 0.75)]);
        insta::assert_snapshot!(turn_costs("Today", &people, &rooms), @r"
        **Today**: $0.75 in 3 turns

        By person:
        - ann: $0.25, 1 turn, 12.3k in, 678 out
        - bob: $0.50, 2 turns, 12.3k in, 678 out

        By room:
        - fake:a: $0.75, 3 turns, 12.3k in, 678 out
        ");
        assert_eq!(turn_costs("Today", &[], &[]), "Today: no turns.");
        assert_eq!(room_budgets(None, None), "");
        assert_eq!(
            room_budgets(Some(1.0), Some(9.5)),
            "\n**Budgets of chat rooms**: $1.00 for one turn, $9.50 for all rooms in a day\n"
        );
    }
}

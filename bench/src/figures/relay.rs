//! Figure 2: how long a piece of the model's text takes through the bot.

use std::ffi::OsString;

use anyhow::ensure;
use futures::FutureExt as _;

use super::Figure;
use crate::{
    Effort,
    bare::{Bare, live_arguments, pty_round_trips},
    machine::monotonic,
    numbers::{median, micros, percentile},
    report::{Outcome, Row},
    world::{World, built},
};

pub const FIGURE: Figure = Figure {
    number: 2,
    name: "relay",
    title: "Relay overhead",
    method: "The stand-in CLI writes a piece of text every 5 ms and puts the time of the writing into it; the messenger in memory, which \
             allows edits without a pause, notes when the bot calls it with a message that shows the piece. So the times below include \
             the way through the PTY and are upper bounds of the overhead from the read of the line; the same CLI read by a bare loop \
             shows what that way alone takes. The PTY round trip is a line there and back through a thread that echoes.",
    measure: |effort| measure(effort).boxed(),
};

async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
    let cli = built("claude-stand-in")?;
    let pieces = effort.pick(300, 60);
    let prompt = format!("stamps {pieces}");
    let mut world = World::with_cli(&cli, &[]).await?;
    let environment: Vec<(OsString, OsString)> = std::env::vars_os()
        .chain(world.place.environment().into_iter().map(|(name, value)| (name.into(), value.into())))
        .collect();
    let mut bare = Bare::start(&live_arguments(&cli), &environment, &world.place.project())?;
    relayed(&mut world, &prompt).await?;
    read(&mut bare, &prompt)?;
    pty_round_trips(1_000)?;

    let (mut through, mut alone, mut trips) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds() {
        through.push(relayed(&mut world, &prompt).await?);
        alone.push(tokio::task::block_in_place(|| read(&mut bare, &prompt))?);
        let round = tokio::task::block_in_place(|| pty_round_trips(1_000))?;
        trips.push(median(&round.into_iter().map(micros).collect::<Vec<_>>()));
    }
    world.end().await;
    for round in through.iter().chain(&alone) {
        ensure!(round.len() >= pieces * 9 / 10, "only {} of {pieces} pieces were seen", round.len());
    }

    let of = |rounds: &[Vec<f64>], share| {
        median(&rounds.iter().map(|round| percentile(round, share)).collect::<Vec<_>>())
    };
    let (p50, bare_p50) = (of(&through, 0.5), of(&alone, 0.5));
    let (p99, bare_p99) = (of(&through, 0.99), of(&alone, 0.99));
    Ok(Outcome {
        rows: vec![
            Row::bound("p50, write to the adapter's send", p50, 500.0, "µs"),
            Row::bound("p99, write to the adapter's send", p99, 5_000.0, "µs"),
            Row::at_most("p50 against a PTY round trip", (p50, median(&trips)), 20.0, "µs", "round trip"),
            Row::beside("p50 against a bare read", (p50, bare_p50), "µs", "bare loop"),
            Row::beside("p99 against a bare read", (p99, bare_p99), "µs", "bare loop"),
            Row::alone("p50 without the way to a bare read", p50 - bare_p50, "µs"),
        ],
        remarks: vec![format!(
            "{pieces} pieces a round, each round's percentile taken, the median of those shown."
        )],
    })
}

/// For each piece, the µs from its writing until the bot showed it.
async fn relayed(world: &mut World, prompt: &str) -> anyhow::Result<Vec<f64>> {
    let mut latest = 0;
    let mut times = Vec::new();
    for shown in world.ask(prompt).await? {
        // A message that is edited repeats the pieces before.
        for stamp in stamps(&shown.text).filter(|stamp| *stamp > latest).collect::<Vec<_>>() {
            latest = stamp;
            times.push((shown.at.saturating_sub(stamp)) as f64 / 1e3);
        }
    }
    Ok(times)
}

/// For each piece, the µs from its writing until a bare loop read it.
fn read(bare: &mut Bare, prompt: &str) -> anyhow::Result<Vec<f64>> {
    let mut latest = 0;
    let mut times = Vec::new();
    bare.ask(prompt, |piece| {
        let at = monotonic();
        let text = String::from_utf8_lossy(piece);
        for start in text.match_indices("\"text\":\"").map(|(at, found)| at + found.len()) {
            let stamp = text[start..].split('"').next().and_then(|text| stamps(text).next());
            if let Some(stamp) = stamp.filter(|stamp| *stamp > latest) {
                latest = stamp;
                times.push((at.saturating_sub(stamp)) as f64 / 1e3);
            }
        }
    })?;
    Ok(times)
}

/// Whole stamps in a text: each has at least ten digits.
fn stamps(text: &str) -> impl Iterator<Item = u64> {
    let words = text.split_whitespace().filter(|word| word.len() >= 10);
    words.filter_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_found_among_words() {
        let found: Vec<u64> = stamps("- Bash 42 …\n\n123456789012 123456789013 ").collect();
        assert_eq!(found, [123_456_789_012, 123_456_789_013]);
    }
}

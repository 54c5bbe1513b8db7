//! Figure 10: a hundred rooms at once.

use std::collections::BTreeMap;

use adapters::Tone;
use anyhow::{Context as _, ensure};
use futures::FutureExt as _;

use super::Figure;
use crate::{
    Effort,
    machine::Observed,
    numbers::{median, millis},
    report::{Outcome, Row},
    world::{World, built},
};

pub const FIGURE: Figure = Figure {
    number: 10,
    name: "rooms",
    title: "A hundred rooms at once",
    method: "100 rooms get 20 prompts each, all at once: one of each room's runs, the others wait in its queue. Each room has a stand-in CLI of \
             its own, on a PTY. Counted are final answers: each prompt's own, once, in its room, in the order of asking. Memory is VmRSS of \
             the bot's process with all 100 sessions alive, less that before the first prompt.",
    measure: |effort| measure(effort).boxed(),
};

const PROMPTS: usize = 20;

async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
    let rooms = effort.pick(100, 10);
    let cli = built("claude-stand-in")?;
    let own = Observed(std::process::id());
    let (mut sizes, mut times, mut wrong) = (Vec::new(), Vec::new(), 0);
    for _ in 0..effort.pick(5, 1) {
        let mut world = World::with_cli(&cli, &[]).await?;
        let before = own.resident()?;
        let start = std::time::Instant::now();
        for room in 0..rooms {
            for prompt in 0..PROMPTS {
                world.messenger.say_in(&name(room), &format!("echo {}", words(room, prompt))).await?;
            }
        }
        let answers = answers(&mut world, rooms).await?;
        times.push(millis(start.elapsed()));
        wrong += misplaced(&answers, rooms);
        sizes.push((own.resident()? - before) * 1024.0 / rooms as f64);
        world.end().await;
    }
    let asked = (rooms * PROMPTS) as f64;
    Ok(Outcome {
        rows: vec![
            Row::bound("answers missing, doubled, out of order or elsewhere", wrong as f64, 0.0, "answers"),
            Row::bound("memory for one session", median(&sizes), 300.0, "kB"),
            Row::alone(&format!("all {asked} answers"), median(&times), "ms"),
        ],
        remarks: vec!["The stand-in's own memory is not storkit's and not counted.".into()],
    })
}

fn name(room: usize) -> String {
    format!("room-{room}")
}

fn words(room: usize, prompt: usize) -> String {
    format!("r{room} p{prompt}")
}

/// The final answers of each room, in order.
async fn answers(world: &mut World, rooms: usize) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut count = 0;
    while count < rooms * PROMPTS {
        let shown = world.next().await.with_context(|| format!("only {count} answers came"))?;
        ensure!(shown.tone != Tone::Failure, "the bot failed: {}", shown.text);
        if let Some(words) = shown.text.strip_prefix("echo: ").filter(|_| shown.tone == Tone::Answer) {
            answers.entry(shown.room).or_default().push(words.to_owned());
            count += 1;
        }
    }
    ensure!(!answers.is_empty(), "nobody answered");
    Ok(answers)
}

fn misplaced(answers: &BTreeMap<String, Vec<String>>, rooms: usize) -> usize {
    let of = |room: usize| {
        let expected: Vec<String> = (0..PROMPTS).map(|prompt| words(room, prompt)).collect();
        let found = answers.get(&name(room)).cloned().unwrap_or_default();
        let right = expected.iter().zip(&found).filter(|(one, other)| one == other).count();
        expected.len().max(found.len()) - right
    };
    (0..rooms).map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_doubled_or_elsewhere_is_counted() {
        let good = |room| (name(room), (0..PROMPTS).map(|prompt| words(room, prompt)).collect::<Vec<_>>());
        let mut answers: BTreeMap<_, _> = [good(0), good(1)].into();
        assert_eq!(misplaced(&answers, 2), 0);
        answers.get_mut("room-1").unwrap().swap(0, 1);
        assert_eq!(misplaced(&answers, 2), 2);
        answers.get_mut("room-0").unwrap().push("r1 p3".into());
        assert_eq!(misplaced(&answers, 2), 3);
        assert_eq!(misplaced(&answers, 3), 3 + PROMPTS);
    }
}

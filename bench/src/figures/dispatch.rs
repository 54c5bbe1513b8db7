//! Figure 1: the cost of answering a command.

use std::sync::Arc;

use adapters::Tone;
use anyhow::ensure;
use async_trait::async_trait;
use bot::{
    commands,
    commands::command::{Command, CommandContext, CommandRegistry, CommandResult, CommandSpec, Reply},
};
use futures::FutureExt as _;

use super::Figure;
use crate::{
    Effort,
    errbot::Errbot,
    machine::own_cpu,
    numbers::{median, micros},
    report::{Outcome, Row},
    world::World,
};

pub const FIGURE: Figure = Figure {
    number: 1,
    name: "dispatch",
    title: "Command dispatch in process",
    method: "CPU of the whole process per message (all threads), from the text that a messenger in memory hands over to the reply \
             that it gets: address stripped, message id stored as seen (SQLite on disk), sender checked, command found, run (`ping`, \
             which returns `pong`), reply delivered and rendered from Markdown to text. One command is under way at a time, and then \
             64. errbot runs the same command as a plugin on the test backend it ships with, access control included, reply \
             rendered from Markdown to text too, storage in memory, log level WARNING, one worker thread (its renderer fails now and then with more); it stores no message ids.",
    measure: |effort| measure(effort).boxed(),
};

/// How many messages are under way at once: one, and as many as the router takes at a time.
const WINDOWS: [usize; 2] = [1, 64];
const MANY: usize = 1_000;
const EIGHTH: f64 = 1.0 / 8.0;

async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
    let errbot = Errbot::installed()?;
    let mut outcome = Outcome::default();
    for under_way in WINDOWS {
        let run = Run { effort, under_way, rendered: true };
        let few = run.ours(registry(1), "!ping").await?;
        let their_few = run.theirs(&errbot, 1)?;
        let many = run.ours(registry(MANY), "!ping").await?;
        let their_many = run.theirs(&errbot, MANY)?;
        let shipped = run.ours(commands::all(), "!whoami").await?;
        let run = Run { rendered: false, ..run };
        let raw = (run.ours(registry(1), "!ping").await?, run.theirs(&errbot, 1)?);
        let what = |commands: &str| format!("{commands}, {under_way} under way");
        outcome.rows.extend([
            Row::at_most(&what("1 command"), (few, their_few), EIGHTH, "µs", "errbot"),
            Row::at_most(&what("1,000 commands"), (many, their_many), EIGHTH, "µs", "errbot"),
            Row::at_most(&what("1,000 commands against 1"), (many, few), 1.2, "µs", "storkit with 1"),
            Row::beside(&what("1 command, nothing rendered"), raw, "µs", "errbot"),
            Row::alone(&what("`whoami` among the commands as shipped"), shipped, "µs"),
        ]);
    }
    outcome.remarks.push(format!("Beside it: {}.", errbot.version()));
    Ok(outcome)
}

/// One way of measuring.
#[derive(Clone, Copy)]
struct Run {
    effort: Effort,
    under_way: usize,
    rendered: bool,
}

impl Run {
    fn theirs(self, errbot: &Errbot, commands: usize) -> anyhow::Result<f64> {
        let numbers = [commands, self.under_way, self.effort.pick(2_000, 300), self.effort.rounds()];
        let measured = tokio::task::block_in_place(|| errbot.dispatch(numbers, self.rendered))?;
        ensure!(measured.registered >= commands, "errbot has only {} commands", measured.registered);
        Ok(median(&measured.micros))
    }

    async fn ours(self, registry: CommandRegistry, text: &str) -> anyhow::Result<f64> {
        let messages = self.effort.pick(10_000, 1_000);
        let mut world = World::with_commands(registry).await?;
        if self.rendered {
            world.messenger.render();
        }
        // Warm-up.
        per_message(&mut world, self.under_way, messages, text).await?;
        let mut rounds = Vec::new();
        for _ in 0..self.effort.rounds() {
            rounds.push(per_message(&mut world, self.under_way, messages, text).await?);
        }
        world.end().await;
        Ok(median(&rounds))
    }
}

/// CPU in µs for each of so many messages.
async fn per_message(world: &mut World, window: usize, messages: usize, text: &str) -> anyhow::Result<f64> {
    let before = own_cpu();
    let (mut sent, mut got) = (0, 0);
    while got < messages {
        while sent < messages && sent - got < window {
            world.messenger.say(text).await?;
            sent += 1;
        }
        let shown = world.next().await?;
        ensure!(shown.tone == Tone::Answer, "{text} was answered by: {}", shown.text);
        got += 1;
    }
    Ok(micros(own_cpu() - before) / messages as f64)
}

/// `ping` and others like it.
fn registry(count: usize) -> CommandRegistry {
    let ping = Constant::named("ping");
    // The registry takes names of static lifetime.
    let others = (1..count).map(|number| Constant::named(format!("other{number}").leak()));
    let commands = std::iter::once(ping).chain(others);
    CommandRegistry::new(commands.map(|command| Arc::new(command) as Arc<dyn Command>).collect())
}

struct Constant(CommandSpec);

impl Constant {
    fn named(name: &'static str) -> Self {
        Self(CommandSpec { name, summary: "Answer", details: "Answers.", ..CommandSpec::PLAIN })
    }
}

#[async_trait]
impl Command for Constant {
    fn spec(&self) -> &CommandSpec {
        &self.0
    }

    async fn run(&self, _cx: CommandContext<'_>) -> CommandResult {
        Ok(Reply::text("pong"))
    }
}

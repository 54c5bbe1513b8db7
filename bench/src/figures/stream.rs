//! Figure 4: how fast a flood of lines is read, and what memory it takes.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout},
    time::{Duration, Instant},
};

use agents::claude::{AgentEvent, AgentProcess};
use anyhow::{Context as _, bail, ensure};
use futures::FutureExt as _;

use super::Figure;
use crate::{
    Effort,
    bare::{Bare, live_arguments},
    machine::Observed,
    numbers::median,
    report::{Outcome, Row},
    world::{PATIENCE, Place, World, built},
};

pub const FIGURE: Figure = Figure {
    number: 4,
    name: "stream",
    title: "Stream throughput and bounds",
    method: "The stand-in CLI writes 100 MB of text pieces (700 bytes a line) in one turn into a PTY, as fast as it is read. Read by a bare \
             loop; by `agents::claude::Process` with a receiver that drops the events; and by the whole bot (which keeps 256 KiB of a block that is not finished), to the final message on \
             the messenger in memory. Memory: the program `storkit chat` with the stand-in, resident memory after a first short turn \
             (idle, session alive), and the peak during a turn with one line of 100 MB, and with the 100 MB of pieces.",
    measure: |effort| measure(effort).boxed(),
};

/// Limit of the peak, in MB over idle.
const MEMORY: f64 = 64.0;
const SHARE: f64 = 0.6;

async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
    let cli = built("claude-stand-in")?;
    let size = effort.pick(100, 10);
    let prompt = format!("spam {size}");
    let mut world = World::with_cli(&cli, &[]).await?;
    let environment: Vec<(OsString, OsString)> = std::env::vars_os()
        .chain(world.place.environment().into_iter().map(|(name, value)| (name.into(), value.into())))
        .collect();
    let mut bare = Bare::start(&live_arguments(&cli), &environment, &world.place.project())?;
    let (mut alone, mut parsed, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=effort.rounds() {
        let start = Instant::now();
        let bytes = tokio::task::block_in_place(|| bare.ask(&prompt, |_| {}))?;
        ensure!(bytes > size * 990_000, "only {bytes} bytes came");
        let rate = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
        let rates = (
            rate(start.elapsed()),
            rate(process(&world, &prompt).await?),
            rate(bot(&mut world, &prompt).await?),
        );
        // The first round is the warm-up.
        if round > 0 {
            alone.push(rates.0);
            parsed.push(rates.1);
            whole.push(rates.2);
        }
    }
    world.end().await;
    drop(bare);
    let line = tokio::task::block_in_place(|| peak_over_idle(&cli, &format!("longline {size}")))?;
    let flood = tokio::task::block_in_place(|| peak_over_idle(&cli, &prompt))?;
    let bare = median(&alone);
    Ok(Outcome {
        rows: vec![
            Row::at_least("`Process`, events dropped", (median(&parsed), bare), SHARE, "MB/s", "bare read"),
            Row::at_least("the whole bot", (median(&whole), bare), SHARE, "MB/s", "bare read"),
            Row::bound(&format!("peak over idle, one line of {size} MB"), line, MEMORY, "MB"),
            Row::bound(&format!("peak over idle, {size} MB of pieces"), flood, MEMORY, "MB"),
        ],
        remarks: Vec::new(),
    })
}

/// Measures the agent process without a bot.
async fn process(world: &World, prompt: &str) -> anyhow::Result<Duration> {
    let launch = world.app.services().launch(None, None);
    let (process, mut events) = AgentProcess::start(launch).await?;
    turn(&process, &mut events, "echo ready").await?;
    let start = Instant::now();
    turn(&process, &mut events, prompt).await?;
    let time = start.elapsed();
    process.end().await;
    Ok(time)
}

async fn turn(
    process: &AgentProcess,
    events: &mut tokio::sync::mpsc::Receiver<AgentEvent>,
    prompt: &str,
) -> anyhow::Result<()> {
    process.prompt(&prompt.into()).await?;
    loop {
        match events.recv().await {
            Some(AgentEvent::TurnEnded(_)) => return Ok(()),
            Some(AgentEvent::Exited(exit)) => bail!("the stand-in has ended: {exit:?}"),
            Some(_) => {}
            None => bail!("no events any more"),
        }
    }
}

async fn bot(world: &mut World, prompt: &str) -> anyhow::Result<Duration> {
    let start = Instant::now();
    world.messenger.say(prompt).await?;
    loop {
        // Dropped at once: the memory of a messenger does not count.
        let shown = world.next().await?;
        ensure!(shown.tone != adapters::Tone::Failure, "the bot failed: {}", shown.text);
        if shown.tone == adapters::Tone::Answer && shown.text.ends_with("pieces") {
            return Ok(start.elapsed());
        }
    }
}

/// MB between resident memory after a first turn and the peak during this prompt.
fn peak_over_idle(cli: &Path, prompt: &str) -> anyhow::Result<f64> {
    let mut chat = Chat::start(cli)?;
    chat.ask("echo ready", "echo: ready")?;
    let idle = chat.process.resident()?;
    chat.process.forget_peak()?;
    let last = if prompt.starts_with("spam") { "pieces" } else { "after the long line" };
    chat.ask(prompt, last)?;
    Ok(chat.process.peak()? - idle)
}

/// `storkit chat` with piped input.
struct Chat {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    process: Observed,
    _place: Place,
}

impl Chat {
    fn start(cli: &Path) -> anyhow::Result<Self> {
        let place = Place::new()?;
        place.configure(cli)?;
        let mut child = place.storkit(&["chat"])?.spawn().context("storkit")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = (input.context("no input")?, BufReader::new(output.context("no output")?));
        let process = Observed(child.id());
        Ok(Self { child, input, output, process, _place: place })
    }

    /// Sends a prompt and reads until a line that finishes with `last`.
    fn ask(&mut self, prompt: &str, last: &str) -> anyhow::Result<()> {
        writeln!(self.input, "{prompt}")?;
        self.input.flush()?;
        let start = Instant::now();
        let mut line = Vec::new();
        while start.elapsed() < PATIENCE {
            line.clear();
            if self.output.read_until(b'\n', &mut line)? == 0 {
                bail!("storkit chat has ended");
            }
            if line.trim_ascii_end().ends_with(last.as_bytes()) {
                return Ok(());
            }
        }
        bail!("storkit chat did not say `{last}`")
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        );
        let _ = self.child.wait();
    }
}

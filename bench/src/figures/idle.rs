//! Figure 5: the start, the cost of an idle bot, and a frame of htop.

use std::{
    fs::{self, File},
    io::Read as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bot::{AgentEntry, commands::htop::frame_now};
use futures::FutureExt as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::Figure;
use crate::{
    Effort,
    bare::until_shown,
    errbot::Errbot,
    machine::Observed,
    numbers::{median, millis},
    report::{Outcome, Row},
    world::{Place, World},
};

pub const FIGURE: Figure = Figure {
    number: 5,
    name: "idle",
    title: "Start, idle cost, a frame of htop",
    method: "Start: from the fork of `storkit chat` in a terminal, in a project it has served before, until its greeting is shown; errbot \
             on its text console, until its greeting is shown, with the plugins for access control and help only. Idle: `storkit serve` \
             without a session, 2 s after its start; memory is VmRSS, CPU is taken from schedstat over the whole watch. Frame: \
             `htop` for 100 agents, each a shell with two children, from the sampling to the finished text, beside opening and reading \
             `/proc/PID/stat` of every process of the machine into a buffer, which is what the frame has to read.",
    measure: |effort| measure(effort).boxed(),
};

/// Part of the console's greeting.
const GREETING: &str = "Timmy is";
const AGENTS: usize = 100;

async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
    let errbot = Errbot::installed()?;
    let (ours, theirs) = tokio::task::block_in_place(|| starts(effort, &errbot))?;
    let watch = Duration::from_secs(effort.pick(30, 3));
    let (memory, cpu) = idle(watch).await?;
    let (frame, by_hand, processes) = frames(effort).await?;
    Ok(Outcome {
        rows: vec![
            Row::at_most("start to the greeting", (ours, theirs.ready), 0.2, "ms", "errbot"),
            Row::bound("idle resident memory", memory, 20.0, "MB"),
            Row::beside("idle resident memory beside errbot's", (memory, theirs.memory), "MB", "errbot"),
            Row::bound(&format!("idle CPU over {} s", watch.as_secs()), cpu, 1.0, "ms/s"),
            Row::at_most(
                &format!("htop frame, {AGENTS} agents"),
                (frame, by_hand),
                4.0,
                "ms",
                "/proc by hand",
            ),
        ],
        remarks: vec![format!(
            "Compared with {}. {processes} processes on the machine during the frames.",
            errbot.version()
        )],
    })
}

struct Theirs {
    ready: f64,
    memory: f64,
}

/// ms to the greeting, of storkit and errbot in turn, after one start of each to warm up.
fn starts(effort: Effort, errbot: &Errbot) -> anyhow::Result<(f64, Theirs)> {
    let place = Place::new()?;
    let folder = tempfile::tempdir()?;
    let (mut ours, mut theirs, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=effort.rounds() {
        let mine = until_shown(&place.storkit(&["chat"])?, GREETING, |_| Ok(()))?;
        let other = until_shown(&errbot.console(folder.path())?, Errbot::READY, |process| {
            memory.push(process.resident()?);
            Ok(())
        })?;
        if round > 0 {
            ours.push(millis(mine));
            theirs.push(millis(other));
        }
    }
    Ok((median(&ours), Theirs { ready: median(&theirs), memory: median(&memory) }))
}

/// Resident memory in MB, and CPU in ms per second.
async fn idle(watch: Duration) -> anyhow::Result<(f64, f64)> {
    let place = Place::new()?;
    let mut command = place.storkit(&["serve", "--port", "0"])?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("storkit")?;
    let process = Observed(child.id());
    // Its start is not idle time.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (before, start) = (process.cpu()?, Instant::now());
    tokio::time::sleep(watch).await;
    let used = process.cpu()?.since(&before);
    let measured = (process.resident()?, millis(used) / start.elapsed().as_secs_f64());
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    child.wait()?;
    Ok(measured)
}

/// ms for a frame and for reading `/proc` by hand, in turn, and the number of processes.
async fn frames(effort: Effort) -> anyhow::Result<(f64, f64, usize)> {
    let world = World::with_commands(bot::commands::all()).await?;
    let trees = (0..AGENTS).map(|_| Tree::start()).collect::<anyhow::Result<Vec<_>>>()?;
    let services = &world.app.services().commands;
    let entry = |number| AgentEntry {
        name: format!("bench:{number}"),
        since: Instant::now(),
        story: None,
        cost_usd: 0.0,
    };
    let registered: Vec<_> = trees
        .iter()
        .enumerate()
        .map(|(number, tree)| services.agents.register(tree.0.id(), entry(number)))
        .collect();
    let room = adapters::Room::new("bench", "elsewhere");
    let (mut frames, mut by_hand, mut processes) = (Vec::new(), Vec::new(), 0);
    for round in 0..=effort.rounds() * 3 {
        let start = Instant::now();
        let frame = frame_now(services, &room, None);
        let ours = start.elapsed();
        ensure!(frame.contains("bench:"), "a frame without agents: {frame}");
        let start = Instant::now();
        processes = read_all_stat();
        let theirs = start.elapsed();
        if round > 0 {
            frames.push(millis(ours));
            by_hand.push(millis(theirs));
        }
    }
    drop(registered);
    world.end().await;
    Ok((median(&frames), median(&by_hand), processes))
}

/// Reads `/proc/PID/stat` of every process and returns their number.
fn read_all_stat() -> usize {
    let mut buffer = [0; 2048];
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut buffer)).is_ok()
    })
    .count()
}

/// An agent's processes: a shell and two children in their own process group.
struct Tree(Child);

impl Tree {
    fn start() -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & sleep 1000 & wait"]).process_group(0);
        Ok(Self(command.stdin(Stdio::null()).spawn()?))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

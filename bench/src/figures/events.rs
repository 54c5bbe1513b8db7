//! Figure 7: from a file moved by hand to the event, and a burst of moves.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use agents::claude::PermissionRoute;
use anyhow::{Context as _, ensure};
use futures::FutureExt as _;
use pipeline::{
    Pipeline,
    event::{PipelineEvent, RunInfo},
    host::{AgentSettings, PipelineHost, RunAccess},
    stage::Stage,
};

use super::{Figure, board::stories};
use crate::{
    Effort,
    numbers::{median, millis},
    report::{Outcome, Row},
};

pub const FIGURE: Figure = Figure {
    number: 7,
    name: "events",
    title: "From a moved file to its event",
    method: "A story's file is renamed from the backlog to the archive; the time until the event reaches one who follows the pipeline, which is \
             what `/ws` sends on, without the settling time of 100 ms. Beside it: the same rename until inotify tells a bare watcher. \
             Burst: 10,000 renames in a row on a board of 10,000; every story's event is waited for.",
    measure: |effort| measure(effort).boxed(),
};

const SETTLE: Duration = Duration::from_millis(100);

/// No agent is ever started here.
struct Nobody;

impl PipelineHost for Nobody {
    fn open(&self, _run: &RunInfo) -> RunAccess {
        RunAccess {
            route: PermissionRoute::Control,
            waiting: Arc::new(AtomicUsize::new(0)),
            guard: Box::new(()),
        }
    }
}

fn settings() -> AgentSettings {
    AgentSettings {
        model_access: Default::default(),
        command: vec!["/bin/false".into()],
        model: String::new(),
        env: Default::default(),
        secret_env: Vec::new(),
        home: "/nonexistent".into(),
        stall: Duration::ZERO,
        trust_project_settings: false,
        busy_wait: Duration::from_secs(1),
        settle: SETTLE,
    }
}

async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let count = effort.pick(10_000, 1_000);
    let project = stories(folder.path(), 0)?;
    let work = project.dir().join("work");
    let name = |stage: &str, id: u32| work.join(stage).join(format!("{id}_story_number.md"));
    for id in 1..=count {
        fs::write(name("1_backlog", id), format!("---\nname: Story {id}\n---\n# Story {id}\n"))?;
    }
    commit(folder.path())?;
    let pipeline = Pipeline::open(&project, settings(), Arc::new(Nobody))?;
    pipeline.rescan().await?;
    let (_, mut events) = pipeline.follow();
    let mut single = Vec::new();
    for id in 1..=u32::try_from(effort.rounds())? * 3 + 1 {
        let start = Instant::now();
        fs::rename(name("1_backlog", id), name("6_archived", id))?;
        loop {
            let next = tokio::time::timeout(Duration::from_secs(60), events.recv()).await??;
            if matches!(&next.event, PipelineEvent::StoryMoved { story, to: Stage::Archived, .. } if story.0 == id)
            {
                break;
            }
        }
        // The first one warms up.
        if id > 1 {
            single.push(millis(start.elapsed().saturating_sub(SETTLE)));
        }
    }
    let (burst, lost) = burst(&mut events, count, &name).await?;
    pipeline.shutdown().await;
    let bare = tokio::task::block_in_place(|| bare(effort))?;
    Ok(Outcome {
        rows: vec![
            Row::at_most("a move until its event, settling apart", (median(&single), bare), 3.0, "ms", "raw inotify"),
            Row::alone(&format!("{count} moves in a burst until the last event"), burst, "ms"),
            Row::bound("events lost in the burst", lost as f64, 0.0, "events"),
        ],
        remarks: vec![
            "The event comes after the file was read and the board compared; raw inotify has only a name then.".into(),
        ],
    })
}

async fn burst(
    events: &mut tokio::sync::broadcast::Receiver<Arc<pipeline::event::NumberedEvent>>,
    count: u32,
    name: &(dyn Fn(&str, u32) -> std::path::PathBuf + Sync),
) -> anyhow::Result<(f64, usize)> {
    let mut waiting: BTreeSet<u32> = (1..=count).filter(|id| name("1_backlog", *id).exists()).collect();
    let start = Instant::now();
    for id in &waiting {
        fs::rename(name("1_backlog", *id), name("6_archived", *id))?;
    }
    while !waiting.is_empty() {
        // Events that never come are counted as lost, not reported as an error.
        let Ok(next) = tokio::time::timeout(Duration::from_secs(60), events.recv()).await else { break };
        if let PipelineEvent::StoryMoved { story, .. } = &next.context("the events were lost")?.event {
            waiting.remove(&story.0);
        }
    }
    Ok((millis(start.elapsed()), waiting.len()))
}

fn commit(folder: &std::path::Path) -> anyhow::Result<()> {
    for args in [
        &["add", "-A"][..],
        &["-c", "user.name=b", "-c", "user.email=b@example.org", "commit", "-q", "-m", "stories"],
    ] {
        let done = std::process::Command::new("git").arg("-C").arg(folder).args(args).status()?;
        ensure!(done.success(), "git {args:?} failed");
    }
    Ok(())
}

/// ms from a rename to a bare inotify read.
fn bare(effort: Effort) -> anyhow::Result<f64> {
    use rustix::fs::inotify;
    let folder = tempfile::tempdir()?;
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    fs::write(&one, "x")?;
    let watch = inotify::init(inotify::CreateFlags::empty())?;
    inotify::add_watch(&watch, folder.path(), inotify::WatchFlags::MOVED_TO)?;
    let mut times = Vec::new();
    let mut buffer = [0; 4096];
    for round in 0..=effort.rounds() * 10 {
        let (from, to) = if round.is_multiple_of(2) { (&one, &two) } else { (&two, &one) };
        let start = Instant::now();
        fs::rename(from, to)?;
        ensure!(rustix::io::read(&watch, &mut buffer)? > 0, "inotify said nothing");
        if round > 0 {
            times.push(millis(start.elapsed()));
        }
    }
    Ok(median(&times))
}

//! Figure 7: from a file moved by hand to the event, and a burst of moves.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use agents::claude::PermissionRoute;
use anyhow::{Context as _, ensure};
use futures::FutureExt as _;
use pipeline::{
    Pipeline,
    event::{NumberedEvent, PipelineEvent, RunInfo},
    host::{AgentSettings, PipelineHost, RunAccess},
    mailbox::RunMailbox,
    stage::Stage,
    strangers::StrangersRead,
};
use tokio::sync::broadcast;

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
             what `/ws` sends on, without the settling time of 100 ms. The boards have 1,000 and 10,000 stories. \
             Burst: 10,000 renames in a row on a board of 10,000; every story's event is waited for.",
    measure: |effort| measure(effort).boxed(),
};

const SETTLE: Duration = Duration::from_millis(100);

/// No agent is ever started here.
struct Nobody;

impl PipelineHost for Nobody {
    fn open(&self, _run: &RunInfo, _read: &StrangersRead, _mailbox: &RunMailbox) -> RunAccess {
        RunAccess {
            route: PermissionRoute::Control,
            waiting: Arc::new(AtomicUsize::new(0)),
            trials: Default::default(),
            guard: Box::new(()),
        }
    }

    fn has_secret(&self, _content: &[u8]) -> bool {
        false
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
        wall: Default::default(),
        stall: Duration::ZERO,
        trust_project_settings: false,
        busy_wait: Duration::from_secs(1),
        settle: SETTLE,
        trust: pipeline::trust::TrustStore::at("/nonexistent".into()),
    }
}

async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
    let (small, large) = (effort.pick(1_000, 200), effort.pick(10_000, 2_000));
    let on_small = {
        let mut board = FollowedBoard::open(small).await?;
        let time = board.single_moves(effort).await?;
        board.pipeline.shutdown().await;
        time
    };
    let mut board = FollowedBoard::open(large).await?;
    let on_large = board.single_moves(effort).await?;
    let (burst, lost) = board.burst().await?;
    board.pipeline.shutdown().await;
    let bare = tokio::task::block_in_place(|| bare(effort))?;
    Ok(Outcome {
        rows: vec![
            Row::bound(&format!("a move on a board of {large}, settling apart"), on_large, 5.0, "ms"),
            Row::at_most(
                &format!("a move on a board of {large}, against {small}"),
                (on_large, on_small),
                1.2,
                "ms",
                &format!("storkit with {small}"),
            ),
            Row::alone("the same rename until raw inotify tells it", bare, "ms"),
            Row::alone(&format!("{large} moves in a burst until the last event"), burst, "ms"),
            Row::bound("events lost in the burst", lost as f64, 0.0, "events"),
        ],
        remarks: vec![
            "The event comes after the file was read and the board compared; raw inotify has only a name then.".into(),
        ],
    })
}

/// A project with stories in the backlog, and the events of its pipeline.
struct FollowedBoard {
    work: PathBuf,
    count: u32,
    pipeline: Pipeline,
    events: broadcast::Receiver<Arc<NumberedEvent>>,
    // Deleted when it is dropped.
    _folder: tempfile::TempDir,
}

impl FollowedBoard {
    async fn open(count: u32) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let project = stories(folder.path(), 0)?;
        let work = project.dir().join("work");
        for id in 1..=count {
            let text = format!("---\nname: Story {id}\n---\n# Story {id}\n");
            fs::write(work.join("1_backlog").join(file(id)), text)?;
        }
        commit(folder.path())?;
        let pipeline = Pipeline::open(&project, settings(), Arc::new(Nobody))?;
        pipeline.rescan().await?;
        let (_, events) = pipeline.follow();
        Ok(Self { work, count, pipeline, events, _folder: folder })
    }

    fn archive(&self, id: u32) -> std::io::Result<()> {
        let in_stage = |stage: &str| self.work.join(stage).join(file(id));
        fs::rename(in_stage("1_backlog"), in_stage("6_archived"))
    }

    /// The median in ms from a move to its event, without the settling time.
    async fn single_moves(&mut self, effort: Effort) -> anyhow::Result<f64> {
        let mut times = Vec::new();
        for id in 1..=u32::try_from(effort.rounds())? * 3 + 1 {
            let start = Instant::now();
            self.archive(id)?;
            loop {
                let next = tokio::time::timeout(Duration::from_secs(60), self.events.recv()).await??;
                if matches!(&next.event, PipelineEvent::StoryMoved { story, to: Stage::Archived, .. } if story.0 == id)
                {
                    break;
                }
            }
            // The first one warms up.
            if id > 1 {
                times.push(millis(start.elapsed().saturating_sub(SETTLE)));
            }
        }
        Ok(median(&times))
    }

    /// Moves all that are left; the time in ms until the last event, and how many never came.
    async fn burst(&mut self) -> anyhow::Result<(f64, usize)> {
        let backlog = self.work.join("1_backlog");
        let mut waiting: BTreeSet<u32> =
            (1..=self.count).filter(|id| backlog.join(file(*id)).exists()).collect();
        let start = Instant::now();
        for id in &waiting {
            self.archive(*id)?;
        }
        while !waiting.is_empty() {
            // Events that never come are counted as lost, not reported as an error.
            let Ok(next) = tokio::time::timeout(Duration::from_secs(60), self.events.recv()).await else {
                break;
            };
            if let PipelineEvent::StoryMoved { story, .. } = &next.context("the events were lost")?.event {
                waiting.remove(&story.0);
            }
        }
        Ok((millis(start.elapsed()), waiting.len()))
    }
}

fn file(id: u32) -> String {
    format!("{id}_story_number.md")
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

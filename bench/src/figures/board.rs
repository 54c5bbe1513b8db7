//! Figure 6: a board of 10,000 stories.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    time::{Instant, SystemTime},
};

use anyhow::ensure;
use bot::replies::board;
use futures::FutureExt as _;
use pipeline::{
    Project,
    assign::{Situation, Slot, assign},
    board::WorkFolder,
    event::PipelineSnapshot,
    stage::{Mover, Role, Stage},
    story::StoryId,
};

use super::Figure;
use crate::{
    Effort,
    numbers::{median, millis},
    report::{Outcome, Row},
};

pub const FIGURE: Figure = Figure {
    number: 6,
    name: "board",
    title: "A board of 10,000 stories",
    method: "Stories of about 600 bytes, 9,000 done or archived, 1,000 in the other stages. Scan: `Work::open` and the first `scan`, front \
             matter read, beside opening and reading the same files. Status: the text of `status` from the snapshot. Assign: 50 agents of \
             which half are busy. Move: a story from one stage to another and the board after it.",
    measure: |effort| measure(effort).boxed(),
};

/// Makes a project with this many stories.
pub fn stories(folder: &Path, count: u32) -> anyhow::Result<Project> {
    let done = Command::new("git").args(["init", "-q", "-b", "main"]).arg(folder).status()?;
    ensure!(done.success(), "git init failed");
    let project = Project::open(folder)?;
    drop(WorkFolder::open(&project)?);
    for id in 1..=count {
        let stage = match id % 10 {
            0 => Stage::ALL[(id / 10 % 4) as usize],
            1..=3 => Stage::Done,
            _ => Stage::Archived,
        };
        let text = format!(
            "---\nname: Story number {id}\nmanual_qa: false\ndepends_on: [{}]\n---\n# Story number {id}\n\n{}\n- [ ] one\n- [x] two\n",
            id.saturating_sub(1).max(1),
            "Some words that a person wrote about it. ".repeat(10)
        );
        fs::write(project.dir().join("work").join(stage.dir()).join(format!("{id}_story_number.md")), text)?;
    }
    Ok(project)
}

async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
    tokio::task::block_in_place(|| blocking(effort))
}

fn blocking(effort: Effort) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let project = stories(folder.path(), effort.pick(10_000, 1_000))?;
    let (mut scans, mut reads, mut statuses, mut assigns, mut moves) =
        (vec![], vec![], vec![], vec![], vec![]);
    for round in 0..=effort.rounds() {
        let start = Instant::now();
        let read = read_all(&project)?;
        let reading = millis(start.elapsed());
        let start = Instant::now();
        let work = WorkFolder::open(&project)?;
        let board = work.scan()?;
        let scan = millis(start.elapsed());
        ensure!(read > 0 && board.problems.is_empty(), "the stories are wrong");
        let snapshot = PipelineSnapshot { board: board.clone(), ..PipelineSnapshot::default() };
        let start = Instant::now();
        let text = board::board(&snapshot, SystemTime::now());
        let status = millis(start.elapsed());
        ensure!(text.contains("archived"), "no board: {text}");
        let slots = team();
        let conflicts = BTreeSet::new();
        let situation = Situation {
            board: &board,
            conflicts: &conflicts,
            quarantine: &BTreeMap::new(),
            parked: &BTreeSet::new(),
            max_retries: 3,
        };
        let start = Instant::now();
        let assigned = assign(&situation, &slots, |_| true);
        let assigning = millis(start.elapsed());
        ensure!(!assigned.is_empty(), "nobody was assigned");
        let current: Vec<StoryId> = board.in_stage(Stage::Current).map(|story| story.id()).take(20).collect();
        let start = Instant::now();
        for id in &current {
            work.move_story(*id, Stage::Backlog, Mover::Person)?;
            work.board()?;
        }
        let moving = millis(start.elapsed()) / current.len() as f64;
        // Back again, so that every round finds the same board.
        for id in &current {
            work.move_story(*id, Stage::Current, Mover::Person)?;
        }
        if round > 0 {
            reads.push(reading);
            scans.push(scan);
            statuses.push(status);
            assigns.push(assigning);
            moves.push(moving);
        }
    }
    Ok(Outcome {
        rows: vec![
            Row::at_most("first scan", (median(&scans), median(&reads)), 1.5, "ms", "reading the files"),
            Row::bound("`status`", median(&statuses), 5.0, "ms"),
            Row::bound("`assign` with 50 agents", median(&assigns), 10.0, "ms"),
            Row::alone("a stage move, and the board after it", median(&moves), "ms"),
        ],
        remarks: Vec::new(),
    })
}

/// Opens and reads every file: the lower bound.
fn read_all(project: &Project) -> anyhow::Result<usize> {
    let mut bytes = 0;
    for stage in Stage::ALL {
        for entry in fs::read_dir(project.dir().join("work").join(stage.dir()))? {
            bytes += fs::read(entry?.path())?.len();
        }
    }
    Ok(bytes)
}

fn team() -> Vec<Slot> {
    let role = |number: u32| match number % 3 {
        0 => Role::Qa,
        1 => Role::Coder,
        _ => Role::Mergemaster,
    };
    let slot = |number: u32| Slot {
        name: format!("agent-{number}"),
        agent: "agent".into(),
        role: role(number),
        busy_with: (number.is_multiple_of(2)).then_some(StoryId(1_000_000 + number)),
    };
    (0..50).map(slot).collect()
}

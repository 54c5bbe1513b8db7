//! Figure 16: the web page, in Chromium, on a slowed-down phone, against the program.

use std::time::Instant;

use bot::{commands, http::web::LiveBoard};
use futures::FutureExt as _;
use pipeline::{Pipeline, event::Actor, stage::Stage, story::StoryId};

use super::Figure;
use crate::{
    Effort,
    numbers::{median, millis},
    report::{Outcome, Row},
    web::{
        Serving,
        build::{self, Built},
        measured::Measured,
        node, stories,
    },
    world::{World, built},
};

pub const FIGURE: Figure = Figure {
    number: 16,
    name: "web",
    title: "The web page",
    method: "`storkit serve` as a program, the page that is built into it, and Debian's Chromium, which shows it as a phone (390 x 844) whose \
             processor is slowed down four times (CPU/4), unless a row says otherwise. Network where a row says so: 150 ms and 1.6 Mbit/s, \
             nothing cached. Board: 1,000 open stories, 9,000 archived, nobody working. Static page: the same bytes in the same files, whose \
             script does nothing. `/api/board` and what it is made of: in this process, without HTTP. Event to pixel, click to answer: \
             an unslowed desktop, beside another socket of the same storkit that gets the same event. 100 agents: real processes, each \
             printing 10 lines a second on its pseudo-terminal, on the cores that storkit and Chromium share. Main thread: its CPU time, \
             by Chromium's own count; a task: wall time, by the Long Tasks API from the first one on.",
    measure: |effort| measure(effort).boxed(),
};

async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
    let sizes = tokio::task::block_in_place(|| node(&["sizes"]))?;
    let cost = board_cost(effort).await?;
    let (board, crowd, run, built) = tokio::task::block_in_place(|| {
        anyhow::Ok((board(effort)?, crowd(effort)?, run(effort)?, build::measure()?))
    })?;
    let parts = [
        size_rows(&sizes)?,
        board_rows(&board, &cost)?,
        live_rows(&board)?,
        output_rows(&crowd, &run)?,
        build_rows(&built),
    ];
    Ok(Outcome {
        rows: parts.into_iter().flatten().collect(),
        remarks: vec![format!(
            "With 100 agents at work storkit itself takes {:.2} s of CPU a second, lines of 100 agents and all.",
            crowd.get("server")?
        )],
    })
}

/// The board of 10,000 stories on a page.
fn board(effort: Effort) -> anyhow::Result<Measured> {
    let place = stories::place(&built("claude-stand-in")?, &stories::nobody())?;
    stories::fill(&place, 1..=1_000, 9_000)?;
    Serving::start(&place)?.measure("board", effort)
}

/// A hundred agents that print.
fn crowd(effort: Effort) -> anyhow::Result<Measured> {
    let folder = tempfile::tempdir()?;
    let place = stories::place(&stories::printing_agent(folder.path())?, &stories::coders(100))?;
    stories::printing(&place, 1..=100, 0)?;
    Serving::start(&place)?.measure("crowd", effort)
}

/// One agent that has printed 4 MB and goes on, on a board of 100.
fn run(effort: Effort) -> anyhow::Result<Measured> {
    let folder = tempfile::tempdir()?;
    let place = stories::place(&stories::printing_agent(folder.path())?, &stories::coders(1))?;
    // It has the lowest number, so that the coder takes it.
    stories::printing(&place, 1..=1, 10_500)?;
    stories::fill(&place, 2..=100, 100)?;
    Serving::start(&place)?.measure("run", effort)
}

/// What `/api/board` takes in storkit, in ms.
struct BoardCost {
    /// Finding out what a moved story changes, and telling it.
    refresh: f64,
    /// The whole board after that, as JSON.
    answer: f64,
    /// The same JSON of structs that are there.
    serialise: f64,
    /// The same answer, compressed.
    compressed: f64,
    /// Asked again, where nothing has changed.
    again: f64,
}

async fn board_cost(effort: Effort) -> anyhow::Result<BoardCost> {
    let place = stories::place(&built("claude-stand-in")?, &stories::nobody())?;
    stories::fill(&place, 1..=1_000, 9_000)?;
    let world = World::at(place, &[], commands::all()).await?;
    let services = world.app.services();
    let pipeline = services.commands.pipeline.clone();
    pipeline.started().await;
    let board = LiveBoard::new(pipeline.clone(), services.broker.clone(), services.clock.clone());
    let [mut refresh, mut answer, mut serialise, mut compressed, mut again] = [const { Vec::new() }; 5];
    for round in 0..=effort.rounds() * 3 {
        move_first(&pipeline).await?;
        let refreshed = timed(|| board.refresh());
        move_first(&pipeline).await?;
        let answered = timed(|| serde_json::to_vec(&board.view()));
        let view = board.view();
        let serialised = timed(|| serde_json::to_vec(&view));
        move_first(&pipeline).await?;
        let start = Instant::now();
        let whole = board.encoded().await;
        let squeezed = millis(start.elapsed());
        let start = Instant::now();
        let same = board.encoded().await;
        let repeated = millis(start.elapsed());
        anyhow::ensure!(whole.tag == same.tag && view.stories.len() == 1_000, "the board is another");
        if round > 0 {
            refresh.push(refreshed);
            answer.push(answered);
            serialise.push(serialised);
            compressed.push(squeezed);
            again.push(repeated);
        }
    }
    world.end().await;
    let [refresh, answer, serialise, compressed, again] =
        [refresh, answer, serialise, compressed, again].map(|times| median(&times));
    Ok(BoardCost { refresh, answer, serialise, compressed, again })
}

/// The first story goes from the backlog into work, or back.
async fn move_first(pipeline: &Pipeline) -> anyhow::Result<()> {
    let story = StoryId(1);
    let stage = pipeline.snapshot().board.story(story).map(|story| story.stage);
    let to = if stage == Some(Stage::Backlog) { Stage::Current } else { Stage::Backlog };
    pipeline.move_story(story, to, Actor::Person("bench".into())).await?;
    Ok(())
}

fn timed<T>(act: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    std::hint::black_box(act());
    millis(start.elapsed())
}

fn size_rows(sizes: &Measured) -> anyhow::Result<Vec<Row>> {
    Ok(vec![
        Row::bound("first route, HTML, CSS and JS, gzip", sizes.get("first")?, 30.0, "kB"),
        Row::bound("the largest later part, gzip", sizes.get("later")?, 15.0, "kB"),
    ])
}

fn board_rows(board: &Measured, cost: &BoardCost) -> anyhow::Result<Vec<Row>> {
    let paint = board.get("paint")?;
    Ok(vec![
        Row::bound("requests to elsewhere", board.get("elsewhere")?, 0.0, "requests"),
        Row::at_most(
            "first paint, slow network, CPU/4",
            (paint, board.get("static")?),
            1.3,
            "ms",
            "static page",
        ),
        Row::at_most(
            "board of 1,000 readable there",
            (board.get("readable")?, paint),
            4.0,
            "ms",
            "first paint",
        ),
        Row::bound("`/api/board`, gzip", board.get("board_gzip")?, 25.0, "kB"),
        Row::at_most(
            "`/api/board` after a change",
            (cost.answer, cost.serialise),
            3.0,
            "ms",
            "serialising alone",
        ),
        Row::alone("the same, compressed: once for all who ask until the next change", cost.compressed, "ms"),
        Row::alone("the same, asked again", cost.again, "ms"),
        Row::alone("what a moved story changes, of 10,000", cost.refresh, "ms"),
        Row::bound("elements, phone", board.get("nodes_phone")?, 1_500.0, "elements"),
        Row::bound("elements, desktop", board.get("nodes_desktop")?, 1_500.0, "elements"),
        Row::bound("search key to paint, CPU/4", board.get("search")?, 50.0, "ms"),
        Row::bound("layout shift under 5 moves a second, desktop", board.get("cls")?, 0.1, ""),
        Row::bound("layout shift under 5 moves a second, phone", board.get("cls_phone")?, 0.1, ""),
    ])
}

fn live_rows(board: &Measured) -> anyhow::Result<Vec<Row>> {
    let beyond = |what: &str| anyhow::Ok(board.get(what)? - board.get(&format!("{what}_raw"))?);
    let change = (board.get("change_100")?, board.get("change_1")?);
    Ok(vec![
        Row::beside("event to pixel", (board.get("event")?, board.get("event_raw")?), "ms", "raw socket"),
        Row::bound("event to pixel, beyond the raw socket", beyond("event")?, 100.0, "ms"),
        Row::beside("click to answer", (board.get("click")?, board.get("click_raw")?), "ms", "raw socket"),
        Row::bound("click to answer, beyond the raw socket", beyond("click")?, 100.0, "ms"),
        Row::bound("question on screen, from the call", board.get("question")?, 1_000.0, "ms"),
        Row::bound("memory of storkit for one of 100 browsers", board.get("browser_memory")?, 200.0, "kB"),
        Row::bound("idle CPU of storkit for 100 browsers", board.get("browsers_idle")?, 0.2, "ms/s"),
        Row::beside("CPU of storkit for a change told to 100 browsers", change, "ms", "told to 1"),
    ])
}

fn output_rows(crowd: &Measured, run: &Measured) -> anyhow::Result<Vec<Row>> {
    Ok(vec![
        Row::bound("100 agents x 10 lines/s, Now open: to the browser", crowd.get("bytes")?, 12.0, "kB/s"),
        Row::bound("100 agents: main thread, CPU/4", crowd.get("main")?, 0.1, "s/s"),
        Row::bound("100 agents: longest task, CPU/4", crowd.get("longest")?, 200.0, "ms"),
        Row::bound("100 agents: growth of the heap", crowd.get("heap")?, 2.0, "MB"),
        Row::bound("one run followed, 10 lines/s: main thread, CPU/4", run.get("main")?, 0.3, "s/s"),
        Row::bound("one run followed: lines in the page", run.get("lines")?, 2_000.0, "lines"),
        Row::bound("a log of 4 MB: longest task, CPU/4", run.get("log_longest")?, 200.0, "ms"),
        Row::bound("a board of 100: longest task, CPU/4", run.get("board_longest")?, 200.0, "ms"),
    ])
}

fn build_rows(built: &Built) -> Vec<Row> {
    vec![
        Row::bound("`script/web` in a clean clone", built.clean, 45.0, "s"),
        Row::alone("`script/web` again, types checked", built.again, "s"),
        Row::bound("files that differ between the two", built.different as f64, 0.0, "files"),
    ]
}

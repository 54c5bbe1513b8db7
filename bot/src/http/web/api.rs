//! `/api`: what the page reads. Nothing here changes anything: the page sends commands, as text, in its person's room.

use std::{collections::BTreeMap, sync::Arc};

use adapters::{MessageId, html, markdown::inert};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::{Timestamp, tz::TimeZone};
use pipeline::{
    PipelineError,
    diff::{DiffKind, FileDiff, StoryDiff},
    event::RunId,
    ledger::LedgerEntry,
    stage::Stage,
    story::{StoryDocument, StoryId},
};
use serde::Deserialize;

use super::{
    WebServices, cards, files,
    view::{
        ArchivePage, CostPage, CriterionView, DayCost, DiffPage, FileDiffView, FileStatus, GateView,
        HunkLine, HunkView, MergedView, PastRun, RunLogPage, StoryCost, StoryPage,
    },
    visitors::Visitor,
};
use crate::replies;

/// Lines of a log in one answer.
pub const LOG_LINES: usize = 2_000;

/// Archived stories in one answer.
const ARCHIVED: usize = 40;

/// Stories in the list of costs.
const DEAREST: usize = 50;

/// An answer that is no success.
pub enum ApiError {
    NotFound(&'static str),
    Failed(PipelineError),
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound(sentence) => (StatusCode::NOT_FOUND, sentence).into_response(),
            Self::Failed(error) => {
                tracing::error!(%error, "the web page could not be answered");
                (StatusCode::INTERNAL_SERVER_ERROR, replies::WEB_FAILED).into_response()
            }
        }
    }
}

impl From<PipelineError> for ApiError {
    fn from(error: PipelineError) -> Self {
        Self::Failed(error)
    }
}

pub const NO_STORY: ApiError = ApiError::NotFound("There is no such story.");

pub async fn me(
    State(services): State<Arc<WebServices>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    Json(visitor.me(&services)).into_response()
}

pub async fn board(State(services): State<Arc<WebServices>>, headers: HeaderMap) -> Response {
    let board = services.board.encoded().await;
    let fixed = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::VARY, HeaderValue::from_static("Accept-Encoding")),
    ];
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == board.tag.as_str());
    let mut response = match () {
        () if known => StatusCode::NOT_MODIFIED.into_response(),
        () if !board.gzip.is_empty() && files::takes(&headers, "gzip") => {
            let encoding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
            (fixed, encoding, board.gzip.clone()).into_response()
        }
        () => (fixed, board.json.clone()).into_response(),
    };
    if let Ok(tag) = HeaderValue::from_str(&board.tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

#[derive(Deserialize)]
pub struct ArchiveQuery {
    before: Option<u32>,
    #[serde(default)]
    q: String,
}

pub async fn archive(
    State(services): State<Arc<WebServices>>,
    Query(query): Query<ArchiveQuery>,
) -> Json<ArchivePage> {
    let snapshot = services.pipeline.snapshot();
    let costs = services.pipeline.ledger().usd_by_story();
    let wanted = query.q.trim().to_lowercase();
    let mut found: Vec<_> = snapshot
        .board
        .in_stage(Stage::Archived)
        .filter(|story| query.before.is_none_or(|before| story.id().0 < before))
        .filter(|story| story.front.name.to_lowercase().contains(&wanted) || story.id().to_string() == wanted)
        .collect();
    found.sort_by_key(|story| std::cmp::Reverse(story.id()));
    let more = found.len() > ARCHIVED;
    let cards = found.iter().take(ARCHIVED).map(|story| cards::story(story, &snapshot, &costs));
    Json(ArchivePage { stories: cards.collect(), more })
}

pub async fn story(
    State(services): State<Arc<WebServices>>,
    Path(id): Path<u32>,
) -> Result<Json<StoryPage>, ApiError> {
    let (pipeline, id) = (&services.pipeline, StoryId(id));
    let snapshot = pipeline.snapshot();
    let story = snapshot.board.story(id).ok_or(NO_STORY)?;
    let text = pipeline.text(id).await?;
    let markdown = StoryDocument::parse(&text).map(|document| document.body().to_owned()).unwrap_or(text);
    let work = pipeline.work_done(id).await?;
    let merged = pipeline.overview(id).await?.map(|merged| MergedView {
        at: cards::of_seconds(u64::try_from(merged.time).unwrap_or(0)),
        gates: merged.gates.into_iter().map(|(command, code)| GateView { command, code }).collect(),
        commit: merged.commit,
        message: merged.message,
    });
    let criterion = |(text, done): &(String, bool)| CriterionView { text: text.clone(), done: *done };
    Ok(Json(StoryPage {
        card: cards::story(story, &snapshot, &pipeline.ledger().usd_by_story()),
        html: html(&inert(&markdown)),
        markdown,
        criteria: story.criteria.iter().map(criterion).collect(),
        branch: work.branch,
        commits: work.commits,
        diffstat: work.diff,
        runs: pipeline.ledger().of_story(id).iter().map(past_run).collect(),
        merge_output: work.failed_merge,
        merged,
    }))
}

fn past_run(run: &LedgerEntry) -> PastRun {
    PastRun {
        id: run.run.clone(),
        worker: run.slot.clone(),
        started: cards::of_seconds(run.started),
        ended: run.ended.map(cards::of_seconds),
        outcome: run.summary.outcome.clone(),
        failed: run.summary.failed,
        cost_usd: cards::cents(run.usd),
    }
}

pub async fn diff(
    State(services): State<Arc<WebServices>>,
    Path(id): Path<u32>,
) -> Result<Json<DiffPage>, ApiError> {
    let found = services.pipeline.diff(StoryId(id)).await?;
    let found = found.ok_or(ApiError::NotFound(
        "This story has no branch and no merge commit: nobody has worked on it yet.",
    ))?;
    Ok(Json(diff_page(found)))
}

fn diff_page(diff: StoryDiff) -> DiffPage {
    let StoryDiff { against, files, more_files, added, removed } = diff;
    DiffPage { against, files: files.into_iter().map(file_diff).collect(), more_files, added, removed }
}

fn file_diff(file: FileDiff) -> FileDiffView {
    let (status, from) = match file.change {
        DiffKind::Added => (FileStatus::Added, None),
        DiffKind::Changed => (FileStatus::Changed, None),
        DiffKind::Removed => (FileStatus::Removed, None),
        DiffKind::Renamed(from) => {
            (FileStatus::Renamed, Some(replies::visible_line(&from.to_string_lossy(), 400)))
        }
        DiffKind::Mode => (FileStatus::Mode, None),
    };
    let hunks = file.hunks.into_iter().map(|hunk| HunkView {
        head: hunk.head,
        lines: hunk
            .lines
            .into_iter()
            .map(|it| HunkLine { old: it.old, new: it.new, text: it.text })
            .collect(),
    });
    FileDiffView {
        path: file.path.to_string_lossy().into_owned(),
        from,
        status,
        binary: file.binary,
        added: file.added,
        removed: file.removed,
        hunks: hunks.collect(),
        more_lines: file.more_lines,
    }
}

#[derive(Deserialize)]
pub struct LogQuery {
    from: Option<u64>,
}

pub async fn log(
    State(services): State<Arc<WebServices>>,
    Path(run): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Json<RunLogPage>, ApiError> {
    let run = RunId(run.into());
    let page = services.pipeline.run_log(&run, query.from, LOG_LINES).await?;
    let page = page.ok_or(ApiError::NotFound("There is no log of this run, or not any more."))?;
    Ok(Json(RunLogPage {
        story: run
            .parts()
            .map(|(story, ..)| story)
            .filter(|story| *story != StoryId::NONE)
            .map(|story| story.0),
        over: !services.is_living(&run),
        next: page.next(),
        run: run.to_string(),
        from: page.from,
        lines: page.lines,
    }))
}

pub async fn cost(State(services): State<Arc<WebServices>>) -> Json<CostPage> {
    let (ledger, snapshot) = (services.pipeline.ledger(), services.pipeline.snapshot());
    let (mut days, mut stories) =
        (BTreeMap::<String, (f64, usize)>::new(), BTreeMap::<StoryId, (f64, usize)>::new());
    let mut add = |ended: Option<u64>, story: StoryId, usd: f64| {
        if let Some(day) = ended.and_then(day_of) {
            let entry = days.entry(day).or_default();
            *entry = (entry.0 + usd, entry.1 + 1);
        }
        if story != StoryId::NONE {
            let entry = stories.entry(story).or_default();
            *entry = (entry.0 + usd, entry.1 + 1);
        }
    };
    for run in ledger.entries() {
        add(run.ended, run.story, run.usd);
    }
    let title =
        |id: StoryId| snapshot.board.story(id).map(|story| story.front.name.clone()).unwrap_or_default();
    let mut dearest: Vec<StoryCost> = stories
        .into_iter()
        .map(|(id, (usd, runs))| StoryCost { id: id.0, title: title(id), usd: cards::cents(usd), runs })
        .collect();
    dearest.sort_by(|one, other| other.usd.total_cmp(&one.usd));
    dearest.truncate(DEAREST);
    let days = days.into_iter().rev();
    Json(CostPage {
        days: days.map(|(day, (usd, runs))| DayCost { day, usd: cards::cents(usd), runs }).collect(),
        stories: dearest,
        today: services.board.state().spent_today,
        budget_today: snapshot.day_budget_usd,
    })
}

/// The day of a second since 1970, by UTC.
fn day_of(second: u64) -> Option<String> {
    let at = Timestamp::from_second(i64::try_from(second).ok()?).ok()?;
    Some(at.to_zoned(TimeZone::UTC).date().to_string())
}

#[derive(Deserialize)]
pub struct FileQuery {
    room: String,
    message: String,
}

/// A file that the bot showed in a room. Always a download: its content is an agent's.
pub async fn file(
    State(services): State<Arc<WebServices>>,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<FileQuery>,
) -> Result<Response, ApiError> {
    let room = visitor.room(&services.chat, &query.room);
    let found = room.and_then(|room| services.chat.file(&room, &MessageId::new(query.message)));
    let found = found.ok_or(ApiError::NotFound("There is no such file, or not any more."))?;
    let fixed = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
    ];
    Ok((fixed, found.bytes.clone()).into_response())
}

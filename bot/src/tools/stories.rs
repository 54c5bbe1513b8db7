//! Tools about stories: write, read, change.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::PathBuf,
    sync::atomic::Ordering,
};

use pipeline::{
    event::PipelineSnapshot,
    handle::{Author, NewStory, StoryChange},
    stage::Stage,
    story::{Story, StoryId, StoryKind},
    strangers::StrangerText,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use settings::unlinked;

use super::{
    call::{Answered, ToolCall, pretty, refusal},
    room_calls::admit,
};
use crate::{
    config::access::UserRole,
    permission::{gives_up_review, role_to_change},
    replies::{self, tools as say},
};

/// Stories of one page of a list.
const PAGE: usize = 50;

/// How many test results of a story are returned.
const RESULTS: usize = 20;

/// How many stories one run may write. An agent that writes more has lost its way, or somebody leads it.
const STORIES_PER_RUN: usize = 10;

// A model may paste a whole test log here, and every later agent that reads the story pays for it.
const SUMMARY: usize = 2_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateStoryArgs {
    title: String,
    body: Option<String>,
    #[serde(default)]
    criteria: Vec<String>,
    #[serde(default)]
    depends_on: Vec<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListStoriesArgs {
    stage: Option<String>,
    after: Option<u32>,
}

/// A story that need not be named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoryArgs {
    pub story_id: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateStoryArgs {
    story_id: u32,
    title: Option<String>,
    body: Option<String>,
    agent: Option<String>,
    manual_qa: Option<bool>,
    depends_on: Option<Vec<u32>>,
    criteria: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveTo {
    story_id: u32,
    stage: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CriterionArgs {
    story_id: Option<u32>,
    criterion: usize,
    done: Option<bool>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TestResultsArgs {
    #[serde(skip_serializing)]
    story_id: Option<u32>,
    passed: u64,
    failed: u64,
    summary: Option<String>,
}

pub(super) async fn create(call: ToolCall, kind: StoryKind) -> Answered {
    let CreateStoryArgs { title, body, criteria, depends_on } = call.read()?;
    // Counted before the work, so that calls at the same time cannot pass the limit together.
    let more = |created| (created < STORIES_PER_RUN).then_some(created + 1);
    let count = &call.run.created;
    if call.run.is_counted() && count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
        return Err(say::too_many_stories(STORIES_PER_RUN));
    }
    let author = call.author().await;
    let depends_on = depends_on.into_iter().map(StoryId).collect();
    let new = NewStory { body, criteria, depends_on, ..NewStory::titled(kind, title) };
    let story = create_here(&call, new, author).await?;
    Ok(say::tool_created(&story))
}

/// Writes a story that remembers the conversation in which it was asked for, if there was one.
pub(super) async fn create_here(call: &ToolCall, new: NewStory, author: Author) -> Result<Story, String> {
    let origin = call.run.room.as_ref().map(|room| &room.origin);
    let new = NewStory { conversation: origin.map(|origin| origin.conversation.clone()), ..new };
    let story = call.services.pipeline.create_story(new, author).await.map_err(refusal)?;
    if let Some(origin) = origin {
        call.services.store.keep_story_origin(story.id(), &origin.room, origin.message.as_ref());
    }
    Ok(story)
}

pub(super) fn list(call: &ToolCall) -> Answered {
    let ListStoriesArgs { stage, after } = call.read()?;
    let stage = stage.as_deref().map(parse_stage).transpose()?;
    let snapshot = call.services.pipeline.snapshot();
    let wanted = |story: &&std::sync::Arc<Story>| {
        stage.is_none_or(|stage| story.stage == stage) && after.is_none_or(|after| story.id().0 > after)
    };
    let mut stories = snapshot.board.stories().filter(wanted);
    // Their titles are strangers' words as well.
    let strangers = snapshot
        .quarantined
        .keys()
        .filter(|id| snapshot.board.story(**id).is_some_and(|story| wanted(&story)));
    call.run.asker.read().on_read(strangers.map(|id| StrangerText::Story(*id)));
    let page: Vec<Value> = stories.by_ref().take(PAGE).map(|story| summary(story, &snapshot)).collect();
    let problems: Vec<String> = snapshot.board.problems.iter().map(ToString::to_string).take(20).collect();
    Ok(pretty(&json!({ "stories": page, "more": stories.next().is_some(), "problems": problems })))
}

fn parse_stage(word: &str) -> Result<Stage, String> {
    Stage::parse(word).ok_or_else(|| say::no_such_stage(word))
}

fn summary(story: &Story, snapshot: &PipelineSnapshot) -> Value {
    let id = story.id();
    let run = snapshot.runs.iter().find(|run| run.story == id);
    json!({
        "id": id.0,
        "title": story.front.name,
        "kind": story.file.kind,
        "stage": story.stage,
        "worker": run.map(|run| &run.slot),
        "held": snapshot.holds.get(&id),
        "quarantine": snapshot.quarantined.get(&id).map(|quarantine| quarantine.cause.to_string()),
        "merge": snapshot.merges.get(&id),
    })
}

/// The story, if the board has it.
pub(super) fn known(call: &ToolCall, id: StoryId) -> Result<std::sync::Arc<Story>, String> {
    let snapshot = call.services.pipeline.snapshot();
    match (snapshot.board.story(id), snapshot.board.problem(id)) {
        (Some(story), _) => Ok(story.clone()),
        (None, Some(problem)) => Err(problem.to_string()),
        (None, None) => Err(say::no_such_story(id)),
    }
}

pub(super) async fn get(call: ToolCall) -> Answered {
    let StoryArgs { story_id } = call.read()?;
    let id = match (story_id, &call.run.agent) {
        (Some(id), _) => StoryId(id),
        (None, Some(run)) => run.story,
        (None, None) => return Err(say::STORY_ID_MISSING.into()),
    };
    let story = known(&call, id)?;
    let snapshot = call.services.pipeline.snapshot();
    let text = call.services.pipeline.text(id).await.map_err(refusal)?;
    if snapshot.quarantined.contains_key(&id) {
        call.run.asker.read().on_read([StrangerText::Story(id)]);
    }
    let tests: Vec<Value> = recorded(&call, id);
    let files = call.services.pipeline.attached_files(id).await.map_err(refusal)?;
    let facts = json!({ "story": summary(&story, &snapshot), "criteria": story.criteria, "tests": tests, "files": files });
    Ok(format!("{}\n\n{text}", pretty(&facts)))
}

pub(super) async fn update(call: ToolCall) -> Answered {
    let update: UpdateStoryArgs = call.read()?;
    let id = StoryId(update.story_id);
    let change = StoryChange {
        plan: None,
        title: update.title,
        body: update.body,
        agent: update.agent,
        manual_qa: update.manual_qa,
        depends_on: update.depends_on.map(|ids| ids.into_iter().map(StoryId).collect()),
        criteria: update.criteria,
    };
    if call.run.room.is_some() {
        let story = call.decidable(id)?;
        if role_to_change(&story, &change) == UserRole::Approver {
            admit(&call, UserRole::Approver)?;
            call.decided_by(|| replies::change_story(&story, gives_up_review(&story, &change))).await?;
        }
    }
    let author = call.author().await;
    call.services.pipeline.update(id, change, author).await.map_err(refusal)?;
    Ok(say::tool_updated(id))
}

pub(super) async fn move_to(call: ToolCall) -> Answered {
    let MoveTo { story_id, stage } = call.read()?;
    let to = parse_stage(&stage)?;
    let story = call.decidable(StoryId(story_id))?;
    let by = call.decided_by(|| replies::move_story(&story, to)).await?;
    let moved = call.services.pipeline.move_story(StoryId(story_id), to, by).await.map_err(refusal)?;
    Ok(say::tool_moved(StoryId(story_id), moved.stage))
}

pub(super) async fn delete(call: ToolCall) -> Answered {
    let StoryArgs { story_id } = call.read()?;
    let id = call.own(story_id.map(StoryId))?;
    let story = known(&call, id)?;
    let by = call.decided_by(|| replies::delete_story(&story)).await?;
    let deleted = call.services.pipeline.delete(id, by).await.map_err(refusal)?;
    Ok(say::tool_deleted(id, &deleted))
}

pub(super) async fn check(call: ToolCall) -> Answered {
    let CriterionArgs { story_id, criterion, done } = call.read()?;
    let id = call.own(story_id.map(StoryId))?;
    let done = done.unwrap_or(true);
    call.services.pipeline.tick(id, criterion, done).await.map_err(refusal)?;
    Ok(say::tool_checked(id, criterion, done))
}

pub(super) async fn record_tests(call: ToolCall) -> Answered {
    let mut results: TestResultsArgs = call.read()?;
    let id = call.own(results.story_id.map(StoryId))?;
    known(&call, id)?;
    results.summary = results.summary.map(|text| text.chars().take(SUMMARY).collect());
    let path = results_file(&call, id);
    let write = || {
        unlinked::create_dir_all(path.parent().unwrap_or(&path))?;
        let mut line = serde_json::to_vec(&results)?;
        line.push(b'\n');
        unlinked::open(OpenOptions::new().create(true).append(true), &path)?.write_all(&line)
    };
    write().map_err(|error: std::io::Error| say::tool_not_recorded(&error))?;
    Ok(say::tool_recorded(results.passed, results.failed))
}

fn results_file(call: &ToolCall, id: StoryId) -> PathBuf {
    call.services.project.dir().join(format!("logs/tests/{id}.jsonl"))
}

fn recorded(call: &ToolCall, id: StoryId) -> Vec<Value> {
    let path = results_file(call, id);
    let text = unlinked::check(&path).and_then(|()| fs::read_to_string(path)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(RESULTS)..];
    last.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

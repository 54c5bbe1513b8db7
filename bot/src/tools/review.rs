//! Tools that decide: review, merge, accept.

use pipeline::{story::StoryId, verdict::ReviewDecision};
use serde::Deserialize;
use serde_json::json;

use super::{
    call::{Answered, ToolCall, pretty, refusal},
    stories::{StoryArgs, known},
};
use crate::replies::{self, tools as say};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonArgs {
    story_id: Option<u32>,
    reason: String,
}

fn one(call: &ToolCall) -> Result<StoryId, String> {
    let StoryArgs { story_id } = call.read()?;
    let id = call.own(story_id.map(StoryId))?;
    known(call, id).map(|story| story.id())
}

fn reasoned(call: &ToolCall) -> Result<(StoryId, String), String> {
    let ReasonArgs { story_id, reason } = call.read()?;
    if reason.trim().is_empty() {
        return Err(say::REASON_MISSING.into());
    }
    Ok((call.own(story_id.map(StoryId))?, reason))
}

pub(super) fn request(call: &ToolCall) -> Answered {
    let id = one(call)?;
    Ok(say::how_to_get_reviewed(id))
}

pub(super) async fn approve(call: ToolCall) -> Answered {
    let id = one(&call)?;
    call.services.pipeline.review(id, ReviewDecision::Approved, call.actor()).await.map_err(refusal)?;
    Ok(say::tool_approved(id))
}

pub(super) async fn reject(call: ToolCall) -> Answered {
    let (id, reason) = reasoned(&call)?;
    call.services
        .pipeline
        .review(id, ReviewDecision::Rejected(reason), call.actor())
        .await
        .map_err(refusal)?;
    Ok(say::tool_rejected(id))
}

pub(super) async fn accept(call: ToolCall) -> Answered {
    let id = one(&call)?;
    let story = call.decidable(id)?;
    let by = call.decided_by(|| replies::accept_story(&story)).await?;
    call.services.pipeline.review(id, ReviewDecision::Approved, by).await.map_err(refusal)?;
    Ok(say::tool_accepted(id))
}

pub(super) async fn send_back(call: ToolCall) -> Answered {
    let (id, reason) = reasoned(&call)?;
    let story = call.decidable(id)?;
    let by = call.decided_by(|| replies::reject_story(&story, &reason)).await?;
    call.services.pipeline.review(id, ReviewDecision::Rejected(reason), by).await.map_err(refusal)?;
    Ok(say::tool_sent_back(id))
}

pub(super) async fn retry(call: ToolCall) -> Answered {
    let id = one(&call)?;
    let story = call.decidable(id)?;
    let by = call.decided_by(|| replies::retry_story(&story)).await?;
    let result = call.services.pipeline.retry(id, by).await.map_err(refusal)?;
    Ok(say::tool_started(id, &result))
}

/// A story that is not in quarantine is refused without a question.
pub(super) async fn release(call: ToolCall) -> Answered {
    let id = one(&call)?;
    let story = known(&call, id)?;
    let snapshot = call.services.pipeline.snapshot();
    let cause = snapshot.quarantined.get(&id).ok_or_else(|| say::not_in_quarantine(id))?.cause.to_string();
    let by = call.decided_by(|| replies::release_story(&story, &cause)).await?;
    call.services.pipeline.release(id, by).await.map_err(refusal)?;
    Ok(say::tool_released(id))
}

pub(super) async fn merge(call: ToolCall) -> Answered {
    let id = one(&call)?;
    let story = call.decidable(id)?;
    let by = call.decided_by(|| replies::merge_story(&story)).await?;
    let merge = call.services.pipeline.merge(id, by).await.map_err(refusal)?;
    Ok(pretty(&json!({ "story": id, "merge": merge })))
}

pub(super) fn merge_status(call: &ToolCall) -> Answered {
    let id = one(call)?;
    let snapshot = call.services.pipeline.snapshot();
    let story = snapshot.board.story(id);
    Ok(pretty(&json!({
        "story": id,
        "stage": story.map(|story| story.stage),
        "merge": snapshot.merges.get(&id),
        "failure": story.and_then(|story| story.front.merge_failure.clone()),
    })))
}

pub(super) async fn merge_failure(call: ToolCall) -> Answered {
    let (id, reason) = reasoned(&call)?;
    call.services.pipeline.report_merge_failure(id, reason, call.actor()).await.map_err(refusal)?;
    Ok(say::tool_merge_given_up(id))
}

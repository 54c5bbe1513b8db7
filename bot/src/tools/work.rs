//! Tools about agents at work: start, stop, wait, read their output.

use std::{collections::BTreeSet, time::Duration};

use pipeline::{
    handle::StopTarget,
    reading::LogOf,
    story::{Story, StoryId},
};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::broadcast::error::RecvError, time::timeout};

use super::{
    call::{Answered, ToolCall, pretty, refusal},
    stories::{StoryArgs, known},
};
use crate::replies::{self, tools as say};

// Below the limit of a call, so that the answer with the story's state arrives and not the time limit's.
const LONGEST: u64 = 45;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartAgentArgs {
    story_id: u32,
    agent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartStoriesArgs {
    story_ids: Vec<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitArgs {
    story_id: u32,
    seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentOutputArgs {
    story_id: Option<u32>,
    lines: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArgs {}

pub(super) async fn start(call: ToolCall) -> Answered {
    let StartAgentArgs { story_id, agent } = call.read()?;
    let id = StoryId(story_id);
    let result = call.services.pipeline.start(id, agent, call.actor()).await.map_err(refusal)?;
    Ok(say::tool_started(id, &result))
}

/// Stories in the order of their numbers: one question for all of them.
pub(super) async fn start_several(call: ToolCall) -> Answered {
    let StartStoriesArgs { story_ids } = call.read()?;
    let ids: BTreeSet<StoryId> = story_ids.into_iter().map(StoryId).collect();
    if ids.is_empty() {
        return Err(say::STORY_ID_MISSING.into());
    }
    let stories = ids.iter().map(|id| call.decidable(*id)).collect::<Result<Vec<_>, _>>()?;
    let named: Vec<&Story> = stories.iter().map(AsRef::as_ref).collect();
    let by = call.decided_by(|| replies::start_stories(&named)).await?;
    let mut said = Vec::new();
    for id in ids {
        let started = call.services.pipeline.start(id, None, by.clone()).await;
        said.push(started.map_or_else(refusal, |result| say::tool_started(id, &result)));
    }
    Ok(said.join("\n"))
}

/// The version, and what became of a build that was asked for.
pub(super) fn version(call: &ToolCall) -> String {
    say::tool_version(call.services.restart.build_error().as_ref())
}

// A build takes minutes, longer than a call may: it starts here, and `get_version` reports how it went.
pub(super) fn rebuild_and_restart(call: &ToolCall) -> Answered {
    let services = call.services.clone();
    if services.restart.is_building() {
        return Err(replies::BUILD_UNDER_WAY.into());
    }
    let (tracker, stop) = (services.tasks.tracker.clone(), services.tasks.stop.clone());
    tracker.spawn(async move {
        let built = tokio::select! {
            built = services.restart.rebuild() => built,
            () = stop.cancelled() => return,
        };
        match built {
            Ok(()) => services.restart.ask(services.settings.config().pipeline.rooms().first()),
            Err(error) => tracing::warn!(?error, "the build that an agent asked for failed"),
        }
    });
    Ok(say::BUILD_STARTED.into())
}

pub(super) async fn stop(call: ToolCall) -> Answered {
    let StoryArgs { story_id } = call.read()?;
    let id = call.own(story_id.map(StoryId))?;
    let story = known(&call, id)?;
    let by = call.decided_by(|| replies::stop_story(&story)).await?;
    let stopped = call.services.pipeline.stop(StopTarget::Story(id), by).await.map_err(refusal)?;
    if stopped.is_empty() {
        return Err(say::nobody_works_on(id));
    }
    Ok(say::tool_stopped(id))
}

pub(super) fn list(call: &ToolCall) -> Answered {
    let NoArgs {} = call.read()?;
    let snapshot = call.services.pipeline.snapshot();
    Ok(pretty(&json!({ "workers": snapshot.workers, "runs": snapshot.runs, "paused": snapshot.paused })))
}

pub(super) async fn wait(call: ToolCall) -> Answered {
    let WaitArgs { story_id, seconds } = call.read()?;
    let seconds = seconds.unwrap_or(LONGEST);
    if seconds == 0 || seconds > LONGEST {
        return Err(say::out_of_range("seconds", LONGEST));
    }
    let id = StoryId(story_id);
    known(&call, id)?;
    let pipeline = &call.services.pipeline;
    // Subscribed before the first look: a run that finishes in between is not missed.
    let (_, mut events) = pipeline.follow();
    let busy = || pipeline.snapshot().runs.iter().any(|run| run.story == id);
    let quiet = async {
        while busy() {
            match events.recv().await {
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    };
    let waited = timeout(Duration::from_secs(seconds), quiet).await.is_ok();
    let snapshot = pipeline.snapshot();
    let runs = pipeline.ledger().of_story(id);
    Ok(pretty(&json!({
        "at_work": !waited,
        "stage": snapshot.board.story(id).map(|story| story.stage),
        "held": snapshot.holds.get(&id),
        "last_run": runs.last().map(|run| json!({ "worker": run.slot, "outcome": run.summary.outcome, "failed": run.summary.failed })),
    })))
}

pub(super) async fn output(call: ToolCall) -> Answered {
    let AgentOutputArgs { story_id, lines } = call.read()?;
    let id = call.own(story_id.map(StoryId))?;
    let lines = lines.unwrap_or(50);
    if lines == 0 || lines > 500 {
        return Err(say::out_of_range("lines", 500));
    }
    match call.services.pipeline.log(LogOf::Story(id), lines).await.map_err(refusal)? {
        Some((run, lines)) => Ok(say::tool_output(&run, &lines)),
        None => Err(say::nobody_worked_on(id)),
    }
}

pub(super) async fn worktrees(call: ToolCall) -> Answered {
    let NoArgs {} = call.read()?;
    let list = call.services.pipeline.worktrees().await.map_err(refusal)?;
    let list: Vec<_> = list
        .iter()
        .map(|one| json!({ "story": one.story, "path": one.path, "branch": one.branch }))
        .collect();
    Ok(pretty(&json!(list)))
}

pub(super) async fn worktree(call: ToolCall) -> Answered {
    let StoryArgs { story_id } = call.read()?;
    let id = match (story_id, &call.run.agent) {
        (Some(id), _) => StoryId(id),
        (None, Some(run)) => run.story,
        (None, None) => return Err(say::STORY_ID_MISSING.into()),
    };
    let done = call.services.pipeline.work_done(id).await.map_err(refusal)?;
    Ok(pretty(&json!({ "story": id, "branch": done.branch, "commits": done.commits, "diff": done.diff })))
}

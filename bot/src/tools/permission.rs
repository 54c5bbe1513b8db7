//! `prompt_permission`: the people who follow a run are asked, and their answer goes back as the CLI takes it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use adapters::Room;
use pipeline::worktree::WorktreeName;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    McpRun, ToolServices,
    call::{Answered, ToolCall},
};
use crate::{
    permission::{AgentRequest, PermissionAsk, PermissionDecision},
    replies,
};

/// The CLI's arguments. They name neither session nor folder; the token identifies the run.
#[derive(Deserialize)]
struct PermissionCall {
    tool_name: String,
    #[serde(default)]
    input: Value,
    tool_use_id: Option<String>,
}

/// Always JSON that the CLI takes, also on error.
pub(super) async fn prompt_permission(call: ToolCall) -> Answered {
    let asked: PermissionCall = match serde_json::from_value(call.arguments) {
        Ok(asked) => asked,
        Err(error) => return Ok(deny(&replies::tools::unreadable_permission(&error))),
    };
    let run = &call.run;
    if let Some(id) = &asked.tool_use_id {
        // The question lists the text by strangers that the agent read before this call.
        run.asker.read().wait_for_report(id).await;
    }
    if let Some(answer) = hand_over_plan(&call.services, run, &asked).await {
        return Ok(answer);
    }
    let followers = call.services.messengers.followers(&call.services.settings.config().pipeline);
    let rooms = rooms_to_ask(run, followers);
    let ask = PermissionAsk {
        rooms,
        asker: run.asker.clone(),
        folder: Some(folder_of(&call.services, run)),
        asked_for: run.asked_for.clone(),
        tool: asked.tool_name,
        input: asked.input,
        request: AgentRequest::default(),
        call: asked.tool_use_id,
        // This way of asking does not name it; the question looks for it in the call.
        blocked_path: None,
        timeout: run.timeout,
    };
    let _waiting = WaitingForPerson::of(&run.waiting);
    let page =
        ask.input.get("url").and_then(Value::as_str).filter(|_| ask.tool == "WebFetch").map(str::to_owned);
    let decision = call.services.broker.ask(ask).await;
    if let (Some(page), Some(agent), PermissionDecision::Allowed { .. }) = (page, &run.agent, &decision) {
        call.services.hosts.grant_page(agent, &page);
    }
    let answer = replies::permission_answer(decision);
    Ok(serde_json::to_string(&answer).unwrap_or_else(|error| deny(&error.to_string())))
}

/// A coder that plans first hands its plan over and ends: people decide when they have time, and no process waits for them. `None` where
/// people are asked at once.
async fn hand_over_plan(services: &ToolServices, run: &McpRun, asked: &PermissionCall) -> Option<String> {
    let agent = run.agent.as_ref().filter(|_| asked.tool_name == "ExitPlanMode")?;
    let plan = asked.input.get("plan").and_then(Value::as_str).unwrap_or_default().trim();
    let taken = services.pipeline.propose_plan(agent.id.clone(), plan.to_owned()).await;
    match taken {
        Ok(false) => None,
        Ok(true) if plan.is_empty() => Some(deny(replies::tools::PLAN_EMPTY)),
        Ok(true) => Some(
            json!({ "behavior": "deny", "message": replies::tools::PLAN_TAKEN, "interrupt": true })
                .to_string(),
        ),
        Err(error) => Some(deny(&error.to_string())),
    }
}

// A story whose file was renamed meanwhile has another name than its worktree. Then the folder does not exist, and no rule is about
// files in it: people are asked.
fn folder_of(services: &ToolServices, run: &McpRun) -> PathBuf {
    let Some(agent) = &run.agent else { return services.project.root().to_owned() };
    if agent.branch.is_some() {
        return services.project.dir().join("worktrees/review");
    }
    let snapshot = services.pipeline.snapshot();
    let story = snapshot.board.story(agent.story);
    let name = story.and_then(|story| WorktreeName::new(agent.story, &story.file.slug).ok());
    match name {
        Some(name) => pipeline::worktree::story_folder(services.project.root(), &name),
        None => services.project.dir().join("worktrees").join(agent.story.to_string()),
    }
}

// Computed for each question: a terminal that attached after the run began is asked as well.
fn rooms_to_ask(run: &McpRun, followers: Vec<Room>) -> Vec<Room> {
    if run.agent.is_some() { followers } else { run.rooms.clone() }
}

pub(super) fn deny(message: &str) -> String {
    json!({ "behavior": "deny", "message": message }).to_string()
}

// A run that waits for a person is not stalled: the pipeline reads this count before it stops a silent run. A guard,
// because the asking future can be dropped at any moment.
pub(super) struct WaitingForPerson(Arc<AtomicUsize>);

impl WaitingForPerson {
    pub(super) fn of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for WaitingForPerson {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

//! `prompt_permission`: the people who follow a run are asked, and their answer goes back as the CLI takes it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use adapters::Room;
use pipeline::{
    parking::{NoParking, ParkedRun},
    worktree::WorktreeName,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    McpRun, ToolServices,
    call::{Answered, ToolCall},
};
use crate::{
    permission::{AgentRequest, AtDeadline, PermissionAsk, PermissionDecision},
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
    let mut ask = PermissionAsk {
        rooms,
        asker: run.asker.clone(),
        folder: Some(folder_of(&call.services, run)),
        asked_for: run.asked_for.clone(),
        tool: asked.tool_name,
        input: asked.input,
        request: AgentRequest::default().with_deadline(at_deadline(
            &call.services,
            run,
            asked.tool_use_id.as_deref(),
        )),
        call: asked.tool_use_id,
        // This way of asking does not name it; the question looks for it in the call.
        blocked_path: None,
        timeout: run.timeout,
    };
    let broker = &call.services.broker;
    match broker.take_parked_decision(&ask).await {
        Ok(Some(decision)) => return Ok(answer_of(decision)),
        Ok(None) => {}
        Err(changed) => ask.request = ask.request.with_changes(changed),
    }
    if let Some(id) = &ask.call {
        run.probed.asked(id);
    }
    let _waiting = WaitingForPerson::of(&run.waiting);
    let page =
        ask.input.get("url").and_then(Value::as_str).filter(|_| ask.tool == "WebFetch").map(str::to_owned);
    let decision = broker.ask(ask).await;
    if decision == PermissionDecision::Parked {
        run.parking.park();
        // Without an answer: the process is ended while it waits for one.
        return std::future::pending().await;
    }
    if let (Some(page), Some(agent), PermissionDecision::Allowed { .. }) = (page, &run.agent, &decision) {
        call.services.hosts.grant_page(agent, &page);
    }
    Ok(answer_of(decision))
}

fn answer_of(decision: PermissionDecision) -> String {
    let answer = replies::permission_answer(decision);
    serde_json::to_string(&answer).unwrap_or_else(|error| deny(&error.to_string()))
}

/// Whether a rule allows a call that the run's agent is about to make.
pub fn is_allowed_by_rule(services: &ToolServices, run: &McpRun, tool: String, input: Value) -> bool {
    let ask = PermissionAsk {
        rooms: Vec::new(),
        asker: run.asker.clone(),
        request: AgentRequest::default(),
        folder: Some(folder_of(services, run)),
        asked_for: String::new(),
        tool,
        input,
        call: None,
        blocked_path: None,
        timeout: None,
    };
    services.broker.is_allowed_by_rule(&ask)
}

/// What becomes of the question about a call when its time is over.
fn at_deadline(services: &ToolServices, run: &McpRun, call: Option<&str>) -> AtDeadline {
    let Some(agent) = &run.agent else { return AtDeadline::Denied };
    match (run.parking.may_park(call), call) {
        (Ok(()), Some(call)) => {
            let snapshot = services.pipeline.snapshot();
            // From the pipeline, which chose it, and not from the call.
            let session =
                snapshot.runs.iter().find(|run| run.id == agent.id).and_then(|run| run.session.clone());
            let Some(session) = session else { return AtDeadline::NotParked(NoParking::NotDeferred) };
            let run = ParkedRun {
                story: agent.story,
                role: agent.role,
                slot: agent.slot.clone(),
                agent: agent.agent.clone(),
                run: agent.id.0.to_string(),
                session,
                call: call.to_owned(),
                since: SystemTime::UNIX_EPOCH,
                is_answered: false,
            };
            AtDeadline::Parked { run, root: services.project.root().to_owned() }
        }
        (Err(NoParking::TurnedOff), _) => AtDeadline::Denied,
        (Err(why), _) => AtDeadline::NotParked(why),
        (Ok(()), None) => AtDeadline::NotParked(NoParking::NotDeferred),
    }
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

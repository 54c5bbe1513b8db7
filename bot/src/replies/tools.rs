//! The answers of storkit's MCP tools. Models read them, so each names the next step or the alternative.

use std::fmt::Display;

use pipeline::{
    event::RunInfo,
    handle::{DeletedStory, StartResult},
    stage::Stage,
    story::{Story, StoryId},
};

use super::{program::build_failed, text::sentence};
use crate::restart::BuildError;

// --- calls that do not fit ---

/// Arguments of the wrong form.
pub fn bad_arguments(error: &dyn Display) -> String {
    format!("Invalid arguments: {error}. The tool's schema lists what it takes.")
}

/// No such tool for this caller.
pub fn no_such_tool(name: &str) -> String {
    format!("There is no tool `{name}` for you.")
}

/// No story is named where the caller has none of its own.
pub const STORY_ID_MISSING: &str = "Which story? Give its number as `story_id`.";

pub fn not_your_story(id: StoryId, run: &RunInfo) -> String {
    format!(
        "Story {id} is not yours: you work on story {}. Use this tool for your own story only.",
        run.story
    )
}

/// It wrote as many as a run may.
pub fn too_many_stories(most: usize) -> String {
    format!(
        "You have created {most} stories in this run, which is the limit. Describe the rest in one of them, or in your final answer."
    )
}

/// The board does not have it.
pub fn no_such_story(id: StoryId) -> String {
    format!("There is no story {id}; list_stories shows the stories.")
}

/// A word that is no stage.
pub fn no_such_stage(word: &str) -> String {
    let stages = Stage::ALL.map(|stage| stage.to_string()).join(", ");
    format!("`{word}` is not a stage; the stages are {stages}.")
}

pub const REASON_MISSING: &str = "The reason is empty. Somebody has to act on it: say what is wrong.";

/// A number that is out of range.
pub fn out_of_range(argument: &str, most: u64) -> String {
    format!("`{argument}` must be between 1 and {most}.")
}

/// The work continues after the answer.
pub const STILL_RUNNING: &str = "This takes longer than a call may last. It continues in the background: check with get_story or list_agents.";
/// The caller cancelled it.
pub const CANCELLED: &str = "The call was cancelled.";

/// A permission call that cannot be read.
pub fn unreadable_permission(error: &dyn Display) -> String {
    format!("The permission call could not be read: {error}.")
}

// --- stories ---

/// `create_story` and its siblings
pub fn tool_created(story: &Story) -> String {
    format!("Story {} is in the backlog: .storkit/work/1_backlog/{}", story.id(), story.file)
}

pub fn tool_updated(id: StoryId) -> String {
    format!("Story {id} is changed.")
}

pub fn tool_moved(id: StoryId, to: Stage) -> String {
    format!("Story {id} is now in {to}.")
}

pub fn tool_deleted(id: StoryId, deleted: &DeletedStory) -> String {
    format!("Story {id} is deleted: {} from {}.", deleted.name, deleted.stage)
}

pub fn tool_checked(id: StoryId, criterion: usize, done: bool) -> String {
    format!("Criterion {criterion} of story {id} is marked as {}.", if done { "met" } else { "not met" })
}

pub fn tool_recorded(passed: u64, failed: u64) -> String {
    format!("Recorded: {passed} passed, {failed} failed.")
}

/// The same where the file cannot be written.
pub fn tool_not_recorded(error: &dyn Display) -> String {
    format!("The results could not be recorded: {error}.")
}

// --- agents ---

pub fn tool_started(id: StoryId, result: &StartResult) -> String {
    match result {
        StartResult::Running(run) => format!("`{}` works on story {id} now.", run.slot),
        StartResult::Waiting(why) => sentence(&format!("Story {id} is ready for an agent. For now: {why}")),
    }
}

/// The answer to `stop_agent`.
pub fn tool_stopped(id: StoryId) -> String {
    format!("Story {id} is stopped. start_agent continues it.")
}

/// `stop_agent` and `get_agent_output` where there is no run.
pub fn nobody_works_on(id: StoryId) -> String {
    format!("No agent works on story {id}.")
}

/// `get_agent_output` before the first run.
pub fn nobody_worked_on(id: StoryId) -> String {
    format!("No agent has worked on story {id} yet.")
}

/// The answer to `get_agent_output`.
pub fn tool_output(run: &dyn Display, lines: &[String]) -> String {
    format!("Run {run}:\n{}", lines.join("\n"))
}

// --- review and merge ---

/// The answer to `request_qa`.
pub fn how_to_get_reviewed(id: StoryId) -> String {
    format!(
        "Commit your work and end your turn. The gates then run; if they pass, story {id} goes to review automatically."
    )
}

pub fn tool_approved(id: StoryId) -> String {
    format!("Story {id} is approved. It goes to the merge queue when you end your turn.")
}

pub fn tool_rejected(id: StoryId) -> String {
    format!("Story {id} is rejected. It goes back to its coder when you end your turn.")
}

pub fn tool_accepted(id: StoryId) -> String {
    format!("Story {id} is accepted and goes to the merge queue.")
}

/// The answer to `report_merge_failure`.
pub fn tool_merge_given_up(id: StoryId) -> String {
    format!("The merge of story {id} is given up; a person decides now. End your turn.")
}

// --- storkit itself ---

pub fn tool_version(build: Option<&BuildError>) -> String {
    let build = build.map(|error| format!("\n{}", build_failed(error))).unwrap_or_default();
    format!("storkit {}{build}", env!("CARGO_PKG_VERSION"))
}

/// The answer to `rebuild_and_restart`.
pub const BUILD_STARTED: &str =
    "The build has started. storkit restarts when it succeeds; get_version reports a failure.";

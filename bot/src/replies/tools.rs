//! The answers of storkit's MCP tools. Models read them, so each names the next step or the alternative.

use std::fmt::Display;

use pipeline::{
    event::RunInfo,
    handle::{DeletedStory, StartResult},
    stage::Stage,
    story::{Story, StoryId},
};

use super::{program::build_failed, text::sentence};
use crate::{config::access::UserRole, restart::BuildError};

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
    format!("Story {id} is not yours: you work on {}. Use this tool for your own story only.", run.subject())
}

// --- a plan before code ---

pub const PLAN_EMPTY: &str =
    "There is no plan in this call. Write it into your plan file, and call ExitPlanMode again.";

pub const PLAN_TAKEN: &str = "Your plan is with the people who decide about it. You continue once they have.";

// --- the review of a branch ---

pub const NO_REVIEW: &str = "Only the reviewer of a branch reports findings.";

pub const FINDING_EMPTY: &str = "Each finding needs a file and a problem.";

pub fn too_many_findings(most: usize) -> String {
    format!("Report at most {most} findings: the most serious ones.")
}

pub fn finding_too_long(file: &str, most: usize) -> String {
    format!("The finding in `{file}` is too long: at most {most} characters.")
}

pub fn findings_taken(count: usize) -> String {
    format!("Taken: {count} finding(s). People get them when you end; a further call replaces them.")
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

// --- the agents of chat rooms ---

/// A call outside of a turn, or by a process that is not the agent's own conversation.
pub const NO_TURN: &str = "Nobody's message is being answered now, so storkit's tools are closed. Say what you found; a person can then ask for more.";

/// A sub-agent wants to change something.
pub const NOT_FOR_SUB_AGENTS: &str =
    "Sub-agents may only read stories. Report back, and let the main conversation call this tool.";

/// The person of the turn may not.
pub fn needs_role(person: &str, has: Option<UserRole>, needs: UserRole) -> String {
    match has {
        None => format!("{person} is not on the allow-list any more, so nothing is done."),
        Some(has) => format!(
            "Only {} can have this done here. This turn is {person}'s, whose role is {has}, and an answer to a question does not change that: \
             a person with that role has to ask for it.",
            role_plural(needs)
        ),
    }
}

fn role_plural(role: UserRole) -> &'static str {
    match role {
        UserRole::User => "users",
        UserRole::Approver => "approvers",
        UserRole::Operator => "operators",
    }
}

/// A story that strangers may have written.
pub fn in_quarantine(id: StoryId) -> String {
    format!(
        "Story {id} is in quarantine, because strangers may have written it. A person reads it and uses the commands `release {id}`, `start {id}` and the like."
    )
}

pub fn not_in_quarantine(id: StoryId) -> String {
    format!("Story {id} is not in quarantine.")
}

/// A list that cannot be proposed, for this reason.
pub fn bad_plan(number: usize, why: &str) -> String {
    format!(
        "Story {number} of the list {why}. Nothing was proposed; correct the list and call plan_stories again."
    )
}

pub fn plan_too_long(most: usize) -> String {
    format!("A list has 1 to {most} stories. Propose the first ones, and the rest when they are done.")
}

pub const SPECS_EMPTY: &str = "Both texts are needed, and neither may be empty.";

pub fn specs_too_long(limit: usize) -> String {
    format!("Each text may have {limit} characters at most: people read both before they agree.")
}

pub fn specs_written(base: &str) -> String {
    format!("Both texts are on `{base}`. Agents get them from their next session on.")
}

pub const PLAN_WITHOUT_TITLE: &str = "has no title";
pub const PLAN_WITHOUT_CRITERIA: &str = "has no acceptance criteria: what must be true when it is done?";
pub const PLAN_AFTER_NOTHING: &str = "comes `after` a number that the list does not have, or after itself";
pub const PLAN_IN_A_CIRCLE: &str = "waits for itself by its `after`";

/// `depends_on` names a story that the board does not have.
pub fn plan_depends_on_nothing(id: StoryId) -> String {
    format!("depends on story {id}, which does not exist (`after` names stories of this list)")
}

/// People want another list.
pub fn plan_changed(person: &str, wish: &str) -> String {
    format!(
        "{person} wants the list changed: {wish}\nNothing was created. Propose the whole changed list with plan_stories."
    )
}

/// The stories that a list has become, and what is left of it.
pub fn plan_created(created: &[(usize, Story)], left: &[usize], error: Option<&str>) -> String {
    let mut text: Vec<String> = created
        .iter()
        .map(|(number, story)| {
            let after: Vec<String> = story.front.depends_on.iter().map(|id| format!("story {id}")).collect();
            let after = if after.is_empty() {
                String::new()
            } else {
                format!(" (starts after {})", after.join(", "))
            };
            format!("Number {number} is story {}{after}.", story.id())
        })
        .collect();
    if !left.is_empty() {
        let left: Vec<String> = left.iter().map(ToString::to_string).collect();
        text.push(format!("Not created: {}.", left.join(", ")));
    }
    text.extend(error.map(|why| format!("Then it failed: {why}")));
    text.join("\n")
}

/// The answer to `reject_story`.
pub fn tool_sent_back(id: StoryId) -> String {
    format!("Story {id} goes back to its coder.")
}

/// The answer to `release_story`.
pub fn tool_released(id: StoryId) -> String {
    format!("Story {id} is released from quarantine.")
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

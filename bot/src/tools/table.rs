//! The table of tools: name, effect, arguments, roles.

use std::sync::Arc;

use pipeline::stage::Role;
use rmcp::model::Tool;
use serde_json::{Value, json};

use super::{
    McpRun,
    call::{Answered, ToolCall},
    findings, permission, plan, review, specs, stories, work,
};
use crate::{config::access::UserRole, replies::tools as say};

/// A tool as data.
pub(super) struct ToolSpec {
    pub name: &'static str,
    /// The description that the model reads.
    about: &'static str,
    /// Arguments: name, JSON type, meaning, whether it is required.
    takes: &'static [Argument],
    /// Which roles of agents on stories have it; the operator has all that are not for rooms alone.
    roles: &'static [Role],
    /// What it is to the agents of chat rooms.
    pub room: RoomUse,
    only_rooms: bool,
}

/// How the agent of a chat room may use a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoomUse {
    Never,
    Read,
    /// It writes stories in the backlog, which needs no question.
    Write,
    /// It asks in the room each time. The person whose turn it is must have this role, as for the command of the same effect.
    Ask(UserRole),
}

impl RoomUse {
    /// The role that the person of a turn needs.
    pub fn role(self) -> UserRole {
        match self {
            Self::Never | Self::Read | Self::Write => UserRole::User,
            Self::Ask(role) => role,
        }
    }
}

type Argument = (&'static str, &'static str, &'static str, bool);

const EVERY: &[Role] = &[Role::Coder, Role::Qa, Role::Mergemaster, Role::Supervisor];
const SUPERVISOR_ONLY: &[Role] = &[Role::Supervisor];
const OPERATOR_ONLY: &[Role] = &[];
const STORY: Argument = ("story_id", "integer", "The story's number", true);
const OWN: Argument = ("story_id", "integer", "The story's number; default: your own story", false);
const TITLE: Argument = ("title", "string", "The title, one line", true);
const BODY: Argument = (
    "body",
    "string",
    "The story's text in Markdown, with acceptance criteria as `- [ ] ...`; default: the template",
    false,
);
const CRITERIA: Argument = (
    "criteria",
    "texts",
    "The acceptance criteria, in the place of those that the text has; somebody must be able to check each",
    false,
);
const BEFORE: Argument =
    ("depends_on", "array", "Numbers of the stories that must be done before this one starts", false);
const REASON: Argument = ("reason", "string", "The reason, specific enough to act on", true);

const fn tool(
    name: &'static str,
    about: &'static str,
    takes: &'static [Argument],
    roles: &'static [Role],
) -> ToolSpec {
    ToolSpec { name, about, takes, roles, room: RoomUse::Never, only_rooms: false }
}

impl ToolSpec {
    const fn room(mut self, room: RoomUse) -> Self {
        self.room = room;
        self
    }

    const fn only_rooms(mut self, room: RoomUse) -> Self {
        self.only_rooms = true;
        self.room(room)
    }
}

const TOOLS: &[ToolSpec] = &[
    tool(
        "prompt_permission",
        "Asks people for permission to use a tool and waits for their answer.",
        &[
            ("tool_name", "string", "The tool that needs permission", true),
            ("input", "object", "The tool's exact input", true),
            ("tool_use_id", "string", "The call's id", false),
        ],
        EVERY,
    ),
    tool("create_story", "Adds a story to the backlog.", &[TITLE, BODY, CRITERIA, BEFORE], SUPERVISOR_ONLY).room(RoomUse::Write),
    tool(
        "create_bug",
        "Adds a bug that you found to the backlog. Do not fix it in your own story.",
        &[TITLE, BODY, CRITERIA, BEFORE],
        EVERY,
    ).room(RoomUse::Write),
    tool("create_spike", "Adds a spike to the backlog: a question to investigate.", &[TITLE, BODY, CRITERIA, BEFORE], EVERY).room(RoomUse::Write),
    tool("create_refactor", "Adds a refactoring to the backlog.", &[TITLE, BODY, CRITERIA, BEFORE], EVERY).room(RoomUse::Write),
    tool(
        "list_stories",
        "Lists stories in the order of their numbers, with stage, worker and what blocks them.",
        &[
            ("stage", "string", "backlog, current, qa, merge, done or archived; default: all stages", false),
            (
                "after",
                "integer",
                "Only stories with a higher number than this; for the next page, the last number of the previous one",
                false,
            ),
        ],
        EVERY,
    ).room(RoomUse::Read),
    tool("get_story", "Returns a story's full text, its state and its test results.", &[OWN], EVERY).room(RoomUse::Read),
    tool(
        "update_story",
        "Changes a story's title, text or settings.",
        &[
            STORY,
            ("title", "string", "The new title, one line", false),
            ("body", "string", "The new text below the title, in the place of the whole text it has", false),
            ("agent", "string", "The preferred agent; empty for none", false),
            ("manual_qa", "boolean", "Whether a person must review the story", false),
            BEFORE,
            CRITERIA,
        ],
        SUPERVISOR_ONLY,
    ).room(RoomUse::Write),
    tool(
        "move_story",
        "Moves a story to another stage, if that move is allowed.",
        &[STORY, ("stage", "string", "The new stage: backlog, current, qa, merge or archived", true)],
        SUPERVISOR_ONLY,
    ).room(RoomUse::Ask(UserRole::Approver)),
    tool(
        "write_project_specs",
        "Writes what every agent is told about this project, in the place of what is there, and commits it to the base branch. Show both texts in the \
         room first and change them until people agree. The call asks the room, which sees both texts whole.",
        &[
            ("context", "string", "What the project is for: purpose, words of its field, how people work on it, what to beware of; Markdown, at most 4,000 characters", true),
            ("stack", "string", "What it is built with: stack, main parts, patterns with a file to follow, constraints; Markdown, at most 4,000 characters", true),
        ],
        OPERATOR_ONLY,
    )
    .only_rooms(RoomUse::Ask(UserRole::Approver)),
    tool("delete_story", "Deletes a story together with its worktree and branch.", &[STORY], OPERATOR_ONLY).room(RoomUse::Ask(UserRole::Approver)),
    tool(
        "check_criterion",
        "Marks an acceptance criterion of a story as met or not met.",
        &[
            OWN,
            ("criterion", "integer", "Which criterion, counted from 1", true),
            ("done", "boolean", "Whether it is met; default: true", false),
        ],
        &[Role::Coder, Role::Qa, Role::Supervisor],
    ),
    tool(
        "start_agent",
        "Starts work on a story, or continues a stopped one.",
        &[STORY, ("agent", "string", "The preferred agent", false)],
        SUPERVISOR_ONLY,
    ),
    tool(
        "stop_agent",
        "Stops the run on a story. The story stays blocked until someone starts it again.",
        &[STORY],
        SUPERVISOR_ONLY,
    ).room(RoomUse::Ask(UserRole::User)),
    tool("list_agents", "Lists all workers, and for busy ones their story, phase and cost.", &[], EVERY).room(RoomUse::Read),
    tool(
        "wait_for_agent",
        "Waits up to 45 s until no agent works on a story, then returns its state. Call it again to wait longer.",
        &[STORY, ("seconds", "integer", "How long to wait, 1 to 45; default: 45", false)],
        SUPERVISOR_ONLY,
    ).room(RoomUse::Read),
    tool(
        "get_agent_output",
        "Returns the last lines of the newest run on a story.",
        &[OWN, ("lines", "integer", "How many lines, 1 to 500; default: 50", false)],
        &[Role::Qa, Role::Mergemaster, Role::Supervisor],
    ).room(RoomUse::Read),
    tool(
        "list_worktrees",
        "Lists the worktrees and branches of stories.",
        &[],
        &[Role::Qa, Role::Supervisor],
    ).room(RoomUse::Read),
    tool(
        "get_worktree",
        "Returns a story's branch, the number of its commits and the size of its diff.",
        &[OWN],
        EVERY,
    ).room(RoomUse::Read),
    tool(
        "merge_agent_work",
        "Queues the merge of a story in the merge stage and returns immediately; get_merge_status shows the progress.",
        &[OWN],
        &[Role::Mergemaster, Role::Supervisor],
    ).room(RoomUse::Ask(UserRole::Approver)),
    tool(
        "get_merge_status",
        "Returns the state of a story's merge.",
        &[OWN],
        &[Role::Mergemaster, Role::Supervisor],
    ).room(RoomUse::Read),
    tool(
        "report_merge_failure",
        "Gives up on the merge: the two sides are incompatible. A person then decides.",
        &[OWN, REASON],
        &[Role::Mergemaster, Role::Supervisor],
    ),
    tool("request_qa", "Explains how your work gets to its review.", &[OWN], &[Role::Coder]),
    tool(
        "approve_qa",
        "Approves the story that you review. It goes to the merge queue when your run ends.",
        &[OWN],
        &[Role::Qa],
    ),
    tool(
        "reject_qa",
        "Rejects the story that you review. Its coder gets the reasons.",
        &[OWN, REASON],
        &[Role::Qa],
    ),
    tool("accept_story", "Accepts a story in QA on behalf of a person.", &[STORY], OPERATOR_ONLY).room(RoomUse::Ask(UserRole::Approver)),
    tool(
        "record_test_results",
        "Records the result of a test run for a story.",
        &[
            OWN,
            ("passed", "integer", "Number of tests that passed", true),
            ("failed", "integer", "Number of tests that failed", true),
            ("summary", "string", "The important findings", false),
        ],
        &[Role::Coder, Role::Qa, Role::Supervisor],
    ),
    tool(
        "reject_story",
        "Sends a story in QA or merge back to its coder, on behalf of a person.",
        &[STORY, REASON],
        OPERATOR_ONLY,
    )
    .room(RoomUse::Ask(UserRole::Approver)),
    tool(
        "retry_story",
        "Continues a story that failed or is blocked, on behalf of a person: lifts a block, a failed merge, used-up retries or a spent budget.",
        &[STORY],
        OPERATOR_ONLY,
    )
    .room(RoomUse::Ask(UserRole::Approver)),
    tool(
        "release_story",
        "Lifts a story's quarantine on behalf of a person, who has read it.",
        &[STORY],
        OPERATOR_ONLY,
    )
    .room(RoomUse::Ask(UserRole::Approver)),
    tool(
        "start_stories",
        "Starts work on one or more stories of the backlog, or continues stopped ones. The room is asked once for all of them.",
        &[("story_ids", "array", "The stories' numbers", true)],
        OPERATOR_ONLY,
    )
    .only_rooms(RoomUse::Ask(UserRole::User)),
    tool(
        "plan_stories",
        "Proposes new stories to the room and adds those that it approves to the backlog. The room may approve all of them, some by number, \
         or say what to change: then propose the whole changed list again. Do not repeat the list in your answer.",
        &[("stories", "plan", "The stories, 1 to 20, in a sensible order", true)],
        OPERATOR_ONLY,
    )
    .only_rooms(RoomUse::Ask(UserRole::User)),
    tool(
        "report_findings",
        "Reports what you found in the branch that you review. Call it once, at the end.",
        &[
            ("findings", "findings", "The findings, the most serious first; empty if there are none", true),
            ("summary", "string", "One or two sentences about the whole; default: none", false),
        ],
        &[Role::Qa],
    ),
    tool("get_version", "Returns the version of storkit.", &[], EVERY).room(RoomUse::Read),
    tool(
        "rebuild_and_restart",
        "Starts a build of storkit from source; it restarts when the build succeeds. get_version reports a failure.",
        &[],
        OPERATOR_ONLY,
    ),
];

const REPORT: &str = "report_findings";

/// The tools of who reviews a branch: it has no story, and decides nothing.
const OF_BRANCHES: [&str; 3] = ["prompt_permission", REPORT, "get_version"];

/// The tools of a caller: a run without an agent can only ask, the operator has every other tool.
pub(super) fn visible(run: &McpRun) -> impl Iterator<Item = &'static ToolSpec> + use<> {
    let (agent, operator) = (run.agent.as_ref(), run.operator);
    let agent = agent.map(|agent| (agent.role, agent.branch.is_some()));
    TOOLS.iter().filter(move |tool| match agent {
        Some((_, true)) => OF_BRANCHES.contains(&tool.name),
        Some((role, false)) => tool.roles.contains(&role) && tool.name != REPORT,
        None if tool.name == REPORT => false,
        None => operator != (tool.name == "prompt_permission") && !tool.only_rooms,
    })
}

/// The tools of rooms' agents. Who may use which is decided at each call, since the agent program lists them only once.
pub(super) fn of_rooms() -> impl Iterator<Item = &'static ToolSpec> {
    TOOLS.iter().filter(|tool| tool.room != RoomUse::Never)
}

/// A tool as MCP lists it.
pub(super) fn describe(tool: &ToolSpec) -> Tool {
    let property = |(name, kind, about, _): &Argument| {
        let property = match *kind {
            "array" => json!({ "type": "array", "items": { "type": "integer" }, "description": about }),
            "texts" => json!({ "type": "array", "items": { "type": "string" }, "description": about }),
            "findings" => {
                json!({ "type": "array", "items": findings::schema(), "description": about })
            }
            "plan" => json!({ "type": "array", "items": plan::schema(), "description": about }),
            kind => json!({ "type": kind, "description": about }),
        };
        ((*name).to_owned(), property)
    };
    let properties: serde_json::Map<String, Value> = tool.takes.iter().map(property).collect();
    let required: Vec<&str> = tool.takes.iter().filter(|taken| taken.3).map(|taken| taken.0).collect();
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    let schema = schema.as_object().cloned().unwrap_or_default();
    Tool::new(tool.name, tool.about, Arc::new(schema))
}

/// Calls a tool of the table by its name.
pub(super) async fn call(name: &str, call: ToolCall) -> Answered {
    use pipeline::story::StoryKind;
    match name {
        "prompt_permission" => permission::prompt_permission(call).await,
        "create_story" => stories::create(call, StoryKind::Story).await,
        "create_bug" => stories::create(call, StoryKind::Bug).await,
        "create_spike" => stories::create(call, StoryKind::Spike).await,
        "create_refactor" => stories::create(call, StoryKind::Refactor).await,
        "list_stories" => stories::list(&call),
        "get_story" => stories::get(call).await,
        "update_story" => stories::update(call).await,
        "move_story" => stories::move_to(call).await,
        "delete_story" => stories::delete(call).await,
        "check_criterion" => stories::check(call).await,
        "record_test_results" => stories::record_tests(call).await,
        "start_agent" => work::start(call).await,
        "stop_agent" => work::stop(call).await,
        "list_agents" => work::list(&call),
        "wait_for_agent" => work::wait(call).await,
        "get_agent_output" => work::output(call).await,
        "list_worktrees" => work::worktrees(call).await,
        "get_worktree" => work::worktree(call).await,
        "merge_agent_work" => review::merge(call).await,
        "get_merge_status" => review::merge_status(&call),
        "report_merge_failure" => review::merge_failure(call).await,
        "write_project_specs" => specs::write(call).await,
        "request_qa" => review::request(&call),
        "approve_qa" => review::approve(call).await,
        "reject_qa" => review::reject(call).await,
        "accept_story" => review::accept(call).await,
        "reject_story" => review::send_back(call).await,
        "retry_story" => review::retry(call).await,
        "release_story" => review::release(call).await,
        "start_stories" => work::start_several(call).await,
        "plan_stories" => plan::propose(call).await,
        "report_findings" => findings::report(call).await,
        "get_version" => Ok(work::version(&call)),
        "rebuild_and_restart" => work::rebuild_and_restart(&call),
        other => {
            Err(format!("The tool `{other}` is listed but cannot be called. Report this to the operator."))
        }
    }
}

/// The answer to a call that was cut off. A permission request gets a decision even then: the CLI takes nothing else.
pub(super) fn cancelled(name: &str) -> Answered {
    let text = say::CANCELLED;
    if name == "prompt_permission" { Ok(permission::deny(text)) } else { Err(text.into()) }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use pipeline::{
        event::{RunId, RunInfo, RunPhase},
        story::StoryId,
    };

    use super::*;

    fn names(run: &McpRun) -> Vec<&'static str> {
        visible(run).map(|tool| tool.name).collect()
    }

    fn agent(role: Role) -> McpRun {
        let agent = RunInfo {
            id: RunId("1-x-1".into()),
            branch: None,
            story: StoryId(1),
            title: "x".into(),
            slot: "x".into(),
            agent: "x".into(),
            role,
            since: SystemTime::UNIX_EPOCH,
            phase: RunPhase::Working,
            pid: None,
            session: None,
            cost_usd: 0.0,
        };
        McpRun { agent: Some(agent), ..McpRun::default() }
    }

    #[test]
    fn a_coder_can_neither_merge_nor_decide() {
        let coder = names(&agent(Role::Coder));
        for tool in
            ["merge_agent_work", "approve_qa", "accept_story", "move_story", "delete_story", "start_agent"]
        {
            assert!(!coder.contains(&tool), "{tool}");
        }
        assert!(coder.contains(&"request_qa") && coder.contains(&"prompt_permission"));
    }

    #[test]
    fn only_a_reviewer_approves_and_nobody_but_a_person_accepts_or_deletes() {
        for role in [Role::Coder, Role::Mergemaster, Role::Supervisor] {
            assert!(!names(&agent(role)).contains(&"approve_qa"), "{role:?}");
        }
        for role in [Role::Coder, Role::Qa, Role::Mergemaster, Role::Supervisor] {
            let tools = names(&agent(role));
            assert!(!tools.contains(&"accept_story") && !tools.contains(&"delete_story"), "{role:?}");
        }
    }

    #[test]
    fn who_reviews_a_branch_reports_and_decides_nothing_and_nobody_else_reports() {
        let mut reviewer = agent(Role::Qa);
        assert!(!names(&reviewer).contains(&"report_findings"));
        reviewer.agent = reviewer.agent.map(|run| RunInfo { branch: Some("x".into()), ..run });
        assert_eq!(names(&reviewer), ["prompt_permission", "report_findings", "get_version"]);
    }

    #[test]
    fn a_run_without_an_agent_may_only_ask_and_the_operator_all_but_that() {
        assert_eq!(names(&McpRun::default()), ["prompt_permission"]);
        let operator = McpRun { operator: true, ..McpRun::default() };
        assert_eq!(names(&operator).len(), TOOLS.len() - 5);
        assert!(!names(&operator).contains(&"plan_stories"), "there is no room to propose to");
    }

    #[test]
    fn what_decides_is_asked_for_in_a_room_and_needs_the_role_of_its_command() {
        let of = |name: &str| TOOLS.iter().find(|tool| tool.name == name).expect("a tool").room;
        let commands = crate::commands::all();
        for (tool, command) in [
            ("start_stories", "start"),
            ("stop_agent", "stop"),
            ("move_story", "move"),
            ("delete_story", "delete"),
            ("accept_story", "accept"),
            ("merge_agent_work", "accept"),
            ("reject_story", "reject"),
            ("retry_story", "retry"),
            ("release_story", "release"),
            ("plan_stories", "new"),
        ] {
            assert_eq!(
                of(tool),
                RoomUse::Ask(commands.get(command).expect("a command").spec().role),
                "{tool}"
            );
        }
        for tool in [
            "prompt_permission",
            "start_agent",
            "check_criterion",
            "approve_qa",
            "report_merge_failure",
            "rebuild_and_restart",
        ] {
            assert_eq!(of(tool), RoomUse::Never, "{tool}");
        }
    }

    #[test]
    fn every_tool_is_described_and_named_once() {
        let mut seen = std::collections::BTreeSet::new();
        for tool in TOOLS {
            assert!(seen.insert(tool.name) && tool.about.ends_with('.'), "{}", tool.name);
            let listed = describe(tool);
            assert_eq!(listed.input_schema["type"], "object");
        }
    }
}

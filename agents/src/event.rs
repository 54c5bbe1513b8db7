//! The reports of an agent program, whatever protocol it speaks: events, results of turns, permission requests.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The agent program's id of a conversation (a UUID).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Wraps an id that the agent program gave.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// A fresh random id, for `--session-id`.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string().into())
    }

    /// The id as the CLI writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event of a running agent program. Text of sub-agents, replays and synthetic notes are no events;
/// the tools that sub-agents call are.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentEvent {
    /// `system/init`: once per turn, also in a live session.
    Started {
        /// The session; store it at once.
        session: SessionId,
        model: String,
        /// MCP servers and whether they connected.
        mcp_servers: Vec<McpServer>,
    },
    /// Which calls run without a question from now on. Reported with each turn, and after a change.
    Mode(PermissionMode),
    /// A piece of text as it is written (only with partial messages on).
    TextDelta(String),
    /// A finished block of text of the main conversation; repeats its deltas.
    Text(String),
    /// The model calls a tool.
    ToolUse(ToolUse),
    /// A message of the main conversation is complete, with all of its tool calls.
    MessageEnded,
    /// A tool call ended.
    ToolResult {
        /// The call's id, as in [`ToolUse::id`].
        id: String,
        /// Whether it failed or was refused.
        is_error: bool,
    },
    /// A sub-agent calls a tool.
    SubAgentToolUse(ToolUse),
    /// A tool call of a sub-agent ended.
    SubAgentToolResult { id: String },
    /// A tool call waits for a person (control protocol only).
    Permission(PermissionRequest),
    /// A message to storkit's own tools; it waits for its answer (control protocol only).
    OwnTools(OwnToolsMessage),
    /// The state of all MCP servers, asked for with [`crate::claude::AgentProcess::ask_servers`].
    Servers(Vec<McpServer>),
    /// A permission request is void, e.g. after an interrupt.
    PermissionCancelled {
        /// The id, as in [`PermissionRequest::request_id`].
        request_id: String,
    },
    /// The agent program has replaced the session's older part by a summary.
    Compacted {
        /// Whether it did so by itself, because the session became too long.
        automatic: bool,
        /// Tokens of the session before it.
        before: u64,
        /// Tokens of the session after it.
        after: Option<u64>,
    },
    /// An API call failed and will be made again by the CLI itself.
    Retrying {
        /// Which retry comes next, from 1.
        attempt: u32,
        max: u32,
        /// How long the CLI waits before it.
        delay: Duration,
        /// HTTP status of the failed call, where there was one.
        status: Option<u16>,
        /// The CLI's name for it, e.g. `rate_limit`.
        error: String,
    },
    /// A usage limit of the service.
    RateLimit {
        /// How the limit treats this session.
        status: RateLimitStatus,
        /// When its window closes.
        resets_at: Option<SystemTime>,
    },
    /// All work that goes on beside the conversation, whenever that changes.
    BackgroundTasks(Vec<BackgroundTask>),
    /// A task of the agent program ended; also one that the conversation waited for, which was never in the background.
    TaskEnded { id: String, end: TaskEnd },
    /// `result`: a turn is over. More may follow with [`TurnEnd::unprompted`].
    TurnEnded(Box<TurnEnd>),
    /// The CLI refused one of our control requests.
    ControlFailed { request_id: String, error: String },
    /// Output that is no event; counted and logged, never shown unchanged.
    Noise(UnparsedOutput),
    /// The process is gone; the last event.
    Exited(ProcessExit),
}

/// Which calls an agent program makes without asking, besides those that it considers harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermissionMode {
    Default,
    /// Edits of files in its working directory.
    AcceptEdits,
    /// None, and it changes nothing until its plan is approved.
    Plan,
    /// None: whatever needs a question is refused.
    DontAsk,
    /// Those that it decides on itself, or all. The program's own word.
    Unasked(String),
}

impl PermissionMode {
    /// Whether people are asked about everything that they are asked about in `agreed`.
    pub fn asks_as_in(&self, agreed: &Self) -> bool {
        match self {
            Self::Default | Self::Plan | Self::DontAsk => true,
            Self::AcceptEdits | Self::Unasked(_) => self == agreed,
        }
    }
}

/// An MCP server as the agent program reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpServer {
    /// Its name in the configuration.
    pub name: String,
    pub state: McpServerState,
    /// How many tools it offers; known only where the state was asked for.
    pub tools: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum McpServerState {
    Connected,
    /// The agent program is still connecting to it.
    Pending,
    /// It wants a login, which nobody can give it here.
    WantsLogin,
    /// With the agent program's own words for the reason, where the state was asked for.
    Failed(String),
}

/// A tool call of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolUse {
    /// The call's id, `toolu_..`.
    pub id: String,
    pub name: String,
    pub input: Value,
}

/// Work that goes on beside the conversation, also after its turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackgroundTask {
    pub id: String,
    pub kind: BackgroundKind,
    /// The model's own words for it, maybe empty.
    pub description: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackgroundKind {
    Command,
    SubAgent,
    Other,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    Completed,
    Failed,
    Stopped,
}

/// `can_use_tool`: a tool call that needs a person. Plans and questions come this way too.
#[derive(Clone, Debug, PartialEq)]
pub struct PermissionRequest {
    /// Goes back with the answer.
    pub request_id: String,
    /// The tool: `Bash`, `Edit`, `ExitPlanMode`, `AskUserQuestion`, ...
    pub tool: String,
    /// The exact input; an allow sends it back unchanged.
    pub input: Value,
    /// The call's id, `toolu_..`.
    pub tool_use_id: Option<String>,
    /// Set when a sub-agent asks.
    pub agent_id: Option<String>,
    /// The path because of which it asks, links resolved.
    pub blocked_path: Option<String>,
}

/// An MCP message to storkit's own tools. It comes from the process itself, over the stream of its events: there is no address that
/// another process could call.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnToolsMessage {
    /// Goes back with the answer.
    pub request_id: String,
    pub message: Value,
}

/// The answer to a permission request, in the form that both routes (control protocol, MCP) take.
///
/// `updatedInput` is always sent with an allow, since 2.1.197 refuses one without it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "behavior", rename_all = "lowercase")]
pub enum PermissionAnswer {
    /// The call runs with this input.
    Allow {
        /// Replaces the tool's input.
        #[serde(rename = "updatedInput")]
        updated_input: Value,
    },
    /// The call is refused; the model reads the message.
    Deny {
        /// Why, for the model.
        message: String,
    },
}

/// How a usage limit treats the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitStatus {
    Allowed,
    AllowedWithWarning,
    /// Nothing is answered before the window closes.
    Rejected,
}

impl fmt::Display for RateLimitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allowed => "allowed",
            Self::AllowedWithWarning => "nearly reached",
            Self::Rejected => "reached",
        })
    }
}

/// The result of a turn (`result`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TurnEnd {
    pub session: Option<SessionId>,
    /// Why the turn failed; `None` if it was answered.
    pub failure: Option<TurnFailure>,
    /// Final text, or the agent program's sentence about the failure.
    pub text: String,
    /// Whether the CLI began the turn by itself (a background task ended).
    pub unprompted: bool,
    /// Turns of the model within this turn.
    pub num_turns: u64,
    /// Wall time of the turn.
    pub duration: Duration,
    /// Cost of the session so far in US dollars, across resumes (2.1.330).
    pub session_cost_usd: f64,
    /// Tokens read in this turn, cache included.
    pub input_tokens: u64,
    /// Tokens written in this turn.
    pub output_tokens: u64,
    /// The call at which it stopped because a hook deferred it: a resumed session goes on with exactly that call.
    pub deferred: Option<ToolUse>,
}

/// Why a turn failed, whatever words the agent program has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnFailure {
    Interrupted,
    /// The session to resume does not exist any more.
    SessionLost,
    /// The model's service takes no requests for now: wait, nothing is broken.
    Busy(BusyService),
    /// The service refused the key (HTTP 401, 403).
    KeyRefused,
    /// There is no key at all.
    NotLoggedIn,
    /// The account has no credit left.
    NoCredit,
    /// The service does not know the model (HTTP 404).
    UnknownModel,
    /// The request is too large (HTTP 413).
    RequestTooLarge,
    /// The session is too long for the model.
    SessionTooLong,
    /// `--max-turns` is reached.
    StepLimit,
    /// `--max-budget-usd` is reached.
    Budget,
    /// The service broke off within an answer.
    BrokeOff,
    /// The service cannot be reached.
    Unreachable,
    /// The service failed (HTTP 500 and above).
    ServiceFailed,
    /// The agent program runs calls unasked that people are to be asked about; it was ended.
    WrongMode,
    /// Anything else; [`TurnEnd::text`] has the words.
    Other,
}

impl fmt::Display for TurnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupted => "the turn was interrupted",
            Self::SessionLost => "the session does not exist any more",
            Self::Busy(_) => "the model's service is busy",
            Self::KeyRefused => "the model's service refused the key",
            Self::NotLoggedIn => "there is no key for the model's service",
            Self::NoCredit => "the account has no credit left",
            Self::UnknownModel => "the model's service does not know the model",
            Self::RequestTooLarge => "the request is too large",
            Self::SessionTooLong => "the session is too long for the model",
            Self::StepLimit => "the limit of steps is reached",
            Self::Budget => "the run's budget is spent",
            Self::BrokeOff => "the model's service broke off within its answer",
            Self::Unreachable => "the model's service cannot be reached",
            Self::ServiceFailed => "the model's service failed",
            Self::WrongMode => {
                "the agent program was not in the permission mode that it was started with, so it was ended; check `defaultMode` in \
                 Claude Code's user and managed settings"
            }
            Self::Other => "the turn failed",
        })
    }
}

/// In which way the model's service is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyService {
    /// The account's usage limit is reached (HTTP 429).
    UsageLimit,
    /// The service is overloaded (HTTP 529).
    Overloaded,
}

impl BusyService {
    /// The HTTP status of this condition.
    pub fn status(self) -> u16 {
        match self {
            Self::UsageLimit => 429,
            Self::Overloaded => 529,
        }
    }
}

/// Output that is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnparsedOutput {
    /// Not JSON: stderr of the CLI, terminal escapes, garbage. At most 500 characters of it.
    NotJson(String),
    /// A line over the limit, whose content was dropped while it was read.
    TooLong {
        /// Its length in bytes.
        bytes: u64,
    },
    /// JSON of a shape this version does not know, though its `type` is known: the type's name and why.
    Malformed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessExit {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The last lines that were no JSON (its stderr, mostly), at most 2,000 characters.
    pub tail: String,
}

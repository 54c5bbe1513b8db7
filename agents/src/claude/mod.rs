//! A Claude Code process: how it is started, what it says, and how it is ended.

mod end;
mod event;
mod event_sender;
mod folder;
mod input;
mod launch;
mod lines;
mod noise;
mod parse;
mod process;
mod pty;
mod wording;

pub use end::sweep_orphans;
pub use event::{
    AgentEvent, BusyService, McpServer, PermissionAnswer, PermissionRequest, ProcessExit, RateLimitStatus,
    SessionId, ToolUse, TurnEnd, TurnFailure, UnparsedOutput,
};
pub use folder::remove_leftovers;
pub(crate) use folder::short_dir;
pub use launch::{Launch, PermissionRoute, PromptMode, SessionStart};
pub use process::{AgentProcess, ProcessError};

/// The version of the CLI that the facts and the recordings in `tests/data` were taken from.
pub const TESTED_VERSION: &str = "2.1.330";

//! A Claude Code process: how it is started, what it says, and how it is ended.

mod event;
mod launch;
mod process;

pub use event::{
    AgentEvent, Exit, McpServer, Noise, PermissionAnswer, PermissionRequest, SessionId, ToolUse, TurnEnd,
};
pub use launch::{Launch, Mode, PermissionRoute, Start};
pub use process::{Process, ProcessError, sweep_orphans};

/// The version of the CLI that the facts and the recordings in `tests/data` were taken from.
pub const TESTED_VERSION: &str = "2.1.330";

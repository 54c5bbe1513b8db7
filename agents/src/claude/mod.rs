//! A Claude Code process: how it is started, what it says, and how it is ended.

mod end;
mod event;
mod folder;
mod input;
mod launch;
mod lines;
mod noise;
mod parse;
mod process;
mod pty;
mod tell;

pub use end::sweep_orphans;
pub use event::{
    AgentEvent, Exit, McpServer, Noise, PermissionAnswer, PermissionRequest, SessionId, ToolUse, TurnEnd,
};
pub use folder::remove_leftovers;
pub(crate) use folder::short_dir;
pub use launch::{Launch, Mode, PermissionRoute, Start};
pub use process::{Process, ProcessError};

/// The version of the CLI that the facts and the recordings in `tests/data` were taken from.
pub const TESTED_VERSION: &str = "2.1.330";

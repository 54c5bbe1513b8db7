//! Claude Code: its command line, its stream-json output, its control protocol, and how its process is terminated.

mod end;
mod error;
mod event_sender;
mod folder;
mod input;
mod launch;
mod lines;
mod noise;
mod parse;
mod process;
mod servers;
mod shell;
mod wording;

pub use end::sweep_orphans;
pub use error::ProcessError;
pub use launch::{
    Launch, LaunchLimits, LaunchModel, LaunchPermissions, LaunchProgram, LaunchSession, PermissionRoute,
    PromptMode, SessionStart,
};
pub use process::AgentProcess;
pub use servers::{OperatorServers, ServerTransport, ServerVariable, ServersError};
pub use shell::ShellCommand;

pub use crate::{event::*, runtime_dir::remove_leftovers};

/// The version of the CLI that the facts and the recordings in `tests/data` were taken from.
pub const TESTED_VERSION: &str = "2.1.330";

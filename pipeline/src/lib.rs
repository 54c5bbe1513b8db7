//! Projects, Claude Code processes, and what they do to a repository. Knows nothing of chat.

pub mod assign;
pub mod atomic;
pub mod audit;
pub mod board;
pub mod claude;
mod committer;
pub mod config;
pub mod duration;
pub mod event;
pub mod folders;
pub mod gates;
pub mod git;
pub mod guard;
pub mod handle;
pub mod host;
pub mod ledger;
pub mod merge;
pub mod migrate;
pub mod orchestrator;
pub mod project;
pub mod reading;
mod run;
pub mod sandbox;
pub mod stage;
pub mod story;
pub mod templates;
pub mod toml_keys;
pub mod usage;
pub mod verdict;
mod watcher;
pub mod worktree;

pub use handle::{Pipeline, PipelineError};
pub use project::{Project, ProjectError};

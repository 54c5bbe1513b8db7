//! Projects, their stories, and the runs of agents on them. Knows nothing of chat.

pub mod assign;
pub mod audit;
pub mod base_commit;
pub mod board;
pub mod config;
pub mod diff;
pub mod event;
pub mod folders;
pub mod gates;
pub mod git;
pub mod guard;
pub mod handle;
pub mod history;
pub mod host;
pub mod ledger;
pub mod mailbox;
pub mod merge;
pub mod migrate;
mod open_hosts;
pub mod orchestrator;
pub mod project;
pub mod reading;
pub mod rooms;
mod run;
pub mod run_log;
mod sentence;
pub mod specs;
pub mod story;
pub mod strangers;
pub mod trust;
pub mod verdict;
pub mod worktree;

pub use handle::{Pipeline, PipelineError};
pub use project::{Project, ProjectError};
pub use run::job::attacked::{AttackedRun, AttackedSetting};
pub use story::{stage, templates};

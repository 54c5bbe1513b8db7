//! Projects, Claude Code processes, and what they do to a repository. Knows nothing of chat.

pub mod assign;
pub mod claude;
pub mod git;
pub mod project;
pub mod stage;
pub mod story;
pub mod usage;
pub mod verdict;

pub use project::{Project, ProjectError};

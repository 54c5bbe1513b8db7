//! Why there is no process to talk to.

/// Why a process could not be started or reached.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program is not there.
    #[error("`{program}` was not found on the PATH")]
    NotFound { program: String },
    /// An operation of the system failed.
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
    /// The process has ended.
    #[error("the Claude Code process has ended")]
    Gone,
}

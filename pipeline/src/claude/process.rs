//! The running process: PTY, FIFO, reader, and an end that leaves nothing behind.

use tokio::sync::mpsc;

use super::{AgentEvent, Launch, PermissionAnswer, SessionId};

/// A Claude Code process in a PTY, its prompts fed through a FIFO. Dropping it ends the process (SIGHUP by
/// the PTY's closing); [`Process::end`] also leaves no descendant behind.
pub struct Process {}

/// Why a process could not be started or reached.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program is not there.
    #[error("`{program}` was not found on the PATH")]
    NotFound {
        /// What was looked for.
        program: String,
    },
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's word.
        source: std::io::Error,
    },
    /// The process is gone.
    #[error("the Claude Code process has ended")]
    Gone,
}

impl Process {
    /// Starts the process. Events come on the channel until [`AgentEvent::Exited`]; a slow receiver slows the
    /// process and costs no memory.
    pub async fn start(_launch: Launch) -> Result<(Self, mpsc::Receiver<AgentEvent>), ProcessError> {
        todo!()
    }

    /// The process id, for usage and doctor.
    pub fn pid(&self) -> u32 {
        todo!()
    }

    /// Sends a prompt ([`super::Mode::Live`]). The caller sends one at a time: the CLI would join queued ones.
    pub async fn prompt(&self, _text: &str) -> Result<(), ProcessError> {
        todo!()
    }

    /// Interrupts the turn; its [`AgentEvent::TurnEnded`] follows. Harmless when idle.
    pub async fn interrupt(&self) -> Result<(), ProcessError> {
        todo!()
    }

    /// Changes the model from the next turn on; `None` for the default.
    pub async fn set_model(&self, _model: Option<&str>) -> Result<(), ProcessError> {
        todo!()
    }

    /// Answers a [`super::PermissionRequest`].
    pub async fn answer(&self, _request_id: &str, _answer: &PermissionAnswer) -> Result<(), ProcessError> {
        todo!()
    }

    /// Ends the process and everything it started: SIGTERM, up to 5 s, then SIGKILL to all descendants,
    /// those included that left its group and session. Returns how many had to be killed.
    pub async fn end(self) -> usize {
        todo!()
    }
}

/// Ends what an earlier, killed storkit left behind: processes that carry one of these sessions in
/// `CLAUDE_CODE_SESSION_ID`. Returns how many.
pub async fn sweep_orphans(_sessions: &[SessionId]) -> usize {
    todo!()
}

//! The command line and environment of a Claude Code process.

use std::path::PathBuf;

use super::SessionId;

/// Everything that a Claude Code process is started with.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Program and leading arguments, e.g. `["claude"]`.
    pub command: Vec<String>,
    /// Working directory; sessions resume reliably only in the one they began in.
    pub cwd: PathBuf,
    /// A folder of ours (0700) for the FIFO and the CLI's temporary files.
    pub runtime_dir: PathBuf,
    /// New or resumed.
    pub start: Start,
    /// Live session or a single prompt.
    pub mode: Mode,
    /// Which way permission questions come.
    pub permissions: PermissionRoute,
    /// `--model`; `None` for the CLI's default.
    pub model: Option<String>,
    /// `--append-system-prompt`; counts only on the first request of a session.
    pub append_system_prompt: Option<String>,
    /// Whether the project's own settings, hooks and MCP servers take effect. Default no: they run commands
    /// and can redirect the API key merely by being there.
    pub trust_project_settings: bool,
    /// Names taken out of the inherited environment (the bot's secrets).
    pub env_remove: Vec<String>,
    /// Set after the removal.
    pub env: Vec<(String, String)>,
    /// `--max-turns`.
    pub max_turns: Option<u32>,
    /// `--max-budget-usd`; counts this process only and overshoots by one call.
    pub max_budget_usd: Option<f64>,
}

/// Whether a session begins or goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// `--session-id`: refused by the CLI if the id was ever used.
    New(SessionId),
    /// `--resume`.
    Resume(SessionId),
}

/// How prompts get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Stream-json over a FIFO, output on the PTY: many turns, control protocol.
    Live,
    /// `-p PROMPT`: one turn, then the process ends by itself.
    OneShot {
        /// The prompt; over 120,000 bytes it is fed by standard input, since one argument is limited to 128 KiB.
        prompt: String,
    },
}

/// Which way permission questions come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermissionRoute {
    /// `--permission-prompt-tool stdio`: [`super::AgentEvent::Permission`]; only with [`Mode::Live`].
    Control,
    /// The MCP tool `mcp__storkit__prompt_permission` at this address.
    Mcp {
        /// `http://127.0.0.1:PORT/mcp`.
        url: String,
        /// Bearer token of the run.
        token: String,
    },
}

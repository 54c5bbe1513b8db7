//! Messages of the program at a terminal, outside the chat.

use std::{fmt::Display, path::Path};

/// `[console] enabled = false` where a chat was asked for.
pub const NO_CONSOLE: &str =
    "`console.enabled` is false in bot.toml, so there is no chat here. Use `storkit serve`, or enable it.";
/// The last line in a terminal before a restart.
pub const GOING_TO_RESTART: &str = "storkit restarts.";
/// The last line in a terminal.
pub const ENDED: &str = "storkit has ended.";

/// A file or folder that cannot be written.
pub fn cannot_write(path: &Path, error: &dyn Display) -> String {
    format!("`{}` cannot be written: {error}.", path.display())
}

/// The signals that stop the program are not available.
pub fn no_signals(error: &dyn Display) -> String {
    format!("storkit cannot listen for signals: {error}.")
}

pub fn not_restarted(error: &dyn Display) -> String {
    format!("storkit could not be restarted: {error}. Start it by hand.")
}

/// The process cannot be closed to others of its user.
pub fn not_closed(error: &dyn Display) -> String {
    format!(
        "storkit cannot protect its process from the agents, which run as the same user: {error}. It does not start without that."
    )
}

/// `storkit mcp-config` without a storkit that serves.
pub fn nobody_serves(error: &dyn Display) -> String {
    format!("No storkit serves this project ({error}). Start one with `storkit serve`.")
}

/// `storkit mcp-config` was refused, with the reason as a sentence.
pub fn no_mcp_config(why: &str) -> String {
    format!("The storkit that serves this project gave no configuration: {why}")
}

pub fn terminal_failed(error: &dyn Display) -> String {
    format!("The terminal failed: {error}.")
}

/// The system gives this process no threads.
pub fn no_threads(error: &dyn Display) -> String {
    format!("storkit cannot start its threads: {error}.")
}

/// The demo's model cannot be served.
pub fn no_demo_model(error: &dyn Display) -> String {
    format!("The demo's model cannot be served: {error}.")
}

/// `storkit doctor --audit` without findings.
pub fn audit_clean(base: &str) -> String {
    format!("Every done story is merged into `{base}`, and its proof is valid.\n")
}

/// The manual page cannot be made.
pub fn no_manual(error: &dyn Display) -> String {
    format!("The manual page cannot be created: {error}.")
}

//! Commands that are unknown, misused, not allowed or broken.

use adapters::markdown::code_span;

use crate::config::access::UserRole;

/// `htop stop` where nothing can be edited.
pub const HTOP_IS_A_SNAPSHOT: &str =
    "Here htop is one snapshot, so there is nothing left to stop. `stop` ends the turn.";

/// A lone address.
pub fn greeting(name: &str) -> String {
    format!("{name} here. Say what you want done, or `help` for the commands.")
}

/// `!word` with no such word.
pub fn unknown_command(word: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("There is no command {}. Did you mean `{near}`?", code_span(word)),
        None => format!("There is no command {}. `help` lists them all.", code_span(word)),
    }
}

/// Arguments that do not fit.
pub fn usage(wrong: &str, usage: &str) -> String {
    format!("{wrong}\nUsage: `{usage}`")
}

/// A command above the caller's role.
pub fn not_allowed(command: &str, role: UserRole) -> String {
    format!("Only {role}s can use `{command}` here.")
}

/// A number for a failure of ours, the same in the log.
pub fn incident() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()
}

/// A failure of ours.
pub fn internal_error(number: &str) -> String {
    format!("That went wrong on my side. The operator finds it in the log under `{number}`.")
}

/// `ambient` could not be remembered.
pub fn ambient_not_written(error: &anyhow::Error) -> String {
    format!("This holds until I am restarted only: {error:#}.")
}

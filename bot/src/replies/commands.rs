//! Commands that are unknown, misused, not allowed or broken.

use adapters::markdown::code_span;

use crate::config::access::UserRole;

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

/// The answer to a button that means nothing here, such as one of an older version.
pub const UNKNOWN_BUTTON: &str =
    "I do not know that button, so nothing happened. Write what you want, or `help` for the commands.";

/// Arguments that do not fit.
pub fn usage(wrong: &str, usage: &str) -> String {
    format!("{wrong}\nUsage: `{usage}`")
}

/// Arguments for a command that takes none.
pub fn no_arguments(command: &str) -> String {
    format!("`{command}` takes no arguments.")
}

/// `help WORD` with no such word.
pub fn no_help_for(word: &str, near: Option<&str>) -> String {
    let near = near.map(|near| format!(" Did you mean `{near}`?")).unwrap_or_default();
    format!("There is no command {}.{near}", code_span(word))
}

/// The last line of `help`: how to address the bot.
pub fn how_to_address(prefix: &str, name: &str) -> String {
    format!(
        "\nWhere several people talk, start with `{prefix}` or `{name}`. Anything else you say to me goes to Claude Code."
    )
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
    format!("Something went wrong on my side (reference for the log: `{number}`).")
}

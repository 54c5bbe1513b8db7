//! Commands that are unknown, misused, not allowed or broken.

use adapters::markdown::code_span;

use crate::config::access::UserRole;

/// Why a command of the agent program does nothing in a room, and so what to do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentOnly {
    /// It leaves the session, and a room's session needs nobody to leave it.
    Leave,
    /// It resumes a session, and a room does that with each message.
    Resume,
    /// It goes back to an earlier state of the files.
    Rewind,
    /// It logs in or out.
    LogIn,
    /// It changes settings, which belong to the operator.
    Settings,
    /// It changes which servers, hooks, skills and agents are loaded.
    Extensions,
    /// A skill that brings its own permissions for commands.
    Skill,
    /// It shows something in the terminal.
    Terminal,
}

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

/// `/word` of the agent program, which does nothing in a room.
pub fn only_in_the_cli(word: &str, why: AgentOnly) -> String {
    let instead = match why {
        AgentOnly::Leave => {
            "A room needs no leaving: its session rests while nobody writes, and the next message continues it. `reset` starts a new one."
        }
        AgentOnly::Resume => "A room resumes its session with your next message. `reset` starts a new one.",
        AgentOnly::Rewind => "Ask me to undo the change, or drop all changes of this room with `discard`.",
        AgentOnly::LogIn => {
            "Whoever operates storkit logs in on its machine, with `claude`. `doctor` says whether the key or the login works."
        }
        AgentOnly::Settings => {
            "The settings of a room's agent are in `bot.toml`, and belong to the operator. Here, `model` chooses the model and `rules` shows what runs without a question."
        }
        AgentOnly::Extensions => "The operator decides in `bot.toml` what agents load.",
        AgentOnly::Skill => {
            "It would run commands without asking you. Say in your own words what I should do."
        }
        AgentOnly::Terminal => {
            "It belongs to the terminal of Claude Code. `help` lists the commands of this room."
        }
    };
    format!("`/{word}` does nothing here. {instead}")
}

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

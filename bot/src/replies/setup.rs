//! `storkit init`: its questions, its results, and the next steps.

use std::{fmt::Display, path::Path};

/// No terminal and no `--yes`.
pub const NOBODY_TO_ASK: &str = "Standard input is not a terminal, so I cannot ask questions. Use `storkit init --yes` to accept the defaults.";
/// Neither in a repository nor allowed to create one.
pub const NO_REPOSITORY: &str =
    "storkit needs a git repository. Change to one, or name it with `--project DIR` here.";

// --- questions ---

pub const CREATE_REPOSITORY: &str = "This is not a git repository. Create one here?";
pub const BOT_NAME: &str = "What is the bot's name?";
pub const GATE: &str = "Which command must pass before a story is merged? (empty: none)";
pub const CODERS: &str = "How many coders may work at the same time?";
pub const CODERS_RANGE: &str = "Enter a number from 1 to 100.\n";
pub const COMMIT: &str = "Commit `project.toml` and `context.md`?";

// --- results ---

pub const COMMITTED: &str = "commit storkit: set up\n";

pub fn file_written(name: &str) -> String {
    format!("wrote  {name}\n")
}

pub fn file_kept(name: &str) -> String {
    format!("kept   {name} (it already exists)\n")
}

pub fn cannot_create(folder: &Path, error: &dyn Display) -> String {
    format!("`{}` cannot be created: {error}.", folder.display())
}

/// The last words of `storkit init`.
pub fn next_steps(bot: &str, has_no_gate: bool) -> String {
    let gates = match has_no_gate {
        true => "No command tests stories before they merge yet: set `gates` in .storkit/project.toml.\n",
        false => "",
    };
    format!(
        "\n{gates}Next:\n  storkit doctor     shows what is missing (for example a key for Claude Code)\n  storkit            opens a chat with {bot} in this terminal\n\
         \nIn the chat, `new story TITLE` and `start 1` put agents to work; `help` lists the other commands. Switch on chat messengers in\n\
         .storkit/bot.toml. Ask {bot} to fill in .storkit/context.md with you: agents read it.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_steps_name_what_is_missing() {
        insta::assert_snapshot!(next_steps("Timmy", true), @r"

        No command tests stories before they merge yet: set `gates` in .storkit/project.toml.
        Next:
          storkit doctor     shows what is missing (for example a key for Claude Code)
          storkit            opens a chat with Timmy in this terminal

        In the chat, `new story TITLE` and `start 1` put agents to work; `help` lists the other commands. Switch on chat messengers in
        .storkit/bot.toml. Ask Timmy to fill in .storkit/context.md with you: agents read it.
        ");
        assert!(next_steps("Timmy", false).starts_with("\nNext:"));
    }
}

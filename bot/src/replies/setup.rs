//! `storkit init`: its questions, its results, and the next steps.

use std::{fmt::Display, path::Path};

use crate::replies::visible::visible;

/// A part of a project as people read about it.
#[derive(Clone, Debug)]
pub struct FoundPart {
    pub name: String,
    /// Its setup, on one line.
    pub setup: String,
    /// What has to be installed.
    pub program: &'static str,
    /// The command that tests it.
    pub gate: Option<String>,
}

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
pub const COMMIT: &str = "Commit storkit's files to the base branch?";
pub const BASE: &str = "Which branch do stories merge to?";
pub const USE_PARTS: &str = "Set these up in each worktree?";
pub const ADD_PARTS: &str = "Add them to `.storkit/project.toml`?";

/// Before [`BASE`].
pub fn base_choices(branches: &[String], old: Option<&str>) -> String {
    let old =
        old.map(|old| format!(" `{old}` is older than the branch that people work on.")).unwrap_or_default();
    format!("This repository has the branches {}.{old}\n", names(branches, 10))
}

// --- results ---

pub const COMMITTED: &str = "commit storkit: set up\n";

/// Without a question the choice is said, and how to make another.
pub fn base_chosen(base: &str, old: Option<&str>, is_open: bool) -> String {
    let old = old.map(|old| format!(", since `{old}` is older")).unwrap_or_default();
    let other = if is_open { " `--base BRANCH` chooses another." } else { "" };
    format!("base   {base}: stories merge there{old}.{other}\n")
}

pub fn no_such_branch(given: &str, branches: &[String]) -> String {
    match branches.is_empty() {
        true => format!("There is no branch `{given}`: the repository has no commit yet."),
        false => format!("There is no branch `{given}`. The repository has {}.", names(branches, 10)),
    }
}

pub fn base_is_set(base: &str) -> String {
    format!(
        "`.storkit/project.toml` on `{base}` says that stories merge to `{base}`. Change `base_branch` there, commit it, and confirm it with \
         `storkit trust`."
    )
}

pub fn parts_found(parts: &[FoundPart]) -> String {
    parts.iter().map(|part| format!("found  {}: {}\n", visible(&part.name), visible(&part.setup))).collect()
}

pub fn project_folder(folder: &str) -> String {
    format!("folder {}: its parts and tests count, and agents are told so.\n", visible(folder))
}

pub fn parts_left_out(count: usize) -> String {
    let parts = if count == 1 { "1 more part" } else { &format!("{count} more parts") };
    format!(
        "There are {parts}. Add `[[component]]` entries to .storkit/project.toml, or run `storkit init` in one of the folders.\n"
    )
}

pub fn program_missing(part: &FoundPart) -> String {
    format!(
        "`{}` is not installed on this machine, so {} cannot be set up here yet: install it.\n",
        part.program,
        visible(&part.name)
    )
}

pub const HAS_SUBMODULES: &str = "This project has submodules. Worktrees of stories get those that this checkout has: run `git submodule update --init \
     --recursive` here.\n";
/// Git LFS.
pub const HAS_LFS: &str =
    "Some files of this project are in Git LFS. `storkit doctor` says what that means for stories.\n";

pub fn parts_added(parts: &[FoundPart]) -> String {
    let gates: Vec<String> = parts.iter().filter_map(|part| part.gate.clone()).collect();
    let tests = match gates.is_empty() {
        true => String::new(),
        false => {
            format!(" If their tests should pass before a merge, add them to `gates`: {}.", names(&gates, 10))
        }
    };
    format!("commit storkit: set up new parts\nThey are in .storkit/project.toml, and confirmed.{tests}\n")
}

/// The settings are not storkit's to change.
pub fn parts_by_hand(base: &str, text: &str) -> String {
    format!(
        "I leave .storkit/project.toml alone: it is not as you confirmed it on `{base}`, or `{base}` is not checked out. Add this to it, commit \
         it on `{base}`, and confirm it with `storkit trust`:\n{text}"
    )
}

/// Files that no commit has.
pub fn never_committed(files: &[String]) -> String {
    format!(
        "Never committed: {}. Stories work on what is committed on the base branch, so they do not have these files. Commit what belongs to \
         the project.\n",
        names(files, 10)
    )
}

pub fn file_moved(from: &str, to: &str) -> String {
    format!("moved  {from} to {to}\n")
}

/// `a`, `b` and 3 more.
fn names(names: &[String], most: usize) -> String {
    let shown: Vec<String> = names.iter().take(most).map(|name| format!("`{}`", visible(name))).collect();
    match names.len().saturating_sub(most) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

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
         .storkit/bot.toml. {bot} offers to fill in .storkit/specs with you: agents read it.\n"
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
        .storkit/bot.toml. Timmy offers to fill in .storkit/specs with you: agents read it.
        ");
        assert!(next_steps("Timmy", false).starts_with("\nNext:"));
    }
}

//! A prompt for an agent program: text for its model, or a command of the program itself.

use std::{fmt, sync::Arc};

/// What one turn begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentPrompt {
    Message {
        /// Reaches the model, whatever it begins with.
        text: String,
        images: Vec<PromptImage>,
    },
    Command(AgentCommand),
}

/// An image that the model sees. Its `Debug` form shows the size only.
#[derive(Clone, PartialEq, Eq)]
pub struct PromptImage {
    /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`: the types that the model's service takes.
    pub media_type: &'static str,
    pub bytes: Arc<[u8]>,
}

impl fmt::Debug for PromptImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PromptImage({}, {} bytes)", self.media_type, self.bytes.len())
    }
}

/// A command of the agent program that people may use: it prints something or starts a plain turn of the model.
///
/// Others are no prompts for a shared room. Some change the settings or permissions of the process, and the skills that review or
/// debug bring their own permissions for commands (Claude Code 2.1.330).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCommand {
    name: &'static str,
    args: String,
}

const COMPACT: &str = "compact";
const COMMANDS: [&str; 3] = [COMPACT, "context", "init"];

impl AgentCommand {
    /// Summarizes the session. `focus`: what the summary must keep, in a person's words; may be empty.
    pub fn compact(focus: &str) -> Self {
        Self { name: COMPACT, args: focus.trim().to_owned() }
    }

    /// Reads a text such as `/context`. `None` for any other text, also for commands that people may not use.
    pub fn parse(text: &str) -> Option<Self> {
        let line = text.trim().strip_prefix('/')?;
        let (word, args) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let name = COMMANDS.into_iter().find(|name| *name == word)?;
        Some(Self { name, args: args.trim().to_owned() })
    }

    /// The line that people type and the program reads.
    pub fn line(&self) -> String {
        format!("/{} {}", self.name, self.args).trim_end().to_owned()
    }
}

impl From<String> for AgentPrompt {
    fn from(text: String) -> Self {
        Self::Message { text, images: Vec::new() }
    }
}

impl From<&str> for AgentPrompt {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_back_as_it_was_written() {
        let compact = AgentCommand::compact(" the names of the doors\nand their keys ");
        assert_eq!(compact.line(), "/compact the names of the doors\nand their keys");
        assert_eq!(AgentCommand::parse(&compact.line()), Some(compact));
        assert_eq!(AgentCommand::parse(" /context ").map(|command| command.line()), Some("/context".into()));
    }

    #[test]
    fn other_commands_of_the_program_are_text() {
        for text in [
            "/config model opus",
            "/add-dir /",
            "/security-review",
            "/Compact",
            "/",
            "compact",
            "a /compact",
            "/etc/hosts",
        ] {
            assert_eq!(AgentCommand::parse(text), None, "{text}");
        }
    }
}

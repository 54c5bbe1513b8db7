//! The commands that people know from Claude Code's own terminal, e.g. `/clear`, and their meaning in a room.

use crate::replies::AgentOnly;

/// The meaning of `/word`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlashWord {
    /// The command of this name.
    Command(&'static str),
    AgentOnly(AgentOnly),
}

/// Those of 2.1.330. Words that are names of our own commands as well (`/status`, `/help`, `/model`) need no row.
const WORDS: &[(&str, SlashWord)] = &[
    ("clear", SlashWord::Command("reset")),
    ("usage", SlashWord::Command("cost")),
    ("stats", SlashWord::Command("cost")),
    ("insights", SlashWord::Command("cost")),
    ("permissions", SlashWord::Command("rules")),
    ("allowed-tools", SlashWord::Command("rules")),
    ("tasks", SlashWord::Command("status")),
    ("bashes", SlashWord::Command("status")),
    ("list-agents", SlashWord::Command("htop")),
    ("diff", SlashWord::Command("git")),
    ("exit", SlashWord::AgentOnly(AgentOnly::Leave)),
    ("quit", SlashWord::AgentOnly(AgentOnly::Leave)),
    ("resume", SlashWord::AgentOnly(AgentOnly::Resume)),
    ("continue", SlashWord::AgentOnly(AgentOnly::Resume)),
    ("rewind", SlashWord::AgentOnly(AgentOnly::Rewind)),
    ("checkpoint", SlashWord::AgentOnly(AgentOnly::Rewind)),
    ("undo", SlashWord::AgentOnly(AgentOnly::Rewind)),
    ("login", SlashWord::AgentOnly(AgentOnly::LogIn)),
    ("logout", SlashWord::AgentOnly(AgentOnly::LogIn)),
    ("upgrade", SlashWord::AgentOnly(AgentOnly::LogIn)),
    ("config", SlashWord::AgentOnly(AgentOnly::Settings)),
    ("settings", SlashWord::AgentOnly(AgentOnly::Settings)),
    ("update-config", SlashWord::AgentOnly(AgentOnly::Settings)),
    ("output-style", SlashWord::AgentOnly(AgentOnly::Settings)),
    ("effort", SlashWord::AgentOnly(AgentOnly::Settings)),
    ("fast", SlashWord::AgentOnly(AgentOnly::Settings)),
    ("autocompact", SlashWord::AgentOnly(AgentOnly::Settings)),
    ("auto-mode-setup", SlashWord::AgentOnly(AgentOnly::Settings)),
    ("fewer-permission-prompts", SlashWord::AgentOnly(AgentOnly::Settings)),
    ("add-dir", SlashWord::AgentOnly(AgentOnly::Settings)),
    ("sandbox", SlashWord::AgentOnly(AgentOnly::Settings)),
    ("mcp", SlashWord::AgentOnly(AgentOnly::Extensions)),
    ("hooks", SlashWord::AgentOnly(AgentOnly::Extensions)),
    ("agents", SlashWord::AgentOnly(AgentOnly::Extensions)),
    ("skills", SlashWord::AgentOnly(AgentOnly::Extensions)),
    ("plugin", SlashWord::AgentOnly(AgentOnly::Extensions)),
    ("reload-plugins", SlashWord::AgentOnly(AgentOnly::Extensions)),
    ("reload-skills", SlashWord::AgentOnly(AgentOnly::Extensions)),
    ("batch", SlashWord::AgentOnly(AgentOnly::Skill)),
    ("code-review", SlashWord::AgentOnly(AgentOnly::Skill)),
    ("debug", SlashWord::AgentOnly(AgentOnly::Skill)),
    ("deep-research", SlashWord::AgentOnly(AgentOnly::Skill)),
    ("goal", SlashWord::AgentOnly(AgentOnly::Skill)),
    ("loop", SlashWord::AgentOnly(AgentOnly::Skill)),
    ("pr-comments", SlashWord::AgentOnly(AgentOnly::Skill)),
    ("run", SlashWord::AgentOnly(AgentOnly::Skill)),
    ("security-review", SlashWord::AgentOnly(AgentOnly::Skill)),
    ("simplify", SlashWord::AgentOnly(AgentOnly::Skill)),
    ("verify", SlashWord::AgentOnly(AgentOnly::Skill)),
    ("bug", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("color", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("copy", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("export", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("feedback", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("focus", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("heapdump", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("ide", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("keybindings", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("recap", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("release-notes", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("rename", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("statusline", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("terminal-setup", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("theme", SlashWord::AgentOnly(AgentOnly::Terminal)),
    ("vim", SlashWord::AgentOnly(AgentOnly::Terminal)),
];

/// What `/word` means; `None` for a word that is not the agent program's, or that needs no translation.
pub fn meaning(word: &str) -> Option<SlashWord> {
    let word = word.to_lowercase();
    WORDS.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use adapters::Addressed;

    use super::*;
    use crate::commands::{self, command::ParsedText};

    fn read(text: &str) -> String {
        match commands::all().parse(text, Some(Addressed::Direct)) {
            ParsedText::Command(command, args) => {
                format!("{} {args}", command.spec().name).trim_end().to_owned()
            }
            ParsedText::AgentOnly(word, why) => format!("{word}: {why:?}"),
            ParsedText::Unknown(word, _) => format!("unknown {word}"),
            ParsedText::Prompt => "prompt".into(),
        }
    }

    #[test]
    fn commands_of_the_cli_are_ours_where_we_have_them() {
        assert_eq!(read("/clear"), "reset");
        assert_eq!(read("/compact keep the names"), "compact keep the names");
        assert_eq!(read("/Model opus"), "model opus");
        assert_eq!(
            [read("/cost"), read("/usage"), read("/help"), read("/permissions")],
            ["cost", "cost", "help", "rules"]
        );
        assert_eq!(read("/resume 3"), "resume: Resume");
    }

    #[test]
    fn paths_and_unknown_words_are_prompts() {
        for text in ["/etc/hosts is odd", "/deploy now", "/ is full", "/context", "/init", "see /clear"] {
            assert_eq!(read(text), "prompt", "{text}");
        }
    }

    #[test]
    fn every_word_leads_somewhere() {
        let registry = commands::all();
        for (word, meaning) in WORDS {
            assert!(registry.get(word).is_none(), "{word} is a command of ours: no row needed");
            if let SlashWord::Command(name) = meaning {
                assert!(registry.get(name).is_some(), "{word} leads to {name}, which is none");
            }
        }
    }
}

//! Which calls need no look whether people are asked about them: to defer a call costs a second.

use std::collections::HashSet;

use parking_lot::Mutex;
use serde_json::Value;

/// Commands that Claude Code usually runs without a question in an agent's own folder. Nothing depends on it but time: one that is
/// asked about after all is denied at its deadline instead of waiting on.
const COMMANDS: &[&str] = &[
    "basename", "cat", "cd", "cp", "cut", "date", "df", "dirname", "du", "echo", "false", "file", "find",
    "grep", "head", "ls", "mkdir", "mv", "nl", "printf", "pwd", "rg", "rm", "rmdir", "sed", "sleep", "sort",
    "stat", "tail", "test", "touch", "tr", "true", "uniq", "wc", "which",
];

const GIT: &[&str] = &[
    "blame",
    "branch",
    "diff",
    "grep",
    "log",
    "ls-files",
    "remote",
    "rev-parse",
    "shortlog",
    "show",
    "status",
];

/// Tools with files, which are asked about only outside of the agent's folder.
const FILE_TOOLS: &[&str] = &["Edit", "Write", "NotebookEdit", "Read"];

/// Whether the agent program usually makes the call without a question.
pub fn usually_unasked(tool: &str, input: &Value) -> bool {
    if FILE_TOOLS.contains(&tool) {
        return true;
    }
    let Some(command) = input.get("command").and_then(Value::as_str).filter(|_| tool == "Bash") else {
        return false;
    };
    if command.contains(['>', '<', '`', '$', '\n', '(', '{']) {
        return false;
    }
    command.split(['&', '|', ';']).filter(|part| !part.trim().is_empty()).all(|part| {
        let mut words = part.split_whitespace();
        match words.next() {
            Some("git") => words.next().is_some_and(|word| GIT.contains(&word)),
            Some(word) => COMMANDS.contains(&word),
            None => true,
        }
    })
}

/// What a run has learned about the calls of its agent.
#[derive(Debug, Default)]
pub struct ProbedCalls(Mutex<Probes>);

#[derive(Debug, Default)]
struct Probes {
    unasked: HashSet<String>,
    /// The call that was deferred last, by its id, and what it stands for; taken out when people are asked.
    last: Option<(String, String)>,
}

impl ProbedCalls {
    /// A call is deferred, to see whether people are asked.
    pub fn begin(&self, call: &str, tool: &str, input: &Value) {
        self.0.lock().last = Some((call.to_owned(), kind(tool, input)));
    }

    /// People are asked about it.
    pub fn asked(&self, call: &str) {
        self.0.lock().last.take_if(|(last, _)| last == call);
    }

    /// The agent makes another call: nobody was asked about the last one.
    pub fn settle(&self) {
        let mut probes = self.0.lock();
        if let Some((_, kind)) = probes.last.take() {
            probes.unasked.insert(kind);
        }
    }

    pub fn is_unasked(&self, tool: &str, input: &Value) -> bool {
        self.0.lock().unasked.contains(&kind(tool, input))
    }
}

/// The tool, and for a command its first words.
fn kind(tool: &str, input: &Value) -> String {
    let command = input.get("command").and_then(Value::as_str).unwrap_or_default();
    let words: Vec<&str> = command.split_whitespace().take(1).collect();
    format!("{tool} {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_plain_calls_of_harmless_programs_are_passed_over() {
        let unasked = |command: &str| usually_unasked("Bash", &json!({ "command": command }));
        for command in ["ls", "cat a | wc -l", "git log --oneline -5", "cd src && grep -n x *.rs", "rm a.txt"]
        {
            assert!(unasked(command), "{command}");
        }
        for command in
            ["make", "git push", "git", "echo x > a", "echo $(make)", "ls; make", "ls && curl x", "/bin/ls"]
        {
            assert!(!unasked(command), "{command}");
        }
        assert!(usually_unasked("Edit", &json!({ "file_path": "a" })));
        assert!(!usually_unasked("WebFetch", &json!({ "url": "https://docs.rs" })));
        assert!(!usually_unasked("AskUserQuestion", &json!({})));
    }
}

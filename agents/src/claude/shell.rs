//! The CLI's tool for shell commands: which calls are commands, and how the CLI runs them.

use std::{ffi::OsString, path::Path};

use serde_json::Value;

use crate::trial::TrialCommand;

/// A shell command that the CLI asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellCommand {
    pub line: String,
    /// Whether it is to go on after its call.
    pub in_background: bool,
}

impl ShellCommand {
    /// The command of a tool call; `None` for a call of another tool.
    pub fn of(tool: &str, input: &Value) -> Option<Self> {
        let line = input.get("command").and_then(Value::as_str).filter(|_| tool == "Bash")?;
        let is_off = |value: &Value| matches!(value, Value::Bool(false) | Value::Null);
        let in_background = input.get("run_in_background").is_some_and(|value| !is_off(value));
        Some(Self { line: line.to_owned(), in_background })
    }

    /// The same command line in the same kind of shell as the CLI's, with the variables that it sets for commands (2.1.330).
    pub fn for_trial(&self) -> TrialCommand {
        let eval = r#"shopt -u extglob 2>/dev/null || true; eval "$1" < /dev/null"#;
        let argv = [shell().as_str(), "-c", eval, "bash", &self.line].map(OsString::from).into();
        let environment =
            [("CLAUDECODE", "1"), ("GIT_EDITOR", "true")].map(|(name, value)| (name.into(), value.into()));
        TrialCommand { argv, environment: environment.into() }
    }
}

/// The user's shell, if it is one that the CLI takes; else bash.
fn shell() -> String {
    let set = std::env::var("SHELL").ok();
    let is_taken = |shell: &String| {
        let name = Path::new(shell).file_name().and_then(|name| name.to_str());
        matches!(name, Some("bash" | "zsh")) && Path::new(shell).is_file()
    };
    set.filter(is_taken).unwrap_or_else(|| "bash".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_call_of_the_shell_is_a_command_and_its_switch_is_known() {
        let of = |tool: &str, input: Value| ShellCommand::of(tool, &input);
        assert_eq!(of("Write", json!({ "command": "ls" })), None);
        assert_eq!(of("Bash", json!({ "command": 5 })), None);
        let command = |in_background| Some(ShellCommand { line: "ls".into(), in_background });
        assert_eq!(of("Bash", json!({ "command": "ls", "run_in_background": false })), command(false));
        for switch in [json!(true), json!("no"), json!(0)] {
            assert_eq!(of("Bash", json!({ "command": "ls", "run_in_background": switch })), command(true));
        }
    }

    #[test]
    fn the_line_is_one_argument_whatever_it_contains() {
        let command = ShellCommand { line: "-c 'x' \"; y".into(), in_background: false };
        assert_eq!(command.for_trial().argv.last(), Some(&OsString::from("-c 'x' \"; y")));
    }
}

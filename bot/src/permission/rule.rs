//! Standing rules: what `always` may cover, and when a rule covers a call. Narrow by design.

use std::path::{Component, Path};

use serde_json::Value;

use super::NETWORK_TOOL;
use crate::store::RuleScope;

/// Programs whose subcommand decides what they do and limits the harm they can do.
const WITH_SUBCOMMANDS: &[&str] =
    &["cargo", "git", "go", "make", "npm", "pnpm", "yarn", "pip", "rustup", "docker", "kubectl"];

// These run whatever they are given, or reach out. A prefix such as `cargo run` would allow any program, so that
// `always` covers only the exact command.
const WIDE_SUBCOMMANDS: &[&str] = &["run", "exec", "x", "push", "config", "publish", "install", "-c", "-C"];

// A rule on the first word covers these with any arguments: they touch what they name and run nothing else. `find`
// (`-exec`), `sed` (`e`), `awk`, `env` and `xargs` are missing for that reason.
const NARROW: &[&str] = &[
    "basename",
    "cat",
    "cmp",
    "cut",
    "df",
    "diff",
    "dirname",
    "du",
    "echo",
    "false",
    "file",
    "grep",
    "head",
    "jq",
    "ls",
    "md5sum",
    "mkdir",
    "printf",
    "pwd",
    "sha256sum",
    "stat",
    "tail",
    "test",
    "touch",
    "tr",
    "true",
    "uniq",
    "wc",
    "which",
];

// Separators, pipes, redirections, expansions and comments give a command a second meaning; quotes hide the word they
// enclose from the lists above.
const SHELL_MARKS: &[char] = &[
    ';', '&', '|', '<', '>', '$', '`', '(', ')', '{', '}', '!', '#', '\n', '\r', '\\', '*', '?', '[', '~',
    '=', '\'', '"',
];

impl RuleScope {
    /// The rule that `always` makes for a call; `None` where only a yes or no makes sense (plans, questions).
    pub fn of(tool: &str, input: &Value) -> Option<Self> {
        // A rule would approve every later plan unread, and could not answer a question at all.
        if matches!(tool, "ExitPlanMode" | "AskUserQuestion") {
            return None;
        }
        if let ("Bash", Some(command)) = (tool, text(input, "command")) {
            return Some(match command_prefix(command) {
                Some(prefix) => Self::CommandPrefix { prefix },
                None => Self::Command { command: command.to_owned() },
            });
        }
        if let Some(path) = file_path(input).filter(|path| is_plain(path)) {
            return Some(Self::Path { tool: tool.into(), path: path.into() });
        }
        if let ("WebFetch", Some(host)) = (tool, text(input, "url").and_then(host)) {
            return Some(Self::Host { host });
        }
        Some(Self::Call { tool: tool.into(), input: canonical(input) })
    }

    /// Whether this rule covers the call. A command with shell marks is never covered by a prefix.
    pub fn covers(&self, tool: &str, input: &Value) -> bool {
        match self {
            Self::CommandPrefix { prefix } => {
                tool == "Bash"
                    && text(input, "command").and_then(command_prefix).is_some_and(|found| found == *prefix)
            }
            Self::Command { command } => tool == "Bash" && text(input, "command") == Some(command),
            Self::Path { tool: of, path } => tool == of && file_path(input) == Some(path),
            Self::Host { host: of } => {
                tool == "WebFetch" && text(input, "url").and_then(host).is_some_and(|found| found == *of)
            }
            Self::Call { tool: of, input: exact } => tool == of && canonical(input) == *exact,
        }
    }

    /// The scope in words, for the question and for `rules`; plain text, to be put in a code span.
    pub fn describe(&self) -> String {
        match self {
            Self::CommandPrefix { prefix } => format!("{prefix} …"),
            Self::Command { command } => command.clone(),
            Self::Path { tool, path } => format!("{tool} {path}"),
            Self::Host { host } => format!("WebFetch from {host}"),
            Self::Call { tool, input } => match target(tool, input) {
                Some(target) => format!("connections to {target}"),
                None => format!("{tool} {input}"),
            },
        }
    }
}

/// The host and port of a rule for connections.
fn target(tool: &str, input: &str) -> Option<String> {
    let input: Value = serde_json::from_str(input).ok().filter(|_| tool == NETWORK_TOOL)?;
    Some(format!("{}:{}", text(&input, "host")?, input.get("port")?.as_u64()?))
}

/// The words a rule for this command would cover, if it is simple and its program harmless enough.
fn command_prefix(command: &str) -> Option<String> {
    if command.contains(SHELL_MARKS) {
        return None;
    }
    let mut words = command.split_whitespace();
    let program = words.next()?;
    if NARROW.contains(&program) {
        return Some(program.to_owned());
    }
    let subcommand = words.next().filter(|_| WITH_SUBCOMMANDS.contains(&program))?;
    // An option in second place (`git -C /elsewhere push`) hides the subcommand, so only a plain subcommand counts.
    let bounded = !subcommand.starts_with('-') && !WIDE_SUBCOMMANDS.contains(&subcommand);
    bounded.then(|| format!("{program} {subcommand}"))
}

fn text<'a>(input: &'a Value, key: &str) -> Option<&'a str> {
    input.get(key).and_then(Value::as_str)
}

fn file_path(input: &Value) -> Option<&str> {
    text(input, "file_path").or_else(|| text(input, "notebook_path"))
}

// Absolute and without `..`, so that the same words always mean the same file, whatever the agent's current folder.
fn is_plain(path: &str) -> bool {
    let path = Path::new(path);
    path.is_absolute()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

fn host(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    // `https://good.example@evil.example` goes to the second host. Such a URL gets no rule for a host, only
    // one for the exact call.
    (!authority.is_empty() && !authority.contains('@')).then(|| authority.to_ascii_lowercase())
}

/// JSON with sorted keys. `serde_json` sorts them unless some crate in the tree turns on `preserve_order`; this
/// does not rely on it.
pub fn canonical(input: &Value) -> String {
    sorted(input).to_string()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn bash(command: &str) -> Value {
        json!({ "command": command, "description": "x" })
    }

    fn covers(asked: &str, later: &str) -> bool {
        RuleScope::of("Bash", &bash(asked)).unwrap().covers("Bash", &bash(later))
    }

    #[test]
    fn a_like_command_is_covered_and_a_different_one_is_not() {
        assert!(covers("touch made", "touch other"));
        assert!(covers("cargo test -p x", "cargo test"));
        assert!(!covers("cargo test", "cargo publish"));
        assert!(!covers("touch made", "mkdir made"));
    }

    #[test]
    fn a_second_command_never_rides_along() {
        for later in [
            "touch x; rm -rf /",
            "touch x && rm y",
            "touch x | sh",
            "touch $(rm y)",
            "touch `rm y`",
            "touch x\nrm y",
            "touch x > ~/.bashrc",
            "touch x & rm y",
            "touch {a,b}",
            "FOO=1 touch x",
        ] {
            assert!(!covers("touch made", later), "{later}");
        }
    }

    #[test]
    fn programs_that_run_others_are_covered_word_for_word_only() {
        for command in [
            "bash x.sh",
            "rm a",
            "git push origin",
            "npm run build",
            "python3 x.py",
            "curl example.org",
            "git -c a b",
        ] {
            assert!(covers(command, command), "{command}");
            assert!(!covers(command, &format!("{command} more")), "{command}");
        }
    }

    #[test]
    fn a_file_rule_is_for_that_file_and_tool() {
        let input = json!({ "file_path": "/p/a.rs", "old_string": "1", "new_string": "2" });
        let scope = RuleScope::of("Edit", &input).unwrap();
        assert!(scope.covers("Edit", &json!({ "file_path": "/p/a.rs", "old_string": "3" })));
        assert!(!scope.covers("Write", &json!({ "file_path": "/p/a.rs" })));
        assert!(!scope.covers("Edit", &json!({ "file_path": "/p/b.rs" })));
        let dotted = json!({ "file_path": "/p/../etc/passwd" });
        assert!(matches!(RuleScope::of("Edit", &dotted), Some(RuleScope::Call { .. })));
    }

    #[test]
    fn a_host_rule_is_for_that_host() {
        let scope = RuleScope::of("WebFetch", &json!({ "url": "https://docs.rs/x" })).unwrap();
        assert!(scope.covers("WebFetch", &json!({ "url": "https://DOCS.rs/y" })));
        assert!(!scope.covers("WebFetch", &json!({ "url": "https://docs.rs@evil.example/y" })));
        assert!(!scope.covers("WebFetch", &json!({ "url": "https://docs.rs.evil.example/" })));
    }

    #[test]
    fn a_rule_covers_calls_of_its_own_tool_only() {
        let touch = bash("touch a");
        assert!(!RuleScope::of("Bash", &touch).unwrap().covers("Write", &touch), "a command's prefix");
        let piped = bash("touch a | sh");
        assert!(!RuleScope::of("Bash", &piped).unwrap().covers("Write", &piped), "a whole command");
        let page = json!({ "url": "https://docs.rs/x" });
        assert!(!RuleScope::of("WebFetch", &page).unwrap().covers("Read", &page), "a host");
        let call = json!({ "b": [{ "y": 1, "x": 2 }], "a": 1 });
        let scope = RuleScope::of("Task", &call).unwrap();
        assert!(!scope.covers("Other", &call), "any other call");
        assert!(!scope.covers("Task", &json!({ "a": 1 })), "the same tool with another input");
    }

    #[test]
    fn a_notebook_is_a_file() {
        let notebook = |path: &str| json!({ "notebook_path": path, "new_source": "x" });
        let scope = RuleScope::of("NotebookEdit", &notebook("/p/a.ipynb")).unwrap();
        assert!(scope.covers("NotebookEdit", &json!({ "notebook_path": "/p/a.ipynb", "new_source": "y" })));
        assert!(!scope.covers("NotebookEdit", &notebook("/p/b.ipynb")));
    }

    #[test]
    fn what_names_no_plain_file_or_host_is_covered_as_the_exact_call_only() {
        let exact =
            |tool: &str, input: Value| matches!(RuleScope::of(tool, &input), Some(RuleScope::Call { .. }));
        for path in ["a.rs", "./a.rs", "src/a.rs", "/p/../a.rs", ""] {
            assert!(exact("Edit", json!({ "file_path": path })), "{path:?}");
        }
        for url in ["https://user@docs.rs/", "https:///x", "ftp://docs.rs/", "docs.rs", ""] {
            assert!(exact("WebFetch", json!({ "url": url })), "{url:?}");
        }
        assert!(exact("Bash", json!({ "script": "ls" })), "a shell call without a command");
        assert!(
            !exact("WebFetch", json!({ "url": "http://docs.rs" })),
            "without encryption it is a host, too"
        );
    }

    #[test]
    fn a_quoted_word_makes_no_prefix() {
        for command in ["git \"push\" origin x", "cargo 'run'", "touch 'a b'"] {
            assert_eq!(
                RuleScope::of("Bash", &bash(command)),
                Some(RuleScope::Command { command: command.into() })
            );
        }
    }

    #[test]
    fn a_prefix_of_two_words_needs_a_subcommand_that_bounds_it() {
        let scope = |command: &str| RuleScope::of("Bash", &bash(command)).unwrap();
        let prefix = |prefix: &str| RuleScope::CommandPrefix { prefix: prefix.into() };
        assert_eq!(scope("cargo test -p x"), prefix("cargo test"));
        assert_eq!(scope("  ls   -l"), prefix("ls"));
        for exact in
            ["cargo", "cargo --version", "npm run build", "git -c a b", "docker exec x", "unknown sub", ""]
        {
            assert_eq!(scope(exact), RuleScope::Command { command: exact.into() }, "{exact:?}");
        }
    }

    #[test]
    fn a_rule_describes_what_it_covers() {
        let described = [
            RuleScope::of("Bash", &bash("cargo test -p x")),
            RuleScope::of("Bash", &bash("rm -r a")),
            RuleScope::of("Edit", &json!({ "file_path": "/p/a.rs" })),
            RuleScope::of("WebFetch", &json!({ "url": "https://DOCS.rs/x" })),
            RuleScope::of("Task", &json!({ "b": 1, "a": 2 })),
        ]
        .map(|scope| scope.unwrap().describe());
        insta::assert_snapshot!(described.join("\n"), @r#"
        cargo test …
        rm -r a
        Edit /p/a.rs
        WebFetch from docs.rs
        Task {"a":2,"b":1}
        "#);
    }

    #[test]
    fn plans_and_questions_have_no_always() {
        assert_eq!(RuleScope::of("ExitPlanMode", &json!({})), None);
        assert_eq!(RuleScope::of("AskUserQuestion", &json!({})), None);
    }

    proptest! {
        #[test]
        fn a_rule_always_covers_the_call_it_came_from(command in ".{0,40}", tool in "[A-Z][a-z]{1,8}") {
            let input = bash(&command);
            prop_assert!(RuleScope::of("Bash", &input).unwrap().covers("Bash", &input));
            prop_assert!(RuleScope::of(&tool, &input).is_none_or(|scope| scope.covers(&tool, &input)));
        }

        #[test]
        fn a_prefix_never_covers_shell_marks(tail in ".{0,30}", mark in prop::sample::select(SHELL_MARKS)) {
            let rule = RuleScope::CommandPrefix { prefix: "touch".into() };
            let hostile = bash(&format!("touch {mark}{tail}"));
            prop_assert!(!rule.covers("Bash", &hostile));
        }
    }
}

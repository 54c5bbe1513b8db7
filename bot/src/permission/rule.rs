//! Standing rules: what `always` may cover, and when a rule covers a call. Narrow by design.

use serde_json::Value;
use url::{Host, Url};

use super::{
    NETWORK_TOOL,
    listed::ListedCommand,
    paths::{AgentFolder, is_plain, real_path, texts},
};
use crate::store::RuleScope;

/// A shell call with other keys (`run_in_background`, `dangerouslyDisableSandbox`, …) is another call than the one without them.
const SHELL_KEYS: &[&str] = &["command", "timeout"];

/// Tools on one file: the key of its path, and the keys that a rule for the file leaves open.
const FILE_TOOLS: &[(&str, &str, &[&str])] = &[
    ("Read", "file_path", &["offset", "limit", "pages"]),
    ("Edit", "file_path", &["old_string", "new_string", "replace_all"]),
    ("MultiEdit", "file_path", &["edits"]),
    ("Write", "file_path", &["content"]),
    ("NotebookEdit", "notebook_path", &["new_source", "cell_id", "cell_type", "edit_mode"]),
];

impl RuleScope {
    /// The rule that `always` makes for a call; `None` where only a yes or no makes sense (plans, questions), or where nobody can
    /// tell which files the call will touch next time.
    pub(super) fn of(tool: &str, input: &Value, folder: AgentFolder<'_>) -> Option<Self> {
        // A rule would approve every later plan unread, and could not answer a question at all.
        if matches!(tool, "ExitPlanMode" | "AskUserQuestion") {
            return None;
        }
        if let Some(command) = shell_command(tool, input) {
            if let Some(listed) = ListedCommand::of(command, folder) {
                return Some(Self::CommandPrefix { prefix: listed.words.into() });
            }
            let links = folder.links([command])?;
            return Some(Self::Command { command: command.to_owned(), links });
        }
        if is_file_tool(tool) {
            // Without a path that means the same file next time there is no rule, not even for the exact call: a relative path or a link
            // to nothing would soon mean another file.
            return file(tool, input).map(|path| Self::Path { tool: tool.into(), path });
        }
        if let Some(host) = host(tool, input) {
            return Some(Self::Host { host });
        }
        let input = exact(tool, input);
        let links = folder.links(texts(&input))?;
        Some(Self::Call { tool: tool.into(), input: canonical(&input), links })
    }

    /// Whether this rule covers the call of an agent that works in `folder`. Links are resolved anew: a name that leads elsewhere than
    /// it did when the rule was made is not covered.
    pub(super) fn covers(&self, tool: &str, input: &Value, folder: AgentFolder<'_>) -> bool {
        match self {
            Self::CommandPrefix { prefix } => shell_command(tool, input)
                .and_then(|command| ListedCommand::of(command, folder))
                .is_some_and(|listed| listed.words == *prefix),
            Self::Command { command, links } => {
                shell_command(tool, input) == Some(command)
                    && folder.links([command.as_str()]).is_some_and(|found| found == *links)
            }
            Self::Path { tool: of, path } => {
                tool == of && file(tool, input).is_some_and(|found| found == *path)
            }
            Self::Host { host: of } => host(tool, input).is_some_and(|found| found == *of),
            Self::Call { tool: of, input: call, links } => {
                let input = exact(tool, input);
                tool == of
                    && !is_file_tool(tool)
                    && canonical(&input) == *call
                    && folder.links(texts(&input)).is_some_and(|found| found == *links)
            }
        }
    }

    /// Whether it lets pages in, whoever wrote them.
    pub(super) fn reaches_a_host(&self) -> bool {
        match self {
            Self::Host { .. } => true,
            Self::Call { tool, .. } => tool == NETWORK_TOOL,
            Self::CommandPrefix { .. } | Self::Command { .. } | Self::Path { .. } => false,
        }
    }
}

/// The command of a shell call without special keys.
fn shell_command<'a>(tool: &str, input: &'a Value) -> Option<&'a str> {
    let input = input.as_object().filter(|_| tool == "Bash")?;
    let is_special = |(key, value): (&String, &Value)| {
        key != "description" && !SHELL_KEYS.contains(&key.as_str()) && !is_off(value)
    };
    input.get("command").and_then(Value::as_str).filter(|_| !input.iter().any(is_special))
}

/// Whether a switch has no effect.
pub(super) fn is_off(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false))
}

fn is_file_tool(tool: &str) -> bool {
    FILE_TOOLS.iter().any(|(name, ..)| *name == tool)
}

/// The texts of a call in which names of files matter: not the content for a file, and not the model's description.
pub(super) fn naming_texts<'a>(tool: &str, input: &'a Value) -> Vec<&'a str> {
    let key = FILE_TOOLS.iter().find(|(name, ..)| *name == tool).map(|(_, key, _)| *key);
    match key.or((tool == "Bash").then_some("command")).and_then(|key| input.get(key)) {
        Some(value) => texts(value),
        None => texts(input),
    }
}

/// The real path of the file that a file tool is called for.
fn file(tool: &str, input: &Value) -> Option<String> {
    let (_, path, open) = FILE_TOOLS.iter().find(|(name, ..)| *name == tool)?;
    let input = input.as_object()?;
    // A key that a later version adds may widen the call.
    let is_known = |key: &String| key == path || open.contains(&key.as_str());
    let path = input.get(*path)?.as_str().filter(|path| is_plain(path) && input.keys().all(is_known))?;
    real_path(path.as_ref())?.into_os_string().into_string().ok()
}

/// The host whose page a call fetches; `None` for anything but a public name over https on its usual port.
fn host(tool: &str, input: &Value) -> Option<String> {
    let input = input.as_object().filter(|_| tool == "WebFetch")?;
    let is_known = input.keys().all(|key| key == "url" || key == "prompt");
    // The parser of the WHATWG, as in the CLI: another one could see another host in the same text.
    let url = Url::parse(input.get("url")?.as_str()?).ok().filter(|_| is_known)?;
    let is_usual = url.scheme() == "https" && url.port().is_none();
    let is_anonymous = url.username().is_empty() && url.password().is_none();
    match url.host()? {
        Host::Domain(name) if is_usual && is_anonymous && is_public(name) => Some(name.to_owned()),
        _ => None,
    }
}

// A rule is for a place that stays the same. `localhost` and names of a local network are whatever this machine makes of them.
fn is_public(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    name.contains('.') && !last.is_empty() && !matches!(last, "localhost" | "local" | "internal" | "lan")
}

/// The parts of an input that a rule for the exact call compares.
fn exact(tool: &str, input: &Value) -> Value {
    let mut input = input.clone();
    if let Some(input) = input.as_object_mut().filter(|_| tool == "Bash") {
        // The model words it anew each time.
        input.remove("description");
    }
    input
}

/// The input with sorted keys, so that equal inputs are equal texts.
pub(super) fn canonical(input: &Value) -> String {
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
    use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn bash(command: &str) -> Value {
        json!({ "command": command, "description": "x" })
    }

    /// A worktree with the files `a` and `b`, beside a file `secret`.
    fn worktree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("work")).unwrap();
        for file in ["work/a", "work/b", "secret"] {
            fs::write(dir.path().join(file), "x").unwrap();
        }
        dir
    }

    fn work(dir: &tempfile::TempDir) -> std::path::PathBuf {
        dir.path().join("work")
    }

    fn rule(tool: &str, input: &Value, folder: &Path) -> Option<RuleScope> {
        RuleScope::of(tool, input, AgentFolder(Some(folder)))
    }

    fn covers(asked: &str, later: &str) -> bool {
        let dir = worktree();
        let rule = rule("Bash", &bash(asked), &work(&dir)).unwrap();
        rule.covers("Bash", &bash(later), AgentFolder(Some(&work(&dir))))
    }

    fn replace_by_link(file: &Path, target: &Path) {
        fs::remove_file(file).unwrap();
        symlink(target, file).unwrap();
    }

    #[test]
    fn a_like_command_is_covered_and_a_different_one_is_not() {
        assert!(covers("touch made", "touch other") && covers("cat a", "cat -n b"));
        assert!(!covers("touch made", "mkdir made") && !covers("mkdir made", "touch made"));
        assert!(!covers("cat a", "cat ../secret") && !covers("cat a", "cat a; touch b"));
        assert!(!covers("git add a", "git commit") && !covers("cargo test", "cargo publish"));
    }

    #[test]
    fn what_is_not_listed_is_covered_word_for_word() {
        for command in [
            "git fetch origin",
            "make test",
            "npm test",
            "uniq a b",
            "cat ../secret",
            "cat /etc/passwd",
            "touch a; touch b",
            "find . -name x",
            "mkdir -m 700 x",
            "cat .env",
            "bash x.sh",
            "touch 'a b'",
            "",
            "cat a | sort",
        ] {
            assert!(covers(command, command), "{command}");
            for longer in [
                format!("{command} more"),
                format!("{command} "),
                format!("{command};id"),
                format!(" {command}"),
            ] {
                assert!(!covers(command, &longer), "{longer}");
            }
        }
        assert!(!covers("git fetch origin", "git fetch --upload-pack=evil origin"));
        assert!(
            !covers("make test", "make test SHELL=evil")
                && !covers("npm test", "npm test --prefix /tmp/evil")
        );
        assert!(!covers("uniq a b", "uniq a ../secret") && !covers("make test", "MAKE test"));
    }

    #[test]
    fn an_exact_command_is_not_covered_once_a_name_in_it_leads_elsewhere() {
        let dir = worktree();
        for command in ["sort a", "sort ./a", "sort -o b a", "sort --output=a", "sort <a"] {
            let fresh = worktree();
            let folder = work(&fresh);
            let rule = rule("Bash", &bash(command), &folder).unwrap();
            assert!(rule.covers("Bash", &bash(command), AgentFolder(Some(&folder))));
            replace_by_link(&folder.join("a"), &dir.path().join("secret"));
            assert!(!rule.covers("Bash", &bash(command), AgentFolder(Some(&folder))), "{command}");
        }
        let folder = work(&dir);
        symlink("b", folder.join("c")).unwrap();
        let rule = rule("Bash", &bash("sort c"), &folder).unwrap();
        assert!(
            rule.covers("Bash", &bash("sort c"), AgentFolder(Some(&folder))),
            "a link that stays is no change"
        );
        replace_by_link(&folder.join("c"), &dir.path().join("secret"));
        assert!(!rule.covers("Bash", &bash("sort c"), AgentFolder(Some(&folder))), "another target");
    }

    #[test]
    fn a_switch_makes_another_call() {
        let dir = worktree();
        let folder = work(&dir);
        let with = |key: &str, value: Value| json!({ "command": "touch a", "description": "x", key: value });
        let plain = rule("Bash", &bash("touch a"), &folder).unwrap();
        for (key, value) in [
            ("run_in_background", json!(true)),
            ("dangerouslyDisableSandbox", json!(true)),
            ("dangerouslyDisableSandbox", json!("true")),
            ("dangerouslyDisableSandbox", json!(1)),
            ("a_key_of_tomorrow", json!("x")),
        ] {
            let input = with(key, value);
            assert!(!plain.covers("Bash", &input, AgentFolder(Some(&folder))), "{input}");
            let exact = rule("Bash", &input, &folder).unwrap();
            assert!(matches!(exact, RuleScope::Call { .. }), "{input}");
            assert!(exact.covers("Bash", &input, AgentFolder(Some(&folder))), "{input}");
            assert!(!exact.covers("Bash", &bash("touch a"), AgentFolder(Some(&folder))), "{input}");
        }
        for (key, value) in [("run_in_background", json!(false)), ("timeout", json!(5)), ("x", Value::Null)] {
            assert!(plain.covers("Bash", &with(key, value), AgentFolder(Some(&folder))), "{key}");
        }
        let background = |description: &str| json!({ "command": "x", "description": description, "run_in_background": true });
        let exact = rule("Bash", &background("one"), &folder).unwrap();
        assert!(exact.covers("Bash", &background("two"), AgentFolder(Some(&folder))), "described anew");
    }

    #[test]
    fn a_file_rule_is_for_that_very_file_and_tool() {
        let dir = worktree();
        let folder = work(&dir).canonicalize().unwrap();
        let in_folder = AgentFolder(Some(&folder));
        let path = |name: &str| folder.join(name).display().to_string();
        let scope =
            rule("Edit", &json!({ "file_path": path("a"), "old_string": "1", "new_string": "2" }), &folder)
                .unwrap();
        assert_eq!(scope, RuleScope::Path { tool: "Edit".into(), path: path("a") });
        let covered = |tool: &str, input: Value| scope.covers(tool, &input, in_folder);
        assert!(covered(
            "Edit",
            json!({ "file_path": path("a"), "old_string": "3", "new_string": "4", "replace_all": true })
        ));
        assert!(!covered("Write", json!({ "file_path": path("a"), "content": "x" })));
        for name in ["b", "A", "a ", "a\u{301}", "a/.", "a/../a", "../work/a", "a/b"] {
            assert!(!covered("Edit", json!({ "file_path": path(name) })), "{name:?}");
        }
        assert!(!covered("Edit", json!({ "file_path": "a" })), "relative to an unknown folder");
        assert!(
            !covered("Edit", json!({ "file_path": path("a"), "notebook_path": path("b") })),
            "an unknown key"
        );
        symlink(path("a"), path("alias")).unwrap();
        assert!(covered("Edit", json!({ "file_path": path("alias") })), "by another name");
        replace_by_link(&folder.join("a"), &dir.path().join("secret"));
        assert!(!covered("Edit", json!({ "file_path": path("a") })), "the name leads elsewhere now");
    }

    #[test]
    fn a_file_rule_is_made_for_the_place_behind_a_link() {
        let dir = worktree();
        let folder = work(&dir);
        symlink("../secret", folder.join("link")).unwrap();
        let input = json!({ "file_path": folder.join("link").display().to_string() });
        let real = dir.path().canonicalize().unwrap().join("secret").display().to_string();
        assert_eq!(rule("Read", &input, &folder), Some(RuleScope::Path { tool: "Read".into(), path: real }));
    }

    #[test]
    fn a_file_that_has_no_lasting_name_has_no_rule() {
        let dir = worktree();
        let folder = work(&dir);
        symlink("../nothing", folder.join("dangling")).unwrap();
        let dangling = folder.join("dangling").display().to_string();
        for path in ["a", "./a", "src/a.rs", "/p/../a.rs", "", &dangling] {
            for (tool, key) in
                [("Edit", "file_path"), ("Read", "file_path"), ("NotebookEdit", "notebook_path")]
            {
                assert_eq!(rule(tool, &json!({ key: path }), &folder), None, "{tool} {path:?}");
            }
        }
        assert_eq!(rule("Edit", &json!({ "file_path": 1 }), &folder), None);
        let exact = RuleScope::Call {
            tool: "Edit".into(),
            input: "{\"file_path\":\"a\"}".into(),
            links: BTreeMap::new(),
        };
        assert!(
            !exact.covers("Edit", &json!({ "file_path": "a" }), AgentFolder(Some(&folder))),
            "nor one of an older version"
        );
    }

    #[test]
    fn every_file_tool_leaves_its_own_keys_open_and_no_other() {
        let dir = worktree();
        let folder = work(&dir);
        let path = folder.join("a").display().to_string();
        for (tool, key, open) in FILE_TOOLS {
            let scope = rule(tool, &json!({ *key: path }), &folder).unwrap();
            for more in *open {
                let input = json!({ *key: path, *more: "x" });
                assert!(scope.covers(tool, &input, AgentFolder(Some(&folder))), "{tool} {more}");
            }
            let input = json!({ *key: path, "mode": "x" });
            assert!(!scope.covers(tool, &input, AgentFolder(Some(&folder))), "{tool}");
        }
    }

    #[test]
    fn a_host_rule_is_for_that_host_over_https() {
        let folder = AgentFolder(None);
        let fetch = |url: &str| json!({ "url": url, "prompt": "x" });
        let scope = RuleScope::of("WebFetch", &fetch("https://docs.rs/x"), folder).unwrap();
        assert_eq!(scope, RuleScope::Host { host: "docs.rs".into() });
        for url in [
            "https://DOCS.rs/y",
            "https://docs.rs:443/",
            "https://docs.rs",
            "  https://do\tcs.rs/",
            "https:\\\\docs.rs\\@x",
        ] {
            assert!(scope.covers("WebFetch", &fetch(url), folder), "{url:?}");
        }
        for url in [
            "http://docs.rs/",
            "https://docs.rs@evil.example/y",
            "https://docs.rs.evil.example/",
            "https://docs.rs:8443/",
            "https://evil.example/docs.rs",
            "https://evil.example#docs.rs",
            "https://evil.example\\docs.rs",
            "https://xdocs.rs/",
            "https://docs.rs.",
            "https://sub.docs.rs/",
            "https://user@docs.rs/",
            "https://user:pw@docs.rs/",
            "ftp://docs.rs/",
            "//docs.rs/",
            "docs.rs",
            "",
            "https://d\u{43e}cs.rs/",
            "https://docs\u{3002}rs.evil.example/",
            "javascript:docs.rs",
        ] {
            assert!(!scope.covers("WebFetch", &fetch(url), folder), "{url:?}");
        }
        assert!(!scope.covers("WebFetch", &json!({ "url": "https://docs.rs/", "method": "POST" }), folder));
        assert!(!scope.covers("Read", &fetch("https://docs.rs/"), folder));
        assert!(scope.reaches_a_host());
    }

    #[test]
    fn an_address_or_a_local_name_is_covered_as_the_exact_call_only() {
        for url in [
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://localhost/",
            "https://a.localhost/",
            "https://printer.local/",
            "https://x.internal/",
            "https://router.lan/",
            "https://intranet/",
            "https://docs.rs./",
            "http://docs.rs/",
            "https://user@docs.rs/",
            "not a url",
        ] {
            let input = json!({ "url": url });
            let scope = RuleScope::of("WebFetch", &input, AgentFolder(None)).unwrap();
            assert!(matches!(scope, RuleScope::Call { .. }) && !scope.reaches_a_host(), "{url}");
            assert!(scope.covers("WebFetch", &input, AgentFolder(None)), "{url}");
        }
    }

    #[test]
    fn any_other_call_is_covered_as_it_is_until_a_name_in_it_leads_elsewhere() {
        let dir = worktree();
        let folder = work(&dir);
        let input = json!({ "b": [{ "y": 1, "x": "a" }], "a": 1 });
        let scope = rule("mcp__files__read", &input, &folder).unwrap();
        let covered = |tool: &str, input: Value| scope.covers(tool, &input, AgentFolder(Some(&folder)));
        assert!(
            covered("mcp__files__read", json!({ "a": 1, "b": [{ "x": "a", "y": 1 }] })),
            "in any order of keys"
        );
        assert!(
            !covered("mcp__files__write", input.clone()) && !covered("mcp__files__read", json!({ "a": 1 }))
        );
        for other in
            ["mcp__files", "mcp__files__*", "mcp__files__read__x", "mcp__files2__read", "mcp__x__files__read"]
        {
            assert!(!covered(other, input.clone()), "{other}");
        }
        replace_by_link(&folder.join("a"), &dir.path().join("secret"));
        assert!(!covered("mcp__files__read", input));
    }

    #[test]
    fn a_rule_covers_calls_of_its_own_tool_only() {
        let dir = worktree();
        let folder = work(&dir);
        for (tool, input) in [
            ("Bash", bash("touch a")),
            ("Bash", bash("touch a | sh")),
            ("WebFetch", json!({ "url": "https://docs.rs/x" })),
            ("Task", json!({ "command": "touch a" })),
        ] {
            let scope = rule(tool, &input, &folder).unwrap();
            for other in ["Bash", "WebFetch", "Task", "Write", "bash", "Bash "]
                .into_iter()
                .filter(|other| *other != tool)
            {
                assert!(!scope.covers(other, &input, AgentFolder(Some(&folder))), "{tool} {other}");
            }
        }
    }

    #[test]
    fn a_call_with_more_names_than_can_be_told_has_no_rule() {
        let many = "a ".repeat(2_000);
        assert_eq!(RuleScope::of("Bash", &bash(&many), AgentFolder(None)), None);
        assert_eq!(RuleScope::of("Task", &json!({ "prompt": many }), AgentFolder(None)), None);
    }

    #[test]
    fn plans_and_questions_have_no_always() {
        for tool in ["ExitPlanMode", "AskUserQuestion"] {
            assert_eq!(RuleScope::of(tool, &json!({}), AgentFolder(None)), None);
        }
    }

    #[test]
    fn names_count_where_they_name_files_and_not_in_what_is_written() {
        let written = json!({ "file_path": "/p/a", "content": "see /etc/passwd" });
        assert_eq!(naming_texts("Write", &written), ["/p/a"]);
        let command = json!({ "command": "cat a", "description": "reads /etc/passwd" });
        assert_eq!(naming_texts("Bash", &command), ["cat a"]);
        assert_eq!(naming_texts("mcp__x__y", &json!({ "to": "/p/a" })), ["/p/a"]);
    }

    #[test]
    fn a_shell_call_without_a_command_is_covered_as_it_is() {
        for input in [json!({ "script": "ls" }), json!({ "command": 1 }), json!("ls")] {
            let scope = RuleScope::of("Bash", &input, AgentFolder(None));
            assert!(matches!(scope, Some(RuleScope::Call { .. })), "{input}");
        }
    }

    proptest! {
        #[test]
        fn a_rule_always_covers_the_call_it_came_from(command in ".{0,40}", tool in "[A-Z][a-z]{1,8}") {
            let (input, folder) = (bash(&command), AgentFolder(None));
            prop_assert!(RuleScope::of("Bash", &input, folder).is_none_or(|scope| scope.covers("Bash", &input, folder)));
            prop_assert!(RuleScope::of(&tool, &input, folder).is_none_or(|scope| scope.covers(&tool, &input, folder)));
        }
    }
}

//! A call as people decide by it: its input in full, on one line, in a file where it is long.

use std::borrow::Cow;

use adapters::Attachment;
use serde_json::Value;

use super::{
    text::last_chars,
    visible::{head_and_tail, visible, visible_line},
};
use crate::permission::{CallConcern, NETWORK_TOOL, Question, QuestionId};

/// Beyond this many bytes a question's detail goes into a file, where files can be sent.
const DETAIL_MAX: usize = 3_000;

/// Lines of such a detail that the chat shows, from its beginning and its end.
const HEAD_LINES: usize = 20;
const TAIL_LINES: usize = 10;

/// Characters of a name, of a call in a sentence.
const NAME_MAX: usize = 80;
const CALL_MAX: usize = 120;

/// As [`detail`], with the file of an edit as it is called in the agent's folder.
pub(super) fn detail_of(question: &Question) -> (String, &'static str, &'static str) {
    let input = input_beside_warnings(question, &[CallConcern::InBackground, CallConcern::OutsideSandbox]);
    let (detail, language, ending) = detail(&question.tool, &input);
    let folder = question.folder.as_ref().filter(|_| matches!(question.tool.as_str(), "Edit" | "Write"));
    let inner = folder.and_then(|folder| detail.strip_prefix(folder.to_str()?)?.strip_prefix('/'));
    // A path that leads out again is shown as it is.
    let inner =
        inner.filter(|inner| !inner.lines().next().unwrap_or_default().split('/').any(|part| part == ".."));
    (inner.map_or_else(|| detail.clone(), str::to_owned), language, ending)
}

/// The input without the switches of these concerns, which a warning states in words.
pub(super) fn input_beside_warnings<'q>(question: &'q Question, stated: &[CallConcern]) -> Cow<'q, Value> {
    let mut input = Cow::Borrowed(&question.input);
    for concern in question.concerns.iter().filter(|concern| stated.contains(concern)) {
        let key = match concern {
            CallConcern::InBackground => "run_in_background",
            CallConcern::OutsideSandbox => "dangerouslyDisableSandbox",
            CallConcern::Link { .. } | CallConcern::UncheckedLinks | CallConcern::BlockedPath(_) => continue,
        };
        // Any other value than the plain one is shown as it is.
        if question.input.get(key) == Some(&Value::Bool(true))
            && let Some(keys) = input.to_mut().as_object_mut()
        {
            keys.remove(key);
        }
    }
    input
}

/// The part of a tool's input that a person decides by: text, its language, a file ending. Keys that it does not show in another
/// form follow as JSON.
fn detail(tool: &str, input: &Value) -> (String, &'static str, &'static str) {
    let text = |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default();
    let (shown, language, ending, keys): (String, _, _, &[&str]) = match tool {
        "Bash" if input.get("command").is_some_and(Value::is_string) => {
            (visible(text("command")), "sh", "sh", &["command", "description"])
        }
        "Edit" => {
            let all = input.get("replace_all").is_some_and(|all| *all != Value::Bool(false));
            let all = if all { " (every occurrence)" } else { "" };
            let diff = diff(text("old_string"), text("new_string"));
            let keys = &["file_path", "old_string", "new_string", "replace_all"];
            (format!("{}{all}\n{diff}", visible(text("file_path"))), "diff", "diff", keys)
        }
        "Write" => {
            let diff = diff("", text("content"));
            (format!("{}\n{diff}", visible(text("file_path"))), "diff", "diff", &["file_path", "content"])
        }
        NETWORK_TOOL if host(input).is_some() => {
            (host(input).unwrap_or_default(), "", "txt", &["host", "port"])
        }
        _ => {
            let json = serde_json::to_string_pretty(input).unwrap_or_default();
            return (visible(&json), "json", "json");
        }
    };
    (format!("{shown}{}", other_keys(input, keys)), language, ending)
}

/// The host and port of a connection that is asked for, and of a rule for it.
pub(super) fn host(input: &Value) -> Option<String> {
    let (host, port) = (input.get("host")?.as_str()?, input.get("port")?.as_u64()?);
    let host = visible_line(host, NAME_MAX);
    Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

fn other_keys(input: &Value, keys: &[&str]) -> String {
    let others = input.as_object().into_iter().flatten();
    let others =
        others.filter(|(key, value)| !(keys.contains(&key.as_str()) && value_has_its_form(key, value)));
    others
        .map(|(key, value)| format!("\n{}: {}", visible_line(key, NAME_MAX), visible(&value.to_string())))
        .collect()
}

// A key with a value of another type than the tool's is shown as it is, not as the empty text.
fn value_has_its_form(key: &str, value: &Value) -> bool {
    value.is_string() || key == "replace_all" || (key == "port" && value.is_u64())
}

// Made visible before they are compared: else the marks of the lines would hide that a line is blank.
fn diff(old: &str, new: &str) -> String {
    let (old, new) = (visible(old), visible(new));
    similar::TextDiff::from_lines(&old, &new).unified_diff().context_radius(3).to_string()
}

/// A call's input on one line, with both its ends.
pub(super) fn one_line(tool: &str, input: &Value) -> String {
    let (detail, language, _) = detail(tool, input);
    match language {
        "json" => visible_line(&input.to_string(), CALL_MAX),
        _ => head_and_tail(&visible_line(&detail, usize::MAX), CALL_MAX),
    }
}

// A detail too long for a chat goes into a file, and the chat shows both its ends: nobody should approve a part of a command.
pub(super) fn fitted(
    detail: String,
    id: QuestionId,
    ending: &str,
    files: bool,
) -> (String, Option<Attachment>) {
    if detail.len() <= DETAIL_MAX || !files {
        return (detail, None);
    }
    let name = format!("question-{id}.{ending}");
    let lines: Vec<&str> = detail.lines().collect();
    let middle = HEAD_LINES..lines.len().saturating_sub(TAIL_LINES).max(HEAD_LINES);
    let (head, tail) = match middle.is_empty() {
        // Few and long lines.
        true => (detail.as_str(), detail.as_str()),
        false => (&*lines[..HEAD_LINES].join("\n"), &*lines[middle.end..].join("\n")),
    };
    let short = format!(
        "{}\n… all of it is in {name} …\n{}",
        first_chars(head, DETAIL_MAX / 2),
        last_chars(tail, DETAIL_MAX / 4)
    );
    (short, Some(Attachment { name, bytes: detail.into_bytes(), caption: format!("Question {id} in full") }))
}

fn first_chars(text: &str, max: usize) -> &str {
    match text.char_indices().nth(max) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::permission::{Asker, PermissionAsk};

    fn shown(tool: &str, input: &Value) -> String {
        detail(tool, input).0
    }

    #[test]
    fn a_command_shows_what_the_eye_would_miss() {
        let hidden = json!({ "command": "ls \u{202e}fr- mr\u{200b}; \u{1b}[8mrm x" });
        insta::assert_snapshot!(shown("Bash", &hidden), @r"ls \u{202e}fr- mr\u{200b}; \u{1b}[8mrm x");
    }

    #[test]
    fn an_edit_is_a_diff_and_says_if_it_is_everywhere() {
        let edit =
            json!({ "file_path": "/p/a", "old_string": "one\n", "new_string": "two\n", "replace_all": true });
        insta::assert_snapshot!(shown("Edit", &edit), @r"
        /p/a (every occurrence)
        @@ -1 +1 @@
        -one
        +two
        ");
    }

    #[test]
    fn a_connection_is_shown_as_its_host_and_port() {
        assert_eq!(shown(NETWORK_TOOL, &json!({ "host": "docs.rs", "port": 443 })), "docs.rs:443");
        assert_eq!(shown(NETWORK_TOOL, &json!({ "host": "::1", "port": 80 })), "[::1]:80");
        let unknown = json!({ "host": "docs.rs" });
        assert_eq!(shown(NETWORK_TOOL, &unknown), "{\n  \"host\": \"docs.rs\"\n}");
    }

    #[test]
    fn a_file_of_the_agents_folder_is_named_from_there_and_one_that_leads_out_in_full() {
        let first_line = |tool: &str, path: &str| {
            let ask = PermissionAsk {
                rooms: Vec::new(),
                asker: Asker::default(),
                request: Default::default(),
                folder: Some("/p/work".into()),
                asked_for: "Ann".into(),
                tool: tool.into(),
                input: json!({ "file_path": path, "content": "x", "command": path }),
                call: None,
                blocked_path: None,
                timeout: None,
            };
            let (detail, ..) = detail_of(&Question::for_tests(&ask));
            detail.lines().next().unwrap().to_owned()
        };
        assert_eq!(first_line("Write", "/p/work/src/a.rs"), "src/a.rs");
        assert_eq!(first_line("Write", "/p/work/../b"), "/p/work/../b");
        assert_eq!(first_line("Write", "/p/works/b"), "/p/works/b");
        assert_eq!(first_line("Bash", "/p/work/run"), "/p/work/run", "a command is shown as it runs");
    }

    #[test]
    fn a_long_detail_goes_into_a_file_where_files_exist() {
        let (short, file) = fitted("x\n".repeat(5_000), QuestionId(3), "sh", true);
        assert!(short.contains("… all of it is in question-3.sh …") && short.len() < 200);
        assert_eq!(file.unwrap().bytes.len(), 10_000);
        assert_eq!(fitted("x\n".repeat(5_000), QuestionId(3), "sh", false).0.len(), 10_000);
    }

    #[test]
    fn a_call_on_one_line_names_the_input_of_every_tool_with_both_its_ends() {
        let of = |tool: &str, input: Value| one_line(tool, &input);
        insta::assert_snapshot!(of("Bash", json!({ "command": "cd a\n\nrm x", "description": "safe" })), @"cd a ⏎ rm x");
        insta::assert_snapshot!(of("Bash", json!({ "command": "x", "run_in_background": true })), @"x ⏎ run_in_background: true");
        insta::assert_snapshot!(of("Task", json!({ "prompt": "do it" })), @r#"{"prompt":"do it"}"#);
        insta::assert_snapshot!(of("Bash", json!({ "script": "ls" })), @r#"{"script":"ls"}"#);
        let long = of("Bash", json!({ "command": format!("begin{}end", "x".repeat(300)) }));
        assert!(long.starts_with("begin") && long.contains(" … ") && long.ends_with("end"), "{long}");
    }

    #[test]
    fn keys_that_a_tool_does_not_have_are_shown_too() {
        let bash = shown("Bash", &json!({ "command": "x", "dangerouslyDisableSandbox": true }));
        assert_eq!(bash, "x\ndangerouslyDisableSandbox: true");
        let write = shown("Write", &json!({ "file_path": "/a", "content": 5, "mode": "0777" }));
        assert!(write.contains("content: 5") && write.contains(r#"mode: "0777""#), "{write}");
    }

    #[test]
    fn blank_lines_in_a_change_are_counted() {
        let write =
            shown("Write", &json!({ "file_path": "/a", "content": format!("a{}rm x", "\n".repeat(300)) }));
        assert!(write.contains("+⟨299 blank lines⟩\n+rm x"), "{write}");
    }

    #[test]
    fn a_long_detail_shows_both_its_ends() {
        let (short, _) = fitted(format!("begin {} end", "x".repeat(9_000)), QuestionId(3), "sh", true);
        assert!(short.starts_with("begin x") && short.ends_with("x end") && short.len() < DETAIL_MAX);
        let lines: Vec<String> = (0..500).map(|n| format!("line {n} {}", "x".repeat(20))).collect();
        let (short, _) = fitted(lines.join("\n"), QuestionId(3), "sh", true);
        assert!(short.starts_with("line 0 ") && short.contains("line 499 ") && !short.contains("line 250 "));
    }
}

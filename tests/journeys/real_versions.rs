//! One conversation on the console with everything that storkit takes from Claude Code. `script/claude-code --newest` has it on another
//! version of the CLI, too, and compares what [`RECORD`] names.

use std::{env, fmt::Write as _, fs};

use e2e::Program;
use needs::needs;
use scripted_model::{ModelConversation, ModelScript, ScriptedModel};
use serde_json::{Value, json};

use crate::real::bash;

/// A variable with the name of a file for what was said and what the model was sent.
const RECORD: &str = "STORKIT_JOURNEY_RECORD";

/// What people say: 16 lines, and two to the next process.
const FIRST: [&str; 16] = [
    "hello",
    "ask me",
    "2",
    "ask for several",
    "1, 3",
    "plan it",
    "yes",
    "two at once",
    "yes",
    "no not that one",
    "make a file",
    "always",
    "make a file",
    "rules",
    "model claude-test-9",
    "cost",
];
const SECOND: [&str; 2] = ["what was before?", "reset"];

fn question(text: &str, several: bool) -> Value {
    let option = |label: &str| json!({ "label": label, "description": "to drink" });
    let options = ["Tea", "Coffee", "Water"].map(option);
    json!({ "questions": [{ "question": text, "header": "Drink", "multiSelect": several, "options": options }] })
}

fn script() -> ModelScript {
    let is = |line: &'static str| move |conversation: &ModelConversation| conversation.last_line() == line;
    ModelScript::new()
        .when(is("hello"))
        .says("Good morning.")
        .when(is("ask me"))
        .calls("AskUserQuestion", question("What shall we drink?", false))
        .then_says("One: {last_tool_result}")
        .when(is("ask for several"))
        .calls("AskUserQuestion", question("What shall we buy?", true))
        .then_says("Several: {last_tool_result}")
        .when(is("plan it"))
        .calls("EnterPlanMode", json!({}))
        .then_calls("Write", json!({ "file_path": "{plan_file}", "content": "# Plan\n\n1. Boil water\n" }))
        .then_calls("ExitPlanMode", json!({}))
        .then_says("The plan stands.")
        .when(is("two at once"))
        .calls("Bash", bash("rm -f first && echo of-the-first"))
        .calls("Bash", bash("rm -f second && echo of-the-second"))
        .then_says("Both are answered.")
        .when(is("make a file"))
        .calls("Bash", bash("touch made"))
        .then_says("It is made.")
        .when(is("what was before?"))
        .says("Before: {history}")
}

/// What the CLI sent: the model, the tools that it offers of its own where they change, and what came of their calls.
fn sent(model: &ScriptedModel) -> String {
    let (mut text, mut offered) = (String::new(), Vec::new());
    for request in model.requests() {
        let kind = if request.is_side_request() { ", an aside" } else { "" };
        let _ = writeln!(text, "request to {}{kind}: {}", request.model, request.conversation.prompt);
        let mut tools = request.tools.clone();
        tools.retain(|tool| !tool.starts_with("mcp__storkit__"));
        tools.sort();
        if tools != offered && !request.is_side_request() {
            let _ = writeln!(text, "  offers: {}", tools.join(", "));
            offered = tools;
        }
        if let Some(result) = request.conversation.tool_results.last() {
            let kind = if result.is_error { "failure" } else { "result" };
            let _ = writeln!(text, "  {kind}: {}", result.text);
        }
    }
    text
}

/// Output of the CLI that storkit could not read.
fn unread(program: &Program) -> String {
    let log = fs::read_to_string(program.file(".storkit/logs/storkit.log")).unwrap_or_default();
    log.lines()
        .filter(|line| line.contains("output that is no event"))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conversation_of_18_lines_works_on_this_version_of_claude_code() {
    needs!(Claude);
    let model = ScriptedModel::start(script()).expect("the model is served");
    let program = Program::with_real_cli(&model);
    let mut said = String::new();
    for lines in [&FIRST[..], &SECOND] {
        let output = program.run(&["chat"], lines.join("\n") + "\n");
        let complaints = String::from_utf8_lossy(&output.stderr);
        let _ = writeln!(
            said,
            "{}--- exit code {:?}\n{complaints}",
            String::from_utf8_lossy(&output.stdout),
            output.status.code()
        );
    }
    let project = program.project().display().to_string();
    if let Some(file) = env::var_os(RECORD) {
        let record = format!("{said}\n{}\n{}", sent(&model), unread(&program)).replace(&project, "PROJECT");
        fs::write(file, record).expect("the record");
    }
    assert_eq!(said.matches("--- exit code Some(0)").count(), 2, "{said}");

    let mut rest = said.as_str();
    for expected in [
        "Good morning.",
        "What shall we drink?",
        "One: ",
        "Coffee",
        "What shall we buy?",
        "Several: ",
        "Tea, Water",
        "Boil water",
        "The plan stands.",
        "of-the-first",
        "of-the-second",
        "Both are answered.",
        "touch made",
        "from now on: `touch` with any files of its folder",
        "It is made.",
        "It is made.",
        "`touch` with any files of its folder",
        "claude-test-9",
        "$",
        "Before: hello",
        "Your next message starts a new one.",
    ] {
        let at = rest.find(expected).unwrap_or_else(|| panic!("{expected:?} does not follow in: {said}"));
        rest = &rest[at + expected.len()..];
    }
    assert!(program.file("made").exists(), "{said}");
    let sent = model.requests();
    let last = sent.iter().rev().find(|request| !request.is_side_request()).expect("it was asked");
    assert_eq!(last.model, "claude-test-9", "the room's choice holds for the next process");
    let results = || sent.iter().flat_map(|request| &request.conversation.tool_results);
    assert!(results().any(|result| result.text == "of-the-first" && !result.is_error), "{said}");
    assert!(results().any(|result| result.text.contains("not that one") && result.is_error), "{said}");
}

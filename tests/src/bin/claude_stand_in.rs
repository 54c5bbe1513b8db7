//! A Claude Code CLI that follows the prompt instead of a model: fast enough for every journey, and held against
//! recordings of the real one (2.1.330) by the tests below. When they disagree, the recording wins.
//!
//! It takes the options that storkit uses, prompts as lines of JSON (`--input-format stream-json`, not from a
//! terminal) or as an argument, prints stream-json with its keys in changing order and with a type and a subtype
//! that nobody knows, and keeps its sessions below `$CLAUDE_CONFIG_DIR` or `$HOME/.claude`. Questions go over the
//! control protocol only. The last line of a prompt that begins with a directive decides (a name as in
//! `Ann: echo hi` may stand before it); without one the answer is `You said: PROMPT`.
//!
//! It refuses to start where it finds one of the bot's secrets, and looks for them before other programs, too (`guard.rs`).
//!
//! | directive | what it does |
//! |---|---|
//! | `echo TEXT` | answers `echo: TEXT` |
//! | `history` | answers the earlier prompts of the session, numbered, or `nothing yet` |
//! | `bash CMD` | asks, runs it in a session of its own, answers its output or the refusal |
//! | `twice CMD ;; CMD` | two Bash calls, asked one after the other |
//! | `ask`, `plan` | `AskUserQuestion` (Which colour? Red, Blue), `ExitPlanMode`; answers what came back |
//! | `slow` | one piece of text, then nothing until an interrupt |
//! | `wait FILE` | one piece of text, then `waited` as soon as the file exists |
//! | `lines N`, `long N` | an answer of N lines, piece by piece; one of N kB |
//! | `stamps N` | N pieces a few milliseconds apart, each the time of its writing (CLOCK_MONOTONIC, ns) |
//! | `spam N`, `longline N` | N MB of small pieces; one line of N MB |
//! | `garbage`, `badutf8` | lines that are no JSON or no UTF-8, then an answer |
//! | `die N`, `kill9` | exits with N in mid-turn; kills itself |
//! | `silent`, `stubborn` | says nothing more; the second says so and ignores SIGTERM, SIGHUP and SIGINT |
//! | `error 401`, `429`, `500`, `529` | retry lines and the failed result; `flaky`: two retries, then an answer |
//! | `busy N [STATUS EPOCH]` | 529 for the first N tries, with a `rate_limit_event`; then an answer |
//! | `limit STATUS EPOCH` | a `rate_limit_event` |
//! | `background` | a second result that nobody prompted |
//! | `subagent` | lines of a sub-agent between those of the chat |
//! | `model`, `system`, `env NAME`, `cwd`, `args`, `pid` | answers what it was started with |

// People and tests read its standard output.
#![allow(clippy::print_stdout)]

#[path = "../stand_in/arguments.rs"]
mod arguments;
#[path = "../stand_in/guard.rs"]
mod guard;
#[path = "../stand_in/lines.rs"]
mod lines;
#[path = "../stand_in/session.rs"]
mod session;
#[path = "../stand_in/shell.rs"]
mod shell;
#[path = "../stand_in/talk.rs"]
mod talk;
#[path = "../stand_in/turn.rs"]
mod turn;

use std::io::{IsTerminal, Read};

use arguments::Arguments;
use session::Session;
use talk::Talk;

fn main() {
    guard::stand();
    let words = std::env::args().skip(1);
    if std::env::args().nth(1).as_deref() == Some("--version") {
        println!("2.1.330 (Claude Code)");
        return;
    }
    let arguments = Arguments::parse(words).unwrap_or_else(|error| refuse(&error));
    if let Err(error) = shell::watch_signals() {
        refuse(&error.to_string());
    }
    let session = open_session(&arguments).unwrap_or_else(|error| refuse(&error));
    let mut talk = Talk::new(arguments, session);
    let code = if talk.arguments.stream_input { live(&mut talk) } else { one_shot(&mut talk) };
    talk.leave(code);
}

/// Bad arguments: a sentence on standard error and nothing else.
fn refuse(error: &str) -> ! {
    eprintln!("{error}");
    std::process::exit(1)
}

fn open_session(arguments: &Arguments) -> Result<Session, String> {
    let Some(id) = arguments.resume.clone() else {
        let fresh = || uuid::Uuid::new_v4().to_string();
        return Session::begin(arguments.session_id.clone().unwrap_or_else(fresh));
    };
    Session::resume(id.clone()).ok_or_else(|| {
        let why = format!("No conversation found with session ID: {id}");
        let stamp = lines::Stamp { session: id, model: String::new() };
        println!("{}", stamp.no_conversation(&why));
        why
    })
}

fn live(talk: &mut Talk) -> i32 {
    if std::io::stdin().is_terminal() {
        refuse(
            "Error: Input must be provided either through stdin or as a prompt argument when using --print",
        );
    }
    talk.listen();
    while let Some(prompt) = talk.next_prompt() {
        talk.turn(&prompt);
    }
    0
}

fn one_shot(talk: &mut Talk) -> i32 {
    let mut prompt = talk.arguments.prompt.clone().unwrap_or_default();
    if !std::io::stdin().is_terminal() {
        let mut more = String::new();
        let _ = std::io::stdin().read_to_string(&mut more);
        prompt = [prompt, more].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n");
    }
    i32::from(talk.turn(&prompt))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        lines::{self, End, FAILURES, Stamp, result_block, text_block, tool_block},
        turn::directive,
    };

    /// All lines of the real CLI.
    fn recorded() -> Vec<Value> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/data/claude-2.1.330");
        let files = std::fs::read_dir(folder).expect("the recordings");
        let texts =
            files.map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("its text"));
        let lines = texts.flat_map(|text| text.lines().map(String::from).collect::<Vec<_>>());
        lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
    }

    fn stamp() -> Stamp {
        Stamp { session: "11111111-2222-4333-8444-555555555555".into(), model: "claude-opus-5-5".into() }
    }

    /// One line of each kind that the stand-in prints.
    fn printed() -> Vec<Value> {
        let (stamp, input) = (stamp(), json!({"command": "ls", "description": "Run it"}));
        let task = json!({"task_id": "b", "run_id": "r", "status": "completed"});
        let end = |is_error, rest| End {
            reason: "completed",
            is_error,
            calls: 2,
            cost: 0.0012,
            index: 0,
            denials: vec![],
            rest,
        };
        let denial = json!({"tool_name": "Bash", "tool_use_id": "t", "tool_input": input});
        let denied = End { denials: vec![denial], ..end(false, json!({"result": "hi"})) };
        let origin = json!({"kind": "task-notification", "producer": "session-task"});
        let mut partial = stamp.assistant(text_block("slow"));
        partial["aborted"] = true.into();
        let question = json!({"questions": []});
        vec![
            stamp.init(),
            stamp.system("status", json!({"status": "requesting"})),
            stamp.system("status", json!({"status": null, "permissionMode": "default"})),
            stamp.system("task_notification", task),
            stamp.api_retry(&FAILURES[1], 1, 3),
            stamp.api_error(&FAILURES[1]),
            stamp.delta("hi"),
            stamp.assistant(text_block("hi")),
            stamp.assistant(tool_block("toolu_1", "Bash", &input)),
            partial,
            stamp.user(result_block("toolu_1", "out", false)),
            stamp.user(text_block("[Request interrupted by user]")),
            stamp.of_sub_agent(stamp.assistant(tool_block("toolu_2", "Bash", &input)), "toolu_1"),
            stamp.result(&end(false, json!({"result": "hi"}))),
            stamp.result(&denied),
            stamp.result(&end(false, json!({"result": "hi", "origin": origin}))),
            stamp.result(&end(
                true,
                json!({"subtype": "error_during_execution", "errors": ["x"], "stop_reason": null}),
            )),
            stamp.result(&end(true, json!({"result": "x", "api_error_status": 429}))),
            stamp.no_conversation("No conversation found"),
            lines::can_use_tool("r", "Bash", "toolu_1", &input),
            lines::can_use_tool("r", "AskUserQuestion", "toolu_1", &question),
            lines::cancel("r"),
            lines::accepted("r", json!({"still_queued": []})),
            lines::accepted("r", json!({"model": "m"})),
            lines::unsupported("r", "x"),
        ]
    }

    /// Why a recorded line does not have all that a printed one has, or nothing.
    fn difference(printed: &Value, recorded: &Value, at: &str) -> Option<String> {
        match (printed, recorded) {
            (Value::Object(printed), Value::Object(recorded)) => {
                printed.iter().find_map(|(key, value)| match recorded.get(key) {
                    Some(other) => difference(value, other, &format!("{at}.{key}")),
                    None => Some(format!("{at}.{key} is not recorded")),
                })
            }
            (Value::Array(printed), Value::Array(recorded)) => {
                let odd = |item: &Value| recorded.iter().all(|other| difference(item, other, at).is_some());
                printed.iter().any(odd).then(|| format!("{at} has an item that is not recorded"))
            }
            _ if std::mem::discriminant(printed) != std::mem::discriminant(recorded) => {
                Some(format!("{at} is {recorded} in the recording"))
            }
            _ => None,
        }
    }

    fn kind(line: &Value) -> [String; 3] {
        let of_event = &line["event"]["delta"]["type"];
        let subtypes =
            [&line["subtype"], &line["request"]["subtype"], &line["response"]["subtype"], of_event];
        let subtype =
            if line["type"] == "result" { None } else { subtypes.iter().find_map(|value| value.as_str()) };
        let tool =
            if line["type"] == "control_request" { line["request"]["tool_name"].as_str() } else { None };
        [line["type"].as_str(), subtype, tool].map(|part| part.unwrap_or_default().to_owned())
    }

    #[test]
    fn every_line_has_the_shape_of_a_recorded_one() {
        let recorded = recorded();
        for line in printed() {
            let alike: Vec<_> = recorded.iter().filter(|other| kind(other) == kind(&line)).collect();
            assert!(!alike.is_empty(), "no recording of {:?}", kind(&line));
            let reasons: Vec<_> = alike.iter().map(|other| difference(&line, other, "")).collect();
            assert!(reasons.contains(&None), "{:?}: {:?}", kind(&line), reasons.into_iter().flatten().min());
        }
    }

    #[test]
    fn a_field_of_another_name_or_type_is_noticed() {
        let recorded = json!({"a": 1, "b": [{"c": "x"}]});
        assert_eq!(difference(&json!({"b": [{"c": "y"}]}), &recorded, ""), None);
        assert!(difference(&json!({"a": "1"}), &recorded, "").is_some());
        assert!(difference(&json!({"b": [{"d": "y"}]}), &recorded, "").is_some());
    }

    #[test]
    fn the_failures_are_worded_as_recorded() {
        let recorded = recorded();
        for failure in &FAILURES {
            let has = |key: &str, value: &Value| recorded.iter().any(|line| line[key] == *value);
            assert!(has("result", &failure.text.into()), "{}", failure.text);
            let retry =
                |line: &Value| line["subtype"] == "api_retry" && line["error_status"] == failure.status;
            assert!(
                recorded.iter().any(|line| retry(line) && line["error"] == failure.retry),
                "{}",
                failure.status
            );
        }
    }

    #[test]
    fn the_order_of_keys_changes_and_the_line_does_not() {
        let line = stamp().init();
        let shown: Vec<String> = (0..3).map(|turn| lines::shuffled(&line, turn)).collect();
        assert_ne!(shown[0], shown[1]);
        for text in shown {
            assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), line);
        }
    }

    #[test]
    fn the_directive_is_found_behind_context_and_a_name() {
        assert_eq!(directive("echo hi there"), ("echo", "hi there"));
        assert_eq!(directive("Earlier:\nAnn: hello\n\nBob: bash ls -l"), ("bash", "ls -l"));
        assert_eq!(directive("history\n"), ("history", ""));
        assert_eq!(directive("what is this?"), ("", "what is this?"));
    }
}

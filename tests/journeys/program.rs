//! The program `storkit` as a process: what it prints, its exit codes, and a sentence for everything that is wrong.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Output},
};

use e2e::Program;
use needs::needs;

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Ends with this code and says all of this on standard error.
#[track_caller]
fn refused(output: &Output, code: i32, sentences: &[&str]) {
    let said = complaint(output);
    assert_eq!(output.status.code(), Some(code), "{said}\n{}", out(output));
    for sentence in sentences {
        assert!(said.contains(sentence), "{sentence:?} is not in: {said}");
    }
}

#[test]
fn a_piped_chat_prints_the_answers_in_order_and_ends_well() {
    let output = Program::with_stand_in().run(&["chat"], "echo hello\n\nversion\nhistory\n");
    let text = out(&output);
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", complaint(&output));
    let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words:?} is not in: {text}"));
    assert!(at("echo: hello") < at("storkit 0."));
    assert!(at("storkit 0.") < at("1. echo hello"), "the session goes on: {text}");
    assert!(!text.contains('\u{1b}'), "no colours in a pipe: {text:?}");
}

#[test]
fn status_in_a_piped_chat_shows_the_stories_of_the_board() {
    let program = Program::with_stand_in();
    let backlog = program.file(".storkit/work/1_backlog");
    fs::create_dir_all(&backlog).expect("a folder");
    let story = "---\nname: Fix the door\n---\n\n## Acceptance criteria\n\n- [ ] It closes\n";
    fs::write(backlog.join("4_story_fix_the_door.md"), story).expect("a story");
    // The first line of a storkit that has just started: the board must have been read by then.
    let output = program.run(&["chat"], "status\n");
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    assert!(out(&output).contains("backlog: 1"), "{}", out(&output));
}

#[test]
fn a_line_that_fails_makes_the_exit_code_one() {
    let program = Program::with_stand_in();
    for lines in ["!nonsense\n", "error 401\n", "htop forever\nversion\n"] {
        assert_eq!(program.run(&["chat"], lines).status.code(), Some(1), "{lines:?}");
    }
    assert_eq!(program.run(&["chat"], "version\n").status.code(), Some(0));
}

#[test]
fn questions_in_a_piped_chat_are_answered_by_number_and_by_words() {
    let program = Program::with_stand_in();
    let output = program.run(&["chat"], "bash touch one\nyes\nask\n2\nbash touch two\nno not now\n");
    let text = out(&output);
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", complaint(&output));
    assert!(program.file("one").exists() && !program.file("two").exists());
    assert!(text.contains("Question 1") && text.contains("Blue") && text.contains("not now"), "{text}");
}

#[test]
fn a_question_that_nobody_answers_before_the_end_is_said() {
    let program = Program::with_stand_in();
    let output = program.run(&["chat"], "bash touch one\n");
    assert!(complaint(&output).contains("a question was left open"), "{}", complaint(&output));
    assert!(!program.file("one").exists());
}

#[test]
fn a_chat_talks_to_the_storkit_that_serves() {
    let program = Program::with_stand_in();
    let serving = program.serve();
    let mut terminal = program.terminal();
    assert_eq!(program.run(&["chat"], "echo one\n").status.code(), Some(0));
    terminal.see("echo: one");
    let output = program.run(&["chat"], "history\n");
    assert!(out(&output).contains("1. echo one"), "the same session: {}", out(&output));
    terminal.say("echo two");
    terminal.see("echo: two");
    assert!(out(&program.run(&["chat"], "history\n")).contains("3. echo two"));
    let (code, _) = serving.end();
    assert_eq!(code, Some(0));
    terminal.see("storkit has ended");
}

#[test]
fn a_second_storkit_on_the_project_is_refused_and_told_the_way() {
    let program = Program::with_stand_in();
    let serving = program.serve();
    let second = program.run(&["serve", "--port", "0"], "");
    let process = format!("process {}", serving.pid());
    refused(&second, 75, &["already serves", &process, "`storkit chat`"]);
    serving.kill_9();
    let (code, _) = program.serve().end();
    assert_eq!(code, Some(0), "a kill releases the lock");
}

#[test]
fn a_taken_port_says_how_to_find_its_owner_and_choose_another() {
    let program = Program::with_stand_in();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let output = program.run(&["serve", "--port", &port], "");
    refused(&output, 75, &[&port, "is in use", "ss -ltnp", "--port", "[http] port"]);
}

#[test]
fn a_wrong_bot_toml_is_a_sentence_about_the_key_and_exit_code_two() {
    let program = Program::with_stand_in();
    program.write_config("displayname = \"Timmy\"");
    refused(&program.run(&["chat"], ""), 2, &["displayname", "display_name"]);
    program.write_config("verbosity = \"loud\"");
    refused(&program.run(&["serve"], ""), 2, &["verbosity"]);
    program.write_config("display_name = \"${STORKIT_NO_SUCH_VARIABLE}\"");
    refused(&program.run(&["chat"], ""), 2, &["STORKIT_NO_SUCH_VARIABLE"]);
    program.write_config("display_name = ");
    refused(&program.run(&["doctor"], ""), 2, &["bot.toml", "not valid TOML"]);
}

#[test]
fn a_folder_that_is_no_checkout_is_a_sentence() {
    let program = Program::with_stand_in();
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().to_str().expect("a path");
    refused(&program.run(&["chat", "--project", at], ""), 2, &["is not inside a git repository", "git init"]);
    assert_eq!(fs::read_dir(at).expect("the folder").count(), 0, "nothing was left there");
    let status = Command::new("git").args(["init", "-q", "--bare", at]).status().expect("git runs");
    assert!(status.success());
    refused(&program.run(&["serve", "--project", at], ""), 2, &["bare repository", "clone it"]);
    let gone = folder.path().join("gone").display().to_string();
    refused(&program.run(&["serve", "--project", &gone], ""), 2, &[&gone, "cannot be opened"]);
}

#[test]
fn state_that_cannot_be_written_is_a_sentence() {
    let program = Program::with_stand_in();
    let state = program.file(".storkit");
    fs::remove_dir_all(&state).expect("the state");
    fs::write(&state, "in the way").expect("a file");
    refused(&program.run(&["serve"], ""), 2, &[".storkit", "cannot be written", "a file is in its place"]);
    assert_eq!(fs::read_to_string(&state).expect("the file"), "in the way", "it is left alone");

    fs::remove_file(&state).expect("the file");
    fs::create_dir_all(state.join("state/state.db")).expect("a folder");
    let output = program.run(&["serve", "--port", "0"], "");
    refused(&output, 1, &["state.db"]);
}

/// A file system of its own that is mounted for reading; only root can do so, and only where mounts are allowed.
#[test]
fn a_read_only_disk_is_a_sentence() {
    let program = Program::with_stand_in();
    let state = program.file(".storkit");
    fs::create_dir_all(&state).expect("the state");
    let storkit = program.command(&["serve", "--port", "0"]);
    let script =
        "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" || exit 99; shift; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&state).arg(storkit.get_program());
    command.args(storkit.get_args()).current_dir(program.project());
    command.envs(storkit.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Ok(output) = command.output() else { return eprintln!("no `unshare` here; not tested") };
    if output.status.code() == Some(99) || complaint(&output).contains("unshare:") {
        return eprintln!("mounts are not allowed here; not tested: {}", complaint(&output));
    }
    refused(&output, 2, &[".storkit", "cannot be written", "check its owner and mode"]);
}

#[test]
fn a_damaged_state_is_kept_aside_and_said() {
    let program = Program::with_stand_in();
    assert_eq!(program.run(&["chat"], "echo one\n").status.code(), Some(0));
    let damaged = "no database at all, and long enough to be taken for one. ".repeat(200);
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(program.file(&format!(".storkit/state/state.db{suffix}")));
    }
    fs::write(program.file(".storkit/state/state.db"), &damaged).expect("the damage");
    let serving = program.serve();
    let said = program.terminal().see("My state was damaged.");
    let aside = said.split('`').nth(1).expect("where it is kept");
    assert_eq!(fs::read_to_string(aside).expect("the kept file"), damaged);
    program.terminal().say("echo two");
    program.terminal().see("echo: two");
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn the_first_status_shows_the_stories() {
    let program = Program::with_stand_in();
    let backlog = program.file(".storkit/work/1_backlog");
    fs::create_dir_all(&backlog).expect("the backlog");
    fs::write(backlog.join("1_story_a_door.md"), "---\nname: A door\n---\n").expect("a story");
    let output = program.run(&["chat"], "status\n");
    assert!(out(&output).contains("backlog: 1"), "{}", out(&output));
}

#[test]
fn a_terminal_that_attaches_follows_the_pipeline() {
    let program = Program::with_stand_in();
    let serving = program.serve();
    let mut terminal = program.terminal();
    terminal.say("new story A door");
    terminal.see("is in the backlog");
    terminal.say("start 1");
    terminal.see("**1 A door**: backlog → current");
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn an_older_state_is_moved_at_the_start_and_not_by_a_second_storkit() {
    let program = Program::with_stand_in();
    assert_eq!(program.run(&["chat"], "!verbosity 2\n").status.code(), Some(0));
    let (old, new) = (program.file(".storkit/state.db"), program.file(".storkit/state/state.db"));
    fs::rename(&new, &old).expect("as an older storkit had it");
    let serving = program.serve();
    assert!(new.exists() && !old.exists());
    program.terminal().say("!verbosity");
    program.terminal().see("2");
    fs::write(&old, "not for the second").expect("a file");
    refused(&program.run(&["serve"], ""), 75, &["already serves"]);
    assert_eq!(fs::read_to_string(&old).expect("left alone"), "not for the second");
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn a_missing_claude_says_how_to_get_it() {
    let mut program = Program::with_stand_in();
    program.set_claude("no-such-claude");
    let output = program.run(&["chat"], "hello\n");
    assert_eq!(output.status.code(), Some(1));
    let text = out(&output);
    assert!(text.contains("`no-such-claude` was not found") || text.contains("no-such-claude was not found"));
    assert!(text.contains("npm install -g @anthropic-ai/claude-code@2.1.330"), "{text}");
}

#[test]
fn help_version_and_docs_are_printed() {
    let program = Program::with_stand_in();
    let help = program.run(&["--help"], "");
    for word in ["serve", "chat", "demo", "doctor", "docs", "--project", "--port"] {
        assert!(out(&help).contains(word), "{word}: {}", out(&help));
    }
    assert!(out(&program.run(&["--version"], "")).starts_with("storkit "));
    let docs = program.run(&["docs"], "");
    assert_eq!(docs.status.code(), Some(0));
    assert!(out(&docs).contains("always") && out(&docs).contains("htop"));
    assert_eq!(program.run(&["nonsense"], "").status.code(), Some(2));
}

#[test]
fn doctor_tells_by_its_exit_code_whether_a_prompt_can_work() {
    needs!(Claude);
    let program = Program::with_key();
    let well = program.run(&["doctor"], "");
    assert_eq!(well.status.code(), Some(0), "{}", out(&well));
    assert!(out(&well).contains("Claude Code 2.1.330") && out(&well).contains("has a key"), "{}", out(&well));

    let without = program.finish(program.command(&["doctor"]).env("ANTHROPIC_API_KEY", ""));
    assert_eq!(without.status.code(), Some(1), "{}", out(&without));
    assert!(out(&without).contains("Set `ANTHROPIC_API_KEY`"), "{}", out(&without));
    assert!(!program.file(".storkit/state/state.db").exists(), "a check begins no state");
}

#[test]
fn a_line_that_no_message_can_hold_is_refused_and_the_next_one_taken() {
    let program = Program::with_stand_in();
    let output = program.run(&["chat"], format!("echo {}\necho short\n", "x".repeat(3_000_000)));
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("not taken"), "{}", complaint(&output));
    assert!(out(&output).contains("echo: short"), "{}", out(&output));
}

#[test]
fn health_and_metrics_are_served_on_the_port_that_was_logged() {
    const MONITOR: &str = "0123456789abcdef";
    let program = Program::with_stand_in();
    program.write_config(&format!("[http]\nmonitor_token = \"{MONITOR}\""));
    let serving = program.serve();
    assert_eq!(program.run(&["chat"], "echo one\n").status.code(), Some(0));
    let get = |path: &str, token: &str| {
        let url = format!("http://127.0.0.1:{}{path}", serving.port);
        let request = reqwest::Client::new().get(url).bearer_auth(token);
        let get = async { request.send().await.expect("an answer").text().await.expect("its text") };
        tokio::runtime::Runtime::new().expect("a runtime").block_on(get)
    };
    let health: serde_json::Value = serde_json::from_str(&get("/health", "")).expect("JSON");
    assert_eq!(
        (&health["ready"], &health["adapters"][0]["name"]),
        (&true.into(), &"console".into()),
        "{health}"
    );
    let metrics = get("/metrics", MONITOR);
    assert!(metrics.contains("# EOF"), "{metrics}");
    assert!(metrics.lines().any(|line| line.contains("turns") && line.ends_with(" 1")), "{metrics}");
    assert_eq!(serving.end().0, Some(0));
}

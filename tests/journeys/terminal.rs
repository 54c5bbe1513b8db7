//! `storkit chat` as a script and in a real terminal: what it prints, where, and how it lets go of the terminal.

use std::fs;

use e2e::{Program, ended};
use needs::needs;

const GREETING: &str = "is here. Say what you want done";

#[test]
fn a_line_that_is_not_utf_8_is_one_rejected_line() {
    let program = Program::with_stand_in();
    let output = program.run(&["chat"], b"echo one\n\xff\xfe two\necho three\n");
    let (text, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{text}\n{complaint}");
    assert!(text.contains("echo: one") && text.contains("echo: three"), "{text}");
    assert!(complaint.contains("not taken: line 2 is not UTF-8"), "{complaint}");
}

#[test]
fn a_script_is_never_greeted_and_a_terminal_always() {
    needs!(Tmux);
    let program = Program::with_stand_in();
    let own = program.run(&["chat"], "version\n");
    let serving = program.serve();
    let attached = program.run(&["chat"], "version\n");
    assert_eq!(String::from_utf8_lossy(&own.stdout), String::from_utf8_lossy(&attached.stdout));
    assert!(!String::from_utf8_lossy(&own.stdout).contains(GREETING));
    let screen = program.screen(&program.command(&["chat"]));
    screen.see(GREETING);
    drop(serving);
}

#[test]
fn what_goes_into_a_pipe_is_text() {
    needs!(Tmux);
    let program = Program::with_stand_in();
    let screen = program.screen(&program.shell());
    screen.enters("\"$STORKIT\" chat | tee log");
    // A shell shows what is typed, also before the chat reads it.
    screen.enters("echo one");
    screen.see("echo: one");
    screen.press("C-d");
    screen.enters("echo \"the shell is $((40 + 2))\"");
    screen.see("the shell is 42");
    let log = fs::read_to_string(program.file("log")).expect("a log");
    assert_eq!(log, "echo: one\n");
}

#[test]
fn ctrl_z_suspends_the_chat_and_fg_brings_back_what_was_typed() {
    needs!(Tmux);
    let program = Program::with_stand_in();
    let screen = program.screen(&program.shell());
    screen.enters("\"$STORKIT\" chat");
    screen.see(GREETING);
    screen.types("echo ha");
    screen.see("> echo ha");
    screen.press("C-z");
    screen.see("Stopped");
    screen.enters("echo \"the shell is $((40 + 2))\"");
    screen.see("the shell is 42");
    screen.enters("fg");
    screen.until("showed the line again", |shown| {
        shown.rfind("> echo ha").is_some_and(|at| shown.rfind("fg").is_some_and(|fg| at > fg))
    });
    screen.enters("lf");
    screen.see("echo: half");
    screen.press("C-d");
}

#[test]
fn a_resize_leaves_no_stray_lines() {
    needs!(Tmux);
    let program = Program::with_stand_in();
    let screen = program.screen(&program.command(&["chat"]));
    screen.see(GREETING);
    let long = "a long line that is wrapped as soon as the window is narrower than it was at first";
    screen.enters(&format!("bash echo {long}"));
    screen.see("1) Allow");
    let mut shown = String::new();
    for (columns, typed) in [(50, "a"), (90, "ab"), (30, "abc"), (70, "abcd"), (100, "abcde")] {
        screen.resize(columns, 40);
        screen.types(&typed[typed.len() - 1..]);
        shown = screen.see(&format!("> {typed}"));
        // A narrow window may have pushed the beginning out of sight.
        for once in [GREETING, "Question 1", "Answer yes", "1) Allow"] {
            assert!(shown.matches(once).count() <= 1, "{once:?} at {columns} columns:\n{shown}");
        }
    }
    for once in ["Question 1", "Answer yes", "1) Allow"] {
        assert_eq!(shown.matches(once).count(), 1, "{once:?}:\n{shown}");
    }
    screen.press("C-c");
    screen.enters("no");
    screen.press("C-d");
}

#[tokio::test]
async fn a_chat_ends_with_its_terminal_whether_or_not_a_signal_says_so() {
    needs!(Tmux);
    for leader in ["", "setsid --wait "] {
        let program = Program::with_stand_in();
        let screen = program.screen(&program.shell());
        screen.enters(&format!("{leader}sh -c 'echo $$ > pid; exec \"$STORKIT\" chat'"));
        screen.see(GREETING);
        let pid =
            fs::read_to_string(program.file("pid")).expect("its number").trim().parse().expect("a number");
        drop(screen);
        ended(pid).await;
    }
}

#[tokio::test]
async fn a_suspended_chat_ends_with_its_terminal() {
    needs!(Tmux);
    let program = Program::with_stand_in();
    let screen = program.screen(&program.shell());
    screen.enters("sh -c 'echo $$ > pid; exec \"$STORKIT\" chat'");
    screen.see(GREETING);
    let pid = fs::read_to_string(program.file("pid")).expect("its number").trim().parse().expect("a number");
    screen.press("C-z");
    screen.see("Stopped");
    drop(screen);
    ended(pid).await;
}

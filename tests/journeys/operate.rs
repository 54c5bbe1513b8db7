//! Operating a bot that runs: restarted in place, rebuilt, its settings changed under it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use e2e::{Program, Serving, runs};

/// A terminal's answer is waited for on both sides of the restart.
fn restarted(program: &Program, serving: &mut Serving, ask: &str) {
    let pid = serving.pid();
    let mut terminal = program.terminal();
    terminal.say("keep in mind that the door is green");
    terminal.see("keep in mind that the door is green");
    terminal.say(ask);
    terminal.see("Restarting. I'll post here when I'm back");
    terminal.see("storkit restarts");
    serving.serves_again();
    let mut terminal = program.terminal();
    terminal.see("is back (");
    assert!(runs(pid), "the process is the same");
    terminal.say("history");
    terminal.see("1. keep in mind that the door is green");
}

#[test]
fn restart_keeps_process_session_and_room() {
    let program = Program::with_stand_in();
    let mut serving = program.serve();
    restarted(&program, &mut serving, "restart");
    restarted_twice(&program, serving);
}

/// Once more, and then an end in good order: nothing of the first life hangs on.
fn restarted_twice(program: &Program, mut serving: Serving) {
    let mut terminal = program.terminal();
    terminal.say("restart");
    terminal.see("storkit restarts");
    serving.serves_again();
    program.terminal().see("is back (");
    let (code, log) = serving.end();
    assert_eq!(code, Some(0), "{log}");
}

/// A program that stands for cargo.
fn cargo(program: &Program, script: &str) -> PathBuf {
    let path = program.project().with_file_name("cargo");
    fs::write(&path, format!("#!/bin/sh\necho \"$@\" > \"$0.called\"\n{script}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can run");
    path
}

#[test]
fn a_failed_build_leaves_what_runs_and_says_why_and_a_good_one_starts_anew() {
    let mut program = Program::with_stand_in();
    let path = cargo(&program, "echo 'error[E0308]: mismatched types' >&2; exit 101");
    program.set_env("CARGO", path.to_str().expect("text"));
    let mut serving = program.serve();
    let mut terminal = program.terminal();
    terminal.say("rebuild");
    terminal.see("Building from source");
    let said = terminal.see("I keep running as before");
    assert!(said.contains("error[E0308]: mismatched types"), "{said}");
    terminal.say("echo still here");
    terminal.see("echo: still here");
    cargo(&program, "exit 0");
    terminal.say("rebuild");
    terminal.see("The build succeeded");
    terminal.see("storkit restarts");
    serving.serves_again();
    program.terminal().see("is back (");
    let called = fs::read_to_string(path.with_extension("called")).expect("cargo was called");
    assert!(called.contains("build --package storkit") && called.contains("--profile dev"), "{called}");
}

#[test]
fn settings_change_under_a_running_bot_and_a_broken_file_changes_nothing() {
    let program = Program::with_stand_in();
    let _serving = program.serve();
    let mut terminal = program.terminal();
    terminal.say("ambient");
    terminal.see("Ambient is off");
    program.write_config("ambient_rooms = [\"console:main\"]\nverbosity = 2\n[http]\nport = 4444");
    let news = terminal.see("bot.toml has changed");
    assert!(news.contains("In effect now (`ambient_rooms`, `verbosity`)"), "{news}");
    terminal.say("ambient");
    terminal.see("Ambient is on");
    terminal.say("verbosity");
    terminal.see("2");

    program.write_config("verbosity = 9");
    let news = terminal.see("`verbosity` in");
    assert!(news.contains("The previous settings stay in effect until this is fixed."), "{news}");
    terminal.say("ambient");
    terminal.see("Ambient is on");

    program.write_config("ambient_rooms = [\"console:main\"]\nverbosity = 2\ndisplay_name = \"Tom\"");
    let news = terminal.see("after a `restart`");
    assert!(news.contains("`display_name`"), "{news}");
}

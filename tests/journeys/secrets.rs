//! Marked secrets in settings and environment: none is in logs, chat, process lists, agents' environments, or a file that
//! others can read.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use e2e::Program;

/// Given by a variable that bot.toml names, and once as the model's key.
const TOKEN: &str = "marked-secret-token-4711";
const KEY: &str = "sk-ant-marked-key-4712";

fn program() -> Program {
    let mut program = Program::with_stand_in();
    program.set_env("MARKED_TOKEN", TOKEN);
    program.set_env("ANTHROPIC_API_KEY", KEY);
    program.set_env("RUST_LOG", "trace");
    program
        .write_config("history_size = 7\ndisplay_name = \"Timmy\"\n[pipeline]\nrooms = [\"console:main\"]\n");
    let path = program.file(".storkit/bot.toml");
    let text = fs::read_to_string(&path).expect("bot.toml");
    fs::write(&path, format!("{text}env = {{ GATEWAY_TOKEN = \"${{MARKED_TOKEN}}\" }}\n")).expect("bot.toml");
    program
}

/// Files below `folder` that hold a secret and can be read by others.
fn readable_with_secret(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(meta) = entry.path().symlink_metadata() else { continue };
        if meta.is_dir() {
            found.extend(readable_with_secret(&entry.path()));
        } else if meta.is_file() {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let holds = text.contains(TOKEN) || text.contains(KEY);
            if holds && meta.permissions().mode() & 0o077 != 0 {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

#[test]
fn marked_secrets_are_seen_nowhere() {
    let program = program();
    let serving = program.serve();
    let mut terminal = program.terminal();
    // What people paste and agents print is said without them.
    terminal.say(&format!("echo the token is {TOKEN} and the key {KEY}"));
    let said = terminal.see("the token is");
    assert!(said.contains("[redacted]") && !said.contains(TOKEN) && !said.contains(KEY), "{said}");
    // The variable that bot.toml names is not the agent's; the one made of it for the agent is.
    terminal.say("env MARKED_TOKEN");
    terminal.see("(unset)");
    terminal.say("env GATEWAY_TOKEN");
    terminal.see("[redacted]");
    for line in ["doctor", "status", "whoami"] {
        terminal.say(line);
    }
    terminal.say("echo the end");
    terminal.see("the end");
    let command_lines = std::process::Command::new("ps").args(["-eo", "args"]).output().expect("ps runs");
    let command_lines = String::from_utf8_lossy(&command_lines.stdout).into_owned();
    assert!(!command_lines.contains(TOKEN) && !command_lines.contains(KEY), "a secret in a command line");
    let heard = terminal.heard();
    assert!(!heard.contains(TOKEN) && !heard.contains(KEY), "{heard}");
    let (code, log) = serving.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(TOKEN) && !log.contains(KEY), "a secret in the log at its most talkative");
    assert_eq!(readable_with_secret(&program.project()), Vec::<String>::new());
}

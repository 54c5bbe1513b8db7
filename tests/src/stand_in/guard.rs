//! What every agent of a journey does first: it looks for the bot's secrets in its environment and on its command line.
//! Before another program, the real CLI, this one runs as `claude-stand-in --guard PROGRAM ARGUMENT..`.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    process::Command,
};

#[path = "../../services/src/mark.rs"]
mod mark;

use mark::MARK;

// Named here as well as in the harness: the stand-in shares no code with it.
const REPORT: &str = "STORKIT_TEST_REPORT";

/// Variables that may hold a secret: what bot.toml gives the CLI on purpose.
const GIVEN: [&str; 1] = ["GATEWAY_TOKEN"];

/// Looks around; then becomes the program behind `--guard`, or returns where there is none.
pub fn stand() {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut found = in_environment();
    if words.iter().any(|word| word.contains(MARK)) {
        found.push("a secret is on the command line of an agent".to_owned());
    }
    for leak in &found {
        report("leak", leak);
    }
    if !found.is_empty() {
        super::refuse(&found.join("\n"));
    }
    if let Some(token) = token_of_the_run(&words) {
        report("token", &token);
    }
    if let [_, guard, program, arguments @ ..] = &words[..]
        && guard == "--guard"
    {
        let error = Command::new(program).args(arguments).exec();
        super::refuse(&format!("{program}: {error}"));
    }
}

fn in_environment() -> Vec<String> {
    let variables = std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value));
    variables
        .filter(|(name, value)| value.to_string_lossy().contains(MARK) && !GIVEN.contains(&name.as_str()))
        .map(|(name, _)| format!("an agent has a secret in its environment: {name}"))
        .collect()
}

/// The token of the run for storkit's own server; nobody else may see it.
fn token_of_the_run(words: &[String]) -> Option<String> {
    let at = words.iter().position(|word| word == "--mcp-config")?;
    let text = std::fs::read_to_string(words.get(at + 1)?).ok()?;
    let config: serde_json::Value = serde_json::from_str(&text).ok()?;
    let header = config["mcpServers"]["storkit"]["headers"]["Authorization"].as_str()?;
    Some(header.trim_start_matches("Bearer ").to_owned())
}

// A sandbox may forbid the write; a refused start is seen all the same.
fn report(kind: &str, text: &str) {
    let Some(path) = std::env::var_os(REPORT) else { return };
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).mode(0o600).open(path) {
        let _ = file.write_all(format!("{kind}: {text}\n").as_bytes());
    }
}

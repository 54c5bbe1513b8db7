//! Secrets where they are most likely to come out: pasted into the chat, printed by an agent, with the log at its most talkative.
//! That none is seen in any journey is the harness's matter (`tests/src/place.rs`).

use e2e::{KEY, Program, TOKEN};

#[test]
fn marked_secrets_that_people_and_agents_say_are_seen_nowhere() {
    let mut program = Program::with_stand_in();
    program.set_env("RUST_LOG", "trace");
    program
        .write_config("history_size = 7\ndisplay_name = \"Timmy\"\n[pipeline]\nrooms = [\"console:main\"]\n");
    let serving = program.serve();
    let mut terminal = program.terminal();
    // What people paste and agents print is said without them.
    terminal.say(&format!("echo the token is {TOKEN} and the key {KEY}"));
    let said = terminal.see("the token is");
    assert!(said.contains("[redacted]") && !said.contains(TOKEN) && !said.contains(KEY), "{said}");
    // The variable that bot.toml names is not the agent's; the one made of it for the agent is.
    terminal.say("env STORKIT_TEST_TOKEN");
    terminal.see("(unset)");
    terminal.say("env GATEWAY_TOKEN");
    terminal.see("[redacted]");
    // Nor is that of a messenger that bot.toml does not have.
    terminal.say("env MATRIX_PASSWORD");
    terminal.see("(unset)");
    for line in ["doctor", "status", "whoami"] {
        terminal.say(line);
    }
    terminal.say("echo the end");
    terminal.see("the end");
    let (code, log) = serving.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("TRACE"), "everything is logged");
}

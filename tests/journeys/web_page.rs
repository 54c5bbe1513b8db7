//! The web page in a real Chromium, in front of `storkit demo` with the real CLI.

use std::process::Command;

use e2e::Program;
use needs::{Need, needs};

#[test]
fn a_story_goes_from_new_to_merged_on_a_phone_with_a_question_a_comment_and_a_rejection() {
    needs!(Claude, Tmux, Browser);
    let program = Program::for_the_demo();
    let screen = program.screen(&program.command(&["demo"]));
    screen.see("This is a demo.");
    screen.enters("web");
    let shown = screen.until("showed a link", |shown| link(shown).is_some());
    let link = link(&shown).expect("it is there");
    let folder = Need::Browser.path().expect("it is there");
    let mut node = Command::new("node");
    node.arg(folder.join("test/demo/story.mjs")).arg(&link);
    if let Some(pictures) = std::env::var_os("STORKIT_WEB_PICTURES") {
        node.arg(pictures);
    }
    let seen = node.output().expect("node starts");
    let text = String::from_utf8_lossy(&seen.stdout);
    assert!(
        seen.status.success() && text.ends_with("all seen\n"),
        "{text}\n{}",
        String::from_utf8_lossy(&seen.stderr)
    );
    screen.press("C-d");
    screen.see("ended with 0");
}

#[test]
fn each_page_and_state_is_shown_on_a_phone_with_nothing_that_keeps_people_out() {
    needs!(Browser);
    let folder = Need::Browser.path().expect("it is there");
    // The built page in front of a project in memory; the whole suite is `npm run test:browser`.
    let seen = Command::new("npm")
        .args(["run", "--silent", "test:browser:quick"])
        .current_dir(folder)
        .output()
        .expect("npm starts");
    let (out, errors) = (String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr));
    assert!(seen.status.success(), "{out}\n{errors}");
}

/// The link on the screen, which may be longer than a line of it.
fn link(shown: &str) -> Option<String> {
    let (_, rest) = shown.split_once("http://")?;
    let text: String = rest.chars().filter(|c| *c != '\n').collect();
    let (address, token) = text.split_once("/#l=")?;
    let token: String = token.chars().take_while(char::is_ascii_hexdigit).collect();
    (token.len() == 64).then(|| format!("http://{address}/#l={token}"))
}

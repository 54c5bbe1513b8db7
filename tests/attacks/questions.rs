//! Attacks on permission questions and standing rules: an approval that covers more than its person saw.

use std::{fs, os::unix::fs::symlink, path::PathBuf, time::Duration};

use adapters::{Incoming, testing::fake::FakeRoom};
use e2e::{Bot, Cli, Setup};
use needs::needs;
use pipeline::{
    event::{RunId, RunInfo, RunPhase},
    stage::Role,
    story::StoryId,
};
use reqwest::Client;
use scripted_model::ModelScript;
use serde_json::{Value, json};

async fn start() -> Bot {
    Setup::new(Cli::StandIn).start().await
}

/// The folder where the room's agent works, which is there then.
async fn folder_of(bot: &Bot, room: &FakeRoom) -> PathBuf {
    room.say("echo I begin").await;
    room.see("I begin").await;
    room.settled().await;
    bot.room_folder("a")
}

/// Lets the agent ask for a command, answers it, and waits for the end of the turn.
async fn answered(room: &FakeRoom, number: u32, command: &str, answer: &str) -> String {
    room.say(&format!("bash {command}")).await;
    let question = room.see(&format!("Question {number}**")).await;
    room.say(&format!("{answer} {number}")).await;
    room.see_edit(&format!("Question {number}: ")).await;
    room.settled().await;
    question.text
}

#[tokio::test(flavor = "multi_thread")]
async fn always_for_a_harmless_call_runs_any_program_or_reaches_any_file() {
    let bot = start().await;
    let outside = bot.home().join("outside");
    fs::create_dir_all(&outside).expect("a folder");
    let room = bot.room("a");
    let folder = folder_of(&bot, &room).await;
    for file in ["a", "b"] {
        fs::write(folder.join(file), "x").expect("a file");
    }
    symlink(&outside, folder.join("link")).expect("a link");
    symlink(outside.join("made-by-link"), folder.join("dangling")).expect("a link");
    let mut number = 0;
    // Approved once with `always`, and what that must not cover.
    for (approved, attacks) in [
        (
            "git fetch origin",
            &["git fetch --upload-pack=./evil origin", "git fetch ext::./evil", "git -c a=b fetch"][..],
        ),
        ("make test", &["make test SHELL=./evil", "make -f evil test", "make -C link test", "make evil"]),
        ("npm test", &["npm test --prefix link", "npm test --script-shell=./evil", "npm run evil"]),
        (
            "cat a",
            &["cat /etc/passwd", "cat link/x", "cat .storkit/bot.toml", "cat .git/config", "cat ../home/x"],
        ),
        ("mkdir made", &["mkdir link/made", "mkdir -m 777 x", "mkdir ../made", "mkdir .git/hooks/made"]),
        (
            "touch c",
            &["touch dangling", "touch link/c", "touch .storkit/c", "touch c; id", "touch -r link/x c"],
        ),
        ("uniq a b", &["uniq a link/b", "uniq b a"]),
        ("sort a", &["sort a -o link/b", "sort --compress-program=./evil a"]),
        (
            "git add a",
            &["git add -A", "git add link/x", "git -C link add a", "git add --pathspec-from-file=b"],
        ),
        ("grep x a", &["grep -r x link", "grep -f link/x a", "grep x .storkit/bot.toml", "grep -R x src"]),
        ("tail a", &["tail -f a", "tail /etc/passwd"]),
    ] {
        number += 1;
        answered(&room, number, approved, "always").await;
        for attack in attacks {
            number += 1;
            // That it is asked at all is the defence.
            answered(&room, number, attack, "no").await;
        }
    }
    assert_eq!(fs::read_dir(&outside).expect("the folder").count(), 0, "nothing was made outside");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_the_place_of_an_approved_file_opens_another_one() {
    let bot = start().await;
    let secret = bot.home().join("secret");
    fs::create_dir_all(bot.home()).expect("a home");
    fs::write(&secret, "the secret").expect("a file");
    let room = bot.room("a");
    let folder = folder_of(&bot, &room).await;
    for (file, approved) in [("one", "cat one"), ("two", "rev two")] {
        fs::write(folder.join(file), "nothing").expect("a file");
        let number = if file == "one" { 1 } else { 3 };
        answered(&room, number, approved, "always").await;
        fs::remove_file(folder.join(file)).expect("it was there");
        symlink(&secret, folder.join(file)).expect("a link");
        let shown = answered(&room, number + 1, approved, "no").await;
        let real = secret.canonicalize().expect("it exists").display().to_string();
        assert!(shown.contains(&format!("`{file}` leads through a link to `{real}`")), "{shown}");
    }
    assert!(!room.transcript().contains("the secret"));
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_one_room_serves_another_room() {
    let bot = start().await;
    let (one, other) = (bot.room("a"), bot.room("b"));
    answered(&one, 1, "make release", "always").await;
    answered(&other, 2, "make release", "no").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_for_one_question_allows_the_next_which_nobody_has_seen() {
    let bot = start().await;
    let room = bot.room("a");
    let folder = bot.room_folder("a");
    room.say("twice touch one.txt ;; touch two.txt").await;
    room.see("Question 1**").await;
    // Sent while the first question is open, delivered after the second has taken its place.
    let late = room.incoming("bob", "yes");
    room.say("no 1").await;
    room.see("Question 2**").await;
    room.send_incoming(late).await;
    room.see("Question 1 is closed; question 2 asks about Bash `touch two.txt`").await;
    room.say("yes").await;
    room.see("If you mean that one, say `yes 2`.").await;
    room.say("always").await;
    room.say("status").await;
    room.see("Open questions**: 1").await;
    assert!(!folder.join("two.txt").exists(), "{}", room.transcript());
    room.say("yes 2").await;
    room.see("no output").await;
    assert!(folder.join("two.txt").exists() && !folder.join("one.txt").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_for_an_expired_question_allows_the_next() {
    let bot = Setup::new(Cli::StandIn).config("[claude]\npermission_timeout = \"1s\"").start().await;
    let room = bot.room("a");
    room.say("twice touch one.txt ;; touch two.txt").await;
    room.see("Question 1**").await;
    room.see_edit("nobody answered in time").await;
    room.see("Question 2**").await;
    room.say("yes").await;
    room.see("Question 1 is closed; question 2 asks").await;
    room.settled().await;
    let folder = bot.room_folder("a");
    assert!(!folder.join("one.txt").exists() && !folder.join("two.txt").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_from_before_the_question_allows_it() {
    let bot = start().await;
    let room = bot.room("a");
    let early = Incoming {
        sent_at: std::time::SystemTime::now() - Duration::from_secs(5),
        ..room.incoming("ann", "yes")
    };
    let numbered = Incoming { sent_at: early.sent_at, ..room.incoming("ann", "yes 1") };
    room.say("bash touch unseen.txt").await;
    room.see("Question 1**").await;
    for message in [early, numbered] {
        room.send_incoming(message).await;
        room.see("That answer was sent before the question was shown here").await;
    }
    assert!(!bot.room_folder("a").join("unseen.txt").exists());
    answered_no(&room).await;
    bot.app.shutdown().await;
}

async fn answered_no(room: &FakeRoom) {
    room.say("no").await;
    room.see_edit("denied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_hides_its_end_or_its_switches() {
    let bot = start().await;
    let room = bot.room("a");
    let long = format!("echo {} ; touch evil.txt", "x".repeat(5_000));
    let shown = answered(&room, 1, &long, "no").await;
    assert!(
        shown.contains("echo xxx") && shown.contains("; touch evil.txt"),
        "both ends are in the chat: {shown}"
    );
    let pushed = format!("echo a{}; touch evil.txt", " ".repeat(600));
    let shown = answered(&room, 2, &pushed, "no").await;
    assert!(shown.contains("echo a⟨600 blanks⟩; touch evil.txt"), "{shown}");
    let shown = answered(&room, 3, "echo \u{202e}a\u{3164}b\u{a0}c", "no").await;
    assert!(shown.contains("echo \\u{202e}a\\u{3164}b\\u{a0}c"), "{shown}");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_page_leads_a_person_to_a_rule() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("twice curl -s http://127.0.0.1:9/page; true ;; touch two.txt").await;
    room.see("Question 1**").await;
    room.say("yes 1").await;
    let question = room.see("Question 2**").await.text;
    assert!(question.contains("has read text by strangers: `127.0.0.1`"), "{question}");
    assert!(!question.contains("or `always`"), "{question}");
    room.say("always 2").await;
    room.see("There is no `always` for this one").await;
    room.say("no 2").await;
    room.settled().await;
    // A person speaks to it: the next idea is theirs.
    room.say("bash touch three.txt").await;
    let question = room.see("Question 3**").await.text;
    assert!(question.contains("or `always`") && !question.contains("strangers"), "{question}");
    answered_no(&room).await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_floods_the_backlog() {
    let bot = start().await;
    bot.started().await;
    let agent = RunInfo {
        id: RunId("1-x-1".into()),
        branch: None,
        story: StoryId(1),
        title: "x".into(),
        slot: "x".into(),
        agent: "x".into(),
        role: Role::Coder,
        since: std::time::SystemTime::now(),
        phase: RunPhase::Working,
        pid: None,
        session: None,
        cost_usd: 0.0,
    };
    let run = bot.app.open_run(bot::http::McpRun { agent: Some(agent), ..bot::http::McpRun::default() });
    let mut answers = Vec::new();
    for number in 0..12 {
        answers
            .push(call(&bot, run.token(), "create_bug", json!({ "title": format!("Bug {number}") })).await);
    }
    let refused = answers.iter().filter(|answer| answer.contains("which is the limit")).count();
    assert_eq!(refused, 2, "{answers:#?}");
    bot.app.shutdown().await;
}

/// Calls a tool as an agent with this token does.
async fn call(bot: &Bot, token: &str, tool: &str, arguments: Value) -> String {
    let url = format!("http://127.0.0.1:{}/mcp", bot.app.port());
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": arguments },
    });
    let request =
        Client::new().post(url).bearer_auth(token).header("accept", "application/json, text/event-stream");
    request.json(&body).send().await.expect("it answers").text().await.expect("a text")
}

fn bash(command: &str) -> Value {
    json!({ "command": command, "description": "Run it" })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_settings_let_agents_act_unasked() {
    needs!(Claude);
    for mode in ["auto", "bypassPermissions", "acceptEdits", "dontAsk"] {
        let script = ModelScript::new()
            .on("make")
            .calls("Bash", bash("touch made"))
            .then_says("Done: {last_tool_result}");
        let bot = Setup::real(script).start().await;
        let settings = json!({ "permissions": { "defaultMode": mode }, "useAutoModeDuringPlan": true, "skipAutoPermissionPrompt": true,
            "skipDangerousModePermissionPrompt": true });
        let folder = bot.home().join(".claude");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("settings.json"), settings.to_string()).expect("the settings");
        let room = bot.room("a");
        room.say("make").await;
        room.see("Question 1**").await;
        assert!(!bot.room_folder("a").join("made").exists(), "{mode}");
        room.say("no").await;
        room.see("Done:").await;
        assert!(!bot.room_folder("a").join("made").exists(), "{mode}");
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_change_makes_an_approved_name_another_file() {
    needs!(Claude);
    let script = ModelScript::new()
        .on("first")
        .calls("Bash", bash("touch made"))
        .then_says("First done.")
        .on("second")
        .calls("Bash", bash("cd sub"))
        .then_calls("Bash", bash("touch link/evil"))
        .then_says("Second: {last_tool_result}");
    let bot = Setup::real(script).start().await;
    let outside = bot.home().join("outside");
    fs::create_dir_all(&outside).expect("a folder");
    let room = bot.room("a");
    room.say("first").await;
    room.see("Question 1**").await;
    let sub = bot.room_folder("a").join("sub");
    fs::create_dir_all(&sub).expect("a folder");
    symlink(&outside, sub.join("link")).expect("a link");
    room.say("always").await;
    room.see("First done.").await;
    room.settled().await;
    room.say("second").await;
    room.see("Second:").await;
    assert!(!outside.join("evil").exists(), "{}", room.transcript());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_hides_which_file_is_written() {
    needs!(Claude);
    let place = tempfile::tempdir().expect("a folder");
    let real = place.path().canonicalize().expect("it exists").join("real");
    fs::create_dir(&real).expect("a folder");
    symlink(&real, place.path().join("notes")).expect("a link");
    let input =
        json!({ "file_path": place.path().join("notes/new.md").display().to_string(), "content": "new" });
    let script = ModelScript::new().on("write").calls("Write", input).then_says("Done: {last_tool_result}");
    let bot = Setup::real(script).start().await;
    let room = bot.room("a");
    room.say("write").await;
    let question = room.see("Question 1**").await.text;
    let told = format!("leads through a link to `{}`", real.join("new.md").display());
    assert!(question.contains(&told), "{question}");
    room.say("no").await;
    room.see("Done:").await;
    assert!(!real.join("new.md").exists());
    bot.app.shutdown().await;
}

//! The stand-in is no echo of our own client: an app on Slack's official SDK works against it, in both modes.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use needs::{Need, needs};
use serde_json::{Value, json};
use services::slack::{BOT, Fault, Slack};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// An app that runs, and what it says. It is killed when dropped.
struct Bolt {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
    heard: Vec<Value>,
}

impl Bolt {
    async fn start(slack: &Slack, mode: &[&str]) -> Self {
        let tools = Need::SlackSdk.path().expect("each test asks for it first");
        let python = tools.join("python/bin/python");
        let mut child = Command::new(python)
            .arg(root().join("tests/slack/bolt.py"))
            .arg(slack.api_url())
            .args(mode)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut bolt = Self { lines, _child: child, heard: Vec::new() };
        assert_eq!(bolt.hear("auth").await["user"], BOT);
        bolt.hear("ready").await;
        bolt
    }

    /// The next thing of this kind that it hears.
    async fn hear(&mut self, what: &str) -> Value {
        loop {
            let line = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("never heard {what}: {:?}", self.heard));
            let line =
                line.expect("a line").unwrap_or_else(|| panic!("it ended before {what}: {:?}", self.heard));
            // Its built-in server greets in words of its own.
            let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
            self.heard.push(value.clone());
            if value["heard"] == what {
                return value;
            }
        }
    }
}

/// What both modes have in common.
async fn smoke(slack: &Slack, bolt: &mut Bolt) {
    slack.say("C1", "U1", "hello");
    assert_eq!(bolt.hear("message").await["channel_type"], "channel");
    let edited = slack.see("C1", "hello** Ann, edited").await;
    assert_eq!(edited.edits, 1);
    let marked = |message: &services::slack::Message| message.reactions.contains("eyes");
    slack.until("C1", "marked", |messages| messages.iter().any(marked)).await;

    let mention = slack.say("C1", "U1", &format!("<@{BOT}> hello"));
    assert_eq!(bolt.hear("mention").await["ts"], mention.as_str());
    assert_eq!(slack.see("C1", "you called").await.thread, Some(mention));

    slack.say("D1", "U1", "hello");
    while bolt.hear("message").await["channel_type"] != "im" {}
    slack.see("D1", "edited").await;

    slack.slash("C1", "U2", "/storkit", "status");
    assert_eq!(bolt.hear("command").await["user"], "bob");
    assert_eq!(slack.see("C1", "done: status").await.only_for.as_deref(), Some("U2"));

    slack.say("C1", "U1", "buttons");
    let question = slack.see("C1", "may I?").await;
    assert_eq!(question.buttons(), ["Allow"]);
    slack.press("C1", &question.ts, "U2", "Allow");
    let picked = bolt.hear("action").await;
    assert_eq!((&picked["value"], &picked["user"]), (&"yes".into(), &"U2".into()));
    assert!(slack.see("C1", "decided").await.buttons().is_empty());
    assert_eq!(slack.see("C1", "only you see this").await.only_for.as_deref(), Some("U2"));

    slack.say("C1", "U1", "file");
    slack.see("C1", "from a file").await;

    let sent = slack.file("b.txt", "text/plain", b"from a person");
    slack.send_files("C1", "U1", "", &[sent]);
    let file = bolt.hear("file").await;
    assert_eq!((&file["name"], &file["content"]), (&"b.txt".into(), &"from a person".into()));
    slack.forward("C1", "U1", "", json!({ "author_id": "U3", "text": "I said so" }));
    let forward = bolt.hear("forward").await;
    assert_eq!((&forward["author"], &forward["text"]), (&"U3".into(), &"I said so".into()));
    let root = slack.say("C1", "U3", "slow down");
    for text in ["one", "two", "thread"] {
        slack.say_in_thread("C1", "U1", &root, text);
    }
    assert_eq!(bolt.hear("thread").await["texts"], json!(["slow down", "one", "two"]));

    slack.fault("chat.postMessage", Fault::Limited(1));
    slack.say("C1", "U1", "limit");
    slack.see("C1", "after the limit").await;

    slack.say("C1", "U1", "faults");
    for (name, error) in [
        ("unknown", "message_not_found"),
        ("outside", "not_in_channel"),
        ("blocks", "invalid_blocks"),
        ("token", "invalid_auth"),
    ] {
        let fault = bolt.hear("fault").await;
        assert_eq!((&fault["name"], &fault["error"]), (&name.into(), &error.into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdk_works_against_the_stand_in_in_socket_mode() {
    needs!(SlackSdk);
    let slack = Slack::start().await;
    let mut bolt = Bolt::start(&slack, &["socket"]).await;
    smoke(&slack, &mut bolt).await;
    assert_eq!(slack.see("C1", "working on it").await.only_for.as_deref(), Some("U2"));

    // What was not acknowledged comes again over the next connection.
    let opened = slack.opened();
    slack.announce_end("refresh_requested");
    slack.say("C1", "U1", "over the next one");
    assert_eq!(bolt.hear("message").await["text"], "over the next one");
    slack.connected(opened + 1).await;
    let opened = slack.opened();
    slack.cut();
    slack.say("C1", "U1", "after the cut");
    while bolt.hear("message").await["text"] != "after the cut" {}
    slack.connected(opened + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdk_works_against_the_stand_in_over_http() {
    needs!(SlackSdk);
    let slack = Slack::start().await;
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let mut bolt = Bolt::start(&slack, &["http", &port.to_string()]).await;
    let address = format!("http://127.0.0.1:{port}/slack");
    // It says that it is ready just before it listens.
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tokio::task::yield_now().await;
    }
    slack.call_app_at(&address, &address, &address);
    smoke(&slack, &mut bolt).await;
    slack.doubt_next();
    slack.say("C1", "U1", "twice");
    for _ in 0..2 {
        while bolt.hear("message").await["text"] != "twice" {}
    }
}

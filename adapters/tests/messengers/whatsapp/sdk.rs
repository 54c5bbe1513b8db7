//! The stand-in as others speak to it: pywa, an independent client library, in both directions. What passes here is no echo of
//! our own client.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use needs::{Need, needs};
use serde_json::{Value, json};
use services::whatsapp::{APP_SECRET, Graph, NUMBER_ID, TOKEN, VERIFY_TOKEN};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// Where `script/whatsapp-sdk` put it.
fn python() -> PathBuf {
    Need::WhatsappSdk.path().expect("each test asks for it first").join("python/bin/python")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/whatsapp").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn pywa_sends_what_we_send_and_is_refused_where_we_would_be() {
    needs!(WhatsappSdk);
    let graph = Graph::start().await;
    let nobody = services::whatsapp::listen(async |_| http::Response::new(bytes::Bytes::new())).await;
    graph.call_back(&nobody);
    graph.approve_template("storkit_notice", "de");
    let ann = graph.person("Ann", Some("491701234567"), Some("DE.13491208655302741918"));
    let said = ann.say("hello").await;
    let mut child = Command::new(python())
        .arg(script("client.py"))
        .args([&graph.url(), NUMBER_ID, TOKEN, "491701234567", "DE.13491208655302741918", &said])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let got: Value = read(&mut lines).await;
    for (code, status) in [(131_056, 400), (130_429, 429), (131_047, 400)] {
        graph.fail_next(code, status);
    }
    drop(child.stdin.take());
    let faults: Value = read(&mut lines).await;
    let shown: Vec<_> = ann.shown().into_iter().map(|shown| (shown.kind, shown.text)).collect();
    let kind = |kind: &str, text: &str| (kind.to_owned(), text.to_owned());
    assert_eq!(
        shown[..7],
        [
            kind("text", "Hello *there*"),
            kind("text", "by user id"),
            kind("interactive", "May I?"),
            kind("interactive", "Which?"),
            kind("document", "The log."),
            kind("reaction", "👍"),
            kind("template", "Story 1 is done."),
        ]
    );
    assert_eq!(ann.shown()[0].reply_to.as_deref(), Some(said.as_str()));
    assert_eq!(ann.see("Which?").await.titles(), ["One", "Two"]);
    assert_eq!(
        ann.see("The log.").await.file.map(|(name, bytes)| (name, bytes.to_vec())),
        Some(("log.txt".into(), b"a log\n".to_vec()))
    );
    assert_eq!(got["marks"], json!([true, true]));
    assert_eq!((&got["downloaded"], &got["commands"]), (&json!("bytes"), &json!(["status"])));
    let refused = &got["refused"];
    assert_eq!(refused["token"]["code"], 190, "{refused}");
    for why in ["title", "four", "long"] {
        assert_eq!(refused[why]["code"], 131_009, "{why}: {refused}");
    }
    assert_eq!(refused["template"]["code"], 132_001, "{refused}");
    let faults: Vec<_> = (0..3).map(|n| faults[n]["code"].as_i64()).collect();
    assert_eq!(faults, [Some(131_056), Some(130_429), Some(131_047)]);
}

async fn read(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let next = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
    let line = next.expect("it says something").expect("it can be read").expect("it did not fail");
    serde_json::from_str(&line).expect("JSON")
}

/// pywa's webhook, as a process.
struct Server {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Server {
    async fn start() -> (Self, u16) {
        let mut child = Command::new(python())
            .arg(script("server.py"))
            .args([NUMBER_ID, TOKEN, APP_SECRET, VERIFY_TOKEN])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let port =
            read(&mut lines).await.as_u64().and_then(|port| u16::try_from(port).ok()).expect("its port");
        (Self { child, lines }, port)
    }

    /// The next update that is none of this kind.
    async fn next_but(&mut self, kind: &str) -> Value {
        loop {
            let told = read(&mut self.lines).await;
            if told["kind"] != kind {
                return told;
            }
        }
    }

    async fn end(mut self) {
        self.child.kill().await.expect("it ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pywa_takes_what_the_stand_in_calls_and_nothing_forged() {
    needs!(WhatsappSdk);
    let graph = Graph::start().await;
    let (mut server, port) = Server::start().await;
    graph.call_back(&format!("http://127.0.0.1:{port}/webhook/whatsapp"));
    // It listens before it answers.
    while graph.register("probe").await == Err(0) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    graph.register_rightly().await;
    assert_eq!(graph.register("wrong").await, Err(403));
    let ann = graph.person("Änn/🎉", Some("491701234567"), Some("DE.13491208655302741918"));
    let id = ann.say("Grüße an /alle 👋").await;
    let told = server.next_but("status").await;
    assert_eq!(
        (&told["id"], &told["text"], &told["name"]),
        (&json!(id), &json!("Grüße an /alle 👋"), &json!("Änn/🎉"))
    );
    assert_eq!(
        (&told["user_id"], &told["number"]),
        (&json!("DE.13491208655302741918"), &json!("491701234567"))
    );
    let hidden = ann.without_number();
    hidden.reply(&id, "an answer").await;
    let told = server.next_but("status").await;
    assert_eq!((&told["reply_to"], &told["number"]), (&json!(id), &Value::Null));
    ann.press_key("wamid.1", "q:1:yes", "Allow").await;
    assert_eq!(server.next_but("status").await["text"], "q:1:yes");
    ann.react(&id, "👍").await;
    assert_eq!(server.next_but("status").await["text"], "👍");
    ann.send_image(b"x", "look").await;
    assert_eq!(server.next_but("status").await["text"], "look");
    ann.send_document("a.log", b"x", None).await;
    assert_eq!(server.next_but("status").await["text"], "a.log");
    ann.send_voice(b"OggS").await;
    assert_eq!(server.next_but("status").await["voice"], true);
    ann.forward("not mine").await;
    let told = server.next_but("status").await;
    assert_eq!((&told["text"], &told["forwarded"]), (&json!("not mine"), &json!(true)));
    ann.edit(&id, "another text").await;
    assert_eq!(server.next_but("status").await["text"], "another text");
    ann.revoke(&id).await;
    assert_eq!(server.next_but("status").await["text"], json!(id));
    graph.fail_later("wamid.9", "491701234567", 131_047).await;
    let told = read(&mut server.lines).await;
    assert_eq!(
        (&told["kind"], &told["text"], &told["code"]),
        (&json!("status"), &json!("failed"), &json!(131_047))
    );
    for signature in [None, Some("sha256=00")] {
        assert_ne!(graph.post(b"{}", signature).await, 200, "{signature:?}");
    }
    server.end().await;
}

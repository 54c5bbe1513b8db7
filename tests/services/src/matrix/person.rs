//! A person on Matrix with a client that is not ours: matrix-nio, run by `tests/matrix/person.py`.

use std::{collections::HashMap, path::Path, process::Stdio, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
};

use super::{Account, Synapse, tools};

const PATIENCE: Duration = Duration::from_secs(120);

/// A message as the person's app shows it, edits applied.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Message {
    pub id: String,
    pub sender: String,
    pub text: String,
    pub html: Option<String>,
    pub kind: Option<String>,
    pub mentions: Option<Value>,
    pub thread: Option<String>,
    pub reply_to: Option<String>,
    pub encrypted: bool,
    pub redacted: bool,
    pub edits: u32,
    pub reactions: Vec<Reaction>,
    /// Milliseconds since 1970, by the homeserver.
    pub sent_at: u64,
}

/// A reaction below a message.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Reaction {
    pub id: String,
    pub sender: String,
    pub key: String,
}

/// A room as the person sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    version: i64,
    pub messages: Vec<Message>,
    pub typing: Vec<String>,
    /// The last message that each person has read.
    pub receipts: HashMap<String, String>,
    /// How many messages could not be decrypted.
    pub unreadable: u32,
}

/// A file that a person sends.
#[derive(Clone, Copy, Debug, Default)]
pub struct PersonFile<'a> {
    pub content: &'a [u8],
    pub caption: Option<&'a str>,
    /// The size that the message names, if it is not the true one.
    pub announced: Option<u64>,
    /// Not encrypted, whatever the room is.
    pub plain: bool,
    /// Encrypted, with the hash of another file.
    pub spoilt: bool,
}

pub struct Person {
    pub account: Account,
    pub device: String,
    process: Mutex<Process>,
    _store: TempDir,
}

struct Process {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Person {
    /// A new user whose device is cross-signed, as with a current app.
    pub async fn new(synapse: &Synapse, name: &str) -> Self {
        let person = Self::unsigned(synapse, name).await;
        person.ask(json!({ "do": "cross_sign" })).await;
        person
    }

    /// A new user whose device nobody has signed.
    pub async fn unsigned(synapse: &Synapse, name: &str) -> Self {
        let account = synapse.register(name).await;
        Self::with(synapse, account).await
    }

    /// Another device of an account, unsigned.
    pub async fn with(synapse: &Synapse, account: Account) -> Self {
        let store = tempfile::tempdir().expect("a temporary folder");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../matrix/person.py");
        let mut child = Command::new(tools().join("bin/python"))
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python runs");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let process = Mutex::new(Process { _child: child, input, output });
        let mut person = Self { account, device: String::new(), process, _store: store };
        let started = person
            .ask(json!({
                "do": "start", "homeserver": synapse.url(), "user": person.account.name,
                "password": person.account.password, "store": person._store.path(),
            }))
            .await;
        person.device = started["device"].as_str().expect("a device").to_owned();
        person
    }

    pub fn id(&self) -> &str {
        &self.account.id
    }

    /// Gives an order to `person.py`; panics with its answer if it fails.
    pub async fn ask(&self, order: Value) -> Value {
        let mut process = self.process.lock().await;
        process.input.write_all(format!("{order}\n").as_bytes()).await.expect("it listens");
        let line = tokio::time::timeout(PATIENCE, process.output.next_line()).await;
        let line =
            line.unwrap_or_else(|_| panic!("no answer to {order}")).expect("readable").expect("it runs");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        assert!(answer.get("error").is_none(), "{order}: {answer}");
        answer["ok"].clone()
    }

    /// Makes a room and invites these.
    pub async fn create_room(&self, encrypted: bool, invite: &[&str]) -> String {
        text(&self.ask(json!({ "do": "create_room", "encrypted": encrypted, "invite": invite })).await)
    }

    pub async fn join(&self, room: &str) {
        self.ask(json!({ "do": "join", "room": room })).await;
    }

    /// Waits until somebody invites this person, and joins; returns the room.
    pub async fn follow_invitation(&self) -> String {
        let room = self.ask(json!({ "do": "invitation" })).await;
        let room = room.as_str().expect("a room").to_owned();
        self.join(&room).await;
        room
    }

    pub async fn invite(&self, room: &str, user: &str) {
        self.ask(json!({ "do": "invite", "room": room, "user": user })).await;
    }

    /// Removes somebody from the room.
    pub async fn kick(&self, room: &str, user: &str) {
        self.ask(json!({ "do": "kick", "room": room, "user": user })).await;
    }

    /// Messages in the room need this power level from now on.
    pub async fn messages_need(&self, room: &str, level: u32) {
        self.ask(json!({ "do": "messages_need", "room": room, "level": level })).await;
    }

    /// Who is in the room, invited to it, or has left.
    pub async fn members(&self, room: &str) -> HashMap<String, String> {
        let members = self.ask(json!({ "do": "members", "room": room })).await;
        serde_json::from_value(members).expect("memberships")
    }

    /// Sends a text; returns the event's id.
    pub async fn say(&self, room: &str, words: &str) -> String {
        self.send(room, json!({ "msgtype": "m.text", "body": words, "m.mentions": {} })).await
    }

    pub async fn reply(&self, room: &str, to: &str, words: &str) -> String {
        let relation = json!({ "m.in_reply_to": { "event_id": to } });
        self.send(
            room,
            json!({ "msgtype": "m.text", "body": words, "m.relates_to": relation, "m.mentions": {} }),
        )
        .await
    }

    /// Sends a text in the thread below a message.
    pub async fn say_in_thread(&self, room: &str, root: &str, words: &str) -> String {
        let relation = json!({
            "rel_type": "m.thread", "event_id": root, "is_falling_back": true, "m.in_reply_to": { "event_id": root },
        });
        self.send(
            room,
            json!({ "msgtype": "m.text", "body": words, "m.relates_to": relation, "m.mentions": {} }),
        )
        .await
    }

    /// Sends a message with this content.
    pub async fn send(&self, room: &str, content: Value) -> String {
        text(&self.ask(json!({ "do": "send", "room": room, "content": content })).await)
    }

    /// Sends a file, encrypted where the room is. `kind` is the message's type, or `m.sticker`.
    pub async fn send_file(&self, room: &str, kind: &str, name: &str, file: &PersonFile<'_>) -> String {
        let info = file.announced.map(|size| json!({ "size": size }));
        let order = json!({
            "do": "send_file", "room": room, "kind": kind, "name": name, "data": hex::encode(file.content),
            "caption": file.caption, "info": info, "plain": file.plain, "spoil": file.spoilt,
        });
        text(&self.ask(order).await)
    }

    /// Upgrades a room as an app does, without inviting anybody; returns the replacement.
    pub async fn upgrade(&self, room: &str) -> String {
        text(&self.ask(json!({ "do": "upgrade", "room": room })).await)
    }

    /// Sets a part of the room's state.
    pub async fn set_state(&self, room: &str, kind: &str, content: Value) {
        self.ask(json!({ "do": "set_state", "room": room, "kind": kind, "content": content })).await;
    }

    /// Makes a room that says to replace another one, and invites these.
    pub async fn create_replacement(&self, of: &str, invite: &[&str]) -> String {
        let order = json!({ "do": "create_room", "encrypted": true, "invite": invite, "predecessor": of });
        text(&self.ask(order).await)
    }

    /// Changes a message to this content.
    pub async fn edit(&self, room: &str, event: &str, content: Value) -> String {
        let mut edit = content.clone();
        edit["body"] = format!("* {}", content["body"].as_str().unwrap_or_default()).into();
        edit["m.new_content"] = content;
        edit["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": event });
        self.send(room, edit).await
    }

    /// Sends a text without encryption, whatever the room is.
    pub async fn say_plainly(&self, room: &str, words: &str) -> String {
        let content = json!({ "msgtype": "m.text", "body": words });
        text(&self.ask(json!({ "do": "send_plain", "room": room, "content": content })).await)
    }

    pub async fn react(&self, room: &str, to: &str, emoji: &str) -> String {
        let relation = json!({ "rel_type": "m.annotation", "event_id": to, "key": emoji });
        let content = json!({ "m.relates_to": relation });
        text(&self.ask(json!({ "do": "send", "room": room, "content": content, "kind": "m.reaction" })).await)
    }

    /// Takes a message or a reaction back.
    pub async fn redact(&self, room: &str, event: &str) {
        self.ask(json!({ "do": "redact_event", "room": room, "event": event })).await;
    }

    /// Sends an encrypted message whose key nobody gets.
    pub async fn send_undecryptable(&self, room: &str) -> String {
        text(&self.ask(json!({ "do": "send_undecryptable", "room": room })).await)
    }

    /// How many edits the homeserver has of a message.
    pub async fn edits(&self, room: &str, event: &str) -> u64 {
        self.ask(json!({ "do": "edits", "room": room, "event": event })).await.as_u64().expect("a number")
    }

    pub async fn look(&self, room: &str) -> Seen {
        self.look_since(room, -1).await
    }

    /// Waits until the room is so; panics with its present state if it never is.
    pub async fn until<T>(&self, room: &str, what: &str, mut is_so: impl FnMut(&Seen) -> Option<T>) -> T {
        let begun = tokio::time::Instant::now();
        let mut seen = self.look(room).await;
        loop {
            if let Some(found) = is_so(&seen) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "never {what}: {seen:#?}");
            seen = self.look_since(room, seen.version).await;
        }
    }

    /// Waits for a message of this sender that contains these words; panics with the room's present state if it does not come.
    pub async fn see(&self, room: &str, sender: &str, words: &str) -> Message {
        let wanted = |message: &&Message| message.sender == sender && message.text.contains(words);
        self.until(room, &format!("saw {words:?}"), |seen| seen.messages.iter().find(wanted).cloned()).await
    }

    /// Which devices of a user are signed by the user's own identity, as checked without any library of Matrix.
    pub async fn devices_of(&self, user: &str) -> (Option<String>, HashMap<String, bool>) {
        let answer = self.ask(json!({ "do": "devices_of", "user": user })).await;
        let devices = serde_json::from_value(answer["devices"].clone()).expect("devices");
        (answer["master"].as_str().map(str::to_owned), devices)
    }

    async fn look_since(&self, room: &str, version: i64) -> Seen {
        let seen = self.ask(json!({ "do": "see", "room": room, "since": version })).await;
        crate::no_secret_in("a Matrix room", &seen.to_string());
        serde_json::from_value(seen).expect("a room")
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

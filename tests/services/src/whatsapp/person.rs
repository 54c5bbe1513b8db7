//! People with a phone: their acts become notifications, and they see the messages sent to them.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::body::Bytes;
use serde_json::{Value, json};

use super::{Graph, NUMBER, StoredFile};

/// A message of the bot on a person's phone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    pub id: String,
    /// For whom, by the id it was sent to.
    pub to: String,
    /// Its kind: `text`, `interactive`, `document`, `template`, ...
    pub kind: String,
    /// Its text or caption; a template's parameter.
    pub text: String,
    pub reply_to: Option<String>,
    /// The keys and titles of its choices.
    pub choices: Vec<(String, String)>,
    /// A document's name and bytes.
    pub file: Option<(String, Bytes)>,
}

impl Shown {
    pub(super) fn read(id: &str, to: &str, body: &Value, files: &HashMap<String, StoredFile>) -> Self {
        let kind = body["type"].as_str().unwrap_or_default();
        let content = &body[kind];
        let text = match kind {
            "text" => &content["body"],
            "interactive" => &content["body"]["text"],
            "template" => &content["components"][0]["parameters"][0]["text"],
            "reaction" => &content["emoji"],
            _ => &content["caption"],
        };
        let file = content["id"].as_str().and_then(|id| files.get(id));
        let name = |file: &StoredFile| content["filename"].as_str().unwrap_or(&file.name).to_owned();
        Self {
            id: id.to_owned(),
            to: to.to_owned(),
            kind: kind.to_owned(),
            text: text.as_str().unwrap_or_default().to_owned(),
            reply_to: body["context"]["message_id"].as_str().map(str::to_owned),
            choices: choices(&content["action"]),
            file: file.map(|file| (name(file), file.bytes.clone())),
        }
    }

    /// The titles of its choices.
    pub fn titles(&self) -> Vec<String> {
        self.choices.iter().map(|(_, title)| title.clone()).collect()
    }
}

fn choices(action: &Value) -> Vec<(String, String)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let buttons = list(&action["buttons"]).into_iter().map(|button| button["reply"].clone());
    let rows = list(&action["sections"]).into_iter().flat_map(|section| list(&section["rows"]));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    buttons.chain(rows).map(|it| (text(&it["id"]), text(&it["title"]))).collect()
}

#[derive(Clone)]
pub struct Person {
    graph: Graph,
    name: String,
    phone: Option<String>,
    user_id: Option<String>,
    parent_id: Option<String>,
}

impl Person {
    pub(super) fn new(graph: Graph, name: &str, phone: Option<&str>, user_id: Option<&str>) -> Self {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Self { graph, name: name.to_owned(), phone: own(phone), user_id: own(user_id), parent_id: None }
    }

    /// The same person, in an enterprise whose portfolios share this id of them.
    #[must_use]
    pub fn with_parent_id(&self, parent_id: &str) -> Self {
        Self { parent_id: Some(parent_id.to_owned()), ..self.clone() }
    }

    /// The number, with its plus.
    pub fn phone(&self) -> Option<String> {
        self.phone.as_ref().map(|digits| format!("+{digits}"))
    }

    pub fn user_id(&self) -> Option<String> {
        self.user_id.clone()
    }

    /// The same person, whose number Meta withholds from now on.
    #[must_use]
    pub fn without_number(&self) -> Self {
        Self { phone: None, ..self.clone() }
    }

    /// Writes; returns the id once the program has taken it.
    pub async fn say(&self, text: &str) -> String {
        self.send(json!({ "type": "text", "text": { "body": text } })).await
    }

    /// Writes, some time ago.
    pub async fn said(&self, text: &str, ago: Duration) -> String {
        let message =
            self.message(json!({ "type": "text", "text": { "body": text } }), self.graph.now() - ago);
        self.deliver(vec![message]).await.remove(0)
    }

    pub async fn reply(&self, to: &str, text: &str) -> String {
        let context = json!({ "from": NUMBER, "id": to });
        self.send(json!({ "type": "text", "text": { "body": text }, "context": context })).await
    }

    /// Forwards somebody's words.
    pub async fn forward(&self, text: &str) -> String {
        let context = json!({ "forwarded": true });
        self.send(json!({ "type": "text", "text": { "body": text }, "context": context })).await
    }

    /// Writes several messages, which come in one notification.
    pub async fn say_at_once(&self, texts: &[&str]) -> Vec<String> {
        let message =
            |text: &&str| self.message(json!({ "type": "text", "text": { "body": text } }), self.graph.now());
        self.deliver(texts.iter().map(message).collect()).await
    }

    /// Presses the button, or picks the row, with this title, which the message must have.
    pub async fn press(&self, on: &str, title: &str) -> String {
        let shown = self.graph.state().shown.iter().find(|shown| shown.id == on).cloned();
        let shown = shown.unwrap_or_else(|| panic!("no message {on}"));
        let choice = shown.choices.iter().find(|(_, it)| it == title);
        let (key, title) = choice.unwrap_or_else(|| panic!("no {title:?} on {shown:?}"));
        self.press_key(on, key, title).await
    }

    /// Sends the press of a button that need not be theirs.
    pub async fn press_key(&self, on: &str, key: &str, title: &str) -> String {
        let reply = json!({ "id": key, "title": title });
        let interactive = json!({ "type": "button_reply", "button_reply": reply });
        let context = json!({ "from": NUMBER, "id": on });
        self.send(json!({ "type": "interactive", "interactive": interactive, "context": context })).await
    }

    /// Puts a reaction on a message; an empty one takes it away.
    pub async fn react(&self, on: &str, emoji: &str) -> String {
        self.send(json!({ "type": "reaction", "reaction": { "message_id": on, "emoji": emoji } })).await
    }

    /// Edits a message of theirs.
    pub async fn edit(&self, id: &str, text: &str) -> String {
        let message = json!({ "type": "text", "text": { "body": text } });
        self.send(json!({ "type": "edit", "edit": { "original_message_id": id, "message": message } })).await
    }

    /// Takes a message of theirs back.
    pub async fn revoke(&self, id: &str) -> String {
        self.send(json!({ "type": "revoke", "revoke": { "original_message_id": id } })).await
    }

    pub async fn send_image(&self, bytes: &[u8], caption: &str) -> String {
        let id = self.graph.store(Bytes::copy_from_slice(bytes), "image/jpeg", "", None);
        self.send(json!({ "type": "image", "image": { "id": id, "mime_type": "image/jpeg", "sha256": "x", "caption": caption } })).await
    }

    /// Records a voice message.
    pub async fn send_voice(&self, bytes: &[u8]) -> String {
        let id = self.graph.store(Bytes::copy_from_slice(bytes), "audio/ogg; codecs=opus", "", None);
        let audio = json!({ "id": id, "mime_type": "audio/ogg; codecs=opus", "sha256": "x", "voice": true });
        self.send(json!({ "type": "audio", "audio": audio })).await
    }

    /// Sends a document that claims to have `claims` bytes.
    pub async fn send_document(&self, name: &str, bytes: &[u8], claims: Option<u64>) -> String {
        let id = self.graph.store(Bytes::copy_from_slice(bytes), "text/plain", name, claims);
        let document = json!({ "id": id, "mime_type": "text/plain", "sha256": "x", "filename": name });
        self.send(json!({ "type": "document", "document": document })).await
    }

    /// Sends a message of any content.
    pub async fn send(&self, content: Value) -> String {
        let message = self.message(content, self.graph.now());
        self.deliver(vec![message]).await.remove(0)
    }

    /// The service delivers a message of theirs once more.
    pub async fn redeliver(&self, id: &str) {
        let message = self.graph.state().delivered.get(id).cloned();
        self.notify(vec![message.unwrap_or_else(|| panic!("no message {id}"))]).await;
    }

    /// A message, and when it was written.
    pub fn message(&self, content: Value, at: SystemTime) -> Value {
        let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut message = json!({ "id": self.graph.wamid(), "timestamp": seconds.to_string() });
        let ids = [
            ("from", &self.phone),
            ("from_user_id", &self.user_id),
            ("from_parent_user_id", &self.parent_id),
        ];
        for (field, id) in ids {
            if let Some(id) = id {
                message[field] = json!(id);
            }
        }
        content.as_object().into_iter().flatten().for_each(|(key, value)| message[key] = value.clone());
        message
    }

    /// Delivers these messages in one notification, in this order; their ids.
    pub async fn deliver(&self, messages: Vec<Value>) -> Vec<String> {
        let ids: Vec<String> =
            messages.iter().map(|it| it["id"].as_str().unwrap_or_default().to_owned()).collect();
        {
            let mut state = self.graph.state();
            for message in &messages {
                state
                    .delivered
                    .insert(message["id"].as_str().unwrap_or_default().to_owned(), message.clone());
                let seconds =
                    message["timestamp"].as_str().and_then(|it| it.parse().ok()).unwrap_or_default();
                let at = UNIX_EPOCH + Duration::from_secs(seconds);
                for id in [&self.phone, &self.user_id, &self.parent_id].into_iter().flatten() {
                    let heard = state.heard.entry(id.clone()).or_insert(at);
                    *heard = at.max(*heard);
                }
            }
        }
        self.notify(messages).await;
        ids
    }

    async fn notify(&self, messages: Vec<Value>) {
        self.graph.notify(vec![self.value(messages)]).await;
    }

    /// The value of a change that holds these messages.
    pub fn value(&self, messages: Vec<Value>) -> Value {
        let contact = self.contact();
        json!({
            "messaging_product": "whatsapp",
            "metadata": Graph::metadata(),
            "contacts": [contact],
            "messages": messages,
        })
    }

    pub(super) fn contact(&self) -> Value {
        let mut contact = json!({ "profile": { "name": self.name } });
        let ids = [("wa_id", &self.phone), ("user_id", &self.user_id), ("parent_user_id", &self.parent_id)];
        for (field, id) in ids {
            if let Some(id) = id {
                contact[field] = json!(id);
            }
        }
        contact
    }

    /// Every message they were sent, in order.
    pub fn shown(&self) -> Vec<Shown> {
        let state = self.graph.state();
        state.shown.iter().filter(|shown| self.is(&shown.to)).cloned().collect()
    }

    /// Waits for the newest message that contains `text`; panics with all messages to this person if none comes.
    pub async fn see(&self, text: &str) -> Shown {
        let is_it = |shown: &&Shown| self.is(&shown.to) && shown.text.contains(text);
        let found = self.graph.until(|state| state.shown.iter().rev().find(is_it).cloned()).await;
        found.unwrap_or_else(|| panic!("never saw {text:?}: {:#?}", self.shown()))
    }

    /// Waits until the messages to them are so; panics with these if they never are.
    pub async fn until<T>(&self, what: &str, find: impl Fn(&[Shown]) -> Option<T>) -> T {
        let mine = |state: &super::State| -> Vec<Shown> {
            state.shown.iter().filter(|shown| self.is(&shown.to)).cloned().collect()
        };
        let found = self.graph.until(|state| find(&mine(state))).await;
        found.unwrap_or_else(|| panic!("never {what}: {:#?}", self.shown()))
    }

    /// Like [`Person::see`], for a message after the first `seen`.
    pub async fn see_after(&self, seen: usize, text: &str) -> Shown {
        let find = |state: &super::State| {
            let mine = state.shown.iter().filter(|shown| self.is(&shown.to)).skip(seen);
            mine.into_iter().find(|shown| shown.text.contains(text)).cloned()
        };
        let found = self.graph.until(find).await;
        found.unwrap_or_else(|| panic!("never saw {text:?} after {seen}: {:#?}", self.shown()))
    }

    pub(super) fn is(&self, id: &str) -> bool {
        [&self.phone, &self.user_id, &self.parent_id].into_iter().any(|own| own.as_deref() == Some(id))
    }
}

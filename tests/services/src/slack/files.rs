//! Files that people send, where Slack serves them and what it says of them; and messages that people forward.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{Path, State as Extract},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse as _, Redirect, Response},
};
use serde_json::{Value, json};

use super::{
    BOT_TOKEN, Message, Shared, Slack,
    state::{Call, Fault, State},
    verbs::written,
};

/// A file of a person's.
pub(super) struct PersonFile {
    /// As events hold it.
    about: Value,
    bytes: Vec<u8>,
    /// Slack serves it from here.
    elsewhere: Option<String>,
}

impl Slack {
    /// A file that people may send, as events hold it. <https://docs.slack.dev/reference/objects/file-object>
    pub fn file(&self, name: &str, mimetype: &str, bytes: &[u8]) -> Value {
        let base = self.shared.base.clone();
        self.shared.change(|state| {
            let id = format!("F{}", state.number());
            let url = format!("{base}/files-pri/{id}");
            let about = json!({
                "id": id, "name": name, "title": name, "mimetype": mimetype, "size": bytes.len(), "mode": "hosted",
                "is_external": false, "external_type": "", "is_public": false, "user": "U1", "file_access": "visible",
                "url_private": url, "url_private_download": format!("{url}/download"),
            });
            let file = PersonFile { about: about.clone(), bytes: bytes.to_vec(), elsewhere: None };
            state.people_files.insert(id, file);
            about
        })
    }

    /// The person sends files, with or without a text.
    pub fn send_files(&self, channel: &str, user: &str, text: &str, files: &[Value]) -> String {
        let more = json!({ "subtype": "file_share", "upload": false, "files": files });
        self.write(Message { more, ..written(channel, user, text) })
    }

    /// The person forwards a message, with or without words of their own.
    pub fn forward(&self, channel: &str, user: &str, text: &str, forwarded: Value) -> String {
        self.write(Message { more: share_of(&forwarded), ..written(channel, user, text) })
    }

    /// The same in the thread below a message.
    pub fn forward_in_thread(&self, channel: &str, user: &str, root: &str, forwarded: Value) -> String {
        let thread = Some(root.to_owned());
        self.write(Message { thread, more: share_of(&forwarded), ..written(channel, user, "look at this") })
    }

    /// The messages with this text have more fields from now on.
    pub fn add_fields(&self, channel: &str, text: &str, more: Value) {
        self.shared.change(|state| {
            let written = state.messages.iter_mut();
            written
                .filter(|message| message.channel == channel && message.text == text)
                .for_each(|message| message.more = more.clone());
        });
    }

    /// Requests for this file are sent on to another address.
    pub fn move_file(&self, file: &Value, url: &str) {
        self.shared.change(|state| {
            let moved = state.people_files.get_mut(file["id"].as_str().unwrap_or_default());
            moved.expect("a file").elsewhere = Some(url.to_owned());
        });
    }

    /// Somebody deletes this file.
    pub fn delete_file(&self, file: &Value) {
        self.shared.change(|state| state.people_files.remove(file["id"].as_str().unwrap_or_default()));
    }
}

/// What an event says of a file of another organisation, or of one whose content Slack keeps back.
pub fn only_its_id(file: &Value) -> Value {
    json!({ "id": file["id"], "mode": "file_access", "file_access": "check_file_info", "created": 0, "user": "" })
}

/// <https://docs.slack.dev/reference/methods/files.info>
pub(super) fn info(state: &State, body: &Value) -> Result<Value, Value> {
    match state.people_files.get(body["file"].as_str().unwrap_or_default()) {
        Some(file) => Ok(json!({ "ok": true, "file": file.about, "comments": [] })),
        None => Err(json!({ "ok": false, "error": "file_not_found" })),
    }
}

pub(super) async fn serve(
    Extract(shared): Extract<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let is_known = token == Some(&format!("Bearer {BOT_TOKEN}"));
    shared.change(|state| {
        let fault = state.faults.get_mut("file").and_then(std::collections::VecDeque::pop_front);
        let ok = is_known && fault.is_none();
        state.calls.push(Call { at: Instant::now(), method: "file".into(), body: Value::Null, ok });
        if let Some(Fault::Status(status)) = fault {
            return StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        }
        if !is_known || !state.scopes.contains("files:read") {
            // As Slack does: no error, but its login page.
            return Redirect::to("/login").into_response();
        }
        match state.people_files.get(&id) {
            Some(PersonFile { elsewhere: Some(url), .. }) => Redirect::to(url).into_response(),
            Some(file) => {
                let mimetype = file.about["mimetype"].as_str().unwrap_or_default().to_owned();
                ([(header::CONTENT_TYPE, mimetype)], file.bytes.clone()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        }
    })
}

pub(super) async fn login() -> Html<&'static str> {
    Html("<!DOCTYPE html><html><head><title>Sign in | Slack</title></head></html>")
}

fn share_of(forwarded: &Value) -> Value {
    let mut share = json!({
        "id": 1, "is_msg_unfurl": true, "is_share": true, "color": "D0D0D0", "mrkdwn_in": ["text"], "channel_id": "C2",
        "from_url": "https://stand-in.slack.com/archives/C2/p1700000000000100", "ts": "1700000000.000100", "footer": "Slack Conversation",
        "fallback": "[November 14th, 2023 10:13 PM] somebody: something",
    });
    forwarded.as_object().into_iter().flatten().for_each(|(key, value)| share[key] = value.clone());
    json!({ "attachments": [share] })
}

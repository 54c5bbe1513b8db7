//! The Web API, the sockets' door, response URLs and uploads.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, RawQuery, State as Extract, WebSocketUpgrade},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{any, get, post},
};
use serde_json::{Value, json};

use super::{
    APP_TOKEN, BOT, BOT_ID, BOT_TOKEN, Shared, blocks, deliver, files, replies,
    state::{Call, Fault, Message, State},
};

const SCOPES_HEADER: HeaderName = HeaderName::from_static("x-oauth-scopes");

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/api/{method}", any(call))
        .route("/link", get(link))
        .route("/response/{id}", post(respond))
        .route("/upload/{id}", post(upload))
        .route("/files-pri/{id}/download", get(files::serve))
        .route("/files-pri/{id}", get(files::serve))
        .route("/login", get(files::login))
        .with_state(shared)
}

async fn link(Extract(shared): Extract<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| deliver::serve(shared, socket))
}

async fn call(
    Extract(shared): Extract<Arc<Shared>>,
    Path(method): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let body = arguments(&headers, query.as_deref().unwrap_or_default(), &bytes);
    if let Some(answer) = fault(&shared, &method, &body).await {
        return answer;
    }
    let token = token(&headers, &body);
    let (answer, event) = shared.change(|state| {
        let (answer, event) = answer(&shared.base, state, &method, &body, &token);
        let ok = answer["ok"] == true;
        state.calls.push(Call { at: Instant::now(), method: method.clone(), body: body.clone(), ok });
        (answer, event)
    });
    if let Some(event) = event {
        deliver::send_event(&shared, "events_api", event);
    }
    reply(&shared, answer)
}

fn reply(shared: &Shared, answer: Value) -> Response {
    let scopes: Vec<String> = shared.state().scopes.iter().cloned().collect();
    let status =
        if answer["error"] == "ratelimited" { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK };
    let mut response =
        (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], answer.to_string())
            .into_response();
    if let Ok(scopes) = scopes.join(",").parse() {
        response.headers_mut().insert(SCOPES_HEADER, scopes);
    }
    if let Some(Ok(seconds)) = answer["retry_after"].as_u64().map(|seconds| seconds.to_string().parse()) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

async fn fault(shared: &Shared, method: &str, body: &Value) -> Option<Response> {
    let fault = shared.change(|state| {
        let fault = state.faults.get_mut(method).and_then(std::collections::VecDeque::pop_front)?;
        let call = Call { at: Instant::now(), method: method.to_owned(), body: body.clone(), ok: false };
        state.calls.push(call);
        Some(fault)
    })?;
    Some(match fault {
        Fault::Hang => std::future::pending().await,
        Fault::Status(status) => {
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
        }
        Fault::Code(code) => reply(shared, json!({ "ok": false, "error": code })),
        Fault::Limited(seconds) => {
            reply(shared, json!({ "ok": false, "error": "ratelimited", "retry_after": seconds }))
        }
        Fault::Garbage => ([(header::CONTENT_TYPE, "application/json")], "{\"ok\": tr").into_response(),
    })
}

fn arguments(headers: &HeaderMap, query: &str, bytes: &[u8]) -> Value {
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/json"));
    if is_json {
        return serde_json::from_slice(bytes).unwrap_or_default();
    }
    let fields = form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(bytes));
    fields
        .map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn token(headers: &HeaderMap, body: &Value) -> String {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|header| header.strip_prefix("Bearer "));
    bearer.or(body["token"].as_str()).unwrap_or_default().to_owned()
}

fn text<'v>(body: &'v Value, key: &str) -> &'v str {
    body[key].as_str().unwrap_or_default()
}

fn refused(code: &str) -> Value {
    json!({ "ok": false, "error": code })
}

/// The scope that a method needs.
fn scope(method: &str) -> Option<&'static str> {
    match method {
        "chat.postMessage" | "chat.update" | "chat.postEphemeral" | "chat.delete" => Some("chat:write"),
        "reactions.add" | "reactions.remove" => Some("reactions:write"),
        "users.info" => Some("users:read"),
        "conversations.history" => Some("channels:history"),
        "conversations.members" => Some("channels:read"),
        "conversations.open" => Some("im:write"),
        "files.info" => Some("files:read"),
        "files.getUploadURLExternal" | "files.completeUploadExternal" => Some("files:write"),
        _ => None,
    }
}

/// The answer, and the event that the call causes.
fn answer(base: &str, state: &mut State, method: &str, body: &Value, token: &str) -> (Value, Option<Value>) {
    let wanted = if method == "apps.connections.open" { APP_TOKEN } else { BOT_TOKEN };
    if let Err(refused) = state.authorize(token, wanted, scope(method)) {
        return (refused, None);
    }
    let answer = match method {
        "apps.connections.open" => {
            let ticket = uuid::Uuid::new_v4();
            Ok(json!({ "ok": true, "url": format!("{}/link?ticket={ticket}", base.replace("http", "ws")) }))
        }
        "auth.test" => Ok(json!({
            "ok": true, "url": "https://stand-in.slack.com/", "team": "stand-in", "user": "timmy", "team_id": "T1",
            "user_id": BOT, "bot_id": BOT_ID, "is_enterprise_install": false,
        })),
        "chat.postMessage" => return post_message(state, body),
        "chat.update" => return update(state, body),
        "chat.postEphemeral" => post_ephemeral(state, body),
        "reactions.add" | "reactions.remove" => react(state, method == "reactions.add", body),
        "users.info" => user(state, body),
        "conversations.history" => {
            state.speak_in(text(body, "channel")).map(|()| json!({ "ok": true, "messages": [] }))
        }
        "conversations.members" => members(state, body),
        "conversations.open" => open(state, body),
        "conversations.replies" => replies::replies(state, body),
        "files.info" => files::info(state, body),
        "files.getUploadURLExternal" => upload_url(base, state, body),
        "files.completeUploadExternal" => complete_upload(state, body),
        _ => Err(refused("unknown_method")),
    };
    (answer.unwrap_or_else(|refused| refused), None)
}

fn blocks_of(body: &Value) -> Vec<Value> {
    let blocks = match &body["blocks"] {
        Value::String(json) => serde_json::from_str(json).unwrap_or_default(),
        blocks => blocks.clone(),
    };
    blocks.as_array().cloned().unwrap_or_default()
}

fn new_message(state: &mut State, body: &Value, user: &str) -> Message {
    let markdown = text(body, "markdown_text");
    Message {
        channel: text(body, "channel").to_owned(),
        ts: state.ts(),
        thread: Some(text(body, "thread_ts")).filter(|thread| !thread.is_empty()).map(str::to_owned),
        user: user.to_owned(),
        is_bot: true,
        text: if markdown.is_empty() { text(body, "text") } else { markdown }.to_owned(),
        blocks: blocks_of(body),
        only_for: None,
        edits: 0,
        reactions: Default::default(),
        files: Vec::new(),
        more: Value::Null,
    }
}

fn post_message(state: &mut State, body: &Value) -> (Value, Option<Value>) {
    let channel = text(body, "channel");
    if let Err(refused) = state.speak_in(channel) {
        return (refused, None);
    }
    if let Some(code) = blocks::refused(body, state.knows_markdown) {
        return (refused(code), None);
    }
    let thread = text(body, "thread_ts").to_owned();
    if !thread.is_empty() && state.message(channel, &thread).is_none() {
        return (refused("thread_not_found"), None);
    }
    let message = new_message(state, body, BOT);
    let json = message.json(state);
    let answer = json!({ "ok": true, "channel": channel, "ts": message.ts, "message": json });
    let event = super::verbs::message_event(state, &message);
    state.messages.push(message);
    (answer, Some(event))
}

fn update(state: &mut State, body: &Value) -> (Value, Option<Value>) {
    let (channel, ts) = (text(body, "channel"), text(body, "ts"));
    if let Err(seconds) = state.count_update() {
        return (json!({ "ok": false, "error": "ratelimited", "retry_after": seconds }), None);
    }
    if let Err(refused) = state.speak_in(channel) {
        return (refused, None);
    }
    if let Some(code) = blocks::refused(body, state.knows_markdown) {
        return (refused(code), None);
    }
    let markdown = text(body, "markdown_text");
    let words = if markdown.is_empty() { text(body, "text") } else { markdown }.to_owned();
    match state.message(channel, ts) {
        None => (refused("message_not_found"), None),
        Some(message) if message.user != BOT || message.only_for.is_some() => {
            (refused("cant_update_message"), None)
        }
        Some(message) => {
            message.text = words;
            message.blocks = blocks_of(body);
            message.edits += 1;
            let changed = message.clone();
            let answer = json!({ "ok": true, "channel": channel, "ts": ts, "text": changed.text });
            let event = json!({
                "type": "message", "subtype": "message_changed", "channel": channel, "hidden": true,
                "ts": state.ts(), "message": changed.json(state),
            });
            (answer, Some(super::verbs::callback(state, event)))
        }
    }
}

fn post_ephemeral(state: &mut State, body: &Value) -> Result<Value, Value> {
    let (channel, user) = (text(body, "channel").to_owned(), text(body, "user").to_owned());
    state.speak_in(&channel)?;
    if !state.channels.get(&channel).is_some_and(|channel| channel.members.contains(&user)) {
        return Err(refused("user_not_in_channel"));
    }
    if let Some(code) = blocks::refused(body, state.knows_markdown) {
        return Err(refused(code));
    }
    let thread = Some(text(body, "thread_ts")).filter(|thread| !thread.is_empty()).map(str::to_owned);
    let ts = add_ephemeral(state, &channel, &user, thread, body);
    Ok(json!({ "ok": true, "message_ts": ts }))
}

/// A message that one person sees.
pub(super) fn add_ephemeral(
    state: &mut State,
    channel: &str,
    user: &str,
    thread: Option<String>,
    body: &Value,
) -> String {
    let message = new_message(state, body, BOT);
    let message = Message { channel: channel.to_owned(), only_for: Some(user.to_owned()), thread, ..message };
    let ts = message.ts.clone();
    state.messages.push(message);
    ts
}

fn react(state: &mut State, add: bool, body: &Value) -> Result<Value, Value> {
    let (channel, name) = (text(body, "channel"), text(body, "name").to_owned());
    state.speak_in(channel)?;
    let Some(message) = state.message(channel, text(body, "timestamp")) else {
        return Err(refused("message_not_found"));
    };
    let done = if add { message.reactions.insert(name) } else { message.reactions.remove(&name) };
    match (done, add) {
        (true, _) => Ok(json!({ "ok": true })),
        (false, true) => Err(refused("already_reacted")),
        (false, false) => Err(refused("no_reaction")),
    }
}

fn user(state: &State, body: &Value) -> Result<Value, Value> {
    let id = text(body, "user");
    let Some(name) = state.users.get(id) else { return Err(refused("user_not_found")) };
    Ok(json!({
        "ok": true,
        "user": {
            "id": id, "team_id": "T1", "name": name.to_lowercase(), "is_bot": id == BOT,
            "profile": { "display_name": name, "real_name": name },
        },
    }))
}

/// <https://docs.slack.dev/reference/methods/conversations.open>
fn open(state: &mut State, body: &Value) -> Result<Value, Value> {
    let user = text(body, "users");
    if user == BOT || !state.users.contains_key(user) {
        return Err(refused("user_not_found"));
    }
    let is_with = |channel: &super::state::Channel| {
        channel.kind == super::state::ChannelKind::Direct
            && channel.members.contains(user)
            && channel.members.contains(BOT)
    };
    let found = state.channels.iter().find(|(_, channel)| is_with(channel)).map(|(id, _)| id.clone());
    let already_open = found.is_some();
    let id = found.unwrap_or_else(|| {
        let id = format!("D0{user}");
        let members = [user.to_owned(), BOT.to_owned()].into();
        let kind = super::state::ChannelKind::Direct;
        let channel = super::state::Channel { name: "directmessage".into(), kind, members, archived: false };
        state.channels.insert(id.clone(), channel);
        id
    });
    Ok(json!({ "ok": true, "no_op": already_open, "already_open": already_open, "channel": { "id": id } }))
}

/// One page of two people after the other: <https://docs.slack.dev/reference/methods/conversations.members>
fn members(state: &State, body: &Value) -> Result<Value, Value> {
    let Some(channel) = state.channels.get(text(body, "channel")) else {
        return Err(refused("channel_not_found"));
    };
    if channel.kind != super::state::ChannelKind::Public {
        return Err(json!({ "ok": false, "error": "missing_scope", "needed": "im:read" }));
    }
    let from = text(body, "cursor").parse().unwrap_or(0);
    let page: Vec<&String> = channel.members.iter().skip(from).take(2).collect();
    let next = if from + 2 < channel.members.len() { (from + 2).to_string() } else { String::new() };
    Ok(json!({ "ok": true, "members": page, "response_metadata": { "next_cursor": next } }))
}

fn upload_url(base: &str, state: &mut State, body: &Value) -> Result<Value, Value> {
    let name = text(body, "filename").to_owned();
    if name.is_empty() || text(body, "length").parse::<u64>().is_ok_and(|length| length == 0) {
        return Err(refused("invalid_arguments"));
    }
    let id = format!("F{}", state.number());
    state.uploads.insert(id.clone(), (name, Vec::new()));
    Ok(json!({ "ok": true, "upload_url": format!("{base}/upload/{id}"), "file_id": id }))
}

fn complete_upload(state: &mut State, body: &Value) -> Result<Value, Value> {
    let channel = text(body, "channel_id").to_owned();
    state.speak_in(&channel)?;
    let files = match &body["files"] {
        Value::String(json) => serde_json::from_str(json).unwrap_or_default(),
        files => files.clone(),
    };
    let mut shared = Vec::new();
    for file in files.as_array().into_iter().flatten() {
        let Some(upload) = state.uploads.remove(text(file, "id")) else {
            return Err(refused("file_not_found"));
        };
        shared.push(upload);
    }
    let said =
        json!({ "channel": channel, "text": text(body, "initial_comment"), "thread_ts": body["thread_ts"] });
    let message = new_message(state, &said, BOT);
    state.messages.push(Message { files: shared, ..message });
    Ok(json!({ "ok": true, "files": files }))
}

async fn upload(Extract(shared): Extract<Arc<Shared>>, Path(id): Path<String>, bytes: Bytes) -> Response {
    let taken = shared.change(|state| {
        let ok = state.uploads.contains_key(&id);
        state.calls.push(Call { at: Instant::now(), method: "upload".into(), body: Value::Null, ok });
        match state.uploads.get_mut(&id) {
            Some(upload) => {
                upload.1 = bytes.to_vec();
                true
            }
            None => false,
        }
    });
    match taken {
        true => format!("OK - {}", bytes.len()).into_response(),
        false => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn respond(Extract(shared): Extract<Arc<Shared>>, Path(id): Path<String>, bytes: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if let Some(answer) = fault(&shared, "response_url", &body).await {
        return answer;
    }
    let answer = shared.change(|state| {
        let code = blocks::refused(&body, state.knows_markdown);
        let url = state.response_urls.get_mut(&id).filter(|url| url.uses < 5);
        let answer = match (url, code) {
            (None, _) => Err((StatusCode::NOT_FOUND, json!({ "ok": false, "error": "used_url" }))),
            (Some(_), Some(code)) => Err((StatusCode::OK, refused(code))),
            (Some(url), None) => {
                url.uses += 1;
                Ok(url.clone())
            }
        };
        state.calls.push(Call {
            at: Instant::now(),
            method: "response_url".into(),
            body: body.clone(),
            ok: answer.is_ok(),
        });
        match answer {
            Ok(url) if text(&body, "response_type") == "in_channel" => {
                let mut body = body.clone();
                body["channel"] = url.channel.into();
                let message = new_message(state, &body, BOT);
                state.messages.push(message);
                Ok(())
            }
            Ok(url) => {
                add_ephemeral(state, &url.channel, &url.user, None, &body);
                Ok(())
            }
            Err(refused) => Err(refused),
        }
    });
    match answer {
        Ok(()) => "ok".into_response(),
        Err((status, json)) => {
            (status, [(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response()
        }
    }
}

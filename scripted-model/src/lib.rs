//! A Messages API on loopback that answers from a script: for the demo without an API key, and for tests of the whole bot.
//!
//! It is stateless: each answer depends only on the conversation in the request, so resumed, repeated and parallel sessions
//! work. Only errors that a script limits to a number of times are counted.

mod conversation;
mod script;
mod stream;

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::stream::{MessageHead, error, streamed, tokens, whole};
pub use self::{
    conversation::{ModelConversation, ToolResult},
    script::{AnswerGate, ApiFailure, ModelReply, ModelScript, ReplyPart},
};

/// Limits of the record: requests, and bytes of each text.
const RECORD: usize = 512;
const RECORDED_TEXT: usize = 64 * 1024;
/// The real API takes 32 MB.
const BODY_LIMIT: usize = 32 * 1024 * 1024;

/// A running scripted Messages API. Dropping it stops the server and cuts running answers.
pub struct ScriptedModel {
    address: SocketAddr,
    shared: Arc<ModelShared>,
    server: JoinHandle<()>,
    stop: DropGuard,
}

/// A request that the model received. Long texts are cut to 64 KiB.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// The prompts of the person, and the results of tools.
    pub conversation: ModelConversation,
    /// The number of messages of all roles.
    pub messages: usize,
    /// The types of all images in them, e.g. `image/png`.
    pub images: Vec<String>,
    /// The system prompt, its blocks joined by newlines.
    pub system: Arc<str>,
    pub model: String,
    /// The names of the tools the model may call.
    pub tools: Vec<String>,
    /// Whether the answer is streamed.
    pub streaming: bool,
    /// Whether the request has an API key or a token.
    pub authorized: bool,
    /// The key or token itself.
    pub key: Option<String>,
}

struct ModelShared {
    script: ModelScript,
    /// The only key that is accepted; absent: any, or none.
    required_key: Option<String>,
    record: Mutex<VecDeque<SeenRequest>>,
    stop: CancellationToken,
}

#[derive(Deserialize)]
struct MessagesRequest {
    model: String,
    messages: Vec<Value>,
    #[serde(default)]
    system: Value,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    stream: bool,
}

impl ScriptedModel {
    /// Starts on a free port of 127.0.0.1. Call it in a tokio runtime. Fails if no port can be opened.
    pub fn start(script: ModelScript) -> io::Result<Self> {
        Self::start_with(script, None)
    }

    /// As [`ScriptedModel::start`]; refuses every request without this key (HTTP 401), as the real service does.
    pub fn with_key(script: ModelScript, key: &str) -> io::Result<Self> {
        Self::start_with(script, Some(key.to_owned()))
    }

    fn start_with(script: ModelScript, required_key: Option<String>) -> io::Result<Self> {
        // Bound before the task starts, so that the port is open when this returns.
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let stop = CancellationToken::new();
        let shared =
            Arc::new(ModelShared { script, required_key, record: Mutex::default(), stop: stop.clone() });
        let (router, ended) = (routes(shared.clone()), stop.clone().cancelled_owned());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(ended).await {
                tracing::error!(%error, "the scripted model has ended");
            }
        });
        Ok(Self { address, shared, server, stop: stop.drop_guard() })
    }

    /// The value for `ANTHROPIC_BASE_URL`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The last 512 requests, oldest first, those without tools (titles and the like) included.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.record().iter().cloned().collect()
    }

    /// Stops the server and waits until its port is closed, so that the next connection is refused.
    pub async fn stop(self) {
        drop(self.stop);
        // An error means that the task has ended in another way, which is fine too.
        let _ = self.server.await;
    }
}

impl SeenRequest {
    /// Whether the CLI makes this request outside of the conversation, for a title for example. Such requests offer no tools.
    pub fn is_side_request(&self) -> bool {
        self.tools.is_empty()
    }
}

impl ModelShared {
    fn record(&self) -> std::sync::MutexGuard<'_, VecDeque<SeenRequest>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, request: &MessagesRequest, conversation: &ModelConversation, key: Option<String>) {
        let mut record = self.record();
        if record.len() == RECORD {
            record.pop_front();
        }
        // The system prompt is long and nearly always the same, so equal ones share their memory.
        let system = conversation::joined(&request.system);
        let system = match record.back() {
            Some(last) if *last.system == *cut(&system) => last.system.clone(),
            _ => cut(&system).into(),
        };
        record.push_back(SeenRequest {
            conversation: cut_texts(conversation.clone()),
            messages: request.messages.len(),
            images: conversation::images(&request.messages),
            system,
            model: request.model.clone(),
            tools: request.tools.iter().filter_map(|tool| Some(tool["name"].as_str()?.to_owned())).collect(),
            streaming: request.stream,
            authorized: key.is_some(),
            key,
        });
    }
}

fn routes(shared: Arc<ModelShared>) -> Router {
    Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
        // Claude Code requests this at its start, unless its nonessential traffic is switched off (2.1.330).
        .route("/api/hello", get(hello))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(shared)
}

async fn messages(State(shared): State<Arc<ModelShared>>, headers: HeaderMap, body: Bytes) -> Response {
    let request: MessagesRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(wrong) => return refusal(StatusCode::BAD_REQUEST, "invalid_request_error", &wrong.to_string()),
    };
    let conversation = ModelConversation::read(&request.messages);
    let key = key_of(&headers);
    let refused = shared.required_key.is_some() && key != shared.required_key;
    shared.remember(&request, &conversation, key);
    if refused {
        return refusal(StatusCode::UNAUTHORIZED, "authentication_error", "invalid x-api-key");
    }
    let parts = match shared.script.reply(&conversation, request.tools.is_empty()) {
        ModelReply::Error(failure) => return failed(&failure),
        ModelReply::Message(parts) => parts,
    };
    let head = MessageHead { model: request.model, input_tokens: body.len() / 4 };
    if request.stream {
        return streamed(head, parts, shared.stop.clone()).into_response();
    }
    tokio::select! {
        message = whole(head, parts) => Json(message).into_response(),
        () = shared.stop.cancelled() => refusal(StatusCode::SERVICE_UNAVAILABLE, "api_error", "shutting down"),
    }
}

fn key_of(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = || text("authorization").map(|value| value.trim_start_matches("Bearer "));
    text("x-api-key").or_else(bearer).map(str::to_owned)
}

async fn count_tokens(body: Bytes) -> Json<Value> {
    Json(json!({"input_tokens": tokens(&String::from_utf8_lossy(&body))}))
}

async fn hello() -> Json<Value> {
    Json(json!({"message": "hello"}))
}

async fn unknown() -> Response {
    refusal(StatusCode::NOT_FOUND, "not_found_error", "The scripted model has no such address.")
}

fn failed(failure: &ApiFailure) -> Response {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = refusal(status, &failure.kind, &failure.message);
    if let Some(seconds) = failure.retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn refusal(status: StatusCode, kind: &str, message: &str) -> Response {
    (status, Json(error(kind, message))).into_response()
}

fn cut_texts(mut conversation: ModelConversation) -> ModelConversation {
    let results = conversation.tool_results.iter_mut().map(|result| &mut result.text);
    let own = [&mut conversation.prompt, &mut conversation.reminders];
    own.into_iter()
        .chain(&mut conversation.history)
        .chain(results)
        .for_each(|text| text.truncate(cut(text).len()));
    conversation
}

fn cut(text: &str) -> &str {
    let end = (0..=RECORDED_TEXT.min(text.len())).rfind(|&index| text.is_char_boundary(index));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join_all;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::timeout,
    };

    use super::*;

    /// A status line, the headers, and as much of the body as came before the connection ended.
    struct Answer {
        head: String,
        body: String,
        complete: bool,
    }

    impl Answer {
        fn json(&self) -> Value {
            serde_json::from_str(&self.body).unwrap()
        }

        fn events(&self) -> Vec<Value> {
            let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
            data.map(|json| serde_json::from_str(json).unwrap()).collect()
        }

        fn text(&self) -> String {
            let events = self.events();
            events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect()
        }
    }

    /// HTTP/1.0, so that the body ends with the connection and needs no decoding.
    async fn connect(model: &ScriptedModel, path: &str, body: &str) -> TcpStream {
        let mut socket = TcpStream::connect(model.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: demo\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }

    async fn read(mut socket: TcpStream) -> Answer {
        let mut bytes = Vec::new();
        let reading = timeout(Duration::from_secs(20), socket.read_to_end(&mut bytes)).await;
        let unbroken = reading.expect("the answer ends").is_ok();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let (body, complete) = match head.contains("chunked") {
            true => unchunked(body),
            false => (body.to_owned(), true),
        };
        Answer { head: head.to_owned(), body, complete: complete && unbroken }
    }

    /// The text of a chunked body, and whether its end mark came.
    fn unchunked(mut body: &str) -> (String, bool) {
        let mut text = String::new();
        while let Some((size, rest)) = body.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                return (text, true);
            }
            text.push_str(&rest[..size]);
            body = &rest[size + 2..];
        }
        (text, false)
    }

    fn request(prompt: &str, stream: bool) -> String {
        let messages = json!([{"role": "user", "content": prompt}]);
        json!({"model": "m", "stream": stream, "tools": [{"name": "Bash"}], "messages": messages}).to_string()
    }

    async fn ask(model: &ScriptedModel, prompt: &str) -> Answer {
        read(connect(model, "/v1/messages?beta=true", &request(prompt, true)).await).await
    }

    #[tokio::test]
    async fn a_text_and_a_call_stream_as_the_api_streams_them() {
        let script =
            ModelScript::new().on("go").says("One moment, please.").calls("Bash", json!({"command": "ls"}));
        let answer = ask(&ScriptedModel::start(script).unwrap(), "go").await;
        let mut shown = answer.events();
        shown[0]["message"]["id"] = json!("msg");
        shown[4]["content_block"]["id"] = json!("toolu");
        let usage = json!({"input_tokens": request("go", true).len() / 4, "output_tokens": 1,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0});
        let message = json!({"id": "msg", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage});
        let call = json!({"type": "tool_use", "id": "toolu", "name": "Bash", "input": {}});
        let text = json!({"type": "text_delta", "text": "One moment, please."});
        let input = json!({"type": "input_json_delta", "partial_json": "{\"command\":\"ls\"}"});
        let end = json!({"stop_reason": "tool_use", "stop_sequence": null});
        assert_eq!(
            Value::Array(shown),
            json!([
                {"type": "message_start", "message": message},
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                {"type": "content_block_delta", "index": 0, "delta": text},
                {"type": "content_block_stop", "index": 0},
                {"type": "content_block_start", "index": 1, "content_block": call},
                {"type": "content_block_delta", "index": 1, "delta": input},
                {"type": "content_block_stop", "index": 1},
                {"type": "message_delta", "delta": end, "usage": {"output_tokens": 10}},
                {"type": "message_stop"},
            ])
        );
        assert!(answer.complete && answer.head.contains("text/event-stream"));
        let named: Vec<_> = answer.body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        assert_eq!(
            named,
            answer.events().iter().map(|event| event["type"].as_str().unwrap()).collect::<Vec<_>>()
        );
    }

    #[tokio::test]
    async fn without_streaming_the_answer_is_one_message() {
        let script = ModelScript::new()
            .on("go")
            .says("Text.")
            .calls("Bash", json!({"command": "ls"}))
            .cuts_the_stream(9);
        let model = ScriptedModel::start(script).unwrap();
        let answer = read(connect(&model, "/v1/messages", &request("go", false)).await).await.json();
        assert_eq!(answer["content"][0], json!({"type": "text", "text": "Text."}));
        assert_eq!(
            (&answer["content"][1]["input"], &answer["stop_reason"]),
            (&json!({"command": "ls"}), &json!("tool_use"))
        );
    }

    #[tokio::test]
    async fn ids_are_never_used_twice() {
        let model =
            ScriptedModel::start(ModelScript::new().calls("A", json!({})).calls("B", json!({}))).unwrap();
        let answers = join_all((0..5).map(|_| ask(&model, "x"))).await;
        let events: Vec<_> = answers.iter().flat_map(Answer::events).collect();
        let ids: std::collections::HashSet<_> = events
            .iter()
            .flat_map(|event| [&event["message"]["id"], &event["content_block"]["id"]])
            .collect();
        // One for the message and two for its calls, and the null of all other events.
        assert_eq!(ids.len(), 5 * 3 + 1);
    }

    #[tokio::test]
    async fn an_error_has_its_status_type_and_retry_after_and_then_the_script_goes_on() {
        let script = ModelScript::new()
            .on("go")
            .fails(ApiFailure::rate_limited().retry_after(7).times(1))
            .says("Well.");
        let model = ScriptedModel::start(script).unwrap();
        let first = ask(&model, "go").await;
        assert!(
            first.head.starts_with("HTTP/1.1 429") && first.head.contains("retry-after: 7"),
            "{}",
            first.head
        );
        assert_eq!(first.json()["error"]["type"], "rate_limit_error");
        assert_eq!(ask(&model, "go").await.text(), "Well.");
    }

    #[tokio::test]
    async fn a_cut_stream_shows_what_came_before_and_has_no_end() {
        let script = ModelScript::new().on("go").says("Half").cuts_the_stream(1).says(" and half");
        let model = ScriptedModel::start(script).unwrap();
        let cut = ask(&model, "go").await;
        assert_eq!((cut.text().as_str(), cut.complete), ("Half", false));
        let whole = ask(&model, "go").await;
        assert_eq!((whole.text().as_str(), whole.complete), ("Half and half", true));
    }

    #[tokio::test]
    async fn a_broken_stream_ends_with_an_error_event() {
        let model =
            ScriptedModel::start(ModelScript::new().says("Half").breaks_the_stream("overloaded_error", 1))
                .unwrap();
        let answer = ask(&model, "go").await;
        assert_eq!(answer.events().last().unwrap()["error"]["type"], "overloaded_error");
        assert_eq!(answer.text(), "Half");
    }

    #[tokio::test]
    async fn a_gate_holds_an_answer_and_lets_others_pass() {
        let gate = AnswerGate::new();
        let model =
            ScriptedModel::start(ModelScript::new().on("hold").says("a").waits_for(&gate).says("b")).unwrap();
        let held = connect(&model, "/v1/messages", &request("hold", true)).await;
        timeout(Duration::from_secs(20), gate.reached(1)).await.unwrap();
        assert_eq!(ask(&model, "other").await.text(), "You said: other");
        gate.open();
        assert_eq!(read(held).await.text(), "ab");
    }

    #[tokio::test]
    async fn stopping_cuts_held_answers_and_closes_the_port() {
        let gate = AnswerGate::new();
        let model = ScriptedModel::start(ModelScript::new().says("a").waits_for(&gate)).unwrap();
        let (held, address) = (connect(&model, "/v1/messages", &request("x", true)).await, model.address);
        timeout(Duration::from_secs(20), gate.reached(1)).await.unwrap();
        timeout(Duration::from_secs(20), model.stop()).await.unwrap();
        assert!(!read(held).await.complete);
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn the_record_shows_what_the_model_saw() {
        let model = ScriptedModel::start(ModelScript::new()).unwrap();
        let messages = json!([
            {"role": "user", "content": "first"}, {"role": "assistant", "content": "ok"},
            {"role": "user", "content": "second"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "made"}]},
        ]);
        let system = json!([{"type": "text", "text": "You are"}, {"type": "text", "text": "Timmy."}]);
        let tools = json!([{"name": "Bash"}]);
        let body =
            json!({"model": "opus", "stream": true, "messages": messages, "system": system, "tools": tools});
        read(connect(&model, "/v1/messages", &body.to_string()).await).await;
        let seen = &model.requests()[0];
        assert_eq!(
            (seen.conversation.prompt.as_str(), seen.conversation.last_tool_result()),
            ("second", "made")
        );
        assert_eq!((&seen.conversation.history[..], seen.messages), (&["first".to_owned()][..], 5));
        assert_eq!(
            (&*seen.system, seen.model.as_str(), &seen.tools[..]),
            ("You are\nTimmy.", "opus", &["Bash".to_owned()][..])
        );
        assert!(seen.authorized && seen.streaming && !seen.is_side_request());
    }

    #[tokio::test]
    async fn the_record_and_its_texts_are_bounded() {
        let model = ScriptedModel::start(ModelScript::new().says("ok")).unwrap();
        let long = "é".repeat(100_000);
        ask(&model, &long).await;
        let prompt = model.requests()[0].conversation.prompt.clone();
        assert!(prompt.len() <= RECORDED_TEXT && long.starts_with(&prompt));
        for _ in 0..RECORD {
            ask(&model, "short").await;
        }
        let requests = model.requests();
        assert_eq!((requests.len(), requests[0].conversation.prompt.as_str()), (RECORD, "short"));
    }

    #[tokio::test]
    async fn a_side_request_gets_a_short_text_whatever_the_script_says() {
        let model = ScriptedModel::start(ModelScript::new().fails(ApiFailure::overloaded())).unwrap();
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "title?"}]}).to_string();
        let answer = read(connect(&model, "/v1/messages", &body).await).await.json();
        assert_eq!(answer["content"][0]["text"], "Scripted session");
        assert!(model.requests()[0].is_side_request());
    }

    #[tokio::test]
    async fn what_is_no_request_gets_an_error_in_the_api_form() {
        let model = ScriptedModel::start(ModelScript::new()).unwrap();
        for (path, body, status, kind) in [
            ("/v1/messages", "{", "400", "invalid_request_error"),
            ("/v1/messages", r#"{"model": 1}"#, "400", "invalid_request_error"),
            ("/v1/other", "{}", "404", "not_found_error"),
        ] {
            let answer = read(connect(&model, path, body).await).await;
            assert!(answer.head.contains(status), "{}", answer.head);
            assert_eq!(answer.json()["error"]["type"], kind);
        }
        let counted =
            read(connect(&model, "/v1/messages/count_tokens", &request("hello", false)).await).await;
        assert!(counted.json()["input_tokens"].as_u64().unwrap() > 10);
    }
}

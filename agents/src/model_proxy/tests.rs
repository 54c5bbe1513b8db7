//! The proxy against a service on this machine, by plain bytes where a client would be too polite.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};

use super::*;

const KEY: &str = "sk-real-key";
const PATIENCE: Duration = Duration::from_secs(60);

/// A service that records what it is sent and answers with the same bytes, whatever is asked.
struct TestService {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    /// Released after the head and the first event of a streamed answer.
    go_on: Arc<Notify>,
}

impl TestService {
    async fn answering(answer: &str) -> Self {
        Self::in_two(answer, "").await
    }

    /// The second part follows when the test says so.
    async fn in_two(first: &str, second: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (seen, go_on): (Arc<Mutex<Vec<String>>>, _) = (Arc::default(), Arc::new(Notify::new()));
        let (record, gate, first, second) =
            (seen.clone(), go_on.clone(), first.to_owned(), second.to_owned());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (record, gate, first, second) =
                    (record.clone(), gate.clone(), first.clone(), second.clone());
                tokio::spawn(async move {
                    while let Some(request) = whole_request(&mut stream).await {
                        record.lock().expect("no panic").push(request);
                        if stream.write_all(first.as_bytes()).await.is_err() {
                            return;
                        }
                        if !second.is_empty() {
                            gate.notified().await;
                            let _ = stream.write_all(second.as_bytes()).await;
                        }
                    }
                });
            }
        });
        Self { address, seen, go_on }
    }

    fn proxy(&self, budget_usd: Option<f64>) -> TestProxy {
        let base = format!("http://{}", self.address);
        let access = ModelAccess::resolve(|name| match name {
            "ANTHROPIC_API_KEY" => Some(KEY.into()),
            "ANTHROPIC_BASE_URL" => Some(base.clone()),
            _ => None,
        });
        let Ok(ModelAccess::Proxied(service)) = access else { panic!("it is valid") };
        let proxy = ModelProxy::new(service, budget_usd);
        let port = proxy.loopback_port().expect("a port");
        TestProxy { proxy, port }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").clone()
    }
}

struct TestProxy {
    proxy: ModelProxy,
    port: u16,
}

impl TestProxy {
    fn key(&self) -> String {
        let variables = self.proxy.environment(self.port);
        variables.into_iter().find(|(name, _)| name == "ANTHROPIC_API_KEY").expect("the run's key").1
    }

    async fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        stream
    }

    /// Status, and the rest of the answer.
    async fn raw(&self, request: &str) -> (u16, String) {
        let mut stream = self.send(request).await;
        let answer =
            timeout(PATIENCE, whole_request(&mut stream)).await.expect("it answers").unwrap_or_default();
        let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        (status, answer)
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, String) {
        self.raw(&post(path, &[("x-api-key", &self.key())], &body.to_string())).await
    }
}

fn post(path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A message's head and a body by its length or in chunks; `None` at the end.
async fn whole_request(stream: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length =
                head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            let chunked = head.contains("transfer-encoding: chunked");
            if length.is_some_and(|length: usize| body.len() >= length)
                || (chunked && body.ends_with("0\r\n\r\n"))
                || (length.is_none() && !chunked)
            {
                return Some(text);
            }
        }
        match stream.read(&mut piece).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            _ => return (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
}

fn json_answer(status: &str, headers: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn message(input: u64, output: u64) -> String {
    let usage = json!({ "input_tokens": input, "output_tokens": output });
    json_answer("200 OK", "", &json!({ "type": "message", "model": "claude-opus-4-5", "usage": usage }))
}

fn question() -> Value {
    json!({ "model": "claude-opus-4-5", "messages": [{ "role": "user", "content": "hello" }] })
}

#[tokio::test]
async fn the_service_gets_the_operators_key_and_nothing_else_of_the_agents() {
    let service = TestService::answering(&message(1, 1)).await;
    let agent = service.proxy(None);
    let headers = [
        ("x-api-key", agent.key()),
        ("authorization", "Bearer other-account".into()),
        ("cookie", "a=b".into()),
        ("x-goog-api-key", "other".into()),
        ("x-forwarded-host", "evil.example".into()),
        ("connection", "anthropic-beta, keep-alive".into()),
        ("anthropic-beta", "hop".into()),
        ("anthropic-version", "2023-06-01".into()),
        ("user-agent", "claude-cli".into()),
    ];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (status, _) = agent.raw(&post("/v1/messages?beta=true", &headers, &question().to_string())).await;
    assert_eq!(status, 200);
    let sent = service.seen().pop().expect("it came");
    let (head, body) = sent.split_once("\r\n\r\n").expect("a body");
    let mut lines: Vec<&str> = head.lines().skip(1).collect();
    lines.sort_unstable();
    assert!(head.starts_with("POST /v1/messages?beta=true HTTP/1.1"), "{head}");
    let length = format!("content-length: {}", body.len());
    let host = format!("host: {}", service.address);
    assert_eq!(
        lines,
        [
            "accept-encoding: identity",
            "accept: */*",
            "anthropic-version: 2023-06-01",
            &length,
            "content-type: application/json",
            &host,
            "user-agent: claude-cli",
            "x-api-key: sk-real-key",
        ]
    );
    assert_eq!(body, question().to_string(), "the body is passed on byte for byte");
}

#[tokio::test]
async fn only_the_runs_own_key_opens_the_way() {
    let service = TestService::answering(&message(1, 1)).await;
    let (agent, other) = (service.proxy(None), service.proxy(None));
    let body = question().to_string();
    for headers in [
        &[][..],
        &[("x-api-key", other.key().as_str())],
        &[("x-api-key", KEY)],
        &[("x-api-key", "")],
        &[("authorization", &format!("Bearer {}", other.key()))],
        &[("authorization", &agent.key())],
    ] {
        let (status, answer) = agent.raw(&post("/v1/messages", headers, &body)).await;
        assert_eq!(status, 401, "{headers:?}: {answer}");
    }
    let bearer = format!("Bearer {}", agent.key());
    assert_eq!(agent.raw(&post("/v1/messages", &[("authorization", &bearer)], &body)).await.0, 200);
    assert_eq!(service.seen().len(), 1);
}

#[tokio::test]
async fn nothing_but_three_paths_of_the_api_is_reached() {
    let service = TestService::answering(&message(1, 1)).await;
    let agent = service.proxy(None);
    let (key, body) = (agent.key(), question().to_string());
    let own: &[(&str, &str)] = &[("x-api-key", &key)];
    for path in [
        "/v1/messages/batches",
        "/v1/messages/",
        "/v1/messages/../files",
        "/v1/files",
        "//v1/messages",
        "/v1/%6dessages",
        "/api/hello",
        "/",
    ] {
        let (status, answer) = agent.raw(&post(path, own, &body)).await;
        assert_eq!(status, 404, "{path}: {answer}");
    }
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n");
    for target in ["/v1/messages", "/v1/models/../files", "/v1/models/a/b", "/v1/models/%2e%2e"] {
        assert_eq!(agent.raw(&get(target)).await.0, 404, "{target}");
    }
    for target in ["http://evil.example/v1/messages", "http://127.0.0.1/v1/models", "https://u@x/v1/models"] {
        assert_eq!(agent.raw(&get(target)).await.0, 400, "{target}");
    }
    let connect =
        format!("CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\nx-api-key: {key}\r\n\r\n");
    assert_eq!(agent.raw(&connect).await.0, 400);
    assert_eq!(service.seen(), Vec::<String>::new());
    assert_eq!(agent.raw(&get("/v1/models")).await.0, 200);
    assert_eq!(agent.raw(&get("/v1/models/claude-opus-4-5")).await.0, 200);
    assert_eq!(agent.post("/v1/messages/count_tokens", &question()).await.0, 200);
}

#[tokio::test]
async fn a_request_cannot_hide_another_one() {
    let service = TestService::answering(&message(1, 1)).await;
    let agent = service.proxy(None);
    let key = agent.key();
    let hidden = "POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let body = question().to_string();
    let head = format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n");
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for request in [
        format!("{head}content-length: 0\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len()),
        format!(
            "{head}content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
            hidden.len() + 5
        ),
        format!("{head}transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n{chunks}{hidden}"),
        format!("{head}host: evil.example\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
    ] {
        let (status, answer) = agent.raw(&request).await;
        assert!(status >= 400 || status == 0, "{request}: {answer}");
    }
    assert_eq!(service.seen(), Vec::<String>::new());
    // What follows a whole request is the next one, and meets the same rules.
    let (status, _) = agent.raw(&format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}{hidden}")).await;
    assert_eq!(status, 200);
    let seen = service.seen();
    assert!(
        seen.len() == 1 && !seen[0].contains("/v1/files") && seen[0].contains("content-length"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn headers_and_bodies_have_limits() {
    let service = TestService::answering(&message(1, 1)).await;
    let agent = service.proxy(None);
    let (key, body) = (agent.key(), question().to_string());
    let long = "x".repeat(64 << 10);
    let (status, _) =
        agent.raw(&post("/v1/messages", &[("x-api-key", &key), ("anthropic-x", &long)], &body)).await;
    assert_eq!(status, 431);
    let many: Vec<(&str, &str)> = std::iter::repeat_n(("anthropic-x", "1"), 200).collect();
    let (status, _) = agent.raw(&post("/v1/messages", &many, &body)).await;
    assert_eq!(status, 431);
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {}\r\n\r\n",
        1_u64 << 40
    );
    assert_eq!(agent.raw(&head).await.0, 413);
    assert_eq!(service.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn a_redirect_is_followed_by_nobody() {
    let elsewhere = TestService::answering(&message(1, 1)).await;
    let location = format!("location: http://{}/v1/messages\r\n", elsewhere.address);
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let service = TestService::answering(&json_answer(status, &location, &json!({}))).await;
        let (status, answer) = service.proxy(None).post("/v1/messages", &question()).await;
        assert_eq!(status, 502, "{answer}");
        assert!(!answer.contains(&elsewhere.address.to_string()), "{answer}");
    }
    assert_eq!(elsewhere.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn the_service_fetches_nothing_for_an_agent() {
    let service = TestService::answering(&message(1, 1)).await;
    let agent = service.proxy(None);
    let with = |content: Value| json!({ "model": "m", "messages": [{ "role": "user", "content": content }] });
    let image =
        json!({ "type": "image", "source": { "type": "url", "url": "https://evil.example/?secret" } });
    let document = json!({ "type": "document", "source": { "type": "content", "content": [image] } });
    let result = json!({ "type": "tool_result", "tool_use_id": "t", "content": [{ "type": "text", "text": "a" }, image] });
    let tool = |kind: &str| json!({ "model": "m", "messages": [], "tools": [{ "type": kind, "name": "x" }] });
    for body in [
        with(json!([image])),
        with(json!([document])),
        with(json!([result])),
        json!({ "model": "m", "messages": [], "system": [image] }),
        tool("web_fetch_20250910"),
        tool("code_execution_20250825"),
        json!({ "model": "m", "messages": [], "mcp_servers": [{ "type": "url", "url": "https://evil.example/" }] }),
    ] {
        for path in ["/v1/messages", "/v1/messages/count_tokens"] {
            let (status, answer) = agent.post(path, &body).await;
            assert_eq!(status, 403, "{body}: {answer}");
        }
    }
    // Two readers must not read two different requests.
    let own = [("x-api-key", agent.key())];
    let own: Vec<(&str, &str)> = own.iter().map(|(name, key)| (*name, key.as_str())).collect();
    for body in [
        r#"{"messages":[],"tools":[{"type":"web_fetch_1"}],"tools":[]}"#,
        r#"{"messages":[],"\u0074ools":[{"type":"web_fetch_1"}],"tools":[]}"#,
        r#"{"messages":[{"content":[{"type":"image","source":{"type":"base64","type":"url"}}]}]}"#,
        r#"{"messages":[{"content":{"type":"image"}}]}"#,
        "{} {}",
        "",
    ] {
        let (status, answer) = agent.raw(&post("/v1/messages", &own, body)).await;
        assert_eq!(status, 400, "{body}: {answer}");
    }
    assert_eq!(service.seen(), Vec::<String>::new());
    // What the CLI sends passes: a search, a picture's own bytes, a tool whose input looks like a source.
    let call = json!({ "type": "tool_use", "id": "t", "name": "X", "input": { "source": { "type": "url" }, "type": { "a": 1 } } });
    let found = json!({ "type": "web_search_tool_result", "content": [{ "type": "web_search_result", "url": "https://x" }] });
    let picture =
        json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AA==" } });
    let body = json!({ "model": "m", "system": "s", "messages": [{ "role": "user", "content": [call, found, picture] }],
        "tools": [{ "name": "Bash", "input_schema": {} }, { "type": "web_search_20250305", "name": "web_search" }] });
    let (status, answer) = agent.post("/v1/messages", &body).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn an_error_of_the_service_passes_unchanged() {
    let body = json!({ "type": "error", "error": { "type": "rate_limit_error", "message": "slow down" } });
    let service = TestService::answering(&json_answer(
        "429 Too Many Requests",
        "retry-after: 7\r\nx-should-retry: true\r\n",
        &body,
    ))
    .await;
    let agent = service.proxy(Some(1.0));
    let (status, answer) = agent.post("/v1/messages", &question()).await;
    assert_eq!(status, 429);
    assert!(answer.contains("retry-after: 7") && answer.ends_with(&body.to_string()), "{answer}");
    assert_eq!(agent.proxy.spending(), ModelSpending::default(), "it costs nothing");
    let ends = agent.proxy.meter().limit_ends().expect("it names a time");
    assert!(ends > std::time::SystemTime::now() - Duration::from_secs(1), "{ends:?}");
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_a_sentence_without_its_address() {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let service = TestService { address: closed, seen: Arc::default(), go_on: Arc::default() };
    let (status, answer) = service.proxy(None).post("/v1/messages", &question()).await;
    assert_eq!(status, 502);
    assert!(answer.contains("cannot reach the model's service") && answer.contains("refused"), "{answer}");
    assert!(!answer.contains(&closed.to_string()), "{answer}");
}

fn event(event: &Value) -> String {
    let data = format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type"));
    format!("{:x}\r\n{data}\r\n", data.len())
}

fn stream_head() -> String {
    let usage = json!({ "input_tokens": 1_000_000, "output_tokens": 1 });
    let start = json!({ "type": "message_start", "message": { "model": "claude-opus-4-5", "usage": usage } });
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    format!("{head}{}", event(&start))
}

#[tokio::test]
async fn a_stream_passes_as_it_comes_and_is_counted() {
    let text = json!({ "type": "content_block_delta", "delta": { "type": "text_delta", "text": "\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":0}}" } });
    let end = json!({ "type": "message_delta", "usage": { "output_tokens": 100_000 } });
    let rest = format!("{}{}0\r\n\r\n", event(&text), event(&end));
    let service = TestService::in_two(&stream_head(), &rest).await;
    let agent = service.proxy(Some(100.0));
    let mut stream =
        agent.send(&post("/v1/messages", &[("x-api-key", &agent.key())], &question().to_string())).await;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    // The first event is here although the service has not gone on.
    while !String::from_utf8_lossy(&bytes).contains("message_start") {
        let read =
            timeout(PATIENCE, stream.read(&mut piece)).await.expect("it comes at once").expect("it reads");
        bytes.extend_from_slice(&piece[..read]);
    }
    service.go_on.notify_one();
    while !bytes.ends_with(b"0\r\n\r\n") {
        let read = timeout(PATIENCE, stream.read(&mut piece)).await.expect("it ends").expect("it reads");
        bytes.extend_from_slice(&piece[..read]);
    }
    // 1,000,000 * $5 and 100,000 * $25, for a million each.
    let expected = ModelSpending { usd: 7.5, input_tokens: 1_000_000, output_tokens: 100_000 };
    assert_eq!(agent.proxy.spending(), expected);
}

#[tokio::test]
async fn who_goes_away_before_the_end_pays_for_what_came() {
    let words = "x".repeat(30_000);
    let text = json!({ "type": "content_block_delta", "delta": { "type": "text_delta", "text": words } });
    let service = TestService::in_two(&format!("{}{}", stream_head(), event(&text)), "never").await;
    let agent = service.proxy(Some(100.0));
    let mut stream =
        agent.send(&post("/v1/messages", &[("x-api-key", &agent.key())], &question().to_string())).await;
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    while bytes.len() < words.len() {
        let read = timeout(PATIENCE, stream.read(&mut piece)).await.expect("it comes").expect("it reads");
        bytes.extend_from_slice(&piece[..read]);
    }
    drop(stream);
    let counted = async {
        while agent.proxy.spending().output_tokens == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, counted).await.expect("it is counted");
    assert_eq!(agent.proxy.spending().output_tokens, 10_000);
    assert_eq!(agent.proxy.spending().input_tokens, 1_000_000);
}

#[tokio::test]
async fn a_spent_budget_refuses_the_next_request_and_tells() {
    // $5 each.
    let service = TestService::answering(&message(1_000_000, 0)).await;
    let agent = service.proxy(Some(9.0));
    for _ in 0..2 {
        assert!(!agent.proxy.is_budget_spent());
        assert_eq!(agent.post("/v1/messages", &question()).await.0, 200);
    }
    assert!(agent.proxy.is_budget_spent());
    let (status, answer) = agent.post("/v1/messages", &question()).await;
    assert!(status == 403 && answer.contains("its budget of $9.00 is spent"), "{answer}");
    timeout(PATIENCE, agent.proxy.budget_refused()).await.expect("it is told");
    assert_eq!(service.seen().len(), 2);
    assert_eq!(agent.post("/v1/messages/count_tokens", &question()).await.0, 200, "which costs nothing");
}

#[tokio::test]
async fn a_dropped_proxy_is_closed() {
    let service = TestService::answering(&message(1, 1)).await;
    let TestProxy { proxy, port } = service.proxy(None);
    let mut open = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    drop(proxy);
    let closed = timeout(PATIENCE, open.read(&mut [0; 1])).await.expect("it closes");
    assert!(matches!(closed, Ok(0) | Err(_)));
}

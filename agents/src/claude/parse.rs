//! Parses a line of the CLI's output into events. The shapes are those of 2.1.330; `tests/data` has recordings.
//!
//! Every line is parsed twice: first its kind, with everything else skipped, then only what that kind needs. So unknown kinds
//! cost and break nothing, and keys may come in any order.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    noise::{printable, without_leading_escapes},
    servers::OWN_SERVER,
    wording::{self, ResultWords},
};
use crate::event::{
    AgentEvent, BackgroundTask, McpServer, OwnToolsMessage, PermissionRequest, SessionId, ToolUse, TurnEnd,
    UnparsedOutput,
};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum LineMeaning {
    Event(AgentEvent),
    /// The CLI waits for an answer that nobody here can give: refuse the request with this sentence.
    Refuse {
        request_id: String,
        why: String,
    },
}

impl From<AgentEvent> for LineMeaning {
    fn from(event: AgentEvent) -> Self {
        Self::Event(event)
    }
}

/// Parses a line and passes its meanings to `emit`, in order; none for lines that are not for the chat.
pub(super) fn parse_line(line: &[u8], mut emit: impl FnMut(LineMeaning)) {
    // Lossy: one broken byte must not lose the whole line.
    let text = String::from_utf8_lossy(line);
    let json = without_leading_escapes(&text);
    let Some(head) = json.starts_with('{').then(|| serde_json::from_str::<LineHead<'_>>(json).ok()).flatten()
    else {
        let shown = printable(&text);
        if !shown.is_empty() {
            emit(AgentEvent::Noise(UnparsedOutput::NotJson(shown)).into());
        }
        return;
    };
    if let Err(error) = dispatch(&head, json, &mut emit) {
        emit(AgentEvent::Noise(UnparsedOutput::Malformed(format!("{}: {error}", head.name()))).into());
    }
}

type ParseResult = Result<(), serde_json::Error>;

fn dispatch(head: &LineHead<'_>, json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    match (head.kind.as_deref(), head.subtype.as_deref()) {
        (Some("stream_event"), _) => stream_event(json, emit),
        (Some("assistant"), _) => assistant(json, emit),
        (Some("user"), _) => user(json, emit),
        (Some("result"), _) => result(json, emit),
        (Some("system"), Some("init")) => init(json, emit),
        (Some("system"), Some("status")) => status(json, emit),
        (Some("system"), Some("compact_boundary")) => compact_boundary(json, emit),
        (Some("system"), Some("api_retry")) => api_retry(json, emit),
        (Some("system"), Some("background_tasks_changed")) => background_tasks(json, emit),
        (Some("system"), Some("task_notification")) => task_ended(json, emit),
        (Some("control_request"), _) => control_request(json, emit),
        (Some("control_response"), _) => control_response(json, emit),
        (Some("control_cancel_request"), _) => control_cancel(json, emit),
        (Some("rate_limit_event"), _) => rate_limit(json, emit),
        // Every release adds types; none of them is an error.
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
struct LineHead<'a> {
    #[serde(rename = "type", borrow, default, deserialize_with = "text_or_nothing")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text_or_nothing")]
    subtype: Option<Cow<'a, str>>,
}

impl LineHead<'_> {
    fn name(&self) -> String {
        let parts = [self.kind.as_deref(), self.subtype.as_deref()];
        parts.into_iter().flatten().collect::<Vec<_>>().join("/")
    }
}

/// A `type` that is not a string belongs to an unknown kind, which is ignored and no garbage.
fn text_or_nothing<'de: 'a, 'a, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Cow<'a, str>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum AnyJson<'a> {
        Text(#[serde(borrow)] Cow<'a, str>),
        Other(serde::de::IgnoredAny),
    }
    Ok(match AnyJson::deserialize(from)? {
        AnyJson::Text(text) => Some(text),
        AnyJson::Other(_) => None,
    })
}

fn stream_event(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        event: StreamEvent<'a>,
        #[serde(borrow)]
        parent_tool_use_id: Option<Cow<'a, str>>,
    }
    #[derive(Deserialize)]
    struct StreamEvent<'a> {
        #[serde(rename = "type", borrow)]
        kind: Option<Cow<'a, str>>,
        #[serde(borrow)]
        delta: Option<TextDelta<'a>>,
    }
    #[derive(Deserialize)]
    struct TextDelta<'a> {
        #[serde(rename = "type", borrow)]
        kind: Option<Cow<'a, str>>,
        text: Option<String>,
    }
    let line: Line<'_> = serde_json::from_str(json)?;
    if line.parent_tool_use_id.is_none() && line.event.kind.as_deref() == Some("message_stop") {
        emit(AgentEvent::MessageEnded.into());
    }
    // A line with a parent comes from a sub-agent.
    if let (None, Some(TextDelta { kind: Some(kind), text: Some(text) })) =
        (line.parent_tool_use_id, line.event.delta)
        && kind == "text_delta"
    {
        emit(AgentEvent::TextDelta(text).into());
    }
    Ok(())
}

/// What `assistant` and `user` lines share.
#[derive(Deserialize)]
struct MessageBody {
    message: MessageContent,
    parent_tool_use_id: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    is_api_error_message: bool,
    #[serde(default, rename = "isReplay")]
    is_replay: bool,
    #[serde(default, rename = "isSynthetic")]
    is_synthetic: bool,
}

impl MessageBody {
    /// Whether it is part of a conversation: no echo, no note of the CLI, no copy of an API error.
    fn is_conversation(&self) -> bool {
        !(self.is_api_error_message || self.is_replay || self.is_synthetic)
    }

    fn is_of_a_sub_agent(&self) -> bool {
        self.parent_tool_use_id.is_some()
    }
}

#[derive(Deserialize)]
struct MessageContent {
    content: ContentForm,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ContentForm {
    Blocks(Vec<ContentBlock>),
    Text(String),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentBlock {
    Text {
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    ToolResult {
        tool_use_id: String,
        #[serde(default)]
        is_error: Option<bool>,
    },
    #[serde(other)]
    Other,
}

fn assistant(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    let line: MessageBody = serde_json::from_str(json)?;
    if !line.is_conversation() {
        return Ok(());
    }
    let aside = line.is_of_a_sub_agent();
    let blocks = match line.message.content {
        ContentForm::Blocks(blocks) => blocks,
        ContentForm::Text(text) => vec![ContentBlock::Text { text }],
    };
    for block in blocks {
        match block {
            ContentBlock::Text { text } if !aside => emit(AgentEvent::Text(text).into()),
            ContentBlock::ToolUse { id, name, input } => {
                let tool = ToolUse { id, name, input };
                emit(
                    if aside { AgentEvent::SubAgentToolUse(tool) } else { AgentEvent::ToolUse(tool) }.into(),
                );
            }
            ContentBlock::Text { .. } | ContentBlock::ToolResult { .. } | ContentBlock::Other => {}
        }
    }
    Ok(())
}

fn user(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    let line: MessageBody = serde_json::from_str(json)?;
    if !line.is_conversation() {
        return Ok(());
    }
    let aside = line.is_of_a_sub_agent();
    let ContentForm::Blocks(blocks) = line.message.content else { return Ok(()) };
    for block in blocks {
        if let ContentBlock::ToolResult { tool_use_id, is_error } = block {
            let (id, is_error) = (tool_use_id, is_error.unwrap_or(false));
            let result = AgentEvent::ToolResult { id: id.clone(), is_error };
            emit(if aside { AgentEvent::SubAgentToolResult { id } } else { result }.into());
        }
    }
    Ok(())
}

/// A server as `system/init` and the answer to `mcp_status` list it.
#[derive(Deserialize)]
struct McpServerStatus {
    name: String,
    status: String,
    error: Option<String>,
    tools: Option<Vec<IgnoredAny>>,
}

impl From<McpServerStatus> for McpServer {
    fn from(McpServerStatus { name, status, error, tools }: McpServerStatus) -> Self {
        let state = wording::server_state(&status, error);
        Self { name, state, tools: tools.map(|tools| tools.len()) }
    }
}

fn init(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    #[derive(Deserialize)]
    struct Line {
        session_id: SessionId,
        #[serde(default)]
        model: String,
        #[serde(default)]
        mcp_servers: Vec<McpServerStatus>,
        #[serde(rename = "permissionMode")]
        mode: Option<String>,
    }
    let line: Line = serde_json::from_str(json)?;
    let mcp_servers = line.mcp_servers.into_iter().map(McpServer::from).collect();
    emit(AgentEvent::Started { session: line.session_id, model: line.model, mcp_servers }.into());
    if let Some(mode) = line.mode {
        emit(AgentEvent::Mode(wording::permission_mode(&mode)).into());
    }
    Ok(())
}

/// Printed for several reasons; a change of the mode is one of them.
fn status(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "permissionMode")]
        mode: Option<String>,
    }
    if let Some(mode) = serde_json::from_str::<Line>(json)?.mode {
        emit(AgentEvent::Mode(wording::permission_mode(&mode)).into());
    }
    Ok(())
}

fn compact_boundary(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    #[derive(Deserialize)]
    struct Line {
        compact_metadata: Compaction,
    }
    #[derive(Deserialize)]
    struct Compaction {
        #[serde(default)]
        trigger: String,
        #[serde(default)]
        pre_tokens: u64,
        post_tokens: Option<u64>,
    }
    let Compaction { trigger, pre_tokens, post_tokens } =
        serde_json::from_str::<Line>(json)?.compact_metadata;
    let automatic = wording::is_automatic_compaction(&trigger);
    emit(AgentEvent::Compacted { automatic, before: pre_tokens, after: post_tokens }.into());
    Ok(())
}

fn api_retry(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    #[derive(Deserialize)]
    struct Line {
        attempt: u32,
        max_retries: u32,
        #[serde(default)]
        retry_delay_ms: f64,
        error_status: Option<u16>,
        #[serde(default)]
        error: String,
    }
    let line: Line = serde_json::from_str(json)?;
    let event = AgentEvent::Retrying {
        attempt: line.attempt,
        max: line.max_retries,
        delay: milliseconds(line.retry_delay_ms),
        status: line.error_status,
        error: line.error,
    };
    emit(event.into());
    Ok(())
}

fn background_tasks(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    #[derive(Deserialize)]
    struct Line {
        tasks: Vec<ListedTask>,
    }
    #[derive(Deserialize)]
    struct ListedTask {
        task_id: String,
        #[serde(default)]
        task_type: String,
        #[serde(default)]
        description: String,
    }
    let tasks = serde_json::from_str::<Line>(json)?.tasks.into_iter().map(|task| BackgroundTask {
        id: task.task_id,
        kind: wording::background_kind(&task.task_type),
        description: task.description,
    });
    emit(AgentEvent::BackgroundTasks(tasks.collect()).into());
    Ok(())
}

fn task_ended(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    #[derive(Deserialize)]
    struct Line {
        task_id: String,
        #[serde(default)]
        status: String,
    }
    let Line { task_id: id, status } = serde_json::from_str(json)?;
    emit(AgentEvent::TaskEnded { id, end: wording::task_end(&status) }.into());
    Ok(())
}

/// Whole milliseconds; zero for a number that cannot be a duration.
fn milliseconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.round() / 1000.0).unwrap_or_default()
}

fn result(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    let line: ResultLine = serde_json::from_str(json)?;
    emit(AgentEvent::TurnEnded(Box::new(line.into())).into());
    Ok(())
}

#[derive(Deserialize)]
struct ResultLine {
    session_id: Option<SessionId>,
    is_error: bool,
    subtype: String,
    result: Option<String>,
    #[serde(default)]
    errors: Vec<String>,
    api_error_status: Option<u16>,
    terminal_reason: Option<String>,
    origin: Option<PromptOrigin>,
    #[serde(default)]
    num_turns: u64,
    #[serde(default)]
    duration_ms: f64,
    #[serde(default)]
    total_cost_usd: f64,
    #[serde(default)]
    usage: TokenUsage,
    deferred_tool_use: Option<DeferredToolUse>,
}

#[derive(Deserialize)]
struct DeferredToolUse {
    id: String,
    name: String,
    #[serde(default)]
    input: serde_json::Value,
}

#[derive(Deserialize)]
struct PromptOrigin {
    kind: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenUsage {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
}

impl From<ResultLine> for TurnEnd {
    fn from(line: ResultLine) -> Self {
        let usage = line.usage;
        // The API does not include cached tokens in `input_tokens`.
        let cached = usage.cache_creation_input_tokens.saturating_add(usage.cache_read_input_tokens);
        // The error subtypes have `errors` instead of `result`.
        let text = line.result.unwrap_or_else(|| line.errors.join("\n"));
        let words = ResultWords {
            subtype: &line.subtype,
            terminal_reason: line.terminal_reason.as_deref().unwrap_or_default(),
            status: line.api_error_status,
            text: &text,
        };
        Self {
            session: line.session_id,
            // `is_error` is the only reliable flag: an API failure has `subtype: success` (2.1.330).
            failure: line.is_error.then(|| wording::failure(&words)),
            text,
            unprompted: line.origin.is_some_and(|origin| origin.kind.as_deref() == Some("task-notification")),
            num_turns: line.num_turns,
            duration: milliseconds(line.duration_ms),
            session_cost_usd: line.total_cost_usd,
            input_tokens: usage.input_tokens.saturating_add(cached),
            output_tokens: usage.output_tokens,
            deferred: line.deferred_tool_use.map(|DeferredToolUse { id, name, input }| ToolUse {
                id,
                name,
                input,
            }),
        }
    }
}

fn control_request(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    #[derive(Deserialize)]
    struct Line {
        request_id: String,
        #[serde(default)]
        request: Value,
    }
    #[derive(Deserialize)]
    struct ControlAsk {
        tool_name: String,
        input: Value,
        tool_use_id: Option<String>,
        agent_id: Option<String>,
        blocked_path: Option<String>,
    }
    let Line { request_id, request } = serde_json::from_str(json)?;
    // Unknown and unreadable requests are refused at once: the CLI waits for an answer without a time limit.
    match request.get("subtype").and_then(Value::as_str).unwrap_or_default() {
        "can_use_tool" => {}
        "mcp_message" => return mcp_message(request_id, request, emit),
        other => {
            let why = format!("storkit does not answer control requests of the kind `{other}`.");
            emit(LineMeaning::Refuse { request_id, why });
            return Ok(());
        }
    }
    match serde_json::from_value::<ControlAsk>(request) {
        Ok(ControlAsk { tool_name: tool, input, tool_use_id, agent_id, blocked_path }) => {
            let request = PermissionRequest { request_id, tool, input, tool_use_id, agent_id, blocked_path };
            emit(AgentEvent::Permission(request).into());
            Ok(())
        }
        Err(error) => {
            emit(LineMeaning::Refuse {
                request_id,
                why: format!("storkit cannot read this request: {error}."),
            });
            Err(error)
        }
    }
}

fn mcp_message(request_id: String, request: Value, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    #[derive(Deserialize)]
    struct ServerMessage {
        server_name: String,
        message: Value,
    }
    match serde_json::from_value::<ServerMessage>(request) {
        Ok(ServerMessage { server_name, message }) if server_name == OWN_SERVER => {
            emit(AgentEvent::OwnTools(OwnToolsMessage { request_id, message }).into());
            Ok(())
        }
        Ok(ServerMessage { server_name, .. }) => {
            let why = format!("storkit has no MCP server `{server_name}`.");
            emit(LineMeaning::Refuse { request_id, why });
            Ok(())
        }
        Err(error) => {
            let why = format!("storkit cannot read this message: {error}.");
            emit(LineMeaning::Refuse { request_id, why });
            Err(error)
        }
    }
}

fn control_cancel(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    #[derive(Deserialize)]
    struct Line {
        request_id: String,
    }
    let Line { request_id } = serde_json::from_str(json)?;
    emit(AgentEvent::PermissionCancelled { request_id }.into());
    Ok(())
}

fn control_response(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    #[derive(Deserialize)]
    struct Line {
        response: ControlResponse,
    }
    #[derive(Deserialize)]
    struct ControlResponse {
        subtype: String,
        request_id: String,
        error: Option<String>,
        #[serde(default)]
        response: Option<ResponseContent>,
    }
    #[derive(Deserialize)]
    struct ResponseContent {
        #[serde(rename = "mcpServers")]
        servers: Option<Vec<McpServerStatus>>,
    }
    let ControlResponse { subtype, request_id, error, response } =
        serde_json::from_str::<Line>(json)?.response;
    if subtype == "error" {
        let error = error.unwrap_or_else(|| "no reason given".into());
        emit(AgentEvent::ControlFailed { request_id, error }.into());
    } else if let Some(servers) = response.and_then(|response| response.servers) {
        emit(AgentEvent::Servers(servers.into_iter().map(McpServer::from).collect()).into());
    }
    // Another success needs no event: an interrupt, for example, shows in the result of its turn.
    Ok(())
}

/// Not in the recordings: documented for the Agent SDK as `SDKRateLimitEvent`, `resetsAt` in seconds.
fn rate_limit(json: &str, emit: &mut impl FnMut(LineMeaning)) -> ParseResult {
    #[derive(Deserialize)]
    struct Line {
        rate_limit_info: RateLimitInfo,
    }
    #[derive(Deserialize)]
    struct RateLimitInfo {
        status: String,
        #[serde(rename = "resetsAt")]
        resets_at: Option<f64>,
    }
    let RateLimitInfo { status, resets_at } = serde_json::from_str::<Line>(json)?.rate_limit_info;
    let since_1970 = resets_at.and_then(|seconds| Duration::try_from_secs_f64(seconds.trunc()).ok());
    let resets_at = since_1970.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    emit(AgentEvent::RateLimit { status: wording::rate_limit_status(&status), resets_at }.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        claude::{
            lines::{LineSplitter, StreamLine},
            noise::SHOWN,
        },
        event::{BackgroundKind, RateLimitStatus, TaskEnd},
    };

    fn meanings(stream: &[u8], step: usize) -> Vec<LineMeaning> {
        let (mut lines, mut seen) = (LineSplitter::new(1 << 20), Vec::new());
        let mut each = |line: StreamLine<'_>| {
            if let StreamLine::Whole(line) = line {
                parse_line(line, |meaning| seen.push(meaning));
            }
        };
        for piece in stream.chunks(step) {
            lines.feed(piece, &mut each);
        }
        lines.finish(each);
        seen
    }

    fn one(line: &Value) -> Vec<LineMeaning> {
        meanings(line.to_string().as_bytes(), usize::MAX)
    }

    #[test]
    fn a_compaction_tells_who_began_it_and_what_it_came_to() {
        let line = |trigger: &str, sizes: Value| {
            let mut metadata = json!({"trigger": trigger, "duration_ms": 86});
            metadata.as_object_mut().unwrap().extend(sizes.as_object().unwrap().clone());
            json!({"type": "system", "subtype": "compact_boundary", "compact_metadata": metadata})
        };
        let compacted =
            |automatic, before, after| [AgentEvent::Compacted { automatic, before, after }.into()];
        let sizes = json!({"pre_tokens": 105, "post_tokens": 25});
        assert_eq!(one(&line("manual", sizes.clone())), compacted(false, 105, Some(25)));
        assert_eq!(one(&line("auto", sizes)), compacted(true, 105, Some(25)));
        assert_eq!(one(&line("auto", json!({"pre_tokens": 105}))), compacted(true, 105, None));
    }

    #[test]
    fn work_in_the_background_is_listed_and_its_end_told() {
        let tasks = json!([
            { "task_id": "b1", "run_id": "r", "task_type": "local_bash", "description": "count" },
            { "task_id": "a1", "task_type": "local_agent", "subagent_type": "general-purpose" },
            { "task_id": "x1", "task_type": "brand_new" },
        ]);
        let listed = one(&json!({ "type": "system", "subtype": "background_tasks_changed", "tasks": tasks }));
        let task = |id: &str, kind, description: &str| BackgroundTask {
            id: id.into(),
            kind,
            description: description.into(),
        };
        let expected = AgentEvent::BackgroundTasks(vec![
            task("b1", BackgroundKind::Command, "count"),
            task("a1", BackgroundKind::SubAgent, ""),
            task("x1", BackgroundKind::Other, ""),
        ]);
        assert_eq!(listed, [expected.into()]);
        for (status, end) in
            [("completed", TaskEnd::Completed), ("stopped", TaskEnd::Stopped), ("failed", TaskEnd::Failed)]
        {
            let line = json!({ "type": "system", "subtype": "task_notification", "task_id": "b1", "status": status });
            assert_eq!(one(&line), [AgentEvent::TaskEnded { id: "b1".into(), end }.into()]);
        }
    }

    /// Shows an event as one short line, so that a recording reads like a chat.
    fn shown(meaning: &LineMeaning) -> String {
        let long = match meaning {
            LineMeaning::Event(AgentEvent::TurnEnded(end)) => format!("{end:?}"),
            LineMeaning::Event(AgentEvent::ToolUse(ToolUse { id, name, input })) => {
                format!("ToolUse {id} {name} {}", sorted(input))
            }
            LineMeaning::Event(AgentEvent::Permission(PermissionRequest {
                tool,
                input,
                tool_use_id,
                ..
            })) => {
                format!("Permission {tool} {tool_use_id:?} {}", sorted(input))
            }
            LineMeaning::Event(event) => format!("{event:?}"),
            LineMeaning::Refuse { request_id, why } => format!("Refuse {request_id}: {why}"),
        };
        long.chars().take(400).collect()
    }

    /// The same with sorted keys, whether or not some crate of the build turns on `preserve_order`.
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let sorted_map: std::collections::BTreeMap<_, _> =
                    map.iter().map(|(k, v)| (k, sorted(v))).collect();
                sorted_map.into_iter().map(|(key, value)| (key.clone(), value)).collect()
            }
            Value::Array(items) => items.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }

    fn recording(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/claude-2.1.330/");
        std::fs::read(format!("{folder}{name}.jsonl")).expect("a recording")
    }

    fn recordings() -> Vec<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/claude-2.1.330");
        let files =
            std::fs::read_dir(folder).expect("the recordings").map(|file| file.expect("a file").file_name());
        let names = files.filter_map(|name| name.to_str()?.strip_suffix(".jsonl").map(String::from));
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn every_recording_of_the_real_cli_reads_as_it_did() {
        let names = recordings();
        assert!(names.len() >= 20, "only {names:?}");
        for name in names {
            let events: Vec<_> = meanings(&recording(&name), 4096).iter().map(shown).collect();
            insta::assert_snapshot!(name.clone(), events.join("\n"), &name);
        }
    }

    #[test]
    fn no_recording_holds_noise() {
        for name in recordings() {
            let odd = |meaning: &LineMeaning| {
                matches!(meaning, LineMeaning::Refuse { .. } | LineMeaning::Event(AgentEvent::Noise(_)))
            };
            let noise: Vec<_> = meanings(&recording(&name), 4096).into_iter().filter(odd).collect();
            assert_eq!(noise, [], "{name}");
        }
    }

    #[test]
    fn key_order_makes_no_difference() {
        let early = br#"{"type":"stream_event","parent_tool_use_id":null,"event":{"delta":{"type":"text_delta","text":"hi"}}}"#;
        let late = br#"{"event":{"delta":{"text":"hi","type":"text_delta"}},"parent_tool_use_id":null,"type":"stream_event"}"#;
        assert_eq!(meanings(early, 7), [AgentEvent::TextDelta("hi".into()).into()]);
        assert_eq!(meanings(late, 7), meanings(early, 7));
    }

    #[test]
    fn what_a_newer_cli_adds_is_passed_over_in_silence() {
        for line in [
            json!({"type": "brand_new", "message": 5, "event": "x"}),
            json!({"type": "system", "subtype": "brand_new", "model": {}}),
            json!({"type": {"odd": 1}, "subtype": [1]}),
            json!({"subtype": "no type at all"}),
            json!({"type": "assistant", "message": {"content": [{"type": "brand_new", "text": 3}]}}),
        ] {
            assert_eq!(one(&line), [], "{line}");
        }
    }

    #[test]
    fn sub_agents_replays_and_copies_of_api_errors_are_not_for_the_chat() {
        let text = json!({"content": [{"type": "text", "text": "x"}]});
        let tool = json!({"content": [{"type": "tool_result", "tool_use_id": "t"}]});
        let delta = json!({"delta": {"type": "text_delta", "text": "x"}});
        for line in [
            json!({"type": "assistant", "parent_tool_use_id": "toolu_1", "message": text}),
            json!({"type": "assistant", "is_api_error_message": true, "message": text}),
            json!({"type": "user", "isReplay": true, "message": tool}),
            json!({"type": "user", "isSynthetic": true, "message": tool}),
            json!({"type": "stream_event", "parent_tool_use_id": "toolu_1", "event": delta}),
        ] {
            assert_eq!(one(&line), [], "{line}");
        }
    }

    #[test]
    fn the_tools_of_a_sub_agent_are_reported_as_its_own() {
        let parent = "toolu_1";
        let call = json!({"content": [{"type": "tool_use", "id": "t", "name": "WebSearch", "input": {}}]});
        let tool = ToolUse { id: "t".into(), name: "WebSearch".into(), input: json!({}) };
        assert_eq!(
            one(&json!({"type": "assistant", "parent_tool_use_id": parent, "message": call})),
            [AgentEvent::SubAgentToolUse(tool).into()]
        );
        let result = json!({"content": [{"type": "tool_result", "tool_use_id": "t"}]});
        assert_eq!(
            one(&json!({"type": "user", "parent_tool_use_id": parent, "message": result})),
            [AgentEvent::SubAgentToolResult { id: "t".into() }.into()]
        );
    }

    #[test]
    fn a_known_type_of_another_shape_is_told_with_its_name() {
        insta::assert_debug_snapshot!(one(&json!({"type": "result", "is_error": "yes"})), @r#"
        [
            Event(
                Noise(
                    Malformed(
                        "result: invalid type: string \"yes\", expected a boolean at line 1 column 17",
                    ),
                ),
            ),
        ]
        "#);
    }

    #[test]
    fn a_question_that_nobody_can_see_is_refused_so_that_the_cli_does_not_wait_forever() {
        let unknown =
            json!({"type": "control_request", "request_id": "r1", "request": {"subtype": "brand_new"}});
        insta::assert_debug_snapshot!(one(&unknown), @r#"
        [
            Refuse {
                request_id: "r1",
                why: "storkit does not answer control requests of the kind `brand_new`.",
            },
        ]
        "#);
        let broken =
            json!({"type": "control_request", "request_id": "r2", "request": {"subtype": "can_use_tool"}});
        insta::assert_debug_snapshot!(one(&broken), @r#"
        [
            Refuse {
                request_id: "r2",
                why: "storkit cannot read this request: missing field `tool_name`.",
            },
            Event(
                Noise(
                    Malformed(
                        "control_request: missing field `tool_name`",
                    ),
                ),
            ),
        ]
        "#);
    }

    #[test]
    fn a_rate_limit_notice_tells_its_end() {
        let info = json!({"status": "rejected", "resetsAt": 1_795_400_000, "rateLimitType": "five_hour"});
        let resets_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_400_000);
        let event = AgentEvent::RateLimit { status: RateLimitStatus::Rejected, resets_at: Some(resets_at) };
        assert_eq!(one(&json!({"type": "rate_limit_event", "rate_limit_info": info})), [event.into()]);
    }

    #[test]
    fn garbage_is_told_short_and_without_control_characters() {
        let noise = |bytes: &[u8]| match meanings(bytes, usize::MAX).as_slice() {
            [LineMeaning::Event(AgentEvent::Noise(UnparsedOutput::NotJson(text)))] => text.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(noise(b"\x1b[31mError:\x1b[0m no\x07 key \xff"), "Error: no key \u{fffd}");
        assert_eq!(noise(br#"{"type":"assistant","mess"#), r#"{"type":"assistant","mess"#);
        assert_eq!(noise(&vec![b'x'; 1 << 20]).len(), SHOWN);
    }

    #[test]
    fn the_escapes_at_the_end_of_the_cli_are_nothing() {
        let longer = b"\x1b[?2004l\x1b[?25h\x1b7\x1b[r\x1b8\x1b]0;\x07\x1b[?25h";
        assert_eq!(meanings(b"\x1b[?25h", 3), []);
        assert_eq!(meanings(longer, 3), []);
        let before = b"\x1b[?25h{\"type\":\"control_cancel_request\",\"request_id\":\"r\"}";
        assert_eq!(meanings(before, 3), [AgentEvent::PermissionCancelled { request_id: "r".into() }.into()]);
    }

    /// As `services::times`, which the crates share that talk to messengers.
    fn times() -> u32 {
        std::env::var("STORKIT_TEST_TIMES").map_or(1, |times| times.parse().expect("a number"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64 * times()))]

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            meanings(&bytes, 64);
        }

        #[test]
        fn broken_recordings_never_panic(at in 0usize..19_000, byte in any::<u8>(), cut in 0usize..400) {
            let mut stream = recording("02-tour.pty");
            stream[at] = byte;
            stream.drain(at..at + cut);
            meanings(&stream, 1000);
        }

        #[test]
        fn arbitrary_splits_give_the_same_events(step in 1usize..5000) {
            let stream = recording("02-tour.pty");
            prop_assert_eq!(meanings(&stream, step), meanings(&stream, usize::MAX));
        }
    }
}

//! The lines that the stand-in prints, in the shapes of the recordings; a test holds them against those.

use serde_json::{Value, json};

/// What every line of a session carries.
#[derive(Clone, Debug)]
pub struct Stamp {
    pub session: String,
    /// The model in use.
    pub model: String,
}

fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

impl Stamp {
    /// The line `system/init`, first of each turn.
    pub fn init(&self) -> Value {
        json!({
            "type": "system", "subtype": "init", "session_id": self.session, "uuid": uuid(), "model": self.model,
            "cwd": std::env::current_dir().unwrap_or_default(), "permissionMode": "default",
            "tools": ["AskUserQuestion", "Bash", "ExitPlanMode"], "mcp_servers": [],
            "slash_commands": ["compact"], "apiKeySource": "ANTHROPIC_API_KEY",
            "claude_code_version": "2.1.330", "output_style": "default", "agents": ["general-purpose"],
            "capabilities": ["interrupt_receipt_v1"], "skills": [], "plugins": [],
        })
    }

    /// `system` with other fields.
    pub fn system(&self, subtype: &str, fields: Value) -> Value {
        let stamp = json!({"type": "system", "subtype": subtype, "session_id": self.session, "uuid": uuid()});
        merged(stamp, fields)
    }

    /// `stream_event` around an event of the API.
    pub fn stream_event(&self, event: Value) -> Value {
        json!({
            "type": "stream_event", "event": event, "session_id": self.session, "parent_tool_use_id": null,
            "uuid": uuid(), "api_message_id": "msg_stand_in",
        })
    }

    /// A piece of text as it is written.
    pub fn delta(&self, text: &str) -> Value {
        let delta = json!({"type": "text_delta", "text": text});
        self.stream_event(json!({"type": "content_block_delta", "index": 0, "delta": delta}))
    }

    /// `assistant` with one block, as the real CLI prints one line for each.
    pub fn assistant(&self, block: Value) -> Value {
        let usage = json!({
            "input_tokens": 100, "output_tokens": 1,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        });
        json!({
            "type": "assistant", "parent_tool_use_id": null, "session_id": self.session, "uuid": uuid(),
            "timestamp": "2026-11-22T11:46:37.103Z", "request_id": "req_stand_in",
            "message": {
                "id": "msg_stand_in", "type": "message", "role": "assistant", "model": self.model,
                "content": [block], "stop_reason": null, "stop_sequence": null, "usage": usage,
                "context_management": null,
            },
        })
    }

    /// `user`, which is what tools and the CLI itself say to the model.
    pub fn user(&self, block: Value) -> Value {
        json!({
            "type": "user", "message": {"role": "user", "content": [block]}, "parent_tool_use_id": null,
            "session_id": self.session, "uuid": uuid(), "timestamp": "2026-11-22T11:46:38.365Z",
        })
    }

    /// A line of a sub-agent.
    pub fn of_sub_agent(&self, line: Value, call: &str) -> Value {
        merged(line, json!({"parent_tool_use_id": call, "agent_id": "a0f0e24ad20bf3927"}))
    }

    /// The `assistant` line that repeats an API failure.
    pub fn api_error(&self, failure: &Failure) -> Value {
        let mut line = self.assistant(text_block(failure.text));
        line["message"]["model"] = "<synthetic>".into();
        line["message"]["stop_reason"] = "stop_sequence".into();
        line["message"]["stop_sequence"] = "".into();
        let status = failure.status;
        merged(
            line,
            json!({"is_api_error_message": true, "error": failure.error, "api_error_status": status}),
        )
    }

    /// The line `system/api_retry` of a failed API call.
    pub fn api_retry(&self, failure: &Failure, attempt: u32, max: u32) -> Value {
        let fields = json!({
            "attempt": attempt, "max_retries": max, "retry_delay_ms": 500 * attempt,
            "error_status": failure.status, "error": failure.retry,
        });
        self.system("api_retry", fields)
    }

    /// The line `result`, last of each turn.
    pub fn result(&self, end: &End) -> Value {
        let usage = json!({
            "input_tokens": 100 * end.calls, "output_tokens": 10 * end.calls,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "service_tier": "standard",
        });
        let line = json!({
            "duration_api_ms": 664, "stop_reason": "end_turn", "session_id": self.session,
            "total_cost_usd": end.cost, "usage": usage, "modelUsage": {}, "permission_denials": end.denials,
            "terminal_reason": end.reason, "is_error": end.is_error, "num_turns": end.calls,
            "subtype": "success", "type": "result", "duration_ms": 1160, "uuid": uuid(),
            "queued_turn_count": 0, "result_index": end.index,
        });
        // The error subtypes carry neither a text nor the status.
        let status = if end.rest["errors"].is_null() { json!({"api_error_status": null}) } else { json!({}) };
        merged(merged(line, status), end.rest.clone())
    }

    /// The result of a resume of a session that is not there.
    pub fn no_conversation(&self, why: &str) -> Value {
        json!({
            "type": "result", "subtype": "error_during_execution", "duration_ms": 0, "duration_api_ms": 0,
            "is_error": true, "num_turns": 0, "stop_reason": null, "session_id": self.session,
            "total_cost_usd": 0, "modelUsage": {}, "permission_denials": [], "uuid": uuid(), "errors": [why],
            "result_index": 0,
        })
    }
}

/// The outcome of a turn.
#[derive(Clone, Debug)]
pub struct End {
    /// The value of `terminal_reason`.
    pub reason: &'static str,
    pub is_error: bool,
    /// API calls of the turn.
    pub calls: u32,
    /// Dollars of the session.
    pub cost: f64,
    /// How many results came before.
    pub index: u32,
    /// The calls that were refused.
    pub denials: Vec<Value>,
    /// Other fields: `result` or `errors`, `origin`, `subtype`.
    pub rest: Value,
}

/// How the API can fail, as recorded.
#[derive(Debug)]
pub struct Failure {
    pub status: u16,
    /// The word in the `assistant` line.
    pub error: &'static str,
    /// The word in the `api_retry` lines.
    pub retry: &'static str,
    /// The sentence for the person.
    pub text: &'static str,
}

/// The failures that `error` knows.
pub const FAILURES: [Failure; 4] = [
    Failure {
        status: 401,
        error: "authentication_failed",
        retry: "authentication_failed",
        text: "Invalid API key · Fix external API key",
    },
    Failure {
        status: 429,
        error: "rate_limit",
        retry: "rate_limit",
        text: "API Error: Request rejected (429) · rate limited",
    },
    Failure {
        status: 500,
        error: "server_error",
        retry: "server_error",
        text: "API Error: 500 scripted api_error. This is a server-side issue, usually temporary — try again in a moment. If it persists, check your inference gateway (127.0.0.1:40811).",
    },
    Failure {
        status: 529,
        error: "server_error",
        retry: "overloaded",
        text: "API Error: Repeated 529 Overloaded errors. The API is at capacity — this is usually temporary. Try again in a moment. If it persists, check your inference gateway (127.0.0.1:36283).",
    },
];

/// A block of text.
pub fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

pub fn tool_block(id: &str, name: &str, input: &Value) -> Value {
    json!({"type": "tool_use", "id": id, "name": name, "input": input})
}

/// The result of a tool call.
pub fn result_block(id: &str, content: &str, is_error: bool) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error})
}

/// A question to the person.
pub fn can_use_tool(request_id: &str, tool: &str, id: &str, input: &Value) -> Value {
    let request = json!({
        "subtype": "can_use_tool", "tool_name": tool, "display_name": tool, "input": input, "tool_use_id": id,
    });
    let more = match tool {
        "Bash" => json!({"description": input["description"], "permission_suggestions": []}),
        _ => json!({"requires_user_interaction": true}),
    };
    json!({"type": "control_request", "request_id": request_id, "request": merged(request, more)})
}

/// A question is void.
pub fn cancel(request_id: &str) -> Value {
    json!({"type": "control_cancel_request", "request_id": request_id})
}

/// The answer to a control request.
pub fn accepted(request_id: &str, response: Value) -> Value {
    let response = json!({"subtype": "success", "request_id": request_id, "response": response});
    json!({"type": "control_response", "response": response})
}

/// The refusal of a control request.
pub fn unsupported(request_id: &str, subtype: &str) -> Value {
    let error = format!("Unsupported control request subtype: {subtype}");
    let code = "unsupported_request";
    let response = json!({"subtype": "error", "request_id": request_id, "error": error, "error_code": code});
    json!({"type": "control_response", "response": response})
}

/// The fields of both; the second wins.
fn merged(mut line: Value, more: Value) -> Value {
    if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
        line.extend(more);
    }
    line
}

/// The line as text, its keys beginning at another place each time: their order is no promise.
pub fn shuffled(line: &Value, turn: usize) -> String {
    let Value::Object(fields) = line else { return line.to_string() };
    let mut shown: Vec<String> =
        fields.iter().map(|(key, value)| format!("{}:{value}", Value::from(key.as_str()))).collect();
    let start = turn % shown.len().max(1);
    shown.rotate_left(start);
    format!("{{{}}}", shown.join(","))
}

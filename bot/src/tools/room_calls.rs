//! Calls by the agent of a chat room. They come over the stream of its process, so there is neither an address nor a token that another
//! process could use. Each call belongs to the turn under way, and may do what the person of that turn may do by a command.

use std::sync::Arc;

use rmcp::model::{CallToolResult, ContentBlock, Implementation, ListToolsResult};
use serde_json::{Value, json};

use super::{
    McpRun, ToolServices,
    call::{Answered, ToolCall},
    longest, table,
    table::RoomUse,
    within,
};
use crate::{
    config::access::UserRole,
    permission::AgentRequest,
    replies::{self, tools as say},
};

/// JSON-RPC's code for a method that is not there. <https://www.jsonrpc.org/specification#error_object>
const UNKNOWN_METHOD: i32 = -32601;

/// The turn to which a call belongs.
#[derive(Clone, Debug)]
pub enum RoomAccess {
    /// The main conversation of this turn has reported the call.
    Main(Arc<McpRun>),
    /// A sub-agent has, maybe one of an earlier turn.
    SubAgent(Arc<McpRun>),
    /// No turn is under way, or nobody has reported the call.
    Nobody,
}

/// An answer for the agent program, and a sentence for the room where a call was denied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessageAnswer {
    pub answer: Value,
    pub denied: Option<String>,
}

/// The tool that a message calls, and the call's id in the agent program.
pub fn called(message: &Value) -> Option<(&str, &str)> {
    let is_call = message.get("method").and_then(Value::as_str) == Some("tools/call");
    let parameters = message.get("params").filter(|_| is_call)?;
    let name = parameters.get("name").and_then(Value::as_str)?;
    // As Claude Code sends it (2.1.330).
    Some((name, parameters.get("_meta")?.get("claudecode/toolUseId")?.as_str()?))
}

/// Answers an MCP message of a room's agent program. A question ends with its turn, as all of the room's questions do.
pub async fn answer_message(
    services: &Arc<ToolServices>,
    message: Value,
    (access, request): (RoomAccess, AgentRequest),
) -> MessageAnswer {
    let parameters = message.get("params").cloned().unwrap_or_default();
    // A notification has no id; the CLI takes any answer to it.
    let id = message.get("id").cloned().unwrap_or_else(|| json!(0));
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
    let (result, denied) = match method {
        "initialize" => (Ok(initialized(&parameters)), None),
        "tools/list" => (Ok(listed()), None),
        "tools/call" => {
            let (answered, denied) = call_tool(services, &parameters, (access, request)).await;
            let text = |text: String| vec![ContentBlock::text(text)];
            let result = answered.map_or_else(
                |why| CallToolResult::error(text(why)),
                |said| CallToolResult::success(text(said)),
            );
            (Ok(to_json(&result)), denied)
        }
        method if method == "ping" || method.starts_with("notifications/") => (Ok(json!({})), None),
        _ => (Err(json!({ "code": UNKNOWN_METHOD, "message": "storkit does not know this method." })), None),
    };
    let answer = match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
    };
    MessageAnswer { answer, denied }
}

fn to_json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn initialized(parameters: &Value) -> Value {
    json!({
        "protocolVersion": parameters.get("protocolVersion").cloned().unwrap_or_default(),
        "capabilities": { "tools": {} },
        "serverInfo": to_json(&Implementation::new("storkit", env!("CARGO_PKG_VERSION"))),
    })
}

fn listed() -> Value {
    to_json(&ListToolsResult::with_all_items(table::of_rooms().map(table::describe).collect()))
}

/// With a sentence for the room, where the person of the turn lacks a role.
async fn call_tool(
    services: &Arc<ToolServices>,
    parameters: &Value,
    (access, request): (RoomAccess, AgentRequest),
) -> (Answered, Option<String>) {
    let name = parameters.get("name").and_then(Value::as_str).unwrap_or_default();
    let Some(tool) = table::of_rooms().find(|tool| tool.name == name) else {
        return (Err(say::no_such_tool(name)), None);
    };
    let run = match access {
        RoomAccess::Nobody => return (Err(say::NO_TURN.into()), None),
        RoomAccess::SubAgent(_) if tool.room != RoomUse::Read => {
            return (Err(say::NOT_FOR_SUB_AGENTS.into()), None);
        }
        RoomAccess::Main(run) | RoomAccess::SubAgent(run) => run,
    };
    let arguments = parameters.get("arguments").cloned().unwrap_or_else(|| json!({}));
    let id = parameters["_meta"]["claudecode/toolUseId"].as_str().map(str::to_owned);
    let call = ToolCall { services: services.clone(), run, arguments, id, request };
    if let Err(why) = admit(&call, tool.room.role()) {
        let denied = replies::call_denied(name, &why);
        return (Err(why), Some(denied));
    }
    (within(longest(tool, &call.run), table::call(name, call)).await, None)
}

/// Checks the role of the person whose turn it is, as it is now. Whoever calls by another way has it.
///
/// # Errors
/// A sentence for the agent.
pub(super) fn admit(call: &ToolCall, needs: UserRole) -> Result<(), String> {
    let Some(room) = &call.run.room else { return Ok(()) };
    let role = call.services.settings.access().role(&room.origin.room, &room.person.id);
    match role {
        Some(role) if role >= needs => Ok(()),
        role => Err(say::needs_role(&room.person.name, role, needs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_the_id_that_its_program_gave_it() {
        let call = |id: Value| json!({ "method": "tools/call", "params": { "name": "get_story", "_meta": { "claudecode/toolUseId": id } } });
        assert_eq!(called(&call(json!("toolu_1"))), Some(("get_story", "toolu_1")));
        assert_eq!(called(&call(json!(1))), None);
        assert_eq!(called(&json!({ "method": "tools/list" })), None);
    }
}

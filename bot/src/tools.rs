//! Storkit's tools for agents, whatever way a call comes: `table` is the list of them, `stories`, `plan`, `work` and `review` implement
//! them, `permission` asks people. Agents on stories and the operator call over HTTP; the agent of a chat room calls over the stream of its
//! process, where `room_calls` decides what its turn may do.

mod call;
mod caller;
mod findings;
mod permission;
mod plan;
mod probed;
mod review;
mod room_calls;
mod services;
mod specs;
mod stories;
mod table;
mod work;

use std::{sync::Arc, time::Duration};

pub use call::Answered;
pub use caller::{McpRun, RoomTurnCaller};
pub use permission::is_allowed_by_rule;
pub use probed::{ProbedCalls, usually_unasked};
pub use room_calls::{MessageAnswer, RoomAccess, answer_message, called};
use serde_json::Value;
pub use services::ToolServices;

use self::{
    call::ToolCall,
    table::{RoomUse, ToolSpec},
};
use crate::{permission::AgentRequest, replies::tools as say};

/// Before the names of storkit's tools, as the agent program calls them.
pub const OWN_TOOLS: &str = "mcp__storkit__";

// Without a `timeout` in its MCP config the CLI gives up on a call after 60 s. The operator's file has none.
const LONGEST_CALL: Duration = Duration::from_secs(50);

/// What a caller asks for.
pub struct ToolRequest {
    pub name: String,
    pub arguments: Value,
    /// The call's id in the agent program, if that names one.
    pub id: Option<String>,
}

/// The tools of a caller, as MCP lists them.
pub fn list(run: &McpRun) -> Vec<rmcp::model::Tool> {
    table::visible(run).map(table::describe).collect()
}

/// Calls a tool for somebody who may; `None` where this caller has no such tool.
pub async fn call(services: &Arc<ToolServices>, run: Arc<McpRun>, request: ToolRequest) -> Option<Answered> {
    // Checked for each call, not only in the list: a model can name a tool that it read about elsewhere.
    let tool = table::visible(&run).find(|tool| tool.name == request.name)?;
    let ToolRequest { arguments, id, .. } = request;
    let call = ToolCall { services: services.clone(), run, arguments, id, request: AgentRequest::default() };
    Some(within(longest(tool, &call.run), table::call(tool.name, call)).await)
}

/// The answer to a call that was cut off.
pub fn cancelled(name: &str) -> Answered {
    table::cancelled(name)
}

// People take their time, and the agents' MCP config allows a day. Every other long job is started by one call and polled by others.
fn longest(tool: &ToolSpec, run: &McpRun) -> Option<Duration> {
    let asks_in_room = run.room.is_some() && !matches!(tool.room, RoomUse::Read);
    let asks = tool.name == "prompt_permission" || asks_in_room;
    (!asks).then_some(LONGEST_CALL)
}

// The pipeline has the order already, so dropping the wait does not stop the work. The
// answer reports that it continues.
async fn within(limit: Option<Duration>, answering: impl Future<Output = Answered>) -> Answered {
    let Some(limit) = limit else { return answering.await };
    tokio::time::timeout(limit, answering).await.unwrap_or_else(|_| Err(say::STILL_RUNNING.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_takes_too_long_is_answered_and_one_that_asks_a_person_waits() {
        let endless = std::future::pending();
        let answered = within(Some(Duration::ZERO), endless).await;
        assert!(answered.is_err_and(|why| why == say::STILL_RUNNING));
        let (yes, asked) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn(within(None, async { asked.await.map_err(|_| String::new()) }));
        yes.send("allowed".to_owned()).expect("somebody waits");
        assert_eq!(waiting.await.expect("it ends"), Ok("allowed".into()));
    }
}

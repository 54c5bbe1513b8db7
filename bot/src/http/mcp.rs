//! The MCP server that agents' processes call: today its one tool is `prompt_permission`.

use std::sync::Arc;

use axum::http::request::Parts;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject,
        ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Run;
use crate::{permission::Ask, services::Services};

/// The name the CLI is given as `mcp__storkit__prompt_permission`.
const PROMPT_PERMISSION: &str = "prompt_permission";

/// Makes the service. Stateless, so that a restart of storkit costs an agent nothing between two calls.
pub fn service(services: Arc<Services>) -> StreamableHttpService<Mcp, NeverSessionManager> {
    let mut config = StreamableHttpServerConfig::default();
    config.legacy_session_mode = false;
    config.cancellation_token = services.stop.clone();
    let mcp = Mcp { services };
    StreamableHttpService::new(move || Ok(mcp.clone()), Arc::new(NeverSessionManager::default()), config)
}

/// The handler of one request.
#[derive(Clone)]
pub struct Mcp {
    services: Arc<Services>,
}

/// What the CLI sends (facts: no session id, no folder; the token tells whose call it is).
#[derive(Deserialize)]
struct PermissionCall {
    tool_name: String,
    #[serde(default)]
    input: Value,
}

impl ServerHandler for Mcp {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::default();
        info.capabilities = ServerCapabilities::builder().enable_tools().build();
        info.server_info = Implementation::new("storkit", env!("CARGO_PKG_VERSION"));
        info
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(vec![tool()]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if request.name != PROMPT_PERMISSION {
            return Err(ErrorData::invalid_params(format!("There is no tool `{}`.", request.name), None));
        }
        let run =
            context.extensions.get::<Parts>().and_then(|parts| parts.extensions.get::<Arc<Run>>()).cloned();
        let Some(run) = run else {
            return Err(ErrorData::internal_error("The call reached the tool without its run.", None));
        };
        let answer = tokio::select! {
            answer = self.permission(&run, request.arguments.unwrap_or_default()) => answer,
            () = context.ct.cancelled() => deny("The call was cancelled."),
        };
        // One text block and no structuredContent: the CLI refuses all else.
        Ok(CallToolResponse::Complete(CallToolResult::success(vec![ContentBlock::text(answer.to_string())])))
    }
}

impl Mcp {
    async fn permission(&self, run: &Run, arguments: JsonObject) -> Value {
        let call: PermissionCall = match serde_json::from_value(Value::Object(arguments)) {
            Ok(call) => call,
            Err(error) => return deny(&format!("The permission call could not be read: {error}.")),
        };
        let ask = Ask {
            rooms: run.rooms.clone(),
            asked_for: run.asked_for.clone(),
            tool: call.tool_name,
            input: call.input,
            timeout: run.timeout,
        };
        let answer = self.services.broker.ask(ask).await;
        serde_json::to_value(answer).unwrap_or_else(|error| deny(&error.to_string()))
    }
}

fn deny(message: &str) -> Value {
    json!({ "behavior": "deny", "message": message })
}

fn tool() -> Tool {
    let schema = json!({
        "type": "object",
        "properties": {
            "tool_name": { "type": "string", "description": "The tool that needs permission" },
            "input": { "type": "object", "description": "Its exact input" },
            "tool_use_id": { "type": "string", "description": "The call's id" },
        },
        "required": ["tool_name", "input"],
    });
    let schema = schema.as_object().cloned().unwrap_or_default();
    Tool::new(
        PROMPT_PERMISSION,
        "Asks the people who follow this run for permission, and waits for their answer.",
        schema,
    )
}

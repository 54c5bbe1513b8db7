//! The MCP server over HTTP, for agents on stories and for the operator. The token tells who calls, and [`crate::tools`] does the rest.

use std::sync::Arc;

use axum::http::request::Parts;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
        ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};
use serde_json::Value;

use crate::{
    http::services::HttpServices,
    replies::tools as say,
    tools::{self, McpRun, ToolRequest},
};

/// Makes the service. Stateless, so that a restart of storkit costs an agent nothing between two calls.
pub fn service(services: Arc<HttpServices>) -> StreamableHttpService<McpHandler, NeverSessionManager> {
    let mut config = StreamableHttpServerConfig::default();
    config.legacy_session_mode = false;
    config.cancellation_token = services.tasks.stop.clone();
    let mcp = McpHandler { services };
    StreamableHttpService::new(move || Ok(mcp.clone()), Arc::new(NeverSessionManager::default()), config)
}

/// The handler of one request.
#[derive(Clone)]
pub struct McpHandler {
    services: Arc<HttpServices>,
}

impl ServerHandler for McpHandler {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::default();
        info.capabilities = ServerCapabilities::builder().enable_tools().build();
        info.server_info = Implementation::new("storkit", env!("CARGO_PKG_VERSION"));
        info
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let run = run_of(&context)?;
        Ok(ListToolsResult::with_all_items(tools::list(&run)))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let run = run_of(&context)?;
        let call = ToolRequest {
            name: request.name.clone().into_owned(),
            arguments: Value::Object(request.arguments.unwrap_or_default()),
            // As Claude Code sends it (2.1.330).
            id: context.meta.get("claudecode/toolUseId").and_then(Value::as_str).map(str::to_owned),
        };
        let answered = tokio::select! {
            answered = tools::call(&self.services.tools, run, call) => answered,
            () = context.ct.cancelled() => Some(tools::cancelled(&request.name)),
        };
        let Some(answered) = answered else {
            return Err(ErrorData::invalid_params(say::no_such_tool(&request.name), None));
        };
        // One text block and no structuredContent: the CLI refuses all else for permissions.
        Ok(CallToolResponse::Complete(match answered {
            Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Err(why) => CallToolResult::error(vec![ContentBlock::text(why)]),
        }))
    }
}

fn run_of(context: &RequestContext<RoleServer>) -> Result<Arc<McpRun>, ErrorData> {
    let run =
        context.extensions.get::<Parts>().and_then(|parts| parts.extensions.get::<Arc<McpRun>>()).cloned();
    run.ok_or_else(|| ErrorData::internal_error("The call reached the tool without its run.", None))
}

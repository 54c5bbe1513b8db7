//! The MCP server that agents call. Who calls decides which tools there are: `tools` is the table, `stories`, `work`
//! and `review` implement the tools, `permission` asks people.

mod call;
mod permission;
mod review;
mod stories;
mod tools;
mod work;

use std::{sync::Arc, time::Duration};

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

use self::call::{Answered, ToolCall};
use crate::{
    http::{runs::McpRun, services::HttpServices},
    replies::tools as say,
};

// Without a `timeout` in its MCP config the CLI gives up on a call after 60 s. The operator's file has none.
const LONGEST_CALL: Duration = Duration::from_secs(50);

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
        Ok(ListToolsResult::with_all_items(tools::visible(&run).map(tools::describe).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let run = run_of(&context)?;
        // Checked for each call, not only in the list: a model can name a tool that it read about elsewhere.
        let Some(tool) = tools::visible(&run).find(|tool| tool.name == request.name) else {
            return Err(ErrorData::invalid_params(say::no_such_tool(&request.name), None));
        };
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        // As Claude Code sends it (2.1.330).
        let id = context.meta.get("claudecode/toolUseId").and_then(Value::as_str).map(str::to_owned);
        let call = ToolCall { services: self.services.clone(), run, arguments, id };
        // People take their time, and the agents' MCP config allows a day. Every other long job is started by one
        // call and polled by others.
        let limit = (tool.name != "prompt_permission").then_some(LONGEST_CALL);
        let answered = tokio::select! {
            answered = within(limit, tools::call(tool.name, call)) => answered,
            () = context.ct.cancelled() => tools::cancelled(tool.name),
        };
        // One text block and no structuredContent: the CLI refuses all else for permissions.
        Ok(CallToolResponse::Complete(match answered {
            Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Err(why) => CallToolResult::error(vec![ContentBlock::text(why)]),
        }))
    }
}

// The pipeline has the order already, so dropping the wait does not stop the work. The
// answer reports that it continues.
async fn within(limit: Option<Duration>, answering: impl Future<Output = Answered>) -> Answered {
    let Some(limit) = limit else { return answering.await };
    tokio::time::timeout(limit, answering).await.unwrap_or_else(|_| Err(say::STILL_RUNNING.into()))
}

fn run_of(context: &RequestContext<RoleServer>) -> Result<Arc<McpRun>, ErrorData> {
    let run =
        context.extensions.get::<Parts>().and_then(|parts| parts.extensions.get::<Arc<McpRun>>()).cloned();
    run.ok_or_else(|| ErrorData::internal_error("The call reached the tool without its run.", None))
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

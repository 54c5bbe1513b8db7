//! The operator's own way to the tools. Its token exists only in memory: `storkit mcp-config` asks for it over the console.

use serde_json::{Value, json};

use super::runs::{McpRuns, RunGuard};
use crate::tools::McpRun;

/// A token for all tools but `prompt_permission`; valid until this is dropped.
pub struct OperatorAccess {
    guard: RunGuard,
    port: u16,
}

impl OperatorAccess {
    pub fn open(runs: &McpRuns, port: u16) -> Self {
        let run = McpRun { operator: true, asked_for: "the operator".into(), ..McpRun::default() };
        Self { guard: runs.open(run), port }
    }

    /// The `--mcp-config` of a person's own Claude Code.
    pub fn mcp_config(&self) -> Value {
        json!({"mcpServers": {"storkit": {
            "type": "http",
            "url": format!("http://127.0.0.1:{}/mcp", self.port),
            "headers": {"Authorization": format!("Bearer {}", self.guard.token())},
        }}})
    }
}

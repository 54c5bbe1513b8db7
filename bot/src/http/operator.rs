//! The operator's own way to the tools: a file that a person's Claude Code takes as its `--mcp-config`.

use std::{io, path::PathBuf};

use pipeline::Project;
use serde_json::json;
use settings::atomic;

use super::runs::{McpRun, McpRuns, RunGuard};

/// The file and its token; both go when this is dropped.
pub struct OperatorAccess {
    path: PathBuf,
    _guard: RunGuard,
}

impl OperatorAccess {
    /// Opens a way with all tools but `prompt_permission` and writes `.storkit/run/operator-mcp.json` (0600).
    pub fn open(project: &Project, runs: &McpRuns, port: u16) -> io::Result<Self> {
        let guard =
            runs.open(McpRun { operator: true, asked_for: "the operator".into(), ..McpRun::default() });
        let path = project.run_dir().join("operator-mcp.json");
        let config = json!({"mcpServers": {"storkit": {
            "type": "http",
            "url": format!("http://127.0.0.1:{port}/mcp"),
            "headers": {"Authorization": format!("Bearer {}", guard.token())},
        }}});
        atomic::write(&path, config.to_string().as_bytes())?;
        Ok(Self { path, _guard: guard })
    }
}

impl Drop for OperatorAccess {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

//! What the reviewer of a branch reports.

use pipeline::branch_review::{MAX_FINDING, MAX_FINDINGS, ReviewFinding, ReviewFindings};
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Answered, ToolCall, refusal};
use crate::replies::tools as say;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FindingsArgs {
    findings: Vec<FindingArgs>,
    #[serde(default)]
    summary: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FindingArgs {
    file: String,
    #[serde(default)]
    line: Option<u32>,
    problem: String,
}

/// One finding, as the model reads it.
pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "file": { "type": "string", "description": "Its path from the top of the worktree" },
            "line": { "type": "integer", "description": "The line in the worktree, counted from 1; omit it where no line is meant" },
            "problem": { "type": "string", "description": "What is wrong, and when it shows" },
        },
        "required": ["file", "problem"],
    })
}

pub(super) async fn report(call: ToolCall) -> Answered {
    let FindingsArgs { findings, summary } = call.read()?;
    let run = call.run.agent.as_ref().ok_or(say::NO_REVIEW)?.id.clone();
    if findings.len() > MAX_FINDINGS {
        return Err(say::too_many_findings(MAX_FINDINGS));
    }
    if let Some(long) = findings.iter().find(|finding| finding.problem.chars().count() > MAX_FINDING) {
        return Err(say::finding_too_long(&long.file, MAX_FINDING));
    }
    if findings.iter().any(|finding| finding.file.trim().is_empty() || finding.problem.trim().is_empty()) {
        return Err(say::FINDING_EMPTY.into());
    }
    let count = findings.len();
    let findings = findings
        .into_iter()
        .map(|FindingArgs { file, line, problem }| ReviewFinding {
            file: file.trim().to_owned(),
            line,
            problem,
        })
        .collect();
    call.services
        .pipeline
        .report_findings(run, ReviewFindings { findings, summary })
        .await
        .map_err(refusal)?;
    Ok(say::findings_taken(count))
}

//! `POST /calls`: a story's agent is about to make a call that people may be asked about. Claude Code calls it as a `PreToolUse` hook;
//! the answers are those of <https://code.claude.com/docs/en/hooks> (seen on 2.1.330).

use std::sync::Arc;

use axum::{Extension, Json, body::Bytes, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tools::{McpRun, ToolServices, is_allowed_by_rule, usually_unasked};

/// The part of a hook's call that decides.
#[derive(Deserialize)]
struct HookCall {
    tool_name: String,
    #[serde(default)]
    tool_input: Value,
    tool_use_id: String,
    /// Set for a sub-agent: only calls of the conversation itself can be deferred.
    agent_id: Option<String>,
}

/// Defers a call that people may be asked about, so that the question about it can outlive the process. Whatever is not deferred is
/// asked about as always.
pub async fn before(
    State(services): State<Arc<ToolServices>>,
    Extension(run): Extension<Arc<McpRun>>,
    body: Bytes,
) -> Json<Value> {
    let is_covered = |call: &HookCall| {
        is_allowed_by_rule(&services, &run, call.tool_name.clone(), call.tool_input.clone())
    };
    Json(answer(&run, &body, is_covered).await)
}

/// Rules decide without people.
async fn answer(run: &McpRun, body: &[u8], is_covered: impl Fn(&HookCall) -> bool) -> Value {
    let Ok(call) = serde_json::from_slice::<HookCall>(body) else { return json!({}) };
    let is_own = call.agent_id.is_none();
    if is_own && !is_covered(&call) && defers(run, &call).await { deferral() } else { json!({}) }
}

async fn defers(run: &McpRun, call: &HookCall) -> bool {
    // The same call, in the process that goes on with it.
    if !run.parking.is_allowed() || run.parking.is_deferred(&call.tool_use_id) {
        return false;
    }
    run.probed.settle();
    if usually_unasked(&call.tool_name, &call.tool_input)
        || run.probed.is_unasked(&call.tool_name, &call.tool_input)
    {
        return false;
    }
    let may = run.parking.may_defer(&call.tool_use_id).await;
    if may.is_ok() {
        run.probed.begin(&call.tool_use_id, &call.tool_name, &call.tool_input);
    }
    may.is_ok()
}

fn deferral() -> Value {
    json!({ "hookSpecificOutput": { "hookEventName": "PreToolUse", "permissionDecision": "defer" } })
}

#[cfg(test)]
mod tests {
    use agents::event::{AgentEvent, ToolUse};
    use pipeline::parking::RunParking;

    use super::*;

    fn run(parking: &RunParking) -> Arc<McpRun> {
        Arc::new(McpRun { parking: parking.clone(), ..McpRun::default() })
    }

    fn reported(parking: &RunParking, ids: &[&str]) {
        for id in ids {
            let call = ToolUse { id: (*id).into(), name: "Bash".into(), input: Value::Null };
            parking.follow(&AgentEvent::ToolUse(call));
        }
        parking.follow(&AgentEvent::MessageEnded);
    }

    async fn is_deferred(run: &Arc<McpRun>, call: Value) -> bool {
        answer(run, call.to_string().as_bytes(), |call| call.tool_input["command"] == "npm start").await
            == deferral()
    }

    fn bash(id: &str, command: &str) -> Value {
        json!({ "tool_name": "Bash", "tool_input": { "command": command }, "tool_use_id": id, "hook_event_name": "PreToolUse" })
    }

    #[tokio::test]
    async fn a_call_that_people_may_be_asked_about_is_deferred_and_no_other() {
        let parking = RunParking::allowed();
        let run = run(&parking);
        reported(&parking, &["a"]);
        assert!(is_deferred(&run, bash("a", "make")).await);
        for command in ["ls -l", "git status && git diff"] {
            assert!(!is_deferred(&run, bash("a", command)).await, "{command}");
        }
        let mut of_sub_agent = bash("a", "make");
        of_sub_agent["agent_id"] = "x".into();
        assert!(!is_deferred(&run, of_sub_agent).await);
        reported(&parking, &["b", "c"]);
        assert!(!is_deferred(&run, bash("b", "make")).await, "another call of the message would be lost");
        assert!(is_deferred(&run, bash("c", "npm test")).await);
        reported(&parking, &["d"]);
        assert!(!is_deferred(&run, bash("d", "npm start")).await, "a rule covers it");
        assert_eq!(answer(&run, b"no hook", |_| false).await, json!({}));
    }

    #[tokio::test]
    async fn a_program_that_ran_unasked_is_not_deferred_again() {
        let parking = RunParking::allowed();
        let run = run(&parking);
        for (id, command, expected) in [
            ("a", "make one", true),
            // Nobody was asked about that.
            ("b", "make two", false),
            ("c", "npm test", true),
        ] {
            reported(&parking, &[id]);
            assert_eq!(is_deferred(&run, bash(id, command)).await, expected, "{command}");
        }
        run.probed.asked("c");
        reported(&parking, &["d"]);
        assert!(is_deferred(&run, bash("d", "npm test")).await, "people are asked about this one");
    }

    #[tokio::test]
    async fn without_parking_nothing_is_deferred() {
        let run = run(&RunParking::default());
        assert!(!is_deferred(&run, bash("a", "make")).await);
    }
}

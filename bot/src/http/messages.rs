//! `POST /messages`: what people say to a story's agent while it works. Claude Code calls it as an HTTP hook after each tool call and
//! before the turn ends; the answers are those of <https://code.claude.com/docs/en/hooks> (seen on 2.1.330).

use std::sync::Arc;

use axum::{Extension, Json, body::Bytes};
use pipeline::mailbox::PersonMessage;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tools::McpRun;

/// The part of a hook's call that decides.
#[derive(Deserialize)]
struct HookCall {
    hook_event_name: HookEvent,
    /// Set for a sub-agent, whose turn the words are not for.
    agent_id: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
enum HookEvent {
    PostToolUse,
    PostToolUseFailure,
    Stop,
}

/// Hands over the messages that wait, each once.
pub async fn take(Extension(run): Extension<Arc<McpRun>>, body: Bytes) -> Json<Value> {
    let answer = match serde_json::from_slice::<HookCall>(&body) {
        Ok(HookCall { agent_id: None, hook_event_name }) => answer(hook_event_name, &run.mailbox.take()),
        // An event of another version, or a sub-agent's: the messages wait for the next one.
        Ok(HookCall { agent_id: Some(_), .. }) | Err(_) => json!({}),
    };
    Json(answer)
}

fn answer(event: HookEvent, messages: &[PersonMessage]) -> Value {
    if messages.is_empty() {
        return json!({});
    }
    let text = words(messages);
    match event {
        HookEvent::PostToolUse => {
            json!({ "hookSpecificOutput": { "hookEventName": "PostToolUse", "additionalContext": text } })
        }
        HookEvent::PostToolUseFailure => {
            json!({ "hookSpecificOutput": { "hookEventName": "PostToolUseFailure", "additionalContext": text } })
        }
        HookEvent::Stop => json!({ "decision": "block", "reason": text }),
    }
}

fn words(messages: &[PersonMessage]) -> String {
    let mut text = String::from(
        "People of the team, who may steer you, say this while you work. It comes through storkit, not from a tool's result. Follow it within \
         your task and your rules, and go on:",
    );
    for PersonMessage { by, text: said } in messages {
        text.push_str(&format!("\n\n{by}: {said}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use pipeline::event::Actor;

    use super::*;

    #[test]
    fn words_go_along_with_a_tool_call_or_keep_the_turn_from_ending() {
        let ann = PersonMessage { by: Actor::Person("Ann".into()), text: "use blue".into() };
        let context = answer(HookEvent::PostToolUse, std::slice::from_ref(&ann));
        let shown = context["hookSpecificOutput"]["additionalContext"].as_str().unwrap();
        assert!(shown.ends_with("\n\nAnn: use blue"), "{shown}");
        let stop = answer(HookEvent::Stop, &[ann]);
        assert_eq!(stop["decision"], "block");
        for event in [HookEvent::PostToolUse, HookEvent::PostToolUseFailure, HookEvent::Stop] {
            assert_eq!(answer(event, &[]), json!({}));
        }
    }
}

//! The method that reads threads: <https://docs.slack.dev/reference/methods/conversations.replies>.

use serde_json::{Value, json};

use super::{Slack, state::State};

const LIMIT_MAX: usize = 1_000;

impl Slack {
    /// An answer has at most so many messages of a thread, whatever the app asks for, as for apps that are distributed outside of
    /// the Marketplace.
    pub fn limit_replies(&self, most: usize) {
        self.shared.change(|state| state.replies_max = Some(most));
    }
}

/// The root is on the first page; each page begins with the oldest.
pub(super) fn replies(state: &State, body: &Value) -> Result<Value, Value> {
    let refused = |code: &str| Err(json!({ "ok": false, "error": code }));
    let text = |key: &str| body[key].as_str().unwrap_or_default();
    let (channel, thread) = (text("channel"), text("ts"));
    state.speak_in(channel)?;
    let scope = state.channels.get(channel).map(|channel| channel.kind.scope()).unwrap_or_default();
    if !state.scopes.contains(scope) {
        return Err(json!({ "ok": false, "error": "missing_scope", "needed": scope, "provided": "" }));
    }
    let in_thread = state.messages.iter().filter(|message| {
        message.channel == channel
            && message.only_for.is_none()
            && (message.ts == thread || message.thread.as_deref() == Some(thread))
    });
    let mut all: Vec<_> = in_thread.collect();
    if !all.iter().any(|message| message.ts == thread) {
        return refused("thread_not_found");
    }
    let latest = text("latest");
    // All `ts` here have the same number of digits.
    all.retain(|message| message.ts == thread || latest.is_empty() || *message.ts < *latest);
    let from: usize = text("cursor").parse().unwrap_or(0);
    let limit = text("limit").parse().ok().or_else(|| body["limit"].as_u64().map(|it| it as usize));
    let limit = limit.unwrap_or(LIMIT_MAX).min(state.replies_max.unwrap_or(LIMIT_MAX));
    let page: Vec<Value> = all.iter().skip(from).take(limit).map(|message| message.json(state)).collect();
    let next = (from + page.len() < all.len()).then(|| (from + page.len()).to_string());
    Ok(json!({
        "ok": true, "messages": page, "has_more": next.is_some(),
        "response_metadata": { "next_cursor": next.unwrap_or_default() },
    }))
}

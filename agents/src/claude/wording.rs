//! The one place that knows how Claude Code words the outcome of a turn: subtypes, reasons, HTTP statuses and sentences of 2.1.330.
//!
//! Everything beyond this file decides from [`TurnFailure`]. Sentences are read only where the CLI gives nothing better, and only those
//! that it writes itself (`is_error`): never the model's words.

use crate::event::{
    BackgroundKind, BusyService, McpServerState, PermissionMode, RateLimitStatus, TaskEnd, TurnFailure,
};

/// The parts of a `result` line that describe how its turn ended.
pub(super) struct ResultWords<'a> {
    pub subtype: &'a str,
    pub terminal_reason: &'a str,
    /// HTTP status of the API call that failed.
    pub status: Option<u16>,
    /// The CLI's sentence about it.
    pub text: &'a str,
}

/// Failures that only the sentence identifies.
const SENTENCES: [(&str, TurnFailure); 6] = [
    ("No conversation found with session ID", TurnFailure::SessionLost),
    ("Prompt is too long", TurnFailure::SessionTooLong),
    ("Credit balance is too low", TurnFailure::NoCredit),
    ("Not logged in", TurnFailure::NotLoggedIn),
    ("Server error mid-response", TurnFailure::BrokeOff),
    ("Connection refused", TurnFailure::Unreachable),
];

/// Why a turn failed whose result line has `is_error` set.
pub(super) fn failure(words: &ResultWords<'_>) -> TurnFailure {
    // The most specific field first: API failures come with `subtype: success` (2.1.330).
    match words.terminal_reason {
        "aborted_tools" | "aborted_streaming" => return TurnFailure::Interrupted,
        "prompt_too_long" => return TurnFailure::SessionTooLong,
        _ => {}
    }
    match words.subtype {
        "error_max_turns" => return TurnFailure::StepLimit,
        "error_max_budget_usd" => return TurnFailure::Budget,
        _ => {}
    }
    match words.status {
        Some(429) => return TurnFailure::Busy(BusyService::UsageLimit),
        Some(529) => return TurnFailure::Busy(BusyService::Overloaded),
        Some(401 | 403) => return TurnFailure::KeyRefused,
        Some(404) => return TurnFailure::UnknownModel,
        Some(413) => return TurnFailure::RequestTooLarge,
        // storkit's way to the model, or a gateway behind it, reaches nobody.
        Some(502) => return TurnFailure::Unreachable,
        Some(500..) => return TurnFailure::ServiceFailed,
        Some(_) | None => {}
    }
    let text = words.text.trim();
    let text = text.strip_prefix("API Error: ").unwrap_or(text);
    // Only at the start: further on, the text may quote something else.
    let known = SENTENCES.iter().find(|(sentence, _)| text.starts_with(sentence));
    known.map_or(TurnFailure::Other, |(_, failure)| *failure)
}

/// The `trigger` of a `compact_boundary`: `manual` or `auto`.
pub(super) fn is_automatic_compaction(trigger: &str) -> bool {
    trigger != "manual"
}

/// The `task_type` of a task in the background.
pub(super) fn background_kind(kind: &str) -> BackgroundKind {
    match kind {
        "local_bash" => BackgroundKind::Command,
        "local_agent" => BackgroundKind::SubAgent,
        _ => BackgroundKind::Other,
    }
}

/// The `status` of a `task_notification`.
pub(super) fn task_end(status: &str) -> TaskEnd {
    match status {
        "completed" => TaskEnd::Completed,
        "stopped" | "killed" => TaskEnd::Stopped,
        _ => TaskEnd::Failed,
    }
}

/// The `status` of a `rate_limit_event`.
pub(super) fn rate_limit_status(status: &str) -> RateLimitStatus {
    match status {
        "rejected" => RateLimitStatus::Rejected,
        "allowed_warning" => RateLimitStatus::AllowedWithWarning,
        // A status that a later version adds is no reason to wait.
        _ => RateLimitStatus::Allowed,
    }
}

/// The `permissionMode` of an `init` or `status` line.
pub(super) fn permission_mode(mode: &str) -> PermissionMode {
    match mode {
        "default" | "manual" => PermissionMode::Default,
        "acceptEdits" => PermissionMode::AcceptEdits,
        "plan" => PermissionMode::Plan,
        "dontAsk" => PermissionMode::DontAsk,
        // `auto`, `bypassPermissions`, and any mode of a later version: its effect is not known here.
        other => PermissionMode::Unasked(other.to_owned()),
    }
}

/// The `status` of an MCP server, and the sentence that comes with a failure.
pub(super) fn server_state(status: &str, error: Option<String>) -> McpServerState {
    match status {
        "connected" => McpServerState::Connected,
        "pending" => McpServerState::Pending,
        "needs-auth" => McpServerState::WantsLogin,
        // `failed`, `disabled`, and any other: nobody can call its tools.
        _ => McpServerState::Failed(error.unwrap_or_default()),
    }
}

/// The value of `--permission-mode`.
pub(super) fn permission_mode_option(mode: &PermissionMode) -> &str {
    match mode {
        PermissionMode::Default => "default",
        PermissionMode::AcceptEdits => "acceptEdits",
        PermissionMode::Plan => "plan",
        PermissionMode::DontAsk => "dontAsk",
        PermissionMode::Unasked(word) => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(subtype: &str, terminal_reason: &str, status: Option<u16>, text: &str) -> TurnFailure {
        failure(&ResultWords { subtype, terminal_reason, status, text })
    }

    #[test]
    fn the_recorded_ends_are_told_apart() {
        let lost = "No conversation found with session ID: 11111111-2222-4333-8444-555555555555";
        assert_eq!(of("error_during_execution", "", None, lost), TurnFailure::SessionLost);
        let refused = "API Error: Connection refused — a firewall or proxy may be blocking it (ECONNREFUSED)";
        assert_eq!(of("success", "api_error", None, refused), TurnFailure::Unreachable);
        let cut = "API Error: Server error mid-response. The response above may be incomplete.";
        assert_eq!(of("success", "api_error", None, cut), TurnFailure::BrokeOff);
        assert_eq!(of("success", "api_error", Some(400), "Credit balance is too low"), TurnFailure::NoCredit);
        assert_eq!(of("error_max_turns", "max_turns", None, ""), TurnFailure::StepLimit);
        assert_eq!(of("error_max_budget_usd", "budget_exhausted", None, ""), TurnFailure::Budget);
        assert_eq!(of("error_during_execution", "aborted_tools", None, "x"), TurnFailure::Interrupted);
    }

    #[test]
    fn a_mode_that_is_not_known_runs_calls_unasked() {
        for word in ["default", "acceptEdits", "plan", "dontAsk", "auto", "bypassPermissions", "", "Default"]
        {
            let mode = permission_mode(word);
            let is_known = ["default", "acceptEdits", "plan", "dontAsk"].contains(&word);
            assert_eq!(matches!(mode, PermissionMode::Unasked(_)), !is_known, "{word}");
            assert_eq!(permission_mode_option(&mode), word);
        }
        assert_eq!(permission_mode("manual"), PermissionMode::Default);
    }

    #[test]
    fn only_429_and_529_are_a_busy_service() {
        let of_status = |status| of("success", "api_error", Some(status), "");
        assert_eq!(of_status(429), TurnFailure::Busy(BusyService::UsageLimit));
        assert_eq!(of_status(529), TurnFailure::Busy(BusyService::Overloaded));
        assert_eq!(of_status(401), TurnFailure::KeyRefused);
        assert_eq!(of_status(500), TurnFailure::ServiceFailed);
        assert_eq!(of_status(502), TurnFailure::Unreachable);
    }

    #[test]
    fn a_sentence_counts_only_where_it_begins() {
        let quoted = "The log says: No conversation found with session ID: 1";
        assert_eq!(of("success", "completed", None, quoted), TurnFailure::Other);
    }
}

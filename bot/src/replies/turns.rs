//! How a turn goes: busy services, failures, the end.

use std::time::{Duration, SystemTime};

use adapters::markdown::{code_block, inert};
use agents::claude::{ProcessError, ProcessExit, SessionId, TurnEnd};
use settings::duration::human;

use super::{
    doctor,
    text::{clock_time, last_chars, shorten, spaced},
};
use crate::config::BotConfig;

/// Shown where a live message cannot be edited and no activity mark exists.
pub const WORKING: &str = "Working on it.";

/// A turn without a word.
pub const EMPTY_ANSWER: &str = "Done. There was nothing to say.";

/// What a turn waits for, as `status` shows it.
pub const WAITS_FOR_ANSWER: &str = "waits for an answer";

/// End of a turn at shutdown.
pub const STOPPED_BY_SHUTDOWN: &str =
    "I am shutting down, so this turn ends here. Your next message resumes the session.";

/// `stop` worked.
pub fn stopped() -> String {
    "Stopped.".into()
}

/// The CLI tries an API call again.
pub fn retrying(attempt: u32, max: u32, delay: Duration, status: Option<u16>, error: &str) -> String {
    let status = status.map(|status| format!(" ({status})")).unwrap_or_default();
    format!(
        "The model's service did not answer{status}: {}. Try {attempt} of {max} in {}.",
        spaced(error),
        human(delay.max(Duration::from_secs(1)))
    )
}

/// A turn that waits for the service, as `status` shows it.
pub fn waits_for_service(left: Duration) -> String {
    format!("waits {} for the model's service", human(left))
}

/// Busy service: when the turn is tried again.
pub fn service_busy(end: &TurnEnd, wait: Duration, now: SystemTime, attempt: u32, max: u32) -> String {
    let what = match end.api_error_status {
        Some(429) => "The usage limit of the model's service is reached (429).",
        _ => "The model's service is overloaded (529).",
    };
    format!(
        "{what} I try again at {} (in {}), {attempt} of {max}. `stop` gives up.",
        clock_time(now + wait),
        human(wait)
    )
}

/// Busy to the end.
pub fn service_stays_busy(end: &TurnEnd, tries: u32) -> String {
    let status = end.api_error_status.unwrap_or_default();
    format!(
        "The model's service is still busy ({status}) after {tries} more tries, so I give up. Send it again later."
    )
}

/// A turn that failed for good: what it means, what to do, and the CLI's own word.
pub fn turn_failed(end: &TurnEnd) -> String {
    let said = shorten(end.text.trim(), 300);
    let advice = match (end.api_error_status, end.subtype.as_str()) {
        (Some(401 | 403), _) => {
            "Claude's service refused the key. Set a valid `ANTHROPIC_API_KEY` (or log in with `claude`) where I run, and restart me."
        }
        (Some(404), _) => "Claude's service does not know the model. Choose another with `model NAME`.",
        (Some(413), _) => "The request was too large. `reset` begins a new session.",
        (Some(status), _) if status >= 500 => "Claude's service failed. Send it again in a while.",
        (_, "error_max_turns") => "The turn reached its limit of steps. Say `go on` to continue.",
        (_, "error_max_budget_usd") => "The turn reached its budget.",
        _ if said.contains("Prompt is too long") => {
            "The session is too long for the model. `reset` begins a new one."
        }
        _ if said.contains("redit balance") => "The account behind the key has no credit left.",
        _ if said.contains("Not logged in") => {
            "Claude Code has no key. Set `ANTHROPIC_API_KEY` (or log in with `claude`) where I run, and restart me."
        }
        _ if said.contains("mid-response") => {
            "Claude's service broke off in the middle of its answer. Say `go on` to continue."
        }
        _ if said.contains("ECONNREFUSED") || said.contains("onnection refused") => {
            "Claude's service cannot be reached from here (connection refused). Check the network and `ANTHROPIC_BASE_URL`."
        }
        _ => "The turn failed.",
    };
    if said.is_empty() {
        advice.to_owned()
    } else {
        format!("{advice}\n> {}", inert(&said.replace('\n', " ")))
    }
}

/// Silence for too long.
pub fn turn_timed_out(config: &BotConfig) -> String {
    format!(
        "Claude Code said nothing for {}, so I ended it. The session is kept: your next message resumes it.",
        human(config.claude.turn_timeout.0)
    )
}

/// The process went in the middle of a turn.
pub fn process_died(exit: &ProcessExit) -> String {
    let how = match (exit.code, exit.signal) {
        (Some(code), _) => format!(" with code {code}"),
        (None, Some(signal)) => format!(" by signal {signal}"),
        (None, None) => String::new(),
    };
    let tail = exit.tail.trim();
    let tail =
        if tail.is_empty() { String::new() } else { format!("\n{}", code_block(last_chars(tail, 500), "")) };
    format!(
        "Claude Code ended{how} before its answer was complete. The session is kept: your next message resumes it.{tail}"
    )
}

/// No process at all.
pub fn no_process(error: &ProcessError, config: &BotConfig) -> String {
    match error {
        ProcessError::NotFound { program } => doctor::claude_missing(program),
        ProcessError::Io { .. } | ProcessError::Gone => {
            let program = config.claude.command.first().map_or("claude", String::as_str);
            format!("`{program}` could not be used: {error}. `doctor` checks what is missing.")
        }
    }
}

/// A session that cannot be resumed.
pub fn session_lost(session: &SessionId) -> String {
    format!(
        "The session `{session}` could not be resumed, so I begin a new one. What was said before is not known to it."
    )
}

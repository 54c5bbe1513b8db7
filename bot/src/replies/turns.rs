//! How a turn goes: busy services, failures, interruptions.

use std::time::{Duration, SystemTime};

use adapters::{
    Choice,
    markdown::{code_block, inert},
};
use agents::{
    claude::{BusyService, ProcessError, ProcessExit, SessionId, TurnFailure},
    model_proxy::{BudgetScope, SpendingBudget},
};
use settings::duration::human;

use super::{
    doctor,
    text::{clock_time, date_time, last_chars, shorten, spaced},
};
use crate::config::BotConfig;

/// Shown where a live message cannot be edited and no activity mark exists.
pub const WORKING: &str = "Working on it.";

/// A turn without text.
pub const EMPTY_ANSWER: &str = "Done. There was nothing to say.";

/// The room's workspace is made ready, as `status` shows it.
pub const WAITS_FOR_WORKSPACE: &str = "its workspace is made ready";
/// The reason for a turn's wait, as `status` shows it.
pub const WAITS_FOR_ANSWER: &str = "waits for an answer";

/// The last sentence of a turn at shutdown.
pub const STOPPED_BY_SHUTDOWN: &str =
    "I am shutting down, so this turn ends here. Your next message resumes the session.";

/// The last words of a prompt that has not begun, or waits for the model's service.
pub const RUN_AFTER_SHUTDOWN: &str = "I am shutting down. This prompt waits for the next start.";

/// The turn after a `stop`.
pub fn stopped() -> String {
    "Stopped.".into()
}

/// `compact` without a session.
pub const NOTHING_TO_COMPACT: &str = "There is no session here yet, so there is nothing to summarize.";

/// The session's older part is a summary now.
pub fn compacted(automatic: bool, before: u64, after: Option<u64>) -> String {
    let why = if automatic {
        "The session became too long, so its older part"
    } else {
        "The older part of the session"
    };
    let (before, after) = (tokens(before), after.map(|after| format!(", and has {} now", tokens(after))));
    format!("{why} is a summary from here on. It had {before}{}.", after.unwrap_or_default())
}

fn tokens(number: u64) -> String {
    match number {
        ..1_000 => format!("{number} tokens"),
        _ => format!("{} thousand tokens", number / 1_000),
    }
}

/// What to do about a session that is too long.
pub fn shorter_session() -> Vec<Choice> {
    let choice =
        |line: &str, label: &str| Choice { key: format!("cmd:{line}"), label: label.into(), emoji: None };
    vec![choice("compact", "Summarize it"), choice("reset", "Start a new one")]
}

/// The CLI tries an API call again.
pub fn retrying(attempt: u32, max: u32, delay: Duration, status: Option<u16>, error: &str) -> String {
    let status = status.map(|status| format!(" ({status})")).unwrap_or_default();
    format!(
        "The model's service did not answer{status}: {}. Retry {attempt} of {max} in {}.",
        spaced(error),
        human(delay.max(Duration::from_secs(1)))
    )
}

/// A turn that waits for the service, as `status` shows it.
pub fn waits_for_service(left: Duration) -> String {
    format!("waits {} for the model's service", human(left))
}

/// Busy service: when the turn is tried again; `attempt` is this try and the most there are, `None` where tries are not counted.
pub fn service_busy(
    service: BusyService,
    wait: Duration,
    now: SystemTime,
    attempt: Option<(u32, u32)>,
) -> String {
    let what = match service {
        BusyService::UsageLimit => "The usage limit of the model's service is reached (429).",
        BusyService::Overloaded => "The model's service is overloaded (529).",
    };
    let at = match wait.as_secs() {
        0..72_000 => clock_time(now + wait),
        _ => date_time(now + wait),
    };
    let attempt = attempt.map_or_else(String::new, |(attempt, max)| format!(", {attempt} of {max}"));
    format!("{what} I try again at {at} (in {}){attempt}. `stop` gives up.", human(wait))
}

/// The service was busy for all tries.
pub fn service_stays_busy(service: BusyService, tries: u32) -> String {
    let status = service.status();
    format!(
        "The model's service is still busy ({status}) after {tries} more tries, so I give up. Send your message again later."
    )
}

/// A turn that failed for good: the meaning, the remedy, and the CLI's own words.
pub fn turn_failed(cause: TurnFailure, said: &str) -> String {
    let advice = match cause {
        TurnFailure::KeyRefused => {
            "Claude's service refused the key. Set a valid `ANTHROPIC_API_KEY` (or log in with `claude`) where I run, and restart me."
        }
        TurnFailure::NotLoggedIn => {
            "Claude Code has no key. Set `ANTHROPIC_API_KEY` (or log in with `claude`) where I run, and restart me."
        }
        TurnFailure::NoCredit => "The account behind the key has no credit left.",
        TurnFailure::UnknownModel => {
            "Claude's service does not know the model. Choose another with `model NAME`."
        }
        TurnFailure::RequestTooLarge => {
            "The request was too large. `compact` replaces the older part of the session by a summary, `reset` starts a new session."
        }
        TurnFailure::SessionTooLong => {
            "The session is too long for the model. `compact` replaces its older part by a summary, `reset` starts a new one."
        }
        TurnFailure::StepLimit => "The turn reached its limit of steps. Say `go on` to continue.",
        TurnFailure::Budget => "The turn reached its budget.",
        TurnFailure::BrokeOff => {
            "Claude's service broke off in the middle of an answer. Say `go on` to continue."
        }
        TurnFailure::Unreachable => {
            "Claude's service cannot be reached from here. Check the network and `ANTHROPIC_BASE_URL`."
        }
        TurnFailure::WrongMode => {
            "Claude Code was not in the permission mode that I started it in, so it could have acted without asking you. I ended it. The \
             operator should look for `defaultMode` in Claude Code's user and managed settings."
        }
        TurnFailure::ServiceFailed => "Claude's service failed. Send your message again later.",
        TurnFailure::Busy(_) | TurnFailure::SessionLost | TurnFailure::Interrupted | TurnFailure::Other => {
            "The turn failed."
        }
    };
    let said = shorten(said.trim(), 300);
    if said.is_empty() {
        advice.to_owned()
    } else {
        format!("{advice}\n> {}", inert(&said.replace('\n', " ")))
    }
}

/// No output for too long.
pub fn turn_timed_out(config: &BotConfig) -> String {
    format!(
        "Claude Code was silent for {}, so I ended it. The session is kept: your next message resumes it.",
        human(config.claude.turn_timeout.0)
    )
}

/// The process ended in the middle of a turn.
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

/// The process could not be started or reached.
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
        "The session `{session}` could not be resumed, so I start a new one. It does not know the conversation so far."
    )
}

/// A turn that a budget stopped, or did not let begin.
pub fn budget_spent(budget: SpendingBudget) -> String {
    let usd = budget.usd;
    match budget.scope {
        BudgetScope::Day => format!(
            "Today's budget of ${usd:.2} for all rooms is spent (`day_usd` below `[relay]` in `bot.toml`), so I stopped. I go on \
             tomorrow, or with a larger budget."
        ),
        BudgetScope::Turn | BudgetScope::Run => format!(
            "This turn's budget of ${usd:.2} is spent (`turn_usd` below `[relay]` in `bot.toml`), so I stopped. Your next message goes \
             on with a new one."
        ),
    }
}

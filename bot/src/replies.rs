//! Every sentence the bot says. Sentences end with a full stop, ids stand in backticks.

mod question;

use std::time::{Duration, SystemTime};

use adapters::{
    Incoming, PersonAct,
    markdown::{code_block, code_span, inert},
};
use agents::claude::{BusyService, ProcessError, ProcessExit, SessionId, TESTED_VERSION, TurnFailure};
pub use question::*;
use settings::duration::human;

use crate::{commands::command::CommandSpec, config::BotConfig, permission::Person, store::QueuedPrompt};

// --- constants ---

/// Shown where a live message cannot be edited and no activity mark exists.
pub const WORKING: &str = "Working on it.";
/// A turn without a word.
pub const EMPTY_ANSWER: &str = "Done. There was nothing to say.";
/// `htop stop` where nothing can be edited.
pub const HTOP_IS_A_SNAPSHOT: &str =
    "Here htop is one snapshot, so there is nothing left to stop. `stop` ends the turn.";
/// A queued prompt was redacted.
pub const TAKEN_BACK: &str = "Taken back, so it is not run.";
/// See [`crate::commands::command::RunningTurn::waiting`].
pub const WAITS_FOR_ANSWER: &str = "waits for an answer";
/// End of a turn at shutdown.
pub const STOPPED_BY_SHUTDOWN: &str =
    "I am shutting down, so this turn ends here. Your next message resumes the session.";

/// `restart`.
pub const RESTARTING: &str = "I start anew and say so here.";
/// `rebuild`, at its beginning.
pub const BUILDING: &str = "I build myself from source; this takes some minutes. The room goes on meanwhile.";
/// `rebuild`, when the build is there.
pub const REBUILT: &str = "The build is good. I start anew and say so here.";

// Reasons, as clauses: "Question 3 is closed: ...".

/// The bot goes down.
pub const SHUTTING_DOWN: &str = "the bot is shutting down";
/// The bot was restarted, and with it the agent.
pub const BOT_RESTARTED: &str = "the bot was restarted, and the agent with it";
/// The agent's process or connection is gone.
pub const AGENT_GONE: &str = "the agent that asked has ended";
/// The CLI cancelled its own request.
pub const AGENT_CANCELLED: &str = "the agent no longer asks";
/// The turn ended first.
pub const TURN_OVER: &str = "the turn is over";
/// Somebody said stop.
pub const STOPPED_BY_PERSON: &str = "the turn was stopped";
/// The record could not be written.
pub const STATE_FAILED: &str = "the question could not be recorded";

// What the model reads.

/// Nobody answered.
pub const TIMED_OUT_TO_MODEL: &str = "Nobody answered the permission question in time, so it is denied. Do not try it again \
     unasked; say what you wanted to do and why.";
/// No room took the question.
pub const UNREACHABLE_TO_MODEL: &str = "No person could be reached to answer the permission question, so it is denied. Go on without it or say what is needed.";

/// What the model reads when a person refused.
pub fn denied_to_model(tool: &str, by: &Person, reason: Option<String>) -> String {
    match reason {
        Some(reason) if tool == "ExitPlanMode" => format!("{} wants the plan changed: {reason}", by.name),
        Some(reason) => format!("{} denied this: {reason}", by.name),
        None if tool == "ExitPlanMode" => {
            format!("{} does not approve the plan yet. Ask what to change.", by.name)
        }
        None => {
            format!("{} denied this. Do not try it again in another way; ask what to do instead.", by.name)
        }
    }
}

/// What the model reads when a question lost its meaning.
pub fn withdrawn_to_model(why: &str) -> String {
    format!("The permission question was closed, because {why}. It counts as denied.")
}

/// The first words of a start.
pub fn hello(name: &str, label: Option<&str>) -> String {
    let greeting = format!("{name} is here. Say what you want done, or `help`.");
    match label {
        Some(label) => format!("{label}\n\n{greeting}"),
        None => greeting,
    }
}

/// A change of `bot.toml` that cannot be used.
pub fn settings_refused(why: &str) -> String {
    format!("{} Until that is mended the settings before it stay.", inert(why))
}

/// A change of `bot.toml`: keys that count at once, and keys that wait.
pub fn settings_changed(now: &[String], later: &[String]) -> String {
    let list = |keys: &[String]| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let mut text = String::new();
    if !now.is_empty() {
        text = format!("bot.toml has changed, and counts from now on: {}.", list(now));
    }
    if !later.is_empty() {
        let space = if text.is_empty() { "" } else { " " };
        text.push_str(&format!("{space}This counts from the next `restart` on: {}.", list(later)));
    }
    text
}

/// After a restart that a room asked for.
pub fn restarted(name: &str, took: Duration) -> String {
    format!("{name} {} is here again, after {:.1} s.", env!("CARGO_PKG_VERSION"), took.as_secs_f64())
}

// --- commands ---

/// A lone address.
pub fn greeting(name: &str) -> String {
    format!("{name} here. Say what you want done, or `help` for the commands.")
}

/// `!word` with no such word.
pub fn unknown_command(word: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("There is no command {}. Did you mean `{near}`?", code_span(word)),
        None => format!("There is no command {}. `help` lists them all.", code_span(word)),
    }
}

/// Arguments that do not fit.
pub fn usage(wrong: &str, usage: &str) -> String {
    format!("{wrong}\nUsage: `{usage}`")
}

/// A command above the caller's role.
pub fn not_allowed(spec: &CommandSpec) -> String {
    format!("`{}` is for an {}. You are not one here.", spec.name, spec.role)
}

/// A number for a failure of ours, the same in the log.
pub fn incident() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()
}

/// A failure of ours.
pub fn internal_error(number: &str) -> String {
    format!("That went wrong on my side. The operator finds it in the log under `{number}`.")
}

/// `ambient` could not be remembered.
pub fn ambient_not_written(error: &anyhow::Error) -> String {
    format!("This holds until I am restarted only: {error:#}.")
}

// --- the queue ---

/// A prompt waits.
pub fn queued(position: usize) -> String {
    format!("Queued, number {position}. `queue` shows what waits, `stop` ends what runs.")
}

/// A command waits.
pub fn command_waits(name: &str, position: usize) -> String {
    format!("`{name}` waits until the turn is over, number {position} in the queue.")
}

/// The queue has no room left.
pub fn queue_full(limit: usize) -> String {
    format!("The queue is full ({limit} wait). Nothing was taken; `queue clear` or `stop` makes room.")
}

// --- prompts that a restart or time met ---

/// It had begun; nobody knows how far it came.
pub fn cut_by_restart(prompt: &QueuedPrompt) -> String {
    format!(
        "I was restarted while I worked on {}. What it did so far stands; say `go on` to resume the session.",
        code_span(&shorten(&prompt.text, 60))
    )
}

/// A command that a restart cut: whether it was done is not known here.
pub fn command_cut_by_restart(command: &QueuedPrompt) -> String {
    format!(
        "I was restarted before I answered {}. If it changes something, look first whether that is done; then send it again.",
        code_span(&shorten(&command.text, 60))
    )
}

/// It is too old to be run unasked.
pub fn skipped(prompt: &QueuedPrompt, age: Duration) -> String {
    format!(
        "Skipped, since it is {} old: {}. Send it again if you still want it.",
        human(age),
        code_span(&shorten(&prompt.text, 60))
    )
}

/// A message that came late.
pub fn too_old(incoming: &Incoming, age: Duration) -> String {
    let what = match &incoming.act {
        PersonAct::Said { text } => code_span(&shorten(text, 60)),
        PersonAct::Chose { .. } | PersonAct::Redacted { .. } => "a click".into(),
    };
    format!(
        "I was away. {what} from {} is {} old and was not run. Send it again if you still want it.",
        incoming.sender.name,
        human(age)
    )
}

/// The state was damaged.
pub fn state_set_aside(path: &std::path::Path) -> String {
    format!(
        "My state was damaged. It is kept as `{}` and I begin with an empty one: sessions, rules and costs so far are not known.",
        path.display()
    )
}

// --- turns ---

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

/// A turn that waits for the service, as `status` says it.
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

/// Busy to the end.
pub fn service_stays_busy(service: BusyService, tries: u32) -> String {
    let status = service.status();
    format!(
        "The model's service is still busy ({status}) after {tries} more tries, so I give up. Send it again later."
    )
}

/// A turn that failed for good: what it means, what to do, and the CLI's own words.
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
        TurnFailure::RequestTooLarge => "The request was too large. `reset` begins a new session.",
        TurnFailure::SessionTooLong => "The session is too long for the model. `reset` begins a new one.",
        TurnFailure::StepLimit => "The turn reached its limit of steps. Say `go on` to continue.",
        TurnFailure::Budget => "The turn reached its budget.",
        TurnFailure::BrokeOff => {
            "Claude's service broke off in the middle of its answer. Say `go on` to continue."
        }
        TurnFailure::Unreachable => {
            "Claude's service cannot be reached from here (connection refused). Check the network and `ANTHROPIC_BASE_URL`."
        }
        TurnFailure::ServiceFailed => "Claude's service failed. Send it again in a while.",
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
        ProcessError::NotFound { program } => claude_missing(program),
        ProcessError::Io { .. } | ProcessError::Gone => {
            let program = config.claude.command.first().map_or("claude", String::as_str);
            format!("`{program}` could not be used: {error}. `doctor` checks what is missing.")
        }
    }
}

/// How to get the CLI.
pub fn claude_missing(program: &str) -> String {
    format!(
        "`{program}` was not found. Install Claude Code with `npm install -g @anthropic-ai/claude-code@{TESTED_VERSION}`, or name it \
         under `[claude] command` in `.storkit/bot.toml`."
    )
}

/// A session that cannot be resumed.
pub fn session_lost(session: &SessionId) -> String {
    format!(
        "The session `{session}` could not be resumed, so I begin a new one. What was said before is not known to it."
    )
}

// --- small forms ---

/// `HH:MM` in the machine's time zone.
pub fn clock_time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|stamp| stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M").to_string())
        .unwrap_or_else(|_| "a later time".into())
}

/// `Mon 2 Jan HH:MM`, likewise: for a time that is not today.
fn date_time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|stamp| stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%a %-d %b %H:%M").to_string())
        .unwrap_or_else(|_| "a later time".into())
}

/// A room that follows the pipeline missed events: there were too many at once.
pub fn events_missed(count: u64) -> String {
    format!("{count} events came too fast to be told. `status` shows how things are.")
}

/// At most `max` characters, on one line.
pub fn shorten(text: &str, max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn last_chars(text: &str, max: usize) -> &str {
    match text.char_indices().rev().nth(max.saturating_sub(1)) {
        Some((start, _)) => &text[start..],
        None => text,
    }
}

fn spaced(word: &str) -> String {
    inert(&word.replace('_', " ")).into_owned()
}

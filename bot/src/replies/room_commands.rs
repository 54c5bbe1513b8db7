//! The commands about a room: its session, model, queue, htop, rules, and who asks.

use std::time::Duration;

use adapters::{
    Room, Sender,
    markdown::{code_span, inert},
};
use agents::claude::TESTED_VERSION;
use settings::duration::human;

use super::text::count;
use crate::config::access::UserRole;

// --- ambient ---

/// `ambient`, now or from now on.
pub fn ambient(on: bool) -> &'static str {
    match on {
        true => "Ambient is on: I listen to every message here.",
        false => "Ambient is off: I listen when addressed.",
    }
}

/// `ambient` with another word.
pub fn not_on_or_off(word: &str) -> String {
    format!("{} is neither `on` nor `off`.", code_span(word))
}

/// `ambient` could not be remembered.
pub fn ambient_not_written(error: &anyhow::Error) -> String {
    format!("This lasts only until I restart: {error:#}.")
}

// --- model and verbosity ---

/// The answer to `model`.
pub fn model_now(own: Option<&str>, configured: &str) -> String {
    let configured = configured_model(configured);
    match own {
        Some(model) => format!("This room uses {} (configured: {configured}).", code_span(model)),
        None => format!("This room uses {configured} as configured."),
    }
}

/// The answer to `model NAME`.
pub fn model_chosen(name: &str) -> String {
    format!("This room uses {} from the next turn on.", code_span(name))
}

/// The answer to `model default`.
pub fn model_reset(configured: &str) -> String {
    format!("This room uses {} from the next turn on.", configured_model(configured))
}

fn configured_model(name: &str) -> String {
    if name.is_empty() { "Claude Code's default".to_owned() } else { code_span(name) }
}

/// `model` with what cannot be a name.
pub fn not_a_model(words: &str) -> String {
    format!("{} is not a model's name.", code_span(words))
}

/// The answer to `verbosity`.
pub fn verbosity_now(level: u8) -> String {
    format!("Verbosity is {level}.")
}

/// The answer to `verbosity N`.
pub fn verbosity_chosen(level: u8) -> String {
    format!("Verbosity is {level} from now on.")
}

/// `verbosity` with another word.
pub fn not_a_verbosity(word: &str) -> String {
    format!("{} is not a verbosity; use 0, 1 or 2.", code_span(word))
}

// --- session, turn and queue ---

/// The answer to `reset`.
pub fn session_reset(session: Option<&str>, worktree: bool) -> String {
    match session {
        Some(session) => {
            let files = if worktree { " The files of this room's worktree stay as they are." } else { "" };
            format!("The session `{session}` is closed. Your next message starts a new one.{files}")
        }
        None => "There is no session here. Your next message starts one.".into(),
    }
}

/// `stop` while others wait.
pub fn stopping(waiting: usize) -> String {
    format!("Stopping. {} next in the queue; `queue clear` drops them.", prompts_are(waiting))
}

fn prompts_are(number: usize) -> String {
    format!("{} {}", count(number, "prompt", "prompts"), if number == 1 { "is" } else { "are" })
}

/// `stop` where nothing runs.
pub const NOTHING_RUNS: &str = "Nothing runs here.";
/// `queue` where nothing waits.
pub const NOTHING_WAITS: &str = "Nothing waits here.";

/// The answer to `queue clear`.
pub fn queue_cleared(number: usize) -> String {
    format!("Dropped {} from the queue.", count(number, "prompt", "prompts"))
}

/// `queue` with another word.
pub fn not_queue_argument(word: &str) -> String {
    format!("`queue` does not take {}; its only argument is `clear`.", code_span(word))
}

// --- htop ---

/// `htop stop` where nothing can be edited.
pub const HTOP_IS_A_SNAPSHOT: &str =
    "Here htop is a single snapshot, so there is nothing to stop. `stop` ends the turn.";
/// `htop stop` without an htop.
pub const NO_HTOP: &str = "No htop runs here.";

/// `htop` with an argument that is not a duration.
pub fn not_a_duration(word: &str) -> String {
    format!("{} is not a duration; write it like `30s` or `5m`.", code_span(word))
}

/// `htop` for too short or too long.
pub fn htop_out_of_range(word: &str) -> String {
    format!("{} does not fit; htop runs from `1s` to `1h`.", code_span(word))
}

// --- rules ---

/// The answer to `rules revoke N`.
pub fn rule_revoked(id: i64) -> String {
    format!("Rule {id} is revoked. I ask again before such calls.")
}

/// `rules revoke N` without such a rule.
pub fn no_such_rule(id: i64) -> String {
    format!("There is no rule {id}. `rules` lists them.")
}

/// The answer to `rules revoke WORD`.
pub fn not_a_rule_number(word: &str) -> String {
    format!("{} is not a rule's number.", code_span(word))
}

/// `rules` with other words.
pub fn not_rules_argument(words: &str) -> String {
    format!("`rules` does not take {}; its only argument is `revoke NUMBER`.", code_span(words))
}

/// Words behind `allow` or `always` that are no number.
pub fn not_a_question_number(words: &str) -> String {
    format!("{} is not a question's number.", code_span(words))
}

// --- who and what ---

/// The answer to `whoami`.
pub fn who_you_are(sender: &Sender, role: Option<UserRole>, room: &Room) -> String {
    let (id, role) = (code_span(&sender.id), role.map_or_else(|| "none".into(), |role| role.to_string()));
    let you = match sender.name == sender.id {
        true => format!("{id} (role: {role})"),
        false => format!("{} ({id}, role: {role})", inert(&sender.name)),
    };
    format!("You are {you}. This room has the id {} in `bot.toml`.", code_span(&room.to_string()))
}

/// The answer to `version`.
pub fn version(uptime: Duration) -> String {
    let (version, uptime) = (env!("CARGO_PKG_VERSION"), human(uptime));
    format!("storkit {version}, up {uptime}. Tested with Claude Code {TESTED_VERSION}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_whose_name_is_the_id_is_named_once() {
        let sender = |id: &str, name: &str| Sender { id: id.into(), name: name.into(), is_bot: false };
        let room = Room::new("console", "main");
        insta::assert_snapshot!(
            who_you_are(&sender("operator", "operator"), Some(UserRole::Operator), &room),
            @"You are `operator` (role: operator). This room has the id `console:main` in `bot.toml`."
        );
        insta::assert_snapshot!(
            who_you_are(&sender("U1", "Ann"), Some(UserRole::User), &room),
            @"You are Ann (`U1`, role: user). This room has the id `console:main` in `bot.toml`."
        );
    }

    #[test]
    fn one_waiting_prompt_is_singular() {
        assert_eq!(stopping(1), "Stopping. 1 prompt is next in the queue; `queue clear` drops them.");
        assert_eq!(queue_cleared(2), "Dropped 2 prompts from the queue.");
    }
}

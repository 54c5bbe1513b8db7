//! What waits in a room's queue, and what came too late or was cut by a restart.

use std::time::Duration;

use adapters::{Incoming, PersonAct, markdown::code_span};
use settings::duration::human;

use super::text::shorten;
use crate::store::QueuedPrompt;

/// A queued prompt was redacted.
pub const TAKEN_BACK: &str = "Taken back, so I do not run it.";

/// A queued prompt was edited.
pub const PROMPT_CHANGED: &str = "Changed: when its turn comes, I take the new text.";

/// A message was edited that was acted on before.
pub const ALREADY_DONE: &str =
    "That message is already done or in progress, so the edit changes nothing. Send a new message instead.";

pub fn queued(position: usize) -> String {
    format!("Queued, number {position}. `queue` shows what waits; `stop` ends the current turn.")
}

pub fn command_waits(name: &str, position: usize) -> String {
    format!("`{name}` waits until the turn is over, number {position} in the queue.")
}

/// The queue has no room left.
pub fn queue_full(limit: usize) -> String {
    format!("The queue is full ({limit} wait). I did not add this; `queue clear` or `stop` makes room.")
}

/// It had begun; nobody knows how far it came.
pub fn cut_by_restart(prompt: &QueuedPrompt) -> String {
    format!(
        "I was restarted while I worked on {}. What was done so far remains; say `go on` to resume the session.",
        code_span(&shorten(&prompt.text, 60))
    )
}

/// Its turn goes on by itself.
pub fn continued_after_restart(prompt: &QueuedPrompt) -> String {
    format!(
        "I was restarted while I worked on {}. No tool was running, so I go on with it.",
        code_span(&shorten(&prompt.text, 60))
    )
}

/// A command that a restart cut: whether it was done is not known here.
pub fn command_cut_by_restart(command: &QueuedPrompt) -> String {
    format!(
        "I was restarted before I answered {}. If it changes something, check whether that is done before you send it again.",
        code_span(&shorten(&command.text, 60))
    )
}

/// It is too old to run without asking.
pub fn skipped(prompt: &QueuedPrompt, age: Duration) -> String {
    format!(
        "Skipped, because it is {} old: {} (send it again if you still want it).",
        human(age),
        code_span(&shorten(&prompt.text, 60))
    )
}

/// A message that came late.
pub fn too_old(incoming: &Incoming, age: Duration) -> String {
    let what = match &incoming.act {
        PersonAct::Said { text } | PersonAct::Edited { text, .. } => code_span(&shorten(text, 60)),
        PersonAct::Chose { .. } | PersonAct::Redacted { .. } => "a click".into(),
    };
    format!(
        "I was away. {what} from {} is {} old and was not run. Send it again if you still want it.",
        incoming.sender.name,
        human(age)
    )
}

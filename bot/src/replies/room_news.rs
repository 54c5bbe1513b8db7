//! Conversations that the messenger replaced, and those that the bot cannot join.

use adapters::markdown::{code_span, inert};

use super::text::{count, sentence};

/// What goes on in a room that replaces another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CarriedOver {
    pub session: bool,
    /// How many standing rules the room has.
    pub rules: usize,
    pub model: Option<String>,
    pub verbosity: bool,
    pub ambient: bool,
    /// Whether the room follows the pipeline.
    pub pipeline: bool,
}

/// In the new room.
pub fn room_replaced(from: &str, carried: &CarriedOver) -> String {
    let CarriedOver { session, rules, model, verbosity, ambient, pipeline } = carried;
    let parts = [
        session.then(|| "the session".to_owned()),
        (*rules > 0).then(|| count(*rules, "standing rule", "standing rules")),
        model.as_ref().map(|model| format!("the model {}", code_span(model))),
        verbosity.then(|| "the verbosity".to_owned()),
        ambient.then(|| "ambient mode".to_owned()),
        pipeline.then(|| "the news of the pipeline".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let carried = match &parts[..] {
        [] => String::new(),
        parts => format!(" Carried over: {}.", parts.join(", ")),
    };
    format!("This room replaces {}, and I go on here as there.{carried}", code_span(from))
}

/// For the operator, elsewhere.
pub fn room_was_replaced(messenger: &str, from: &str, to: &str) -> String {
    format!(
        "The {} room {} was replaced by {}, where I go on as before. `status` names what to change in bot.toml, if anything.",
        inert(messenger),
        code_span(from),
        code_span(to)
    )
}

/// For the operator: the bot cannot be where it should.
pub fn cannot_join(messenger: &str, why: &str) -> String {
    sentence(&format!("{}: {}", inert(messenger), inert(why)))
}

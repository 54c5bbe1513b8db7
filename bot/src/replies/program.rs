//! The bot itself: start, restart, settings, state.

use std::{path::Path, time::Duration};

use adapters::markdown::inert;

/// `restart`.
pub const RESTARTING: &str = "I start anew and say so here.";

/// `rebuild`, at its beginning.
pub const BUILDING: &str = "I build myself from source; this takes some minutes. The room goes on meanwhile.";

/// `rebuild`, when the build is there.
pub const REBUILT: &str = "The build is good. I start anew and say so here.";

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

/// The state was damaged.
pub fn state_set_aside(path: &Path) -> String {
    format!(
        "My state was damaged. It is kept as `{}` and I begin with an empty one: sessions, rules and costs so far are not known.",
        path.display()
    )
}

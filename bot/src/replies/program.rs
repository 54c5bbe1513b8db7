//! The bot itself: start, restart, settings, state.

use std::{path::Path, time::Duration};

use adapters::markdown::{code_block, inert};

use super::text::sentence;
use crate::restart::{BuildError, BuildStep};

/// The answer to `restart`.
pub const RESTARTING: &str = "Restarting. I'll post here when I'm back.";

/// `rebuild`, at its beginning.
pub const BUILDING: &str = "Building from source; this takes some minutes. You can keep using this room.";

/// `rebuild`, when the build is there.
pub const REBUILT: &str = "The build succeeded. Restarting; I'll post here when I'm back.";

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
    format!("{} The previous settings stay in effect until this is fixed.", sentence(&inert(why)))
}

/// A change of `bot.toml`: keys that take effect at once, and keys that need a restart.
pub fn settings_changed(now: &[String], later: &[String]) -> String {
    let list = |keys: &[String]| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let mut text = String::from("bot.toml has changed.");
    if !now.is_empty() {
        text.push_str(&format!(" In effect now ({}).", list(now)));
    }
    if !later.is_empty() {
        text.push_str(&format!(" In effect after a `restart` ({}).", list(later)));
    }
    text
}

/// After a restart that a room asked for.
pub fn restarted(name: &str, took: Duration) -> String {
    format!("{name} {} is back ({:.1} s).", env!("CARGO_PKG_VERSION"), took.as_secs_f64())
}

/// The state was damaged.
pub fn state_set_aside(path: &Path) -> String {
    format!(
        "My state was damaged. It is kept as `{}`; I start with an empty one, without the earlier sessions, rules and costs.",
        path.display()
    )
}

// --- rebuild ---

/// The answer to a second `rebuild`.
pub const BUILD_UNDER_WAY: &str = "A build is already running.";

/// Why a rebuild changed nothing.
pub fn build_failed(error: &BuildError) -> String {
    let what = |step: &BuildStep| match step {
        BuildStep::Page => "the build of the web page",
        BuildStep::Build => "the build",
        BuildStep::Start => "the new program's `--version`",
    };
    match error {
        BuildError::Running => BUILD_UNDER_WAY.into(),
        BuildError::NoSource => {
            "The source I was built from is not on this machine, so there is nothing to build. `restart` \
             restarts the installed program."
                .into()
        }
        BuildError::NotInTarget(file) => format!(
            "I run from `{}`, which is not in cargo's target folder, so a build would not replace me. `restart` restarts it.",
            file.display()
        ),
        BuildError::NotStarted(step, error) => {
            format!("I keep running as before: {} could not be started: {error}.", what(step))
        }
        BuildError::Failed(step, status, output) => {
            let output = code_block(output, "");
            format!("I keep running as before: {} failed ({status}).\n\n{output}", what(step))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_settings_are_named_by_when_they_take_effect() {
        let keys = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        let changed = |now, later| settings_changed(&keys(now), &keys(later));
        insta::assert_snapshot!(changed(&["verbosity"], &[]), @"bot.toml has changed. In effect now (`verbosity`).");
        insta::assert_snapshot!(changed(&["verbosity"], &["http.port", "console.enabled"]), @"bot.toml has changed. In effect now (`verbosity`). In effect after a `restart` (`http.port`, `console.enabled`).");
    }

    #[test]
    fn refused_settings_say_what_stays() {
        insta::assert_snapshot!(settings_refused("`a` is wrong."), @"`a` is wrong. The previous settings stay in effect until this is fixed.");
    }
}

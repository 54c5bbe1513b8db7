//! Every command, one file each; the list here is the order of the help.

mod allow;
mod ambient;
mod assign;
pub mod command;
mod cost;
mod delete;
mod doctor;
mod git;
mod git_report;
mod help;
pub mod htop;
mod htop_frame;
mod log;
mod model;
mod move_story;
mod new;
mod overview;
mod queue;
mod reset;
mod restart;
mod retry;
mod review;
mod rules;
mod show;
mod start;
mod status;
pub mod status_board;
mod stop;
mod story;
mod verbosity;
mod version;
mod whoami;

use std::{fmt::Write as _, sync::Arc};

use crate::{
    commands::command::{CommandError, CommandSpec, Registry},
    config::access::Role,
};

/// All commands of this build.
pub fn all() -> Registry {
    Registry::new(vec![
        Arc::new(help::Help),
        Arc::new(status::Status),
        Arc::new(show::Show),
        Arc::new(overview::Overview),
        Arc::new(new::New),
        Arc::new(start::Start),
        Arc::new(stop::Stop),
        Arc::new(assign::Assign),
        Arc::new(move_story::Move),
        Arc::new(retry::Retry),
        Arc::new(review::Accept),
        Arc::new(review::Reject),
        Arc::new(delete::Delete),
        Arc::new(log::Log),
        Arc::new(htop::Htop),
        Arc::new(git::Git),
        Arc::new(queue::Queue),
        Arc::new(allow::ALLOW),
        Arc::new(allow::DENY),
        Arc::new(allow::ALWAYS),
        Arc::new(rules::Rules),
        Arc::new(model::Model),
        Arc::new(verbosity::Verbosity),
        Arc::new(ambient::Ambient),
        Arc::new(reset::Reset),
        Arc::new(cost::Cost),
        Arc::new(whoami::Whoami),
        Arc::new(version::Version),
        Arc::new(doctor::Doctor),
        Arc::new(restart::Rebuild),
        Arc::new(restart::Restart),
    ])
}

/// What most commands are: for every user, at once, with plain arguments.
const PLAIN: CommandSpec = CommandSpec {
    name: "",
    aliases: &[],
    args: "",
    summary: "",
    details: "",
    examples: &[],
    role: Role::User,
    takes_text: false,
    begins: None,
    immediate: true,
};

/// For a command that takes no arguments.
fn no_args(args: &str, spec: &CommandSpec) -> Result<(), CommandError> {
    match args {
        "" => Ok(()),
        _ => Err(CommandError::Usage(format!("`{}` takes no arguments.", spec.name))),
    }
}

/// The reference page `docs/commands.md`; a test keeps the file current.
pub fn reference(registry: &Registry) -> String {
    let mut page = String::from(
        "# Commands\n\nGenerated from the registry by `storkit docs > docs/commands.md`; do not edit.\n\n\
         A command begins a message that is meant for the bot: `!status`, `Timmy status`, or just `status` in a \
         direct conversation. Anything else goes to Claude Code.\n\n| command | what it does | who | while busy |\n|---|---|---|---|\n",
    );
    for spec in registry.specs() {
        let busy = if spec.immediate { "at once" } else { "waits its turn" };
        let usage = spec.usage().replace('|', "\\|");
        let _ = writeln!(page, "| `{usage}` | {} | {} | {busy} |", spec.summary, spec.role);
    }
    for spec in registry.specs() {
        let _ = write!(page, "\n## {}\n\n{}", spec.name, help::explain(spec));
        page.push('\n');
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_fully_described() {
        for spec in all().specs() {
            assert!(!spec.summary.is_empty() && !spec.summary.ends_with('.'), "{}", spec.name);
            assert!(spec.details.ends_with('.'), "{}", spec.name);
            assert!(!spec.examples.is_empty(), "{}", spec.name);
            for example in spec.examples {
                let word = example.split_whitespace().next().unwrap_or_default();
                let known = std::iter::once(&spec.name).chain(spec.aliases).any(|name| *name == word);
                assert!(known, "{example} is no call of {}", spec.name);
            }
        }
    }

    #[test]
    fn the_reference_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/commands.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(page, reference(&all()), "run `cargo run -p storkit -- docs > docs/commands.md`");
    }
}

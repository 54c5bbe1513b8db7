//! Every command, one file each; the list here is the order of the help.

mod allow;
mod ambient;
mod assign;
mod away;
mod branch_review;
pub mod command;
mod compact;
mod cost;
mod delete;
mod discard;
mod doctor;
mod draft;
mod edit;
mod git;
mod help;
pub mod htop;
mod land;
mod log;
mod memory;
mod model;
mod move_story;
pub mod new;
mod overview;
mod queue;
mod release;
mod reset;
mod restart;
mod retry;
mod review;
mod rules;
pub mod services;
mod show;
pub mod slash_words;
mod start;
mod status;
mod stop;
pub mod story;
mod tell;
mod tick;
mod verbosity;
mod version;
mod web;
mod whoami;

use std::{fmt::Write as _, sync::Arc};

use command::CommandRegistry;

/// All commands of this build.
pub fn all() -> CommandRegistry {
    CommandRegistry::new(vec![
        Arc::new(help::HelpCommand),
        Arc::new(status::StatusCommand),
        Arc::new(show::ShowCommand),
        Arc::new(overview::OverviewCommand),
        Arc::new(new::NewCommand),
        Arc::new(edit::EditCommand),
        Arc::new(tick::TICK),
        Arc::new(tick::UNTICK),
        Arc::new(draft::DraftCommand),
        Arc::new(land::LandCommand),
        Arc::new(discard::DiscardCommand),
        Arc::new(start::StartCommand),
        Arc::new(stop::StopCommand),
        Arc::new(tell::TellCommand),
        Arc::new(assign::AssignCommand),
        Arc::new(move_story::MoveCommand),
        Arc::new(retry::RetryCommand),
        Arc::new(review::AcceptCommand),
        Arc::new(review::RejectCommand),
        Arc::new(branch_review::ReviewCommand),
        Arc::new(release::ReleaseCommand),
        Arc::new(delete::DeleteCommand),
        Arc::new(log::LogCommand),
        Arc::new(htop::HtopCommand),
        Arc::new(git::GitCommand),
        Arc::new(queue::QueueCommand),
        Arc::new(allow::ALLOW),
        Arc::new(allow::DENY),
        Arc::new(allow::ALWAYS),
        Arc::new(allow::TRY),
        Arc::new(allow::KEEP),
        Arc::new(rules::RulesCommand),
        Arc::new(memory::RememberCommand),
        Arc::new(memory::MemoryCommand),
        Arc::new(model::ModelCommand),
        Arc::new(verbosity::VerbosityCommand),
        Arc::new(ambient::AmbientCommand),
        Arc::new(compact::CompactCommand),
        Arc::new(reset::ResetCommand),
        Arc::new(cost::CostCommand),
        Arc::new(web::WebCommand),
        Arc::new(whoami::WhoamiCommand),
        Arc::new(away::AwayCommand),
        Arc::new(away::BackCommand),
        Arc::new(version::VersionCommand),
        Arc::new(doctor::DoctorCommand),
        Arc::new(restart::RebuildCommand),
        Arc::new(restart::RestartCommand),
    ])
}

/// The reference page `docs/commands.md`; a test compares the file with it.
pub fn reference(registry: &CommandRegistry) -> String {
    let mut page = String::from(
        "# Commands\n\nGenerated from the registry by `storkit docs > docs/commands.md`; do not edit.\n\n\
         A command begins a message that is meant for the bot: `!status`, `Timmy status`, or just `status` in a \
         direct conversation. Commands of Claude Code's own terminal work where a room can have them: `/clear` is `reset`, `/model`, \
         `/compact`, `/cost` and `/help` are the commands below, `/context` and `/init` go to Claude Code. Anything else goes to \
         Claude Code.\n\n| command | what it does | who | while busy |\n|---|---|---|---|\n",
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
        assert!(page == reference(&all()), "run `cargo run -p storkit -- docs > docs/commands.md`");
    }
}

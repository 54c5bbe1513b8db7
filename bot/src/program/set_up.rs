//! `storkit init` at a terminal: a few questions with their defaults, or flags; then what to do next.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use pipeline::{Project, trust::TrustStore};

use crate::{
    program::{
        init::{self, InitChoices, InitError, ScaffoldFile},
        output::{complain, print},
        trust,
    },
    replies::{self, setup as say},
};

/// The answers that `storkit init` takes as flags.
#[derive(Args, Clone)]
pub struct InitArgs {
    /// Ask nothing: use the defaults for everything without a flag
    #[arg(long)]
    yes: bool,
    /// The bot's name [default: Timmy]
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// A command that must pass before a story is merged; can be given more than once [default: the project's own tests]
    #[arg(long, value_name = "COMMAND")]
    gate: Vec<String>,
    /// How many coders work at the same time [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    coders: Option<u32>,
}

/// Sets the project up and prints each step.
pub fn init(given: &InitArgs, folder: Option<&Path>) -> ExitCode {
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let asks = !given.yes && io::stdin().is_terminal();
    if !given.yes && !asks {
        return complain(2, say::NOBODY_TO_ASK);
    }
    if let Err(error) = std::fs::create_dir_all(&folder) {
        return complain(2, &say::cannot_create(&folder, &error));
    }
    if !init::is_repository(&folder) {
        if asks && !yes(say::CREATE_REPOSITORY) {
            return complain(2, say::NO_REPOSITORY);
        }
        if let Err(error) = init::make_repository(&folder) {
            return complain(1, &error.to_string());
        }
    }
    let project = match Project::open(&folder) {
        Ok(project) => project,
        Err(error) => return complain(2, &error.to_string()),
    };
    let choices = choose(given, init::suggest(project.root()), asks);
    let store = match trust::store() {
        Ok(store) => store,
        Err(error) => return complain(2, &error.to_string()),
    };
    // What was there before is not storkit's, and is not confirmed by the way.
    if let Err(error) = store.check_state(&project) {
        return complain(2, &error.to_string());
    }
    match set_up(&project, &store, &choices, asks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(1, &error.to_string()),
    }
}

fn set_up(project: &Project, store: &TrustStore, choices: &InitChoices, asks: bool) -> Result<(), InitError> {
    let files = init::scaffold(project, choices)?;
    let written = files.contains(&ScaffoldFile::Written(init::PROJECT_TOML));
    for file in files {
        print(&match file {
            ScaffoldFile::Written(name) => say::file_written(name),
            ScaffoldFile::Kept(name) => say::file_kept(name),
        });
    }
    match written {
        true => trust::confirm_written(project, store, &init::project_toml(choices))?,
        false if !trust::is_confirmed(project, store) => print(replies::trust::INIT_KEPT),
        false => {}
    }
    // Git would run what its own configuration names.
    if let Some(why) = init::git_in_the_way(project, store)? {
        print(&replies::trust::init_without_git(&why));
    } else if (!asks || yes(say::COMMIT)) && init::commit(project)? {
        print(say::COMMITTED);
    }
    print(&say::next_steps(&choices.display_name, choices.gates.is_empty()));
    Ok(())
}

fn choose(given: &InitArgs, suggested: InitChoices, asks: bool) -> InitChoices {
    let ask = |question: &str, usual: &str| match asks {
        true => answer(question, usual),
        false => usual.to_owned(),
    };
    let display_name =
        given.display_name.clone().unwrap_or_else(|| ask(say::BOT_NAME, &suggested.display_name));
    let gates = match given.gate.is_empty() {
        false => given.gate.clone(),
        true => {
            let usual = suggested.gates.first().map(String::as_str).unwrap_or_default();
            let gate = ask(say::GATE, usual);
            Some(gate).filter(|gate| !gate.is_empty()).into_iter().collect()
        }
    };
    let coders = given.coders.unwrap_or_else(|| {
        loop {
            match ask(say::CODERS, &suggested.coders.to_string()).parse() {
                Ok(coders @ 1..=100) => break coders,
                _ => print(say::CODERS_RANGE),
            }
        }
    });
    InitChoices { display_name, gates, coders }
}

fn yes(question: &str) -> bool {
    matches!(answer(&format!("{question} (yes/no)"), "yes").to_lowercase().as_str(), "y" | "yes")
}

/// One line from the terminal; the usual answer for an empty line and for closed input.
fn answer(question: &str, usual: &str) -> String {
    print(&format!("{question} [{usual}] "));
    let _ = io::stdout().flush();
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(read) if read > 0 && !line.trim().is_empty() => line.trim().to_owned(),
        _ => usual.to_owned(),
    }
}

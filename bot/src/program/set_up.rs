//! `storkit init` at a terminal: a few questions with their defaults, or flags; then what to do next.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use pipeline::Project;

use crate::program::{
    init::{self, InitChoices, InitError, ScaffoldFile},
    output::{complain, print},
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

/// Sets the project up and says what was done.
pub fn init(given: &InitArgs, folder: Option<&Path>) -> ExitCode {
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let asks = !given.yes && io::stdin().is_terminal();
    if !given.yes && !asks {
        return complain(
            2,
            "standard input is not a terminal, so I cannot ask questions. Use `storkit init --yes` to accept the defaults.",
        );
    }
    if let Err(error) = std::fs::create_dir_all(&folder) {
        return complain(2, &format!("`{}` cannot be created: {error}.", folder.display()));
    }
    if !init::is_repository(&folder) {
        if asks && !yes("This is not a git repository. Create one here?") {
            return complain(
                2,
                "storkit needs a git repository. Change to one, or name it with `--project DIR`.",
            );
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
    match set_up(&project, &choices, asks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(1, &error.to_string()),
    }
}

fn set_up(project: &Project, choices: &InitChoices, asks: bool) -> Result<(), InitError> {
    for file in init::scaffold(project, choices)? {
        print(&match file {
            ScaffoldFile::Written(name) => format!("wrote  {name}\n"),
            ScaffoldFile::Kept(name) => format!("kept   {name} (it already exists)\n"),
        });
    }
    let committed = (!asks || yes("Commit `project.toml` and `context.md`?")) && init::commit(project)?;
    if committed {
        print("commit storkit: set up\n");
    }
    print(&next(choices));
    Ok(())
}

fn choose(given: &InitArgs, suggested: InitChoices, asks: bool) -> InitChoices {
    let ask = |question: &str, usual: &str| match asks {
        true => answer(question, usual),
        false => usual.to_owned(),
    };
    let display_name =
        given.display_name.clone().unwrap_or_else(|| ask("What is the bot's name?", &suggested.display_name));
    let gates = match given.gate.is_empty() {
        false => given.gate.clone(),
        true => {
            let usual = suggested.gates.first().map(String::as_str).unwrap_or_default();
            let gate = ask("Which command must pass before a story is merged? (empty: none)", usual);
            Some(gate).filter(|gate| !gate.is_empty()).into_iter().collect()
        }
    };
    let coders = given.coders.unwrap_or_else(|| {
        loop {
            match ask("How many coders may work at the same time?", &suggested.coders.to_string()).parse() {
                Ok(coders @ 1..=100) => break coders,
                _ => print("Enter a number from 1 to 100.\n"),
            }
        }
    });
    InitChoices { display_name, gates, coders }
}

fn next(choices: &InitChoices) -> String {
    let name = &choices.display_name;
    let gates = match choices.gates.is_empty() {
        true => {
            "No command tests stories before they merge yet: name one in `gates` in .storkit/project.toml.\n"
        }
        false => "",
    };
    format!(
        "\n{gates}Next:\n  storkit doctor     shows what is still missing (for example a key for Claude Code)\n  storkit            opens a chat with {name} in this terminal\n\
         \nThere, `new story TITLE` and `start 1` put agents to work; `help` lists the rest. Chat messengers are switched on in\n\
         .storkit/bot.toml. Ask {name} to fill in .storkit/context.md with you: agents read it.\n"
    )
}

fn yes(question: &str) -> bool {
    matches!(answer(&format!("{question} (yes/no)"), "yes").to_lowercase().as_str(), "y" | "yes")
}

/// One line from the terminal; the usual answer for an empty one, and at its end.
fn answer(question: &str, usual: &str) -> String {
    print(&format!("{question} [{usual}] "));
    let _ = io::stdout().flush();
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(read) if read > 0 && !line.trim().is_empty() => line.trim().to_owned(),
        _ => usual.to_owned(),
    }
}

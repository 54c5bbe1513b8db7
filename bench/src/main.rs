//! `storkit-bench`: measures figures by name and writes them to `docs/performance.md`. Run it by `script/bench`.

mod bare;
mod errbot;
mod figures;
mod machine;
#[cfg(feature = "matrix")]
mod matrix;
mod messenger;
mod numbers;
mod report;
mod web;
mod world;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use figures::{FIGURES, Figure};

/// Measures storkit and what it is compared with.
#[derive(Parser)]
struct Arguments {
    /// Figures by name or number; none means all
    figures: Vec<String>,
    /// Fewer and smaller rounds, to see that everything works; nothing is written
    #[arg(long)]
    quick: bool,
    /// List the figures
    #[arg(long)]
    list: bool,
    /// The page to write
    #[arg(long, value_name = "FILE", default_value = "docs/performance.md")]
    page: PathBuf,
}

#[derive(Clone, Copy)]
pub struct Effort {
    /// Fewer and smaller rounds, only to see that everything works.
    pub quick: bool,
}

impl Effort {
    /// One number for a thorough run, another for a quick one.
    pub fn pick<T>(self, thorough: T, quick: T) -> T {
        if self.quick { quick } else { thorough }
    }

    /// The number of measurements after the warm-up. docs/performance.md promises at least five.
    pub fn rounds(self) -> usize {
        self.pick(7, 3)
    }
}

fn main() -> ExitCode {
    // A wall that is measured has all of its parts, and calls this program as it calls storkit.
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let [own, rest @ ..] = &words[..]
        && let Some(why) = agents::confine::enter(std::slice::from_ref(own), rest)
    {
        say(&why);
        return ExitCode::from(127);
    }
    agents::confine::OwnProgram::register();
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Returns `false` if a figure could not be measured. A missed goal is not a failure.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    if arguments.list {
        for figure in FIGURES {
            print(&format!("{} {:10} {}\n", figure.number, figure.name, figure.title));
        }
        return Ok(true);
    }
    let chosen = choose(&arguments.figures)?;
    let effort = Effort { quick: arguments.quick };
    let mut all_measured = true;
    for figure in chosen {
        say(&format!("figure {}, {} ...", figure.number, figure.name));
        match measure(figure, effort) {
            Ok(section) => {
                print(&section);
                if !effort.quick {
                    report::write(&arguments.page, figure, &section)?;
                }
            }
            Err(error) => {
                all_measured = false;
                say(&format!("figure {} could not be measured: {error:#}", figure.name));
            }
        }
    }
    Ok(all_measured)
}

/// Each figure gets its own runtime, so that nothing of the previous figure still runs.
fn measure(figure: &Figure, effort: Effort) -> anyhow::Result<String> {
    let conditions = machine::Conditions::now();
    let runtime = tokio::runtime::Runtime::new().context("no threads")?;
    // In a task, where adapters run too. From this thread each message would cost two more wake-ups.
    let outcome = runtime.block_on(runtime.spawn((figure.measure)(effort)));
    // Does not wait for blocking work that the figure may have left.
    runtime.shutdown_background();
    Ok(report::section(figure, &outcome??, &conditions, effort))
}

fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Figure>> {
    if names.is_empty() {
        return Ok(FIGURES.iter().collect());
    }
    let find = |name: &String| {
        let found = FIGURES.iter().find(|figure| figure.name == name || figure.number.to_string() == *name);
        found.with_context(|| format!("there is no figure `{name}`; `--list` shows them"))
    };
    names.iter().map(find).collect()
}

fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_chosen_by_name_or_number_and_an_unknown_one_is_refused() {
        let names = |asked: &[&str]| -> anyhow::Result<Vec<&str>> {
            let asked: Vec<String> = asked.iter().map(|&name| name.to_owned()).collect();
            Ok(choose(&asked)?.iter().map(|figure| figure.name).collect())
        };
        assert_eq!(names(&["2", "dispatch"]).unwrap(), ["relay", "dispatch"]);
        assert_eq!(names(&[]).unwrap().len(), FIGURES.len());
        assert!(names(&["99"]).is_err());
    }
}

//! Files that people send.

use std::{io, time::Duration};

use adapters::markdown::code_span;
use settings::duration::human;

use super::visible::visible_line;

/// The longest name of a file in a sentence, in characters.
const NAME_MAX: usize = 60;

/// Files that did not arrive, each with the reason; `None` without any.
pub fn files_not_received<'a>(lost: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let lost: Vec<String> = lost.map(|(file, why)| format!("{}: {why}", named(file))).collect();
    match &lost[..] {
        [] => None,
        [one] => Some(format!("I did not get {one}.")),
        _ => Some(format!(
            "I did not get these files:\n{}",
            lost.iter().map(|line| format!("- {line}")).collect::<Vec<_>>().join("\n")
        )),
    }
}

/// Files that came along with a command or an answer; `None` without any.
pub fn files_not_passed_on<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<String> = names.map(named).collect();
    (!names.is_empty())
        .then(|| format!("I did not pass on {}: commands and answers take no files.", names.join(", ")))
}

fn named(file: &str) -> String {
    match file {
        "" => "a file".to_owned(),
        name => code_span(&visible_line(name, NAME_MAX)),
    }
}

/// After files that could not be had now, where the agent was not asked without them.
pub const SEND_FILE_AGAIN: &str = "I did nothing with that message; send it again.";

/// The end of a sentence about a file, as are those below.
pub fn file_too_large(max: u64) -> String {
    format!("it is larger than {} MB", max >> 20)
}

pub fn too_many_files(max: usize) -> String {
    format!("I take at most {max} files with one message")
}

pub fn file_took_too_long(limit: Duration) -> String {
    format!("it did not arrive within {}", human(limit))
}

pub fn file_not_written(error: &io::Error) -> String {
    format!("it could not be written here ({error})")
}

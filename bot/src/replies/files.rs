//! Files that people send.

use std::{io, time::Duration};

use adapters::markdown::{code_span, inert};
use pipeline::{evidence::EvidenceSource, story::StoryId};
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

/// Files that a person sent for a story: the names of those that are beside it now, and those that are not, with the reason.
pub fn files_attached(id: StoryId, names: &[String], lost: &[(String, String)]) -> String {
    let names: Vec<String> = names.iter().map(|name| code_span(name)).collect();
    let attached =
        (!names.is_empty()).then(|| format!("Story `{id}` has {} beside it now.", names.join(", ")));
    let lost = files_not_received(lost.iter().map(|(name, why)| (name.as_str(), why.as_str())));
    attached.into_iter().chain(lost).collect::<Vec<_>>().join("\n")
}

/// Files that a run or a merge left to show what it did, and what of them is not kept, as clauses.
pub fn evidence(
    id: StoryId,
    title: &str,
    from: EvidenceSource,
    names: &[String],
    left_out: &[String],
) -> String {
    let whose = match from {
        EvidenceSource::Coder => "coder",
        EvidenceSource::Reviewer => "reviewer",
        EvidenceSource::Merge => "merge",
    };
    let names: Vec<String> = names.iter().map(|name| code_span(name)).collect();
    let what = match &names[..] {
        [] => "nothing was kept".to_owned(),
        names => names.join(", "),
    };
    let mut text = format!("Evidence of story `{id}` **{}** by its {whose}: {what}.", inert(title));
    if !left_out.is_empty() {
        let left_out: Vec<String> = left_out.iter().map(|what| visible_line(what, 200)).collect();
        text.push_str(&format!(" Left out: {}.", left_out.join("; ")));
    }
    text
}

pub fn file_removed(id: StoryId, name: &str) -> String {
    format!("{} is no longer beside story `{id}`.", named(name))
}

/// A picture for a story that has no title yet.
pub const FILE_KEPT_FOR_STORY: &str = "I keep that for the story. What is its title?";

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

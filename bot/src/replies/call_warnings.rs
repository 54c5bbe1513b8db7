//! What the text of a call does not show: its concerns, and the text from strangers that the agent has read.

use adapters::markdown::code_span;
use pipeline::strangers::StrangerText;

use super::{text::count, visible::visible_line};
use crate::permission::{CallConcern, Question};

/// Characters of a name, of a path.
const NAME_MAX: usize = 80;
const PATH_MAX: usize = 200;

/// Warnings and sources that are listed one by one.
const CONCERNS_MAX: usize = 6;
const SOURCES_MAX: usize = 8;

/// Effects that the call's text does not show, a line each, and where the idea may have come from.
pub(super) fn warnings(question: &Question) -> String {
    let mut lines: Vec<String> = question.concerns.iter().take(CONCERNS_MAX).map(concern).collect();
    if question.concerns.len() > CONCERNS_MAX {
        let more = question.concerns.len() - CONCERNS_MAX;
        lines.push(format!("⚠️ {} more.", count(more, "link", "links")));
    }
    lines.extend(provenance(&question.read));
    lines.into_iter().map(|line| line + "\n").collect()
}

fn concern(concern: &CallConcern) -> String {
    let path = |path: &str| code_span(&visible_line(path, PATH_MAX));
    match concern {
        CallConcern::Link { named, leads_to } if leads_to.is_empty() => {
            format!("⚠️ {} is a link to nothing; writing to it makes a file elsewhere.", path(named))
        }
        CallConcern::Link { named, leads_to } => {
            format!("⚠️ {} leads through a link to {}.", path(named), path(leads_to))
        }
        CallConcern::UncheckedLinks => "⚠️ It names more files than I can check for links.".into(),
        CallConcern::BlockedPath(blocked) => format!("⚠️ It reaches {}.", path(blocked)),
        CallConcern::OutsideSandbox => "⚠️ It is to run outside Claude Code's sandbox.".into(),
        CallConcern::InBackground => {
            "⚠️ It is to run in the background and may go on after this turn.".into()
        }
    }
}

/// One line on the text from strangers that the agent has read since a person last spoke to it.
fn provenance(read: &[StrangerText]) -> Option<String> {
    let names = (!read.is_empty()).then(|| stranger_texts(read))?;
    Some(format!(
        "⚠️ Since a person last spoke to it, this agent has read text by strangers: {names}. So there is no `always`."
    ))
}

/// Sources of text by strangers, as a list in a sentence.
pub fn stranger_texts<'a>(read: impl IntoIterator<Item = &'a StrangerText>) -> String {
    let name = |name: &str| code_span(&visible_line(name, NAME_MAX));
    let named = |text: &StrangerText| match text {
        StrangerText::Page(host) => name(host),
        StrangerText::SearchResults => "results of a web search".into(),
        StrangerText::Program(program) => format!("what {} printed", name(program)),
        StrangerText::Server(server) => format!("answers of the MCP server {}", name(server)),
        StrangerText::File(path) => format!("{}, which is not on the base branch", name(path)),
        StrangerText::Commit(commit) => format!("{}, a commit that is not on the base branch", name(commit)),
        StrangerText::Story(id) => format!("story {id}, which is in quarantine"),
    };
    let read: Vec<_> = read.into_iter().collect();
    let mut names: Vec<String> = read.iter().take(SOURCES_MAX).map(|text| named(text)).collect();
    if read.len() > SOURCES_MAX {
        names.push(format!("{} more", read.len() - SOURCES_MAX));
    }
    names.join(", ")
}

//! What the text of a call does not show: its concerns, and the text from strangers that the agent has read.

use adapters::markdown::code_span;
use pipeline::strangers::StrangerText;

use super::{text::count, visible::visible_line};
use crate::permission::CallConcern;

/// Characters of a name, of a path.
const NAME_MAX: usize = 80;
const PATH_MAX: usize = 200;

/// Warnings and sources that are listed one by one.
const CONCERNS_MAX: usize = 6;
const SOURCES_MAX: usize = 8;

/// Effects that the call's text does not show, a line each, and where the idea may have come from.
pub(super) fn warnings(concerns: &[CallConcern], read: &[StrangerText]) -> String {
    let mut lines: Vec<String> = concerns.iter().take(CONCERNS_MAX).map(concern).collect();
    if concerns.len() > CONCERNS_MAX {
        let more = concerns.len() - CONCERNS_MAX;
        lines.push(format!("⚠️ {} more.", count(more, "link", "links")));
    }
    lines.extend(provenance(read));
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
        StrangerText::File(path) if path.starts_with(['/', '~']) => {
            format!("{} (outside of the project)", name(path))
        }
        StrangerText::File(path) => format!("{} (not on the base branch)", name(path)),
        StrangerText::Commit(commit) => format!("commit {} (not on the base branch)", name(commit)),
        StrangerText::Story(id) => format!("story {id} (in quarantine)"),
        StrangerText::SentFile(file) => format!("the file {}", name(file)),
        StrangerText::Message(author) if author.is_empty() => "a forwarded message".into(),
        StrangerText::Message(author) => format!("a message by {}", name(author)),
    };
    let read: Vec<_> = read.into_iter().collect();
    let mut names: Vec<String> = read.iter().take(SOURCES_MAX).map(|text| named(text)).collect();
    if read.len() > SOURCES_MAX {
        names.push(format!("{} more", read.len() - SOURCES_MAX));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use pipeline::story::StoryId;

    use super::*;

    fn link(named: &str, leads_to: &str) -> CallConcern {
        CallConcern::Link { named: named.into(), leads_to: leads_to.into() }
    }

    #[test]
    fn each_effect_that_the_text_does_not_show_is_a_line() {
        let concerns = [
            link("notes", "/etc/hostname"),
            link("new", ""),
            CallConcern::UncheckedLinks,
            CallConcern::BlockedPath("/etc/shadow".into()),
            CallConcern::OutsideSandbox,
            CallConcern::InBackground,
        ];
        insta::assert_snapshot!(warnings(&concerns, &[]), @"
        ⚠️ `notes` leads through a link to `/etc/hostname`.
        ⚠️ `new` is a link to nothing; writing to it makes a file elsewhere.
        ⚠️ It names more files than I can check for links.
        ⚠️ It reaches `/etc/shadow`.
        ⚠️ It is to run outside Claude Code's sandbox.
        ⚠️ It is to run in the background and may go on after this turn.
        ");
    }

    #[test]
    fn of_many_links_the_rest_is_counted() {
        let links: Vec<_> = (0..8).map(|n| link(&format!("l{n}"), "/etc")).collect();
        let text = warnings(&links, &[]);
        assert!(
            text.contains("`l5`") && !text.contains("`l6`") && text.ends_with("⚠️ 2 links more.\n"),
            "{text}"
        );
        assert_eq!(warnings(&links[..6], &[]).lines().count(), 6);
        assert_eq!(warnings(&[], &[]), "");
    }

    #[test]
    fn whoever_may_have_given_the_idea_is_named() {
        let page = |n: usize| StrangerText::Page(format!("{n}.example"));
        let read = [
            page(1),
            StrangerText::SearchResults,
            StrangerText::Program("gh".into()),
            StrangerText::Story(StoryId(7)),
        ];
        insta::assert_snapshot!(warnings(&[], &read), @"⚠️ Since a person last spoke to it, this agent has read text by strangers: `1.example`, results of a web search, what `gh` printed, story 7 (in quarantine). So there is no `always`.");
        let many: Vec<_> = (1..=10).map(page).collect();
        assert!(stranger_texts(&many).ends_with("`8.example`, 2 more"));
        assert!(stranger_texts(&many[..8]).ends_with("`8.example`"));
    }
}

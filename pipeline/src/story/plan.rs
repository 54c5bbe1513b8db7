//! The plan of a story's coder: whether one is wanted, and its section in the story's text. The coder wrote it, so each of its lines is
//! quoted: it has no headings and no criteria of its own, and its end is where the quotation ends.

use std::ops::Range;

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::{EditError, StoryDocument, lines::lines};
use crate::visible::visible;

/// The section's heading, below which only quoted lines belong to the plan.
const HEADING: &str = "## Plan";

/// Longest plan in a story's file, in characters.
const MAX_PLAN: usize = 20_000;

/// The front matter's key.
pub(crate) const PLAN_KEY: &str = "plan";

/// `plan` in the front matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlanWish {
    /// Code at once.
    #[default]
    None,
    /// A person accepts a plan before any code is written.
    First,
    /// A person has accepted the plan that the story's text has.
    Accepted,
}

const ACCEPTED: &str = "accepted";

impl PlanWish {
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::First => Some("first"),
            Self::Accepted => Some(ACCEPTED),
        }
    }

    /// Any other word wants one: whoever writes the key does not want code at once.
    pub(super) fn read(text: &str) -> Self {
        match text.trim().to_ascii_lowercase().as_str() {
            "" | "no" | "off" | "false" | "none" => Self::None,
            ACCEPTED => Self::Accepted,
            _ => Self::First,
        }
    }
}

impl<'de> Deserialize<'de> for PlanWish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Flag(bool),
            Text(String),
            Other(IgnoredAny),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Flag(true) => Self::First,
            Written::Flag(false) => Self::None,
            Written::Text(text) => Self::read(&text),
            Written::Other(IgnoredAny) => Self::First,
        })
    }
}

impl StoryDocument {
    /// Puts a plan into its section, in the place of an earlier one; at the end where there is none.
    pub fn set_plan(&mut self, plan: &str) -> Result<(), EditError> {
        let section = format!("{HEADING}\n\n{}\n", quoted(plan));
        let body = self.body();
        let edited = match section_of(body) {
            Some(range) => [&body[..range.start], &section, &body[range.end..]].concat(),
            None => format!("{}\n\n{section}", body.trim_end()),
        };
        self.set_body(&edited)
    }

    /// The plan in the text, without the marks of its quotation; `None` without one.
    pub fn plan(&self) -> Option<String> {
        let body = self.body();
        let section = &body[section_of(body)?];
        let lines = section.lines().filter_map(|line| line.strip_prefix('>'));
        let text = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n");
        Some(text).filter(|text| !text.trim().is_empty())
    }
}

fn quoted(plan: &str) -> String {
    let plan = visible(plan.trim());
    let length = plan.chars().count();
    let mut cut: String = plan.chars().take(MAX_PLAN).collect();
    if length > MAX_PLAN {
        cut.push_str("\n(The plan was longer.)");
    }
    cut.lines().map(|line| format!("> {line}").trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// From the heading to the last of the blank and quoted lines below it. Outside of code blocks, so that no story's example is taken for it.
fn section_of(body: &str) -> Option<Range<usize>> {
    let (mut fence, mut found): (Option<String>, Option<Range<usize>>) = (None, None);
    for (at, line) in lines(body, 0..body.len()) {
        let end = at + line.len();
        if let Some(range) = &mut found {
            match line.trim_end() {
                // A blank line belongs to it only if more of it follows, or nothing does.
                "" => {}
                text if text.starts_with('>') => range.end = end,
                _ => break,
            }
            continue;
        }
        let content = line.trim_start();
        match &fence {
            Some(open) if content.starts_with(open.as_str()) => fence = None,
            Some(_) => {}
            None if content.starts_with("```") || content.starts_with("~~~") => {
                fence = Some(content[..3].to_owned());
            }
            None if line.trim_end() == HEADING => found = Some(at..end),
            None => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> StoryDocument {
        StoryDocument::parse(text).unwrap()
    }

    #[test]
    fn a_plan_has_a_section_of_its_own_which_the_next_one_replaces() {
        let mut story = document("---\nname: x\n---\n\n# x\n\n- [ ] one\n");
        assert_eq!(story.plan(), None);
        story.set_plan("1. Paint\n\n- [ ] two\n").unwrap();
        let text = "---\nname: x\n---\n\n# x\n\n- [ ] one\n\n## Plan\n\n> 1. Paint\n>\n> - [ ] two\n";
        assert_eq!(story.text(), text);
        assert_eq!(story.criteria().len(), 1, "what a plan lists is no criterion");
        assert_eq!(story.plan().as_deref(), Some("1. Paint\n\n- [ ] two"));
        let mut story = document(&format!("{text}\n## Notes\n\n> quoted\n"));
        story.set_plan("Another").unwrap();
        assert!(
            story.text().ends_with("- [ ] one\n\n## Plan\n\n> Another\n\n## Notes\n\n> quoted\n"),
            "{}",
            story.text()
        );
    }

    #[test]
    fn a_plan_cannot_leave_its_section_or_hide_anything() {
        let mut story = document("---\nname: x\n---\n# x\n");
        story.set_plan("one\r\n## Notes\u{2028}---\n- [x] done\u{202e}\n```\n").unwrap();
        let (_, section) = story.text().split_once("## Plan\n\n").unwrap();
        assert!(section.lines().all(|line| line.starts_with('>')), "{section}");
        assert!(section.contains("> ---\n> - [x] done<U+202E>"), "{section}");
        assert_eq!((story.criteria().len(), story.front().name.as_str()), (0, "x"));
        story.set_plan(&"é\n".repeat(MAX_PLAN)).unwrap();
        assert!(story.plan().unwrap().ends_with("(The plan was longer.)"));
    }

    #[test]
    fn a_heading_in_a_code_block_is_no_section() {
        let mut story = document("---\nname: x\n---\n```\n## Plan\n```\n");
        story.set_plan("Paint").unwrap();
        assert!(story.text().ends_with("```\n## Plan\n```\n\n## Plan\n\n> Paint\n"), "{}", story.text());
    }

    #[test]
    fn only_no_means_code_at_once() {
        for (value, wish) in [
            ("true", PlanWish::First),
            ("first", PlanWish::First),
            ("accepted", PlanWish::Accepted),
            ("false", PlanWish::None),
            ("no", PlanWish::None),
            ("[1]", PlanWish::First),
        ] {
            assert_eq!(document(&format!("---\nplan: {value}\n---\n")).front().plan, wish, "{value}");
        }
        assert_eq!(document("---\nname: x\n---\n").front().plan, PlanWish::None);
    }
}

//! Questions about stories that a room's agent asks: an act on some of them, or a list of new ones.

use std::collections::BTreeSet;

use pipeline::{
    handle::StoryChange,
    stage::Stage,
    story::{Story, StoryId, StoryKind},
};

use super::Person;
use crate::config::access::UserRole;

/// What a room's agent wants to do with the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardQuestion {
    /// An act, in words of storkit's own: `start story 2`.
    Act {
        what: String,
        /// Markdown that people are to see before they answer.
        shown: Option<String>,
    },
    /// New stories, of which people may pick some.
    Plan(Vec<PlannedStory>),
}

/// A story of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStory {
    pub kind: StoryKind,
    pub title: String,
    pub body: Option<String>,
    pub criteria: Vec<String>,
    /// Stories of the same plan that come before it, counted from 1.
    pub after: Vec<usize>,
    /// Stories of the board that come before it.
    pub depends_on: Vec<StoryId>,
}

/// Who may change a story like that: once it has left the backlog, agents work by its text, and a person's review is not given up by just
/// anybody.
pub fn role_to_change(story: &Story, change: &StoryChange) -> UserRole {
    match story.stage != Stage::Backlog || gives_up_review(story, change) {
        true => UserRole::Approver,
        false => UserRole::User,
    }
}

pub fn gives_up_review(story: &Story, change: &StoryChange) -> bool {
    change.manual_qa == Some(false) && story.front.manual_qa
}

#[cfg(test)]
impl PlannedStory {
    /// One that has a title and nothing else.
    pub(crate) fn for_tests(title: &str) -> Self {
        Self {
            kind: StoryKind::Story,
            title: title.into(),
            body: None,
            criteria: Vec::new(),
            after: Vec::new(),
            depends_on: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardConsent {
    pub by: Person,
    /// The stories of a plan that are meant, counted from 1; `None` for all.
    pub picked: Option<Vec<usize>>,
}

/// An answer to a list, read as a choice of its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ListPick {
    /// These entries and no others.
    Entries(Vec<usize>),
    /// It names an entry that is not there, or leaves none.
    OutOfRange,
    /// Words that choose nothing by themselves.
    Words,
}

/// Words that agree, or only join numbers.
const JOINING: &[&str] =
    &["yes", "ok", "okay", "and", "only", "just", "story", "stories", "number", "numbers", "please"];
/// Words after which numbers are left out, and those that may stand before them.
const EXCEPT: &[&str] = &["without", "except"];
const BEFORE_EXCEPT: &[&str] = &["but", "all", "everything"];

/// Reads `1 3`, `only 2`, `yes, but without 2`, `all except 1 and 3`. Whatever has another word in it chooses
/// nothing: a half agreement is none.
pub(super) fn pick(text: &str, count: usize) -> ListPick {
    let (mut announced, mut except) = (false, false);
    let mut numbers = BTreeSet::new();
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';'));
    for word in
        words.map(|word| word.trim_end_matches(['.', '!']).to_lowercase()).filter(|word| !word.is_empty())
    {
        let is = |list: &[&str]| list.contains(&word.as_str());
        match word.trim_start_matches('#').parse::<usize>() {
            Ok(number) => _ = numbers.insert(number),
            // `1 without 2` may mean anything.
            Err(_) if is(EXCEPT) && numbers.is_empty() && !except => except = true,
            Err(_) if is(BEFORE_EXCEPT) && numbers.is_empty() && !except => announced = true,
            Err(_) if is(JOINING) => {}
            Err(_) => return ListPick::Words,
        }
    }
    match numbers.is_empty() || announced && !except {
        true => ListPick::Words,
        false if !numbers.iter().all(|number| (1..=count).contains(number)) => ListPick::OutOfRange,
        false if except && numbers.len() == count => ListPick::OutOfRange,
        false => ListPick::Entries((1..=count).filter(|entry| numbers.contains(entry) != except).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_pick_and_words_go_back_to_the_agent() {
        let entries = |text: &str| match pick(text, 3) {
            ListPick::Entries(entries) => entries,
            other => panic!("{text}: {other:?}"),
        };
        for text in [
            "1 3",
            "3, 1",
            "1 and 3",
            "yes 1, 3",
            "only #1 and #3.",
            "without 2",
            "yes, but without 2",
            "all except 2",
            "everything but without 2",
            "Yes but except story 2!",
        ] {
            assert_eq!(entries(text), [1, 3], "{text}");
        }
        assert_eq!(entries("2"), [2]);
        assert_eq!(entries("without 1 and 2"), [3]);
        for text in [
            "",
            "yes",
            "yes, but without the roof",
            "1 without 2",
            "not 2",
            "all but 2",
            "but, 2",
            "2 first",
            "2 is wrong",
            "what about 3?",
            "yes but 2",
            "without",
            "-1",
        ] {
            assert_eq!(pick(text, 3), ListPick::Words, "{text}");
        }
        for text in ["4", "0", "1 4", "without 4", "without 1 2 3"] {
            assert_eq!(pick(text, 3), ListPick::OutOfRange, "{text}");
        }
    }
}

//! A story: its file's name, its front matter, its text.

mod block;
mod conversation;
mod criteria;
mod document;
mod front;
mod heading;
mod lines;
mod name;
mod plain;
mod plan;
pub mod stage;
pub mod templates;
mod value;

use std::{fmt, str::FromStr, time::SystemTime};

pub use block::BlockReason;
pub use conversation::StoryConversation;
pub use document::{EditError, StoryDocument};
pub use front::{FrontError, FrontMatter};
pub use name::{BadFileName, FileName, slug};
pub(crate) use plan::PLAN_KEY;
pub use plan::PlanWish;
use serde::{Deserialize, Serialize};
pub use value::KeyValue;

use crate::story::stage::Stage;

/// A story's number. Unique in a project and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoryId(pub u32);

impl fmt::Display for StoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no story's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a story's number is a whole number from 1, like `12` or `#12`")]
pub struct BadId;

impl StoryId {
    /// No story: the number that a run has which works on none. No file can have it.
    pub const NONE: Self = Self(0);
}

impl FromStr for StoryId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('#').unwrap_or(text);
        // `parse` alone would accept `+12`.
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|id| plain && *id > 0).map(Self).ok_or(BadId)
    }
}

/// What kind of work a story is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoryKind {
    Story,
    Bug,
    /// Something to find out.
    Spike,
    /// Something to put better.
    Refactor,
}

impl StoryKind {
    pub const ALL: [Self; 4] = [Self::Story, Self::Bug, Self::Spike, Self::Refactor];

    /// The word in file names and commands.
    pub fn word(self) -> &'static str {
        match self {
            Self::Story => "story",
            Self::Bug => "bug",
            Self::Spike => "spike",
            Self::Refactor => "refactor",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// A story, as parsed from its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    pub file: FileName,
    pub stage: Stage,
    /// When its file was last written or moved there (the inode's change time).
    pub since: SystemTime,
    /// Its front matter; the name is one line of at most 200 characters, whatever is in the file.
    pub front: FrontMatter,
    /// Criteria (`- [ ] text`), and whether each is ticked.
    pub criteria: Vec<(String, bool)>,
}

impl Story {
    /// Joins the file's text with its name and stage. A story without any title is called by its slug.
    pub fn new(file: FileName, stage: Stage, since: SystemTime, document: StoryDocument) -> Self {
        let criteria = document.criteria();
        let mut front = document.into_front();
        front.name = title(&front.name).unwrap_or_else(|| file.slug.replace('_', " "));
        Self { file, stage, since, front, criteria }
    }

    pub fn id(&self) -> StoryId {
        self.file.id
    }
}

/// Longest title, in characters.
pub const LONGEST_TITLE: usize = 200;

/// A title as people see it: one line, no control characters, at most 200 characters. `None` if nothing is left.
pub fn title(text: &str) -> Option<String> {
    const LONGEST: usize = LONGEST_TITLE;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let is_clean = text.len() <= LONGEST && !text.contains(char::is_control) && !text.contains("  ");
    if is_clean && text.trim().len() == text.len() && !text.is_empty() {
        return Some(text.to_owned());
    }
    let text: String = text.chars().take(LONGEST * 8).map(clean).collect();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        _ if line.is_empty() => None,
        None => Some(line),
        Some(_) => Some(line.chars().take(LONGEST - 1).chain(['…']).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(text: &str) -> Story {
        let file: FileName = "7_bug_login_fails.md".parse().unwrap();
        Story::new(file, Stage::Qa, SystemTime::UNIX_EPOCH, StoryDocument::parse(text).unwrap())
    }

    #[test]
    fn a_story_has_a_name_whatever_its_file_lacks() {
        assert_eq!(story("---\nname: From front\n---\n# Heading\n").front.name, "From front");
        assert_eq!(story("# Heading\n").front.name, "Heading");
        assert_eq!(story("no heading\n").front.name, "login fails");
        assert_eq!(story("---\nname: \"  \"\n---\n").front.name, "login fails");
    }

    #[test]
    fn a_title_is_one_bounded_line_without_terminal_escapes() {
        assert_eq!(title("a\r\nb\t\u{1b}[31mc"), Some("a b [31mc".into()));
        assert_eq!(title(&"é".repeat(10_000)).unwrap().chars().count(), 200);
        assert_eq!(title(" \n\0"), None);
    }

    #[test]
    fn an_id_is_read_with_or_without_its_sign_and_nothing_else() {
        assert_eq!("#12".parse(), Ok(StoryId(12)));
        assert_eq!("12".parse(), Ok(StoryId(12)));
        for wrong in ["", "#", "##1", "+1", "-1", "1.0", "0", "4294967296", "12_story"] {
            assert!(wrong.parse::<StoryId>().is_err(), "{wrong}");
        }
    }
}

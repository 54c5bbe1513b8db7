//! A story: its file's name, its front matter, its text. Editing keeps every byte that was not meant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::stage::Stage;

/// A story's number. Unique in a project and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoryId(pub u32);

impl fmt::Display for StoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for StoryId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim_start_matches('#').parse().map(Self)
    }
}

/// What kind of work a story is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something new.
    Story,
    /// Something broken.
    Bug,
    /// Something to find out.
    Spike,
    /// Something to put better.
    Refactor,
}

impl Kind {
    /// All kinds.
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

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// A file's name: `ID_type_slug.md`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName {
    /// The number.
    pub id: StoryId,
    /// The kind.
    pub kind: Kind,
    /// `[a-z0-9_]+`, at most 60 bytes: it becomes part of a branch and of paths.
    pub slug: String,
}

/// What the front matter says. Keys that are not listed here are kept and not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrontMatter {
    /// The title, for people.
    pub name: String,
    /// The preferred agent; counts only if its role fits the stage.
    pub agent: Option<String>,
    /// A person accepts or rejects instead of the QA agent. Absent means false.
    pub manual_qa: bool,
    /// Why the merge failed for good; such a story is never assigned.
    pub merge_failure: Option<String>,
    /// Failed runs in this stage.
    pub retry_count: u32,
    /// Why nobody may work on it.
    pub blocked: Option<String>,
    /// Stories that must be done first.
    pub depends_on: Vec<StoryId>,
}

/// A story as its file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    /// Its file's name.
    pub file: FileName,
    /// Where it is.
    pub stage: Stage,
    /// Its front matter.
    pub front: FrontMatter,
    /// Criteria (`- [ ] text`), and whether each is ticked.
    pub criteria: Vec<(String, bool)>,
}

//! The six stages a story passes, and which moves between them are legal.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a story is. The folder *is* the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Waits to be started.
    Backlog,
    /// A coder works on it, or is about to.
    Current,
    /// Gates are green; a reviewer or a person decides.
    Qa,
    /// Approved; waits for the merge queue.
    Merge,
    /// Merged, with a proof.
    Done,
    /// Done a while ago.
    Archived,
}

/// An agent's role. A stage has at most one, so that a mergemaster on a coding story cannot be expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Coder,
    Qa,
    /// Resolves conflicts that the merge queue cannot.
    Mergemaster,
    /// Looks after the others; is never assigned to a story by itself.
    Supervisor,
}

/// Who wants to move a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mover {
    /// The pipeline, by its rules.
    Pipeline,
    /// A person, by a command or by dragging the file.
    Person,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 6] =
        [Self::Backlog, Self::Current, Self::Qa, Self::Merge, Self::Done, Self::Archived];

    /// The folder's name below `.storkit/work/`.
    pub fn dir(self) -> &'static str {
        match self {
            Self::Backlog => "1_backlog",
            Self::Current => "2_current",
            Self::Qa => "3_qa",
            Self::Merge => "4_merge",
            Self::Done => "5_done",
            Self::Archived => "6_archived",
        }
    }

    /// The stage of a folder's name.
    pub fn from_dir(dir: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.dir() == dir)
    }

    /// Reads what people type: `backlog`, `current`, `qa`, ..., or the folder's name.
    pub fn parse(word: &str) -> Option<Self> {
        let word = word.to_lowercase();
        Self::ALL.into_iter().find(|stage| stage.to_string() == word || stage.dir() == word)
    }

    /// Who works on stories here.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Current => Some(Role::Coder),
            Self::Qa => Some(Role::Qa),
            Self::Merge => Some(Role::Mergemaster),
            Self::Backlog | Self::Done | Self::Archived => None,
        }
    }

    /// Whether the board's branch keeps the folder. The others change too often.
    pub fn is_committed(self) -> bool {
        matches!(self, Self::Backlog | Self::Done | Self::Archived)
    }

    /// Whether a story may go from here to there. Nobody moves into [`Stage::Done`] by hand: done means merged.
    pub fn may_move(self, to: Self, mover: Mover) -> bool {
        use Stage::{Archived, Backlog, Current, Done, Merge, Qa};
        matches!(
            (self, to, mover),
            (Backlog, Current, _)
                | (Current, Qa, _)
                | (Qa, Merge, _)
                | (Current | Qa | Merge, Backlog, Mover::Person)
                | (Qa | Merge, Current, _)
                | (Merge, Done, Mover::Pipeline)
                | (Done, Archived, _)
                | (Archived, Done, Mover::Person)
        )
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coder => "coder",
            Self::Qa => "qa",
            Self::Mergemaster => "mergemaster",
            Self::Supervisor => "supervisor",
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backlog => "backlog",
            Self::Current => "current",
            Self::Qa => "qa",
            Self::Merge => "merge",
            Self::Done => "done",
            Self::Archived => "archived",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_and_its_stage_are_one() {
        for stage in Stage::ALL {
            assert_eq!(Stage::from_dir(stage.dir()), Some(stage));
            assert_eq!(Stage::parse(&stage.to_string().to_uppercase()), Some(stage));
        }
        assert_eq!(Stage::from_dir("7_elsewhere"), None);
    }

    #[test]
    fn nobody_makes_a_story_done_by_hand() {
        for from in Stage::ALL.into_iter().filter(|from| *from != Stage::Archived) {
            assert!(!from.may_move(Stage::Done, Mover::Person), "{from}");
        }
        for from in Stage::ALL.into_iter().filter(|from| *from != Stage::Merge) {
            assert!(!from.may_move(Stage::Done, Mover::Pipeline), "{from}");
        }
    }

    #[test]
    fn a_mergemaster_has_no_place_outside_the_merge_stage() {
        let at_home: Vec<_> =
            Stage::ALL.into_iter().filter(|stage| stage.role() == Some(Role::Mergemaster)).collect();
        assert_eq!(at_home, [Stage::Merge]);
    }
}

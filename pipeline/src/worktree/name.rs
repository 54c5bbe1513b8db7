//! The name of a story's worktree, from which folder, branch and refs follow. Safe in paths by construction.

use std::fmt;

use crate::story::StoryId;

/// What every story's branch begins with; the folder behind it is the story's own, so that it can be bound alone.
pub const BRANCH_PREFIX: &str = "feature/story-";

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorktreeName {
    id: StoryId,
    slug: String,
}

/// The slug is no slug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot name a worktree: only `a` to `z`, digits and `_` can, and at most 60 of them.")]
pub struct BadWorktreeName(String);

impl WorktreeName {
    /// Checks that the slug is `[a-z0-9_]{1,60}`.
    pub fn new(id: StoryId, slug: &str) -> Result<Self, BadWorktreeName> {
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if slug.is_empty() || slug.len() > 60 || !slug.bytes().all(fits) {
            return Err(BadWorktreeName(slug.chars().take(80).collect()));
        }
        Ok(Self { id, slug: slug.into() })
    }

    /// Reads what [`WorktreeName`]'s `Display` writes; `None` for any other folder.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, slug) = text.split_once('_')?;
        let name = Self::new(StoryId(id.parse().ok()?), slug).ok()?;
        // `012_x` has the number 12 as well, but only one spelling may name the worktree.
        (name.to_string() == text).then_some(name)
    }

    pub fn id(&self) -> StoryId {
        self.id
    }

    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// `feature/story-ID_slug/work`.
    pub fn branch(&self) -> String {
        format!("{BRANCH_PREFIX}{self}/work")
    }

    /// `refs/heads/` and the branch.
    pub fn reference(&self) -> String {
        format!("refs/heads/{}", self.branch())
    }
}

impl fmt::Display for WorktreeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.id, self.slug)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_folder_and_branch_and_can_be_read_back() {
        let name = WorktreeName::new(StoryId(7), "fix_the_door").expect("a name");
        assert_eq!(name.branch(), "feature/story-7_fix_the_door/work");
        assert_eq!(WorktreeName::parse(&name.to_string()), Some(name));
    }

    #[test]
    fn nothing_that_could_leave_its_folder_is_a_name() {
        for slug in ["", "..", "a/b", "a.lock", "a b", "Ä", "a\n", "-x", &"x".repeat(61)] {
            assert!(WorktreeName::new(StoryId(1), slug).is_err(), "{slug:?}");
        }
        for text in ["x", "7", "7_", "07_x", "+7_x", "7_x/..", "-1_x", "merge"] {
            assert_eq!(WorktreeName::parse(text), None, "{text:?}");
        }
    }
}

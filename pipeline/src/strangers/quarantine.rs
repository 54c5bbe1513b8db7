//! Why a story is in quarantine. The marks lie outside the repository (`trust/store.rs`), so that no file of it and no agent can lift
//! one.

use std::{collections::BTreeSet, fmt};

use agents::confine::Confinement;
use serde::{Deserialize, Serialize};

use super::StrangerText;
use crate::story::StoryId;

/// A story's quarantine, until a person releases it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    pub cause: QuarantineCause,
    /// Whether a person has accepted its work as it is now.
    #[serde(default)]
    pub accepted: bool,
}

/// How a stranger could have written the story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum QuarantineCause {
    /// Its file came with the repository: by a clone, a pull or another branch.
    Repository,
    /// An agent wrote it that had read this text by strangers since a person last spoke to it.
    Read {
        /// The agent, as people call it.
        by: String,
        texts: BTreeSet<StrangerText>,
    },
}

impl Quarantine {
    pub fn new(cause: QuarantineCause) -> Self {
        Self { cause, accepted: false }
    }
}

/// As a clause about the story.
impl fmt::Display for QuarantineCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository => f.write_str("its file came with the repository"),
            Self::Read { by, .. } => write!(f, "{by} wrote it after reading text by strangers"),
        }
    }
}

/// Checks that the wall can keep a story in quarantine. Blocks.
///
/// # Errors
/// A sentence.
pub(crate) fn check_wall(confinement: &Confinement, story: StoryId) -> Result<(), String> {
    confinement.limits_network().map_err(|why| {
        format!(
            "Story {story} is in quarantine, and this machine cannot limit its network to package registries: {why} Read the \
             story, then `release {story}` lifts the quarantine."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_a_clause_about_the_story() {
        assert_eq!(QuarantineCause::Repository.to_string(), "its file came with the repository");
        let read = QuarantineCause::Read { by: "coder-1".into(), texts: BTreeSet::new() };
        assert_eq!(read.to_string(), "coder-1 wrote it after reading text by strangers");
    }

    #[test]
    fn without_a_wall_no_story_can_be_kept_in_quarantine() {
        let why = check_wall(&Confinement::None, StoryId(7)).unwrap_err();
        assert!(why.starts_with("Story 7 is in quarantine"), "{why}");
        assert!(why.ends_with("then `release 7` lifts the quarantine."), "{why}");
    }
}

//! The text that the operator confirms.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Everything that a repository can make storkit run, exactly as the operator sees and confirms it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedText {
    /// The text of `project.toml`; `None` where base has none, so that storkit's defaults apply.
    pub project_toml: Option<String>,
    /// Settings of the repository's own git configuration that name programs, as `key=value`.
    pub git_programs: BTreeSet<String>,
}

impl TrustedText {
    /// Whether it makes storkit run nothing but storkit's own defaults.
    pub fn is_empty(&self) -> bool {
        self.project_toml.is_none() && self.git_programs.is_empty()
    }
}

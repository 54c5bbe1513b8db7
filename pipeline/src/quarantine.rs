//! Stories that come from strangers: their runs and commands reach package registries only and get nothing that the operator adds to
//! the wall, and a person reviews them before they are merged.
//!
//! The marks lie outside the repository (`trust/store.rs`), so that no file of it and no agent can lift one.

use std::{collections::BTreeSet, fmt, sync::Arc};

use agents::confine::{AllowedHost, Confinement};
use serde::{Deserialize, Serialize};

use crate::{config::ProjectConfig, story::StoryId, strangers::StrangerText};

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

/// The project's settings with a network that has nothing but the package registries of base.
pub(crate) fn restricted_project(config: &ProjectConfig, registries: &[AllowedHost]) -> Arc<ProjectConfig> {
    let mut config = config.clone();
    config.gate_network = config.gate_network.registries_only(registries);
    for component in &mut config.components {
        component.network = component.network.registries_only(registries);
    }
    for agent in &mut config.agents {
        agent.network = agent.network.registries_only(registries);
    }
    Arc::new(config)
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
    use agents::confine::NetworkAccess;

    use super::*;
    use crate::config::Agent;

    fn host(name: &str) -> AllowedHost {
        AllowedHost::parse(name).expect("a host")
    }

    #[test]
    fn of_the_network_the_registries_are_left_and_no_more_of_them_than_the_project_allows() {
        let registries = [host("index.crates.io:443"), host("static.crates.io:443")];
        let all = NetworkAccess::Only(registries.to_vec());
        let listed = NetworkAccess::Only(vec![host("index.crates.io"), host("db.example:5432")]);
        for (network, left) in [
            (NetworkAccess::All, all.clone()),
            (NetworkAccess::Ask(vec![host("docs.example")]), all),
            (listed, NetworkAccess::Only(vec![host("index.crates.io:443")])),
            (NetworkAccess::Only(Vec::new()), NetworkAccess::Only(Vec::new())),
        ] {
            let agents = vec![Agent { network: network.clone(), ..Agent::default_team().remove(0) }];
            let config = ProjectConfig { gate_network: network, agents, ..ProjectConfig::default() };
            let config = restricted_project(&config, &registries);
            assert_eq!((&config.gate_network, &config.agents[0].network), (&left, &left));
        }
    }
}

//! `project.toml`: base branch, gates, budgets, components and agents, with a sentence for everything wrong in it.

mod agent;
mod listed_files;
mod prompt;
mod read;

use std::path::PathBuf;

pub use agent::Agent;
use agents::confine::{AllowedHost, NetworkAccess};
pub use prompt::{
    PLACEHOLDERS, PromptVars, UnknownPlaceholder, check as check_prompt, default_prompt,
    default_system_prompt, render,
};
pub use read::{LoadedProjectConfig, NetworkValue, known_keys};
use settings::duration::ConfigDuration;

/// How a project's stories are worked on. Every key has a default, so that no file at all is a valid file.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectConfig {
    /// The branch that stories merge to; absent: detected.
    pub base_branch: Option<String>,
    /// The folder of a larger repository that the project is; empty for all of it.
    pub folder: PathBuf,
    /// Failed runs of a story in one stage after which it is given up.
    pub max_retries: u32,
    /// Command lines that must pass, in order, in the worktree. An empty list tests nothing.
    pub gates: Vec<String>,
    /// Time for one gate; 0 waits for ever.
    pub gate_timeout: ConfigDuration,
    /// What gates may reach.
    pub gate_network: NetworkAccess,
    /// A done story is archived after this; 0 never does it.
    pub sweep_after: ConfigDuration,
    /// What agents may spend in US dollars.
    pub budget: Budget,
    /// Parts of the project that need something done in a new worktree.
    pub components: Vec<Component>,
    /// Who works on stories. A file without any has the default team.
    pub agents: Vec<Agent>,
}

/// `[budget]`: US dollars. Reached: no new run begins, and people are asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    pub run_usd: Option<f64>,
    /// For one story, all runs.
    pub story_usd: Option<f64>,
    /// For one day, all stories.
    pub day_usd: Option<f64>,
}

/// One `[[component]]` of `project.toml`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Component {
    /// What people call it.
    pub name: String,
    /// Its folder, relative to the worktree and inside it.
    pub path: PathBuf,
    /// Command lines run there in a new worktree, and again when an input has changed.
    pub setup: Vec<String>,
    /// Command lines run there before the worktree is removed.
    pub teardown: Vec<String>,
    /// What both may reach; absent in the file: what gates may.
    pub network: NetworkAccess,
    /// Files on which the setup depends, from the project's root. Absent: the lock files and manifests in the folder.
    pub inputs: Option<Vec<PathBuf>>,
    /// Files that git ignores and that are copied from the main checkout, from the project's root.
    pub copy: Vec<PathBuf>,
}

impl Default for ProjectConfig {
    fn default() -> Self {
        Self {
            base_branch: None,
            folder: PathBuf::new(),
            max_retries: 3,
            gates: vec!["script/test".into()],
            gate_timeout: ConfigDuration::minutes(60),
            gate_network: NetworkAccess::default(),
            sweep_after: ConfigDuration::minutes(4 * 60),
            budget: Budget::default(),
            components: Vec::new(),
            agents: Agent::default_team(),
        }
    }
}

impl ProjectConfig {
    /// The agent that is called so.
    pub fn agent(&self, name: &str) -> Option<&Agent> {
        self.agents.iter().find(|agent| agent.name == name)
    }

    /// For a story in quarantine: every network has these registries at most.
    pub(crate) fn registries_only(&self, registries: &[AllowedHost]) -> Self {
        let mut config = self.clone();
        config.gate_network = config.gate_network.registries_only(registries);
        for component in &mut config.components {
            component.network = component.network.registries_only(registries);
            // Strangers may have written what its processes do with such a file.
            component.copy.clear();
        }
        for agent in &mut config.agents {
            agent.network = agent.network.registries_only(registries);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let components = vec![Component { copy: vec![".env".into()], ..Component::default() }];
            let config =
                ProjectConfig { gate_network: network, agents, components, ..ProjectConfig::default() };
            let config = config.registries_only(&registries);
            assert!(config.components[0].copy.is_empty(), "nor are the operator's files there");
            assert_eq!((&config.gate_network, &config.agents[0].network), (&left, &left));
        }
    }
}

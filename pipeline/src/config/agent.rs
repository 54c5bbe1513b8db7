//! `[[agent]]`: a configured worker, and the team a project has that configures none.

use agents::confine::hosts::NetworkAccess;

use super::prompt::{default_prompt, default_system_prompt};
use crate::story::stage::Role;

/// A worker, `count` times.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// What people call it: `[a-z0-9_-]+`, at most 40 bytes.
    pub name: String,
    /// Its role (`stage` in the file).
    pub role: Role,
    /// Its strength, shown to it and to people (`role` in the file).
    pub description: String,
    /// The model; empty for the CLI's default.
    pub model: String,
    /// Turns of the CLI in one run.
    pub max_turns: Option<u32>,
    /// US dollars for one run.
    pub max_budget_usd: Option<f64>,
    /// The prompt, with placeholders.
    pub prompt: String,
    /// Appended to the CLI's system prompt, with placeholders.
    pub system_prompt: String,
    /// How many of it there are.
    pub count: u32,
    /// Hosts it may reach besides the model's API and storkit's own tools.
    pub network: NetworkAccess,
}

impl Agent {
    /// An agent with the defaults of its role.
    pub fn new(name: &str, role: Role) -> Self {
        Self {
            name: name.to_owned(),
            role,
            description: String::new(),
            model: String::new(),
            max_turns: None,
            max_budget_usd: None,
            prompt: default_prompt(role).to_owned(),
            system_prompt: default_system_prompt(role).to_owned(),
            count: 1,
            network: NetworkAccess::default(),
        }
    }

    /// Two coders, a reviewer, a mergemaster.
    pub fn default_team() -> Vec<Self> {
        let coder = Self { count: 2, ..Self::new("coder", Role::Coder) };
        vec![coder, Self::new("qa", Role::Qa), Self::new("mergemaster", Role::Mergemaster)]
    }

    /// The workers' names: its own, then `NAME-2`, `NAME-3`, ...
    pub fn workers(&self) -> Vec<String> {
        let further = (2..=self.count).map(|number| format!("{}-{number}", self.name));
        std::iter::once(self.name.clone()).chain(further).collect()
    }
}

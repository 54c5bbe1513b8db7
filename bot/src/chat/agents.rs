//! Which Claude Code processes live right now, for htop, status and metrics.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use parking_lot::Mutex;
use pipeline::event::RunInfo;

#[derive(Clone, Debug)]
pub struct AgentEntry {
    /// The room it serves, or the slot of the pipeline.
    pub name: String,
    /// The story it works on; `None` for a room's.
    pub story: Option<String>,
    pub since: Instant,
    /// Cost of its session so far, in US dollars.
    pub cost_usd: f64,
}

impl AgentEntry {
    /// A run of the pipeline, by the id of its process if one lives.
    pub fn of_run(run: &RunInfo) -> Option<(u32, Self)> {
        let age = run.since.elapsed().unwrap_or_default();
        let since = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        let story = Some(format!("{} {}", run.story, run.title));
        Some((run.pid?, Self { name: run.slot.clone(), story, since, cost_usd: run.cost_usd }))
    }
}

/// The table of living processes by pid. Cheap to clone.
#[derive(Clone, Default)]
pub struct LiveAgents(Arc<Mutex<BTreeMap<u32, AgentEntry>>>);

/// Takes its process out of the table when dropped.
pub struct AgentRegistration {
    agents: LiveAgents,
    pid: u32,
}

impl LiveAgents {
    /// Puts a process into the table until the registration is dropped.
    pub fn register(&self, pid: u32, entry: AgentEntry) -> AgentRegistration {
        self.with_table(|table| table.insert(pid, entry));
        AgentRegistration { agents: self.clone(), pid }
    }

    /// Every living process.
    pub fn all(&self) -> Vec<(u32, AgentEntry)> {
        self.with_table(|table| table.iter().map(|(pid, entry)| (*pid, entry.clone())).collect())
    }

    /// Updates the cost of the session of this name.
    pub fn set_cost(&self, name: &str, usd: f64) {
        self.with_table(|table| {
            for entry in table.values_mut().filter(|entry| entry.name == name) {
                entry.cost_usd = usd;
            }
        });
    }

    fn with_table<T>(&self, act: impl FnOnce(&mut BTreeMap<u32, AgentEntry>) -> T) -> T {
        act(&mut self.0.lock())
    }
}

impl Drop for AgentRegistration {
    fn drop(&mut self) {
        self.agents.with_table(|table| table.remove(&self.pid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_in_the_table_as_long_as_its_registration_lives() {
        let agents = LiveAgents::default();
        let entry = AgentEntry { name: "fake:a".into(), story: None, since: Instant::now(), cost_usd: 0.0 };
        let registered = agents.register(7, entry);
        agents.set_cost("fake:a", 0.5);
        assert_eq!(agents.all()[0].1.cost_usd, 0.5);
        drop(registered);
        assert!(agents.all().is_empty());
    }
}

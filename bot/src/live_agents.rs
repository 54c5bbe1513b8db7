//! Which Claude Code processes live right now, for htop, status and metrics.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use agents::usage::{MachineUsage, TreeUsage, UsageSampler};
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
        let story = Some(match run.on_story() {
            Some(story) => format!("{story} {}", run.title),
            None => run.title.clone(),
        });
        Some((run.pid?, Self { name: run.slot.clone(), story, since, cost_usd: run.cost_usd }))
    }
}

/// The table of living processes by pid. Cheap to clone.
#[derive(Clone, Default)]
pub struct LiveAgents {
    table: Arc<Mutex<BTreeMap<u32, AgentEntry>>>,
    sampler: Arc<Mutex<UsageSampler>>,
}

/// Takes its process out of the table when dropped.
pub struct AgentRegistration {
    agents: LiveAgents,
    pid: u32,
}

impl LiveAgents {
    /// Puts a process into the table until the registration is dropped.
    pub fn register(&self, pid: u32, entry: AgentEntry) -> AgentRegistration {
        self.table.lock().insert(pid, entry);
        AgentRegistration { agents: self.clone(), pid }
    }

    pub fn all(&self) -> Vec<(u32, AgentEntry)> {
        self.table.lock().iter().map(|(pid, entry)| (*pid, entry.clone())).collect()
    }

    /// Updates the cost of the session of this name.
    pub fn set_cost(&self, name: &str, usd: f64) {
        for entry in self.table.lock().values_mut().filter(|entry| entry.name == name) {
            entry.cost_usd = usd;
        }
    }

    /// Samples the machine, the processes in the table and those of `runs`. Takes some milliseconds of /proc.
    pub fn sample(&self, runs: &[RunInfo]) -> (MachineUsage, Vec<(AgentEntry, TreeUsage)>) {
        let mut living = self.all();
        living.extend(runs.iter().filter_map(AgentEntry::of_run));
        let (pids, entries): (Vec<u32>, Vec<_>) = living.into_iter().unzip();
        let (machine, trees) = self.sampler.lock().sample(&pids);
        (machine, entries.into_iter().zip(trees).collect())
    }
}

impl Drop for AgentRegistration {
    fn drop(&mut self) {
        self.agents.table.lock().remove(&self.pid);
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

//! All processes at one moment, and the trees they form. Pure; `procfs` and `portable` fill it.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// A process and all its descendants.
///
/// A descendant whose parent ended is found as long as it stays in the session that the root leads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TreeUsage {
    pub pid: u32,
    /// CPU in percent of one core since the last sample, or since its start in the root's first sample; includes what
    /// ended in between, as far as its parent waited for it.
    pub cpu_percent: f64,
    /// Resident memory in bytes, summed; pages that several processes share count in each.
    pub memory: u64,
    /// Processes in the tree; 0 when the root is gone.
    pub processes: usize,
}

/// One process as the system tells it. Times are by the clock of its [`ProcessTable`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ProcessUsage {
    pub(super) parent: u32,
    pub(super) session: u32,
    /// Tells apart two processes that had the same pid.
    pub(super) started: Duration,
    /// CPU of the process itself.
    pub(super) own: Duration,
    /// CPU of the children it has waited for, and of theirs.
    pub(super) reaped: Duration,
    pub(super) memory: u64,
    pub(super) zombie: bool,
}

/// All processes at one moment, by pid.
#[derive(Debug, Default)]
pub(super) struct ProcessTable {
    pub(super) at: Duration,
    pub(super) processes: HashMap<u32, ProcessUsage>,
}

/// A root and what belongs to it; no members when the root is gone.
#[derive(Debug, PartialEq)]
pub(super) struct ProcessTree {
    pub(super) root: u32,
    pub(super) members: HashSet<u32>,
}

impl ProcessTree {
    pub(super) fn usage(&self, snapshot: &ProcessTable, cpu_percent: f64) -> TreeUsage {
        let members = self.members.iter().filter_map(|pid| snapshot.processes.get(pid));
        let living: Vec<&ProcessUsage> = members.filter(|process| !process.zombie).collect();
        TreeUsage {
            pid: self.root,
            cpu_percent,
            memory: living.iter().map(|process| process.memory).sum(),
            processes: living.len(),
        }
    }
}

impl ProcessTable {
    pub(super) fn trees(&self, roots: &[u32]) -> Vec<ProcessTree> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut sessions: HashMap<u32, Vec<u32>> = HashMap::new();
        for (pid, process) in &self.processes {
            children.entry(process.parent).or_default().push(*pid);
            sessions.entry(process.session).or_default().push(*pid);
        }
        roots.iter().map(|root| self.tree(*root, &children, &sessions)).collect()
    }

    fn tree(
        &self,
        root: u32,
        children: &HashMap<u32, Vec<u32>>,
        sessions: &HashMap<u32, Vec<u32>>,
    ) -> ProcessTree {
        let mut members = HashSet::new();
        let is_there = self.processes.get(&root).is_some_and(|process| !process.zombie);
        let mut open = if is_there { vec![root] } else { Vec::new() };
        if is_there {
            open.extend(sessions.get(&root).into_iter().flatten());
        }
        while let Some(pid) = open.pop() {
            if members.insert(pid) {
                open.extend(children.get(&pid).into_iter().flatten());
            }
        }
        ProcessTree { root, members }
    }
}

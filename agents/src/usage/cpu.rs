//! CPU of process trees from the times of two snapshots, pure.
//!
//! A process's own time and the time of the children it waited for are both counted; when a child is waited for, its
//! time passes from the first to the second, so the sum over a tree is its whole use, short-lived commands included. The
//! part of a vanished child's time that was counted while it lived is subtracted from its parent's gain.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::process_table::{ProcessTable, ProcessTree, ProcessUsage};

/// The kernel counts in hundredths of a second: over less than this, percents would be noise.
const SHORTEST: Duration = Duration::from_millis(100);

/// The members of all trees at the last sample.
#[derive(Default)]
pub(super) struct CpuHistory {
    at: Duration,
    members: HashMap<u32, ProcessUsage>,
    /// By pid, the time of children that vanished before their parent's gain was seen: reading all processes takes
    /// some milliseconds. Carried for one more sample, since a parent may also never wait.
    unpaid: HashMap<u32, Duration>,
}

impl CpuHistory {
    /// Percent of one core for each tree, and the snapshot becomes the last one.
    pub(super) fn advance(&mut self, now: &ProcessTable, trees: &[ProcessTree]) -> Vec<f64> {
        let mut gains = self.reaped_gains(now);
        let percents = trees.iter().map(|tree| self.percent(now, tree, &gains.by_pid)).collect();
        let members: HashSet<u32> = trees.iter().flat_map(|tree| &tree.members).copied().collect();
        self.members = members
            .iter()
            .filter_map(|pid| now.processes.get(pid).map(|process| (*pid, process.clone())))
            .collect();
        gains.unpaid.retain(|pid, debt| members.contains(pid) && !debt.is_zero());
        self.unpaid = gains.unpaid;
        self.at = now.at;
        percents
    }

    fn percent(&self, now: &ProcessTable, tree: &ProcessTree, gains: &HashMap<u32, Duration>) -> f64 {
        let Some(root) = now.processes.get(&tree.root) else { return 0.0 };
        let since = if self.known(tree.root, root).is_some() { self.at } else { root.started };
        let interval = now.at.saturating_sub(since).max(SHORTEST);
        let members = tree.members.iter().filter_map(|pid| Some((*pid, now.processes.get(pid)?)));
        let spent: f64 = members
            .map(|(pid, process)| match self.known(pid, process) {
                Some(before) => {
                    let gain = gains.get(&pid).copied().unwrap_or_default();
                    (process.own.saturating_sub(before.own) + gain).as_secs_f64()
                }
                // Seen for the first time: of a life longer than the interval only a share counts.
                None => {
                    let age = now.at.saturating_sub(process.started).max(interval);
                    process.total().as_secs_f64() * interval.as_secs_f64() / age.as_secs_f64()
                }
            })
            .sum();
        100.0 * spent / interval.as_secs_f64()
    }

    /// The gain of each surviving member by waiting for children, less the part counted while those lived.
    fn reaped_gains(&self, now: &ProcessTable) -> CpuGains {
        let debts = self.debts(now);
        let mut gains = CpuGains::default();
        for (pid, before) in &self.members {
            let Some(process) = now.processes.get(pid).filter(|process| process.started == before.started)
            else {
                continue;
            };
            let fresh = debts.get(pid).copied().unwrap_or_default();
            let carried = self.unpaid.get(pid).copied().unwrap_or_default();
            let gain = process.reaped.saturating_sub(before.reaped);
            gains.by_pid.insert(*pid, gain.saturating_sub(fresh + carried));
            gains.unpaid.insert(*pid, (fresh + carried).saturating_sub(gain).min(fresh));
        }
        gains
    }

    /// The known time of vanished members, by the nearest ancestor that survives: whoever was between them has vanished
    /// too and has handed it on.
    fn debts(&self, now: &ProcessTable) -> HashMap<u32, Duration> {
        let survives = |pid: u32, process: &ProcessUsage| {
            now.processes.get(&pid).is_some_and(|found| found.started == process.started)
        };
        let mut debts: HashMap<u32, Duration> = HashMap::new();
        for (_, gone) in self.members.iter().filter(|(pid, process)| !survives(**pid, process)) {
            let mut ancestor = gone.parent;
            // Pids are reused, so parents seen at different moments might form a circle.
            for _ in 0..self.members.len() {
                let Some(process) = self.members.get(&ancestor) else { break };
                if survives(ancestor, process) {
                    *debts.entry(ancestor).or_default() += gone.total();
                    break;
                }
                ancestor = process.parent;
            }
        }
        debts
    }

    /// The same process at the last sample, not another one with its pid.
    fn known(&self, pid: u32, process: &ProcessUsage) -> Option<&ProcessUsage> {
        self.members.get(&pid).filter(|before| before.started == process.started)
    }
}

#[derive(Default)]
struct CpuGains {
    by_pid: HashMap<u32, Duration>,
    unpaid: HashMap<u32, Duration>,
}

impl ProcessUsage {
    fn total(&self) -> Duration {
        self.own + self.reaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u32 = 10;

    /// A process with times in seconds.
    fn process(parent: u32, started: u64, own: u64, reaped: u64) -> ProcessUsage {
        let [started, own, reaped] = [started, own, reaped].map(Duration::from_secs);
        ProcessUsage { parent, started, own, reaped, ..ProcessUsage::default() }
    }

    /// Takes a sample at this second and says the tree's percent, rounded.
    fn percent(history: &mut CpuHistory, at: u64, processes: &[(u32, ProcessUsage)]) -> i64 {
        let processes: HashMap<u32, ProcessUsage> = processes.iter().cloned().collect();
        let now = ProcessTable { at: Duration::from_secs(at), processes };
        let trees = now.trees(&[ROOT]);
        history.advance(&now, &trees)[0].round() as i64
    }

    #[test]
    fn the_first_sample_is_the_average_since_the_roots_start() {
        let processes = [(ROOT, process(1, 90, 2, 1)), (11, process(ROOT, 99, 1, 0))];
        assert_eq!(percent(&mut CpuHistory::default(), 100, &processes), 40);
    }

    #[test]
    fn later_samples_are_differences() {
        let mut history = CpuHistory::default();
        percent(&mut history, 100, &[(ROOT, process(1, 0, 50, 7))]);
        assert_eq!(percent(&mut history, 110, &[(ROOT, process(1, 0, 55, 7))]), 50);
        assert_eq!(percent(&mut history, 120, &[(ROOT, process(1, 0, 55, 7))]), 0);
    }

    #[test]
    fn a_command_that_lived_between_two_samples_counts() {
        let mut history = CpuHistory::default();
        percent(&mut history, 100, &[(ROOT, process(1, 0, 0, 0))]);
        assert_eq!(percent(&mut history, 110, &[(ROOT, process(1, 0, 0, 3))]), 30);
    }

    #[test]
    fn a_child_that_was_counted_alive_is_not_counted_again_when_it_ends() {
        let mut history = CpuHistory::default();
        percent(&mut history, 100, &[(ROOT, process(1, 0, 0, 0)), (11, process(ROOT, 90, 8, 0))]);
        assert_eq!(
            percent(&mut history, 110, &[(ROOT, process(1, 0, 0, 10))]),
            20,
            "8 of 10 were counted before"
        );
    }

    #[test]
    fn a_whole_branch_that_ended_is_settled_with_the_ancestor_that_is_left() {
        let mut history = CpuHistory::default();
        let branch =
            [(ROOT, process(1, 0, 0, 0)), (11, process(ROOT, 90, 1, 2)), (12, process(11, 90, 5, 0))];
        percent(&mut history, 100, &branch);
        assert_eq!(
            percent(&mut history, 110, &[(ROOT, process(1, 0, 0, 9))]),
            10,
            "1 + 2 + 5 were counted before"
        );
    }

    #[test]
    fn an_end_seen_before_its_gain_makes_no_peak_afterwards() {
        let mut history = CpuHistory::default();
        percent(&mut history, 100, &[(ROOT, process(1, 0, 0, 0)), (11, process(ROOT, 0, 60, 0))]);
        assert_eq!(percent(&mut history, 110, &[(ROOT, process(1, 0, 0, 0))]), 0);
        assert_eq!(percent(&mut history, 120, &[(ROOT, process(1, 0, 0, 61))]), 10);
    }

    #[test]
    fn a_child_nobody_waits_for_hides_the_work_of_others_for_one_more_sample_at_most() {
        let mut history = CpuHistory::default();
        percent(&mut history, 100, &[(ROOT, process(1, 0, 0, 0)), (11, process(ROOT, 0, 60, 0))]);
        percent(&mut history, 110, &[(ROOT, process(1, 0, 0, 0))]);
        percent(&mut history, 120, &[(ROOT, process(1, 0, 0, 0))]);
        assert_eq!(percent(&mut history, 130, &[(ROOT, process(1, 0, 4, 5))]), 90);
    }

    #[test]
    fn a_reused_pid_starts_anew() {
        let mut history = CpuHistory::default();
        percent(&mut history, 100, &[(ROOT, process(1, 0, 80, 0))]);
        assert_eq!(
            percent(&mut history, 110, &[(ROOT, process(1, 106, 1, 0))]),
            25,
            "1 s of the new one's 4"
        );
        let child = |started, own| [(ROOT, process(1, 106, 1, 0)), (11, process(ROOT, started, own, 0))];
        percent(&mut history, 120, &child(112, 7));
        assert_eq!(percent(&mut history, 130, &child(125, 2)), 20);
    }

    #[test]
    fn an_older_process_that_joins_the_tree_does_not_bring_its_past() {
        let mut history = CpuHistory::default();
        percent(&mut history, 100, &[(ROOT, process(1, 0, 0, 0))]);
        let joined = [(ROOT, process(1, 0, 0, 0)), (11, process(ROOT, 10, 50, 0))];
        assert_eq!(percent(&mut history, 110, &joined), 50, "its average, not 500");
    }

    #[test]
    fn a_root_that_is_gone_uses_nothing() {
        let mut history = CpuHistory::default();
        percent(&mut history, 100, &[(ROOT, process(1, 0, 50, 0))]);
        assert_eq!(percent(&mut history, 110, &[]), 0);
    }

    proptest::proptest! {
        #[test]
        fn no_history_gives_a_negative_or_endless_percent(
            samples in proptest::collection::vec(
                (0u64..5, proptest::collection::vec((ROOT..14, ROOT - 1..14, 0u64..4, 0u64..9, 0u64..9), 0..6)),
                1..6,
            )
        ) {
            let (mut history, mut at) = (CpuHistory::default(), 0);
            for (later, rows) in samples {
                at += later;
                let processes = rows.into_iter().map(|(pid, parent, started, own, reaped)|
                    (pid, process(parent, started, own, reaped))).collect();
                let now = ProcessTable { at: Duration::from_secs(at), processes };
                let trees = now.trees(&[ROOT, 11]);
                for percent in history.advance(&now, &trees) {
                    proptest::prop_assert!(percent.is_finite() && percent >= 0.0, "{percent}");
                }
            }
        }
    }
}

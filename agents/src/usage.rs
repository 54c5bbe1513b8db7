//! What processes cost: the machine's load, and CPU and memory of whole process trees.
//!
//! The machine's numbers come from `sysinfo`. Its process list is used only where there is no `/proc`; on Linux
//! `/proc/PID/stat` of every process is read by hand, once per sample. Measured on 2 cores, 300 processes in 100
//! trees among 83 others (release build, medians of 15, ms):
//!
//! | | |
//! |---|---|
//! | `stat` of the 300 by hand | 3.5 |
//! | `stat` and `statm` of the 300 by hand | 5.7 |
//! | `stat` of all 383 by hand | 4.9 |
//! | **a whole sample, which is that, the trees and the machine** | **5.9** |
//! | the 300 by `stat` and `task/*/children`, single-threaded | 5.8 |
//! | `sysinfo`, the 300, CPU and memory, without tasks | 12.2 |
//! | `sysinfo`, all, CPU and memory: with tasks (part even of `nothing()`), without | 18.2, 15.5 |
//! | `sysinfo`, all, by default | 22.9 |
//!
//! `sysinfo` opens the folder and a file more per process, cannot list children, and does not give the CPU time of
//! children that have ended, without which an agent that runs one short command after another looks idle. Descending
//! by `task/*/children` needs a kernel option and one read per thread, of which the CLI has a dozen.

mod cpu;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;
mod process_table;
#[cfg(target_os = "linux")]
mod procfs;

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, System};

use self::cpu::CpuHistory;
#[cfg(not(target_os = "linux"))]
use self::portable::snapshot;
pub use self::process_table::TreeUsage;
#[cfg(target_os = "linux")]
use self::procfs::snapshot;

/// The machine at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MachineUsage {
    /// Load averages of 1, 5 and 15 minutes.
    pub load: [f64; 3],
    pub cores: usize,
    /// All memory, in bytes.
    pub memory_total: u64,
    /// Memory in bytes that programs hold.
    pub memory_used: u64,
    /// Seconds since the machine's start.
    pub uptime: u64,
}

/// Samples usage; keeps the last sample, since CPU is a difference.
#[derive(Default)]
pub struct UsageSampler {
    system: Option<System>,
    cpu: CpuHistory,
}

impl UsageSampler {
    /// Samples the machine and the trees under these processes, in their order. Blocking; some milliseconds.
    pub fn sample(&mut self, roots: &[u32]) -> (MachineUsage, Vec<TreeUsage>) {
        let machine = self.machine();
        let snapshot = snapshot();
        let trees = snapshot.trees(roots);
        let most = 100.0 * machine.cores.max(1) as f64;
        // Processes are read one after the other, so a short interval can show more than the cores can do.
        let percents = self.cpu.advance(&snapshot, &trees).into_iter().map(|percent| percent.min(most));
        let usages =
            trees.iter().zip(percents).map(|(tree, percent)| tree.usage(&snapshot, percent)).collect();
        (machine, usages)
    }

    fn machine(&mut self) -> MachineUsage {
        let load = System::load_average().unwrap_or_default();
        let mut usage = MachineUsage {
            load: [load.one, load.five, load.fifteen],
            uptime: System::uptime().unwrap_or_default(),
            ..MachineUsage::default()
        };
        if self.system.is_none() {
            self.system = new_system();
        }
        if let Some(system) = &mut self.system {
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            usage.cores = system.cpus().len();
            usage.memory_total = system.total_memory();
            usage.memory_used = usage.memory_total.saturating_sub(system.available_memory());
        }
        usage
    }
}

fn new_system() -> Option<System> {
    let mut system = System::new().inspect_err(|error| tracing::warn!(%error, "no memory figures")).ok()?;
    system.refresh_cpu_list(CpuRefreshKind::nothing());
    Some(system)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        io::{BufRead as _, BufReader, Write as _},
        os::unix::process::CommandExt as _,
        process::{Child, ChildStdout, Command, Stdio},
        time::{Duration, Instant},
    };

    use super::{
        process_table::{ProcessTable, ProcessUsage},
        *,
    };

    /// A shell in its own process group that is ended with all its descendants.
    struct Shell {
        child: Child,
        output: BufReader<ChildStdout>,
    }

    impl Shell {
        /// Starts a script and waits until it has said `ready`.
        fn run(script: &str) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
            let mut child = command.spawn().unwrap();
            let output = BufReader::new(child.stdout.take().unwrap());
            let mut shell = Self { child, output };
            shell.hears("ready\n");
            shell
        }

        fn hears(&mut self, expected: &str) {
            let mut line = String::new();
            self.output.read_line(&mut line).unwrap();
            assert_eq!(line, expected);
        }

        fn pid(&self) -> u32 {
            self.child.id()
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            let group = rustix::process::Pid::from_child(&self.child);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = self.child.wait();
        }
    }

    /// Samples until the tree is as awaited.
    fn await_tree(sampler: &mut UsageSampler, root: u32, awaited: impl Fn(&TreeUsage) -> bool) -> TreeUsage {
        let start = Instant::now();
        loop {
            let tree = sampler.sample(&[root]).1.remove(0);
            if awaited(&tree) {
                return tree;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "still {tree:?}");
            std::thread::yield_now();
        }
    }

    fn process(parent: u32, session: u32) -> ProcessUsage {
        ProcessUsage { parent, session, memory: 10, ..ProcessUsage::default() }
    }

    fn snapshot_of(processes: &[(u32, ProcessUsage)]) -> ProcessTable {
        ProcessTable { at: Duration::from_secs(100), processes: processes.iter().cloned().collect() }
    }

    #[test]
    fn a_real_tree_is_counted_with_all_descendants() {
        let shell = Shell::run("sh -c 'sleep 600 & sleep 600 & echo ready; wait' & wait");
        let tree = await_tree(&mut UsageSampler::default(), shell.pid(), |tree| tree.processes == 4);
        assert_eq!(tree.pid, shell.pid());
        assert!(tree.memory > 4 * 4096, "{tree:?}");
    }

    #[test]
    fn a_busy_grandchild_shows_in_its_root() {
        let shell = Shell::run("sh -c 'echo ready; while :; do :; done' & wait");
        let mut sampler = UsageSampler::default();
        sampler.sample(&[shell.pid()]);
        await_tree(&mut sampler, shell.pid(), |tree| tree.cpu_percent > 1.0);
    }

    #[test]
    fn a_command_that_ended_between_samples_shows_in_the_root_that_waited_for_it() {
        let busy = "(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done)";
        let mut shell = Shell::run(&format!("echo ready; read go; {busy}; echo done; read end"));
        let mut sampler = UsageSampler::default();
        sampler.sample(&[shell.pid()]);
        shell.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        shell.hears("done\n");
        let tree = sampler.sample(&[shell.pid()]).1.remove(0);
        assert!(tree.processes == 1 && tree.cpu_percent > 1.0, "{tree:?}");
    }

    #[test]
    fn a_root_that_ended_has_no_processes_before_and_after_it_is_waited_for() {
        let mut shell = Shell::run("echo ready");
        let mut sampler = UsageSampler::default();
        let zombie = await_tree(&mut sampler, shell.pid(), |tree| tree.processes == 0);
        assert_eq!(zombie, TreeUsage { pid: shell.pid(), ..TreeUsage::default() });
        shell.child.wait().unwrap();
        assert_eq!(sampler.sample(&[shell.pid()]).1, [zombie]);
    }

    #[test]
    fn unknown_processes_keep_their_place_in_the_answer() {
        let own = std::process::id();
        let (machine, trees) = UsageSampler::default().sample(&[u32::MAX, own, 0]);
        let found: Vec<_> = trees.iter().map(|tree| (tree.pid, tree.processes > 0)).collect();
        assert_eq!(found, [(u32::MAX, false), (own, true), (0, false)]);
        assert!(machine.cores > 0 && machine.uptime > 0, "{machine:?}");
        assert!(machine.memory_used > 0 && machine.memory_used < machine.memory_total, "{machine:?}");
    }

    #[test]
    fn what_lost_its_parent_stays_in_the_tree_of_its_sessions_leader() {
        let snapshot = snapshot_of(&[
            (5, process(1, 5)),
            (6, process(1, 5)),
            (7, process(6, 7)),
            (8, process(1, 8)),
            (9, process(8, 9)),
        ]);
        let trees = snapshot.trees(&[5, 8]);
        assert_eq!(trees[0].members, HashSet::from([5, 6, 7]));
        assert_eq!(trees[1].members, HashSet::from([8, 9]));
    }

    #[test]
    fn a_circle_of_parents_seen_while_pids_are_reused_ends() {
        let snapshot = snapshot_of(&[(5, process(6, 1)), (6, process(5, 1))]);
        assert_eq!(snapshot.trees(&[5])[0].members, HashSet::from([5, 6]));
    }

    #[test]
    fn a_zombie_in_the_tree_is_no_process_of_it() {
        let zombie = ProcessUsage { zombie: true, ..process(5, 1) };
        let snapshot = snapshot_of(&[(5, process(1, 1)), (6, zombie)]);
        let usage = snapshot.trees(&[5])[0].usage(&snapshot, 1.5);
        assert_eq!(usage, TreeUsage { pid: 5, cpu_percent: 1.5, memory: 10, processes: 1 });
    }
}

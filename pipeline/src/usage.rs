//! What processes cost: the machine's load, and CPU and memory of whole process trees.

/// The machine at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MachineUsage {
    /// Load averages of 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// Cores.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_total: u64,
    /// Memory in bytes that programs hold.
    pub memory_used: u64,
    /// Seconds since the machine's start.
    pub uptime: u64,
}

/// A process and all its descendants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TreeUsage {
    /// The root's pid.
    pub pid: u32,
    /// CPU in percent of one core since the last sample.
    pub cpu_percent: f64,
    /// Resident memory in bytes, summed.
    pub memory: u64,
    /// Processes in the tree; 0 when the root is gone.
    pub processes: usize,
}

/// Samples usage; keeps the last sample, since CPU is a difference.
#[derive(Default)]
pub struct Sampler {}

impl Sampler {
    /// Samples the machine and the trees under these processes, in their order. Blocking; some milliseconds.
    pub fn sample(&mut self, _roots: &[u32]) -> (MachineUsage, Vec<TreeUsage>) {
        todo!()
    }
}

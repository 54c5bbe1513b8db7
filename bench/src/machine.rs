//! Facts about the machine and its processes, from `/proc`.

use std::{collections::HashMap, ffi::OsString, fs, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use rustix::time::{ClockId, clock_gettime};

/// The conditions of a measurement.
pub struct Conditions {
    date: String,
    machine: String,
    commit: String,
    load: String,
}

impl Conditions {
    /// The conditions now, at the start of a figure.
    pub fn now() -> Self {
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
        Self { date, machine: machine(), commit: commit(), load: load() }
    }

    /// The conditions as a sentence, with the load at this moment, after the figure.
    pub fn sentence(&self) -> String {
        format!(
            "{}, {}, commit {}; load average {} at the start, {} at the end.",
            self.date,
            self.machine,
            self.commit,
            self.load,
            load()
        )
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The load average of the last minute.
fn load() -> String {
    read("/proc/loadavg").split(' ').next().unwrap_or("?").to_owned()
}

fn machine() -> String {
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo").split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let memory = memory.unwrap_or_default() / 1024 / 1024;
    format!("{cores} cores of {model}, {memory} GiB, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]).filter(|text| !text.is_empty());
    let is_changed = git(&["status", "--porcelain", "-uno"]).is_some_and(|text| !text.is_empty());
    format!("{}{}", commit.as_deref().unwrap_or("unknown"), if is_changed { " with changes" } else { "" })
}

/// CPU that all threads of this process have used.
pub fn own_cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

/// The clock by which the stand-in CLI marks its texts, in nanoseconds.
pub fn monotonic() -> u64 {
    let now: Duration = clock_gettime(ClockId::Monotonic).try_into().unwrap_or_default();
    now.as_nanos() as u64
}

/// Another process, read from `/proc`.
#[derive(Clone, Copy)]
pub struct Observed(pub u32);

impl Observed {
    /// Resident memory now, in MB (10^6 bytes).
    pub fn resident(self) -> anyhow::Result<f64> {
        self.status("VmRSS:")
    }

    /// The most resident memory since [`Observed::forget_peak`].
    pub fn peak(self) -> anyhow::Result<f64> {
        self.status("VmHWM:")
    }

    /// Resets the peak to the current value (proc_pid_clear_refs(5), 5).
    pub fn forget_peak(self) -> anyhow::Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.0), "5").context("the peak cannot be reset")
    }

    /// CPU that each of its threads has used. `schedstat` counts nanoseconds, `stat` only ticks of 10 ms.
    pub fn cpu(self) -> anyhow::Result<ThreadTimes> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0)).context("the process is gone")?;
        let times: HashMap<OsString, Duration> = threads
            .flatten()
            .filter_map(|thread| {
                let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
                let nanos = text.split(' ').next()?.parse().ok()?;
                Some((thread.file_name(), Duration::from_nanos(nanos)))
            })
            .collect();
        // A thread may exit during the scan. But if no thread has used any CPU, the kernel does not count it.
        ensure!(times.values().any(|time| !time.is_zero()), "this kernel counts no CPU in schedstat");
        Ok(ThreadTimes(times))
    }

    fn status(self, key: &str) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0)).context("the process is gone")?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)).context("no such line")?;
        let kib: f64 = line.split_whitespace().next().context("an empty line")?.parse()?;
        Ok(kib * 1024.0 / 1e6)
    }
}

/// CPU by thread id.
pub struct ThreadTimes(HashMap<OsString, Duration>);

impl ThreadTimes {
    /// The CPU used since an earlier reading, without that of threads that ended in between: their time disappears from
    /// `/proc` with them, so the sum over all threads can fall.
    pub fn since(&self, earlier: &Self) -> Duration {
        let used = |(thread, now): (&OsString, &Duration)| {
            now.saturating_sub(earlier.0.get(thread).copied().unwrap_or_default())
        };
        self.0.iter().map(used).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_shows_its_memory_and_cpu() {
        let own = Observed(std::process::id());
        assert!(own.resident().unwrap() > 0.5);
        assert!(own.peak().unwrap() >= own.resident().unwrap() * 0.5);
        let before = (own.cpu().unwrap(), own_cpu());
        while own.cpu().unwrap().since(&before.0).is_zero() || own_cpu() == before.1 {
            std::hint::black_box(load());
        }
    }

    #[test]
    fn a_thread_that_ends_takes_its_time_with_it_and_the_others_still_count() {
        let times = |threads: &[(&str, u64)]| {
            let time = |&(id, nanos): &(&str, u64)| (id.into(), Duration::from_nanos(nanos));
            ThreadTimes(threads.iter().map(time).collect())
        };
        let before = times(&[("1", 10), ("2", 1_000)]);
        assert_eq!(times(&[("1", 15), ("3", 7)]).since(&before), Duration::from_nanos(12));
    }
}

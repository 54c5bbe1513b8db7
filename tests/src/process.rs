//! Waits for other processes without polling: for their id, and for their exit.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::io::unix::AsyncFd;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A FIFO into which a process writes its id (`echo $$ > FIFO`). Reading it proves that the process runs.
pub struct PidPost(PathBuf);

impl PidPost {
    pub fn at(path: &Path) -> Self {
        let status = Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
        assert!(status.success(), "mkfifo {}", path.display());
        Self(path.to_owned())
    }

    /// Waits for the process and returns its id, as it is outside of the wall in which it may run.
    ///
    /// Panics after a minute.
    pub async fn pid(&self) -> i32 {
        let path = self.0.clone();
        let read = tokio::task::spawn_blocking(move || fs::read_to_string(path).expect("the FIFO"));
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(text) => outside(text.expect("no panic").trim().parse().expect("a process id")),
            Err(_) => {
                // Releases the thread that still waits for a writer.
                drop(fs::OpenOptions::new().read(true).write(true).open(&self.0));
                panic!("no process wrote its id into {}", self.0.display())
            }
        }
    }
}

/// The id outside of a process that knows itself by `inner`: its own, unless it is in a PID namespace below this one.
fn outside(inner: i32) -> i32 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        let ids: Vec<i32> = ids.split_whitespace().filter_map(|id| id.parse().ok()).collect();
        ids.len() > 1 && ids.last() == Some(&inner) && is_below_this_process(*pid)
    };
    pids.into_iter().find(is_it).unwrap_or(inner)
}

/// Whether this process, or one that it started, started that one.
fn is_below_this_process(pid: i32) -> bool {
    let own = std::process::id().cast_signed();
    let parent = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse::<i32>().ok()
    };
    std::iter::successors(Some(pid), |pid| parent(*pid)).take_while(|pid| *pid > 1).any(|pid| pid == own)
}

/// Waits until the process has ended. A zombie counts as ended.
///
/// Panics after a minute.
pub async fn ended(pid: i32) {
    let Ok(handle) = pidfd_open(Pid::from_raw(pid).expect("a process id"), PidfdFlags::NONBLOCK) else {
        return;
    };
    // The replacement is unsafe, and its contract holds here: the handle is owned.
    #[allow(deprecated)]
    let handle = AsyncFd::new(handle).expect("a handle that can be waited for");
    let end = tokio::time::timeout(PATIENCE, handle.readable()).await;
    drop(end.unwrap_or_else(|_| panic!("process {pid} still runs")).expect("the handle can be waited for"));
}

pub fn kill_9(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a process id"), Signal::KILL).expect("it lives");
}

pub fn terminate(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a process id"), Signal::TERM).expect("it lives");
}

/// Whether the process runs. A zombie does not.
pub fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

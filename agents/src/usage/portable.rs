//! All processes by `sysinfo`, for systems without `/proc`. The time of children that have ended is not known there.

use std::time::{Duration, SystemTime};

use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

use super::process_table::{ProcessTable, ProcessUsage};

/// Reads every process; none where the system does not let us.
pub(super) fn snapshot() -> ProcessTable {
    // `nothing()` still asks for every thread.
    let kind = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
    let mut processes = Vec::new();
    if let Ok(mut system) = System::new() {
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        processes = system.processes().iter().map(|(pid, process)| (pid.as_u32(), row(process))).collect();
    }
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    ProcessTable { at, processes: processes.into_iter().collect() }
}

fn row(process: &sysinfo::Process) -> ProcessUsage {
    ProcessUsage {
        parent: process.parent().map_or(0, |pid| pid.as_u32()),
        session: process.session_id().map_or(0, |pid| pid.as_u32()),
        started: Duration::from_secs(process.start_time()),
        own: Duration::from_millis(process.accumulated_cpu_time()),
        reaped: Duration::ZERO,
        memory: process.memory(),
        zombie: matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::usage::procfs;

    #[test]
    fn it_tells_of_this_process_what_proc_tells() {
        let (portable, by_hand) = (snapshot(), procfs::snapshot());
        let own = std::process::id();
        let (portable_own, by_hand_own) = (&portable.processes[&own], &by_hand.processes[&own]);
        assert_eq!(portable_own.parent, by_hand_own.parent);
        assert_eq!(portable_own.session, by_hand_own.session);
        assert!(portable_own.memory > 0 && !portable_own.zombie);
        assert!(portable_own.own <= by_hand_own.own + Duration::from_millis(20));
        assert!(portable_own.started <= portable.at);
    }
}

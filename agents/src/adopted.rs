//! Processes that this one takes in: a process whose parent has ended becomes a child of storkit, not of init. So it stays
//! known as a descendant, whatever it does to its environment, group and session.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};

use crate::tree::{self, ProcessId};

/// How often zombies are looked for.
const LOOK: Duration = Duration::from_secs(60);

/// A zombie this old has no owner: whoever starts a program here waits for its end at once, except those of [`KEPT`].
const ORPHANED: Duration = Duration::from_secs(10 * 60);

/// Ended processes whose owners still need their ids.
static KEPT: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

pub(crate) fn keep_zombie(pid: Pid) {
    KEPT.lock().insert(pid.as_raw_nonzero().get());
}

pub(crate) fn release_zombie(pid: Pid) {
    KEPT.lock().remove(&pid.as_raw_nonzero().get());
}

/// Makes orphans among this process's descendants its own children. Lasts until the process ends, also over `exec`.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Removes adopted processes that have ended from the system's table; runs for ever.
pub async fn reap_orphans() {
    let mut zombies = ZombieWatch::default();
    let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
    loop {
        looks.tick().await;
        let own = std::process::id().cast_signed();
        let rows = tree::rows().into_iter().filter(|row| row.parent == own && row.zombie);
        for zombie in zombies.overdue(rows.map(|row| row.seen).collect(), Instant::now()) {
            let pid = Pid::from_raw(zombie.pid()).filter(|_| !KEPT.lock().contains(&zombie.pid()));
            if let Some(pid) = pid {
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }
}

/// Since when each zombie is one.
#[derive(Default)]
struct ZombieWatch(BTreeMap<ProcessId, Instant>);

impl ZombieWatch {
    /// Those that nobody has waited for in all this time.
    fn overdue(&mut self, now_there: BTreeSet<ProcessId>, now: Instant) -> Vec<ProcessId> {
        self.0.retain(|seen, _| now_there.contains(seen));
        for seen in now_there {
            self.0.entry(seen).or_insert(now);
        }
        let old = self.0.iter().filter(|(_, since)| now.duration_since(**since) >= ORPHANED);
        old.map(|(seen, _)| *seen).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_zombie_is_removed_once_nobody_can_be_waiting_for_it() {
        let mut child = Command::new("/bin/sleep").arg("600").spawn().expect("sleep");
        let there = tree::row(child.id().cast_signed()).expect("it runs").seen;
        child.kill().and_then(|()| child.wait().map(drop)).expect("it ends");
        let (mut watch, start) = (ZombieWatch::default(), Instant::now());
        let one = || BTreeSet::from([there]);
        assert!(watch.overdue(one(), start).is_empty());
        assert!(watch.overdue(one(), start + ORPHANED / 2).is_empty());
        assert_eq!(watch.overdue(one(), start + ORPHANED), [there]);
        assert!(watch.overdue(BTreeSet::new(), start + ORPHANED).is_empty());
        assert!(watch.overdue(one(), start + ORPHANED * 2).is_empty(), "another one of the same id");
    }
}

//! The machine's processes as `/proc` shows them (Linux): who descends from whom, who carries a mark in its
//! environment, and ending exactly those.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, getpgid, kill_process, kill_process_group, waitid},
};

/// In the environment of everything that a run of an agent starts: `SESSION/NONCE`.
pub const RUN_MARK: &str = "STORKIT_RUN";

/// In the environment of every process of a gate or of a component's commands.
pub const GATE_MARK: &str = "STORKIT_GATE";

/// An environment is read up to here; Linux allows more only where a person raised the stack limit.
const MAX_ENVIRONMENT: u64 = 4 << 20;

/// How often, and how far apart, the environment of a process that starts a program is read: for one second.
const LOOKS: u32 = 1_000;
const LOOK: Duration = Duration::from_millis(1);

/// A process that cannot be reused for another: its id and when it started, in ticks since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId {
    pid: i32,
    start: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessRow {
    pub(crate) seen: ProcessId,
    pub(crate) parent: i32,
    pub(crate) zombie: bool,
}

impl ProcessId {
    pub(crate) fn pid(self) -> i32 {
        self.pid
    }

    pub(crate) fn started(self) -> u64 {
        self.start
    }

    /// Whether this very process still runs. A zombie does not.
    pub fn is_alive(self) -> bool {
        row(self.pid).is_some_and(|row| row.seen == self && !row.zombie)
    }

    /// Sends a signal unless the process is gone or its id belongs to another by now.
    pub fn signal(self, signal: Signal) -> bool {
        let pid = Pid::from_raw(self.pid).filter(|_| self.is_alive());
        pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
    }
}

/// All living processes below this one, children's children included.
pub fn descendants(root: u32) -> BTreeSet<ProcessId> {
    let rows = rows();
    descendants_in(&rows, root.cast_signed())
}

/// All living processes below this one, but not `spared` ones nor what descends from those.
pub fn own_descendants_without(spared: &BTreeSet<ProcessId>) -> BTreeSet<ProcessId> {
    // To look at every process of the machine takes milliseconds.
    if !has_children() {
        return BTreeSet::new();
    }
    let mut rows = rows();
    rows.retain(|row| !spared.contains(&row.seen));
    descendants_in(&rows, std::process::id().cast_signed())
}

/// Whether this process has a child, living or not waited for.
fn has_children() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::All, options), Err(Errno::CHILD))
}

fn descendants_in(rows: &[ProcessRow], root: i32) -> BTreeSet<ProcessId> {
    let (mut found, mut parents) = (BTreeSet::new(), vec![root]);
    while let Some(parent) = parents.pop() {
        for row in rows.iter().filter(|row| row.parent == parent) {
            parents.push(row.seen.pid);
            if !row.zombie {
                found.insert(row.seen);
            }
        }
    }
    found
}

/// Sends a signal to the process group of the command behind a bubblewrap below this process; `false` if there is none.
pub fn signal_behind_bubblewrap(root: u32, signal: Signal) -> bool {
    let inner = behind_bubblewrap(root).and_then(|inner| Some((inner, Pid::from_raw(inner.pid)?)));
    let group = inner.filter(|(inner, _)| inner.is_alive()).and_then(|(_, pid)| getpgid(Some(pid)).ok());
    // bubblewrap's own process in that group is the first of its PID namespace, which such a signal does not end (pid_namespaces(7)).
    group.is_some_and(|group| kill_process_group(group, signal).is_ok())
}

/// The process for which a bubblewrap below this one was started: its first descendant that is another program.
pub(super) fn behind_bubblewrap(root: u32) -> Option<ProcessId> {
    let (rows, mut parent) = (rows(), root.cast_signed());
    // Orphans inside have the same parent, but started later.
    let child_of = |parent: i32| {
        let children = rows.iter().filter(|row| row.parent == parent && !row.zombie).map(|row| row.seen);
        children.min_by_key(|child| (child.start, child.pid))
    };
    let is_bubblewrap = |seen: ProcessId| {
        fs::read_to_string(format!("/proc/{}/comm", seen.pid)).is_ok_and(|name| name.trim_end() == "bwrap")
    };
    // Below the one that was started there is another that reaps.
    let mut through = false;
    while let Some(child) = child_of(parent) {
        if !is_bubblewrap(child) {
            return through.then_some(child);
        }
        (parent, through) = (child.pid, true);
    }
    None
}

/// All living processes whose environment passes, and what descends from them; never this one or its parents.
pub fn marked(passes: impl Fn(&ProcessEnvironment) -> bool) -> BTreeSet<ProcessId> {
    let rows = rows();
    let mut found = BTreeSet::new();
    for row in rows.iter().filter(|row| !row.zombie) {
        if ProcessEnvironment::of(row.seen.pid).is_some_and(|environment| passes(&environment)) {
            found.insert(row.seen);
            found.extend(descendants_in(&rows, row.seen.pid));
        }
    }
    // Storkit may itself run in an agent's shell and have inherited its mark.
    for own in own_line(&rows) {
        found.retain(|seen| seen.pid != own);
    }
    found
}

/// This process and those above it.
fn own_line(rows: &[ProcessRow]) -> Vec<i32> {
    let mut line = vec![std::process::id().cast_signed()];
    while let Some(row) = rows.iter().find(|row| Some(&row.seen.pid) == line.last()) {
        line.push(row.parent);
    }
    line
}

/// Kills all that `find` finds until it finds nothing or `patience` has passed. Blocks. Returns how many were killed.
pub fn kill_all(patience: Duration, mut find: impl FnMut() -> BTreeSet<ProcessId>) -> usize {
    let (mut killed, until) = (BTreeSet::new(), Instant::now() + patience);
    // In rounds: a process may fork between being seen and being killed.
    loop {
        let mut alive = find();
        // A dying process loses its environment, and the mark in it, before it is gone.
        alive.extend(killed.iter().filter(|seen: &&ProcessId| seen.is_alive()));
        for seen in &alive {
            if seen.signal(Signal::KILL) {
                killed.insert(*seen);
            }
        }
        if alive.is_empty() {
            return killed.len();
        }
        if Instant::now() > until {
            tracing::warn!(?alive, "processes do not end, even killed");
            return killed.len();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A process's environment as it was at its start.
pub struct ProcessEnvironment(Vec<u8>);

impl ProcessEnvironment {
    /// `None` when it is gone or belongs to another user. Waits while the process starts a program.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        // A process that starts a program has no environment for a moment (`environ_read` in Linux' fs/proc/base.c).
        let mut settled = false;
        for _ in 0..LOOKS {
            // Most fit, and then one read is enough.
            let mut block = Vec::with_capacity(8 << 10);
            let file = fs::File::open(format!("/proc/{pid}/environ")).ok()?;
            file.take(MAX_ENVIRONMENT).read_to_end(&mut block).ok()?;
            if !block.is_empty() || settled {
                return Some(Self(block));
            }
            // The start may have ended between the two looks, so one more is needed.
            settled = !starts_a_program(pid)?;
            if !settled {
                std::thread::sleep(LOOK);
            }
        }
        None
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut entries = self.0.split(|byte| *byte == 0);
        entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

/// Whether it has memory, and no place in it for an environment yet. `None` when it is gone.
fn starts_a_program(pid: i32) -> Option<bool> {
    let stat = read_stat(pid)?;
    let mut fields = stat.split_ascii_whitespace();
    // proc(5): state is field 3, the size of its memory 23, `env_end` 51.
    let (memory, environment_end) = (fields.nth(20)?, fields.nth(27)?);
    Some(memory != "0" && environment_end == "0")
}

pub(crate) fn rows() -> Vec<ProcessRow> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    folder.filter_map(|entry| row(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// `/proc/PID/stat` from field 3 on: the name before it, in brackets, may hold anything, brackets too.
fn read_stat(pid: i32) -> Option<String> {
    // The longest line has about 1,200 bytes, and comes in one piece. `fs::read` would take six, since the file tells no size.
    let mut line = [0; 2048];
    let end = fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
    Some(String::from_utf8_lossy(&line[..end]).rsplit_once(')')?.1.to_owned())
}

pub(crate) fn row(pid: i32) -> Option<ProcessRow> {
    let stat = read_stat(pid)?;
    let mut fields = stat.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X" | "x");
    let parent = fields.next()?.parse().ok()?;
    // proc(5): state is field 3, the parent 4, the start time 22.
    let start = fields.nth(17)?.parse().ok()?;
    Some(ProcessRow { seen: ProcessId { pid, start }, parent, zombie })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn seen(pid: u32) -> ProcessId {
        row(pid.cast_signed()).expect("it runs").seen
    }

    fn sleeper(mark: &str) -> std::process::Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 600 & echo ready; wait"]).env("STORKIT_TREE_TEST", mark);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a shell");
        let mut ready = [0; 6];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut ready).expect("it starts");
        child
    }

    #[test]
    fn a_process_that_is_starting_its_program_is_found() {
        // The standard library learns of the new program before that has its environment.
        for number in 0..100 {
            let mark = format!("starting-{number}");
            let mut child =
                Command::new("/bin/sleep").arg("600").env("STORKIT_TREE_TEST", &mark).spawn().expect("sleep");
            let found = marked(|environment| environment.get("STORKIT_TREE_TEST") == Some(mark.as_bytes()));
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
            assert!(found.iter().any(|seen| seen.pid == child.id().cast_signed()), "number {number}");
        }
    }

    #[test]
    fn a_marked_process_and_its_children_are_found_and_killed_and_nothing_else() {
        let (mut ours, mut other) = (sleeper("tree-a"), sleeper("tree-b"));
        let find = || marked(|environment| environment.get("STORKIT_TREE_TEST") == Some(b"tree-a"));
        assert!(find().contains(&seen(ours.id())));
        assert_eq!(descendants(ours.id()).len(), 1);
        assert_eq!(kill_all(Duration::from_secs(20), find), 2);
        assert_eq!(find(), BTreeSet::new());
        ours.wait().expect("it is our child");
        assert!(seen(other.id()).is_alive());
        kill_all(Duration::from_secs(20), || descendants(other.id()));
        other.wait().expect("its shell ends with it");
    }

    #[test]
    fn a_reused_id_is_not_touched() {
        let mut child = sleeper("tree-c");
        let real = seen(child.id());
        let earlier = ProcessId { start: real.start - 1, ..real };
        assert!(!earlier.signal(Signal::KILL) && real.is_alive());
        kill_all(Duration::from_secs(20), || descendants(child.id()));
        child.wait().expect("its shell ends with it");
        assert!(!real.is_alive());
    }

    #[test]
    fn a_zombie_counts_as_gone() {
        let mut child = Command::new("/bin/true").stdout(Stdio::piped()).spawn().expect("true");
        let mut rest = Vec::new();
        let there = seen(child.id());
        child.stdout.take().expect("a pipe").read_to_end(&mut rest).expect("it ends");
        let pid = Pid::from_raw(there.pid).expect("a pid");
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).expect("it has ended");
        assert!(!there.is_alive());
        child.wait().expect("it is our child");
    }
}

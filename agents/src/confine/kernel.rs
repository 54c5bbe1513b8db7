//! The kernel's features for walls, and the limits under which storkit's processes run: for `doctor`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A part of Landlock, and the ABI that brought it (landlock(7)).
const PARTS: [(u32, &str); 4] = [
    (3, "truncation of files (Linux 6.2), without which storkit does not use it"),
    (4, "connections by TCP (6.7)"),
    (5, "control of devices (6.10)"),
    (6, "signals and abstract sockets (6.12)"),
];

/// `LANDLOCK_CREATE_RULESET_VERSION` of linux/landlock.h.
const VERSION: libc::c_ulong = 1;

/// `i64::MAX`, less than a page.
const NO_MEMORY_LIMIT: u64 = 1 << 62;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelMeans {
    /// The version of Landlock's interface; `None` where it is missing or switched off.
    pub landlock: Option<u32>,
    /// Filters of system calls.
    pub seccomp: bool,
}

/// What limits all processes of this storkit together; `None` where nothing does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    pub processes: Option<u64>,
    pub memory_bytes: Option<u64>,
}

impl KernelMeans {
    pub fn of_this_machine() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self { landlock: landlock_version(), seccomp: status.contains("\nSeccomp:") }
    }

    /// Parts of Landlock that this kernel does not have, each with the Linux that brought it.
    pub fn missing_of_landlock(self) -> Vec<&'static str> {
        let version = self.landlock.unwrap_or_default();
        PARTS.iter().filter(|(since, _)| version < *since).map(|(_, part)| *part).collect()
    }
}

#[allow(unsafe_code)]
fn landlock_version() -> Option<u32> {
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the kernel reads no memory, and only returns a number.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

impl ProcessLimits {
    /// Those of this process' control groups (cgroups(7)), of either version.
    pub fn of_this_process() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::below(Path::new("/sys/fs/cgroup"), &own)
    }

    fn below(root: &Path, own: &str) -> Self {
        let processes = least(root, own, "pids", "pids.max");
        let memory = least(root, own, "memory", "memory.max");
        let memory = memory.or_else(|| least(root, own, "memory", "memory.limit_in_bytes"));
        // Version 1 writes "no limit" as the largest number of pages.
        Self { processes, memory_bytes: memory.filter(|most| *most < NO_MEMORY_LIMIT) }
    }
}

/// The least limit of the groups of this process: `0::/PATH` is its group of version 2, `N:CONTROLLERS:/PATH` one of version 1.
fn least(root: &Path, own: &str, controller: &str, file: &str) -> Option<u64> {
    let groups = own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        match controllers {
            "" => Some((root.to_owned(), path)),
            _ if controllers.split(',').any(|name| name == controller) => {
                Some((root.join(controllers), path))
            }
            _ => None,
        }
    });
    // In a container the path may be the one outside of it; its own group is the topmost then.
    let limits = groups.flat_map(|(mount, path)| {
        let above: Vec<PathBuf> = mount.join(path).ancestors().map(Path::to_owned).collect();
        above
            .into_iter()
            .filter(move |folder| folder.starts_with(&mount))
            .filter_map(|group| number(&group.join(file)))
    });
    limits.min()
}

/// `max` is no number.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_kernel_is_told_what_it_lacks() {
        let missing = |landlock| KernelMeans { landlock, seccomp: true }.missing_of_landlock();
        assert_eq!(missing(Some(7)), Vec::<&str>::new());
        assert_eq!(missing(Some(5)), ["signals and abstract sockets (6.12)"]);
        assert_eq!(missing(None).len(), 4);
    }

    #[test]
    fn the_least_limit_of_all_groups_above_counts() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        };
        write("system.slice/pids.max", "100\n");
        write("system.slice/storkit/pids.max", "max\n");
        write("system.slice/storkit/memory.max", "1024\n");
        let limits = ProcessLimits::below(root.path(), "0::/system.slice/storkit\n");
        assert_eq!(limits, ProcessLimits { processes: Some(100), memory_bytes: Some(1024) });
        write("pids/pids.max", "7\n");
        write("memory/docker/memory.limit_in_bytes", "9223372036854771712\n");
        let limits =
            ProcessLimits::below(root.path(), "4:memory:/docker\n3:pids:/docker/outside\n1:name=x:/a\n");
        assert_eq!(limits, ProcessLimits { processes: Some(7), memory_bytes: None });
    }
}

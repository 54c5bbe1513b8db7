//! Things that a process would inherit from storkit besides its environment: a terminal, into which every process of a session can type, and
//! open files.

use std::{fs, os::unix::process::CommandExt as _, process::Command, sync::LazyLock};

/// Whether the kernel closes a range of files on `exec` (Linux 5.11; gVisor does not).
static CLOSES_RANGES: LazyLock<bool> = LazyLock::new(|| close_range(libc::c_uint::MAX));

/// Starts the command in a session of its own, without a terminal, and with no files open but its standard ones. It leads a process
/// group, too.
#[allow(unsafe_code)]
pub fn in_own_session(command: &mut Command) {
    let (closes_ranges, open) = match *CLOSES_RANGES {
        true => (true, Vec::new()),
        // Those that storkit inherited are all here; it opens its own with `CLOEXEC`.
        false => (false, open_files()),
    };
    // SAFETY: runs between fork and exec. The system calls are async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            // storkit's own files are closed by exec anyway; those that storkit inherited may not be.
            if closes_ranges {
                close_range(3);
            }
            for file in &open {
                libc::fcntl(*file, libc::F_SETFD, libc::FD_CLOEXEC);
            }
            Ok(())
        })
    };
}

#[allow(unsafe_code)]
fn close_range(first: libc::c_uint) -> bool {
    // SAFETY: with this flag no file is closed before `exec`.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) == 0 }
}

/// Behind the standard ones.
fn open_files() -> Vec<libc::c_int> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number: &libc::c_int| *number > 2).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn an_open_file_is_listed_where_the_kernel_closes_no_ranges() {
        let file = fs::File::open("/").expect("a folder");
        assert!(open_files().contains(&file.as_raw_fd()));
        assert!(open_files().iter().all(|number| *number > 2));
    }
}

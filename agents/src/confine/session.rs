//! Things that a process would inherit from storkit besides its environment: a terminal, into which every process of a
//! session can type, and open files.

use std::{fs, os::unix::process::CommandExt as _, process::Command, sync::LazyLock};

/// Whether the kernel closes a range of files on `exec` (Linux 5.11; gVisor does not).
static CLOSES_RANGES: LazyLock<bool> = LazyLock::new(|| close_range(libc::c_uint::MAX));

/// Starts the command in a session of its own, without a terminal, and with no files open but its standard ones.
/// It leads a process group, too.
pub fn in_own_session(command: &mut Command) {
    closing_files(command, *CLOSES_RANGES);
}

#[allow(unsafe_code)]
fn closing_files(command: &mut Command, closes_ranges: bool) {
    let (closes_ranges, open) = match closes_ranges {
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
    fn an_open_file_is_closed_also_where_the_kernel_closes_no_ranges() {
        // A duplicate has no `CLOEXEC`, as a file that storkit inherited.
        let file = rustix::io::dup(fs::File::open("/").expect("a folder")).expect("a duplicate");
        let is_open = |prepare: &dyn Fn(&mut Command)| {
            let mut command = Command::new("/usr/bin/test");
            command.args(["-e", &format!("/proc/self/fd/{}", file.as_raw_fd())]);
            prepare(&mut command);
            command.status().expect("it runs").success()
        };
        assert!(is_open(&|_| {}), "it is inherited");
        assert!(!is_open(&|command| closing_files(command, false)));
        assert!(!is_open(&in_own_session));
    }
}

//! Things that a process would inherit from storkit besides its environment: a terminal, into which every process of a session can type, and
//! open files.

use std::{os::unix::process::CommandExt as _, process::Command};

/// Starts the command in a session of its own, without a terminal, and with no files open but its standard ones. It leads a process
/// group, too.
#[allow(unsafe_code)]
pub fn in_own_session(command: &mut Command) {
    // SAFETY: runs between fork and exec. Both system calls are async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            // storkit's own files are closed by exec anyway; those that storkit inherited may not be. Fails on kernels before 5.11.
            let _ = libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            Ok(())
        })
    };
}

//! Sessions: whoever has a terminal can be typed to by every process of its session.

use tokio::process::Command;

/// Starts the command in a session of its own, without a terminal. It leads a process group, too.
#[allow(unsafe_code)]
pub fn in_own_session(command: &mut Command) {
    // SAFETY: runs between fork and exec. setsid(2) is async-signal-safe, and nothing is allocated.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into)) };
}

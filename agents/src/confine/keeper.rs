//! The process between storkit and bubblewrap. It exits with the command, ends everything below it when it is asked to end or storkit is
//! gone, and opens the filters of system calls.
//!
//! bubblewrap's `--die-with-parent` alone leaves a gap. Its first process inside has a death signal only once bubblewrap's own process has
//! told it to go on; if that one is killed before, the first process waits for ever, and ignores every signal but SIGKILL. The keeper
//! takes in what loses its parent, and kills it. (`PR_SET_PDEATHSIG` follows the *thread* that started a process, and a runtime's threads
//! come and go: so it is of no use between storkit and the keeper.)

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
    time::Duration,
};

use nix::{
    sys::{
        signal::{SigSet, SigmaskHow, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{ForkResult, fork},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{
        Pid, PidfdFlags, Signal as ProcessSignal, WaitId, WaitIdOptions, getpid, pidfd_open,
        pidfd_send_signal, set_child_subreaper, waitid,
    },
};

use crate::tree;

/// Opens `FOLDER/NAME` of the filters at these numbers.
pub(super) const FILTERS: [(&str, libc::c_int); 3] = [("denied", 7), ("missing", 8), ("foreign", 9)];

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whoever asks the keeper to end.
const SIGNALS: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// Forks, and returns in the child, which has the filters open. The parent is the keeper until the child has ended, and never returns.
///
/// # Errors
/// If storkit, the process with this id, is gone, or the system refuses.
#[allow(unsafe_code)]
pub(super) fn stay_behind(filters: &Path, storkit: &OsStr) -> io::Result<()> {
    let files: Vec<File> =
        FILTERS.iter().map(|(name, _)| File::open(filters.join(name))).collect::<io::Result<_>>()?;
    let storkit = storkit.to_str().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    let storkit = storkit.ok_or_else(|| io::Error::other("a process id is a number"))?;
    let storkit = pidfd_open(storkit, PidfdFlags::empty())?;
    set_child_subreaper(Some(getpid()))?;
    let asked: SigSet = SIGNALS.into_iter().collect();
    // One that comes from here on is for the keeper, as soon as it listens.
    let before = asked.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    // SAFETY: this program has a single thread here.
    match unsafe { fork() }? {
        ForkResult::Child => {
            before.thread_set_mask()?;
            // It could have one of the numbers.
            drop(storkit);
            open_at_their_numbers(files)
        }
        ForkResult::Parent { child } => {
            drop(files);
            let kept = Pid::from_raw(child.as_raw()).ok_or_else(|| io::Error::other("no process"));
            let code = kept.and_then(|child| keep(child, &storkit, &asked));
            std::process::exit(code.unwrap_or(1));
        }
    }
}

#[allow(unsafe_code)]
fn open_at_their_numbers(files: Vec<File>) -> io::Result<()> {
    // Out of the way first: one of them could have another's number, or its own.
    let apart: Vec<OwnedFd> =
        files.iter().map(|file| rustix::io::fcntl_dupfd_cloexec(file, 10)).collect::<Result<_, _>>()?;
    drop(files);
    for (file, (_, number)) in apart.iter().zip(FILTERS) {
        // SAFETY: nothing in this program owns these numbers; the copy stays open for the program that it becomes.
        if unsafe { libc::dup2(file.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Waits until the child has ended, is to end, or storkit is gone, and then until nothing is left below
/// this process. Returns the exit code.
fn keep(child: Pid, storkit: &OwnedFd, asked: &SigSet) -> io::Result<i32> {
    let signals = SignalFd::with_flags(asked, SfdFlags::SFD_CLOEXEC)?;
    let handle = pidfd_open(child, PidfdFlags::empty())?;
    let mut events = [handle.as_fd(), signals.as_fd(), storkit.as_fd()]
        .map(|handle| PollFd::from_borrowed_fd(handle, PollFlags::IN));
    while let Err(rustix::io::Errno::INTR) = poll(&mut events, None) {}
    let [has_ended, was_asked, _] = events.map(|event| !event.revents().is_empty());
    let signal = if was_asked { signals.read_signal()? } else { None };
    if !has_ended {
        let _ = pidfd_send_signal(&handle, ProcessSignal::KILL);
    }
    let status = waitid(WaitId::Pid(child), WaitIdOptions::EXITED)?;
    end_all_below();
    let by_signal = |number: i32| 128 + number;
    Ok(match (has_ended, status, signal) {
        (true, Some(status), _) => {
            status.exit_status().or(status.terminating_signal().map(by_signal)).unwrap_or(1)
        }
        (_, _, Some(signal)) => by_signal(i32::try_from(signal.ssi_signo).unwrap_or(1)),
        _ => by_signal(ProcessSignal::KILL.as_raw()),
    })
}

/// Nothing is left but in the moment of bubblewrap's start, so usually the kernel says that there is no child.
fn end_all_below() {
    let any = || waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    if any().is_ok() {
        tree::kill_all(PATIENCE, || {
            while let Ok(Some(_)) = any() {}
            tree::descendants(std::process::id())
        });
    }
}

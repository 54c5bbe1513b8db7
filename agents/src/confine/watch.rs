//! Watches the system calls of a trial that name files and addresses. The kernel asks storkit before each of them, and storkit lets all of
//! them pass: it is no wall, and a program that wants to deceive it can. Its reports are true, and may not be complete.

use std::{
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

use libc::c_long;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
};
use seccompiler::sock_filter;

use super::file_passing::{receive, send};

/// In the folder of the sockets, where a process is to be watched.
pub(super) const SOCKET: &str = "watch";

/// The request of a call, for the path that one of its arguments names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedPath {
    pub kind: CallKind,
    /// The argument with the open folder that a relative path begins at; without one, the working directory.
    pub folder: Option<usize>,
    pub path: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    Delete,
    Write,
    /// Whether something is there.
    Look,
    /// To an address of a network.
    Connect,
}

/// A call that waits.
#[derive(Clone, Copy, Debug)]
pub struct SeenCall {
    id: u64,
    /// As this process knows it.
    pub pid: u32,
    number: c_long,
    pub arguments: [u64; 6],
}

const fn at(kind: CallKind, folder: usize, path: usize) -> NamedPath {
    NamedPath { kind, folder: Some(folder), path }
}

#[cfg(target_arch = "x86_64")]
const fn here(kind: CallKind, path: usize) -> NamedPath {
    NamedPath { kind, folder: None, path }
}

use CallKind::{Connect, Delete, Look, Write};

/// Calls with the paths that they name (syscalls(2)).
const CALLS: &[(c_long, &[NamedPath])] = &[
    (libc::SYS_unlinkat, &[at(Delete, 0, 1)]),
    (libc::SYS_renameat, &[at(Delete, 0, 1), at(Write, 2, 3)]),
    (libc::SYS_renameat2, &[at(Delete, 0, 1), at(Write, 2, 3)]),
    (libc::SYS_mkdirat, &[at(Write, 0, 1)]),
    (libc::SYS_linkat, &[at(Write, 2, 3)]),
    (libc::SYS_symlinkat, &[at(Write, 1, 2)]),
    (libc::SYS_newfstatat, &[at(Look, 0, 1)]),
    (libc::SYS_connect, &[NamedPath { kind: Connect, folder: None, path: 1 }]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_truncate, &[here(Write, 0)]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, &[here(Delete, 0)]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, &[here(Delete, 0)]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, &[here(Delete, 0), here(Write, 1)]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, &[here(Write, 0)]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, &[here(Write, 1)]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_symlink, &[here(Write, 1)]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, &[here(Write, 0)]),
];

/// Calls that name a file only where these flags are set in one of their arguments.
const OPENING: &[(c_long, usize, &[NamedPath])] = &[
    (libc::SYS_openat, 2, &[at(Write, 0, 1)]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1, &[here(Write, 0)]),
];
const WRITING: u32 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC).cast_unsigned();

/// In the process that becomes the command, right before: lets storkit watch it, if a socket for that is in the folder. Where the kernel
/// cannot do this, storkit learns only that the command starts.
pub(super) fn hand_over(sockets: &Path) -> io::Result<()> {
    let path = sockets.join(SOCKET);
    if !path.exists() {
        return Ok(());
    }
    let socket = UnixStream::connect(path)?;
    match ask_first() {
        Ok(listener) => send(socket.as_fd(), Some(listener.as_fd())),
        Err(_) => send(socket.as_fd(), None),
    }
}

/// Makes the kernel ask before each of these calls, in this process and all that it starts.
#[allow(unsafe_code)]
fn ask_first() -> io::Result<OwnedFd> {
    let mut program = program();
    let length = program.len().try_into().map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr().cast() };
    // SAFETY: the kernel reads the program, which lives until the call returns. It returns a new file descriptor.
    let listener = unsafe {
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    let listener = i32::try_from(listener).map_err(io::Error::other)?;
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// The filter, as instructions of linux/bpf_common.h on a `struct seccomp_data` (seccomp(2)).
fn program() -> Vec<sock_filter> {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    let line = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let ask = || line(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF);
    let allow = || line(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW);
    let number = |call: c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let mut program = vec![line(LOAD, 0, 0, 0)];
    for (call, _) in CALLS {
        program.extend([line(JUMP_IF_EQUAL, 0, 1, number(*call)), ask()]);
    }
    for (call, argument, _) in OPENING {
        // The lower half of a 64-bit argument, on a machine with the least byte first.
        let flags = 16 + 8 * u32::try_from(*argument).unwrap_or_default();
        program.extend([
            line(JUMP_IF_EQUAL, 0, 4, number(*call)),
            line(LOAD, 0, 0, flags),
            line(JUMP_IF_ANY_BIT, 0, 1, WRITING),
            ask(),
            allow(),
        ]);
    }
    program.push(allow());
    program
}

impl SeenCall {
    /// The request in it.
    pub fn names(&self) -> &'static [NamedPath] {
        let plain = CALLS.iter().map(|(call, names)| (call, names));
        let opening = OPENING.iter().map(|(call, _, names)| (call, names));
        plain.chain(opening).find(|(call, _)| **call == self.number).map_or(&[], |(_, names)| names)
    }
}

/// Where the kernel asks.
#[derive(Debug)]
pub struct CallListener(OwnedFd);

impl CallListener {
    /// Receives the listener that a process hands over right before it becomes the command: `None` if it ended before, and no listener where the
    /// kernel cannot report calls.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Option<Self>>> {
        Ok(receive(socket)?.map(|file| file.map(Self)))
    }

    /// The next call that waits; `None` if there is none within `wait`.
    ///
    /// # Errors
    /// Once no process is watched any more.
    #[allow(unsafe_code)]
    pub fn next(&self, wait: &Timespec) -> io::Result<Option<SeenCall>> {
        let mut files = [PollFd::new(&self.0, PollFlags::IN)];
        if retry_on_intr(|| poll(&mut files, Some(wait)))? == 0 {
            return Ok(None);
        }
        if !files[0].revents().contains(PollFlags::IN) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: all of it is integers. The kernel wants zeros.
        let mut seen: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes a structure of this type.
        let received =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut seen) };
        if received < 0 {
            // The process ended meanwhile.
            return Ok(None);
        }
        let (number, arguments) = (c_long::from(seen.data.nr), seen.data.args);
        Ok(Some(SeenCall { id: seen.id, pid: seen.pid, number, arguments }))
    }

    /// Lets a call pass, as it is then.
    #[allow(unsafe_code)]
    pub fn let_pass(&self, call: SeenCall) {
        let flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or_default();
        let answer = libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags };
        // SAFETY: the kernel reads a structure of this type. If it fails, the process is gone.
        unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) };
    }
}

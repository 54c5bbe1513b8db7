//! Requests of a trial for things outside of its layers, as far as they were seen. All of them were refused.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{
        fd::AsFd as _,
        unix::{
            ffi::OsStringExt as _,
            fs::FileExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::effect::TrialAttempt;
use crate::confine::{CallKind, CallListener, LayeredCommand, NamedPath, SeenCall, ShownKind};

/// Different attempts that are kept.
const MAX_ATTEMPTS: usize = 40;

/// How soon the end of the trial is noticed.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// The machine's own files, which a sandbox replaces: no word on anything outside.
const SYSTEM: [&str; 4] = ["/dev", "/proc", "/sys", "/run/storkit"];

const MAX_PATH: usize = 4_096;

/// The watching thread of a trial.
pub(super) struct TrialWatch {
    over: Arc<AtomicBool>,
    watching: JoinHandle<Watched>,
}

/// The requests that it saw.
#[derive(Default)]
pub(super) struct Watched {
    /// Whether the command started at all.
    pub has_started: bool,
    /// Whether the kernel reported its calls.
    pub is_watched: bool,
    pub attempts: Vec<TrialAttempt>,
}

impl TrialWatch {
    /// Waits for the command on this socket, and then watches it.
    pub fn begin(socket: UnixListener, layered: &LayeredCommand) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        let over = Arc::new(AtomicBool::new(false));
        let (is_over, shown) = (Arc::clone(&over), layered.shown.clone());
        let watching = thread::Builder::new().name("trial-watch".into()).spawn(move || {
            let Some(stream) = accept(&socket, &is_over) else { return Watched::default() };
            let mut watched = Watched::default();
            // The command has not started yet, and sends at once.
            if let Ok(Some(listener)) = CallListener::receive(stream.as_fd()) {
                watched.has_started = true;
                if let Some(listener) = listener {
                    watched.is_watched = true;
                    watched.attempts = watch(&listener, &shown, &is_over);
                }
            }
            watched
        })?;
        Ok(Self { over, watching })
    }

    /// The requests that were seen; to be called once nothing of the trial is left.
    pub fn end(self) -> Watched {
        self.over.store(true, Ordering::Relaxed);
        self.watching.join().unwrap_or_default()
    }
}

fn accept(socket: &UnixListener, is_over: &AtomicBool) -> Option<UnixStream> {
    loop {
        let mut sockets = [PollFd::new(socket, PollFlags::IN)];
        let is_last_look = is_over.load(Ordering::Relaxed);
        if poll(&mut sockets, Some(&LOOK)).is_ok_and(|ready| ready > 0)
            && let Ok((stream, _)) = socket.accept()
        {
            stream.set_nonblocking(false).ok()?;
            return Some(stream);
        }
        if is_last_look {
            return None;
        }
    }
}

fn watch(listener: &CallListener, shown: &Shown, is_over: &AtomicBool) -> Vec<TrialAttempt> {
    let mut seen = BTreeSet::new();
    loop {
        match listener.next(&LOOK) {
            Ok(Some(call)) => {
                for named in call.names() {
                    if let Some(attempt) = attempt(&call, *named, shown)
                        && seen.len() < MAX_ATTEMPTS
                    {
                        seen.insert(attempt);
                    }
                }
                listener.let_pass(call);
            }
            Ok(None) if is_over.load(Ordering::Relaxed) => break,
            Ok(None) => {}
            Err(_) => break,
        }
    }
    seen.into_iter().collect()
}

type Shown = std::collections::BTreeMap<PathBuf, ShownKind>;

fn attempt(call: &SeenCall, named: NamedPath, shown: &Shown) -> Option<TrialAttempt> {
    let argument = *call.arguments.get(named.path)?;
    if named.kind == CallKind::Connect {
        let length = usize::try_from(*call.arguments.get(2)?).ok()?.min(128);
        let address = address(&read(call.pid, argument, length)?)?;
        return Some(TrialAttempt { kind: named.kind, what: address.to_string() });
    }
    let mut bytes = read(call.pid, argument, MAX_PATH)?;
    bytes.truncate(bytes.iter().position(|byte| *byte == 0)?);
    let path = PathBuf::from(std::ffi::OsString::from_vec(bytes));
    if path.as_os_str().is_empty() {
        // The file descriptor itself.
        return None;
    }
    let from = || match named.folder.and_then(|folder| call.arguments.get(folder)) {
        // The kernel reads 32 bits.
        #[allow(clippy::cast_possible_truncation)]
        Some(folder) if (*folder as i32) >= 0 => format!("/proc/{}/fd/{}", call.pid, *folder as i32),
        _ => format!("/proc/{}/cwd", call.pid),
    };
    let path = if path.is_absolute() { path } else { fs::read_link(from()).ok()?.join(path) };
    let path = plain(&path);
    is_outside(named.kind, &path, shown)
        .then(|| TrialAttempt { kind: named.kind, what: path.display().to_string() })
}

/// Whether a path is one that the trial cannot have: neither in a layer, nor only read where it may be read.
fn is_outside(kind: CallKind, path: &Path, shown: &Shown) -> bool {
    if SYSTEM.iter().any(|system| path.starts_with(system)) {
        return false;
    }
    let changes = matches!(kind, CallKind::Delete | CallKind::Write);
    match path.ancestors().find_map(|above| shown.get(above)) {
        Some(ShownKind::Layer) => false,
        Some(ShownKind::ReadOnly) => changes,
        Some(ShownKind::Empty) | None if changes => true,
        Some(ShownKind::Empty) | None => {
            let leads_to_shown = shown.keys().any(|at| at.starts_with(path));
            // What exists nowhere is looked for by every program.
            !leads_to_shown && fs::symlink_metadata(path).is_ok()
        }
    }
}

/// A path without `.` and `..`, links aside.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => _ = plain.pop(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

/// A part of a process's memory, as far as there is any.
fn read(pid: u32, address: u64, length: usize) -> Option<Vec<u8>> {
    let memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = vec![0; length];
    let count = memory.read_at(&mut bytes, address).ok()?;
    bytes.truncate(count);
    Some(bytes)
}

/// A `struct sockaddr` of a network (ip(7), ipv6(7)) that is not the process's own.
fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let address: SocketAddr = match family {
        libc::AF_INET => {
            let address: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            (Ipv4Addr::from(address), port).into()
        }
        libc::AF_INET6 => {
            let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            (Ipv6Addr::from(address), port).into()
        }
        _ => return None,
    };
    // Its loopback is its own, and has the way to the proxy.
    (!address.ip().to_canonical().is_loopback()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_had_is_an_attempt() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("a path");
        for name in ["work", "other"] {
            fs::create_dir(root.join(name)).expect("a folder");
        }
        let shown: Shown = [
            (root.clone(), ShownKind::Empty),
            (root.join("work"), ShownKind::Layer),
            (root.join("work/.git"), ShownKind::ReadOnly),
            ("/usr".into(), ShownKind::ReadOnly),
        ]
        .into();
        let is = |kind, path: &Path| is_outside(kind, path, &shown);
        assert!(is(CallKind::Delete, &root.join("other")) && is(CallKind::Look, &root.join("other")));
        assert!(
            is(CallKind::Write, &root.join("work/.git/config"))
                && is(CallKind::Delete, Path::new("/usr/bin"))
        );
        assert!(is(CallKind::Write, &root.join("missing")) && !is(CallKind::Look, &root.join("missing")));
        for (kind, path) in [
            (CallKind::Delete, root.join("work/file")),
            (CallKind::Look, root.join("work/.git")),
            (CallKind::Look, "/usr/bin".into()),
            (CallKind::Look, "/".into()),
            (CallKind::Write, "/dev/null".into()),
        ] {
            assert!(!is(kind, &path), "{path:?}");
        }
        assert_eq!(plain(Path::new("/a/./b/../../../c")), Path::new("/c"));
    }

    #[test]
    fn addresses_are_read_as_the_kernel_reads_them_and_the_own_loopback_is_none() {
        let four = |a: [u8; 4]| {
            [&u16::try_from(libc::AF_INET).expect("small").to_ne_bytes()[..], &[1, 187], &a].concat()
        };
        assert_eq!(
            address(&four([192, 0, 2, 1])).map(|found| found.to_string()),
            Some("192.0.2.1:443".into())
        );
        assert_eq!(address(&four([127, 0, 0, 1])), None);
        assert_eq!(address(&[1, 0, b'/']), None, "a Unix socket");
        assert_eq!(address(&[]), None);
    }
}

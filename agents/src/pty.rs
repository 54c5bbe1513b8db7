//! The terminal a process runs in, the thread that reads it, and the handle to signal the process safely.

use std::{
    ffi::OsString,
    io::{self, Read},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use portable_pty::{CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};
use tokio::sync::oneshot;

use crate::{adopted, tree};

// Any size would do: the CLI wraps nothing in its JSON lines (2.1.330).
const SIZE: PtySize = PtySize { rows: 24, cols: 200, pixel_width: 0, pixel_height: 0 };

/// A dead process that has printed nothing for this long prints nothing more.
const SETTLED: Duration = Duration::from_millis(500);

/// Our side of the terminal. Closing it sends SIGHUP to the process.
pub(crate) struct PtyTerminal {
    master: Box<dyn MasterPty + Send>,
    /// The other side's device, e.g. `/dev/pts/3`.
    device: PathBuf,
}

/// Starts a program in a new terminal. Blocks for the fork.
pub(crate) fn spawn(
    argv: &[OsString],
    cwd: &Path,
    environment: &[(OsString, OsString)],
    sandboxed: bool,
) -> io::Result<(PtyTerminal, ProcessLeader)> {
    let pair = native_pty_system().openpty(SIZE).map_err(io::Error::other)?;
    let device = pair.master.tty_name().ok_or_else(|| io::Error::other("the terminal has no name"))?;
    let mut command = CommandBuilder::from_argv(argv.to_vec());
    command.cwd(cwd);
    command.env_clear();
    for (name, value) in environment {
        command.env(name, value);
    }
    let child: Box<dyn portable_pty::Child> = pair.slave.spawn_command(command).map_err(io::Error::other)?;
    let child =
        child.downcast::<std::process::Child>().map_err(|_| io::Error::other("no process of this system"))?;
    // Our copy of the slave closes on return: while it is open, the reader would not notice the exit.
    Ok((PtyTerminal { master: pair.master, device }, ProcessLeader::new(*child, sandboxed)))
}

/// The process itself. Its id stays ours until [`ProcessLeader::reap`], so a signal can reach no other process.
#[derive(Debug)]
pub(crate) struct ProcessLeader {
    pid: Pid,
    child: Mutex<Option<std::process::Child>>,
    asked: AtomicBool,
    /// Whether this is bubblewrap, which only waits for the program that is meant.
    sandboxed: bool,
}

impl ProcessLeader {
    fn new(child: std::process::Child, sandboxed: bool) -> Self {
        let (pid, child) = (Pid::from_child(&child), Mutex::new(Some(child)));
        adopted::keep_zombie(pid);
        Self { pid, child, asked: AtomicBool::new(false), sandboxed }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Sends a signal; nothing happens once it is reaped.
    pub(crate) fn signal(&self, signal: Signal) {
        // Locked while signalling, so that `reap` cannot free the pid in between.
        let child = self.child.lock();
        // Bubblewrap forwards no signal and kills everything inside when it dies, so its own SIGTERM leaves the CLI no time
        // to exit cleanly.
        let inner = (self.sandboxed && signal != Signal::KILL).then(|| tree::behind_bubblewrap(self.pid()));
        if child.is_some() && inner.flatten().is_some_and(|inner| inner.signal(signal)) {
            return;
        }
        if child.is_some()
            && let Err(error) = kill_process(self.pid, signal)
        {
            tracing::warn!(%error, pid = self.pid(), ?signal, "cannot signal a Claude Code process");
        }
    }

    /// Asks it to exit, once: a second SIGTERM could cut a clean exit short.
    pub(crate) fn ask_to_end(&self) {
        if !self.asked.swap(true, Ordering::Relaxed) {
            self.signal(Signal::TERM);
        }
    }

    /// Reports its exit, without reaping it. The thread lives as long as the process.
    pub(crate) fn watch(self: &Arc<Self>) -> io::Result<oneshot::Receiver<()>> {
        let (ended, watcher) = oneshot::channel();
        let leader = Arc::clone(self);
        // A small stack, since there is one such thread per process.
        thread::Builder::new().name("claude-wait".into()).stack_size(128 * 1024).spawn(move || {
            // NOWAIT leaves a zombie, so that the pid stays ours while descendants are searched.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(leader.pid), options) {}
            let _ = ended.send(());
        })?;
        Ok(watcher)
    }

    /// Waits for the exit, takes the status and gives the pid back to the system. `None` the second time.
    pub(crate) fn reap(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock();
        adopted::release_zombie(self.pid);
        child.take()?.wait().inspect_err(|error| tracing::error!(%error, "cannot reap a process")).ok()
    }
}

impl Drop for ProcessLeader {
    fn drop(&mut self) {
        adopted::release_zombie(self.pid);
    }
}

/// Exit code and signal of a status.
pub(crate) fn code_and_signal(status: Option<ExitStatus>) -> (Option<i32>, Option<i32>) {
    (status.and_then(|status| status.code()), status.and_then(|status| status.signal()))
}

/// The thread that reads the terminal, and a way to stop it if another process holds the terminal open.
pub(crate) struct PtyReader {
    terminal: PtyTerminal,
    progress: Arc<ReadProgress>,
    done: oneshot::Receiver<String>,
}

#[derive(Default)]
struct ReadProgress {
    stop: AtomicBool,
    waiting: AtomicBool,
    reads: AtomicU64,
}

impl PtyReader {
    /// Starts the thread. `consume` gets a function that fills a buffer (0: nothing more comes) and returns the last lines
    /// that were no events; `first` runs once something was read.
    pub(crate) fn start(
        terminal: PtyTerminal,
        consume: impl FnOnce(&mut dyn FnMut(&mut [u8]) -> usize) -> String + Send + 'static,
        first: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let mut source = terminal.master.try_clone_reader().map_err(io::Error::other)?;
        let (tail, done) = oneshot::channel();
        let progress = Arc::new(ReadProgress::default());
        let (shared, mut first) = (Arc::clone(&progress), Some(first));
        thread::Builder::new().name("claude-read".into()).spawn(move || {
            let tail_text = consume(&mut |buffer| {
                let count = shared.read(&mut source, buffer);
                if count > 0
                    && let Some(first) = first.take()
                {
                    first();
                }
                count
            });
            drop(source);
            let _ = tail.send(tail_text);
        })?;
        Ok(Self { terminal, progress, done })
    }

    /// Waits until the whole output of a dead process is read; returns its last lines that were no JSON.
    ///
    /// That can take as long as the receiver takes. A process that holds the terminal open does not delay it.
    pub(crate) async fn finish(mut self) -> String {
        let mut before = None;
        loop {
            if let Ok(tail) = tokio::time::timeout(SETTLED, &mut self.done).await {
                return tail.unwrap_or_default();
            }
            let waiting = self.progress.waiting.load(Ordering::SeqCst);
            let reads = waiting.then(|| self.progress.reads.load(Ordering::SeqCst));
            // The same count twice while the thread waits: nothing came for a whole interval.
            if reads.is_some() && reads == before {
                self.progress.stop.store(true, Ordering::SeqCst);
                self.terminal.wake_reader();
            }
            before = reads;
        }
    }
}

impl Drop for PtyReader {
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::SeqCst);
        self.terminal.wake_reader();
    }
}

impl ReadProgress {
    /// Reads more; 0 once the other side is closed, which Linux reports as an error (EIO).
    fn read(&self, source: &mut dyn Read, buffer: &mut [u8]) -> usize {
        loop {
            self.waiting.store(true, Ordering::SeqCst);
            let result = source.read(buffer);
            self.waiting.store(false, Ordering::SeqCst);
            self.reads.fetch_add(1, Ordering::SeqCst);
            match result {
                Ok(count) if !self.stop.load(Ordering::SeqCst) => return count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return 0,
            }
        }
    }
}

impl PtyTerminal {
    /// Makes a blocked read return.
    fn wake_reader(&self) {
        // A read cannot be cancelled, but it returns when the other side writes: so a line feed is written there. While we
        // hold our side, the device's name means this terminal and no other.
        let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // Fails when the reader is long gone or has enough to read: both are fine.
        if let Ok(device) = rustix::fs::open(&self.device, flags, Mode::empty()) {
            let _ = rustix::io::write(&device, b"\n");
        }
    }
}

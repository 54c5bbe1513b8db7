//! Commands of the Bash tool: each in a session of its own, as the real CLI runs them, and ended with it.

use std::{
    collections::BTreeSet,
    io::Read,
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::process::{Pid, Signal, kill_process_group};

static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
static STUBBORN: AtomicBool = AtomicBool::new(false);

/// The result of a command.
#[derive(Debug)]
pub struct Ran {
    /// Its output, both streams, without the last line break.
    pub output: String,
    pub failed: bool,
}

/// Runs a command and waits for it.
pub fn run(command: &str, session: &str) -> Ran {
    let script = format!("{{ {command}\n}} 2>&1");
    let mut shell = Command::new("setsid");
    shell
        .args(["/bin/bash", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    shell.env("CLAUDE_CODE_SESSION_ID", session).env("CLAUDE_PID", std::process::id().to_string());
    let spawned = shell.spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Ran { output: format!("setsid: {error}"), failed: true },
    };
    running(|running| running.insert(child.id()));
    let mut output = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        let _ = stdout.read_to_end(&mut output);
    }
    let failed = !child.wait().is_ok_and(|status| status.success());
    running(|running| running.remove(&child.id()));
    Ran { output: String::from_utf8_lossy(&output).trim_end().to_owned(), failed }
}

/// Kills all commands that run.
pub fn kill_all() {
    let pids = running(|running| running.clone());
    for pid in pids.into_iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

fn running<T>(with: impl FnOnce(&mut BTreeSet<u32>) -> T) -> T {
    with(&mut RUNNING.lock().unwrap_or_else(PoisonError::into_inner))
}

/// From now on SIGTERM, SIGHUP and SIGINT change nothing.
pub fn be_stubborn() {
    STUBBORN.store(true, Ordering::SeqCst);
}

/// Exits as the real CLI does on a signal: commands killed, then 143, 129, or 0 for SIGINT.
pub fn watch_signals() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _guard = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    drop(_guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let code = tokio::select! {
                    _ = terminate.recv() => 143,
                    _ = hang_up.recv() => 129,
                    _ = interrupt.recv() => 0,
                };
                if !STUBBORN.load(Ordering::SeqCst) {
                    kill_all();
                    std::process::exit(code);
                }
            }
        });
    });
    Ok(())
}

//! One git process: fed, drained on both pipes, bounded in time and memory, ended with its children.

use std::{
    io::{self, Read, Write},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{GitAnswer, GitProgramError};

/// More than this on standard output is refused.
pub(super) const MAX_ANSWER: usize = 64 << 20;

/// Bytes of standard error that are stored: the last ones.
const KEPT_STDERR: usize = 8 << 10;

/// How often a git that has closed its pipes is asked whether it has ended.
const LOOK: Duration = Duration::from_millis(2);

/// Runs a command. Blocks.
pub(super) fn run(
    mut command: Command,
    shown: String,
    input: &[u8],
    timeout: Duration,
) -> Result<GitAnswer, GitProgramError> {
    let until = Instant::now() + timeout;
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    // A group of its own, so that a timeout also ends the programs that git started.
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(GitProgramError::Start)?;
    let outcome = thread::scope(|scope| {
        // All pipes at once: git blocks on a full output pipe while it still has input to read, and we would
        // with it.
        let (sender, parts) = mpsc::channel();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (feeding, reading) = (sender.clone(), sender.clone());
        scope.spawn(move || {
            // Broken by a git that wants no more of it; its exit code shows why.
            let _ = stdin.map(|mut stdin| stdin.write_all(input));
            feeding.send(OutputPart::Fed)
        });
        scope.spawn(move || reading.send(OutputPart::Stdout(read_all(stdout))));
        scope.spawn(move || sender.send(OutputPart::Stderr(read_end(stderr))));
        let outcome =
            collect(&parts, until).and_then(|parts| wait(&mut child, until).map(|code| (parts, code)));
        if outcome.is_err() {
            end(&mut child);
        }
        outcome
    });
    match outcome {
        Ok((collected, code)) => Ok(GitAnswer { code, stdout: collected.stdout, stderr: collected.stderr }),
        Err(CutReason::Late) => Err(GitProgramError::Timeout { command: shown, timeout }),
        Err(CutReason::TooMuch) => Err(GitProgramError::TooMuch { command: shown }),
        Err(CutReason::Pipe(source)) => Err(GitProgramError::Pipe { command: shown, source }),
    }
}

enum OutputPart {
    Fed,
    Stdout(Result<Vec<u8>, CutReason>),
    Stderr(String),
}

/// Why it is killed early.
enum CutReason {
    Late,
    TooMuch,
    Pipe(io::Error),
}

#[derive(Default)]
struct CollectedOutput {
    stdout: Vec<u8>,
    stderr: String,
}

fn collect(parts: &mpsc::Receiver<OutputPart>, until: Instant) -> Result<CollectedOutput, CutReason> {
    let mut collected = CollectedOutput::default();
    for _ in 0..3 {
        let left = until.saturating_duration_since(Instant::now());
        match parts.recv_timeout(left).map_err(|_| CutReason::Late)? {
            OutputPart::Fed => {}
            OutputPart::Stdout(bytes) => collected.stdout = bytes?,
            OutputPart::Stderr(text) => collected.stderr = text,
        }
    }
    Ok(collected)
}

/// Its exit code. It has closed its pipes by now, so that it is over almost always.
fn wait(child: &mut Child, until: Instant) -> Result<Option<i32>, CutReason> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.code()),
            Ok(None) if Instant::now() < until => thread::sleep(LOOK),
            Ok(None) => return Err(CutReason::Late),
            Err(error) => return Err(CutReason::Pipe(error)),
        }
    }
}

/// Kills it and its children: its group is its own, and its id stays ours until it is reaped.
fn end(child: &mut Child) {
    if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

fn read_all(source: Option<impl Read>) -> Result<Vec<u8>, CutReason> {
    let mut bytes = Vec::new();
    if let Some(source) = source {
        source.take(MAX_ANSWER as u64 + 1).read_to_end(&mut bytes).map_err(CutReason::Pipe)?;
    }
    if bytes.len() > MAX_ANSWER { Err(CutReason::TooMuch) } else { Ok(bytes) }
}

fn read_end(source: Option<impl Read>) -> String {
    let Some(mut source) = source else { return String::new() };
    let (mut kept, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = source.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..count]);
        kept.drain(..kept.len().saturating_sub(KEPT_STDERR));
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

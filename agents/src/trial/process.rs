//! The process of a trial, from its start to the end of all that it started.

use std::{
    ffi::OsString,
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::Path,
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, set_parent_process_death_signal},
};
use tokio_util::sync::CancellationToken;

use super::{TRIAL_LIMIT, TrialEnd, TrialFailure, TrialOutput};
use crate::{
    confine::{LayerFiles, WalledCommand, in_own_session},
    tree::{self, GATE_MARK},
};

/// How much of its output is kept: the beginning.
const HEAD_BYTES: usize = 32 << 10;

/// How long it may take until the layers are there, on a machine under load.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon a trial that is called off ends.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A command that has ended, with all that it started.
pub(super) struct EndedCommand {
    pub end: TrialEnd,
    pub took: Duration,
    pub output: TrialOutput,
    pub layers: LayerFiles,
}

/// Runs a command in `folder`; `mark` is in the environment of all its processes. Blocks until nothing of it is left.
pub(super) fn run(
    walled: &WalledCommand,
    environment: &[(OsString, OsString)],
    (folder, mark): (&Path, &str),
    stop: &CancellationToken,
) -> Result<EndedCommand, TrialFailure> {
    let failed = |error: io::Error| TrialFailure::NotStarted(error.to_string());
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    ours.set_read_timeout(Some(START_LIMIT)).map_err(failed)?;
    let (reader, writer) = io::pipe().map_err(failed)?;
    let mut command = Command::new(&walled.argv[0]);
    command.args(&walled.argv[1..]).current_dir(folder);
    command.env_clear().envs(environment.iter().cloned());
    command.envs(walled.environment.iter().cloned()).env(GATE_MARK, mark);
    command.stdin(OwnedFd::from(theirs)).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    in_own_session(&mut command);
    end_with_this_thread(&mut command);
    let mut child = command.spawn().map_err(failed)?;
    // It still holds our copies of the pipe and the socket.
    drop(command);
    let output = thread::spawn(move || read_head(reader));
    let layers = LayerFiles::receive(ours.as_fd());
    let begun = Instant::now();
    let has_layers = matches!(layers, Ok(Some(_)));
    let waited = if has_layers { wait(&mut child, stop) } else { Waited::Ended };
    let took = begun.elapsed();
    let status = end_all(child, mark);
    let output = output.join().unwrap_or_default();
    if matches!(waited, Waited::Stopped) || stop.is_cancelled() {
        return Err(TrialFailure::Stopped);
    }
    match layers {
        Ok(Some(layers)) => {
            let end = match (waited, status.map_err(failed)?.code()) {
                (Waited::Late, _) => TrialEnd::TimedOut,
                // The shell before the sandbox was killed, which nobody but the system does.
                (Waited::Ended | Waited::Stopped, code) => TrialEnd::Exited(code.unwrap_or(137)),
            };
            Ok(EndedCommand { end, took, output, layers })
        }
        // Whatever prepares the process has said why.
        Ok(None) => Err(TrialFailure::NotStarted(output.head.trim().to_owned())),
        Err(error) => Err(failed(error)),
    }
}

enum Waited {
    Ended,
    Late,
    Stopped,
}

fn wait(child: &mut Child, stop: &CancellationToken) -> Waited {
    let until = Instant::now() + TRIAL_LIMIT;
    let leader = Pid::from_child(child);
    let Ok(handle) = pidfd_open(leader, PidfdFlags::empty()) else { return Waited::Ended };
    loop {
        if stop.is_cancelled() {
            return Waited::Stopped;
        }
        if Instant::now() >= until {
            return Waited::Late;
        }
        let mut handles = [PollFd::new(&handle, PollFlags::IN)];
        if poll(&mut handles, Some(&LOOK)).is_ok_and(|ready| ready > 0) {
            return Waited::Ended;
        }
    }
}

/// Ends everything that is left of it, and waits until it is gone.
fn end_all(mut child: Child, mark: &str) -> io::Result<ExitStatus> {
    let leader = child.id();
    let ended = child.try_wait();
    if !matches!(ended, Ok(Some(_))) {
        // While parents live, children can still be known by them.
        let known = tree::descendants(leader);
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        tree::kill_all(PATIENCE, || known.iter().filter(|seen| seen.is_alive()).copied().collect());
    }
    let status = child.wait();
    tree::kill_all(PATIENCE, || {
        tree::marked(|environment| environment.get(GATE_MARK) == Some(mark.as_bytes()))
    });
    status
}

/// Lets the process be killed when the thread that starts it ends. Nothing else would end it if storkit is killed.
#[allow(unsafe_code)]
fn end_with_this_thread(command: &mut Command) {
    // SAFETY: runs between fork and exec. The system call is async-signal-safe, and nothing is allocated.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
}

/// The beginning of an output, which is read to its end.
fn read_head(mut pipe: io::PipeReader) -> TrialOutput {
    let (mut head, mut bytes, mut buffer) = (Vec::new(), 0, vec![0; 64 << 10]);
    while let Ok(count) = pipe.read(&mut buffer) {
        if count == 0 {
            break;
        }
        bytes += count as u64;
        let room = HEAD_BYTES - head.len();
        head.extend_from_slice(&buffer[..count.min(room)]);
    }
    let is_whole = head.len() as u64 == bytes;
    TrialOutput { head: String::from_utf8_lossy(&head).into_owned(), bytes, is_whole }
}

//! The lower bound: a CLI in a PTY that gets its prompts through a FIFO and is read by a loop that does nothing else.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{Read, Write as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tempfile::TempDir;

use crate::machine::Observed;

const SIZE: PtySize = PtySize { rows: 24, cols: 200, pixel_width: 0, pixel_height: 0 };
const BUFFER: usize = 64 * 1024;
/// The last line of a turn, however its keys are ordered.
const RESULT: &[u8] = b"\"type\":\"result\"";
/// Longer than any result line of the stand-in or of a short answer.
const LONGEST_RESULT: usize = 16 * 1024;

/// A CLI without a bot. Dropping it kills the process.
pub struct Bare {
    child: Box<dyn Child + Send + Sync>,
    reader: Box<dyn Read + Send>,
    prompts: File,
    buffer: Vec<u8>,
    _master: Box<dyn MasterPty + Send>,
    _folder: TempDir,
}

impl Bare {
    /// Starts it the way storkit does: a shell that redirects standard input and becomes the CLI.
    pub fn start(
        argv: &[OsString],
        environment: &[(OsString, OsString)],
        cwd: &Path,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let fifo = folder.path().join("prompts");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
        let pair = native_pty_system().openpty(SIZE)?;
        let mut command = CommandBuilder::new("/bin/sh");
        command.args(["-c", r#"exec "$@" < "$0""#]);
        command.arg(&fifo);
        command.args(argv);
        command.cwd(cwd);
        command.env_clear();
        for (name, value) in environment {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command)?;
        let reader = pair.master.try_clone_reader()?;
        // Also opened for reading, so that the open does not wait for the CLI and the CLI never reads an end of file.
        let prompts = OpenOptions::new().read(true).write(true).open(&fifo)?;
        Ok(Self { child, reader, prompts, buffer: vec![0; BUFFER], _master: pair.master, _folder: folder })
    }

    /// Sends a prompt, reads up to its result line and returns the number of bytes. `look` gets each piece right after its read.
    pub fn ask(&mut self, prompt: &str, mut look: impl FnMut(&[u8])) -> anyhow::Result<usize> {
        let message = serde_json::json!({"role": "user", "content": prompt});
        writeln!(self.prompts, "{}", serde_json::json!({"type": "user", "message": message}))?;
        let (mut total, mut tail) = (0, Vec::new());
        loop {
            let count = self.reader.read(&mut self.buffer).context("the CLI has ended")?;
            if count == 0 {
                bail!("the CLI has ended");
            }
            let piece = &self.buffer[..count];
            total += count;
            look(piece);
            // A result line may arrive in several pieces.
            tail.extend_from_slice(&piece[count.saturating_sub(LONGEST_RESULT)..]);
            tail.drain(..tail.len().saturating_sub(LONGEST_RESULT));
            if piece.ends_with(b"\n") && tail.windows(RESULT.len()).any(|window| window == RESULT) {
                return Ok(total);
            }
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The arguments for a live session of a CLI.
pub fn live_arguments(claude: &Path) -> Vec<OsString> {
    let session = uuid::Uuid::new_v4().to_string();
    let options = [
        "-p",
        "--permission-prompt-tool",
        "stdio",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
    ];
    let rest = ["--session-id", &session, "--verbose", "--include-partial-messages"];
    std::iter::once(claude.into()).chain(options.iter().chain(&rest).map(OsString::from)).collect()
}

/// The times of round trips through a PTY: a line is written, and a thread on the other side echoes it.
pub fn pty_round_trips(count: usize) -> anyhow::Result<Vec<Duration>> {
    let pair = native_pty_system().openpty(SIZE)?;
    let device = pair.master.tty_name().context("the terminal has no name")?;
    let mut other = OpenOptions::new().read(true).write(true).open(device)?;
    // Raw, or the terminal itself would echo and translate line feeds.
    let mut raw = tcgetattr(&other)?;
    raw.make_raw();
    tcsetattr(&other, OptionalActions::Now, &raw)?;
    let echo = std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = other.read(&mut buffer) {
            if buffer[..count].contains(&b'.') || other.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    });
    let (mut reader, mut writer) = (pair.master.try_clone_reader()?, pair.master.take_writer()?);
    let mut trips = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        writer.write_all(b"x\n")?;
        let (mut buffer, mut back) = ([0; 64], 0);
        // The two bytes may come one by one.
        while back < 2 {
            back += reader.read(&mut buffer)?;
        }
        trips.push(start.elapsed());
    }
    writer.write_all(b".")?;
    let _ = echo.join();
    Ok(trips)
}

/// Starts a program in a terminal and returns the time from the fork until it shows this text. `then` gets the process
/// before it is ended.
pub fn until_shown(
    command: &Command,
    text: &str,
    then: impl FnOnce(Observed) -> anyhow::Result<()>,
) -> anyhow::Result<Duration> {
    let pair = native_pty_system().openpty(SIZE)?;
    let (mut reader, mut writer) = (pair.master.try_clone_reader()?, pair.master.take_writer()?);
    let builder = builder(command);
    let start = Instant::now();
    let mut child = pair.slave.spawn_command(builder)?;
    // While our copy is open, the exit of the program would go unnoticed.
    drop(pair.slave);
    let (mut screen, mut buffer) = (Vec::new(), [0; 4096]);
    let shown = loop {
        // Linux reports a terminal whose other side is closed as an error (EIO).
        let count = reader.read(&mut buffer).unwrap_or(0);
        if count == 0 {
            break Err(anyhow!("it ended without showing `{text}`: {}", String::from_utf8_lossy(&screen)));
        }
        // A line editor asks for the cursor position and waits for the answer.
        if buffer[..count].windows(CURSOR.len()).any(|window| window == CURSOR) {
            writer.write_all(b"\x1b[1;1R")?;
        }
        screen.extend_from_slice(&buffer[..count]);
        if screen.windows(text.len()).any(|window| window == text.as_bytes()) {
            break Ok(start.elapsed());
        }
    };
    let pid = child.process_id().context("it has no process id")?;
    let looked = if shown.is_ok() { then(Observed(pid)) } else { Ok(()) };
    // The program exits when its terminal closes.
    drop((reader, writer, pair.master));
    child.wait()?;
    looked?;
    shown
}

/// The request for the cursor position (ECMA-48, DSR 6).
const CURSOR: &[u8] = b"\x1b[6n";

fn builder(command: &Command) -> CommandBuilder {
    let mut builder = CommandBuilder::new(command.get_program());
    builder.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        builder.cwd(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => builder.env(name, value),
            None => builder.env_remove(name),
        }
    }
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_read_until_its_result() {
        let script = r#"while read -r line; do echo "$line"; printf '{"a":1,"type":"result"}\n'; done"#;
        let argv = ["sh", "-c", script].map(OsString::from);
        let environment: Vec<_> = std::env::vars_os().collect();
        let mut bare = Bare::start(&argv, &environment, Path::new("/")).unwrap();
        for prompt in ["first", "second"] {
            let mut seen = Vec::new();
            let count = bare.ask(prompt, |piece| seen.extend_from_slice(piece)).unwrap();
            assert_eq!(count, seen.len());
            assert!(String::from_utf8(seen).unwrap().contains(prompt));
        }
    }

    #[test]
    fn a_program_that_ends_before_it_is_ready_is_told_with_what_it_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo got to here"]);
        until_shown(&command, "got to", |_| Ok(())).unwrap();
        let error = until_shown(&command, "ready", |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("got to here"), "{error}");
    }

    #[test]
    fn a_line_comes_back_through_a_terminal() {
        assert_eq!(pty_round_trips(3).unwrap().len(), 3);
    }
}

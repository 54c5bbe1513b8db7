//! The raw limit: a CLI in a PTY with its prompts through a FIFO, read by a loop that does nothing else.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{Read, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tempfile::TempDir;

const SIZE: PtySize = PtySize { rows: 24, cols: 200, pixel_width: 0, pixel_height: 0 };
const BUFFER: usize = 64 * 1024;
/// The last line of a turn, however its keys are ordered.
const RESULT: &[u8] = b"\"type\":\"result\"";
/// No result line of the stand-in or of a short answer is longer.
const LONGEST_RESULT: usize = 16 * 1024;

/// A CLI without a bot. Ended when dropped.
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
    pub fn start(argv: &[OsString], environment: &[(OsString, OsString)], cwd: &Path) -> anyhow::Result<Self> {
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
        // For reading too: so the open does not wait for the CLI, and the FIFO never ends.
        let prompts = OpenOptions::new().read(true).write(true).open(&fifo)?;
        Ok(Self { child, reader, prompts, buffer: vec![0; BUFFER], _master: pair.master, _folder: folder })
    }

    /// Sends a prompt and reads until its result line has come. `look` sees each piece right after its read.
    /// Gives the number of bytes.
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

/// The argument vector for a live session of a CLI.
pub fn live_arguments(claude: &Path) -> Vec<OsString> {
    let session = uuid::Uuid::new_v4().to_string();
    let options = ["-p", "--permission-prompt-tool", "stdio", "--input-format", "stream-json", "--output-format", "stream-json"];
    let rest = ["--session-id", &session, "--verbose", "--include-partial-messages"];
    std::iter::once(claude.into()).chain(options.iter().chain(&rest).map(OsString::from)).collect()
}

/// The time from writing a line into a PTY until it is back from a thread that echoes on the other side.
pub fn pty_round_trips(count: usize) -> anyhow::Result<Vec<Duration>> {
    let pair = native_pty_system().openpty(SIZE)?;
    let device = pair.master.tty_name().context("the terminal has no name")?;
    let mut other = OpenOptions::new().read(true).write(true).open(device)?;
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
        while back < 2 {
            back += reader.read(&mut buffer)?;
        }
        trips.push(start.elapsed());
    }
    writer.write_all(b".")?;
    let _ = echo.join();
    Ok(trips)
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
    fn a_line_comes_back_through_a_terminal() {
        assert_eq!(pty_round_trips(3).unwrap().len(), 3);
    }
}

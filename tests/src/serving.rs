//! `storkit serve` as a process, and a terminal attached to it that sees what the chat shows.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::Child,
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use serde_json::{Value, json};

use crate::process::{kill_9, terminate};

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A `storkit serve` that has come up. It is killed when dropped.
pub struct Serving {
    child: Child,
    lines: Receiver<String>,
    said: String,
    /// The port of its loopback listener.
    pub port: u16,
}

/// A terminal in the room `main`. It hears everything from the moment the room began.
pub struct Terminal {
    stream: UnixStream,
    lines: Receiver<String>,
    heard: Vec<String>,
    tickets: u64,
}

impl Serving {
    /// Waits until this `storkit serve` (its standard error a pipe) says that it serves and takes terminals.
    ///
    /// # Panics
    /// With what it said, if it ends first.
    pub fn new(mut child: Child) -> Self {
        let lines = lines_of(child.stderr.take().expect("standard error is a pipe"));
        let mut serving = Self { child, lines, said: String::new(), port: 0 };
        serving.serves_again();
        serving
    }

    /// Waits until it says so once more, as after a restart in place.
    ///
    /// # Panics
    /// With what it said, if it ends first.
    pub fn serves_again(&mut self) {
        self.port = 0;
        let mut connected = false;
        while self.port == 0 || !connected {
            let line = self.next_line().unwrap_or_else(|| panic!("it does not serve: {}", self.said));
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            let fields = &line["fields"];
            connected |= fields["message"] == "connected" && fields["adapter"] == "console";
            if fields["message"] == "storkit serves" {
                self.port = fields["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// SIGKILL, and its end.
    pub fn kill_9(mut self) {
        kill_9(self.pid());
        self.child.wait().expect("it ends");
    }

    /// SIGTERM, and its exit code and log.
    pub fn end(mut self) -> (Option<i32>, String) {
        terminate(self.pid());
        while self.next_line().is_some() {}
        let status = self.child.wait().expect("it ends");
        (status.code(), std::mem::take(&mut self.said))
    }

    /// The log up to the line with `text`.
    ///
    /// # Panics
    /// If it ends or a minute passes first.
    pub fn logs(&mut self, text: &str) -> String {
        while !self.said.contains(text) {
            assert!(self.next_line().is_some(), "never logged {text:?}: {}", self.said);
        }
        self.said.clone()
    }

    fn next_line(&mut self) -> Option<String> {
        let line = self.lines.recv_timeout(PATIENCE).ok()?;
        self.said.push_str(&line);
        self.said.push('\n');
        Some(line)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(1)) {
                self.said.push_str(&line);
                self.said.push('\n');
            }
            eprintln!("--- log of storkit\n{}---", self.said);
        }
    }
}

impl Terminal {
    /// Attaches to the storkit that serves this project.
    pub fn attach(project: &Path) -> Self {
        let socket = project.join(".storkit/run/console.sock");
        let stream = UnixStream::connect(&socket).expect("a storkit listens");
        let lines = lines_of(stream.try_clone().expect("another handle"));
        let mut terminal = Self { stream, lines, heard: Vec::new(), tickets: 0 };
        terminal.tell(&json!({ "type": "hello" }));
        terminal
    }

    /// Says a line.
    pub fn say(&mut self, text: &str) {
        self.tickets += 1;
        self.tell(&json!({ "type": "say", "ticket": self.tickets, "text": text }));
    }

    /// Waits for a message, new or edited, that contains `text`, and returns it.
    ///
    /// # Panics
    /// With all that was heard, if it does not come.
    pub fn see(&mut self, text: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("never saw {text:?}:\n{}", self.heard.join("\n"));
            };
            let line: Value = serde_json::from_str(&line).expect("JSON");
            self.heard.push(line.to_string());
            let shown = line["markdown"].as_str().or(line["reason"].as_str()).unwrap_or_default();
            if shown.contains(text) {
                return shown.to_owned();
            }
        }
    }

    /// All that was heard so far, as it came.
    pub fn heard(&self) -> String {
        self.heard.join("\n")
    }

    fn tell(&mut self, line: &Value) {
        writeln!(self.stream, "{line}").expect("storkit hears");
    }
}

/// Lines as they come; the channel closes with the source.
fn lines_of(source: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = String::new();
        while source.by_ref().read_line(&mut line).is_ok_and(|length| length > 0) {
            if sender.send(line.trim_end().to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

//! `storkit serve` as a process, and an attached terminal that receives the chat.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    process::Child,
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    place::Place,
    process::{kill_9, terminate},
};

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `storkit serve`. Dropping it kills the process.
pub struct Serving {
    child: Child,
    lines: Receiver<String>,
    said: String,
    place: Arc<Place>,
    /// The port of its loopback listener.
    pub port: u16,
}

/// A terminal in one room. It receives everything that the room has shown since its start.
pub struct Terminal {
    stream: UnixStream,
    lines: Receiver<String>,
    heard: Vec<String>,
    tickets: u64,
    place: Arc<Place>,
}

impl Serving {
    /// Waits until this `storkit serve`, whose standard error is a pipe, has logged that it serves and accepts terminals.
    ///
    /// Panics with the log, if the process exits first.
    pub(crate) fn new(mut child: Child, place: Arc<Place>) -> Self {
        let lines = lines_of(child.stderr.take().expect("standard error is a pipe"));
        let mut serving = Self { child, lines, said: String::new(), place, port: 0 };
        serving.serves_again();
        serving
    }

    /// Waits until it has logged that again, after a restart in place.
    ///
    /// Panics with the log, if the process exits first.
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

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends SIGKILL and waits for the process.
    pub fn kill_9(mut self) {
        self.place.check_processes(self.child.id());
        kill_9(self.pid());
        self.child.wait().expect("it ends");
    }

    /// Sends SIGTERM and returns the exit code and the log.
    pub fn end(mut self) -> (Option<i32>, String) {
        self.place.check_processes(self.child.id());
        terminate(self.pid());
        while self.next_line().is_some() {}
        let status = self.child.wait().expect("it ends");
        self.place.check_all("the log", &self.said);
        (status.code(), std::mem::take(&mut self.said))
    }

    /// Waits for a log line with `text` and returns the log so far.
    ///
    /// Panics if the process exits or a minute passes first.
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
        if let Ok(None) = self.child.try_wait() {
            self.place.check_processes(self.child.id());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Reads the rest of the log. An orphan process may hold the pipe open, so not for ever.
        let until = Instant::now() + Duration::from_secs(2);
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        if std::thread::panicking() {
            eprintln!("--- log of storkit\n{}---", self.said);
        }
        self.place.check_all("the log", &self.said);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.heard.extend(self.lines.try_iter());
        self.place.check_all("a terminal", &self.heard());
    }
}

impl Terminal {
    /// Attaches to the storkit that serves this project.
    pub(crate) fn attach(place: Arc<Place>, room: Option<&str>) -> Self {
        let socket = place.project().join(".storkit/run/console.sock");
        let stream = UnixStream::connect(&socket).expect("a storkit listens");
        let lines = lines_of(stream.try_clone().expect("another handle"));
        let mut terminal = Self { stream, lines, heard: Vec::new(), tickets: 0, place };
        terminal.tell(&json!({ "type": "hello", "room": room }));
        terminal
    }

    /// Sends a line to the room.
    pub fn say(&mut self, text: &str) {
        self.tickets += 1;
        self.tell(&json!({ "type": "say", "ticket": self.tickets, "text": text }));
    }

    /// Waits for a message, new or edited, that contains `text`, and returns it.
    ///
    /// Panics with everything that was received, if it does not come.
    pub fn see(&mut self, text: &str) -> String {
        self.see_any(&[text])
    }

    /// As [`Terminal::see`], for the first message with one of these texts.
    pub fn see_any(&mut self, texts: &[&str]) -> String {
        loop {
            let line = self.receive(&format!("saw {texts:?}"));
            let shown = line["markdown"].as_str().or(line["reason"].as_str()).unwrap_or_default();
            if texts.iter().any(|text| shown.contains(text)) {
                return shown.to_owned();
            }
        }
    }

    /// Waits until all that was received is so.
    ///
    /// Panics with it, if it never is.
    pub fn until<T>(&mut self, what: &str, find: impl Fn(&[Value]) -> Option<T>) -> T {
        self.heard.extend(self.lines.try_iter());
        let parsed = self.heard.iter().map(|line| serde_json::from_str(line).expect("JSON"));
        let mut heard: Vec<Value> = parsed.collect();
        loop {
            if let Some(found) = find(&heard) {
                return found;
            }
            heard.push(self.receive(what));
        }
    }

    fn receive(&mut self, what: &str) -> Value {
        let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
            panic!("never {what}:\n{}", self.heard.join("\n"));
        };
        let line: Value = serde_json::from_str(&line).expect("JSON");
        self.heard.push(line.to_string());
        line
    }

    /// Everything that was received so far, as JSON lines.
    pub fn heard(&self) -> String {
        self.heard.join("\n")
    }

    fn tell(&mut self, line: &Value) {
        writeln!(self.stream, "{line}").expect("storkit hears");
    }
}

/// Reads lines in a thread. The channel closes with the source.
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

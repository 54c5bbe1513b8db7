//! The stand-in's talk in both directions: lines out, lines in, and the questions between them.

use std::{
    io::{BufRead, IsTerminal, Write},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    arguments::Arguments,
    lines::{self, End, Stamp},
    session::Session,
    shell::{self, Ran},
};

/// What one call of the API costs, in dollars, as in the recordings.
pub const CALL: f64 = 0.0006;

/// What comes in while a turn may be running.
#[derive(Debug)]
pub enum Incoming {
    /// A line of JSON.
    Line(Value),
    /// A line that is no JSON: the real CLI exits then.
    Broken,
    /// Nothing will come any more.
    End,
    /// A command has ended.
    Ran(Ran),
}

/// A turn was interrupted.
#[derive(Debug)]
pub struct Interrupted {
    /// The result's word for it.
    pub reason: &'static str,
}

/// The talk of one process.
#[derive(Debug)]
pub struct Talk {
    pub arguments: Arguments,
    pub session: Session,
    /// Session and model, as lines carry them.
    pub stamp: Stamp,
    /// Prompts that came during a turn: all of them become the next one.
    pub queued: Vec<String>,
    /// Refused calls of this turn.
    pub denials: Vec<Value>,
    /// Calls of the API in this turn.
    pub calls: u32,
    /// Whether the input has ended.
    pub ended: bool,
    incoming: Receiver<Incoming>,
    sender: Sender<Incoming>,
    printed: usize,
    results: u32,
}

impl Talk {
    /// A talk that has not begun.
    pub fn new(arguments: Arguments, session: Session) -> Self {
        let (sender, incoming) = channel();
        let model = arguments.model.clone().unwrap_or_else(|| "claude-opus-5-5".into());
        let stamp = Stamp { session: session.id.clone(), model };
        Self {
            arguments,
            session,
            stamp,
            queued: vec![],
            denials: vec![],
            calls: 0,
            ended: false,
            incoming,
            sender,
            printed: 0,
            results: 0,
        }
    }

    /// Reads standard input in a thread of its own.
    pub fn listen(&self) {
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let parsed = line.ok().and_then(|line| serde_json::from_str::<Value>(&line).ok());
                let line = parsed.filter(Value::is_object).map_or(Incoming::Broken, Incoming::Line);
                if sender.send(line).is_err() {
                    return;
                }
            }
            let _ = sender.send(Incoming::End);
        });
    }

    /// The next prompt, `None` after the last input.
    pub fn next_prompt(&mut self) -> Option<String> {
        while self.queued.is_empty() {
            if self.ended {
                return None;
            }
            let incoming = self.incoming.recv().unwrap_or(Incoming::End);
            self.take(incoming, None);
        }
        Some(std::mem::take(&mut self.queued).join("\n"))
    }

    /// Prints a line with its keys in changing order.
    pub fn print(&mut self, line: &Value) {
        self.printed += 1;
        self.raw(format!("{}\n", lines::shuffled(line, self.printed)).as_bytes());
    }

    /// Prints bytes as they are. Without a reader there is nothing to live for.
    pub fn raw(&self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
            std::process::exit(1);
        }
    }

    /// The escape that the real CLI leaves on a terminal.
    pub fn leave(&self, code: i32) -> ! {
        if std::io::stdout().is_terminal() {
            self.raw(b"\x1b[?25h");
        }
        std::process::exit(code)
    }

    /// What every turn begins with, and two lines that only a later CLI knows.
    pub fn begin_turn(&mut self) {
        (self.calls, self.denials) = (0, vec![]);
        self.print(&self.stamp.init());
        self.print(&json!({"type": "brand_new_type", "message": 1, "event": []}));
        self.print(&self.stamp.system("brand_new_subtype", json!({"attempt": "none"})));
        self.call();
    }

    /// A call of the API.
    pub fn call(&mut self) {
        self.calls += 1;
        self.session.spend(CALL);
        if self.arguments.partial {
            self.print(&self.stamp.system("status", json!({"status": "requesting"})));
        }
    }

    /// Text of the model: in two pieces where partial messages are on, and whole.
    pub fn say(&mut self, text: &str) {
        let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
        self.piece(&text[..middle]);
        self.piece(&text[middle..]);
        self.print(&self.stamp.assistant(lines::text_block(text)));
    }

    /// One piece of text.
    pub fn piece(&mut self, text: &str) {
        if self.arguments.partial && !text.is_empty() {
            self.print(&self.stamp.delta(text));
        }
    }

    /// A tool call that needs a person: the answer, or the refusal that nobody was there to give.
    pub fn ask(&mut self, id: &str, tool: &str, input: &Value) -> Result<Value, Interrupted> {
        if !self.arguments.asks {
            let message =
                format!("Claude requested permissions to use {tool}, but you haven't granted it yet.");
            return Ok(json!({"behavior": "deny", "message": message}));
        }
        let request_id = uuid::Uuid::new_v4().to_string();
        self.print(&lines::can_use_tool(&request_id, tool, id, input));
        loop {
            if self.ended {
                let message = "Tool permission stream closed before response received";
                return Ok(json!({"behavior": "deny", "message": message}));
            }
            let incoming = self.incoming.recv().unwrap_or(Incoming::End);
            if let Incoming::Line(line) = &incoming
                && line["type"] == "control_response"
                && line["response"]["request_id"] == request_id.as_str()
            {
                return Ok(answer(&line["response"]));
            }
            if self.take(incoming, Some(&request_id)) {
                return Err(Interrupted { reason: "aborted_tools" });
            }
        }
    }

    /// Runs a command in a thread, so that a line from outside can interrupt it.
    pub fn run(&mut self, command: &str) -> Result<Ran, Interrupted> {
        let (sender, command, session) = (self.sender.clone(), command.to_owned(), self.session.id.clone());
        std::thread::spawn(move || sender.send(Incoming::Ran(shell::run(&command, &session))));
        loop {
            match self.incoming.recv().unwrap_or(Incoming::End) {
                Incoming::Ran(ran) => return Ok(ran),
                other => {
                    if self.take(other, None) {
                        shell::kill_all();
                        return Err(Interrupted { reason: "aborted_tools" });
                    }
                }
            }
        }
    }

    /// Waits until `done` or an interrupt, looking every few milliseconds.
    pub fn wait(&mut self, mut done: impl FnMut() -> bool) -> Result<(), Interrupted> {
        while !done() {
            match self.incoming.recv_timeout(Duration::from_millis(5)) {
                Ok(incoming) => {
                    if self.take(incoming, None) {
                        return Err(Interrupted { reason: "aborted_streaming" });
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
        Ok(())
    }

    /// Prints the result line of the turn.
    pub fn end_turn(&mut self, reason: &'static str, is_error: bool, rest: Value) {
        let end = End {
            reason,
            is_error,
            calls: self.calls,
            cost: self.session.cost,
            index: self.results,
            denials: std::mem::take(&mut self.denials),
            rest,
        };
        self.print(&self.stamp.result(&end));
        self.results += 1;
    }

    /// Acts on what came in; true if it interrupts the turn, whose open question is `open`.
    fn take(&mut self, incoming: Incoming, open: Option<&str>) -> bool {
        match incoming {
            Incoming::Ran(_) => {}
            Incoming::End => self.ended = true,
            Incoming::Broken => {
                eprintln!("Error parsing streaming input line");
                self.leave(1);
            }
            Incoming::Line(line) => match line["type"].as_str() {
                Some("user") => self.queued.push(content(&line["message"]["content"])),
                Some("control_request") => return self.control(&line, open),
                _ => {}
            },
        }
        false
    }

    fn control(&mut self, line: &Value, open: Option<&str>) -> bool {
        let id = line["request_id"].as_str().unwrap_or_default();
        let request = &line["request"];
        match request["subtype"].as_str().unwrap_or_default() {
            "interrupt" => {
                if let Some(open) = open {
                    self.print(&lines::cancel(open));
                }
                self.print(&lines::accepted(id, json!({"still_queued": []})));
                return true;
            }
            "set_model" => {
                self.stamp.model = request["model"].as_str().unwrap_or("claude-opus-5-5").to_owned();
                self.print(&lines::accepted(id, json!({"model": self.stamp.model})));
            }
            other => self.print(&lines::unsupported(id, other)),
        }
        false
    }
}

/// A prompt's text: a string, or blocks.
fn content(value: &Value) -> String {
    let blocks = value.as_array().map(|blocks| blocks.iter().filter_map(|block| block["text"].as_str()));
    let joined = blocks.map(|texts| texts.collect::<Vec<_>>().join("\n"));
    value.as_str().map(String::from).or(joined).unwrap_or_default()
}

/// The answer to a question; wrong ones are refusals, as with the real CLI.
fn answer(response: &Value) -> Value {
    let deny = |message: String| json!({"behavior": "deny", "message": message});
    if response["subtype"] == "error" {
        let error = response["error"].as_str().unwrap_or_default();
        return deny(format!("Tool permission request failed: Error: {error}"));
    }
    let given = &response["response"];
    let is_valid = match given["behavior"].as_str() {
        Some("allow") => given["updatedInput"].is_object(),
        Some("deny") => given["message"].is_string(),
        _ => false,
    };
    if is_valid {
        return given.clone();
    }
    deny(format!("The canUseTool callback returned an invalid permission result: {given}"))
}

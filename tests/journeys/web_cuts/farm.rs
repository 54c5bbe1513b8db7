//! A storkit whose agents print what the test orders, and the client of its page.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use e2e::{
    Program, Serving, Terminal,
    page::{Browser, Link},
};
use serde_json::Value;

/// Coders that print, and nobody who looks at what they did.
const TEAM: &str = "gates = [\"true\"]\n[[agent]]\nname = \"coder\"\nstage = \"coder\"\ncount = 2\n";

pub struct Farm {
    program: Program,
    serving: Serving,
    pub terminal: Terminal,
    pub browser: Browser,
    stories: u32,
}

impl Farm {
    pub async fn start() -> Self {
        let mut program = Program::with_stand_in();
        // Agents see it without a wall.
        let orders = program.project().with_file_name("orders");
        fs::create_dir(&orders).expect("a folder");
        let agent = program.project().with_file_name("agent");
        let script = include_str!("printer.py").replace("ORDERS", orders.to_str().expect("text"));
        fs::write(&agent, script).expect("the agent");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("it can run");
        program.set_guarded_claude(agent.to_str().expect("text"));
        program.set_env("RUST_LOG", "info");
        program.write_config(
            "[pipeline]\nrooms = [\"console:main\"]\n[web]\nlisten = \"127.0.0.1:0\"\n[wall]\nconfine = \"none\"",
        );
        program.write_settings(TEAM);
        let serving = program.serve();
        let mut terminal = program.terminal();
        terminal.say("web");
        let link = Link::in_text(&terminal.see("It works once"));
        let browser = Browser::open(&link).await;
        Self { program, serving, terminal, browser, stories: 0 }
    }

    /// Writes a new story, which nobody works on.
    pub fn new_story(&mut self) -> u32 {
        self.stories += 1;
        self.terminal.say(&format!("new story Number {}\n- [ ] It is printed", self.stories));
        self.terminal.see(&format!("**Number {}** is in the backlog", self.stories));
        self.stories
    }

    /// Starts a new story and waits until its run is on the board; returns the run's id.
    pub async fn start_run(&mut self) -> String {
        let story = self.new_story();
        self.terminal.say(&format!("start {story}"));
        let mut live = self.browser.live(Value::Null).await;
        live.until_type("anew").await;
        let board = self.browser.read("/api/board").await;
        let of_story = |frame: &Value| {
            let runs = frame["runs"].as_array()?.iter().find(|run| run["story"] == story)?;
            Some(runs["id"].as_str()?.to_owned())
        };
        match of_story(&board) {
            Some(run) => run,
            None => of_story(&live.until(|frame| of_story(frame).is_some()).await).expect("it is there"),
        }
    }

    fn orders(&self, run: &str) -> PathBuf {
        let story = run.split('-').next().expect("a story");
        self.program.project().with_file_name("orders").join(story)
    }

    /// Tells the run's agent what to print next.
    pub fn order(&self, run: &str, order: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.orders(run)).expect("a file");
        writeln!(file, "{order}").expect("it is written");
    }

    /// Waits until the run's log has so many lines.
    pub async fn until_logged(&self, run: &str, lines: u64) {
        let path = format!("/api/run/{run}/log?from={lines}");
        loop {
            let (status, body) = self.browser.get(&path).await;
            let page: Value = serde_json::from_str(&body).unwrap_or_default();
            if status == 200 && page["next"].as_u64() > Some(lines) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits until nobody works on it any more.
    pub async fn until_over(&self, run: &str) {
        while self.browser.read(&format!("/api/run/{run}/log")).await["over"] != true {
            tokio::task::yield_now().await;
        }
    }

    /// The lines of a run's log, with the number of the first.
    pub async fn log(&self, run: &str) -> (u64, Vec<String>) {
        let (mut first, mut all, mut from) = (None, Vec::new(), 1);
        loop {
            let page = self.browser.read(&format!("/api/run/{run}/log?from={from}")).await;
            first = first.or(page["from"].as_u64());
            let lines = page["lines"].as_array().expect("lines");
            if lines.is_empty() {
                return (first.unwrap_or(1), all);
            }
            all.extend(lines.iter().map(|line| line.as_str().expect("text").to_owned()));
            from = page["next"].as_u64().expect("a number");
        }
    }

    pub fn end(self) {
        assert_eq!(self.serving.end().0, Some(0));
    }
}

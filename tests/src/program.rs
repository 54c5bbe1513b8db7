//! The program `storkit` itself, as a process: for kills, exit codes and what a terminal shows.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use bot::http::scripted_model::ScriptedModel;
use tempfile::TempDir;

use crate::{
    harness::{beside_the_tests, git_project, real_cli},
    serving::{Serving, Terminal},
};

/// A project that the program is run on.
pub struct Program {
    folder: TempDir,
    claude: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Program {
    /// A fresh project on which the stand-in CLI answers.
    pub fn with_stand_in() -> Self {
        Self::new(vec![beside_the_tests("claude-stand-in").display().to_string()], Vec::new())
    }

    /// A fresh project on which the real CLI asks this model.
    pub fn with_real_cli(model: &ScriptedModel) -> Self {
        Self::with_service(model.base_url())
    }

    /// A fresh project on which the real CLI has a key, and nobody to ask.
    pub fn with_key() -> Self {
        // Port 9 (discard) is closed everywhere.
        Self::with_service("http://127.0.0.1:9".to_owned())
    }

    fn with_service(url: String) -> Self {
        let environment = vec![
            ("ANTHROPIC_BASE_URL".to_owned(), url),
            ("ANTHROPIC_API_KEY".to_owned(), "test".to_owned()),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC".to_owned(), "1".to_owned()),
        ];
        Self::new(vec![real_cli()], environment)
    }

    /// A place for `storkit demo`, which makes a project of its own and takes `claude` from the PATH.
    pub fn for_the_demo() -> Self {
        let claude = PathBuf::from(real_cli());
        let folder = claude.parent().expect("a folder").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        Self::new(Vec::new(), vec![("PATH".to_owned(), format!("{folder}:{path}"))])
    }

    fn new(claude: Vec<String>, environment: Vec<(String, String)>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        git_project(&folder.path().join("project"));
        let program = Self { folder, claude, environment };
        program.write_config("");
        program
    }

    /// Another program in place of the CLI.
    pub fn set_claude(&mut self, program: &str) {
        self.claude = vec![program.to_owned()];
        self.write_config("");
    }

    /// Another variable of its environment.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The project's folder.
    pub fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// Writes bot.toml: these lines, and the CLI.
    pub fn write_config(&self, toml: &str) {
        let state = self.project().join(".storkit");
        fs::create_dir_all(&state).expect("a state folder");
        let claude = serde_json::to_string(&self.claude).expect("plain data");
        fs::write(state.join("bot.toml"), format!("{toml}\n[claude]\ncommand = {claude}\n"))
            .expect("bot.toml");
    }

    /// A command of `storkit ARGUMENTS` on the project, with a home of its own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(beside_the_tests("storkit"));
        command
            .args(arguments)
            .current_dir(self.project())
            .env("HOME", self.home())
            .env("CLAUDE_CONFIG_DIR", self.home().join(".claude"))
            .env("CLAUDE_CODE_MAX_RETRIES", "1")
            .envs(self.environment.iter().cloned())
            .env_remove("STORKIT_PORT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `storkit ARGUMENTS` with these lines on standard input, to its end.
    pub fn run(&self, arguments: &[&str], lines: &str) -> Output {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().expect("storkit starts");
        let mut input = child.stdin.take().expect("a pipe");
        // A program that ended early closes its input; what it said is what counts.
        let _ = input.write_all(lines.as_bytes());
        drop(input);
        child.wait_with_output().expect("storkit ends")
    }

    /// Starts `storkit serve` on a free port and waits until it serves.
    pub fn serve(&self) -> Serving {
        Serving::new(self.spawn(&["serve", "--port", "0"]))
    }

    /// A terminal on the storkit that serves the project.
    pub fn terminal(&self) -> Terminal {
        Terminal::attach(&self.project())
    }

    /// Starts `storkit ARGUMENTS` and leaves it running.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("storkit starts")
    }

    fn home(&self) -> PathBuf {
        let home = self.folder.path().join("home");
        fs::create_dir_all(&home).expect("a home");
        home
    }

    /// A path in the project.
    pub fn file(&self, path: &str) -> PathBuf {
        self.project().join(Path::new(path))
    }
}

//! The program `storkit` itself, as a process: for kills, exit codes and what a terminal shows.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
};

use scripted_model::ScriptedModel;

use crate::{
    harness::{beside_the_tests, git_project, guarded, real_cli},
    place::{self, Place},
    screen::Screen,
    serving::{Serving, Terminal},
};

/// A project that the program is run on, with marked secrets that must be seen nowhere: [`Place`] watches.
pub struct Program {
    place: Arc<Place>,
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
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC".to_owned(), "1".to_owned()),
        ];
        Self::new(guarded(real_cli()), environment)
    }

    /// A place for `storkit demo`, which makes a project of its own and takes `claude` from the PATH.
    pub fn for_the_demo() -> Self {
        // No bot.toml says that this one is a secret.
        let nothing = (place::TOKEN_VARIABLE.to_owned(), String::new());
        let mut program = Self::new(Vec::new(), vec![nothing]);
        let folder = program.place.path().join("bin");
        fs::create_dir(&folder).expect("a folder");
        let words: Vec<String> = guarded(real_cli()).iter().map(|word| format!("'{word}'")).collect();
        fs::write(folder.join("claude"), format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")))
            .expect("a script");
        fs::set_permissions(folder.join("claude"), fs::Permissions::from_mode(0o755)).expect("it can run");
        let path = std::env::var("PATH").unwrap_or_default();
        program.set_env("PATH", &format!("{}:{path}", folder.display()));
        program
    }

    fn new(claude: Vec<String>, environment: Vec<(String, String)>) -> Self {
        let place = Arc::new(Place::new());
        git_project(&place.project());
        let mut all = place::secrets();
        all.push(place.report_variable());
        // With much in the log, so that a secret in it is found.
        all.push(("RUST_LOG".to_owned(), "debug".to_owned()));
        all.extend(environment);
        let program = Self { place, claude, environment: all };
        program.write_config("");
        program
    }

    /// Another program in place of the CLI.
    pub fn set_claude(&mut self, program: &str) {
        self.claude = vec![program.to_owned()];
        self.write_config("");
    }

    /// The same, with the look for secrets that the stand-in and the real CLI begin with.
    pub fn set_guarded_claude(&mut self, program: &str) {
        self.claude = guarded(program.to_owned());
        self.write_config("");
    }

    /// Another variable of its environment.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The project's folder.
    pub fn project(&self) -> PathBuf {
        self.place.project()
    }

    /// Writes bot.toml: these lines, the CLI, and a variable for it that holds a secret.
    pub fn write_config(&self, toml: &str) {
        let state = self.project().join(".storkit");
        fs::create_dir_all(&state).expect("a state folder");
        let claude = serde_json::to_string(&self.claude).expect("plain data");
        let gateway = format!("env = {{ GATEWAY_TOKEN = \"${{{}}}\" }}", place::TOKEN_VARIABLE);
        let text = format!("{toml}\n[claude]\ncommand = {claude}\n{gateway}\n");
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).write(true).truncate(true).mode(0o600).open(state.join("bot.toml"));
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("bot.toml");
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
        self.looked_through(child.wait_with_output().expect("storkit ends"))
    }

    /// Runs a [`Self::command`] to its end.
    pub fn finish(&self, command: &mut Command) -> Output {
        self.looked_through(command.output().expect("storkit runs"))
    }

    fn looked_through(&self, output: Output) -> Output {
        self.place.look_hard("what storkit printed", &String::from_utf8_lossy(&output.stdout));
        self.place.look_hard("storkit's complaints", &String::from_utf8_lossy(&output.stderr));
        output
    }

    /// A log that the test had written to this file, looked through.
    pub fn look_at_log(&self, path: &Path) {
        self.place.look_hard("the log", &String::from_utf8_lossy(&fs::read(path).unwrap_or_default()));
    }

    /// A terminal of its own for this command.
    pub fn screen(&self, command: &Command) -> Screen {
        Screen::run(command, self.place.clone())
    }

    /// Starts `storkit serve` on a free port and waits until it serves.
    pub fn serve(&self) -> Serving {
        Serving::new(self.spawn(&["serve", "--port", "0"]), self.place.clone())
    }

    /// A terminal on the storkit that serves the project.
    pub fn terminal(&self) -> Terminal {
        Terminal::attach(self.place.clone())
    }

    /// Starts `storkit ARGUMENTS` and leaves it running.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("storkit starts")
    }

    fn home(&self) -> PathBuf {
        let home = self.place.path().join("home");
        fs::create_dir_all(&home).expect("a home");
        home
    }

    /// A path in the project.
    pub fn file(&self, path: &str) -> PathBuf {
        self.project().join(Path::new(path))
    }
}

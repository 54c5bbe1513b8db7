//! Runs the program `storkit` as a process, to test kills, exit codes and terminals.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
};

use pipeline::{Project, trust::TrustStore};
use scripted_model::ScriptedModel;

use crate::{
    harness::{
        PROJECT_TOML, beside_the_tests, commit_as_person, confirm_settings, git_project, guarded, real_cli,
    },
    place::{self, Place},
    screen::Screen,
    serving::{Serving, Terminal},
};

/// A project for `storkit`, with marked secrets in its environment. [`Place`] checks that they do not leak.
pub struct Program {
    place: Arc<Place>,
    claude: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Program {
    /// A new project that uses the stand-in CLI.
    pub fn with_stand_in() -> Self {
        Self::new(vec![beside_the_tests("claude-stand-in").display().to_string()], Vec::new())
    }

    /// A new project that uses the real CLI with this model.
    pub fn with_real_cli(model: &ScriptedModel) -> Self {
        Self::with_service(model.base_url())
    }

    /// A new project that uses the real CLI, with a key and without a model that answers.
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

    /// An environment for `storkit demo`, which makes its own project and takes `claude` from the PATH.
    pub fn for_the_demo() -> Self {
        // In the demo no bot.toml marks this variable as a secret.
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
        // The more is logged, the more leaks are found.
        all.push(("RUST_LOG".to_owned(), "debug".to_owned()));
        all.extend(environment);
        let program = Self { place, claude, environment: all };
        // bot.toml is the operator's own.
        let project = Project::open(&program.project()).expect("the project opens");
        program.trust().adopt_state(&project).expect("it is recorded");
        program.write_config("");
        program
    }

    pub fn set_claude(&mut self, program: &str) {
        self.claude = vec![program.to_owned()];
        self.write_config("");
    }

    /// Replaces the CLI by a program that first checks for secrets, as the stand-in does.
    pub fn set_guarded_claude(&mut self, program: &str) {
        self.claude = guarded(program.to_owned());
        self.write_config("");
    }

    /// Adds a variable to its environment.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The project's folder.
    pub fn project(&self) -> PathBuf {
        self.place.project()
    }

    /// Writes bot.toml: these lines, the CLI, and a secret that is passed to the CLI.
    pub fn write_config(&self, toml: &str) {
        let state = self.project().join(".storkit");
        fs::create_dir_all(&state).expect("a state folder");
        let claude = serde_json::to_string(&self.claude).expect("plain data");
        let gateway = format!("env = {{ GATEWAY_TOKEN = \"${{{}}}\" }}", place::TOKEN_VARIABLE);
        let toml = place::with_checkout(toml);
        let text = format!("{toml}\n[claude]\ncommand = {claude}\n{gateway}\n");
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).write(true).truncate(true).mode(0o600).open(state.join("bot.toml"));
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("bot.toml");
    }

    /// Commits this `project.toml`, as a person does who then confirms it.
    pub fn write_settings(&self, toml: &str) {
        let path = self.file(PROJECT_TOML);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a state folder");
        fs::write(path, toml).expect("project.toml");
        commit_as_person(&self.project(), PROJECT_TOML);
        self.confirm_settings();
    }

    /// The operator confirms what base has now.
    pub fn confirm_settings(&self) {
        confirm_settings(&self.project(), &self.trust());
    }

    /// As if all of `.storkit` had come with the project, in an archive.
    pub fn is_unpacked(&self) {
        fs::remove_dir_all(self.home().join(".local/state/storkit/trust")).expect("a record");
        fs::remove_file(self.file(".storkit/state/stamp")).expect("a stamp");
    }

    /// As if a storkit had served the project before, so that stories in work are this person's own.
    pub fn has_served(&self) {
        let project = Project::open(&self.project()).expect("the project opens");
        self.trust().set_origins(&project, &Default::default()).expect("it is recorded");
    }

    fn trust(&self) -> TrustStore {
        TrustStore::at(self.home().join(".local/state/storkit/trust"))
    }

    /// The command `storkit ARGUMENTS` on the project, with a home of its own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(beside_the_tests("storkit"));
        command
            .args(arguments)
            .current_dir(self.project())
            .env("HOME", self.home())
            .env("CLAUDE_CONFIG_DIR", self.home().join(".claude"))
            .env_remove("XDG_STATE_HOME")
            .env("CLAUDE_CODE_MAX_RETRIES", "1")
            .envs(self.environment.iter().cloned())
            .env_remove("STORKIT_PORT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `storkit ARGUMENTS` with these lines on standard input and waits for its exit.
    pub fn run(&self, arguments: &[&str], lines: impl AsRef<[u8]>) -> Output {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().expect("storkit starts");
        let mut input = child.stdin.take().expect("a pipe");
        // A program that exited early has closed its input. The test checks its output.
        let _ = input.write_all(lines.as_ref());
        drop(input);
        self.checked(child.wait_with_output().expect("storkit ends"))
    }

    /// Runs a [`Self::command`] and waits for its exit.
    pub fn finish(&self, command: &mut Command) -> Output {
        self.checked(command.output().expect("storkit runs"))
    }

    fn checked(&self, output: Output) -> Output {
        self.place.check_all("what storkit printed", &String::from_utf8_lossy(&output.stdout));
        self.place.check_all("storkit's complaints", &String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Checks a log file for secrets.
    pub fn check_log(&self, path: &Path) {
        self.place.check_all("the log", &String::from_utf8_lossy(&fs::read(path).unwrap_or_default()));
    }

    /// An interactive shell in the project; `$STORKIT` is the program.
    pub fn shell(&self) -> Command {
        let storkit = self.command(&[]);
        let mut shell = Command::new("bash");
        shell.args(["--norc", "--noprofile", "-i"]);
        shell.envs(storkit.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("STORKIT", storkit.get_program()).env("PS1", "$ ");
        shell.current_dir(storkit.get_current_dir().expect("a folder"));
        shell
    }

    /// Runs the command in a terminal.
    pub fn screen(&self, command: &Command) -> Screen {
        Screen::run(command, self.place.clone())
    }

    /// Starts `storkit serve` on a free port and waits until it serves.
    pub fn serve(&self) -> Serving {
        Serving::new(self.spawn(&["serve", "--port", "0"]), self.place.clone())
    }

    /// Attaches a terminal to the storkit that serves the project, in the room `main`.
    pub fn terminal(&self) -> Terminal {
        Terminal::attach(self.place.clone(), None)
    }

    /// The same in a room of its own.
    pub fn terminal_in(&self, room: &str) -> Terminal {
        Terminal::attach(self.place.clone(), Some(room))
    }

    /// Starts `storkit ARGUMENTS` and leaves it running.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("storkit starts")
    }

    pub fn home(&self) -> PathBuf {
        let home = self.place.path().join("home");
        fs::create_dir_all(&home).expect("a home");
        home
    }

    /// A path in the project.
    pub fn file(&self, path: &str) -> PathBuf {
        self.project().join(Path::new(path))
    }
}

//! A repository of some kind, and whole lives of stories in it: `init`, `new story`, `start`, gates, review, merge, `doctor --audit`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use e2e::{Program, Serving, Terminal};

/// How long something that storkit does by itself may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A project with two folders and a gate, as a person makes it. The rest of a kind's script goes on in it.
const PROJECT: &str = r"
export GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=ann@example.org GIT_COMMITTER_NAME=Ann GIT_COMMITTER_EMAIL=ann@example.org
rm -rf project
git init -q -b main project
cd project
mkdir src other
echo one > src/one.txt
echo two > other/two.txt
echo 'test -e src/one.txt' > gate.sh
git add .
git commit -q -m first
";

/// What only libgit2 says, or a git that was not asked well.
const INSIDERS: [&str; 4] = ["class=", "libgit2", "fatal:", "panicked"];

/// A repository, with the program that serves it.
pub struct KindLife {
    pub program: Program,
    folder: PathBuf,
    serving: Option<Serving>,
    terminal: Option<Terminal>,
    stories: u32,
}

impl KindLife {
    /// Of the usual project, changed by a shell script that begins in it and leaves a folder `project` beside it.
    pub fn of(script: &str) -> Self {
        Self::made_by(&format!("{PROJECT}{script}"))
    }

    /// Of a project that this script makes alone.
    pub fn made_by(script: &str) -> Self {
        let mut program = Program::with_stand_in();
        let project = program.project();
        let agent = project.with_file_name("agent").join("story-agent");
        fs::create_dir(agent.parent().expect("a folder")).expect("a folder");
        fs::write(&agent, include_str!("../../src/stand_in/story_agent.py")).expect("the agent");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("it can run");
        program.set_guarded_claude(agent.to_str().expect("text"));
        let life = Self { folder: project.clone(), program, serving: None, terminal: None, stories: 0 };
        life.sh_in(project.parent().expect("a folder"), script);
        life
    }

    /// The person goes on in this folder of the project.
    pub fn moves_to(&mut self, folder: &str) {
        self.folder = self.program.project().join(folder);
    }

    /// A person's shell where they are.
    pub fn sh(&self, script: &str) -> String {
        self.sh_in(&self.folder, script)
    }

    fn sh_in(&self, folder: &Path, script: &str) -> String {
        let mut shell = Command::new("bash");
        shell.args(["-ec", script]).current_dir(folder).env("HOME", self.program.home());
        for (who, name) in [("NAME", "Ann"), ("EMAIL", "ann@example.org")] {
            shell.env(format!("GIT_AUTHOR_{who}"), name).env(format!("GIT_COMMITTER_{who}"), name);
        }
        let run = shell.output().expect("a shell");
        let said = [run.stdout, run.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim_end().to_owned();
        assert!(run.status.success(), "{script}: {said}");
        said
    }

    /// `storkit ARGUMENTS` there: its exit code and what it says, which never is an insider's.
    pub fn storkit(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.program.finish(self.program.command(arguments).current_dir(&self.folder));
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        for word in INSIDERS {
            assert!(!text.contains(word), "storkit {arguments:?} says {word:?}: {text}");
        }
        (output.status.code(), text)
    }

    pub fn init(&self) -> String {
        let (code, text) = self.storkit(&["init", "--yes", "--gate", "sh gate.sh"]);
        assert_eq!(code, Some(0), "{text}");
        text
    }

    /// `init` and `doctor` refuse it with these words, and nothing was changed.
    pub fn is_refused(&self, words: &[&str]) {
        let status = || self.sh("git status --porcelain --ignored 2>&1 | grep -v storkit || true");
        let before = status();
        for command in [&["init", "--yes"][..], &["doctor"]] {
            let (code, text) = self.storkit(command);
            assert!(matches!(code, Some(1 | 2)), "{command:?}: {code:?} {text}");
            for word in words {
                assert!(text.contains(word), "{command:?} does not say {word:?}: {text}");
            }
        }
        assert_eq!(status(), before);
        assert!(!self.folder.join(".storkit/project.toml").exists());
    }

    /// Serves the project, whose agents run the lines `do: ` of their stories.
    pub fn serve(&mut self, wall: &str) {
        let agent = self.program.project().with_file_name("agent");
        let wall = if wall.is_empty() { String::new() } else { format!("confine = \"{wall}\"\n") };
        self.program.write_config(&format!(
            "[pipeline]\nrooms = [\"console:main\"]\n[wall]\n{wall}visible = [{:?}]\n",
            agent.display().to_string()
        ));
        self.serving = Some(self.program.serve());
        self.terminal = Some(self.program.terminal());
    }

    /// A story whose coder runs this line: from the first word to the merge.
    pub fn lands(&mut self, work: &str) {
        self.stories += 1;
        let number = self.stories;
        let terminal = self.terminal.as_mut().expect("it serves");
        terminal.say(&format!("new story Number {number}\nIt is done so:\n\ndo: {work}"));
        terminal.see("is in the backlog");
        terminal.say(&format!("start {number}"));
        terminal.see(&format!("**{number} Number {number}**: merged as"));
    }

    pub fn terminal(&mut self) -> &mut Terminal {
        self.terminal.as_mut().expect("it serves")
    }

    /// Ends storkit: its audit finds nothing, and the person's checkout is as base has it, up to these lines of `git status`.
    pub fn end(mut self, status: &str) {
        self.terminal = None;
        let private = self.program.file(".storkit/worktrees/.private");
        let until = Instant::now() + PATIENCE;
        let is_left = || {
            let mut names =
                fs::read_dir(&private).into_iter().flatten().flatten().map(|entry| entry.file_name());
            names.any(|name| name.to_string_lossy().contains("_number_"))
        };
        while is_left() && Instant::now() < until {
            // Worktrees go in the background, and nothing says so.
            std::thread::yield_now();
        }
        let (code, log) = self.serving.take().expect("it serves").end();
        assert_eq!(code, Some(0), "{log}");
        let (code, text) = self.storkit(&["doctor", "--audit"]);
        assert_eq!(code, Some(0), "{text}\n{log}");
        assert_eq!(self.sh("git status --porcelain"), status);
        self.sh("git fsck --connectivity-only --no-dangling");
    }
}

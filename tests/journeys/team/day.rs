//! A team with a remote, a storkit, and stories that stand where a test wants them while people work.

use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use e2e::{Program, Serving, Terminal};
use scripted_model::{AnswerGate, ModelScript, ScriptedModel};
use serde_json::json;

use crate::real::bash;

/// How long something that storkit does by itself may take.
const PATIENCE: Duration = Duration::from_secs(60);

const TEAM: &str = r#"gates = ["sh gate.sh"]
sweep_after = "0"
[[agent]]
name = "coder"
stage = "coder"
count = 4
[[agent]]
name = "qa"
stage = "qa"
count = 2
"#;

/// A day with so many stories at most.
const STORIES: usize = 4;

/// A person and the checkout they work in.
pub struct Person {
    name: &'static str,
    pub folder: PathBuf,
}

/// The stories of a day. Story N writes `storyN.txt`; its coder and its reviewer wait until the test lets them go on.
pub struct TeamDay {
    pub ann: Person,
    pub bob: Person,
    pub program: Program,
    pub terminal: Terminal,
    serving: Option<Serving>,
    coders: Vec<AnswerGate>,
    reviewers: Vec<AnswerGate>,
    /// What people committed, by its subject, and on which branch of whose it has to be in the end.
    kept: Vec<KeptCommit>,
    _model: ScriptedModel,
}

struct KeptCommit {
    folder: PathBuf,
    branch: String,
    subject: String,
    change: String,
}

/// The gates of a merge that stand still. Dropping it lets them go on.
pub struct MergeDoor {
    _writer: File,
}

impl Person {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        let who = format!("{} <{}@example.org>", self.name, self.name.to_lowercase());
        command.arg("-C").arg(&self.folder).args(args);
        command.env("GIT_AUTHOR_NAME", self.name).env("GIT_COMMITTER_NAME", self.name);
        command.env("GIT_AUTHOR_EMAIL", &who).env("GIT_COMMITTER_EMAIL", &who);
        command.env("GIT_EDITOR", "true");
        command
    }

    /// A git command that has to succeed; returns what it printed.
    pub fn git(&self, args: &[&str]) -> String {
        let (is_done, text) = self.tries(args);
        assert!(is_done, "{}: git {args:?}: {text}", self.name);
        text
    }

    /// Whether a git command succeeds, and what it prints.
    pub fn tries(&self, args: &[&str]) -> (bool, String) {
        finished(&mut self.command(args))
    }

    /// An interactive rebase onto `base` with this list: `pick`, `squash` and the like, each with the subject of a commit, or a line as it is.
    pub fn rebases(&self, base: &str, list: &[(&str, &str)]) -> (bool, String) {
        let line = |(word, subject): &(&str, &str)| match *word {
            "exec" | "break" => format!("{word} {subject}\n"),
            _ => format!("{word} {} {subject}\n", self.commit("HEAD", subject)),
        };
        let path = self.folder.with_file_name("todo");
        fs::write(&path, list.iter().map(line).collect::<String>()).expect("a list");
        let mut command = self.command(&["rebase", "-i", base]);
        finished(command.env("GIT_SEQUENCE_EDITOR", format!("cp {}", path.display())))
    }

    pub fn writes(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).expect("a file");
    }

    pub fn reads(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap_or_default()
    }

    /// Commits a new file of this name, as `add NAME`.
    pub fn commits(&self, file: &str) {
        self.writes(file, &format!("{file} of {}\n", self.name));
        self.git(&["add", file]);
        self.git(&["commit", "-q", "-m", &format!("add {file}")]);
    }

    pub fn status(&self) -> String {
        self.git(&["status", "--porcelain"])
    }

    /// The commit with this subject on a branch.
    ///
    /// Panics if there is none, or more than one.
    pub fn commit(&self, branch: &str, subject: &str) -> String {
        let all = self.git(&["log", "--format=%H %s", branch]);
        let found: Vec<&str> = all
            .lines()
            .filter_map(|line| line.split_once(' ').filter(|(_, of)| *of == subject))
            .map(|(id, _)| id)
            .collect();
        assert_eq!(found.len(), 1, "`{subject}` on `{branch}` of {}:\n{all}", self.name);
        found[0].to_owned()
    }

    /// What the commit with this subject changes.
    fn change(&self, branch: &str, subject: &str) -> String {
        let commit = self.commit(branch, subject);
        self.git(&["show", "--format=", "--no-renames", &commit])
    }
}

fn finished(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("git runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).trim_end().to_owned())
}

impl TeamDay {
    /// Ann's project with the branch `old`, which is older than storkit, a remote, Bob's clone of it, and a storkit that serves.
    pub fn begin() -> Self {
        let numbers = 1..=STORIES;
        let coders: Vec<AnswerGate> = numbers.clone().map(|_| AnswerGate::new()).collect();
        let reviewers: Vec<AnswerGate> = numbers.map(|_| AnswerGate::new()).collect();
        let model = ScriptedModel::start(script(&coders, &reviewers)).expect("the model is served");
        let program = Program::with_real_cli(&model);
        let ann = Person { name: "Ann", folder: program.project() };
        let bob = Person { name: "Bob", folder: ann.folder.with_file_name("bob") };
        let origin = ann.folder.with_file_name("origin.git");
        let settings = program.home().join(".claude/settings.json");
        fs::create_dir_all(settings.parent().expect("a folder")).expect("a folder");
        fs::write(settings, r#"{"permissions": {"allow": ["Bash"]}}"#).expect("settings");
        ann.commits("shared.txt");
        ann.git(&["branch", "old"]);
        let door = ann.folder.with_file_name("door");
        fs::create_dir(&door).expect("a folder");
        ann.writes("gate.sh", &gate(&door));
        ann.git(&["add", "gate.sh"]);
        ann.git(&["commit", "-q", "-m", "add gate.sh"]);
        program.write_settings(TEAM);
        program.write_config(&format!(
            "[pipeline]\nrooms = [\"console:main\"]\n[wall]\nvisible = [{:?}]\n",
            door.display().to_string()
        ));
        let folder = |path: &Path| path.display().to_string();
        ann.git(&["clone", "-q", "--bare", &folder(&ann.folder), &folder(&origin)]);
        ann.git(&["remote", "add", "origin", &folder(&origin)]);
        ann.git(&["fetch", "-q", "origin"]);
        ann.git(&["branch", "-q", "--set-upstream-to", "origin/main"]);
        ann.git(&["clone", "-q", &folder(&origin), &folder(&bob.folder)]);
        let serving = program.serve();
        let terminal = program.terminal();
        Self {
            ann,
            bob,
            program,
            terminal,
            serving: Some(serving),
            coders,
            reviewers,
            kept: Vec::new(),
            _model: model,
        }
    }

    /// New stories up to this number, each in work with its coder standing.
    pub async fn coders_stand(&mut self, stories: std::ops::RangeInclusive<usize>) {
        for story in stories.clone() {
            self.terminal.say(&format!("new story Number {story}"));
            self.terminal.see(&format!("Story `{story}` **Number {story}** is in the backlog"));
            self.terminal.say(&format!("start {story}"));
        }
        for story in stories {
            reached(&self.coders[story - 1]).await;
        }
    }

    /// The coder does its work; its reviewer stands.
    pub async fn reviewer_stands(&mut self, story: usize) {
        self.coders[story - 1].open();
        reached(&self.reviewers[story - 1]).await;
    }

    /// The reviewer approves, and whatever follows goes on.
    pub fn approve(&mut self, story: usize) {
        self.reviewers[story - 1].open();
    }

    /// From wherever it stands to `5_done`.
    pub async fn lands(&mut self, story: usize) {
        self.reviewer_stands(story).await;
        self.approve(story);
        self.has_landed(story);
    }

    pub fn has_landed(&mut self, story: usize) {
        self.terminal.see(&format!("**{story} Number {story}**: merged as"));
    }

    /// Waits until people hear that the story's merge waits for a rebase of main.
    pub fn waits_for_base(&mut self, story: usize) {
        self.terminal.see(&format!(
            "Story {story}: its merge waits: a rebase of `main` is under way in the main checkout"
        ));
    }

    /// Makes the gates of merges stand from now on.
    pub fn close_the_door(&self) {
        let path = self.door();
        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
        assert!(made.success(), "{path:?}");
    }

    /// Waits until the gates of a merge stand.
    pub fn merge_stands(&self) -> MergeDoor {
        let until = Instant::now() + PATIENCE;
        loop {
            // Without a reader this fails, so the gates stand once it does not.
            let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            match File::options().write(true).custom_flags(flags).open(self.door()) {
                Ok(writer) => return MergeDoor { _writer: writer },
                Err(error) => assert!(Instant::now() < until, "no gates came to the door: {error}"),
            }
            std::thread::yield_now();
        }
    }

    /// Gates of merges do not stand any more.
    pub fn open_the_door(&self) {
        fs::remove_file(self.door()).expect("a door");
    }

    fn door(&self) -> PathBuf {
        self.ann.folder.with_file_name("door").join("merge")
    }

    /// The commit with this subject is to be on that branch in the end, with the change that it has there now.
    pub fn keeps(&mut self, is_anns: bool, branch: &str, subject: &str) {
        let person = if is_anns { &self.ann } else { &self.bob };
        let change = person.change(branch, subject);
        let (folder, branch, subject) = (person.folder.clone(), branch.to_owned(), subject.to_owned());
        self.kept.push(KeptCommit { folder, branch, subject, change });
    }

    /// Waits until the board's branch has these files and no others.
    pub fn until_board_is(&self, files: &[String]) {
        let list = || self.ann.git(&["ls-tree", "-r", "--name-only", "storkit/board"]);
        until(
            &format!("the board is {files:?}"),
            || list().lines().eq(files.iter().map(String::as_str)),
            list,
        );
    }

    /// The audit's exit code and what it says, while nobody runs.
    pub fn audit(&self) -> (Option<i32>, String) {
        let output = self.program.finish(&mut self.program.command(&["doctor", "--audit"]));
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// The stories of the board and of its branch, where each is done once.
    pub fn is_whole(&mut self, stories: std::ops::RangeInclusive<usize>) {
        let done: Vec<String> = stories
            .clone()
            .map(|story| format!(".storkit/work/5_done/{story}_story_number_{story}.md"))
            .collect();
        self.until_board_is(&done);
        let listed = || {
            let mut files: Vec<String> = fs::read_dir(self.ann.folder.join(".storkit/work"))
                .expect("the folder of the stories")
                .flatten()
                .flat_map(|stage| fs::read_dir(stage.path()).into_iter().flatten().flatten())
                .map(|file| file.path().strip_prefix(&self.ann.folder).expect("inside").display().to_string())
                .collect();
            files.sort();
            files
        };
        assert_eq!(listed(), done);
        for story in stories {
            let trailer = "%(trailers:key=Storkit-Story,valueonly,separator=%x2C)";
            let merged = self.ann.git(&["log", &format!("--format={trailer}"), "main"]);
            let merged = merged.lines().filter(|line| **line == *story.to_string()).count();
            // Copies of one merge are no second merge; the audit finds those.
            assert!(merged >= 1, "story {story} is not on main:\n{}", self.history());
            let text = self.ann.git(&["show", &format!("main:story{story}.txt")]);
            assert_eq!(text, format!("story {story}"), "{}", self.history());
        }
    }

    pub fn history(&self) -> String {
        self.ann.git(&["log", "--graph", "--oneline", "--all"])
    }

    /// Ends storkit, and looks at everything: commits, board, audit, working trees.
    pub fn end(mut self, stories: std::ops::RangeInclusive<usize>) {
        self.is_whole(stories);
        self.shut_down();
        let (code, said) = self.audit();
        assert_eq!(code, Some(0), "{said}\n{}", self.history());
        for person in [&self.ann, &self.bob] {
            assert_eq!(person.status(), "", "{}'s checkout", person.name);
        }
        for kept in &self.kept {
            let person = Person { name: "somebody", folder: kept.folder.clone() };
            assert_eq!(person.change(&kept.branch, &kept.subject), kept.change, "{}", self.history());
        }
        for branch in ["storkit/rescue/*", "storkit/discarded/*"] {
            assert_eq!(
                self.ann.git(&["branch", "--list", branch]),
                "",
                "nothing of a person's was set aside"
            );
        }
    }

    /// Ends storkit, once the branches of landed stories are gone.
    pub fn shut_down(&mut self) {
        let branches = || self.ann.git(&["branch", "--list", "feature/story-*"]);
        until("the branches of stories are gone", || branches().is_empty(), branches);
        let (code, log) = self.serving.take().expect("it serves").end();
        assert_eq!(code, Some(0), "{log}");
    }
}

async fn reached(gate: &AnswerGate) {
    tokio::time::timeout(PATIENCE, gate.reached(1)).await.expect("an agent came so far");
}

fn until(what: &str, holds: impl Fn() -> bool, shown: impl Fn() -> String) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}: {}", shown());
        std::thread::yield_now();
    }
}

fn script(coders: &[AnswerGate], reviewers: &[AnswerGate]) -> ModelScript {
    let mut script = ModelScript::new();
    for (story, (coder, reviewer)) in (1..).zip(coders.iter().zip(reviewers)) {
        let file = format!("story{story}.txt");
        let work =
            format!("echo 'story {story}' > {file} && git add {file} && git commit -qm 'story {story}'");
        script = script
            .on_start(&format!("Do story {story}"))
            .says("I look at it.")
            .waits_for(coder)
            .calls("Bash", bash(&work))
            .then_says("Done.")
            .on_start(&format!("Review story {story}"))
            .says("I read it.")
            .waits_for(reviewer)
            .calls("mcp__storkit__approve_qa", json!({}))
            .then_says("I approved it.");
    }
    script
}

/// Looks for conflict markers, and stands at the door if it is that of a merge and the door is closed.
fn gate(door: &Path) -> String {
    let door = door.join("merge").display().to_string();
    format!(
        "if grep -rl '<<<<<<<' *.txt; then exit 1; fi\n\
         case \"$PWD\" in */worktrees/merge) test ! -p {door} || cat {door} ;; esac\n"
    )
}

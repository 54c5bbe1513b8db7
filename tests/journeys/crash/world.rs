//! A project with stories that keep coming, and what must hold of it while nobody runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Child,
    time::{Duration, Instant},
};

use e2e::{Program, git, kill_9};

use super::{
    Moment,
    slots::{Met, Slots},
};

const STAGES: [&str; 6] = ["1_backlog", "2_current", "3_qa", "4_merge", "5_done", "6_archived"];

/// So many stories are in work at a time.
const AT_ONCE: usize = 6;

/// How long the end may take, when nobody kills any more.
const PATIENCE: Duration = Duration::from_secs(600);

/// The gate sees a broken merge: half a shared file, or a story without its file.
/// It is agents' code, too, and has neither the bot's secrets nor the model's key.
const GATE: &str = r#"set -e
if env | grep "m4rke[d]-5ecret"; then exit 1; fi
if grep -rl '<<<<<<<' stories shared.txt; then exit 1; fi
for file in stories/*.txt; do test "$(cat "$file")" = "story $(basename "$file" .txt)"; done
test "$(sort shared.txt | uniq -d | wc -l)" = 0
cmp shared.txt deps/shared.txt
mkdir -p build
"#;

/// What it makes is ignored, and as good as what it was made from.
const SETUP: &str = "rm -rf deps\nmkdir deps\ncp shared.txt deps/shared.txt\n";

const TEAM: &str = r#"
gates = ["sh gate.sh"]
sweep_after = "0"
max_retries = 20
[[agent]]
name = "coder"
stage = "coder"
count = 3
[[agent]]
name = "qa"
stage = "qa"
[[agent]]
name = "merger"
stage = "mergemaster"
[[component]]
name = "deps"
path = "."
setup = ["sh setup.sh"]
inputs = ["shared.txt"]
"#;

pub struct World {
    program: Program,
    stories: u32,
    merged: usize,
    log: PathBuf,
    /// What coders found in their worktrees that is another story's.
    dirt: PathBuf,
    slots: Slots,
    met: Met,
}

type Holds = Result<(), String>;

impl World {
    pub fn new() -> Self {
        let mut program = Program::with_stand_in();
        let agent = program.project().with_file_name("agent");
        fs::write(&agent, include_str!("../../src/stand_in/story_agent.py")).expect("the agent");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("it can run");
        program.set_guarded_claude(agent.to_str().expect("text"));
        // Kills come at any moment, and each start takes a little longer behind a wall.
        program.write_config("[wall]\nconfine = \"none\"");
        let project = program.project();
        for (path, text) in [
            ("gate.sh", GATE),
            ("setup.sh", SETUP),
            (".gitignore", "/build/\n/deps/\n"),
            ("shared.txt", "first\n"),
            ("stories/0.txt", "story 0\n"),
            (".storkit/project.toml", TEAM),
        ] {
            let path = project.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        git(&project, &["config", "user.name", "Ada"]);
        git(&project, &["config", "user.email", "ada@example.org"]);
        git(
            &project,
            &["add", "gate.sh", "setup.sh", ".gitignore", "shared.txt", "stories", ".storkit/project.toml"],
        );
        git(&project, &["commit", "-q", "-m", "the project"]);
        program.confirm_settings();
        program.has_served();
        let [log, dirt] = ["log", "dirt"].map(|name| program.project().with_file_name(name));
        let slots = Slots::of(&program.project());
        Self { program, stories: 0, merged: 0, log, dirt, slots, met: Met::default() }
    }

    fn folder(&self, stage: &str) -> PathBuf {
        self.program.file(".storkit/work").join(stage)
    }

    /// Where each story is.
    fn places(&self) -> BTreeMap<u32, Vec<&'static str>> {
        let mut places: BTreeMap<u32, Vec<&'static str>> = BTreeMap::new();
        for stage in STAGES {
            for entry in fs::read_dir(self.folder(stage)).into_iter().flatten().flatten() {
                let name = entry.file_name().into_string().unwrap_or_default();
                let id = name.split('_').next().and_then(|id| id.parse().ok());
                if let Some(id) = id {
                    places.entry(id).or_default().push(stage);
                }
            }
        }
        places
    }

    /// Puts new stories into work, as a person's editor does. Every third adds to the file that all share.
    pub fn feed(&mut self) {
        let open = self.places().values().filter(|stages| !stages.contains(&"5_done")).count();
        for _ in open..AT_ONCE {
            self.stories += 1;
            let id = self.stories;
            // A folder that ignores itself is what git passes over; a build product stays for the next story.
            let leave = format!(
                "do: {{ ls left; git status --porcelain; }} 2>/dev/null | grep -vwE '{id}|{id}\\.txt|shared\\.txt|left/' >> {}; \
                 mkdir -p left build; echo '*' > left/.gitignore; touch left/{id}; echo {id} >> build/stories",
                self.dirt.display()
            );
            let own =
                format!("do: echo 'story {id}' > stories/{id}.txt && git add -A && git commit -qm {id}");
            let shared = format!(
                "do: grep -qx 'line {id}' shared.txt || {{ echo 'line {id}' >> shared.txt; git commit -qam 'shared {id}'; }}"
            );
            let more = if id.is_multiple_of(3) { format!("{shared}\n") } else { String::new() };
            let merge = "merge: sed -i '/^<<<<<<<\\|^=======\\|^>>>>>>>\\||||||||/d' shared.txt && git add shared.txt";
            let text = format!(
                "---\nname: Story {id}\n---\n# Story {id}\n\n{leave}\n{own}\n{more}{merge}\nend of story {id}\n"
            );
            let folder = self.folder("2_current");
            fs::create_dir_all(&folder).expect("a folder");
            let temporary = self.program.file(".storkit/new-story");
            fs::write(&temporary, text).expect("a file");
            fs::rename(temporary, folder.join(format!("{id}_story_number.md"))).expect("it is there");
        }
    }

    pub fn spawn(&self) -> Child {
        let log = fs::File::options().create(true).append(true).open(&self.log).expect("a log");
        let mut command = self.program.command(&["serve", "--port", "0"]);
        command.stderr(log).stdout(std::process::Stdio::null());
        command.spawn().expect("storkit starts")
    }

    /// Waits for a slot that changes hands; at most so long.
    pub fn wait_for_slot(&self, moment: Moment, most: Duration) {
        self.slots.wait(moment, most, |story| self.is_done(story));
    }

    fn is_done(&self, story: u32) -> bool {
        self.folder("5_done").join(format!("{story}_story_number.md")).exists()
    }

    pub fn kill(&mut self, mut child: Child) {
        if child.try_wait().expect("it can be asked").is_none() {
            kill_9(child.id().cast_signed());
        }
        child.wait().expect("it ends");
        let mut met = std::mem::take(&mut self.met);
        self.slots.count(&mut met, |story| self.is_done(story));
        met.served = met.served.max(self.slots.most_served());
        self.met = met;
    }

    /// Whether slots were taken and vacated while kills came.
    pub fn kills_met_slots(&self) -> bool {
        self.met.taken > 0 && self.met.vacated > 0
    }

    /// What must hold whenever storkit is dead.
    pub fn check(&mut self, deep: bool) -> Holds {
        self.no_story_is_lost_or_doubled()?;
        self.no_file_is_torn()?;
        self.base_is_linear_and_each_story_merged_once()?;
        self.board_has_what_base_has()?;
        self.slots.check()?;
        self.no_story_found_another()?;
        if deep {
            self.repository_is_whole()?;
        }
        Ok(())
    }

    fn no_story_is_lost_or_doubled(&self) -> Holds {
        let places = self.places();
        let journal = self.program.file(".storkit/run/merge.json").exists();
        for id in 1..=self.stories {
            match places.get(&id).map(Vec::as_slice) {
                Some([_]) => {}
                // A merge that is on its way: its journal says so, and the next start finishes it.
                Some(["4_merge", "5_done"]) if journal => {}
                found => return Err(format!("story {id} is in {found:?} (journal: {journal})")),
            }
        }
        Ok(())
    }

    /// In its worktree: a file that another story left, or one of base's that is not as base has it.
    fn no_story_found_another(&self) -> Holds {
        match fs::read_to_string(&self.dirt).unwrap_or_default() {
            dirt if dirt.is_empty() => Ok(()),
            dirt => Err(format!("coders found what is not theirs: {dirt}")),
        }
    }

    fn no_file_is_torn(&self) -> Holds {
        for stage in STAGES {
            for entry in fs::read_dir(self.folder(stage)).into_iter().flatten().flatten() {
                let name = entry.file_name().into_string().unwrap_or_default();
                let Some(id) = name.strip_suffix("_story_number.md") else { continue };
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                if !text.starts_with("---\n") || !text.ends_with(&format!("end of story {id}\n")) {
                    return Err(format!("{stage}/{name} is torn: {text:?}"));
                }
            }
        }
        Ok(())
    }

    fn base_is_linear_and_each_story_merged_once(&mut self) -> Holds {
        let project = self.program.project();
        let merges = git(&project, &["rev-list", "--min-parents=2", "--count", "main"]);
        if merges != "0" {
            return Err(format!("base has {merges} commits with two parents"));
        }
        let stories = git(
            &project,
            &["log", "--format=%(trailers:key=Storkit-Story,valueonly,separator=%x2C)", "main"],
        );
        let undone = git(&project, &["log", "--format=", "--numstat", "main", "--", "shared.txt"]);
        if let Some(undone) = undone.lines().find(|line| line.split('\t').nth(1) != Some("0")) {
            return Err(format!("a merge took lines of another story away: {undone}"));
        }
        let mut stories: Vec<&str> = stories.lines().filter(|line| !line.is_empty()).collect();
        self.merged = stories.len();
        stories.sort_unstable();
        match stories.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("story {} was merged twice", pair[0])),
            None => Ok(()),
        }
    }

    /// The two refs of a landing move together: only where its journal says so may one of them be ahead.
    fn board_has_what_base_has(&self) -> Holds {
        let project = self.program.project();
        if git(&project, &["branch", "--list", "storkit/board"]).is_empty() {
            return if self.merged == 0 {
                Ok(())
            } else {
                Err("base has merges, and there is no board".into())
            };
        }
        let files =
            git(&project, &["ls-tree", "-r", "--name-only", "storkit/board", ".storkit/work/5_done/"]);
        let done = files.lines().count();
        let journal = self.program.file(".storkit/run/merge.json").exists();
        match done.abs_diff(self.merged) {
            0 => Ok(()),
            1 if journal => Ok(()),
            _ => Err(format!(
                "base has {} merges, the board {done} done stories (journal: {journal})",
                self.merged
            )),
        }
    }

    /// On the board's branch as on disk: what was edited last is committed by then, or soon.
    fn board_is_complete(&self) -> Holds {
        let project = self.program.project();
        let files = git(&project, &["ls-tree", "-r", "--name-only", "storkit/board"]);
        match files.lines().count() == self.stories as usize {
            true => Ok(()),
            false => Err(format!("the board has {files}, of {} stories", self.stories)),
        }
    }

    fn repository_is_whole(&self) -> Holds {
        let fsck = std::process::Command::new("git")
            .arg("-C")
            .arg(self.program.project())
            .args(["fsck", "--connectivity-only", "--no-dangling"])
            .output()
            .expect("git runs");
        if !fsck.status.success() {
            return Err(format!("git fsck: {}", String::from_utf8_lossy(&fsck.stderr)));
        }
        self.base_is_green()
    }

    /// The gate on what base has, whatever the checkout looks like.
    fn base_is_green(&self) -> Holds {
        let place = tempfile::tempdir().expect("a folder");
        let archive = format!("git -C {} archive main | tar -x", self.program.project().display());
        for line in [archive.as_str(), "sh setup.sh", "sh gate.sh"] {
            let mut shell = std::process::Command::new("sh");
            // Here it is the test that runs the gate, and `script/test` gives the tests a secret.
            shell.args(["-c", line]).current_dir(place.path()).env_remove("STORKIT_TEST_TOKEN");
            let run = shell.output().expect("a shell");
            if !run.status.success() {
                let said =
                    [String::from_utf8_lossy(&run.stderr), String::from_utf8_lossy(&run.stdout)].concat();
                return Err(format!("base is not green: {said}"));
            }
        }
        Ok(())
    }

    /// Without kills all stories are done soon, and nothing is left that belongs to none.
    pub fn finish(&mut self) -> Holds {
        let mut serving = self.program.serve();
        let until = Instant::now() + PATIENCE;
        let mut retried = BTreeSet::new();
        while self.places().values().any(|stages| stages.as_slice() != ["5_done"]) {
            self.retry_merges(&mut retried);
            if Instant::now() > until {
                return Err(format!("not all stories are done: {:?}", self.open()));
            }
            // Looks at folders; there is nothing to wait on from outside.
            std::thread::sleep(Duration::from_millis(50));
        }
        while (!git(&self.program.project(), &["branch", "--list", "feature/*"]).is_empty()
            || self.slots.finish(AT_ONCE).is_err())
            && Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = &mut serving;
        let (code, log) = serving.end();
        if code != Some(0) {
            return Err(format!("it did not end well: {code:?}\n{log}"));
        }
        self.program.check_log(&self.log);
        self.check(true)?;
        self.board_is_complete()?;
        self.slots.finish(AT_ONCE)?;
        self.nothing_is_left()
    }

    /// As a person does who is told, once. A kill in an attempt to resolve conflicts counts as one, so that what crashes storkit is not
    /// tried for ever; on a slow machine some story has all of its attempts ended so.
    fn retry_merges(&self, retried: &mut BTreeSet<String>) {
        for entry in fs::read_dir(self.folder("4_merge")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let name = entry.file_name().into_string().unwrap_or_default();
            let Some(id) = name.split('_').next().filter(|_| text.contains("\nmerge_failure: ")) else {
                continue;
            };
            if retried.insert(id.to_owned()) {
                self.program.run(&["chat"], format!("retry {id}\n"));
            }
        }
    }

    fn open(&self) -> Vec<(u32, Vec<&'static str>)> {
        self.places().into_iter().filter(|(_, stages)| stages.as_slice() != ["5_done"]).collect()
    }

    fn nothing_is_left(&self) -> Holds {
        let project = self.program.project();
        let audit = self.program.run(&["doctor", "--audit"], "");
        let said = [String::from_utf8_lossy(&audit.stdout), String::from_utf8_lossy(&audit.stderr)].concat();
        if audit.status.code() != Some(0) {
            return Err(format!("the audit found something: {said}"));
        }
        for (what, args) in [
            ("branches", &["branch", "--list", "feature/*", "storkit/rescue/*", "storkit/discarded/*"][..]),
            ("changes", &["status", "--porcelain"]),
        ] {
            let left = git(&project, args);
            if !left.is_empty() {
                return Err(format!("{what} are left: {left}"));
            }
        }
        let worktrees = git(&project, &["worktree", "list", "--porcelain"]);
        let is_free = |entry: &str| entry.contains("/worktrees/slot-") && entry.contains("\ndetached");
        let others: Vec<&str> = worktrees
            .split("\n\n")
            // A slot is on no branch once its story is done.
            .filter(|entry| !is_free(entry))
            .filter_map(|entry| entry.lines().next()?.strip_prefix("worktree "))
            .filter(|path| !path.ends_with("/project") && !path.ends_with("/worktrees/merge"))
            .collect();
        if !others.is_empty() {
            return Err(format!("worktrees are left: {others:?}"));
        }
        let locks = std::process::Command::new("find")
            .args([project.join(".git").as_os_str(), "-name".as_ref(), "*.lock".as_ref()])
            .output()
            .expect("find runs");
        let locks = String::from_utf8_lossy(&locks.stdout).into_owned();
        if locks.lines().any(|lock| !lock.ends_with("storkit.lock")) {
            return Err(format!("locks are left: {locks}"));
        }
        match processes(&project.display().to_string()) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("processes are left: {left:?}")),
        }
    }

    /// For a failure: how things stand.
    pub fn report(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let history = git(&self.program.project(), &["log", "--oneline", "--graph", "-30", "main"]);
        let fronts: Vec<String> = self
            .open()
            .into_iter()
            .map(|(id, stages)| {
                let path = self.folder(stages[0]).join(format!("{id}_story_number.md"));
                let text = fs::read_to_string(path).unwrap_or_default();
                format!(
                    "{id} {stages:?}: {}",
                    text.split("# Story").next().unwrap_or_default().replace('\n', " ")
                )
            })
            .collect();
        format!(
            "{} stories, {} merged\n{}\n{history}\n{}",
            self.stories,
            self.merged,
            fronts.join("\n"),
            lines[lines.len().saturating_sub(40)..].join("\n")
        )
    }

    /// Says what was lived through; seen with `--nocapture`.
    #[allow(clippy::print_stdout)]
    pub fn told(&self) {
        let Met { taken, vacated, served } = &self.met;
        println!(
            "{} stories, {} merged, none lost or doubled; {taken} kills amid a slot that was taken, {vacated} amid one that was \
             vacated; one slot has served {served} stories",
            self.stories, self.merged
        );
    }
}

/// Processes of agents, gates and merges of this project, known by what they carry in their environment.
fn processes(project: &str) -> Vec<String> {
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        let ours = environment.split('\0').any(|variable| {
            (variable.starts_with("STORKIT_") && variable.contains(project))
                || variable
                    .strip_prefix("PWD=")
                    .is_some_and(|at| at.starts_with(project) && at.contains("worktrees"))
        });
        if ours {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            left.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    left
}

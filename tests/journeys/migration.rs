//! `storkit migrate` on a project that the version before left in the middle of everything: a story in every stage, agents at work, a merge
//! that was landing, and a conflict that somebody was resolving. `tests/data/previous-version/record.sh` has recorded it with that version.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use e2e::{Program, Serving, git};
use needs::needs;

/// Where it was recorded.
const RECORDED: &str = "/tmp/storkit-recording";

/// How long all stories together may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whoever resumes the recorded stories, as they were begun.
const AGENT: &str = include_str!("../src/stand_in/story_agent.py");

struct Migration {
    program: Program,
}

impl Migration {
    fn new() -> Self {
        let mut program = Program::with_stand_in();
        let place = program.project().parent().expect("a folder").to_owned();
        // The confirmation of a new project's settings shows by which name the one of this path goes.
        program.confirm_settings();
        let trust = program.home().join(".local/state/storkit/trust");
        let key = stem(&trust);
        fs::remove_dir_all(program.project()).expect("the new project");
        fs::remove_dir_all(&trust).expect("its confirmation");
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/previous-version/project.tar.gz");
        let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&place).status();
        assert!(unpacked.expect("tar runs").success());
        move_paths(&place, &place.display().to_string());
        let recorded = stem(&trust);
        for ending in ["json", "state.json", "stories.json"] {
            let (from, to) = (format!("{recorded}.{ending}"), format!("{key}.{ending}"));
            fs::rename(trust.join(from), trust.join(to)).expect("it is recorded");
        }
        let agent = place.join("agent");
        fs::write(&agent, AGENT).expect("the agent");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("it can run");
        program.set_guarded_claude(agent.to_str().expect("text"));
        program.write_config("[pipeline]\nrooms = [\"console:main\"]");
        Self { program }
    }

    fn git(&self, args: &[&str]) -> String {
        git(&self.program.project(), args)
    }

    /// What git says of the files, but for the one that the recorded room made.
    fn uncommitted(&self) -> String {
        self.git(&["status", "--porcelain", "--", ".", ":!made"])
    }

    /// The exit code of `storkit ARGUMENTS` and what it says.
    fn says(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.program.finish(&mut self.program.command(arguments));
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// Where each story is.
    fn stages(&self) -> BTreeMap<u32, Vec<String>> {
        let mut stages: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for stage in fs::read_dir(self.program.file(".storkit/work")).expect("the stages").flatten() {
            for file in fs::read_dir(stage.path()).into_iter().flatten().flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                if let Some(id) = name.split('_').next().and_then(|id| id.parse().ok()) {
                    stages.entry(id).or_default().push(stage.file_name().to_string_lossy().into_owned());
                }
            }
        }
        stages
    }

    fn until(&self, what: &str, holds: impl Fn(&BTreeMap<u32, Vec<String>>) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(&self.stages()) {
            assert!(Instant::now() < end, "never {what}: {:#?}", self.stages());
            std::thread::yield_now();
        }
    }

    /// Runs `storkit migrate`, which is killed at its n-th call of git. Returns whether it was.
    fn is_killed_at(&self, nth: u32, moment: &str) -> bool {
        let folder = self.program.project().with_file_name("bin");
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("git"), DEADLY_GIT).expect("a script");
        fs::set_permissions(folder.join("git"), fs::Permissions::from_mode(0o755)).expect("it can run");
        let real = Command::new("sh").args(["-c", "command -v git"]).output().expect("git is there").stdout;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = self.program.command(&["migrate"]);
        command
            .env("PATH", format!("{}:{path}", folder.display()))
            .env("REAL_GIT", String::from_utf8_lossy(&real).trim())
            .env("CALLS", folder.join("calls"))
            .env("NTH", nth.to_string())
            .env("MOMENT", moment);
        self.program.finish(&mut command).status.code().is_none()
    }

    /// Ends storkit, once the branches of landed stories are gone.
    fn ends(&self, serving: Serving) {
        let end = Instant::now() + PATIENCE;
        while !self.git(&["branch", "--list", "feature/story-*"]).is_empty() {
            assert!(Instant::now() < end, "branches are left");
            std::thread::yield_now();
        }
        let (code, log) = serving.end();
        assert_eq!(code, Some(0), "{log}");
    }

    fn board(&self) -> String {
        self.git(&["ls-tree", "-r", "--name-only", "storkit/board"])
    }
}

/// The name that the record of a confirmation has.
fn stem(trust: &Path) -> String {
    let mut names = fs::read_dir(trust).expect("a record").flatten().map(|file| file.file_name());
    let name = names.next().expect("a record").to_string_lossy().into_owned();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// Puts the paths of a project that was moved right, in all text files.
fn move_paths(folder: &Path, to: &str) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        match entry.file_type().expect("a kind") {
            kind if kind.is_dir() => move_paths(&path, to),
            kind if kind.is_file() => {
                let text = fs::read(&path).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                if let Some(text) = text.filter(|text| text.contains(RECORDED)) {
                    fs::write(&path, text.replace(RECORDED, to)).expect("written");
                }
            }
            _ => {}
        }
    }
}

fn is(stages: &BTreeMap<u32, Vec<String>>, id: u32, stage: &str) -> bool {
    stages.get(&id).is_some_and(|found| found == &[stage])
}

/// Git that ends the program which calls it at its call number `NTH`, before or after it does what it is called for.
const DEADLY_GIT: &str = r#"#!/bin/bash
echo >> "$CALLS"
call=$(wc -l < "$CALLS")
if [ "$call" = "$NTH" ] && [ "$MOMENT" = before ]; then kill -9 $PPID; exit 1; fi
"$REAL_GIT" "$@"
code=$?
if [ "$call" = "$NTH" ]; then kill -9 $PPID; fi
exit $code
"#;

#[test]
fn a_project_in_the_middle_of_everything_migrates_and_all_of_its_stories_go_on() {
    needs!(Bubblewrap);
    let old = Migration::new();
    let (history, before) = (old.git(&["rev-parse", "main"]), old.stages());
    let mut serving = old.program.serve();
    serving.logs("run `storkit migrate` once");
    serving.end();
    assert_eq!((old.stages(), old.git(&["rev-parse", "main"])), (before.clone(), history.clone()));
    let (code, said) = old.says(&["migrate"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Moved 3 stories from `main` to the branch `storkit/board`"), "{said}");
    assert_eq!((old.stages(), old.git(&["rev-parse", "main~1"])), (before, history));
    assert_eq!(old.git(&["diff", "--name-only", "main~1", "main"]).lines().count(), 3, "only the stories go");
    let first = ".storkit/work/1_backlog/1_story_number.md";
    let log = old.git(&["log", "--follow", "--format=%s", "storkit/board", "--", first]);
    assert!(log.ends_with("storkit: 6 stories"), "its history is there: {log}");
    let refs = || old.git(&["for-each-ref", "--format=%(refname) %(objectname)", "refs/heads"]);
    let migrated = refs();
    let (code, said) = old.says(&["migrate"]);
    assert_eq!((code, said.trim(), refs()), (Some(0), "There is nothing to migrate.", migrated));
    // The recorded reviewer of story 7 waits for this file.
    fs::write(old.program.file(".storkit/worktrees/7_number/go.marker"), "").expect("its worktree is there");
    let serving = old.program.serve();
    // Agents at work, an open merge and a conflict go on by themselves.
    old.until("2, 4, 6, 7 and 8 are done", |stages| {
        [2, 4, 6, 7, 8].iter().all(|id| is(stages, *id, "5_done"))
    });
    let stages = old.stages();
    assert!(is(&stages, 1, "1_backlog") && is(&stages, 10, "6_archived"), "{stages:?}");
    assert!(is(&stages, 3, "2_current") && is(&stages, 5, "3_qa"), "one is blocked, one waits: {stages:?}");
    let mut terminal = old.program.terminal();
    terminal.say("rules");
    terminal.see("1: `touch` with any files of its folder");
    terminal.say("retry 3");
    terminal.say("accept 5");
    old.until("3 and 5 are done", |stages| [3, 5].iter().all(|id| is(stages, *id, "5_done")));
    for (file, text) in [
        ("s2.txt", "2"),
        ("more2.txt", "more"),
        ("s3.txt", "3"),
        ("s4.txt", "4"),
        ("s5.txt", "5"),
        ("s6.txt", "6"),
        ("s7.txt", "7"),
        ("shared.txt", "eight"),
    ] {
        assert_eq!(old.git(&["show", &format!("main:{file}")]), text, "{file}");
    }
    let half = old.git(&["log", "--format=%s", "main"]);
    assert_eq!(half.lines().filter(|line| line.starts_with("storkit: merge 2 ")).count(), 1, "{half}");
    old.ends(serving);
    let (code, said) = old.says(&["doctor", "--audit"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((old.board().lines().count(), old.uncommitted()), (10, String::new()));
    let (code, said) = old.says(&["init", "--yes"]);
    assert_eq!(code, Some(0), "{said}");
    let context = fs::read_to_string(old.program.file(".storkit/specs/00_CONTEXT.md")).expect("it is there");
    assert!(
        context.contains("It sells doors.") && !old.program.file(".storkit/context.md").exists(),
        "{context}"
    );
}

#[test]
fn a_merge_that_had_moved_base_when_the_version_before_was_killed_is_done_after_the_migration() {
    let old = Migration::new();
    let journal = fs::read_to_string(old.program.file(".storkit/run/merge.json")).expect("a journal");
    let journal: serde_json::Value = serde_json::from_str(&journal).expect("JSON");
    let commit = journal["proof"]["commit"].as_str().expect("a commit").to_owned();
    old.git(&["update-ref", "refs/heads/main", &commit]);
    let (code, said) = old.says(&["migrate"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(old.git(&["rev-parse", "main~1"]), commit);
    assert!(is(&old.stages(), 6, "5_done"), "{:?}", old.stages());
    assert!(old.board().contains(".storkit/work/5_done/6_story_number.md"), "{}", old.board());
    assert!(old.program.file(".storkit/proofs/6.json").exists());
    assert_eq!(old.uncommitted(), "");
}

#[test]
fn a_migration_that_is_killed_at_any_call_of_git_is_whole_after_the_next() {
    for moment in ["before", "after"] {
        for nth in 1_u32.. {
            let old = Migration::new();
            let (history, before) = (old.git(&["rev-parse", "main"]), old.stages());
            let was_killed = old.is_killed_at(nth, moment);
            let (code, said) = old.says(&["migrate"]);
            assert_eq!(code, Some(0), "killed {moment} call {nth}: {said}");
            let place = format!("killed {moment} call {nth}");
            assert_eq!((old.stages(), old.git(&["rev-parse", "main~1"])), (before, history), "{place}");
            assert_eq!(old.board().lines().count(), 3, "{place}");
            assert_eq!(old.uncommitted(), "", "{place}");
            if !was_killed {
                assert!(nth > 2, "it was killed {nth} times only");
                break;
            }
        }
    }
}

#[test]
fn what_is_staged_and_edited_stays_and_from_another_branch_or_amid_a_merge_nothing_is_migrated() {
    let old = Migration::new();
    let refs = || old.git(&["for-each-ref", "--format=%(refname) %(objectname)", "refs/heads"]);
    old.git(&["switch", "-q", "-c", "topic"]);
    let before = refs();
    let (code, said) = old.says(&["migrate"]);
    assert_eq!((code, refs()), (Some(1), before), "{said}");
    assert!(said.contains("Run `git switch main`, then `storkit migrate` again."), "{said}");
    old.git(&["switch", "-q", "main"]);
    fs::write(old.program.file("shared.txt"), "mine, not committed\n").expect("written");
    fs::write(old.program.file("new.txt"), "mine, staged\n").expect("written");
    old.git(&["add", "new.txt"]);
    let (code, said) = old.says(&["migrate"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(old.uncommitted(), "A  new.txt\n M shared.txt");
}

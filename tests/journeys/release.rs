//! `script/release` on a repository of its own: what it writes, what it refuses, and that a refusal changes nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use insta::assert_snapshot;
use tempfile::TempDir;

/// A project with a version, a lock and a first release, in which stories get merged.
struct Project {
    dir: TempDir,
}

impl Project {
    fn new() -> Self {
        let project = Self { dir: tempfile::tempdir().expect("a folder") };
        project.write(
            "Cargo.toml",
            "[workspace]\nmembers = [\"shop\"]\nresolver = \"2\"\n\n[workspace.package]\nversion = \"0.1.0\"\n",
        );
        project.write(
            "shop/Cargo.toml",
            "[package]\nname = \"shop\"\nversion.workspace = true\nedition = \"2021\"\n",
        );
        project.write("shop/src/lib.rs", "");
        project.write(".gitignore", "/target\n");
        project.git(&["init", "-q", "-b", "main"]);
        let lock = project.command(env!("CARGO")).args(["generate-lockfile", "--offline"]).output();
        assert!(lock.expect("cargo runs").status.success());
        project.commit("a person: begin");
        project.git(&["tag", "-a", "-m", "first", "v0.1.0"]);
        project
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path());
        command.envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1"), ("LC_ALL", "C")]);
        for role in ["AUTHOR", "COMMITTER"] {
            command.envs([(format!("GIT_{role}_NAME"), "A"), (format!("GIT_{role}_EMAIL"), "a@example.org")]);
        }
        command
    }

    fn git(&self, arguments: &[&str]) -> String {
        let run = self.command("git").args(arguments).output().expect("git runs");
        assert!(run.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8_lossy(&run.stdout).trim_end().to_owned()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        fs::write(path, text).expect("it is written");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).expect("it is there")
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
    }

    /// A story's squash merge as storkit makes it: its file in done, and the subject.
    fn merge(&self, file: &str, name: &str, subject: &str) {
        self.write(&format!(".storkit/work/5_done/{file}"), &format!("---\nname: {name}\n---\n\nText.\n"));
        self.commit(subject);
    }

    fn release(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../script/release");
        self.command(script).args(arguments).output().expect("it runs")
    }

    /// Releases, and returns what it says.
    fn released(&self, arguments: &[&str]) -> String {
        let run = self.release(arguments);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.success(), "{said}");
        said
    }

    /// Everything that a release could change.
    fn state(&self) -> String {
        let tags = self.git(&["tag", "--list"]);
        let files = ["Cargo.toml", "Cargo.lock"].map(|file| self.read(file)).concat();
        [self.git(&["rev-parse", "HEAD"]), self.git(&["status", "--porcelain"]), tags, files].join("\n")
    }

    /// The sentence of a run that refuses, after which all is as before.
    fn refusal(&self, arguments: &[&str]) -> String {
        let before = self.state();
        let run = self.release(arguments);
        assert!(!run.status.success());
        assert_eq!(self.state(), before);
        String::from_utf8_lossy(&run.stderr).trim_end().to_owned()
    }
}

/// With the day of the test taken out.
fn undated(text: &str) -> String {
    let line = |line: &str| match line.split_once(" - 20") {
        Some((version, _)) if line.starts_with("## ") => format!("{version} - DAY\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn project_with_stories() -> Project {
    let project = Project::new();
    project.commit("storkit: create 3 Sign in with a passkey");
    project.merge("3_story_sign_in.md", "Sign in", "storkit: merge 3 Sign in with a passkey");
    project.commit("storkit: 2 stories");
    project.merge(
        "12_bug_basket.md",
        "\"The basket <b>keeps</b> its goods\"",
        "story-kit: merge 12_bug_basket",
    );
    project.merge("4_refactor_prices.md", "Prices", "storkit: merge 4 One place for prices");
    project.merge("5_spike_search.md", "Search", "storkit: merge 5 Which search engine?");
    project.commit("story-kit: merge story 2: From before files had kinds");
    project.commit("search: a person's own commit");
    project.merge("6_story_gone.md", "Gone", "storkit: merge 6 Taken back again");
    project.git(&["revert", "--no-edit", "HEAD"]);
    project.merge("7_story_back.md", "Back", "storkit: merge 7 Taken back and let in after all");
    project.git(&["revert", "--no-edit", "HEAD"]);
    project.git(&["revert", "--no-edit", "HEAD"]);
    project
}

#[test]
fn a_release_writes_versions_changelog_commit_and_tag() {
    let project = project_with_stories();
    assert_snapshot!(project.released(&["minor"]).trim_end(), @"
    storkit: 0.1.0 becomes 0.2.0, tag v0.2.0; 6 stories since v0.1.0; 4 commits of no story are not listed.
    storkit: released 0.2.0. Publish it with: git push --follow-tags
    ");
    assert_snapshot!(undated(&project.read("CHANGELOG.md")), @"
    # Changelog

    ## 0.2.0 - DAY

    ### Features

    - Sign in with a passkey (3)
    - Taken back and let in after all (7)

    ### Fixes

    - The basket &lt;b>keeps&lt;/b> its goods (12)

    ### Refactors

    - One place for prices (4)

    ### Spikes

    - Which search engine? (5)

    ### Other

    - From before files had kinds (2)
    ");
    assert_eq!(
        project.git(&["show", "--format=%s", "--name-only", "HEAD"]),
        "release: 0.2.0\n\nCHANGELOG.md\nCargo.lock\nCargo.toml"
    );
    assert_eq!(project.git(&["describe", "--tags"]), "v0.2.0");
    assert_eq!(project.git(&["cat-file", "-t", "v0.2.0"]), "tag");
    assert_eq!(project.git(&["status", "--porcelain"]), "");
    assert!(project.read("Cargo.toml").contains("version = \"0.2.0\"\n"));
    assert!(project.read("Cargo.lock").contains("name = \"shop\"\nversion = \"0.2.0\"\n"));
}

#[test]
fn the_next_release_tells_of_what_came_after_the_last_and_keeps_the_older() {
    let project = project_with_stories();
    project.released(&["0.1.1"]);
    project.merge("8_bug_late.md", "Late", "storkit: merge 8 Late at night");
    project.released(&["major"]);
    let changelog = undated(&project.read("CHANGELOG.md"));
    let (newer, older) = changelog.split_once("\n## 0.1.1 - DAY\n").expect("both");
    assert_snapshot!(newer, @"
    # Changelog

    ## 1.0.0 - DAY

    ### Fixes

    - Late at night (8)
    ");
    assert!(older.contains("Sign in with a passkey (3)") && !older.contains("Late"), "{older}");
    project.released(&["patch"]);
    assert!(project.read("CHANGELOG.md").starts_with("# Changelog\n\n## 1.0.1"));
    assert!(project.read("CHANGELOG.md").contains("\nNo stories were merged.\n\n## 1.0.0"));
}

#[test]
fn a_dry_run_prints_what_a_real_one_writes_and_changes_nothing() {
    let project = project_with_stories();
    let before = project.state();
    let dry = project.release(&["--dry-run", "minor"]);
    assert_eq!(dry.status.code(), Some(0));
    assert_eq!(project.state(), before);
    project.released(&["minor"]);
    let printed = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert_eq!(format!("# Changelog\n\n{printed}"), project.read("CHANGELOG.md"));
}

#[test]
fn what_cannot_be_released_is_refused_with_what_to_do() {
    let project = project_with_stories();
    let usage = [&[][..], &["bigger"], &["1.2"], &["01.2.3"], &["minor", "major"], &["--force", "minor"]];
    for arguments in usage {
        assert_eq!(project.release(arguments).status.code(), Some(2), "{arguments:?}");
    }
    project.write("new.txt", "");
    assert_snapshot!(project.refusal(&["minor"]), @"storkit: The checkout has changes that are not committed (?? new.txt). Commit or stash them first. Nothing was changed.");
    fs::remove_file(project.path("new.txt")).expect("it goes");
    assert_snapshot!(project.refusal(&["0.1.0"]), @"storkit: There is a tag v0.1.0 already. Nothing was changed.");
    assert_snapshot!(project.refusal(&["0.0.9"]), @"storkit: 0.0.9 is not newer than the last release, 0.1.0. Nothing was changed.");
    project.git(&["switch", "-q", "-c", "work"]);
    assert_snapshot!(project.refusal(&["minor"]), @"storkit: Releases are made on main, and this checkout is on work. Run: git switch main. Nothing was changed.");
    let dry = project.release(&["--dry-run", "minor"]);
    assert_eq!(dry.status.code(), Some(1), "a dry run tells that the real one would not");
    assert!(String::from_utf8_lossy(&dry.stdout).contains("Sign in with a passkey"));
}

#[test]
fn the_base_branch_is_the_projects_own() {
    let project = project_with_stories();
    project.write(".storkit/project.toml", "base_branch = \"trunk\"\n");
    project.commit("a person: another base");
    assert!(project.refusal(&["minor"]).contains("git switch trunk"));
    project.git(&["switch", "-q", "-c", "trunk"]);
    project.released(&["minor"]);
}

#[test]
fn a_commit_that_a_hook_refuses_leaves_all_as_it_was() {
    use std::os::unix::fs::PermissionsExt as _;
    let project = project_with_stories();
    let hook = project.path(".git/hooks/pre-commit");
    fs::create_dir_all(hook.parent().expect("a folder")).expect("it is made");
    fs::write(&hook, "#!/bin/sh\necho 'not on Fridays' >&2\nexit 1\n").expect("it is written");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("it may run");
    let said = project.refusal(&["minor"]);
    assert!(said.contains("not on Fridays") && said.contains("are put back"), "{said}");
    assert!(!project.path("CHANGELOG.md").exists());
}

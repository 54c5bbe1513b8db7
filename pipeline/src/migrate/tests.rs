//! Migrations of real repositories.

use std::{os::unix::fs::symlink, process::Command};

use super::*;

struct Fixture {
    folder: tempfile::TempDir,
    project: Project,
}

impl Fixture {
    /// A repository with old files, of which all but those in `untracked` are committed.
    fn new(files: &[(&str, &str)], untracked: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("project")).unwrap();
        git(&folder.path().join("project"), &["init", "--quiet", "--initial-branch=main"]);
        let project = Project::open(&folder.path().join("project")).unwrap();
        let fixture = Self { folder, project };
        fixture.write(&[("README", "r"), ("a/b", "c")]);
        fixture.write(files);
        fixture.git(&["add", "--force", "README", "a"]);
        for (name, _) in files {
            fixture.git(&["add", "--force", name]);
        }
        fixture.git(&["commit", "--quiet", "-m", "old"]);
        fixture.write(untracked);
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.project.root().join(name)
    }

    fn write(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), text).unwrap();
        }
    }

    fn git(&self, args: &[&str]) -> String {
        git(self.project.root(), args)
    }
}

fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs([
            ("HOME", "/nonexistent"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("LC_ALL", "C"),
        ])
        .args(["-c", "user.name=A", "-c", "user.email=a@example.com"])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn migrated(fixture: &Fixture) -> Result<MigrationReport, MigrateError> {
    migrate(&fixture.project, Some("main"))
}

const STORY: &str = "---\nname: An old story\n---\n\n# An old story\n";

#[test]
fn an_old_project_moves_with_its_history_and_once() {
    let fixture = Fixture::new(
        &[
            (".story_kit/work/1_upcoming/3_story_x.md", STORY),
            (".story_kit/work/5_done/1_bug_y.md", "y\n"),
            (".story_kit/project.toml", "gates = []\n"),
        ],
        &[(".story_kit/bot.toml", "# secret\n"), (".story_kit/work/2_current/2_story_z.md", "z\n")],
    );
    let migration = migrated(&fixture).unwrap();
    assert_eq!((migration.tracked, migration.others, migration.left.len()), (3, 2, 0));
    assert!(!fixture.path(".story_kit").exists());
    assert_eq!(fs::read_to_string(fixture.path(".storkit/bot.toml")).unwrap(), "# secret\n");
    assert!(fixture.path(".storkit/work/2_current/2_story_z.md").exists());
    insta::assert_snapshot!(fixture.git(&["status", "--short"]), @"R  .story_kit/project.toml -> .storkit/project.toml");
    fixture.git(&["commit", "--quiet", "-m", "migrated"]);
    assert_eq!(fixture.git(&["ls-files", ".story_kit", ".storkit"]), ".storkit/project.toml\n");
    let story = ".storkit/work/1_backlog/3_story_x.md";
    let log = fixture.git(&["log", "--follow", "--format=%s", BOARD_BRANCH, "--", story]);
    assert_eq!(log, "storkit: the stories of main move to this branch\nold\n");
    assert_eq!(migrated(&fixture).unwrap(), MigrationReport::default());
    assert_eq!(fixture.git(&["status", "--short"]), "");
}

#[test]
fn upcoming_becomes_backlog_also_in_a_new_folder() {
    let fixture = Fixture::new(
        &[(".storkit/work/1_upcoming/3_story_x.md", STORY)],
        &[(".storkit/work/1_upcoming/4_story_y.md", "")],
    );
    let migration = migrated(&fixture).unwrap();
    assert_eq!((migration.tracked, migration.others), (1, 1));
    assert!(!fixture.path(".storkit/work/1_upcoming").exists());
    assert!(fixture.path(".storkit/work/1_backlog/4_story_y.md").exists());
}

#[test]
fn files_that_clash_stop_it_before_the_first_change() {
    let fixture = Fixture::new(
        &[
            (".story_kit/work/1_upcoming/3_story_x.md", "old"),
            (".story_kit/work/1_upcoming/5_story_x.md", "5"),
        ],
        &[
            (".storkit/work/1_backlog/3_story_x.md", "new"),
            (".story_kit/work/1_backlog/5_story_x.md", "other"),
        ],
    );
    let before = fixture.git(&["status", "--short", "--ignored"]);
    insta::assert_snapshot!(migrated(&fixture).unwrap_err(), @"these files are in the old and the new place with different content: `.story_kit/work/1_upcoming/3_story_x.md`, `.story_kit/work/1_upcoming/5_story_x.md`. Nothing was changed; keep one of each, then run `storkit migrate` again.");
    assert_eq!(fixture.git(&["status", "--short", "--ignored"]), before);
    assert_eq!(fs::read_to_string(fixture.path(".storkit/work/1_backlog/3_story_x.md")).unwrap(), "new");
}

#[test]
fn a_copy_with_the_same_content_is_no_clash() {
    let fixture = Fixture::new(
        &[(".story_kit/work/5_done/3_story_x.md", "same")],
        &[
            (".storkit/work/5_done/3_story_x.md", "same"),
            (".story_kit/work/1_upcoming/9_bug_x.md", "z"),
            (".story_kit/work/1_backlog/9_bug_x.md", "z"),
        ],
    );
    let migration = migrated(&fixture).unwrap();
    assert_eq!((migration.tracked, migration.others, migration.doubles), (0, 1, 2));
    assert!(!fixture.path(".story_kit").exists());
    assert!(fixture.path(".storkit/work/1_backlog/9_bug_x.md").exists());
}

#[test]
fn a_tracked_story_in_work_is_not_followed_any_more() {
    let fixture = Fixture::new(&[(".story_kit/work/2_current/3_story_x.md", "x")], &[]);
    migrated(&fixture).unwrap();
    assert!(fixture.path(".storkit/work/2_current/3_story_x.md").exists());
    assert_eq!(fixture.git(&["ls-files", ".storkit", ".story_kit"]), "");
}

const BACKLOG: &str = ".storkit/work/1_backlog/1_story_a.md";
const DONE: &str = ".storkit/work/5_done/5_story_e.md";
const ARCHIVED: &str = ".storkit/work/6_archived/5_story_e.md";

/// A project of the version before, with a story in every stage.
fn on_base() -> Fixture {
    let archived = ".storkit/work/6_archived/6_story_f.md";
    let in_work = [("2_current", 2), ("3_qa", 3), ("4_merge", 4)]
        .map(|(stage, id)| format!(".storkit/work/{stage}/{id}_story_x.md"));
    let in_work = in_work.each_ref().map(|path| (path.as_str(), STORY));
    Fixture::new(&[(BACKLOG, STORY), (DONE, STORY), (archived, STORY)], &in_work)
}

#[test]
fn stories_that_base_tracks_move_to_the_board_with_one_commit_and_their_history_and_stay_on_disk() {
    let fixture = on_base();
    fixture.git(&["mv", BACKLOG, ".storkit/work/1_backlog/1_story_b.md"]);
    fixture.git(&["commit", "--quiet", "-m", "renamed"]);
    fixture.git(&["branch", "feature/story-2_x/work"]);
    fixture.write(&[(DONE, "edited and not committed\n"), ("mine", "m")]);
    fixture.git(&["add", "mine"]);
    let report = migrated(&fixture).unwrap();
    assert_eq!(report.board.as_ref().map(|board| (board.base.as_str(), board.stories)), Some(("main", 3)));
    assert!(report.to_string().starts_with("Moved 3 stories from `main` to the branch `storkit/board`; the"));
    assert_eq!(
        fixture.git(&["log", "--format=%s", "-2"]),
        "storkit: the stories move to the branch storkit/board\nrenamed\n"
    );
    assert_eq!(fixture.git(&["ls-files"]), "README\na/b\nmine\n");
    assert_eq!(fixture.git(&["status", "--short"]), "A  mine\n");
    insta::assert_snapshot!(fixture.git(&["ls-tree", "-r", "--name-only", BOARD_BRANCH]), @"
    .storkit/work/1_backlog/1_story_b.md
    .storkit/work/5_done/5_story_e.md
    .storkit/work/6_archived/6_story_f.md
    ");
    assert_eq!(fixture.git(&["show", &format!("{BOARD_BRANCH}:{DONE}")]), "edited and not committed\n");
    let all =
        fs::read_dir(fixture.path(".storkit/work")).unwrap().flatten().filter(|stage| stage.path().is_dir());
    let files = all.map(|stage| fs::read_dir(stage.path()).unwrap().count());
    assert_eq!(files.collect::<Vec<_>>(), [1; 6], "each stage has its file");
    let renamed = ".storkit/work/1_backlog/1_story_b.md";
    let log = fixture.git(&["log", "--follow", "--format=%s", BOARD_BRANCH, "--", renamed]);
    assert_eq!(log, "renamed\nold\n");
    assert_eq!(migrated(&fixture).unwrap(), MigrationReport::default());
}

#[test]
fn what_an_earlier_version_ignored_is_no_reason_for_git_to_show_stories() {
    let fixture = on_base();
    fixture.write(&[(
        ".storkit/.gitignore",
        "*\n!/work/\n!/work/**\n/work/2_current/\n/work/3_qa/\n/work/4_merge/\n",
    )]);
    migrated(&fixture).unwrap();
    assert_eq!(fixture.git(&["status", "--short", "--untracked-files=all"]), "");
}

#[test]
fn from_another_branch_or_during_a_rebase_nothing_is_migrated() {
    let fixture = on_base();
    fixture.git(&["switch", "--quiet", "-c", "side"]);
    insta::assert_snapshot!(migrated(&fixture).unwrap_err(), @"`main` tracks the stories, and another branch is checked out. Run `git switch main`, then `storkit migrate` again.");
    fixture.git(&["switch", "--quiet", "main"]);
    fixture.write(&[(".git/MERGE_HEAD", &fixture.git(&["rev-parse", "side"]))]);
    assert!(matches!(migrated(&fixture), Err(MigrateError::UnderWay)));
    assert_eq!(fixture.git(&["branch", "--list", BOARD_BRANCH]), "");
}

#[test]
fn a_kill_between_the_refs_and_the_index_is_made_good_by_the_next_try() {
    let fixture = on_base();
    let index = fs::read(fixture.path(".git/index")).unwrap();
    migrated(&fixture).unwrap();
    fs::write(fixture.path(".git/index"), index).unwrap();
    assert_ne!(fixture.git(&["status", "--short"]), "");
    assert_eq!(migrated(&fixture).unwrap(), MigrationReport::default());
    assert_eq!(fixture.git(&["status", "--short"]), "");
    assert!(fixture.path(BACKLOG).exists());
}

#[test]
fn stories_that_an_old_branch_brings_back_to_base_leave_it_again_and_the_board_keeps_its_own() {
    let fixture = on_base();
    fixture.git(&["branch", "old"]);
    migrated(&fixture).unwrap();
    fixture.write(&[(BACKLOG, "newer\n")]);
    let board = || fixture.git(&["show", &format!("{BOARD_BRANCH}:{BACKLOG}")]);
    fixture.git(&["merge", "--quiet", "--strategy", "ours", "old", "-m", "merged"]);
    fixture.git(&["checkout", "--quiet", "old", "--", ".storkit/work"]);
    fixture.git(&["commit", "--quiet", "-m", "back"]);
    fixture.write(&[(BACKLOG, "newer\n")]);
    assert!(migrated(&fixture).unwrap().board.is_some());
    assert_eq!((fixture.git(&["ls-files", ".storkit"]), board()), (String::new(), "newer\n".into()));
    assert_eq!(fixture.git(&["show", &format!("{BOARD_BRANCH}:{DONE}")]), STORY);
}

#[test]
fn a_clone_that_migrates_after_a_colleague_takes_the_colleagues_board_and_keeps_its_own_edits() {
    let mine = on_base();
    let edited = ".storkit/work/1_backlog/7_story_g.md";
    mine.write(&[(edited, STORY)]);
    mine.git(&["add", "--force", edited]);
    mine.git(&["commit", "--quiet", "-m", "another"]);
    let theirs = mine.folder.path().join("theirs");
    git(mine.folder.path(), &["clone", "--quiet", "project", "theirs"]);
    let colleague = Project::open(&theirs).unwrap();
    migrate(&colleague, Some("main")).unwrap();
    let board = |text: &str| {
        let blob = git2::Repository::open(&theirs).unwrap().blob(text.as_bytes()).unwrap();
        let changes =
            [(BACKLOG.into(), Some(blob)), (DONE.into(), None), (ARCHIVED.into(), Some(blob))].into();
        let repository = git2::Repository::open(&theirs).unwrap();
        let tip = crate::board::board_tip(&repository).unwrap();
        crate::board::write_commit(&repository, tip, &changes, "of a colleague").unwrap()
    };
    let tip = board("newer, of a colleague\n").to_string();
    git(&theirs, &["update-ref", crate::board::BOARD_REF, &tip]);
    mine.git(&["remote", "add", "origin", theirs.to_str().unwrap()]);
    mine.git(&["fetch", "--quiet", "origin"]);
    mine.write(&[(edited, "edited here\n")]);
    migrated(&mine).unwrap();
    assert_eq!(mine.git(&["merge-base", BOARD_BRANCH, "origin/storkit/board"]).trim(), tip);
    assert_eq!(mine.git(&["show", &format!("{BOARD_BRANCH}:{edited}")]), "edited here\n");
    crate::board::sync(&mine.project, "main").unwrap();
    let read = |path: &str| fs::read_to_string(mine.path(path)).ok();
    assert_eq!(read(BACKLOG).as_deref(), Some("newer, of a colleague\n"));
    assert_eq!((read(DONE), read(edited).as_deref()), (None, Some("edited here\n")));
    assert!(mine.git(&["ls-files", ".storkit"]).is_empty() && mine.git(&["status", "--short"]).is_empty());
    // Both have taken the stories off base, so one of the commits has nothing left to do.
    mine.git(&["pull", "--quiet", "--rebase", "origin", "main"]);
    assert_eq!(mine.git(&["rev-parse", "main"]), mine.git(&["rev-parse", "origin/main"]));
}

#[test]
fn what_cannot_be_moved_is_left_and_told() {
    let fixture =
        Fixture::new(&[(".story_kit/.gitignore", "bot.toml\n"), (".story_kit/project.toml", "")], &[]);
    fixture.git(&["worktree", "add", "--quiet", ".story_kit/worktrees/1_x", "-b", "x"]);
    symlink("/etc/passwd", fixture.path(".story_kit/link")).unwrap();
    let migration = migrated(&fixture).unwrap();
    insta::assert_snapshot!(migration, @"
    Moved 1 file to `.storkit/`, and removed 0 files that existed there already.
    The moves of 1 file that git follows are staged; commit them, and the history goes along.
    Left `.story_kit/.gitignore`: ignored files are now listed in `.storkit/.gitignore`; add missing ones there.
    Left `.story_kit/link`: it is no plain file.
    Left `.story_kit/worktrees/1_x`: a git worktree would lose its repository; remove it with `git worktree remove`.
    ");
    assert!(fixture.path(".story_kit/worktrees/1_x/README").exists());
    assert_eq!(migrated(&fixture).unwrap().left, migration.left);
}

#[test]
fn nothing_is_moved_through_a_link() {
    let fixture = Fixture::new(&[(".story_kit/work/5_done/3_story_x.md", "x")], &[]);
    let outside = fixture.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, fixture.path(".storkit/work")).unwrap();
    assert!(matches!(migrated(&fixture), Err(MigrateError::Linked(_))));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(fixture.path(".story_kit/work/5_done/3_story_x.md").exists());
}

//! `storkit migrate`: an older `.story_kit/` becomes `.storkit/`, `1_upcoming` becomes `1_backlog`, and stories that base tracks move to
//! the branch of the board, with their history.

mod board;

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

pub use self::board::BoardMigration;
use crate::{
    Project,
    board::{BOARD_BRANCH, BoardBranchError},
    git::program::{GitProgram, GitProgramError},
    sentence::plural,
    story::stage::Stage,
};

const OLD: &str = ".story_kit";
const NEW: &str = ".storkit";

/// The changes of a migration, displayed as sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationReport {
    /// Files that git follows.
    pub tracked: usize,
    /// Of those, the ones that are no stories: their moves are staged and not committed.
    pub staged: usize,
    pub others: usize,
    /// Files that were in the new place already, with the same content; the old copy was removed.
    pub doubles: usize,
    /// What stays in the old folder, and why.
    pub left: Vec<(PathBuf, &'static str)>,
    /// The stories that moved from base to the branch of the board.
    pub board: Option<BoardMigration>,
}

/// Why nothing, or not everything, was migrated. Running it again continues where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// Both places have these files, with different content. Nothing was changed.
    #[error(
        "these files are in the old and the new place with different content: {}. Nothing was changed; keep one of \
         each, then run `storkit migrate` again.",
        listed(.0)
    )]
    Clash(Vec<PathBuf>),
    /// A folder on the way is a link.
    #[error("`{0}` is a symbolic link, and storkit moves nothing through one. Put a folder there instead.")]
    Linked(PathBuf),
    #[error("`{path}`: {source}.")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Git(#[from] GitProgramError),
    #[error("the repository cannot be read or written: {0}.")]
    Repository(#[from] git2::Error),
    #[error(transparent)]
    Board(#[from] BoardBranchError),
    #[error("an interrupted merge cannot be finished: {0}")]
    Merge(String),
    /// The files in the checkout are another branch's.
    #[error(
        "`{0}` tracks the stories, and another branch is checked out. Run `git switch {0}`, then `storkit migrate` again."
    )]
    Elsewhere(String),
    #[error(
        "a merge, rebase or the like is under way in the main checkout. Finish it, then run `storkit migrate` again."
    )]
    UnderWay,
}

/// A file's old and new place, relative to the project.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileMove {
    from: PathBuf,
    to: PathBuf,
}

/// Moves everything to its new place. Of what moves, only the stories are committed: they leave `base`, the branch that stories
/// merge to, for the branch of the board. Does nothing where all is new; refuses before the first change where two files clash.
///
/// No storkit may serve the project.
pub fn migrate(project: &Project, base: Option<&str>) -> Result<MigrationReport, MigrateError> {
    let mut migration = move_files(project)?;
    if let Some(base) = base {
        migration.board = board::move_board(project, base)?;
    }
    Ok(migration)
}

fn move_files(project: &Project) -> Result<MigrationReport, MigrateError> {
    let root = project.root();
    let mut migration = MigrationReport::default();
    let moves = plan(root, &mut migration.left)?;
    let doubles = doubles(root, &moves)?;
    if moves.is_empty() {
        return Ok(migration);
    }
    let git = GitProgram::at(root).env("GIT_LITERAL_PATHSPECS", "1");
    let tracked = tracked(&git)?;
    // The doubles go first: `git mv` refuses a place that is taken.
    for planned in moves.iter().filter(|planned| doubles.contains(&planned.from)) {
        if tracked.contains(&planned.from) {
            untrack(&git, &[&planned.from])?;
        }
        fs::remove_file(root.join(&planned.from)).map_err(disk(&planned.from))?;
        migration.doubles += 1;
    }
    let moves = moves.into_iter().filter(|planned| !doubles.contains(&planned.from));
    let (followed, others): (Vec<FileMove>, Vec<FileMove>) =
        moves.partition(|planned| tracked.contains(&planned.from));
    move_tracked(root, &git, &followed)?;
    for planned in &others {
        move_other(root, planned)?;
    }
    migration.staged = followed.iter().filter(|planned| !is_story_place(&planned.to)).count();
    (migration.tracked, migration.others) = (followed.len(), others.len());
    for folder in [Path::new(NEW).join("work/1_upcoming"), OLD.into()] {
        remove_empty(&root.join(folder));
    }
    Ok(migration)
}

fn plan(root: &Path, left: &mut Vec<(PathBuf, &'static str)>) -> Result<Vec<FileMove>, MigrateError> {
    let mut files = Vec::new();
    for folder in [PathBuf::from(OLD), Path::new(NEW).join("work/1_upcoming")] {
        match root.join(&folder).symlink_metadata() {
            Ok(found) if found.is_symlink() => return Err(MigrateError::Linked(folder)),
            Ok(found) if found.is_dir() => collect(root, &folder, &mut files, left)?,
            Ok(_) | Err(_) => {}
        }
    }
    Ok(files.into_iter().map(|from| FileMove { to: new_place(&from), from }).collect())
}

/// Lists the files below a folder; what cannot be moved goes to `left`.
fn collect(
    root: &Path,
    folder: &Path,
    files: &mut Vec<PathBuf>,
    left: &mut Vec<(PathBuf, &'static str)>,
) -> Result<(), MigrateError> {
    let mut items: Vec<fs::DirEntry> =
        fs::read_dir(root.join(folder)).and_then(Iterator::collect).map_err(disk(folder))?;
    items.sort_by_key(fs::DirEntry::file_name);
    for item in items {
        let path = folder.join(item.file_name());
        let kind = item.file_type().map_err(disk(&path))?;
        if path == Path::new(OLD).join(".gitignore") {
            left.push((
                path,
                "ignored files are now listed in `.storkit/.gitignore`; add missing ones there",
            ));
        } else if kind.is_dir() && item.path().join(".git").exists() {
            left.push((
                path,
                "a git worktree would lose its repository; remove it with `git worktree remove`",
            ));
        } else if kind.is_dir() {
            collect(root, &path, files, left)?;
        } else if kind.is_file() {
            files.push(path);
        } else {
            left.push((path, "it is no plain file"));
        }
    }
    Ok(())
}

fn is_story_place(path: &Path) -> bool {
    path.starts_with(Path::new(NEW).join("work"))
}

fn new_place(from: &Path) -> PathBuf {
    let inner = from.strip_prefix(OLD).or_else(|_| from.strip_prefix(NEW)).unwrap_or(from);
    match inner.strip_prefix("work/1_upcoming") {
        Ok(story) => Path::new(NEW).join("work").join(Stage::Backlog.dir()).join(story),
        Err(_) => Path::new(NEW).join(inner),
    }
}

/// The old files whose new place has the same content. Different content is a clash.
fn doubles(root: &Path, moves: &[FileMove]) -> Result<HashSet<PathBuf>, MigrateError> {
    let mut clashes = Vec::new();
    let mut doubles = HashSet::new();
    let mut sources: BTreeMap<&Path, &Path> = BTreeMap::new();
    for FileMove { from, to } in moves {
        let there = match root.join(to).symlink_metadata() {
            Ok(_) => Some(to.as_path()),
            Err(_) => sources.insert(to, from),
        };
        match there {
            None => {}
            Some(there) if is_same(&root.join(from), &root.join(there)) => drop(doubles.insert(from.clone())),
            Some(_) => clashes.push(from.clone()),
        }
    }
    if clashes.is_empty() { Ok(doubles) } else { Err(MigrateError::Clash(clashes)) }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let plain = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_file());
    let same_length = || {
        fs::metadata(one).ok().map(|found| found.len()) == fs::metadata(other).ok().map(|found| found.len())
    };
    plain(one)
        && plain(other)
        && same_length()
        && matches!((fs::read(one), fs::read(other)), (Ok(a), Ok(b)) if a == b)
}

fn tracked(git: &GitProgram) -> Result<HashSet<PathBuf>, MigrateError> {
    let list = git.run(["ls-files", "-z", "--", OLD, &format!("{NEW}/work/1_upcoming")])?;
    Ok(list.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

// Many files of one folder by one call. In a stage's folder, which git ignores, a file is not followed in its new place.
fn move_tracked(root: &Path, git: &GitProgram, moves: &[FileMove]) -> Result<(), MigrateError> {
    // The system limits the length of a command line.
    const AT_ONCE: usize = 200;
    let mut by_folder: BTreeMap<&Path, Vec<&FileMove>> = BTreeMap::new();
    for planned in moves {
        by_folder.entry(planned.to.parent().unwrap_or(Path::new(NEW))).or_default().push(planned);
    }
    for (folder, moves) in by_folder {
        make_folder(root, folder)?;
        for moves in moves.chunks(AT_ONCE) {
            let sources = moves.iter().map(|planned| planned.from.as_os_str());
            git.run(
                [OsStr::new("mv"), OsStr::new("--")].into_iter().chain(sources).chain([folder.as_os_str()]),
            )?;
            let is_stage = Stage::ALL.iter().any(|stage| folder.ends_with(stage.dir()));
            if is_stage {
                untrack(git, &moves.iter().map(|planned| planned.to.as_path()).collect::<Vec<_>>())?;
            }
        }
    }
    Ok(())
}

/// Leaves the files where they are; git follows them no more.
fn untrack(git: &GitProgram, files: &[&Path]) -> Result<(), MigrateError> {
    let words = ["rm", "--quiet", "--cached", "--"].map(OsStr::new);
    git.run(words.into_iter().chain(files.iter().map(|file| file.as_os_str())))?;
    Ok(())
}

fn move_other(root: &Path, planned: &FileMove) -> Result<(), MigrateError> {
    make_folder(root, planned.to.parent().unwrap_or(Path::new(NEW)))?;
    let (from, to) = (root.join(&planned.from), root.join(&planned.to));
    let moved = renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE);
    moved.map_err(|error| disk(&planned.to)(error.into()))
}

/// Makes a folder inside the project; no link may lead out of it on the way.
fn make_folder(root: &Path, folder: &Path) -> Result<(), MigrateError> {
    let mut path = root.to_owned();
    for part in folder {
        path.push(part);
        if path.is_symlink() {
            return Err(MigrateError::Linked(path));
        }
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.map_err(disk(&path))?,
        }
    }
    Ok(())
}

// Folders with something in them stay, which is what `remove_dir` is asked to find out.
fn remove_empty(folder: &Path) {
    for item in fs::read_dir(folder).into_iter().flatten().flatten() {
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&item.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> MigrateError + use<> {
    let path = path.to_owned();
    move |source| MigrateError::Disk { path, source }
}

fn listed(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<String> = paths.iter().take(SHOWN).map(|path| format!("`{}`", path.display())).collect();
    match paths.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl fmt::Display for MigrationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moved = self.tracked + self.others;
        if moved + self.doubles == 0 && self.board.is_none() {
            writeln!(f, "There is nothing to migrate.")?;
        } else if moved + self.doubles > 0 {
            let removed = plural(self.doubles, "file");
            writeln!(
                f,
                "Moved {} to `{NEW}/`, and removed {removed} that existed there already.",
                plural(moved, "file")
            )?;
        }
        if self.staged > 0 {
            let staged = plural(self.staged, "file");
            writeln!(
                f,
                "The moves of {staged} that git follows are staged; commit them, and the history goes along."
            )?;
        }
        if let Some(BoardMigration { base, stories, commit }) = &self.board {
            let stories = if *stories == 1 { "1 story".to_owned() } else { format!("{stories} stories") };
            writeln!(
                f,
                "Moved {stories} from `{base}` to the branch `{BOARD_BRANCH}`; the commit on `{base}` is `{commit:.8}`. The files stay \
                 where they are."
            )?;
        }
        for (path, why) in &self.left {
            writeln!(f, "Left `{}`: {why}.", path.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            report.board.as_ref().map(|board| (board.base.as_str(), board.stories)),
            Some(("main", 3))
        );
        assert!(
            report.to_string().starts_with("Moved 3 stories from `main` to the branch `storkit/board`; the")
        );
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
        let all = fs::read_dir(fixture.path(".storkit/work"))
            .unwrap()
            .flatten()
            .filter(|stage| stage.path().is_dir());
        let files = all.map(|stage| fs::read_dir(stage.path()).unwrap().count());
        assert_eq!(files.collect::<Vec<_>>(), [1; 6], "each stage has its file");
        let renamed = ".storkit/work/1_backlog/1_story_b.md";
        let log = fixture.git(&["log", "--follow", "--format=%s", BOARD_BRANCH, "--", renamed]);
        assert_eq!(log, "renamed\nold\n");
        assert_eq!(migrated(&fixture).unwrap(), MigrationReport::default());
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
}

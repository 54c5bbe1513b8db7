//! `storkit migrate`: an older `.story_kit/` becomes `.storkit/`, and `1_upcoming` becomes `1_backlog`, with their
//! history.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{
    Project,
    git::program::{GitProgram, GitProgramError},
    sentence::plural,
    story::stage::Stage,
};

const OLD: &str = ".story_kit";
const NEW: &str = ".storkit";

/// The changes of a migration, displayed as sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationReport {
    /// Files that git follows, moved by `git mv`; the moves are staged and not committed.
    pub tracked: usize,
    pub others: usize,
    /// Files that were in the new place already, with the same content; the old copy was removed.
    pub doubles: usize,
    /// What stays in the old folder, and why.
    pub left: Vec<(PathBuf, &'static str)>,
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
}

/// A file's old and new place, relative to the project.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileMove {
    from: PathBuf,
    to: PathBuf,
}

/// Moves everything to its new place, and commits nothing. Does nothing where all is new; refuses before the
/// first change where two files clash.
pub fn migrate(project: &Project) -> Result<MigrationReport, MigrateError> {
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

// Many files of one folder by one call. A stage that git ignores is not followed in its new place either.
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
            let ignored =
                Stage::ALL.iter().any(|stage| !stage.is_committed() && folder.ends_with(stage.dir()));
            if ignored {
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
        if moved + self.doubles == 0 {
            writeln!(f, "There is nothing to migrate.")?;
        } else {
            let removed = plural(self.doubles, "file");
            writeln!(
                f,
                "Moved {} to `{NEW}/`, and removed {removed} that existed there already.",
                plural(moved, "file")
            )?;
        }
        if self.tracked > 0 {
            let tracked = plural(self.tracked, "file");
            writeln!(
                f,
                "The moves of {tracked} that git follows are staged; commit them, and the history goes along."
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
        let migration = migrate(&fixture.project).unwrap();
        assert_eq!((migration.tracked, migration.others, migration.left.len()), (3, 2, 0));
        assert!(!fixture.path(".story_kit").exists());
        assert_eq!(fs::read_to_string(fixture.path(".storkit/bot.toml")).unwrap(), "# secret\n");
        assert!(fixture.path(".storkit/work/2_current/2_story_z.md").exists());
        insta::assert_snapshot!(fixture.git(&["status", "--short"]), @"
        R  .story_kit/project.toml -> .storkit/project.toml
        R  .story_kit/work/1_upcoming/3_story_x.md -> .storkit/work/1_backlog/3_story_x.md
        R  .story_kit/work/5_done/1_bug_y.md -> .storkit/work/5_done/1_bug_y.md
        ");
        fixture.git(&["commit", "--quiet", "-m", "migrated"]);
        let log =
            fixture.git(&["log", "--follow", "--format=%s", "--", ".storkit/work/1_backlog/3_story_x.md"]);
        assert_eq!(log, "migrated\nold\n");
        assert_eq!(migrate(&fixture.project).unwrap(), MigrationReport::default());
        assert_eq!(fixture.git(&["status", "--short"]), "");
    }

    #[test]
    fn upcoming_becomes_backlog_also_in_a_new_folder() {
        let fixture = Fixture::new(
            &[(".storkit/work/1_upcoming/3_story_x.md", STORY)],
            &[(".storkit/work/1_upcoming/4_story_y.md", "")],
        );
        let migration = migrate(&fixture.project).unwrap();
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
        insta::assert_snapshot!(migrate(&fixture.project).unwrap_err(), @"these files are in the old and the new place with different content: `.story_kit/work/1_upcoming/3_story_x.md`, `.story_kit/work/1_upcoming/5_story_x.md`. Nothing was changed; keep one of each, then run `storkit migrate` again.");
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
        let migration = migrate(&fixture.project).unwrap();
        assert_eq!((migration.tracked, migration.others, migration.doubles), (0, 1, 2));
        assert!(!fixture.path(".story_kit").exists());
        assert!(fixture.path(".storkit/work/1_backlog/9_bug_x.md").exists());
    }

    #[test]
    fn a_tracked_story_in_work_is_not_followed_any_more() {
        let fixture = Fixture::new(&[(".story_kit/work/2_current/3_story_x.md", "x")], &[]);
        migrate(&fixture.project).unwrap();
        assert!(fixture.path(".storkit/work/2_current/3_story_x.md").exists());
        assert_eq!(fixture.git(&["ls-files", ".storkit", ".story_kit"]), "");
    }

    #[test]
    fn what_cannot_be_moved_is_left_and_told() {
        let fixture =
            Fixture::new(&[(".story_kit/.gitignore", "bot.toml\n"), (".story_kit/project.toml", "")], &[]);
        fixture.git(&["worktree", "add", "--quiet", ".story_kit/worktrees/1_x", "-b", "x"]);
        symlink("/etc/passwd", fixture.path(".story_kit/link")).unwrap();
        let migration = migrate(&fixture.project).unwrap();
        insta::assert_snapshot!(migration, @"
        Moved 1 file to `.storkit/`, and removed 0 files that existed there already.
        The moves of 1 file that git follows are staged; commit them, and the history goes along.
        Left `.story_kit/.gitignore`: ignored files are now listed in `.storkit/.gitignore`; add missing ones there.
        Left `.story_kit/link`: it is no plain file.
        Left `.story_kit/worktrees/1_x`: a git worktree would lose its repository; remove it with `git worktree remove`.
        ");
        assert!(fixture.path(".story_kit/worktrees/1_x/README").exists());
        assert_eq!(migrate(&fixture.project).unwrap().left, migration.left);
    }

    #[test]
    fn nothing_is_moved_through_a_link() {
        let fixture = Fixture::new(&[(".story_kit/work/5_done/3_story_x.md", "x")], &[]);
        let outside = fixture.folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        symlink(&outside, fixture.path(".storkit/work")).unwrap();
        assert!(matches!(migrate(&fixture.project), Err(MigrateError::Linked(_))));
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        assert!(fixture.path(".story_kit/work/5_done/3_story_x.md").exists());
    }
}

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
    board::{BOARD_BRANCH, BoardBranchError, WorkError},
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
    #[error(transparent)]
    Folder(#[from] WorkError),
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
mod tests;

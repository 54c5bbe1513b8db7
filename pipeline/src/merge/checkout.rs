//! Checkouts that have base checked out: whether a person's files are in the way, and following base.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use git2::{Blob, Delta, DiffOptions, Index, IndexEntry, IndexEntryExtendedFlag, Oid, Repository};

use super::squash::is_work;
use crate::{
    git::{
        lfs::{LfsPointer, LfsStore},
        program::{GitAnswer, GitProgram},
        submodules,
    },
    merge::{outcome::MergeError, paths::MergePaths},
};

// A person's own git holds the index for milliseconds; after so many tries it is an error.
const ATTEMPTS: u32 = 30;

const PAUSE: Duration = Duration::from_millis(100);

/// A checkout whose HEAD is base: the main one or a person's worktree.
#[derive(Clone, Debug)]
pub(crate) struct BaseCheckout {
    pub git_dir: PathBuf,
    pub work_tree: PathBuf,
}

/// A file in a tree.
type Entry = (Oid, u32);

/// A path that base's move changes.
#[derive(Clone, Debug)]
pub(crate) struct PathChange {
    pub path: PathBuf,
    pub old: Option<Entry>,
    pub new: Option<Entry>,
}

/// All checkouts of the repository whose folder is there.
pub(crate) fn all(place: &MergePaths) -> Result<Vec<BaseCheckout>, MergeError> {
    let own = Repository::open(&place.root)?;
    // A repository that is kept elsewhere (`git clone --separate-git-dir`) does not know its checkout, but the checkout knows it.
    let main = if own.is_worktree() { Repository::open(&place.common)? } else { own };
    // A bare main repository has no files, but it may have worktrees that follow base.
    let work_tree = main.workdir().map(Path::to_owned);
    let checkout = |work_tree| BaseCheckout { git_dir: place.common.clone(), work_tree };
    let mut all: Vec<BaseCheckout> = work_tree.map(checkout).into_iter().collect();
    for admin in fs::read_dir(place.common.join("worktrees")).into_iter().flatten().flatten() {
        let link = fs::read_to_string(admin.path().join("gitdir")).unwrap_or_default();
        if let Some(work_tree) = Path::new(link.trim_end_matches('\n')).parent() {
            all.push(BaseCheckout { git_dir: admin.path(), work_tree: work_tree.to_owned() });
        }
    }
    all.retain(|checkout| checkout.work_tree.join(".git").exists());
    Ok(all)
}

/// Those that have `base` checked out.
pub(crate) fn on_base(place: &MergePaths, base: &str) -> Result<Vec<BaseCheckout>, MergeError> {
    let head = format!("ref: refs/heads/{base}");
    let mut found = all(place)?;
    found.retain(|checkout| {
        fs::read_to_string(checkout.git_dir.join("HEAD")).unwrap_or_default().trim_end() == head
    });
    Ok(found)
}

/// What differs between two trees.
pub(crate) fn changes(repository: &Repository, old: Oid, new: Oid) -> Result<Vec<PathChange>, git2::Error> {
    let (old, new) = (repository.find_tree(old)?, repository.find_tree(new)?);
    let diff = repository.diff_tree_to_tree(Some(&old), Some(&new), None)?;
    let side = |file: git2::DiffFile<'_>| file.exists().then(|| (file.id(), u32::from(file.mode())));
    let change = |delta: git2::DiffDelta<'_>| {
        let path = delta.new_file().path().or(delta.old_file().path())?.to_owned();
        Some(PathChange { path, old: side(delta.old_file()), new: side(delta.new_file()) })
    };
    Ok(diff.deltas().filter_map(change).collect())
}

impl BaseCheckout {
    pub(crate) fn git(&self, place: &MergePaths) -> GitProgram {
        place.git_in(&self.git_dir, &self.work_tree)
    }

    /// The files of a person's that the changes would overwrite: staged, modified, deleted, unknown to git, or
    /// ignored. The paths from the checkout's top, sorted.
    pub(crate) fn in_the_way(&self, changes: &[PathChange]) -> Result<Vec<PathBuf>, MergeError> {
        let repository = Repository::open(&self.work_tree)?;
        let index = repository.index()?;
        let going: BTreeSet<&Path> = changes
            .iter()
            .filter(|change| change.old.is_some())
            .map(|change| change.path.as_path())
            .collect();
        let (mut found, mut compare) = (BTreeSet::new(), Vec::new());
        for change in changes {
            match (staged(&index, &change.path), change.old) {
                (StagedState::Entry(entry), _) if Some(entry) == change.new => {}
                (StagedState::Entry(entry), Some(old)) if entry == old => {
                    if !self.is_left_out(&index, &change.path) {
                        compare.push(change.path.as_path());
                    }
                }
                (StagedState::None, None) => found.extend(self.strangers(&change.path, &going)),
                _ => drop(found.insert(change.path.clone())),
            }
        }
        found.extend(edited(&repository, &index, &compare)?);
        Ok(found.into_iter().collect())
    }

    /// Whether a sparse checkout leaves the file out. libgit2 takes it for a deleted one.
    fn is_left_out(&self, index: &Index, path: &Path) -> bool {
        let skipped = index
            .get_path(path, 0)
            .is_some_and(|entry| entry.flags_extended & IndexEntryExtendedFlag::SKIP_WORKTREE.bits() != 0);
        skipped && self.work_tree.join(path).symlink_metadata().is_err()
    }

    /// A file on disk in the place of a new file, or above it.
    fn strangers(&self, path: &Path, going: &BTreeSet<&Path>) -> Vec<PathBuf> {
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            let found = self.work_tree.join(above).symlink_metadata();
            if found.is_ok_and(|found| !found.is_dir()) && !going.contains(above) {
                return vec![above.to_owned()];
            }
        }
        let mut found = Vec::new();
        self.collect(path, going, &mut found);
        found
    }

    fn collect(&self, path: &Path, going: &BTreeSet<&Path>, found: &mut Vec<PathBuf>) {
        let disk = self.work_tree.join(path);
        match disk.symlink_metadata() {
            Ok(there) if there.is_dir() => {
                for entry in fs::read_dir(&disk).into_iter().flatten().flatten() {
                    self.collect(&path.join(entry.file_name()), going, found);
                }
            }
            Ok(_) if !going.contains(path) => found.push(path.to_owned()),
            Ok(_) | Err(_) => {}
        }
    }

    /// Brings index and files from one tree to the other; git itself refuses where a person's work would be lost.
    pub(crate) fn follow(&self, place: &MergePaths, old: Oid, new: Oid) -> Result<(), MergeError> {
        let git = self.git(place);
        // The effect of a checkout on index and files between two trees, without HEAD: base has moved already.
        let args = ["read-tree", "-m", "-u", &old.to_string(), &new.to_string()];
        let mut answer = patiently(|| Ok(git.answer(args, &[])?))?;
        if answer.code != Some(0) && answer.stderr.contains("not uptodate") {
            // Touched but not changed: the index only has to look again.
            git.answer(["update-index", "-q", "--refresh"], &[])?;
            answer = patiently(|| Ok(git.answer(args, &[])?))?;
        }
        if answer.code != Some(0) {
            return Err(answer.refusal(&args).into());
        }
        // Base has moved, and its files have followed: a submodule that cannot is shown by `git status`.
        if let Err(error) = submodules::follow((&place.root, &place.common), &self.work_tree, (old, new)) {
            tracing::warn!(%error, "a submodule of a checkout cannot follow base");
        }
        Ok(())
    }

    /// Whether the index has the new side of all these changes.
    pub(crate) fn has_followed(&self, changes: &[PathChange]) -> Result<bool, MergeError> {
        let index = Repository::open(&self.work_tree)?.index()?;
        Ok(changes.iter().all(|change| staged(&index, &change.path).is(change.new)))
    }

    /// Sets or removes entries of the index, and no file.
    pub(crate) fn stage(
        &self,
        place: &MergePaths,
        entries: &[(&Path, Option<Entry>)],
    ) -> Result<(), MergeError> {
        let index = Repository::open(&self.work_tree)?.index()?;
        let mut lines = Vec::new();
        for (path, entry) in entries {
            // Spares the index lock, which a person's git may hold.
            if staged(&index, path).is(*entry) {
                continue;
            }
            let (object, mode) = entry.unwrap_or((Oid::ZERO_SHA1, 0));
            lines.extend(format!("{mode:06o} {object}\t").bytes());
            lines.extend(path.as_os_str().as_bytes());
            lines.push(0);
        }
        if lines.is_empty() {
            return Ok(());
        }
        let args = ["update-index", "-z", "--index-info"];
        let answer = patiently(|| Ok(self.git(place).answer(args, &lines)?))?;
        if answer.code == Some(0) { Ok(()) } else { Err(answer.refusal(&args).into()) }
    }

    /// Repairs files that a crash left half done between `follow`'s first and last file: files that are whole or part of
    /// the new ones are made the old ones again; one that is neither is a person's, and stays as it is: for it only
    /// the index follows. Returns a person's.
    pub(crate) fn undo_half(
        &self,
        place: &MergePaths,
        changes: &[PathChange],
    ) -> Result<Vec<PathBuf>, MergeError> {
        let repository = Repository::open(&self.work_tree)?;
        let index = repository.index()?;
        let (mut restore, mut theirs) = (Vec::new(), BTreeMap::new());
        for change in changes {
            let entry = staged(&index, &change.path);
            // `read-tree` writes the index after all files, so an entry with the new side needs no repair.
            let is_settled = entry.is(change.new) || matches!(entry, StagedState::Conflict);
            if is_settled || self.is_left_out(&index, &change.path) {
                continue;
            }
            match self.owner(place, &repository, change)? {
                FileOwner::Old => {}
                FileOwner::Half if change.old.is_none() => {
                    let path = self.work_tree.join(&change.path);
                    fs::remove_file(&path).map_err(MergeError::io(path))?;
                }
                FileOwner::Half => restore.push(change.path.as_path()),
                FileOwner::Person => drop(theirs.insert(change.path.as_path(), change.new)),
            }
        }
        self.restore(place, &restore)?;
        let entries: Vec<_> = theirs.iter().map(|(path, entry)| (*path, *entry)).collect();
        self.stage(place, &entries)?;
        Ok(theirs.into_keys().map(Path::to_owned).collect())
    }

    fn restore(&self, place: &MergePaths, paths: &[&Path]) -> Result<(), MergeError> {
        let mut input = Vec::new();
        for path in paths {
            input.extend(path.as_os_str().as_bytes());
            input.push(0);
        }
        if !input.is_empty() {
            self.git(place).run_with(["checkout-index", "--force", "-z", "--stdin"], &input)?;
        }
        Ok(())
    }

    /// Whose content is at a changed path.
    fn owner(
        &self,
        place: &MergePaths,
        repository: &Repository,
        change: &PathChange,
    ) -> Result<FileOwner, MergeError> {
        let path = self.work_tree.join(&change.path);
        let Ok(found) = path.symlink_metadata() else {
            // Git removes a file before it makes the next one in its place.
            return Ok(if change.old.is_none() { FileOwner::Old } else { FileOwner::Half });
        };
        let bytes = if found.is_symlink() {
            fs::read_link(&path).map(|target| target.as_os_str().as_bytes().to_vec())
        } else if found.is_file() {
            fs::read(&path)
        } else {
            return Ok(FileOwner::Person);
        };
        let bytes = bytes.map_err(MergeError::io(path))?;
        let store = LfsStore::of(&place.common)?;
        let content = |entry: Option<Entry>| entry.and_then(|(object, _)| repository.find_blob(object).ok());
        // In Git LFS the file has what the blob points to, or stayed a pointer.
        let pointed = |blob: &Blob<'_>| fs::read(store.path(&LfsPointer::parse(blob.content())?)).ok();
        let is = |blob: Blob<'_>| blob.content() == bytes || pointed(&blob).is_some_and(|text| text == bytes);
        if content(change.old).is_some_and(is) {
            return Ok(FileOwner::Old);
        }
        // A git that was killed while it wrote the file leaves a beginning of the new content.
        let begun = |blob: Blob<'_>| {
            blob.content().starts_with(&bytes) || pointed(&blob).is_some_and(|text| text.starts_with(&bytes))
        };
        Ok(if content(change.new).is_some_and(begun) { FileOwner::Half } else { FileOwner::Person })
    }
}

enum FileOwner {
    /// As base had it.
    Old,
    /// As git leaves it when it is killed.
    Half,
    /// Neither: somebody wrote it since.
    Person,
}

enum StagedState {
    None,
    Entry(Entry),
    Conflict,
}

impl StagedState {
    fn is(&self, wanted: Option<Entry>) -> bool {
        match self {
            Self::None => wanted.is_none(),
            Self::Entry(entry) => wanted == Some(*entry),
            Self::Conflict => false,
        }
    }
}

fn staged(index: &Index, path: &Path) -> StagedState {
    let plain = |entry: IndexEntry| StagedState::Entry((entry.id, entry.mode));
    if let Some(entry) = index.get_path(path, 0) {
        return plain(entry);
    }
    let conflicted = (1..=3).any(|stage| index.get_path(path, stage).is_some());
    if conflicted { StagedState::Conflict } else { StagedState::None }
}

/// Those of the paths whose files differ from the index. A story's file may be gone: it moved on.
fn edited(repository: &Repository, index: &Index, paths: &[&Path]) -> Result<Vec<PathBuf>, MergeError> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let mut options = DiffOptions::new();
    options.disable_pathspec_match(true).include_typechange(true).ignore_submodules(true);
    for path in paths {
        options.pathspec(path);
    }
    let diff = repository.diff_index_to_workdir(Some(index), Some(&mut options))?;
    let store = LfsStore::of(repository.commondir())?;
    let root = repository.workdir().unwrap_or_else(|| repository.path());
    let is_content = |file: git2::DiffFile<'_>, path: &Path| {
        let blob = repository.find_blob(file.id()).ok()?;
        // libgit2 does not know Git LFS, and takes the content for another file than the pointer.
        Some(
            fs::read(root.join(path)).ok()?
                == fs::read(store.path(&LfsPointer::parse(blob.content())?)).ok()?,
        )
    };
    let differs = |delta: git2::DiffDelta<'_>| {
        let path = delta.old_file().path()?.to_owned();
        let moved_on = delta.status() == Delta::Deleted && is_work(&path);
        let is_same = delta.status() == Delta::Modified
            && delta.old_file().mode() == delta.new_file().mode()
            && is_content(delta.old_file(), &path) == Some(true);
        (delta.status() != Delta::Unmodified && !moved_on && !is_same).then_some(path)
    };
    Ok(diff.deltas().filter_map(differs).collect())
}

/// Tries again while a person's git holds the index.
fn patiently(mut attempt: impl FnMut() -> Result<GitAnswer, MergeError>) -> Result<GitAnswer, MergeError> {
    let mut left = ATTEMPTS;
    loop {
        let answer = attempt()?;
        if answer.code == Some(0) || left == 0 || !answer.stderr.contains("index.lock") {
            return Ok(answer);
        }
        left -= 1;
        thread::sleep(PAUSE);
    }
}

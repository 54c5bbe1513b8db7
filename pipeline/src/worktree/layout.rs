//! Where a worktree's parts lie, and the lock on them.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use super::hooks::NOTE;
use crate::worktree::{
    error::{WorktreeError, at},
    owner::WorktreeOwner,
    slots::{self, SlotName},
};

/// Git removes a ref folder when its last ref is packed or deleted, but a sandbox may have it bound: this
/// file prevents that. A name with the extension `.lock` is no ref, to `git fsck` neither.
pub(crate) const KEEP: &str = "storkit.lock";

/// Paths of one worktree; all absolute. Nothing need be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorktreeLayout {
    pub owner: WorktreeOwner,
    pub root: PathBuf,
    /// The repository that all worktrees share: `.git`.
    pub common: PathBuf,
    pub folder: PathBuf,
    /// The slot that the folder is; rooms, and stories that an earlier version began, have folders of their own.
    pub slot: Option<SlotName>,
    /// A confined agent's copies of git's own files, and its `/tmp`: `.storkit/worktrees/.private/NAME`.
    pub private: PathBuf,
    /// Hooks for all agents: `.storkit/worktrees/.hooks`.
    pub hooks: PathBuf,
}

impl WorktreeLayout {
    pub(super) fn new(root: &Path, common: &Path, owner: &WorktreeOwner) -> Self {
        let home = home(root);
        let private = home.join(".private").join(owner.to_string());
        let slot = owner.story().and_then(|_| slots::assigned(&private));
        Self {
            owner: owner.clone(),
            root: root.into(),
            common: common.into(),
            folder: slot.map_or_else(|| home.join(owner.to_string()), |slot| slot.folder(&home)),
            slot,
            private,
            hooks: home.join(".hooks"),
        }
    }

    /// The owner's folder is this slot from now on.
    pub(super) fn settle_in(&mut self, slot: SlotName) {
        self.folder = slot.folder(&home(&self.root));
        self.slot = Some(slot);
    }

    /// The owner's ref folder and the folder of its logs, relative to a git folder.
    pub fn ref_folders(&self) -> [PathBuf; 2] {
        let refs = PathBuf::from(self.owner.ref_folder());
        [refs.clone(), Path::new("logs").join(refs)]
    }

    /// The folder of a worktree in [`WorktreeLayout::common`] that belongs to [`WorktreeLayout::folder`]. Found by what git noted
    /// in the repository, never by the checkout's own `.git`, which an agent may write.
    pub(super) fn admin(&self) -> Option<PathBuf> {
        admin_of(&self.common, &self.folder)
    }

    /// Git's notes of the checkout, and those of one on the same branch that an agent moved elsewhere.
    pub(super) fn notes(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.common.join("worktrees")).into_iter().flatten().flatten();
        let ours = |admin: &PathBuf| {
            let note = fs::read_to_string(admin.join(NOTE)).unwrap_or_default();
            note.trim_end() == self.owner.reference()
        };
        let marked = entries.map(|entry| entry.path()).filter(ours);
        let mut notes: Vec<PathBuf> = self.admin().into_iter().chain(marked).collect();
        notes.sort();
        notes.dedup();
        notes
    }

    /// Makes sure that the ref folders exist and stay, in the repository or another git folder.
    pub(super) fn keep_ref_folders(&self, git_dir: &Path) -> Result<(), WorktreeError> {
        for folder in self.ref_folders() {
            let folder = git_dir.join(folder);
            fs::create_dir_all(&folder).map_err(at(&folder))?;
            let keep = folder.join(KEEP);
            fs::write(&keep, "").map_err(at(&keep))?;
        }
        Ok(())
    }

    /// Lets the ref folders go, as far as nothing else is in them.
    pub(super) fn drop_ref_folders(&self) {
        for folder in self.ref_folders() {
            let folder = self.common.join(folder);
            let _ = fs::remove_file(folder.join(KEEP));
            let _ = fs::remove_dir(folder);
        }
    }
}

/// The folder of a worktree in the repository `common` that belongs to the checkout `folder`.
pub(super) fn admin_of(common: &Path, folder: &Path) -> Option<PathBuf> {
    let wanted = folder.join(".git");
    let entries = fs::read_dir(common.join("worktrees")).ok()?;
    let mut folders = entries.flatten().map(|entry| entry.path());
    folders.find(|folder| {
        fs::read_to_string(folder.join("gitdir")).is_ok_and(|noted| Path::new(noted.trim_end()) == wanted)
    })
}

pub(super) fn home(root: &Path) -> PathBuf {
    root.join(".storkit/worktrees")
}

/// Makes the folder of all worktrees, which git does not see, and refuses one that leads elsewhere.
pub(crate) fn make_home(root: &Path) -> Result<PathBuf, WorktreeError> {
    let home = home(root);
    for folder in [root.join(".storkit"), home.clone(), home.join(".private"), home.join(".hooks")] {
        if folder.is_symlink() {
            return Err(WorktreeError::Linked(folder));
        }
        private_folder(&folder).map_err(at(&folder))?;
    }
    let ignore = home.join(".gitignore");
    if !ignore.exists() {
        fs::write(&ignore, "# Worktrees of stories: not for the repository.\n*\n").map_err(at(&ignore))?;
    }
    Ok(home)
}

/// A folder for its owner alone.
pub(super) fn private_folder(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// The lock on one worktree: who makes, imports from, or removes it is alone. Waits. Released when dropped.
pub(super) struct WorktreeLock {
    _folder: File,
}

/// The lock on git's list of worktrees. `git worktree add` reads the entries of all worktrees, and fails on one that another process
/// is just making or removing.
pub(crate) struct WorktreeListLock {
    _folder: File,
}

impl WorktreeListLock {
    /// Waits for it. `common` is the repository's git folder. Released when dropped.
    pub(crate) fn take(common: &Path) -> io::Result<Self> {
        let folder = File::open(common)?;
        folder.lock()?;
        Ok(Self { _folder: folder })
    }
}

impl WorktreeLock {
    pub(super) fn take(layout: &WorktreeLayout) -> Result<Self, WorktreeError> {
        let path = &layout.private;
        loop {
            private_folder(path).map_err(at(path))?;
            let folder = match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                folder => folder.map_err(at(path))?,
            };
            // The kernel releases it with the process, so a crash leaves no stale lock.
            folder.lock().map_err(at(path))?;
            let held = folder.metadata().map_err(at(path))?;
            // Who held it may have removed the folder; then this is the lock of nothing.
            match fs::symlink_metadata(path) {
                Ok(now) if (now.dev(), now.ino()) == (held.dev(), held.ino()) => {
                    return Ok(Self { _folder: folder });
                }
                _ => continue,
            }
        }
    }
}

//! The folders of a worktree, as a sandbox needs them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where a confined agent sees the repository's true objects, relative to the project; outside there is nothing.
pub const STORE: &str = ".storkit/objects";

/// The folder of git-lfs in git's, and in a worktree's private one.
pub const LFS: &str = "lfs";

/// The parts of one worktree that a sandbox shows or replaces. All paths absolute but `ref_folders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorktreePaths {
    /// Of the main checkout.
    pub root: PathBuf,
    /// The `.git` folder of the repository.
    pub common: PathBuf,
    pub folder: PathBuf,
    /// Git's data about it: `.git/worktrees/NAME`.
    pub admin: PathBuf,
    /// Has `git`, `objects`, `info`, `lfs`, `admin`, `tmp` and the ref folders, shown instead of the real ones.
    pub private: PathBuf,
    pub hooks: PathBuf,
    /// Folders below `.git` that belong to this story alone, relative to it; empty for a worktree without a branch.
    pub ref_folders: Vec<PathBuf>,
    /// Whether the folder serves one story after another. What is stored by its path would reach the next one.
    pub is_slot: bool,
}

impl WorktreePaths {
    /// Files that people sent to the agent, read-only inside. A process sees later files only if the folder exists when it starts.
    pub fn received(&self) -> PathBuf {
        self.private.join("received")
    }

    /// Where agents and commands leave files for people, outside of the worktree. Writable inside if it exists when a process starts.
    pub fn evidence(&self) -> PathBuf {
        evidence_folder(&self.private)
    }

    /// Whether the agent works in the main checkout itself: its files can be written, `.git` and `.storkit` cannot, and git has
    /// no private copies.
    pub fn is_main_checkout(&self) -> bool {
        self.folder == self.root
    }
}

/// As [`WorktreePaths::evidence`], below a worktree's private folder.
pub fn evidence_folder(private: &Path) -> PathBuf {
    private.join("evidence")
}

/// Replaces a file in a folder that code inside may have written: a link is removed, never followed.
pub(super) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path)?,
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    let mut file = fs::File::create_new(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

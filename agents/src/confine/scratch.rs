//! The private folders of one process: they are made for it, empty, and removed with it.
//!
//! Never reused: what an earlier process left in them could be a link, and bubblewrap would follow it when it makes the places of its
//! mounts.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::{paths::WorktreePaths, seccomp};

/// Below a worktree's private folder. Removed by who makes the worktree ready: after a kill it has leftovers.
pub const SCRATCH: &str = "scratch";

/// Git's settings inside. The name is for repositories that tests make; in the worktree the run has its own. Who owns a folder says
/// nothing inside: the user there may be another one than outside.
const GIT_SETTINGS: &str =
    "[user]\n\tname = storkit\n\temail = commands@agents.storkit.invalid\n[safe]\n\tdirectory = *\n";

/// The folders, removed on drop.
#[derive(Debug)]
pub struct ScratchFolders(tempfile::TempDir);

impl ScratchFolders {
    pub(super) fn make(place: &WorktreePaths) -> io::Result<Self> {
        let above = place.private.join(SCRATCH);
        private_folder(&place.private)?;
        private_folder(&above)?;
        let folders = Self(tempfile::Builder::new().prefix("").tempdir_in(&above)?);
        for folder in [folders.home(), folders.tmp(), folders.git(), folders.claude(), folders.cargo()] {
            private_folder(&folder)?;
        }
        fs::write(folders.home().join(".gitconfig"), GIT_SETTINGS)?;
        fs::write(folders.git_link(), format!("gitdir: {}\n", place.admin.display()))?;
        for (name, filter) in seccomp::filters()? {
            fs::write(folders.filters().join(name), filter)?;
        }
        Ok(folders)
    }

    /// `HOME` inside.
    pub(super) fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.0.path().join("tmp")
    }

    /// The repository's `.git` inside.
    pub(super) fn git(&self) -> PathBuf {
        self.0.path().join("git")
    }

    /// The CLI's own folder inside.
    pub(super) fn claude(&self) -> PathBuf {
        self.0.path().join("claude")
    }

    /// cargo's own folder, where it is not in the home.
    pub(super) fn cargo(&self) -> PathBuf {
        self.0.path().join("cargo")
    }

    /// The worktree's `.git` file inside.
    pub(super) fn git_link(&self) -> PathBuf {
        self.0.path().join("git-link")
    }

    /// Has the filters of system calls, which a process inside must not see: its own folders are below this one.
    pub(super) fn filters(&self) -> &Path {
        self.0.path()
    }
}

fn private_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

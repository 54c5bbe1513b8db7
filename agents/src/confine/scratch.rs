//! The private folders of one process: they are made for it, empty, and removed with it.
//!
//! Never reused: an earlier process could have left a link in them, and bubblewrap would follow it when it
//! makes the places of its mounts.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::{
    paths::{WorktreePaths, write_new},
    seccomp,
};

/// Below a worktree's private folder. Removed by who makes the worktree ready: after a kill it has leftovers.
pub const SCRATCH: &str = "scratch";

/// Git's settings inside. The name is for repositories that tests make; in the worktree the run has its own. Who owns a folder says
/// nothing inside: the user there may be another one than outside.
const GIT_SETTINGS: &str =
    "[user]\n\tname = storkit\n\temail = commands@agents.storkit.invalid\n[safe]\n\tdirectory = *\n";

/// Below the process's own folder, each for its purpose.
const FOLDERS: [&str; 6] = ["home", "tmp", "git", "claude", "cargo", "layers"];

/// The folders, removed on drop. A `.git` that led to them leads to git's own notes again.
#[derive(Debug)]
pub struct ScratchFolders {
    folder: tempfile::TempDir,
    /// The worktree's `.git`, and what belongs in it. The main checkout's is left alone.
    worktrees_link: Option<(PathBuf, String)>,
}

impl ScratchFolders {
    pub(super) fn make(place: &WorktreePaths) -> io::Result<Self> {
        let above = place.private.join(SCRATCH);
        private_folder(&place.private)?;
        private_folder(&above)?;
        let folder = tempfile::Builder::new().prefix("").tempdir_in(&above)?;
        let link = format!("gitdir: {}\n", place.admin.display());
        let worktrees_link = (!place.is_main_checkout()).then(|| (place.folder.join(".git"), link.clone()));
        let folders = Self { folder, worktrees_link };
        for name in FOLDERS {
            private_folder(&folders.folder.path().join(name))?;
        }
        fs::write(folders.home().join(".gitconfig"), GIT_SETTINGS)?;
        fs::write(folders.git_link(), link)?;
        for (name, filter) in seccomp::filters()? {
            fs::write(folders.filters().join(name), filter)?;
        }
        Ok(folders)
    }

    pub(super) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// The repository's `.git` inside.
    pub(super) fn git(&self) -> PathBuf {
        self.folder.path().join("git")
    }

    /// The CLI's own folder inside.
    pub(super) fn claude(&self) -> PathBuf {
        self.folder.path().join("claude")
    }

    /// `/etc` inside, where it is put together. Not made yet.
    pub(super) fn etc(&self) -> PathBuf {
        self.folder.path().join("etc")
    }

    /// cargo's own folder, where it is not in the home.
    pub(super) fn cargo(&self) -> PathBuf {
        self.folder.path().join("cargo")
    }

    /// Where the process mounts its layers, if it has any.
    pub(super) fn layers(&self) -> PathBuf {
        self.folder.path().join("layers")
    }

    /// The worktree's `.git` file inside.
    pub(super) fn git_link(&self) -> PathBuf {
        self.folder.path().join("git-link")
    }

    /// Has the filters of system calls, which a process inside must not see: its own folders are below this one.
    pub(super) fn filters(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for ScratchFolders {
    fn drop(&mut self) {
        let Some((path, link)) = &self.worktrees_link else { return };
        // Untouched where namespaces hid it. A worktree that is gone needs none.
        let is_there = path.parent().is_some_and(Path::is_dir);
        let is_ours = fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
            && fs::read_to_string(path).is_ok_and(|text| text == *link);
        if is_there
            && !is_ours
            && let Err(error) = write_new(path, link)
        {
            tracing::warn!(%error, path = %path.display(), "a worktree does not lead to its repository");
        }
    }
}

fn private_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

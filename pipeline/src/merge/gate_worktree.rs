//! A worktree with a detached HEAD that is reused between merges, so that its files and caches stay warm.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use git2::Oid;

use super::paths::{ignored_folder, remove_durably};
use crate::{
    git::program::GitProgram,
    merge::{outcome::MergeError, paths::MergePaths},
    worktree::{SetupRecord, WorktreeListLock, remove_tree, scrub},
};

/// A linked worktree of storkit's own.
#[derive(Debug)]
pub(crate) struct GateWorktree {
    admin: PathBuf,
    git: GitProgram,
}

impl GateWorktree {
    /// Opens the worktree at `path`, or makes it where it is missing or broken.
    pub(crate) fn open(place: &MergePaths, path: PathBuf, commit: Oid) -> Result<Self, MergeError> {
        let found = match Self::find(place, path.clone()) {
            Some(found) => found,
            None => Self::at(place, make(place, &path, commit)?, path),
        };
        // There is one queue, and only it comes here: what lies about is from a killed one.
        for lock in ["index.lock", "HEAD.lock"] {
            let _ = fs::remove_file(found.admin.join(lock));
        }
        Ok(found)
    }

    /// The worktree at `path`, if it is there and whole.
    pub(crate) fn find(place: &MergePaths, path: PathBuf) -> Option<Self> {
        let admin =
            admin_dir(place, &path).filter(|admin| !is_half_made(admin) && path.join(".git").is_file())?;
        Some(Self::at(place, admin, path))
    }

    fn at(place: &MergePaths, admin: PathBuf, path: PathBuf) -> Self {
        let git = place.git_in(&admin, &path);
        Self { admin, git }
    }

    /// Makes HEAD, index and files those of a commit. Ignored files stay: they are caches.
    pub(crate) fn check_out(&self, commit: Oid) -> Result<(), MergeError> {
        self.git.run(["reset", "--quiet", "--hard", &commit.to_string()])?;
        Ok(())
    }

    /// Removes everything that neither HEAD has nor its own rules ignore.
    pub(crate) fn scrub(&self, place: &MergePaths) -> Result<(), MergeError> {
        if scrub(&self.git, &place.standing())? {
            // It may have been what a setup made.
            setup_record(place).forget_all()?;
        }
        Ok(())
    }

    /// Removes what gates left that is neither tracked nor ignored.
    pub(crate) fn tidy(&self) -> Result<(), MergeError> {
        self.git.run(["clean", "--quiet", "--force", "-d"])?;
        Ok(())
    }

    pub(crate) fn git(&self) -> &GitProgram {
        &self.git
    }
}

/// As long as this file is there, code has run in the gates' worktree that base does not have.
const UNLANDED: &str = "unlanded";

/// What the setups in the gates' worktree were made from.
pub(crate) fn setup_record(place: &MergePaths) -> SetupRecord {
    SetupRecord::read(&place.standing_private())
}

/// Notes that code is about to run in the gates' worktree that base does not have.
pub(crate) fn begin_unlanded(place: &MergePaths) -> Result<(), MergeError> {
    let private = place.standing_private();
    settings::unlinked::create_dir_all(&private).map_err(MergeError::io(&private))?;
    let path = private.join(UNLANDED);
    settings::atomic::write(&path, b"").map_err(MergeError::io(&path))
}

/// Notes that base has the code that ran there.
pub(crate) fn end_unlanded(place: &MergePaths) -> Result<(), MergeError> {
    let path = place.standing_private().join(UNLANDED);
    remove_durably(&path).map_err(MergeError::io(&path))
}

/// Removes the gates' worktree with its build products and caches, if code ran there that never came to base. Returns whether it did.
pub(crate) fn discard_unlanded(place: &MergePaths) -> Result<bool, MergeError> {
    let private = place.standing_private();
    if !private.join(UNLANDED).exists() {
        return Ok(false);
    }
    // A new folder, too: a process that outlived its gate has rights in the old one.
    remove(place, &place.standing())?;
    for entry in fs::read_dir(&private).map_err(MergeError::io(&private))?.flatten() {
        if entry.file_name() != UNLANDED {
            remove_tree(&entry.path())?;
        }
    }
    end_unlanded(place)?;
    Ok(true)
}

fn make(place: &MergePaths, path: &Path, commit: Oid) -> Result<PathBuf, MergeError> {
    remove(place, path)?;
    let parent = path.parent().unwrap_or(&place.root);
    ignored_folder(parent).map_err(MergeError::io(parent))?;
    // Without files: the caller checks the commit out, as it does on every reuse.
    let add = ["worktree", "add", "--quiet", "--detach", "--no-checkout"].map(OsStr::new);
    let commit = commit.to_string();
    let _listed = lock_list(place)?;
    place.git().run(add.into_iter().chain([path.as_os_str(), OsStr::new(&commit)]))?;
    admin_dir(place, path).ok_or_else(|| MergeError::Io {
        path: path.to_owned(),
        source: std::io::Error::other("git made the worktree and does not list it"),
    })
}

/// Removes a worktree of storkit's own with all that is in it. One that is not there is fine.
pub(crate) fn remove(place: &MergePaths, path: &Path) -> Result<(), MergeError> {
    if path.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
        // Not followed: the link may lead out of the project.
        fs::remove_file(path).map_err(MergeError::io(path))?;
    } else {
        remove_tree(path)?;
    }
    if let Some(admin) = admin_dir(place, path) {
        let _listed = lock_list(place)?;
        fs::remove_dir_all(&admin).map_err(MergeError::io(admin))?;
    }
    Ok(())
}

fn lock_list(place: &MergePaths) -> Result<WorktreeListLock, MergeError> {
    WorktreeListLock::take(&place.common).map_err(MergeError::io(&place.common))
}

// Git locks a worktree while it makes one, and names the place first.
fn is_half_made(admin: &Path) -> bool {
    admin.join("locked").exists() || !admin.join("gitdir").is_file()
}

/// Removes worktrees of merges whose making was cut: `git fsck` takes them for damage.
pub(crate) fn remove_half_made(place: &MergePaths) {
    for admin in fs::read_dir(place.common.join("worktrees")).into_iter().flatten().flatten() {
        let named = fs::read_to_string(admin.path().join("gitdir")).unwrap_or_default();
        let work_tree = Path::new(named.trim_end_matches('\n')).parent().map(Path::to_owned);
        let ours = match &work_tree {
            Some(path) => path.parent() == place.standing().parent() && is_merge(path),
            None => is_merge(&admin.path()),
        };
        if ours && is_half_made(&admin.path()) {
            let removed = work_tree.map_or(Ok(()), |path| remove(place, &path));
            let removed = removed.and_then(|()| match admin.path().exists() {
                true => fs::remove_dir_all(admin.path()).map_err(MergeError::io(admin.path())),
                false => Ok(()),
            });
            if let Err(error) = removed {
                tracing::warn!(%error, "a half-made merge worktree cannot be removed");
            }
        }
    }
}

/// Whether a worktree's folder is named as those of merges are.
fn is_merge(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("merge")
        .is_some_and(|rest| rest.chars().all(|letter| letter == '-' || letter.is_ascii_digit()))
}

// Git's own folder for the worktree at `path`, from git's list: the worktree's `.git` may have been changed
// by what ran in it.
pub(crate) fn admin_dir(place: &MergePaths, path: &Path) -> Option<PathBuf> {
    let wanted = path.join(".git");
    let listed = fs::read_dir(place.common.join("worktrees")).ok()?;
    listed.filter_map(|entry| Some(entry.ok()?.path())).find(|admin| {
        let named = fs::read_to_string(admin.join("gitdir")).unwrap_or_default();
        Path::new(named.trim_end_matches('\n')) == wanted
    })
}

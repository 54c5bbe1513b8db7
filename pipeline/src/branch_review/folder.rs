//! The worktree of a review: the branch's files at one commit, without a branch, and removed when the review is over.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use git2::Oid;

use crate::{
    Project,
    git::program::{GitProgram, common_dir},
    worktree::{DetachedWorktree, WorktreeError, WorktreeListLock, fill_submodules, make_home, remove_tree},
};

fn folder(project: &Project) -> PathBuf {
    project.root().join(".storkit/worktrees/review")
}

/// Checks the commit out, in the place of what an earlier review may have left. Blocks.
pub(crate) fn make(project: &Project, commit: Oid) -> Result<DetachedWorktree, WorktreeError> {
    remove(project)?;
    let (common, path) = (common_dir(project.root())?, folder(project));
    make_home(project.root())?;
    let listed = lock(&common)?;
    let add = ["worktree", "add", "--quiet", "--detach", "--no-checkout"].map(OsStr::new);
    let id = commit.to_string();
    GitProgram::at(project.root()).run(add.into_iter().chain([path.as_os_str(), OsStr::new(&id)]))?;
    drop(listed);
    GitProgram::at(&path).run(["reset", "--hard", "--quiet", "--no-recurse-submodules"])?;
    if let Some(admin) = admin(&common, &path)
        && let Err(error) = fill_submodules(&common, &admin, &path, commit)
    {
        tracing::warn!(%error, "the worktree of a review has no submodules");
    }
    DetachedWorktree::open(project, &path)
}

/// Removes it with all that belongs to it. One that is not there is fine. Blocks.
pub(crate) fn remove(project: &Project) -> Result<(), WorktreeError> {
    let (common, path) = (common_dir(project.root())?, folder(project));
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| WorktreeError::Io { path, source }
    };
    match path.symlink_metadata() {
        // Not followed: the link may lead out of the project.
        Ok(found) if found.is_symlink() => fs::remove_file(&path).map_err(failed(&path))?,
        Ok(_) => remove_tree(&path)?,
        Err(_) => {}
    }
    remove_tree(&project.root().join(".storkit/worktrees/.private/review"))?;
    if let Some(admin) = admin(&common, &path) {
        let _listed = lock(&common)?;
        fs::remove_dir_all(&admin).map_err(failed(&admin))?;
    }
    Ok(())
}

fn lock(common: &Path) -> Result<WorktreeListLock, WorktreeError> {
    WorktreeListLock::take(common).map_err(|source| WorktreeError::Io { path: common.to_owned(), source })
}

// From git's list: the worktree's own `.git` may have been changed by what ran in it.
fn admin(common: &Path, path: &Path) -> Option<PathBuf> {
    let wanted = path.join(".git");
    let listed = fs::read_dir(common.join("worktrees")).ok()?;
    listed.filter_map(|entry| Some(entry.ok()?.path())).find(|admin| {
        let named = fs::read_to_string(admin.join("gitdir")).unwrap_or_default();
        Path::new(named.trim_end_matches('\n')) == wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    #[test]
    fn it_has_the_files_of_the_commit_and_leaves_nothing_behind() {
        let git = WorktreeFixture::new();
        let before = (git.git(&["for-each-ref"]), git.git(&["worktree", "list"]));
        let tip = Oid::from_str(&git.git(&["rev-parse", "main"])).unwrap();
        // The second one replaces what a killed storkit left.
        for _ in 0..2 {
            let made = make(&git.project, tip).unwrap();
            assert!(made.path().join("a.txt").exists());
            assert_eq!(git.git_in(made.path(), &["status", "--porcelain"]), "");
            assert!(git.git_in(made.path(), &["branch", "--show-current"]).is_empty());
            made.enclose().unwrap();
        }
        assert_eq!(git.git(&["for-each-ref"]), before.0);
        remove(&git.project).unwrap();
        remove(&git.project).unwrap();
        assert_eq!((git.git(&["for-each-ref"]), git.git(&["worktree", "list"])), before);
        assert!(!folder(&git.project).exists());
        let home = git.root().join(".storkit/worktrees");
        let private = fs::read_dir(home.join(".private")).map(|list| list.count()).unwrap_or_default();
        assert_eq!(private, 0);
    }
}

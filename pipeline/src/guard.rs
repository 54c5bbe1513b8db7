//! The base branch: which it is, the lock without which nobody writes it, what changed behind our back, and rescue.

mod branch_faults;
mod fingerprint;
mod own;
mod refs;
mod rescue;

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::PathBuf,
};

use git2::{ErrorCode, Repository};
use settings::unlinked;

pub(crate) use self::branch_faults::branch_faults;
pub use self::{
    branch_faults::{BranchFault, FaultCheckError},
    fingerprint::{Culprit, Fingerprint, OwnChanges, Tampering, compare},
    own::OwnCommits,
    refs::{RefMove, move_refs},
    rescue::{BaseRescue, CheckoutFate, rescue},
};
use crate::Project;

/// Names a base branch is looked for under, in this order, where none is configured.
const USUAL: [&str; 2] = ["main", "master"];

/// The proof that this is the only writer of base, of all tasks and processes of the project. Every function that
/// writes base takes `&BaseGuard`; only [`BaseGuard::lock`] makes one. Released when dropped, also by a crash.
#[derive(Debug)]
pub struct BaseGuard {
    _lock: File,
}

/// Why base cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    #[error(
        "`base_branch = \"{0}\"` in `.storkit/project.toml` names no branch of this repository. \
         Make it with `git branch {0}`, or name another."
    )]
    NoSuchBranch(String),
    /// The name is no branch name at all.
    #[error("`base_branch = {0:?}` in `.storkit/project.toml` is no name for a branch.")]
    BadName(String),
    /// Nothing was ever committed.
    #[error(
        "The repository has no commit yet. Stories are merged to a branch: make a first commit, then try again."
    )]
    NoCommits,
    /// No branch is checked out, and none has a usual name.
    #[error(
        "HEAD is detached, and there is no branch `main` or `master` to merge stories to. \
         Check out a branch, or set `base_branch` in `.storkit/project.toml`."
    )]
    Detached,
    /// The repository cannot be read.
    #[error("the repository cannot be read: {0}")]
    Git(#[from] git2::Error),
    /// The lock file cannot be used.
    #[error("`{path}` cannot be locked: {source}. storkit stores its state there; check its owner and mode.")]
    Lock { path: PathBuf, source: io::Error },
}

/// The branch that stories merge to: the configured one; else of `main` and `master` the one that exists, the
/// checked-out one of both; else the checked-out branch. Without `refs/heads/`.
/// A [`BaseError`] is a sentence for a person.
pub fn base_branch(project: &Project, configured: Option<&str>) -> Result<String, BaseError> {
    let repository = Repository::open(project.root())?;
    let exists = |name: &str| repository.find_reference(&format!("refs/heads/{name}")).is_ok();
    if let Some(name) = configured.filter(|name| !name.is_empty()) {
        if !git2::Branch::name_is_valid(name)? {
            return Err(BaseError::BadName(name.into()));
        }
        return if exists(name) { Ok(name.into()) } else { Err(missing(&repository, name)) };
    }
    let current = current_branch(&repository)?;
    let usual: Vec<&str> = USUAL.into_iter().filter(|name| exists(name)).collect();
    let chosen = usual.iter().find(|name| current.as_deref() == Some(**name)).or(usual.first());
    match chosen {
        Some(name) => Ok((*name).into()),
        None if has_no_commits(&repository) => Err(BaseError::NoCommits),
        None => current.ok_or(BaseError::Detached),
    }
}

fn missing(repository: &Repository, name: &str) -> BaseError {
    if has_no_commits(repository) { BaseError::NoCommits } else { BaseError::NoSuchBranch(name.into()) }
}

/// Neither HEAD nor any branch leads to a commit.
fn has_no_commits(repository: &Repository) -> bool {
    let branches = repository.branches(Some(git2::BranchType::Local));
    repository.head().is_err() && branches.is_ok_and(|mut branches| branches.next().is_none())
}

/// The branch that is checked out and has a commit; `None` with a detached HEAD or before the first commit.
fn current_branch(repository: &Repository) -> Result<Option<String>, git2::Error> {
    match repository.head() {
        Ok(head) if head.is_branch() => Ok(head.shorthand().ok().map(str::to_owned)),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.code(), ErrorCode::UnbornBranch | ErrorCode::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

impl BaseGuard {
    /// Waits for the lock. Blocks for as long as another writer needs, so not on a runtime's thread. Fails with
    /// [`BaseError::Lock`] when the lock file cannot be used.
    pub fn lock(project: &Project) -> Result<Self, BaseError> {
        let (file, path) = Self::open(project)?;
        // The kernel releases it with the process, so a crash leaves no stale lock.
        file.lock().map_err(|source| BaseError::Lock { path, source })?;
        Ok(Self { _lock: file })
    }

    /// Takes the lock if it is free. Fails with [`BaseError::Lock`] when the lock file cannot be used.
    pub fn try_lock(project: &Project) -> Result<Option<Self>, BaseError> {
        let (file, path) = Self::open(project)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _lock: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(BaseError::Lock { path, source }),
        }
    }

    fn open(project: &Project) -> Result<(File, PathBuf), BaseError> {
        let path = project.run_dir().join("base.lock");
        let opened = unlinked::open(OpenOptions::new().create(true).truncate(false).write(true), &path);
        match opened {
            Ok(file) => Ok((file, path)),
            Err(source) => Err(BaseError::Lock { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    #[test]
    fn base_is_the_configured_branch_then_main_or_master_then_the_one_checked_out() {
        let fixture = WorktreeFixture::new();
        let base = |configured| base_branch(&fixture.project, configured).map_err(|error| error.to_string());
        fixture.git(&["branch", "develop"]);
        assert_eq!(base(None), Ok("main".into()));
        assert_eq!(base(Some("develop")), Ok("develop".into()));
        assert_eq!(base(Some("")), Ok("main".into()));
        fixture.git(&["switch", "-q", "-c", "master"]);
        assert_eq!(base(None), Ok("master".into()), "of both the one that is checked out");
        fixture.git(&["switch", "-q", "develop"]);
        assert_eq!(base(None), Ok("main".into()));
        fixture.git(&["branch", "-D", "main", "master"]);
        assert_eq!(base(None), Ok("develop".into()));
    }

    #[test]
    fn where_there_is_no_base_a_person_is_told_what_to_do() {
        let fixture = WorktreeFixture::new();
        let sentence = |configured| base_branch(&fixture.project, configured).unwrap_err().to_string();
        insta::assert_snapshot!(sentence(Some("gone")), @r#"`base_branch = "gone"` in `.storkit/project.toml` names no branch of this repository. Make it with `git branch gone`, or name another."#);
        insta::assert_snapshot!(sentence(Some("-x y..z")), @r#"`base_branch = "-x y..z"` in `.storkit/project.toml` is no name for a branch."#);
        fixture.git(&["switch", "-q", "--detach"]);
        fixture.git(&["branch", "-D", "main"]);
        insta::assert_snapshot!(sentence(None), @"HEAD is detached, and there is no branch `main` or `master` to merge stories to. Check out a branch, or set `base_branch` in `.storkit/project.toml`.");
        let empty = WorktreeFixture::empty();
        let sentence = |configured| base_branch(&empty.project, configured).unwrap_err().to_string();
        insta::assert_snapshot!(sentence(None), @"The repository has no commit yet. Stories are merged to a branch: make a first commit, then try again.");
        assert_eq!(sentence(Some("main")), sentence(None));
        empty.git(&["switch", "-q", "--orphan", "new"]);
        assert_eq!(sentence(None), sentence(Some("main")));
        let unborn = WorktreeFixture::new();
        unborn.git(&["branch", "-m", "main", "develop"]);
        unborn.git(&["switch", "-q", "--orphan", "new"]);
        let error = base_branch(&unborn.project, None).unwrap_err();
        assert!(matches!(error, BaseError::Detached), "there are commits on another branch: {error}");
    }

    #[test]
    fn a_head_that_cannot_be_read_is_an_error_and_not_a_detached_one() {
        let fixture = WorktreeFixture::new();
        std::fs::write(fixture.root().join(".git/HEAD"), "broken\n").expect("a file");
        assert!(matches!(base_branch(&fixture.project, None), Err(BaseError::Git(_))));
    }

    #[test]
    fn a_lock_that_cannot_be_used_is_an_error_and_not_free() {
        let fixture = WorktreeFixture::new();
        std::fs::create_dir(fixture.project.run_dir().join("base.lock")).expect("a folder in its place");
        assert!(matches!(BaseGuard::lock(&fixture.project), Err(BaseError::Lock { .. })));
        assert!(matches!(BaseGuard::try_lock(&fixture.project), Err(BaseError::Lock { .. })));
    }

    #[test]
    fn base_has_one_writer_at_a_time_and_a_dropped_guard_lets_the_next_in() {
        let fixture = WorktreeFixture::new();
        let first = BaseGuard::lock(&fixture.project).expect("a lock");
        assert!(BaseGuard::try_lock(&fixture.project).expect("it can be tried").is_none());
        drop(first);
        assert!(BaseGuard::try_lock(&fixture.project).expect("it can be tried").is_some());
    }
}

//! Where a project's board comes from: its own branch, also one that somebody has deleted, or that of a remote.

use git2::{ErrorCode, Oid, Repository};

use super::{
    branch::{BOARD_BRANCH, BOARD_REF, BoardBranchError, board_tip, stories_in},
    checkout::CheckoutMark,
};
use crate::{
    Project,
    git::program::GitProgram,
    guard::{BaseGuard, RefMove, move_refs},
    story::stage::Stage,
};

/// Where the board of a project is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardSource {
    /// The branch is there.
    Branch,
    /// It was taken from this remote, as others have pushed it.
    Remote(String),
    /// There is none yet: the first commit of a story makes it.
    None,
}

/// Makes sure of the branch: it is there, is taken from a remote that has it, or begins with the first commit. Fails with
/// [`BoardBranchError::Unmigrated`] where base has the stories instead.
pub(crate) fn open(project: &Project, base: &str) -> Result<BoardSource, BoardBranchError> {
    let repository = Repository::open(project.root())?;
    if board_tip(&repository)?.is_some() {
        return Ok(BoardSource::Branch);
    }
    if let Some(lost) = lost_tip(&repository, CheckoutMark::read(project).as_ref())? {
        // Before the remote's: that is what others have pushed, or what was pushed long ago.
        put_back(project, lost, &BaseGuard::lock(project)?)?;
        return Ok(BoardSource::Branch);
    }
    if let Some((remote, tip)) = remote_board(&repository, base)? {
        let guard = BaseGuard::lock(project)?;
        let taken = RefMove { name: BOARD_REF.into(), old: None, new: Some(tip) };
        let reason = format!("storkit: the board of {remote}");
        move_refs(&GitProgram::at(project.root()), &guard, &reason, &[taken])?;
        return Ok(BoardSource::Remote(remote));
    }
    match is_on(&repository, base)? {
        true => Err(BoardBranchError::Unmigrated { base: base.to_owned() }),
        false => Ok(BoardSource::None),
    }
}

/// Where the branch was before somebody deleted it; `None` while it is there.
pub(super) fn lost_tip(
    repository: &Repository,
    before: Option<&CheckoutMark>,
) -> Result<Option<Oid>, git2::Error> {
    let lost = before.and_then(CheckoutMark::board_commit);
    match board_tip(repository)? {
        Some(_) => Ok(None),
        None => Ok(lost.filter(|commit| repository.find_commit(*commit).is_ok())),
    }
}

/// A branch that somebody deleted goes back to where it was: the folder has only its last state.
pub(super) fn put_back(project: &Project, commit: Oid, guard: &BaseGuard) -> Result<(), BoardBranchError> {
    tracing::warn!(%commit, "the branch `{BOARD_BRANCH}` was deleted and is put back");
    let back = RefMove { name: BOARD_REF.into(), old: None, new: Some(commit) };
    Ok(move_refs(&GitProgram::at(project.root()), guard, "storkit: put back", &[back])?)
}

/// Whether base has stories in stages that belong to the board's branch.
fn is_on(repository: &Repository, base: &str) -> Result<bool, git2::Error> {
    match repository.refname_to_id(&format!("refs/heads/{base}")) {
        Ok(tip) => Ok(!stories_in(repository, tip, Stage::is_committed)?.is_empty()),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The remote whose board is the project's: that of base's upstream, `origin`, or the only one that has one.
fn remote_board(repository: &Repository, base: &str) -> Result<Option<(String, Oid)>, git2::Error> {
    let upstream = repository.config()?.get_string(&format!("branch.{base}.remote")).ok();
    let mut names: Vec<String> = upstream.into_iter().chain(["origin".to_owned()]).collect();
    let remotes = repository.remotes()?;
    let others = remotes.iter().filter_map(|name| name.ok().flatten().map(str::to_owned));
    let boards: Vec<String> = others.filter(|name| remote_tip(repository, name).is_some()).collect();
    if let [only] = boards.as_slice() {
        names.push(only.clone());
    }
    Ok(names
        .into_iter()
        .find_map(|name| Some((remote_tip(repository, &name)?, name)))
        .map(|(tip, name)| (name, tip)))
}

fn remote_tip(repository: &Repository, remote: &str) -> Option<Oid> {
    let reference = repository.find_reference(&format!("refs/remotes/{remote}/{BOARD_BRANCH}")).ok()?;
    Some(reference.peel_to_commit().ok()?.id())
}

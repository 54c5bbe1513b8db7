//! Base put back after an agent moved it, with nothing lost: its commits stay on a branch of their own.

use std::time::{SystemTime, UNIX_EPOCH};

use git2::{Oid, Repository};

use super::BaseGuard;
use crate::{
    Project,
    git::program::{GitProgram, GitProgramError},
    story::StoryId,
    worktree::{BRANCH_PREFIX, ROOM_BRANCHES},
};

/// The rescue of a moved base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseRescue {
    /// The branch that holds the commits base was moved to; `None` where base was deleted.
    pub branch: Option<String>,
    /// Whether base is where it was before; not where others have built on the new commits, or moved it again.
    pub restored: bool,
    /// What became of the main checkout.
    pub checkout: CheckoutFate,
}

/// What became of the main checkout when base was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckoutFate {
    /// Base is not checked out there, or was not put back.
    Untouched,
    /// Its files are those of base again; uncommitted changes are still there.
    Followed,
    /// Its files were left, since uncommitted work is in the way: they show as changes now.
    Left,
}

/// Why the rescue failed. Commits that were not rescued are where they were.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    #[error(transparent)]
    Git(#[from] GitProgramError),
    /// The repository cannot be read.
    #[error("the repository cannot be read: {0}")]
    Read(#[from] git2::Error),
}

/// Saves the commits that base was moved to on `storkit/rescue/ID-SECONDS` and puts base back to `before`, by
/// compare-and-swap and only if no other branch was built on them meanwhile. Files of the main checkout are never
/// overwritten. `moved` is where base was found; `None` where it was deleted.
pub fn rescue(
    project: &Project,
    _guard: &BaseGuard,
    base: &str,
    before: Oid,
    moved: Option<Oid>,
    story: StoryId,
    now: SystemTime,
) -> Result<BaseRescue, RescueError> {
    let git = GitProgram::at(project.root());
    let reference = format!("refs/heads/{base}");
    let Some(moved) = moved else {
        let restored = git.answer(["update-ref", &reference, &before.to_string(), &"0".repeat(40)], &[])?;
        let restored = restored.code == Some(0);
        return Ok(BaseRescue { branch: None, restored, checkout: CheckoutFate::Untouched });
    };
    // Saved before base moves back: a crash in between loses no commit.
    let branch = keep(&git, moved, story, now)?;
    let repository = Repository::open(project.root())?;
    // Others work on these commits already: moving base back would take them out of its history.
    if built_upon(&repository, &reference, moved)? {
        return Ok(BaseRescue { branch: Some(branch), restored: false, checkout: CheckoutFate::Untouched });
    }
    let checked_out =
        git.answer(["symbolic-ref", "--quiet", "HEAD"], &[])?.stdout.trim_ascii() == reference.as_bytes();
    let back =
        ["update-ref", "-m", "storkit: base put back", &reference, &before.to_string(), &moved.to_string()];
    if git.answer(back, &[])?.code != Some(0) {
        return Ok(BaseRescue { branch: Some(branch), restored: false, checkout: CheckoutFate::Untouched });
    }
    let checkout = if checked_out { follow(&git, moved, before)? } else { CheckoutFate::Untouched };
    Ok(BaseRescue { branch: Some(branch), restored: true, checkout })
}

/// A branch that nobody else uses, at these commits.
fn keep(git: &GitProgram, moved: Oid, story: StoryId, now: SystemTime) -> Result<String, GitProgramError> {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut name = format!("storkit/rescue/{story}-{seconds}");
    // A second rescue of the same story within one second needs another name.
    for again in 2.. {
        let create = ["update-ref", &format!("refs/heads/{name}"), &moved.to_string(), &"0".repeat(40)];
        let answer = git.answer(create, &[])?;
        match answer.code {
            Some(0) => break,
            _ if again > 9 => return Err(answer.refusal(&create)),
            _ => name = format!("storkit/rescue/{story}-{seconds}-{again}"),
        }
    }
    Ok(name)
}

/// Whether a branch besides base, storkit's own and those of stories and rooms has the new commits.
fn built_upon(repository: &Repository, base: &str, moved: Oid) -> Result<bool, git2::Error> {
    let own = ["storkit/", BRANCH_PREFIX, ROOM_BRANCHES].map(|prefix| format!("refs/heads/{prefix}"));
    for reference in repository.references_glob("refs/heads/*")? {
        let reference = reference?;
        let Some(tip) = reference.target() else { continue };
        let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
        if name == base || own.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        if tip == moved || repository.graph_descendant_of(tip, moved)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes index and files from one commit to another as a checkout does: entries that already are as wanted stay,
/// uncommitted changes stay or make it refuse as a whole.
fn follow(git: &GitProgram, from: Oid, to: Oid) -> Result<CheckoutFate, GitProgramError> {
    // Files that were touched but not changed would make `read-tree` refuse.
    git.answer(["update-index", "-q", "--refresh"], &[])?;
    let answer = git.answer(["read-tree", "-m", "-u", &from.to_string(), &to.to_string()], &[])?;
    Ok(if answer.code == Some(0) { CheckoutFate::Followed } else { CheckoutFate::Left })
}

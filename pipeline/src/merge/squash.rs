//! The merged result as a tree: known before any file is written. Objects only; no ref, no index, no file moves.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use git2::{FileMode, Oid, Repository, Signature, build::TreeUpdateBuilder};

use super::{
    conflict::{self, ConflictSide},
    proof::{self, DiffStat, GateProof, MergeTrailers},
};
use crate::{
    board::WORK,
    git::{fork_point::fork_point, signature},
    guard::{BranchFault, branch_faults},
    merge::{
        outcome::{MergeError, MergeRequest},
        paths::MergePaths,
    },
};

/// A merge that could be.
#[derive(Clone, Debug)]
pub(crate) struct MergeCandidate {
    /// Base as it is.
    pub before: Oid,
    pub tip: Oid,
    pub tree: Oid,
    pub diff: DiffStat,
}

/// The result of a squash.
#[derive(Debug)]
pub(crate) enum SquashResult {
    Empty,
    /// Files that the rule cannot resolve.
    Conflict {
        before: Oid,
        tip: Oid,
        sides: MergeSides,
    },
    Refused(Vec<BranchFault>),
    Ready(MergeCandidate),
}

/// Squashes the story's branch, or `tip` instead of it, onto base.
pub(crate) fn squash(
    place: &MergePaths,
    request: &MergeRequest,
    base: &str,
    tip: Option<Oid>,
) -> Result<SquashResult, MergeError> {
    let repository = place.repository()?;
    let before = place.tip(&repository, base)?.ok_or_else(|| MergeError::NoBase(base.to_owned()))?;
    let tip = match tip {
        Some(tip) => tip,
        None => place
            .tip(&repository, &request.branch)?
            .ok_or_else(|| MergeError::NoBranch(request.branch.clone()))?,
    };
    place.read_story(&request.file)?;
    let sides = sides_of(&repository, base, before, tip)?;
    let (merged, mut conflicts) = merge_tree(place, sides)?;
    // No branch has a say in stories: a branch of before the migration may have them, and base does not.
    conflicts.retain(|side| !is_work(&side.path));
    let resolved = match conflict::resolve(&repository, &conflicts) {
        Ok(resolved) => resolved,
        Err(_) => return Ok(SquashResult::Conflict { before, tip, sides }),
    };
    let mut changes = TreeChanges::default();
    for file in resolved {
        let blob = repository.blob(file.text.as_bytes())?;
        changes.put(file.path, blob, file.mode);
    }
    let base_tree = repository.find_commit(before)?.tree_id();
    keep_work_of_base(&repository, base_tree, merged, &mut changes)?;
    let content = changes.apply(&repository, merged)?;
    let diff = proof::diff_stat(&repository, base_tree, content)?;
    // An empty merge would put a story into done that nobody has worked on.
    if diff.files == 0 {
        return Ok(SquashResult::Empty);
    }
    let faults = branch_faults(&place.root, Some(base_tree), content)?;
    if !faults.is_empty() {
        return Ok(SquashResult::Refused(faults));
    }
    Ok(SquashResult::Ready(MergeCandidate { before, tip, tree: content, diff }))
}

/// The two sides of a merge, as commits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergeSides {
    pub base: Oid,
    pub branch: Oid,
}

/// The sides as they are, or, if base was rewritten since the branch left it, with the fork point as what they have in common: a merge would
/// otherwise bring back what base has dropped. Those commits are reachable from nowhere.
fn sides_of(repository: &Repository, base: &str, before: Oid, tip: Oid) -> Result<MergeSides, MergeError> {
    let Some(fork) = fork_point(repository, base, tip)?.filter(|fork| fork.is_rewritten) else {
        return Ok(MergeSides { base: before, branch: tip });
    };
    let who = Signature::now("storkit", "storkit@localhost")?;
    let like = |commit: Oid, parents: &[&git2::Commit<'_>]| {
        let tree = repository.find_commit(commit)?.tree()?;
        repository.commit(None, &who, &who, "storkit: a side of a merge\n", &tree, parents)
    };
    let common = like(fork.commit, &[])?;
    let common = repository.find_commit(common)?;
    Ok(MergeSides { base: like(before, &[&common])?, branch: like(tip, &[&common])? })
}

fn merge_tree(place: &MergePaths, sides: MergeSides) -> Result<(Oid, Vec<ConflictSide>), MergeError> {
    // Works on objects alone and takes milliseconds: conflicts and emptiness are known before any worktree is
    // made.
    let args = ["merge-tree", "--write-tree", "-z", &sides.base.to_string(), &sides.branch.to_string()];
    let answer = place.git().answer(args, &[])?;
    // git-merge-tree(1): 0 clean, 1 with conflicts, anything else failed.
    match conflict::parse_merge_tree(&answer.stdout).filter(|_| matches!(answer.code, Some(0 | 1))) {
        Some((_, conflicts)) if answer.code == Some(1) && conflicts.is_empty() => {
            Err(answer.refusal(&args).into())
        }
        Some(merged) => Ok(merged),
        None => Err(answer.refusal(&args).into()),
    }
}

/// Differences of a tree, by path.
#[derive(Default)]
struct TreeChanges(BTreeMap<PathBuf, Option<(Oid, FileMode)>>);

impl TreeChanges {
    fn put(&mut self, path: PathBuf, object: Oid, mode: u32) {
        let mode = match mode {
            0o100_755 => FileMode::BlobExecutable,
            0o120_000 => FileMode::Link,
            0o160_000 => FileMode::Commit,
            _ => FileMode::Blob,
        };
        self.0.insert(path, Some((object, mode)));
    }

    fn apply(&self, repository: &Repository, tree: Oid) -> Result<Oid, git2::Error> {
        if self.0.is_empty() {
            return Ok(tree);
        }
        let mut update = TreeUpdateBuilder::new();
        for (path, change) in &self.0 {
            match change {
                Some((object, mode)) => update.upsert(path, *object, *mode),
                None => update.remove(path),
            };
        }
        update.create_updated(repository, &repository.find_tree(tree)?)
    }
}

// Undoes the branch's changes to `.storkit/work`: an agent's branch does not move stories.
fn keep_work_of_base(
    repository: &Repository,
    base: Oid,
    merged: Oid,
    changes: &mut TreeChanges,
) -> Result<(), git2::Error> {
    let mut options = git2::DiffOptions::new();
    options.pathspec(WORK).disable_pathspec_match(true);
    let (base, merged) = (repository.find_tree(base)?, repository.find_tree(merged)?);
    let diff = repository.diff_tree_to_tree(Some(&base), Some(&merged), Some(&mut options))?;
    for delta in diff.deltas() {
        let (old, new) = (delta.old_file(), delta.new_file());
        match (old.path().filter(|_| old.exists()), new.path()) {
            (Some(path), _) => changes.put(path.to_owned(), old.id(), old.mode().into()),
            (None, Some(path)) => drop(changes.0.insert(path.to_owned(), None)),
            (None, None) => {}
        }
    }
    Ok(())
}

/// The merge commit, reachable from nowhere yet. The branch's last author wrote it, storkit commits it.
pub(crate) fn commit(
    place: &MergePaths,
    request: &MergeRequest,
    candidate: &MergeCandidate,
    gates: &[GateProof],
) -> Result<Oid, MergeError> {
    let repository = place.repository()?;
    let trailers = MergeTrailers {
        story: request.file.id,
        base: candidate.before.to_string(),
        tree: candidate.tree.to_string(),
        gates: gates.to_vec(),
    };
    let message = proof::message(&request.title, &trailers);
    let committer = signature::committer(&repository)?;
    let tip = repository.find_commit(candidate.tip)?;
    let (name, email) = (tip.author().name().map(str::to_owned), tip.author().email().map(str::to_owned));
    let author = match (name, email) {
        (Ok(name), Ok(email)) => Signature::new(&name, &email, &committer.when()).ok(),
        _ => None,
    };
    let author = author.as_ref().unwrap_or(&committer);
    let parent = repository.find_commit(candidate.before)?;
    let tree = repository.find_tree(candidate.tree)?;
    let commit = repository.commit(None, author, &committer, &message, &tree, &[&parent])?;
    // On a full disk libgit2 reports success, but nothing is written.
    if repository.odb()?.exists(commit) {
        Ok(commit)
    } else {
        Err(MergeError::io(place.common.join("objects"))(rustix::io::Errno::NOSPC.into()))
    }
}

/// Whether a path is storkit's own stage folder.
pub(crate) fn is_work(path: &Path) -> bool {
    path.starts_with(WORK)
}

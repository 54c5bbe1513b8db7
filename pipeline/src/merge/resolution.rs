//! Conflicts that somebody has to resolve: their worktree, and the tree that was made of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use git2::{Oid, Signature};
use serde::{Deserialize, Serialize};

use super::{
    conflict::has_markers,
    gate_worktree::{self, GateWorktree},
};
use crate::{
    Project,
    merge::{outcome::MergeError, paths::MergePaths},
    story::StoryId,
};

// A conflicted file beyond this is not looked through for markers.
const MAX_LOOK: u64 = 16 << 20;

/// A conflict that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WaitingConflict {
    /// Base when it came up.
    pub before: String,
    pub tip: String,
    pub paths: Vec<PathBuf>,
}

/// The worktree where a story's conflict waits: base with the squash half applied. A mergemaster edits the
/// files; commits and staged changes made there do not matter.
pub fn conflict_worktree(project: &Project, story: StoryId) -> PathBuf {
    project.root().join(format!(".storkit/worktrees/merge-{story}"))
}

/// Lays the conflict out, in place of an earlier one.
pub(crate) fn lay_out(place: &MergePaths, story: StoryId, before: Oid, tip: Oid) -> Result<(), MergeError> {
    let path = place.conflict(story);
    gate_worktree::remove(place, &path)?;
    let worktree = GateWorktree::open(place, path, before)?;
    worktree.check_out(before)?;
    // diff3 also shows the ancestor: without it a resolver cannot see which side changed a line.
    let args = ["-c", "merge.conflictStyle=diff3", "merge", "--squash", "--quiet", &tip.to_string()];
    let answer = worktree.git().answer(args, &[])?;
    // git-merge(1): 1 is a conflict.
    if matches!(answer.code, Some(0 | 1)) { Ok(()) } else { Err(answer.refusal(&args).into()) }
}

/// The resolved files as a commit on the base they were resolved on; or those that still have markers.
///
/// Nothing but the files is believed: not the worktree's `.git`, nor an index or a commit made there.
pub(crate) fn resolved(
    place: &MergePaths,
    story: StoryId,
    waiting: &WaitingConflict,
) -> Result<Result<Oid, Vec<PathBuf>>, MergeError> {
    let worktree = place.conflict(story);
    if !worktree.is_dir() {
        return Err(MergeError::NoConflict(story));
    }
    let left: Vec<PathBuf> = waiting.paths.iter().filter(|path| is_open(&worktree, path)).cloned().collect();
    if !left.is_empty() {
        return Ok(Err(left));
    }
    let index =
        tempfile::Builder::new().prefix(".tmp-merge-index").tempdir_in(place.root.join(".storkit/run"));
    let index = index.map_err(MergeError::io(&worktree))?;
    let git = place.git_in(&place.common, &worktree).env("GIT_INDEX_FILE", index.path().join("index"));
    git.run(["read-tree", &waiting.before])?;
    // All files and not only the conflicted ones: a resolution may need changes elsewhere.
    git.run(["add", "--all"])?;
    let tree = Oid::from_str(&git.run(["write-tree"])?)?;
    let repository = place.repository()?;
    // On base as it was: the squash that follows merges this commit with base as it is now.
    let parent = repository.find_commit(Oid::from_str(&waiting.before)?)?;
    let author = repository.find_commit(Oid::from_str(&waiting.tip)?)?;
    let who = Signature::now("storkit", "storkit@localhost")?;
    let message = format!("storkit: resolved conflicts of story {story}\n");
    let tree = repository.find_tree(tree)?;
    Ok(Ok(repository.commit(None, &author.author(), &who, &message, &tree, &[&parent])?))
}

fn is_open(worktree: &Path, path: &Path) -> bool {
    let path = worktree.join(path);
    let small = path.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() <= MAX_LOOK);
    small && fs::read(&path).is_ok_and(|text| has_markers(&text))
}

/// Removes a conflict's worktree.
pub(crate) fn clear(place: &MergePaths, story: StoryId) -> Result<(), MergeError> {
    gate_worktree::remove(place, &place.conflict(story))
}

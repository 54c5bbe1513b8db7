//! Conflicts that somebody has to resolve: their worktree, and the tree that was made of it.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use git2::{Oid, Signature};
use serde::{Deserialize, Serialize};

use super::{
    conflict::has_markers,
    gate_worktree::{self, GateWorktree},
    squash::MergeSides,
};
use crate::{
    Project,
    git::program::GitProgram,
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
/// files and stages its decision about each conflicted path; commits made there do not matter.
pub fn conflict_worktree(project: &Project, story: StoryId) -> PathBuf {
    project.root().join(format!(".storkit/worktrees/merge-{story}"))
}

/// Lays the conflict out, in place of an earlier one. Returns every path that waits for a decision: those that the rule could have
/// resolved too, since git leaves them half merged here.
pub(crate) fn lay_out(
    place: &MergePaths,
    story: StoryId,
    sides: MergeSides,
) -> Result<Vec<PathBuf>, MergeError> {
    let path = place.conflict(story);
    gate_worktree::remove(place, &path)?;
    let worktree = GateWorktree::open(place, path, sides.base)?;
    worktree.check_out(sides.base)?;
    // diff3 also shows the ancestor: without it a resolver cannot see which side changed a line.
    let args = ["-c", "merge.conflictStyle=diff3", "merge", "--squash", "--quiet", &sides.branch.to_string()];
    let answer = worktree.git().answer(args, &[])?;
    // git-merge(1): 1 is a conflict.
    if !matches!(answer.code, Some(0 | 1)) {
        return Err(answer.refusal(&args).into());
    }
    Ok(paths(worktree.git(), &["ls-files", "--unmerged", "-z"])?.into_iter().collect())
}

/// The resolved files as a commit on the base they were resolved on; or the paths that nobody has decided about, or that still have
/// markers.
///
/// Of git's data there, only the index is read, and only for what was staged: not the worktree's `.git`, and no commit made there.
pub(crate) fn resolved(
    place: &MergePaths,
    story: StoryId,
    waiting: &WaitingConflict,
) -> Result<Result<Oid, Vec<PathBuf>>, MergeError> {
    let worktree = place.conflict(story);
    let Some(admin) = gate_worktree::admin_dir(place, &worktree).filter(|_| worktree.is_dir()) else {
        return Err(MergeError::NoConflict(story));
    };
    let staged = place.git_in(&admin, &worktree);
    let undecided = undecided(&staged, waiting)?;
    let is_left = |path: &&PathBuf| undecided.contains(*path) || is_open(&worktree, path);
    let left: Vec<PathBuf> = waiting.paths.iter().filter(is_left).cloned().collect();
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
    // A submodule's commit is in no file.
    let links = staged_links(&staged)?;
    if !links.is_empty() {
        git.run_with(["update-index", "-z", "--index-info"], &links)?;
    }
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

/// The conflicted paths without a decision of their own. A decision is staged: `git add`, `git rm`, or an entry of the index. A path whose
/// entry is base's while its file is another was only taken out of the list, as `git reset` does it.
fn undecided(git: &GitProgram, waiting: &WaitingConflict) -> Result<BTreeSet<PathBuf>, MergeError> {
    let mut found = paths(git, &["ls-files", "--unmerged", "-z"])?;
    let plain = ["--name-only", "--no-renames", "--no-ext-diff", "--ignore-submodules=none", "-z"];
    let staged = paths(git, &[&["diff-index", "--cached"], &plain[..], &[&waiting.before]].concat())?;
    let edited = paths(git, &[&["diff"], &plain[..4], &["--ignore-submodules=all", "-z"]].concat())?;
    let unknown = paths(git, &["ls-files", "--others", "-z"])?;
    let taken_out =
        |path: &&PathBuf| !staged.contains(*path) && (edited.contains(*path) || unknown.contains(*path));
    found.extend(waiting.paths.iter().filter(taken_out).cloned());
    Ok(found)
}

/// The paths in an answer of git's, `MODE OBJECT STAGE TAB` before them or not.
fn paths(git: &GitProgram, args: &[&str]) -> Result<BTreeSet<PathBuf>, MergeError> {
    let answer = git.answer(args, &[])?;
    if answer.code != Some(0) {
        return Err(answer.refusal(args).into());
    }
    let unmerged = args.contains(&"--unmerged");
    let path = |field: &[u8]| {
        let start = field.iter().position(|byte| unmerged && *byte == b'\t').map_or(0, |tab| tab + 1);
        PathBuf::from(OsStr::from_bytes(&field[start..]))
    };
    Ok(answer.stdout.split(|byte| *byte == 0).filter(|field| !field.is_empty()).map(path).collect())
}

/// The submodules' commits in the index of the half-done merge, as `git update-index --index-info` reads them: what the branch brings, and what
/// was decided.
fn staged_links(git: &GitProgram) -> Result<Vec<u8>, MergeError> {
    let answer = git.answer(["ls-files", "--stage", "-z"], &[])?;
    let lines = answer.stdout.split(|byte| *byte == 0).filter(|line| line.starts_with(b"160000 "));
    Ok(lines.flat_map(|line| [line, b"\0"].concat()).collect())
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

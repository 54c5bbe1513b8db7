//! The branch of the board, `storkit/board`: the stories of the stages that are committed, at the paths that they have in the checkout.
//!
//! It is read and written as objects: nobody checks it out, and no person's index has a part in it. Whoever moves it holds the lock of
//! base, since a landing story moves both.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use git2::{ErrorCode, FileMode, ObjectType, Oid, Repository, build::TreeUpdateBuilder};

use super::{attached::attached_in, memory::memory_in};
use crate::{
    git::{program::GitProgramError, signature},
    guard::BaseError,
    story::{FileName, StoryId, stage::Stage},
};

/// The branch that keeps the board.
pub const BOARD_BRANCH: &str = "storkit/board";

pub(crate) const BOARD_REF: &str = "refs/heads/storkit/board";

/// The stories' folder, from the project's root.
pub(crate) const WORK: &str = ".storkit/work";

/// Longest file that is taken from the branch or committed to it: a story has at most so many bytes.
pub(crate) const MAX_STORY: u64 = 1 << 20;

/// Stories' files, and the files that belong to them, by their paths from the project's root.
pub(crate) type StoryBlobs = BTreeMap<PathBuf, Oid>;

/// The changes of a commit to the board: a file's new content, or `None` where it goes.
pub(crate) type BoardChanges = BTreeMap<PathBuf, Option<Oid>>;

/// Why the board's branch cannot be used. Each is a sentence.
#[derive(Debug, thiserror::Error)]
pub enum BoardBranchError {
    /// An earlier version committed the stories to base.
    #[error(
        "The stories of this project are tracked on `{base}`, as an earlier version of storkit committed them. Stop storkit, run \
         `storkit migrate` once, and start it again: it moves them to the branch `{BOARD_BRANCH}` with one commit on `{base}`."
    )]
    Unmigrated { base: String },
    #[error("the board's branch `{BOARD_BRANCH}` cannot be read or written: {0}.")]
    Git(#[from] git2::Error),
    #[error(transparent)]
    Program(#[from] GitProgramError),
    #[error(transparent)]
    Lock(#[from] BaseError),
    #[error("`{path}`: {source}.")]
    Disk { path: PathBuf, source: std::io::Error },
}

pub(crate) fn disk(path: &Path) -> impl FnOnce(std::io::Error) -> BoardBranchError + use<> {
    let path = path.to_owned();
    move |source| BoardBranchError::Disk { path, source }
}

/// The last commit of the branch; `None` where there is no branch.
pub(crate) fn board_tip(repository: &Repository) -> Result<Option<Oid>, git2::Error> {
    match repository.refname_to_id(BOARD_REF) {
        Ok(tip) => Ok(Some(tip)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a file of this name can be a story's. Everything else that a commit has in a stage's folder is left where it is: a tree
/// that somebody made by hand can name anything.
pub(crate) fn is_story_name(name: &str) -> bool {
    name.ends_with(".md") && !name.starts_with('.') && !name.contains(['/', '\\']) && name.len() <= 255
}

/// The stories' files of these stages in a commit: plain files, and nothing that a link or a name could lead elsewhere.
pub(crate) fn stories_in(
    repository: &Repository,
    commit: Oid,
    stages: impl Fn(Stage) -> bool,
) -> Result<StoryBlobs, git2::Error> {
    let tree = repository.find_commit(commit)?.tree()?;
    let mut found = StoryBlobs::new();
    for stage in Stage::ALL.into_iter().filter(|stage| stages(*stage)) {
        let folder = Path::new(WORK).join(stage.dir());
        let entry = match tree.get_path(&folder) {
            Ok(entry) if entry.kind() == Some(ObjectType::Tree) => entry,
            Ok(_) => continue,
            Err(error) if error.code() == ErrorCode::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in &repository.find_tree(entry.id())? {
            let is_file = matches!(entry.filemode(), 0o100_644 | 0o100_755 | 0o100_664);
            if let Ok(name) = entry.name()
                && is_file
                && is_story_name(name)
            {
                found.insert(folder.join(name), entry.id());
            }
        }
    }
    Ok(found)
}

/// The stories at the branch's tip; none where there is no branch.
pub(crate) fn stories_at(repository: &Repository, tip: Option<Oid>) -> Result<StoryBlobs, git2::Error> {
    tip.map_or_else(|| Ok(StoryBlobs::new()), |tip| stories_in(repository, tip, Stage::is_committed))
}

/// Everything that the board keeps at the branch's tip: the stories, and the files that belong to them.
pub(crate) fn board_at(repository: &Repository, tip: Option<Oid>) -> Result<StoryBlobs, git2::Error> {
    tip.map_or_else(|| Ok(StoryBlobs::new()), |tip| board_in(repository, tip, Stage::is_committed))
}

/// The same of any commit, with the stories of these stages.
pub(super) fn board_in(
    repository: &Repository,
    commit: Oid,
    stages: impl Fn(Stage) -> bool,
) -> Result<StoryBlobs, git2::Error> {
    let mut found = stories_in(repository, commit, stages)?;
    found.extend(attached_in(repository, commit)?);
    found.extend(memory_in(repository, commit)?);
    Ok(found)
}

/// The stage and the story of a path below the stories' folder.
pub(crate) fn place_of(path: &Path) -> Option<(Stage, StoryId)> {
    let stage = Stage::from_dir(path.parent()?.file_name()?.to_str()?)?;
    let name: FileName = path.file_name()?.to_str()?.parse().ok()?;
    Some((stage, name.id))
}

/// What a commit says of one story: `done: 7 Fix the door`. The same change gives the same words.
pub(crate) fn change_line(verb: &str, story: StoryId, name: &str) -> String {
    const TITLE: usize = 60;
    let name: String = name.chars().take(TITLE).collect();
    format!("{verb} {story} {name}").trim_end().to_owned()
}

/// Writes a commit of the board, which no ref names yet.
pub(crate) fn write_commit(
    repository: &Repository,
    parent: Option<Oid>,
    changes: &BoardChanges,
    message: &str,
) -> Result<Oid, git2::Error> {
    let parent = parent.map(|parent| repository.find_commit(parent)).transpose()?;
    let before = match &parent {
        Some(parent) => parent.tree()?,
        None => repository.find_tree(repository.treebuilder(None)?.write()?)?,
    };
    let tree = apply(repository, &before, changes)?;
    commit_tree(repository, tree, parent.as_ref(), message)
}

/// Writes the commit of a tree that holds these stories and nothing else, as a child of `parent`.
pub(crate) fn write_whole(
    repository: &Repository,
    parent: Oid,
    stories: &StoryBlobs,
    message: &str,
) -> Result<Oid, git2::Error> {
    let empty = repository.find_tree(repository.treebuilder(None)?.write()?)?;
    let changes = stories.iter().map(|(path, blob)| (path.clone(), Some(*blob))).collect();
    let tree = apply(repository, &empty, &changes)?;
    commit_tree(repository, tree, Some(&repository.find_commit(parent)?), message)
}

/// A tree with these files put or removed.
pub(crate) fn apply(
    repository: &Repository,
    before: &git2::Tree<'_>,
    changes: &BoardChanges,
) -> Result<Oid, git2::Error> {
    // libgit2 refuses to remove what is not there.
    let has = |path: &PathBuf| before.get_path(path).is_ok();
    let mut update = TreeUpdateBuilder::new();
    for (path, change) in changes {
        match change {
            Some(blob) => drop(update.upsert(path, *blob, FileMode::Blob)),
            None if has(path) => drop(update.remove(path)),
            None => {}
        }
    }
    update.create_updated(repository, before)
}

pub(crate) fn commit_tree(
    repository: &Repository,
    tree: Oid,
    parent: Option<&git2::Commit<'_>>,
    message: &str,
) -> Result<Oid, git2::Error> {
    let who = signature::committer(repository)?;
    let tree = repository.find_tree(tree)?;
    let parents: Vec<&git2::Commit<'_>> = parent.into_iter().collect();
    let commit = repository.commit(None, &who, &who, message, &tree, &parents)?;
    // On a full disk libgit2 reports success, but nothing is written.
    match repository.odb()?.exists(commit) {
        true => Ok(commit),
        false => Err(git2::Error::from_str("the commit could not be written; is the disk full?")),
    }
}

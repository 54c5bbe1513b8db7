//! Stories in work whose files are gone: their branches tell which there were, and the history of the board what they said.

use std::path::{Path, PathBuf};

use git2::{Oid, Repository, Sort};

use super::branch::{StoryBlobs, WORK};
use crate::{
    story::{FileName, StoryKind, stage::Stage},
    worktree::{BRANCH_PREFIX, WorktreeName},
};

/// The stories that have a branch of their own.
pub(super) fn branches(repository: &Repository) -> Result<Vec<WorktreeName>, git2::Error> {
    let mut names = Vec::new();
    for reference in repository.references_glob(&format!("refs/heads/{BRANCH_PREFIX}*/work"))? {
        let reference = reference?;
        let name = reference.shorthand().ok().and_then(|name| name.strip_prefix(BRANCH_PREFIX));
        names.extend(name.and_then(|name| WorktreeName::parse(name.strip_suffix("/work")?)));
    }
    Ok(names)
}

/// The last text in the backlog of each of these stories, in the history of the board. Walks all of it where one was never there.
pub(super) fn last_in_backlog(
    repository: &Repository,
    tip: Oid,
    names: &[WorktreeName],
) -> Result<StoryBlobs, git2::Error> {
    let mut wanted: Vec<Vec<PathBuf>> = names.iter().map(places).collect();
    let mut found = StoryBlobs::new();
    let mut walk = repository.revwalk()?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME)?;
    walk.push(tip)?;
    for commit in walk {
        if wanted.is_empty() {
            break;
        }
        let tree = repository.find_commit(commit?)?.tree()?;
        wanted.retain(|places| {
            let there = places.iter().find_map(|path| Some((path.clone(), tree.get_path(path).ok()?.id())));
            let is_there = there.is_some();
            found.extend(there);
            !is_there
        });
    }
    Ok(found)
}

/// Where a story of this name can have been in the backlog; its branch does not tell its kind.
fn places(name: &WorktreeName) -> Vec<PathBuf> {
    let (id, slug) = (name.id(), name.slug().to_owned());
    let file = |kind| FileName { id, kind, slug: slug.clone() };
    let folder = Path::new(WORK).join(Stage::Backlog.dir());
    StoryKind::ALL.map(|kind| folder.join(file(kind).to_string())).into()
}

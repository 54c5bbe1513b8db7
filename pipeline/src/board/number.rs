//! Story numbers: each is given once, also after its story was deleted, across restarts, processes and clones.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use git2::{ObjectType, Oid, Repository, Tree};
use settings::atomic;

use super::branch::BOARD_BRANCH;
use crate::story::{StoryId, StoryKind};

/// Where stories lie or lay in a repository's history.
const WORK_FOLDERS: [&str; 2] = [".storkit/work", ".story_kit/work"];

/// Gives the next number. `highest` is the highest that any file on the board has.
///
/// The last number is stored in `.storkit/run/`, written before the number is used; where it is missing (a fresh
/// clone) the repository's history shows which numbers stories had. Waits while another process takes a number.
pub(super) fn next(root: &Path, run: &Path, highest: u32) -> io::Result<StoryId> {
    let _alone = alone(run)?;
    let last = last(root, run)?.max(highest).max(on_remotes(root));
    let next = last.checked_add(1).ok_or_else(|| io::Error::other("no story number is left"))?;
    atomic::write(&mark(run), format!("{next}\n").as_bytes())?;
    Ok(StoryId(next))
}

/// Remembers that numbers up to `highest` were given, before the file with the highest one is deleted.
pub(super) fn keep(root: &Path, run: &Path, highest: u32) -> io::Result<()> {
    let _alone = alone(run)?;
    let last = last(root, run)?.max(highest);
    atomic::write(&mark(run), format!("{last}\n").as_bytes())
}

// Waits until no other process takes a number; the lock is released with the value, or with the process.
fn alone(run: &Path) -> io::Result<File> {
    let lock = File::create(run.join("story-number.lock"))?;
    lock.lock()?;
    Ok(lock)
}

fn last(root: &Path, run: &Path) -> io::Result<u32> {
    let path = mark(run);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| io::Error::other(unreadable(&path))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(in_history(root)),
        Err(error) => Err(error),
    }
}

/// The number that a name begins with, where it looks like a story's although it is none.
pub(super) fn claimed(name: &str) -> Option<StoryId> {
    let (id, rest) = name.split_once('_')?;
    let kind = rest.split(['_', '.']).next()?;
    StoryKind::parse(kind).and_then(|_| id.trim_start_matches('0').parse().ok())
}

fn mark(run: &Path) -> PathBuf {
    run.join("last-story-number")
}

fn unreadable(path: &Path) -> String {
    format!(
        "`{}` should contain the last story number; delete it, and storkit finds the number again",
        path.display()
    )
}

/// The highest number on the boards of remotes, as they were fetched last: others have given it.
fn on_remotes(root: &Path) -> u32 {
    let highest = || -> Result<u32, git2::Error> {
        let repository = Repository::open(root)?;
        let mut highest = 0;
        for reference in repository.references_glob(&format!("refs/remotes/*/{BOARD_BRANCH}"))? {
            let tree = reference?.peel_to_tree()?;
            if let Ok(work) = tree.get_path(Path::new(WORK_FOLDERS[0])) {
                highest = highest.max(highest_below(&repository, work.id(), &mut HashSet::new())?);
            }
        }
        Ok(highest)
    };
    highest().unwrap_or_else(|error| {
        tracing::warn!(%error, "the story numbers on the boards of remotes could not be read");
        0
    })
}

/// The highest number in any commit that can be reached. A repository that cannot be read has none to offer: the
/// board's own files still count.
fn in_history(root: &Path) -> u32 {
    highest_in_history(root).unwrap_or_else(|error| {
        tracing::warn!(%error, "past story numbers could not be read from the history");
        0
    })
}

fn highest_in_history(root: &Path) -> Result<u32, git2::Error> {
    let repository = Repository::open(root)?;
    let mut walk = repository.revwalk()?;
    for pattern in ["refs/heads/*", "refs/remotes/*"] {
        walk.push_glob(pattern)?;
    }
    let mut seen = HashSet::new();
    let mut highest = 0;
    for commit in walk {
        let tree = repository.find_commit(commit?)?.tree()?;
        for folder in WORK_FOLDERS {
            if let Ok(entry) = tree.get_path(Path::new(folder))
                && entry.kind() == Some(ObjectType::Tree)
            {
                highest = highest.max(highest_below(&repository, entry.id(), &mut seen)?);
            }
        }
    }
    Ok(highest)
}

// Looks at every tree once: most commits leave the stories as they were.
fn highest_below(repository: &Repository, tree: Oid, seen: &mut HashSet<Oid>) -> Result<u32, git2::Error> {
    if !seen.insert(tree) {
        return Ok(0);
    }
    let tree: Tree<'_> = repository.find_tree(tree)?;
    let mut highest = 0;
    for entry in &tree {
        let here = match entry.kind() {
            Some(ObjectType::Tree) => highest_below(repository, entry.id(), seen)?,
            Some(ObjectType::Blob) => entry.name().ok().and_then(claimed).map_or(0, |id| id.0),
            _ => 0,
        };
        highest = highest.max(here);
    }
    Ok(highest)
}

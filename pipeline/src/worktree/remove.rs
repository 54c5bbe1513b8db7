//! Lists and removes worktrees, also the rest of those that an agent has deleted, moved or made unreadable.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use git2::{Oid, Repository};

use super::layout::{WorktreeLayout, WorktreeListLock, WorktreeLock, home};
use crate::{
    git::program::GitProgram,
    worktree::{
        error::{WorktreeError, at},
        name::{BRANCH_PREFIX, WorktreeName},
        owner::WorktreeOwner,
        slots,
        worktrees::Worktrees,
    },
};

/// What becomes of the branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchFate {
    /// It stays: a later worktree of the story continues on it.
    Keep,
    /// It goes too: the story is merged, or deleted by a person.
    Delete,
}

/// The parts of a story's worktree that exist. A complete one has all four.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorktreeRemains {
    pub folder: bool,
    /// Git's notes of it.
    pub admin: bool,
    /// The branch, and where it is.
    pub branch: Option<Oid>,
    /// Files of a confined agent, or of an earlier import.
    pub private: bool,
    /// Where the checkout is, or would be.
    pub path: PathBuf,
}

impl Worktrees {
    /// All worktrees of stories, complete or not. Blocking; reads folders and refs only.
    pub fn list(&self) -> Result<BTreeMap<WorktreeName, WorktreeRemains>, WorktreeError> {
        let mut found: BTreeMap<WorktreeName, WorktreeRemains> = BTreeMap::new();
        let home = home(self.project.root());
        for name in names(&home)? {
            found.entry(name).or_default();
        }
        for name in names(&home.join(".private"))? {
            found.entry(name).or_default().private = true;
        }
        let repository = Repository::open(self.project.root())?;
        for reference in repository.references_glob(&format!("refs/heads/{BRANCH_PREFIX}*/work"))? {
            let reference = reference?;
            let name = reference.name().ok().and_then(|name| name.strip_prefix("refs/heads/"));
            let name = name.and_then(|name| name.strip_prefix(BRANCH_PREFIX)?.strip_suffix("/work"));
            if let Some(name) = name.and_then(WorktreeName::parse) {
                found.entry(name).or_default().branch = reference.target();
            }
        }
        for (name, found) in &mut found {
            let layout = self.layout(&name.into());
            found.folder = layout.folder.symlink_metadata().is_ok();
            found.admin = layout.admin().is_some();
            found.path = layout.folder;
        }
        Ok(found)
    }

    /// Removes the owner's worktree with everything that is in it, whatever state it is in. Harmless where there is
    /// none. Nothing may run in it. Blocking.
    pub fn remove(&self, owner: impl Into<WorktreeOwner>, branch: BranchFate) -> Result<(), WorktreeError> {
        let layout = self.layout(&owner.into());
        // No worktree was ever made here, and the lock lies in this folder.
        if !home(self.project.root()).join(".private").is_dir() {
            return Ok(());
        }
        let lock = WorktreeLock::take(&layout)?;
        if let Some(slot) = layout.slot {
            // What a kill leaves of its files is not taken for the story's work.
            slots::begin_move(&layout, slot)?;
        }
        remove_tree(&layout.folder)?;
        let listed = WorktreeListLock::take(&self.common).map_err(at(&self.common))?;
        for admin in layout.notes() {
            remove_tree(&admin)?;
        }
        drop(listed);
        if branch == BranchFate::Delete {
            self.delete_branch(&layout)?;
        }
        if let Some(slot) = layout.slot {
            remove_tree(&slot.private(&home(self.project.root())))?;
        }
        // Last, since this folder is the lock, and names the slot.
        remove_tree(&layout.private)?;
        drop(lock);
        Ok(())
    }

    pub(super) fn delete_branch(&self, layout: &WorktreeLayout) -> Result<(), WorktreeError> {
        let git = GitProgram::at(self.project.root());
        // Not `branch -D`, which refuses a branch that an agent has checked out in some other worktree.
        git.run(["update-ref", "-d", &layout.owner.reference()])?;
        layout.drop_ref_folders();
        Ok(())
    }

    /// Removes all worktrees except those in `keep`, and returns the names of the removed ones.
    pub fn sweep(
        &self,
        keep: &BTreeSet<WorktreeName>,
        branch: BranchFate,
    ) -> Result<Vec<WorktreeName>, WorktreeError> {
        let nothing = |found: &WorktreeRemains| {
            branch == BranchFate::Keep && !(found.folder || found.admin || found.private)
        };
        let stale = self.list()?.into_iter().filter(|(name, found)| !keep.contains(name) && !nothing(found));
        let stale: Vec<WorktreeName> = stale.map(|(name, _)| name).collect();
        stale.iter().try_for_each(|name| self.remove(name, branch))?;
        Ok(stale)
    }
}

fn names(folder: &Path) -> Result<Vec<WorktreeName>, WorktreeError> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        entries => {
            let names = entries.map_err(at(folder))?.flatten().map(|entry| entry.file_name());
            Ok(names.filter_map(|name| WorktreeName::parse(name.to_str()?)).collect())
        }
    }
}

/// Removes a folder also where its owner may not write in parts of it. Links are removed, not followed.
///
/// # Errors
/// If something stays.
pub fn remove_tree(path: &Path) -> Result<(), WorktreeError> {
    let removed = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path);
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

// Makes folders writable for their owner: module caches are read-only on purpose.
fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::{fixture::WorktreeFixture, worktrees::Worktree};

    fn story(worktree: &Worktree) -> &WorktreeName {
        worktree.owner().story().expect("a story's")
    }

    #[test]
    fn removing_leaves_nothing_behind_but_the_branch_if_it_is_kept() {
        let fixture = WorktreeFixture::new();
        let (worktrees, worktree) = (fixture.worktrees(), fixture.prepare("7_x"));
        fs::write(worktree.path().join("new.txt"), "x").expect("a file");
        worktrees.remove(worktree.owner(), BranchFate::Keep).expect("removed");
        let found = &worktrees.list().expect("a list")[story(&worktree)];
        assert!(!found.folder && !found.admin && !found.private && found.branch.is_some());
        worktrees.remove(worktree.owner(), BranchFate::Delete).expect("removed");
        assert!(worktrees.list().expect("a list").is_empty());
        assert!(!fixture.root().join(".git/refs/heads/feature/story-7_x").exists());
        worktrees.remove(worktree.owner(), BranchFate::Delete).expect("once more does no harm");
    }

    #[test]
    fn what_an_agent_deleted_moved_or_locked_is_removed_all_the_same() {
        let fixture = WorktreeFixture::new();
        let worktrees = fixture.worktrees();
        let gone = fixture.prepare("1_gone");
        fs::remove_dir_all(gone.path()).expect("gone");
        let moved = fixture.prepare("2_moved");
        fixture.git_in(moved.path(), &["worktree", "move", ".", "../../../elsewhere"]);
        let locked = fixture.prepare("3_locked");
        fs::create_dir(locked.path().join("cache")).expect("a folder");
        fs::write(locked.path().join("cache/file"), "x").expect("a file");
        fs::set_permissions(locked.path().join("cache"), fs::Permissions::from_mode(0o500))
            .expect("read-only");
        assert_eq!(worktrees.sweep(&BTreeSet::new(), BranchFate::Delete).expect("swept").len(), 3);
        assert!(worktrees.list().expect("a list").is_empty());
        assert_eq!(fixture.git(&["worktree", "list"]).lines().count(), 1);
        assert!(fixture.root().join("elsewhere/a.txt").exists(), "a folder that is not ours stays");
    }

    #[test]
    fn sweeping_spares_the_stories_that_live_and_a_persons_own_worktree() {
        let fixture = WorktreeFixture::new();
        fixture.git(&["worktree", "add", "-q", "-b", "mine", "../mine"]);
        let (stays, goes) = (fixture.prepare("1_stays"), fixture.prepare("2_goes"));
        let keep = BTreeSet::from([story(&stays).clone()]);
        let swept = fixture.worktrees().sweep(&keep, BranchFate::Keep).expect("swept");
        assert_eq!(swept, [story(&goes).clone()]);
        assert!(stays.path().join("a.txt").exists() && fixture.root().join("../mine/a.txt").exists());
        assert!(
            fixture.worktrees().sweep(&keep, BranchFate::Keep).expect("swept").is_empty(),
            "a branch alone is left"
        );
    }
}

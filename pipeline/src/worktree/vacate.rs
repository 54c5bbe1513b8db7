//! A story's slot for the next story: what git ignores stays, everything else of the story goes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use git2::{Oid, Repository};

use super::{
    layout::{WorktreeListLock, WorktreeLock, home},
    remove::{BranchFate, remove_tree},
    scrub::{remove_products, scrub},
    setup::SetupPlace,
    setup_record::SetupRecord,
    slots::{self, SlotName},
};
use crate::{
    git::program::GitProgram,
    worktree::{
        error::{WorktreeError, at},
        layout::WorktreeLayout,
        owner::WorktreeOwner,
        worktrees::{Worktree, Worktrees},
    },
};

/// What git needs of its notes of a checkout. The rest belongs to the story: its settings, an unfinished rebase, refs of its own.
const KEPT_NOTES: [&str; 4] = ["HEAD", "commondir", "gitdir", "index"];

impl Worktrees {
    /// Removes the owner's worktree as [`Worktrees::remove`] does, but leaves its slot to the next story, with everything that git
    /// ignores, unless [`Worktree::taint`] was called or `most` slots are free already. Nothing may run in it. Blocking.
    pub fn release(
        &self,
        owner: impl Into<WorktreeOwner>,
        branch: BranchFate,
        (base, most): (&str, usize),
    ) -> Result<(), WorktreeError> {
        let owner = owner.into();
        let layout = self.layout(&owner);
        let Some(slot) = layout.slot else { return self.remove(&owner, branch) };
        let lock = WorktreeLock::take(&layout)?;
        let is_wanted = slots::free(&layout.root, &self.common).len() < most;
        let left = match is_wanted && !slots::is_tainted(&layout) {
            true => self.vacate(&layout, slot, base).map(|()| true),
            false => Ok(false),
        };
        drop(lock);
        match left {
            Ok(true) => self.forget(&owner, branch),
            Ok(false) => self.remove(&owner, branch),
            Err(error) => {
                tracing::warn!(%slot, %error, "a worktree cannot be left to the next story and is removed");
                self.remove(&owner, branch)
            }
        }
    }

    fn vacate(&self, layout: &WorktreeLayout, slot: SlotName, base: &str) -> Result<(), WorktreeError> {
        let folder = &layout.folder;
        let admin = layout.admin().ok_or_else(|| broken(folder, "git has no notes of it"))?;
        let tip = Repository::open(&self.common)?.refname_to_id(&format!("refs/heads/{base}"))?;
        // Git gave it the patterns of the main checkout when it made it; the next story needs those of then.
        if admin.join("info/sparse-checkout").exists() {
            return Err(broken(folder, "its checkout is sparse"));
        }
        // From here on a slot that is found is not used again, until it is clean.
        slots::begin_move(layout, slot)?;
        keep_notes(&admin)?;
        write_link(folder, &admin)?;
        // Off the branch, which goes.
        let head = admin.join("HEAD");
        fs::write(&head, format!("{tip}\n")).map_err(at(&head))?;
        let git = GitProgram::explicit(&admin, folder);
        let reset = ["reset", "--hard", "--quiet", "--no-recurse-submodules"];
        // By the story's own index, so that the files of its commits are not taken for something that was left behind.
        git.run(reset)?;
        // A new index: an agent without a wall could have marked a changed file as one that git need not look at.
        let index = admin.join("index");
        fs::remove_file(&index).map_err(at(&index))?;
        git.run(["read-tree", "HEAD"])?;
        // Ends with 1 where a file differs.
        git.answer(["update-index", "-q", "--refresh"], &[])?;
        git.run(reset)?;
        let mut record = SetupRecord::read(&slot.private(&home(&layout.root)));
        if scrub(&git, folder)? {
            // It may have been what a setup made.
            record.forget_all()?;
        }
        slots::keep_caches(layout, slot)?;
        slots::end_move(layout, slot, tip)
    }

    /// Takes away all of an owner but the checkout, which is not its own any more.
    fn forget(&self, owner: &WorktreeOwner, branch: BranchFate) -> Result<(), WorktreeError> {
        let layout = self.layout(owner);
        let lock = WorktreeLock::take(&layout)?;
        let listed = WorktreeListLock::take(&self.common).map_err(at(&self.common))?;
        if branch == BranchFate::Delete {
            self.delete_branch(&layout)?;
        }
        // Last: it names the slot, and is the lock.
        remove_tree(&layout.private)?;
        drop(listed);
        drop(lock);
        Ok(())
    }

    /// Makes a free slot the owner's worktree, at `start`. The owner's branch is there.
    pub(super) fn occupy(
        &self,
        layout: &WorktreeLayout,
        free: &slots::FreeSlot,
        start: Oid,
    ) -> Result<(), WorktreeError> {
        let head = free.admin.join("HEAD");
        fs::write(&head, format!("ref: {}\n", layout.owner.reference())).map_err(at(&head))?;
        let git = GitProgram::explicit(&free.admin, &layout.folder);
        git.run(["reset", "--hard", "--quiet", "--no-recurse-submodules"])?;
        let mut record = SetupRecord::read(&free.name.private(&home(&layout.root)));
        // It was left clean by the rules of another commit.
        if self.rules_differ(free.clean, start)? && scrub(&git, &layout.folder)? {
            record.forget_all()?;
        }
        record.begin_anew()?;
        slots::take_caches(layout, free.name)?;
        self.fill_submodules_of(layout, &free.admin, start);
        slots::end_move(layout, free.name, start)
    }

    /// Whether two commits have other files with rules for what git ignores, or other submodules.
    fn rules_differ(&self, one: Oid, other: Oid) -> Result<bool, git2::Error> {
        if one == other {
            return Ok(false);
        }
        let repository = Repository::open(&self.common)?;
        // A commit that is gone was rewritten: whatever it had counts as different.
        let Ok(one) = repository.find_commit(one) else { return Ok(true) };
        let (one, other) = (one.tree()?, repository.find_commit(other)?.tree()?);
        let diff = repository.diff_tree_to_tree(Some(&one), Some(&other), None)?;
        let names_rules = |path: Option<&Path>| {
            path.is_some_and(|path| path.file_name().is_some_and(|name| name == ".gitignore"))
        };
        Ok(diff.deltas().any(|delta| {
            let sides = [delta.old_file(), delta.new_file()];
            sides.iter().any(|side| names_rules(side.path()) || side.mode() == git2::FileMode::Commit)
        }))
    }

    /// Removes slots that nobody will use: broken ones, and free ones beyond the newest `most`. Blocking.
    pub fn reap_slots(&self, most: usize) -> Result<(), WorktreeError> {
        let listed = WorktreeListLock::take(&self.common).map_err(at(&self.common))?;
        let root = self.project.root();
        let spare = slots::free(root, &self.common).into_iter().skip(most).map(|slot| slot.name);
        for slot in spare.chain(slots::broken(root, &self.common)).collect::<Vec<_>>() {
            tracing::info!(%slot, "a worktree that no story needs is removed");
            let folder = slot.folder(&home(root));
            let admin = super::layout::admin_of(&self.common, &folder);
            // First, so that a crash leaves no slot that looks free.
            remove_tree(&slot.private(&home(root)))?;
            remove_tree(&folder)?;
            admin.map_or(Ok(()), |admin| remove_tree(&admin))?;
        }
        drop(listed);
        Ok(())
    }
}

impl Worktree {
    /// Nothing that was made here may reach another story: its agents misbehaved, or strangers may have led them. The slot is
    /// removed with the story.
    pub fn taint(&self) -> Result<(), WorktreeError> {
        slots::taint(&self.layout)
    }

    /// The results of setups are gone: a teardown undid them.
    pub fn forget_setups(&self) -> Result<(), WorktreeError> {
        SetupRecord::read(&self.record_folder()).forget_all()
    }

    /// Removes build products, dependencies and package caches that an earlier story left here, so that they are made anew. Returns
    /// whether there were any. No process may live here. Blocks.
    pub fn discard_inherited(&self) -> Result<bool, WorktreeError> {
        if !slots::has_inherited(&self.layout) {
            return Ok(false);
        }
        self.discard_products()?;
        Ok(true)
    }

    /// As [`Worktree::discard_inherited`], whoever made them.
    pub fn discard_products(&self) -> Result<(), WorktreeError> {
        remove_products(&self.git())?;
        slots::forget_inheritance(&self.layout)?;
        SetupRecord::read(&self.record_folder()).forget_all()
    }

    /// Where its components are set up, and the tree that its branch has now.
    pub(crate) fn setup_place(&self) -> Result<(SetupPlace, Oid), git2::Error> {
        let place = SetupPlace {
            root: self.layout.root.clone(),
            common: self.layout.common.clone(),
            admin: self.admin.clone(),
            folder: self.layout.folder.clone(),
            record: self.record_folder(),
        };
        let tree = Repository::open(&self.layout.common)?.find_commit(self.tip()?)?.tree_id();
        Ok((place, tree))
    }

    fn record_folder(&self) -> PathBuf {
        let home = home(&self.layout.root);
        let slot = self.layout.slot.map(|slot| slot.private(&home));
        slot.unwrap_or_else(|| self.layout.private.clone())
    }
}

/// Removes what an agent, or git for it, left beside git's own notes.
fn keep_notes(admin: &Path) -> Result<(), WorktreeError> {
    for entry in fs::read_dir(admin).map_err(at(admin))?.flatten() {
        let kept = KEPT_NOTES.iter().any(|name| entry.file_name() == *name);
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        match (kept, is_file) {
            (true, true) => {}
            (true, false) => return Err(broken(&entry.path(), "it is no file")),
            (false, _) => remove_tree(&entry.path())?,
        }
    }
    // Empty, as git makes it.
    let refs = admin.join("refs");
    fs::create_dir(&refs).map_err(at(&refs))
}

/// The checkout's own `.git`, whatever an agent made of it.
fn write_link(folder: &Path, admin: &Path) -> Result<(), WorktreeError> {
    let link = folder.join(".git");
    remove_tree(&link)?;
    let text = format!("gitdir: {}\n", admin.display());
    fs::File::create_new(&link)
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(at(&link))
}

fn broken(path: &Path, why: &str) -> WorktreeError {
    at(path)(std::io::Error::other(why.to_owned()))
}

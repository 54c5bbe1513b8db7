//! Slots: checkouts that serve one story after another, at one path, so that the build products and dependencies that git ignores in
//! them stay. This file owns which story has which slot; `vacate` makes a slot ready for the next story.
//!
//! A slot is somebody's as long as a private folder names it. It is free if it is whole, nobody names it, and its last story's files
//! were removed to the end.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use git2::Oid;

use super::{
    layout::{admin_of, home, private_folder},
    remove::remove_tree,
};
use crate::worktree::{
    error::{WorktreeError, at},
    layout::WorktreeLayout,
    name::WorktreeName,
};

const PREFIX: &str = "slot-";

/// Below an owner's private folder: the name of its slot.
const ASSIGNED: &str = "slot";

/// Below an owner's private folder: its products come from an earlier story.
const INHERITED: &str = "inherited";

/// Below an owner's private folder: nothing that it leaves may reach another story.
const TAINTED: &str = "tainted";

/// Below a slot's own private folder: the commit at which it was left clean.
const CLEAN: &str = "clean";

/// Below a slot's own private folder, while files are moved from one commit to another: they are nobody's work.
const MOVING: &str = "moving";

/// Package caches of the wall, below a private folder.
const CACHES: &str = "caches";

/// The number of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotName(u32);

impl SlotName {
    fn parse(text: &str) -> Option<Self> {
        let slot = Self(text.strip_prefix(PREFIX)?.parse().ok()?);
        // `slot-01` would be a second spelling.
        (slot.to_string() == text).then_some(slot)
    }

    pub(super) fn folder(self, home: &Path) -> PathBuf {
        home.join(self.to_string())
    }

    /// What storkit knows of the slot, where no agent writes.
    pub(super) fn private(self, home: &Path) -> PathBuf {
        home.join(".private").join(self.to_string())
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

/// The slot of the owner of this private folder.
pub(super) fn assigned(private: &Path) -> Option<SlotName> {
    SlotName::parse(fs::read_to_string(private.join(ASSIGNED)).ok()?.trim_end())
}

/// The checkout of a story, `.storkit/worktrees/slot-N`; of one that has none yet, where an earlier version made it.
pub fn story_folder(root: &Path, name: &WorktreeName) -> PathBuf {
    let home = home(root);
    match assigned(&home.join(".private").join(name.to_string())) {
        Some(slot) => slot.folder(&home),
        None => home.join(name.to_string()),
    }
}

/// All slots that somebody has, with the names of the owners' folders.
pub fn assigned_slots(root: &Path) -> Vec<(String, PathBuf)> {
    let home = home(root);
    let entries = fs::read_dir(home.join(".private")).into_iter().flatten().flatten();
    let slot = |entry: fs::DirEntry| {
        let slot = assigned(&entry.path())?;
        Some((entry.file_name().to_string_lossy().into_owned(), slot.folder(&home)))
    };
    entries.filter_map(slot).collect()
}

/// A slot that waits for a story.
#[derive(Clone, Debug)]
pub(super) struct FreeSlot {
    pub name: SlotName,
    pub admin: PathBuf,
    /// Where it was left clean.
    pub clean: Oid,
    since: SystemTime,
}

/// All free slots, the one that was used last first. The lock on the list is held.
pub(super) fn free(root: &Path, common: &Path) -> Vec<FreeSlot> {
    let home = home(root);
    let taken: Vec<PathBuf> = assigned_slots(root).into_iter().map(|(_, folder)| folder).collect();
    let slot = |name: SlotName| {
        let folder = name.folder(&home);
        let link = fs::symlink_metadata(folder.join(".git")).ok()?;
        let record = name.private(&home).join(CLEAN);
        let clean = Oid::from_str(fs::read_to_string(&record).ok()?.trim_end()).ok()?;
        let since = fs::metadata(&record).and_then(|found| found.modified()).ok()?;
        let admin = admin_of(common, &folder)?;
        let is_whole = link.is_file() && !name.private(&home).join(MOVING).exists();
        (!taken.contains(&folder) && is_whole).then_some(FreeSlot { name, admin, clean, since })
    };
    let mut free: Vec<FreeSlot> = names(&home).into_iter().filter_map(slot).collect();
    free.sort_by_key(|slot| (std::cmp::Reverse(slot.since), slot.name));
    free
}

/// Slots that are nobody's and not whole: their story was being removed when storkit was killed.
pub(super) fn broken(root: &Path, common: &Path) -> Vec<SlotName> {
    let home = home(root);
    let taken: Vec<PathBuf> = assigned_slots(root).into_iter().map(|(_, folder)| folder).collect();
    let free: Vec<SlotName> = free(root, common).into_iter().map(|slot| slot.name).collect();
    names(&home)
        .into_iter()
        .filter(|name| !free.contains(name) && !taken.contains(&name.folder(&home)))
        .collect()
}

fn names(home: &Path) -> Vec<SlotName> {
    let folders = [home.to_owned(), home.join(".private")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let mut names: Vec<SlotName> =
        entries.filter_map(|entry| SlotName::parse(entry.file_name().to_str()?)).collect();
    names.sort();
    names.dedup();
    names
}

/// Gives the owner a free slot, or one that has to be made; its files are being moved from then on. The lock on the list is held.
pub(super) fn assign(layout: &mut WorktreeLayout) -> Result<Option<FreeSlot>, WorktreeError> {
    let home = home(&layout.root);
    let free = free(&layout.root, &layout.common).into_iter().next();
    let name = match &free {
        Some(slot) => slot.name,
        None => {
            let taken = names(&home);
            (1..).map(SlotName).find(|name| !taken.contains(name)).unwrap_or(SlotName(0))
        }
    };
    // Before it has an owner: its files are not those of the owner's branch yet.
    begin_move(layout, name)?;
    write(&layout.private.join(ASSIGNED), &format!("{name}\n"))?;
    layout.settle_in(name);
    Ok(free)
}

/// Notes that files are being moved: a slot that is found so is made anew.
pub(super) fn begin_move(layout: &WorktreeLayout, slot: SlotName) -> Result<(), WorktreeError> {
    let private = slot.private(&home(&layout.root));
    private_folder(&private).map_err(at(&private))?;
    write(&private.join(MOVING), "")
}

/// Notes that the slot is as this commit has it.
pub(super) fn end_move(layout: &WorktreeLayout, slot: SlotName, commit: Oid) -> Result<(), WorktreeError> {
    let private = slot.private(&home(&layout.root));
    write(&private.join(CLEAN), &format!("{commit}\n"))?;
    remove_tree(&private.join(MOVING))
}

/// Whether the files of the slot were being moved when storkit was killed.
pub(super) fn is_moving(layout: &WorktreeLayout) -> bool {
    layout.slot.is_some_and(|slot| slot.private(&home(&layout.root)).join(MOVING).exists())
}

/// The owner gets the package caches that the slot has kept.
pub(super) fn take_caches(layout: &WorktreeLayout, slot: SlotName) -> Result<(), WorktreeError> {
    let (kept, own) = (slot.private(&home(&layout.root)).join(CACHES), layout.private.join(CACHES));
    if kept.is_dir() {
        remove_tree(&own)?;
        fs::rename(&kept, &own).map_err(at(&own))?;
    }
    write(&layout.private.join(INHERITED), "")
}

/// The slot keeps its owner's package caches.
pub(super) fn keep_caches(layout: &WorktreeLayout, slot: SlotName) -> Result<(), WorktreeError> {
    let (kept, own) = (slot.private(&home(&layout.root)).join(CACHES), layout.private.join(CACHES));
    remove_tree(&kept)?;
    match own.is_dir() {
        true => fs::rename(&own, &kept).map_err(at(&kept)),
        false => Ok(()),
    }
}

/// Whether the products in the owner's worktree come from an earlier story.
pub(super) fn has_inherited(layout: &WorktreeLayout) -> bool {
    layout.private.join(INHERITED).exists()
}

pub(super) fn forget_inheritance(layout: &WorktreeLayout) -> Result<(), WorktreeError> {
    remove_tree(&layout.private.join(INHERITED))?;
    remove_tree(&layout.private.join(CACHES))
}

pub(super) fn taint(layout: &WorktreeLayout) -> Result<(), WorktreeError> {
    write(&layout.private.join(TAINTED), "")
}

pub(super) fn is_tainted(layout: &WorktreeLayout) -> bool {
    layout.private.join(TAINTED).exists()
}

fn write(path: &Path, text: &str) -> Result<(), WorktreeError> {
    settings::atomic::write(path, text.as_bytes()).map_err(at(path))
}

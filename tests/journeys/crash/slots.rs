//! The slots of stories in the crash harness: kills while one is taken or made ready for the next story, and what must hold of them
//! while nobody runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use e2e::git;

use super::Moment;

/// What git may ignore in a slot that nobody has: what gates and setups of the project make.
const PRODUCTS: [&str; 2] = ["!! build/", "!! deps/"];

/// How often a look is taken at the slots until one is met.
const LOOK: Duration = Duration::from_millis(1);

/// The folder `.storkit/worktrees`.
pub struct Slots {
    home: PathBuf,
}

/// Kills that came while the files of a slot were moved.
#[derive(Debug, Default)]
pub struct Met {
    pub taken: usize,
    pub vacated: usize,
    /// How many stories one slot served, at most.
    pub served: usize,
}

impl Slots {
    pub fn of(project: &Path) -> Self {
        Self { home: project.join(".storkit/worktrees") }
    }

    /// Waits for the moment in which a slot begins to be taken, or made ready for the next story; at most so long.
    /// `is_done` tells whether the story of this number is done.
    pub fn wait(&self, moment: Moment, most: Duration, is_done: impl Fn(u32) -> bool) {
        let until = Instant::now() + most;
        let before = self.moving();
        let met = || {
            self.moving().iter().any(|(slot, story)| {
                before.get(slot) != Some(story) && moment == phase(story.is_some_and(&is_done))
            })
        };
        while !met() && Instant::now() < until {
            // Looks at folders of another process; there is nothing to wait on.
            std::thread::sleep(LOOK);
        }
    }

    /// Counts the slots whose files were being moved when the kill came.
    pub fn count(&self, met: &mut Met, is_done: impl Fn(u32) -> bool) {
        for story in self.moving().into_values() {
            match phase(story.is_some_and(&is_done)) {
                Moment::SlotVacated => met.vacated += 1,
                Moment::SlotTaken | Moment::Any => met.taken += 1,
            }
        }
    }

    /// Slots whose files are being moved, with the number of the story that has them.
    fn moving(&self) -> BTreeMap<String, Option<u32>> {
        let owners = self.owners();
        let slots = names(&self.private()).into_iter().filter(|name| name.starts_with("slot-"));
        slots
            .filter(|slot| self.private().join(slot).join("moving").exists())
            .map(|slot| {
                let owner = owners.get(&slot).and_then(|owners| owners.first());
                let story = owner.and_then(|owner| owner.split('_').next()?.parse().ok());
                (slot, story)
            })
            .collect()
    }

    /// The slots that somebody has, with the names of all who have them.
    fn owners(&self) -> BTreeMap<String, Vec<String>> {
        let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for owner in names(&self.private()) {
            if let Ok(slot) = fs::read_to_string(self.private().join(&owner).join("slot")) {
                owners.entry(slot.trim_end().to_owned()).or_default().push(owner);
            }
        }
        owners
    }

    fn private(&self) -> PathBuf {
        self.home.join(".private")
    }

    fn all(&self) -> BTreeSet<String> {
        let names = [names(&self.home), names(&self.private())].concat();
        names.into_iter().filter(|name| name.starts_with("slot-")).collect()
    }

    /// What must hold whenever storkit is dead: no slot has two stories, and one that waits for a story has nothing of an earlier one.
    pub fn check(&self) -> Result<(), String> {
        let owners = self.owners();
        if let Some((slot, owners)) = owners.iter().find(|(_, owners)| owners.len() > 1) {
            return Err(format!("{slot} is doubled: {owners:?} have it"));
        }
        let moving = self.moving();
        let waits = |slot: &&String| {
            let is_clean = self.private().join(slot).join("clean").is_file();
            !owners.contains_key(*slot) && !moving.contains_key(*slot) && is_clean
        };
        self.all().iter().filter(waits).try_for_each(|slot| self.is_clean(slot))
    }

    fn is_clean(&self, slot: &str) -> Result<(), String> {
        let folder = self.home.join(slot);
        // It was removed up to its record, or not made yet.
        if !folder.join(".git").is_file() {
            return Ok(());
        }
        let status =
            git(&folder, &["status", "--porcelain", "--branch", "--ignored", "--untracked-files=all"]);
        let is_expected = |line: &&str| PRODUCTS.iter().any(|product| line.starts_with(product));
        match status.lines().filter(|line| !is_expected(line)).collect::<Vec<_>>()[..] {
            ["## HEAD (no branch)"] => Ok(()),
            ref dirt => Err(format!("{slot}, which waits for a story, is dirty: {dirt:?}")),
        }
    }

    /// What must hold when all stories are done: each slot is whole, waits for a story and is known to git, there are no more than
    /// `most`, and nothing else of a story is left beside them.
    pub fn finish(&self, most: usize) -> Result<(), String> {
        self.check()?;
        let (all, moving) = (self.all(), self.moving());
        let folders: BTreeSet<String> =
            names(&self.home).into_iter().filter(|name| name.starts_with("slot-")).collect();
        let listed = git(&self.home, &["worktree", "list", "--porcelain"]);
        let known: BTreeSet<String> = listed
            .lines()
            .filter_map(|line| line.strip_prefix("worktree ")?.rsplit('/').next())
            .filter(|name| name.starts_with("slot-"))
            .map(str::to_owned)
            .collect();
        if all != folders || all != known || !moving.is_empty() || all.len() > most {
            return Err(format!("slots {all:?}, folders {folders:?}, git has {known:?}, moving {moving:?}"));
        }
        let private: Vec<String> = names(&self.private())
            .into_iter()
            .filter(|name| !all.contains(name) && name != "merge")
            .collect();
        let beside: Vec<String> =
            names(&self.home).into_iter().filter(|name| name.starts_with(".lost-")).collect();
        match private.is_empty() && beside.is_empty() {
            true => Ok(()),
            false => Err(format!("something is left of stories: {private:?} {beside:?}")),
        }
    }

    /// How many stories the warmest slot has served.
    pub fn most_served(&self) -> usize {
        let served = |slot: &String| {
            let products = fs::read_to_string(self.home.join(slot).join("build/stories")).unwrap_or_default();
            products.lines().collect::<BTreeSet<_>>().len()
        };
        self.all().iter().map(served).max().unwrap_or_default()
    }
}

fn phase(is_done: bool) -> Moment {
    if is_done { Moment::SlotVacated } else { Moment::SlotTaken }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

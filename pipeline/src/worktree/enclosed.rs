//! The private data of a confined agent: a ref folder, an object store, a copy of git's notes
//! of the worktree, and caches. The sandbox shows them in the places of git's own; outside
//! nothing reads them unchecked.

use std::{fs, path::Path};

use agents::confine::{LFS, SCRATCH, STORE, WorktreePaths};
use git2::{Config, Oid, Repository};

use super::{
    layout::{WorktreeLock, private_folder},
    remove::remove_tree,
};
use crate::{
    git::{lfs, program::GitProgram, submodules::without_user},
    worktree::{
        error::{WorktreeError, at},
        import::{ImportError, ImportResult},
        worktrees::Worktree,
    },
};

impl Worktree {
    /// Prepares the private folders for a confined run and returns their paths. Commits that an earlier confined run
    /// left and that could not be imported are still there for the agent to fix.
    pub fn enclose(&self) -> Result<WorktreePaths, ImportError> {
        let _lock = WorktreeLock::take(&self.layout)?;
        // An operation in progress has its state and its commits in the private folders.
        let in_progress = self.operation(true).is_some();
        if !in_progress && (self.unimported()?.is_none() || self.import_locked().is_ok()) {
            self.catch_up()?;
            self.renew()?;
        }
        // Those of processes that were killed with their storkit.
        remove_tree(&self.layout.private.join(SCRATCH))?;
        let contents = self.layout.private.join(LFS);
        private_folder(&contents).map_err(at(&contents))?;
        show_settings(&self.layout.common, &self.layout.private)?;
        Ok(self.place())
    }

    /// Imports a run's commits, and brings git's notes up to them. Call it after every run, confined or not.
    pub fn settle(&self) -> Result<ImportResult, ImportError> {
        let _lock = WorktreeLock::take(&self.layout)?;
        let imported = self.import_locked()?;
        self.catch_up()?;
        Ok(imported)
    }

    // Brings git's index up to the branch, which imports move while a confined agent has an index of its own.
    // No file changes. Where nobody was confined the index is the agent's, and stays.
    pub(super) fn catch_up(&self) -> Result<(), WorktreeError> {
        if self.layout.private.join("admin").is_dir() {
            self.git().run(["reset", "--quiet", "--mixed"])?;
        }
        Ok(())
    }

    /// Puts branch and files back to where they were: a reviewer changes nothing. Returns whether anything was
    /// changed; caches that git ignores stay.
    pub fn put_back(&self, tip: Oid) -> Result<bool, ImportError> {
        let _lock = WorktreeLock::take(&self.layout)?;
        let changed = self.tip()? != tip || !self.uncommitted()?.is_empty();
        if changed {
            self.move_to(tip)?;
            self.git().run(["clean", "--quiet", "--force", "-d"])?;
        }
        Ok(changed)
    }

    /// Puts branch and tracked files to this commit, with the private copies. No process may live here.
    pub(super) fn move_to(&self, tip: Oid) -> Result<(), ImportError> {
        self.git().run(["reset", "--quiet", "--hard", &tip.to_string()])?;
        // Otherwise the next import would report the reset as rewritten history.
        let path = self.layout.private.join("tip");
        fs::write(&path, format!("{tip}\n")).map_err(at(&path))?;
        self.renew()?;
        Ok(())
    }

    /// Where a sandbox finds its parts.
    pub fn place(&self) -> WorktreePaths {
        WorktreePaths {
            root: self.layout.root.clone(),
            common: self.layout.common.clone(),
            folder: self.layout.folder.clone(),
            admin: self.admin.clone(),
            private: self.layout.private.clone(),
            hooks: self.layout.hooks.clone(),
            ref_folders: self.layout.ref_folders().into(),
            is_slot: self.layout.slot.is_some(),
        }
    }

    /// The private branch's tip, where it is another than the true branch's.
    pub(super) fn unimported(&self) -> Result<Option<Oid>, WorktreeError> {
        let private = read_ref(&self.layout.private.join(self.layout.owner.reference()))?;
        Ok(private.filter(|tip| self.tip().ok() != Some(*tip)))
    }

    /// Where the true branch is.
    pub(super) fn tip(&self) -> Result<Oid, git2::Error> {
        Repository::open(&self.layout.common)?.refname_to_id(&self.layout.owner.reference())
    }

    pub(super) fn renew(&self) -> Result<(), WorktreeError> {
        let private = &self.layout.private;
        // A confined agent's commits in a submodule are nowhere else.
        let (modules, aside) = (private.join("admin/modules"), private.join("modules"));
        if fs::symlink_metadata(&modules).is_ok_and(|found| found.is_dir()) {
            remove_tree(&aside)?;
            fs::rename(&modules, &aside).map_err(at(&aside))?;
        }
        for part in ["objects", "refs", "logs", "admin", "info", LFS] {
            remove_tree(&private.join(part))?;
        }
        self.layout.keep_ref_folders(private)?;
        let write = |name: &str, text: String| {
            let path = private.join(name);
            fs::create_dir_all(path.parent().unwrap_or(private))
                .and_then(|()| fs::write(&path, text))
                .map_err(at(&path))
        };
        write(&self.layout.owner.reference(), format!("{}\n", self.tip()?))?;
        // With these two it is a repository from which `git fetch` reads.
        write("HEAD", format!("ref: {}\n", self.layout.owner.reference()))?;
        write("config", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n".into())?;
        let store = self.layout.common.join("objects");
        write("objects/info/alternates", format!("{}\n", store.display()))?;
        // The sandbox's `objects/info`: there the store is elsewhere.
        let inside = self.layout.root.join(STORE);
        write("info/alternates", format!("{}\n{}", inside.display(), further_stores(&store)))?;
        copy_notes(&self.admin, &private.join("admin"))?;
        if aside.is_dir() {
            remove_tree(&modules)?;
            fs::rename(&aside, &modules).map_err(at(&modules))?;
        }
        Ok(())
    }
}

/// Stores that the repository itself borrows from; relative ones are relative to its own.
pub(super) fn further_stores(store: &Path) -> String {
    let listed = fs::read_to_string(store.join("info/alternates")).unwrap_or_default();
    let lines = listed.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| format!("{}\n", store.join(line).display())).collect()
}

/// Sections of git's configuration that say how the repository is stored and read. Others name commands, or hold keys: a header of
/// `http`, the helper of `credential`.
const SHOWN_SECTIONS: [&str; 12] = [
    "branch",
    "core",
    "diff",
    "extensions",
    "filter",
    "i18n",
    "index",
    "init",
    "merge",
    "remote",
    "submodule",
    "user",
];

/// Of these sections, what runs a command in every git.
const NOT_SHOWN: [&str; 9] = [
    "core.askpass",
    "core.editor",
    "core.excludesfile",
    "core.fsmonitor",
    "core.gitproxy",
    "core.hookspath",
    "core.pager",
    "core.sshcommand",
    "core.worktree",
];

/// Writes the repository's configuration as a confined process sees it: without commands and without the keys in it. An address loses
/// its user and password.
pub(crate) fn show_settings(common: &Path, private: &Path) -> Result<(), WorktreeError> {
    let shown = private.join("config-shown");
    // Never added to: a setting that is gone must be gone here.
    fs::write(&shown, "").map_err(at(&shown))?;
    let mut copy = Config::open(&shown)?;
    let mut write = |name: &str, value: &str| {
        let section = name.split('.').next().unwrap_or_default();
        if SHOWN_SECTIONS.contains(&section) && !NOT_SHOWN.contains(&name) {
            // Several values of one name, like those of `remote.origin.fetch`, stay several.
            copy.set_multivar(name, "^$", &without_user(value))?;
        }
        Ok::<(), git2::Error>(())
    };
    let settings = Config::open(&common.join("config"))?;
    let mut entries = settings.entries(None)?;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if let (Ok(name), Ok(value)) = (entry.name(), entry.value()) {
            write(name, value)?;
        }
    }
    // The operator's own configuration, where `git lfs install` puts these, does not exist inside.
    if lfs::is_set_up(&GitProgram::explicit(common, common))? {
        for (name, value) in lfs::FILTER {
            if copy.get_entry(name).is_err() {
                copy.set_str(name, value)?;
            }
        }
    }
    Ok(())
}

// A ref's file, which an agent may have written: no link is followed, and nothing but an
// object's name is read.
fn read_ref(path: &Path) -> Result<Option<Oid>, WorktreeError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && found.len() <= 128 => {
            let text = fs::read(path).map_err(at(path))?;
            Ok(std::str::from_utf8(&text).ok().and_then(|text| Oid::from_str(text.trim_end()).ok()))
        }
        _ => Ok(None),
    }
}

pub(super) fn copy_notes(from: &Path, to: &Path) -> Result<(), WorktreeError> {
    private_folder(to).map_err(at(to))?;
    for entry in fs::read_dir(from).map_err(at(from))?.flatten() {
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(at(&path))?;
        if kind.is_dir() {
            copy_notes(&path, &copy)?;
        } else if kind.is_file() && path.extension().is_none_or(|extension| extension != "lock") {
            // Locks are left out: nobody would ever release a copied one.
            fs::copy(&path, &copy).map_err(at(&path))?;
        }
    }
    Ok(())
}

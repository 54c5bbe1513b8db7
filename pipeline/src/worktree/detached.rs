//! A worktree without a branch, made by the merge: an agent may write its files, and no ref at all.

use std::{
    fs,
    path::{Path, PathBuf},
};

use agents::confine::{Confinement, LFS, SCRATCH, STORE, WorktreePaths};

use super::{
    enclosed::{copy_notes, further_stores, show_settings},
    hooks,
    layout::{admin_of, make_home, private_folder},
    remove::remove_tree,
    setup::SetupPlace,
};
use crate::{
    Project,
    git::program::common_dir,
    worktree::error::{WorktreeError, at},
};

/// The ref that an agent here may move: there is none of that name.
const NO_REF: &str = "refs/storkit/none";

/// The worktree and its parts.
#[derive(Clone, Debug)]
pub struct DetachedWorktree {
    root: PathBuf,
    common: PathBuf,
    folder: PathBuf,
    admin: PathBuf,
    private: PathBuf,
    hooks: PathBuf,
}

impl DetachedWorktree {
    /// Finds the worktree at `folder`, which must be one of the project's.
    pub fn open(project: &Project, folder: &Path) -> Result<Self, WorktreeError> {
        let common = common_dir(project.root())?;
        let home = make_home(project.root())?;
        let admin = admin_of(&common, folder)
            .ok_or_else(|| at(folder)(std::io::Error::other("git knows no worktree here")))?;
        let name = folder.file_name().unwrap_or_default();
        let hooks = home.join(".hooks");
        hooks::write(&hooks).map_err(at(&hooks))?;
        let private = home.join(".private").join(name);
        Ok(Self { root: project.root().to_owned(), common, folder: folder.to_owned(), admin, private, hooks })
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// As [`crate::worktree::worktrees::Worktree::environment`].
    pub fn environment(&self, confinement: &Confinement) -> Vec<(String, String)> {
        let place = self.place();
        let hooks = (!confinement.encloses()).then_some(&place.hooks);
        hooks::environment(&place.common, &place.folder, &confinement.admin(&place), NO_REF, hooks)
    }

    /// Where a sandbox finds its parts.
    pub fn place(&self) -> WorktreePaths {
        WorktreePaths {
            root: self.root.clone(),
            common: self.common.clone(),
            folder: self.folder.clone(),
            admin: self.admin.clone(),
            private: self.private.clone(),
            hooks: self.hooks.clone(),
            ref_folders: Vec::new(),
            is_slot: false,
        }
    }

    /// Prepares the private folders for a confined run. Afterwards only the index is read, by [`DetachedWorktree::settle`].
    pub fn enclose(&self) -> Result<WorktreePaths, WorktreeError> {
        private_folder(&self.private).map_err(at(&self.private))?;
        // Caches stay: the next merge is built with them.
        for part in [SCRATCH, "objects", "info", "admin", LFS] {
            remove_tree(&self.private.join(part))?;
        }
        for part in ["objects", LFS] {
            let folder = self.private.join(part);
            private_folder(&folder).map_err(at(&folder))?;
        }
        show_settings(&self.common, &self.private)?;
        let info = self.private.join("info");
        private_folder(&info).map_err(at(&info))?;
        let store = self.common.join("objects");
        let inside = self.root.join(STORE);
        let alternates = info.join("alternates");
        let text = format!("{}\n{}", inside.display(), further_stores(&store));
        fs::write(&alternates, text).map_err(at(&alternates))?;
        // A folder for `info` to be shown in.
        let shown = self.private.join("objects/info");
        private_folder(&shown).map_err(at(&shown))?;
        copy_notes(&self.admin, &self.private.join("admin"))?;
        Ok(self.place())
    }

    /// Takes over what a confined mergemaster staged: its index replaces git's own of this worktree. It is data that git reads, and names no
    /// program.
    pub fn settle(&self) -> Result<(), WorktreeError> {
        const MOST: u64 = 256 << 20;
        let (from, to) = (self.private.join("admin/index"), self.admin.join("index"));
        let found = fs::symlink_metadata(&from).is_ok_and(|found| found.is_file() && found.len() <= MOST);
        if found {
            let index = fs::read(&from).map_err(at(&from))?;
            settings::atomic::write(&to, &index).map_err(at(&to))?;
        }
        Ok(())
    }

    /// Where its components are set up.
    pub(crate) fn setup_place(&self) -> SetupPlace {
        SetupPlace {
            root: self.root.clone(),
            common: self.common.clone(),
            admin: self.admin.clone(),
            folder: self.folder.clone(),
            record: self.private.clone(),
        }
    }

    /// Removes the private places.
    pub fn clear(&self) -> Result<(), WorktreeError> {
        remove_tree(&self.private)
    }
}

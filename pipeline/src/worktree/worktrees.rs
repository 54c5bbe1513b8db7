//! All worktrees of a project, one of them, and why one cannot be had.

use std::path::{Path, PathBuf};

use agents::confine::Confinement;

use super::{error::WorktreeError, hooks, layout::WorktreeLayout, owner::WorktreeOwner};
pub use crate::git::AGENT_DOMAIN;
use crate::{
    Project,
    git::program::{GitProgram, common_dir},
};

/// Limits of size, all in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    /// A larger file on a story's branch is refused.
    pub file: u64,
    /// More new content on a story's branch is refused.
    pub branch: u64,
    /// So much must stay free on the disk in addition to the new worktree's files.
    pub free: u64,
}

impl Default for SizeLimits {
    fn default() -> Self {
        Self { file: 100 << 20, branch: 1 << 30, free: 1 << 30 }
    }
}

/// All worktrees of a project.
#[derive(Clone, Debug)]
pub struct Worktrees {
    pub(super) project: Project,
    pub(super) common: PathBuf,
    pub(super) limits: SizeLimits,
}

/// A complete worktree, ready to work in.
#[derive(Clone, Debug)]
pub struct Worktree {
    pub(super) layout: WorktreeLayout,
    pub(super) limits: SizeLimits,
    pub(super) admin: PathBuf,
    pub(super) base: String,
}

impl Worktrees {
    /// The worktrees of this project. Reads where the repository is; writes nothing.
    pub fn open(project: &Project, limits: SizeLimits) -> Result<Self, WorktreeError> {
        Ok(Self { project: project.clone(), common: common_dir(project.root())?, limits })
    }

    pub(super) fn layout(&self, owner: &WorktreeOwner) -> WorktreeLayout {
        WorktreeLayout::new(self.project.root(), &self.common, owner)
    }
}

impl Worktree {
    pub fn owner(&self) -> &WorktreeOwner {
        &self.layout.owner
    }

    /// The checkout, `.storkit/worktrees/ID_slug` or `.storkit/worktrees/room-SLUG`.
    pub fn path(&self) -> &Path {
        &self.layout.folder
    }

    /// Its branch, `feature/story-ID_slug/work` or `room/SLUG/work`.
    pub fn branch(&self) -> String {
        self.layout.owner.branch()
    }

    /// Where all its parts are.
    pub fn layout(&self) -> &WorktreeLayout {
        &self.layout
    }

    /// The agent's environment in addition to `Launch::env`. The hooks know its processes by it,
    /// also in the main checkout. Where a wall hides that checkout, git needs no `core.hooksPath`.
    pub fn environment(&self, confinement: &Confinement) -> Vec<(String, String)> {
        let (place, reference) = (self.place(), self.layout.owner.reference());
        let hooks = (!confinement.encloses()).then_some(&place.hooks);
        hooks::environment(&place.common, &place.folder, &confinement.admin(&place), &reference, hooks)
    }

    /// Files that are neither committed nor ignored, from its top; call it after [`Worktree::settle`] where a
    /// sandbox was used. Submodules are left out.
    pub fn uncommitted(&self) -> Result<Vec<String>, WorktreeError> {
        let args = [
            "status",
            "--porcelain",
            "-z",
            // One path per entry: with `-z` a rename has a second one without a status.
            "--no-renames",
            "--ignore-submodules=all",
            "--untracked-files=normal",
        ];
        let answer = self.git().answer(args, &[])?;
        if answer.code != Some(0) {
            return Err(answer.refusal(&args).into());
        }
        let lines = answer.stdout.split(|byte| *byte == 0).filter(|line| line.len() > 3);
        Ok(lines.map(|line| String::from_utf8_lossy(&line[3..]).into_owned()).collect())
    }

    /// Whether the file is a part of the branch's last commit.
    pub fn tracks(&self, path: &str) -> bool {
        self.git().asks(["cat-file", "-e", &format!("HEAD:{path}")]).unwrap_or(false)
    }

    /// Git on the true repository and this working tree: an agent may have changed the folder's own `.git`.
    pub(super) fn git(&self) -> GitProgram {
        GitProgram::explicit(&self.admin, &self.layout.folder)
    }
}

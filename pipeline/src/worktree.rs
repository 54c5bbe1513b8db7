//! A story's worktree: a checkout of its own on a branch of its own, made, repaired, listed and removed here.
//!
//! The git data is laid out so that a sandbox can bind a story's part alone: `layout` has all paths, `enclosed`
//! separates a confined agent's writes from git's own files until `import` has checked them.

mod components;
#[cfg(test)]
mod confined;
#[cfg(test)]
mod confined_network;
mod detached;
mod enclosed;
#[cfg(test)]
pub(crate) mod fixture;
mod hooks;
mod import;
mod layout;
#[cfg(test)]
pub(crate) mod mischief;
mod name;
mod prepare;
mod remove;

use std::{
    io,
    path::{Path, PathBuf},
};

pub(crate) use self::layout::KEEP;
pub use self::{
    components::{ComponentError, ComponentPhase, ComponentProgress, run_components},
    detached::DetachedWorktree,
    import::{ImportError, ImportResult},
    layout::WorktreeLayout,
    name::{BadWorktreeName, WorktreeName},
    remove::{BranchFate, WorktreeRemains},
};
use crate::{
    Project,
    git::program::{GitProgram, GitProgramError, common_dir},
};

/// What every story's branch begins with; the folder behind it is the story's own, so that it can be bound alone.
pub const BRANCH_PREFIX: &str = "feature/story-";

/// Agents commit as `NAME@agents.storkit.invalid`, by which their commits are known wherever they turn up.
pub const AGENT_DOMAIN: &str = "@agents.storkit.invalid";

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
    project: Project,
    common: PathBuf,
    limits: SizeLimits,
}

/// A complete worktree, ready to work in.
#[derive(Clone, Debug)]
pub struct Worktree {
    layout: WorktreeLayout,
    limits: SizeLimits,
    admin: PathBuf,
    base: String,
}

/// Why a worktree cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum WorktreeError {
    #[error(
        "Too little space for a worktree in `{path}`: {} needed ({} of files and {} to spare), {} free. \
         Make room, or remove worktrees of stories that are done.", size(.files + .spare), size(*.files), size(*.spare), size(*.free)
    )]
    DiskFull {
        /// Where it was to be.
        path: PathBuf,
        /// The size of its files.
        files: u64,
        /// The reserve that must stay free.
        spare: u64,
        free: u64,
    },
    /// The branch's folder cannot be made: a branch has its name, or that of a folder above.
    #[error(
        "The branch `{0}` is in the way: git cannot have `{0}` and `{1}` at once. Rename it \
         (`git branch -m {0} NEW-NAME`) or delete it."
    )]
    BranchInTheWay(String, String),
    /// A part of the way leads elsewhere.
    #[error("`{0}` is a symbolic link. storkit writes only inside the project: put a folder there instead.")]
    Linked(PathBuf),
    #[error(transparent)]
    Git(#[from] GitProgramError),
    /// The repository cannot be read.
    #[error("the repository cannot be read: {0}")]
    Read(#[from] git2::Error),
    /// A file cannot be read or written.
    #[error("`{path}`: {source}")]
    Io {
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// Names the file that the system refused.
fn at(path: &Path) -> impl FnOnce(io::Error) -> WorktreeError {
    move |source| WorktreeError::Io { path: path.to_owned(), source }
}

/// A size as people read it.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        1_000_000..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

impl Worktrees {
    /// The worktrees of this project. Reads where the repository is; writes nothing.
    pub fn open(project: &Project, limits: SizeLimits) -> Result<Self, WorktreeError> {
        Ok(Self { project: project.clone(), common: common_dir(project.root())?, limits })
    }

    fn layout(&self, name: &WorktreeName) -> WorktreeLayout {
        WorktreeLayout::new(self.project.root(), &self.common, name)
    }
}

impl Worktree {
    pub fn name(&self) -> &WorktreeName {
        &self.layout.name
    }

    /// The checkout, `.storkit/worktrees/ID_slug`.
    pub fn path(&self) -> &Path {
        &self.layout.folder
    }

    /// Its branch, `feature/story-ID_slug/work`.
    pub fn branch(&self) -> String {
        self.layout.name.branch()
    }

    /// Where all its parts are.
    pub fn layout(&self) -> &WorktreeLayout {
        &self.layout
    }

    /// The agent's environment in addition to `Launch::env`. The hooks know its processes by it,
    /// also in the main checkout; `confined` means that a sandbox hides that checkout, so that
    /// git needs no `core.hooksPath`.
    pub fn environment(&self, confined: bool) -> Vec<(String, String)> {
        let WorktreeLayout { common, folder, hooks, name, .. } = &self.layout;
        hooks::environment(common, folder, &self.admin, &name.reference(), (!confined).then_some(hooks))
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
    fn git(&self) -> GitProgram {
        GitProgram::explicit(&self.admin, &self.layout.folder)
    }
}

//! Why a worktree cannot be had.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::git::{lfs::LfsError, program::GitProgramError};

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
    /// Contents of files cannot be had.
    #[error(transparent)]
    Lfs(#[from] LfsError),
    #[error(transparent)]
    Git(#[from] GitProgramError),
    /// The repository cannot be read.
    #[error("the repository cannot be read: {0}")]
    Read(#[from] git2::Error),
    /// A file cannot be read or written.
    #[error("`{path}`: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Names the file that the system refused.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> WorktreeError {
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
// One path per entry: with `-z` a rename has a second one without a status.

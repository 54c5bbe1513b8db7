//! Why the operator's confirmations cannot be used.

use std::path::PathBuf;

use crate::{git::program::GitProgramError, guard::BaseError};

/// Why the confirmed version is unknown. Each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Neither `XDG_STATE_HOME` nor `HOME` names a folder.
    #[error("There is no folder for what you confirm. Set `HOME`, or `XDG_STATE_HOME` to an absolute path.")]
    NoFolder,
    /// A repository could vouch for itself.
    #[error(
        "`{0}` is inside the project, which must not hold what you confirmed of it. Set `XDG_STATE_HOME` to a folder \
         outside."
    )]
    InsideProject(PathBuf),
    /// The record could have been written by somebody else.
    #[error(
        "`{0}` can be written by others than you, so what it confirms does not count. Look who wrote it, delete it, \
         and run `storkit trust` again."
    )]
    NotPrivate(PathBuf),
    #[error("`{path}` cannot be used: {why}. Delete it and run `storkit trust` again.")]
    Damaged { path: PathBuf, why: String },
    #[error(transparent)]
    Base(#[from] BaseError),
    #[error("the repository cannot be read: {0}")]
    Git(#[from] git2::Error),
    #[error("the repository's git configuration cannot be read: {0}")]
    GitProgram(#[from] GitProgramError),
}

//! A project: a git repository with a `.storkit/` folder.

use std::path::{Path, PathBuf};

/// The repository that one storkit process serves. Passed as a value, never a global.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    root: PathBuf,
}

/// Why a folder is no project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// No repository there or above.
    #[error("`{0}` is not inside a git repository. Run `git init` there, or name a project with `--project DIR`.")]
    NotGit(PathBuf),
    /// The folder does not exist or cannot be read.
    #[error("`{path}` cannot be opened: {source}")]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The repository has no files.
    #[error("`{0}` is a bare repository. storkit needs a checkout: clone it and name the clone with `--project DIR`.")]
    Bare(PathBuf),
    /// `.storkit/` cannot be made or written.
    #[error("`{path}` cannot be written: {source}. storkit keeps its state there; mend its owner or mode.")]
    Unwritable {
        /// The state folder.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}

impl Project {
    /// Finds the repository around `start` and makes sure that its state folder exists (0700) and can be written.
    pub fn open(_start: &Path) -> Result<Self, ProjectError> {
        todo!()
    }

    /// The checkout's top folder, absolute and without symlinks.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `.storkit/`.
    pub fn dir(&self) -> PathBuf {
        self.root.join(".storkit")
    }

    /// `.storkit/run/`: lock, sockets, FIFOs, temporary files; git-ignored, 0700.
    pub fn run_dir(&self) -> PathBuf {
        self.dir().join("run")
    }
}

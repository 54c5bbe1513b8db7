//! Takes the changes of a trial over into the agent's folder. All files are prepared and everything is checked first, so that what can fail
//! fails before anything is changed.

use std::{
    fmt, fs,
    io::{self, Read as _},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, Mode, OFlags, fchmod, mkdirat, openat, renameat, symlinkat, unlinkat};

use super::{
    NoKeep,
    root::{PathState, WorkspaceRoot},
};
use crate::confine::{LAYER_BYTES, LayerFiles, SCRATCH};

/// How a path gets its state in the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeepAction {
    /// It stays, and is only checked.
    Nothing,
    Remove,
    RemoveFolder,
    MakeFolder {
        mode: u32,
    },
    SetFolderMode {
        mode: u32,
    },
    /// With the content that the layer has.
    Write {
        mode: u32,
    },
    Link {
        target: PathBuf,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeepStep {
    /// Relative to the agent's folder.
    pub path: PathBuf,
    /// The state that has to be there; `None` where another step is about that.
    pub before: Option<PathState>,
    pub action: KeepAction,
}

/// The steps, in the order in which they were found: a folder's content before its removal, and after its making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeepPlan {
    steps: Vec<KeepStep>,
    /// The number of the agent's folder among the layers.
    pub layer: usize,
}

/// Why the changes were not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepFailure {
    /// They never can be.
    NotKept(NoKeep),
    /// This is not as it was when the command was tried. Nothing was changed.
    Changed(PathBuf),
    /// Nothing was changed, for this reason.
    Failed(String),
    /// This path could not be written, and others were.
    Partly { path: PathBuf, why: String },
}

impl fmt::Display for KeepStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl KeepPlan {
    pub fn add(&mut self, step: KeepStep) {
        self.steps.push(step);
    }

    pub fn number_of_steps(&self) -> usize {
        self.steps.len()
    }

    /// Applies all steps to the folder. `private` is where storkit keeps what belongs to it.
    pub fn apply(&self, folder: &Path, private: &Path, layers: &LayerFiles) -> Result<(), KeepFailure> {
        let failed = |error: io::Error| KeepFailure::Failed(error.to_string());
        let root = WorkspaceRoot::open(folder).map_err(failed)?;
        let stage = StagedFiles::make(folder, private).map_err(failed)?;
        for (number, step) in self.steps.iter().enumerate() {
            if let KeepAction::Write { mode } = step.action {
                let source = layers.changed(self.layer).join(&step.path);
                stage.copy(number, &source, mode).map_err(failed)?;
            }
        }
        if let Some(step) = self.steps.iter().find(|step| !step.is_due(&root)) {
            return Err(KeepFailure::Changed(step.path.clone()));
        }
        let phases: [fn(&KeepAction) -> bool; 3] = [
            |action| matches!(action, KeepAction::Remove | KeepAction::RemoveFolder),
            |action| {
                matches!(
                    action,
                    KeepAction::MakeFolder { .. } | KeepAction::Write { .. } | KeepAction::Link { .. }
                )
            },
            // Last: a folder that cannot be written gets its files before.
            |action| matches!(action, KeepAction::MakeFolder { .. } | KeepAction::SetFolderMode { .. }),
        ];
        let mut is_changed = false;
        for (phase, belongs) in phases.iter().enumerate() {
            let steps = self.steps.iter().enumerate().filter(|(_, step)| belongs(&step.action));
            for (number, step) in steps {
                let done = match phase {
                    2 => step.set_mode(&root),
                    _ => step.take(&root, &stage, number),
                };
                done.map_err(|error| match is_changed {
                    true => KeepFailure::Partly { path: step.path.clone(), why: error.to_string() },
                    false => KeepFailure::Failed(format!("{step}: {error}")),
                })?;
                is_changed = true;
            }
        }
        Ok(())
    }
}

impl KeepStep {
    /// Whether its path is still as it was.
    fn is_due(&self, root: &WorkspaceRoot) -> bool {
        match &self.before {
            None => true,
            Some(PathState::Folder(Some(names))) => {
                root.state(&self.path) == PathState::Folder(None)
                    && root.names(&self.path).is_ok_and(|now| now == *names)
            }
            Some(before) => root.state(&self.path) == *before,
        }
    }

    fn take(&self, root: &WorkspaceRoot, stage: &StagedFiles, number: usize) -> io::Result<()> {
        let (parent, name) = root.parent(&self.path)?;
        match &self.action {
            KeepAction::Remove => unlinkat(parent, name, AtFlags::empty())?,
            KeepAction::RemoveFolder => unlinkat(parent, name, AtFlags::REMOVEDIR)?,
            KeepAction::MakeFolder { .. } => mkdirat(parent, name, Mode::RWXU)?,
            KeepAction::Write { .. } => {
                renameat(&stage.folder, number.to_string(), parent, name)?;
            }
            KeepAction::Link { target } => symlinkat(target, parent, name)?,
            KeepAction::Nothing | KeepAction::SetFolderMode { .. } => {}
        }
        Ok(())
    }

    fn set_mode(&self, root: &WorkspaceRoot) -> io::Result<()> {
        let (KeepAction::MakeFolder { mode } | KeepAction::SetFolderMode { mode }) = self.action else {
            return Ok(());
        };
        let (parent, name) = root.parent(&self.path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(fchmod(openat(parent, name, flags, Mode::empty())?, Mode::from_raw_mode(mode))?)
    }
}

/// A folder of storkit's, which no agent can reach, with the new files: each of them appears in its place at once.
struct StagedFiles {
    place: tempfile::TempDir,
    folder: OwnedFd,
}

impl StagedFiles {
    fn make(workspace: &Path, private: &Path) -> io::Result<Self> {
        let above = private.join(SCRATCH);
        fs::create_dir_all(&above)?;
        if fs::metadata(&above)?.dev() != fs::metadata(workspace)?.dev() {
            return Err(io::Error::other("storkit's folder is on another file system than the agent's"));
        }
        let place = tempfile::Builder::new().prefix("keep").tempdir_in(&above)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(place.path(), flags, Mode::empty())?;
        Ok(Self { place, folder })
    }

    fn copy(&self, number: usize, source: &Path, mode: u32) -> io::Result<()> {
        let source = fs::File::open(source)?;
        let mut file = fs::File::create_new(self.place.path().join(number.to_string()))?;
        io::copy(&mut source.take(LAYER_BYTES), &mut file)?;
        file.set_permissions(fs::Permissions::from_mode(mode))
    }
}

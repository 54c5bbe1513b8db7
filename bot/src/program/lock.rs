//! One storkit per project: a file lock that the kernel releases with the process, after a crash as well.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::PathBuf,
};

use pipeline::Project;
use settings::unlinked;

/// Held for as long as this process serves the project.
#[derive(Debug)]
pub struct InstanceLock {
    file: File,
}

impl Drop for InstanceLock {
    // Closing alone would leave the lock with a process that is being forked at this moment and has
    // not yet closed its copy.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the project's lock could not be given back");
        }
    }
}

/// Why the project cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process serves it.
    #[error("Another storkit{} already serves `{project}`. Talk to it with `storkit chat`, or end it first.", pid_text(.pid))]
    Taken {
        project: PathBuf,
        /// The other's pid, if it could be read.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("`{path}` cannot be locked: {source}. storkit keeps its state there; check its owner and mode.")]
    Io { path: PathBuf, source: io::Error },
}

fn pid_text(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// The process that serves the project now, if one does and its number can be read.
pub fn holder(project: &Project) -> Option<u32> {
    let path = project.run_dir().join("storkit.lock");
    let file = File::open(&path).ok()?;
    // Shared, so that two checks at the same time do not take each other for a storkit that serves.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => fs::read_to_string(&path).ok()?.trim().parse().ok(),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// Takes the project's lock.
pub fn take(project: &Project) -> Result<InstanceLock, LockError> {
    let path = project.run_dir().join("storkit.lock");
    let io = |source| LockError::Io { path: path.clone(), source };
    let mut file =
        // Not truncated before the lock is taken: until then the file names the process that has it.
        unlinked::open(OpenOptions::new().create(true).truncate(false).read(true).write(true), &path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            return Err(LockError::Taken { project: project.root().to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
    Ok(InstanceLock { file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_lock_is_free_though_a_forked_process_holds_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let git = std::process::Command::new("git").arg("-C").arg(dir.path()).args(["init", "-q"]).status();
        assert!(git.unwrap().success());
        let project = Project::open(dir.path()).unwrap();
        let lock = take(&project).unwrap();
        let copy = lock.file.try_clone().unwrap();
        assert!(matches!(take(&project), Err(LockError::Taken { .. })));
        assert_eq!(holder(&project), Some(std::process::id()));
        drop(lock);
        assert_eq!(holder(&project), None);
        assert!(take(&project).is_ok());
        drop(copy);
    }
}

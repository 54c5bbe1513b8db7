//! Putting a story file in its place, each step atomic: whoever looks, and whatever is killed, there is one whole file.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use tempfile::{Builder, NamedTempFile};

/// Temporary files' names begin so; they lie in `.storkit/`, which git ignores for them and nobody watches.
pub(super) const TEMPORARY: &str = ".tmp-story";

/// How a replacement ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReplaceResult {
    /// The new content is there.
    Done,
    /// The file is gone from there, or is another one by now. Nothing was changed.
    Lost,
}

/// Makes a file that is not there yet; an `AlreadyExists` error if it is.
pub(super) fn create(temporary: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    written(temporary, content, 0o644)?.persist_noclobber(path).map_err(|error| error.error)?;
    settle(path)
}

/// Writes a file over whatever is there.
pub(crate) fn put(temporary: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mode = fs::metadata(path).map_or(0o644, |found| found.permissions().mode() & 0o777);
    written(temporary, content, mode)?.persist(path).map_err(|error| error.error)?;
    settle(path)
}

/// Moves a file to where none is; an `AlreadyExists` error if one is.
pub(super) fn relocate(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems know no flags. Our own moves hold a lock, so only a person could come between.
        Err(Errno::INVAL | Errno::NOSYS) if to.symlink_metadata().is_ok() => {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to)?,
        result => result?,
    }
    settle(to)?;
    settle(from)
}

/// Puts new content in place of the file that was `read`. A file that a person moved or saved in the meantime is not
/// written over: the two are exchanged, and what came out must be the one that was read.
pub(super) fn replace(
    temporary: &Path,
    path: &Path,
    read: &SeenFile,
    text: &str,
) -> io::Result<ReplaceResult> {
    let new = written(temporary, text.as_bytes(), 0o600)?;
    new.as_file().set_permissions(fs::Permissions::from_mode(read.mode))?;
    match renameat_with(CWD, new.path(), CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) if SeenFile::of(new.path())?.is_same_file(read) => {}
        Ok(()) => {
            // Exchanged back: the file that came out is a person's newer one.
            renameat_with(CWD, new.path(), CWD, path, RenameFlags::EXCHANGE)?;
            return Ok(ReplaceResult::Lost);
        }
        Err(Errno::NOENT) => return Ok(ReplaceResult::Lost),
        Err(Errno::INVAL | Errno::NOSYS) => {
            if !SeenFile::of(path).is_ok_and(|now| now.is_same_file(read)) {
                return Ok(ReplaceResult::Lost);
            }
            new.persist(path).map_err(|error| error.error)?;
        }
        Err(error) => return Err(error.into()),
    }
    settle(path)?;
    Ok(ReplaceResult::Done)
}

/// A file as it was when it was read.
#[derive(Debug)]
pub(super) struct SeenFile {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    mode: u32,
}

impl SeenFile {
    /// Looks at a file, without following a link.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        if !found.is_file() {
            return Err(io::Error::other("it is no plain file"));
        }
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            mode: found.permissions().mode() & 0o777,
        })
    }

    /// The change time is left out: the exchange itself sets it.
    fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode, self.size, self.modified)
            == (other.device, other.inode, other.size, other.modified)
    }
}

/// Syncs the folder's entry, so that a power cut does not undo a change that was reported as done.
pub(super) fn settle(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn written(temporary: &Path, content: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let mut file = Builder::new()
        .prefix(TEMPORARY)
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(temporary)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

//! An agent's folder as storkit reads and writes it: every path is looked up from its open root, and no link is followed on the way. The
//! agent may change the folder at any time.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, openat, openat2, readlinkat, statat},
    io::Errno,
    time::{ClockId, clock_gettime},
};

/// The time that the kernel stamps changes of files with.
pub(super) type Stamp = (i64, i64);

pub(super) fn now() -> Stamp {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    (now.tv_sec, now.tv_nsec)
}

/// The state of a path, as far as it has to be the same later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathState {
    Missing,
    /// A folder; with the names in it where none may be added.
    Folder(Option<Vec<OsString>>),
    File(PathStamp),
    Link(PathStamp),
    /// Neither, or reached through a link.
    Other,
}

/// Differs after any change of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathStamp {
    place: (u64, u64),
    size: u64,
    pub mode: u32,
    modified: Stamp,
    /// Of the content or the attributes. No program can set it.
    pub changed: Stamp,
}

impl PathStamp {
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // Their types differ between machines.
    fn of(found: &Stat) -> Self {
        Self {
            place: (found.st_dev as u64, found.st_ino as u64),
            size: found.st_size.unsigned_abs(),
            mode: found.st_mode as u32,
            modified: (found.st_mtime as i64, found.st_mtime_nsec as i64),
            changed: (found.st_ctime as i64, found.st_ctime_nsec as i64),
        }
    }
}

pub(super) struct WorkspaceRoot(OwnedFd);

/// No link is followed, and the path does not leave the folder.
const INSIDE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

impl WorkspaceRoot {
    pub fn open(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(folder, flags, Mode::empty())?))
    }

    /// The folder that a path is in, and its name there.
    pub fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok((openat2(&self.0, above, flags, Mode::empty(), INSIDE)?, name))
    }

    pub fn mode(&self, path: &Path) -> Option<u32> {
        #[allow(clippy::useless_conversion)] // Its type differs between machines.
        self.stat(path).ok().flatten().map(|found| found.st_mode.into())
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let found = self.parent(path).and_then(|(parent, name)| {
            statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)
        });
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn state(&self, path: &Path) -> PathState {
        match self.stat(path) {
            Ok(None) => PathState::Missing,
            Err(_) => PathState::Other,
            Ok(Some(found)) => match FileType::from_raw_mode(found.st_mode) {
                FileType::Directory => PathState::Folder(None),
                FileType::RegularFile => PathState::File(PathStamp::of(&found)),
                FileType::Symlink => PathState::Link(PathStamp::of(&found)),
                _ => PathState::Other,
            },
        }
    }

    /// Opens a plain file for reading.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(parent, name, flags, Mode::empty())?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(Errno::INVAL.into()) }
    }

    pub fn link_target(&self, path: &Path) -> io::Result<PathBuf> {
        use std::os::unix::ffi::OsStringExt as _;
        let (parent, name) = self.parent(path)?;
        let target = readlinkat(parent, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// The names in a folder, sorted. Empty for the root itself.
    pub fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        use std::os::unix::ffi::OsStrExt as _;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match path.as_os_str().is_empty() {
            true => openat(&self.0, ".", flags, Mode::empty())?,
            false => {
                let (parent, name) = self.parent(path)?;
                openat(parent, name, flags, Mode::empty())?
            }
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(folder.as_fd())? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

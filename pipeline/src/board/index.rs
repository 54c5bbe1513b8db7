//! The index of story files: a rescan reads only files that changed.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    Board, BoardProblem,
    attached::FILES,
    branch::MAX_STORY,
    files::{FilePlace, FileReading, StoryFiles, relative},
    memory::MEMORY,
};
use crate::story::{FileName, Story, StoryDocument, StoryId, stage::Stage};

// A file that changed this short a time before it was read may have changed again with the same time stamp:
// the kernel's clock for these ticks every few milliseconds.
const UNSETTLED: Duration = Duration::from_millis(50);

/// All files of the stage folders, and the board they make.
#[derive(Debug, Default)]
pub(super) struct BoardIndex {
    files: StoryFiles<FileCheck>,
    strays: Vec<BoardProblem>,
    round: u64,
    board: Option<Arc<Board>>,
}

#[derive(Debug)]
struct FileCheck {
    /// `None` until a reading can be relied on.
    stamp: Option<FileStamp>,
    /// The last scan that has found the file.
    round: u64,
}

/// What changes whenever a file's content or place does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A stage folder that is open; no symlink leads there.
struct StageFolder {
    stage: Stage,
    fd: OwnedFd,
}

impl BoardIndex {
    /// Lists all stages and reads new and changed files.
    pub(super) fn scan(&mut self, work: &Path) -> io::Result<()> {
        self.round += 1;
        self.board = None;
        self.strays = strays(work)?;
        for stage in Stage::ALL {
            let Some(folder) = self.open(work, stage)? else {
                self.files.retain(stage, |_| false);
                continue;
            };
            let changed = self.changed(&folder)?;
            self.read_all(&folder, changed);
            let round = self.round;
            self.files.retain(stage, |check| check.round == round);
        }
        Ok(())
    }

    /// Looks at one file again; that it is gone is no error.
    pub(super) fn refresh(&mut self, work: &Path, stage: Stage, name: &OsStr) -> io::Result<()> {
        self.board = None;
        if let Some(folder) = self.open(work, stage)?
            && is_of_interest(name)
            && is_there(&folder, name)
        {
            self.read_all(&folder, vec![name.to_owned()]);
        } else {
            self.files.remove(stage, name);
        }
        Ok(())
    }

    /// Every file with a story's number, readable or not.
    pub(super) fn places(&self, id: StoryId) -> Vec<FilePlace> {
        self.files.places(id)
    }

    /// The highest number in any file's name.
    pub(super) fn highest(&self) -> u32 {
        self.files.highest()
    }

    pub(super) fn is_scanned(&self) -> bool {
        self.round > 0
    }

    pub(super) fn board(&mut self) -> Arc<Board> {
        let (files, strays) = (&self.files, &self.strays);
        self.board.get_or_insert_with(|| Arc::new(files.board(strays.clone()))).clone()
    }

    /// `None` where there is no such folder. A symlink or a file in its place is reported.
    fn open(&mut self, work: &Path, stage: Stage) -> io::Result<Option<StageFolder>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(work.join(stage.dir()), flags, Mode::empty()) {
            Ok(fd) => Ok(Some(StageFolder { stage, fd })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let why = "it is no folder, or a link to one; put a folder there".into();
                self.strays.retain(|stray| stray.path() != Path::new(stage.dir()));
                self.strays.push(BoardProblem::Unreadable { path: stage.dir().into(), why });
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The names that must be read; the others are marked as still there.
    fn changed(&mut self, folder: &StageFolder) -> io::Result<Vec<OsString>> {
        let mut changed = Vec::new();
        for item in Dir::read_from(&folder.fd)? {
            let item = item?;
            let name = OsStr::from_bytes(item.file_name().to_bytes());
            if !is_of_interest(name) {
                continue;
            }
            match self.files.get_mut(folder.stage, name) {
                Some(check)
                    if check.stamp.is_some() && stamp_of(folder, name).as_ref() == check.stamp.as_ref() =>
                {
                    check.round = self.round;
                }
                _ => changed.push(name.to_owned()),
            }
        }
        Ok(changed)
    }

    /// Reads on several threads where that pays.
    fn read_all(&mut self, folder: &StageFolder, names: Vec<OsString>) {
        // Below this, starting a thread costs more than the reading.
        const WORTH_A_THREAD: usize = 200;
        let threads = thread::available_parallelism().map_or(1, usize::from).min(4);
        let share = names.len().div_ceil(threads).max(WORTH_A_THREAD);
        let read = |names: &[OsString]| {
            let read = |name: &OsString| Some((name.clone(), entry(folder, name)?));
            names.iter().filter_map(read).collect::<Vec<_>>()
        };
        let entries = thread::scope(|scope| {
            let mut shares = names.chunks(share);
            let own = shares.next().unwrap_or_default();
            let others: Vec<_> = shares.map(|share| scope.spawn(move || read(share))).collect();
            let mut entries = read(own);
            for other in others {
                entries.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            entries
        });
        for (name, (stamp, reading)) in entries {
            let check = FileCheck { stamp, round: self.round };
            self.files.insert(folder.stage, name, check, reading);
        }
    }
}

// Editors' leftovers and hidden files are nobody's business.
fn is_of_interest(name: &OsStr) -> bool {
    let name = name.as_bytes();
    !name.starts_with(b".") && !name.ends_with(b"~") && !name.starts_with(b"#")
}

/// Files and folders next to the stage folders.
fn strays(work: &Path) -> io::Result<Vec<BoardProblem>> {
    let mut strays = Vec::new();
    for item in std::fs::read_dir(work)? {
        let item = item?;
        let name = item.file_name();
        let is_stage = name.to_str().is_some_and(|name| Stage::from_dir(name).is_some());
        if name == FILES || name == MEMORY {
            if !item.file_type()?.is_dir() {
                let why = "it is no folder, or a link to one; put a folder there".into();
                strays.push(BoardProblem::Unreadable { path: name.into(), why });
            }
        } else if is_of_interest(&name) && !is_stage {
            strays.push(BoardProblem::UnknownStage { path: name.into() });
        }
    }
    Ok(strays)
}

fn is_there(folder: &StageFolder, name: &OsStr) -> bool {
    rustix::fs::statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

fn stamp_of(folder: &StageFolder, name: &OsStr) -> Option<FileStamp> {
    rustix::fs::statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| FileStamp::of(&stat))
}

impl FileStamp {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        reason = "the types differ between platforms"
    )]
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    fn changed_at(&self) -> SystemTime {
        let (seconds, nanos) = self.changed;
        let since = Duration::new(seconds.try_into().unwrap_or(0), nanos.try_into().unwrap_or(0));
        SystemTime::UNIX_EPOCH + since
    }

    fn is_settled(&self) -> bool {
        self.changed_at().elapsed().is_ok_and(|age| age > UNSETTLED)
    }
}

/// Reads one file. `None` if it is gone.
fn entry(folder: &StageFolder, name: &OsStr) -> Option<(Option<FileStamp>, FileReading)> {
    let path = || relative(folder.stage, name);
    let text = name.to_str().unwrap_or_default();
    let file = match text.parse::<FileName>() {
        Ok(file) => file,
        Err(why) => {
            let reading = FileReading {
                id: super::number::claimed(text),
                found: Err(BoardProblem::Name { path: path(), why }),
            };
            return Some((None, reading));
        }
    };
    let id = Some(file.id);
    let unreadable = |why: String| BoardProblem::Unreadable { path: path(), why };
    let (stamp, found) = match content(folder.fd.as_fd(), name) {
        Ok((stamp, content)) => {
            let document = content.map_err(unreadable).and_then(|text| {
                StoryDocument::parse(text).map_err(|error| BoardProblem::FrontMatter { path: path(), error })
            });
            let story = |document| Story::new(file, folder.stage, stamp.changed_at(), document);
            (Some(stamp).filter(FileStamp::is_settled), document.map(story))
        }
        Err(Errno::NOENT) => return None,
        Err(Errno::LOOP) => {
            (None, Err(unreadable("it is a symbolic link; put the file itself there".into())))
        }
        Err(error) => (None, Err(unreadable(io::Error::from(error).to_string()))),
    };
    Some((stamp, FileReading { id, found: found.map(Arc::new) }))
}

/// A file's content, or why it has none that could be a story's. A FIFO does not make it wait.
fn content(folder: BorrowedFd<'_>, name: &OsStr) -> Result<(FileStamp, Result<String, String>), Errno> {
    // `NONBLOCK`, or a FIFO in the folder would hold up the scan for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    let stamp = FileStamp::of(&stat);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok((stamp, Err("it is no plain file".into())));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > MAX_STORY {
        return Ok((stamp, Err(format!("it has {size} bytes; a story may have at most {MAX_STORY}"))));
    }
    let text = read(&fd, usize::try_from(size).unwrap_or(0)).map_err(|error| error.to_string());
    let utf8 = |bytes| {
        String::from_utf8(bytes)
            .map_err(|error| format!("it is not UTF-8 (byte {})", error.utf8_error().valid_up_to()))
    };
    Ok((stamp, text.and_then(utf8)))
}

// Reads as many bytes as the file had when its size was asked; one that grows meanwhile has
// another stamp next time.
fn read(fd: &OwnedFd, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    let mut have = 0;
    while have < size {
        match rustix::io::read(fd, &mut bytes[have..]) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(have);
    Ok(bytes)
}

/// A story file's text for people and for edits; the same bounds as on the board.
pub(super) fn text(work: &Path, path: &Path) -> io::Result<Result<String, String>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(work.join(path.parent().unwrap_or(Path::new(""))), flags, Mode::empty())?;
    let (_, text) = content(folder.as_fd(), path.file_name().unwrap_or_default())?;
    Ok(text)
}

/// The stage and name that a path inside the work folder means.
pub(super) fn inside(work: &Path, path: &Path) -> Option<(Stage, OsString)> {
    let mut parts = path.strip_prefix(work).ok()?.iter();
    let (stage, name) = (parts.next()?, parts.next()?);
    let stage = Stage::from_dir(stage.to_str()?)?;
    parts.next().is_none().then(|| (stage, name.to_owned()))
}

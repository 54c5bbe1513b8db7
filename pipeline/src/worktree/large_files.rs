//! The contents of Git LFS that a confined agent made: taken into the repository's store with the commits that name them. The agent's own
//! store is data of an agent: a content counts only if its bytes have the name that the pointer gives, and no link is followed.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use agents::confine::LFS;
use git2::Oid;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use sha2::{Digest as _, Sha256};

use super::{error::at, import::ImportError, worktrees::Worktree};
use crate::git::{
    lfs::{LfsPointer, LfsStore, MAX_POINTER},
    program::GitProgram,
};

/// So much of a file is read at a time.
const CHUNK: usize = 1 << 16;

impl Worktree {
    /// Takes in the contents that these new objects point to, as far as the agent made them. `git` sees the objects; `sized` has a line
    /// `TYPE SIZE PATH` for each.
    pub(super) fn take_in_contents(
        &self,
        git: &GitProgram,
        objects: &str,
        sized: &str,
    ) -> Result<(), ImportError> {
        let own = self.layout.private.join(LFS).join("objects");
        if !fs::symlink_metadata(&own).is_ok_and(|found| found.is_dir()) {
            return Ok(());
        }
        let store = LfsStore::of(&self.layout.common)?;
        let mut all = 0_u64;
        for pointer in new_pointers(git, objects, sized)? {
            if store.has(&pointer) {
                continue;
            }
            let Ok(content) = open_below(&own, &pointer.file()) else { continue };
            all = all.saturating_add(pointer.size);
            if all > self.limits.branch {
                return Err(ImportError::TooLarge { bytes: all, limit: self.limits.branch });
            }
            let path = store.path(&pointer);
            keep(content, &pointer, &path).map_err(at(&path))?;
        }
        Ok(())
    }
}

/// The pointers of Git LFS among objects.
fn new_pointers(git: &GitProgram, objects: &str, sized: &str) -> Result<Vec<LfsPointer>, ImportError> {
    let is_small = |line: &str| {
        let mut words = line.split(' ');
        let (kind, size) = (words.next(), words.next().and_then(|size| size.parse::<u64>().ok()));
        kind == Some("blob") && size.is_some_and(|size| size < MAX_POINTER)
    };
    let small = objects.lines().zip(sized.lines()).filter(|(_, sized)| is_small(sized));
    let ids: Vec<Oid> =
        small.filter_map(|(object, _)| Oid::from_str(object.split(' ').next()?).ok()).collect();
    let mut found = Vec::new();
    // A few at a time: what git answers is held in memory.
    for ids in ids.chunks(10_000) {
        let input: String = ids.iter().map(|id| format!("{id}\n")).collect();
        let answer = git.answer(["cat-file", "--batch"], input.as_bytes())?;
        found.extend(contents(&answer.stdout).filter_map(LfsPointer::parse));
    }
    Ok(found)
}

/// The contents in an answer of `git cat-file --batch`: `ID TYPE SIZE LF CONTENT LF`, again and again.
fn contents(answer: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = answer;
    std::iter::from_fn(move || {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let head = std::str::from_utf8(&rest[..end]).ok()?;
        let size: usize = head.rsplit(' ').next()?.parse().ok()?;
        let content = rest.get(end + 1..end + 1 + size)?;
        rest = rest.get(end + 2 + size..).unwrap_or_default();
        Some(content)
    })
}

/// Opens a plain file below a folder, if no link leads there.
fn open_below(folder: &Path, file: &Path) -> io::Result<File> {
    let folder = openat(
        CWD,
        folder,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // Not waiting for a pipe's other end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = File::from(openat2(folder, file, flags, Mode::empty(), resolve)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Copies the content to its place in the store, if it is the one that the pointer names. Otherwise nothing happens: the pointer has no
/// content then, and is refused as such.
fn keep(mut content: File, pointer: &LfsPointer, path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    let mut copy = tempfile::Builder::new().prefix(".tmp-").tempfile_in(folder)?;
    let (mut hash, mut left, mut chunk) = (Sha256::new(), pointer.size, vec![0; CHUNK]);
    loop {
        let count = content.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        let Some(rest) = left.checked_sub(count as u64) else { return Ok(()) };
        left = rest;
        hash.update(&chunk[..count]);
        copy.write_all(&chunk[..count])?;
    }
    if left == 0 && hex(&hash.finalize()) == pointer.oid {
        // As git-lfs has them.
        copy.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        copy.as_file().sync_all()?;
        copy.persist(path)?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

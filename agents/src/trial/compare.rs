//! Compares the layer over an agent's folder with the folder: which files differ, and the steps that would make the folder the same.
//!
//! The layer is as overlayfs stores it (Documentation/filesystems/overlayfs.rst): a character device 0/0 in the place of a deleted file, an
//! attribute on a folder that hides the one below it. Nothing can change it any more.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    FileChangeKind, NoKeep, TrialFileChange,
    effect::LineCount,
    keep::{KeepAction, KeepPlan, KeepStep},
    moved,
    root::{PathState, Stamp, WorkspaceRoot},
};
use crate::confine::{LAYER_BYTES, ShownKind};

/// Marks a folder that hides the one below it.
const OPAQUE: &str = "user.overlay.opaque";

/// More files than this are not compared.
const MAX_FILES: usize = 20_000;

/// Longer files are not compared line by line, nor are any once that took so long in all.
const MAX_TEXT: u64 = 512 << 10;
const MAX_TIME: Duration = Duration::from_secs(2);

/// Bits of a file's mode that are taken over: a program that runs with its owner's rights is made by nobody.
const MODE: u32 = 0o777;

/// How an agent's folder and its layer differ.
pub(super) struct Compared {
    pub files: Vec<TrialFileChange>,
    pub lines: LineCount,
    pub plan: KeepPlan,
    pub no_keep: Option<NoKeep>,
}

/// `shown`: the mounts inside, whose places may be made in the layer. `started`: when the command began.
pub(super) fn compare(
    root: &WorkspaceRoot,
    layer: &Path,
    shown: &BTreeMap<PathBuf, ShownKind>,
    (folder, started): (&Path, Stamp),
) -> Compared {
    let mut comparison = Comparison {
        root,
        layer,
        shown,
        folder,
        started,
        is_below: true,
        until: Instant::now() + MAX_TIME,
        seen: 0,
        bytes: 0,
        found: Compared {
            files: Vec::new(),
            lines: LineCount::default(),
            plan: KeepPlan::default(),
            no_keep: None,
        },
    };
    comparison.folder(Path::new(""), true);
    comparison.found.files.sort_by(|one, other| one.path.cmp(&other.path));
    comparison.found
}

struct Comparison<'a> {
    root: &'a WorkspaceRoot,
    layer: &'a Path,
    shown: &'a BTreeMap<PathBuf, ShownKind>,
    folder: &'a Path,
    started: Stamp,
    /// Whether the true folder has the one that is looked at.
    is_below: bool,
    until: Instant,
    seen: usize,
    /// In all files of the layer.
    bytes: u64,
    found: Compared,
}

impl Comparison<'_> {
    /// The layer's entries below a folder. `is_below`: whether the true folder has it, too.
    fn folder(&mut self, path: &Path, is_below: bool) {
        let above = std::mem::replace(&mut self.is_below, is_below);
        self.entries(path);
        self.is_below = above;
    }

    fn entries(&mut self, path: &Path) {
        let names = match names(&moved(path, self.layer)) {
            Ok(names) => names,
            Err(_) => return self.hinder(NoKeep::Unreadable(path.to_owned())),
        };
        for name in names {
            let path = path.join(name);
            if self.seen >= MAX_FILES {
                return self.hinder(NoKeep::TooMany);
            }
            self.seen += 1;
            if self.shown.contains_key(&self.folder.join(&path)) {
                continue;
            }
            match fs::symlink_metadata(self.layer.join(&path)) {
                Ok(found) => self.entry(&path, &found),
                Err(_) => self.hinder(NoKeep::Unreadable(path)),
            }
        }
    }

    fn entry(&mut self, path: &Path, layer: &Metadata) {
        let before = if self.is_below { self.root.state(path) } else { PathState::Missing };
        let kind = layer.file_type();
        if kind.is_char_device() && layer.rdev() == 0 {
            self.remove(path, &before);
        } else if kind.is_dir() {
            self.changed_folder(path, layer, before);
        } else if kind.is_file() {
            self.changed_file(path, layer, before);
        } else if kind.is_symlink() {
            self.changed_link(path, before);
        } else {
            self.hinder(NoKeep::SpecialFile(path.to_owned()));
        }
    }

    fn changed_folder(&mut self, path: &Path, layer: &Metadata, before: PathState) {
        let mode = layer.mode() & MODE;
        let stays = matches!(before, PathState::Folder(_));
        if stays {
            let mut value = [0; 1];
            let hides = rustix::fs::lgetxattr(self.layer.join(path), OPAQUE, &mut value[..]);
            if hides.is_ok_and(|length| length == 1 && value == *b"y") {
                self.remove_hidden(path);
            }
            if self.root.mode(path).is_some_and(|old| old & MODE != mode) {
                self.step(path, Some(before), KeepAction::SetFolderMode { mode });
            }
        } else {
            let before = self.make_room(path, before);
            self.step(path, before, KeepAction::MakeFolder { mode });
        }
        self.folder(path, stays);
    }

    /// Removes the entries of the true folder that the layer's folder hides.
    fn remove_hidden(&mut self, path: &Path) {
        let Ok(below) = self.root.names(path) else {
            return self.hinder(NoKeep::Unreadable(path.to_owned()));
        };
        let shown = names(&self.layer.join(path)).unwrap_or_default();
        self.step(path, Some(PathState::Folder(Some(below.clone()))), KeepAction::Nothing);
        for name in below.iter().filter(|name| !shown.contains(name)) {
            let path = path.join(name);
            let before = self.root.state(&path);
            self.remove(&path, &before);
        }
    }

    fn changed_file(&mut self, path: &Path, layer: &Metadata, before: PathState) {
        self.bytes += layer.len();
        if self.bytes > LAYER_BYTES {
            // Files with holes can seem to be larger than all of the layer.
            return self.hinder(NoKeep::Full);
        }
        let source = self.layer.join(path);
        let mode = layer.mode() & MODE;
        let kind = match &before {
            PathState::File(old) => {
                match self.root.open_file(path).and_then(|old| Ok((same(&source, &old)?, old))) {
                    Ok((true, _)) if old.mode & MODE == mode => return,
                    Ok((is_same, old)) => {
                        if !is_same {
                            self.count_lines(read_text(&source), text_of(old));
                        }
                    }
                    Err(_) => return self.hinder(NoKeep::Unreadable(path.to_owned())),
                }
                FileChangeKind::Changed
            }
            PathState::Link(_) => FileChangeKind::Changed,
            PathState::Missing | PathState::Folder(_) | PathState::Other => {
                self.count_lines(read_text(&source), Some(String::new()));
                FileChangeKind::Added
            }
        };
        let before = match before {
            // Replaced by a rename.
            PathState::File(_) | PathState::Link(_) => Some(before),
            _ => self.make_room(path, before),
        };
        self.change(path, kind);
        self.step(path, before, KeepAction::Write { mode });
    }

    fn changed_link(&mut self, path: &Path, before: PathState) {
        let Ok(target) = fs::read_link(self.layer.join(path)) else {
            return self.hinder(NoKeep::Unreadable(path.to_owned()));
        };
        let kind = match &before {
            PathState::Link(_) if self.root.link_target(path).is_ok_and(|old| old == target) => return,
            PathState::Link(_) | PathState::File(_) => FileChangeKind::Changed,
            PathState::Missing | PathState::Folder(_) | PathState::Other => FileChangeKind::Added,
        };
        let before = self.make_room(path, before);
        self.change(path, kind);
        self.step(path, before, KeepAction::Link { target });
    }

    /// Removes an entry of another kind. Returns the state that has to be there then.
    fn make_room(&mut self, path: &Path, before: PathState) -> Option<PathState> {
        match before {
            PathState::Missing => Some(before),
            PathState::File(_) | PathState::Link(_) => {
                self.step(path, Some(before), KeepAction::Remove);
                None
            }
            PathState::Folder(_) | PathState::Other => {
                self.remove(path, &before);
                None
            }
        }
    }

    /// A deleted entry, with everything in it.
    fn remove(&mut self, path: &Path, before: &PathState) {
        if self.seen >= MAX_FILES {
            return self.hinder(NoKeep::TooMany);
        }
        self.seen += 1;
        match before {
            // Made and deleted again.
            PathState::Missing => {}
            PathState::Other => self.hinder(NoKeep::SpecialFile(path.to_owned())),
            PathState::Link(_) | PathState::File(_) => {
                if matches!(before, PathState::File(_)) {
                    let old = self.root.open_file(path).ok().and_then(text_of);
                    self.count_lines(Some(String::new()), old);
                }
                self.change(path, FileChangeKind::Deleted);
                self.step(path, Some(before.clone()), KeepAction::Remove);
            }
            PathState::Folder(_) => {
                let Ok(names) = self.root.names(path) else {
                    return self.hinder(NoKeep::Unreadable(path.to_owned()));
                };
                for name in &names {
                    let path = path.join(name);
                    let before = self.root.state(&path);
                    self.remove(&path, &before);
                }
                self.step(path, Some(PathState::Folder(Some(names))), KeepAction::RemoveFolder);
            }
        }
    }

    fn step(&mut self, path: &Path, before: Option<PathState>, action: KeepAction) {
        if is_protected(path) {
            self.hinder(NoKeep::Protected(path.to_owned()));
        }
        // Its content may have been read before or after that.
        if let Some(PathState::File(stamp) | PathState::Link(stamp)) = &before
            && stamp.changed >= self.started
        {
            self.hinder(NoKeep::ChangedMeanwhile(path.to_owned()));
        }
        // The step that makes a new folder checks for all that is in it.
        let before = before.filter(|_| self.is_below);
        self.found.plan.add(KeepStep { path: path.to_owned(), before, action });
    }

    fn change(&mut self, path: &Path, kind: FileChangeKind) {
        self.found.files.push(TrialFileChange { path: path.to_owned(), kind });
    }

    /// The first reason counts.
    fn hinder(&mut self, why: NoKeep) {
        self.found.no_keep.get_or_insert(why);
    }

    fn count_lines(&mut self, new: Option<String>, old: Option<String>) {
        let left = self.until.saturating_duration_since(Instant::now());
        let (Some(new), Some(old), false) = (new, old, left.is_zero()) else {
            self.found.lines.uncounted += 1;
            return;
        };
        let diff = similar::TextDiff::configure().timeout(left).diff_lines(&old, &new);
        for change in diff.iter_all_changes() {
            match change.tag() {
                similar::ChangeTag::Insert => self.found.lines.added += 1,
                similar::ChangeTag::Delete => self.found.lines.removed += 1,
                similar::ChangeTag::Equal => {}
            }
        }
    }
}

/// Whether a path belongs to git or to storkit, whatever the file system makes of upper and lower case.
fn is_protected(path: &Path) -> bool {
    let is = |name: Option<&std::ffi::OsStr>, other: &str| {
        name.is_some_and(|name| name.to_str().is_some_and(|name| name.eq_ignore_ascii_case(other)))
    };
    path.iter().any(|name| is(Some(name), ".git")) || is(path.iter().next(), ".storkit")
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names: Vec<OsString> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

fn same(new: &Path, old: &File) -> io::Result<bool> {
    let new = File::open(new)?;
    if new.metadata()?.len() != old.metadata()?.len() {
        return Ok(false);
    }
    let (mut new, mut old) = (BufReader::new(new), BufReader::new(old.try_clone()?));
    loop {
        let (one, other) = (new.fill_buf()?, old.fill_buf()?);
        let length = one.len().min(other.len());
        if one[..length] != other[..length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(one.len() == other.len());
        }
        new.consume(length);
        old.consume(length);
    }
}

fn read_text(path: &Path) -> Option<String> {
    text_of(File::open(path).ok()?)
}

/// The text of a file; `None` where it is none, or too long.
fn text_of(mut file: File) -> Option<String> {
    use std::io::Seek as _;
    file.rewind().ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT + 1).read_to_end(&mut bytes).ok()?;
    let is_short = bytes.len() as u64 <= MAX_TEXT;
    String::from_utf8(bytes).ok().filter(|text| is_short && !text.contains('\0'))
}

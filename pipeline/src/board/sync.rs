//! Keeps the stories' folder and the board's branch together.
//!
//! A change of the folder is an edit, unless git made it: a person switches to a branch that still tracks stories, and git puts old ones
//! there or takes them away. Then the folder is made again what the board's branch says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use git2::{Oid, Repository, RepositoryState};
use settings::unlinked;

use super::{
    attached::{MAX_ATTACHED, story_of_attached},
    branch::{BOARD_BRANCH, BOARD_REF, BoardBranchError, MAX_STORY, StoryBlobs, board_at, disk, place_of},
    checkout::{CheckoutMark, hash_of, settle, staged, versions_since},
    lost, place,
    source::{lost_tip, put_back},
};
use crate::{
    Project,
    git::program::{GitProgram, GitProgramError},
    guard::BaseGuard,
    sentence::plural,
    story::{FileName, StoryId, stage::Stage},
};

/// What a look at the checkout found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BoardSync {
    /// Whatever differs from the branch is an edit.
    Settled,
    /// Git had changed the folder, and it is as the branch says again.
    Restored(RestoredBoard),
    /// Git is at work in the checkout, as this clause says: nobody knows yet what is an edit.
    Unsettled(&'static str),
}

/// What was made good, as a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RestoredBoard {
    /// How many files had to be written or removed.
    files: usize,
    /// The branch that is checked out, if it tracks stories.
    tracks: Option<TrackingBranch>,
    /// Stories in work whose files were gone.
    lost: Vec<StoryId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TrackingBranch {
    name: String,
    is_base: bool,
}

impl fmt::Display for RestoredBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.lost.is_empty() {
            let lost: Vec<String> = self.lost.iter().map(|id| format!("`{id}`")).collect();
            return write!(
                f,
                "The files of these stories in work were gone: {}. They are in the backlog again, as the board last had them; their \
                 branches are still there.",
                lost.join(", ")
            );
        }
        let files = plural(self.files, "file");
        write!(f, "Git changed story files when another commit was checked out. ")?;
        write!(f, "The board is as before: {files} restored from `{BOARD_BRANCH}`.")?;
        match &self.tracks {
            None => Ok(()),
            Some(TrackingBranch { name, is_base: true }) => {
                write!(
                    f,
                    " `{name}` tracks story files again: run `storkit migrate` while storkit is stopped."
                )
            }
            Some(TrackingBranch { name, is_base: false }) => write!(
                f,
                " `{name}` still tracks story files, so git shows them there as deleted; commit that on `{name}`, and the branch is \
                 rid of them."
            ),
        }
    }
}

/// Looks whether git changed the stories' folder, and makes that good. Cheap where git did nothing. Blocks, for up to two seconds
/// while a person's git is at work.
pub(crate) fn sync(project: &Project, base: &str) -> Result<BoardSync, BoardBranchError> {
    let repository = Repository::open(project.root())?;
    if is_settled(project, &repository)? {
        return Ok(BoardSync::Settled);
    }
    sync_locked(project, base, &BaseGuard::lock(project)?)
}

fn is_settled(project: &Project, repository: &Repository) -> Result<bool, git2::Error> {
    let before = CheckoutMark::read(project);
    let now = CheckoutMark::observe(repository)?;
    Ok(before.is_some_and(|before| now.is_same_at_a_glance(&before)))
}

/// As [`sync`], for who holds the lock of base.
pub(crate) fn sync_locked(
    project: &Project,
    base: &str,
    guard: &BaseGuard,
) -> Result<BoardSync, BoardBranchError> {
    let repository = Repository::open(project.root())?;
    if is_settled(project, &repository)? {
        return Ok(BoardSync::Settled);
    }
    let before = CheckoutMark::read(project);
    if let Some(lost) = lost_tip(&repository, before.as_ref())? {
        put_back(project, lost, guard)?;
    }
    let Some(now) = settle(&repository, before.as_ref())? else {
        return Ok(BoardSync::Unsettled("a git command is at work in the main checkout"));
    };
    let versions = match &before {
        Some(before) => versions_since(&repository, before, &now)?,
        None => BTreeMap::new(),
    };
    // In the middle of a rebase the next step may put the files back, and wants the index as it is.
    if !versions.is_empty() && repository.state() != RepositoryState::Clean {
        return Ok(BoardSync::Unsettled("a merge, rebase or the like is under way in the main checkout"));
    }
    let stories = board_at(&repository, now.board_commit())?;
    let folder = StoryFolder { project, repository: &repository, base, now: &now, stories: &stories };
    let (files, lost) = match &before {
        Some(before) => (folder.restore(before, &versions)?, Vec::new()),
        None => (folder.write_missing()?, folder.take_up_lost()?),
    };
    let tracks = match files > 0 && !versions.is_empty() {
        true => folder.take_out_of_index()?,
        false => None,
    };
    let now = if tracks.is_some() { now.with_index_of(&repository)? } else { now };
    // As it was seen, and not as it is by now: whatever git does from then on is for the next look.
    now.write(project)?;
    let is_news = (files > 0 && !versions.is_empty()) || !lost.is_empty();
    Ok(if is_news { BoardSync::Restored(RestoredBoard { files, tracks, lost }) } else { BoardSync::Settled })
}

/// The folder agrees with the checkout and the branch as they are now. For the first time: what git did before is forgotten.
pub(crate) fn note_settled(project: &Project) -> Result<(), BoardBranchError> {
    let repository = Repository::open(project.root())?;
    CheckoutMark::observe(&repository)?.with_index_of(&repository)?.write(project)
}

/// The folder agrees with this commit of the branch.
pub(crate) fn note_board(project: &Project, commit: Oid) -> Result<(), BoardBranchError> {
    match CheckoutMark::read(project) {
        Some(mark) => mark.with_board(commit).write(project),
        None => Ok(()),
    }
}

struct StoryFolder<'a> {
    project: &'a Project,
    repository: &'a Repository,
    base: &'a str,
    now: &'a CheckoutMark,
    /// On the board's branch.
    stories: &'a StoryBlobs,
}

impl StoryFolder<'_> {
    /// Makes good what git changed, and takes over what others have put on the branch. Returns how many files that were.
    fn restore(
        &self,
        before: &CheckoutMark,
        versions: &BTreeMap<PathBuf, BTreeSet<Oid>>,
    ) -> Result<usize, BoardBranchError> {
        let agreed = self.agreed(before)?;
        let moved = |path: &&PathBuf| agreed.get(*path) != self.stories.get(*path);
        let moved: BTreeSet<&PathBuf> = agreed.keys().chain(self.stories.keys()).filter(moved).collect();
        let mut wrong = BTreeSet::new();
        for path in moved.iter().copied().chain(versions.keys()) {
            let found = self.on_disk(path)?;
            if found.as_ref().map(|(raw, _)| raw) == self.stories.get(path) {
                continue;
            }
            let is_gits = versions.get(path).is_some_and(|versions| match &found {
                None => true,
                // Git may have written it with the system's line ends.
                Some((raw, plain)) => versions.contains(raw) || versions.contains(plain),
            });
            let is_unedited = moved.contains(path) && found.as_ref().map(|(raw, _)| raw) == agreed.get(path);
            // What others took off the board goes, as everywhere; of what git brought, only what is stale.
            if is_unedited || (is_gits && (self.stories.contains_key(path) || self.may_go(path))) {
                wrong.insert(path);
            }
        }
        self.make_good(&wrong)
    }

    /// The stories that the folder agreed with. Of a branch that was rewritten, nothing is taken over: the folder is what counts then.
    fn agreed(&self, before: &CheckoutMark) -> Result<StoryBlobs, BoardBranchError> {
        let (Some(old), Some(new)) = (before.board_commit(), self.now.board_commit()) else {
            return Ok(StoryBlobs::new());
        };
        let is_forward = old == new
            || (self.repository.find_commit(old).is_ok() && self.repository.graph_descendant_of(new, old)?);
        match is_forward {
            true => Ok(board_at(self.repository, Some(old))?),
            false => Ok(self.stories.clone()),
        }
    }

    /// Writes the stories that are nowhere in the folder: it is new, or was removed with storkit's state.
    fn write_missing(&self) -> Result<usize, BoardBranchError> {
        let missing = |path: &&PathBuf| !self.project.root().join(path).exists();
        self.make_good(&self.stories.keys().filter(missing).collect())
    }

    /// Stories in work are on no branch, so whoever removes the folder loses them. Those that still have a branch of their own go to the
    /// backlog, as the board last had them there.
    fn take_up_lost(&self) -> Result<Vec<StoryId>, BoardBranchError> {
        let places = self.places()?;
        let mut names = lost::branches(self.repository)?;
        names.retain(|name| !places.contains_key(&name.id()));
        let Some(tip) = self.now.board_commit().filter(|_| !names.is_empty()) else { return Ok(Vec::new()) };
        let mut taken = Vec::new();
        for (path, blob) in lost::last_in_backlog(self.repository, tip, &names)? {
            let text = self.repository.find_blob(blob)?;
            let file = self.project.root().join(&path);
            if text.size() as u64 <= MAX_STORY {
                place::put(&self.project.dir(), &file, text.content()).map_err(disk(&file))?;
                taken.extend(place_of(&path).map(|(_, id)| id));
            }
        }
        Ok(taken)
    }

    fn make_good(&self, wrong: &BTreeSet<&PathBuf>) -> Result<usize, BoardBranchError> {
        let (there, gone): (Vec<&PathBuf>, Vec<&PathBuf>) =
            wrong.iter().copied().partition(|path| self.stories.contains_key(*path));
        let mut count = 0;
        // What does not belong there goes first: the rest is only written where the story is nowhere else.
        for path in gone {
            let file = self.project.root().join(path);
            if file.symlink_metadata().is_ok() {
                unlinked::check(&file).and_then(|()| fs::remove_file(&file)).map_err(disk(&file))?;
                count += 1;
            }
        }
        if there.is_empty() {
            return Ok(count);
        }
        let places = self.places()?;
        for path in there {
            // A story that is somewhere else by now has moved on, and its move is not committed yet.
            let elsewhere =
                |id: StoryId| places.get(&id).is_some_and(|places| places.iter().any(|at| at != path));
            if place_of(path).is_some_and(|(_, id)| elsewhere(id)) {
                continue;
            }
            count += usize::from(self.write(path)?);
        }
        Ok(count)
    }

    /// Whether a file that git brought and the branch lacks is a stale one. Base can bring a story that the board does not know at
    /// all, and one in work is on no branch: those are left to the rules for stories of strangers.
    fn may_go(&self, path: &Path) -> bool {
        let Some((stage, id)) = place_of(path) else {
            return self.now.branch.as_deref() != Some(&self.base_ref());
        };
        let is_known = self.stories.keys().any(|other| place_of(other).is_some_and(|(_, known)| known == id));
        let on_base = self.now.branch.as_deref() == Some(&self.base_ref());
        is_known || (stage.is_committed() && !on_base)
    }

    fn base_ref(&self) -> String {
        format!("refs/heads/{}", self.base)
    }

    /// Where each story's files are in the folder.
    fn places(&self) -> Result<BTreeMap<StoryId, Vec<PathBuf>>, BoardBranchError> {
        let mut places: BTreeMap<StoryId, Vec<PathBuf>> = BTreeMap::new();
        for stage in Stage::ALL {
            let folder = Path::new(super::branch::WORK).join(stage.dir());
            let path = self.project.root().join(&folder);
            let listed = match fs::read_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                listed => listed.map_err(disk(&path))?,
            };
            for entry in listed.flatten() {
                if let Ok(name) = entry.file_name().to_string_lossy().parse::<FileName>() {
                    places.entry(name.id).or_default().push(folder.join(entry.file_name()));
                }
            }
        }
        Ok(places)
    }

    /// Writes a file as the branch has it. One that is too large for its kind is left out.
    fn write(&self, path: &Path) -> Result<bool, BoardBranchError> {
        let Some(blob) = self.stories.get(path) else { return Ok(false) };
        let blob = self.repository.find_blob(*blob)?;
        let most = if story_of_attached(path).is_some() { MAX_ATTACHED } else { MAX_STORY };
        if blob.size() as u64 > most {
            return Ok(false);
        }
        let file = self.project.root().join(path);
        let folder = file.parent().unwrap_or(self.project.root());
        unlinked::create_dir_all(folder).map_err(disk(folder))?;
        place::put(&self.project.dir(), &file, blob.content()).map_err(disk(&file))?;
        Ok(true)
    }

    /// A file's content as an object, raw and with plain line ends. `None` where there is no such file.
    fn on_disk(&self, path: &Path) -> Result<Option<(Oid, Oid)>, BoardBranchError> {
        let file = self.project.root().join(path);
        match file.symlink_metadata() {
            Ok(found) if found.is_file() => {}
            Ok(_) | Err(_) => return Ok(None),
        }
        let bytes = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(disk(&file))?,
        };
        let plain = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        Ok(hash_of(&bytes).zip(hash_of(plain.as_bytes())))
    }

    /// On a branch that tracks stories, git knows the stories' files no more: the board goes on changing them, and every change would be in
    /// git's way when the person switches back. Returns the branch, if it tracks any.
    fn take_out_of_index(&self) -> Result<Option<TrackingBranch>, BoardBranchError> {
        let entries = staged(self.repository)?;
        let branch = self.now.branch.as_deref();
        if entries.is_empty() || branch == Some(BOARD_REF) {
            return Ok(None);
        }
        let is_base = branch == Some(&self.base_ref());
        if !is_base {
            remove_from_index(self.project.root(), entries.keys())?;
        }
        let name =
            branch.map_or("the commit that is checked out", |name| name.trim_start_matches("refs/heads/"));
        Ok(Some(TrackingBranch { name: name.to_owned(), is_base }))
    }
}

/// Takes files out of the index of a checkout, and leaves them on disk.
pub(crate) fn remove_from_index<'a>(
    root: &Path,
    paths: impl Iterator<Item = &'a PathBuf>,
) -> Result<(), GitProgramError> {
    let mut lines = Vec::new();
    for path in paths {
        // Mode 0 removes the entry (git-update-index(1)).
        lines.extend(format!("0 {}\t", "0".repeat(40)).bytes());
        lines.extend(path.as_os_str().as_bytes());
        lines.push(0);
    }
    if !lines.is_empty() {
        GitProgram::at(root).run_with(["update-index", "-z", "--index-info"], &lines)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! What a person's git did to the checkout since somebody last looked, as far as the stories' folder is concerned.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use git2::{ErrorCode, ObjectType, Oid, Repository};
use serde::{Deserialize, Serialize};
use settings::atomic;

use super::branch::{BoardBranchError, StoryBlobs, WORK, board_in, board_tip, disk};
use crate::Project;

/// Looks at a git command that is at work, and the time between two of them.
const LOOKS: u32 = 40;
const BETWEEN: Duration = Duration::from_millis(50);

/// Lines of HEAD's reflog that are read at most: somebody who was away for longer has seen everything in them anyway.
const MAX_LINES: usize = 10_000;

/// The checkout and the board's branch as they were when the stories' folder agreed with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CheckoutMark {
    /// The tip of the board's branch.
    pub board: Option<String>,
    /// The commit that is checked out.
    pub head: Option<String>,
    /// The branch that is checked out, by its full name.
    pub branch: Option<String>,
    /// The length of HEAD's reflog, in bytes.
    reflog: u64,
    /// Size and time of the index.
    index: (u64, i64, i64),
    /// The stories in the index, as a hash.
    stories: Option<String>,
}

impl CheckoutMark {
    fn path(project: &Project) -> PathBuf {
        project.run_dir().join("board.json")
    }

    /// `None` where there is none, or where it cannot be read: then nothing is known.
    pub(super) fn read(project: &Project) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::path(project)).ok()?).ok()
    }

    pub(super) fn write(&self, project: &Project) -> Result<(), BoardBranchError> {
        let path = Self::path(project);
        let bytes = serde_json::to_vec(self).map_err(std::io::Error::from);
        bytes.and_then(|bytes| atomic::write(&path, &bytes)).map_err(disk(&path))
    }

    /// As it is now, without the stories in the index.
    pub(super) fn observe(repository: &Repository) -> Result<Self, git2::Error> {
        let head = match repository.head() {
            Ok(head) => head.peel_to_commit().ok().map(|commit| commit.id().to_string()),
            Err(error) if matches!(error.code(), ErrorCode::UnbornBranch | ErrorCode::NotFound) => None,
            Err(error) => return Err(error),
        };
        let branch = repository.find_reference("HEAD")?.symbolic_target().ok().flatten().map(str::to_owned);
        let found = fs::metadata(repository.path().join("index")).ok();
        let index = found.map(|found| (found.len(), found.mtime(), found.mtime_nsec())).unwrap_or_default();
        Ok(Self {
            board: board_tip(repository)?.map(|tip| tip.to_string()),
            head,
            branch,
            reflog: fs::metadata(reflog(repository)).map_or(0, |found| found.len()),
            index,
            stories: None,
        })
    }

    /// With the index as it is now.
    pub(super) fn with_index_of(self, repository: &Repository) -> Result<Self, git2::Error> {
        let index = Self::observe(repository)?.index;
        Ok(Self { index, stories: Some(hash(&staged(repository)?)), ..self })
    }

    pub(super) fn with_board(self, commit: Oid) -> Self {
        Self { board: Some(commit.to_string()), ..self }
    }

    /// Whether nothing has happened in between, as far as can be seen without reading the index.
    pub(super) fn is_same_at_a_glance(&self, before: &Self) -> bool {
        let bare = |mark: &Self| Self { stories: None, ..mark.clone() };
        bare(self) == bare(before)
    }

    pub(super) fn board_commit(&self) -> Option<Oid> {
        self.board.as_deref().and_then(|id| Oid::from_str(id).ok())
    }

    pub(super) fn head_commit(&self) -> Option<Oid> {
        self.head.as_deref().and_then(|id| Oid::from_str(id).ok())
    }
}

fn reflog(repository: &Repository) -> PathBuf {
    repository.path().join("logs/HEAD")
}

/// Waits until no git writes the checkout, and returns how it is then; `None` if that lasts. Git writes the files, then the index,
/// then HEAD: while the index has other stories than HEAD, it may be between the two.
pub(super) fn settle(
    repository: &Repository,
    before: Option<&CheckoutMark>,
) -> Result<Option<CheckoutMark>, git2::Error> {
    settle_with(repository, before, || thread::sleep(BETWEEN))
}

/// As [`settle`], with this pause between two looks.
pub(super) fn settle_with(
    repository: &Repository,
    before: Option<&CheckoutMark>,
    mut pause: impl FnMut(),
) -> Result<Option<CheckoutMark>, git2::Error> {
    let mut last = None;
    for look in 0..LOOKS {
        if look > 0 {
            pause();
        }
        last = None;
        if let Ok(lock) = repository.path().join("index.lock").symlink_metadata() {
            // A git that holds it for long, such as a `git commit -a` with its editor open, is not waited for.
            let age = lock.modified().ok().and_then(|at| at.elapsed().ok());
            if age.is_some_and(|age| age > BETWEEN * LOOKS) {
                return Ok(None);
            }
            continue;
        }
        let mark = CheckoutMark::observe(repository)?;
        let staged = staged(repository)?;
        let mark = CheckoutMark { stories: Some(hash(&staged)), ..mark };
        let is_known =
            before.is_some_and(|before| (&before.head, &before.stories) == (&mark.head, &mark.stories));
        if is_known || staged == tracked_by(repository, mark.head_commit())? {
            return Ok(Some(mark));
        }
        // A person may stage stories for as long as they like.
        last = Some(mark);
    }
    Ok(last)
}

/// The stories that the index has.
pub(super) fn staged(repository: &Repository) -> Result<StoryBlobs, git2::Error> {
    let mut index = repository.index()?;
    index.read(false)?;
    let below = |entry: &git2::IndexEntry| entry.path.starts_with(format!("{WORK}/").as_bytes());
    let path = |entry: git2::IndexEntry| (PathBuf::from(std::ffi::OsStr::from_bytes(&entry.path)), entry.id);
    Ok(index.iter().filter(below).map(path).collect())
}

/// Everything that a commit has below the stories' folder.
fn tracked_by(repository: &Repository, commit: Option<Oid>) -> Result<StoryBlobs, git2::Error> {
    let Some(commit) = commit else { return Ok(StoryBlobs::new()) };
    let mut found = StoryBlobs::new();
    let tree = repository.find_commit(commit)?.tree()?;
    let entry = match tree.get_path(Path::new(WORK)) {
        Ok(entry) if entry.kind() == Some(ObjectType::Tree) => entry,
        Ok(_) => return Ok(found),
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    repository.find_tree(entry.id())?.walk(git2::TreeWalkMode::PreOrder, |folder, entry| {
        if entry.kind() != Some(ObjectType::Tree) {
            let name = Path::new(folder).join(std::ffi::OsStr::from_bytes(entry.name_bytes()));
            found.insert(Path::new(WORK).join(name), entry.id());
        }
        git2::TreeWalkResult::Ok
    })?;
    Ok(found)
}

fn hash(stories: &StoryBlobs) -> String {
    let lines: Vec<u8> = stories
        .iter()
        .flat_map(|(path, blob)| [path.as_os_str().as_bytes(), blob.as_bytes()].concat())
        .collect();
    hash_of(&lines).map(|id| id.to_string()).unwrap_or_default()
}

pub(super) fn hash_of(bytes: &[u8]) -> Option<Oid> {
    Oid::hash_object(ObjectType::Blob, bytes).ok()
}

/// Every version of each story that a commit has which was checked out since `before`: git put these into the folder, or took them
/// out of it.
pub(super) fn versions_since(
    repository: &Repository,
    before: &CheckoutMark,
    now: &CheckoutMark,
) -> Result<BTreeMap<PathBuf, BTreeSet<Oid>>, git2::Error> {
    let mut versions: BTreeMap<PathBuf, BTreeSet<Oid>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for commit in visited(repository, before, now) {
        // Of a commit that is gone meanwhile, nothing can be known.
        let Ok(tree) = repository.find_commit(commit).and_then(|commit| commit.tree()) else { continue };
        let work = tree.get_path(Path::new(WORK)).map(|entry| entry.id()).ok();
        if work.is_none_or(|work| !seen.insert(work)) {
            continue;
        }
        for (path, blob) in board_in(repository, commit, |_| true)? {
            versions.entry(path).or_default().insert(blob);
        }
    }
    Ok(versions)
}

/// The commits that were checked out since then, by HEAD's reflog.
fn visited(repository: &Repository, before: &CheckoutMark, now: &CheckoutMark) -> BTreeSet<Oid> {
    let mut commits = BTreeSet::new();
    if before.reflog != now.reflog || before.head != now.head {
        commits.extend(before.head_commit());
        commits.extend(now.head_commit());
    }
    // A shorter one was pruned: all that is left of it counts.
    let from = if now.reflog < before.reflog { 0 } else { before.reflog };
    let lines = read_from(&reflog(repository), from).unwrap_or_default();
    for line in lines.lines().rev().take(MAX_LINES) {
        // `OLD NEW NAME <MAIL> TIME ZONE<TAB>WHAT`
        commits.extend(
            line.split(' ').take(2).filter_map(|id| Oid::from_str(id).ok()).filter(|id| !id.is_zero()),
        );
    }
    commits
}

fn read_from(path: &Path, offset: u64) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

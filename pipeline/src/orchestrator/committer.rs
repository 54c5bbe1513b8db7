//! Commits the stories of the stages that the board's branch keeps (`1_backlog`, `5_done`, `6_archived`), with messages that
//! follow from the change. What differs is found anew each time, so that nothing is ever missed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use git2::{Oid, Repository};

use super::story_blobs::StoryBlobCache;
use crate::{
    Project,
    board::{
        BOARD_REF, BoardBranchError, BoardChanges, BoardSync, MAX_ATTACHED, MAX_MEMORY, MAX_STORY,
        StoryBlobs, WORK, attached_on_disk, board_at, board_tip, change_line, is_memory, is_story_name,
        memory_on_disk, note_board, story_of_attached, sync_locked, write_commit,
    },
    git::program::{GitProgram, GitProgramError},
    guard::{BaseError, BaseGuard, OwnCommits, RefMove, move_refs},
    merge::MergeProof,
    story::{FileName, StoryDocument, StoryId, stage::Stage, title},
};

/// Most lines below a commit's subject.
const LINES: usize = 50;

/// Stories are moved while their files are read; then they are looked at again.
const LOOKS: u32 = 3;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CommitResult {
    Nothing,
    /// This commit.
    Commit(String),
    /// Not as things are, for this reason: a sentence. Nothing was changed.
    NotNow(String),
    /// Git had changed the stories' folder, which is as the branch says again: a sentence.
    Restored(String),
}

/// Why it failed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error(transparent)]
    Git(#[from] GitProgramError),
    #[error("the repository cannot be read: {0}")]
    Read(#[from] git2::Error),
    #[error(transparent)]
    Base(#[from] BaseError),
    #[error(transparent)]
    Board(#[from] BoardBranchError),
    #[error("`{path}`: {source}.")]
    Disk { path: PathBuf, source: io::Error },
}

/// Commits what differs of the stories' files to the board's branch, and nothing else. A story that came to `5_done` without a proof is
/// left: done means merged. Blocks; waits for the base lock.
pub(crate) fn commit_stories(
    project: &Project,
    base: &str,
    own: &OwnCommits,
    blobs: &StoryBlobCache,
) -> Result<CommitResult, CommitError> {
    // Locked before the files are read: half of a landing merge would look like a change of a person's.
    let guard = BaseGuard::lock(project)?;
    match sync_locked(project, base, &guard)? {
        BoardSync::Settled => {}
        BoardSync::Restored(restored) => return Ok(CommitResult::Restored(restored.to_string())),
        BoardSync::Unsettled(why) => return Ok(CommitResult::NotNow(format!("{why}."))),
    }
    let repository = Repository::open(project.root())?;
    let tip = board_tip(&repository)?;
    let before = board_at(&repository, tip)?;
    for _ in 0..LOOKS {
        let now = on_disk(project.root(), &before, blobs)?;
        let mut changed = changed(&before, &now);
        changed.retain(|path, change| *change != FileChange::New || !claims_done(project, path));
        if changed.is_empty() {
            return Ok(CommitResult::Nothing);
        }
        let message = message(&changed, project.root());
        if let Some(changes) = stored(&repository, project.root(), changed.into_keys(), &now)? {
            return commit((project, own), &guard, (&repository, tip), (&changes, &message));
        }
    }
    // The next look comes by itself.
    Ok(CommitResult::Nothing)
}

fn commit(
    (project, own): (&Project, &OwnCommits),
    guard: &BaseGuard,
    (repository, tip): (&Repository, Option<Oid>),
    (changes, message): (&BoardChanges, &str),
) -> Result<CommitResult, CommitError> {
    let commit = write_commit(repository, tip, changes, message)?;
    let moved = RefMove { name: BOARD_REF.into(), old: tip, new: Some(commit) };
    let subject = message.lines().next().unwrap_or_default();
    move_refs(&GitProgram::at(project.root()), guard, subject, &[moved])?;
    // While the lock is held: who asks whether git brought a story takes the same lock, and has to know this commit by then.
    own.add(&commit.to_string());
    note_board(project, commit)?;
    Ok(CommitResult::Commit(commit.to_string()))
}

/// The stories' files of the stages that the branch keeps, and the files that belong to stories, in whatever stage these are. One that is
/// too large counts as unchanged.
fn on_disk(root: &Path, before: &StoryBlobs, blobs: &StoryBlobCache) -> Result<StoryBlobs, CommitError> {
    let mut found = StoryBlobs::new();
    for stage in Stage::ALL.into_iter().filter(|stage| stage.is_committed()) {
        let folder = Path::new(WORK).join(stage.dir());
        let path = root.join(&folder);
        let failed = |source| CommitError::Disk { path: path.clone(), source };
        let listed = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            listed => listed.map_err(failed)?,
        };
        for entry in listed {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str().filter(|name| is_story_name(name)) else { continue };
            let file = folder.join(name);
            match root.join(&file).symlink_metadata() {
                Ok(there) if there.is_file() && there.len() > MAX_STORY => {
                    found.extend(before.get(&file).map(|blob| (file.clone(), *blob)));
                }
                Ok(there) if there.is_file() => {
                    found.extend(blobs.of(root, &file, &there).map(|blob| (file, blob)))
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    let failed = |source| CommitError::Disk { path: root.join(WORK), source };
    for (file, there) in attached_on_disk(root).map_err(failed)? {
        let blob = match there.len() > MAX_ATTACHED {
            true => before.get(&file).copied(),
            false => blobs.of(root, &file, &there),
        };
        found.extend(blob.map(|blob| (file, blob)));
    }
    for (file, there) in memory_on_disk(root).map_err(failed)? {
        let blob = match there.len() > MAX_MEMORY {
            true => before.get(&file).copied(),
            false => blobs.of(root, &file, &there),
        };
        found.extend(blob.map(|blob| (file, blob)));
    }
    Ok(found)
}

/// The files as objects of the repository. One may have changed since it was looked at; then this is the newer one. `None` if one is in
/// another place meanwhile.
fn stored(
    repository: &Repository,
    root: &Path,
    paths: impl Iterator<Item = PathBuf>,
    now: &StoryBlobs,
) -> Result<Option<BoardChanges>, CommitError> {
    let objects = repository.odb()?;
    let mut changes = BoardChanges::new();
    for path in paths {
        let blob = match now.get(&path) {
            Some(blob) if !objects.exists(*blob) => match fs::read(root.join(&path)) {
                Ok(bytes) => Some(repository.blob(&bytes)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(source) => return Err(CommitError::Disk { path, source }),
            },
            blob => blob.copied(),
        };
        changes.insert(path, blob);
    }
    Ok(Some(changes))
}

/// Whether the file is in done, but nothing proves that.
fn claims_done(project: &Project, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<FileName>().ok());
    let done = path.starts_with(Path::new(WORK).join(Stage::Done.dir()));
    done && name.is_none_or(|name| !matches!(MergeProof::read(project.root(), name.id), Ok(Some(_))))
}

/// What became of a file since the last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileChange {
    New,
    Edited,
    Gone,
}

fn changed(before: &StoryBlobs, now: &StoryBlobs) -> BTreeMap<PathBuf, FileChange> {
    let change = |path: &PathBuf| match (before.get(path), now.get(path)) {
        (None, _) => Some(FileChange::New),
        (Some(_), None) => Some(FileChange::Gone),
        (Some(old), Some(new)) => (old != new).then_some(FileChange::Edited),
    };
    before.keys().chain(now.keys()).filter_map(|path| Some((path.clone(), change(path)?))).collect()
}

/// The same changes give the same message.
fn message(changed: &BTreeMap<PathBuf, FileChange>, root: &Path) -> String {
    let mut stories: BTreeMap<Option<StoryId>, BTreeMap<Stage, (FileChange, &Path)>> = BTreeMap::new();
    for (path, change) in changed {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let id = name.parse::<FileName>().ok().map(|name| name.id);
        let stage =
            path.parent().and_then(Path::file_name).and_then(|dir| dir.to_str()).and_then(Stage::from_dir);
        if let Some(stage) = stage {
            stories.entry(id).or_default().insert(stage, (*change, path));
        }
    }
    let mut lines: Vec<String> = stories.iter().map(|(id, files)| line(*id, files, root)).collect();
    let attached: BTreeSet<StoryId> = changed.keys().filter_map(|path| story_of_attached(path)).collect();
    // A story's own change says enough.
    let others = attached.into_iter().filter(|id| !stories.contains_key(&Some(*id)));
    lines.extend(others.map(|id| change_line("files of", id, "")));
    if changed.keys().any(|path| is_memory(path)) {
        lines.push("what is remembered".into());
    }
    match lines.as_slice() {
        [one] => format!("storkit: {one}"),
        _ => {
            let more = lines.len().saturating_sub(LINES);
            let count = lines.len();
            lines.truncate(LINES);
            if more > 0 {
                lines.push(format!("and {more} more"));
            }
            format!("storkit: {count} stories\n\n{}", lines.join("\n"))
        }
    }
}

fn line(id: Option<StoryId>, files: &BTreeMap<Stage, (FileChange, &Path)>, root: &Path) -> String {
    let Some(id) = id else { return "files without a story's name".into() };
    let there = |stage| files.get(&stage).map(|(change, _)| *change);
    let elsewhere = files.values().find_map(|(_, path)| in_work(root, path));
    // A move changes two stages; the one that gained the file decides.
    let verb = match (there(Stage::Backlog), there(Stage::Done), there(Stage::Archived)) {
        (_, _, Some(FileChange::New)) => "archive",
        (Some(FileChange::New), None, None) => "create",
        (Some(FileChange::New), _, _) => "back to backlog:",
        (_, Some(FileChange::New), _) => "done:",
        (Some(FileChange::Gone), _, _) if elsewhere.is_some() => "start",
        (Some(FileChange::Gone), _, _) | (_, Some(FileChange::Gone), _) | (_, _, Some(FileChange::Gone)) => {
            "delete"
        }
        (_, _, _) => "change",
    };
    let mut places = files.values().map(|(_, path)| root.join(path)).chain(elsewhere);
    let name = places.find_map(|path| title_of(&path)).or_else(|| {
        let path = files.values().next()?.1.file_name()?.to_str()?.parse::<FileName>().ok()?;
        Some(path.slug.replace('_', " "))
    });
    change_line(verb, id, &name.unwrap_or_default())
}

/// Where the file is now, if it went into one of the stages that the branch does not keep.
fn in_work(root: &Path, path: &Path) -> Option<PathBuf> {
    let stages = Stage::ALL.into_iter().filter(|stage| !stage.is_committed());
    let mut places =
        stages.filter_map(|stage| Some(root.join(WORK).join(stage.dir()).join(path.file_name()?)));
    places.find(|place| place.is_file())
}

/// The title that a story's file gives itself.
fn title_of(path: &Path) -> Option<String> {
    let document = StoryDocument::parse(fs::read_to_string(path).ok()?).ok()?;
    title(&document.front().name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        board::{BOARD_BRANCH, FileToAttach, WorkFolder},
        story::{StoryKind, stage::Mover},
        worktree::fixture::WorktreeFixture,
    };

    struct Stories {
        fixture: WorktreeFixture,
        work: WorkFolder,
    }

    impl Stories {
        fn new() -> Self {
            let fixture = WorktreeFixture::new();
            let work = WorkFolder::open(&fixture.project).unwrap();
            Self { fixture, work }
        }

        fn commit(&self) -> CommitResult {
            let (own, blobs) = (OwnCommits::default(), StoryBlobCache::default());
            commit_stories(&self.fixture.project, "main", &own, &blobs).unwrap()
        }

        fn commit_subject(&self) -> String {
            assert!(matches!(self.commit(), CommitResult::Commit(_)));
            self.fixture.git(&["log", "-1", "--format=%s", BOARD_BRANCH])
        }

        fn on_board(&self) -> String {
            self.fixture.git(&["ls-tree", "-r", "--name-only", BOARD_BRANCH])
        }
    }

    #[test]
    fn a_story_that_is_moved_while_its_file_is_read_is_looked_at_again() {
        let stories = Stories::new();
        let id = stories.work.create(StoryKind::Bug, "Fix the door", None).unwrap().id();
        let (root, blobs) = (stories.fixture.project.root(), StoryBlobCache::default());
        let repository = Repository::open(root).unwrap();
        let seen = on_disk(root, &StoryBlobs::new(), &blobs).unwrap();
        stories.work.move_story(id, Stage::Current, Mover::Person).unwrap();
        assert!(stored(&repository, root, seen.keys().cloned(), &seen).unwrap().is_none());
        // The branch has no stories in current.
        assert_eq!(stories.commit(), CommitResult::Nothing);
    }

    #[test]
    fn each_change_is_committed_with_a_message_that_follows_from_it() {
        let stories = Stories::new();
        assert_eq!(stories.commit(), CommitResult::Nothing);
        let id = stories.work.create(StoryKind::Bug, "Fix the door", None).unwrap().id();
        assert_eq!(stories.commit_subject(), "storkit: create 1 Fix the door");
        stories.work.edit(id, |document| document.set("manual_qa", true)).unwrap();
        assert_eq!(stories.commit_subject(), "storkit: change 1 Fix the door");
        stories.work.move_story(id, Stage::Current, Mover::Person).unwrap();
        assert_eq!(stories.commit_subject(), "storkit: start 1 Fix the door");
        stories.work.move_story(id, Stage::Backlog, Mover::Person).unwrap();
        assert_eq!(stories.commit_subject(), "storkit: create 1 Fix the door");
        stories.work.delete(id).unwrap();
        assert_eq!(stories.commit_subject(), "storkit: delete 1 fix the door");
        assert_eq!(stories.commit(), CommitResult::Nothing);
        assert_eq!(stories.fixture.git(&["status", "--porcelain"]), "");
        assert_eq!(stories.fixture.git(&["log", "--format=%s", "main"]), "first", "base stays");
    }

    #[test]
    fn what_a_person_has_staged_or_changed_stays_theirs() {
        let stories = Stories::new();
        stories.fixture.write("staged.txt", "s\n");
        stories.fixture.git(&["add", "staged.txt"]);
        stories.fixture.write("a.txt", "changed\n");
        stories.work.create(StoryKind::Bug, "One", None).unwrap();
        stories.work.create(StoryKind::Bug, "Two", None).unwrap();
        assert_eq!(stories.commit_subject(), "storkit: 2 stories");
        let shown = stories.fixture.git(&["show", "--name-only", "--format=%b", BOARD_BRANCH]);
        assert!(!shown.contains("staged.txt") && !shown.contains("a.txt"), "{shown}");
        assert!(shown.contains("create 1 One\ncreate 2 Two"), "{shown}");
        assert_eq!(stories.fixture.git(&["status", "--porcelain"]), " M a.txt\nA  staged.txt");
    }

    #[test]
    fn stages_in_work_are_never_committed() {
        let stories = Stories::new();
        for stage in ["2_current", "3_qa", "4_merge"] {
            stories.fixture.write(&format!(".storkit/work/{stage}/9_bug_x.md"), "# x\n");
            assert_eq!(stories.commit(), CommitResult::Nothing, "{stage}");
            fs::remove_file(stories.work.dir().join(stage).join("9_bug_x.md")).unwrap();
        }
    }

    #[test]
    fn the_board_is_committed_whatever_is_checked_out_and_no_checkout_or_index_takes_part() {
        let stories = Stories::new();
        for (away, title) in [
            (&["switch", "-q", "-c", "other"][..], "One"),
            (&["switch", "-q", "--detach", "main"], "Two"),
            (&["switch", "-q", "--orphan", "empty"], "Three"),
        ] {
            stories.fixture.git(away);
            let refs = || {
                stories.fixture.git(&[
                    "for-each-ref",
                    "--format=%(objectname)",
                    "refs/heads/main",
                    "refs/heads/other",
                ])
            };
            let (before, index) = (refs(), fs::read(stories.fixture.root().join(".git/index")).unwrap());
            let id = stories.work.create(StoryKind::Bug, title, None).unwrap().id();
            assert_eq!(stories.commit_subject(), format!("storkit: create {id} {title}"));
            assert_eq!(
                (refs(), fs::read(stories.fixture.root().join(".git/index")).unwrap()),
                (before, index)
            );
        }
        assert_eq!(stories.on_board().lines().count(), 3);
    }

    #[test]
    fn a_storys_files_are_on_the_board_wherever_it_is_and_go_with_it() {
        let stories = Stories::new();
        let id = stories.work.create(StoryKind::Bug, "One", None).unwrap().id();
        let file = |name: &str| FileToAttach { name: name.into(), content: b"\0 no text".to_vec() };
        stories.work.attach(id, vec![file("door.png")]).unwrap();
        assert_eq!(stories.commit_subject(), "storkit: create 1 One");
        stories.work.move_story(id, Stage::Current, Mover::Person).unwrap();
        assert_eq!(stories.commit_subject(), "storkit: start 1 One");
        stories.work.attach(id, vec![file("plan.pdf")]).unwrap();
        assert_eq!(stories.commit_subject(), "storkit: files of 1");
        let files = ".storkit/work/files/1/door.png\n.storkit/work/files/1/plan.pdf";
        assert_eq!(stories.on_board(), files);
        let modes = stories.fixture.git(&["ls-tree", "-r", "--format=%(objectmode)", BOARD_BRANCH]);
        assert_eq!(modes, "100644\n100644", "never executable");
        assert_eq!(stories.fixture.git(&["status", "--porcelain"]), "");
        assert_eq!(stories.work.delete(id).unwrap().files, 2);
        assert_eq!(stories.commit_subject(), "storkit: files of 1");
        assert_eq!(stories.on_board(), "");
    }

    #[test]
    fn what_a_link_leads_to_is_never_committed() {
        let stories = Stories::new();
        let id = stories.work.create(StoryKind::Bug, "One", None).unwrap().id();
        assert!(matches!(stories.commit(), CommitResult::Commit(_)));
        let (files, elsewhere) = (stories.work.dir().join("files"), tempfile::tempdir().unwrap());
        fs::write(elsewhere.path().join("key.txt"), "secret").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &files).unwrap();
        assert_eq!(stories.commit(), CommitResult::Nothing);
        fs::remove_file(&files).unwrap();
        fs::create_dir(&files).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), files.join("1")).unwrap();
        assert_eq!(stories.commit(), CommitResult::Nothing);
        let file = FileToAttach { name: "door.png".into(), content: b"x".to_vec() };
        let refused = stories.work.attach(id, vec![file]).unwrap_err().to_string();
        assert!(refused.contains("is a symbolic link"), "{refused}");
        fs::remove_file(files.join("1")).unwrap();
        fs::create_dir(files.join("1")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join("key.txt"), files.join("1/key.txt")).unwrap();
        assert_eq!(stories.commit(), CommitResult::Nothing);
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1, "nothing was written there");
    }

    #[test]
    fn a_rebase_of_a_persons_holds_no_commit_up() {
        let stories = Stories::new();
        let head = stories.fixture.git(&["rev-parse", "HEAD"]);
        stories.fixture.write(".git/MERGE_HEAD", &head);
        stories.work.create(StoryKind::Bug, "One", None).unwrap();
        assert_eq!(stories.commit_subject(), "storkit: create 1 One");
    }

    #[test]
    fn a_story_that_only_claims_to_be_done_is_left() {
        let stories = Stories::new();
        stories.fixture.write(".storkit/work/5_done/9_bug_x.md", "# x\n");
        assert_eq!(stories.commit(), CommitResult::Nothing);
        stories.fixture.write(".storkit/work/6_archived/8_bug_x.md", "# x\n");
        assert_eq!(stories.commit_subject(), "storkit: archive 8 x");
        assert!(!stories.on_board().contains("9_bug_x.md"));
    }
}

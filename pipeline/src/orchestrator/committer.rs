//! Commits the stories of the stages that git tracks (`1_backlog`, `5_done`, `6_archived`): only their own files, with messages that
//! follow from the change. The changes are read from git each time, so that nothing is ever missed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use git2::{Repository, RepositoryState, Status, StatusOptions};

use crate::{
    Project,
    git::program::GitProgramError,
    guard::{BaseError, BaseGuard, OwnCommits, commit_paths},
    merge::MergeProof,
    story::{FileName, StoryDocument, StoryId, stage::Stage, title},
};

// Most files of one commit: the system limits a command line. The rest is the next commit's.
const AT_ONCE: usize = 5_000;

/// Most lines below a commit's subject.
const LINES: usize = 50;

/// Most characters of a title in a subject.
const TITLE: usize = 60;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CommitResult {
    Nothing,
    /// This commit. There may be more to do.
    Commit(String),
    /// Not as things are, for this reason: a sentence. Nothing was changed.
    NotNow(String),
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
}

/// Commits what differs of the stories' files, and nothing else. A story that came to `5_done` without a proof is
/// left: done means merged. Blocks; waits for the base lock.
pub(crate) fn commit_stories(
    project: &Project,
    base: &str,
    own: &OwnCommits,
) -> Result<CommitResult, CommitError> {
    // Locked before the status is read: half of a landing merge would look like a change of a person's.
    let guard = BaseGuard::lock(project)?;
    let repository = Repository::open(project.root())?;
    let mut changed = changed(&repository)?;
    changed.retain(|path, change| *change != FileChange::New || !claims_done(project, path));
    // Before the checkout is judged: with nothing to commit, nobody needs to hear that it is on another
    // branch.
    if changed.is_empty() {
        return Ok(CommitResult::Nothing);
    }
    if let Some(why) = not_now(&repository, base)? {
        return Ok(CommitResult::NotNow(why));
    }
    let changed: BTreeMap<PathBuf, FileChange> = changed.into_iter().take(AT_ONCE).collect();
    let message = message(&changed, project.root());
    let paths: Vec<&Path> = changed.keys().map(PathBuf::as_path).collect();
    let Some(commit) = commit_paths(project.root(), &guard, &paths, &message)? else {
        return Ok(CommitResult::Nothing);
    };
    // While the lock is held: a run's comparison takes the same lock, and has to know this commit by then.
    own.add(&commit);
    Ok(CommitResult::Commit(commit))
}

/// The stories' folder, from the project's root.
const WORK: &str = ".storkit/work";

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

fn changed(repository: &Repository) -> Result<BTreeMap<PathBuf, FileChange>, git2::Error> {
    let mut options = StatusOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(true).exclude_submodules(true);
    for stage in Stage::ALL.into_iter().filter(|stage| stage.is_committed()) {
        options.pathspec(format!("{WORK}/{}/*.md", stage.dir()));
    }
    let statuses = repository.statuses(Some(&mut options))?;
    let mut changed = BTreeMap::new();
    for entry in statuses.iter() {
        // A name that is not UTF-8 is no story's.
        let Ok(path) = entry.path().map(PathBuf::from) else { continue };
        let status = entry.status();
        let gone = Status::WT_DELETED | Status::INDEX_DELETED;
        let new = Status::WT_NEW | Status::INDEX_NEW;
        // The disk decides: a file that `git rm --cached` took out of the index but that is there counts as
        // new.
        let change = if status.intersects(Status::WT_DELETED)
            || (status.intersects(gone) && !status.intersects(new))
        {
            FileChange::Gone
        } else if status.intersects(new) {
            FileChange::New
        } else if status.intersects(
            Status::WT_MODIFIED | Status::INDEX_MODIFIED | Status::WT_RENAMED | Status::INDEX_RENAMED,
        ) {
            FileChange::Edited
        } else {
            continue;
        };
        changed.insert(path, change);
    }
    Ok(changed)
}

/// Why a commit would go elsewhere than to base, or into a person's work.
fn not_now(repository: &Repository, base: &str) -> Result<Option<String>, git2::Error> {
    // Git refuses a commit of chosen paths during a merge; during a rebase it would end up between the
    // person's commits.
    if repository.state() != RepositoryState::Clean {
        return Ok(Some("a merge, rebase or the like is under way in the main checkout.".into()));
    }
    let head = repository.find_reference("HEAD")?;
    let on = head.symbolic_target().ok().flatten().map(str::to_owned);
    Ok(match on.as_deref().map(|name| name.strip_prefix("refs/heads/").unwrap_or(name)) {
        Some(branch) if branch == base => None,
        Some(branch) => Some(format!(
            "the main checkout is on `{branch}` and not on `{base}`. They are once it is on `{base}` again."
        )),
        None => Some(format!(
            "the main checkout is on no branch. They are once it is on `{base}` again (`git switch {base}`)."
        )),
    })
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
    let name: String = name.unwrap_or_default().chars().take(TITLE).collect();
    format!("{verb} {id} {name}").trim_end().to_owned()
}

/// Where the file is now, if it went into one of the stages that git ignores.
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
        board::WorkFolder,
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
            commit_stories(&self.fixture.project, "main", &OwnCommits::default()).unwrap()
        }

        fn commit_subject(&self) -> String {
            assert!(matches!(self.commit(), CommitResult::Commit(_)));
            self.fixture.git(&["log", "-1", "--format=%s"])
        }
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
        let shown = stories.fixture.git(&["show", "--name-only", "--format=%b", "HEAD"]);
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
    fn nothing_is_committed_to_another_branch_and_nothing_is_lost() {
        let stories = Stories::new();
        stories.work.create(StoryKind::Bug, "One", None).unwrap();
        for away in [&["switch", "-q", "-c", "other"][..], &["switch", "-q", "--detach", "main"]] {
            stories.fixture.git(away);
            let before = stories.fixture.git(&["rev-parse", "HEAD"]);
            assert!(matches!(stories.commit(), CommitResult::NotNow(_)));
            assert_eq!(stories.fixture.git(&["rev-parse", "HEAD"]), before);
        }
        stories.fixture.git(&["switch", "-q", "main"]);
        assert_eq!(stories.commit_subject(), "storkit: create 1 One");
    }

    #[test]
    fn a_story_that_only_claims_to_be_done_is_left() {
        let stories = Stories::new();
        stories.fixture.write(".storkit/work/5_done/9_bug_x.md", "# x\n");
        assert_eq!(stories.commit(), CommitResult::Nothing);
        stories.fixture.write(".storkit/work/6_archived/8_bug_x.md", "# x\n");
        assert_eq!(stories.commit_subject(), "storkit: archive 8 x");
        assert!(!stories.fixture.git(&["ls-files"]).contains("9_bug_x.md"));
    }
}

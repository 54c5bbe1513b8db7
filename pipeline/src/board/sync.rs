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
    branch::{
        BOARD_BRANCH, BOARD_REF, BoardBranchError, MAX_STORY, StoryBlobs, board_tip, disk, place_of,
        stories_at,
    },
    checkout::{CheckoutMark, hash_of, settle, staged, versions_since},
    place,
};
use crate::{
    Project,
    git::program::{GitProgram, GitProgramError},
    guard::{BaseGuard, RefMove, move_refs},
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
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TrackingBranch {
    name: String,
    is_base: bool,
}

impl fmt::Display for RestoredBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    put_back(project, &repository, before.as_ref(), guard)?;
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
    let stories = stories_at(&repository, now.board_commit())?;
    let folder = StoryFolder { project, repository: &repository, base, now: &now, stories: &stories };
    let files = match &before {
        Some(before) => folder.restore(before, &versions)?,
        None => folder.write_missing()?,
    };
    let tracks = match files > 0 && !versions.is_empty() {
        true => folder.take_out_of_index()?,
        false => None,
    };
    let now = if tracks.is_some() { now.with_index_of(&repository)? } else { now };
    // As it was seen, and not as it is by now: whatever git does from then on is for the next look.
    now.write(project)?;
    let is_news = files > 0 && !versions.is_empty();
    Ok(if is_news { BoardSync::Restored(RestoredBoard { files, tracks }) } else { BoardSync::Settled })
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

/// A branch that somebody deleted is put back where it was: the folder has only its last state.
fn put_back(
    project: &Project,
    repository: &Repository,
    before: Option<&CheckoutMark>,
    guard: &BaseGuard,
) -> Result<(), BoardBranchError> {
    let lost =
        before.and_then(CheckoutMark::board_commit).filter(|commit| repository.find_commit(*commit).is_ok());
    if let (None, Some(commit)) = (board_tip(repository)?, lost) {
        tracing::warn!(%commit, "the branch `{BOARD_BRANCH}` was deleted and is put back");
        let back = RefMove { name: BOARD_REF.into(), old: None, new: Some(commit) };
        move_refs(&GitProgram::at(project.root()), guard, "storkit: put back", &[back])?;
    }
    Ok(())
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
            true => Ok(stories_at(self.repository, Some(old))?),
            false => Ok(self.stories.clone()),
        }
    }

    /// Writes the stories that are nowhere in the folder: it is new, or was removed with storkit's state.
    fn write_missing(&self) -> Result<usize, BoardBranchError> {
        let missing = |path: &&PathBuf| !self.project.root().join(path).exists();
        self.make_good(&self.stories.keys().filter(missing).collect())
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

    /// Writes a story as the branch has it. One that is too long for a story is left out.
    fn write(&self, path: &Path) -> Result<bool, BoardBranchError> {
        let Some(blob) = self.stories.get(path) else { return Ok(false) };
        let blob = self.repository.find_blob(*blob)?;
        if blob.size() as u64 > MAX_STORY {
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
mod tests {
    use super::*;
    use crate::{
        board::{BOARD_BRANCH, WorkFolder, open_board},
        worktree::fixture::WorktreeFixture,
    };

    const ONE: &str = ".storkit/work/1_backlog/1_story_a.md";
    const MOVED: &str = ".storkit/work/5_done/1_story_a.md";
    const TWO: &str = ".storkit/work/1_backlog/2_story_b.md";
    const THREE: &str = ".storkit/work/1_backlog/3_story_c.md";

    /// A migrated project. The branch `old` is from before: it has story 1 in the backlog, and an older text of story 2. On the board, story 1 is
    /// done, story 2 was edited, and story 3 is new.
    struct Checkout(WorktreeFixture);

    impl Checkout {
        fn new() -> Self {
            let fixture = WorktreeFixture::new();
            for (path, text) in [(ONE, "one\n"), (TWO, "two\n")] {
                fixture.write(path, text);
                fixture.git(&["add", "-f", path]);
            }
            fixture.git(&["commit", "-q", "-m", "stories on base"]);
            fixture.git(&["branch", "old"]);
            crate::migrate::migrate(&fixture.project, Some("main")).expect("it migrates");
            WorkFolder::open(&fixture.project).expect("a folder");
            let checkout = Self(fixture);
            fs::rename(checkout.0.root().join(ONE), checkout.0.root().join(MOVED)).expect("it moves");
            checkout.0.write(TWO, "two, edited\n");
            checkout.0.write(THREE, "three\n");
            checkout.commit_board();
            checkout
        }

        /// As the committer does, after everything in the folder was edited.
        fn commit_board(&self) {
            let repository = Repository::open(self.0.root()).unwrap();
            let tip = super::super::branch::board_tip(&repository).unwrap();
            let mut changes: super::super::branch::BoardChanges =
                stories_at(&repository, tip).unwrap().into_keys().map(|path| (path, None)).collect();
            for path in [ONE, MOVED, TWO, THREE] {
                if let Ok(text) = fs::read(self.0.root().join(path)) {
                    changes.insert(path.into(), Some(repository.blob(&text).unwrap()));
                }
            }
            let commit = super::super::branch::write_commit(&repository, tip, &changes, "board").unwrap();
            self.0.git(&["update-ref", BOARD_REF, &commit.to_string()]);
            note_settled(&self.0.project).unwrap();
        }

        fn sync(&self) -> BoardSync {
            sync(&self.0.project, "main").expect("it can be read")
        }

        fn folder(&self) -> Vec<(String, String)> {
            let files = [ONE, MOVED, TWO, THREE].into_iter();
            files
                .filter_map(|path| Some((path.into(), fs::read_to_string(self.0.root().join(path)).ok()?)))
                .collect()
        }

        fn is_whole(&self) {
            let whole = [(MOVED, "one\n"), (TWO, "two, edited\n"), (THREE, "three\n")];
            let whole = whole.map(|(path, text)| (path.to_owned(), text.to_owned()));
            assert_eq!(self.folder(), whole);
            assert_eq!(self.sync(), BoardSync::Settled, "people hear of it once");
            assert_eq!(self.folder(), whole, "another look changes nothing");
        }
    }

    #[test]
    fn a_switch_to_a_branch_that_tracks_stories_and_back_leaves_the_board_as_it_was() {
        let checkout = Checkout::new();
        checkout.is_whole();
        checkout.0.git(&["switch", "-q", "old"]);
        assert_eq!(checkout.0.read(TWO), "two\n", "git wrote over it");
        let BoardSync::Restored(restored) = checkout.sync() else { panic!("nothing was restored") };
        insta::assert_snapshot!(restored, @"Git changed story files when another commit was checked out. The board is as before: 2 files restored from `storkit/board`. `old` still tracks story files, so git shows them there as deleted; commit that on `old`, and the branch is rid of them.");
        checkout.is_whole();
        checkout.0.git(&["switch", "-q", "main"]);
        checkout.is_whole();
        assert_eq!(checkout.0.git(&["status", "--porcelain"]), "");
    }

    #[test]
    fn both_switches_between_two_looks_take_no_story_away() {
        let checkout = Checkout::new();
        checkout.0.git(&["switch", "-q", "old"]);
        checkout.0.git(&["switch", "-q", "main"]);
        assert!(!checkout.0.root().join(TWO).exists(), "git removed it");
        let BoardSync::Restored(restored) = checkout.sync() else { panic!("nothing was restored") };
        insta::assert_snapshot!(restored, @"Git changed story files when another commit was checked out. The board is as before: 1 file restored from `storkit/board`.");
        checkout.is_whole();
        assert_eq!(checkout.0.git(&["status", "--porcelain"]), "");
    }

    #[test]
    fn a_branch_older_than_storkit_changes_nothing() {
        let checkout = Checkout::new();
        checkout.0.git(&["switch", "-q", "-c", "ancient", "main~2"]);
        checkout.is_whole();
        checkout.0.git(&["switch", "-q", "main"]);
        checkout.is_whole();
    }

    #[test]
    fn what_a_person_edits_or_deletes_is_never_undone() {
        let checkout = Checkout::new();
        checkout.0.write(THREE, "three, edited\n");
        checkout.0.git(&["switch", "-q", "old"]);
        checkout.0.write(TWO, "two, edited on the old branch\n");
        assert!(matches!(checkout.sync(), BoardSync::Restored(_)));
        assert_eq!(checkout.0.read(THREE), "three, edited\n");
        assert_eq!(checkout.0.read(TWO), "two, edited on the old branch\n");
        fs::remove_file(checkout.0.root().join(THREE)).unwrap();
        checkout.0.git(&["switch", "-q", "main"]);
        assert_eq!(checkout.sync(), BoardSync::Settled);
        assert!(!checkout.0.root().join(THREE).exists());
    }

    #[test]
    fn a_pull_that_rebases_over_a_commit_of_before_the_migration_takes_no_story_away() {
        let checkout = Checkout::new();
        checkout.0.git(&["switch", "-q", "-c", "upstream", "old"]);
        checkout.0.git(&["commit", "-q", "--allow-empty", "-m", "somebody else's"]);
        checkout.0.git(&["switch", "-q", "main"]);
        checkout.sync();
        checkout.is_whole();
        checkout.0.git(&["rebase", "-q", "upstream"]);
        assert!(matches!(checkout.sync(), BoardSync::Restored(_)));
        checkout.is_whole();
        assert_eq!(checkout.0.git(&["status", "--porcelain"]), "");
    }

    #[test]
    fn in_the_middle_of_a_rebase_nothing_is_touched() {
        let checkout = Checkout::new();
        checkout.0.git(&["switch", "-q", "old"]);
        let head = checkout.0.git(&["rev-parse", "main"]);
        checkout.0.write(".git/MERGE_HEAD", &head);
        assert!(matches!(checkout.sync(), BoardSync::Unsettled(_)));
        assert_eq!(checkout.0.read(TWO), "two\n");
        fs::remove_file(checkout.0.root().join(".git/MERGE_HEAD")).unwrap();
        assert!(matches!(checkout.sync(), BoardSync::Restored(_)));
        checkout.is_whole();
    }

    #[test]
    fn line_ends_that_git_converts_are_no_edit() {
        let checkout = Checkout::new();
        checkout.0.git(&["config", "core.autocrlf", "true"]);
        checkout.0.git(&["switch", "-q", "old"]);
        assert_eq!(checkout.0.read(TWO), "two\r\n");
        assert!(matches!(checkout.sync(), BoardSync::Restored(_)));
        checkout.is_whole();
    }

    #[test]
    fn a_story_that_moved_on_and_is_not_committed_yet_is_not_doubled() {
        let checkout = Checkout::new();
        checkout.0.git(&["switch", "-q", "old"]);
        let current = checkout.0.root().join(".storkit/work/2_current/2_story_b.md");
        fs::rename(checkout.0.root().join(TWO), &current).unwrap();
        checkout.sync();
        assert!(current.exists() && !checkout.0.root().join(TWO).exists());
    }

    #[test]
    fn what_others_put_on_the_board_comes_into_the_folder_and_edits_stay() {
        let checkout = Checkout::new();
        let mark = CheckoutMark::read(&checkout.0.project).unwrap();
        let mine = "three, edited here\n";
        for (path, text) in [(TWO, "two, by another\n"), (THREE, "three, by another\n")] {
            checkout.0.write(path, text);
        }
        checkout.commit_board();
        // The folder is as before, and another has moved the branch.
        mark.write(&checkout.0.project).unwrap();
        checkout.0.write(TWO, "two, edited\n");
        checkout.0.write(THREE, mine);
        assert_eq!(checkout.sync(), BoardSync::Settled);
        assert_eq!(
            (checkout.0.read(TWO).as_str(), checkout.0.read(THREE).as_str()),
            ("two, by another\n", mine)
        );
    }

    #[test]
    fn a_story_that_others_took_off_the_board_goes_from_the_folder() {
        let checkout = Checkout::new();
        let mark = CheckoutMark::read(&checkout.0.project).unwrap();
        fs::remove_file(checkout.0.root().join(THREE)).unwrap();
        checkout.commit_board();
        mark.write(&checkout.0.project).unwrap();
        checkout.0.write(THREE, "three\n");
        assert_eq!(checkout.sync(), BoardSync::Settled);
        assert!(!checkout.0.root().join(THREE).exists());
    }

    #[test]
    fn a_branch_that_is_deleted_comes_back_and_one_that_is_rewritten_changes_no_file() {
        let checkout = Checkout::new();
        let tip = checkout.0.git(&["rev-parse", BOARD_BRANCH]);
        checkout.0.git(&["branch", "-q", "-D", BOARD_BRANCH]);
        checkout.is_whole();
        assert_eq!(checkout.0.git(&["rev-parse", BOARD_BRANCH]), tip);
        checkout.0.git(&["branch", "-q", "-f", BOARD_BRANCH, &format!("{tip}~1")]);
        checkout.is_whole();
    }

    #[test]
    fn what_git_does_while_a_look_is_under_way_is_seen_by_the_next() {
        let checkout = Checkout::new();
        let repository = Repository::open(checkout.0.root()).unwrap();
        let seen = CheckoutMark::read(&checkout.0.project);
        let now = settle(&repository, seen.as_ref()).unwrap().unwrap();
        checkout.0.git(&["switch", "-q", "old"]);
        now.write(&checkout.0.project).unwrap();
        note_board(&checkout.0.project, now.board_commit().unwrap()).unwrap();
        assert!(matches!(checkout.sync(), BoardSync::Restored(_)));
        checkout.is_whole();
    }

    #[test]
    fn a_clone_takes_the_board_of_its_origin_and_a_folder_that_is_gone_is_made_again() {
        let checkout = Checkout::new();
        let place = checkout.0.root().with_file_name("clone");
        checkout.0.git(&["clone", "-q", ".", place.to_str().unwrap()]);
        let project = Project::open(&place).unwrap();
        assert_eq!(open_board(&project, "main").unwrap(), crate::board::BoardSource::Remote("origin".into()));
        assert_eq!(open_board(&project, "main").unwrap(), crate::board::BoardSource::Branch);
        WorkFolder::open(&project).unwrap();
        let texts = || [MOVED, TWO, THREE].map(|path| fs::read_to_string(place.join(path)).unwrap());
        for _ in 0..2 {
            assert_eq!(sync(&project, "main").unwrap(), BoardSync::Settled);
            assert_eq!(texts(), ["one\n", "two, edited\n", "three\n"]);
            fs::remove_dir_all(place.join(".storkit/work")).unwrap();
            fs::remove_file(place.join(".storkit/run/board.json")).unwrap();
            WorkFolder::open(&project).unwrap();
        }
        assert_eq!(checkout.0.git_in(&place, &["status", "--porcelain"]), "");
        assert_eq!(
            checkout.0.git_in(&place, &["rev-parse", BOARD_BRANCH]),
            checkout.0.git(&["rev-parse", BOARD_BRANCH])
        );
    }

    #[test]
    fn a_board_that_somebody_made_by_hand_writes_nothing_but_stories() {
        let fixture = WorktreeFixture::new();
        let repository = Repository::open(fixture.root()).unwrap();
        let blob = repository.blob(b"evil\n").unwrap();
        let large = repository.blob(&vec![b'x'; 2 << 20]).unwrap();
        let tree_of = |entries: &[(&[u8], Oid, i32)]| {
            let mut raw = Vec::new();
            for (name, id, mode) in entries {
                raw.extend(format!("{mode:o} ").bytes());
                raw.extend(*name);
                raw.push(0);
                raw.extend(id.as_bytes());
            }
            repository.odb().unwrap().write(git2::ObjectType::Tree, &raw).unwrap()
        };
        let stage = tree_of(&[
            (b"../../../../out.md", blob, 0o100_644),
            (b"..", blob, 0o100_644),
            (b".gitignore", blob, 0o100_644),
            (b"1_story_link.md", blob, 0o120_000),
            (b"2_story_module.md", Oid::from_str(&fixture.git(&["rev-parse", "HEAD"])).unwrap(), 0o160_000),
            (b"3_story_large.md", large, 0o100_644),
            (b"4_story_good.md", blob, 0o100_644),
            (b"run.sh", blob, 0o100_755),
        ]);
        let work = tree_of(&[(b"1_backlog", stage, 0o40_000), (b"evil", blob, 0o100_644)]);
        let storkit = tree_of(&[(b"bot.toml", blob, 0o100_644), (b"work", work, 0o40_000)]);
        let top = tree_of(&[(b".storkit", storkit, 0o40_000), (b"a.txt", blob, 0o100_644)]);
        let commit = fixture.git(&["commit-tree", &top.to_string(), "-m", "board"]);
        fixture.git(&["update-ref", BOARD_REF, &commit]);
        WorkFolder::open(&fixture.project).unwrap();
        assert_eq!(sync(&fixture.project, "main").unwrap(), BoardSync::Settled);
        let backlog = fs::read_dir(fixture.root().join(".storkit/work/1_backlog")).unwrap();
        let names: Vec<_> = backlog.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["4_story_good.md"]);
        assert!(
            !fixture.root().join(".storkit/bot.toml").exists()
                && !fixture.root().join(".storkit/work/evil").exists()
        );
        assert!(!fixture.root().with_file_name("out.md").exists());
        assert_eq!(fixture.read("a.txt"), "a\n");
    }

    #[test]
    fn a_folder_that_is_a_link_is_written_through_by_nobody() {
        let checkout = Checkout::new();
        checkout.0.git(&["switch", "-q", "old"]);
        checkout.0.git(&["switch", "-q", "main"]);
        let backlog = checkout.0.root().join(".storkit/work/1_backlog");
        let outside = tempfile::tempdir().unwrap();
        fs::remove_dir_all(&backlog).unwrap();
        std::os::unix::fs::symlink(outside.path(), &backlog).unwrap();
        assert!(matches!(sync(&checkout.0.project, "main"), Err(BoardBranchError::Disk { .. })));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn stories_on_base_are_said_to_need_a_migration() {
        let fixture = WorktreeFixture::new();
        assert_eq!(open_board(&fixture.project, "main").unwrap(), crate::board::BoardSource::None);
        fixture.write(ONE, "one\n");
        fixture.git(&["add", "-f", ONE]);
        fixture.git(&["commit", "-q", "-m", "stories on base"]);
        insta::assert_snapshot!(open_board(&fixture.project, "main").unwrap_err(), @"The stories of this project are tracked on `main`, as an earlier version of storkit committed them. Stop storkit, run `storkit migrate` once, and start it again: it moves them to the branch `storkit/board` with one commit on `main`.");
    }
}

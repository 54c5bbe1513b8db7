//! Moves the stories from base, where an earlier version committed them, to the branch of the board: one commit on each, in one
//! transaction.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use git2::{ErrorCode, ObjectType, Oid, Repository, RepositoryState, Tree};
use settings::atomic;

use super::{MigrateError, OLD, disk as disk_error};
use crate::{
    Project,
    board::{
        self, BOARD_BRANCH, BOARD_REF, BoardBranchError, BoardChanges, MAX_STORY, StoryBlobs, WORK,
        WorkFolder, is_story_name, note_settled, open_board, remove_from_index, stories_at, stories_in,
    },
    git::program::GitProgram,
    guard::{BaseGuard, RefMove, move_refs},
    merge,
    story::{FileName, stage::Stage},
};

/// The stories that left base, and the commit in which they did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardMigration {
    pub base: String,
    pub stories: usize,
    /// The commit on base.
    pub commit: String,
}

/// Where stories lie in the repository: now, and before storkit had its name.
fn folders() -> [PathBuf; 2] {
    [WORK.into(), Path::new(OLD).join("work")]
}

/// Moves the board to its branch. `None` where base has no stories.
///
/// The board's first commit follows base's last one, so that `git log` shows the history of each story there.
pub(super) fn move_board(project: &Project, base: &str) -> Result<Option<BoardMigration>, MigrateError> {
    // A merge that a killed storkit was in ends first: its journal knows base as it is.
    merge::recover(project).map_err(|error| MigrateError::Merge(error.to_string()))?;
    // Others may have migrated the project: then its board is theirs, and goes on from there.
    match open_board(project, base) {
        Ok(_) | Err(BoardBranchError::Unmigrated { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let guard = BaseGuard::lock(project).map_err(BoardBranchError::from)?;
    let migration = Migration { project, repository: Repository::open(project.root())?, base };
    let Some(tip) = migration.tip()? else { return Ok(None) };
    let tree = migration.repository.find_commit(tip)?.tree()?;
    let tracked = files_below(&migration.repository, &tree)?;
    if tracked.is_empty() {
        // A kill may have come between the commit and the index.
        if migration.is_checked_out()? {
            migration.clear_index()?;
        }
        return Ok(None);
    }
    migration.check()?;
    // With the rules that keep the stories out of `git status` from now on.
    WorkFolder::open(project)?;
    let commit = migration.base_commit(tip, &tree, &tracked)?;
    let (before, stories, moved) = migration.board_commit(tip)?;
    let refs = [
        RefMove { name: migration.reference(), old: Some(tip), new: Some(commit) },
        RefMove { name: BOARD_REF.into(), old: before, new: Some(moved) },
    ];
    move_refs(&GitProgram::at(project.root()), &guard, "storkit: migrate", &refs)?;
    if migration.is_checked_out()? {
        migration.clear_index()?;
    }
    match before {
        None => note_settled(project)?,
        // What the folder lacks of a board that was there before is for the next look, which knows what git did to the folder.
        Some(_) => migration.follow_board(tip, moved)?,
    }
    Ok(Some(BoardMigration { base: base.to_owned(), stories, commit: commit.to_string() }))
}

struct Migration<'a> {
    project: &'a Project,
    repository: Repository,
    base: &'a str,
}

impl Migration<'_> {
    fn reference(&self) -> String {
        format!("refs/heads/{}", self.base)
    }

    fn tip(&self) -> Result<Option<Oid>, git2::Error> {
        match self.repository.refname_to_id(&self.reference()) {
            Ok(tip) => Ok(Some(tip)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn head(&self) -> Result<Option<String>, git2::Error> {
        let head = self.repository.find_reference("HEAD")?;
        Ok(head.symbolic_target().ok().flatten().map(str::to_owned))
    }

    fn is_checked_out(&self) -> Result<bool, git2::Error> {
        Ok(self.head()? == Some(self.reference()))
    }

    /// On another branch, the files in the checkout are that branch's, and not what base has.
    fn check(&self) -> Result<(), MigrateError> {
        if !self.is_checked_out()? {
            return Err(MigrateError::Elsewhere(self.base.to_owned()));
        }
        match self.repository.state() {
            RepositoryState::Clean => Ok(()),
            _ => Err(MigrateError::UnderWay),
        }
    }

    /// Base without any of these files.
    fn base_commit(
        &self,
        tip: Oid,
        tree: &Tree<'_>,
        tracked: &BTreeSet<PathBuf>,
    ) -> Result<Oid, git2::Error> {
        let gone: BoardChanges = tracked.iter().map(|path| (path.clone(), None)).collect();
        let tree = board::apply(&self.repository, tree, &gone)?;
        let message = format!(
            "storkit: the stories move to the branch {BOARD_BRANCH}\n\nTheir files stay where they are, and git ignores them here. Their \
             history is on that branch, too:\ngit log {BOARD_BRANCH}"
        );
        board::commit_tree(&self.repository, tree, Some(&self.repository.find_commit(tip)?), &message)
    }

    /// The board as the folder has it: the branch before, how many stories it has, and its new commit.
    fn board_commit(&self, tip: Oid) -> Result<(Option<Oid>, usize, Oid), MigrateError> {
        let before = board::board_tip(&self.repository)?;
        let stories = self.on_disk()?;
        let message = format!("storkit: the stories of {} move to this branch", self.base);
        let commit = match before {
            None => board::write_whole(&self.repository, tip, &stories, &message)?,
            // Base had stories again, since a branch of before the migration was merged: the board has its own.
            Some(_) => {
                let old = stories_at(&self.repository, before)?;
                let stale = stories_in(&self.repository, tip, Stage::is_committed)?;
                let changes = stories
                    .iter()
                    .filter(|(path, blob)| old.get(*path) != Some(blob) && stale.get(*path) != Some(blob))
                    .map(|(path, blob)| (path.clone(), Some(*blob)))
                    .collect();
                board::write_commit(&self.repository, before, &changes, &message)?
            }
        };
        Ok((before, stories.len(), commit))
    }

    /// Files that are still as base had them become what the board has.
    fn follow_board(&self, base: Oid, board: Oid) -> Result<(), MigrateError> {
        let (disk, board) = (self.on_disk()?, stories_at(&self.repository, Some(board))?);
        let id = |path: &Path| path.file_name()?.to_str()?.parse::<FileName>().ok().map(|name| name.id);
        for (path, stale) in stories_in(&self.repository, base, Stage::is_committed)? {
            if disk.get(&path) != Some(&stale) || board.get(&path) == Some(&stale) {
                continue;
            }
            let file = self.project.root().join(&path);
            if let Some(blob) = board.get(&path) {
                let text = self.repository.find_blob(*blob)?.content().to_vec();
                atomic::write(&file, &text).map_err(disk_error(&path))?;
            } else if board.keys().any(|other| id(other).is_some() && id(other) == id(&path)) {
                fs::remove_file(&file).map_err(disk_error(&path))?;
            }
        }
        Ok(())
    }

    fn on_disk(&self) -> Result<StoryBlobs, MigrateError> {
        let mut found = StoryBlobs::new();
        for stage in Stage::ALL.into_iter().filter(|stage| stage.is_committed()) {
            let folder = Path::new(WORK).join(stage.dir());
            for entry in fs::read_dir(self.project.root().join(&folder)).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let Some(name) = name.to_str().filter(|name| is_story_name(name)) else { continue };
                let path = folder.join(name);
                let file = self.project.root().join(&path);
                if file.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() <= MAX_STORY) {
                    let bytes = fs::read(&file).map_err(disk_error(&path))?;
                    found.insert(path, self.repository.blob(&bytes)?);
                }
            }
        }
        Ok(found)
    }

    /// Takes the stories out of the index, and leaves them on disk.
    fn clear_index(&self) -> Result<(), MigrateError> {
        let mut index = self.repository.index()?;
        index.read(true)?;
        let path = |entry: git2::IndexEntry| {
            PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&entry.path))
        };
        let below = |path: &PathBuf| folders().iter().any(|folder| path.starts_with(folder));
        let paths: BTreeSet<PathBuf> = index.iter().map(path).filter(below).collect();
        Ok(remove_from_index(self.project.root(), paths.iter())?)
    }
}

/// Every file that a tree has in the stories' folders.
fn files_below(repository: &Repository, tree: &Tree<'_>) -> Result<BTreeSet<PathBuf>, git2::Error> {
    let mut files = BTreeSet::new();
    for folder in folders() {
        let entry = match tree.get_path(&folder) {
            Ok(entry) if entry.kind() == Some(ObjectType::Tree) => entry,
            Ok(_) => continue,
            Err(error) if error.code() == ErrorCode::NotFound => continue,
            Err(error) => return Err(error),
        };
        repository.find_tree(entry.id())?.walk(git2::TreeWalkMode::PreOrder, |inner, entry| {
            if entry.kind() != Some(ObjectType::Tree) {
                let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(entry.name_bytes());
                files.insert(folder.join(inner).join(name));
            }
            git2::TreeWalkResult::Ok
        })?;
    }
    Ok(files)
}

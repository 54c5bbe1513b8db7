//! The board's part of a landing: the commit in which the story is done, and the two refs that move together.

use git2::{Oid, Repository};

use super::journal::BoardMove;
use crate::{
    board::{BOARD_REF, BoardChanges, board_tip, change_line, stories_at, write_commit},
    guard::{BaseGuard, RefMove, move_refs},
    merge::{journal::MergeJournal, outcome::MergeError, paths::MergePaths},
    story::{FileName, StoryDocument, stage::Stage, title},
};

/// Writes the board's commit in which the story is done, on top of the branch as it is.
pub(super) fn prepare(place: &MergePaths, journal: &MergeJournal) -> Result<BoardMove, MergeError> {
    let (repository, file) = (place.repository()?, journal.file()?);
    let before = board_tip(&repository)?;
    let commit = done_commit(&repository, journal, &file, before)?;
    Ok(BoardMove { before: before.map(|tip| tip.to_string()), commit: commit.to_string() })
}

fn done_commit(
    repository: &Repository,
    journal: &MergeJournal,
    file: &FileName,
    before: Option<Oid>,
) -> Result<Oid, MergeError> {
    let done = MergePaths::story_in_tree(Stage::Done, file);
    let mut changes: BoardChanges = stories_at(repository, before)?
        .into_keys()
        .filter(|path| path.file_name() == done.file_name())
        .map(|path| (path, None))
        .collect();
    changes.insert(done, Some(journal.blob()?));
    let text = String::from_utf8_lossy(repository.find_blob(journal.blob()?)?.content()).into_owned();
    let name = StoryDocument::parse(text).ok().and_then(|document| title(&document.front().name));
    let name = name.unwrap_or_else(|| file.slug.replace('_', " "));
    let message = format!("storkit: {}", change_line("done:", file.id, &name));
    Ok(write_commit(repository, before, &changes, &message)?)
}

/// Base and board to where the landing takes them, or both stay.
pub(super) fn advance(
    place: &MergePaths,
    journal: &MergeJournal,
    guard: &BaseGuard,
) -> Result<(), MergeError> {
    let (before, commit) = (journal.before()?, journal.commit()?);
    let mut moves = vec![base_move(journal, before, commit)];
    if let Some(board) = &journal.board {
        moves.push(board_move(board.old_tip()?, Some(board.new_tip()?)));
    }
    swap(place, journal, guard, &moves)
}

/// Base and board back to where the landing came from, as far as they are where it took them.
pub(super) fn take_back(
    place: &MergePaths,
    journal: &MergeJournal,
    guard: &BaseGuard,
) -> Result<(), MergeError> {
    let (before, commit) = (journal.before()?, journal.commit()?);
    let repository = place.repository()?;
    let mut moves = Vec::new();
    if place.tip(&repository, &journal.proof.base)? == Some(commit) {
        moves.push(base_move(journal, commit, before));
    }
    if let Some(board) = &journal.board
        && board_tip(&repository)? == Some(board.new_tip()?)
    {
        moves.push(board_move(Some(board.new_tip()?), board.old_tip()?));
    }
    swap(place, journal, guard, &moves)
}

/// Base alone, where a crash came between the two refs and the board has moved already.
pub(super) fn advance_what_is_left(
    place: &MergePaths,
    journal: &MergeJournal,
    guard: &BaseGuard,
) -> Result<(), MergeError> {
    let repository = place.repository()?;
    let (before, commit) = (journal.before()?, journal.commit()?);
    let mut moves = Vec::new();
    if place.tip(&repository, &journal.proof.base)? == Some(before) {
        moves.push(base_move(journal, before, commit));
    }
    if journal.board.is_some() {
        moves.extend(done_on_board(&repository, journal)?);
    }
    swap(place, journal, guard, &moves)
}

/// The board's move after which the story is done there, on top of the branch as it is now; `None` where it is done already.
fn done_on_board(repository: &Repository, journal: &MergeJournal) -> Result<Option<RefMove>, MergeError> {
    let (file, tip) = (journal.file()?, board_tip(repository)?);
    let is_done = |stage| MergePaths::story_in_tree(stage, &file);
    let stories = stories_at(repository, tip)?;
    if [Stage::Done, Stage::Archived].into_iter().any(|stage| stories.contains_key(&is_done(stage))) {
        return Ok(None);
    }
    let commit = match &journal.board {
        Some(board) if board.old_tip()? == tip => board.new_tip()?,
        _ => done_commit(repository, journal, &file, tip)?,
    };
    Ok(Some(board_move(tip, Some(commit))))
}

fn base_move(journal: &MergeJournal, old: Oid, new: Oid) -> RefMove {
    RefMove { name: format!("refs/heads/{}", journal.proof.base), old: Some(old), new: Some(new) }
}

fn board_move(old: Option<Oid>, new: Option<Oid>) -> RefMove {
    RefMove { name: BOARD_REF.into(), old, new }
}

fn swap(
    place: &MergePaths,
    journal: &MergeJournal,
    guard: &BaseGuard,
    moves: &[RefMove],
) -> Result<(), MergeError> {
    if !moves.is_empty() {
        let reason = format!("storkit: merge {}", journal.proof.story);
        move_refs(&place.git(), guard, &reason, moves)?;
    }
    Ok(())
}

//! The visible part of a merge, under the base lock: journal, base and board by one compare-and-swap, the story's file,
//! the checkouts, the proof. Each step may be the last before a crash; [`super::recover()`] continues from there.

use std::path::{Path, PathBuf};

use git2::Oid;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use settings::atomic;

use super::{
    base_in_use::base_in_use,
    board_move,
    checkout::{self, BaseCheckout, PathChange},
    paths::ignored_folder,
    recover,
};
use crate::{
    guard::BaseGuard,
    merge::{journal::MergeJournal, outcome::MergeError, paths::MergePaths, proof::MergeProof},
    story::{FileName, stage::Stage},
};

/// How a landing ended.
#[derive(Debug)]
pub(crate) enum LandingResult {
    Landed(MergeProof),
    InTheWay(Vec<PathBuf>),
    BaseMoved,
    /// A person's git is at work on base.
    BaseInUse,
}

/// Moves base and all that follows it, or nothing.
pub(crate) fn land(
    place: &MergePaths,
    proof: MergeProof,
    guard: &BaseGuard,
) -> Result<LandingResult, MergeError> {
    if let Some(left) = MergeJournal::read(place)? {
        // The merge before this one could neither finish nor be undone.
        recover::settle(place, &left, guard, &mut Vec::new())?;
    }
    let mut journal = MergeJournal { proof, story_blob: String::new(), board: None };
    let file = journal.file()?;
    // Read under the lock: a person may have moved or edited the story, or moved base, while the gates ran. And a text that no commit has
    // yet is what `git gc` removes.
    let text = place.read_story(&file)?;
    journal.story_blob = place.repository()?.blob(&text)?.to_string();
    if place.story(Stage::Done, &file).symlink_metadata().is_ok() {
        return Err(MergeError::InTwoStages(file.to_string()));
    }
    if tip(place, &journal)? != Some(journal.before()?) {
        return Ok(LandingResult::BaseMoved);
    }
    if base_in_use(place, &journal.proof.base)?.is_some() {
        return Ok(LandingResult::BaseInUse);
    }
    let in_the_way = in_the_way(place, &journal)?;
    if !in_the_way.is_empty() {
        return Ok(LandingResult::InTheWay(in_the_way));
    }
    journal.board = Some(board_move::prepare(place, &journal)?);
    let journal = &journal;
    // On disk before the first visible step, so that `recover` can finish the merge after a crash or drop it.
    journal.write(place)?;
    if let Err(error) = board_move::advance(place, journal, guard) {
        drop_journal(place, journal, guard)?;
        // Git refuses the swap when somebody has just moved base; every other refusal is an error.
        let moved = tip(place, journal)? != Some(journal.before()?);
        return if moved { Ok(LandingResult::BaseMoved) } else { Err(error) };
    }
    match bring_along(place, journal, &checkout::on_base(place, &journal.proof.base)?) {
        Ok(()) => conclude(place, journal).map(LandingResult::Landed),
        Err(error) => {
            tracing::warn!(%error, story = %journal.proof.story, "the checkout cannot follow base; base is put back");
            drop_journal(place, journal, guard)?;
            if base_in_use(place, &journal.proof.base)?.is_some() {
                return Ok(LandingResult::BaseInUse);
            }
            let in_the_way = self::in_the_way(place, journal)?;
            if in_the_way.is_empty() { Err(error) } else { Ok(LandingResult::InTheWay(in_the_way)) }
        }
    }
}

pub(crate) fn tip(place: &MergePaths, journal: &MergeJournal) -> Result<Option<Oid>, MergeError> {
    Ok(place.tip(&place.repository()?, &journal.proof.base)?)
}

/// A person's files that the move would overwrite, of all checkouts; those outside the project with their folder.
pub(crate) fn in_the_way(place: &MergePaths, journal: &MergeJournal) -> Result<Vec<PathBuf>, MergeError> {
    let changes = changes(place, journal)?;
    let mut found = Vec::new();
    for checkout in checkout::on_base(place, &journal.proof.base)? {
        let main = is_main(place, &checkout);
        let paths = checkout.in_the_way(&changes)?;
        found.extend(paths.into_iter().map(|path| if main { path } else { checkout.work_tree.join(path) }));
    }
    Ok(found)
}

pub(crate) fn changes(place: &MergePaths, journal: &MergeJournal) -> Result<Vec<PathChange>, MergeError> {
    let repository = place.repository()?;
    let tree = |commit| Ok::<_, git2::Error>(repository.find_commit(commit)?.tree_id());
    Ok(checkout::changes(&repository, tree(journal.before()?)?, tree(journal.commit()?)?)?)
}

pub(crate) fn is_main(place: &MergePaths, checkout: &BaseCheckout) -> bool {
    std::fs::canonicalize(&checkout.work_tree).is_ok_and(|path| path == place.root)
}

/// The story to `5_done` on disk, and index and files of whoever has base checked out. Can be repeated.
pub(crate) fn bring_along(
    place: &MergePaths,
    journal: &MergeJournal,
    checkouts: &[BaseCheckout],
) -> Result<(), MergeError> {
    let file = journal.file()?;
    if journal.board.is_none() {
        // A merge of an earlier version has the story's file. The index knows it before the folder shows it, so that it is no
        // stranger in git's way.
        let done = MergePaths::story_in_tree(Stage::Done, &file);
        for checkout in checkouts.iter().filter(|checkout| is_main(place, checkout)) {
            checkout.stage(place, &[(&done, Some((journal.blob()?, 0o100_644)))])?;
        }
    }
    story_to_done(place, journal, &file)?;
    for checkout in checkouts {
        checkout.follow(place, journal.before()?, journal.commit()?)?;
    }
    Ok(())
}

fn story_to_done(place: &MergePaths, journal: &MergeJournal, file: &FileName) -> Result<(), MergeError> {
    let (from, to) = (place.story(Stage::Merge, file), place.story(Stage::Done, file));
    let there = |path: &Path| path.symlink_metadata().is_ok();
    let repository = place.repository()?;
    let blob = repository.find_blob(journal.blob()?)?;
    if there(&from) && there(&to) {
        // Git may have made the one in done, for a person who brought the checkout along. Two different texts are
        // a person's to choose from.
        let same = std::fs::read(&to).is_ok_and(|text| text == blob.content());
        return if same { std::fs::rename(&from, &to).map_err(MergeError::io(to)) } else { Ok(()) };
    }
    if there(&from) {
        return rename(&from, &to);
    }
    if !there(&to) && !there(&place.story(Stage::Archived, file)) {
        // The file is nowhere on disk, but it is done on the board: the disk follows.
        std::fs::create_dir_all(to.parent().unwrap_or(&place.root)).map_err(MergeError::io(&to))?;
        atomic::write(&to, blob.content()).map_err(MergeError::io(to))?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), MergeError> {
    let folder = to.parent().unwrap_or(to);
    std::fs::create_dir_all(folder).map_err(MergeError::io(folder))?;
    // Never over a file that a person put there.
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
        .map_err(|error| MergeError::io(to)(error.into()))
}

/// Proof on disk, then the journal goes.
pub(crate) fn conclude(place: &MergePaths, journal: &MergeJournal) -> Result<MergeProof, MergeError> {
    let path = place.proof(journal.proof.story);
    let folder = path.parent().unwrap_or(&place.root);
    ignored_folder(folder).map_err(MergeError::io(folder))?;
    let bytes = serde_json::to_vec_pretty(&journal.proof).map_err(std::io::Error::from);
    bytes.and_then(|bytes| atomic::write(&path, &bytes)).map_err(MergeError::io(&path))?;
    // Last: a crash before this line repeats the step; the other order could leave a merge without a proof.
    MergeJournal::remove(place)?;
    Ok(journal.proof.clone())
}

/// Puts base, board and story back where they were, as far as the landing has moved them, and removes the journal.
/// A checkout that had followed already is taken back.
pub(crate) fn drop_journal(
    place: &MergePaths,
    journal: &MergeJournal,
    guard: &BaseGuard,
) -> Result<(), MergeError> {
    board_move::take_back(place, journal, guard)?;
    let file = journal.file()?;
    let done = MergePaths::story_in_tree(Stage::Done, &file);
    let (story, others): (Vec<PathChange>, Vec<PathChange>) =
        changes(place, journal)?.into_iter().partition(|change| change.path == done);
    let stands = tip(place, journal)? == Some(journal.before()?);
    for checkout in checkout::on_base(place, &journal.proof.base)? {
        // Only back from where the landing came: a checkout that never followed still has the old files.
        if stands && checkout.has_followed(&others)? {
            checkout.follow(place, journal.commit()?, journal.before()?)?;
        }
        if stands && journal.board.is_none() && is_main(place, &checkout) {
            checkout.stage(place, &[(&done, story.first().and_then(|change| change.old))])?;
        }
    }
    let (merge, done) = (place.story(Stage::Merge, &file), place.story(Stage::Done, &file));
    if done.exists() && !merge.exists() {
        rename(&done, &merge)?;
    }
    MergeJournal::remove(place)
}

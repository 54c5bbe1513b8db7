//! The first step of a start: finishes or drops the merge that a killed storkit was in.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use agents::tree::{self, ProcessEnvironment, ProcessId};

use super::{
    base_in_use::base_in_use,
    board_move::advance_what_is_left,
    checkout, gate_worktree,
    land::{self, bring_along, changes, conclude, drop_journal},
    paths::MERGE_VARIABLE,
};
use crate::{
    Project,
    gates::GATE_VARIABLE,
    guard::BaseGuard,
    merge::{journal::MergeJournal, outcome::MergeError, paths::MergePaths, proof::MergeProof},
    story::{StoryId, stage::Stage},
};

// How long a git that outlived its storkit may take to exit; a checkout of 10,000 files takes seconds.
const GIT_PATIENCE: Duration = Duration::from_secs(20);

/// How long killed processes may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

const LOOK: Duration = Duration::from_millis(20);

/// The result of the recovery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergeRecovery {
    /// What became of a merge that was on its way.
    pub journal: Option<JournaledMerge>,
    /// Files that somebody changed between crash and start where the merge changes them too: they are as they
    /// were, and git shows them as modified.
    pub kept: Vec<PathBuf>,
    /// Lock files of git's that nobody held.
    pub stale_locks: Vec<PathBuf>,
    /// Processes of gates and git that had to be ended.
    pub ended: usize,
}

/// What became of a merge that was on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournaledMerge {
    /// Base had it already; the rest was brought along.
    Finished(MergeProof),
    /// Base had not moved yet; now it has.
    RolledForward(MergeProof),
    /// Base is elsewhere by now, or something is in the way: the merge is to be done again.
    Dropped(StoryId),
}

/// Finishes or drops a merge that a crash interrupted. Blocks. Call it at start, with the instance
/// lock held and before anything else of the pipeline runs; the jobs that were waiting are taken up
/// by the queue itself.
///
/// Fails with [`MergeError::Unfinished`] when only a person can decide. Nothing is changed then.
pub fn recover(project: &Project) -> Result<MergeRecovery, MergeError> {
    let place = MergePaths::of(project)?;
    let mut recovery = MergeRecovery { ended: end_leftovers(&place.root), ..MergeRecovery::default() };
    let guard = BaseGuard::lock(project)?;
    // Only now: while a git of an earlier storkit lives, its locks are in use.
    recovery.stale_locks = remove_stale_locks(&place);
    gate_worktree::remove_half_made(&place);
    remove_temporaries(&project.run_dir());
    remove_temporaries(&place.jobs());
    if let Some(journal) = MergeJournal::read(&place)? {
        recovery.journal = Some(settle(&place, &journal, &guard, &mut recovery.kept)?);
    }
    Ok(recovery)
}

/// Finishes, rolls forward or drops the merge in the journal.
pub(super) fn settle(
    place: &MergePaths,
    journal: &MergeJournal,
    guard: &BaseGuard,
    kept: &mut Vec<PathBuf>,
) -> Result<JournaledMerge, MergeError> {
    let (before, commit) = (journal.before()?, journal.commit()?);
    let base = land::tip(place, journal)?;
    if base == Some(commit) {
        // A kill between the two refs of the transaction.
        advance_what_is_left(place, journal, guard)?;
        let checkouts = checkout::on_base(place, &journal.proof.base)?;
        let changes = changes(place, journal)?;
        // Git refuses to follow over files that match neither side, so half-written ones first become the old
        // ones again.
        for checkout in &checkouts {
            kept.extend(checkout.undo_half(place, &changes)?);
        }
        bring_along(place, journal, &checkouts)?;
        return conclude(place, journal).map(JournaledMerge::Finished);
    }
    let built_upon = |base| place.repository()?.graph_descendant_of(base, commit);
    if let Some(base) = base
        && built_upon(base)?
    {
        // Whoever built on it has seen to the checkout.
        advance_what_is_left(place, journal, guard)?;
        bring_along(place, journal, &[])?;
        return conclude(place, journal).map(JournaledMerge::Finished);
    }
    let file = journal.file()?;
    let waits = [Stage::Merge, Stage::Done].iter().any(|stage| place.story(*stage, &file).exists());
    // Base has not moved yet. Rolled forward only where nothing can stop it half-way; otherwise the queue does
    // the merge again.
    let is_earlier = journal.board.is_none();
    let is_free = base_in_use(place, &journal.proof.base)?.is_none();
    if base == Some(before) && waits && !is_earlier && is_free && land::in_the_way(place, journal)?.is_empty()
    {
        advance_what_is_left(place, journal, guard)?;
        bring_along(place, journal, &checkout::on_base(place, &journal.proof.base)?)?;
        return conclude(place, journal).map(JournaledMerge::RolledForward);
    }
    drop_journal(place, journal, guard)?;
    Ok(JournaledMerge::Dropped(journal.proof.story))
}

// Gates that outlived their storkit are killed; git is let finish first, since it may be writing files.
fn end_leftovers(root: &Path) -> usize {
    let is_git = |environment: &ProcessEnvironment| {
        environment.get(MERGE_VARIABLE) == Some(root.as_os_str().as_encoded_bytes())
    };
    let mark = format!("{}/", root.display());
    let is_gate = |environment: &ProcessEnvironment| {
        environment.get(GATE_VARIABLE).is_some_and(|value| value.starts_with(mark.as_bytes()))
    };
    // Mostly nothing is left, and one look at all processes shows that.
    if tree::marked(|environment| is_gate(environment) || is_git(environment)).is_empty() {
        return 0;
    }
    let mut ended = tree::kill_all(KILL_PATIENCE, || tree::marked(is_gate));
    let git = || tree::marked(is_git);
    let until = Instant::now() + GIT_PATIENCE;
    let mut alive: BTreeSet<ProcessId> = git();
    while !alive.is_empty() && Instant::now() < until {
        thread::sleep(LOOK);
        alive.retain(|seen| seen.is_alive());
    }
    if !git().is_empty() {
        ended += tree::kill_all(KILL_PATIENCE, git);
    }
    ended
}

/// Locks that no living git can hold: those of base and of the checkouts of base, unless a git is at work in the
/// project, and those of storkit's own worktrees.
fn remove_stale_locks(place: &MergePaths) -> Vec<PathBuf> {
    let mut locks = Vec::new();
    collect_locks(&place.common, 0, &mut locks);
    if locks.is_empty() {
        return locks;
    }
    let until = Instant::now() + KILL_PATIENCE;
    while git_at_work(place) && Instant::now() < until {
        thread::sleep(LOOK);
    }
    let busy = git_at_work(place);
    let own = |lock: &Path| lock.starts_with(place.common.join("worktrees/merge"));
    locks.retain(|lock| (own(lock) || !busy) && fs::remove_file(lock).is_ok());
    locks
}

/// `*.lock` where git makes them: next to index, HEAD, config, packed-refs and refs. Objects have none.
fn collect_locks(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let skipped = depth == 0
            && ["objects", "hooks", "info", "lfs", "modules"].iter().any(|name| entry.file_name() == *name);
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !skipped && depth < 16 => collect_locks(&path, depth + 1, found),
            // A file of that name holds a folder of refs that a sandbox binds; nobody waits for it.
            Ok(kind)
                if kind.is_file() && path.file_name().is_some_and(|name| name == crate::worktree::KEEP) => {}
            Ok(kind) if kind.is_file() && path.extension().is_some_and(|end| end == "lock") => {
                found.push(path)
            }
            _ => {}
        }
    }
}

/// Whether a git that may write runs in the project or one of its checkouts.
fn git_at_work(place: &MergePaths) -> bool {
    let in_project = |process: &Path| {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        let folder = fs::read_link(process.join("cwd")).unwrap_or_default();
        let here = folder.starts_with(&place.root) || folder.starts_with(&place.common);
        name.starts_with("git") && here && !only_reads(&fs::read(process.join("cmdline")).unwrap_or_default())
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.map(|entry| entry.path()).any(|process| in_project(&process))
}

// A pager or an editor may hold such a git open for days.
fn only_reads(command_line: &[u8]) -> bool {
    const READERS: [&[u8]; 8] =
        [b"log", b"diff", b"show", b"blame", b"grep", b"reflog", b"cat-file", b"help"];
    command_line.split(|byte| *byte == 0).skip(1).any(|word| READERS.contains(&word))
}

// A younger temporary file may belong to a writer in this process.
const LEFT_BEHIND: Duration = Duration::from_secs(10);

fn remove_temporaries(run: &Path) {
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let old = || {
            let written = entry.metadata().and_then(|found| found.modified()).ok();
            written.and_then(|written| written.elapsed().ok()).is_some_and(|age| age > LEFT_BEHIND)
        };
        if name.starts_with(b".tmp-merge") || (name.starts_with(b".tmp") && old()) {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

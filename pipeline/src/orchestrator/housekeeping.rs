//! Regular work: commits stories' files, archives done stories, removes worktrees that nobody needs.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Orchestrator, committer,
    lane::blocking,
    removal::spare_slots,
    stories::{StoryStep, StoryWork},
};
use crate::{
    Project,
    board::{Board, watcher::WorkChange},
    config::ProjectConfig,
    event::Actor,
    gates::GateRunner,
    host::{AgentSettings, command_gates},
    merge::{MergeProof, MergeSettings},
    open_hosts::CommandHosts,
    rooms,
    sentence::sentence,
    story::{
        Story, StoryId,
        stage::{Mover, Stage},
    },
    worktree::{BranchFate, WorktreeName, WorktreeRemains, Worktrees},
};

/// Done stories are looked at every so many ticks: once a minute.
const ARCHIVE_EVERY: u64 = 12;

/// Worktrees are looked at every so many ticks: once an hour.
const REAP_EVERY: u64 = 720;

/// At most so many stories are archived at a time, so that orders do not wait for it.
const ARCHIVED_AT_ONCE: usize = 50;

/// A time limit where there is none.
pub(super) const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Orchestrator {
    /// Commits the stories' files that the board's branch keeps, if that is due.
    pub(super) fn commit_if_due(&mut self) {
        if self.stories.started.looks > 0 || !self.stories.commits.begin(SystemTime::now()) {
            return;
        }
        let (project, base, own) =
            (self.context.project.clone(), self.config.base.clone(), self.context.own.clone());
        let blobs = self.stories.commits.blobs.clone();
        let commit = move || {
            committer::commit_stories(&project, &base, &own, &blobs).map_err(|error| error.to_string())
        };
        // Where a story comes from is on disk before its file is in git, which would look as if git had brought it.
        let recorded = self.stories.lane.clone();
        let commit = async move {
            recorded.flush().await;
            blocking(commit).await.and_then(|done| done)
        };
        self.spawn(commit, |this, result| {
            if matches!(result, Ok(committer::CommitResult::Restored(_))) {
                this.files_changed(WorkChange::Rescan);
            }
            if let Some(text) = this.stories.commits.end(result, SystemTime::now()) {
                this.publisher.alarm(None, text);
            }
            this.commit_if_due();
        });
    }

    pub(super) fn tick(&mut self, ticks: u64) {
        self.commit_if_due();
        self.look_again_if_due();
        self.reload_if_due();
        // 1 and not 0: stories that became due while storkit was down go with the first tick.
        if ticks % ARCHIVE_EVERY == 1 {
            self.archive();
        }
        if ticks.is_multiple_of(REAP_EVERY) {
            self.reap();
        }
    }

    /// Stories that have been done long enough.
    fn archive(&mut self) {
        let Some(after) = self.config.in_force.sweep_after.limit() else { return };
        let now = SystemTime::now();
        let due = |since: SystemTime| now.duration_since(since).is_ok_and(|age| age >= after);
        let done = self.stories.board.in_stage(Stage::Done);
        let due: Vec<StoryId> = done
            .filter(|story| due(story.since))
            .map(|story| story.id())
            // The archive must not hide a story that was never merged.
            .filter(|id| !self.holds.is_unproven(*id) && !self.pending.is_pending(*id))
            .take(ARCHIVED_AT_ONCE)
            .collect();
        for id in due {
            let about = StoryWork::on(id).by(Actor::Pipeline, None);
            let archive = vec![StoryStep::Move(Stage::Archived, Mover::Pipeline)];
            self.take_steps(about, id, archive, move |_, done| {
                if let Err(error) = done {
                    tracing::warn!(story = %id, %error, "a done story could not be archived");
                }
            });
        }
    }

    /// Removes worktrees that belong to no story in work.
    pub(super) fn reap(&self) {
        let (worktrees, project) = (self.context.worktrees.clone(), self.context.project.clone());
        let board = Arc::clone(&self.stories.board);
        let find = blocking(move || stale(&worktrees, &project, &board));
        self.spawn(async { find.await.and_then(|found| found) }, |this, found| match found {
            Ok(found) => found.into_iter().for_each(|(name, branch)| this.remove_stale(name, branch)),
            Err(why) => {
                let text = format!("The worktrees cannot be listed: {}", sentence(&why));
                this.publisher.alarm(None, text);
            }
        });
        self.reap_rooms();
        self.reap_slots();
    }

    /// Removes worktrees that no story will use: broken ones, and more than there are coders.
    fn reap_slots(&self) {
        let worktrees = self.context.worktrees.clone();
        let most = spare_slots(&self.config.in_force);
        let reap = move || {
            if let Err(error) = worktrees.reap_slots(most) {
                tracing::warn!(%error, "worktrees that no story needs cannot be removed");
            }
        };
        self.spawn(blocking(reap), |_, _| ());
    }

    /// Removes the worktrees of rooms that have no changes and that nobody has used for long.
    fn reap_rooms(&self) {
        let (worktrees, project) = (self.context.worktrees.clone(), self.context.project.clone());
        let base = self.config.base.clone();
        let reap = move || {
            for room in rooms::idle_rooms(&project) {
                match rooms::remove_idle(&worktrees, &base, &room, SystemTime::now()) {
                    Ok(true) => tracing::info!(%room, "the worktree of a room that nobody uses is removed"),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%room, %error, "a room's worktree cannot be removed"),
                }
            }
            if let Err(error) = rooms::forget_old_copies(&project, SystemTime::now()) {
                tracing::warn!(%error, "copies of discarded changes cannot be removed");
            }
        };
        self.spawn(blocking(reap), |_, _| ());
    }

    /// Unless its story has come to work meanwhile.
    fn remove_stale(&mut self, name: WorktreeName, branch: BranchFate) {
        let in_use = self.runs.of(name.id()).is_some()
            || self.pending.is_pending(name.id())
            || may_be_in_work(&name, &self.stories.board);
        if !in_use {
            tracing::info!(worktree = %name, "a worktree that no story in work needs is removed");
            self.remove_worktree(name, branch);
        }
    }

    /// Opens hosts to the project's commands.
    pub(super) fn command_hosts(&self) -> CommandHosts {
        CommandHosts::new(&self.context.project, &self.config.base, command_gates(&self.context.host))
    }
}

/// What holds for merges.
pub(super) fn merge_settings(
    base: &str,
    config: &ProjectConfig,
    settings: &AgentSettings,
    hosts: CommandHosts,
) -> MergeSettings {
    let gates = GateRunner {
        commands: config.gates.clone(),
        timeout: config.gate_timeout.limit().unwrap_or(FOR_EVER),
        ..GateRunner::default()
    };
    MergeSettings {
        base: base.to_owned(),
        gates,
        network: config.gate_network.clone(),
        hosts,
        components: config.components.clone(),
        confinement: settings.confinement(),
        variables: settings.wall.variables.clone(),
    }
}

/// Worktrees that are to go, with what becomes of their branches. Blocks.
fn stale(
    worktrees: &Worktrees,
    project: &Project,
    board: &Board,
) -> Result<Vec<(WorktreeName, BranchFate)>, String> {
    let found = worktrees.list().map_err(|error| error.to_string())?;
    let goes = |(name, found): (WorktreeName, WorktreeRemains)| match fate(&name, project, board)? {
        // Of one whose branch stays there must be something else to remove.
        BranchFate::Keep => {
            (found.folder || found.admin || found.private).then_some((name, BranchFate::Keep))
        }
        BranchFate::Delete => Some((name, BranchFate::Delete)),
    };
    Ok(found.into_iter().filter_map(goes).collect())
}

/// Decides about a worktree; `None`: it stays. A merged one is removed with its branch; others leave their branch.
fn fate(name: &WorktreeName, project: &Project, board: &Board) -> Option<BranchFate> {
    if may_be_in_work(name, board) {
        return None;
    }
    let own = own_story(name, board).map(|story| story.stage);
    let is_done = matches!(own, Some(Stage::Done | Stage::Archived));
    let merged = is_done && matches!(MergeProof::read(project.root(), name.id()), Ok(Some(_)));
    // An unmerged branch may be the only copy of somebody's work.
    Some(if merged { BranchFate::Delete } else { BranchFate::Keep })
}

/// Whether its story is in work, or cannot be read now.
fn may_be_in_work(name: &WorktreeName, board: &Board) -> bool {
    match own_story(name, board) {
        Some(story) => matches!(story.stage, Stage::Current | Stage::Qa | Stage::Merge),
        None => board.problem(name.id()).is_some(),
    }
}

fn own_story<'a>(name: &WorktreeName, board: &'a Board) -> Option<&'a Arc<Story>> {
    board.story(name.id()).filter(|story| super::name_of(story).as_ref() == Some(name))
}

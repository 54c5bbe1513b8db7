//! Changed files become events, commits, and the snapshot.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Orchestrator, RunVerdict, TaskEvent, blocking, setup::merged_on};
use crate::{
    board::Board,
    committer::{self, CommitResult},
    event::{Actor, MergeView, PipelineEvent, PipelineSnapshot, Worker},
    merge::{MergeProof, MergeStatus},
    sentence::sentence,
    stage::Stage,
    story::{Story, StoryId},
    watcher::WorkChange,
};

/// A commit that was refused is tried again after so long.
const COMMIT_AGAIN: Duration = Duration::from_secs(30);

/// Who moved which story, and why.
pub(super) type Cause = Option<(StoryId, Actor, Option<String>)>;

impl Orchestrator {
    pub(super) async fn changed(&mut self, changed: WorkChange) {
        let board = match changed {
            WorkChange::Config => return self.reload().await,
            WorkChange::Files(paths) => self.with_work(move |work| work.refresh(&paths)).await,
            WorkChange::Rescan => self.with_work(crate::board::WorkFolder::scan).await,
        };
        match board {
            Ok(board) => self.compare(board, None).await,
            Err(error) => tracing::warn!(%error, "the stories cannot be read"),
        }
    }

    /// Takes up what the pipeline itself has changed.
    pub(super) async fn rescan(&mut self, cause: Cause) {
        match self.with_work(crate::board::WorkFolder::board).await {
            Ok(board) => self.compare(board, cause).await,
            Err(error) => tracing::warn!(%error, "the stories cannot be read"),
        }
    }

    async fn compare(&mut self, board: Arc<Board>, cause: Cause) {
        let cause = cause.or_else(|| self.merging().map(|id| (id, Actor::Pipeline, None)));
        let before = std::mem::replace(&mut self.board, board);
        let changes = changes(&before, &self.board, &cause);
        for problem in self.board.problems.iter().filter(|problem| !before.problems.contains(problem)) {
            self.teller.tell(PipelineEvent::ProblemFound { problem: problem.to_string() });
        }
        for event in changes {
            self.follow_up(&event).await;
            self.teller.tell(event);
        }
        self.commit();
    }

    /// The story that is being merged: the queue moves its file, which the watcher may see before the end is told.
    fn merging(&self) -> Option<StoryId> {
        let running = |id: &StoryId| matches!(self.merges.status(*id), Some(MergeStatus::Running { .. }));
        self.board.in_stage(Stage::Merge).map(|story| story.id()).find(running)
    }

    /// What a change of a story's file means for what is going on.
    async fn follow_up(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::StoryCreated { story, stage, .. } => {
                self.commit.wanted |= stage.is_committed();
                if *stage == Stage::Done {
                    self.check_proof(*story);
                }
            }
            PipelineEvent::StoryMoved { story, from, to, .. } => {
                self.commit.wanted |= from.is_committed() || to.is_committed();
                self.asked.remove(story);
                self.leave_stage(*story, *from, *to).await;
            }
            PipelineEvent::StoryDeleted { story, stage, .. } => {
                self.commit.wanted |= stage.is_committed();
                self.asked.remove(story);
                self.unproven.remove(story);
                self.end_run(*story, RunVerdict::Settled);
                self.leave_merge(*story).await;
            }
            PipelineEvent::StoryChanged { story, .. } => {
                self.commit.wanted |= self.story(*story).is_some_and(|story| story.stage.is_committed());
            }
            _ => {}
        }
    }

    async fn leave_stage(&mut self, id: StoryId, from: Stage, to: Stage) {
        if from == Stage::Done {
            self.unproven.remove(&id);
        }
        // The queue's own move is looked at when its end is told: the proof is written last.
        let merging = matches!(self.merges.status(id), Some(MergeStatus::Running { .. }));
        if to == Stage::Done && !merging {
            self.check_proof(id);
        }
        // A run whose story was dragged elsewhere has nothing more to do.
        let misplaced = self.runs.get(&id).is_some_and(|run| to.role() != Some(run.info.role));
        if misplaced && self.runs.get(&id).is_some_and(|run| run.verdict == RunVerdict::Own && !run.over) {
            self.end_run(id, RunVerdict::Settled);
        }
        if from == Stage::Merge && to != Stage::Done {
            self.leave_merge(id).await;
        }
    }

    /// Takes a story out of the merge queue, with what waits of it.
    pub(super) async fn leave_merge(&mut self, id: StoryId) {
        if let Err(error) = self.merges.cancel(id) {
            tracing::warn!(story = %id, %error, "a merge could not be called off");
        }
        if self.merges.conflicts().contains(&id) {
            let merges = Arc::clone(&self.merges);
            if let Ok(Err(error)) = blocking(move || merges.abort(id)).await {
                tracing::warn!(story = %id, %error, "a conflict's worktree could not be removed");
            }
        }
    }

    /// Done means merged: a file that somebody put there is not believed, and not committed.
    fn check_proof(&mut self, id: StoryId) {
        let proven = || {
            matches!(MergeProof::read(self.project.root(), id), Ok(Some(_)))
                || merged_on(&self.project, &self.base).contains(&id)
        };
        if !self.unproven.contains(&id) && !proven() {
            self.unproven.insert(id);
            let text = format!(
                "Story {id} lies in `5_done`, but it was never merged. It is not committed there. Move it back, \
                 e.g. to `4_merge`; `storkit doctor --audit` says more."
            );
            self.teller.alarm(Some(id), text);
        }
    }

    /// Commits what git keeps of the stories, in the background, one at a time.
    pub(super) fn commit(&mut self) {
        let waits = self.commit.not_before.is_some_and(|at| at > SystemTime::now());
        if !self.commit.wanted || self.commit.running || waits {
            return;
        }
        (self.commit.wanted, self.commit.running) = (false, true);
        let (project, base, own) = (self.project.clone(), self.base.clone(), self.shop.own.clone());
        let inner = self.inner.clone();
        tokio::spawn(async move {
            let commit = move || {
                let committed = committer::commit_stories(&project, &base, &own);
                committed.map_err(|error| error.to_string())
            };
            let committed = blocking(commit).await.and_then(|committed| committed);
            let _ = inner.send(TaskEvent::Committed(committed)).await;
        });
    }

    pub(super) fn committed(&mut self, result: Result<CommitResult, String>) {
        self.commit.running = false;
        let why = match result {
            Ok(CommitResult::NotNow(why)) | Err(why) => why,
            Ok(done) => {
                self.commit.not_before = None;
                self.commit.refused = None;
                // There may be more than fits into one.
                self.commit.wanted |= matches!(done, CommitResult::Commit(_));
                return self.commit();
            }
        };
        self.commit.wanted = true;
        self.commit.not_before = Some(SystemTime::now() + COMMIT_AGAIN);
        if self.commit.refused.as_ref() != Some(&why) {
            self.teller.alarm(None, format!("Stories' files are not committed for now: {why}"));
            self.commit.refused = Some(why);
        }
    }

    /// Sends the events, and makes the state that belongs to them. What an agent says changes none.
    pub(super) fn publish(&mut self) {
        if self.teller.has_only_lines() {
            return self.teller.publish_lines();
        }
        let in_work = [Stage::Current, Stage::Qa, Stage::Merge];
        let stories: Vec<Arc<Story>> =
            in_work.into_iter().flat_map(|stage| self.board.in_stage(stage)).cloned().collect();
        let mut holds = BTreeMap::new();
        let mut merges = BTreeMap::new();
        for story in &stories {
            let id = story.id();
            if story.stage == Stage::Merge
                && let Some(status) = self.merges.status(id)
                && !matches!(&status, MergeStatus::Ended(ended) if ended.result.is_err())
            {
                merges.insert(id, MergeView::of(&status));
            }
            if let Some(held) = self.held(story) {
                self.ask(story, &held);
                holds.insert(id, held.clause);
            } else {
                self.asked.remove(&id);
            }
        }
        let slots = self.slots().into_iter();
        let workers = slots
            .map(|slot| Worker {
                slot: slot.name,
                agent: slot.agent,
                role: slot.role,
                busy_with: slot.busy_with,
            })
            .collect();
        let paused = self.pause.as_ref().map(|(why, _)| why.clone()).or_else(|| self.config_trouble.clone());
        let snapshot = PipelineSnapshot {
            seq: 0,
            board: Arc::clone(&self.board),
            runs: self.runs.values().map(|run| run.info.clone()).collect(),
            workers,
            merges,
            holds,
            paused,
            base: self.base.clone(),
            protection: self.protection.clone(),
        };
        self.teller.publish(snapshot);
    }

    /// A person is asked once for each reason.
    fn ask(&mut self, story: &Story, held: &super::work::HeldStory) {
        let Some(wanted) = held.wanted else { return };
        let id = story.id();
        if self.asked.get(&id) != Some(&held.clause) {
            self.asked.insert(id, held.clause.clone());
            let why = sentence(&format!("Story {id}: {}", held.clause));
            self.teller.tell(PipelineEvent::NeedsPerson {
                story: id,
                title: story.front.name.clone(),
                why,
                wanted,
            });
        }
    }
}

/// What differs, in the order of the stories' numbers. Unchanged stories are shared, so that comparing 10,000 costs
/// as many pointers.
fn changes(before: &Board, after: &Board, cause: &Cause) -> Vec<PipelineEvent> {
    let who = |id: StoryId| match cause {
        Some((story, by, why)) if *story == id => (by.clone(), why.clone()),
        _ => (Actor::Editor, None),
    };
    let mut events = Vec::new();
    let (mut old, mut new) = (before.stories.iter().peekable(), after.stories.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return events,
            (Some(gone), next) if next.is_none_or(|next| next.id() > gone.id()) => {
                let (by, _) = who(gone.id());
                let (story, title, stage) = (gone.id(), gone.front.name.clone(), gone.stage);
                // One that cannot be read any more is a problem, not gone.
                if after.problem(story).is_none() {
                    events.push(PipelineEvent::StoryDeleted { story, title, stage, by });
                }
                old.next();
            }
            (last, Some(come)) if last.is_none_or(|last| last.id() > come.id()) => {
                let (by, _) = who(come.id());
                let (story, title, stage) = (come.id(), come.front.name.clone(), come.stage);
                if before.problem(story).is_none() {
                    events.push(PipelineEvent::StoryCreated { story, title, stage, by });
                }
                new.next();
            }
            (Some(one), Some(other)) => {
                if !Arc::ptr_eq(one, other) {
                    events.extend(difference(one, other, &who));
                }
                old.next();
                new.next();
            }
            (Some(_), None) | (None, Some(_)) => return events,
        }
    }
}

fn difference(
    one: &Story,
    other: &Story,
    who: &dyn Fn(StoryId) -> (Actor, Option<String>),
) -> Option<PipelineEvent> {
    let (story, title) = (other.id(), other.front.name.clone());
    if one.stage != other.stage {
        let (by, why) = who(story);
        return Some(PipelineEvent::StoryMoved { story, title, from: one.stage, to: other.stage, by, why });
    }
    let same = one.front == other.front && one.criteria == other.criteria && one.since == other.since;
    (!same).then_some(PipelineEvent::StoryChanged { story, title })
}

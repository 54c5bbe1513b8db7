//! Changes stories' files in one lane, compares the board afterwards, and follows up on every change, also on those that
//! people make by hand.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use super::{
    Orchestrator, PAUSE,
    lane::blocking,
    runs::RunVerdict,
    setup::merged_on,
    stories::{Cause, FrontEdit, StoryStep, StoryWork, changes, take_steps},
};
use crate::{
    board::{self, Board, BoardBranchError, BoardSync, WorkError, WorkFolder, watcher::WorkChange},
    event::{Actor, LandingNews, PipelineEvent},
    merge::{MergeProof, MergeStatus},
    story::{BlockReason, Story, StoryId, stage::Stage},
};

impl Orchestrator {
    pub(super) fn story(&self, id: StoryId) -> Option<Arc<Story>> {
        self.stories.board.story(id).cloned()
    }

    /// Works on stories' files in the lane. When that is done the board is compared, its changes are reported,
    /// and `then` continues with the result.
    pub(super) fn work_on<T: Send + 'static>(
        &mut self,
        mut about: StoryWork,
        work: impl FnOnce(&WorkFolder) -> Result<T, WorkError> + Send + 'static,
        then: impl FnOnce(&mut Self, Result<T, WorkError>) + Send + 'static,
    ) {
        let cause = about.cause.take();
        self.work_with_cause(about, work, |_| cause, then);
    }

    /// As [`Orchestrator::work_on`], where only the work shows whose change it is.
    pub(super) fn work_with_cause<T: Send + 'static>(
        &mut self,
        about: StoryWork,
        work: impl FnOnce(&WorkFolder) -> Result<T, WorkError> + Send + 'static,
        cause: impl FnOnce(&Result<T, WorkError>) -> Cause + Send + 'static,
        then: impl FnOnce(&mut Self, Result<T, WorkError>) + Send + 'static,
    ) {
        let StoryWork { story, first, .. } = about;
        if let Some(story) = story {
            self.pending.begin(story);
        }
        let folder = Arc::clone(&self.stories.work);
        let (project, base) = (self.context.project.clone(), self.config.base.clone());
        let unsettled = Arc::clone(&self.stories.unsettled);
        let job = move || {
            // First of all: what git did to the folder is no edit.
            let synced = board::sync(&project, &base);
            unsettled.store(matches!(synced, Ok(BoardSync::Unsettled(_))), Ordering::SeqCst);
            let done = work(&folder);
            // The board is read within the job, so that the next job's changes are not reported with this
            // one's cause.
            (done, folder.board(), synced)
        };
        self.run_in_lane(&self.stories.lane, story, job, move |this, done| {
            first.into_iter().for_each(|event| this.publisher.emit(event));
            let (done, board) = match done {
                Ok((done, board, synced)) => {
                    this.report_sync(synced);
                    (done, board)
                }
                Err(why) => {
                    let error = || WorkError::Disk {
                        path: PathBuf::from(".storkit/work"),
                        source: std::io::Error::other(why.clone()),
                    };
                    (Err(error()), Err(error()))
                }
            };
            match board {
                Ok(board) => this.compare(board, cause(&done)),
                Err(error) => tracing::warn!(%error, "the stories cannot be read"),
            }
            then(this, done);
        });
    }

    /// Takes steps with a story that the pipeline decided by its rules.
    pub(super) fn take_steps(
        &mut self,
        about: StoryWork,
        id: StoryId,
        steps: Vec<StoryStep>,
        then: impl FnOnce(&mut Self, Result<(), WorkError>) + Send + 'static,
    ) {
        self.work_on(about, move |work| take_steps(work, id, &steps), then);
    }

    /// Changes a story's front matter; a story that is gone or broken meanwhile is left.
    pub(super) fn edit_front_matter(
        &mut self,
        id: StoryId,
        edits: Vec<FrontEdit>,
        then: impl FnOnce(&mut Self) + Send + 'static,
    ) {
        self.take_steps(StoryWork::on(id), id, vec![StoryStep::Edit(edits)], move |this, done| {
            if let Err(error) = done {
                tracing::warn!(story = %id, %error, "a story could not be marked");
                this.leave_alone(id);
            }
            then(this);
        });
    }

    /// After a write that failed: nothing is decided about the story for a while.
    pub(super) fn leave_alone(&mut self, id: StoryId) {
        self.holds.leave_alone(id, SystemTime::now() + PAUSE);
    }

    pub(super) fn block(&mut self, id: StoryId, reason: BlockReason) {
        self.edit_front_matter(id, vec![FrontEdit::Block(reason)], |_| ());
    }

    /// Files changed by hand.
    pub(super) fn files_changed(&mut self, changed: WorkChange) {
        let log = |_: &mut Self, done: Result<Arc<Board>, WorkError>| {
            if let Err(error) = done {
                tracing::warn!(%error, "the stories cannot be read");
            }
        };
        match changed {
            WorkChange::Config => self.reload(),
            // The story's file moves before base and the checkouts have; all files are scanned when the merge has ended.
            WorkChange::Files(_) | WorkChange::Rescan if self.is_landing() => {
                self.stories.changed_while_landing = true;
            }
            WorkChange::Files(paths) => {
                self.look(move |work| work.refresh(&paths), log);
            }
            WorkChange::Rescan => self.look(WorkFolder::scan, log),
        }
    }

    /// Reads changed files, unless git is at work in the checkout: what the folder shows then is nobody's edit.
    fn look(
        &mut self,
        read: impl FnOnce(&WorkFolder) -> Result<Arc<Board>, WorkError> + Send + 'static,
        then: impl FnOnce(&mut Self, Result<Arc<Board>, WorkError>) + Send + 'static,
    ) {
        let unsettled = Arc::clone(&self.stories.unsettled);
        let look = move |work: &WorkFolder| match unsettled.load(Ordering::SeqCst) {
            true => work.board(),
            false => read(work),
        };
        self.work_on(StoryWork::default(), look, then);
    }

    fn report_sync(&mut self, synced: Result<BoardSync, BoardBranchError>) {
        match synced {
            Ok(BoardSync::Settled) => {}
            Ok(BoardSync::Restored(restored)) => {
                self.publisher.alarm(None, restored.to_string());
                // Files that did not come back are edits.
                self.files_changed(WorkChange::Rescan);
            }
            Ok(BoardSync::Unsettled(why)) => {
                tracing::info!(why, "the stories' files are looked at later");
            }
            Err(error) => tracing::warn!(%error, "the stories cannot be compared with the board's branch"),
        }
    }

    /// Looks at the files again that changed while git was at work.
    pub(super) fn look_again_if_due(&mut self) {
        if self.stories.unsettled.load(Ordering::SeqCst) {
            self.files_changed(WorkChange::Rescan);
        }
    }

    /// Looks at the files that changed during a landing, once it is over.
    pub(super) fn catch_up_after_landing(&mut self) {
        if self.stories.changed_while_landing && !self.is_landing() {
            self.stories.changed_while_landing = false;
            self.files_changed(WorkChange::Rescan);
        }
    }

    fn compare(&mut self, board: Arc<Board>, cause: Cause) {
        let cause = cause.or_else(|| self.merging().map(|id| (id, Actor::Pipeline, None)));
        let before = std::mem::replace(&mut self.stories.board, board);
        let changes = changes(&before, &self.stories.board, &cause);
        for problem in self.stories.board.problems.iter().filter(|problem| !before.problems.contains(problem))
        {
            self.publisher.emit(PipelineEvent::ProblemFound { problem: problem.to_string() });
        }
        for event in changes {
            self.follow_up(&event);
            self.publisher.emit(event);
        }
        self.check_arrivals();
        self.commit_if_due();
    }

    fn is_landing(&self) -> bool {
        self.stories.board.in_stage(Stage::Merge).any(|story| self.merges.is_landing(story.id()))
    }

    /// The story that is being merged: the queue moves its file, which the watcher may see before the merge's result arrives.
    fn merging(&self) -> Option<StoryId> {
        let running = |id: &StoryId| matches!(self.merges.status(*id), Some(MergeStatus::Running { .. }));
        self.stories.board.in_stage(Stage::Merge).map(|story| story.id()).find(running)
    }

    /// The consequences of a changed file for the work on its story.
    fn follow_up(&mut self, event: &PipelineEvent) {
        let mut committed = false;
        match event {
            PipelineEvent::StoryCreated { story, stage, by, .. } => {
                committed = stage.is_committed();
                self.follow_stage(*story, *stage, by);
                if *stage == Stage::Done {
                    self.check_proof(*story);
                }
            }
            PipelineEvent::StoryMoved { story, title, from, to, by, why } => {
                committed = from.is_committed() || to.is_committed();
                self.follow_stage(*story, *to, by);
                if *to == Stage::Current && matches!(from, Stage::Qa | Stage::Merge) {
                    let why = why.clone().unwrap_or_else(|| format!("moved back from {from}"));
                    self.tell_room(*story, title, LandingNews::SentBack { why });
                }
                self.holds.forget_question(*story);
                self.leave_stage(*story, *from, *to);
            }
            PipelineEvent::StoryDeleted { story, title, stage, .. } => {
                committed = stage.is_committed();
                self.tell_room(*story, title, LandingNews::Deleted);
                self.holds.forget(*story);
                let Self { stories, .. } = self;
                stories.started.release(*story, &stories.lane);
                self.follow_stage(*story, Stage::Archived, &Actor::Pipeline);
                self.runs.end(*story, RunVerdict::Settled);
                self.leave_merge(*story);
            }
            PipelineEvent::StoryChanged { story, .. } => {
                committed = self.story(*story).is_some_and(|story| story.stage.is_committed());
            }
            _ => {}
        }
        if committed {
            self.stories.commits.want();
        }
    }

    fn leave_stage(&mut self, id: StoryId, from: Stage, to: Stage) {
        if from == Stage::Done {
            self.holds.proven(id);
        }
        // The queue's own move is checked when its result arrives: the proof is written last.
        let merging = matches!(self.merges.status(id), Some(MergeStatus::Running { .. }));
        if to == Stage::Done && !merging {
            self.check_proof(id);
        }
        self.runs.end_misplaced(id, to);
        if from == Stage::Merge && to != Stage::Done {
            self.leave_merge(id);
        }
    }

    /// Done means merged: a file that somebody put there is not believed, and not committed.
    fn check_proof(&mut self, id: StoryId) {
        let (project, base) = (self.context.project.clone(), self.config.base.clone());
        let is_proven = move || {
            matches!(MergeProof::read(project.root(), id), Ok(Some(_)))
                || merged_on(&project, &base).contains(&id)
        };
        // Outside the loop: it may walk all commits of base.
        self.spawn(blocking(is_proven), move |this, proven| {
            let is_done = this.story(id).is_some_and(|story| story.stage == Stage::Done);
            // A check that panicked proves nothing, so it raises no alarm.
            if proven != Ok(false) || !is_done || !this.holds.unproven(id) {
                return;
            }
            let text = format!(
                "Story {id} is in `5_done`, but it was never merged. Its file is not committed there. Move it back, \
                 e.g. to `4_merge`; run `storkit doctor --audit` for details."
            );
            this.publisher.alarm(Some(id), text);
        });
    }
}

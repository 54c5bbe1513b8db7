//! The stories as the orchestrator knows them, and every change of their files: written in one lane, compared with
//! the previous board, and turned into events.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use super::{
    Orchestrator, PAUSE, blocking, lane::WorkLane, runs::RunVerdict, setup::merged_on, started::StartedStories,
};
use crate::{
    board::{Board, WorkError, WorkFolder, watcher::WorkChange},
    event::{Actor, PipelineEvent},
    merge::{MergeProof, MergeStatus},
    story::{
        BlockReason, EditError, Story, StoryDocument, StoryId,
        stage::{Mover, Stage},
    },
};

/// The board, and the way to change it.
pub(super) struct Stories {
    // Shared with the lane's thread and with runs, which read a story's text when they start.
    pub work: Arc<WorkFolder>,
    pub board: Arc<Board>,
    /// All files of stories are written here, one after the other.
    pub lane: WorkLane,
    /// Files changed during a landing. It may end without a merge, if a person has moved base.
    pub changed_while_landing: bool,
    /// Those that may be worked on; others in work came with the repository.
    pub started: StartedStories,
}

/// Who moved which story, and why.
pub(super) type Cause = Option<(StoryId, Actor, Option<String>)>;

/// Describes a piece of work on stories' files.
#[derive(Default)]
pub(super) struct StoryWork {
    /// What comes for this story waits until the work is done.
    story: Option<StoryId>,
    cause: Cause,
    /// Reported before the changes that the work makes.
    first: Vec<PipelineEvent>,
}

impl StoryWork {
    pub(super) fn on(story: StoryId) -> Self {
        Self { story: Some(story), ..Self::default() }
    }

    pub(super) fn by(self, actor: Actor, why: Option<String>) -> Self {
        Self { cause: self.story.map(|story| (story, actor, why)), ..self }
    }

    pub(super) fn after(self, first: Vec<PipelineEvent>) -> Self {
        Self { first, ..self }
    }
}

/// A change of one front matter key that the pipeline makes by its rules.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FrontEdit {
    Block(BlockReason),
    Unblock,
    Retries(u32),
    ClearRetries,
    MergeFailure(String),
    ClearMergeFailure,
    Prefer(String),
}

/// One step of a change; after a crash between two, the next start continues from there.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StoryStep {
    Move(Stage, Mover),
    Edit(Vec<FrontEdit>),
}

impl FrontEdit {
    fn apply(&self, document: &mut StoryDocument) -> Result<(), EditError> {
        match self {
            Self::Block(reason) => document.block(reason),
            Self::Unblock => document.unblock(),
            Self::Retries(count) => document.set("retry_count", *count),
            Self::ClearRetries => document.remove("retry_count"),
            Self::MergeFailure(why) => document.set("merge_failure", why.as_str()),
            Self::ClearMergeFailure => document.remove("merge_failure"),
            Self::Prefer(agent) => document.set("agent", agent.as_str()),
        }
    }
}

/// Does the steps in order, up to the first that fails. Blocks.
pub(super) fn take_steps(work: &WorkFolder, id: StoryId, steps: &[StoryStep]) -> Result<(), WorkError> {
    for step in steps {
        match step {
            StoryStep::Move(to, mover) => drop(work.move_story(id, *to, *mover)?),
            StoryStep::Edit(edits) => {
                work.edit(id, |document| edits.iter().try_for_each(|edit| edit.apply(document)))?;
            }
        }
    }
    Ok(())
}

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
        let job = move || {
            let done = work(&folder);
            // The board is read within the job, so that the next job's changes are not reported with this
            // one's cause.
            (done, folder.board())
        };
        self.stories.lane.run(story, job, move |this, done| {
            first.into_iter().for_each(|event| this.publisher.tell(event));
            let (done, board) = done.unwrap_or_else(|why| {
                let error = || WorkError::Disk {
                    path: PathBuf::from(".storkit/work"),
                    source: std::io::Error::other(why.clone()),
                };
                (Err(error()), Err(error()))
            });
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
                self.work_on(StoryWork::default(), move |work| work.refresh(&paths), log);
            }
            WorkChange::Rescan => self.work_on(StoryWork::default(), WorkFolder::scan, log),
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
            self.publisher.tell(PipelineEvent::ProblemFound { problem: problem.to_string() });
        }
        for event in changes {
            self.follow_up(&event);
            self.publisher.tell(event);
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
            PipelineEvent::StoryMoved { story, from, to, by, .. } => {
                committed = from.is_committed() || to.is_committed();
                self.follow_stage(*story, *to, by);
                self.holds.forget_question(*story);
                self.leave_stage(*story, *from, *to);
            }
            PipelineEvent::StoryDeleted { story, stage, .. } => {
                committed = stage.is_committed();
                self.holds.forget(*story);
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
            self.commits.want();
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

/// The differences, in the order of the stories' numbers. Unchanged stories are shared, so comparing 10,000
/// stories compares 10,000 pointers.
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        board::BoardProblem,
        story::{FileName, FrontMatter, StoryKind},
    };

    fn story(id: u32, stage: Stage) -> Arc<Story> {
        Arc::new(Story {
            file: FileName { id: StoryId(id), kind: StoryKind::Story, slug: "x".into() },
            stage,
            since: SystemTime::UNIX_EPOCH,
            front: FrontMatter { name: format!("Story {id}"), ..FrontMatter::default() },
            criteria: Vec::new(),
        })
    }

    fn board(stories: &[&Arc<Story>]) -> Board {
        Board { stories: stories.iter().copied().cloned().collect(), problems: Vec::new() }
    }

    fn between(before: &Board, after: &Board, cause: &Cause) -> Vec<String> {
        let word = |event: PipelineEvent| match event {
            PipelineEvent::StoryCreated { story, stage, by, .. } => {
                format!("{story} created in {stage} by {by}")
            }
            PipelineEvent::StoryChanged { story, .. } => format!("{story} changed"),
            PipelineEvent::StoryMoved { story, from, to, by, why, .. } => {
                format!(
                    "{story} {from} to {to} by {by}{}",
                    why.map(|why| format!(": {why}")).unwrap_or_default()
                )
            }
            PipelineEvent::StoryDeleted { story, stage, by, .. } => {
                format!("{story} deleted from {stage} by {by}")
            }
            other => format!("{other:?}"),
        };
        changes(before, after, cause).into_iter().map(word).collect()
    }

    #[test]
    fn every_difference_of_two_boards_is_one_event_in_the_order_of_the_stories() {
        let (one, two, three, four) =
            (story(1, Stage::Backlog), story(2, Stage::Backlog), story(3, Stage::Qa), story(4, Stage::Done));
        let mut edited = Story::clone(&four);
        edited.front.retry_count = 1;
        let before = board(&[&one, &two, &four]);
        let after = board(&[&story(2, Stage::Current), &three, &Arc::new(edited)]);
        let by_ann = Some((StoryId(2), Actor::Person("Ann".into()), Some("why".into())));
        assert_eq!(
            between(&before, &after, &by_ann),
            [
                "1 deleted from backlog by an editor",
                "2 backlog to current by Ann: why",
                "3 created in qa by an editor",
                "4 changed",
            ]
        );
        assert_eq!(between(&before, &before, &None), Vec::<String>::new());
        assert_eq!(between(&board(&[]), &board(&[&one]), &None), ["1 created in backlog by an editor"]);
        assert_eq!(between(&board(&[&one]), &board(&[]), &None), ["1 deleted from backlog by an editor"]);
    }

    #[test]
    fn a_story_that_only_was_read_again_is_no_change_and_each_part_is_one() {
        let one = story(1, Stage::Backlog);
        let again = Arc::new(Story::clone(&one));
        assert_eq!(between(&board(&[&one]), &board(&[&again]), &None), Vec::<String>::new());
        let with = |change: &dyn Fn(&mut Story)| {
            let mut story = Story::clone(&one);
            change(&mut story);
            between(&board(&[&one]), &board(&[&Arc::new(story)]), &None)
        };
        assert_eq!(with(&|story| story.criteria = vec![("a".into(), true)]), ["1 changed"]);
        assert_eq!(with(&|story| story.since += std::time::Duration::from_secs(1)), ["1 changed"]);
        assert_eq!(with(&|story| story.front.manual_qa = true), ["1 changed"]);
    }

    #[test]
    fn a_story_that_cannot_be_read_any_more_is_not_deleted_and_not_created_when_it_can() {
        let one = story(1, Stage::Backlog);
        let path = PathBuf::from("1_backlog/1_story_x.md");
        let problems = vec![BoardProblem::Unreadable { path, why: "x".into() }];
        let broken = Board { stories: Vec::new(), problems };
        assert_eq!(between(&board(&[&one]), &broken, &None), Vec::<String>::new());
        assert_eq!(between(&broken, &board(&[&one]), &None), Vec::<String>::new());
    }

    #[test]
    fn an_edit_of_the_pipeline_changes_its_key_alone() {
        let mut document = StoryDocument::parse("---\nname: x\n---\n").unwrap();
        let edits = [
            FrontEdit::Block(BlockReason::ServiceBusy { times: 5 }),
            FrontEdit::Retries(2),
            FrontEdit::MergeFailure("conflict".into()),
            FrontEdit::Prefer("bob".into()),
        ];
        edits.iter().for_each(|edit| edit.apply(&mut document).unwrap());
        let front = document.front();
        assert_eq!(front.blocked, Some(BlockReason::ServiceBusy { times: 5 }));
        assert_eq!((front.retry_count, front.merge_failure.as_deref()), (2, Some("conflict")));
        assert_eq!(front.agent.as_deref(), Some("bob"));
        for edit in [FrontEdit::Unblock, FrontEdit::ClearRetries, FrontEdit::ClearMergeFailure] {
            edit.apply(&mut document).unwrap();
        }
        assert_eq!(document.text(), "---\nname: x\nagent: bob\n---\n");
    }
}

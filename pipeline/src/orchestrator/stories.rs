//! The stories as the orchestrator knows them: the board, the parts of a change, and the
//! events that tell two boards apart.

use std::sync::{Arc, atomic::AtomicBool};

use super::{commits::Commits, lane::WorkLane, started::StartedStories};
use crate::{
    board::{Board, BoardDifference, WorkError, WorkFolder},
    event::{Actor, PipelineEvent},
    story::{
        BlockReason, EditError, PLAN_KEY, PlanWish, Story, StoryDocument, StoryId,
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
    /// Set by the lane while git is at work in the checkout, so that nobody knows what is an edit.
    pub unsettled: Arc<AtomicBool>,
    /// Those that may be worked on; others in work came with the repository.
    pub started: StartedStories,
    pub commits: Commits,
}

/// Who moved which story, and why.
pub(super) type Cause = Option<(StoryId, Actor, Option<String>)>;

/// Describes a piece of work on stories' files.
#[derive(Default)]
pub(super) struct StoryWork {
    /// What comes for this story waits until the work is done.
    pub story: Option<StoryId>,
    pub cause: Cause,
    /// Reported before the changes that the work makes.
    pub first: Vec<PipelineEvent>,
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
    /// The gates of a room's changes have run: from here on it is a story like any other.
    ClearLanded,
    Prefer(String),
    /// The plan, in its section of the text.
    Plan(String),
    /// What is wanted of a plan.
    Wish(PlanWish),
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
            Self::ClearLanded => document.remove("landed"),
            Self::Plan(plan) => document.set_plan(plan),
            Self::Wish(wish) => match wish.word() {
                Some(word) => document.set(PLAN_KEY, word),
                None => document.remove(PLAN_KEY),
            },
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

/// The differences, in the order of the stories' numbers.
pub(super) fn changes(before: &Board, after: &Board, cause: &Cause) -> Vec<PipelineEvent> {
    let who = |id: StoryId| match cause {
        Some((story, by, why)) if *story == id => (by.clone(), why.clone()),
        _ => (Actor::Editor, None),
    };
    let mut events = Vec::new();
    for difference in after.differences(before) {
        match difference {
            BoardDifference::Gone(gone) => {
                let (by, _) = who(gone.id());
                let (story, title, stage) = (gone.id(), gone.front.name.clone(), gone.stage);
                // One that cannot be read any more is a problem, not gone.
                if after.problem(story).is_none() {
                    events.push(PipelineEvent::StoryDeleted { story, title, stage, by });
                }
            }
            BoardDifference::Come(come) => {
                let (by, _) = who(come.id());
                let (story, title, stage) = (come.id(), come.front.name.clone(), come.stage);
                if before.problem(story).is_none() {
                    events.push(PipelineEvent::StoryCreated { story, title, stage, by });
                }
            }
            BoardDifference::Changed(one, other) => events.extend(story_changes(one, other, &who)),
        }
    }
    events
}

fn story_changes(
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
        Board::new(stories.iter().copied().cloned(), Vec::new())
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
        let path = std::path::PathBuf::from("1_backlog/1_story_x.md");
        let problems = vec![BoardProblem::Unreadable { path, why: "x".into() }];
        let broken = Board::new([], problems);
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

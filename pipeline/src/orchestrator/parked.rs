//! Parked runs: no process and no worker, until their question is answered. The host has them in its store; this is a copy of that.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use super::Orchestrator;
use crate::{
    event::RunInfo,
    handle::StopTarget,
    parking::ParkedRun,
    run::RunOutcome,
    story::{Story, StoryId},
};

#[derive(Debug, Default)]
pub(super) struct ParkedRuns {
    runs: BTreeMap<StoryId, ParkedRun>,
    /// Those whose question is open.
    waiting: BTreeSet<StoryId>,
}

impl ParkedRuns {
    pub(super) fn new(runs: Vec<ParkedRun>) -> Self {
        let mut parked = Self::default();
        runs.into_iter().for_each(|run| parked.set(run.story, Some(run)));
        parked
    }

    /// The stories that nobody works on before people have answered.
    pub(super) fn waiting(&self) -> &BTreeSet<StoryId> {
        &self.waiting
    }

    pub(super) fn of(&self, story: StoryId) -> Option<&ParkedRun> {
        self.runs.get(&story)
    }

    /// The runs whose question is open, and since when.
    pub(super) fn since(&self) -> BTreeMap<StoryId, SystemTime> {
        self.waiting.iter().filter_map(|id| Some((*id, self.runs.get(id)?.since))).collect()
    }

    fn set(&mut self, story: StoryId, run: Option<ParkedRun>) {
        match run.as_ref().is_some_and(|run| !run.is_answered) {
            true => self.waiting.insert(story),
            false => self.waiting.remove(&story),
        };
        match run {
            Some(run) => drop(self.runs.insert(story, run)),
            None => drop(self.runs.remove(&story)),
        }
    }

    /// Those of which nothing is left to do: the story is gone, in another stage, or a person stopped it.
    fn stale<'a>(&'a self, story: impl Fn(StoryId) -> Option<&'a Story> + 'a) -> Vec<StoryId> {
        let lives = |run: &ParkedRun| {
            story(run.story)
                .is_some_and(|story| story.stage.role() == Some(run.role) && story.front.blocked.is_none())
        };
        self.runs.values().filter(|run| !lives(run)).map(|run| run.story).collect()
    }

    /// Those that are meant.
    fn meant(&self, target: &StopTarget) -> Vec<StoryId> {
        let is_meant = |run: &&ParkedRun| match target {
            StopTarget::Story(id) => run.story == *id,
            StopTarget::Agent(name) => run.slot == *name || run.agent == *name,
        };
        self.runs.values().filter(is_meant).map(|run| run.story).collect()
    }
}

impl Orchestrator {
    /// Takes over what the host has now.
    pub(super) fn read_parked(&mut self, story: StoryId) {
        let run = self.context.host.parked(story);
        self.parked.set(story, run);
    }

    /// A run has ended: parked, or it was to go on with a call and has or has not.
    pub(super) fn run_parked_or_over(&mut self, story: StoryId, outcome: &RunOutcome) {
        match outcome {
            RunOutcome::Parked
            // It has not begun; the next run does.
            | RunOutcome::NotStarted(_)
            | RunOutcome::Shutdown
            | RunOutcome::Busy { .. } => self.read_parked(story),
            RunOutcome::Passed
            | RunOutcome::Approved
            | RunOutcome::SentBack(_)
            | RunOutcome::ContinueMerge
            | RunOutcome::Failed(_)
            | RunOutcome::Blocked(_)
            | RunOutcome::Planned(_)
            | RunOutcome::Reviewed(_)
            | RunOutcome::Stopped => self.unpark(story),
        }
    }

    pub(super) fn unpark(&mut self, story: StoryId) {
        self.context.host.unpark(story);
        self.parked.set(story, None);
    }

    /// Closes the questions of stories that nobody is to go on with.
    pub(super) fn drop_stale_parked(&mut self) {
        if self.parked.runs.is_empty() {
            return;
        }
        let board = std::sync::Arc::clone(&self.stories.board);
        for story in self.parked.stale(|id| board.story(id).map(AsRef::as_ref)) {
            if !self.pending.is_pending(story) && self.runs.of(story).is_none() {
                self.unpark(story);
            }
        }
    }

    /// The parked runs that a stop means.
    pub(super) fn parked_targets(&self, target: &StopTarget) -> Vec<RunInfo> {
        let meant = self.parked.meant(target).into_iter();
        let parked = meant.filter(|story| self.runs.of(*story).is_none());
        parked.filter_map(|story| Some(self.parked.of(story)?.info(&self.title(story)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use agents::claude::SessionId;

    use super::*;
    use crate::story::{
        BlockReason, FileName, FrontMatter, StoryKind,
        stage::{Role, Stage},
    };

    fn run(story: u32, is_answered: bool) -> ParkedRun {
        ParkedRun {
            story: StoryId(story),
            role: Role::Coder,
            slot: "coder-2".into(),
            agent: "coder".into(),
            run: format!("{story}-coder-2-1"),
            session: SessionId::new("s"),
            call: "toolu_1".into(),
            since: SystemTime::UNIX_EPOCH,
            is_answered,
        }
    }

    fn story(id: u32, stage: Stage) -> Story {
        Story {
            file: FileName { id: StoryId(id), kind: StoryKind::Story, slug: "x".into() },
            stage,
            since: SystemTime::UNIX_EPOCH,
            front: FrontMatter::default(),
            criteria: Vec::new(),
        }
    }

    #[test]
    fn a_story_waits_until_its_question_is_answered() {
        let mut parked = ParkedRuns::new(vec![run(1, false), run(2, true)]);
        assert_eq!(*parked.waiting(), [StoryId(1)].into());
        assert_eq!(parked.since().into_keys().collect::<Vec<_>>(), [StoryId(1)]);
        parked.set(StoryId(1), Some(run(1, true)));
        assert!(parked.waiting().is_empty() && parked.of(StoryId(1)).is_some());
        parked.set(StoryId(1), None);
        assert!(parked.of(StoryId(1)).is_none());
    }

    #[test]
    fn one_whose_story_was_moved_stopped_or_deleted_is_over() {
        let blocked = FrontMatter {
            blocked: Some(BlockReason::StoppedBy { who: "Ann".into() }),
            ..FrontMatter::default()
        };
        let stories = [
            story(1, Stage::Current),
            story(2, Stage::Backlog),
            Story { front: blocked, ..story(3, Stage::Current) },
        ];
        let parked = ParkedRuns::new((1..=4).map(|id| run(id, false)).collect());
        let stale = parked.stale(|id| stories.iter().find(|story| story.id() == id));
        assert_eq!(stale, [StoryId(2), StoryId(3), StoryId(4)]);
    }

    #[test]
    fn a_stop_means_it_by_its_story_its_worker_or_its_agent() {
        let parked = ParkedRuns::new(vec![run(1, false)]);
        for (target, expected) in [
            (StopTarget::Story(StoryId(1)), 1),
            (StopTarget::Story(StoryId(2)), 0),
            (StopTarget::Agent("coder".into()), 1),
            (StopTarget::Agent("coder-2".into()), 1),
            (StopTarget::Agent("coder-1".into()), 0),
        ] {
            assert_eq!(parked.meant(&target).len(), expected, "{target:?}");
        }
    }
}

//! The active runs, by story: their state, who decides about the story, and who waits for the run to finish.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::{
    assign::Slot,
    branch_review::ReviewFindings,
    config::Agent,
    event::{RunId, RunInfo},
    handle::{Answer, PipelineError, StopTarget},
    mailbox::PersonMessage,
    run::RunControl,
    story::{
        StoryId,
        stage::{Role, Stage},
    },
    verdict::{ReviewDecision, StopReason},
};

/// Who decides what becomes of a run's story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RunVerdict {
    /// The run's own outcome.
    Own,
    /// A person stopped it: the story is blocked with that.
    StoppedBy(String),
    /// The story was moved, decided or deleted meanwhile: the run's outcome has no consequence.
    Settled,
}

/// A run that lives.
struct ActiveRun {
    info: RunInfo,
    control: RunControl,
    verdict: RunVerdict,
    /// Whether its process is gone, and only what follows from that is left to do.
    over: bool,
    /// Who waits for it to be gone.
    waiting: Vec<Answer<Vec<RunInfo>>>,
}

/// All of them. A story has at most one.
#[derive(Default)]
pub(super) struct Runs(BTreeMap<StoryId, ActiveRun>);

impl Runs {
    pub(super) fn add(&mut self, info: RunInfo, control: RunControl) {
        let run = ActiveRun { control, verdict: RunVerdict::Own, over: false, waiting: Vec::new(), info };
        self.0.insert(run.info.story, run);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn infos(&self) -> impl Iterator<Item = &RunInfo> {
        self.0.values().map(|run| &run.info)
    }

    fn on_stories(&self) -> impl Iterator<Item = &RunInfo> {
        self.infos().filter(|run| run.branch.is_none())
    }

    /// The run of a story, also one whose process is gone.
    pub(super) fn of(&self, story: StoryId) -> Option<&RunInfo> {
        self.0.get(&story).map(|run| &run.info)
    }

    /// The run of a story, while its process lives.
    pub(super) fn at_work(&self, story: StoryId) -> Option<&RunInfo> {
        self.0.get(&story).filter(|run| !run.over).map(|run| &run.info)
    }

    /// The story's run, if it is still this one.
    pub(super) fn get_mut(&mut self, story: StoryId, run: &RunId) -> Option<&mut RunInfo> {
        self.0.get_mut(&story).map(|active| &mut active.info).filter(|info| info.id == *run)
    }

    /// What all of them have cost so far.
    pub(super) fn cost_usd(&self) -> f64 {
        // The ledger has the cost of those that are over.
        self.0.values().filter(|active| !active.over).map(|active| active.info.cost_usd).sum()
    }

    /// Its process is gone. Until [`Runs::remove`] its worker counts as busy: nobody else may take the story up.
    pub(super) fn over(&mut self, story: StoryId, run: &RunId, usd: f64) -> Option<(RunInfo, RunVerdict)> {
        let active = self.0.get_mut(&story).filter(|active| active.info.id == *run)?;
        active.over = true;
        active.info.cost_usd = usd;
        Some((active.info.clone(), active.verdict.clone()))
    }

    /// All consequences of the run are carried out; the caller answers those who wait for that.
    pub(super) fn remove(&mut self, story: StoryId) -> Option<(RunInfo, Vec<Answer<Vec<RunInfo>>>)> {
        let ActiveRun { waiting, info, .. } = self.0.remove(&story)?;
        Some((info, waiting))
    }

    /// Stops a story's run for a reason that is not its own, without waiting.
    pub(super) fn end(&mut self, story: StoryId, verdict: RunVerdict) {
        if let Some(run) = self.0.get_mut(&story) {
            run.verdict = verdict;
            run.control.end(StopReason::Stopped);
        }
    }

    /// A run whose story was put into another stage has nothing more to do.
    pub(super) fn end_misplaced(&mut self, story: StoryId, stage: Stage) {
        let misplaced = self.0.get(&story).is_some_and(|run| {
            // One that is already stopped or settled has a verdict that must not be overwritten.
            stage.role() != Some(run.info.role) && run.verdict == RunVerdict::Own && !run.over
        });
        if misplaced {
            self.end(story, RunVerdict::Settled);
        }
    }

    /// Its outcome has no consequence any more; it may run until it finishes.
    pub(super) fn settle(&mut self, story: StoryId) {
        if let Some(run) = self.0.get_mut(&story) {
            run.verdict = RunVerdict::Settled;
        }
    }

    pub(super) fn shut_down(&self) {
        self.0.values().for_each(|run| run.control.end(StopReason::Shutdown));
    }

    /// Stops the runs that are meant, and returns receivers to wait on.
    pub(super) fn stop(&mut self, target: &StopTarget, by: &str) -> Vec<RunEnds> {
        let meant = |run: &RunInfo| match target {
            StopTarget::Story(id) => run.story == *id,
            // An agent's name means all its workers.
            StopTarget::Agent(name) => {
                run.slot == *name || run.agent == *name || run.branch.as_deref() == Some(name.as_str())
            }
        };
        let found = self.0.values().filter(|run| !run.over && meant(&run.info));
        let stories: Vec<StoryId> = found.map(|run| run.info.story).collect();
        for story in &stories {
            self.end(*story, RunVerdict::StoppedBy(by.to_owned()));
        }
        stories.into_iter().filter_map(|story| self.wait_for(story)).collect()
    }

    /// Resolves when the story's run is gone; `None` where it has none.
    pub(super) fn wait_for(&mut self, story: StoryId) -> Option<RunEnds> {
        let run = self.0.get_mut(&story)?;
        let (told, wait) = oneshot::channel();
        run.waiting.push(told);
        Some(wait)
    }

    /// Leaves a person's words for the agent at work on a story. `None` where there is none that could read them.
    pub(super) fn tell(&self, story: StoryId, message: PersonMessage) -> Option<RunInfo> {
        let run = self.0.get(&story).filter(|run| !run.over && run.verdict == RunVerdict::Own)?;
        run.control.tell(message).then(|| run.info.clone())
    }

    /// A reviewer's decision; it counts once its run is over. Returns whether this worker reviews the story.
    pub(super) fn review(&self, story: StoryId, slot: &str, review: ReviewDecision) -> bool {
        let run = self.0.get(&story);
        // Only stored: the facts about the run, such as tampering, outweigh it.
        let run = run.filter(|run| run.info.slot == slot && run.info.role == Role::Qa && !run.over);
        run.map(|run| run.control.review(review)).is_some()
    }

    /// The plan of a coder that only plans. Returns whether this run does.
    pub(super) fn propose(&self, story: StoryId, run: &RunId, plan: String) -> bool {
        let active = self.0.get(&story).filter(|active| active.info.id == *run && !active.over);
        active.is_some_and(|active| active.control.propose(plan))
    }

    /// The findings of a branch's reviewer. Returns whether this run takes any.
    pub(super) fn report(&self, story: StoryId, run: &RunId, findings: ReviewFindings) -> bool {
        let active = self.0.get(&story).filter(|active| active.info.id == *run && !active.over);
        active
            .filter(|active| active.info.branch.is_some())
            .map(|active| active.control.report(findings))
            .is_some()
    }

    /// All workers of the configuration, and those that still work and are no longer in it.
    pub(super) fn slots(&self, agents: &[Agent]) -> Vec<Slot> {
        let busy = |slot: &str| self.on_stories().find(|run| run.slot == slot).map(|run| run.story);
        let mut slots: Vec<Slot> = Vec::new();
        for agent in agents {
            for name in agent.workers() {
                let busy_with = busy(&name);
                slots.push(Slot { name, agent: agent.name.clone(), role: agent.role, busy_with });
            }
        }
        for run in self.on_stories() {
            if !slots.iter().any(|slot| slot.name == run.slot) {
                slots.push(Slot {
                    name: run.slot.clone(),
                    agent: run.agent.clone(),
                    role: run.role,
                    busy_with: Some(run.story),
                });
            }
        }
        slots
    }
}

/// Resolves when a run is gone.
pub(super) type RunEnds = oneshot::Receiver<Result<Vec<RunInfo>, PipelineError>>;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{event::RunPhase, run::RunControl};

    fn info(story: u32, slot: &str, role: Role) -> RunInfo {
        RunInfo {
            id: RunId(format!("{story}-{slot}-1").into()),
            branch: None,
            story: StoryId(story),
            title: "x".into(),
            slot: slot.into(),
            agent: slot.split('-').next().unwrap_or(slot).into(),
            role,
            since: SystemTime::UNIX_EPOCH,
            phase: RunPhase::Preparing,
            pid: None,
            session: None,
            cost_usd: 0.25,
        }
    }

    /// A coder on 1, its colleague on 2, a reviewer on 3.
    fn runs() -> (Runs, Vec<crate::run::RunSignals>) {
        let mut runs = Runs::default();
        let mut ends = Vec::new();
        for info in [info(1, "coder", Role::Coder), info(2, "coder-2", Role::Coder), info(3, "qa", Role::Qa)]
        {
            let (control, end) = RunControl::pair();
            runs.add(info, control);
            ends.push(end);
        }
        (runs, ends)
    }

    fn run_id(runs: &Runs, story: u32) -> RunId {
        runs.of(StoryId(story)).unwrap().id.clone()
    }

    #[test]
    fn a_worker_is_busy_until_all_that_follows_from_its_run_is_done() {
        let (mut runs, _ends) = runs();
        let team = Agent::default_team();
        let busy = |runs: &Runs| -> Vec<_> {
            let slots = runs.slots(&team).into_iter();
            slots.filter_map(|slot| Some(format!("{} {}", slot.name, slot.busy_with?))).collect()
        };
        assert_eq!(busy(&runs), ["coder 1", "coder-2 2", "qa 3"]);
        let id = run_id(&runs, 1);
        assert_eq!(runs.over(StoryId(1), &RunId("another".into()), 1.0), None);
        let (ended, verdict) = runs.over(StoryId(1), &id, 1.5).unwrap();
        assert_eq!((ended.cost_usd, verdict), (1.5, RunVerdict::Own));
        assert_eq!(busy(&runs).len(), 3);
        assert!(runs.at_work(StoryId(1)).is_none() && runs.of(StoryId(1)).is_some());
        assert_eq!(runs.cost_usd(), 0.5, "the ledger has the cost of one that is over");
        runs.remove(StoryId(1));
        assert_eq!(busy(&runs), ["coder-2 2", "qa 3"]);
        assert!(!runs.is_empty());
    }

    #[test]
    fn a_worker_that_left_the_configuration_is_listed_while_it_works() {
        let (runs, _ends) = runs();
        let names =
            |agents: &[Agent]| -> Vec<_> { runs.slots(agents).into_iter().map(|slot| slot.name).collect() };
        assert_eq!(names(&[]), ["coder", "coder-2", "qa"]);
        assert_eq!(names(&[Agent::new("qa", Role::Qa)]), ["qa", "coder", "coder-2"]);
    }

    #[tokio::test]
    async fn stop_ends_what_is_meant_and_tells_when_it_is_gone() {
        for (target, expected) in [
            (StopTarget::Story(StoryId(2)), vec![2]),
            (StopTarget::Story(StoryId(9)), vec![]),
            (StopTarget::Agent("coder".into()), vec![1, 2]),
            (StopTarget::Agent("coder-2".into()), vec![2]),
            (StopTarget::Agent("nobody".into()), vec![]),
        ] {
            let (mut runs, ends) = runs();
            let waits = runs.stop(&target, "Ann");
            let stopped: Vec<usize> =
                (1..=3).filter(|n| *ends[n - 1].ended.borrow() == Some(StopReason::Stopped)).collect();
            assert_eq!((stopped, waits.len()), (expected.clone(), expected.len()), "{target:?}");
            for (story, wait) in expected.into_iter().zip(waits) {
                let story = StoryId(story as u32);
                let id = runs.of(story).unwrap().id.clone();
                let (_, verdict) = runs.over(story, &id, 0.0).unwrap();
                assert_eq!(verdict, RunVerdict::StoppedBy("Ann".into()));
                let (info, answers) = runs.remove(story).unwrap();
                assert_eq!(answers.len(), 1);
                answers.into_iter().for_each(|answer| answer.send(Ok(vec![info.clone()])).unwrap());
                assert_eq!(wait.await.unwrap().unwrap()[0].story, story);
            }
        }
    }

    #[test]
    fn what_is_over_is_not_stopped_again() {
        let (mut runs, ends) = runs();
        let id = run_id(&runs, 1);
        runs.over(StoryId(1), &id, 0.0);
        assert!(runs.stop(&StopTarget::Story(StoryId(1)), "Ann").is_empty());
        assert_eq!(*ends[0].ended.borrow(), None);
    }

    #[test]
    fn a_run_ends_when_its_story_leaves_its_stage_unless_that_is_decided_already() {
        let (mut runs, ends) = runs();
        runs.end_misplaced(StoryId(1), Stage::Current);
        assert_eq!(*ends[0].ended.borrow(), None);
        runs.end_misplaced(StoryId(1), Stage::Backlog);
        assert_eq!(*ends[0].ended.borrow(), Some(StopReason::Stopped));
        runs.stop(&StopTarget::Story(StoryId(2)), "Ann");
        runs.end_misplaced(StoryId(2), Stage::Backlog);
        let id = run_id(&runs, 2);
        assert_eq!(runs.over(StoryId(2), &id, 0.0).unwrap().1, RunVerdict::StoppedBy("Ann".into()));
        let id = run_id(&runs, 3);
        runs.over(StoryId(3), &id, 0.0);
        runs.end_misplaced(StoryId(3), Stage::Merge);
        assert_eq!(*ends[2].ended.borrow(), None, "it is over");
    }

    #[test]
    fn a_settled_run_goes_on_and_its_end_means_nothing() {
        let (mut runs, ends) = runs();
        runs.settle(StoryId(1));
        assert_eq!(*ends[0].ended.borrow(), None);
        let id = run_id(&runs, 1);
        assert_eq!(runs.over(StoryId(1), &id, 0.0).unwrap().1, RunVerdict::Settled);
        runs.shut_down();
        assert!(ends.iter().all(|end| *end.ended.borrow() == Some(StopReason::Shutdown)));
    }

    #[test]
    fn only_the_reviewer_of_a_story_reviews_it() {
        let (mut runs, ends) = runs();
        let approve =
            |runs: &Runs, story, slot: &str| runs.review(StoryId(story), slot, ReviewDecision::Approved);
        assert!(!approve(&runs, 1, "coder"), "a coder does not review");
        assert!(!approve(&runs, 3, "coder"));
        assert!(!approve(&runs, 9, "qa"));
        assert!(approve(&runs, 3, "qa"));
        assert_eq!(*ends[2].review.lock(), Some(ReviewDecision::Approved));
        let id = run_id(&runs, 3);
        runs.over(StoryId(3), &id, 0.0);
        assert!(!approve(&runs, 3, "qa"), "its run is over");
    }

    #[test]
    fn only_the_run_that_lives_is_updated() {
        let (mut runs, _ends) = runs();
        assert!(runs.get_mut(StoryId(1), &RunId("old".into())).is_none());
        let id = run_id(&runs, 1);
        runs.get_mut(StoryId(1), &id).unwrap().phase = RunPhase::Gates;
        assert_eq!(runs.of(StoryId(1)).unwrap().phase, RunPhase::Gates);
    }
}

//! The reasons why work does not progress: a pause of all runs, stories that wait, and questions to people about them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use super::memo::StoryMemo;
use crate::{
    assign::{HoldReason, Situation, waits_for},
    config::Agent,
    event::{PipelineEvent, WantedDecision},
    sentence::{one_line, sentence},
    story::{BlockReason, Story, StoryId, stage::Role},
};

/// The reason why a story waits, and the decision of a person that resolves it.
#[derive(Debug, PartialEq)]
pub(super) struct HeldStory {
    pub clause: String,
    pub wanted: Option<WantedDecision>,
}

/// The state of all that waits.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Why and until when nothing is started.
    pause: Option<(String, SystemTime)>,
    /// Stories whose worktree is being removed: nobody is given them.
    removing: BTreeSet<StoryId>,
    /// Stories whose service was busy, until when.
    busy: BTreeMap<StoryId, SystemTime>,
    /// Stories whose file or merge could not be written, until when they are left alone.
    failed: BTreeMap<StoryId, SystemTime>,
    /// The questions to people, by story: each is asked once for each reason.
    asked: BTreeMap<StoryId, String>,
    /// Stories whose file is in `5_done` without a proof.
    unproven: BTreeSet<StoryId>,
}

impl Holds {
    pub(super) fn new(unproven: BTreeSet<StoryId>) -> Self {
        Self { unproven, ..Self::default() }
    }

    /// Stops all new runs for a while; an event where people do not know that reason yet.
    pub(super) fn pause(&mut self, why: String, until: SystemTime) -> Option<PipelineEvent> {
        let news = self.pause.as_ref().is_none_or(|(told, _)| *told != why);
        self.pause = Some((why.clone(), until));
        news.then_some(PipelineEvent::Paused { why: Some(why) })
    }

    /// Whether nothing is to be started. After the pause's time it is tried; the pause is over when a run really lives.
    pub(super) fn is_paused(&self, now: SystemTime) -> bool {
        self.pause.as_ref().is_some_and(|(_, until)| *until > now)
    }

    pub(super) fn pause_reason(&self) -> Option<&str> {
        self.pause.as_ref().map(|(why, _)| why.as_str())
    }

    /// A run really lives.
    pub(super) fn end_pause(&mut self) -> Option<PipelineEvent> {
        self.pause.take().map(|_| PipelineEvent::Paused { why: None })
    }

    /// A person wants the story tried now.
    pub(super) fn try_now(&mut self, story: StoryId) {
        self.busy.remove(&story);
        self.failed.remove(&story);
        // The reason stays visible until a run really lives: only that proves that it is gone.
        if let Some((_, until)) = &mut self.pause {
            *until = SystemTime::UNIX_EPOCH;
        }
    }

    pub(super) fn wait_for_service(&mut self, story: StoryId, until: SystemTime) {
        self.busy.insert(story, until);
    }

    pub(super) fn service_wait(&self, story: StoryId, now: SystemTime) -> Option<Duration> {
        self.busy.get(&story)?.duration_since(now).ok().filter(|left| !left.is_zero())
    }

    /// A decision about the story could not be written. Taken again at once, the decision would fail again, and the
    /// loop would do nothing else.
    pub(super) fn leave_alone(&mut self, story: StoryId, until: SystemTime) {
        self.failed.insert(story, until);
    }

    pub(super) fn is_left_alone(&self, story: StoryId, now: SystemTime) -> bool {
        self.failed.get(&story).is_some_and(|until| now < *until)
    }

    /// A run of it has begun.
    pub(super) fn begun(&mut self, story: StoryId) {
        self.busy.remove(&story);
    }

    /// Whether nobody may be given the story, whatever is in its file.
    pub(super) fn is_kept_back(&self, story: StoryId, now: SystemTime) -> bool {
        self.removing.contains(&story)
            || self.service_wait(story, now).is_some()
            || self.is_left_alone(story, now)
    }

    /// Returns whether this removal is the first.
    pub(super) fn begin_removal(&mut self, story: StoryId) -> bool {
        self.removing.insert(story)
    }

    pub(super) fn end_removal(&mut self, story: StoryId) {
        self.removing.remove(&story);
    }

    /// Returns whether that is news.
    pub(super) fn unproven(&mut self, story: StoryId) -> bool {
        self.unproven.insert(story)
    }

    pub(super) fn proven(&mut self, story: StoryId) {
        self.unproven.remove(&story);
    }

    pub(super) fn is_unproven(&self, story: StoryId) -> bool {
        self.unproven.contains(&story)
    }

    /// The story is gone.
    pub(super) fn forget(&mut self, story: StoryId) {
        self.asked.remove(&story);
        self.unproven.remove(&story);
        self.busy.remove(&story);
    }

    /// The reason of the question is gone: if it comes back, people are asked again.
    pub(super) fn forget_question(&mut self, story: StoryId) {
        self.asked.remove(&story);
    }

    /// Asks a person, once for each reason.
    pub(super) fn ask(&mut self, story: &Story, held: &HeldStory) -> Option<PipelineEvent> {
        let (id, wanted) = (story.id(), held.wanted?);
        // The clause and not the kind of hold: a second failure with another cause is a new question.
        if self.asked.get(&id) == Some(&held.clause) {
            return None;
        }
        self.asked.insert(id, held.clause.clone());
        let why = sentence(&format!("Story {id}: {}", held.clause));
        Some(PipelineEvent::NeedsPerson { story: id, title: story.front.name.clone(), why, wanted })
    }
}

/// The facts about a story that waits.
pub(super) struct HoldFacts<'a> {
    pub situation: Situation<'a>,
    pub agents: &'a [Agent],
    pub memo: StoryMemo,
    /// How long the model's service is still waited for.
    pub service_wait: Option<Duration>,
}

/// Why a story in work does not progress; `None` where it waits for a free worker or the merge queue.
pub(super) fn held(story: &Story, facts: &HoldFacts<'_>) -> Option<HeldStory> {
    let held = |clause: String, wanted| Some(HeldStory { clause, wanted });
    // Without slots: the caller has already left out stories that have a run.
    match waits_for(story, &facts.situation, &[]) {
        Ok(role) if !facts.agents.iter().any(|agent| agent.role == role) => {
            let wanted = (role == Role::Qa).then_some(WantedDecision::Review);
            held(format!("no agent of `project.toml` has the stage `{role}`"), wanted)
        }
        Ok(_) => {
            let left = settings::duration::human(facts.service_wait?);
            held(format!("the model's service is busy; the next try is in {left}"), None)
        }
        Err(HoldReason::InMergeQueue | HoldReason::InWork | HoldReason::Stage(_)) => None,
        Err(hold @ (HoldReason::DependsOn(_) | HoldReason::Parked)) => held(hold.to_string(), None),
        Err(hold @ (HoldReason::ForPerson | HoldReason::InQuarantine)) => {
            held(hold.to_string(), Some(WantedDecision::Review))
        }
        Err(hold @ (HoldReason::MergeFailure | HoldReason::OutOfRetries)) => {
            let why = story.front.merge_failure.clone().or_else(|| facts.memo.last_failure());
            let why = why.map(|why| format!(": {}", one_line(&why))).unwrap_or_default();
            held(format!("{hold}{why}"), Some(WantedDecision::Retry))
        }
        Err(HoldReason::Blocked(reason)) => {
            let wanted = wanted_for(&reason);
            held(HoldReason::Blocked(reason).to_string(), Some(wanted))
        }
    }
}

/// The decision that lifts a block.
fn wanted_for(reason: &BlockReason) -> WantedDecision {
    match reason {
        BlockReason::StoryBudget { .. } | BlockReason::RunBudget { .. } => WantedDecision::Budget,
        BlockReason::FilesInTheWay { .. } => WantedDecision::ClearTheWay,
        BlockReason::PlanProposed {} => WantedDecision::Review,
        BlockReason::StoppedBy { .. }
        | BlockReason::SentBack { .. }
        | BlockReason::Tampering { .. }
        | BlockReason::ServiceBusy { .. }
        | BlockReason::Worktree { .. }
        | BlockReason::CannotMove { .. }
        | BlockReason::Person(_) => WantedDecision::Retry,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        board::Board,
        story::{FileName, FrontMatter, StoryKind, stage::Stage},
        verdict::FailureCause,
    };

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const SECOND: Duration = Duration::from_secs(1);

    fn story(stage: Stage, front: FrontMatter) -> Story {
        let file = FileName { id: StoryId(1), kind: StoryKind::Story, slug: "x".into() };
        Story { file, stage, since: NOW, front, criteria: Vec::new() }
    }

    fn clause(
        story: &Story,
        change: impl FnOnce(&mut HoldFacts<'_>),
    ) -> Option<(String, Option<WantedDecision>)> {
        let conflicts = BTreeSet::new();
        let board = Board::new([Arc::new(story.clone())], Vec::new());
        let agents = Agent::default_team();
        let mut facts = HoldFacts {
            situation: Situation {
                board: &board,
                conflicts: &conflicts,
                quarantine: &BTreeMap::new(),
                parked: &BTreeSet::new(),
                max_retries: 3,
            },
            agents: &agents,
            memo: StoryMemo::default(),
            service_wait: None,
        };
        change(&mut facts);
        held(story, &facts).map(|held| (held.clause, held.wanted))
    }

    #[test]
    fn a_story_that_could_not_be_written_is_left_alone_for_a_while_or_until_a_person_tries_it() {
        let mut holds = Holds::default();
        holds.leave_alone(StoryId(1), NOW + SECOND);
        assert!(holds.is_kept_back(StoryId(1), NOW) && holds.is_left_alone(StoryId(1), NOW));
        assert!(!holds.is_kept_back(StoryId(1), NOW + SECOND));
        holds.try_now(StoryId(1));
        assert!(!holds.is_kept_back(StoryId(1), NOW));
    }

    #[test]
    fn each_block_wants_its_decision_whatever_its_words_say() {
        let block = |reason| {
            let front = FrontMatter { blocked: Some(reason), ..FrontMatter::default() };
            clause(&story(Stage::Current, front), |_| ()).unwrap()
        };
        assert_eq!(
            block(BlockReason::Person("the budget and files are in the way".into())),
            ("blocked: the budget and files are in the way".into(), Some(WantedDecision::Retry))
        );
        let wanted = |reason| block(reason).1;
        assert_eq!(wanted(BlockReason::StoryBudget { limit_usd: 1.0 }), Some(WantedDecision::Budget));
        assert_eq!(wanted(BlockReason::RunBudget { spent_usd: 1.0 }), Some(WantedDecision::Budget));
        let files = vec!["a".into()];
        assert_eq!(wanted(BlockReason::FilesInTheWay { files }), Some(WantedDecision::ClearTheWay));
        assert_eq!(wanted(BlockReason::StoppedBy { who: "Ann".into() }), Some(WantedDecision::Retry));
    }

    #[test]
    fn a_story_that_only_waits_for_a_worker_or_the_queue_is_not_held() {
        for stage in [Stage::Backlog, Stage::Current, Stage::Qa, Stage::Merge, Stage::Done] {
            assert_eq!(clause(&story(stage, FrontMatter::default()), |_| ()), None, "{stage}");
        }
    }

    #[test]
    fn a_stage_without_an_agent_is_named_and_a_review_can_be_a_persons() {
        let in_stage = |stage| clause(&story(stage, FrontMatter::default()), |facts| facts.agents = &[]);
        assert_eq!(
            in_stage(Stage::Current),
            Some(("no agent of `project.toml` has the stage `coder`".into(), None))
        );
        let qa = "no agent of `project.toml` has the stage `qa`".to_owned();
        assert_eq!(in_stage(Stage::Qa), Some((qa, Some(WantedDecision::Review))));
        let manual = FrontMatter { manual_qa: true, ..FrontMatter::default() };
        let asked = clause(&story(Stage::Qa, manual), |_| ()).unwrap();
        assert_eq!(asked.1, Some(WantedDecision::Review));
    }

    #[test]
    fn what_is_given_up_says_why_with_the_last_cause() {
        let spent = story(Stage::Current, FrontMatter { retry_count: 3, ..FrontMatter::default() });
        let memo = StoryMemo { feedback: Some("\nlong story\nmore".into()), ..StoryMemo::default() };
        let clause_of = |memo: StoryMemo| clause(&spent, |facts| facts.memo = memo).unwrap().0;
        assert_eq!(clause_of(StoryMemo::default()), "its retries are used up");
        assert_eq!(clause_of(memo.clone()), "its retries are used up: long story");
        let memo = StoryMemo { failure: Some(FailureCause::Stalled), ..memo };
        assert_eq!(clause_of(memo.clone()), "its retries are used up: no progress for too long");
        let failed = FrontMatter { merge_failure: Some("conflict".into()), ..FrontMatter::default() };
        let (text, wanted) = clause(&story(Stage::Merge, failed), |facts| facts.memo = memo).unwrap();
        assert_eq!((text.as_str(), wanted), ("its merge failed: conflict", Some(WantedDecision::Retry)));
    }

    #[test]
    fn a_busy_service_is_said_with_the_time_that_is_left() {
        let waits = clause(&story(Stage::Current, FrontMatter::default()), |facts| {
            facts.service_wait = Some(SECOND * 90);
        });
        let (text, wanted) = waits.unwrap();
        assert!(text.starts_with("the model's service is busy; the next try is in 1"), "{text}");
        assert_eq!(wanted, None);
        let mut holds = Holds::default();
        holds.wait_for_service(StoryId(1), NOW + SECOND);
        assert_eq!(holds.service_wait(StoryId(1), NOW), Some(SECOND));
        assert!(holds.is_kept_back(StoryId(1), NOW) && !holds.is_kept_back(StoryId(2), NOW));
        assert!(!holds.is_kept_back(StoryId(1), NOW + SECOND));
        holds.begun(StoryId(1));
        assert_eq!(holds.service_wait(StoryId(1), NOW), None);
    }

    #[test]
    fn a_pause_is_reported_once_and_over_when_a_run_lives() {
        let mut holds = Holds::default();
        assert!(!holds.is_paused(NOW) && holds.end_pause().is_none());
        let paused = |why: &str| Some(PipelineEvent::Paused { why: Some(why.into()) });
        assert_eq!(holds.pause("a".into(), NOW + SECOND), paused("a"));
        assert_eq!(holds.pause("a".into(), NOW + SECOND * 2), None);
        assert!(holds.is_paused(NOW + SECOND) && !holds.is_paused(NOW + SECOND * 2));
        assert_eq!(holds.pause_reason(), Some("a"), "it is said until a run lives");
        assert_eq!(holds.pause("b".into(), NOW + SECOND), paused("b"));
        holds.try_now(StoryId(1));
        assert!(!holds.is_paused(NOW + SECOND));
        assert_eq!(holds.end_pause(), Some(PipelineEvent::Paused { why: None }));
        assert_eq!(holds.pause_reason(), None);
    }

    #[test]
    fn a_person_is_asked_once_for_each_reason() {
        let mut holds = Holds::default();
        let story = story(Stage::Current, FrontMatter { name: "T".into(), ..FrontMatter::default() });
        let held = |clause: &str| HeldStory { clause: clause.into(), wanted: Some(WantedDecision::Retry) };
        let event = holds.ask(&story, &held("blocked: x.")).unwrap();
        assert!(matches!(event, PipelineEvent::NeedsPerson { why, .. } if why == "Story 1: blocked: x."));
        assert_eq!(holds.ask(&story, &held("blocked: x.")), None);
        assert!(holds.ask(&story, &held("blocked: y")).is_some());
        holds.forget_question(StoryId(1));
        assert!(holds.ask(&story, &held("blocked: y")).is_some());
        assert_eq!(holds.ask(&story, &HeldStory { clause: "waits".into(), wanted: None }), None);
    }

    #[test]
    fn a_removal_and_a_missing_proof_are_remembered_until_they_end() {
        let mut holds = Holds::new(BTreeSet::from([StoryId(5)]));
        assert!(holds.begin_removal(StoryId(1)) && !holds.begin_removal(StoryId(1)));
        assert!(holds.is_kept_back(StoryId(1), NOW));
        holds.end_removal(StoryId(1));
        assert!(!holds.is_kept_back(StoryId(1), NOW));
        assert!(holds.is_unproven(StoryId(5)) && !holds.unproven(StoryId(5)) && holds.unproven(StoryId(6)));
        holds.proven(StoryId(5));
        holds.forget(StoryId(6));
        assert!(!holds.is_unproven(StoryId(5)) && !holds.is_unproven(StoryId(6)));
    }
}

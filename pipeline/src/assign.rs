//! Who is to start on what, now. A pure function of stored facts, called after every event.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use crate::{
    board::Board,
    story::{
        BlockReason, Story, StoryId,
        stage::{Role, Stage},
    },
    strangers::Quarantine,
};

/// One worker: an agent of the configuration, once for each of its `count`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its own name: the configured one, with `-2`, `-3`, ... for further ones.
    pub name: String,
    /// The configured name, which stories prefer.
    pub agent: String,
    pub role: Role,
    /// The story it works on.
    pub busy_with: Option<StoryId>,
}

#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub board: &'a Board,
    /// Stories whose merge waits for a mergemaster.
    pub conflicts: &'a BTreeSet<StoryId>,
    pub quarantine: &'a BTreeMap<StoryId, Quarantine>,
    /// Stories whose run is parked at a question that nobody has answered.
    pub parked: &'a BTreeSet<StoryId>,
    /// Failed runs after which a stage is given up.
    pub max_retries: u32,
}

/// A run to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub story: StoryId,
    pub slot: String,
}

/// Why nobody is to work on a story now.
#[derive(Clone, Debug, PartialEq)]
pub enum HoldReason {
    /// Its stage has no work.
    Stage(Stage),
    /// Somebody works on it.
    InWork,
    /// A question of its agent waits for an answer.
    Parked,
    /// Its merge failed for good.
    MergeFailure,
    /// Blocked, for this reason.
    Blocked(BlockReason),
    /// These are not done yet.
    DependsOn(Vec<StoryId>),
    /// A person decides (`manual_qa`).
    ForPerson,
    /// A person decides, since strangers may have written it.
    InQuarantine,
    /// Its retries are used up.
    OutOfRetries,
    /// The merge queue has it, and needs nobody.
    InMergeQueue,
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(stage) => write!(f, "nobody works on stories in {stage}"),
            Self::InWork => f.write_str("an agent works on it"),
            Self::Parked => f.write_str("parked: a question of its agent waits for an answer"),
            Self::MergeFailure => f.write_str("its merge failed"),
            Self::Blocked(why) => write!(f, "blocked: {why}"),
            Self::DependsOn(ids) => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                write!(f, "waits for {}", ids.join(", "))
            }
            Self::ForPerson => f.write_str("waits for a person to accept or reject it"),
            Self::InQuarantine => f.write_str(
                "it is in quarantine, so a person reviews its changes and accepts or rejects them",
            ),
            Self::OutOfRetries => f.write_str("its retries are used up"),
            Self::InMergeQueue => f.write_str("is in the merge queue"),
        }
    }
}

/// The role that a story waits for, or why it does not wait.
pub fn waits_for(story: &Story, situation: &Situation<'_>, slots: &[Slot]) -> Result<Role, HoldReason> {
    let id = story.file.id;
    let role = story.stage.role().ok_or(HoldReason::Stage(story.stage))?;
    if slots.iter().any(|slot| slot.busy_with == Some(id)) {
        return Err(HoldReason::InWork);
    }
    if story.front.merge_failure.is_some() {
        return Err(HoldReason::MergeFailure);
    }
    if let Some(why) = &story.front.blocked {
        return Err(HoldReason::Blocked(why.clone()));
    }
    if situation.parked.contains(&id) {
        return Err(HoldReason::Parked);
    }
    let unmet = unmet(story, situation.board);
    if !unmet.is_empty() {
        return Err(HoldReason::DependsOn(unmet));
    }
    // Whatever the project's settings and the story's own say.
    let is_unaccepted = || situation.quarantine.get(&id).is_some_and(|quarantine| !quarantine.accepted);
    if matches!(story.stage, Stage::Qa | Stage::Merge) && is_unaccepted() {
        return Err(HoldReason::InQuarantine);
    }
    if story.stage == Stage::Qa && story.front.manual_qa {
        return Err(HoldReason::ForPerson);
    }
    if story.stage == Stage::Merge && !situation.conflicts.contains(&id) {
        return Err(HoldReason::InMergeQueue);
    }
    if story.front.retry_count >= situation.max_retries {
        return Err(HoldReason::OutOfRetries);
    }
    Ok(role)
}

/// The stories this one depends on that are not done. One that does not exist (any more) is not met.
fn unmet(story: &Story, board: &Board) -> Vec<StoryId> {
    let done = |id: &StoryId| {
        board.story(*id).is_some_and(|other| matches!(other.stage, Stage::Done | Stage::Archived))
    };
    story.front.depends_on.iter().filter(|id| !done(id)).copied().collect()
}

/// Picks the runs to start now, of stories that may be started. Later stages go first, then the older story; a preferred agent is
/// taken only if its role fits, and is waited for if it is busy.
pub fn assign(
    situation: &Situation<'_>,
    slots: &[Slot],
    may_start: impl Fn(&Arc<Story>) -> bool,
) -> Vec<Assignment> {
    let mut free: Vec<&Slot> = slots.iter().filter(|slot| slot.busy_with.is_none()).collect();
    // Finishing goes before starting: a story close to its merge blocks those that depend on it.
    let stages = Stage::ALL.into_iter().rev().filter(|stage| stage.role().is_some());
    let mut started = Vec::new();
    for story in stages.flat_map(|stage| situation.board.in_stage(stage)).filter(|story| may_start(story)) {
        let Ok(role) = waits_for(story, situation, slots) else { continue };
        if let Some(position) = pick(story, role, &free, slots) {
            started.push(Assignment { story: story.file.id, slot: free.remove(position).name.clone() });
        }
    }
    started
}

fn pick(story: &Story, role: Role, free: &[&Slot], slots: &[Slot]) -> Option<usize> {
    let fits = |slot: &&Slot| slot.role == role;
    // A preference for an agent of another role is meant for another stage; here any agent of the role will
    // do.
    let preferred = story.front.agent.as_deref().filter(|name| {
        slots.iter().any(|slot| slot.role == role && (slot.agent == *name || slot.name == *name))
    });
    match preferred {
        Some(name) => free.iter().position(|slot| fits(slot) && (slot.agent == name || slot.name == name)),
        None => free.iter().position(fits),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::story::{FileName, FrontMatter, StoryKind};

    fn story(id: u32, stage: Stage) -> Story {
        Story {
            file: FileName { id: StoryId(id), kind: StoryKind::Story, slug: "x".into() },
            stage,
            since: std::time::SystemTime::UNIX_EPOCH,
            front: FrontMatter::default(),
            criteria: Vec::new(),
        }
    }

    fn slot(name: &str, role: Role) -> Slot {
        Slot { name: name.into(), agent: name.trim_end_matches(['-', '2']).into(), role, busy_with: None }
    }

    fn team() -> Vec<Slot> {
        vec![
            slot("coder", Role::Coder),
            slot("coder-2", Role::Coder),
            slot("qa", Role::Qa),
            slot("master", Role::Mergemaster),
            slot("boss", Role::Supervisor),
        ]
    }

    fn board(stories: &[Story]) -> Board {
        Board::new(stories.iter().cloned().map(Arc::new), Vec::new())
    }

    fn run(stories: &[Story], conflicts: &[u32], slots: &[Slot]) -> Vec<(u32, String)> {
        let conflicts = conflicts.iter().copied().map(StoryId).collect();
        let board = board(stories);
        let situation = Situation {
            board: &board,
            conflicts: &conflicts,
            quarantine: &BTreeMap::new(),
            parked: &BTreeSet::new(),
            max_retries: 3,
        };
        assign(&situation, slots, |_| true)
            .into_iter()
            .map(|started| (started.story.0, started.slot))
            .collect()
    }

    #[test]
    fn every_free_agent_gets_work_of_its_role() {
        let stories = [
            story(1, Stage::Current),
            story(2, Stage::Current),
            story(3, Stage::Current),
            story(4, Stage::Qa),
        ];
        let expected = [(4, "qa".into()), (1, "coder".into()), (2, "coder-2".into())];
        assert_eq!(run(&stories, &[], &team()), expected);
    }

    #[test]
    fn a_story_with_a_merge_failure_is_never_assigned() {
        for stage in Stage::ALL {
            let mut failed = story(1, stage);
            failed.front.merge_failure = Some("conflict".into());
            assert_eq!(run(&[failed], &[1], &team()), []);
        }
    }

    #[test]
    fn a_mergemaster_gets_a_conflict_in_the_merge_stage_and_nothing_else() {
        assert_eq!(run(&[story(1, Stage::Merge)], &[], &team()), [], "the queue has it");
        assert_eq!(run(&[story(1, Stage::Merge)], &[1], &team()), [(1, "master".into())]);
        let only_master = [slot("master", Role::Mergemaster)];
        for stage in [Stage::Backlog, Stage::Current, Stage::Qa, Stage::Done, Stage::Archived] {
            assert_eq!(run(&[story(1, stage)], &[1], &only_master), [], "{stage}");
        }
    }

    #[test]
    fn manual_qa_waits_for_a_person() {
        let mut held = story(1, Stage::Qa);
        held.front.manual_qa = true;
        assert_eq!(run(&[held], &[], &team()), []);
    }

    #[test]
    fn a_preferred_agent_counts_only_if_its_role_fits_and_is_waited_for() {
        let mut wish = story(1, Stage::Current);
        wish.front.agent = Some("qa".into());
        assert_eq!(run(&[wish.clone()], &[], &team()), [(1, "coder".into())], "a reviewer does not code");
        wish.front.agent = Some("coder-2".into());
        assert_eq!(run(&[wish.clone()], &[], &team()), [(1, "coder-2".into())]);
        let mut busy = team();
        busy[1].busy_with = Some(StoryId(9));
        assert_eq!(run(&[wish], &[], &busy), []);
    }

    #[test]
    fn blocked_stories_open_dependencies_and_spent_retries_hold() {
        let mut blocked = story(1, Stage::Current);
        blocked.front.blocked = Some(BlockReason::Person("no".into()));
        let mut dependent = story(2, Stage::Current);
        dependent.front.depends_on = vec![StoryId(4), StoryId(5)];
        let mut spent = story(3, Stage::Current);
        spent.front.retry_count = 3;
        let stories = [blocked, dependent.clone(), spent, story(4, Stage::Done), story(5, Stage::Qa)];
        assert_eq!(run(&stories[..3], &[], &team()), []);
        let (board, conflicts) = (board(&stories), BTreeSet::new());
        let situation = Situation {
            board: &board,
            conflicts: &conflicts,
            quarantine: &BTreeMap::new(),
            parked: &BTreeSet::new(),
            max_retries: 3,
        };
        assert_eq!(waits_for(&dependent, &situation, &[]), Err(HoldReason::DependsOn(vec![StoryId(5)])));
    }

    #[test]
    fn a_story_of_strangers_is_worked_on_and_then_waits_until_a_person_has_accepted_the_work() {
        use crate::strangers::QuarantineCause;
        let board = board(&[story(1, Stage::Current), story(2, Stage::Qa), story(3, Stage::Merge)]);
        let conflicts = [StoryId(3)].into();
        let held = |accepted: bool| {
            let mark = Quarantine { accepted, ..Quarantine::new(QuarantineCause::Repository) };
            let quarantine = (1..=3).map(|id| (StoryId(id), mark.clone())).collect();
            let situation = Situation {
                board: &board,
                conflicts: &conflicts,
                quarantine: &quarantine,
                parked: &BTreeSet::new(),
                max_retries: 3,
            };
            board.stories().map(|story| waits_for(story, &situation, &[])).collect::<Vec<_>>()
        };
        let waits = Err(HoldReason::InQuarantine);
        assert_eq!(held(false), [Ok(Role::Coder), waits.clone(), waits]);
        assert_eq!(held(true), [Ok(Role::Coder), Ok(Role::Qa), Ok(Role::Mergemaster)]);
    }

    #[test]
    fn each_reason_to_wait_is_a_clause_for_people() {
        let reasons = [
            HoldReason::Stage(Stage::Backlog),
            HoldReason::InWork,
            HoldReason::MergeFailure,
            HoldReason::Blocked(BlockReason::Person("no paint".into())),
            HoldReason::DependsOn(vec![StoryId(4), StoryId(5)]),
            HoldReason::ForPerson,
            HoldReason::InQuarantine,
            HoldReason::OutOfRetries,
            HoldReason::InMergeQueue,
        ];
        insta::assert_snapshot!(reasons.map(|reason| reason.to_string()).join("\n"), @r"
        nobody works on stories in backlog
        an agent works on it
        its merge failed
        blocked: no paint
        waits for 4, 5
        waits for a person to accept or reject it
        it is in quarantine, so a person reviews its changes and accepts or rejects them
        its retries are used up
        is in the merge queue
        ");
    }

    #[test]
    fn a_story_that_may_not_be_started_leaves_its_worker_to_the_next() {
        let board = board(&[story(1, Stage::Qa), story(2, Stage::Qa)]);
        let (conflicts, quarantine) = (BTreeSet::new(), BTreeMap::new());
        let situation = Situation {
            board: &board,
            conflicts: &conflicts,
            quarantine: &quarantine,
            parked: &BTreeSet::new(),
            max_retries: 3,
        };
        let started = assign(&situation, &team(), |story| story.id() != StoryId(1));
        assert_eq!(started, [Assignment { story: StoryId(2), slot: "qa".into() }]);
    }

    #[test]
    fn a_story_in_work_is_not_given_twice() {
        let mut slots = team();
        slots[0].busy_with = Some(StoryId(1));
        assert_eq!(run(&[story(1, Stage::Current)], &[], &slots), []);
    }

    prop_compose! {
        fn any_story()(id in 0..8_u32, stage in prop::sample::select(&Stage::ALL[..]), failed: bool, held: bool,
                       retries in 0..5_u32, agent in prop::option::of("coder|qa|master|nobody"), dep in 0..8_u32) -> Story {
            let mut story = story(id, stage);
            story.front.merge_failure = failed.then(|| "x".into());
            story.front.manual_qa = held;
            story.front.retry_count = retries;
            story.front.agent = agent;
            story.front.depends_on = if dep > 5 { vec![StoryId(dep)] } else { Vec::new() };
            story
        }
    }

    proptest! {
        #[test]
        fn nothing_unlawful_is_ever_started(stories in prop::collection::vec(any_story(), 0..12), busy in 0..4_usize) {
            let board = board(&stories);
            let mut slots = team();
            for (n, slot) in slots.iter_mut().enumerate().take(busy) {
                slot.busy_with = Some(StoryId(n as u32));
            }
            let conflicts = stories.iter().map(|story| story.file.id).collect();
            let situation = Situation { board: &board, conflicts: &conflicts, quarantine: &BTreeMap::new(), parked: &BTreeSet::new(), max_retries: 3 };
            let started = assign(&situation, &slots, |_| true);
            let stories_once: BTreeSet<_> = started.iter().map(|started| started.story).collect();
            let slots_once: BTreeSet<_> = started.iter().map(|started| started.slot.clone()).collect();
            prop_assert_eq!((stories_once.len(), slots_once.len()), (started.len(), started.len()));
            for Assignment { story, slot } in &started {
                let story = board.story(*story).unwrap();
                let slot = slots.iter().find(|other| other.name == *slot).unwrap();
                prop_assert!(slot.busy_with.is_none());
                prop_assert_eq!(Some(slot.role), story.stage.role());
                prop_assert!(story.front.merge_failure.is_none() && story.front.retry_count < 3);
                prop_assert!(!(story.stage == Stage::Qa && story.front.manual_qa));
            }
        }
    }
}

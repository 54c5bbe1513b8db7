//! Who starts on what: `assign` on what is known now, then runs and merges are started.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agents::claude::SessionId;
use tokio::sync::mpsc;

use super::{ActiveRun, Orchestrator, PAUSE, RunVerdict, TaskEvent};
use crate::{
    assign::{HoldReason, Situation, Slot, assign, waits_for},
    event::{PipelineEvent, RunId, RunInfo, RunPhase, WantedDecision},
    handle::PipelineError,
    merge::{MergeRequest, MergeStatus},
    run::{self, RunPlan, RunUpdate},
    sentence::one_line,
    stage::{Role, Stage},
    story::{BlockReason, Story, StoryId},
};

/// What a held story waits for, and which person can end that.
pub(super) struct HeldStory {
    pub clause: String,
    pub wanted: Option<WantedDecision>,
}

impl Orchestrator {
    /// All workers of the configuration, and those that still work and are in it no more.
    pub(super) fn slots(&self) -> Vec<Slot> {
        let busy =
            |slot: &str| self.runs.values().find(|run| run.info.slot == slot).map(|run| run.info.story);
        let mut slots: Vec<Slot> = Vec::new();
        for agent in &self.config.agents {
            for name in agent.workers() {
                let busy_with = busy(&name);
                slots.push(Slot { name, agent: agent.name.clone(), role: agent.role, busy_with });
            }
        }
        for run in self.runs.values() {
            if !slots.iter().any(|slot| slot.name == run.info.slot) {
                slots.push(Slot {
                    name: run.info.slot.clone(),
                    agent: run.info.agent.clone(),
                    role: run.info.role,
                    busy_with: Some(run.info.story),
                });
            }
        }
        slots
    }

    fn conflicts(&self) -> BTreeSet<StoryId> {
        self.merges.conflicts().into_iter().collect()
    }

    /// Offers all free workers work, and the queue what is to be merged.
    pub(super) async fn assign_free_agents(&mut self) {
        if !self.configured {
            return;
        }
        self.queue_merges();
        if self.is_paused() {
            return;
        }
        let (slots, conflicts) = (self.slots(), self.conflicts());
        let now = SystemTime::now();
        let busy = |story: &Arc<Story>| {
            self.removing.contains(&story.id())
                || self.busy.get(&story.id()).is_some_and(|until| *until > now)
        };
        let held: Vec<Arc<Story>>;
        let stories = if self.busy.is_empty() && self.removing.is_empty() {
            &self.board.stories
        } else {
            held = self.board.stories.iter().filter(|story| !busy(story)).cloned().collect();
            &held
        };
        let situation = Situation { stories, conflicts: &conflicts, max_retries: self.config.max_retries };
        for assignment in assign(&situation, &slots) {
            let slot = slots.iter().find(|slot| slot.name == assignment.slot);
            if let (Some(slot), Some(story)) = (slot.cloned(), self.story(assignment.story)) {
                self.start_run(story, slot).await;
            }
            if self.is_paused() {
                break;
            }
        }
    }

    /// Every story in the merge stage that nothing holds is in the queue.
    pub(super) fn queue_merges(&mut self) {
        let conflicts = self.conflicts();
        let waiting: Vec<Arc<Story>> = self.board.in_stage(Stage::Merge).cloned().collect();
        let situation = Situation {
            stories: &self.board.stories,
            conflicts: &conflicts,
            max_retries: self.config.max_retries,
        };
        let free: Vec<Arc<Story>> = waiting
            .into_iter()
            .filter(|story| !self.runs.contains_key(&story.id()))
            .filter(|story| waits_for(story, &situation, &[]) == Err(HoldReason::InMergeQueue))
            .collect();
        for story in free {
            let queued = self.merges.status(story.id());
            if matches!(queued, Some(MergeStatus::Queued { .. } | MergeStatus::Running { .. })) {
                continue;
            }
            self.queue_merge(&story);
        }
    }

    fn queue_merge(&mut self, story: &Story) {
        let Some(name) = super::name_of(story) else { return };
        let request =
            MergeRequest { file: story.file.clone(), title: story.front.name.clone(), branch: name.branch() };
        match self.merges.start(&request) {
            Ok(()) => self.tell_merge(story.id()),
            Err(error) => tracing::warn!(story = %story.id(), %error, "a merge could not be queued"),
        }
    }

    /// Tells where a story's merge is.
    pub(super) fn tell_merge(&mut self, id: StoryId) {
        let title = self.title(id);
        if let Some(status) = self.merges.status(id) {
            let merge = crate::event::MergeView::of(&status);
            self.teller.tell(PipelineEvent::Merge { story: id, title, merge, diff: None });
        }
    }

    pub(super) fn title(&self, id: StoryId) -> String {
        self.story(id).map(|story| story.front.name.clone()).unwrap_or_default()
    }

    async fn start_run(&mut self, story: Arc<Story>, slot: Slot) {
        let id = story.id();
        let budget_usd = match self.budget(id) {
            Ok(left) => left,
            Err(BudgetSpent::Story { limit_usd }) => {
                return self.block(id, BlockReason::StoryBudget { limit_usd }).await;
            }
            Err(BudgetSpent::Day(why)) => return self.pause(why, PAUSE),
        };
        let Some(agent) = self.config.agents.iter().find(|agent| agent.name == slot.agent).cloned() else {
            return;
        };
        let text = match self.with_work(move |work| work.text(id)).await {
            Ok(text) => text,
            Err(error) => return tracing::warn!(story = %id, %error, "a story cannot be read"),
        };
        let memo = if slot.role == Role::Mergemaster {
            self.memos.change(id, |memo| memo.merge_attempts += 1)
        } else {
            self.memos.read(id)
        };
        let coder = slot.role == Role::Coder;
        let info = RunInfo {
            id: self.shop.ledger.next(id, &slot.name),
            story: id,
            title: story.front.name.clone(),
            slot: slot.name,
            agent: slot.agent,
            role: slot.role,
            since: SystemTime::now(),
            phase: RunPhase::Preparing,
            pid: None,
            session: None,
            cost_usd: 0.0,
        };
        let plan = RunPlan {
            run: info.clone(),
            story,
            text,
            agent,
            config: Arc::clone(&self.config),
            base: self.base.clone(),
            feedback: memo.feedback.filter(|_| coder),
            resume: memo.session.filter(|_| coder).map(SessionId::new),
            budget_usd,
        };
        self.busy.remove(&id);
        let (control, told, ended) = run::start(self.shop.clone(), plan);
        tokio::spawn(forward(id, info.id.clone(), told, ended, self.inner.clone()));
        self.teller.tell(PipelineEvent::RunStarted { run: info.clone() });
        self.runs.insert(
            id,
            ActiveRun { info, control, verdict: RunVerdict::Own, over: false, waiting: Vec::new() },
        );
    }

    /// What a run of this story may spend; `None` without a limit.
    fn budget(&self, id: StoryId) -> Result<Option<f64>, BudgetSpent> {
        let budget = &self.config.budget;
        let live: f64 = self.runs.values().map(|run| run.info.cost_usd).sum();
        let story = budget.story_usd.map(|limit| {
            let granted = limit + self.memos.read(id).granted_usd;
            (limit, granted - self.shop.ledger.story_usd(id))
        });
        if let Some((limit, left)) = story
            && left <= 0.0
        {
            return Err(BudgetSpent::Story { limit_usd: limit });
        }
        let day = budget.day_usd.map(|limit| (limit, limit - live - self.shop.ledger.usd_since(today())));
        if let Some((limit, left)) = day
            && left <= 0.0
        {
            return Err(BudgetSpent::Day(format!(
                "Today's budget (`day_usd`, ${limit:.2}) is spent. Agents go on tomorrow (UTC), or when it is raised in `.storkit/project.toml`."
            )));
        }
        let left = [story.map(|(_, left)| left), day.map(|(_, left)| left)];
        Ok(left.into_iter().flatten().reduce(f64::min))
    }

    pub(super) fn pause(&mut self, why: String, how_long: Duration) {
        if self.pause.as_ref().is_none_or(|(told, _)| *told != why) {
            self.teller.tell(PipelineEvent::Paused { why: Some(why.clone()) });
        }
        self.pause = Some((why, SystemTime::now() + how_long));
    }

    /// Whether nothing is to be started. After the pause's time it is tried; it is over when a run really lives.
    pub(super) fn is_paused(&self) -> bool {
        self.pause.as_ref().is_some_and(|(_, until)| *until > SystemTime::now())
    }

    /// Why a story in work stands still; `None` where it is worked on or waits for a free worker.
    pub(super) fn held(&self, story: &Story) -> Option<HeldStory> {
        if self.runs.contains_key(&story.id()) {
            return None;
        }
        let conflicts = self.conflicts();
        let situation = Situation {
            stories: &self.board.stories,
            conflicts: &conflicts,
            max_retries: self.config.max_retries,
        };
        let held = |clause: String, wanted| Some(HeldStory { clause, wanted });
        match waits_for(story, &situation, &[]) {
            Ok(role) if !self.config.agents.iter().any(|agent| agent.role == role) => {
                let wanted = (role == Role::Qa).then_some(WantedDecision::Review);
                held(format!("no agent of `project.toml` has the stage `{}`", word(role)), wanted)
            }
            Ok(_) => {
                let until = self.busy.get(&story.id()).filter(|until| **until > SystemTime::now())?;
                let left = until.duration_since(SystemTime::now()).unwrap_or_default();
                held(
                    format!(
                        "the model's service is busy; tried again in {}",
                        settings::duration::human(left)
                    ),
                    None,
                )
            }
            Err(HoldReason::InMergeQueue | HoldReason::InWork | HoldReason::Stage(_)) => None,
            Err(hold @ HoldReason::DependsOn(_)) => held(hold.to_string(), None),
            Err(hold @ HoldReason::ForPerson) => held(hold.to_string(), Some(WantedDecision::Review)),
            Err(hold @ (HoldReason::MergeFailure | HoldReason::OutOfRetries)) => {
                let memo = || self.memos.read(story.id());
                let why = story.front.merge_failure.clone().or_else(|| {
                    let memo = memo();
                    memo.failure.map(|cause| cause.to_string()).or(memo.feedback)
                });
                let why = why.map(|why| format!(": {}", one_line(&why))).unwrap_or_default();
                held(format!("{hold}{why}"), Some(WantedDecision::Retry))
            }
            Err(HoldReason::Blocked(reason)) => {
                let wanted = wanted_for(&reason);
                held(HoldReason::Blocked(reason).to_string(), Some(wanted))
            }
        }
    }

    /// Ends a story's run for a reason that is not its own, without waiting.
    pub(super) fn end_run(&mut self, id: StoryId, verdict: RunVerdict) -> bool {
        let Some(run) = self.runs.get_mut(&id) else { return false };
        run.verdict = verdict;
        run.control.end(crate::verdict::StopReason::Stopped);
        true
    }

    pub(super) fn unknown(id: StoryId) -> PipelineError {
        PipelineError::Work(crate::board::WorkError::Unknown(id))
    }
}

/// What lifts a block.
fn wanted_for(reason: &BlockReason) -> WantedDecision {
    match reason {
        BlockReason::StoryBudget { .. } | BlockReason::RunBudget { .. } => WantedDecision::Budget,
        BlockReason::FilesInTheWay { .. } => WantedDecision::ClearTheWay,
        BlockReason::StoppedBy { .. }
        | BlockReason::SentBack { .. }
        | BlockReason::Tampering { .. }
        | BlockReason::ServiceBusy { .. }
        | BlockReason::Worktree { .. }
        | BlockReason::CannotMove { .. }
        | BlockReason::Person(_) => WantedDecision::Retry,
    }
}

enum BudgetSpent {
    Story { limit_usd: f64 },
    Day(String),
}

/// The beginning of the day, UTC.
fn today() -> SystemTime {
    const DAY: u64 = 24 * 3600;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(now / DAY * DAY)
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Coder => "coder",
        Role::Qa => "qa",
        Role::Mergemaster => "mergemaster",
        Role::Supervisor => "supervisor",
    }
}

/// What a run tells goes to the task, its end last.
async fn forward(
    story: StoryId,
    run: RunId,
    mut told: mpsc::Receiver<RunUpdate>,
    ended: tokio::task::JoinHandle<crate::run::RunEnd>,
    inner: mpsc::Sender<TaskEvent>,
) {
    while let Some(told) = told.recv().await {
        if inner.send(TaskEvent::Told(story, run.clone(), told)).await.is_err() {
            return;
        }
    }
    let ending = ended.await.unwrap_or_else(|error| {
        tracing::error!(%run, %error, "a run's task failed");
        run::RunEnd::panicked(&error)
    });
    let _ = inner.send(TaskEvent::Ended(story, run, Box::new(ending))).await;
}

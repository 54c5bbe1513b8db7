//! Starts runs: calls `assign` with the current state, and queues merges.

use std::{sync::Arc, time::SystemTime};

use agents::claude::SessionId;
use tokio::sync::mpsc;

use super::{Orchestrator, PAUSE, TaskEvent, holds};
use crate::{
    assign::{Situation, Slot, assign},
    event::{PipelineEvent, RunId, RunInfo, RunPhase, WantedDecision},
    ledger::day_begin,
    merge::{MergeStatus, MergeStep},
    run::{self, RunPlan, RunUpdate},
    story::{BlockReason, PlanWish, Story, StoryId, stage::Role},
    strangers::{StrangerText, StrangersRead},
};

impl Orchestrator {
    pub(super) fn slots(&self) -> Vec<Slot> {
        self.runs.slots(&self.config.in_force.agents)
    }

    /// Offers work to all free workers, and queues the stories in the merge stage.
    pub(super) fn assign_free_agents(&mut self) {
        // A run that starts during the shutdown would not know of it.
        if !self.config.is_known || self.closing.is_some() {
            return;
        }
        let now = SystemTime::now();
        self.queue_merges(now);
        if self.holds.is_paused(now) {
            return;
        }
        let (slots, conflicts) = (self.slots(), self.merges.conflicts());
        let may_start = |story: &Arc<Story>| {
            let id = story.id();
            !self.pending.is_pending(id)
                && !self.holds.is_kept_back(id, now)
                && !self.stories.started.waits(story)
        };
        let (board, max_retries) = (&self.stories.board, self.config.in_force.max_retries);
        let quarantine = self.stories.started.quarantined();
        let situation = Situation {
            board,
            conflicts: &conflicts,
            quarantine,
            parked: self.parked.waiting(),
            max_retries,
        };
        let assignments = assign(&situation, &slots, may_start);
        for assignment in assignments {
            let slot = slots.iter().find(|slot| slot.name == assignment.slot);
            if let (Some(slot), Some(story)) = (slot.cloned(), self.story(assignment.story)) {
                // Starting one may find the day's budget spent, which pauses all others.
                self.start_run(story, slot);
            }
            if self.holds.is_paused(now) {
                break;
            }
        }
    }

    pub(super) fn title(&self, id: StoryId) -> String {
        self.story(id).map(|story| story.front.name.clone()).unwrap_or_default()
    }

    fn start_run(&mut self, story: Arc<Story>, slot: Slot) {
        let id = story.id();
        let budget_usd = match self.budget(id) {
            Ok(left) => left,
            Err(BudgetSpent::Story { limit_usd }) => {
                return self.block(id, BlockReason::StoryBudget { limit_usd });
            }
            Err(BudgetSpent::Day { limit_usd }) => {
                return self.pause(format!(
                    "Today's budget (`day_usd`, ${limit_usd:.2}) is spent. Agents start again tomorrow (UTC), or when \
                     you raise it in `.storkit/project.toml`."
                ));
            }
        };
        let config = Arc::clone(&self.config.in_force);
        let Some(agent) = config.agent(&slot.agent).cloned() else { return };
        let memo = match slot.role {
            // Counted before it starts, so that an attempt that crashes storkit counts too.
            Role::Mergemaster => self.memos.change(id, |memo| memo.merge_attempts += 1),
            Role::Coder | Role::Qa | Role::Supervisor => self.memos.read(id),
        };
        let coder = slot.role == Role::Coder;
        if coder {
            self.memos.change(id, |memo| memo.is_edited = false);
        }
        // A branch that a room landed has its code already.
        let plans = coder && story.front.plan == PlanWish::First && story.front.landed.is_none();
        let info = RunInfo {
            id: self.context.ledger.next(id, &slot.name),
            branch: None,
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
        let in_quarantine = self.stories.started.quarantine(id).is_some();
        let read = StrangersRead::default();
        read.on_read(memo.read.iter().cloned().chain(in_quarantine.then_some(StrangerText::Story(id))));
        let own_session = memo.session.filter(|_| coder).map(SessionId::new);
        let parked = self.parked.of(id).filter(|run| run.role == info.role).cloned();
        let plan = RunPlan {
            run: info.clone(),
            story,
            review: None,
            memory: String::new(),
            plans,
            text: String::new(),
            agent,
            config,
            base: self.config.base.clone(),
            // Only a coder has earlier work of its own to continue.
            feedback: memo.feedback.filter(|_| coder),
            resume: parked.as_ref().map(|run| run.session.clone()).or(own_session),
            parked_call: parked.map(|run| run.call),
            budget_usd,
            read,
            in_quarantine,
            is_edited: memo.is_edited,
        };
        self.holds.begun(id);
        let (control, told, ended) = run::start(self.context.clone(), Arc::clone(&self.stories.work), plan);
        tokio::spawn(forward(id, info.id.clone(), told, ended, self.events.clone()));
        self.publisher.emit(PipelineEvent::RunStarted { run: info.clone() });
        self.runs.add(info, control);
    }

    /// The budget for a run of this story; `None` without a limit.
    fn budget(&self, id: StoryId) -> Result<Option<f64>, BudgetSpent> {
        let ledger = &self.context.ledger;
        let spent = SpentMoney {
            story_usd: ledger.story_usd(id) - self.memos.read(id).granted_usd,
            // The ledger learns a run's cost only when the run is over.
            day_usd: ledger.usd_since(day_begin(SystemTime::now())) + self.runs.cost_usd(),
        };
        let budget = &self.config.in_force.budget;
        left(budget.story_usd, budget.day_usd, &spent)
    }

    pub(super) fn pause(&mut self, why: String) {
        let told = self.holds.pause(why, SystemTime::now() + PAUSE);
        told.into_iter().for_each(|event| self.publisher.emit(event));
    }

    /// Why a story in work does not progress; `None` where it is worked on or waits for a free worker.
    pub(super) fn held(&self, story: &Story) -> Option<holds::HeldStory> {
        let id = story.id();
        if self.runs.of(id).is_some() {
            return None;
        }
        if self.stories.board.story(id).is_some_and(|story| self.stories.started.waits(story)) {
            let clause =
                format!("it came with the repository and was not started here; `start {id}` starts it");
            return Some(holds::HeldStory { clause, wanted: Some(WantedDecision::Start) });
        }
        if let Some(MergeStatus::Running { step: MergeStep::Waiting { why }, .. }) = self.merges.status(id) {
            let clause = format!("its merge waits: {why}");
            return Some(holds::HeldStory { clause, wanted: Some(WantedDecision::FinishInGit) });
        }
        let conflicts = self.merges.conflicts();
        let facts = holds::HoldFacts {
            situation: Situation {
                board: &self.stories.board,
                conflicts: &conflicts,
                quarantine: self.stories.started.quarantined(),
                parked: self.parked.waiting(),
                max_retries: self.config.in_force.max_retries,
            },
            agents: &self.config.in_force.agents,
            memo: self.memos.read(id),
            service_wait: self.holds.service_wait(id, SystemTime::now()),
        };
        holds::held(story, &facts)
    }
}

/// US dollars; what people granted a story beyond its budget is taken off.
struct SpentMoney {
    story_usd: f64,
    day_usd: f64,
}

#[derive(Debug, PartialEq)]
enum BudgetSpent {
    Story { limit_usd: f64 },
    Day { limit_usd: f64 },
}

/// The smaller rest of the story's and the day's budget.
fn left(story: Option<f64>, day: Option<f64>, spent: &SpentMoney) -> Result<Option<f64>, BudgetSpent> {
    let story_left = story.map(|limit| limit - spent.story_usd);
    let day_left = day.map(|limit| limit - spent.day_usd);
    if let (Some(limit_usd), Some(..=0.0)) = (story, story_left) {
        return Err(BudgetSpent::Story { limit_usd });
    }
    if let (Some(limit_usd), Some(..=0.0)) = (day, day_left) {
        return Err(BudgetSpent::Day { limit_usd });
    }
    Ok([story_left, day_left].into_iter().flatten().reduce(f64::min))
}

/// Forwards a run's updates to the orchestrator, its outcome last.
pub(super) async fn forward(
    story: StoryId,
    run: RunId,
    mut told: mpsc::Receiver<RunUpdate>,
    ended: tokio::task::JoinHandle<run::RunEnd>,
    events: mpsc::Sender<TaskEvent>,
) {
    while let Some(told) = told.recv().await {
        if events.send(TaskEvent::RunUpdated(story, run.clone(), told)).await.is_err() {
            return;
        }
    }
    let ending = ended.await.unwrap_or_else(|error| {
        tracing::error!(%run, %error, "a run's task failed");
        run::RunEnd::panicked(&error)
    });
    let _ = events.send(TaskEvent::Ended(story, run, Box::new(ending))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_may_spend_the_smaller_rest_and_a_spent_budget_starts_nothing() {
        let spent = |story_usd, day_usd| SpentMoney { story_usd, day_usd };
        assert_eq!(left(None, None, &spent(9.0, 9.0)), Ok(None));
        assert_eq!(left(Some(2.0), None, &spent(0.5, 9.0)), Ok(Some(1.5)));
        assert_eq!(left(None, Some(3.0), &spent(9.0, 1.0)), Ok(Some(2.0)));
        assert_eq!(left(Some(2.0), Some(3.0), &spent(0.5, 2.0)), Ok(Some(1.0)));
        assert_eq!(left(Some(2.0), Some(3.0), &spent(1.5, 2.0)), Ok(Some(0.5)));
        assert_eq!(left(Some(2.0), Some(3.0), &spent(2.0, 3.0)), Err(BudgetSpent::Story { limit_usd: 2.0 }));
        assert_eq!(left(Some(2.0), Some(3.0), &spent(1.0, 3.5)), Err(BudgetSpent::Day { limit_usd: 3.0 }));
        assert_eq!(left(Some(2.0), None, &spent(-2.0, 0.0)), Ok(Some(4.0)), "as much was granted");
    }
}

//! Orders that start and stop work on a story.

use std::sync::Arc;

use super::{Done, checked, mover, refused, reply};
use crate::{
    event::{Actor, RunInfo},
    handle::{Answer, StartResult, StopTarget},
    history::StoryAct,
    mailbox::PersonMessage,
    orchestrator::{
        Orchestrator,
        stories::{FrontEdit, StoryStep, StoryWork},
    },
    story::{BlockReason, Story, StoryId, stage::Stage},
};

impl Orchestrator {
    pub(super) fn start(
        &mut self,
        id: StoryId,
        agent: Option<String>,
        by: Actor,
        answer: Answer<StartResult>,
    ) {
        let assigned = agent.clone();
        let (story, prefer) = checked!(self, answer, self.can_start(id, agent));
        checked!(self, answer, self.not_for_agents(id, &by));
        self.on_person_spoke(id, &by);
        match story.stage {
            Stage::Backlog => self.mark_started(&story),
            _ => self.mark_started_by(&by, &story),
        }
        let mut edits: Vec<FrontEdit> = prefer.into_iter().collect();
        if story.front.blocked.is_some() {
            // An explicit start lifts a block; a failed merge needs the explicit `retry`.
            edits.push(FrontEdit::Unblock);
        }
        let mut steps = Vec::new();
        if !edits.is_empty() {
            steps.push(StoryStep::Edit(edits));
        }
        if story.stage == Stage::Backlog {
            steps.push(StoryStep::Move(Stage::Current, mover(&by)));
        }
        let assigned = assigned.map(|agent| StoryAct::Assigned { agent: Some(agent), by: by.clone() });
        // A move says it itself.
        let continued = (story.stage != Stage::Backlog).then(|| StoryAct::Continued { by: by.clone() });
        let about = StoryWork::on(id).by(by, None);
        self.steps_and_answer(about, (id, steps), answer, move |this| {
            let acts = assigned.into_iter().chain(continued);
            acts.for_each(|act| this.publisher.record(id, act));
            this.offer(id)
        });
    }

    fn can_start(&self, id: StoryId, agent: Option<String>) -> Done<(Arc<Story>, Option<FrontEdit>)> {
        let story = self.known(id)?;
        if matches!(story.stage, Stage::Done | Stage::Archived) {
            return refused(format!("story {id} is done. Write a new story for what is left."));
        }
        self.idle(id)?;
        not_planned(&story)?;
        let prefer = agent.map(|agent| self.preference(id, agent)).transpose()?;
        if story.front.merge_failure.is_some() {
            return refused(format!("the merge of story {id} failed. `retry {id}` tries it again."));
        }
        Ok((story, prefer))
    }

    /// Offers the story to a free worker, and reports the result.
    fn offer(&mut self, id: StoryId) -> Done<StartResult> {
        // Assigned at once, so that the answer can name the run.
        self.holds.try_now(id);
        self.assign_free_agents();
        if let Some(run) = self.runs.of(id) {
            return Ok(StartResult::Running(run.clone()));
        }
        let story = self.known(id)?;
        let unread = self.config.trouble.as_deref().filter(|_| !self.config.is_known);
        let paused = unread.or(self.holds.pause_reason()).map(|why| why.trim_end_matches('.').to_owned());
        let waits = match (self.held(&story), paused) {
            (_, Some(why)) if unread.is_some() => why,
            (Some(held), _) => held.clause,
            (None, Some(why)) => why,
            (None, None) if story.stage == Stage::Merge => "it is in the merge queue".into(),
            (None, None) => match &story.front.agent {
                Some(agent) => format!("it waits until `{agent}` is free"),
                None => "all agents for it are busy".into(),
            },
        };
        Ok(StartResult::Waiting(waits))
    }

    /// Leaves a person's words for the agent that works on a story.
    pub(super) fn tell(&mut self, id: StoryId, message: PersonMessage) -> Done<RunInfo> {
        let story = self.known(id)?;
        match self.runs.tell(id, message) {
            Some(run) => Ok(run),
            None if matches!(story.stage, Stage::Done | Stage::Archived) => refused(format!(
                "story {id} is done, so nobody works on it. Write a new story for what is left."
            )),
            None => refused(format!(
                "nobody works on story {id} now, so nobody would read it. Put it into the story with `edit {id}`; `start {id}` or `retry \
                 {id}` lets an agent go on."
            )),
        }
    }

    pub(super) fn stop(&mut self, target: &StopTarget, by: &Actor, answer: Answer<Vec<RunInfo>>) {
        // The wait is outside the loop: a run is over only when the loop has handled its events.
        let waits = self.runs.stop(target, &by.to_string());
        // They have no process that could end; the block lets nobody go on, and their questions are closed.
        let parked = self.parked_targets(target);
        for run in &parked {
            self.block(run.story, BlockReason::StoppedBy { who: by.to_string() });
        }
        tokio::spawn(async move {
            let mut stopped = parked;
            for wait in waits {
                stopped.extend(wait.await.ok().and_then(Result::ok).into_iter().flatten());
            }
            reply(answer, Ok(stopped));
        });
    }

    pub(super) fn retry(&mut self, id: StoryId, by: &Actor, answer: Answer<StartResult>) {
        let story = checked!(self, answer, self.known(id));
        if story.stage.role().is_none() {
            let why = format!("story {id} is in {}: there is nothing to try again.", story.stage);
            return self.publisher.answer(answer, refused(why));
        }
        checked!(self, answer, self.idle(id));
        checked!(self, answer, not_planned(&story));
        checked!(self, answer, self.not_for_agents(id, by));
        self.on_person_spoke(id, by);
        self.mark_started_by(by, &story);
        // From the stored cause, never from the sentence: an agent's words are part of some sentences, and
        // would move money.
        let grant = match (&story.front.blocked, self.config.in_force.budget.story_usd) {
            (Some(reason), Some(limit)) if reason.is_budget() => limit,
            _ => 0.0,
        };
        tracing::info!(story = %id, %by, grant, "a story is tried again");
        self.memos.change(id, |memo| {
            (memo.sent_back, memo.merge_attempts, memo.busy) = (0, 0, 0);
            memo.granted_usd += grant;
        });
        let edits = vec![FrontEdit::Unblock, FrontEdit::ClearMergeFailure, FrontEdit::ClearRetries];
        let continued = StoryAct::Continued { by: by.clone() };
        self.edit_and_answer(id, edits, answer, move |this| {
            this.publisher.record(id, continued);
            this.offer(id)
        });
    }
}

/// A plan that waits is decided about: whoever starts the story may not have read it.
fn not_planned(story: &Story) -> Done<()> {
    let id = story.id();
    match story.front.blocked {
        Some(BlockReason::PlanProposed {}) => refused(format!(
            "the plan of story {id} waits: `show {id}` has it, `accept {id}` lets its coder carry it out, `reject {id} TEXT` asks for another."
        )),
        _ => Ok(()),
    }
}

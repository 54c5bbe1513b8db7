//! Orders of people and agents: checked against the state, carried out in a lane, answered when they are done.

use std::sync::Arc;

use super::{
    Orchestrator, blocking,
    lane::DeferredEvent,
    name_of,
    removal::WorktreeRemover,
    runs::RunVerdict,
    stories::{FrontEdit, StoryStep, StoryWork},
};
use crate::{
    board::{RemovedStory, WorkError, WorkFolder},
    event::{Actor, MergeView},
    handle::{Answer, DeletedStory, PipelineError, PipelineOrder, StartResult, StopTarget, StoryChange},
    merge::MergeStatus,
    sentence::sentence,
    story::{
        EditError, Story, StoryDocument, StoryId,
        stage::{Mover, Role, Stage},
    },
    verdict::ReviewDecision,
    worktree::{BranchFate, WorktreeName, Worktrees},
};

type Done<T> = Result<T, PipelineError>;

fn refused<T>(why: impl Into<String>) -> Done<T> {
    Err(PipelineError::Refused(why.into()))
}

/// Answers with the error of a check.
macro_rules! checked {
    ($this:ident, $answer:ident, $check:expr) => {
        match $check {
            Ok(found) => found,
            Err(error) => return $this.publisher.answer($answer, Err(error)),
        }
    };
}

impl Orchestrator {
    // An order sees the effect of all earlier ones: while a story's files are worked on, orders for it wait.
    pub(super) fn take_order(&mut self, order: PipelineOrder) {
        match order.story() {
            // Stopping a process needs no file.
            Some(story) if matches!(order, PipelineOrder::Stop(..)) && self.runs.at_work(story).is_some() => {
                self.handle_order(order);
            }
            Some(story) => self.take_event(story, DeferredEvent::Order(order)),
            None => self.handle_order(order),
        }
    }

    pub(super) fn handle_order(&mut self, order: PipelineOrder) {
        match order {
            PipelineOrder::Create(kind, title, body, by, answer) => {
                let create = move |work: &WorkFolder| work.create(kind, &title, body.as_deref());
                self.create(create, by, answer);
            }
            PipelineOrder::Update(id, change, answer) => self.update(id, change, answer),
            PipelineOrder::Tick(id, criterion, done, answer) => {
                self.edit(
                    id,
                    move |document| document.tick(criterion, done),
                    move |this, ticked| {
                        this.publisher.answer(answer, ticked);
                    },
                );
            }
            PipelineOrder::Start(id, agent, by, answer) => self.start(id, agent, by, answer),
            PipelineOrder::Stop(target, by, answer) => self.stop(&target, &by, answer),
            PipelineOrder::Prefer(id, agent, answer) => {
                let edit = checked!(self, answer, self.preference(id, agent));
                self.edit_and_answer(id, vec![edit], answer, |_| Ok(()));
            }
            PipelineOrder::Move(id, to, by, answer) => self.move_by_hand(id, to, by, answer),
            PipelineOrder::Retry(id, by, answer) => self.retry(id, &by, answer),
            PipelineOrder::Review(id, review, by, answer) => self.review(id, review, by, answer),
            PipelineOrder::Delete(id, by, answer) => self.delete(id, by, answer),
            PipelineOrder::Merge(id, by, answer) => self.merge(id, &by, answer),
            PipelineOrder::MergeFailed(id, why, by, answer) => self.give_up_merge(id, &why, &by, answer),
            PipelineOrder::Rescan(answer) => {
                self.work_on(StoryWork::default(), WorkFolder::scan, move |this, scanned| {
                    this.publisher.answer(answer, scanned.map(drop).map_err(Into::into));
                });
            }
            PipelineOrder::Shutdown(answer) => self.close(answer),
        }
    }

    fn create(
        &mut self,
        create: impl FnOnce(&WorkFolder) -> Result<Story, WorkError> + Send + 'static,
        by: Actor,
        answer: Answer<Story>,
    ) {
        let cause = |created: &Result<Story, WorkError>| Some((created.as_ref().ok()?.id(), by, None));
        self.work_with_cause(StoryWork::default(), create, cause, move |this, created| {
            this.publisher.answer(answer, created.map_err(Into::into));
        });
    }

    /// A change that a person or an agent asked for.
    fn edit<T: Send + 'static>(
        &mut self,
        id: StoryId,
        change: impl Fn(&mut StoryDocument) -> Result<T, EditError> + Send + 'static,
        then: impl FnOnce(&mut Self, Done<T>) + Send + 'static,
    ) {
        let edit = move |work: &WorkFolder| work.edit(id, change);
        self.work_on(StoryWork::on(id), edit, move |this, edited| then(this, edited.map_err(Into::into)));
    }

    fn edit_and_answer<T: Send + 'static>(
        &mut self,
        id: StoryId,
        edits: Vec<FrontEdit>,
        answer: Answer<T>,
        then: impl FnOnce(&mut Self) -> Done<T> + Send + 'static,
    ) {
        self.steps_and_answer(StoryWork::on(id), (id, vec![StoryStep::Edit(edits)]), answer, then);
    }

    fn steps_and_answer<T: Send + 'static>(
        &mut self,
        about: StoryWork,
        (id, steps): (StoryId, Vec<StoryStep>),
        answer: Answer<T>,
        then: impl FnOnce(&mut Self) -> Done<T> + Send + 'static,
    ) {
        self.take_steps(about, id, steps, move |this, done| {
            let done = done.map_err(Into::into).and_then(|()| then(this));
            this.publisher.answer(answer, done);
        });
    }

    fn update(&mut self, id: StoryId, change: StoryChange, answer: Answer<Story>) {
        if let Some(agent) = change.agent.as_deref().filter(|agent| !agent.is_empty()) {
            checked!(self, answer, self.known_agent(agent));
        }
        self.edit(
            id,
            move |document| apply(document, &change),
            move |this, edited| {
                this.publisher
                    .answer(answer, edited.and_then(|()| this.known(id)).map(|story| Story::clone(&story)));
            },
        );
    }

    /// The story, if it can be acted on.
    fn known(&self, id: StoryId) -> Done<Arc<Story>> {
        let board = &self.stories.board;
        match (board.story(id), board.problem(id)) {
            (Some(story), _) => Ok(Arc::clone(story)),
            (None, Some(problem)) => refused(problem.to_string()),
            (None, None) => Err(WorkError::Unknown(id).into()),
        }
    }

    fn known_agent(&self, name: &str) -> Done<Role> {
        let slots = self.slots();
        match slots.iter().find(|slot| slot.agent == name || slot.name == name) {
            Some(slot) => Ok(slot.role),
            None => {
                let names: Vec<&str> =
                    self.config.in_force.agents.iter().map(|agent| agent.name.as_str()).collect();
                refused(format!("there is no agent `{name}`; there are `{}`.", names.join("`, `")))
            }
        }
    }

    /// The story, if no run of it is under way.
    fn idle(&self, id: StoryId) -> Done<Arc<Story>> {
        let story = self.known(id)?;
        match self.runs.of(id) {
            Some(run) => refused(format!("`{}` works on story {id} already.", run.slot)),
            None => Ok(story),
        }
    }

    fn start(&mut self, id: StoryId, agent: Option<String>, by: Actor, answer: Answer<StartResult>) {
        let (story, prefer) = checked!(self, answer, self.can_start(id, agent));
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
        let about = StoryWork::on(id).by(by, None);
        self.steps_and_answer(about, (id, steps), answer, move |this| this.offer(id));
    }

    fn can_start(&self, id: StoryId, agent: Option<String>) -> Done<(Arc<Story>, Option<FrontEdit>)> {
        let story = self.known(id)?;
        if matches!(story.stage, Stage::Done | Stage::Archived) {
            return refused(format!("story {id} is done. Write a new story for what is left."));
        }
        self.idle(id)?;
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

    fn preference(&self, id: StoryId, agent: String) -> Done<FrontEdit> {
        let story = self.known(id)?;
        let role = self.known_agent(&agent)?;
        if role != story.stage.role().unwrap_or(Role::Coder) {
            return refused(format!(
                "`{agent}` does not do what story {id} needs in {}: it would never be given it.",
                story.stage
            ));
        }
        Ok(FrontEdit::Prefer(agent))
    }

    fn stop(&mut self, target: &StopTarget, by: &Actor, answer: Answer<Vec<crate::event::RunInfo>>) {
        // The wait is outside the loop: a run is over only when the loop has handled its events.
        let waits = self.runs.stop(target, &by.to_string());
        tokio::spawn(async move {
            let mut stopped = Vec::new();
            for wait in waits {
                stopped.extend(wait.await.ok().and_then(Result::ok).into_iter().flatten());
            }
            reply(answer, Ok(stopped));
        });
    }

    fn move_by_hand(&mut self, id: StoryId, to: Stage, by: Actor, answer: Answer<Story>) {
        let story = checked!(self, answer, self.known(id));
        if let Some(run) = self.runs.at_work(id) {
            let why = format!("`{}` works on story {id}. `stop {id}` first.", run.slot);
            return self.publisher.answer(answer, refused(why));
        }
        checked!(self, answer, self.not_landing(id));
        match story.stage.role() {
            None => self.mark_started(&story),
            Some(_) => self.mark_started_by(&by, &story),
        }
        let mover = mover(&by);
        let about = StoryWork::on(id).by(by, None);
        let move_it = move |work: &WorkFolder| work.move_story(id, to, mover);
        self.work_on(about, move_it, move |this, moved| {
            this.publisher.answer(answer, moved.map_err(Into::into))
        });
    }

    fn not_landing(&self, id: StoryId) -> Done<()> {
        match self.merges.is_landing(id) {
            true => refused(format!("story {id} is being merged right now.")),
            false => Ok(()),
        }
    }

    fn retry(&mut self, id: StoryId, by: &Actor, answer: Answer<StartResult>) {
        let story = checked!(self, answer, self.known(id));
        if story.stage.role().is_none() {
            let why = format!("story {id} is in {}: there is nothing to try again.", story.stage);
            return self.publisher.answer(answer, refused(why));
        }
        checked!(self, answer, self.idle(id));
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
        self.edit_and_answer(id, edits, answer, move |this| this.offer(id));
    }

    fn review(&mut self, id: StoryId, review: ReviewDecision, by: Actor, answer: Answer<()>) {
        let story = checked!(self, answer, self.known(id));
        if let Actor::Agent(slot) = &by {
            // Nothing moves yet: the review counts once the run is over and its facts are known.
            let reviews = self.runs.review(id, slot, review);
            let why = || refused(format!("`{slot}` does not review story {id}."));
            return self.publisher.answer(answer, if reviews { Ok(()) } else { why() });
        }
        checked!(self, answer, self.not_landing(id));
        self.mark_started_by(&by, &story);
        match (review, story.stage) {
            (ReviewDecision::Approved, Stage::Qa) => {
                self.runs.end(id, RunVerdict::Settled);
                let steps = vec![StoryStep::Move(Stage::Merge, mover(&by))];
                let why = Some(format!("accepted by {by}"));
                let about = StoryWork::on(id).by(by, why);
                self.steps_and_answer(about, (id, steps), answer, |_| Ok(()));
            }
            (ReviewDecision::Rejected(reason), Stage::Qa | Stage::Merge) => {
                self.runs.end(id, RunVerdict::Settled);
                self.leave_merge(id);
                let clear = vec![FrontEdit::Unblock, FrontEdit::ClearMergeFailure];
                self.send_back(id, (&reason, by), clear, move |this| this.publisher.answer(answer, Ok(())));
            }
            (_, stage) => {
                let why = format!("story {id} is in {stage}; only one in qa waits for that decision.");
                self.publisher.answer(answer, refused(why));
            }
        }
    }

    // The file goes first, which stops the agent; the worktree is removed when the agent is gone. A crash in
    // between leaves a worktree that the next start removes.
    fn delete(&mut self, id: StoryId, by: Actor, answer: Answer<DeletedStory>) {
        checked!(self, answer, self.not_landing(id));
        let stopped = self.runs.at_work(id).map(|run| run.slot.clone());
        let name = self.story(id).as_deref().and_then(name_of);
        let about = StoryWork::on(id).by(by, None);
        let delete = move |work: &WorkFolder| work.delete(id);
        // The board's comparison stops the run, and takes the story out of the merge queue.
        self.work_on(about, delete, move |this, removed| {
            let removed = checked!(this, answer, removed.map_err(Into::into));
            this.memos.forget(id);
            // The worktree is not removed under a process that still writes there.
            let gone = this.runs.wait_for(id);
            let (worktrees, remover) = (this.context.worktrees.clone(), this.remover());
            tokio::spawn(async move {
                if let Some(gone) = gone {
                    let _ = gone.await;
                }
                let deleted = clear_away(&worktrees, &remover, id, name, (removed, stopped)).await;
                let deleted = deleted.map_err(|why| {
                    let why = format!("Story {id} is deleted, but its worktree is not: {}", sentence(&why));
                    PipelineError::Refused(why)
                });
                reply(answer, deleted);
            });
        });
    }

    fn merge(&mut self, id: StoryId, by: &Actor, answer: Answer<MergeView>) {
        let story = checked!(self, answer, self.can_merge(id));
        self.mark_started_by(by, &story);
        if self.stories.started.waits(&story) {
            let why = format!("story {id} came with the repository. A person can use `start {id}`.");
            return self.publisher.answer(answer, refused(why));
        }
        tracing::info!(story = %id, %by, "a merge is asked for");
        self.queue_merge(&story, move |this, queued| {
            let view = queued.and_then(|()| match this.merges.status(id) {
                Some(status) => Ok(MergeView::of(&status)),
                None => {
                    refused(format!("the merge of story {id} could not be queued; the log has the reason."))
                }
            });
            this.publisher.answer(answer, view);
        });
    }

    fn can_merge(&self, id: StoryId) -> Done<Arc<Story>> {
        let story = self.known(id)?;
        if story.stage != Stage::Merge {
            return refused(format!("story {id} is in {}; only one in merge is merged.", story.stage));
        }
        if let Some(run) = self.runs.at_work(id) {
            return refused(format!(
                "`{}` resolves the conflicts of story {id}. The merge continues when that run ends.",
                run.slot
            ));
        }
        if let Some(why) = &story.front.merge_failure {
            let why = sentence(why);
            return refused(format!("the merge of story {id} failed: {why} A person can use `retry {id}`."));
        }
        if let Some(why) = &story.front.blocked {
            return refused(format!("story {id} is blocked: {}", sentence(&why.to_string())));
        }
        match self.merges.status(id) {
            Some(MergeStatus::Queued { .. } | MergeStatus::Running { .. }) => {
                refused(format!("the merge of story {id} is queued or running already. Ask for its status."))
            }
            Some(MergeStatus::Ended(_)) | None => Ok(story),
        }
    }

    fn give_up_merge(&mut self, id: StoryId, why: &str, by: &Actor, answer: Answer<()>) {
        checked!(self, answer, self.can_give_up_merge(id, by));
        // The agent that gave up may finish its turn; its outcome has no consequence.
        self.runs.settle(id);
        self.merge_failure(id, why, move |this| this.publisher.answer(answer, Ok(())));
    }

    fn can_give_up_merge(&self, id: StoryId, by: &Actor) -> Done<()> {
        let story = self.known(id)?;
        if story.stage != Stage::Merge {
            return refused(format!("story {id} is in {}, not in merge.", story.stage));
        }
        if let Actor::Agent(slot) = by
            && self.runs.of(id).is_none_or(|run| run.slot != *slot)
        {
            return refused(format!("`{slot}` does not work on the merge of story {id}."));
        }
        self.not_landing(id)
    }
}

/// By whose rules a story moves.
fn mover(by: &Actor) -> Mover {
    match by {
        Actor::Pipeline => Mover::Pipeline,
        Actor::Person(_) | Actor::Agent(_) | Actor::Editor => Mover::Person,
    }
}

fn apply(document: &mut StoryDocument, change: &StoryChange) -> Result<(), EditError> {
    if let Some(title) = &change.title {
        document.set("name", title.as_str())?;
    }
    match change.agent.as_deref() {
        Some("") => document.remove("agent")?,
        Some(agent) => document.set("agent", agent)?,
        None => {}
    }
    if let Some(held) = change.manual_qa {
        document.set("manual_qa", held)?;
    }
    if let Some(stories) = &change.depends_on {
        document.set("depends_on", stories.as_slice())?;
    }
    match &change.body {
        Some(body) => document.set_body(body),
        None => Ok(()),
    }
}

/// Removes every worktree and branch of the story, whatever its slug was.
async fn clear_away(
    worktrees: &Worktrees,
    remover: &WorktreeRemover,
    id: StoryId,
    name: Option<WorktreeName>,
    (removed, stopped): (RemovedStory, Option<String>),
) -> Result<DeletedStory, String> {
    let worktrees = worktrees.clone();
    let found = blocking(move || worktrees.list().map_err(|error| error.to_string())).await??;
    let own: Vec<_> = found.into_iter().filter(|(name, _)| name.id() == id).collect();
    let worktree = own.iter().any(|(_, found)| found.folder || found.admin);
    let branch = own.iter().find(|(_, found)| found.branch.is_some()).map(|(name, _)| name.branch());
    for name in own.into_iter().map(|(name, _)| name).chain(name) {
        remover.remove(&name, BranchFate::Delete).await?;
    }
    Ok(DeletedStory { name: removed.name, stage: removed.stage, stopped, worktree, branch })
}

fn reply<T>(answer: Answer<T>, done: Done<T>) {
    // Fails where nobody waits any more.
    let _ = answer.send(done);
}

/// Answers an order of a pipeline that cannot work. Returns whether it was the last one.
pub(super) fn refuse(order: PipelineOrder, why: &str) -> bool {
    fn no<T>(answer: Answer<T>, why: &str) -> bool {
        reply(answer, refused(why));
        false
    }
    match order {
        PipelineOrder::Create(.., answer)
        | PipelineOrder::Update(.., answer)
        | PipelineOrder::Move(.., answer) => no(answer, why),
        PipelineOrder::Tick(.., answer)
        | PipelineOrder::Prefer(.., answer)
        | PipelineOrder::Review(.., answer)
        | PipelineOrder::MergeFailed(.., answer)
        | PipelineOrder::Rescan(answer) => no(answer, why),
        PipelineOrder::Start(.., answer) | PipelineOrder::Retry(.., answer) => no(answer, why),
        PipelineOrder::Stop(.., answer) => no(answer, why),
        PipelineOrder::Delete(.., answer) => no(answer, why),
        PipelineOrder::Merge(.., answer) => no(answer, why),
        PipelineOrder::Shutdown(answer) => {
            reply(answer, Ok(()));
            true
        }
    }
}

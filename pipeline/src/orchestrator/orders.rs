//! What people and agents ask for: checked against the state, done, answered.

use std::sync::Arc;

use super::{Orchestrator, RunVerdict, blocking, name_of, removal::WorktreeRemover};
use crate::{
    board::RemovedStory,
    event::{Actor, MergeView, RunInfo},
    handle::{Answer, DeletedStory, PipelineError, PipelineOrder, StartResult, StopTarget, StoryChange},
    merge::{MergeStatus, MergeStep},
    stage::{Role, Stage},
    story::{EditError, Story, StoryDocument, StoryId, StoryKind},
    verdict::ReviewDecision,
    worktree::{BranchFate, WorktreeName, Worktrees},
};

type Done<T> = Result<T, PipelineError>;

fn refused<T>(why: impl Into<String>) -> Done<T> {
    Err(PipelineError::Refused(why.into()))
}

impl Orchestrator {
    pub(super) async fn handle_order(&mut self, order: PipelineOrder) {
        match order {
            PipelineOrder::Create(kind, title, body, by, answer) => {
                let done = self.create(kind, title, body, by).await;
                reply(answer, done);
            }
            PipelineOrder::Update(id, change, answer) => reply(answer, self.update(id, change).await),
            PipelineOrder::Tick(id, criterion, done, answer) => {
                let ticked = self.edit(id, move |document| document.tick(criterion, done)).await;
                reply(answer, ticked.map(drop));
            }
            PipelineOrder::Start(id, agent, by, answer) => reply(answer, self.start(id, agent, by).await),
            PipelineOrder::Stop(target, by, answer) => self.stop(&target, &by, answer),
            PipelineOrder::Prefer(id, agent, answer) => reply(answer, self.prefer(id, agent).await),
            PipelineOrder::Move(id, to, by, answer) => reply(answer, self.move_by_hand(id, to, by).await),
            PipelineOrder::Retry(id, by, answer) => reply(answer, self.retry(id, by).await),
            PipelineOrder::Review(id, review, by, answer) => reply(answer, self.review(id, review, by).await),
            PipelineOrder::Delete(id, by, answer) => self.delete(id, by, answer).await,
            PipelineOrder::Merge(id, by, answer) => reply(answer, self.merge(id, &by)),
            PipelineOrder::MergeFailed(id, why, by, answer) => {
                reply(answer, self.give_up_merge(id, &why, &by).await)
            }
            PipelineOrder::Rescan(answer) => {
                self.changed(crate::watcher::WorkChange::Rescan).await;
                reply(answer, Ok(()));
            }
            PipelineOrder::Shutdown(answer) => self.close(answer),
        }
    }

    async fn create(
        &mut self,
        kind: StoryKind,
        title: String,
        body: Option<String>,
        by: Actor,
    ) -> Done<Story> {
        let story = self.with_work(move |work| work.create(kind, &title, body.as_deref())).await?;
        self.rescan(Some((story.id(), by, None))).await;
        Ok(story)
    }

    async fn edit<T: Send + 'static>(
        &mut self,
        id: StoryId,
        change: impl Fn(&mut StoryDocument) -> Result<T, EditError> + Send + 'static,
    ) -> Done<T> {
        let edited = self.with_work(move |work| work.edit(id, change)).await?;
        self.rescan(None).await;
        Ok(edited)
    }

    async fn update(&mut self, id: StoryId, change: StoryChange) -> Done<Story> {
        if let Some(agent) = change.agent.as_deref().filter(|agent| !agent.is_empty()) {
            self.known_agent(agent)?;
        }
        self.edit(id, move |document| apply(document, &change)).await?;
        self.known(id).map(|story| Story::clone(&story))
    }

    /// The story, if it can be acted on.
    fn known(&self, id: StoryId) -> Done<Arc<Story>> {
        match (self.board.story(id), self.board.problem(id)) {
            (Some(story), _) => Ok(Arc::clone(story)),
            (None, Some(problem)) => refused(problem.to_string()),
            (None, None) => Err(Self::unknown(id)),
        }
    }

    fn known_agent(&self, name: &str) -> Done<Role> {
        let slots = self.slots();
        match slots.iter().find(|slot| slot.agent == name || slot.name == name) {
            Some(slot) => Ok(slot.role),
            None => {
                let names: Vec<&str> = self.config.agents.iter().map(|agent| agent.name.as_str()).collect();
                refused(format!("there is no agent `{name}`; there are `{}`.", names.join("`, `")))
            }
        }
    }

    async fn start(&mut self, id: StoryId, agent: Option<String>, by: Actor) -> Done<StartResult> {
        let story = self.known(id)?;
        if matches!(story.stage, Stage::Done | Stage::Archived) {
            return refused(format!("story {id} is done. Write a new story for what is left."));
        }
        if let Some(run) = self.runs.get(&id) {
            return refused(format!("`{}` works on story {id} already.", run.info.slot));
        }
        if let Some(agent) = agent {
            self.prefer(id, agent).await?;
        }
        if story.front.merge_failure.is_some() {
            return refused(format!("the merge of story {id} failed. `retry {id}` tries it again."));
        }
        if story.front.blocked.is_some() {
            self.edit(id, StoryDocument::unblock).await?;
        }
        if story.stage == Stage::Backlog {
            self.move_story(id, Stage::Current, by, None).await?;
        }
        self.go_on(id).await
    }

    /// Offers the story's work, and says what came of it.
    async fn go_on(&mut self, id: StoryId) -> Done<StartResult> {
        self.busy.remove(&id);
        if let Some((_, until)) = &mut self.pause {
            // A person wants it tried now.
            *until = std::time::SystemTime::UNIX_EPOCH;
        }
        self.assign_free_agents().await;
        if let Some(run) = self.runs.get(&id) {
            return Ok(StartResult::Running(run.info.clone()));
        }
        let story = self.known(id)?;
        let unread = self.config_trouble.as_ref().filter(|_| !self.configured);
        let waits = match (self.held(&story), &self.pause) {
            _ if unread.is_some() => {
                unread.map(|why| why.trim_end_matches('.').to_owned()).unwrap_or_default()
            }
            (Some(held), _) => held.clause,
            (None, Some((why, _))) => why.trim_end_matches('.').to_owned(),
            (None, None) if story.stage == Stage::Merge => "it is in the merge queue".into(),
            (None, None) => match &story.front.agent {
                Some(agent) => format!("it waits for `{agent}`, or whose work it is, to be free"),
                None => "all agents for it are busy".into(),
            },
        };
        Ok(StartResult::Waiting(waits))
    }

    async fn prefer(&mut self, id: StoryId, agent: String) -> Done<()> {
        let story = self.known(id)?;
        let role = self.known_agent(&agent)?;
        let wanted = story.stage.role().unwrap_or(Role::Coder);
        if role != wanted {
            return refused(format!(
                "`{agent}` does not do what story {id} needs in {}: it would never be given it.",
                story.stage
            ));
        }
        self.edit(id, move |document| document.set("agent", agent.as_str())).await
    }

    fn stop(&mut self, target: &StopTarget, by: &Actor, answer: Answer<Vec<RunInfo>>) {
        let meant = |run: &RunInfo| match target {
            StopTarget::Story(id) => run.story == *id,
            StopTarget::Agent(name) => run.slot == *name || run.agent == *name,
        };
        let stories: Vec<StoryId> = self
            .runs
            .values()
            .filter(|run| !run.over && meant(&run.info))
            .map(|run| run.info.story)
            .collect();
        if stories.is_empty() {
            return reply(answer, Ok(Vec::new()));
        }
        for id in &stories {
            self.end_run(*id, RunVerdict::StoppedBy(by.to_string()));
        }
        let mut waits = Vec::new();
        for run in self.runs.values_mut().filter(|run| stories.contains(&run.info.story)) {
            let (told, wait) = tokio::sync::oneshot::channel();
            run.waiting.push(told);
            waits.push(wait);
        }
        tokio::spawn(async move {
            let mut stopped = Vec::new();
            for wait in waits {
                stopped.extend(wait.await.ok().and_then(Result::ok).into_iter().flatten());
            }
            reply(answer, Ok(stopped));
        });
    }

    async fn move_by_hand(&mut self, id: StoryId, to: Stage, by: Actor) -> Done<Story> {
        self.known(id)?;
        if let Some(run) = self.runs.get(&id).filter(|run| !run.over) {
            return refused(format!("`{}` works on story {id}. `stop {id}` first.", run.info.slot));
        }
        self.not_landing(id)?;
        Ok(self.move_story(id, to, by, None).await?)
    }

    /// A merge whose base is moving cannot be taken back.
    fn not_landing(&self, id: StoryId) -> Done<()> {
        match self.merges.status(id) {
            Some(MergeStatus::Running { step: MergeStep::Landing, .. }) => {
                refused(format!("story {id} is being merged this very moment."))
            }
            Some(MergeStatus::Running { .. } | MergeStatus::Queued { .. } | MergeStatus::Ended(_)) | None => {
                Ok(())
            }
        }
    }

    async fn retry(&mut self, id: StoryId, _by: Actor) -> Done<StartResult> {
        let story = self.known(id)?;
        if story.stage.role().is_none() {
            return refused(format!("story {id} is in {}: there is nothing to try again.", story.stage));
        }
        if let Some(run) = self.runs.get(&id) {
            return refused(format!("`{}` works on story {id} already.", run.info.slot));
        }
        let grant = match (&story.front.blocked, self.config.budget.story_usd) {
            (Some(reason), Some(limit)) if reason.is_budget() => limit,
            _ => 0.0,
        };
        self.memos.change(id, |memo| {
            (memo.sent_back, memo.merge_attempts, memo.busy) = (0, 0, 0);
            memo.granted_usd += grant;
        });
        self.edit(id, |document| {
            document.unblock()?;
            ["merge_failure", "retry_count"].into_iter().try_for_each(|key| document.remove(key))
        })
        .await?;
        self.go_on(id).await
    }

    async fn review(&mut self, id: StoryId, review: ReviewDecision, by: Actor) -> Done<()> {
        let story = self.known(id)?;
        if let Actor::Agent(slot) = &by {
            return self.review_by_agent(id, slot, review);
        }
        self.not_landing(id)?;
        match (review, story.stage) {
            (ReviewDecision::Approved, Stage::Qa) => {
                self.end_run(id, RunVerdict::Settled);
                self.move_story(id, Stage::Merge, by.clone(), Some(format!("accepted by {by}"))).await?;
            }
            (ReviewDecision::Rejected(reason), Stage::Qa | Stage::Merge) => {
                self.end_run(id, RunVerdict::Settled);
                self.leave_merge(id).await;
                self.send_back(&story, &reason, by).await;
                let clear = |document: &mut StoryDocument| {
                    document.unblock()?;
                    document.remove("merge_failure")
                };
                self.edit(id, clear).await?;
            }
            (_, stage) => {
                return refused(format!("story {id} is in {stage}; only one in qa waits for that decision."));
            }
        }
        Ok(())
    }

    fn review_by_agent(&mut self, id: StoryId, slot: &str, review: ReviewDecision) -> Done<()> {
        let run =
            self.runs.get(&id).filter(|run| run.info.slot == slot && run.info.role == Role::Qa && !run.over);
        match run {
            Some(run) => {
                run.control.review(review);
                Ok(())
            }
            None => refused(format!("`{slot}` does not review story {id}.")),
        }
    }

    /// First the agent ends, then the file goes, then what belongs to it: a crash in between leaves a worktree that
    /// the next start finds.
    async fn delete(&mut self, id: StoryId, by: Actor, answer: Answer<DeletedStory>) {
        if let Err(error) = self.not_landing(id) {
            return reply(answer, Err(error));
        }
        let stopped = self.runs.get(&id).filter(|run| !run.over).map(|run| run.info.slot.clone());
        let name = self.story(id).as_deref().and_then(name_of);
        let removed = match self.with_work(move |work| work.delete(id)).await {
            Ok(removed) => removed,
            Err(error) => return reply(answer, Err(error.into())),
        };
        // Ends the run, and takes the story out of the merge queue.
        self.rescan(Some((id, by, None))).await;
        self.memos.forget(id);
        let gone = self.runs.get_mut(&id).map(|run| {
            let (told, wait) = tokio::sync::oneshot::channel();
            run.waiting.push(told);
            wait
        });
        let (worktrees, remover) = (self.shop.worktrees.clone(), self.remover());
        tokio::spawn(async move {
            if let Some(gone) = gone {
                let _ = gone.await;
            }
            let deleted = clear_away(&worktrees, &remover, id, name, (removed, stopped)).await;
            let deleted = deleted.map_err(|why| {
                PipelineError::Refused(format!("Story {id} is deleted, but its worktree is not: {why}"))
            });
            reply(answer, deleted);
        });
    }

    fn merge(&mut self, id: StoryId, by: &Actor) -> Done<MergeView> {
        let story = self.known(id)?;
        if story.stage != Stage::Merge {
            return refused(format!("story {id} is in {}; only one in merge is merged.", story.stage));
        }
        if let Some(run) = self.runs.get(&id).filter(|run| !run.over) {
            return refused(format!(
                "`{}` resolves the conflicts of story {id}. The merge goes on by itself when that run ends.",
                run.info.slot
            ));
        }
        if let Some(why) = &story.front.merge_failure {
            return refused(format!("the merge of story {id} failed: {why}. A person can say `retry {id}`."));
        }
        if let Some(why) = &story.front.blocked {
            return refused(format!("story {id} is blocked: {why}."));
        }
        if matches!(self.merges.status(id), Some(MergeStatus::Queued { .. } | MergeStatus::Running { .. })) {
            return refused(format!(
                "the merge of story {id} is queued or running already. Ask for its status."
            ));
        }
        if self.merges.conflicts().contains(&id) {
            let queued = self.merges.continue_merge(id);
            queued.map_err(|error| PipelineError::Refused(error.to_string()))?;
            tracing::info!(story = %id, %by, "a merge goes on");
        }
        self.queue_merges();
        match self.merges.status(id) {
            Some(status) => Ok(MergeView::of(&status)),
            None => refused(format!("the merge of story {id} could not be queued; the log says why.")),
        }
    }

    async fn give_up_merge(&mut self, id: StoryId, why: &str, by: &Actor) -> Done<()> {
        let story = self.known(id)?;
        if story.stage != Stage::Merge {
            return refused(format!("story {id} is in {}, not in merge.", story.stage));
        }
        if let Actor::Agent(slot) = by {
            let theirs = self.runs.get(&id).is_some_and(|run| run.info.slot == *slot);
            if !theirs {
                return refused(format!("`{slot}` does not work on the merge of story {id}."));
            }
        }
        self.not_landing(id)?;
        if let Some(run) = self.runs.get_mut(&id) {
            // Its end says nothing more; it may go on until it ends by itself.
            run.verdict = RunVerdict::Settled;
        }
        self.merge_failure(id, why).await;
        Ok(())
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
    // Nobody waits any more: what was done is done.
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

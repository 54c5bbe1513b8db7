//! Deletes a story with its worktree and branch.

use super::{checked, reply};
use crate::{
    board::{RemovedStory, WorkFolder},
    event::Actor,
    handle::{Answer, DeletedStory, PipelineError},
    orchestrator::{Orchestrator, lane::blocking, name_of, removal::WorktreeRemover, stories::StoryWork},
    sentence::sentence,
    story::StoryId,
    worktree::{BranchFate, WorktreeName, Worktrees},
};

impl Orchestrator {
    // The file goes first, which stops the agent; the worktree is removed when the agent is gone. A crash in
    // between leaves a worktree that the next start removes.
    pub(super) fn delete(&mut self, id: StoryId, by: Actor, answer: Answer<DeletedStory>) {
        checked!(self, answer, self.not_landing(id));
        let stopped = self.runs.at_work(id).map(|run| run.slot.clone());
        let name = self.story(id).as_deref().and_then(name_of);
        // Its quarantine is forgotten with it, and holds for its teardown.
        let remover = self.remover();
        let about = StoryWork::on(id).by(by, None);
        let delete = move |work: &WorkFolder| work.delete(id);
        // The board's comparison stops the run, and takes the story out of the merge queue.
        self.work_on(about, delete, move |this, removed| {
            let removed = checked!(this, answer, removed.map_err(Into::into));
            this.memos.forget(id);
            // The worktree is not removed under a process that still writes there.
            let gone = this.runs.wait_for(id);
            let worktrees = this.context.worktrees.clone();
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
    let RemovedStory { name, stage, files, .. } = removed;
    Ok(DeletedStory { name, stage, stopped, worktree, branch, files })
}

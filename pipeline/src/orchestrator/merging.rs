//! Puts stories into the merge queue and takes them out.

use std::{sync::Arc, time::SystemTime};

use super::{Orchestrator, name_of};
use crate::{
    assign::{HoldReason, Situation, waits_for},
    event::{MergeView, PipelineEvent},
    handle::PipelineError,
    merge::{MergeQueue, MergeRequest, QueueError},
    story::{Story, StoryId, stage::Stage},
};

impl Orchestrator {
    /// Every story in the merge stage that nothing holds is in the queue.
    pub(super) fn queue_merges(&mut self, now: SystemTime) {
        let conflicts = self.merges.conflicts();
        let situation = Situation {
            board: &self.stories.board,
            conflicts: &conflicts,
            quarantine: self.stories.started.quarantined(),
            parked: self.parked.waiting(),
            max_retries: self.config.in_force.max_retries,
        };
        let waits = |story: &&Arc<Story>| {
            let id = story.id();
            self.runs.of(id).is_none()
                && !self.pending.is_pending(id)
                && !self.holds.is_left_alone(id, now)
                && !self.stories.started.waits(story)
                && waits_for(story, &situation, &[]) == Err(HoldReason::InMergeQueue)
                && !self.merges.is_under_way(id)
        };
        let waiting: Vec<Arc<Story>> =
            self.stories.board.in_stage(Stage::Merge).filter(waits).cloned().collect();
        for story in waiting {
            self.queue_merge(&story, |_, _| ());
        }
    }

    /// Queues a story's merge, or continues one whose conflict is resolved.
    pub(super) fn queue_merge(
        &mut self,
        story: &Story,
        then: impl FnOnce(&mut Self, Result<(), PipelineError>) + Send + 'static,
    ) {
        let Some(name) = name_of(story) else { return };
        let id = story.id();
        let request = MergeRequest {
            file: story.file.clone(),
            title: story.front.name.clone(),
            branch: name.branch(),
            in_quarantine: self.stories.started.quarantine(id).is_some(),
        };
        let resolved = self.merges.conflicts().contains(&id);
        let change = move |queue: &MergeQueue| match resolved {
            true => queue.continue_merge(id),
            false => queue.start(&request),
        };
        self.change_queue(id, change, move |this, queued| {
            let queued = match queued {
                Ok(Ok(())) => {
                    this.report_merge(id);
                    Ok(())
                }
                // Two events may ask for the same merge.
                Ok(Err(QueueError::AlreadyQueued(_))) => Ok(()),
                Ok(Err(error @ (QueueError::NoConflict(_) | QueueError::Job(_)))) => Err(error.to_string()),
                Err(why) => Err(why),
            };
            let queued = queued.map_err(|why| {
                tracing::warn!(story = %id, why, "a merge could not be queued");
                this.leave_alone(id);
                PipelineError::Refused(why)
            });
            then(this, queued);
        });
    }

    /// Takes a story out of the merge queue, with its conflict's worktree.
    pub(super) fn leave_merge(&mut self, id: StoryId) {
        if !self.merges.is_under_way(id) && !self.merges.conflicts().contains(&id) {
            return;
        }
        let leave = move |queue: &MergeQueue| {
            // Cancelling a resolved conflict turns it into a waiting one again, which `abort` can remove.
            queue.cancel(id)?;
            if queue.conflicts().contains(&id) { queue.abort(id) } else { Ok(()) }
        };
        self.change_queue(id, leave, move |_, left| {
            if let Err(why) = left.and_then(|left| left.map_err(|error| error.to_string())) {
                tracing::warn!(story = %id, why, "a merge could not be cancelled");
            }
        });
    }

    fn change_queue<T: Send + 'static>(
        &mut self,
        id: StoryId,
        change: impl FnOnce(&MergeQueue) -> T + Send + 'static,
        then: impl FnOnce(&mut Self, Result<T, String>) + Send + 'static,
    ) {
        self.pending.begin(id);
        let queue = self.merges.queue();
        self.run_in_lane(self.merges.lane(), Some(id), move || change(&queue), then);
    }

    /// Reports where a story's merge is.
    pub(super) fn report_merge(&mut self, id: StoryId) {
        if let Some(status) = self.merges.status(id) {
            let (title, merge) = (self.title(id), MergeView::of(&status));
            self.publisher.emit(PipelineEvent::Merge { story: id, title, merge, diff: None });
        }
    }
}

//! The merge queue as the orchestrator sees it. The queue's files are written in a lane of their own, so that the
//! removal of a conflict's worktree delays no story and no order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
};

use super::lane::WorkLane;
use crate::{
    event::MergeView,
    merge::{MergeEnded, MergeQueue, MergeSettings, MergeStatus, MergeStep},
    story::{Story, StoryId, stage::Stage},
};

/// The queue, and the lane in which it is changed.
pub(super) struct Merges {
    queue: Arc<MergeQueue>,
    lane: WorkLane,
    /// The last end of each merge that the orchestrator has handled.
    // Weak: an end holds the output of its gates, and the queue decides how long that is remembered.
    handled: BTreeMap<StoryId, Weak<MergeEnded>>,
}

impl Merges {
    pub(super) fn new(queue: MergeQueue, lane: WorkLane) -> Self {
        // No event comes for a conflict that an earlier storkit left.
        let ended = |id: StoryId| match queue.status(id)? {
            MergeStatus::Ended(ended) => Some((id, Arc::downgrade(&ended))),
            _ => None,
        };
        let handled = queue.conflicts().into_iter().filter_map(ended).collect();
        Self { queue: Arc::new(queue), lane, handled }
    }

    /// The event of its end is handled now.
    pub(super) fn handle_end(&mut self, ended: &Arc<MergeEnded>) {
        self.handled.insert(ended.story, Arc::downgrade(ended));
    }

    pub(super) fn status(&self, story: StoryId) -> Option<MergeStatus> {
        self.queue.status(story)
    }

    pub(super) fn conflicts(&self) -> BTreeSet<StoryId> {
        self.queue.conflicts().into_iter().collect()
    }

    pub(super) fn configure(&self, settings: MergeSettings) {
        self.queue.configure(settings);
    }

    pub(super) fn queue(&self) -> Arc<MergeQueue> {
        Arc::clone(&self.queue)
    }

    pub(super) fn lane(&self) -> &WorkLane {
        &self.lane
    }

    /// Whether the merge is queued or runs, or has ended and nothing has followed from that yet.
    pub(super) fn is_under_way(&self, story: StoryId) -> bool {
        match self.status(story) {
            Some(MergeStatus::Queued { .. } | MergeStatus::Running { .. }) => true,
            Some(MergeStatus::Ended(ended)) => !self
                .handled
                .get(&story)
                .is_some_and(|handled| std::ptr::eq(handled.as_ptr(), Arc::as_ptr(&ended))),
            None => false,
        }
    }

    /// Whether base moves for it now, which cannot be taken back.
    pub(super) fn is_landing(&self, story: StoryId) -> bool {
        matches!(self.status(story), Some(MergeStatus::Running { step: MergeStep::Landing, .. }))
    }

    /// What people see of the merges of these stories.
    pub(super) fn views<'a>(
        &self,
        stories: impl Iterator<Item = &'a Arc<Story>>,
    ) -> BTreeMap<StoryId, MergeView> {
        let view = |id: StoryId| match self.status(id)? {
            MergeStatus::Ended(ended) if ended.result.is_err() => None,
            status => Some((id, MergeView::of(&status))),
        };
        stories.filter(|story| story.stage == Stage::Merge).filter_map(|story| view(story.id())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Project, gates::GateRunner, merge::MergeRequest};
    use agents::confine::{Confinement, NetworkAccess};

    #[tokio::test]
    async fn a_merge_is_under_way_until_its_end_is_handled() {
        let folder = tempfile::tempdir().expect("a folder");
        git2::Repository::init(folder.path()).expect("a repository");
        let project = Project::open(folder.path()).expect("a project");
        let settings = MergeSettings {
            base: "main".into(),
            gates: GateRunner::default(),
            network: NetworkAccess::All,
            hosts: Default::default(),
            components: vec![],
            confinement: Ok(Confinement::None),
            variables: vec![],
        };
        let (queue, mut ends) = MergeQueue::open(&project, settings).expect("a queue");
        let mut merges = Merges::new(queue, WorkLane::open());
        let file = "7_story_x.md".parse().expect("a file name");
        let request = MergeRequest {
            title: "X".into(),
            branch: "feature/story-7_x".into(),
            file,
            in_quarantine: false,
        };
        assert!(!merges.is_under_way(StoryId(7)), "nobody asked for it");
        merges.queue().start(&request).expect("queued");
        assert!(merges.is_under_way(StoryId(7)));
        // The repository has no commit, so the merge fails.
        let ended = ends.recv().await.expect("an end");
        assert!(matches!(merges.status(StoryId(7)), Some(MergeStatus::Ended(_))));
        assert!(merges.is_under_way(StoryId(7)), "it would be merged a second time");
        merges.handle_end(&ended);
        assert!(!merges.is_under_way(StoryId(7)));
    }
}

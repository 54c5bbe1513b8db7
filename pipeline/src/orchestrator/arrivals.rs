//! Marks the stories that people start, and those whose files come to a stage by hand.

use std::sync::Arc;

use super::{
    Orchestrator,
    started::{is_in_work, moved_by_hand},
};
use crate::{
    event::Actor,
    story::{Story, StoryId, stage::Stage},
};

impl Orchestrator {
    /// A person wants work on this story, or an order moves it there.
    pub(super) fn mark_started(&mut self, story: &Arc<Story>) {
        let Self { stories, .. } = self;
        stories.started.mark(story, true, &stories.lane);
    }

    /// Marks a story that was in work already, if a person says so. An agent cannot start a story that a clone brought.
    pub(super) fn mark_started_by(&mut self, by: &Actor, story: &Arc<Story>) {
        match by {
            Actor::Person(_) => self.mark_started(story),
            Actor::Agent(_) | Actor::Pipeline | Actor::Editor => {}
        }
    }

    /// A story's file came to or left a stage.
    pub(super) fn follow_stage(&mut self, id: StoryId, to: Stage, by: &Actor) {
        if !is_in_work(to) {
            let Self { stories, .. } = self;
            return stories.started.forget(id, &stories.lane);
        }
        let Some(story) = self.story(id).filter(|story| self.stories.started.waits(story)) else { return };
        match by {
            // Somebody put the file there: a person, or git.
            Actor::Editor => self.stories.started.arrived.push(story),
            // From backlog, by an order that has marked it; of later stages only stories that were started before get further.
            Actor::Person(_) | Actor::Agent(_) | Actor::Pipeline => {}
        }
    }

    /// Of the files that came to a stage by hand, those that git has tracked there were not started here.
    pub(super) fn check_arrivals(&mut self) {
        let arrived = std::mem::take(&mut self.stories.started.arrived);
        if arrived.is_empty() {
            return;
        }
        let (project, base) = (self.context.project.clone(), self.config.base.clone());
        let by_hand = move || (moved_by_hand(&project, &base, arrived.clone()), arrived);
        self.run_in_lane(&self.stories.lane, None, by_hand, |this, looked| {
            // Of a check that panicked nothing follows: the stories wait.
            let Ok((by_hand, arrived)) = looked else { return };
            let Self { stories, .. } = this;
            for story in &arrived {
                let is_started = by_hand.iter().any(|other| Arc::ptr_eq(story, other));
                stories.started.mark(story, is_started, &stories.lane);
            }
        });
    }
}

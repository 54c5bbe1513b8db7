//! Marks the stories that people start, those whose files come to a stage by hand, and those that come from strangers.

use std::sync::Arc;

use super::{
    Orchestrator,
    runs::RunVerdict,
    started::{is_in_work, moved_by_hand},
};
use crate::{
    event::{Actor, PipelineEvent},
    handle::{Answer, PipelineError},
    story::{Story, StoryId, stage::Stage},
    strangers::QuarantineCause,
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
            Actor::Person(_) | Actor::Approved(_) => self.mark_started(story),
            Actor::Agent(_) | Actor::Pipeline | Actor::Editor => {}
        }
    }

    /// A story's file came to or left a stage.
    pub(super) fn follow_stage(&mut self, id: StoryId, to: Stage, by: &Actor) {
        if to == Stage::Backlog {
            self.follow_to_backlog(id, by);
        }
        if to == Stage::Current {
            // Its work will be another than the one that a person has accepted.
            self.set_accepted(id, false);
        }
        if !is_in_work(to) {
            let Self { stories, .. } = self;
            return stories.started.forget(id, &stories.lane);
        }
        let Some(story) = self.story(id).filter(|story| self.stories.started.waits(story)) else { return };
        match by {
            // Somebody put the file there: a person, or git.
            Actor::Editor => self.stories.started.arrived.push(story),
            // From backlog, by an order that has marked it; of later stages only stories that were started before get further.
            Actor::Person(_) | Actor::Approved(_) | Actor::Agent(_) | Actor::Pipeline => {}
        }
    }

    fn follow_to_backlog(&mut self, id: StoryId, by: &Actor) {
        let Some(story) = self.story(id) else { return };
        let Self { stories, .. } = self;
        match by {
            // Somebody put the file there: a person, or git.
            Actor::Editor if stories.started.is_unknown(&story) => stories.started.arrived.push(story),
            Actor::Editor => {}
            Actor::Person(_) | Actor::Approved(_) | Actor::Agent(_) | Actor::Pipeline => {
                stories.started.know(&story, &stories.lane)
            }
        }
    }

    /// Of the files that came to a stage by hand, those that git has tracked there were not started here.
    pub(super) fn check_arrivals(&mut self) {
        let arrived = std::mem::take(&mut self.stories.started.arrived);
        if arrived.is_empty() {
            return;
        }
        self.stories.started.looks += 1;
        let (project, base) = (self.context.project.clone(), self.config.base.clone());
        let own = self.context.own.clone();
        let by_hand = move || (moved_by_hand(&project, &base, &own, arrived.clone()), arrived);
        self.run_in_lane(&self.stories.lane, None, by_hand, |this, looked| {
            this.stories.started.looks -= 1;
            // Of a check that panicked nothing follows: the stories wait.
            let Ok((by_hand, arrived)) = looked else { return };
            for story in &arrived {
                let is_ours = by_hand.iter().any(|other| Arc::ptr_eq(story, other));
                let Self { stories, .. } = this;
                match is_in_work(story.stage) {
                    true => stories.started.mark(story, is_ours, &stories.lane),
                    false => stories.started.know(story, &stories.lane),
                }
                if !is_ours {
                    this.set_quarantine(story.id(), QuarantineCause::Repository);
                }
            }
            this.commit_if_due();
        });
    }

    /// Strangers may have written this story: from here on it has the limits of the quarantine, and nothing of it that was begun
    /// without them goes on.
    pub(super) fn set_quarantine(&mut self, id: StoryId, cause: QuarantineCause) {
        let why = cause.to_string();
        let Self { stories, .. } = self;
        if !stories.started.set_quarantine(id, cause, &stories.lane) {
            return;
        }
        tracing::warn!(story = %id, why, "a story is in quarantine");
        self.runs.end(id, RunVerdict::Settled);
        self.leave_merge(id);
        let title = self.title(id);
        self.publisher.emit(PipelineEvent::Quarantined { story: id, title, why });
    }

    /// People hear of the stories that this start has found to come with the repository.
    pub(super) fn tell_quarantined(&mut self) {
        for id in std::mem::take(&mut self.stories.started.found) {
            let Some(quarantine) = self.stories.started.quarantine(id) else { continue };
            let (why, title) = (quarantine.cause.to_string(), self.title(id));
            self.publisher.emit(PipelineEvent::Quarantined { story: id, title, why });
        }
    }

    /// Whether a person has accepted the work of a story in quarantine as it is now.
    pub(super) fn set_accepted(&mut self, id: StoryId, accepted: bool) {
        let Self { stories, .. } = self;
        stories.started.set_accepted(id, accepted, &stories.lane);
    }

    /// A person has read the story and vouches for it.
    pub(super) fn release(&mut self, id: StoryId, by: &Actor, answer: Answer<()>) {
        if let Err(error) = self.known(id) {
            return self.publisher.answer(answer, Err(error));
        }
        let is_person = matches!(by, Actor::Person(_) | Actor::Approved(_));
        let Self { stories, .. } = self;
        if !is_person || !stories.started.release(id, &stories.lane) {
            let why = match is_person {
                true => format!("story {id} is not in quarantine."),
                false => format!("only a person can release story {id} from quarantine."),
            };
            return self.publisher.answer(answer, Err(PipelineError::Refused(why)));
        }
        tracing::info!(story = %id, %by, "a story is released from quarantine");
        // Its run has the limits of its start, and ends with them.
        self.holds.forget_question(id);
        let (title, by) = (self.title(id), by.clone());
        self.publisher.emit(PipelineEvent::Released { story: id, title, by });
        self.publisher.answer(answer, Ok(()));
    }
}

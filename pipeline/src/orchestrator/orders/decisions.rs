//! Decisions about a story: accept, reject, merge, give up its merge.

use std::sync::Arc;

use super::{Done, checked, mover, refused};
use crate::{
    event::{Actor, MergeView, RunId},
    handle::Answer,
    history::StoryAct,
    merge::MergeStatus,
    orchestrator::{
        Orchestrator,
        runs::RunVerdict,
        stories::{FrontEdit, StoryStep, StoryWork},
    },
    sentence::sentence,
    story::{BlockReason, PlanWish, Story, StoryId, stage::Stage},
    verdict::ReviewDecision,
};

impl Orchestrator {
    pub(super) fn review(&mut self, id: StoryId, review: ReviewDecision, by: Actor, answer: Answer<()>) {
        let story = checked!(self, answer, self.known(id));
        if let Actor::Agent(slot) = &by {
            // Nothing moves yet: the review counts once the run is over and its facts are known.
            let reviews = self.runs.review(id, slot, review);
            let why = || refused(format!("`{slot}` does not review story {id}."));
            return self.publisher.answer(answer, if reviews { Ok(()) } else { why() });
        }
        checked!(self, answer, self.not_landing(id));
        checked!(self, answer, self.not_for_agents(id, &by));
        self.mark_started_by(&by, &story);
        match (review, story.stage) {
            (ReviewDecision::Approved, Stage::Qa) => {
                self.runs.end(id, RunVerdict::Settled);
                self.set_accepted(id, true);
                let steps = vec![StoryStep::Move(Stage::Merge, mover(&by))];
                let why = Some(format!("accepted by {by}"));
                let about = StoryWork::on(id).by(by, why);
                self.steps_and_answer(about, (id, steps), answer, |_| Ok(()));
            }
            (review, Stage::Current) if story.front.blocked == Some(BlockReason::PlanProposed {}) => {
                self.decide_plan(id, review, by, answer);
            }
            (ReviewDecision::Approved, Stage::Merge) if self.waits_for_acceptance(id) => {
                self.set_accepted(id, true);
                self.publisher.record(id, StoryAct::Accepted { by });
                // A conflict that is resolved goes on; without one it is queued.
                self.queue_merge(&story, move |this, queued| this.publisher.answer(answer, queued));
            }
            (ReviewDecision::Rejected(reason), Stage::Qa | Stage::Merge) => {
                self.on_person_spoke(id, &by);
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

    /// A person accepts the plan, or says what is wanted differently; the coder goes on in its session.
    fn decide_plan(&mut self, id: StoryId, review: ReviewDecision, by: Actor, answer: Answer<()>) {
        self.on_person_spoke(id, &by);
        let (wish, feedback, act) = match review {
            ReviewDecision::Approved => (PlanWish::Accepted, None, StoryAct::Accepted { by }),
            ReviewDecision::Rejected(why) => (PlanWish::First, Some(why), StoryAct::Continued { by }),
        };
        self.memos.change(id, |memo| memo.feedback = feedback);
        self.edit_and_answer(id, vec![FrontEdit::Wish(wish), FrontEdit::Unblock], answer, move |this| {
            this.publisher.record(id, act);
            Ok(())
        });
    }

    /// Takes the plan of a coder that only plans. Returns `false` for any other agent, whose plan people are asked about at once.
    pub(super) fn take_plan(&self, run: &RunId, plan: String) -> bool {
        run.parts().is_some_and(|(story, ..)| self.runs.propose(story, run, plan))
    }

    /// Whether it is in quarantine, and no person has accepted its work.
    fn waits_for_acceptance(&self, id: StoryId) -> bool {
        self.stories.started.quarantine(id).is_some_and(|quarantine| !quarantine.accepted)
    }

    pub(super) fn merge(&mut self, id: StoryId, by: &Actor, answer: Answer<MergeView>) {
        let story = checked!(self, answer, self.can_merge(id));
        self.mark_started_by(by, &story);
        if self.waits_for_acceptance(id) {
            let why =
                format!("story {id} is in quarantine. A person reads its changes and can use `accept {id}`.");
            return self.publisher.answer(answer, refused(why));
        }
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

    pub(super) fn give_up_merge(&mut self, id: StoryId, why: &str, by: &Actor, answer: Answer<()>) {
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

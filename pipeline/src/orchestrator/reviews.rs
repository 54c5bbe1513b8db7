//! Reviews of people's branches: one at a time, each a run without a story. Who asked for it waits for its report.

use std::{sync::Arc, time::SystemTime};

use tokio::sync::oneshot;

use super::{Orchestrator, lane::blocking, runs::RunVerdict, start::forward};
use crate::{
    branch_review::{
        self, REVIEWER, ReviewFindings, ReviewReport, ReviewResult, ReviewedBranch, StartedReview, folder,
        is_at,
    },
    event::{Actor, PipelineEvent, RunId, RunInfo, RunPhase},
    handle::{Answer, PipelineError},
    ledger::day_begin,
    run::{self, RunEnd, RunOutcome, RunPlan},
    sentence,
    story::{
        FileName, FrontMatter, Story, StoryId, StoryKind,
        stage::{Role, Stage},
    },
    strangers::StrangersRead,
};

/// The review that runs.
pub(super) struct RunningReview {
    branch: ReviewedBranch,
    asked: oneshot::Sender<ReviewReport>,
}

impl Orchestrator {
    /// Begins a review: the branch is looked up outside the loop.
    pub(super) fn review_branch(
        &mut self,
        name: String,
        room: Option<String>,
        by: Actor,
        answer: Answer<StartedReview>,
    ) {
        if let Err(why) = self.may_review() {
            return self.publisher.answer(answer, Err(PipelineError::Refused(why)));
        }
        let (project, base) = (self.context.project.clone(), self.config.base.clone());
        let find = blocking(move || branch_review::resolve(&project, &base, &name));
        self.spawn(find, move |this, found| {
            let started = found
                .and_then(|found| found)
                .and_then(|branch| this.start_review(branch, room, &by))
                .map_err(PipelineError::Refused);
            this.publisher.answer(answer, started);
        });
    }

    fn may_review(&self) -> Result<(), String> {
        if self.closing.is_some() {
            return Err("storkit is shutting down.".into());
        }
        if let Some(why) = self.config.trouble.as_ref().filter(|_| !self.config.is_known) {
            return Err(sentence::sentence(why));
        }
        match self.runs.of(StoryId::NONE) {
            Some(run) => {
                Err(format!("the review of {} is still running; `stop {REVIEWER}` ends it.", run.subject()))
            }
            None => Ok(()),
        }
    }

    fn start_review(
        &mut self,
        branch: ReviewedBranch,
        room: Option<String>,
        by: &Actor,
    ) -> Result<StartedReview, String> {
        // Another one may have begun while the branch was looked up.
        self.may_review()?;
        let config = Arc::clone(&self.config.in_force);
        let agent = config.agents.iter().find(|agent| agent.role == Role::Qa).cloned().ok_or_else(|| {
            "`.storkit/project.toml` has no agent with `stage = \"qa\"`, who would review it.".to_owned()
        })?;
        let budget_usd = self.left_today()?;
        tracing::info!(branch = branch.name, %by, "a branch is reviewed");
        let run = RunInfo {
            id: self.context.ledger.next(StoryId::NONE, REVIEWER),
            story: StoryId::NONE,
            branch: Some(branch.name.as_str().into()),
            title: format!("Review of {}", branch.name),
            slot: REVIEWER.into(),
            agent: agent.name.clone(),
            role: Role::Qa,
            since: SystemTime::now(),
            phase: RunPhase::Preparing,
            pid: None,
            session: None,
            cost_usd: 0.0,
        };
        let plan = RunPlan {
            run: run.clone(),
            story: Arc::new(no_story(&run.title)),
            review: Some((branch.clone(), room)),
            memory: String::new(),
            plans: false,
            text: String::new(),
            agent,
            config,
            base: self.config.base.clone(),
            feedback: None,
            resume: None,
            parked_call: None,
            budget_usd,
            read: StrangersRead::default(),
            in_quarantine: false,
            is_edited: false,
        };
        let (control, told, ended) = run::start(self.context.clone(), Arc::clone(&self.stories.work), plan);
        tokio::spawn(forward(StoryId::NONE, run.id.clone(), told, ended, self.events.clone()));
        self.publisher.emit(PipelineEvent::RunStarted { run: run.clone() });
        self.runs.add(run.clone(), control);
        let (asked, ended) = oneshot::channel();
        self.review = Some(RunningReview { branch: branch.clone(), asked });
        Ok(StartedReview { run, branch, ended })
    }

    /// What it may cost; `None` without a limit.
    fn left_today(&self) -> Result<Option<f64>, String> {
        let Some(limit) = self.config.in_force.budget.day_usd else { return Ok(None) };
        let spent = self.context.ledger.usd_since(day_begin(SystemTime::now())) + self.runs.cost_usd();
        match limit - spent {
            left if left > 0.0 => Ok(Some(left)),
            _ => Err(format!("today's budget (`day_usd`, ${limit:.2}) is spent.")),
        }
    }

    /// Its process is gone and its worktree removed: the report goes to who asked.
    pub(super) fn review_ended(&mut self, run: RunInfo, verdict: RunVerdict, ending: RunEnd) {
        let summary = super::ends::summary(&ending.outcome, &verdict);
        let crate::ledger::RunSummary { outcome, failed, cause } = summary;
        self.publisher.emit(PipelineEvent::RunEnded { run: run.clone(), outcome, failed, cause, diff: None });
        let result = result(verdict, ending.outcome);
        let review = self.review.take();
        let project = self.context.project.clone();
        let finish = blocking(move || {
            // A run that could not even begin has removed nothing.
            if let Err(error) = folder::remove(&project) {
                tracing::warn!(%error, "the worktree of a review cannot be removed");
            }
            review.map(|review| (is_at(&project, &review.branch), review))
        });
        self.spawn(finish, move |this, finished| {
            if let Ok(Some((now, RunningReview { branch, asked }))) = finished {
                // Fails where the room is gone.
                let _ = asked.send(ReviewReport { run, branch, result, now });
            }
            this.release_worker(StoryId::NONE);
        });
    }

    /// The reviewer's findings; they count once its run is over.
    pub(super) fn take_findings(&mut self, run: &RunId, found: ReviewFindings) -> Result<(), PipelineError> {
        match self.runs.report(StoryId::NONE, run, found) {
            true => Ok(()),
            false => Err(PipelineError::Refused("only the reviewer of a branch reports findings.".into())),
        }
    }
}

fn result(verdict: RunVerdict, outcome: RunOutcome) -> ReviewResult {
    match (verdict, outcome) {
        (RunVerdict::StoppedBy(who), _) => ReviewResult::StoppedBy(who),
        (_, RunOutcome::Reviewed(found)) => ReviewResult::Found(found),
        (_, RunOutcome::Shutdown) => ReviewResult::Shutdown,
        (_, outcome) => ReviewResult::Failed(outcome.summary().outcome),
    }
}

/// In the place of a story, for what every run has.
fn no_story(title: &str) -> Story {
    Story {
        file: FileName { id: StoryId::NONE, kind: StoryKind::Story, slug: "review".into() },
        stage: Stage::Qa,
        since: SystemTime::UNIX_EPOCH,
        front: FrontMatter { name: title.to_owned(), ..FrontMatter::default() },
        criteria: Vec::new(),
    }
}

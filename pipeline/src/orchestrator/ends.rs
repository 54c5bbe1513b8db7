//! What follows from a run or a merge that ended.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{ActiveRun, BUSY_WAITS, MERGE_ATTEMPTS, Orchestrator, PAUSE, RunVerdict};
use crate::{
    event::{Actor, MergeView, PipelineEvent, RunId, RunInfo},
    ledger::RunSummary,
    merge::{MergeEnded, MergeError, MergeOutcome, QueueError},
    run::{RunEnd, RunFailure, RunOutcome, RunUpdate},
    sentence::{self, one_line},
    stage::{Role, Stage},
    story::{BlockReason, Story, StoryId},
    verdict::FailureCause,
    worktree::BranchFate,
};

/// The longest wait for a busy service that does not say how long it is.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

impl Orchestrator {
    pub(super) fn told(&mut self, id: StoryId, run: &RunId, told: RunUpdate) {
        let Some(active) = self.runs.get_mut(&id).filter(|active| active.info.id == *run) else { return };
        match told {
            RunUpdate::Phase(phase) => {
                active.info.phase = phase.clone();
                self.teller.tell(PipelineEvent::RunPhase { run: run.clone(), story: id, phase });
            }
            RunUpdate::Pid(pid) => {
                active.info.pid = pid;
                self.end_pause(pid);
            }
            RunUpdate::Cost(usd) => active.info.cost_usd = usd,
            RunUpdate::Session(session) => {
                active.info.session = Some(session.clone());
                if active.info.role == Role::Coder {
                    self.memos.change(id, |memo| memo.session = Some(session.to_string()));
                }
            }
            RunUpdate::Said(line) => self.teller.tell(PipelineEvent::RunSaid { run: run.clone(), line }),
            RunUpdate::Alarm(text) => self.teller.alarm(Some(id), text),
        }
    }

    /// What stopped all runs is over when one really lives: until then it is tried again, and told once.
    fn end_pause(&mut self, pid: Option<u32>) {
        if pid.is_some() && self.pause.take().is_some() {
            self.teller.tell(PipelineEvent::Paused { why: None });
        }
    }

    pub(super) async fn run_ended(&mut self, id: StoryId, run: &RunId, ending: RunEnd) {
        // Until its story is where it belongs the worker counts as busy: nobody else may take the story up.
        let Some(active) = self.runs.get_mut(&id).filter(|active| active.info.id == *run) else { return };
        active.over = true;
        active.info.cost_usd = ending.usd;
        let (info, verdict) = (active.info.clone(), active.verdict.clone());
        let RunSummary { outcome, failed, cause } = describe(&ending.outcome, &verdict);
        self.teller.tell(PipelineEvent::RunEnded {
            run: info.clone(),
            outcome,
            failed,
            cause,
            diff: ending.diff.clone(),
        });
        match verdict {
            RunVerdict::Settled => {}
            RunVerdict::StoppedBy(who) => {
                self.block(id, BlockReason::StoppedBy { who }).await;
            }
            RunVerdict::Own => self.conclude(&info, ending).await,
        }
        if let Some(ActiveRun { waiting, .. }) = self.runs.remove(&id) {
            for answer in waiting {
                let _ = answer.send(Ok(vec![info.clone()]));
            }
        }
    }

    async fn conclude(&mut self, run: &RunInfo, ending: RunEnd) {
        let id = run.story;
        let Some(story) = self.story(id).filter(|story| story.stage.role() == Some(run.role)) else {
            tracing::info!(story = %id, "a run's story is not where it was; nothing follows from its end");
            return;
        };
        if !matches!(ending.outcome, RunOutcome::Busy { .. }) {
            self.memos.change(id, |memo| memo.busy = 0);
        }
        match ending.outcome {
            RunOutcome::Passed => self.advance(&story, Stage::Qa, None).await,
            RunOutcome::Approved => {
                self.advance(&story, Stage::Merge, Some(format!("approved by {}", run.slot))).await
            }
            RunOutcome::SentBack(reason) => {
                self.send_back(&story, &reason, Actor::Agent(run.slot.clone())).await
            }
            RunOutcome::ContinueMerge => self.continue_merge(id).await,
            RunOutcome::Failed(failure) => self.failed(&story, run.role, failure).await,
            RunOutcome::Blocked(reason) => self.block(id, reason).await,
            RunOutcome::Busy { until } => self.wait_for_service(id, until).await,
            RunOutcome::NotStarted(why) => {
                self.memos.change(id, |memo| memo.merge_attempts = memo.merge_attempts.saturating_sub(1));
                self.pause(format!("No agent can be started: {why}"), PAUSE);
            }
            RunOutcome::Stopped | RunOutcome::Shutdown => {}
        }
    }

    /// To the next stage, with a clean slate there.
    async fn advance(&mut self, story: &Story, to: Stage, why: Option<String>) {
        let id = story.id();
        if story.front.retry_count > 0 {
            self.edit_front_matter(id, |document| document.remove("retry_count")).await;
        }
        if to == Stage::Qa {
            self.memos.change(id, |memo| (memo.feedback, memo.failure) = (None, None));
        }
        if let Err(error) = self.move_story(id, to, Actor::Pipeline, why).await {
            tracing::error!(story = %id, %error, "a story could not be moved");
            self.block(id, BlockReason::CannotMove { why: error.to_string() }).await;
        }
    }

    /// Back to the coder, with the reasons; given up when that happened too often.
    pub(super) async fn send_back(&mut self, story: &Story, reason: &str, by: Actor) {
        let id = story.id();
        let memo = self.memos.change(id, |memo| {
            (memo.feedback, memo.failure) = (Some(reason.to_owned()), None);
            memo.sent_back += 1;
        });
        let why = Some(format!("sent back: {}", one_line(reason)));
        if let Err(error) = self.move_story(id, Stage::Current, by.clone(), why).await {
            return tracing::error!(story = %id, %error, "a story could not be sent back");
        }
        let most = self.config.max_retries;
        let spent = memo.sent_back >= most && !matches!(by, Actor::Person(_));
        let block = spent.then(|| BlockReason::SentBack { times: most, reason: one_line(reason) });
        self.edit_front_matter(id, move |document| {
            document.remove("retry_count")?;
            block.as_ref().map_or(Ok(()), |reason| document.block(reason))
        })
        .await;
    }

    async fn failed(&mut self, story: &Story, role: Role, failure: RunFailure) {
        let id = story.id();
        let count = story.front.retry_count + 1;
        if role == Role::Mergemaster {
            return self.merge_attempt_failed(id, &failure.cause).await;
        }
        self.memos.change(id, |memo| {
            if role == Role::Coder && !failure.cause.keeps_session() {
                memo.session = None;
            }
            memo.feedback = Some(failure.feedback());
            memo.failure = Some(failure.cause);
        });
        self.edit_front_matter(id, move |document| document.set("retry_count", count)).await;
    }

    async fn merge_attempt_failed(&mut self, id: StoryId, cause: &FailureCause) {
        if self.memos.read(id).merge_attempts >= MERGE_ATTEMPTS {
            let why =
                format!("{MERGE_ATTEMPTS} attempts to resolve its conflicts failed, the last one: {cause}");
            self.merge_failure(id, &why).await;
        }
    }

    /// Nobody merges it until a person says so.
    pub(super) async fn merge_failure(&mut self, id: StoryId, why: &str) {
        let why = one_line(why);
        self.edit_front_matter(id, move |document| document.set("merge_failure", why.as_str())).await;
        self.leave_merge(id).await;
    }

    pub(super) async fn block(&mut self, id: StoryId, reason: BlockReason) {
        self.edit_front_matter(id, move |document| document.block(&reason)).await;
    }

    async fn wait_for_service(&mut self, id: StoryId, until: Option<SystemTime>) {
        let memo = self.memos.change(id, |memo| {
            memo.busy += 1;
            memo.merge_attempts = memo.merge_attempts.saturating_sub(1);
        });
        if memo.busy > BUSY_WAITS {
            return self.block(id, BlockReason::ServiceBusy { times: BUSY_WAITS }).await;
        }
        let wait = self.settings.busy_wait * 2_u32.saturating_pow(memo.busy - 1);
        let until = until.unwrap_or_else(|| SystemTime::now() + wait.min(LONGEST_WAIT));
        self.busy.insert(id, until);
        let (inner, left) = (self.inner.clone(), until.duration_since(SystemTime::now()).unwrap_or_default());
        tokio::spawn(async move {
            tokio::time::sleep(left).await;
            let _ = inner.send(super::TaskEvent::Due).await;
        });
    }

    async fn continue_merge(&mut self, id: StoryId) {
        match self.merges.continue_merge(id) {
            Ok(()) => self.tell_merge(id),
            Err(QueueError::AlreadyQueued(_)) => {}
            Err(error @ (QueueError::NoConflict(_) | QueueError::Job(_))) => {
                tracing::warn!(story = %id, %error, "a merge cannot go on");
            }
        }
    }

    pub(super) async fn merge_ended(&mut self, ended: &Arc<MergeEnded>) {
        let id = ended.story;
        let diff = match &ended.result {
            Ok(MergeOutcome::Merged(proof)) => {
                self.shop.own.add(&proof.commit);
                let stat = &proof.diff;
                Some(sentence::diff(stat.files, stat.insertions, stat.deletions))
            }
            _ => None,
        };
        let (title, merge) = (self.title(id), MergeView::ended(&ended.result));
        self.teller.tell(PipelineEvent::Merge { story: id, title, merge: merge.clone(), diff });
        // The merge has moved the story itself: look what is there now.
        match self.with_work(crate::board::WorkFolder::scan).await {
            Ok(_) => self.rescan(Some((id, Actor::Pipeline, None))).await,
            Err(error) => tracing::warn!(%error, "the stories cannot be read"),
        }
        let Some(story) = self.story(id) else { return };
        match &ended.result {
            Ok(MergeOutcome::Merged(_)) => self.merged(&story),
            _ if story.stage != Stage::Merge => {}
            Ok(MergeOutcome::Conflict(_)) => self.conflict(id).await,
            Ok(MergeOutcome::GateFailed(report)) => {
                let gate = report.failure().map_or_else(String::new, |gate| {
                    format!("{gate}. The end of what it printed:\n{}", last_lines(&gate.tail, 40))
                });
                let base = &self.base;
                let reason = format!(
                    "The gates passed on the branch but fail on the result of merging it into `{base}`. Merge \
                     `{base}` into your branch, and mend what does not fit together: {gate}"
                );
                self.send_back(&story, &reason, Actor::Pipeline).await;
            }
            Ok(MergeOutcome::CheckoutInTheWay(files)) => {
                let files = files.iter().map(|file| file.display().to_string()).collect();
                self.block(id, BlockReason::FilesInTheWay { files }).await;
            }
            // Queued again by itself.
            Ok(MergeOutcome::BaseMoved) | Err(MergeError::Cancelled) => {}
            Ok(MergeOutcome::Empty) | Err(_) => {
                if let MergeView::Failed { why } = merge {
                    self.merge_failure(id, &why).await;
                }
            }
        }
    }

    /// Its branch and worktree have served.
    fn merged(&mut self, story: &Story) {
        self.memos.forget(story.id());
        if let Some(name) = super::name_of(story) {
            self.remove_worktree(name, BranchFate::Delete);
        }
    }

    /// A mergemaster gets it, as long as it has tries left.
    async fn conflict(&mut self, id: StoryId) {
        if self.memos.read(id).merge_attempts >= MERGE_ATTEMPTS {
            let why = format!("conflicts are left after {MERGE_ATTEMPTS} attempts to resolve them");
            self.merge_failure(id, &why).await;
        } else if !self.config.agents.iter().any(|agent| agent.role == Role::Mergemaster) {
            self.merge_failure(id, "it has conflicts, and `project.toml` has no mergemaster").await;
        }
    }
}

/// What came of a run. Where somebody else has decided about its story, its own end does not count.
pub(super) fn describe(outcome: &RunOutcome, verdict: &RunVerdict) -> RunSummary {
    let fine = |outcome: String| RunSummary { outcome, ..RunSummary::default() };
    match verdict {
        RunVerdict::Settled => fine("ended: its story was moved or decided".into()),
        RunVerdict::StoppedBy(who) => fine(format!("stopped by {who}")),
        RunVerdict::Own => outcome.summary(),
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

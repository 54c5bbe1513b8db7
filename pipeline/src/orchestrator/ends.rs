//! What follows from a run or a merge that ended.

use std::{sync::Arc, time::SystemTime};

use agents::turn::RetryPolicy;

use super::{
    ActiveRun, MERGE_ATTEMPTS, Orchestrator, PAUSE, RunVerdict,
    work::{BUDGET, IN_THE_WAY, first_line},
};
use crate::{
    event::{Actor, MergeView, PipelineEvent, RunId, RunInfo},
    merge::{MergeEnded, MergeError, MergeOutcome, QueueError},
    run::{RunEnd, RunOutcome, RunUpdate},
    stage::{Role, Stage},
    story::{Story, StoryId},
    worktree::BranchFate,
};

/// Most characters of a reason that go into a story's front matter.
const REASON: usize = 300;

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
        let (outcome, failed) = describe(&ending.outcome, &verdict);
        self.teller.tell(PipelineEvent::RunEnded {
            run: info.clone(),
            outcome,
            failed,
            diff: ending.diff.clone(),
        });
        match verdict {
            RunVerdict::Settled => {}
            RunVerdict::StoppedBy(who) => {
                let why = format!("stopped by {who}");
                self.edit_front_matter(id, move |document| document.set("blocked", why.as_str())).await;
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
            RunOutcome::Failed(why) => self.failed(&story, run.role, why).await,
            RunOutcome::Blocked(why) => self.block(id, &why).await,
            RunOutcome::Budget(which) => self.block(id, &format!("{BUDGET} is spent: {which}")).await,
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
            self.memos.change(id, |memo| memo.feedback = None);
        }
        if let Err(error) = self.move_story(id, to, Actor::Pipeline, why).await {
            tracing::error!(story = %id, %error, "a story could not be moved");
            self.block(id, &error.to_string()).await;
        }
    }

    /// Back to the coder, with the reasons; given up when that happened too often.
    pub(super) async fn send_back(&mut self, story: &Story, reason: &str, by: Actor) {
        let id = story.id();
        let memo = self.memos.change(id, |memo| {
            memo.feedback = Some(reason.to_owned());
            memo.sent_back += 1;
        });
        let why = Some(format!("sent back: {}", short(reason)));
        if let Err(error) = self.move_story(id, Stage::Current, by.clone(), why).await {
            return tracing::error!(story = %id, %error, "a story could not be sent back");
        }
        let most = self.config.max_retries;
        let spent = memo.sent_back >= most && !matches!(by, Actor::Person(_));
        let reason = short(reason);
        self.edit_front_matter(id, move |document| {
            document.remove("retry_count")?;
            if spent {
                document.set("blocked", format!("sent back {most} times, the last time for: {reason}"))?;
            }
            Ok(())
        })
        .await;
    }

    async fn failed(&mut self, story: &Story, role: Role, why: String) {
        let id = story.id();
        let count = story.front.retry_count + 1;
        if role == Role::Mergemaster {
            return self.merge_attempt_failed(id, &why).await;
        }
        self.memos.change(id, |memo| {
            memo.feedback = Some(why.clone());
            if role == Role::Coder && !why.contains("gate") {
                // What went wrong may be in the session itself: the next try begins anew.
                memo.session = None;
            }
        });
        self.edit_front_matter(id, move |document| document.set("retry_count", count)).await;
    }

    async fn merge_attempt_failed(&mut self, id: StoryId, why: &str) {
        if self.memos.read(id).merge_attempts >= MERGE_ATTEMPTS {
            let why = format!(
                "{MERGE_ATTEMPTS} attempts to resolve its conflicts failed, the last one: {}",
                short(why)
            );
            self.merge_failure(id, &why).await;
        }
    }

    /// Nobody merges it until a person says so.
    pub(super) async fn merge_failure(&mut self, id: StoryId, why: &str) {
        let why = short(why);
        self.edit_front_matter(id, move |document| document.set("merge_failure", why.as_str())).await;
        self.leave_merge(id).await;
    }

    pub(super) async fn block(&mut self, id: StoryId, why: &str) {
        let why = short(why);
        self.edit_front_matter(id, move |document| document.set("blocked", why.as_str())).await;
    }

    async fn wait_for_service(&mut self, id: StoryId, until: Option<SystemTime>) {
        let policy = RetryPolicy { first: self.settings.busy_wait, ..RetryPolicy::default() };
        let now = SystemTime::now();
        let next = policy.next_wait(self.memos.read(id).busy, until, now);
        self.memos.change(id, |memo| {
            memo.busy = next.map_or(memo.busy, |next| next.tries);
            memo.merge_attempts = memo.merge_attempts.saturating_sub(1);
        });
        let Some(next) = next else {
            let tries = policy.tries;
            return self.block(id, &format!("the model's service was busy {tries} times in a row")).await;
        };
        let until = now + next.wait;
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
                let files = if stat.files == 1 { "file" } else { "files" };
                Some(format!("{} {files}, +{} -{}", stat.files, stat.insertions, stat.deletions))
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
                let files: Vec<String> =
                    files.iter().take(10).map(|file| file.display().to_string()).collect();
                self.block(id, &format!("files {IN_THE_WAY} of its merge: {}", files.join(", "))).await;
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

/// What came of a run, as a clause, and whether that is a failure.
pub(super) fn describe(outcome: &RunOutcome, verdict: &RunVerdict) -> (String, bool) {
    match (verdict, outcome) {
        (RunVerdict::Settled, _) => ("ended: its story was moved or decided".into(), false),
        (RunVerdict::StoppedBy(who), _) => (format!("stopped by {who}"), false),
        (RunVerdict::Own, outcome) => match outcome {
            RunOutcome::Passed => ("committed, and the gates passed".into(), false),
            RunOutcome::Approved => ("approved".into(), false),
            RunOutcome::SentBack(why) => (format!("rejected: {}", short(why)), false),
            RunOutcome::ContinueMerge => ("resolved the conflicts".into(), false),
            RunOutcome::Failed(why) => (short(why), true),
            RunOutcome::Blocked(why) => (short(why), true),
            RunOutcome::Stopped => ("stopped".into(), false),
            RunOutcome::Busy { .. } => ("the model's service is busy".into(), false),
            RunOutcome::Budget(why) => (short(why), false),
            RunOutcome::Shutdown => ("storkit was shut down".into(), false),
            RunOutcome::NotStarted(why) => (format!("could not be started: {}", short(why)), false),
        },
    }
}

/// One line that fits into front matter and messages.
fn short(text: &str) -> String {
    let line = first_line(text).trim();
    match line.char_indices().nth(REASON) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line.to_owned(),
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

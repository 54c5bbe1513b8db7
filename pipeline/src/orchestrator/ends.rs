//! What follows from a run or a merge that ended.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use agents::turn::{BusyWait, RetryPolicy};

use super::{
    MERGE_ATTEMPTS, Orchestrator, TaskEvent,
    memo::StoryMemo,
    runs::RunVerdict,
    stories::{FrontEdit, StoryStep, StoryWork},
};
use crate::{
    board::WorkFolder,
    event::{Actor, LandingNews, MergeView, PipelineEvent, RunId, RunInfo},
    evidence::EvidenceSource,
    gates::GateReport,
    ledger::RunSummary,
    merge::{MergeEnded, MergeError, MergeOutcome},
    run::{RunEnd, RunFailure, RunOutcome, RunUpdate},
    sentence::{self, in_one_line, one_line},
    story::{
        BlockReason, Story, StoryId,
        stage::{Mover, Role, Stage},
    },
    verdict::FailureCause,
};

/// Lines of a gate's output that go back to the coder.
const GATE_LINES: usize = 40;

/// The consequences of a run for its story.
#[derive(Debug, Default, PartialEq)]
struct StoryConclusion {
    steps: Vec<StoryStep>,
    /// Why its file moves, for people.
    why: Option<String>,
    by: Option<Actor>,
}

impl Orchestrator {
    pub(super) fn handle_run_update(&mut self, id: StoryId, run: &RunId, told: RunUpdate) {
        let Some(info) = self.runs.get_mut(id, run) else { return };
        match told {
            RunUpdate::Phase(phase) => {
                info.phase = phase.clone();
                self.publisher.emit(PipelineEvent::RunPhase { run: run.clone(), story: id, phase });
            }
            RunUpdate::Pid(pid) => {
                info.pid = pid;
                // What stopped all runs is over when one really lives.
                let ended = pid.and_then(|_| self.holds.end_pause());
                ended.into_iter().for_each(|event| self.publisher.emit(event));
            }
            RunUpdate::Cost(usd) => info.cost_usd = usd,
            RunUpdate::Session(session) => {
                info.session = Some(session.clone());
                if info.role == Role::Coder {
                    self.memos.change(id, |memo| memo.session = Some(session.to_string()));
                }
            }
            RunUpdate::Line(line) => self.publisher.emit(PipelineEvent::RunSaid { run: run.clone(), line }),
            RunUpdate::Alarm(text) => {
                let story = info.on_story();
                self.publisher.alarm(story, text);
            }
            // A review of a branch has no story, and nothing goes on after it.
            RunUpdate::Read(_) | RunUpdate::Evidence(_) if info.branch.is_some() => {}
            RunUpdate::Evidence(taken) => {
                let from = match info.role {
                    Role::Coder | Role::Supervisor => EvidenceSource::Coder,
                    Role::Qa => EvidenceSource::Reviewer,
                    Role::Mergemaster => EvidenceSource::Merge,
                };
                self.keep_evidence(id, from, taken);
            }
            RunUpdate::Read(texts) => drop(self.memos.change(id, |memo| memo.read = texts)),
        }
    }

    pub(super) fn run_ended(&mut self, id: StoryId, run: &RunId, ending: RunEnd) {
        let Some((info, verdict)) = self.runs.over(id, run, ending.usd) else { return };
        if info.branch.is_some() {
            return self.review_ended(info, verdict, ending);
        }
        let RunSummary { outcome, failed, cause } = summary(&ending.outcome, &verdict);
        let told = PipelineEvent::RunEnded { run: info.clone(), outcome, failed, cause, diff: ending.diff };
        let conclusion = match verdict {
            RunVerdict::Settled => StoryConclusion::default(),
            RunVerdict::StoppedBy(who) => {
                StoryConclusion::edit(vec![FrontEdit::Block(BlockReason::StoppedBy { who })])
            }
            RunVerdict::Own => self.conclude(&info, ending.outcome),
        };
        if conclusion.steps.is_empty() {
            self.publisher.emit(told);
            return self.release_worker(id);
        }
        let by = conclusion.by.unwrap_or(Actor::Pipeline);
        let about = StoryWork::on(id).by(by, conclusion.why).after(vec![told]);
        // Until the story is where it belongs the worker counts as busy: nobody else may take the story up.
        self.take_steps(about, id, conclusion.steps, move |this, done| {
            if let Err(error) = done {
                tracing::error!(story = %id, %error, "what follows from a run could not be written");
                this.leave_alone(id);
                this.block(id, BlockReason::CannotMove { why: error.to_string() });
            }
            this.release_worker(id);
        });
    }

    pub(super) fn release_worker(&mut self, id: StoryId) {
        let Some((info, waiting)) = self.runs.remove(id) else { return };
        waiting.into_iter().for_each(|answer| self.publisher.answer(answer, Ok(vec![info.clone()])));
    }

    fn conclude(&mut self, run: &RunInfo, outcome: RunOutcome) -> StoryConclusion {
        let id = run.story;
        let Some(story) = self.story(id).filter(|story| story.stage.role() == Some(run.role)) else {
            tracing::info!(story = %id, "a run's story is not where it was; nothing follows from its end");
            return StoryConclusion::default();
        };
        match &outcome {
            // Returns before `conclusion`, which resets the count of waits in a row.
            RunOutcome::Busy { until } => return self.wait_for_service(id, *until),
            RunOutcome::ContinueMerge if self.stories.started.quarantine(id).is_some() => {
                // Not the version that a person has accepted.
                self.set_accepted(id, false);
            }
            RunOutcome::ContinueMerge => self.queue_merge(&story, |_, _| ()),
            RunOutcome::NotStarted(why) => {
                // The cause (no CLI, no space on disk) concerns every run, so this story is not blamed for
                // it.
                self.pause(format!("No agent can be started: {}", sentence::sentence(why)));
            }
            _ => {}
        }
        // A room's changes go to a coder now; any other return moves the story, and the move is reported there.
        if let (RunOutcome::Failed(failure), Some(_)) = (&outcome, &story.front.landed) {
            self.tell_room(id, &story.front.name, LandingNews::SentBack { why: failure.cause.to_string() });
        }
        let mut memo = self.memos.read(id);
        if let RunOutcome::Planned(plan) = &outcome {
            let title = story.front.name.clone();
            self.publisher.emit(PipelineEvent::PlanProposed { story: id, title, plan: plan.clone() });
        }
        let conclusion = conclusion(&story, run, &outcome, &mut memo, self.config.in_force.max_retries);
        self.memos.change(id, |kept| *kept = memo);
        conclusion
    }

    /// Back to the coder, with the reasons; given up when that happened too often. Writes `edits`
    /// together with its own.
    pub(super) fn send_back(
        &mut self,
        id: StoryId,
        (reason, by): (&str, Actor),
        edits: Vec<FrontEdit>,
        then: impl FnOnce(&mut Self) + Send + 'static,
    ) {
        let mut memo = self.memos.read(id);
        let mut back = StoryConclusion::send_back(reason, by, &mut memo, self.config.in_force.max_retries);
        self.memos.change(id, |kept| *kept = memo);
        back.steps.push(StoryStep::Edit(edits));
        let about = StoryWork::on(id).by(back.by.unwrap_or(Actor::Pipeline), back.why);
        self.take_steps(about, id, back.steps, move |this, done| {
            if let Err(error) = done {
                tracing::error!(story = %id, %error, "a story could not be sent back");
            }
            then(this);
        });
    }

    /// Nobody merges the story until a person retries it or sends it back.
    pub(super) fn merge_failure(
        &mut self,
        id: StoryId,
        why: &str,
        then: impl FnOnce(&mut Self) + Send + 'static,
    ) {
        self.edit_front_matter(id, vec![FrontEdit::MergeFailure(one_line(why))], move |this| {
            this.leave_merge(id);
            then(this);
        });
    }

    /// The story waits for the model's service; blocked where that was busy too often without saying for how long.
    fn wait_for_service(&mut self, id: StoryId, reset: Option<SystemTime>) -> StoryConclusion {
        let policy = RetryPolicy { first: self.context.settings.busy_wait, ..RetryPolicy::default() };
        let now = SystemTime::now();
        let mut memo = self.memos.read(id);
        let next = busy_wait(&policy, reset, now, &mut memo);
        self.memos.change(id, |kept| *kept = memo);
        let Some(next) = next else {
            return StoryConclusion::edit(vec![FrontEdit::Block(BlockReason::ServiceBusy {
                times: policy.tries,
            })]);
        };
        self.holds.wait_for_service(id, now + next.wait);
        // `Due` changes nothing; it wakes the loop, which offers work after every event.
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(next.wait).await;
            let _ = events.send(TaskEvent::Due).await;
        });
        StoryConclusion::default()
    }

    pub(super) fn merge_ended(&mut self, ended: Arc<MergeEnded>) {
        let id = ended.story;
        self.merges.handle_end(&ended);
        self.keep_evidence(id, EvidenceSource::Merge, ended.evidence.clone());
        let diff = match &ended.result {
            Ok(MergeOutcome::Merged(proof)) => {
                self.context.own.add(&proof.commit);
                let stat = &proof.diff;
                Some(sentence::diff(stat.files, stat.insertions, stat.deletions))
            }
            _ => None,
        };
        let (title, merge) = (self.title(id), MergeView::ended(&ended.result));
        let told = PipelineEvent::Merge { story: id, title, merge: merge.clone(), diff };
        // The merge has moved the story's file itself.
        let about = StoryWork::on(id).by(Actor::Pipeline, None).after(vec![told]);
        self.work_on(about, WorkFolder::scan, move |this, scanned| {
            if let Err(error) = scanned {
                tracing::warn!(%error, "the stories cannot be read");
            }
            if let Some(story) = this.story(id) {
                this.conclude_merge(&story, &ended, &merge);
            }
        });
    }

    fn conclude_merge(&mut self, story: &Story, ended: &MergeEnded, view: &MergeView) {
        let id = story.id();
        match &ended.result {
            Ok(MergeOutcome::Merged(proof)) => {
                self.tell_room(id, &story.front.name, LandingNews::Merged { commit: proof.commit.clone() });
                self.merged(story);
            }
            // Somebody moved it meanwhile, and that decision counts.
            _ if story.stage != Stage::Merge => {}
            Ok(MergeOutcome::Conflict(paths)) => self.conflict(id, paths),
            Ok(MergeOutcome::Refused(faults)) => {
                let reason = sentence::sentences(faults);
                self.send_back(id, (&reason, Actor::Pipeline), Vec::new(), |_| ());
            }
            Ok(MergeOutcome::GateFailed { report, base_moved }) => {
                let reason = gates_failed(report, &self.config.base, *base_moved);
                self.send_back(id, (&reason, Actor::Pipeline), Vec::new(), |_| ());
            }
            Ok(MergeOutcome::CheckoutInTheWay(files)) => {
                let files = files.iter().map(|file| file.display().to_string()).collect();
                self.block(id, BlockReason::FilesInTheWay { files });
            }
            // Queued again by itself.
            Ok(MergeOutcome::BaseMoved) | Err(MergeError::Cancelled) => {}
            Ok(MergeOutcome::Empty) | Err(_) => {
                if let MergeView::Failed { why } = view {
                    self.merge_failure(id, why, |_| ());
                }
            }
        }
    }

    /// Its branch and worktree are not needed any more.
    fn merged(&mut self, story: &Story) {
        self.memos.forget(story.id());
        if let Some(name) = super::name_of(story) {
            self.release_worktree(name);
        }
        let Self { stories, .. } = self;
        stories.started.release(story.id(), &stories.lane);
    }

    /// A mergemaster gets it, as long as it has tries left.
    fn conflict(&mut self, id: StoryId, paths: &[PathBuf]) {
        if self.memos.read(id).merge_attempts >= MERGE_ATTEMPTS {
            let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            let why = format!(
                "conflicts are left after {MERGE_ATTEMPTS} attempts to resolve them: {}",
                sentence::listed(&paths)
            );
            self.merge_failure(id, &why, |_| ());
        } else if !self.config.in_force.agents.iter().any(|agent| agent.role == Role::Mergemaster) {
            self.merge_failure(id, "it has conflicts, and `project.toml` has no mergemaster", |_| ());
        }
    }
}

/// The coder's task after the merge's gates failed. Without commits on base since the branch began, the merged result is the branch, and
/// there is nothing to merge into it.
fn gates_failed(report: &GateReport, base: &str, base_moved: bool) -> String {
    let gate = report.failure().map_or_else(String::new, |gate| {
        format!("{gate}. The end of its output:\n{}", last_lines(&gate.tail, GATE_LINES))
    });
    match base_moved {
        true => format!(
            "The gates passed on the branch but fail on the result of merging it into `{base}`. Merge `{base}` into your branch, \
             and fix what does not fit together: {gate}"
        ),
        false => format!(
            "The gates passed in the worktree but fail in a clean checkout of the same content. Look for a file that git ignores, for \
             something that only `setup` makes, and for a test that does not pass every time: {gate}"
        ),
    }
}

/// The result of a run, for the ledger. Where somebody else has decided about its story, its own
/// outcome does not count.
pub(super) fn summary(outcome: &RunOutcome, verdict: &RunVerdict) -> RunSummary {
    let fine = |outcome: String| RunSummary { outcome, ..RunSummary::default() };
    match verdict {
        RunVerdict::Settled => fine("ended: its story was moved or decided".into()),
        RunVerdict::StoppedBy(who) => fine(format!("stopped by {who}")),
        RunVerdict::Own => outcome.summary(),
    }
}

impl StoryConclusion {
    fn edit(edits: Vec<FrontEdit>) -> Self {
        Self { steps: vec![StoryStep::Edit(edits)], ..Self::default() }
    }

    /// To the next stage, with a clean slate there.
    fn advance(story: &Story, to: Stage, why: Option<String>) -> Self {
        // Cleared before the move: the count belongs to the stage that the story leaves.
        let clear = (story.front.retry_count > 0).then(|| StoryStep::Edit(vec![FrontEdit::ClearRetries]));
        // After the move: a crash in between repeats the gates at most, and never lets a coder redo a room's work.
        let is_checked = story.front.landed.is_some().then(|| StoryStep::Edit(vec![FrontEdit::ClearLanded]));
        let moved = StoryStep::Move(to, Mover::Pipeline);
        let steps = clear.into_iter().chain([moved]).chain(is_checked).collect();
        Self { steps, why, by: None }
    }

    fn send_back(reason: &str, by: Actor, memo: &mut StoryMemo, most: u32) -> Self {
        (memo.feedback, memo.failure) = (Some(reason.to_owned()), None);
        memo.sent_back += 1;
        let mover = if by == Actor::Pipeline { Mover::Pipeline } else { Mover::Person };
        let why = Some(format!("sent back: {}", in_one_line(reason)));
        let reason = one_line(reason);
        let mut edits = vec![FrontEdit::ClearRetries, FrontEdit::ClearLanded];
        // A person may send a story back as often as they like.
        if memo.sent_back >= most && !matches!(by, Actor::Person(_) | Actor::Approved(_)) {
            edits.push(FrontEdit::Block(BlockReason::SentBack { times: most, reason }));
        }
        let steps = vec![StoryStep::Move(Stage::Current, mover), StoryStep::Edit(edits)];
        Self { steps, why, by: Some(by) }
    }

    fn failed(story: &Story, role: Role, failure: &RunFailure, memo: &mut StoryMemo) -> Self {
        if role == Role::Mergemaster {
            return match memo.merge_attempts >= MERGE_ATTEMPTS {
                true => Self::edit(vec![FrontEdit::MergeFailure(format!(
                    "{MERGE_ATTEMPTS} attempts to resolve its conflicts failed, the last one: {}",
                    failure.cause
                ))]),
                // Nothing to write: the conflict still waits, so `assign` picks a mergemaster again.
                false => Self::default(),
            };
        }
        if role == Role::Coder && !failure.cause.keeps_session() {
            memo.session = None;
        }
        (memo.feedback, memo.failure) = (Some(failure.feedback()), Some(failure.cause.clone()));
        let mut edits = vec![FrontEdit::Retries(story.front.retry_count + 1)];
        let is_its_content = matches!(
            failure.cause,
            FailureCause::GatesFailed { .. } | FailureCause::Refused { .. } | FailureCause::GhostRun { .. }
        );
        if is_its_content && story.front.landed.is_some() {
            edits.push(FrontEdit::ClearLanded);
        }
        Self::edit(edits)
    }
}

/// What follows for the story of a run that ended by itself. The rules are here; nothing is done yet.
fn conclusion(
    story: &Story,
    run: &RunInfo,
    outcome: &RunOutcome,
    memo: &mut StoryMemo,
    max_retries: u32,
) -> StoryConclusion {
    memo.busy = 0;
    match outcome {
        RunOutcome::Passed => {
            (memo.feedback, memo.failure) = (None, None);
            StoryConclusion::advance(story, Stage::Qa, None)
        }
        RunOutcome::Approved => {
            StoryConclusion::advance(story, Stage::Merge, Some(format!("approved by {}", run.slot)))
        }
        RunOutcome::Planned(plan) => {
            (memo.feedback, memo.failure) = (None, None);
            let edits = vec![FrontEdit::Plan(plan.clone()), FrontEdit::Block(BlockReason::PlanProposed {})];
            StoryConclusion::edit(edits)
        }
        RunOutcome::SentBack(reason) => {
            StoryConclusion::send_back(reason, Actor::Agent(run.slot.clone()), memo, max_retries)
        }
        RunOutcome::Failed(failure) => StoryConclusion::failed(story, run.role, failure, memo),
        RunOutcome::Blocked(reason) => StoryConclusion::edit(vec![FrontEdit::Block(reason.clone())]),
        RunOutcome::NotStarted(_) => {
            memo.merge_attempts = memo.merge_attempts.saturating_sub(1);
            StoryConclusion::default()
        }
        RunOutcome::Busy { .. }
        | RunOutcome::ContinueMerge
        | RunOutcome::Reviewed(_)
        | RunOutcome::Stopped
        | RunOutcome::Shutdown => StoryConclusion::default(),
    }
}

/// How long a story waits for a busy service. That costs the mergemaster no attempt; `None` when the tries are used up.
fn busy_wait(
    policy: &RetryPolicy,
    reset: Option<SystemTime>,
    now: SystemTime,
    memo: &mut StoryMemo,
) -> Option<BusyWait> {
    let next = policy.next_wait(memo.busy, reset, now);
    memo.busy = next.map_or(memo.busy, |next| next.tries);
    memo.merge_attempts = memo.merge_attempts.saturating_sub(1);
    next
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::RunPhase,
        story::{FileName, FrontMatter, StoryKind},
    };

    fn story(stage: Stage, retry_count: u32) -> Story {
        Story {
            file: FileName { id: StoryId(1), kind: StoryKind::Story, slug: "x".into() },
            stage,
            since: SystemTime::UNIX_EPOCH,
            front: FrontMatter { retry_count, ..FrontMatter::default() },
            criteria: Vec::new(),
        }
    }

    fn run(role: Role) -> RunInfo {
        RunInfo {
            id: RunId("1-x-1".into()),
            branch: None,
            story: StoryId(1),
            title: "x".into(),
            slot: "bob".into(),
            agent: "bob".into(),
            role,
            since: SystemTime::UNIX_EPOCH,
            phase: RunPhase::Settling,
            pid: None,
            session: None,
            cost_usd: 0.0,
        }
    }

    fn after(role: Role, outcome: RunOutcome, memo: &mut StoryMemo) -> StoryConclusion {
        let stage = match role {
            Role::Coder | Role::Supervisor => Stage::Current,
            Role::Qa => Stage::Qa,
            Role::Mergemaster => Stage::Merge,
        };
        conclusion(&story(stage, 1), &run(role), &outcome, memo, 3)
    }

    fn failed(cause: FailureCause) -> RunOutcome {
        RunOutcome::Failed(RunFailure { cause, details: Some("the end".into()) })
    }

    fn remembered() -> StoryMemo {
        StoryMemo {
            feedback: Some("old".into()),
            failure: Some(FailureCause::Stalled),
            session: Some("s".into()),
            merge_attempts: 1,
            busy: 2,
            ..StoryMemo::default()
        }
    }

    #[test]
    fn a_story_that_passed_moves_on_with_a_clean_slate() {
        let mut memo = remembered();
        let passed = after(Role::Coder, RunOutcome::Passed, &mut memo);
        let clear = StoryStep::Edit(vec![FrontEdit::ClearRetries]);
        assert_eq!(passed.steps, [clear, StoryStep::Move(Stage::Qa, Mover::Pipeline)]);
        assert_eq!((memo.feedback, memo.failure, memo.busy), (None, None, 0));
        let untried = conclusion(
            &story(Stage::Qa, 0),
            &run(Role::Qa),
            &RunOutcome::Approved,
            &mut StoryMemo::default(),
            3,
        );
        assert_eq!(untried.steps, [StoryStep::Move(Stage::Merge, Mover::Pipeline)]);
        assert_eq!(untried.why.as_deref(), Some("approved by bob"));
    }

    #[test]
    fn a_rejection_goes_back_first_and_is_given_up_at_the_limit() {
        let mut memo = remembered();
        let reject =
            |memo: &mut StoryMemo| after(Role::Qa, RunOutcome::SentBack("no tests\nat all".into()), memo);
        for times in 1..3 {
            let back = reject(&mut memo);
            let clear = StoryStep::Edit(vec![FrontEdit::ClearRetries, FrontEdit::ClearLanded]);
            assert_eq!(back.steps, [StoryStep::Move(Stage::Current, Mover::Person), clear]);
            assert_eq!(back.why.as_deref(), Some("sent back: no tests at all"));
            assert_eq!(back.by, Some(Actor::Agent("bob".into())));
            assert_eq!(memo.sent_back, times);
        }
        assert_eq!((memo.feedback.as_deref(), memo.failure.clone()), (Some("no tests\nat all"), None));
        assert!(memo.session.is_some(), "the coder's session goes on");
        let block = FrontEdit::Block(BlockReason::SentBack { times: 3, reason: "no tests".into() });
        let clear = || vec![FrontEdit::ClearRetries, FrontEdit::ClearLanded];
        assert_eq!(reject(&mut memo).steps[1], StoryStep::Edit([clear(), vec![block]].concat()));
        let person = StoryConclusion::send_back("no", Actor::Person("Ann".into()), &mut memo, 3);
        assert_eq!(person.steps[1], StoryStep::Edit(clear()), "a person is no limit");
        let pipeline = StoryConclusion::send_back("no", Actor::Pipeline, &mut StoryMemo::default(), 3);
        assert_eq!(pipeline.steps[0], StoryStep::Move(Stage::Current, Mover::Pipeline));
    }

    #[test]
    fn a_failure_counts_and_only_a_failed_gate_keeps_the_coders_session() {
        let gate = FailureCause::GatesFailed { gate: "`make` failed with code 1".into() };
        let words = FailureCause::TurnFailed { why: "we investigate the gate".into() };
        for (cause, role, session) in [
            (gate.clone(), Role::Coder, true),
            (words.clone(), Role::Coder, false),
            (FailureCause::LostReview, Role::Qa, true),
        ] {
            let mut memo = remembered();
            let counted = after(role, failed(cause.clone()), &mut memo);
            assert_eq!(counted.steps, [StoryStep::Edit(vec![FrontEdit::Retries(2)])]);
            assert_eq!(memo.session.is_some(), session, "{cause:?}");
            assert_eq!(memo.feedback, Some(format!("{cause}\n\nthe end")));
            assert_eq!(memo.failure, Some(cause));
        }
    }

    #[test]
    fn a_mergemaster_that_fails_has_its_attempts_and_changes_no_memo_of_the_coder() {
        let mut memo = remembered();
        assert_eq!(after(Role::Mergemaster, failed(FailureCause::Stalled), &mut memo).steps, []);
        memo.merge_attempts = MERGE_ATTEMPTS;
        let why = "3 attempts to resolve its conflicts failed, the last one: no progress for too long";
        let given_up = StoryStep::Edit(vec![FrontEdit::MergeFailure(why.into())]);
        assert_eq!(after(Role::Mergemaster, failed(FailureCause::Stalled), &mut memo).steps, [given_up]);
        assert_eq!((memo.feedback.as_deref(), memo.session.as_deref()), (Some("old"), Some("s")));
    }

    #[test]
    fn a_busy_service_is_waited_for_a_few_times_and_costs_no_attempt() {
        let (policy, now) = (RetryPolicy::default(), SystemTime::UNIX_EPOCH);
        let mut memo = StoryMemo { merge_attempts: 1, ..StoryMemo::default() };
        for tries in 1..=policy.tries {
            let next = busy_wait(&policy, None, now, &mut memo).expect("another try");
            assert_eq!((next.tries, memo.busy, memo.merge_attempts), (tries, tries, 0));
        }
        assert_eq!(busy_wait(&policy, None, now, &mut memo), None);
        after(Role::Coder, RunOutcome::Stopped, &mut memo);
        assert_eq!(memo.busy, 0, "another end breaks the row");
    }

    #[test]
    fn a_limit_of_days_is_waited_out_and_no_try_is_counted() {
        let (policy, now) = (RetryPolicy::default(), SystemTime::UNIX_EPOCH);
        let week = std::time::Duration::from_secs(7 * 24 * 3600);
        let mut memo = StoryMemo { busy: policy.tries, ..StoryMemo::default() };
        let next = busy_wait(&policy, Some(now + week), now, &mut memo).expect("a wait");
        assert_eq!((next.wait, memo.busy), (week, policy.tries));
    }

    #[test]
    fn what_blames_no_story_changes_none() {
        for outcome in [RunOutcome::ContinueMerge, RunOutcome::Stopped, RunOutcome::Shutdown] {
            let mut memo = StoryMemo { merge_attempts: 2, ..StoryMemo::default() };
            let before = memo.clone();
            assert_eq!(after(Role::Mergemaster, outcome, &mut memo), StoryConclusion::default());
            assert_eq!(memo, before);
        }
        let mut memo = StoryMemo { merge_attempts: 2, ..StoryMemo::default() };
        let outcome = RunOutcome::NotStarted("no CLI".into());
        assert_eq!(after(Role::Mergemaster, outcome, &mut memo), StoryConclusion::default());
        assert_eq!(memo.merge_attempts, 1, "it was no attempt");
        let reason = BlockReason::Tampering { found: vec!["main moved".into()] };
        let blocked = after(Role::Coder, RunOutcome::Blocked(reason.clone()), &mut memo);
        assert_eq!(blocked.steps, [StoryStep::Edit(vec![FrontEdit::Block(reason)])]);
    }

    #[test]
    fn a_run_whose_story_others_decided_reports_that_and_no_failure() {
        let failure = failed(FailureCause::Stalled);
        let own = summary(&failure, &RunVerdict::Own);
        assert_eq!((own.failed, own.cause), (true, Some(FailureCause::Stalled)));
        for (verdict, words) in [
            (RunVerdict::Settled, "ended: its story was moved or decided"),
            (RunVerdict::StoppedBy("Ann".into()), "stopped by Ann"),
        ] {
            let told = summary(&failure, &verdict);
            assert_eq!((told.outcome.as_str(), told.failed, told.cause), (words, false, None));
        }
    }

    #[test]
    fn the_last_lines_are_the_last() {
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }
}

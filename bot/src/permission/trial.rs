//! `try` and `keep`: a trial belongs to its open question. It ends with the question, and its changes are gone then unless somebody kept
//! them, by the number of the effect that they saw.

use std::{fmt, sync::Arc};

use agents::{
    claude::ShellCommand,
    confine::NoLayers,
    trial::{KeepFailure, Trial, TrialEffect, TrialFailure, TrialPlace, TrialSlot},
};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    AnswerKind, AnswerRefused, PendingQuestion, PermissionBroker, Person, Question, QuestionId,
    QuestionOutcome, audit::entry_of,
};
use crate::store::AuditEntry;

/// Trials that run at the same time, of all agents.
const AT_ONCE: usize = 2;

/// Which trial of its question an effect is of, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EffectNumber(pub u32);

impl fmt::Display for EffectNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a call cannot be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTrial {
    /// It is no shell command.
    NoCommand,
    /// It is to go on after its call.
    InBackground,
    /// Agents have no wall here, so a trial would show something else than what happens.
    NoWall,
    /// The wall on this machine cannot layer files.
    NoLayers,
    /// It is not known where the agent works.
    NoPlace,
}

/// What became of a trial.
#[derive(Clone, Debug)]
pub enum TrialNews {
    Running {
        by: Person,
    },
    Tried {
        number: EffectNumber,
        by: Person,
        effect: Arc<TrialEffect>,
    },
    /// It has no effect to show.
    Failed(TrialFailure),
    /// Its changes could not be made true.
    NotKept(KeepFailure),
}

/// The command that a trial of this call would run.
pub(super) fn offer(tool: &str, input: &Value, trials: &TrialSlot) -> Result<ShellCommand, NoTrial> {
    let command = ShellCommand::of(tool, input).ok_or(NoTrial::NoCommand)?;
    if command.in_background {
        return Err(NoTrial::InBackground);
    }
    let place = trials.place().ok_or(NoTrial::NoPlace)?;
    place.can_try().map(|()| command).map_err(|why| match why {
        NoLayers::NoWall => NoTrial::NoWall,
        NoLayers::OtherWall => NoTrial::NoLayers,
    })
}

/// The trials of a question. Dropping it ends them.
#[derive(Default)]
pub(super) struct QuestionTrial {
    /// How many there were.
    count: u32,
    /// Ends the one that runs.
    running: Option<DropGuard>,
    /// The newest, with the layers that hold its changes.
    done: Option<Arc<Trial>>,
    is_being_kept: bool,
    /// How the question ends if its changes cannot be kept after all.
    ended: Option<QuestionOutcome>,
}

impl QuestionTrial {
    pub fn is_being_kept(&self) -> bool {
        self.is_being_kept
    }

    /// Whether an end of the question has to wait. The first one counts.
    pub fn is_ended(&mut self, outcome: &QuestionOutcome) -> bool {
        if self.is_being_kept {
            self.ended.get_or_insert_with(|| outcome.clone());
        }
        self.is_being_kept
    }
}

/// All trials of a broker.
#[derive(Clone)]
pub(super) struct RunningTrials {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Default for RunningTrials {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), tasks: TaskTracker::new() }
    }
}

impl PermissionBroker {
    /// Waits until nothing of any trial is left; to be called once all questions are closed.
    pub async fn trials_ended(&self) {
        self.trials.tasks.close();
        self.trials.tasks.wait().await;
    }

    /// Starts a trial of an open question's call.
    pub(super) fn begin_trial(&self, open: &mut PendingQuestion, by: &Person) -> Result<(), AnswerRefused> {
        let question = open.question.clone();
        let refused = |why| AnswerRefused::NoTrial(question.id, why);
        let AnswerKind::Tool { trial, .. } = &question.kind else {
            return Err(refused(NoTrial::NoCommand));
        };
        let command = trial.clone().map_err(refused)?;
        if open.trial.running.is_some() {
            return Err(AnswerRefused::BeingTried(question.id));
        }
        let place = question.asker.trials().place().ok_or_else(|| refused(NoTrial::NoPlace))?;
        open.trial.count += 1;
        // The effect of an earlier trial is not the newest any more.
        open.trial.done = None;
        let stop = CancellationToken::new();
        open.trial.running = Some(stop.clone().drop_guard());
        let entry = AuditEntry {
            outcome: "try".into(),
            by: by.recorded().to_owned(),
            account: by.account.clone(),
            ..entry_of(&question, &STILL_OPEN)
        };
        self.log_error(self.store.audit(&entry, self.clock.now()));
        let (broker, number) = (self.clone(), EffectNumber(open.trial.count));
        let by = by.clone();
        self.trials.tasks.spawn(async move {
            broker.tell_trial(&question, &TrialNews::Running { by: by.clone() });
            let tried = broker.try_in_turn(&place, &command, stop).await;
            broker.on_tried(question.id, number, by, tried);
        });
        Ok(())
    }

    async fn try_in_turn(
        &self,
        place: &TrialPlace,
        command: &ShellCommand,
        stop: CancellationToken,
    ) -> Result<Trial, TrialFailure> {
        let turn = stop.run_until_cancelled(self.trials.places.acquire()).await;
        // A closed semaphore does not exist here: nobody closes it.
        let Some(Ok(_turn)) = turn else { return Err(TrialFailure::Stopped) };
        place.run(command.for_trial(), stop).await
    }

    fn on_tried(&self, id: QuestionId, number: EffectNumber, by: Person, tried: Result<Trial, TrialFailure>) {
        let mut pending = self.pending();
        // Without its question, the trial and all that it holds are dropped here.
        let Some(open) = pending.get_mut(&id).filter(|open| open.trial.count == number.0) else { return };
        open.trial.running = None;
        let news = match tried {
            Ok(trial) => {
                let effect = Arc::new(trial.effect.clone());
                open.trial.done = Some(Arc::new(trial));
                TrialNews::Tried { number, by, effect }
            }
            Err(failure) => TrialNews::Failed(failure),
        };
        let question = open.question.clone();
        drop(pending);
        self.tell_trial(&question, &news);
    }

    /// Makes the changes true that this trial showed. The question is decided once they are.
    pub(super) fn begin_keep(
        &self,
        open: &mut PendingQuestion,
        effect: Option<EffectNumber>,
        by: &Person,
    ) -> Result<(), AnswerRefused> {
        let id = open.question.id;
        let Some(trial) = open.trial.done.clone() else {
            return Err(match open.trial.running {
                Some(_) => AnswerRefused::BeingTried(id),
                None => AnswerRefused::NoEffect(id),
            });
        };
        match effect {
            None => return Err(AnswerRefused::NoEffect(id)),
            Some(effect) if effect.0 != open.trial.count => return Err(AnswerRefused::OtherEffect(id)),
            Some(_) => {}
        }
        if let Some(why) = &trial.effect.no_keep {
            return Err(AnswerRefused::NotKept(id, KeepFailure::NotKept(why.clone())));
        }
        open.trial.is_being_kept = true;
        let (broker, question, by) = (self.clone(), open.question.clone(), by.clone());
        self.trials.tasks.spawn(async move {
            let keeping = trial.clone();
            let kept = tokio::task::spawn_blocking(move || keeping.keep()).await;
            let kept = kept.unwrap_or_else(|error| Err(KeepFailure::Failed(error.to_string())));
            broker.on_kept(&question, by, &trial, kept);
        });
        Ok(())
    }

    fn on_kept(&self, question: &Arc<Question>, by: Person, trial: &Trial, kept: Result<(), KeepFailure>) {
        let id = question.id;
        let of_keep = QuestionOutcome::Kept { by, effect: Arc::new(trial.effect.clone()) };
        let mut pending = self.pending();
        let Some(open) = pending.get_mut(&id) else {
            // The agent's connection was cut meanwhile, and the question is closed.
            tracing::warn!(
                question = id.0,
                ?kept,
                "the changes of a trial were kept for an agent that is gone"
            );
            self.log_error(self.store.audit(&entry_of(question, &of_keep), self.clock.now()));
            return;
        };
        open.trial.is_being_kept = false;
        let ended = open.trial.ended.take();
        let outcome = if kept.is_ok() { Some(of_keep) } else { ended };
        let decided = outcome.and_then(|outcome| Some((pending.remove(&id)?, outcome)));
        drop(pending);
        if let Some((open, outcome)) = decided
            && let Some(decided) = open.decided
        {
            let _ = decided.send(outcome);
        }
        if let Err(why) = kept {
            tracing::warn!(question = id.0, ?why, "the changes of a trial were not kept");
            self.tell_trial(question, &TrialNews::NotKept(why));
        }
    }

    /// In all rooms that show the question.
    pub(super) fn tell_trial(&self, question: &Arc<Question>, news: &TrialNews) {
        self.record.tried(question.id, news);
        for room in &question.asked_in() {
            self.rooms.show_trial(room, question.clone(), news.clone());
        }
    }
}

/// In the place of an outcome, for an entry of the audit about a question that stays open.
const STILL_OPEN: QuestionOutcome = QuestionOutcome::TimedOut;

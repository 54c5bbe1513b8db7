//! The one place where permission questions are decided: by rules, people and deadlines. No answer counts as a denial.
//!
//! It decides in types. [`crate::replies`] words the decisions, and [`QuestionRooms`] shows the questions.

mod asker;
mod audit;
mod board;
mod concerns;
mod listed;
mod model_question;
mod outcome;
mod paths;
mod question;
mod rule;
mod trial;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use adapters::{MessageId, Room};
use agents::trial::KeepFailure;
use asker::NoPlace;
pub use asker::{Asker, OPEN_QUESTIONS};
use audit::{entry, entry_of, sha256};
pub use board::{BoardConsent, BoardQuestion, PlannedStory};
pub use concerns::CallConcern;
pub use listed::{ListedArguments, ListedCommand};
pub use model_question::ModelQuestion;
pub use outcome::{DenialReason, PermissionDecision, QuestionOutcome, WithdrawReason};
use parking_lot::{Mutex, MutexGuard};
pub use question::{AnswerKind, ExpectedAnswer, Person, PersonAnswer, Question, QuestionId};
use serde_json::Value;
use tokio::sync::oneshot;
pub use trial::{EffectNumber, NoTrial, TrialNews};
use trial::{QuestionTrial, RunningTrials};

use self::paths::AgentFolder;
pub use crate::store::{RuleOwner, RuleScope};
use crate::{
    clock::Clock,
    store::{AuditEntry, LeftQuestion, OpenQuestion, StandingRule, Store},
};

/// The name under which a connection to a host is asked for; no tool of the CLI has it.
pub const NETWORK_TOOL: &str = "Network";

/// A tool call that needs a decision.
#[derive(Clone, Debug)]
pub struct PermissionAsk {
    /// Where it is asked. Empty: nobody can be asked, and the answer is no.
    pub rooms: Vec<Room>,
    /// Whose call it is.
    pub asker: Asker,
    /// The folder that the agent works in; without it no rule is about its files.
    pub folder: Option<PathBuf>,
    /// For whom the agent works, in words.
    pub asked_for: String,
    pub tool: String,
    pub input: Value,
    /// The call's id in the agent program, if it names one.
    pub call: Option<String>,
    /// The path because of which the agent program asks, if it names one.
    pub blocked_path: Option<String>,
    /// How long to wait; `None` waits for ever.
    pub timeout: Option<Duration>,
}

impl PermissionAsk {
    fn folder(&self) -> AgentFolder<'_> {
        AgentFolder(self.folder.as_deref())
    }
}

/// Why an answer changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerRefused {
    /// There is no open question of that number (any more).
    NotOpen(QuestionId),
    /// The question was not asked in this room.
    NotHere(QuestionId),
    /// The question takes another kind of answer.
    NoSuchChoice(ExpectedAnswer),
    /// `always` has no meaning for a plan or a question.
    NoAlways,
    /// The call cannot be tried.
    NoTrial(QuestionId, NoTrial),
    /// A trial of it is under way.
    BeingTried(QuestionId),
    /// The changes of its trial are being made true.
    BeingKept(QuestionId),
    /// No effect of it was shown that could be kept.
    NoEffect(QuestionId),
    /// The effect that was shown is not the newest.
    OtherEffect(QuestionId),
    /// The effect that was shown cannot be kept.
    NotKept(QuestionId, KeepFailure),
}

/// Where questions are shown. The chat implements it, so that the broker knows nothing of rooms' tasks.
pub trait QuestionRooms: Send + Sync {
    /// Shows an open question in a room; `false` where no messenger serves the room.
    fn show(&self, room: &Room, question: Arc<Question>) -> bool;

    /// Shows what became of a trial of an open question.
    fn show_trial(&self, room: &Room, question: Arc<Question>, news: TrialNews);

    /// Shows how a question ended.
    fn settle(&self, room: &Room, question: Arc<Question>, outcome: QuestionOutcome);
}

const GONE: QuestionOutcome = QuestionOutcome::Withdrawn { why: WithdrawReason::ShuttingDown };

/// Open questions and their waiters.
#[derive(Clone)]
pub struct PermissionBroker {
    store: Store,
    clock: Clock,
    rooms: Arc<dyn QuestionRooms>,
    pending: Arc<Mutex<HashMap<QuestionId, PendingQuestion>>>,
    trials: RunningTrials,
}

struct PendingQuestion {
    question: Arc<Question>,
    decided: oneshot::Sender<QuestionOutcome>,
    unreachable: HashSet<Room>,
    trial: QuestionTrial,
}

impl PermissionBroker {
    /// A broker that shows its questions through `rooms`.
    pub fn new(store: Store, clock: Clock, rooms: Arc<dyn QuestionRooms>) -> Self {
        Self { store, clock, rooms, pending: Arc::default(), trials: RunningTrials::default() }
    }

    /// Decides a call: by rule, by a person, by the deadline; each decision goes to the audit. Dropping
    /// the future withdraws the question.
    pub async fn ask(&self, ask: PermissionAsk) -> PermissionDecision {
        let outcome = match self.decided_without_asking(&ask) {
            Some(outcome) => self.record(&ask, outcome),
            None => self.ask_in_turn(&ask, None).await,
        };
        match (outcome.allows(), &ask.call) {
            (true, _) => ask.asker.on_allowed(&ask.tool, &ask.input),
            (false, Some(call)) => ask.asker.read().on_refused(call),
            (false, None) => {}
        }
        outcome.into_decision(&ask.tool, ask.input)
    }

    /// Asks about an act on the board, which no rule can allow. Dropping the future withdraws the question.
    ///
    /// # Errors
    /// Why it is not to be done.
    pub async fn ask_about_board(
        &self,
        ask: PermissionAsk,
        about: BoardQuestion,
    ) -> Result<BoardConsent, DenialReason> {
        let outcome = match ask.rooms.is_empty() {
            true => self.record(&ask, QuestionOutcome::Unreachable),
            false => self.ask_in_turn(&ask, Some(about)).await,
        };
        outcome.into_consent()
    }

    fn record(&self, ask: &PermissionAsk, outcome: QuestionOutcome) -> QuestionOutcome {
        self.log_error(self.store.audit(&entry(ask, None, &outcome), self.clock.now()));
        outcome
    }

    fn decided_without_asking(&self, ask: &PermissionAsk) -> Option<QuestionOutcome> {
        match self.store.rules() {
            Ok(rules) => {
                if let Some(rule) = rules.iter().find(|rule| covers(rule, ask)) {
                    return Some(QuestionOutcome::ByRule { rule: rule.id });
                }
            }
            // A rule can only allow. Without the rules a person decides, which is never less safe.
            Err(error) => tracing::error!(%error, "the rules cannot be read; a person is asked"),
        }
        ask.rooms.is_empty().then_some(QuestionOutcome::Unreachable)
    }

    /// Whether a standing rule allows a call, without asking anybody.
    pub fn is_allowed_by_rule(&self, ask: &PermissionAsk) -> bool {
        matches!(self.decided_without_asking(ask), Some(QuestionOutcome::ByRule { .. }))
    }

    /// Asks as soon as few enough questions of this agent are open.
    async fn ask_in_turn(&self, ask: &PermissionAsk, about: Option<BoardQuestion>) -> QuestionOutcome {
        let why = match ask.asker.take_place().await {
            Ok(_place) => {
                // An answer to a question before this one may have made a rule that covers it.
                let decided = about.is_none().then(|| self.decided_without_asking(ask)).flatten();
                return match decided {
                    Some(outcome) => self.record(ask, outcome),
                    None => self.ask_people(ask, about).await,
                };
            }
            Err(NoPlace::TooMany) => WithdrawReason::TooManyQuestions,
            Err(NoPlace::Dismissed) => WithdrawReason::TurnOver,
        };
        self.record(ask, QuestionOutcome::Withdrawn { why })
    }

    async fn ask_people(&self, ask: &PermissionAsk, about: Option<BoardQuestion>) -> QuestionOutcome {
        let (question, mut decision) = match self.open(ask, about) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(%error, tool = ask.tool, "a question could not be stored and is denied");
                // Without a row there is no number to answer with. The store that refused the row would refuse
                // an audit entry as well.
                return QuestionOutcome::Withdrawn { why: WithdrawReason::NotRecorded };
            }
        };
        let mut guard = WithdrawOnDrop { broker: self, question: question.clone(), done: false };
        for room in &question.rooms {
            if !self.rooms.show(room, question.clone()) {
                self.undeliverable(question.id, room);
            }
        }
        let deadline = async {
            match ask.timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            biased;
            decided = &mut decision => decided.unwrap_or(GONE),
            // Whoever takes the question out of the table decides it: an answer that did so first has counted, and its person was told
            // so.
            () = deadline => match self.claim(question.id) {
                true => QuestionOutcome::TimedOut,
                false => decision.await.unwrap_or(GONE),
            },
        };
        guard.done = true;
        let outcome = self.make_rule(&question, outcome);
        self.close(&question, &outcome);
        outcome
    }

    /// Takes a question that has timed out.
    fn claim(&self, id: QuestionId) -> bool {
        let mut pending = self.pending();
        let is_kept =
            pending.get_mut(&id).is_some_and(|open| open.trial.is_ended(&QuestionOutcome::TimedOut));
        !is_kept && pending.remove(&id).is_some()
    }

    /// Stores the rule of an `always` that counted. One that cannot be stored allows this call and no other.
    fn make_rule(&self, question: &Question, outcome: QuestionOutcome) -> QuestionOutcome {
        let QuestionOutcome::Always { by, scope } = outcome else { return outcome };
        let Some(owner) = question.asker.owner() else { return QuestionOutcome::Allowed { by } };
        match self.store.add_rule(owner, &scope, &by.id, self.clock.now()) {
            Ok(_) => QuestionOutcome::Always { by, scope },
            Err(error) => {
                tracing::error!(%error, "a rule could not be stored");
                QuestionOutcome::Allowed { by }
            }
        }
    }

    fn open(
        &self,
        ask: &PermissionAsk,
        about: Option<BoardQuestion>,
    ) -> anyhow::Result<(Arc<Question>, oneshot::Receiver<QuestionOutcome>)> {
        let body = OpenQuestion {
            rooms: ask.rooms.iter().map(Room::to_string).collect(),
            asked_for: ask.asked_for.clone(),
            tool: ask.tool.clone(),
            input: ask.input.clone(),
        };
        let id = QuestionId(self.store.open_question(&body)?);
        let question = Arc::new(Question::new(id, ask, about, self.clock.now()));
        let (decided, decision) = oneshot::channel();
        let (unreachable, trial) = (HashSet::new(), QuestionTrial::default());
        let pending = PendingQuestion { question: question.clone(), decided, unreachable, trial };
        // Pending before any room shows it: an answer can be faster than the loop over the rooms.
        self.pending().insert(id, pending);
        Ok((question, decision))
    }

    fn close(&self, question: &Arc<Question>, outcome: &QuestionOutcome) {
        self.pending().remove(&question.id);
        let entry = entry_of(question, outcome);
        self.log_error(self.store.close_question(question.id.0, &entry, self.clock.now()));
        for room in &question.rooms {
            self.rooms.settle(room, question.clone(), outcome.clone());
        }
    }

    /// A person's answer, already checked for the right to give one. The first valid one wins.
    pub fn answer(
        &self,
        id: QuestionId,
        room: &Room,
        by: &Person,
        answer: PersonAnswer,
    ) -> Result<(), AnswerRefused> {
        let mut pending = self.pending();
        let open = pending.get_mut(&id).ok_or(AnswerRefused::NotOpen(id))?;
        if !open.question.rooms.contains(room) {
            return Err(AnswerRefused::NotHere(id));
        }
        match answer {
            _ if open.trial.is_being_kept() => return Err(AnswerRefused::BeingKept(id)),
            PersonAnswer::Try => return self.begin_trial(open, by),
            PersonAnswer::Keep(effect) => return self.begin_keep(open, effect, by),
            PersonAnswer::Yes | PersonAnswer::No(_) | PersonAnswer::Always | PersonAnswer::Text(_) => {}
        }
        let outcome = open.question.outcome_of(answer, by)?;
        let decided = pending.remove(&id).map(|pending| pending.decided);
        // Released before the waiter wakes: it takes the same lock to close the question.
        drop(pending);
        // The agent may be gone at this moment. Then this person reads that the question is not open, instead of believing that the
        // call runs, and no rule is made.
        decided.and_then(|decided| decided.send(outcome).ok()).ok_or(AnswerRefused::NotOpen(id))
    }

    /// Closes a question without an answer: turn over, stop, shutdown, the CLI's own cancel.
    pub fn withdraw(&self, id: QuestionId, why: WithdrawReason) {
        self.end(&mut self.pending(), id, QuestionOutcome::Withdrawn { why });
    }

    /// Closes every question; for the shutdown.
    pub fn withdraw_all(&self, why: WithdrawReason) {
        let mut pending = self.pending();
        for id in pending.keys().copied().collect::<Vec<_>>() {
            self.end(&mut pending, id, QuestionOutcome::Withdrawn { why });
        }
    }

    /// Ends a question, unless the changes of its trial are being made true: then that decides first.
    fn end(
        &self,
        pending: &mut HashMap<QuestionId, PendingQuestion>,
        id: QuestionId,
        outcome: QuestionOutcome,
    ) {
        let is_kept = pending.get_mut(&id).is_some_and(|open| open.trial.is_ended(&outcome));
        if !is_kept && let Some(open) = pending.remove(&id) {
            let _ = open.decided.send(outcome);
        }
    }

    /// The question could not be shown in this room. Denied once that holds for all its rooms.
    pub fn undeliverable(&self, id: QuestionId, room: &Room) {
        let mut all = self.pending();
        let Some(pending) = all.get_mut(&id) else { return };
        pending.unreachable.insert(room.clone());
        // One reachable room is enough: the question stays open there, and the deadline
        // covers a room where nobody reads.
        if pending.question.rooms.iter().all(|room| pending.unreachable.contains(room)) {
            self.end(&mut all, id, QuestionOutcome::Unreachable);
        }
    }

    /// Records where a copy of the question is, for a restart.
    pub fn shown(&self, id: QuestionId, room: &Room, message: &MessageId) {
        self.log_error(self.store.question_shown(id.0, room, message));
    }

    /// Whether the question still waits for an answer.
    pub fn is_open(&self, id: QuestionId) -> bool {
        self.pending().contains_key(&id)
    }

    /// All open questions, oldest first.
    pub fn open_questions(&self) -> Vec<Arc<Question>> {
        let mut open: Vec<_> = self.pending().values().map(|pending| pending.question.clone()).collect();
        open.sort_by_key(|question| question.id);
        open
    }

    /// Closes the questions that an earlier process left open in the store, and returns where their copies are.
    pub fn close_left_over(&self) -> Vec<LeftQuestion> {
        let left = self.store.left_questions().unwrap_or_else(|error| {
            tracing::error!(%error, "open questions cannot be read");
            Vec::new()
        });
        let outcome = QuestionOutcome::Withdrawn { why: WithdrawReason::BotRestarted };
        for LeftQuestion { id, question, .. } in &left {
            let entry = AuditEntry {
                question: Some(*id),
                tool: question.tool.clone(),
                input_sha256: sha256(&question.input),
                asked_for: question.asked_for.clone(),
                rooms: question.rooms.clone(),
                outcome: outcome.word().into(),
                by: outcome.by(),
            };
            self.log_error(self.store.close_question(*id, &entry, self.clock.now()));
        }
        left
    }

    pub fn rules(&self) -> anyhow::Result<Vec<StandingRule>> {
        Ok(self.store.rules()?)
    }

    /// Revokes the rules of an earlier version that would cover more than today's list of commands, and returns their texts.
    pub fn drop_wide_rules(&self) -> Vec<String> {
        let rules = self.store.rules().unwrap_or_else(|error| {
            tracing::error!(%error, "the rules cannot be read");
            Vec::new()
        });
        let mut dropped = Vec::new();
        for rule in rules {
            let RuleScope::CommandPrefix { prefix } = rule.scope else { continue };
            if ListedCommand::named(&prefix).is_none() {
                self.log_error(self.store.revoke_rule(rule.id));
                tracing::warn!(
                    rule = rule.id,
                    prefix,
                    "a rule of an earlier version is revoked: it allows too much"
                );
                dropped.push(prefix);
            }
        }
        dropped
    }

    /// Takes a rule back; `false` if there is none of that number.
    pub fn revoke(&self, id: i64) -> anyhow::Result<bool> {
        Ok(self.store.revoke_rule(id)?)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<QuestionId, PendingQuestion>> {
        self.pending.lock()
    }

    fn log_error<T>(&self, result: rusqlite::Result<T>) {
        if let Err(error) = result {
            tracing::error!(%error, "the permission record could not be written");
        }
    }
}

// A future that is dropped runs no code after its `await`. Without this guard a question of a cut connection or an
// ended run would stay open, and people would answer an agent that is gone.
struct WithdrawOnDrop<'a> {
    broker: &'a PermissionBroker,
    question: Arc<Question>,
    done: bool,
}

impl Drop for WithdrawOnDrop<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.broker.close(&self.question, &QuestionOutcome::Withdrawn { why: WithdrawReason::AgentGone });
        }
    }
}

fn covers(rule: &StandingRule, ask: &PermissionAsk) -> bool {
    let is_own = ask.asker.owner().is_some_and(|owner| rule.owner.includes(owner));
    // Text from a stranger may have sent the agent to this host, with data in the address.
    let is_led = || rule.scope.reaches_a_host() && !ask.asker.read().is_empty();
    is_own && rule.scope.covers(&ask.tool, &ask.input, ask.folder()) && !is_led()
}

#[cfg(test)]
mod tests;

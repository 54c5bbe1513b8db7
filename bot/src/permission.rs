//! The one place where permission questions are decided: by rules, people and deadlines. No answer counts as a denial.
//!
//! It decides in types. [`crate::replies`] words the decisions, and [`QuestionRooms`] shows the questions.

mod question;
mod rule;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use adapters::{MessageId, Room};
use parking_lot::{Mutex, MutexGuard};
pub use question::{
    AnswerKind, DenialReason, ExpectedAnswer, ModelQuestion, PermissionDecision, Person, PersonAnswer,
    Question, QuestionId, QuestionOutcome, WithdrawReason,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

pub use crate::store::RuleScope;
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
    /// The room whose own session asks; `None` for the run of a story, whatever rooms it asks.
    pub session_of: Option<Room>,
    /// For whom the agent works, in words.
    pub asked_for: String,
    pub tool: String,
    pub input: Value,
    /// How long to wait; `None` waits for ever.
    pub timeout: Option<Duration>,
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
}

/// Where questions are shown. The chat implements it, so that the broker knows nothing of rooms' tasks.
pub trait QuestionRooms: Send + Sync {
    /// Shows an open question in a room; `false` where no messenger serves the room.
    fn show(&self, room: &Room, question: Arc<Question>) -> bool;

    /// Shows how a question ended.
    fn settle(&self, room: &Room, question: Arc<Question>, outcome: QuestionOutcome);
}

/// Open questions and their waiters.
#[derive(Clone)]
pub struct PermissionBroker {
    store: Store,
    clock: Clock,
    rooms: Arc<dyn QuestionRooms>,
    pending: Arc<Mutex<HashMap<QuestionId, PendingQuestion>>>,
}

struct PendingQuestion {
    question: Arc<Question>,
    decided: oneshot::Sender<QuestionOutcome>,
    unreachable: HashSet<Room>,
}

impl PermissionBroker {
    /// A broker that shows its questions through `rooms`.
    pub fn new(store: Store, clock: Clock, rooms: Arc<dyn QuestionRooms>) -> Self {
        Self { store, clock, rooms, pending: Arc::default() }
    }

    /// Decides a call: by rule, by a person, by the deadline; each decision goes to the audit. Dropping
    /// the future withdraws the question.
    pub async fn ask(&self, ask: PermissionAsk) -> PermissionDecision {
        let outcome = match self.decided_without_asking(&ask) {
            Some(outcome) => {
                self.log_error(self.store.audit(&entry(&ask, None, &outcome), self.clock.now()));
                outcome
            }
            None => self.ask_people(&ask).await,
        };
        outcome.into_decision(&ask.tool, ask.input)
    }

    fn decided_without_asking(&self, ask: &PermissionAsk) -> Option<QuestionOutcome> {
        match self.store.rules() {
            Ok(rules) => {
                if let Some(rule) = rules.iter().find(|rule| rule.scope.covers(&ask.tool, &ask.input)) {
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

    async fn ask_people(&self, ask: &PermissionAsk) -> QuestionOutcome {
        let (question, decision) = match self.open(ask) {
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
            decided = decision => decided.unwrap_or(QuestionOutcome::Withdrawn { why: WithdrawReason::ShuttingDown }),
            () = deadline => QuestionOutcome::TimedOut,
        };
        guard.done = true;
        self.close(&question, &outcome);
        outcome
    }

    fn open(
        &self,
        ask: &PermissionAsk,
    ) -> anyhow::Result<(Arc<Question>, oneshot::Receiver<QuestionOutcome>)> {
        let body = OpenQuestion {
            rooms: ask.rooms.iter().map(Room::to_string).collect(),
            asked_for: ask.asked_for.clone(),
            tool: ask.tool.clone(),
            input: ask.input.clone(),
        };
        let id = QuestionId(self.store.open_question(&body)?);
        let question = Arc::new(Question::new(id, ask, self.clock.now()));
        let (decided, decision) = oneshot::channel();
        let pending = PendingQuestion { question: question.clone(), decided, unreachable: HashSet::new() };
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
        let open = pending.get(&id).ok_or(AnswerRefused::NotOpen(id))?;
        if !open.question.rooms.contains(room) {
            return Err(AnswerRefused::NotHere(id));
        }
        let outcome = open.question.outcome_of(answer, by)?;
        if let QuestionOutcome::Always { scope, .. } = &outcome {
            // A rule that cannot be stored does not undo the consent to this call; the next such call asks again.
            self.log_error(self.store.add_rule(scope, &by.id, self.clock.now()));
        }
        let decided = pending.remove(&id).map(|pending| pending.decided);
        // Released before the waiter wakes: it takes the same lock to close the question.
        drop(pending);
        // The waiter may reach its deadline at this moment. Then the deadline decides, and this person reads that the
        // question is not open, instead of believing that the call runs.
        decided.and_then(|decided| decided.send(outcome).ok()).ok_or(AnswerRefused::NotOpen(id))
    }

    /// Closes a question without an answer: turn over, stop, shutdown, the CLI's own cancel.
    pub fn withdraw(&self, id: QuestionId, why: WithdrawReason) {
        if let Some(pending) = self.pending().remove(&id) {
            let _ = pending.decided.send(QuestionOutcome::Withdrawn { why });
        }
    }

    /// Closes every question; for the shutdown.
    pub fn withdraw_all(&self, why: WithdrawReason) {
        for (_, pending) in self.pending().drain() {
            let _ = pending.decided.send(QuestionOutcome::Withdrawn { why });
        }
    }

    /// The question could not be shown in this room. Denied once that holds for all its rooms.
    pub fn undeliverable(&self, id: QuestionId, room: &Room) {
        let mut all = self.pending();
        let Some(pending) = all.get_mut(&id) else { return };
        pending.unreachable.insert(room.clone());
        // One reachable room is enough: the question stays open there, and the deadline
        // covers a room where nobody reads.
        if pending.question.rooms.iter().all(|room| pending.unreachable.contains(room))
            && let Some(pending) = all.remove(&id)
        {
            let _ = pending.decided.send(QuestionOutcome::Unreachable);
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

fn entry(ask: &PermissionAsk, question: Option<i64>, outcome: &QuestionOutcome) -> AuditEntry {
    AuditEntry {
        question,
        tool: ask.tool.clone(),
        input_sha256: sha256(&ask.input),
        asked_for: ask.asked_for.clone(),
        rooms: ask.rooms.iter().map(Room::to_string).collect(),
        outcome: outcome.word().into(),
        by: outcome.by(),
    }
}

fn entry_of(question: &Question, outcome: &QuestionOutcome) -> AuditEntry {
    AuditEntry {
        question: Some(question.id.0),
        tool: question.tool.clone(),
        input_sha256: sha256(&question.input),
        asked_for: question.asked_for.clone(),
        rooms: question.rooms.iter().map(Room::to_string).collect(),
        outcome: outcome.word().into(),
        by: outcome.by(),
    }
}

// The audit is permanent and an input may hold file contents or secrets, so it records only the digest. The digest is
// of the canonical form: whoever has the input can prove that this entry is about it.
fn sha256(input: &Value) -> String {
    Sha256::digest(rule::canonical(input).as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;

//! The one place where permission questions are decided: by rules, people and deadlines. No answer counts as a denial.
//!
//! It decides in types. [`crate::replies`] words the decisions, and [`QuestionRooms`] shows the questions.

mod absence;
mod asker;
mod asking;
mod audit;
mod board;
mod concerns;
mod copies;
mod ladder;
mod listed;
mod model_question;
mod outcome;
mod parked;
mod paths;
mod question;
mod record;
mod request;
mod rule;
mod trial;
mod words;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

pub use absence::{AwayBook, PersonReturn};
use adapters::{MessageId, Room};
use agents::trial::KeepFailure;
pub use asker::{Asker, OPEN_QUESTIONS};
use audit::sha256;
pub use board::{BoardConsent, BoardQuestion, PlannedStory, gives_up_review, role_to_change};
pub use concerns::CallConcern;
pub use copies::FurtherRooms;
use copies::{CopyState, QuestionCopies};
pub use ladder::{AskedPerson, LadderNews, LadderServices, NobodyHere};
pub use listed::{ListedArguments, ListedCommand};
pub use model_question::ModelQuestion;
pub use outcome::{DenialReason, PermissionDecision, QuestionOutcome, WithdrawReason};
pub use parked::{AtDeadline, CallChange, RestoredQuestion};
use parking_lot::{Mutex, MutexGuard};
use pipeline::story::StoryId;
pub use question::{AnswerKind, ExpectedAnswer, Person, PersonAnswer, Question, QuestionId};
use record::QuestionRecord;
pub use record::RecordedQuestion;
pub use request::AgentRequest;
use serde_json::Value;
use tokio::sync::{oneshot, watch};
pub use trial::{EffectNumber, NoTrial, TrialNews};
use trial::{QuestionTrial, RunningTrials};
pub use words::ConsentWords;

use self::paths::AgentFolder;
pub use crate::store::{RuleOwner, RuleScope};
use crate::{
    clock::Clock,
    store::{AuditEntry, LeftQuestion, StandingRule, Store},
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
    /// How its session takes it back.
    pub request: AgentRequest,
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

    /// Tells a room of a question's way to people elsewhere.
    fn tell(&self, room: &Room, question: Arc<Question>, news: LadderNews);

    /// Shows that a question waits on without its agent.
    fn show_parked(&self, _room: &Room, _question: Arc<Question>) {}

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
    trials: RunningTrials,
    record: QuestionRecord,
    away: AwayBook,
    /// Without it questions stay in their rooms.
    ladder: Option<Arc<LadderServices>>,
    parked: parked::ParkedNews,
}

struct PendingQuestion {
    question: Arc<Question>,
    request: AgentRequest,
    /// Who waits for the answer; nobody for a parked question.
    decided: Option<oneshot::Sender<QuestionOutcome>>,
    copies: QuestionCopies,
    trial: QuestionTrial,
}

impl PermissionBroker {
    /// A broker that shows its questions through `rooms`.
    pub fn new(store: Store, clock: Clock, rooms: Arc<dyn QuestionRooms>) -> Self {
        let (pending, trials, record) = (Arc::default(), RunningTrials::default(), QuestionRecord::default());
        let away = AwayBook::new(store.clone());
        Self { store, clock, rooms, pending, trials, record, away, ladder: None, parked: Default::default() }
    }

    /// The same broker, whose questions find people elsewhere.
    #[must_use]
    pub fn with_ladder(self, services: LadderServices) -> Self {
        Self { ladder: Some(Arc::new(services)), ..self }
    }

    /// Who is away.
    pub fn away(&self) -> &AwayBook {
        &self.away
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
        if !open.question.asked_in().contains(room) {
            return Err(AnswerRefused::NotHere(id));
        }
        let by = &self.recognized(by, room).answering(&open.question, room);
        match answer {
            _ if open.trial.is_being_kept() => return Err(AnswerRefused::BeingKept(id)),
            PersonAnswer::Try => return self.begin_trial(open, by),
            PersonAnswer::Keep(effect) => return self.begin_keep(open, effect, by),
            PersonAnswer::Yes
            | PersonAnswer::No(_)
            | PersonAnswer::Always
            | PersonAnswer::Text(_)
            | PersonAnswer::Option(_) => {}
        }
        let outcome = open.question.outcome_of(answer, by)?;
        let Some(PendingQuestion { question, decided, .. }) = pending.remove(&id) else {
            return Err(AnswerRefused::NotOpen(id));
        };
        // Released before the waiter wakes: it takes the same lock to close the question.
        drop(pending);
        if question.parked_at.is_some() {
            self.answer_parked(question, outcome);
            return Ok(());
        }
        // The agent may be gone at this moment. Then this person reads that the question is not open, instead of believing that the
        // call runs, and no rule is made.
        decided.and_then(|decided| decided.send(outcome).ok()).ok_or(AnswerRefused::NotOpen(id))
    }

    /// Closes a question without an answer: turn over, stop, shutdown, the CLI's own cancel.
    pub fn withdraw(&self, id: QuestionId, why: WithdrawReason) {
        self.end(&mut self.pending(), id, QuestionOutcome::Withdrawn { why });
    }

    /// The session takes a request back. From now on an answer to its question is refused; one that waits for its turn is never asked.
    pub fn withdraw_request(&self, request: &AgentRequest, why: WithdrawReason) {
        request.withdraw(why);
        let mut pending = self.pending();
        let asked = pending.iter().find(|(_, open)| open.request.is(request)).map(|(id, _)| *id);
        if let Some(id) = asked {
            self.end(&mut pending, id, QuestionOutcome::Withdrawn { why });
        }
    }

    /// Closes every question that an agent waits for; for the shutdown.
    pub fn withdraw_all(&self, why: WithdrawReason) {
        let mut pending = self.pending();
        let waited = pending.iter().filter(|(_, open)| open.question.parked_at.is_none());
        for id in waited.map(|(id, _)| *id).collect::<Vec<_>>() {
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
        let is_parked = pending.get(&id).is_some_and(|open| open.question.parked_at.is_some());
        let is_kept = pending.get_mut(&id).is_some_and(|open| open.trial.is_ended(&outcome));
        if !is_parked
            && !is_kept
            && let Some(decided) = pending.remove(&id).and_then(|open| open.decided)
        {
            let _ = decided.send(outcome);
        }
    }

    /// The question could not be shown in this room. Denied once that holds for all its rooms, and nobody can be asked elsewhere.
    pub fn undeliverable(&self, id: QuestionId, room: &Room, why: &str) {
        let mut all = self.pending();
        let Some(pending) = all.get_mut(&id) else { return };
        pending.copies.set(room, CopyState::Failed(why.to_owned()));
        // One reachable room is enough: the question stays open there, and the deadline
        // covers a room where nobody reads.
        if self.ladder.is_none() && pending.copies.all_failed(&pending.question.rooms) {
            self.end(&mut all, id, QuestionOutcome::Unreachable);
        }
    }

    /// A message that a messenger had taken has not reached anybody. If it shows an open question, that goes on.
    pub fn not_delivered(&self, room: &Room, message: &MessageId, why: &str) {
        let shows = |open: &PendingQuestion| open.copies.is_at(room, message);
        let lost = self.pending().iter().find(|(_, open)| shows(open)).map(|(id, _)| *id);
        if let Some(id) = lost {
            self.undeliverable(id, room, why);
        }
    }

    /// The messenger has not taken the question yet, and goes on trying.
    pub fn delayed(&self, id: QuestionId, room: &Room, why: &str) {
        self.copies(id).set(room, CopyState::Delayed(why.to_owned()));
    }

    /// The copies of an open question.
    fn copies(&self, id: QuestionId) -> QuestionCopies {
        self.pending().get(&id).map(|open| open.copies.clone()).unwrap_or_default()
    }

    /// The person by the name that `bot.toml` has for this account.
    fn recognized(&self, by: &Person, room: &Room) -> Person {
        let people = self.ladder.as_ref().map(|ladder| ladder.settings.people()).unwrap_or_default();
        match people.find(room.adapter(), &by.id) {
            Some(person) => {
                // On the page people have the ids of their accounts elsewhere.
                let account = match room.adapter() {
                    adapters::web::NAME => by.id.clone(),
                    adapter => Room::new(adapter, by.id.as_str()).to_string(),
                };
                Person { name: person.name.clone(), account: Some(account), ..by.clone() }
            }
            None => by.clone(),
        }
    }

    /// Records where a copy of the question is, for a restart.
    pub fn shown(&self, id: QuestionId, room: &Room, message: &MessageId) {
        self.copies(id).set(room, CopyState::Shown(message.clone()));
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

    /// The open questions and those that ended lately, oldest first.
    pub fn recorded_questions(&self) -> Vec<RecordedQuestion> {
        self.record.all()
    }

    /// Changes whenever one of the recorded questions does.
    pub fn question_changes(&self) -> watch::Receiver<()> {
        self.record.changes()
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
                account: None,
                story: question.story,
            };
            self.log_error(self.store.close_question(*id, &entry, self.clock.now()));
        }
        left
    }

    /// The last decisions about calls of agents on a story, newest first.
    pub fn decisions_on(
        &self,
        story: StoryId,
        limit: usize,
    ) -> anyhow::Result<Vec<(SystemTime, AuditEntry)>> {
        Ok(self.store.audit_of_story(story.0, limit)?)
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

#[cfg(test)]
mod parked_tests;
#[cfg(test)]
mod tests;

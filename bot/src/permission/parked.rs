//! Questions that outlive their agent: at the deadline its process ends, the question stays open, and its answer lets a later process
//! go on with exactly that call.
//!
//! The store has them (`store/parked.rs`). An answer that allows something counts only if the call still means the same: the names in
//! it lead to the same places, and the story's branch has the same tip. Else the question is asked anew and says what changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adapters::{MessageId, Room};
use pipeline::{
    parking::{NoParking, ParkedRun, branch_tip},
    story::StoryId,
    strangers::{StrangerText, StrangersRead},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AgentRequest, AnswerKind, Asker, DenialReason, NoTrial, PendingQuestion, PermissionAsk, PermissionBroker,
    PermissionDecision, Person, Question, QuestionCopies, QuestionId, QuestionOutcome, WithdrawReason,
    audit::entry_of,
    paths::{AgentFolder, texts},
    trial::QuestionTrial,
};
use crate::store::{OpenQuestion, StoredParked};

/// Claude Code waits a day for an answer. Whoever can be parked is so before.
const MOST_WAIT: Duration = Duration::from_secs(20 * 3600);

/// What becomes of a question that nobody has answered when its agent stops waiting.
#[derive(Clone, Debug, Default)]
pub enum AtDeadline {
    /// It is denied.
    #[default]
    Denied,
    /// It is denied, though others of this agent would wait on.
    NotParked(NoParking),
    /// It waits on without its agent.
    Parked {
        run: ParkedRun,
        /// The project.
        root: PathBuf,
    },
}

/// What is different from when a call was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum CallChange {
    /// The branch of its story has another commit.
    Branch { before: Option<String>, now: Option<String> },
    /// A name in the call leads elsewhere; absent for a name that is no link.
    Path { name: String, before: Option<String>, now: Option<String> },
    /// More names than anybody can vouch for.
    Names,
}

/// Earlier answers in the same call of the model's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answered<'a> {
    /// The position of the question that is open.
    pub part: usize,
    pub given: &'a [(String, String)],
}

/// Tells the pipeline of a story's answer.
pub(super) type ParkedNews = Arc<OnceLock<Box<dyn Fn(StoryId) + Send + Sync>>>;

type StoredQuestion = StoredParked<ParkedBody>;

/// What is needed to show a question again, and to see whether it still means the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ParkedBody {
    rooms: Vec<String>,
    asked_for: String,
    tool: String,
    input: Value,
    folder: Option<PathBuf>,
    blocked_path: Option<String>,
    read: BTreeSet<StrangerText>,
    part: usize,
    given: Vec<(String, String)>,
    /// Seconds since 1970.
    asked_at: u64,
    root: PathBuf,
    places: CallPlaces,
    changed: Vec<CallChange>,
}

/// A parked question that is open again after a restart.
pub struct RestoredQuestion {
    pub question: Arc<Question>,
    /// The messages that showed it.
    pub copies: Vec<(Room, MessageId)>,
}

/// Where a call leads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct CallPlaces {
    tip: Option<String>,
    links: Option<BTreeMap<String, String>>,
}

/// People's decision, until the agent takes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decided", rename_all = "snake_case")]
enum StoredDecision {
    Allowed { input: Value },
    Denied { id: String, name: String, reason: Option<String>, plan: bool },
}

/// How long its agent waits for the answer, from when it was asked.
pub(super) fn time_to_wait(question: &Question) -> Option<Duration> {
    let time =
        question.deadline.map(|deadline| deadline.duration_since(question.asked_at).unwrap_or_default());
    match question.at_deadline {
        AtDeadline::Parked { .. } => Some(time.unwrap_or(MOST_WAIT).min(MOST_WAIT)),
        AtDeadline::Denied | AtDeadline::NotParked(_) => time,
    }
}

impl CallPlaces {
    /// Blocks.
    fn of(input: &Value, folder: Option<&Path>, (root, story): (&Path, StoryId)) -> Self {
        Self { tip: branch_tip(root, story), links: AgentFolder(folder).links(texts(input)) }
    }

    fn changes(&self, now: &Self) -> Vec<CallChange> {
        let mut changes = Vec::new();
        if self.tip != now.tip {
            changes.push(CallChange::Branch { before: self.tip.clone(), now: now.tip.clone() });
        }
        let (Some(before), Some(after)) = (&self.links, &now.links) else {
            changes.push(CallChange::Names);
            return changes;
        };
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let (before, now) = (before.get(name).cloned(), after.get(name).cloned());
            if before != now {
                changes.push(CallChange::Path { name: name.clone(), before, now });
            }
        }
        changes
    }
}

impl ParkedBody {
    /// Blocks.
    fn places_now(&self, story: StoryId) -> CallPlaces {
        CallPlaces::of(&self.input, self.folder.as_deref(), (&self.root, story))
    }

    fn ask(&self, run: &ParkedRun) -> PermissionAsk {
        let read = StrangersRead::default();
        read.on_read(self.read.iter().cloned());
        let at_deadline = AtDeadline::Parked { run: run.clone(), root: self.root.clone() };
        let request = AgentRequest::default().with_deadline(at_deadline).with_changes(self.changed.clone());
        PermissionAsk {
            rooms: self.rooms.iter().filter_map(|room| Room::parse(room)).collect(),
            asker: Asker::run(run.story, run.role, read),
            request,
            folder: self.folder.clone(),
            asked_for: self.asked_for.clone(),
            tool: self.tool.clone(),
            input: self.input.clone(),
            call: Some(run.call.clone()),
            blocked_path: self.blocked_path.clone(),
            timeout: None,
        }
    }

    /// `None` for one of another version, which asks less in the same call.
    fn question(&self, id: QuestionId, run: &ParkedRun) -> Option<Question> {
        let ask = self.ask(run);
        let kind = AnswerKind::all_of(&ask).into_iter().nth(self.part)?;
        let asked_at = UNIX_EPOCH + Duration::from_secs(self.asked_at);
        Some(parked(Question::new(id, &ask, kind, asked_at), run.since))
    }

    fn open(&self, run: &ParkedRun) -> OpenQuestion {
        OpenQuestion {
            rooms: self.rooms.clone(),
            asked_for: self.asked_for.clone(),
            tool: self.tool.clone(),
            input: self.input.clone(),
            story: Some(run.story.0),
        }
    }
}

fn parked(question: Question, since: SystemTime) -> Question {
    let kind = match question.kind {
        // There is no process that it could be tried beside.
        AnswerKind::Tool { always, trial: Ok(_) } => {
            AnswerKind::Tool { always, trial: Err(NoTrial::NoPlace) }
        }
        kind => kind,
    };
    Question { kind, deadline: None, parked_at: Some(since), ..question }
}

impl PermissionBroker {
    /// Whom to tell that a story's question was answered.
    pub fn on_parked_answer(&self, tell: impl Fn(StoryId) + Send + Sync + 'static) {
        if self.parked.set(Box::new(tell)).is_err() {
            tracing::error!("the answers to parked questions have two receivers");
        }
    }

    /// Whether the question waits without its agent.
    pub fn is_parked(&self, id: QuestionId) -> bool {
        self.pending().get(&id).is_some_and(|open| open.question.parked_at.is_some())
    }

    /// Lets a question wait without its agent; `false` where it cannot, or where somebody has answered.
    pub(super) fn park(
        &self,
        question: &Arc<Question>,
        ask: &PermissionAsk,
        answered: &Answered<'_>,
    ) -> bool {
        let AtDeadline::Parked { run, root } = &question.at_deadline else { return false };
        let now = self.clock.now();
        let run = ParkedRun { since: now, is_answered: false, ..run.clone() };
        let body = ParkedBody {
            rooms: question.asked_in().iter().map(Room::to_string).collect(),
            asked_for: question.asked_for.clone(),
            tool: question.tool.clone(),
            input: question.input.clone(),
            folder: question.folder.clone(),
            blocked_path: ask.blocked_path.clone(),
            read: question.read.iter().cloned().collect(),
            part: answered.part,
            given: answered.given.to_vec(),
            asked_at: question.asked_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            places: CallPlaces::of(&question.input, question.folder.as_deref(), (root, run.story)),
            root: root.clone(),
            changed: question.changed.clone(),
        };
        let waits = Arc::new(parked(Question::clone(question), now));
        {
            let mut pending = self.pending();
            // Whoever finds it in the table decides it: an answer that was faster has counted.
            let Some(open) = pending.get_mut(&question.id).filter(|open| !open.trial.is_being_kept()) else {
                return false;
            };
            let stored = StoredParked { question: question.id.0, run, body };
            if let Err(error) = self.store.park_question(&stored) {
                tracing::error!(%error, "a question could not be parked and is denied");
                return false;
            }
            (open.question, open.decided) = (waits.clone(), None);
            open.trial = QuestionTrial::default();
        }
        self.record.park(&waits);
        for room in &waits.asked_in() {
            self.rooms.show_parked(room, waits.clone());
        }
        true
    }

    /// A run's process has ended at its question: from now on its branch is as the agent left it.
    pub fn note_parked_branch(&self, story: StoryId) {
        let Ok(Some(stored)) = self.stored(|stored| stored.run.story == story) else { return };
        // Only the branch: where names lead counts as it was shown.
        let places = CallPlaces { tip: branch_tip(&stored.body.root, story), ..stored.body.places.clone() };
        self.log_error(self.store.set_parked_body(stored.question, &ParkedBody { places, ..stored.body }));
    }

    fn stored(&self, is_it: impl Fn(&StoredQuestion) -> bool) -> rusqlite::Result<Option<StoredQuestion>> {
        Ok(self.store.open_parked::<ParkedBody>()?.into_iter().find(is_it))
    }

    /// Opens the questions that an earlier process has parked, and returns where their messages are.
    pub fn restore_parked(&self) -> Vec<RestoredQuestion> {
        let stored = self.store.open_parked::<ParkedBody>().unwrap_or_else(|error| {
            tracing::error!(%error, "parked questions cannot be read");
            Vec::new()
        });
        let mut restored = Vec::new();
        for StoredParked { question: id, run, body } in stored {
            let Some(question) = body.question(QuestionId(id), &run) else { continue };
            let question = Arc::new(question);
            self.put_parked(&question);
            let copies = self.store.take_copies(id).unwrap_or_default();
            restored.push(RestoredQuestion { question, copies });
        }
        restored
    }

    fn put_parked(&self, question: &Arc<Question>) {
        let pending = PendingQuestion {
            question: question.clone(),
            request: AgentRequest::default(),
            decided: None,
            copies: QuestionCopies::default(),
            trial: QuestionTrial::default(),
        };
        self.pending().insert(question.id, pending);
        self.record.open(question);
    }

    pub(super) fn answer_parked(&self, question: Arc<Question>, outcome: QuestionOutcome) {
        let broker = self.clone();
        tokio::spawn(async move { broker.decide_parked(question, outcome).await });
    }

    async fn decide_parked(&self, question: Arc<Question>, outcome: QuestionOutcome) {
        let stored = match self.stored(|stored| stored.question == question.id.0) {
            Ok(Some(stored)) => stored,
            Ok(None) => {
                return self.close(&question, &QuestionOutcome::Withdrawn { why: WithdrawReason::StoryOver });
            }
            Err(error) => {
                tracing::error!(%error, "the answer to a parked question could not be recorded; it is open");
                return self.put_parked(&question);
            }
        };
        // A no needs no look.
        let changed = if outcome.allows() { changes(stored.clone()).await } else { Vec::new() };
        if !changed.is_empty() {
            let why = QuestionOutcome::Withdrawn { why: WithdrawReason::Changed };
            return self.ask_afresh(&question, stored, (why, changed));
        }
        let (mut given, part) = (stored.body.given.clone(), stored.body.part);
        let outcome = match outcome {
            QuestionOutcome::Answered { by, answers } => {
                given.extend(answers);
                QuestionOutcome::Answered { by, answers: given.clone() }
            }
            outcome => outcome,
        };
        let is_more = AnswerKind::all_of(&stored.body.ask(&stored.run)).len() > part + 1;
        if is_more && matches!(outcome, QuestionOutcome::Answered { .. }) {
            let body = ParkedBody { given, part: part + 1, ..stored.body };
            return self.ask_afresh(&question, StoredParked { body, ..stored }, (outcome, Vec::new()));
        }
        self.finish_parked(&question, outcome);
    }

    /// Asks about the same call again, by a question of its own.
    fn ask_afresh(
        &self,
        question: &Arc<Question>,
        stored: StoredQuestion,
        (why, changed): (QuestionOutcome, Vec<CallChange>),
    ) {
        let StoredParked { run, mut body, .. } = stored;
        if !changed.is_empty() {
            body.places = body.places_now(run.story);
        }
        body.changed = changed;
        let next = |id| StoredParked { question: id, run: run.clone(), body: body.clone() };
        let audit = (&entry_of(question, &why), self.clock.now());
        let asked = self.store.ask_parked_afresh(question.id.0, (&body.open(&run), next), audit);
        let fresh = asked.map(|id| body.question(QuestionId(id), &run).map(Arc::new));
        match fresh {
            Ok(Some(fresh)) => {
                self.put_parked(&fresh);
                self.settle_parked(question, &why);
                for room in &fresh.rooms {
                    self.rooms.show(room, fresh.clone());
                }
            }
            Ok(None) => tracing::error!(question = %question.id, "a parked question cannot be read any more"),
            Err(error) => {
                tracing::error!(%error, "a parked question could not be asked anew; it is open");
                self.put_parked(question);
            }
        }
    }

    fn finish_parked(&self, question: &Arc<Question>, outcome: QuestionOutcome) {
        let decision = match outcome.clone().into_decision(&question.tool, question.input.clone()) {
            PermissionDecision::Allowed { input } => StoredDecision::Allowed { input },
            PermissionDecision::Denied(DenialReason::Person { by, reason, plan }) => {
                StoredDecision::Denied { id: by.id, name: by.name, reason, plan }
            }
            PermissionDecision::Denied(_) | PermissionDecision::Parked => {
                tracing::error!(question = %question.id, "an answer that nobody can have given");
                return self.put_parked(question);
            }
        };
        let audit = (&entry_of(question, &outcome), self.clock.now());
        match self.store.decide_parked(question.id.0, &decision, audit) {
            Ok(true) => {
                // After it counts, as with any other answer.
                let outcome = self.make_rule(question, outcome);
                self.settle_parked(question, &outcome);
                if let (Some(tell), Some(story)) = (self.parked.get(), question.asker.story()) {
                    tell(story);
                }
            }
            Ok(false) => self.close(question, &QuestionOutcome::Withdrawn { why: WithdrawReason::StoryOver }),
            Err(error) => {
                tracing::error!(%error, "the answer to a parked question could not be recorded; it is open");
                self.put_parked(question);
            }
        }
    }

    /// Shows how it ended; the store knows already.
    fn settle_parked(&self, question: &Arc<Question>, outcome: &QuestionOutcome) {
        self.record.end(question.id, outcome, self.clock.now());
        for room in &question.asked_in() {
            self.rooms.settle(room, question.clone(), outcome.clone());
        }
    }

    /// Nobody goes on with the story's call: its question is closed, and a decision that nobody has taken does not count any more.
    pub fn drop_parked(&self, story: StoryId, why: WithdrawReason) {
        let dropped = self.store.drop_parked(story).unwrap_or_else(|error| {
            tracing::error!(%error, "a parked question could not be closed");
            None
        });
        let Some(id) = dropped.map(QuestionId) else { return };
        // In a statement of its own: `close` takes the lock, too.
        let open = self.pending().remove(&id);
        if let Some(open) = open {
            self.close(&open.question, &QuestionOutcome::Withdrawn { why });
        }
    }

    /// The decision that people have taken about this call while its agent was gone. It is given once.
    ///
    /// # Errors
    /// What has changed since it was allowed: it is to be asked anew.
    pub async fn take_parked_decision(
        &self,
        ask: &PermissionAsk,
    ) -> Result<Option<PermissionDecision>, Vec<CallChange>> {
        let (Some(story), Some(call)) = (ask.asker.story(), ask.call.as_deref()) else { return Ok(None) };
        let taken = self.store.take_parked_decision::<StoredDecision, ParkedBody>(story, call);
        let taken = taken.unwrap_or_else(|error| {
            tracing::error!(%error, "the decision about a parked call cannot be read; people are asked");
            None
        });
        let Some((decision, body)) = taken else { return Ok(None) };
        match decision {
            StoredDecision::Denied { id, name, reason, plan } => {
                ask.asker.read().on_refused(call);
                let by = Person::new(id, name);
                Ok(Some(PermissionDecision::Denied(DenialReason::Person { by, reason, plan })))
            }
            StoredDecision::Allowed { .. } if (&body.tool, &body.input) != (&ask.tool, &ask.input) => {
                Ok(None)
            }
            StoredDecision::Allowed { input } => {
                let looked =
                    tokio::task::spawn_blocking(move || body.places.changes(&body.places_now(story)));
                let changed = looked.await.unwrap_or_else(|_| vec![CallChange::Names]);
                if !changed.is_empty() {
                    return Err(changed);
                }
                ask.asker.on_allowed(&ask.tool, &ask.input);
                Ok(Some(PermissionDecision::Allowed { input }))
            }
        }
    }
}

async fn changes(stored: StoredQuestion) -> Vec<CallChange> {
    let looked = tokio::task::spawn_blocking(move || {
        stored.body.places.changes(&stored.body.places_now(stored.run.story))
    });
    // What cannot be looked at has changed.
    looked.await.unwrap_or_else(|_| vec![CallChange::Names])
}

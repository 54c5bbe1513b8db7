//! How a call is decided: by a rule, else by people, who are asked one question after the other.

use std::sync::Arc;

use adapters::Room;
use tokio::sync::oneshot;

use super::{
    AnswerKind, BoardConsent, BoardQuestion, DenialReason, PendingQuestion, PermissionAsk, PermissionBroker,
    PermissionDecision, Question, QuestionCopies, QuestionId, QuestionOutcome, WithdrawReason, audit::entry,
    audit::entry_of, parked, trial::QuestionTrial,
};
use crate::store::{OpenQuestion, StandingRule};

const NO_MESSENGER: &str = "no messenger serves it";

const GONE: QuestionOutcome = QuestionOutcome::Withdrawn { why: WithdrawReason::ShuttingDown };

impl PermissionBroker {
    /// Decides a call: by rule, by a person, by the deadline; each decision goes to the audit. Dropping
    /// the future withdraws the question.
    pub async fn ask(&self, ask: PermissionAsk) -> PermissionDecision {
        let outcome = match self.decided_without_asking(&ask) {
            Some(outcome) => self.record(&ask, outcome),
            None => self.ask_in_turn(&ask).await,
        };
        match (outcome.allows(), &ask.call) {
            _ if outcome == QuestionOutcome::Parked => {}
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
        if ask.rooms.is_empty() {
            return self.record(&ask, QuestionOutcome::Unreachable).into_consent();
        }
        let place = tokio::select! {
            biased;
            why = ask.request.withdrawn() => Err(why),
            place = ask.asker.take_place() => place.ok_or(WithdrawReason::TooManyQuestions),
        };
        let outcome = match place {
            Ok(_place) => self.ask_people(&ask, AnswerKind::Board(about), &parked::Answered::default()).await,
            Err(why) => self.record(&ask, QuestionOutcome::Withdrawn { why }),
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
    async fn ask_in_turn(&self, ask: &PermissionAsk) -> QuestionOutcome {
        let place = tokio::select! {
            biased;
            why = ask.request.withdrawn() => Err(why),
            place = ask.asker.take_place() => place.ok_or(WithdrawReason::TooManyQuestions),
        };
        let why = match place {
            Ok(_place) => {
                // An answer to a question before this one may have made a rule that covers it.
                return match self.decided_without_asking(ask) {
                    Some(outcome) => self.record(ask, outcome),
                    None => self.ask_one_after_the_other(ask).await,
                };
            }
            Err(why) => why,
        };
        self.record(ask, QuestionOutcome::Withdrawn { why })
    }

    /// The model may ask several things in one call. People are asked one at a time, so that each has its own choices.
    async fn ask_one_after_the_other(&self, ask: &PermissionAsk) -> QuestionOutcome {
        let mut given = Vec::new();
        let mut last = QuestionOutcome::Unreachable;
        for (part, kind) in AnswerKind::all_of(ask).into_iter().enumerate() {
            last = match self.ask_people(ask, kind, &parked::Answered { part, given: &given }).await {
                QuestionOutcome::Answered { by, answers } => {
                    given.extend(answers);
                    QuestionOutcome::Answered { by, answers: given.clone() }
                }
                outcome => return outcome,
            };
        }
        last
    }

    async fn ask_people(
        &self,
        ask: &PermissionAsk,
        kind: AnswerKind,
        answered: &parked::Answered<'_>,
    ) -> QuestionOutcome {
        let (question, mut decision) = match self.open(ask, kind) {
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
                self.undeliverable(question.id, room, NO_MESSENGER);
            }
        }
        let deadline = async {
            match parked::time_to_wait(&question) {
                Some(timeout) => self.clock.sleep_from(question.asked_at, timeout).await,
                None => std::future::pending().await,
            }
        };
        let climb = async {
            match self.climb(&question) {
                Some(climb) => climb.run().await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            biased;
            decided = &mut decision => Ok(decided.unwrap_or(GONE)),
            why = ask.request.withdrawn() => Err(QuestionOutcome::Withdrawn { why }),
            () = deadline => Err(QuestionOutcome::TimedOut),
            outcome = climb => Err(outcome),
        };
        let outcome = match ended {
            Ok(decided) => decided,
            // In the same moment as the look whether somebody has answered.
            Err(QuestionOutcome::TimedOut | QuestionOutcome::Unreachable)
                if self.park(&question, ask, answered) =>
            {
                guard.done = true;
                return QuestionOutcome::Parked;
            }
            // Whoever takes the question out of the table decides it: an answer that did so first has counted, and its person was told
            // so.
            Err(ended) => match self.claim(question.id, &ended) {
                true => ended,
                false => decision.await.unwrap_or(GONE),
            },
        };
        guard.done = true;
        let outcome = self.make_rule(&question, outcome);
        self.close(&question, &outcome);
        outcome
    }

    /// Takes a question that ends without an answer.
    pub(super) fn claim(&self, id: QuestionId, outcome: &QuestionOutcome) -> bool {
        let mut pending = self.pending();
        let is_kept = pending.get_mut(&id).is_some_and(|open| open.trial.is_ended(outcome));
        !is_kept && pending.remove(&id).is_some()
    }

    /// Stores the rule of an `always` that counted. One that cannot be stored allows this call and no other.
    pub(super) fn make_rule(&self, question: &Question, outcome: QuestionOutcome) -> QuestionOutcome {
        let QuestionOutcome::Always { by, scope } = outcome else { return outcome };
        let Some(owner) = question.asker.owner() else { return QuestionOutcome::Allowed { by } };
        match self.store.add_rule(owner, &scope, by.recorded(), self.clock.now()) {
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
        kind: AnswerKind,
    ) -> anyhow::Result<(Arc<Question>, oneshot::Receiver<QuestionOutcome>)> {
        let body = OpenQuestion {
            rooms: ask.rooms.iter().map(Room::to_string).collect(),
            asked_for: ask.asked_for.clone(),
            tool: ask.tool.clone(),
            input: ask.input.clone(),
            story: ask.asker.story().map(|story| story.0),
        };
        let id = QuestionId(self.store.open_question(&body)?);
        let mut question = Question::new(id, ask, kind, self.clock.now());
        let more = self.ladder_time(&question);
        question.deadline = question.deadline.map(|deadline| deadline + more);
        let question = Arc::new(question);
        let (decided, decision) = oneshot::channel();
        let (copies, trial) = (QuestionCopies::default(), QuestionTrial::default());
        let request = ask.request.clone();
        let decided = Some(decided);
        let pending = PendingQuestion { question: question.clone(), request, decided, copies, trial };
        // Pending before any room shows it: an answer can be faster than the loop over the rooms.
        self.pending().insert(id, pending);
        self.record.open(&question);
        Ok((question, decision))
    }

    pub(super) fn close(&self, question: &Arc<Question>, outcome: &QuestionOutcome) {
        self.pending().remove(&question.id);
        let entry = entry_of(question, outcome);
        self.log_error(self.store.close_question(question.id.0, &entry, self.clock.now()));
        self.record.end(question.id, outcome, self.clock.now());
        for room in &question.asked_in() {
            self.rooms.settle(room, question.clone(), outcome.clone());
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

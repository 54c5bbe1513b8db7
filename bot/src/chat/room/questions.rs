//! Permission questions in this room: the copies that are shown, edited to their outcome, and found by what people reply to.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use adapters::{ChoiceForm, MessageId, Outgoing, Tone};
use agents::claude::{PermissionAnswer, PermissionRequest};
use parking_lot::Mutex;

use super::{RoomTask, answers};
use crate::{
    chat::{
        outbox::{LiveSlot, Report},
        rooms::RoomInput,
    },
    permission::{PermissionAsk, Question, QuestionId, QuestionOutcome, WithdrawReason},
    replies,
};

/// How many settled questions a room remembers, so that a late reply to one is not taken for a prompt.
const SETTLED: usize = 20;

/// The questions that a room shows.
#[derive(Default)]
pub(super) struct OpenQuestions {
    open: BTreeMap<QuestionId, QuestionCopy>,
    settled: VecDeque<QuestionCopy>,
}

/// A question's message in this room.
struct QuestionCopy {
    question: Arc<Question>,
    slot: LiveSlot,
    place: SharedPlace,
}

/// Where a copy is, as the outbox learns it.
type SharedPlace = Arc<Mutex<CopyPlace>>;

enum CopyPlace {
    /// The messenger has not answered with its id yet. People may see it already.
    Sending,
    At(Vec<MessageId>),
    /// It could not be sent.
    Nowhere,
}

/// Why no single question is meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotMeant {
    /// It was named, and is not open here.
    NotOpen(QuestionId),
    /// None was named, and not exactly one is open.
    Ambiguous(Vec<QuestionId>),
}

impl QuestionCopy {
    fn is_at(&self, message: &MessageId) -> bool {
        matches!(&*self.place.lock(), CopyPlace::At(messages) if messages.contains(message))
    }

    fn is_sending(&self) -> bool {
        matches!(&*self.place.lock(), CopyPlace::Sending)
    }
}

impl OpenQuestions {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Question>> {
        self.open.values().map(|copy| &copy.question)
    }

    pub(super) fn contains(&self, id: QuestionId) -> bool {
        self.open.contains_key(&id)
    }

    fn insert(&mut self, question: Arc<Question>, slot: LiveSlot, place: SharedPlace) {
        self.open.insert(question.id, QuestionCopy { question, slot, place });
    }

    /// A question is over; returns the message that shows it here.
    fn settle(&mut self, id: QuestionId) -> Option<LiveSlot> {
        let copy = self.open.remove(&id)?;
        let slot = copy.slot;
        self.settled.truncate(SETTLED - 1);
        self.settled.push_front(copy);
        Some(slot)
    }

    fn shown_by(&self, message: &MessageId) -> Option<Arc<Question>> {
        self.open.values().find(|copy| copy.is_at(message)).map(|copy| copy.question.clone())
    }

    /// The question that this message showed, if it is over.
    pub(super) fn settled_shown_by(&self, message: &MessageId) -> Option<QuestionId> {
        self.settled.iter().find(|copy| copy.is_at(message)).map(|copy| copy.question.id)
    }

    /// Whether a reply to this message may answer a question whose message id is not known yet: people can be faster
    /// than the messenger's answer to our request.
    pub(super) fn may_answer_early(&self, message: &MessageId, text: &str) -> bool {
        let is_answer = answers::parse(text).is_some();
        let mut copies = self.open.values().chain(&self.settled);
        if copies.clone().any(|copy| copy.is_at(message)) {
            return false;
        }
        copies.any(|copy| copy.is_sending() && (is_answer || copy.question.takes_words()))
    }

    /// The question that an answer means: the one it names, the one it replies to, or the only one.
    pub(super) fn find_meant(
        &self,
        named: Option<QuestionId>,
        reply_to: Option<&MessageId>,
    ) -> Result<Arc<Question>, NotMeant> {
        if let Some(id) = named {
            let copy = self.open.get(&id).ok_or(NotMeant::NotOpen(id))?;
            return Ok(copy.question.clone());
        }
        if let Some(question) = reply_to.and_then(|message| self.shown_by(message)) {
            return Ok(question);
        }
        let mut open = self.iter();
        match (open.next(), open.next()) {
            (Some(only), None) => Ok(only.clone()),
            _ => Err(NotMeant::Ambiguous(self.open.keys().copied().collect())),
        }
    }
}

impl RoomTask {
    /// The room's own session asks: the broker decides, and its answer comes back as an input.
    pub(super) fn permission_asked(&mut self, request: PermissionRequest) {
        let asked_for = match &mut self.turn.current {
            Some(turn) => {
                turn.on_permission_asked(&request.request_id);
                turn.prompt.sender_name.clone()
            }
            // Nobody prompted: a background task woke the model. The room is asked all the same.
            None => self.services.config().display_name.clone(),
        };
        let ask = PermissionAsk {
            rooms: vec![self.room.clone()],
            session_of: Some(self.room.clone()),
            folder: Some(self.folder()),
            asked_for,
            tool: request.tool,
            input: request.input,
            timeout: self.services.config().claude.permission_timeout.limit(),
        };
        let (broker, sender, request_id) =
            (self.services.broker.clone(), self.sender.clone(), request.request_id);
        // In a task, because the answer may take minutes and the room must handle messages meanwhile: the answer
        // itself is one of them.
        let task = self.services.tracker.spawn(async move {
            let answer = replies::permission_answer(broker.ask(ask).await);
            sender.send(RoomInput::Verdict { request_id, answer });
        });
        drop(task);
    }

    pub(super) fn on_verdict(&mut self, request_id: String, answer: PermissionAnswer) {
        if let Some(turn) = &mut self.turn.current {
            turn.on_permission_answered(&request_id);
        }
        self.turn.session.answer(request_id, answer);
    }

    pub(super) fn on_question(&mut self, question: Arc<Question>) {
        // The question must appear below the text that leads to it, so the live message is closed
        // before the question is sent.
        self.pause_live_message();
        let capabilities = self.adapter.capabilities();
        let config = self.services.config();
        let prefix = config.prefixes.first().filter(|_| self.activity.shared);
        let address = prefix.map(String::as_str).unwrap_or_default();
        let shown = replies::question(&question, replies::AnswerStyle { files: capabilities.files, address });
        let choices = match capabilities.choices {
            ChoiceForm::None => Vec::new(),
            ChoiceForm::Numbers | ChoiceForm::Buttons { .. } | ChoiceForm::Reactions => question.choices(),
        };
        // The person whose turn waits is mentioned. A question of a story's run belongs to nobody in
        // particular, so it mentions nobody.
        let asker = self.turn.current.as_ref().filter(|_| question.session_of.as_ref() == Some(&self.room));
        let mentions = asker.map(|turn| turn.prompt.sender_id.as_str().into()).into_iter().collect();
        let message = Outgoing { choices, mentions, ..Outgoing::text(shown.text) }.with_tone(Tone::Question);
        let place = Arc::new(Mutex::new(CopyPlace::Sending));
        let report = self.place_report(question.id, place.clone());
        let slot = self.outbox.ask(message, shown.attachment, report);
        self.questions.insert(question, slot, place);
    }

    /// Records where the copy is, or reports to the broker that it could not be shown.
    fn place_report(&self, id: QuestionId, place: SharedPlace) -> Report {
        let (broker, room) = (self.services.broker.clone(), self.room.clone());
        Box::new(move |result| match result {
            Ok(ids) => {
                // A long question is split into several messages. The choices are on the last,
                // so a restart edits that one.
                let last = ids.last().cloned();
                *place.lock() = CopyPlace::At(ids);
                if let Some(last) = last {
                    broker.shown(id, &room, &last);
                }
            }
            Err(_) => {
                *place.lock() = CopyPlace::Nowhere;
                broker.undeliverable(id, &room);
            }
        })
    }

    pub(super) fn on_question_settled(&mut self, question: &Question, outcome: &QuestionOutcome) {
        if let Some(slot) = self.questions.settle(question.id) {
            self.outbox.finish(slot, Outgoing::text(replies::settled(question, outcome)));
        }
    }

    pub(super) fn on_left_question(&mut self, id: QuestionId, tool: &str, copy: MessageId) {
        let message = Outgoing::text(replies::question_lost(id, tool)).with_tone(Tone::Notice);
        self.outbox.replace(copy, message);
    }

    // The shutdown takes no further input, so the broker's `Settled` would arrive too late: every copy is edited now.
    pub(super) fn end_questions(&mut self, why: WithdrawReason) {
        for copy in std::mem::take(&mut self.questions.open).into_values() {
            let outcome = QuestionOutcome::Withdrawn { why };
            self.outbox.finish(copy.slot, Outgoing::text(replies::settled(&copy.question, &outcome)));
        }
    }

    // Only those of this room's own session: the others belong to stories' runs, which continue.
    pub(super) fn withdraw_questions(&mut self, why: WithdrawReason) {
        for question in self.questions.iter() {
            if question.session_of.as_ref() == Some(&self.room) {
                self.services.broker.withdraw(question.id, why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::Value;

    use super::*;
    use crate::permission::AnswerKind;

    fn question(id: i64, kind: AnswerKind) -> Arc<Question> {
        Arc::new(Question {
            id: QuestionId(id),
            rooms: Vec::new(),
            session_of: None,
            asked_for: "Ann".into(),
            tool: "Bash".into(),
            folder: None,
            input: Value::Null,
            kind,
            asked_at: SystemTime::UNIX_EPOCH,
            deadline: None,
        })
    }

    fn open(questions: &mut OpenQuestions, id: i64, place: CopyPlace) -> SharedPlace {
        let place = Arc::new(Mutex::new(place));
        let slot = LiveSlot::for_tests(id.unsigned_abs());
        questions.insert(question(id, AnswerKind::Tool { always: None }), slot, place.clone());
        place
    }

    fn at(message: &str) -> CopyPlace {
        CopyPlace::At(vec![MessageId::new(message)])
    }

    fn meant(questions: &OpenQuestions, named: Option<i64>, reply_to: Option<&str>) -> Result<i64, NotMeant> {
        let reply_to = reply_to.map(MessageId::new);
        questions.find_meant(named.map(QuestionId), reply_to.as_ref()).map(|question| question.id.0)
    }

    #[test]
    fn an_answer_means_what_it_names_then_what_it_replies_to_then_the_only_one() {
        let mut questions = OpenQuestions::default();
        assert_eq!(meant(&questions, None, None), Err(NotMeant::Ambiguous(vec![])));
        open(&mut questions, 1, at("m1"));
        assert_eq!(meant(&questions, None, None), Ok(1));
        open(&mut questions, 2, at("m2"));
        assert_eq!(
            meant(&questions, None, None),
            Err(NotMeant::Ambiguous(vec![QuestionId(1), QuestionId(2)]))
        );
        assert_eq!(meant(&questions, None, Some("m2")), Ok(2));
        assert_eq!(meant(&questions, Some(1), Some("m2")), Ok(1));
        assert_eq!(meant(&questions, Some(3), Some("m2")), Err(NotMeant::NotOpen(QuestionId(3))));
    }

    #[test]
    fn a_settled_question_takes_no_answer_and_is_still_known_by_its_message() {
        let mut questions = OpenQuestions::default();
        open(&mut questions, 1, at("m1"));
        assert_eq!(questions.settle(QuestionId(1)), Some(LiveSlot::for_tests(1)));
        assert_eq!(questions.settle(QuestionId(1)), None);
        assert!(questions.is_empty() && !questions.contains(QuestionId(1)));
        assert_eq!(questions.settled_shown_by(&MessageId::new("m1")), Some(QuestionId(1)));
        assert_eq!(meant(&questions, None, Some("m1")), Err(NotMeant::Ambiguous(vec![])));
    }

    #[test]
    fn only_the_last_settled_questions_are_remembered() {
        let mut questions = OpenQuestions::default();
        for id in 0..=i64::try_from(SETTLED).unwrap() {
            open(&mut questions, id, at(&format!("m{id}")));
            questions.settle(QuestionId(id));
        }
        assert_eq!(questions.settled_shown_by(&MessageId::new("m0")), None);
        assert_eq!(questions.settled_shown_by(&MessageId::new("m1")), Some(QuestionId(1)));
    }

    #[test]
    fn a_reply_that_is_faster_than_the_messenger_waits_until_it_is_known_what_it_replies_to() {
        let mut questions = OpenQuestions::default();
        let place = open(&mut questions, 1, CopyPlace::Sending);
        let reply_to = MessageId::new("m1");
        assert!(questions.may_answer_early(&reply_to, "yes"));
        assert!(!questions.may_answer_early(&reply_to, "what is this?"), "a tool call takes no words");
        *place.lock() = at("m1");
        assert!(!questions.may_answer_early(&reply_to, "yes"), "it is known");
        *place.lock() = CopyPlace::Nowhere;
        assert!(!questions.may_answer_early(&reply_to, "yes"), "nobody has seen it");
    }

    #[test]
    fn an_early_reply_waits_for_a_question_that_was_settled_while_it_was_sent() {
        let mut questions = OpenQuestions::default();
        let plan = question(1, AnswerKind::Plan { plan: String::new() });
        questions.insert(plan, LiveSlot::for_tests(1), Arc::new(Mutex::new(CopyPlace::Sending)));
        questions.settle(QuestionId(1));
        assert!(questions.may_answer_early(&MessageId::new("m1"), "use another color"));
    }
}

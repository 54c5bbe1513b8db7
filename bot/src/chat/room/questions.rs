//! Copies of permission questions in this room: shown, answered, edited to their outcome.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adapters::{ChoiceForm, MessageId, Outgoing, Tone};
use agents::claude::{PermissionAnswer, PermissionRequest};

use super::{RoomTask, answers};
use crate::{
    chat::{outbox::LiveSlot, rooms::RoomInput},
    permission::{PermissionAsk, Question, QuestionId, QuestionOutcome, WithdrawReason},
    replies,
};

/// How many questions that are over a room remembers, for late replies to them.
const SETTLED: usize = 20;

/// A question as it stands in this room.
pub(super) struct QuestionCopy {
    pub(super) question: Arc<Question>,
    slot: LiveSlot,
    place: Arc<Mutex<CopyPlace>>,
}

/// Where a copy stands.
enum CopyPlace {
    /// The messenger has not told yet. People may see it already.
    Sending,
    At(Vec<MessageId>),
    /// It could not be sent.
    Nowhere,
}

impl QuestionCopy {
    fn place(&self) -> MutexGuard<'_, CopyPlace> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stands_at(&self, message: &MessageId) -> bool {
        matches!(&*self.place(), CopyPlace::At(messages) if messages.contains(message))
    }

    fn is_sending(&self) -> bool {
        matches!(&*self.place(), CopyPlace::Sending)
    }
}

impl RoomTask {
    /// The room's own session asks: the broker decides, and its answer comes back as an input.
    pub(super) fn permission_asked(&mut self, request: PermissionRequest) {
        let Some(turn) = &mut self.turn else {
            // Nobody prompted: a background task woke the model. The room is asked all the same.
            return self.ask_broker(request, self.services.config().display_name.clone());
        };
        turn.asking.push(request.request_id.clone());
        let asked_for = turn.prompt.sender_name.clone();
        self.ask_broker(request, asked_for);
    }

    fn ask_broker(&mut self, request: PermissionRequest, asked_for: String) {
        let ask = PermissionAsk {
            rooms: vec![self.room.clone()],
            asked_for,
            tool: request.tool,
            input: request.input,
            timeout: self.services.config().claude.permission_timeout.limit(),
        };
        let (broker, sender, request_id) =
            (self.services.broker.clone(), self.sender.clone(), request.request_id);
        let task = self.services.tracker.spawn(async move {
            let answer = replies::permission_answer(broker.ask(ask).await);
            sender.send(RoomInput::Verdict { request_id, answer });
        });
        drop(task);
    }

    pub(super) fn verdict(&mut self, request_id: String, answer: PermissionAnswer) {
        if let Some(turn) = &mut self.turn {
            turn.asking.retain(|asking| *asking != request_id);
            turn.heard_now();
        }
        self.session.answer(request_id, answer);
    }

    pub(super) fn question_opened(&mut self, question: Arc<Question>) {
        self.pause_live_message();
        let capabilities = self.adapter.capabilities();
        let config = self.services.config();
        let prefix = config.prefixes.first().filter(|_| self.shared);
        let address = prefix.map(String::as_str).unwrap_or_default();
        let shown = replies::question(&question, replies::AnswerStyle { files: capabilities.files, address });
        let choices = match capabilities.choices {
            ChoiceForm::None => Vec::new(),
            ChoiceForm::Numbers | ChoiceForm::Buttons { .. } | ChoiceForm::Reactions => question.choices(),
        };
        // Whoever is waited for is called; a question of another room's turn calls nobody here.
        let asker = self.turn.as_ref().filter(|_| question.rooms == [self.room.clone()]);
        let mentions = asker.map(|turn| turn.prompt.sender_id.as_str().into()).into_iter().collect();
        let message = Outgoing { choices, mentions, ..Outgoing::text(shown.text) }.with_tone(Tone::Question);
        let place = Arc::new(Mutex::new(CopyPlace::Sending));
        let report = self.report(question.id, place.clone());
        let slot = self.outbox.ask(message, shown.attachment, report);
        self.questions.insert(question.id, QuestionCopy { question, slot, place });
    }

    /// Keeps where the copy stands, or tells the broker that it could not be shown.
    fn report(&self, id: QuestionId, place: Arc<Mutex<CopyPlace>>) -> crate::chat::outbox::Report {
        let (broker, room) = (self.services.broker.clone(), self.room.clone());
        let stands = move |now| *place.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Box::new(move |result| match result {
            Ok(ids) => {
                let last = ids.last().cloned();
                stands(CopyPlace::At(ids));
                if let Some(last) = last {
                    broker.shown(id, &room, &last);
                }
            }
            Err(_) => {
                stands(CopyPlace::Nowhere);
                broker.undeliverable(id, &room);
            }
        })
    }

    pub(super) fn question_settled(&mut self, question: &Question, outcome: &QuestionOutcome) {
        if let Some(copy) = self.questions.remove(&question.id) {
            self.outbox.finish(copy.slot, Outgoing::text(replies::settled(question, outcome)));
            self.settled.truncate(SETTLED - 1);
            self.settled.push_front(copy);
        }
    }

    pub(super) fn left_question(&mut self, id: QuestionId, tool: &str, copy: MessageId) {
        let message = Outgoing::text(replies::question_lost(id, tool)).with_tone(Tone::Notice);
        self.outbox.replace(copy, message);
    }

    pub(super) fn question_shown_by(&self, message: &MessageId) -> Option<Arc<Question>> {
        self.questions.values().find(|copy| copy.stands_at(message)).map(|copy| copy.question.clone())
    }

    /// The question that this message showed, if it is over.
    pub(super) fn settled_shown_by(&self, message: &MessageId) -> Option<QuestionId> {
        self.settled.iter().find(|copy| copy.stands_at(message)).map(|copy| copy.question.id)
    }

    /// Whether this may answer a question of which the messenger has not yet told where it stands: people can be faster
    /// than its answer.
    pub(super) fn may_answer_early(&self, message: &MessageId, text: &str) -> bool {
        let is_answer = answers::parse(text).is_some();
        let known = self.questions.values().chain(&self.settled).any(|copy| copy.stands_at(message));
        let mut sending = self.questions.values().chain(&self.settled).filter(|copy| copy.is_sending());
        !known && sending.any(|copy| is_answer || copy.question.takes_words())
    }

    /// Edits every copy to its end, now; for the shutdown, when no further input is taken.
    pub(super) fn end_questions(&mut self, why: WithdrawReason) {
        for copy in std::mem::take(&mut self.questions).into_values() {
            let outcome = QuestionOutcome::Withdrawn { why };
            self.outbox.finish(copy.slot, Outgoing::text(replies::settled(&copy.question, &outcome)));
        }
    }

    /// Closes the questions of this room's own session.
    pub(super) fn withdraw_questions(&mut self, why: WithdrawReason) {
        for (id, copy) in &self.questions {
            if copy.question.rooms == [self.room.clone()] {
                self.services.broker.withdraw(*id, why);
            }
        }
    }
}

//! Permission questions in this room: the copies that are shown, edited to their outcome, and found by what people reply to.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use adapters::{Choice, ChoiceForm, MessageId, Outgoing, Tone};
use parking_lot::Mutex;

use super::{
    RoomTask,
    answer_text::{AnswerText, ParsedAnswer},
    decisions::AskedDecision,
    trials::{EffectPlace, SharedEffect, ShownEffect},
};
use crate::{
    chat::outbox::{DelayReport, LiveSlot, Report},
    permission::{
        AnswerKind, Asker, BoardQuestion, EffectNumber, LadderNews, PersonAnswer, Question, QuestionId,
        QuestionOutcome, WithdrawReason,
    },
    replies::{self, ShownQuestion},
    store::{OpenQuestion, SettledCopy},
};

/// How many settled questions a room remembers, so that a late reply to one is not taken for a prompt.
const SETTLED: usize = 20;

/// So long after a question appears in the place of another one, an answer that names neither is taken for one to the other.
const READING_TIME: Duration = Duration::from_secs(2);

/// So long after it closed, people may still be about to answer a question.
const NEARBY: Duration = Duration::from_secs(60);

/// People see a message before the messenger tells us that it has it.
pub(super) const BEFORE_CONFIRMED: Duration = Duration::from_millis(500);

/// The questions that a room shows.
#[derive(Default)]
pub(super) struct OpenQuestions {
    open: BTreeMap<QuestionId, QuestionCopy>,
    settled: VecDeque<QuestionCopy>,
    /// Decisions about stories, of which the newest is the last.
    pub(super) decisions: VecDeque<AskedDecision>,
}

/// A question's message in this room.
struct QuestionCopy {
    question: Arc<Question>,
    slot: LiveSlot,
    place: SharedPlace,
    /// When the prompt was sent whose turn asks, if it is a turn of this room.
    prompted_at: Option<SystemTime>,
    closed_at: Option<SystemTime>,
    /// The id of the person who picked the answer to a question of the model.
    answered_by: Option<String>,
    /// Whether the room was told, because of talk that is no answer, that it still waits.
    reminded: bool,
    /// The newest effect that it shows.
    effect: SharedEffect,
}

/// Where a copy is, as the outbox learns it.
pub(super) type SharedPlace = Arc<Mutex<CopyPlace>>;

pub(super) enum CopyPlace {
    /// The messenger has not answered with its id yet. People may see it already.
    Sending,
    At {
        messages: Vec<MessageId>,
        /// From when people can have seen it.
        since: SystemTime,
    },
    /// It could not be sent.
    Nowhere,
}

/// How an answer refers to its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerReference {
    /// By a reply to its message.
    Message,
    Number,
    /// Not at all: it is the only one open.
    None,
}

/// The words of an answer, as far as they tell which question they may be meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerForm {
    /// `yes` or `always`: for calls and plans.
    Consent,
    /// A label or a position: for questions with options.
    Option,
    /// Words of the person's own, which hardly fit two questions.
    Words,
}

impl AnswerForm {
    fn fits(self, question: &Question) -> bool {
        match (self, &question.kind) {
            (Self::Consent, AnswerKind::Tool { .. } | AnswerKind::Plan { .. } | AnswerKind::Board(_))
            | (Self::Option, AnswerKind::Choose { .. } | AnswerKind::Board(BoardQuestion::Plan(_))) => true,
            (Self::Consent | Self::Option | Self::Words, _) => false,
        }
    }
}

/// Who answers, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerSender<'a> {
    pub id: &'a str,
    /// By this machine's clock.
    pub sent: SystemTime,
}

/// Why an answer cannot be meant for the question that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnseenQuestion {
    /// The answer was sent before the question was shown.
    NotShownYet,
    /// So soon after this other one closed that it may be meant for that.
    JustAfter(QuestionId),
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
        matches!(&*self.place.lock(), CopyPlace::At { messages, .. } if messages.contains(message))
    }

    fn is_sending(&self) -> bool {
        matches!(&*self.place.lock(), CopyPlace::Sending)
    }

    /// From when people in this room can have seen it.
    fn seen_since(&self) -> Option<SystemTime> {
        match &*self.place.lock() {
            CopyPlace::At { since, .. } => Some(*since),
            CopyPlace::Sending | CopyPlace::Nowhere => None,
        }
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

    fn insert(&mut self, copy: QuestionCopy) {
        self.open.insert(copy.question.id, copy);
    }

    /// A question is over; returns the message that shows it here.
    fn settle(&mut self, id: QuestionId, outcome: &QuestionOutcome, now: SystemTime) -> Option<LiveSlot> {
        let mut copy = self.open.remove(&id)?;
        let slot = copy.slot;
        copy.closed_at = Some(now);
        if let QuestionOutcome::Answered { by, .. } = outcome {
            copy.answered_by = Some(by.id.clone());
        }
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

    /// Whether an answer, or a reply to this message, may be meant for a question whose message id is not known yet: people can be
    /// faster than the messenger's answer to our request.
    pub(super) fn may_answer_early(&self, message: Option<&MessageId>, text: &str) -> bool {
        let read = AnswerText::of(text);
        let is_answer = read != AnswerText::Other;
        let parsed = match &read {
            AnswerText::Answer(parsed) => Some(parsed),
            AnswerText::Unclear | AnswerText::Other => None,
        };
        let keeps = parsed.is_some_and(|parsed| matches!(parsed.answer, PersonAnswer::Keep(_)));
        if keeps && self.open.values().any(|copy| matches!(&*copy.effect.lock(), EffectPlace::Sending)) {
            return true;
        }
        let Some(message) = message else {
            // With several open it names none, and a number needs no place.
            let is_bare = is_answer && parsed.is_none_or(|parsed| parsed.question.is_none());
            let may_mean =
                |copy: &QuestionCopy| copy.is_sending() && (is_bare || copy.question.takes_words());
            return self.open.len() == 1 && self.open.values().all(may_mean);
        };
        let mut copies = self.open.values().chain(&self.settled);
        if copies.clone().any(|copy| copy.is_at(message)) {
            return false;
        }
        copies.any(|copy| copy.is_sending() && (is_answer || copy.question.takes_words()))
    }

    /// Whether `yes 2` picks an entry of the only open question, and names no question.
    pub(super) fn picks_entry(&self, parsed: &ParsedAnswer) -> bool {
        let (Some(number), PersonAnswer::Yes) = (parsed.question, &parsed.answer) else { return false };
        let entries = |copy: &QuestionCopy| i64::try_from(copy.question.entries()).unwrap_or_default();
        self.open.len() == 1 && self.open.values().all(|copy| (1..=entries(copy)).contains(&number.0))
    }

    /// The question whose own number is also that of one of its several entries, where an answer names that number.
    pub(super) fn question_or_entry(&self, parsed: &ParsedAnswer) -> Option<QuestionId> {
        let question = &self.open.get(&parsed.question?)?.question;
        (self.picks_entry(parsed) && question.entries() > 1).then_some(question.id)
    }

    /// The question that an answer means: the one it names, the one it replies to, or the only one.
    pub(super) fn find_meant(
        &self,
        named: Option<QuestionId>,
        reply_to: Option<&MessageId>,
    ) -> Result<(Arc<Question>, AnswerReference), NotMeant> {
        if let Some(id) = named {
            let copy = self.open.get(&id).ok_or(NotMeant::NotOpen(id))?;
            return Ok((copy.question.clone(), AnswerReference::Number));
        }
        if let Some(question) = reply_to.and_then(|message| self.shown_by(message)) {
            return Ok((question, AnswerReference::Message));
        }
        let mut open = self.iter();
        match (open.next(), open.next()) {
            (Some(only), None) => Ok((only.clone(), AnswerReference::None)),
            _ => Err(NotMeant::Ambiguous(self.open.keys().copied().collect())),
        }
    }

    /// Why an answer that was sent at this time cannot be meant for the open question; `None` if its sender can have seen it.
    pub(super) fn unseen(
        &self,
        id: QuestionId,
        (reference, form): (AnswerReference, AnswerForm),
        sender: AnswerSender<'_>,
    ) -> Option<UnseenQuestion> {
        let sent = sender.sent;
        let copy = self.open.get(&id)?;
        let since = copy.seen_since();
        let was_shown = since.is_some_and(|since| sent >= since);
        match reference {
            // Nobody can reply to a message that they do not see.
            AnswerReference::Message => None,
            // A number that is guessed, or that the agent told people to write, is no answer before the question is there. Where it
            // could not be shown, another room may have shown it.
            AnswerReference::Number => (since.is_some() && !was_shown).then_some(UnseenQuestion::NotShownYet),
            AnswerReference::None => {
                let confused = since.and_then(|since| self.closed_near(copy, form, since, sender));
                confused.or((!was_shown).then_some(UnseenQuestion::NotShownYet))
            }
        }
    }

    /// Whether one of them has this option.
    pub(super) fn any_option_is(&self, text: &str) -> bool {
        self.iter().any(|question| question.options().is_some_and(|asked| asked.names_an_option(text)))
    }

    /// The open questions of this agent.
    pub(super) fn of(&self, asker: &Asker) -> impl Iterator<Item = QuestionId> {
        self.iter().filter(|question| question.asker.is(asker)).map(|question| question.id)
    }

    /// Those of them that people were not reminded of yet; they are now.
    pub(super) fn take_unreminded(&mut self, asker: &Asker) -> Vec<QuestionId> {
        let own = self.open.values_mut().filter(|copy| copy.question.asker.is(asker));
        own.filter_map(|copy| (!std::mem::replace(&mut copy.reminded, true)).then_some(copy.question.id))
            .collect()
    }

    /// The message of an open question, and the effect that it shows.
    pub(super) fn shown(&self, id: QuestionId) -> Option<(LiveSlot, &SharedPlace, &SharedEffect)> {
        self.open.get(&id).map(|copy| (copy.slot, &copy.place, &copy.effect))
    }

    /// The effect that an answer sent at this time can mean; `Err(true)` if one was shown only later.
    pub(super) fn effect_seen(&self, id: QuestionId, sent: SystemTime) -> Result<EffectNumber, bool> {
        let Some(copy) = self.open.get(&id) else { return Err(false) };
        match &*copy.effect.lock() {
            EffectPlace::Shown(ShownEffect { number, since }) if sent >= *since => Ok(*number),
            EffectPlace::Shown(_) | EffectPlace::Sending => Err(true),
            EffectPlace::None => Err(false),
        }
    }

    /// The same for a pick by a number from the newest question: whoever picks sees some question.
    pub(super) fn unseen_pick(
        &self,
        id: QuestionId,
        sender: AnswerSender<'_>,
    ) -> Option<(Arc<Question>, UnseenQuestion)> {
        let copy = self.open.get(&id)?;
        let since = copy.seen_since().unwrap_or(sender.sent);
        let form = if copy.question.options().is_some() { AnswerForm::Option } else { AnswerForm::Consent };
        Some((copy.question.clone(), self.closed_near(copy, form, since, sender)?))
    }

    /// The question that closed so shortly before this moment that people may still answer it.
    pub(super) fn closed_just_before(&self, sent: SystemTime) -> Option<QuestionId> {
        let last = self.settled.iter().filter_map(|copy| Some((copy.closed_at?, copy.question.id))).max()?;
        (sent < last.0 + READING_TIME).then_some(last.1)
    }

    /// Another question that an answer sent at this time may be meant for, instead of this one, which is there since `since`.
    fn closed_near(
        &self,
        open: &QuestionCopy,
        form: AnswerForm,
        since: SystemTime,
        AnswerSender { id: sender, sent }: AnswerSender<'_>,
    ) -> Option<UnseenQuestion> {
        // Whoever has answered one part of the model's call knows that the next one follows.
        let is_part_before = |other: &QuestionCopy| {
            other.answered_by.as_deref() == Some(sender) && other.question.asker.is(&open.question.asker)
        };
        let is_next_part = open.question.is_later_part() && self.settled.iter().any(is_part_before);
        let may_be_meant = |other: &&QuestionCopy| {
            let Some(closed_at) = other.closed_at.filter(|_| form.fits(&other.question)) else {
                return false;
            };
            // Both were open when it was sent, so it named neither.
            let is_before = sent < closed_at;
            // Somebody spoke to the agent in between: this question does not come in the place of that one.
            let is_of_a_later_turn = open.prompted_at.is_some_and(|prompted_at| prompted_at > closed_at);
            // Whoever saw the older one may not have noticed that this one took its place.
            let is_replaced = other.question.id < open.question.id && closed_at + NEARBY >= since;
            is_before || is_replaced && !is_of_a_later_turn && !is_next_part && sent < since + READING_TIME
        };
        let other = self.settled.iter().filter(may_be_meant).max_by_key(|copy| copy.closed_at)?;
        Some(UnseenQuestion::JustAfter(other.question.id))
    }
}

impl RoomTask {
    pub(super) fn on_question(&mut self, question: Arc<Question>) {
        // The question must appear below the text that leads to it, so the live message is closed
        // before the question is sent.
        self.pause_live_message();
        let shown = self.worded(&question);
        let choices = self.offered(&question, None);
        // The person whose turn waits is mentioned. A question of a story's run belongs to nobody in
        // particular, so it mentions nobody.
        let own = question.asker.session_of() == Some(&self.room);
        let asker = self.turn.current.as_ref().filter(|_| own);
        let prompted_at = asker.map(|turn| turn.prompt.sent_at);
        let mentions = asker.map(|turn| turn.prompt.sender_id.as_str().into()).into_iter().collect();
        let message = Outgoing { choices, mentions, ..Outgoing::text(shown.text) }.with_tone(Tone::Question);
        let place = Arc::new(Mutex::new(CopyPlace::Sending));
        let reports = (self.place_report(question.id, place.clone()), self.delay_report(question.id));
        let near = asker.and_then(|turn| turn.prompt.message.as_ref());
        let slot = self.outbox.ask(message, shown.attachment, near, reports);
        let (closed_at, answered_by, reminded) = (None, None, false);
        let effect = SharedEffect::default();
        let copy =
            QuestionCopy { question, slot, place, prompted_at, closed_at, answered_by, reminded, effect };
        self.questions.insert(copy);
    }

    /// A question as this room reads it.
    pub(super) fn worded(&self, question: &Question) -> ShownQuestion {
        let config = self.services.config();
        let prefix = config.prefixes.first().filter(|_| self.activity.shared);
        let address = prefix.map(String::as_str).unwrap_or_default();
        let files = self.adapter.capabilities().files;
        // Without an address that was named, the page is this machine's alone.
        let is_named = !config.web.origin.is_empty();
        let page = self.services.commands.web.as_ref().filter(|_| is_named).map(|page| page.address.as_str());
        replies::question(question, replies::AnswerStyle { files, address, page })
    }

    /// The choices of a question, where the messenger has some.
    pub(super) fn offered(&self, question: &Question, effect: Option<EffectNumber>) -> Vec<Choice> {
        match self.adapter.capabilities().choices {
            ChoiceForm::None => Vec::new(),
            ChoiceForm::Numbers | ChoiceForm::Buttons { .. } | ChoiceForm::Reactions => {
                question.choices(effect)
            }
        }
    }

    /// Records where the copy is, or reports to the broker that it could not be shown.
    fn place_report(&self, id: QuestionId, place: SharedPlace) -> Report {
        let (broker, room) = (self.services.broker.clone(), self.room.clone());
        let clock = self.services.clock.clone();
        Box::new(move |result| match result {
            Ok(ids) => {
                // A long question is split into several messages. The choices are on the last,
                // so a restart edits that one.
                let last = ids.last().cloned();
                *place.lock() = CopyPlace::At { messages: ids, since: clock.now() - BEFORE_CONFIRMED };
                if let Some(last) = last {
                    broker.shown(id, &room, &last);
                }
            }
            Err(error) => {
                *place.lock() = CopyPlace::Nowhere;
                broker.undeliverable(id, &room, &error.to_string());
            }
        })
    }

    fn delay_report(&self, id: QuestionId) -> DelayReport {
        let (broker, room) = (self.services.broker.clone(), self.room.clone());
        Box::new(move |error| broker.delayed(id, &room, &error.to_string()))
    }

    pub(super) fn on_ladder(&mut self, question: &Question, news: &LadderNews) {
        let text = replies::ladder_news(question.id, news, &self.room, self.services.clock.now());
        self.say(text, Tone::Notice, None);
    }

    pub(super) fn on_question_settled(&mut self, question: &Question, outcome: &QuestionOutcome) {
        if let Some(slot) = self.questions.settle(question.id, outcome, self.services.clock.now()) {
            self.outbox.finish(slot, Outgoing::text(replies::settled(question, outcome)));
            self.note_settled(question.id);
        }
        self.show_progress();
    }

    /// Once all before it is sent, the next start need not say how the question ended.
    fn note_settled(&self, id: QuestionId) {
        let (store, room) = (self.services.store.clone(), self.room.clone());
        self.outbox.then(move || {
            if let Err(error) = store.copy_settled(id.0, &room) {
                tracing::error!(%error, %room, "what a room shows of a question could not be noted");
            }
        });
    }

    pub(super) fn on_settled_copy(&mut self, copy: SettledCopy) {
        let id = QuestionId(copy.question);
        let text = replies::question_settled_late(id, &copy.entry);
        self.outbox.replace(copy.message, Outgoing::text(text).with_tone(Tone::Notice));
        self.note_settled(id);
    }

    /// The message of an earlier process, whose question is shown again.
    pub(super) fn on_parked_copy(&mut self, question: &Question, copy: MessageId) {
        let message = Outgoing::text(replies::shown_again(question)).with_tone(Tone::Notice);
        self.outbox.replace(copy, message);
    }

    pub(super) fn on_left_question(&mut self, id: QuestionId, question: &OpenQuestion, copy: MessageId) {
        let lost = replies::question_lost(id, &question.tool, &question.input);
        let message = Outgoing::text(lost).with_tone(Tone::Notice);
        self.outbox.replace(copy, message);
        self.note_settled(id);
    }

    // The shutdown takes no further input, so the broker's `Settled` would arrive too late: every copy is edited now.
    pub(super) fn end_questions(&mut self, why: WithdrawReason) {
        for copy in std::mem::take(&mut self.questions.open).into_values() {
            // It waits on, and the next storkit shows it again.
            if self.services.broker.is_parked(copy.question.id) {
                continue;
            }
            let outcome = QuestionOutcome::Withdrawn { why };
            self.outbox.finish(copy.slot, Outgoing::text(replies::settled(&copy.question, &outcome)));
            self.note_settled(copy.question.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        chat::room::fixture::RoomFixture,
        permission::{ModelQuestion, NoTrial, Person, PlannedStory},
    };

    fn question(id: i64, kind: AnswerKind) -> Arc<Question> {
        Arc::new(Question {
            id: QuestionId(id),
            rooms: Vec::new(),
            further: Default::default(),
            asker: Asker::default(),
            asked_for: "Ann".into(),
            tool: "Bash".into(),
            folder: None,
            input: Value::Null,
            concerns: Vec::new(),
            read: Vec::new(),
            kind,
            asked_at: SystemTime::UNIX_EPOCH,
            deadline: None,
            at_deadline: Default::default(),
            parked_at: None,
            changed: Vec::new(),
        })
    }

    fn open(questions: &mut OpenQuestions, id: i64, place: CopyPlace) -> SharedPlace {
        open_kind(questions, id, place, AnswerKind::Tool { always: None, trial: Err(NoTrial::NoPlace) })
    }

    fn open_kind(questions: &mut OpenQuestions, id: i64, place: CopyPlace, kind: AnswerKind) -> SharedPlace {
        let slot = LiveSlot::for_tests(id.unsigned_abs());
        let (question, place) = (question(id, kind), Arc::new(Mutex::new(place)));
        let (prompted_at, closed_at, answered_by) = (None, None, None);
        let (place_of_copy, reminded, effect) = (place.clone(), false, SharedEffect::default());
        let copy = QuestionCopy {
            question,
            slot,
            place: place_of_copy,
            prompted_at,
            closed_at,
            answered_by,
            reminded,
            effect,
        };
        questions.insert(copy);
        place
    }

    fn plan() -> AnswerKind {
        AnswerKind::Plan { plan: String::new() }
    }

    fn options() -> AnswerKind {
        AnswerKind::Choose {
            question: ModelQuestion { question: "Which?".into(), options: Vec::new(), several: false },
            part: (1, 1),
        }
    }

    /// So many proposed stories.
    fn list(entries: usize) -> AnswerKind {
        AnswerKind::Board(BoardQuestion::Plan(vec![PlannedStory::for_tests("Door"); entries]))
    }

    fn by_bob(sent: SystemTime) -> AnswerSender<'static> {
        AnswerSender { id: "bob", sent }
    }

    fn at(message: &str) -> CopyPlace {
        shown_at(message, 0)
    }

    fn shown_at(message: &str, seconds: u64) -> CopyPlace {
        CopyPlace::At { messages: vec![MessageId::new(message)], since: time(seconds * 1_000) }
    }

    /// So many milliseconds after some moment.
    fn time(milliseconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + Duration::from_millis(milliseconds)
    }

    fn meant(questions: &OpenQuestions, named: Option<i64>, reply_to: Option<&str>) -> Result<i64, NotMeant> {
        let reply_to = reply_to.map(MessageId::new);
        questions.find_meant(named.map(QuestionId), reply_to.as_ref()).map(|(question, _)| question.id.0)
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
    fn a_yes_with_a_number_picks_an_entry_of_the_only_list_and_may_name_the_list_itself() {
        let answer = |answer, number| ParsedAnswer { answer, question: Some(QuestionId(number)) };
        let yes = |number| answer(PersonAnswer::Yes, number);
        let mut questions = OpenQuestions::default();
        assert!(!questions.picks_entry(&yes(1)));
        open_kind(&mut questions, 2, at("m2"), list(3));
        assert_eq!(
            [0, 1, 3, 4].map(|number| questions.picks_entry(&yes(number))),
            [false, true, true, false]
        );
        assert!(!questions.picks_entry(&answer(PersonAnswer::No(None), 1)));
        assert_eq!(
            [1, 2].map(|number| questions.question_or_entry(&yes(number))),
            [None, Some(QuestionId(2))]
        );
        assert_eq!(
            questions.question_or_entry(&answer(PersonAnswer::No(None), 2)),
            None,
            "it names the list"
        );
        open(&mut questions, 3, at("m3"));
        assert!(!questions.picks_entry(&yes(1)), "another question is open");
        assert_eq!(questions.question_or_entry(&yes(2)), None);
        let mut questions = OpenQuestions::default();
        open_kind(&mut questions, 1, at("m1"), list(1));
        assert!(questions.picks_entry(&yes(1)));
        assert_eq!(questions.question_or_entry(&yes(1)), None, "both mean the same");
    }

    #[test]
    fn a_settled_question_takes_no_answer_and_is_still_known_by_its_message() {
        let mut questions = OpenQuestions::default();
        open(&mut questions, 1, at("m1"));
        assert_eq!(
            questions.settle(QuestionId(1), &QuestionOutcome::TimedOut, time(0)),
            Some(LiveSlot::for_tests(1))
        );
        assert_eq!(questions.settle(QuestionId(1), &QuestionOutcome::TimedOut, time(0)), None);
        assert!(questions.is_empty() && !questions.contains(QuestionId(1)));
        assert_eq!(questions.settled_shown_by(&MessageId::new("m1")), Some(QuestionId(1)));
        assert_eq!(meant(&questions, None, Some("m1")), Err(NotMeant::Ambiguous(vec![])));
    }

    #[test]
    fn only_the_last_settled_questions_are_remembered() {
        let mut questions = OpenQuestions::default();
        for id in 0..=i64::try_from(SETTLED).unwrap() {
            open(&mut questions, id, at(&format!("m{id}")));
            questions.settle(QuestionId(id), &QuestionOutcome::TimedOut, time(0));
        }
        assert_eq!(questions.settled_shown_by(&MessageId::new("m0")), None);
        assert_eq!(questions.settled_shown_by(&MessageId::new("m1")), Some(QuestionId(1)));
    }

    #[test]
    fn a_reply_that_is_faster_than_the_messenger_waits_until_it_is_known_what_it_replies_to() {
        let mut questions = OpenQuestions::default();
        let place = open(&mut questions, 1, CopyPlace::Sending);
        let reply_to = MessageId::new("m1");
        assert!(questions.may_answer_early(Some(&reply_to), "yes"));
        assert!(
            questions.may_answer_early(None, "yes") && !questions.may_answer_early(None, "what is this?")
        );
        assert!(!questions.may_answer_early(None, "yes 1"), "it needs no place");
        assert!(!questions.may_answer_early(Some(&reply_to), "what is this?"), "a tool call takes no words");
        assert!(
            questions.may_answer_early(None, "yes") && !questions.may_answer_early(None, "what is this?")
        );
        *place.lock() = at("m1");
        assert!(!questions.may_answer_early(Some(&reply_to), "yes"), "it is known");
        assert!(!questions.may_answer_early(None, "yes"));
        *place.lock() = CopyPlace::Nowhere;
        assert!(!questions.may_answer_early(Some(&reply_to), "yes"), "nobody has seen it");
    }

    #[test]
    fn an_early_reply_waits_for_a_question_that_was_settled_while_it_was_sent() {
        let mut questions = OpenQuestions::default();
        open_kind(&mut questions, 1, CopyPlace::Sending, plan());
        assert!(questions.may_answer_early(None, "use another color"));
        questions.settle(QuestionId(1), &QuestionOutcome::TimedOut, time(0));
        assert!(questions.may_answer_early(Some(&MessageId::new("m1")), "use another color"));
    }

    fn unseen(questions: &OpenQuestions, reference: AnswerReference, sent: u64) -> Option<UnseenQuestion> {
        questions.unseen(QuestionId(2), (reference, AnswerForm::Consent), by_bob(time(sent)))
    }

    const AFTER_1: Option<UnseenQuestion> = Some(UnseenQuestion::JustAfter(QuestionId(1)));
    const NOT_YET: Option<UnseenQuestion> = Some(UnseenQuestion::NotShownYet);

    #[test]
    fn a_bare_answer_around_the_change_of_two_questions_is_for_neither() {
        let mut questions = OpenQuestions::default();
        open(&mut questions, 1, shown_at("m1", 0));
        questions.settle(QuestionId(1), &QuestionOutcome::TimedOut, time(9_900));
        open(&mut questions, 2, shown_at("m2", 10));
        for sent in [5_000, 9_899, 9_999, 10_000, 11_999] {
            assert_eq!(unseen(&questions, AnswerReference::None, sent), AFTER_1, "{sent}");
        }
        assert_eq!(unseen(&questions, AnswerReference::None, 12_000), None);
        assert_eq!(unseen(&questions, AnswerReference::Message, 10_000), None);
        assert_eq!(unseen(&questions, AnswerReference::Number, 10_000), None);
        assert_eq!(unseen(&questions, AnswerReference::Number, 9_999), NOT_YET, "a number that was guessed");
    }

    #[test]
    fn a_question_that_closes_later_confuses_only_what_was_sent_before() {
        let mut questions = OpenQuestions::default();
        open(&mut questions, 1, shown_at("m1", 0));
        open(&mut questions, 2, shown_at("m2", 10));
        questions.settle(QuestionId(1), &QuestionOutcome::TimedOut, time(100_000));
        assert_eq!(unseen(&questions, AnswerReference::None, 99_999), AFTER_1);
        assert_eq!(unseen(&questions, AnswerReference::None, 100_000), None);
    }

    #[test]
    fn a_newer_question_that_closes_takes_nothing_from_the_older_one() {
        let mut questions = OpenQuestions::default();
        open(&mut questions, 2, shown_at("m2", 0));
        open(&mut questions, 3, shown_at("m3", 0));
        assert!(!questions.may_answer_early(None, "yes"));
        questions.settle(QuestionId(3), &QuestionOutcome::TimedOut, time(500));
        assert_eq!(unseen(&questions, AnswerReference::None, 500), None);
        assert_eq!(
            unseen(&questions, AnswerReference::None, 499),
            Some(UnseenQuestion::JustAfter(QuestionId(3)))
        );
    }

    #[test]
    fn only_an_answer_that_fits_the_closed_question_is_confused_with_it() {
        for (kind, form, confused) in [
            (AnswerKind::Tool { always: None, trial: Err(NoTrial::NoPlace) }, AnswerForm::Consent, true),
            (plan(), AnswerForm::Consent, true),
            (options(), AnswerForm::Consent, false),
            (options(), AnswerForm::Option, true),
            (plan(), AnswerForm::Option, false),
            (plan(), AnswerForm::Words, false),
            (options(), AnswerForm::Words, false),
        ] {
            let mut questions = OpenQuestions::default();
            open_kind(&mut questions, 1, shown_at("m1", 0), kind);
            questions.settle(QuestionId(1), &QuestionOutcome::TimedOut, time(9_900));
            open_kind(&mut questions, 2, shown_at("m2", 10), options());
            let unseen =
                |sent| questions.unseen(QuestionId(2), (AnswerReference::None, form), by_bob(time(sent)));
            assert_eq!(unseen(10_500), AFTER_1.filter(|_| confused), "{form:?}");
            assert!(unseen(9_899).is_some(), "{form:?}: before it was shown");
        }
    }

    #[test]
    fn a_question_of_a_later_turn_takes_no_place() {
        let mut questions = OpenQuestions::default();
        open(&mut questions, 1, shown_at("m1", 0));
        questions.settle(QuestionId(1), &QuestionOutcome::TimedOut, time(9_000));
        open(&mut questions, 2, shown_at("m2", 10));
        for (prompted_at, confused) in [(9_001, false), (9_000, true), (8_999, true)] {
            if let Some(copy) = questions.open.get_mut(&QuestionId(2)) {
                copy.prompted_at = Some(time(prompted_at));
            }
            let confused = AFTER_1.filter(|_| confused);
            assert_eq!(unseen(&questions, AnswerReference::None, 10_000), confused, "{prompted_at}");
        }
        assert_eq!(unseen(&questions, AnswerReference::None, 8_000), AFTER_1, "sent before");
    }

    #[test]
    fn a_question_that_closed_long_ago_confuses_nobody() {
        let mut questions = OpenQuestions::default();
        open(&mut questions, 1, shown_at("m1", 0));
        questions.settle(QuestionId(1), &QuestionOutcome::TimedOut, time(1_000));
        open(&mut questions, 2, shown_at("m2", 61));
        assert_eq!(unseen(&questions, AnswerReference::None, 61_000), AFTER_1, "a minute is not long");
        let mut questions = OpenQuestions::default();
        open(&mut questions, 1, shown_at("m1", 0));
        questions.settle(QuestionId(1), &QuestionOutcome::TimedOut, time(999));
        open(&mut questions, 2, shown_at("m2", 61));
        assert_eq!(unseen(&questions, AnswerReference::None, 61_000), None);
        assert_eq!(unseen(&questions, AnswerReference::None, 60_999), NOT_YET);
    }

    #[test]
    fn a_number_that_is_typed_picks_from_no_question_that_just_took_the_place_of_another() {
        let mut questions = OpenQuestions::default();
        open(&mut questions, 2, shown_at("m2", 10));
        let pick = |questions: &OpenQuestions, sent| {
            questions.unseen_pick(QuestionId(2), by_bob(time(sent))).map(|pick| pick.1)
        };
        assert_eq!(pick(&questions, 10_000), None, "the first question");
        open(&mut questions, 1, shown_at("m1", 0));
        questions.settle(QuestionId(1), &QuestionOutcome::TimedOut, time(9_900));
        assert_eq!((pick(&questions, 11_999), pick(&questions, 12_000)), (AFTER_1, None));
        let mut questions = OpenQuestions::default();
        open(&mut questions, 1, shown_at("m1", 0));
        questions.settle(QuestionId(1), &QuestionOutcome::TimedOut, time(9_900));
        open(&mut questions, 2, CopyPlace::Sending);
        assert_eq!(pick(&questions, 12_000), AFTER_1, "it cannot be read yet");
        assert!(questions.unseen_pick(QuestionId(1), by_bob(time(12_000))).is_none(), "that one is closed");
    }

    #[test]
    fn an_answer_may_still_be_meant_for_the_question_that_just_closed() {
        let mut questions = OpenQuestions::default();
        assert_eq!(questions.closed_just_before(time(0)), None);
        for id in [1, 2] {
            open(&mut questions, id, shown_at("m", 0));
            questions.settle(QuestionId(id), &QuestionOutcome::TimedOut, time(1_000 * id.unsigned_abs()));
        }
        assert_eq!(questions.closed_just_before(time(3_999)), Some(QuestionId(2)));
        assert_eq!(questions.closed_just_before(time(4_000)), None);
    }

    #[test]
    fn keep_means_an_effect_that_was_shown_before() {
        let mut questions = OpenQuestions::default();
        let id = QuestionId(1);
        assert_eq!(questions.effect_seen(id, time(9_000)), Err(false));
        open(&mut questions, 1, shown_at("m1", 0));
        assert_eq!(questions.effect_seen(id, time(9_000)), Err(false));
        let effect = questions.shown(id).expect("it is open").2.clone();
        *effect.lock() = EffectPlace::Sending;
        assert_eq!(questions.effect_seen(id, time(9_000)), Err(true));
        assert!(questions.may_answer_early(None, "keep") && !questions.may_answer_early(None, "yes"));
        let shown = ShownEffect { number: EffectNumber(2), since: time(5_000) };
        *effect.lock() = EffectPlace::Shown(shown);
        assert_eq!(questions.effect_seen(id, time(4_999)), Err(true));
        assert_eq!(questions.effect_seen(id, time(5_000)), Ok(EffectNumber(2)));
        assert!(!questions.may_answer_early(None, "keep"));
    }

    #[test]
    fn what_was_not_shown_here_takes_no_bare_answer() {
        for place in [CopyPlace::Sending, CopyPlace::Nowhere] {
            let mut questions = OpenQuestions::default();
            open(&mut questions, 2, place);
            assert_eq!(unseen(&questions, AnswerReference::None, 10_000), NOT_YET);
            assert_eq!(unseen(&questions, AnswerReference::Number, 10_000), None, "another room shows it");
        }
    }
    #[test]
    fn whoever_answered_a_part_may_answer_the_next_one_at_once_and_nobody_else() {
        let part = |n| {
            let AnswerKind::Choose { question, .. } = options() else { unreachable!("it has options") };
            AnswerKind::Choose { question, part: (n, 2) }
        };
        let by = Person::new("bob", "Bob");
        let answered = QuestionOutcome::Answered { by, answers: Vec::new() };
        for (second, of_bob, of_ann) in [(2, None, AFTER_1), (1, AFTER_1, AFTER_1)] {
            let mut questions = OpenQuestions::default();
            open_kind(&mut questions, 1, shown_at("m1", 0), part(1));
            questions.settle(QuestionId(1), &answered, time(9_900));
            open_kind(&mut questions, 2, shown_at("m2", 10), part(second));
            let copy = questions.open.get_mut(&QuestionId(2)).expect("it is open");
            let asker = questions.settled[0].question.asker.clone();
            copy.question = Arc::new(Question { asker, ..(*copy.question).clone() });
            let unseen = |id| {
                let sender = AnswerSender { id, sent: time(10_000) };
                questions.unseen(QuestionId(2), (AnswerReference::None, AnswerForm::Option), sender)
            };
            assert_eq!((unseen("bob"), unseen("ann")), (of_bob, of_ann), "part {second}");
        }
    }

    #[test]
    fn people_are_reminded_once_of_each_question_of_the_agent() {
        let mut questions = OpenQuestions::default();
        open(&mut questions, 1, at("m1"));
        open(&mut questions, 2, at("m2"));
        let agent = questions.open[&QuestionId(2)].question.asker.clone();
        assert_eq!(questions.of(&agent).collect::<Vec<_>>(), [QuestionId(2)]);
        assert_eq!(questions.take_unreminded(&agent), [QuestionId(2)]);
        assert!(questions.take_unreminded(&agent).is_empty());
    }

    #[tokio::test]
    async fn a_question_shows_its_choices_and_mentions_the_person_whose_turn_waits() {
        let mut fixture = RoomFixture::asked("fix it").await;
        let (id, _) = fixture.asks_for_bash().await;
        let own = fixture.last_shown().await;
        let choices = fixture.task.questions.open[&id].question.choices(None);
        assert_eq!(own.choices, choices);
        assert_eq!(own.mentions, [Arc::<str>::from("ann")]);
        fixture.task.on_question(question(99, plan()));
        assert!(fixture.last_shown().await.mentions.is_empty(), "a story's waits for nobody in particular");
    }

    #[tokio::test]
    async fn a_question_of_an_earlier_process_is_closed_in_its_message() {
        let mut fixture = RoomFixture::new().await;
        let (id, _) = fixture.asks_for_bash().await;
        let left = OpenQuestion {
            rooms: Vec::new(),
            asked_for: "Ann".into(),
            tool: "Bash".into(),
            input: serde_json::json!({ "command": "ls" }),
            story: None,
        };
        fixture.task.on_left_question(id, &left, fixture.question_message());
        assert_eq!(fixture.last_shown().await.text, replies::question_lost(id, &left.tool, &left.input));
    }
}

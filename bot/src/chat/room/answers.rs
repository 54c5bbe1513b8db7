//! Taking a person's words as the answer to an open question.

use std::sync::Arc;

use adapters::{Addressed, ChoiceForm, Room, Tone};

use super::{
    RoomTask,
    answer_text::{AnswerText, ParsedAnswer, SaidText, split_number, split_word, take_number},
    intake,
    prompt_queue::CommandCall,
    questions::{AnswerForm, AnswerReference, AnswerSender, NotMeant, UnseenQuestion},
};
use crate::{
    commands::command::{CommandSpec, ParsedText},
    config::access::UserRole,
    permission::{AnswerKind, BoardQuestion, ConsentWords, Person, PersonAnswer, Question, QuestionId},
    replies,
};

/// Commands that are words like others to a question that takes words.
const ANSWERS: &[&str] = &["allow", "deny", "always"];

/// Answers that no plan and no question with options takes.
const ANSWERS_TO_CALLS: &[&str] = &["try", "keep"];

/// Words by which also a question with options is refused.
const REFUSALS: &[&str] = &["deny", "denied", "reject", "rejected"];

/// A longer remark on a plan is a wish, however it begins.
const SHORT_REMARK: usize = 3;

/// Whether a command answers a question.
pub(super) fn is_answer(command: &CommandSpec) -> bool {
    ANSWERS.contains(&command.name) || ANSWERS_TO_CALLS.contains(&command.name)
}

impl RoomTask {
    /// Takes the text as an answer if a question is open here and the text reads like one, or if it comes too late.
    pub(super) fn answers_question(&mut self, call: &CommandCall, said: &SaidText<'_>) -> bool {
        let read = match self.is_about_a_story(said.text) {
            true => AnswerText::Other,
            false => AnswerText::of(said.text),
        };
        // A late answer gets a reply of its own. As a prompt, a bare "yes" would start a turn and approve whatever
        // the model makes of it. A number in the text goes before the message that it replies to.
        if let AnswerText::Answer(parsed) = &read
            && let Some(late) = self.late_for(parsed, said)
        {
            self.say(replies::not_open(late), Tone::Failure, call.message.clone());
            return true;
        }
        if self.questions.is_empty() || self.is_about_a_story(said.text) {
            return false;
        }
        let named = match &read {
            AnswerText::Answer(parsed) => parsed.question,
            AnswerText::Unclear | AnswerText::Other => self.named_first(said.text),
        };
        if let AnswerText::Answer(parsed) = &read
            && let Some(id) = self.questions.question_or_entry(parsed)
        {
            self.say(replies::question_or_entry(id), Tone::Failure, call.message.clone());
            return true;
        }
        // "yes 2" picks from a list, if no other question is open.
        let named = match &read {
            AnswerText::Answer(parsed) if self.questions.picks_entry(parsed) => None,
            AnswerText::Answer(_) | AnswerText::Unclear | AnswerText::Other => named,
        };
        // "no 2 is better" and "#2" are about the options, unless question 2 is open.
        let named = named.filter(|id| self.questions.contains(*id) || !self.asks_for_a_choice(said, &read));
        match self.questions.find_meant(named, said.reply_to) {
            Ok(meant) => self.takes_as_answer(call, said, meant, (read, named)),
            Err(why) => self.answers_no_open_question(call, said, &read, why),
        }
    }

    fn takes_as_answer(
        &mut self,
        call: &CommandCall,
        said: &SaidText<'_>,
        (question, reference): (Arc<Question>, AnswerReference),
        (read, named): (AnswerText, Option<QuestionId>),
    ) -> bool {
        match &question.kind {
            AnswerKind::Choose { .. } => self.chooses(call, said, (question, reference), named),
            AnswerKind::Plan { .. } => self.judges_plan(call, said, (question, reference), read),
            AnswerKind::Board(BoardQuestion::Plan(_)) => {
                self.picks_stories(call, said, (question, reference), read)
            }
            AnswerKind::Tool { .. } | AnswerKind::Board(BoardQuestion::Act { .. }) => match read {
                AnswerText::Answer(parsed) => {
                    self.consents(call, said, (question, reference), parsed.answer);
                    true
                }
                AnswerText::Unclear => self.still_waits(call, &question),
                AnswerText::Other => false,
            },
        }
    }

    /// What reads like an answer and answers none of the open questions is no prompt either.
    fn answers_no_open_question(
        &self,
        call: &CommandCall,
        said: &SaidText<'_>,
        read: &AnswerText,
        why: NotMeant,
    ) -> bool {
        let (may_be_meant, sentence) = match why {
            NotMeant::NotOpen(id) => {
                // A number alone tells an agent nothing.
                let is_number = split_number(said.text).1.is_empty();
                (is_number || matches!(read, AnswerText::Answer(_)), replies::not_open(id))
            }
            NotMeant::Ambiguous(open) => (
                *read != AnswerText::Other || self.questions.any_option_is(said.text),
                replies::which_question(open.into_iter()),
            ),
        };
        if may_be_meant {
            self.say(sentence, Tone::Failure, call.message.clone());
        }
        may_be_meant
    }

    /// What sounds like an answer where only threads of this room have open questions: it may be meant for one of them, so it is no prompt.
    pub(super) fn may_answer_in_thread(&self, call: &CommandCall, text: &str) -> bool {
        let named = match AnswerText::of(text) {
            AnswerText::Other => return false,
            AnswerText::Unclear => None,
            AnswerText::Answer(parsed) => parsed.question,
        };
        if !self.questions.is_empty() || self.is_about_a_story(text) {
            return false;
        }
        let is_below = |room: &Room| room.above().is_some_and(|above| above == self.room);
        let open = self.services.broker.open_questions();
        let meant = open.iter().filter(|question| named.is_none_or(|named| named == question.id));
        let below: Vec<_> = meant.filter(|question| question.rooms.iter().any(is_below)).collect();
        if !below.is_empty() {
            let ids = below.iter().map(|question| question.id);
            self.say(replies::waits_in_thread(ids), Tone::Failure, call.message.clone());
        }
        !below.is_empty()
    }

    /// `#12 in blue` names question 12.
    fn named_first(&self, text: &str) -> Option<QuestionId> {
        if text.trim().starts_with('#') { split_number(text).0 } else { None }
    }

    fn asks_for_a_choice(&self, said: &SaidText<'_>, read: &AnswerText) -> bool {
        let meant = self.questions.find_meant(None, said.reply_to);
        // A list of stories takes a plain "yes", too: "yes 9" must not become one.
        let may_pick = |question: &Question| *read == AnswerText::Other && question.entries() > 0;
        meant.is_ok_and(|(question, _)| question.options().is_some() || may_pick(&question))
    }

    fn consents(
        &mut self,
        call: &CommandCall,
        said: &SaidText<'_>,
        (question, reference): (Arc<Question>, AnswerReference),
        answer: PersonAnswer,
    ) {
        // A denial does no harm whatever it was meant for.
        let denies = matches!(answer, PersonAnswer::No(_));
        let sender = AnswerSender { id: &call.sender.id, sent: said.sent_at };
        let unseen = self.questions.unseen(question.id, (reference, AnswerForm::Consent), sender);
        match (unseen.filter(|_| !denies), answer) {
            (Some(why), _) => self.refuse_unseen(call, &question, why),
            (None, PersonAnswer::Keep(_)) => self.keep_effect(call, question.id, None, said.sent_at),
            (None, answer) => self.give_answer(call, question.id, answer),
        }
    }

    /// All stories of a list are approved beyond doubt, or some of them are picked, or the words are the wish for another list.
    fn picks_stories(
        &mut self,
        call: &CommandCall,
        said: &SaidText<'_>,
        meant: (Arc<Question>, AnswerReference),
        read: AnswerText,
    ) -> bool {
        match read {
            AnswerText::Answer(parsed) if !self.questions.picks_entry(&parsed) => {
                self.judges_plan(call, said, meant, AnswerText::Answer(parsed))
            }
            AnswerText::Unclear if !meant.0.is_pick(said.text) => {
                self.judges_plan(call, said, meant, AnswerText::Unclear)
            }
            AnswerText::Answer(_) | AnswerText::Unclear | AnswerText::Other => {
                self.answers_in_words(call, said, meant, Some(said.text))
            }
        }
    }

    /// A plan is approved beyond doubt, or the words are the wish for another one.
    fn judges_plan(
        &mut self,
        call: &CommandCall,
        said: &SaidText<'_>,
        meant: (Arc<Question>, AnswerReference),
        read: AnswerText,
    ) -> bool {
        match read {
            // To a plan these are words like others.
            AnswerText::Answer(ParsedAnswer {
                answer: PersonAnswer::Try | PersonAnswer::Keep(_), ..
            })
            | AnswerText::Other => self.answers_in_words(call, said, meant, None),
            AnswerText::Answer(parsed) => {
                self.consents(call, said, meant, parsed.answer);
                true
            }
            AnswerText::Unclear if said.text.split_whitespace().count() <= SHORT_REMARK => {
                self.still_waits(call, &meant.0)
            }
            AnswerText::Unclear => self.answers_in_words(call, said, meant, None),
        }
    }

    /// An option goes before a command of the same name: the question is what people have before their eyes.
    fn chooses(
        &mut self,
        call: &CommandCall,
        said: &SaidText<'_>,
        meant: (Arc<Question>, AnswerReference),
        named: Option<QuestionId>,
    ) -> bool {
        let words = if named.is_some() { take_number(said.text).1 } else { said.text.to_owned() };
        let words = words.as_str();
        let is_option = meant.0.options().is_some_and(|asked| asked.names_an_option(words));
        if is_option && !self.is_explicit_command(words, call.addressed) {
            return self.passes_on(call, said, meant, words);
        }
        if REFUSALS.contains(&split_word(words).0.to_lowercase().as_str()) {
            let reason = Some(split_word(words).1).filter(|reason| !reason.is_empty()).map(str::to_owned);
            self.give_answer(call, meant.0.id, PersonAnswer::No(reason));
            return true;
        }
        self.answers_in_words(call, said, meant, Some(words))
    }

    /// Free words answer the model's questions and plans: the turn waits for nothing else. If they are a command they are still one, so
    /// that `stop` works while the model asks.
    fn answers_in_words(
        &mut self,
        call: &CommandCall,
        said: &SaidText<'_>,
        meant: (Arc<Question>, AnswerReference),
        words: Option<&str>,
    ) -> bool {
        let words = words.unwrap_or_else(|| match self.named_first(said.text) {
            Some(_) => split_number(said.text).1,
            None => said.text,
        });
        if words.trim().is_empty() || self.is_command(words, call.addressed) {
            return false;
        }
        self.passes_on(call, said, meant, words)
    }

    fn passes_on(
        &mut self,
        call: &CommandCall,
        said: &SaidText<'_>,
        (question, reference): (Arc<Question>, AnswerReference),
        words: &str,
    ) -> bool {
        let form = match ConsentWords::of(words) {
            ConsentWords::Yes | ConsentWords::No(None) | ConsentWords::Always => AnswerForm::Consent,
            _ if question.options().is_some_and(|asked| asked.names_an_option(words)) => AnswerForm::Option,
            _ => AnswerForm::Words,
        };
        let sender = AnswerSender { id: &call.sender.id, sent: said.sent_at };
        match self.questions.unseen(question.id, (reference, form), sender) {
            // They were written before the question was there: a prompt.
            Some(UnseenQuestion::NotShownYet) if form == AnswerForm::Words => return false,
            Some(why) => self.refuse_unseen(call, &question, why),
            None => self.give_answer(call, question.id, PersonAnswer::Text(words.trim().to_owned())),
        }
        true
    }

    /// Whether a text is a command although a question waits for words.
    fn is_command(&self, words: &str, addressed: Option<Addressed>) -> bool {
        let registry = &self.services.commands.registry;
        match registry.parse(words, addressed) {
            ParsedText::Command(command, _) if ANSWERS.contains(&command.spec().name) => false,
            ParsedText::Command(command, args) => {
                intake::is_meant(command.spec(), (words.trim(), args), addressed, true)
            }
            // A mistyped command is no answer.
            ParsedText::Unknown(word, near) => near.is_some() && word == words.trim(),
            ParsedText::AgentOnly(..) => true,
            ParsedText::Prompt => false,
        }
    }

    /// Whether a text is a command by its prefix.
    fn is_explicit_command(&self, words: &str, addressed: Option<Addressed>) -> bool {
        matches!(addressed, Some(Addressed::Prefix | Addressed::Slash)) && self.is_command(words, addressed)
    }

    /// Words that may be an answer and may be none change nothing.
    fn still_waits(&self, call: &CommandCall, question: &Question) -> bool {
        self.say(replies::still_waits(question), Tone::Failure, call.message.clone());
        true
    }

    /// Passes on the answer of a pick. A button belongs to its message; a number that is typed picks from the newest question, and so
    /// is as good as a bare answer.
    pub(super) fn answer_by_pick(
        &mut self,
        call: &CommandCall,
        id: QuestionId,
        answer: PersonAnswer,
        sent_at: std::time::SystemTime,
    ) {
        let is_typed = self.adapter.capabilities().choices == ChoiceForm::Numbers;
        let may_confuse = is_typed && !matches!(answer, PersonAnswer::No(_));
        let sender = AnswerSender { id: &call.sender.id, sent: sent_at };
        let unseen = self.questions.unseen_pick(id, sender).filter(|_| may_confuse);
        match (unseen, answer) {
            (Some((question, why)), _) => self.refuse_unseen(call, &question, why),
            (None, PersonAnswer::Keep(effect)) if is_typed => self.keep_effect(call, id, effect, sent_at),
            (None, answer) => self.give_answer(call, id, answer),
        }
    }

    /// The question that closed before this answer to it came.
    fn late_for(&self, parsed: &ParsedAnswer, said: &SaidText<'_>) -> Option<QuestionId> {
        if let Some(id) = said.reply_to.and_then(|message| self.questions.settled_shown_by(message)) {
            return parsed.question.is_none_or(|named| named == id).then_some(id);
        }
        let is_bare = parsed.question.is_none() && !matches!(parsed.answer, PersonAnswer::No(_));
        self.questions.closed_just_before(said.sent_at).filter(|_| is_bare && self.questions.is_empty())
    }

    fn refuse_unseen(&self, call: &CommandCall, question: &Question, why: UnseenQuestion) {
        let closed = match why {
            UnseenQuestion::JustAfter(other) => Some(other),
            UnseenQuestion::NotShownYet => None,
        };
        self.say(replies::question_unseen(question, closed), Tone::Failure, call.message.clone());
    }

    /// `reject 12 WHY` is about story 12, unless question 12 is open here. `accept 12` is about no question.
    fn is_about_a_story(&self, text: &str) -> bool {
        let (word, rest) = split_word(text);
        let (number, _) = split_number(rest);
        let Some(id) = number else { return false };
        if word.eq_ignore_ascii_case("accept") {
            return true;
        }
        let story = u32::try_from(id.0).ok().map(pipeline::story::StoryId);
        let board = self.services.commands.pipeline.snapshot().board.clone();
        let is_story = story.is_some_and(|story| board.story(story).is_some());
        word.eq_ignore_ascii_case("reject") && !self.questions.contains(id) && is_story
    }

    /// Passes the answer to the broker. A person without the right, or who comes too late, gets a reply.
    pub(super) fn give_answer(&mut self, call: &CommandCall, id: QuestionId, answer: PersonAnswer) {
        let asked = self.questions.iter().find(|question| question.id == id);
        let needs = asked.map_or(UserRole::Approver, |question| question.needs());
        if self.services.access().role(&self.room, &call.sender.id) < Some(needs) {
            return self.say(
                replies::not_an_approver(&call.sender.name),
                Tone::Failure,
                call.message.clone(),
            );
        }
        let by = Person::new(call.sender.id.to_string(), call.sender.name.to_string());
        if let Err(refused) = self.services.broker.answer(id, &self.room, &by, answer) {
            self.say(replies::answer_refused(&refused), Tone::Failure, call.message.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use adapters::{Adapter as _, Capabilities, MessageId, testing::fake::Fake};
    use serde_json::json;

    use super::*;
    use crate::{
        chat::room::{
            fixture::{RoomFixture, now},
            trials::EffectPlace,
        },
        permission::{
            AnswerRefused, Asker, BoardConsent, DenialReason, NoTrial, PermissionAsk, PermissionDecision,
        },
    };

    /// Whether ann's words, maybe a reply, are taken as an answer.
    fn takes(fixture: &mut RoomFixture, text: &str, reply_to: Option<&MessageId>) -> bool {
        let call = fixture.call("ann", Some(Addressed::Direct));
        // Later than any question closes here, so that nobody can have meant that one.
        let sent_at = now() + std::time::Duration::from_secs(10);
        fixture.task.answers_question(&call, &SaidText { text, reply_to, sent_at })
    }

    fn denied(decision: PermissionDecision) -> Option<String> {
        match decision {
            PermissionDecision::Denied(DenialReason::Person { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn without_an_open_question_nothing_is_an_answer() {
        let mut fixture = RoomFixture::new().await;
        for text in ["yes", "no 3", "use another color"] {
            assert!(!takes(&mut fixture, text, None), "{text}");
        }
        assert_eq!(fixture.transcript().await, "");
    }

    #[tokio::test]
    async fn the_only_question_is_answered_by_a_bare_word_and_one_of_several_by_its_number_or_a_reply() {
        let mut fixture = RoomFixture::new().await;
        let (_, only) = fixture.asks_for_bash().await;
        assert!(takes(&mut fixture, "no, use cp", None));
        assert_eq!(denied(only.await.unwrap()), Some("use cp".into()));
        fixture.handles_all().await;
        let (first, second) = (fixture.asks_for_bash().await, fixture.asks_for_bash().await);
        assert!(takes(&mut fixture, "yes", None));
        let replies = fixture.transcript().await;
        assert!(replies.ends_with(&format!(
            "bot (failure): {}\n",
            replies::which_question([first.0, second.0].into_iter())
        )));
        assert!(takes(&mut fixture, &format!("yes {}", first.0), None));
        assert!(matches!(first.1.await, Ok(PermissionDecision::Allowed { .. })));
        let third = fixture.asks_for_bash().await;
        let message = fixture.question_message();
        assert!(takes(&mut fixture, "no", Some(&message)));
        assert_eq!(denied(third.1.await.unwrap()), None);
        assert!(!second.1.is_finished());
    }

    #[tokio::test]
    async fn a_number_that_is_not_open_is_refused_and_is_no_prompt() {
        let mut fixture = RoomFixture::new().await;
        let (_, decision) = fixture.asks_for_bash().await;
        assert!(takes(&mut fixture, "yes 99", None));
        let expected = format!("bot (failure): {}\n", replies::not_open(QuestionId(99)));
        assert!(fixture.transcript().await.ends_with(&expected));
        assert!(!decision.is_finished());
    }

    #[tokio::test]
    async fn an_answer_that_comes_too_late_is_refused_and_is_no_prompt() {
        let mut fixture = RoomFixture::new().await;
        let (id, decision) = fixture.asks_for_bash().await;
        let message = fixture.question_message();
        assert!(takes(&mut fixture, "yes", Some(&message)));
        decision.await.unwrap();
        fixture.handles_all().await;
        let late = format!("bot (failure): {}\n", replies::not_open(id));
        for text in ["yes", &format!("no {id} too risky")] {
            assert!(takes(&mut fixture, text, Some(&message)), "{text}");
            assert!(fixture.transcript().await.ends_with(&late));
        }
        for text in ["go on", "yes 99", &format!("reject {id} too slow")] {
            assert!(!takes(&mut fixture, text, Some(&message)), "{text} is no answer to that question");
        }
        assert!(!takes(&mut fixture, "yes", Some(&MessageId::new("another"))));
        let (other, decision) = fixture.asks_for_bash().await;
        assert!(takes(&mut fixture, &format!("yes {other}"), Some(&message)));
        assert!(
            matches!(decision.await, Ok(PermissionDecision::Allowed { .. })),
            "the number goes before the reply"
        );
    }

    #[tokio::test]
    async fn a_bare_yes_just_after_the_only_question_closed_is_late_and_other_words_are_a_prompt() {
        let mut fixture = RoomFixture::new().await;
        let (id, decision) = fixture.asks_for_bash().await;
        assert!(takes(&mut fixture, "no", None));
        decision.await.unwrap();
        fixture.handles_all().await;
        let call = fixture.call("ann", Some(Addressed::Direct));
        for (text, is_late) in [("yes", true), ("no", false), ("yes 99", false)] {
            let said = SaidText { text, reply_to: None, sent_at: now() };
            assert_eq!(fixture.task.answers_question(&call, &said), is_late, "{text}");
        }
        let late = format!("bot (failure): {}\n", replies::not_open(id));
        assert!(fixture.transcript().await.ends_with(&late));
    }

    #[tokio::test]
    async fn a_label_that_fits_one_of_several_questions_is_no_prompt() {
        let mut fixture = RoomFixture::new().await;
        let (first, _) = fixture.asks_for_bash().await;
        let (second, _) = fixture.asks("AskUserQuestion", which(&["Red", "Blue"], false)).await;
        assert!(takes(&mut fixture, "blue", None) && !takes(&mut fixture, "green", None));
        let which = replies::which_question([first, second].into_iter());
        assert!(fixture.transcript().await.ends_with(&format!("bot (failure): {which}\n")));
    }

    #[tokio::test]
    async fn to_reject_a_story_is_no_answer_unless_a_question_has_its_number() {
        let mut fixture = RoomFixture::new().await;
        let (id, decision) = fixture.asks_for_bash().await;
        assert_eq!(id, QuestionId(1), "the number of the story, too");
        assert!(takes(&mut fixture, "REJECT 1 too slow", None));
        assert_eq!(denied(decision.await.unwrap()), Some("too slow".into()));
        fixture.handles_all().await;
        let (_, decision) = fixture.asks_for_bash().await;
        assert!(!takes(&mut fixture, "Reject #1 too slow", None));
        assert!(takes(&mut fixture, "no 1 too slow", None), "that is about a question");
        assert!(takes(&mut fixture, "reject 99 too slow", None), "there is no such story");
        assert!(takes(&mut fixture, "reject 5000000000 too slow", None), "nor such a number of one");
        assert!(!decision.is_finished());
        assert!(takes(&mut fixture, "reject", None));
        assert_eq!(denied(decision.await.unwrap()), None);
    }

    #[tokio::test]
    async fn free_words_answer_a_plan_and_no_tool_call() {
        let mut fixture = RoomFixture::new().await;
        let (_, tool) = fixture.asks_for_bash().await;
        assert!(!takes(&mut fixture, "use another color", None));
        assert!(takes(&mut fixture, "yes", None));
        tool.await.unwrap();
        fixture.handles_all().await;
        let (_, plan) = fixture.asks("ExitPlanMode", json!({"plan": "Paint it."})).await;
        for text in ["status", "status all", "  "] {
            assert!(!takes(&mut fixture, text, None), "{text:?}");
        }
        assert!(!takes(&mut fixture, "try", None), "the name of a command");
        for prefix in [Addressed::Prefix, Addressed::Slash] {
            let call = fixture.call("ann", Some(prefix));
            let said = SaidText { text: "statsu", reply_to: None, sent_at: now() };
            assert!(!fixture.task.answers_question(&call, &said), "a mistyped command");
        }
        assert!(takes(&mut fixture, " use another color\n", None));
        assert_eq!(denied(plan.await.unwrap()), Some("use another color".into()));
    }

    #[tokio::test]
    async fn what_cannot_be_tried_or_kept_says_why_and_stays_open() {
        let mut fixture = RoomFixture::new().await;
        let (id, decision) = fixture.asks_for_bash().await;
        for (said, expected) in [
            ("try", replies::answer_refused(&AnswerRefused::NoTrial(id, NoTrial::NoPlace))),
            ("keep", replies::answer_refused(&AnswerRefused::NoEffect(id))),
            (&format!("keep {id}"), replies::answer_refused(&AnswerRefused::NoEffect(id))),
        ] {
            assert!(takes(&mut fixture, said, None), "{said}");
            assert!(fixture.transcript().await.ends_with(&format!("bot (failure): {expected}\n")), "{said}");
        }
        assert!(!decision.is_finished());
    }

    #[tokio::test]
    async fn of_several_plans_words_answer_the_one_that_a_number_or_a_reply_names() {
        let mut fixture = RoomFixture::new().await;
        let plan = json!({"plan": "Paint it."});
        let (first, second) =
            (fixture.asks("ExitPlanMode", plan.clone()).await, fixture.asks("ExitPlanMode", plan).await);
        assert!(!takes(&mut fixture, "in blue", None));
        assert!(!takes(&mut fixture, "#99 in blue", None));
        assert!(
            !takes(&mut fixture, &format!("{} in blue", first.0), None),
            "a bare number may be the answer"
        );
        assert!(takes(&mut fixture, &format!(" #{} in blue", first.0), None));
        assert_eq!(denied(first.1.await.unwrap()), Some("in blue".into()));
        let message = fixture.question_message();
        assert!(takes(&mut fixture, "in red", Some(&message)));
        assert_eq!(denied(second.1.await.unwrap()), Some("in red".into()));
    }

    #[tokio::test]
    async fn only_an_approver_may_answer_and_only_once() {
        let mut fixture = RoomFixture::new().await;
        let (id, decision) = fixture.asks_for_bash().await;
        for person in ["bob", "eve"] {
            let call = fixture.call(person, Some(Addressed::Direct));
            fixture.task.give_answer(&call, id, PersonAnswer::Yes);
            let refused = format!("bot (failure): {}\n", replies::not_an_approver(person));
            assert!(fixture.transcript().await.ends_with(&refused));
        }
        assert!(!decision.is_finished());
        let call = fixture.call("ann", Some(Addressed::Direct));
        let before = fixture.transcript().await;
        fixture.task.give_answer(&call, id, PersonAnswer::Yes);
        assert_eq!(fixture.transcript().await, before, "nothing is to be said");
        fixture.task.give_answer(&call, id, PersonAnswer::Yes);
        let again = format!("bot (failure): {}\n", replies::not_open(id));
        assert!(fixture.transcript().await.ends_with(&again));
        assert!(matches!(decision.await, Ok(PermissionDecision::Allowed { .. })));
    }
    /// The model's question with these options.
    fn which(labels: &[&str], several: bool) -> serde_json::Value {
        let options: Vec<_> =
            labels.iter().map(|label| json!({ "label": label, "description": "" })).collect();
        json!({ "questions": [{ "question": "Which?", "header": "h", "multiSelect": several, "options": options }] })
    }

    async fn answered(labels: &[&str], said: &str) -> Option<String> {
        let mut fixture = RoomFixture::new().await;
        let (_, decision) = fixture.asks("AskUserQuestion", which(labels, false)).await;
        if !takes(&mut fixture, said, None) || fixture.services.broker.open_questions().len() == 1 {
            return None;
        }
        match decision.await.unwrap() {
            PermissionDecision::Allowed { input } => input["answers"]["Which?"].as_str().map(str::to_owned),
            denied => Some(format!("{denied:?}")),
        }
    }

    #[tokio::test]
    async fn an_option_goes_before_consent_before_a_command_and_before_words() {
        let yes_or_no = ["Yes", "No"];
        for (labels, said, answer) in [
            (&yes_or_no[..], "no", "No"),
            (&yes_or_no, "NO!", "No"),
            (&yes_or_no, "yes", "Yes"),
            (&yes_or_no, "👍🏾", "Yes"),
            (&yes_or_no, "yes but ask Ann first", "yes but ask Ann first"),
            (&["2", "4", "8"], "2", "2"),
            (&["2", "4", "8"], "16", "16"),
            (&["Start", "Stop"], "stop", "Stop"),
            (&["Red", "Blue"], "2", "Blue"),
            (&["Red", "Blue"], "no", "no"),
            (&["Red", "Blue"], "new colors please, something warm", "new colors please, something warm"),
            (&["Red", "Blue"], "no 2 is better", "no 2 is better"),
        ] {
            assert_eq!(answered(labels, said).await.as_deref(), Some(answer), "{said} to {labels:?}");
        }
        for command in ["status", "stop", "help status"] {
            assert_eq!(answered(&["Red", "Blue"], command).await, None, "{command} is a command");
        }
        assert_eq!(answered(&["Red", "Blue"], "1 2").await, None, "one of them");
        let refused = answered(&["Red", "Blue"], "deny").await.expect("it is taken");
        assert!(refused.starts_with("Denied"), "{refused}");
    }

    #[tokio::test]
    async fn a_question_with_options_is_refused_with_a_reason_or_without() {
        for (said, reason) in [("deny", None), ("Reject both are ugly", Some("both are ugly".to_owned()))] {
            let mut fixture = RoomFixture::new().await;
            let (_, decision) = fixture.asks("AskUserQuestion", which(&["Red", "Blue"], false)).await;
            assert!(takes(&mut fixture, said, None), "{said}");
            assert_eq!(denied(decision.await.unwrap()), reason, "{said}");
        }
    }

    #[tokio::test]
    async fn with_a_prefix_an_option_is_an_answer_and_a_command_a_command() {
        let mut fixture = RoomFixture::new().await;
        let (_, decision) = fixture.asks("AskUserQuestion", which(&["Stop", "Go on"], false)).await;
        let call = fixture.call("ann", Some(Addressed::Prefix));
        let mut takes = |text| {
            let sent_at = now() + std::time::Duration::from_secs(10);
            fixture.task.answers_question(&call, &SaidText { text, reply_to: None, sent_at })
        };
        assert!(!takes("stop") && !takes("statsu"));
        assert!(takes("2"));
        let PermissionDecision::Allowed { input } = decision.await.unwrap() else { panic!("denied") };
        assert_eq!(input["answers"]["Which?"], "Go on");
    }

    #[tokio::test]
    async fn what_sounds_like_an_answer_and_is_none_changes_nothing_and_is_no_prompt() {
        let mut fixture = RoomFixture::new().await;
        let (_, decision) = fixture.asks_for_bash().await;
        let open = fixture.services.broker.open_questions();
        let question = open.first().expect("the question is open");
        for said in ["yes but only in /tmp", "sure?", "not yes", "no problem", "hm", "yes or no?"] {
            assert!(takes(&mut fixture, said, None), "{said}");
            let expected = format!("bot (failure): {}\n", replies::still_waits(question));
            assert!(fixture.transcript().await.ends_with(&expected), "{said}");
        }
        assert!(takes(&mut fixture, "#99", None));
        assert!(fixture.transcript().await.ends_with(&format!("{}\n", replies::not_open(QuestionId(99)))));
        assert!(!takes(&mut fixture, "yesterday it worked", None));
        assert!(!takes(&mut fixture, "#99 bottles", None));
        assert!(!decision.is_finished());
        assert!(takes(&mut fixture, "yes please", None));
        assert!(matches!(decision.await, Ok(PermissionDecision::Allowed { .. })));
    }

    #[tokio::test]
    async fn what_sounds_like_an_answer_beside_the_thread_of_a_question_is_no_prompt() {
        let mut fixture = RoomFixture::new().await;
        let broker = fixture.services.broker.clone();
        let asks = async |room: &str| {
            let room = Room::new("fake", room);
            let ask = PermissionAsk {
                rooms: vec![room.clone()],
                asker: Asker::room(room),
                request: Default::default(),
                folder: None,
                call: None,
                blocked_path: None,
                asked_for: "Ann".into(),
                tool: "Bash".into(),
                input: json!({ "command": "ls" }),
                timeout: None,
            };
            let (before, asking) = (broker.open_questions().len(), broker.clone());
            tokio::spawn(async move { asking.ask(ask).await });
            while broker.open_questions().len() == before {
                tokio::task::yield_now().await;
            }
            broker.open_questions().iter().map(|question| question.id).max().expect("a question")
        };
        asks("b/m1").await;
        fixture.says("ann", "yes").await;
        assert!(fixture.task.turn.is_running(), "that is of another conversation");
        fixture.answers("done");
        let first = asks("a/m1").await;
        for said in
            ["yes", "👍", "sure, go ahead", "no", "no, use cp", "always", "yes but only in /tmp", "ok?"]
        {
            fixture.says("ann", said).await;
            assert!(!fixture.task.is_busy(), "{said}");
            let expected = format!("bot (failure): {}\n", replies::waits_in_thread([first].into_iter()));
            assert!(fixture.transcript().await.ends_with(&expected), "{said}");
        }
        for said in ["!yes", "!allow", "yes 2", "no 2 too risky", "!keep", "!no"] {
            fixture.says("ann", said).await;
            let expected = format!("bot (failure): {}\n", replies::waits_in_thread([first].into_iter()));
            assert!(fixture.transcript().await.ends_with(&expected), "{said}");
        }
        fixture.says("ann", "yes 99").await;
        assert!(
            fixture
                .transcript()
                .await
                .ends_with(&format!("bot (failure): {}\n", replies::not_open(QuestionId(99))))
        );
        fixture.says("ann", "!whoami").await;
        assert!(fixture.transcript().await.contains("role: approver"), "another command is one");
        let second = asks("a/m2").await;
        fixture.says("ann", "yes").await;
        let both = replies::waits_in_thread([first, second].into_iter());
        assert!(fixture.transcript().await.ends_with(&format!("bot (failure): {both}\n")));
        assert_eq!(broker.open_questions().len(), 3);
        fixture.says("ann", "paint the door").await;
        assert!(fixture.task.turn.is_running(), "that is no answer");
    }

    #[tokio::test]
    async fn natural_words_are_for_one_of_several_questions_only_with_its_number() {
        let mut fixture = RoomFixture::new().await;
        let (first, second) = (fixture.asks_for_bash().await, fixture.asks_for_bash().await);
        for said in ["👍", "sure", "go ahead", "yes to both", "ok?"] {
            assert!(takes(&mut fixture, said, None), "{said}");
            let which = replies::which_question([first.0, second.0].into_iter());
            assert!(fixture.transcript().await.ends_with(&format!("bot (failure): {which}\n")), "{said}");
        }
        assert!(!first.1.is_finished() && !second.1.is_finished());
        assert!(takes(&mut fixture, &format!("go ahead with {}", second.0), None));
        assert!(matches!(second.1.await, Ok(PermissionDecision::Allowed { .. })) && !first.1.is_finished());
    }

    #[tokio::test]
    async fn to_accept_a_story_is_no_consent() {
        let mut fixture = RoomFixture::new().await;
        let (id, decision) = fixture.asks_for_bash().await;
        assert!(!takes(&mut fixture, &format!("accept {id}"), None));
        assert!(!decision.is_finished());
    }

    /// What ann's words make of three proposed stories.
    async fn proposed(said: &str) -> String {
        let mut fixture = RoomFixture::new().await;
        let (id, consent) = fixture.proposes(&["Door", "Roof", "Wall"]).await;
        let is_taken = takes(&mut fixture, said, None);
        if fixture.services.broker.is_open(id) {
            return if is_taken { "refused" } else { "no answer" }.into();
        }
        match consent.await.unwrap() {
            Ok(BoardConsent { picked: None, .. }) => "all".into(),
            Ok(BoardConsent { picked: Some(picked), .. }) => format!("{picked:?}"),
            Err(DenialReason::Person { reason, .. }) => format!("none: {}", reason.unwrap_or_default()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn consent_takes_all_proposed_stories_numbers_pick_some_and_words_ask_for_others() {
        for (said, became) in [
            ("yes", "all"),
            ("2", "[2]"),
            ("#2", "[2]"),
            ("#1 and #3", "[1, 3]"),
            ("#9", "refused"),
            ("yes 2", "[2]"),
            ("only 1 and 3", "[1, 3]"),
            ("yes, but without 2", "[1, 3]"),
            ("yes without 2", "[1, 3]"),
            ("no", "none: "),
            ("no, too many", "none: too many"),
            ("a smaller one first", "none: a smaller one first"),
            ("yes but split the first one", "none: yes but split the first one"),
            ("sure?", "refused"),
            ("4", "refused"),
            ("yes 9", "refused"),
            ("status", "no answer"),
        ] {
            assert_eq!(proposed(said).await, became, "{said}");
        }
        let mut fixture = RoomFixture::new().await;
        let _open = fixture.proposes(&["Door", "Roof"]).await;
        assert!(takes(&mut fixture, "sure?", None));
        assert!(fixture.transcript().await.contains("still waits: yes, no, numbers like"));
    }

    #[tokio::test]
    async fn a_number_that_is_both_the_question_and_an_entry_of_its_list_has_to_be_said_otherwise() {
        let mut fixture = RoomFixture::new().await;
        let (id, _consent) = fixture.proposes(&["Door", "Roof"]).await;
        assert!(takes(&mut fixture, &format!("yes {id}"), None));
        let asked = format!("bot (failure): {}\n", replies::question_or_entry(id));
        assert!(fixture.transcript().await.ends_with(&asked));
        assert!(fixture.services.broker.is_open(id));
    }

    #[tokio::test]
    async fn whoever_may_write_may_choose_among_proposed_stories_and_answers_nothing_else() {
        let mut fixture = RoomFixture::new().await;
        let (list, consent) = fixture.proposes(&["Door"]).await;
        let (tool, _) = fixture.asks_for_bash().await;
        for (person, id, is_open) in [("bob", tool, true), ("eve", list, true), ("bob", list, false)] {
            let call = fixture.call(person, Some(Addressed::Direct));
            fixture.task.give_answer(&call, id, PersonAnswer::Yes);
            assert_eq!(fixture.services.broker.is_open(id), is_open, "{person} {id}");
        }
        assert_eq!(consent.await.unwrap().map(|consent| consent.by.id), Ok("bob".into()));
    }

    /// A room in which a question has just taken the place of another one.
    async fn changed(choices: ChoiceForm) -> (RoomFixture, QuestionId) {
        let capabilities = Capabilities { choices, ..Fake::new("fake").capabilities() };
        let mut fixture = RoomFixture::on(Fake::with("fake", capabilities)).await;
        let (_, before) = fixture.asks_for_bash().await;
        assert!(takes(&mut fixture, "no", None));
        before.await.unwrap();
        fixture.handles_all().await;
        let (id, _) = fixture.asks_for_bash().await;
        (fixture, id)
    }

    #[tokio::test]
    async fn a_bare_yes_as_questions_change_allows_nothing_and_a_no_counts() {
        for (text, counts) in [("yes", false), ("no", true)] {
            let (mut fixture, id) = changed(ChoiceForm::None).await;
            let call = fixture.call("ann", Some(Addressed::Direct));
            let said = SaidText { text, reply_to: None, sent_at: now() };
            assert!(fixture.task.answers_question(&call, &said));
            assert_eq!(fixture.services.broker.is_open(id), !counts, "{text}");
            let open = fixture.task.questions.iter().find(|question| question.id == id).expect("it is shown");
            let refused = replies::question_unseen(open, Some(QuestionId(id.0 - 1)));
            assert_eq!(fixture.transcript().await.contains(&refused), !counts, "{text}");
        }
    }

    #[tokio::test]
    async fn a_number_typed_as_questions_change_allows_nothing_and_a_button_belongs_to_its_question() {
        let (typed, button) = (ChoiceForm::Numbers, ChoiceForm::Buttons { max: 10 });
        for (choices, answer, counts) in [
            (typed, PersonAnswer::Yes, false),
            (typed, PersonAnswer::No(None), true),
            (button, PersonAnswer::Yes, true),
        ] {
            let (mut fixture, id) = changed(choices).await;
            let call = fixture.call("ann", Some(Addressed::Prefix));
            fixture.task.answer_by_pick(&call, id, answer.clone(), now());
            assert_eq!(fixture.services.broker.is_open(id), !counts, "{choices:?} {answer:?}");
            assert_eq!(fixture.transcript().await.contains("(failure)"), !counts, "{choices:?} {answer:?}");
        }
    }

    #[tokio::test]
    async fn keep_by_a_typed_number_is_for_an_effect_that_was_seen() {
        for (choices, expected) in [
            (ChoiceForm::Numbers, replies::effect_unseen as fn(QuestionId) -> String),
            (ChoiceForm::Buttons { max: 10 }, |id| replies::answer_refused(&AnswerRefused::NoEffect(id))),
        ] {
            let capabilities = Capabilities { choices, ..Fake::new("fake").capabilities() };
            let mut fixture = RoomFixture::on(Fake::with("fake", capabilities)).await;
            let (id, _decision) = fixture.asks_for_bash().await;
            *fixture.task.questions.shown(id).expect("it is open").2.lock() = EffectPlace::Sending;
            let call = fixture.call("ann", Some(Addressed::Prefix));
            fixture.task.answer_by_pick(&call, id, PersonAnswer::Keep(None), now());
            let expected = format!("bot (failure): {}\n", expected(id));
            assert!(fixture.transcript().await.ends_with(&expected), "{choices:?}");
        }
    }

    #[tokio::test]
    async fn what_was_said_to_the_question_before_picks_no_option_and_own_words_from_before_are_a_prompt() {
        let mut fixture = RoomFixture::new().await;
        let (_, before) = fixture.asks_for_bash().await;
        assert!(takes(&mut fixture, "no", None));
        before.await.unwrap();
        fixture.handles_all().await;
        let (id, decision) = fixture.asks("AskUserQuestion", which(&["Yes", "No"], false)).await;
        let call = fixture.call("ann", Some(Addressed::Direct));
        let mut takes_early = |text, seconds| {
            let sent_at = now() - std::time::Duration::from_secs(seconds);
            fixture.task.answers_question(&call, &SaidText { text, reply_to: None, sent_at })
        };
        assert!(takes_early("yes", 0), "meant for the question before");
        assert!(takes_early("2", 5), "nobody saw the options yet");
        assert!(!takes_early("use another color", 5));
        assert!(fixture.services.broker.is_open(id) && !decision.is_finished());
        assert!(takes(&mut fixture, "use another color", None));
        assert!(matches!(decision.await, Ok(PermissionDecision::Allowed { .. })));
    }
}

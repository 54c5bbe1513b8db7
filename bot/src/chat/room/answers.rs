//! Reading a person's words as the answer to an open question.

use std::time::SystemTime;

use adapters::{ChoiceForm, MessageId, Tone};

use super::{
    RoomTask,
    prompt_queue::CommandCall,
    questions::{AnswerForm, NotMeant, UnseenQuestion},
};
use crate::{
    config::access::UserRole,
    permission::{Person, PersonAnswer, Question, QuestionId},
    replies,
};

const YES: &[&str] = &["yes", "y", "ok", "allow", "approve"];
const NO: &[&str] = &["no", "n", "deny", "reject"];
const ALWAYS: &[&str] = &["always"];
const TRY: &[&str] = &["try", "dry-run", "dryrun", "preview", "simulate"];
const KEEP: &[&str] = &["keep", "apply"];

/// What may follow `try` and `keep`.
const THIS: &str = "it";

/// A person's message, and the circumstances that tell which question it answers.
pub(super) struct SaidText<'a> {
    pub text: &'a str,
    pub reply_to: Option<&'a MessageId>,
    /// By this machine's clock.
    pub sent_at: SystemTime,
}

/// Words as an answer, and which question they name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedAnswer {
    pub answer: PersonAnswer,
    /// `yes 12` names question 12.
    pub question: Option<QuestionId>,
}

/// Reads `yes`, `y 12`, `no 12 because`, `always`. `None` for anything else, "yes but" included: a
/// half agreement counts as none.
pub fn parse(text: &str) -> Option<ParsedAnswer> {
    let (word, rest) = split_word(text);
    let word = word.trim_end_matches(['.', '!', ',']).to_lowercase();
    let (number, rest) = split_number(rest);
    let answer = match word.as_str() {
        word if YES.contains(&word) && rest.is_empty() => PersonAnswer::Yes,
        word if ALWAYS.contains(&word) && rest.is_empty() => PersonAnswer::Always,
        word if TRY.contains(&word) && (rest.is_empty() || rest == THIS) => PersonAnswer::Try,
        word if KEEP.contains(&word) && (rest.is_empty() || rest == THIS) => PersonAnswer::Keep(None),
        word if NO.contains(&word) => PersonAnswer::No((!rest.is_empty()).then(|| rest.to_owned())),
        _ => return None,
    };
    Some(ParsedAnswer { answer, question: number })
}

/// Whether the text begins with a word that answers questions.
pub fn is_answer_word(text: &str) -> bool {
    let word = split_word(text).0.to_lowercase();
    [YES, NO, ALWAYS, TRY, KEEP].iter().any(|words| words.contains(&word.as_str()))
}

/// Whether the text is an answer to a question named by number and nothing else: meant for no agent, even too late.
pub fn names_a_question(text: &str) -> bool {
    let reasoned = |answer: &PersonAnswer| matches!(answer, PersonAnswer::No(Some(_)));
    parse(text).is_some_and(|parsed| parsed.question.is_some() && !reasoned(&parsed.answer))
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim())
}

fn split_number(text: &str) -> (Option<QuestionId>, &str) {
    let (word, rest) = split_word(text);
    match word.trim_start_matches('#').parse() {
        Ok(number) => (Some(QuestionId(number)), rest),
        Err(_) => (None, text),
    }
}

impl RoomTask {
    /// Takes the text as an answer if a question is open here and the text reads like one, or if it comes too late.
    pub(super) fn answers_question(&mut self, call: &CommandCall, said: &SaidText<'_>) -> bool {
        let parsed = parse(said.text).filter(|_| !self.rejects_a_story(said.text));
        // A late answer gets a reply of its own. As a prompt, a bare "yes" would start a turn and approve whatever
        // the model makes of it. A number in the text goes before the message that it replies to.
        if let Some(late) = parsed.as_ref().and_then(|parsed| self.late_for(parsed, said)) {
            self.say(replies::not_open(late), Tone::Failure, call.message.clone());
            return true;
        }
        if self.questions.is_empty() || self.rejects_a_story(said.text) {
            return false;
        }
        if let Some(id) = parsed.as_ref().and_then(|parsed| self.questions.question_or_entry(parsed)) {
            self.say(replies::question_or_entry(id), Tone::Failure, call.message.clone());
            return true;
        }
        let Some(parsed) = parsed.filter(|parsed| !self.questions.picks_entry(parsed)) else {
            return self.answers_in_words(call, said);
        };
        match self.questions.find_meant(parsed.question, said.reply_to) {
            // To a plan or to the model's own question, these are words like others.
            Ok((question, _))
                if question.takes_words()
                    && matches!(parsed.answer, PersonAnswer::Try | PersonAnswer::Keep(_)) =>
            {
                return self.answers_in_words(call, said);
            }
            Ok((question, reference)) => {
                // A denial does no harm whatever it was meant for.
                let denies = matches!(parsed.answer, PersonAnswer::No(_));
                let form = (reference, AnswerForm::Consent);
                let unseen = self.questions.unseen(question.id, form, said.sent_at);
                match (unseen.filter(|_| !denies), parsed.answer) {
                    (Some(why), _) => self.refuse_unseen(call, &question, why),
                    (None, PersonAnswer::Keep(_)) => self.keep_effect(call, question.id, None, said.sent_at),
                    (None, answer) => self.give_answer(call, question.id, answer),
                }
            }
            Err(NotMeant::NotOpen(id)) => {
                self.say(replies::not_open(id), Tone::Failure, call.message.clone());
            }
            Err(NotMeant::Ambiguous(open)) => {
                self.say(replies::which_question(open.into_iter()), Tone::Failure, call.message.clone());
            }
        }
        true
    }

    /// Passes on the answer of a pick. A button belongs to its message; a number that is typed picks from the newest question, and so
    /// is as good as a bare answer.
    pub(super) fn answer_by_pick(
        &mut self,
        call: &CommandCall,
        id: QuestionId,
        answer: PersonAnswer,
        sent_at: SystemTime,
    ) {
        let is_typed = self.adapter.capabilities().choices == ChoiceForm::Numbers;
        let may_confuse = is_typed && !matches!(answer, PersonAnswer::No(_));
        let unseen = self.questions.unseen_pick(id, sent_at).filter(|_| may_confuse);
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

    /// `reject 12 WHY` is about story 12, unless question 12 is open here.
    fn rejects_a_story(&self, text: &str) -> bool {
        let (word, rest) = split_word(text);
        let (number, _) = split_number(rest);
        let Some(id) = number.filter(|_| word.eq_ignore_ascii_case("reject")) else { return false };
        let story = u32::try_from(id.0).ok().map(pipeline::story::StoryId);
        let board = self.services.commands.pipeline.snapshot().board.clone();
        !self.questions.contains(id) && story.is_some_and(|story| board.story(story).is_some())
    }

    // Free words answer the model's questions and plans: the turn waits for nothing else. With a prefix, or if they
    // name a command, they are still a command, so that `!stop` works while the model asks.
    fn answers_in_words(&mut self, call: &CommandCall, said: &SaidText<'_>) -> bool {
        let (number, words) = match said.text.trim().starts_with('#') {
            true => split_number(said.text),
            false => (None, said.text),
        };
        let Ok((question, reference)) = self.questions.find_meant(number, said.reply_to) else {
            return false;
        };
        let is_command = self.services.commands.registry.get(split_word(words).0).is_some();
        let prefixed =
            matches!(call.addressed, Some(adapters::Addressed::Prefix | adapters::Addressed::Slash));
        if !question.takes_words() || is_command || prefixed || words.trim().is_empty() {
            return false;
        }
        let is_number = words.chars().all(|c| c.is_ascii_digit() || c == ',' || c.is_whitespace());
        let form = if is_number { AnswerForm::Number } else { AnswerForm::Words };
        match self.questions.unseen(question.id, (reference, form), said.sent_at) {
            // They were written before the question was there: a prompt.
            Some(UnseenQuestion::NotShownYet) => return false,
            Some(why) => self.refuse_unseen(call, &question, why),
            None => self.give_answer(call, question.id, PersonAnswer::Text(words.trim().to_owned())),
        }
        true
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
        let by = Person { id: call.sender.id.to_string(), name: call.sender.name.to_string() };
        if let Err(refused) = self.services.broker.answer(id, &self.room, &by, answer) {
            self.say(replies::answer_refused(&refused), Tone::Failure, call.message.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use adapters::Addressed;
    use serde_json::json;

    use super::*;
    use crate::{
        chat::room::fixture::{RoomFixture, now},
        permission::{AnswerRefused, DenialReason, NoTrial, PermissionDecision},
    };

    fn answer(text: &str) -> Option<(PersonAnswer, Option<i64>)> {
        parse(text).map(|parsed| (parsed.answer, parsed.question.map(|id| id.0)))
    }

    #[test]
    fn the_words_of_the_trade_are_answers() {
        assert_eq!(answer("yes"), Some((PersonAnswer::Yes, None)));
        assert_eq!(answer("  OK! "), Some((PersonAnswer::Yes, None)));
        assert_eq!(answer("y #12"), Some((PersonAnswer::Yes, Some(12))));
        assert_eq!(answer("always 3"), Some((PersonAnswer::Always, Some(3))));
        assert_eq!(answer("Try #12"), Some((PersonAnswer::Try, Some(12))));
        assert_eq!(answer("dry-run"), Some((PersonAnswer::Try, None)));
        assert_eq!(answer("try it"), Some((PersonAnswer::Try, None)));
        assert_eq!(answer("keep 3"), Some((PersonAnswer::Keep(None), Some(3))));
        assert_eq!(answer("no"), Some((PersonAnswer::No(None), None)));
        assert_eq!(answer("deny 4 too risky"), Some((PersonAnswer::No(Some("too risky".into())), Some(4))));
        assert_eq!(answer("no, use cp"), Some((PersonAnswer::No(Some("use cp".into())), None)));
    }

    #[test]
    fn a_number_alone_names_a_question_and_a_sentence_does_not() {
        assert!(names_a_question("yes 3") && names_a_question("no #12"));
        assert!(!names_a_question("yes") && !names_a_question("no 3 is too many"));
    }

    #[test]
    fn half_an_agreement_is_none() {
        assert_eq!(answer("yes but only in /tmp"), None);
        assert_eq!(answer("always be careful"), None);
        assert_eq!(answer("yesterday"), None);
        assert_eq!(answer("try again with sudo"), None);
        assert_eq!(answer("keep the old name"), None);
        assert_eq!(answer(""), None);
    }

    #[test]
    fn a_word_that_answers_is_known_in_any_case_and_no_other_is() {
        for text in ["yes", "NO 3", " Always", "reject 12 too slow"] {
            assert!(is_answer_word(text), "{text}");
        }
        for text in ["", "yesterday", "status", "say yes"] {
            assert!(!is_answer_word(text), "{text}");
        }
    }

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
            let said = SaidText { text: "use another color", reply_to: None, sent_at: now() };
            assert!(!fixture.task.answers_question(&call, &said));
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
}

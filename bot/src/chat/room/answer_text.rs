//! A person's words as an answer: what they say, and which question they name. Pure.

use std::time::SystemTime;

use adapters::MessageId;

use crate::permission::{ConsentWords, PersonAnswer, QuestionId};

/// Words of the commands that answer questions.
const ANSWER_COMMANDS: &[&str] =
    &["yes", "y", "ok", "allow", "approve", "no", "n", "deny", "reject", "always", "try", "keep", "apply"];
const TRY: &[&str] = &["try", "dry-run", "dryrun", "preview", "simulate", "🧪"];
const KEEP: &[&str] = &["keep", "apply", "📌"];

/// What may follow `try` and `keep`.
const THIS: &str = "it";

/// What may stand between an answer and the number of its question.
const LINKS: &[&str] = &["to", "for", "on", "with", "question", "number"];

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

/// What a text is while a question is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AnswerText {
    Answer(ParsedAnswer),
    /// It sounds like an answer, and nobody can tell which.
    Unclear,
    Other,
}

impl AnswerText {
    /// Reads `yes`, `go ahead`, `y 12`, `no 12 because`, `always`. Half an agreement is none.
    pub fn of(text: &str) -> Self {
        if let Some(parsed) = parse_trial(text) {
            return Self::Answer(parsed);
        }
        let (question, words) = take_number(text);
        let answer = match ConsentWords::of(&words) {
            ConsentWords::Yes => PersonAnswer::Yes,
            ConsentWords::Always => PersonAnswer::Always,
            ConsentWords::No(reason) => PersonAnswer::No(reason),
            ConsentWords::Unclear => return Self::Unclear,
            ConsentWords::Other => return Self::Other,
        };
        Self::Answer(ParsedAnswer { answer, question })
    }
}

/// The text as an answer beyond doubt.
pub(super) fn parse(text: &str) -> Option<ParsedAnswer> {
    match AnswerText::of(text) {
        AnswerText::Answer(parsed) => Some(parsed),
        AnswerText::Unclear | AnswerText::Other => None,
    }
}

/// Whether the text begins with a word that answers questions.
pub fn is_answer_word(text: &str) -> bool {
    let word = split_word(text).0.to_lowercase();
    ANSWER_COMMANDS.contains(&word.as_str()) || TRY.contains(&word.as_str())
}

/// Whether the text is an answer to a question named by number and nothing else: meant for no agent, even too late.
pub fn names_a_question(text: &str) -> bool {
    let reasoned = |answer: &PersonAnswer| matches!(answer, PersonAnswer::No(Some(_)));
    parse(text).is_some_and(|parsed| parsed.question.is_some() && !reasoned(&parsed.answer))
}

/// `try`, `try 12`, `keep it`.
fn parse_trial(text: &str) -> Option<ParsedAnswer> {
    let (word, rest) = split_word(text);
    let word = word.trim_end_matches(['.', '!', ',', '\u{fe0f}']).to_lowercase();
    let (question, rest) = split_number(rest);
    let answer = match word.as_str() {
        word if TRY.contains(&word) => PersonAnswer::Try,
        word if KEEP.contains(&word) => PersonAnswer::Keep(None),
        _ => return None,
    };
    (rest.is_empty() || rest == THIS).then_some(ParsedAnswer { answer, question })
}

/// The question that an answer names (`yes 12`, `yes to 12`, `#12 yes`), and the words without it.
pub(super) fn take_number(text: &str) -> (Option<QuestionId>, String) {
    let none = || (None, text.to_owned());
    let mut words = text.split_whitespace();
    let Some(at) = words.position(|word| number(word).is_some()) else { return none() };
    let mut before: Vec<&str> = text.split_whitespace().take(at).collect();
    let Some(found) = text.split_whitespace().nth(at) else { return none() };
    while before.last().is_some_and(|word| LINKS.contains(&word.to_lowercase().as_str())) {
        before.pop();
    }
    let before = before.join(" ");
    let answers = matches!(
        ConsentWords::of(&before),
        ConsentWords::Yes | ConsentWords::Always | ConsentWords::No(None)
    );
    // `12 yes` may be a choice and a word.
    let leads = before.is_empty() && found.starts_with('#');
    if !answers && !leads {
        return none();
    }
    // What follows keeps its line breaks: it may be a reason.
    let after = text.match_indices(found).map(|(at, found)| &text[at + found.len()..]);
    let after = after.into_iter().find(|after| after.is_empty() || after.starts_with(char::is_whitespace));
    (number(found), format!("{before} {}", after.unwrap_or_default().trim()).trim().to_owned())
}

/// `12`, `#12`, `12.`
fn number(word: &str) -> Option<QuestionId> {
    let digits = word.trim_start_matches('#').trim_end_matches(['.', ',', ':', ';', '!', ')']);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok().map(QuestionId)).flatten()
}

pub(super) fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim())
}

pub(super) fn split_number(text: &str) -> (Option<QuestionId>, &str) {
    let (word, rest) = split_word(text);
    match word.trim_start_matches('#').parse() {
        Ok(number) => (Some(QuestionId(number)), rest),
        Err(_) => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Option<(PersonAnswer, Option<i64>)> {
        parse(text).map(|parsed| (parsed.answer, parsed.question.map(|id| id.0)))
    }

    #[test]
    fn the_words_of_the_trade_are_answers() {
        assert_eq!(answer("yes"), Some((PersonAnswer::Yes, None)));
        assert_eq!(answer("  OK! "), Some((PersonAnswer::Yes, None)));
        for text in
            ["y #12", "yes to 12", "yes, 12", "👍🏽 12", "go ahead with question 12", "#12 yes", "12: yes"]
        {
            let expected = (text != "12: yes").then_some((PersonAnswer::Yes, Some(12)));
            assert_eq!(answer(text), expected, "{text}");
        }
        assert_eq!(answer("always 3"), Some((PersonAnswer::Always, Some(3))));
        assert_eq!(answer("Try #12"), Some((PersonAnswer::Try, Some(12))));
        assert_eq!(answer("dry-run"), Some((PersonAnswer::Try, None)));
        assert_eq!(answer("try it"), Some((PersonAnswer::Try, None)));
        assert_eq!(answer("keep 3"), Some((PersonAnswer::Keep(None), Some(3))));
        assert_eq!(answer("no"), Some((PersonAnswer::No(None), None)));
        assert_eq!(answer("deny 4 too risky"), Some((PersonAnswer::No(Some("too risky".into())), Some(4))));
        assert_eq!(answer("no, use cp"), Some((PersonAnswer::No(Some("use cp".into())), None)));
        assert_eq!(answer("no, use 2 cores"), Some((PersonAnswer::No(Some("use 2 cores".into())), None)));
        assert_eq!(answer("no 4 one\ntwo"), Some((PersonAnswer::No(Some("one\ntwo".into())), Some(4))));
    }

    #[test]
    fn a_number_alone_names_a_question_and_a_sentence_does_not() {
        assert!(names_a_question("yes 3") && names_a_question("no #12"));
        assert!(!names_a_question("yes") && !names_a_question("no 3 is too many"));
    }

    #[test]
    fn half_an_agreement_is_none() {
        for text in [
            "yes but only in /tmp",
            "always be careful",
            "yesterday",
            "try again with sudo",
            "keep the old name",
            "",
            "yes 2 files",
            "yes to 1 and 2",
            "yes to both",
        ] {
            assert_eq!(answer(text), None, "{text}");
        }
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
}

//! The parts of a question, for a page that lays them out by itself.

use super::{board_questions, call_detail::detail_of, call_warnings::warnings, rules::offered_rule, trials};
use crate::permission::{AnswerKind, Question, QuestionId, TrialNews};

/// The whole input of a call, and its language.
pub fn call_text(question: &Question) -> (String, &'static str) {
    let (text, language, _) = detail_of(question);
    (text, language)
}

/// What the input does not show: Markdown, a line each.
pub fn call_warnings(question: &Question) -> Vec<String> {
    warnings(&question.concerns, &question.read).lines().map(str::to_owned).collect()
}

/// The calls that `always` would allow.
pub fn always_offer(question: &Question) -> Option<String> {
    match &question.kind {
        AnswerKind::Tool { always: Some(scope), .. } => Some(offered_rule(scope, question.asker.owner())),
        AnswerKind::Tool { always: None, .. }
        | AnswerKind::Plan { .. }
        | AnswerKind::Choose { .. }
        | AnswerKind::Board(_) => None,
    }
}

/// A question about the board, as rooms show it.
pub fn board_text(question: &Question) -> Option<String> {
    match &question.kind {
        AnswerKind::Board(about) => Some(board_questions::asked(question, about, "")),
        AnswerKind::Tool { .. } | AnswerKind::Plan { .. } | AnswerKind::Choose { .. } => None,
    }
}

/// What became of a trial.
pub fn trial_text(id: QuestionId, news: &TrialNews) -> String {
    match news {
        TrialNews::Running { by } => trials::trial_runs(by),
        TrialNews::Tried { by, effect, .. } => trials::trial_effect(by, effect),
        TrialNews::Failed(failure) => trials::trial_failed(failure),
        TrialNews::NotKept(why) => trials::not_kept(id, why),
    }
}

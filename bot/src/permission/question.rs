//! A permission question and the answers that people can give.

use std::{fmt, path::PathBuf, time::SystemTime};

use adapters::{Choice, Room};
use agents::claude::ShellCommand;
use pipeline::strangers::StrangerText;
use serde_json::Value;

use super::{
    AnswerRefused, Asker, AtDeadline, BoardQuestion, CallChange, CallConcern, EffectNumber, FurtherRooms,
    NoTrial, PermissionAsk, QuestionOutcome,
    board::{self, ListPick},
    model_question::{ModelQuestion, questions},
    trial,
};
use crate::{config::access::UserRole, store::RuleScope};

/// The number people answer with (`yes 12`). Never used twice in a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuestionId(pub i64);

impl fmt::Display for QuestionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A question that waits for a person.
#[derive(Clone, Debug)]
pub struct Question {
    pub id: QuestionId,
    /// The rooms in which it was asked first.
    pub rooms: Vec<Room>,
    /// And those to which it went since.
    pub further: FurtherRooms,
    /// Whose call it is.
    pub asker: Asker,
    /// For whom the agent works.
    pub asked_for: String,
    pub tool: String,
    /// Where the agent works: paths below it are shown from there.
    pub folder: Option<PathBuf>,
    /// Its exact input, as shown.
    pub input: Value,
    /// Effects that the input does not show.
    pub concerns: Vec<CallConcern>,
    /// Text from strangers that the agent has read since a person last spoke to it.
    pub read: Vec<StrangerText>,
    pub kind: AnswerKind,
    pub asked_at: SystemTime,
    /// When its agent stops waiting; `None` for never.
    pub deadline: Option<SystemTime>,
    /// What becomes of it then.
    pub at_deadline: AtDeadline,
    /// Since when it waits without its agent.
    pub parked_at: Option<SystemTime>,
    /// What is different from when the same call was asked about, or allowed, before.
    pub changed: Vec<CallChange>,
}

/// What kind of answer a question takes.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerKind {
    /// A tool call: yes, no, and always where a rule can be made.
    Tool {
        /// The scope of the rule that `always` would make.
        always: Option<RuleScope>,
        /// The command that `try` runs, or why it cannot be tried.
        trial: Result<ShellCommand, NoTrial>,
    },
    /// A plan: approve, or say what to change.
    Plan {
        /// Its Markdown; empty if the CLI gave none.
        plan: String,
    },
    /// A question of the model's own, with options.
    Choose {
        question: ModelQuestion,
        /// Which one of how many in the same call, from 1 on.
        part: (usize, usize),
    },
    /// An act on the board: agree or not, or pick entries of a list.
    Board(BoardQuestion),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub id: String,
    /// How they are called.
    pub name: String,
    /// The messenger on which they answered, where the question was asked on several.
    pub messenger: Option<String>,
    /// The account by which they answered, of a person whom `bot.toml` names: the name says who they are on every messenger.
    pub account: Option<String>,
}

impl Person {
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self { id: id.into(), name: name.into(), messenger: None, account: None }
    }

    /// The person as they answer this question in one of its rooms.
    pub(super) fn answering(&self, question: &Question, room: &Room) -> Self {
        let elsewhere = question.asked_in().iter().any(|other| other.adapter() != room.adapter());
        Self { messenger: elsewhere.then(|| room.adapter().to_owned()), ..self.clone() }
    }

    /// As records name them: a person of `bot.toml` by the name there, everybody else by the id.
    pub fn recorded(&self) -> &str {
        if self.account.is_some() { &self.name } else { &self.id }
    }
}

/// A person's answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonAnswer {
    Yes,
    /// No, with a reason for the model.
    No(Option<String>),
    /// Now and by rule from now on.
    Always,
    /// Not yet: first show its effect.
    Try,
    /// Instead of the call, make true what this trial showed.
    Keep(Option<EffectNumber>),
    /// Words: a label, a position or words of their own for a question of the model, a wish for a plan.
    Text(String),
    /// The option at this position, from 1 on.
    Option(usize),
}

/// The form of a valid answer, for a person whose answer does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedAnswer {
    YesOrNo(QuestionId),
    /// A label, a position or words.
    Option(ModelQuestion),
    /// One of so many positions.
    OneOption(usize),
    /// Some of so many entries of a list.
    Entries(usize),
}

impl Question {
    pub(super) fn new(id: QuestionId, ask: &PermissionAsk, kind: AnswerKind, now: SystemTime) -> Self {
        let blocked = ask.blocked_path.as_deref();
        Self {
            id,
            rooms: ask.rooms.clone(),
            further: FurtherRooms::default(),
            asker: ask.asker.clone(),
            asked_for: ask.asked_for.clone(),
            tool: ask.tool.clone(),
            folder: ask.folder.clone(),
            input: ask.input.clone(),
            concerns: CallConcern::of(&ask.tool, &ask.input, ask.folder.as_deref(), blocked),
            read: ask.asker.read().texts().into_iter().collect(),
            kind,
            asked_at: now,
            deadline: ask.timeout.map(|timeout| now + timeout),
            at_deadline: ask.request.at_deadline().clone(),
            parked_at: None,
            changed: ask.request.changed().to_vec(),
        }
    }

    /// Every room in which it was asked.
    pub fn asked_in(&self) -> Vec<Room> {
        self.rooms.iter().cloned().chain(self.further.all()).collect()
    }

    /// Who may answer it. Stories in the backlog may be written by everybody who may use `new`.
    pub fn needs(&self) -> UserRole {
        match &self.kind {
            AnswerKind::Board(BoardQuestion::Plan(_)) => UserRole::User,
            AnswerKind::Board(BoardQuestion::Act { .. })
            | AnswerKind::Tool { .. }
            | AnswerKind::Plan { .. }
            | AnswerKind::Choose { .. } => UserRole::Approver,
        }
    }

    /// Whether a text picks some of the entries that it lists.
    pub fn is_pick(&self, text: &str) -> bool {
        match &self.kind {
            AnswerKind::Board(BoardQuestion::Plan(stories)) => {
                !matches!(board::pick(text, stories.len()), ListPick::Words)
            }
            AnswerKind::Board(BoardQuestion::Act { .. })
            | AnswerKind::Tool { .. }
            | AnswerKind::Plan { .. }
            | AnswerKind::Choose { .. } => false,
        }
    }

    /// How many entries it lists, of which some can be picked.
    pub fn entries(&self) -> usize {
        match &self.kind {
            AnswerKind::Board(BoardQuestion::Plan(stories)) => stories.len(),
            AnswerKind::Board(BoardQuestion::Act { .. })
            | AnswerKind::Tool { .. }
            | AnswerKind::Plan { .. }
            | AnswerKind::Choose { .. } => 0,
        }
    }

    /// Question 12, with what it asks first.
    #[cfg(test)]
    pub(crate) fn for_tests(ask: &PermissionAsk) -> Self {
        let kind = AnswerKind::all_of(ask).remove(0);
        Self::new(QuestionId(12), ask, kind, SystemTime::UNIX_EPOCH)
    }

    /// Whether words of the person's own are an answer.
    pub fn takes_words(&self) -> bool {
        match &self.kind {
            AnswerKind::Choose { .. }
            | AnswerKind::Plan { .. }
            | AnswerKind::Board(BoardQuestion::Plan(_)) => true,
            AnswerKind::Tool { .. } | AnswerKind::Board(BoardQuestion::Act { .. }) => false,
        }
    }

    /// The question of the model that it is.
    pub fn options(&self) -> Option<&ModelQuestion> {
        match &self.kind {
            AnswerKind::Choose { question, .. } => Some(question),
            AnswerKind::Tool { .. } | AnswerKind::Plan { .. } | AnswerKind::Board(_) => None,
        }
    }

    /// Whether it follows another one of the same call.
    pub fn is_later_part(&self) -> bool {
        matches!(self.kind, AnswerKind::Choose { part: (2.., _), .. })
    }

    /// The choices to show, with the newest effect that people see. Keys are read back by [`Question::parse_key`].
    pub fn choices(&self, effect: Option<EffectNumber>) -> Vec<Choice> {
        let choice = |word: &str, label: &str, emoji: &str| Choice {
            key: format!("q:{}:{word}", self.id),
            label: label.into(),
            emoji: Some(emoji.into()),
        };
        match &self.kind {
            AnswerKind::Tool { always, trial } => {
                let mut choices = vec![choice("yes", "Allow", "✅"), choice("no", "Deny", "❌")];
                choices.extend(always.as_ref().map(|_| choice("always", "Always", "♾️")));
                choices.extend(trial.as_ref().ok().map(|_| choice("try", "Try", "🧪")));
                choices.extend(effect.map(|effect| choice(&format!("keep{effect}"), "Keep", "📌")));
                choices
            }
            AnswerKind::Plan { .. } => {
                vec![choice("yes", "Approve plan", "✅"), choice("no", "Keep planning", "❌")]
            }
            AnswerKind::Board(BoardQuestion::Act { .. }) => {
                vec![choice("yes", "Allow", "✅"), choice("no", "Deny", "❌")]
            }
            AnswerKind::Board(BoardQuestion::Plan(_)) => {
                vec![choice("yes", "Create all", "✅"), choice("no", "None of them", "❌")]
            }
            AnswerKind::Choose { question, .. } if question.several => Vec::new(),
            AnswerKind::Choose { question, .. } => {
                let labels = question.options.iter().map(|(label, _)| label).enumerate();
                labels
                    .map(|(n, label)| choice(&(n + 1).to_string(), label, NUMBERS.get(n).unwrap_or(&"🔘")))
                    .collect()
            }
        }
    }

    /// Reads a choice's key: the question and the word behind it.
    pub fn parse_key(key: &str) -> Option<(QuestionId, PersonAnswer)> {
        let (id, word) = key.strip_prefix("q:")?.split_once(':')?;
        let answer = match word {
            "yes" => PersonAnswer::Yes,
            "no" => PersonAnswer::No(None),
            "always" => PersonAnswer::Always,
            "try" => PersonAnswer::Try,
            word => match word.strip_prefix("keep") {
                Some(effect) => PersonAnswer::Keep(Some(EffectNumber(effect.parse().ok()?))),
                None => PersonAnswer::Option(word.parse().ok()?),
            },
        };
        Some((QuestionId(id.parse().ok()?), answer))
    }

    pub(super) fn outcome_of(
        &self,
        answer: PersonAnswer,
        by: &Person,
    ) -> Result<QuestionOutcome, AnswerRefused> {
        let by = by.clone();
        match (answer, &self.kind) {
            (PersonAnswer::No(reason), _) => Ok(QuestionOutcome::Denied { by, reason }),
            (PersonAnswer::Yes, AnswerKind::Tool { .. } | AnswerKind::Plan { .. } | AnswerKind::Board(_)) => {
                Ok(QuestionOutcome::Allowed { by })
            }
            // These decide nothing by themselves: see `trial`.
            (PersonAnswer::Try | PersonAnswer::Keep(_), _) => Err(AnswerRefused::NoEffect(self.id)),
            (PersonAnswer::Always, AnswerKind::Tool { always: Some(scope), .. }) => {
                Ok(QuestionOutcome::Always { by, scope: scope.clone() })
            }
            (PersonAnswer::Always, _) => Err(AnswerRefused::NoAlways),
            (PersonAnswer::Text(text), AnswerKind::Choose { question, .. }) => {
                let answer = question.answer(&text).map_err(AnswerRefused::NoSuchChoice)?;
                Ok(QuestionOutcome::Answered { by, answers: vec![(question.question.clone(), answer)] })
            }
            (PersonAnswer::Option(position), AnswerKind::Choose { question, .. }) => {
                let refused = || AnswerRefused::NoSuchChoice(ExpectedAnswer::Option(question.clone()));
                let answer = question.at(position).ok_or_else(refused)?.to_owned();
                Ok(QuestionOutcome::Answered { by, answers: vec![(question.question.clone(), answer)] })
            }
            (PersonAnswer::Yes, AnswerKind::Choose { question, .. }) => {
                Err(AnswerRefused::NoSuchChoice(ExpectedAnswer::Option(question.clone())))
            }
            // Words on a plan ask for a change. As a denial they reach the model as the reason, and it plans again.
            (PersonAnswer::Text(text), AnswerKind::Plan { .. }) => {
                Ok(QuestionOutcome::Denied { by, reason: Some(text) })
            }
            // The same for a list: the agent proposes another one.
            (PersonAnswer::Text(text), AnswerKind::Board(BoardQuestion::Plan(stories))) => {
                match board::pick(&text, stories.len()) {
                    ListPick::Entries(entries) => Ok(QuestionOutcome::Picked { by, entries }),
                    ListPick::OutOfRange => {
                        Err(AnswerRefused::NoSuchChoice(ExpectedAnswer::Entries(stories.len())))
                    }
                    ListPick::Words => Ok(QuestionOutcome::Denied { by, reason: Some(text) }),
                }
            }
            (
                PersonAnswer::Text(_),
                AnswerKind::Tool { .. } | AnswerKind::Board(BoardQuestion::Act { .. }),
            )
            | (
                PersonAnswer::Option(_),
                AnswerKind::Tool { .. } | AnswerKind::Plan { .. } | AnswerKind::Board(_),
            ) => Err(AnswerRefused::NoSuchChoice(ExpectedAnswer::YesOrNo(self.id))),
        }
    }
}

const NUMBERS: &[&str] = &["1️⃣", "2️⃣", "3️⃣", "4️⃣", "5️⃣", "6️⃣", "7️⃣", "8️⃣", "9️⃣"];

impl AnswerKind {
    /// What a call asks people, one question after the other.
    pub(super) fn all_of(ask: &PermissionAsk) -> Vec<Self> {
        let input = &ask.input;
        match ask.tool.as_str() {
            "ExitPlanMode" => {
                let plan = input.get("plan").and_then(Value::as_str).unwrap_or_default().to_owned();
                vec![Self::Plan { plan }]
            }
            "AskUserQuestion" => match questions(input) {
                Some(questions) => {
                    let count = questions.len();
                    let part = |(n, question)| Self::Choose { question, part: (n + 1, count) };
                    questions.into_iter().enumerate().map(part).collect()
                }
                // Questions in a form that we cannot read are still shown, as a plain call that people allow or deny.
                None => vec![Self::tool(ask, None)],
            },
            _ => {
                // Whoever wrote the text that it has read may have thought of this call. A person may allow it, but no rule comes of it.
                let may_rule = ask.asker.read().is_empty() && ask.asker.owner().is_some();
                let rule = may_rule.then(|| RuleScope::of(&ask.tool, &ask.input, ask.folder())).flatten();
                vec![Self::tool(ask, rule)]
            }
        }
    }

    fn tool(ask: &PermissionAsk, always: Option<RuleScope>) -> Self {
        Self::Tool { always, trial: trial::offer(&ask.tool, &ask.input, ask.asker.trials()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::permission::PlannedStory;

    fn question(tool: &str, input: Value) -> Question {
        let ask = PermissionAsk {
            rooms: Vec::new(),
            asker: Asker::room(Room::new("here", "a")),
            request: Default::default(),
            folder: None,
            asked_for: "Ann".into(),
            tool: tool.into(),
            input,
            call: None,
            blocked_path: None,
            timeout: None,
        };
        Question::for_tests(&ask)
    }

    /// The choices' labels, with the answers that their keys stand for.
    fn choices(question: &Question, effect: Option<EffectNumber>) -> Vec<String> {
        let choices = question.choices(effect).into_iter();
        let read = |choice: Choice| {
            let (id, answer) = Question::parse_key(&choice.key).unwrap();
            assert_eq!(id.to_string(), "12");
            format!("{}: {answer:?}", choice.label)
        };
        choices.map(read).collect()
    }

    fn asked(several: bool) -> Question {
        let options = json!([{ "label": "Red" }, { "label": "Blue" }]);
        let asked = json!({ "question": "Which?", "multiSelect": several, "options": options });
        question("AskUserQuestion", json!({ "questions": [asked] }))
    }

    #[test]
    fn each_choice_is_the_answer_on_its_label() {
        let call = question("Bash", json!({ "command": "make" }));
        assert_eq!(choices(&call, None), ["Allow: Yes", "Deny: No(None)", "Always: Always"]);
        assert_eq!(
            choices(&call, Some(EffectNumber(2))).last().unwrap(),
            "Keep: Keep(Some(EffectNumber(2)))"
        );
        let plan = question("ExitPlanMode", json!({ "plan": "1. Do it" }));
        assert_eq!(choices(&plan, None), ["Approve plan: Yes", "Keep planning: No(None)"]);
        assert_eq!(choices(&asked(false), None), ["Red: Option(1)", "Blue: Option(2)"]);
        assert!(choices(&asked(true), None).is_empty(), "one click cannot pick several");
    }

    #[test]
    fn a_key_of_something_else_is_no_answer() {
        for key in ["", "q:12", "r:12:yes", "q:x:yes", "q:12:keepx"] {
            assert_eq!(Question::parse_key(key), None, "{key}");
        }
    }

    #[test]
    fn words_answer_plans_and_questions_and_numbers_pick_options() {
        let call = question("Bash", json!({ "command": "make" }));
        let plan = question("ExitPlanMode", json!({ "plan": "1. Do it" }));
        let takes = |question: &Question| (question.takes_words(), question.options().is_some());
        assert_eq!(
            [takes(&call), takes(&plan), takes(&asked(false))],
            [(false, false), (true, false), (true, true)]
        );
        // In a form that nobody knows it is a call like any other.
        let unknown = question("AskUserQuestion", json!({ "ask": "Which?" }));
        assert_eq!(takes(&unknown), (false, false));
    }

    #[test]
    fn some_of_the_stories_that_it_lists_are_picked_by_number() {
        let story = PlannedStory::for_tests("Door");
        let call = question("Stories", Value::Null);
        let list = Question {
            kind: AnswerKind::Board(BoardQuestion::Plan(vec![story.clone(), story])),
            ..call.clone()
        };
        assert_eq!((list.entries(), list.needs()), (2, UserRole::User));
        assert!(list.is_pick("1") && list.is_pick("without 2") && !list.is_pick("another door"));
        assert_eq!((call.entries(), call.needs()), (0, UserRole::Approver));
        assert!(!call.is_pick("1"));
    }
}

//! A permission question and the answers that people can give.

use std::{fmt, path::PathBuf, time::SystemTime};

use adapters::{Choice, Room};
use agents::claude::ShellCommand;
use pipeline::strangers::StrangerText;
use serde_json::Value;

use super::{
    AnswerRefused, Asker, BoardQuestion, CallConcern, EffectNumber, NoTrial, PermissionAsk, QuestionOutcome,
    board::{self, ListPick},
    model_question::{ModelQuestion, answers, selections},
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
    /// Every room that shows it.
    pub rooms: Vec<Room>,
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
    /// When it is denied; `None` for never.
    pub deadline: Option<SystemTime>,
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
    /// The model's own questions, each with options.
    Choose(Vec<ModelQuestion>),
    /// An act on the board: agree or not, or pick entries of a list.
    Board(BoardQuestion),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub id: String,
    /// How they are called.
    pub name: String,
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
    /// Text for the model's questions: numbers, labels, or words of their own, one line a question.
    Text(String),
}

/// The form of a valid answer, for a person whose answer does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedAnswer {
    YesOrNo(QuestionId),
    /// One of the options of each question.
    Options(Vec<ModelQuestion>),
    /// So many lines, one for each question.
    Lines(usize),
    /// A number up to `most`.
    Number {
        /// The number of options.
        most: usize,
        /// Whether several numbers are possible.
        several: bool,
    },
}

impl Question {
    pub(super) fn new(
        id: QuestionId,
        ask: &PermissionAsk,
        about: Option<BoardQuestion>,
        now: SystemTime,
    ) -> Self {
        let read: Vec<_> = ask.asker.read().texts().into_iter().collect();
        // Whoever wrote that text may have thought of this call. A person may allow it, but no rule comes of it.
        let may_rule = read.is_empty() && ask.asker.owner().is_some();
        let always = may_rule.then(|| RuleScope::of(&ask.tool, &ask.input, ask.folder())).flatten();
        let blocked = ask.blocked_path.as_deref();
        Self {
            id,
            rooms: ask.rooms.clone(),
            asker: ask.asker.clone(),
            asked_for: ask.asked_for.clone(),
            tool: ask.tool.clone(),
            folder: ask.folder.clone(),
            input: ask.input.clone(),
            concerns: CallConcern::of(&ask.tool, &ask.input, ask.folder.as_deref(), blocked),
            read,
            kind: about.map_or_else(|| AnswerKind::of(ask, always), AnswerKind::Board),
            asked_at: now,
            deadline: ask.timeout.map(|timeout| now + timeout),
        }
    }

    /// Whether words of the person's own are an answer.
    pub fn takes_words(&self) -> bool {
        match &self.kind {
            AnswerKind::Choose(_) | AnswerKind::Plan { .. } | AnswerKind::Board(BoardQuestion::Plan(_)) => {
                true
            }
            AnswerKind::Tool { .. } | AnswerKind::Board(BoardQuestion::Act { .. }) => false,
        }
    }

    /// Who may answer it. Stories in the backlog may be written by everybody who may use `new`.
    pub fn needs(&self) -> UserRole {
        match &self.kind {
            AnswerKind::Board(BoardQuestion::Plan(_)) => UserRole::User,
            AnswerKind::Board(BoardQuestion::Act { .. })
            | AnswerKind::Tool { .. }
            | AnswerKind::Plan { .. }
            | AnswerKind::Choose(_) => UserRole::Approver,
        }
    }

    /// How many entries it lists, of which some can be picked.
    pub fn entries(&self) -> usize {
        match &self.kind {
            AnswerKind::Board(BoardQuestion::Plan(stories)) => stories.len(),
            AnswerKind::Board(BoardQuestion::Act { .. })
            | AnswerKind::Tool { .. }
            | AnswerKind::Plan { .. }
            | AnswerKind::Choose(_) => 0,
        }
    }

    /// Whether its answers are options, by their numbers.
    pub fn takes_options(&self) -> bool {
        matches!(self.kind, AnswerKind::Choose(_))
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
            AnswerKind::Choose(selections) => match selections.as_slice() {
                [only] if !only.several => only
                    .options
                    .iter()
                    .enumerate()
                    .map(|(n, (label, _))| {
                        choice(&(n + 1).to_string(), label, NUMBERS.get(n).unwrap_or(&"🔘"))
                    })
                    .collect(),
                _ => Vec::new(),
            },
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
                None => PersonAnswer::Text(word.to_owned()),
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
            (PersonAnswer::Text(text), AnswerKind::Choose(selections)) => {
                let answers = answers(selections, &text).map_err(AnswerRefused::NoSuchChoice)?;
                Ok(QuestionOutcome::Answered { by, answers })
            }
            (PersonAnswer::Yes, AnswerKind::Choose(selections)) => {
                Err(AnswerRefused::NoSuchChoice(ExpectedAnswer::Options(selections.clone())))
            }
            // Words on a plan ask for a change. As a denial they reach the model as the reason, and it plans again.
            (PersonAnswer::Text(text), AnswerKind::Plan { .. }) => {
                Ok(QuestionOutcome::Denied { by, reason: Some(text) })
            }
            // The same for a list: the agent proposes another one.
            (PersonAnswer::Text(text), AnswerKind::Board(BoardQuestion::Plan(stories))) => {
                match board::pick(&text, stories.len()) {
                    ListPick::Entries(entries) => Ok(QuestionOutcome::Picked { by, entries }),
                    ListPick::OutOfRange => Err(AnswerRefused::NoSuchChoice(ExpectedAnswer::Number {
                        most: stories.len(),
                        several: true,
                    })),
                    ListPick::Words => Ok(QuestionOutcome::Denied { by, reason: Some(text) }),
                }
            }
            (
                PersonAnswer::Text(_),
                AnswerKind::Tool { .. } | AnswerKind::Board(BoardQuestion::Act { .. }),
            ) => Err(AnswerRefused::NoSuchChoice(ExpectedAnswer::YesOrNo(self.id))),
        }
    }
}

const NUMBERS: &[&str] = &["1️⃣", "2️⃣", "3️⃣", "4️⃣", "5️⃣", "6️⃣", "7️⃣", "8️⃣", "9️⃣"];

impl AnswerKind {
    fn of(ask: &PermissionAsk, always: Option<RuleScope>) -> Self {
        let (input, trial) = (&ask.input, || trial::offer(&ask.tool, &ask.input, ask.asker.trials()));
        match ask.tool.as_str() {
            "ExitPlanMode" => {
                Self::Plan { plan: input.get("plan").and_then(Value::as_str).unwrap_or_default().to_owned() }
            }
            "AskUserQuestion" => match selections(input) {
                Some(selections) => Self::Choose(selections),
                // Questions in a form that we cannot read are still shown, as a plain call that people allow or deny.
                None => Self::Tool { always: None, trial: trial() },
            },
            _ => Self::Tool { always, trial: trial() },
        }
    }
}

//! A permission question, the answers people can give, and the decision that follows from them.

use std::{fmt, path::PathBuf, sync::Arc, time::SystemTime};

use adapters::{Choice, Room};
use agents::{claude::ShellCommand, trial::TrialEffect};
use pipeline::strangers::StrangerText;
use serde_json::{Map, Value};

use super::{
    AnswerRefused, Asker, BoardConsent, BoardQuestion, CallConcern, EffectNumber, NoTrial, PermissionAsk,
    board::{self, ListPick},
    trial,
};
use crate::store::RuleScope;

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

/// One question of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelQuestion {
    /// The question; the key of the CLI's `answers`.
    pub question: String,
    /// Labels and their descriptions.
    pub options: Vec<(String, String)>,
    /// Whether several may be picked.
    pub several: bool,
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

/// How a question ended.
#[derive(Clone, Debug, PartialEq)]
pub enum QuestionOutcome {
    /// Allowed for this one call.
    Allowed { by: Person },
    /// Allowed, and a rule made.
    Always {
        by: Person,
        /// The calls that the new rule allows.
        scope: RuleScope,
    },
    /// The model's questions were answered.
    Answered {
        by: Person,
        /// Question and answer, in order.
        answers: Vec<(String, String)>,
    },
    /// Some entries of a list were allowed, counted from 1.
    Picked { by: Person, entries: Vec<usize> },
    Denied {
        by: Person,
        /// Why, for the model.
        reason: Option<String>,
    },
    /// The effect of its trial was applied instead.
    Kept { by: Person, effect: Arc<TrialEffect> },
    /// A standing rule covered it; nobody was asked.
    ByRule { rule: i64 },
    /// Nobody answered in time.
    TimedOut,
    /// No room could be reached.
    Unreachable,
    /// The question was closed without an answer.
    Withdrawn { why: WithdrawReason },
}

/// Why a question was closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithdrawReason {
    /// The turn ended first.
    TurnOver,
    /// A person stopped the turn.
    Stopped,
    /// The bot shuts down.
    ShuttingDown,
    /// The bot was restarted, and the agent with it.
    BotRestarted,
    /// The agent's process or connection is gone.
    AgentGone,
    /// The CLI cancelled its own request.
    AgentCancelled,
    /// The store could not record the question.
    NotRecorded,
    /// Too many calls of the same agent wait already.
    TooManyQuestions,
}

/// The answer to an agent's request.
#[derive(Clone, Debug, PartialEq)]
pub enum PermissionDecision {
    Allowed {
        /// The exact input that was shown, with the answers to the model's own questions.
        input: Value,
    },
    /// The call does not run.
    Denied(DenialReason),
}

/// Why a call does not run.
#[derive(Clone, Debug, PartialEq)]
pub enum DenialReason {
    Person {
        by: Person,
        reason: Option<String>,
        /// Whether the question was about a plan.
        plan: bool,
    },
    /// It ran as a trial already, and its changes were applied.
    Kept { by: Person, effect: Arc<TrialEffect> },
    /// Nobody answered in time.
    TimedOut,
    /// No room could be reached.
    Unreachable,
    /// The question was closed without an answer.
    Withdrawn(WithdrawReason),
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

fn selections(input: &Value) -> Option<Vec<ModelQuestion>> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let list = input.get("questions")?.as_array()?;
    let selections: Option<Vec<_>> = list
        .iter()
        .map(|item| {
            let options =
                item.get("options").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            Some(ModelQuestion {
                question: text(item, "question")?,
                options: options
                    .iter()
                    .filter_map(|option| {
                        Some((text(option, "label")?, text(option, "description").unwrap_or_default()))
                    })
                    .collect(),
                several: item.get("multiSelect").and_then(Value::as_bool).unwrap_or(false),
            })
        })
        .collect();
    selections.filter(|selections| !selections.is_empty())
}

// With a single question the whole text is the answer, line breaks included. With several, each takes a line.
fn answers(selections: &[ModelQuestion], text: &str) -> Result<Vec<(String, String)>, ExpectedAnswer> {
    let lines: Vec<&str> = match selections {
        [_] => vec![text.trim()],
        _ => text.lines().map(str::trim).filter(|line| !line.is_empty()).collect(),
    };
    if lines.len() != selections.len() {
        return Err(ExpectedAnswer::Lines(selections.len()));
    }
    let pairs = selections.iter().zip(lines);
    pairs.map(|(selection, line)| Ok((selection.question.clone(), pick(selection, line)?))).collect()
}

// The CLI knows labels, not numbers, so numbers become labels. Anything else is passed on as the person's own words;
// a number out of range is a typing error and refused.
fn pick(selection: &ModelQuestion, line: &str) -> Result<String, ExpectedAnswer> {
    let expected = || ExpectedAnswer::Number { most: selection.options.len(), several: selection.several };
    let parts: Vec<&str> = line.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    let numbers: Option<Vec<usize>> = parts.iter().map(|part| part.parse().ok()).collect();
    let Some(numbers) = numbers.filter(|numbers| !numbers.is_empty()) else {
        return if line.is_empty() { Err(expected()) } else { Ok(line.to_owned()) };
    };
    if numbers.len() > 1 && !selection.several {
        return Err(expected());
    }
    let label = |n: &usize| selection.options.get(n.wrapping_sub(1)).map(|(label, _)| label.clone());
    let labels: Option<Vec<String>> = numbers.iter().map(label).collect();
    labels.map(|labels| labels.join(", ")).ok_or_else(expected)
}

impl QuestionOutcome {
    /// Whether the call runs.
    pub(super) fn allows(&self) -> bool {
        match self {
            Self::Allowed { .. }
            | Self::Always { .. }
            | Self::Answered { .. }
            | Self::Picked { .. }
            | Self::ByRule { .. } => true,
            Self::Denied { .. }
            | Self::Kept { .. }
            | Self::TimedOut
            | Self::Unreachable
            | Self::Withdrawn { .. } => false,
        }
    }

    /// The audit's word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Allowed { .. } | Self::Answered { .. } | Self::Picked { .. } => "allow",
            Self::Always { .. } => "always",
            Self::ByRule { .. } => "rule",
            Self::Denied { .. } => "deny",
            Self::Kept { .. } => "keep",
            Self::TimedOut => "timeout",
            Self::Unreachable => "unreachable",
            Self::Withdrawn { .. } => "withdrawn",
        }
    }

    /// Who or what decided, for the audit.
    pub fn by(&self) -> String {
        match self {
            Self::Allowed { by }
            | Self::Always { by, .. }
            | Self::Answered { by, .. }
            | Self::Picked { by, .. }
            | Self::Kept { by, .. }
            | Self::Denied { by, .. } => by.id.clone(),
            Self::ByRule { rule } => format!("rule {rule}"),
            Self::TimedOut => "deadline".into(),
            Self::Unreachable => "nobody reachable".into(),
            Self::Withdrawn { why } => why.word().into(),
        }
    }

    /// The decision for the agent; an allow carries the exact input that was shown.
    pub(super) fn into_decision(self, tool: &str, input: Value) -> PermissionDecision {
        match self {
            Self::Allowed { .. } | Self::Always { .. } | Self::Picked { .. } | Self::ByRule { .. } => {
                PermissionDecision::Allowed { input }
            }
            Self::Answered { answers, .. } => {
                PermissionDecision::Allowed { input: with_answers(input, answers) }
            }
            Self::Denied { by, reason } => {
                PermissionDecision::Denied(DenialReason::Person { by, reason, plan: tool == "ExitPlanMode" })
            }
            Self::Kept { by, effect } => PermissionDecision::Denied(DenialReason::Kept { by, effect }),
            Self::TimedOut => PermissionDecision::Denied(DenialReason::TimedOut),
            Self::Unreachable => PermissionDecision::Denied(DenialReason::Unreachable),
            Self::Withdrawn { why } => PermissionDecision::Denied(DenialReason::Withdrawn(why)),
        }
    }
}

impl QuestionOutcome {
    /// The decision about an act on the board. A rule allows none.
    pub(super) fn into_consent(self) -> Result<BoardConsent, DenialReason> {
        match self {
            Self::Allowed { by } => Ok(BoardConsent { by, picked: None }),
            Self::Picked { by, entries } => Ok(BoardConsent { by, picked: Some(entries) }),
            Self::Denied { by, reason } => Err(DenialReason::Person { by, reason, plan: false }),
            Self::TimedOut => Err(DenialReason::TimedOut),
            Self::Withdrawn { why } => Err(DenialReason::Withdrawn(why)),
            Self::Always { .. }
            | Self::Answered { .. }
            | Self::Kept { .. }
            | Self::ByRule { .. }
            | Self::Unreachable => Err(DenialReason::Unreachable),
        }
    }
}

impl WithdrawReason {
    /// The audit's word for it.
    fn word(self) -> &'static str {
        match self {
            Self::TurnOver => "end of turn",
            Self::Stopped => "stop",
            Self::ShuttingDown => "shutdown",
            Self::BotRestarted => "restart",
            Self::AgentGone => "end of agent",
            Self::AgentCancelled => "agent",
            Self::NotRecorded => "store failure",
            Self::TooManyQuestions => "too many questions",
        }
    }
}

fn with_answers(input: Value, answers: Vec<(String, String)>) -> Value {
    let mut input = match input {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let answers = answers.into_iter().map(|(question, answer)| (question, Value::String(answer))).collect();
    input.insert("answers".into(), Value::Object(answers));
    Value::Object(input)
}

//! How permission questions are worded: asked, answered, refused, settled.

use std::{fmt::Write as _, time::Duration};

use adapters::{
    Attachment,
    markdown::{code_block, code_span, inert},
};
use pipeline::parking::NoParking;
use serde_json::Value;
use settings::duration::human;

use super::{
    board_questions,
    call_detail::{detail_of, fitted, input_beside_warnings, one_line},
    call_warnings::warnings,
    denials::withdrawn,
    history::question_decided,
    people::place_of,
    rules::offered_rule,
    trials,
    visible::{visible, visible_line},
};
use crate::permission::{
    AnswerKind, AnswerRefused, AtDeadline, BoardQuestion, CallChange, CallConcern, ExpectedAnswer,
    ModelQuestion, Person, Question, QuestionId, QuestionOutcome, WithdrawReason,
};
use crate::store::AuditEntry;

/// A question's text, and a file where it is too long to be read in a chat.
pub struct ShownQuestion {
    pub text: String,
    /// The whole of it.
    pub attachment: Option<Attachment>,
}

/// Characters of a name.
const NAME_MAX: usize = 80;

/// How the room is to be answered.
#[derive(Clone, Copy, Debug)]
pub struct AnswerStyle<'a> {
    /// Whether long details can go into a file.
    pub files: bool,
    /// The prefix of an answer where several people talk, e.g. `!`; else empty.
    pub address: &'a str,
    /// The address of the web page, where people elsewhere can reach it.
    pub page: Option<&'a str>,
}

/// A question as people read it.
pub fn question(question: &Question, manner: AnswerStyle<'_>) -> ShownQuestion {
    let mut shown = asked(question, manner);
    if let Some(page) = manner.page {
        let _ = write!(shown.text, "\n\nOn the page: <{page}/q/{}>", question.id);
    }
    shown
}

fn asked(question: &Question, manner: AnswerStyle<'_>) -> ShownQuestion {
    let id = question.id;
    let whose = inert(&question.asked_for);
    let deadline = deadline(question);
    match &question.kind {
        AnswerKind::Tool { always, trial } => {
            let (detail, language, ending) = detail_of(question);
            let (detail, attachment) = fitted(detail, id, ending, manner.files);
            let rule = always.as_ref().map(|scope| offered_rule(scope, question.asker.owner()));
            let text = format!(
                "{}**Question {id}** for {whose}: may I use **{}**{}?\n{}\n{}{}{deadline}",
                changes(&question.changed),
                inert(&visible_line(&question.tool, NAME_MAX)),
                whose_tool(&question.tool),
                code_block(&detail, language),
                warnings(&question.concerns, &question.read),
                how_to_allow(rule, trial.is_ok(), manner.address),
            );
            ShownQuestion { text, attachment }
        }
        AnswerKind::Plan { plan } => {
            let plan = if plan.trim().is_empty() { "(The plan is in the messages above.)" } else { plan };
            let plan = visible(plan);
            let (plan, address) = (inert(&plan), manner.address);
            let text = format!(
                "**Question {id}** for {whose}: is this plan right?\n\n{plan}\n\nAnswer `{address}yes`, or say what to change.{deadline}"
            );
            ShownQuestion { text, attachment: None }
        }
        AnswerKind::Board(about) => {
            let text = board_questions::asked(question, about, manner.address);
            ShownQuestion { text: format!("{text}{deadline}"), attachment: None }
        }
        AnswerKind::Choose { question: asked, part } => {
            let part = if part.1 > 1 { format!(" ({} of {})", part.0, part.1) } else { String::new() };
            let (list, how) = (options(asked), how_to_choose(asked));
            ShownQuestion {
                text: format!("**Question {id}** for {whose}{part}\n\n{list}\n\n{how}{deadline}"),
                attachment: None,
            }
        }
    }
}

/// Which server a tool of an MCP server is of.
fn whose_tool(tool: &str) -> String {
    // No server of the operator's has `__` in its name.
    let Some((server, tool)) = tool.strip_prefix("mcp__").and_then(|rest| rest.split_once("__")) else {
        return String::new();
    };
    let shown = |name: &str| code_span(&visible_line(name, NAME_MAX));
    format!(" ({} of the MCP server {})", shown(tool), shown(server))
}

fn deadline(question: &Question) -> String {
    let Some(deadline) = question.deadline else {
        return question.parked_at.map(|_| format!(" {WAITS_ON}")).unwrap_or_default();
    };
    let left = deadline.duration_since(question.asked_at).unwrap_or_default();
    let left = human(left.max(Duration::from_secs(1)));
    match &question.at_deadline {
        AtDeadline::Denied => format!(" Without an answer in {left} it is denied."),
        AtDeadline::NotParked(why) => {
            format!(
                " Without an answer in {left} it is denied: it cannot wait longer, because {}.",
                no_parking(*why)
            )
        }
        AtDeadline::Parked { .. } => {
            format!(" Without an answer in {left} its agent stops, and the question waits on.")
        }
    }
}

const WAITS_ON: &str =
    "Its agent has stopped and goes on with exactly this call once you answer; there is no deadline.";

fn no_parking(why: NoParking) -> &'static str {
    match why {
        NoParking::TurnedOff => "that is turned off",
        NoParking::ParallelCalls => "its agent made several calls at once",
        NoParking::Background => "its agent has work in the background",
        NoParking::NotDeferred => "the call can only be made while its agent runs",
    }
}

/// A question whose agent has stopped waiting.
pub fn parked(question: &Question) -> String {
    let (id, whose) = (question.id, inert(&question.asked_for));
    format!(
        "⏸️ Nobody has answered question {id} in time. {whose} is parked: no agent and no worker wait. Answer it whenever you like; \
             then exactly that call goes on."
    )
}

/// The message of a question that is shown again further down.
pub fn shown_again(question: &Question) -> String {
    format!("⏸️ Question {} still waits; it is asked again below, since I was restarted.", question.id)
}

/// What is different from when it was asked before.
fn changes(changed: &[CallChange]) -> String {
    if changed.is_empty() {
        return String::new();
    }
    let clauses: Vec<String> = changed.iter().map(change).collect();
    format!("⚠️ It was asked before, and since then {}. So it is asked anew.\n\n", clauses.join("; "))
}

fn change(change: &CallChange) -> String {
    let commit = |commit: &Option<String>| match commit {
        Some(commit) => code_span(&commit.chars().take(8).collect::<String>()),
        None => "no commit".into(),
    };
    let place = |place: &Option<String>| match place {
        Some(place) => code_span(&visible(place)),
        None => "a plain file or nothing".into(),
    };
    match change {
        CallChange::Branch { before, now } => {
            format!("the story's branch went from {} to {}", commit(before), commit(now))
        }
        CallChange::Path { name, before, now } => {
            format!("{} led to {} and leads to {}", code_span(&visible(name)), place(before), place(now))
        }
        CallChange::Names => "it cannot be told any more where all of its names lead".into(),
    }
}

fn how_to_allow(rule: Option<String>, can_try: bool, address: &str) -> String {
    let mut text = format!("Answer `{address}yes`, `{address}no REASON`");
    if can_try {
        let _ = write!(text, ", `{address}try` (shows what it would do)");
    }
    match rule {
        Some(rule) => {
            let _ = write!(text, ", or `{address}always` (from now on: {rule}).");
        }
        None => text.push('.'),
    }
    text
}

fn options(asked: &ModelQuestion) -> String {
    let mut lines = vec![format!("**{}**", inert(&visible(&asked.question)))];
    for (n, (label, description)) in asked.options.iter().enumerate() {
        let description = if description.is_empty() {
            String::new()
        } else {
            format!(": {}", inert(&visible(description)))
        };
        lines.push(format!("{}. {}{description}", n + 1, inert(&visible(label))));
    }
    lines.join("\n")
}

fn how_to_choose(asked: &ModelQuestion) -> String {
    match asked.several {
        true => "Answer with one or more numbers (`1, 3`) or in your own words.".into(),
        false => "Answer with a number or in your own words.".into(),
    }
}

/// A question's message once it is decided. A plan stays in it, since the room works by it.
pub fn settled(question: &Question, outcome: &QuestionOutcome) -> String {
    let decided = decided(question, outcome);
    match &question.kind {
        AnswerKind::Plan { plan } if !plan.trim().is_empty() => {
            format!("{}\n\n{decided}", inert(&visible(plan.trim())))
        }
        AnswerKind::Tool { .. }
        | AnswerKind::Plan { .. }
        | AnswerKind::Choose { .. }
        | AnswerKind::Board(_) => decided,
    }
}

fn decided(question: &Question, outcome: &QuestionOutcome) -> String {
    let id = question.id;
    let what = what(question);
    match outcome {
        QuestionOutcome::Allowed { by } if matches!(question.kind, AnswerKind::Plan { .. }) => {
            format!("✅ Question {id}: {} approved the plan.", answered_by(by))
        }
        QuestionOutcome::Allowed { by } => format!("✅ Question {id}: {} allowed {what}.", answered_by(by)),
        QuestionOutcome::Always { by, scope } => format!(
            "✅ Question {id}: {} allowed {what}, and from now on: {}. `rules` lists it.",
            answered_by(by),
            offered_rule(scope, question.asker.owner())
        ),
        QuestionOutcome::Answered { by, answers } => {
            let answer = |(asked, answer): &(String, String)| {
                format!("{} to “{}”", code_span(&visible(answer)), inert(&visible(asked)))
            };
            let answers: Vec<_> = answers.iter().map(answer).collect();
            format!("✅ Question {id}: {} answered {}.", answered_by(by), answers.join(", "))
        }
        QuestionOutcome::Picked { by, entries } => format!(
            "✅ Question {id}: {} allowed {} of {what}.",
            answered_by(by),
            board_questions::entries(entries)
        ),
        QuestionOutcome::Denied { by, reason } if question.entries() > 0 && reason.is_some() => format!(
            "✏️ Question {id}: {} wants {what} changed ({}).",
            answered_by(by),
            inert(reason.as_deref().unwrap_or_default())
        ),
        QuestionOutcome::Denied { by, reason } => {
            let reason = reason.as_ref().map(|reason| format!(" ({})", inert(reason))).unwrap_or_default();
            format!("❌ Question {id}: {} denied {what}{reason}.", answered_by(by))
        }
        QuestionOutcome::Kept { by, effect } => format!(
            "📌 Question {id}: {} kept what a trial of {what} did: {}. It does not run again.",
            answered_by(by),
            trials::kept_effect(effect)
        ),
        QuestionOutcome::ByRule { rule } => format!("✅ Question {id}: rule {rule} allowed {what}."),
        QuestionOutcome::TimedOut => {
            let why = match &question.at_deadline {
                AtDeadline::NotParked(why) => {
                    format!(" It could not wait without its agent, because {}.", no_parking(*why))
                }
                AtDeadline::Denied | AtDeadline::Parked { .. } => String::new(),
            };
            format!("⌛ Question {id}: nobody answered in time, so {what} is denied.{why}")
        }
        QuestionOutcome::Parked => parked(question),
        QuestionOutcome::Unreachable => {
            format!("❌ Question {id}: nobody could be reached, so {what} is denied.")
        }
        QuestionOutcome::Withdrawn { why } => {
            format!("◽ Question {id} is closed: {}. It was about {what}.", withdrawn(*why))
        }
    }
}

/// Who answered, and where, if the question was asked in more than one place.
fn answered_by(by: &Person) -> String {
    let name = inert(&by.name);
    match by.messenger.as_deref() {
        None => name.into_owned(),
        Some(messenger) => format!("{name}{}", place_of(messenger)),
    }
}

fn what(question: &Question) -> String {
    match &question.kind {
        AnswerKind::Plan { .. } => "the plan".into(),
        AnswerKind::Choose { .. } => "the question".into(),
        AnswerKind::Board(about) => board_questions::named(about),
        AnswerKind::Tool { .. } => {
            let call =
                one_line(&question.tool, &input_beside_warnings(question, &[CallConcern::InBackground]));
            format!("{} {}", inert(&visible_line(&question.tool, NAME_MAX)), code_span(&call))
        }
    }
}

/// An answer by somebody who cannot have seen the question that is open. `closed`: the one that it may have been meant for.
pub fn question_unseen(question: &Question, closed: Option<QuestionId>) -> String {
    let id = question.id;
    let why = match closed {
        Some(closed) => format!("Question {closed} is closed"),
        None => "That answer was sent before the question was shown here".into(),
    };
    let asks = match &question.kind {
        AnswerKind::Tool { .. } | AnswerKind::Board(_) => format!("asks about {}", what(question)),
        AnswerKind::Plan { .. } => "asks about a plan".into(),
        AnswerKind::Choose { .. } => "has options".into(),
    };
    let how = match &question.kind {
        AnswerKind::Choose { .. } => format!("`#{id} ANSWER`"),
        AnswerKind::Tool { .. } | AnswerKind::Plan { .. } | AnswerKind::Board(_) => format!("`yes {id}`"),
    };
    format!("{why}; question {id} {asks}. Nothing was changed. If you mean that one, say {how}.")
}

/// A question of an earlier process.
pub fn question_lost(id: QuestionId, tool: &str, input: &Value) -> String {
    format!(
        "◽ Question {id} ({}) is closed: {}. It was about {}. Say `go on` to let the agent try again.",
        inert(&visible_line(tool, NAME_MAX)),
        withdrawn(WithdrawReason::BotRestarted),
        code_span(&one_line(tool, input))
    )
}

/// A question that ended just before a kill.
pub fn question_settled_late(id: QuestionId, entry: &AuditEntry) -> String {
    let decided = question_decided(id.0, entry).text;
    format!(
        "◽ {decided} I was ended before I could say so here; whatever that cut off is told where it was asked for."
    )
}

/// An answer to a question that is not open.
pub fn not_open(id: QuestionId) -> String {
    format!("Question {id} is not open (any more). Nothing was changed.")
}

/// Words that may be meant for the open question, and do not answer it.
pub fn still_waits(question: &Question) -> String {
    let answers = match &question.kind {
        AnswerKind::Board(BoardQuestion::Plan(_)) => "yes, no, numbers like `1 3`, or what to change",
        AnswerKind::Plan { .. } => "yes, no, or what to change",
        AnswerKind::Choose { .. } => "the number of an option, words of your own, or `deny`",
        AnswerKind::Tool { .. } | AnswerKind::Board(BoardQuestion::Act { .. }) => "yes or no",
    };
    format!("Question {} still waits: {answers}. I did not pass your words on.", question.id)
}

/// The same, where only threads of the room have open questions.
pub fn waits_in_thread(open: impl Iterator<Item = QuestionId>) -> String {
    let ids: Vec<String> = open.map(|id| id.to_string()).collect();
    match &ids[..] {
        [only] => format!(
            "Question {only} still waits, in a thread of this room. Answer it there; I did not pass your words on."
        ),
        more => format!(
            "Questions {} still wait, in threads of this room. Answer them there; I did not pass your words on.",
            more.join(", ")
        ),
    }
}

/// A prompt that waits behind questions of the same session.
pub fn queued_behind_questions(open: &[QuestionId], position: usize) -> String {
    let waits = match open {
        [only] => format!("Question {only} still waits: yes or no."),
        more => {
            let ids: Vec<String> = more.iter().map(ToString::to_string).collect();
            format!("Questions {} still wait: yes or no, with the number.", ids.join(", "))
        }
    };
    format!("{waits} Your message is queued, number {position}; I did not take it for an answer.")
}

/// No question at all.
pub const NO_QUESTION: &str = "No question is open here.";

/// Several are open and none was named.
pub fn which_question(open: impl Iterator<Item = QuestionId>) -> String {
    let ids: Vec<String> = open.map(|id| id.to_string()).collect();
    let first = ids.first().cloned().unwrap_or_default();
    if ids.len() == 1 {
        return format!("Question {first} is open. Name it, e.g. `yes {first}`.");
    }
    format!("Several questions are open: {}. Say which, e.g. `yes {first}`.", ids.join(", "))
}

pub fn not_an_approver(name: &str) -> String {
    format!("{}, you may not answer permission questions here. Nothing was changed.", inert(name))
}

/// An answer that changed nothing.
pub fn answer_refused(refused: &AnswerRefused) -> String {
    match refused {
        AnswerRefused::NotOpen(id) => not_open(*id),
        AnswerRefused::NotHere(id) => format!("Question {id} was not asked here. Nothing was changed."),
        AnswerRefused::NoSuchChoice(expected) => expected_answer(expected),
        AnswerRefused::NoTrial(id, why) => trials::no_trial(*id, *why),
        AnswerRefused::BeingTried(id) => trials::being_tried(*id),
        AnswerRefused::BeingKept(id) => trials::being_kept(*id),
        AnswerRefused::NoEffect(id) => trials::no_effect(*id),
        AnswerRefused::OtherEffect(id) => trials::other_effect(*id),
        AnswerRefused::NotKept(id, why) => trials::not_kept(*id, why),
        AnswerRefused::NoAlways => "There is no `always` for this one. Answer it once.".into(),
    }
}

fn expected_answer(expected: &ExpectedAnswer) -> String {
    match expected {
        ExpectedAnswer::YesOrNo(id) => format!("Question {id} takes `yes` or `no REASON`."),
        ExpectedAnswer::Option(asked) => how_to_choose(asked),
        ExpectedAnswer::OneOption(most) => {
            format!("Only one can be picked. Answer with one number from 1 to {most}, or in your own words.")
        }
        ExpectedAnswer::Entries(most) => {
            format!("Answer with one or more numbers from 1 to {most}, or in your own words.")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::permission::{Asker, PermissionAsk};

    #[test]
    fn a_tool_of_a_server_is_named_with_its_server_and_cannot_hide_it() {
        assert_eq!(whose_tool("mcp__db__query"), " (`query` of the MCP server `db`)");
        assert_eq!(whose_tool("mcp__db__storkit__start"), " (`storkit__start` of the MCP server `db`)");
        assert_eq!(whose_tool("mcp__db__a\u{202e}`b\n"), " (``a\\u{202e}`b`` of the MCP server `db`)");
        assert_eq!(["Bash", "mcp__db"].map(whose_tool), ["", ""]);
        assert!(whose_tool(&format!("mcp__db__{}", "x".repeat(100_000))).len() < 200);
    }

    #[test]
    fn who_answered_is_said_with_the_place_where_there_are_several() {
        let on = |messenger: &str| {
            answered_by(&Person { messenger: Some(messenger.into()), ..Person::new("ann", "Ann") })
        };
        assert_eq!(answered_by(&Person::new("ann", "Ann")), "Ann");
        let said = ["slack", "web", "console", "other"].map(on);
        assert_eq!(said, ["Ann (in Slack)", "Ann (on the page)", "Ann (at the terminal)", "Ann (in other)"]);
    }

    #[test]
    fn what_waits_in_threads_is_answered_there() {
        let told = |ids: &[i64]| waits_in_thread(ids.iter().copied().map(QuestionId));
        insta::assert_snapshot!(told(&[1]), @"Question 1 still waits, in a thread of this room. Answer it there; I did not pass your words on.");
        insta::assert_snapshot!(told(&[1, 4]), @"Questions 1, 4 still wait, in threads of this room. Answer them there; I did not pass your words on.");
    }

    #[test]
    fn that_a_command_runs_in_the_background_is_said_once() {
        let shown = |input: Value| {
            let asked = Question::for_tests(&PermissionAsk {
                rooms: Vec::new(),
                asker: Asker::default(),
                request: Default::default(),
                folder: None,
                asked_for: "Ann".into(),
                tool: "Bash".into(),
                input,
                call: None,
                blocked_path: None,
                timeout: None,
            });
            let asked_text = question(&asked, AnswerStyle { files: true, address: "", page: None }).text;
            let by = Person::new("ann", "Ann");
            (asked_text, settled(&asked, &QuestionOutcome::Allowed { by }))
        };
        let (asked, outcome) = shown(json!({ "command": "make", "run_in_background": true }));
        assert_eq!(
            (asked.matches("background").count(), asked.matches("```sh\nmake\n```").count()),
            (1, 1),
            "{asked}"
        );
        assert_eq!(outcome, "✅ Question 12: Ann allowed Bash `make`.");
        let (asked, outcome) = shown(json!({ "command": "make", "dangerouslyDisableSandbox": true }));
        assert!(
            asked.matches("andbox").count() == 1 && outcome.contains("dangerouslyDisableSandbox"),
            "{asked}\n{outcome}"
        );
        let (asked, outcome) = shown(json!({ "command": "make", "run_in_background": 1 }));
        assert!(
            asked.contains("make\nrun_in_background: 1\n") && outcome.contains("run_in_background: 1"),
            "{asked}"
        );
    }

    #[test]
    fn in_company_the_question_says_how_to_address_the_answer() {
        let rule = "`touch` with any files of its folder".into();
        insta::assert_snapshot!(how_to_allow(Some(rule), true, "!"), @"Answer `!yes`, `!no REASON`, `!try` (shows what it would do), or `!always` (from now on: `touch` with any files of its folder).");
        insta::assert_snapshot!(how_to_allow(None, false, ""), @"Answer `yes`, `no REASON`.");
    }
}

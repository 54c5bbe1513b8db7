//! How permission questions are worded: asked, answered, refused, settled.

use std::{fmt::Write as _, time::Duration};

use adapters::{
    Attachment,
    markdown::{code_block, code_span, inert},
};
use agents::claude::PermissionAnswer;
use pipeline::strangers::StrangerText;
use serde_json::Value;
use settings::duration::human;

use super::{
    board_questions,
    rules::offered_rule,
    text::{count, last_chars},
    trials,
    visible::{head_and_tail, visible, visible_line},
};
use crate::permission::{
    AnswerKind, AnswerRefused, CallConcern, DenialReason, ExpectedAnswer, ModelQuestion, NETWORK_TOOL,
    PermissionDecision, Question, QuestionId, QuestionOutcome, WithdrawReason,
};

/// A question's text, and a file where it is too long to be read in a chat.
pub struct ShownQuestion {
    pub text: String,
    /// The whole of it.
    pub attachment: Option<Attachment>,
}

/// Beyond this many bytes a question's detail goes into a file, where files can be sent.
const DETAIL_MAX: usize = 3_000;

/// Lines of such a detail that the chat shows, from its beginning and its end.
const HEAD_LINES: usize = 20;
const TAIL_LINES: usize = 10;

/// Characters of a name, of a path, of a call in a sentence.
const NAME_MAX: usize = 80;
const PATH_MAX: usize = 200;
const CALL_MAX: usize = 120;

/// Warnings and sources that are listed one by one.
const CONCERNS_MAX: usize = 6;
const SOURCES_MAX: usize = 8;

/// How the room is to be answered.
#[derive(Clone, Copy, Debug)]
pub struct AnswerStyle<'a> {
    /// Whether long details can go into a file.
    pub files: bool,
    /// The prefix of an answer where several people talk, e.g. `!`; else empty.
    pub address: &'a str,
}

/// A question as people read it.
pub fn question(question: &Question, manner: AnswerStyle<'_>) -> ShownQuestion {
    let id = question.id;
    let whose = inert(&question.asked_for);
    let deadline = deadline(question);
    match &question.kind {
        AnswerKind::Tool { always, trial } => {
            let (detail, language, ending) = detail_of(question);
            let (detail, attachment) = fitted(detail, id, ending, manner.files);
            let rule = always.as_ref().map(|scope| offered_rule(scope, question.asker.owner()));
            let text = format!(
                "**Question {id}** for {whose}: may I use **{}**?\n{}\n{}{}{deadline}",
                inert(&visible_line(&question.tool, NAME_MAX)),
                code_block(&detail, language),
                warnings(question),
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
        AnswerKind::Choose(selections) => {
            let lists: Vec<String> = selections.iter().map(selection).collect();
            let (lists, how) = (lists.join("\n\n"), how_to_choose(selections));
            ShownQuestion {
                text: format!("**Question {id}** for {whose}\n\n{lists}\n\n{how}{deadline}"),
                attachment: None,
            }
        }
    }
}

fn deadline(question: &Question) -> String {
    let Some(deadline) = question.deadline else { return String::new() };
    let left = deadline.duration_since(question.asked_at).unwrap_or_default();
    format!(" Without an answer in {} it is denied.", human(left.max(Duration::from_secs(1))))
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

/// Effects that the call's text does not show, a line each, and where the idea may have come from.
pub(super) fn warnings(question: &Question) -> String {
    let mut lines: Vec<String> = question.concerns.iter().take(CONCERNS_MAX).map(concern).collect();
    if question.concerns.len() > CONCERNS_MAX {
        let more = question.concerns.len() - CONCERNS_MAX;
        lines.push(format!("⚠️ {} more.", count(more, "link", "links")));
    }
    lines.extend(provenance(&question.read));
    lines.into_iter().map(|line| line + "\n").collect()
}

fn concern(concern: &CallConcern) -> String {
    let path = |path: &str| code_span(&visible_line(path, PATH_MAX));
    match concern {
        CallConcern::Link { named, leads_to } if leads_to.is_empty() => {
            format!("⚠️ {} is a link to nothing; writing to it makes a file elsewhere.", path(named))
        }
        CallConcern::Link { named, leads_to } => {
            format!("⚠️ {} leads through a link to {}.", path(named), path(leads_to))
        }
        CallConcern::UncheckedLinks => "⚠️ It names more files than I can check for links.".into(),
        CallConcern::BlockedPath(blocked) => format!("⚠️ It reaches {}.", path(blocked)),
        CallConcern::OutsideSandbox => "⚠️ It is to run outside Claude Code's sandbox.".into(),
        CallConcern::InBackground => {
            "⚠️ It is to run in the background and may go on after this turn.".into()
        }
    }
}

/// One line on the text from strangers that the agent has read since a person last spoke to it.
fn provenance(read: &[StrangerText]) -> Option<String> {
    let names = (!read.is_empty()).then(|| stranger_texts(read))?;
    Some(format!(
        "⚠️ Since a person last spoke to it, this agent has read text by strangers: {names}. So there is no `always`."
    ))
}

/// Sources of text by strangers, as a list in a sentence.
pub fn stranger_texts<'a>(read: impl IntoIterator<Item = &'a StrangerText>) -> String {
    let name = |name: &str| code_span(&visible_line(name, NAME_MAX));
    let named = |text: &StrangerText| match text {
        StrangerText::Page(host) => name(host),
        StrangerText::SearchResults => "results of a web search".into(),
        StrangerText::Program(program) => format!("what {} printed", name(program)),
        StrangerText::Server(server) => format!("answers of the MCP server {}", name(server)),
        StrangerText::File(path) => format!("{}, which is not on the base branch", name(path)),
        StrangerText::Commit(commit) => format!("{}, a commit that is not on the base branch", name(commit)),
        StrangerText::Story(id) => format!("story {id}, which is in quarantine"),
    };
    let read: Vec<_> = read.into_iter().collect();
    let mut names: Vec<String> = read.iter().take(SOURCES_MAX).map(|text| named(text)).collect();
    if read.len() > SOURCES_MAX {
        names.push(format!("{} more", read.len() - SOURCES_MAX));
    }
    names.join(", ")
}

// A detail too long for a chat goes into a file, and the chat shows both its ends: nobody should approve a part of a command.
fn fitted(detail: String, id: QuestionId, ending: &str, files: bool) -> (String, Option<Attachment>) {
    if detail.len() <= DETAIL_MAX || !files {
        return (detail, None);
    }
    let name = format!("question-{id}.{ending}");
    let lines: Vec<&str> = detail.lines().collect();
    let middle = HEAD_LINES..lines.len().saturating_sub(TAIL_LINES).max(HEAD_LINES);
    let (head, tail) = match middle.is_empty() {
        // Few and long lines.
        true => (detail.as_str(), detail.as_str()),
        false => (&*lines[..HEAD_LINES].join("\n"), &*lines[middle.end..].join("\n")),
    };
    let short = format!(
        "{}\n… all of it is in {name} …\n{}",
        first_chars(head, DETAIL_MAX / 2),
        last_chars(tail, DETAIL_MAX / 4)
    );
    (short, Some(Attachment { name, bytes: detail.into_bytes(), caption: format!("Question {id} in full") }))
}

fn selection(selection: &ModelQuestion) -> String {
    let mut lines = vec![format!("**{}**", inert(&visible(&selection.question)))];
    for (n, (label, description)) in selection.options.iter().enumerate() {
        let description = if description.is_empty() {
            String::new()
        } else {
            format!(": {}", inert(&visible(description)))
        };
        lines.push(format!("{}. {}{description}", n + 1, inert(&visible(label))));
    }
    lines.join("\n")
}

fn how_to_choose(selections: &[ModelQuestion]) -> String {
    match selections {
        [only] if only.several => "Answer with one or more numbers (`1, 3`) or in your own words.".into(),
        [_] => "Answer with a number or in your own words.".into(),
        many => format!("Answer with {} lines, one for each: a number or your own words.", many.len()),
    }
}

/// As [`detail`], with the file of an edit as it is called in the agent's folder.
fn detail_of(question: &Question) -> (String, &'static str, &'static str) {
    let (detail, language, ending) = detail(&question.tool, &question.input);
    let folder = question.folder.as_ref().filter(|_| matches!(question.tool.as_str(), "Edit" | "Write"));
    let inner = folder.and_then(|folder| detail.strip_prefix(folder.to_str()?)?.strip_prefix('/'));
    // A path that leads out again is shown as it is.
    let inner =
        inner.filter(|inner| !inner.lines().next().unwrap_or_default().split('/').any(|part| part == ".."));
    (inner.map_or_else(|| detail.clone(), str::to_owned), language, ending)
}

/// The part of a tool's input that a person decides by: text, its language, a file ending. Keys that it does not show in another
/// form follow as JSON.
fn detail(tool: &str, input: &Value) -> (String, &'static str, &'static str) {
    let text = |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default();
    let (shown, language, ending, keys): (String, _, _, &[&str]) = match tool {
        "Bash" if input.get("command").is_some_and(Value::is_string) => {
            (visible(text("command")), "sh", "sh", &["command", "description"])
        }
        "Edit" => {
            let all = input.get("replace_all").is_some_and(|all| *all != Value::Bool(false));
            let all = if all { " (every occurrence)" } else { "" };
            let diff = diff(text("old_string"), text("new_string"));
            let keys = &["file_path", "old_string", "new_string", "replace_all"];
            (format!("{}{all}\n{diff}", visible(text("file_path"))), "diff", "diff", keys)
        }
        "Write" => {
            let diff = diff("", text("content"));
            (format!("{}\n{diff}", visible(text("file_path"))), "diff", "diff", &["file_path", "content"])
        }
        NETWORK_TOOL if host(input).is_some() => {
            (host(input).unwrap_or_default(), "", "txt", &["host", "port"])
        }
        _ => {
            let json = serde_json::to_string_pretty(input).unwrap_or_default();
            return (visible(&json), "json", "json");
        }
    };
    (format!("{shown}{}", other_keys(input, keys)), language, ending)
}

/// The host and port of a connection that is asked for, and of a rule for it.
pub(super) fn host(input: &Value) -> Option<String> {
    let (host, port) = (input.get("host")?.as_str()?, input.get("port")?.as_u64()?);
    let host = visible_line(host, NAME_MAX);
    Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// Why a host cannot be reached, as a clause for the agent.
pub fn host_refused(why: DenialReason) -> String {
    match why {
        DenialReason::Person { by, reason: Some(reason), .. } => format!("{} denied it: {reason}", by.name),
        DenialReason::Person { by, reason: None, .. } => {
            format!("{} denied it; ask what to do instead", by.name)
        }
        // No host is tried.
        DenialReason::Kept { by, .. } => format!("{} kept the effect of something else", by.name),
        DenialReason::TimedOut => "nobody answered the question about it in time".into(),
        DenialReason::Unreachable => NO_PERSON_FOR_HOST.into(),
        DenialReason::Withdrawn(why) => {
            format!("the question about it was closed, because {}", withdrawn(why))
        }
    }
}

pub const NO_PERSON_FOR_HOST: &str = "no person could be asked about it";

/// To the project's commands, which ask nobody.
pub const HOST_NOT_ALLOWED_YET: &str = "nobody has allowed it yet";

fn other_keys(input: &Value, keys: &[&str]) -> String {
    let others = input.as_object().into_iter().flatten();
    let others =
        others.filter(|(key, value)| !(keys.contains(&key.as_str()) && value_has_its_form(key, value)));
    others
        .map(|(key, value)| format!("\n{}: {}", visible_line(key, NAME_MAX), visible(&value.to_string())))
        .collect()
}

// A key with a value of another type than the tool's is shown as it is, not as the empty text.
fn value_has_its_form(key: &str, value: &Value) -> bool {
    value.is_string() || key == "replace_all" || (key == "port" && value.is_u64())
}

// Made visible before they are compared: else the marks of the lines would hide that a line is blank.
fn diff(old: &str, new: &str) -> String {
    let (old, new) = (visible(old), visible(new));
    similar::TextDiff::from_lines(&old, &new).unified_diff().context_radius(3).to_string()
}

/// A question's message once it is decided. A plan stays in it, since the room works by it.
pub fn settled(question: &Question, outcome: &QuestionOutcome) -> String {
    let decided = decided(question, outcome);
    match &question.kind {
        AnswerKind::Plan { plan } if !plan.trim().is_empty() => {
            format!("{}\n\n{decided}", inert(&visible(plan.trim())))
        }
        AnswerKind::Tool { .. } | AnswerKind::Plan { .. } | AnswerKind::Choose(_) | AnswerKind::Board(_) => {
            decided
        }
    }
}

fn decided(question: &Question, outcome: &QuestionOutcome) -> String {
    let id = question.id;
    let what = what(question);
    match outcome {
        QuestionOutcome::Allowed { by } if matches!(question.kind, AnswerKind::Plan { .. }) => {
            format!("✅ Question {id}: {} approved the plan.", inert(&by.name))
        }
        QuestionOutcome::Allowed { by } => format!("✅ Question {id}: {} allowed {what}.", inert(&by.name)),
        QuestionOutcome::Always { by, scope } => format!(
            "✅ Question {id}: {} allowed {what}, and from now on: {}. `rules` lists it.",
            inert(&by.name),
            offered_rule(scope, question.asker.owner())
        ),
        QuestionOutcome::Answered { by, answers } => {
            let answer = |(asked, answer): &(String, String)| {
                format!("{} to “{}”", code_span(&visible(answer)), inert(&visible(asked)))
            };
            let answers: Vec<_> = answers.iter().map(answer).collect();
            format!("✅ Question {id}: {} answered {}.", inert(&by.name), answers.join(", "))
        }
        QuestionOutcome::Picked { by, entries } => format!(
            "✅ Question {id}: {} allowed {} of {what}.",
            inert(&by.name),
            board_questions::entries(entries)
        ),
        QuestionOutcome::Denied { by, reason } if question.entries() > 0 && reason.is_some() => format!(
            "✏️ Question {id}: {} wants {what} changed ({}).",
            inert(&by.name),
            inert(reason.as_deref().unwrap_or_default())
        ),
        QuestionOutcome::Denied { by, reason } => {
            let reason = reason.as_ref().map(|reason| format!(" ({})", inert(reason))).unwrap_or_default();
            format!("❌ Question {id}: {} denied {what}{reason}.", inert(&by.name))
        }
        QuestionOutcome::Kept { by, effect } => format!(
            "📌 Question {id}: {} kept what a trial of {what} did: {}. It does not run again.",
            inert(&by.name),
            trials::kept_effect(effect)
        ),
        QuestionOutcome::ByRule { rule } => format!("✅ Question {id}: rule {rule} allowed {what}."),
        QuestionOutcome::TimedOut => {
            format!("⌛ Question {id}: nobody answered in time, so {what} is denied.")
        }
        QuestionOutcome::Unreachable => {
            format!("❌ Question {id}: nobody could be reached, so {what} is denied.")
        }
        QuestionOutcome::Withdrawn { why } => {
            format!("◽ Question {id} is closed: {}. It was about {what}.", withdrawn(*why))
        }
    }
}

fn what(question: &Question) -> String {
    match &question.kind {
        AnswerKind::Plan { .. } => "the plan".into(),
        AnswerKind::Choose(_) => "the question".into(),
        AnswerKind::Board(about) => board_questions::named(about),
        AnswerKind::Tool { .. } => {
            let call = one_line(&question.tool, &question.input);
            format!("{} {}", inert(&visible_line(&question.tool, NAME_MAX)), code_span(&call))
        }
    }
}

/// A call's input on one line, with both its ends.
fn one_line(tool: &str, input: &Value) -> String {
    let (detail, language, _) = detail(tool, input);
    match language {
        "json" => visible_line(&input.to_string(), CALL_MAX),
        _ => head_and_tail(&visible_line(&detail, usize::MAX), CALL_MAX),
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
        AnswerKind::Choose(_) => "has options".into(),
    };
    let how = match &question.kind {
        AnswerKind::Choose(_) => format!("`#{id} ANSWER`"),
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

/// An answer to a question that is not open.
pub fn not_open(id: QuestionId) -> String {
    format!("Question {id} is not open (any more). Nothing was changed.")
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
        ExpectedAnswer::Options(questions) => how_to_choose(questions),
        ExpectedAnswer::Lines(count) => {
            format!("There are {count} questions. Answer with {count} lines, one for each.")
        }
        ExpectedAnswer::Number { most, several } => {
            let several = if *several { "one or more numbers" } else { "one number" };
            format!("Answer with {several} from 1 to {most}, or in your own words.")
        }
    }
}

/// Why a question was closed, as a clause: "Question 3 is closed: ...".
fn withdrawn(why: WithdrawReason) -> &'static str {
    match why {
        WithdrawReason::TurnOver => "the turn is over",
        WithdrawReason::Stopped => "the turn was stopped",
        WithdrawReason::ShuttingDown => "the bot is shutting down",
        WithdrawReason::BotRestarted => "the bot was restarted, and the agent with it",
        WithdrawReason::AgentGone => "the agent that asked has ended",
        WithdrawReason::AgentCancelled => "the agent withdrew it",
        WithdrawReason::NotRecorded => "it could not be recorded",
        WithdrawReason::TooManyQuestions => "too many questions of this agent wait already",
    }
}

/// The answer for the CLI: the input to run with, or a sentence for the model.
pub fn permission_answer(decision: PermissionDecision) -> PermissionAnswer {
    match decision {
        PermissionDecision::Allowed { input } => PermissionAnswer::Allow { updated_input: input },
        PermissionDecision::Denied(why) => PermissionAnswer::Deny { message: denial(why) },
    }
}

/// Why something does not happen, for the agent.
pub fn denial(why: DenialReason) -> String {
    match why {
        DenialReason::Person { by, reason: Some(reason), plan: true } => {
            format!("{} wants the plan changed: {reason}", by.name)
        }
        DenialReason::Person { by, reason: None, plan: true } => {
            format!("{} does not approve the plan yet. Ask what to change.", by.name)
        }
        DenialReason::Person { by, reason: Some(reason), plan: false } => {
            format!("{} denied this: {reason}", by.name)
        }
        DenialReason::Person { by, reason: None, plan: false } => {
            format!("{} denied this. Do not try it again in another way; ask what to do instead.", by.name)
        }
        DenialReason::Kept { by, effect } => trials::command_kept(&by, &effect),
        DenialReason::TimedOut => {
            "Nobody answered the permission question in time, so it is denied. Do not try it again \
             without permission; say what you wanted to do and why."
                .into()
        }
        DenialReason::Unreachable => {
            "No person could be reached to answer the permission question, so it is denied. \
             Continue without it or say what you need."
                .into()
        }
        DenialReason::Withdrawn(why) => {
            format!("The permission question was closed, because {}. It counts as denied.", withdrawn(why))
        }
    }
}

fn first_chars(text: &str, max: usize) -> &str {
    match text.char_indices().nth(max) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(tool: &str, input: &Value) -> String {
        detail(tool, input).0
    }

    #[test]
    fn a_command_shows_what_the_eye_would_miss() {
        let hidden = json!({ "command": "ls \u{202e}fr- mr\u{200b}; \u{1b}[8mrm x" });
        insta::assert_snapshot!(shown("Bash", &hidden), @r"ls \u{202e}fr- mr\u{200b}; \u{1b}[8mrm x");
    }

    #[test]
    fn an_edit_is_a_diff_and_says_if_it_is_everywhere() {
        let edit =
            json!({ "file_path": "/p/a", "old_string": "one\n", "new_string": "two\n", "replace_all": true });
        insta::assert_snapshot!(shown("Edit", &edit), @r"
        /p/a (every occurrence)
        @@ -1 +1 @@
        -one
        +two
        ");
    }

    #[test]
    fn a_long_detail_goes_into_a_file_where_files_exist() {
        let (short, file) = fitted("x\n".repeat(5_000), QuestionId(3), "sh", true);
        assert!(short.contains("… all of it is in question-3.sh …") && short.len() < 200);
        assert_eq!(file.unwrap().bytes.len(), 10_000);
        assert_eq!(fitted("x\n".repeat(5_000), QuestionId(3), "sh", false).0.len(), 10_000);
    }

    #[test]
    fn a_call_on_one_line_names_the_input_of_every_tool_with_both_its_ends() {
        let of = |tool: &str, input: Value| one_line(tool, &input);
        insta::assert_snapshot!(of("Bash", json!({ "command": "cd a\n\nrm x", "description": "safe" })), @"cd a ⏎ rm x");
        insta::assert_snapshot!(of("Bash", json!({ "command": "x", "run_in_background": true })), @"x ⏎ run_in_background: true");
        insta::assert_snapshot!(of("Task", json!({ "prompt": "do it" })), @r#"{"prompt":"do it"}"#);
        insta::assert_snapshot!(of("Bash", json!({ "script": "ls" })), @r#"{"script":"ls"}"#);
        let long = of("Bash", json!({ "command": format!("begin{}end", "x".repeat(300)) }));
        assert!(long.starts_with("begin") && long.contains(" … ") && long.ends_with("end"), "{long}");
    }

    #[test]
    fn keys_that_a_tool_does_not_have_are_shown_too() {
        let bash = shown("Bash", &json!({ "command": "x", "dangerouslyDisableSandbox": true }));
        assert_eq!(bash, "x\ndangerouslyDisableSandbox: true");
        let write = shown("Write", &json!({ "file_path": "/a", "content": 5, "mode": "0777" }));
        assert!(write.contains("content: 5") && write.contains(r#"mode: "0777""#), "{write}");
    }

    #[test]
    fn blank_lines_in_a_change_are_counted() {
        let write =
            shown("Write", &json!({ "file_path": "/a", "content": format!("a{}rm x", "\n".repeat(300)) }));
        assert!(write.contains("+⟨299 blank lines⟩\n+rm x"), "{write}");
    }

    #[test]
    fn a_long_detail_shows_both_its_ends() {
        let (short, _) = fitted(format!("begin {} end", "x".repeat(9_000)), QuestionId(3), "sh", true);
        assert!(short.starts_with("begin x") && short.ends_with("x end") && short.len() < DETAIL_MAX);
        let lines: Vec<String> = (0..500).map(|n| format!("line {n} {}", "x".repeat(20))).collect();
        let (short, _) = fitted(lines.join("\n"), QuestionId(3), "sh", true);
        assert!(short.starts_with("line 0 ") && short.contains("line 499 ") && !short.contains("line 250 "));
    }

    #[test]
    fn in_company_the_question_says_how_to_address_the_answer() {
        let rule = "`touch` with any files of its folder".into();
        insta::assert_snapshot!(how_to_allow(Some(rule), true, "!"), @"Answer `!yes`, `!no REASON`, `!try` (shows what it would do), or `!always` (from now on: `touch` with any files of its folder).");
        insta::assert_snapshot!(how_to_allow(None, false, ""), @"Answer `yes`, `no REASON`.");
    }
}

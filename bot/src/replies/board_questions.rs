//! Questions about stories that a room's agent asks, and the words for its acts.

use std::fmt::Write as _;

use adapters::markdown::{code_span, inert};
use pipeline::{
    specs::ProjectSpecs,
    stage::Stage,
    story::{Story, StoryId},
};

use super::{
    call_warnings::warnings,
    visible::{visible, visible_line},
};
use crate::permission::{BoardQuestion, PlannedStory, Question, QuestionId};

/// Characters of a title, and of a criterion.
const TITLE_MAX: usize = 200;
const CRITERION_MAX: usize = 300;

/// A question about stories.
pub(super) fn asked(question: &Question, about: &BoardQuestion, address: &str) -> String {
    let (id, whose, warnings) =
        (question.id, inert(&question.asked_for), warnings(&question.concerns, &question.read));
    match about {
        BoardQuestion::Act { what, shown } => {
            let shown = shown.as_ref().map(|shown| format!("\n{shown}\n\n")).unwrap_or_default();
            format!(
                "**Question {id}** for {whose}: may I {what}?\n{shown}{warnings}Answer `{address}yes` or `{address}no REASON`."
            )
        }
        BoardQuestion::Plan(stories) => {
            let list: Vec<String> = stories.iter().zip(1..).map(planned).collect();
            let some = match stories.len() {
                0 | 1 => String::new(),
                _ => format!(" for all, numbers for some (`{address}1 2`, `{address}yes, but without 2`)"),
            };
            format!(
                "**Question {id}** for {whose}: shall I add {} to the backlog?\n\n{}\n\n{warnings}Answer `{address}yes`{some}, or say what to change.",
                these(stories.len()),
                list.join("\n")
            )
        }
    }
}

fn these(count: usize) -> &'static str {
    if count == 1 { "this story" } else { "these stories" }
}

fn planned((story, number): (&PlannedStory, usize)) -> String {
    let mut text = format!("{number}. **{}**", inert(&visible_line(&story.title, TITLE_MAX)));
    if story.kind.word() != "story" {
        let _ = write!(text, " ({})", story.kind.word());
    }
    let before = story.after.iter().map(ToString::to_string);
    let before: Vec<String> =
        before.chain(story.depends_on.iter().map(|id| format!("story `{id}`"))).collect();
    if !before.is_empty() {
        let _ = write!(text, ", after {}", before.join(", "));
    }
    for criterion in &story.criteria {
        let _ = write!(text, "\n   - {}", inert(&visible_line(criterion, CRITERION_MAX)));
    }
    if let Some(body) = story.body.as_ref().filter(|body| !body.trim().is_empty()) {
        for line in visible(body.trim()).lines().map(str::trim_end) {
            let _ = write!(text, "\n   > {}", inert(line));
        }
    }
    text
}

/// What a question is about, in a sentence.
pub(super) fn named(about: &BoardQuestion) -> String {
    match about {
        BoardQuestion::Act { what, .. } => format!("the request to {what}"),
        BoardQuestion::Plan(stories) => {
            format!("the list of {}", super::text::count(stories.len(), "story", "stories"))
        }
    }
}

/// Entries of a list.
pub(super) fn entries(entries: &[usize]) -> String {
    let numbers: Vec<String> = entries.iter().map(ToString::to_string).collect();
    match numbers.split_last() {
        None => "none".into(),
        Some((only, [])) => format!("number {only}"),
        Some((last, others)) => format!("numbers {} and {last}", others.join(", ")),
    }
}

/// `yes 1` where question 1 is open and lists several stories.
pub fn question_or_entry(id: QuestionId) -> String {
    format!(
        "Question {id} lists several stories, so `yes {id}` could mean all of them or number {id}. Say `yes` for all, or `{id}` for that one."
    )
}

// --- acts, as clauses: "may I start story `2` **Door**?" ---

fn story(story: &Story) -> String {
    format!("story `{}` **{}**", story.id(), inert(&visible_line(&story.front.name, TITLE_MAX)))
}

/// Several stories in a clause.
pub fn start_stories(stories: &[&Story]) -> String {
    let names: Vec<String> = stories.iter().map(|one| story(one)).collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("start {} and {last}", others.join(", ")),
        _ => format!("start {}", names.concat()),
    }
}

pub fn stop_story(one: &Story) -> String {
    format!("stop the work on {}", story(one))
}

pub fn move_story(one: &Story, to: Stage) -> String {
    format!("move {} from {} to {to}", story(one), one.stage)
}

/// With all that goes with it.
pub fn delete_story(one: &Story) -> String {
    format!("delete {}, which is in {}, with its worktree and branch", story(one), one.stage)
}

/// Both texts below `.storkit/specs`.
pub fn write_specs(base: &str) -> String {
    format!("write what every agent is told about this project, and commit it to {}", code_span(base))
}

/// The texts as they will be, every line quoted.
pub fn shown_specs(specs: &ProjectSpecs) -> String {
    let quoted = |text: &str| {
        let lines = visible(text.trim())
            .lines()
            .map(|line| format!("> {}", inert(line.trim_end())))
            .collect::<Vec<_>>();
        lines.join("\n")
    };
    format!(
        "**What it is for** (`.storkit/specs/00_CONTEXT.md`)\n{}\n\n**What it is built with** (`.storkit/specs/tech/STACK.md`)\n{}",
        quoted(&specs.context),
        quoted(&specs.stack)
    )
}

pub fn accept_story(one: &Story) -> String {
    format!("accept {} in your name, so that it is merged", story(one))
}

/// With the reason that its next run reads.
pub fn reject_story(one: &Story, reason: &str) -> String {
    format!("send {} back to its coder ({})", story(one), code_span(&visible_line(reason, CRITERION_MAX)))
}

pub fn retry_story(one: &Story) -> String {
    format!("lift what blocks {} and continue it", story(one))
}

pub fn merge_story(one: &Story) -> String {
    format!("queue the merge of {}", story(one))
}

/// With the reason why it is in quarantine.
pub fn release_story(one: &Story, cause: &str) -> String {
    format!(
        "release {} from quarantine ({}; read it first with `show {}`)",
        story(one),
        inert(&visible_line(cause, CRITERION_MAX)),
        one.id()
    )
}

/// A story that agents work on already, or that is past the backlog.
pub fn change_story(one: &Story, gives_up_review: bool) -> String {
    let review = if gives_up_review { ", so that no person has to review it" } else { "" };
    format!("change {}, which is in {}{review}", story(one), one.stage)
}

/// The name by which the record knows a room's agent.
pub fn room_agent(person: &str) -> String {
    format!("the room's agent for {person}")
}

/// The room hears of a call that this person may not make.
pub fn call_denied(tool: &str, sentence: &str) -> String {
    format!("🚫 {}: {sentence}", code_span(tool))
}

/// A new story without criteria, below its answer.
pub fn asks_for_criteria(id: StoryId) -> String {
    format!(
        "What must be true when it is done? Answer here, a line for each criterion, or say `draft {id}` and the agent drafts them."
    )
}

/// Criteria that a person has written.
pub fn criteria_written(id: StoryId, count: usize) -> String {
    let criteria = super::text::count(count, "criterion", "criteria");
    format!("Story `{id}` has {criteria} now. `show {id}` shows them, `start {id}` starts the work.")
}

/// The answer to `new KIND` alone.
pub fn asks_for_title(kind: &str) -> String {
    format!(
        "What is the {kind} about? Answer here: the title in the first line, and its text or a list of criteria below it."
    )
}

/// A person does not answer the question about a new story.
pub const LEFT_AS_IT_IS: &str = "All right, it stays as it is.";

/// `draft ID` of a story that is past the backlog.
pub fn not_in_backlog(id: StoryId, stage: Stage) -> String {
    format!(
        "Story `{id}` is in {stage}. Criteria are drafted for stories in the backlog; change this one's file by hand."
    )
}

/// The task that `draft ID` gives to the room's agent.
pub fn draft_prompt(id: StoryId) -> String {
    format!(
        "Draft acceptance criteria for story {id}: read it with get_story, look at the code that it concerns, and write two to six criteria that \
         somebody can check into it with update_story (`criteria`). Then list them here, and ask whether they fit."
    )
}

/// The bot's question as context for its agent, in case that a person answers it in other words.
pub fn asked_for_criteria(id: StoryId, title: &str) -> String {
    format!(
        "I added story {id} ({}) to the backlog and asked for its acceptance criteria.",
        visible_line(title, TITLE_MAX)
    )
}

#[cfg(test)]
mod tests {
    use pipeline::story::StoryKind;

    use super::*;

    #[test]
    fn a_planned_story_shows_its_criteria_and_what_comes_before_it() {
        let planned_story = PlannedStory {
            kind: StoryKind::Bug,
            title: "Bell *rings*\u{202e}".into(),
            body: Some("Only\nonce".into()),
            criteria: vec!["It rings".into(), "# It stops".into()],
            after: vec![2],
            depends_on: vec![StoryId(7)],
        };
        insta::assert_snapshot!(planned((&planned_story, 1)), @r"
        1. **Bell *rings*\u{202e}** (bug), after 2, story `7`
           - It rings
           - # It stops
           > Only
           > once
        ");
    }

    #[test]
    fn entries_are_listed() {
        assert_eq!(
            [entries(&[]), entries(&[2]), entries(&[1, 2, 4])],
            ["none", "number 2", "numbers 1, 2 and 4"]
        );
    }
}

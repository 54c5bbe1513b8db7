//! `edit` and `tick`: what a story has, and what became of a change.

use std::fmt::Write as _;

use adapters::markdown::{code_block, code_span, inert};
use pipeline::{
    event::PipelineSnapshot,
    stage::Stage,
    story::{Story, StoryId},
};

use super::text::count;

/// `edit ID text` without one.
pub const WHICH_TEXT: &str = "What is its text? It follows in the lines below.";
/// `edit ID qa` without anything.
pub const ON_OR_OFF: &str = "Does a person review it? `on` or `off`.";
/// `edit ID after` without anything.
pub const AFTER_WHICH: &str = "After which stories? Their numbers, or `none`.";

/// `edit ID WORD` with a word for no part.
pub fn no_part_of_a_story(word: &str) -> String {
    format!(
        "{} is not a part of a story: they are `title`, `agent`, `qa` and `after`, and `remove` takes a file away. A new text follows in the lines below \
         `edit ID`.",
        code_span(word)
    )
}

pub fn title_too_long(max: usize) -> String {
    format!("A title has at most {max} characters; put the rest into the lines below it.")
}

/// `tick ID WORD` with another word.
pub fn not_a_criterion(word: &str) -> String {
    format!("{} is not a criterion's number; without a number I list them.", code_span(word))
}

/// A user changes what only an approver may.
pub fn may_not_change_story(story: &Story) -> String {
    let id = story.id();
    match story.stage {
        Stage::Backlog => format!("Only approvers can give up a person's review, as story `{id}` has it."),
        stage => format!(
            "Only approvers can change a story that has left the backlog; story `{id}` is in {stage}."
        ),
    }
}

/// `edit ID`: each line of the first block is a command with the present value.
pub fn story_to_edit(story: &Story, text: &str) -> String {
    let (id, front) = (story.id(), &story.front);
    let commands = format!(
        "edit {id} title {}\nedit {id} agent {}\nedit {id} qa {}\nedit {id} after {}\n",
        front.name,
        front.agent.as_deref().unwrap_or("none"),
        on_or_off(front.manual_qa),
        if front.depends_on.is_empty() { "none".into() } else { numbers(&front.depends_on) }
    );
    format!(
        "Story `{id}` is in {}. Copy what you want to change, and send it changed:\n\n{}\n\nIts text, which lines below `edit {id}` \
         replace:\n\n{}",
        story.stage,
        code_block(&commands, ""),
        code_block(&format!("edit {id}\n{text}\n"), "markdown")
    )
}

fn numbers(stories: &[StoryId]) -> String {
    stories.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// A story before and after an edit.
pub struct StoryEdit<'a> {
    pub before: &'a Story,
    pub after: &'a Story,
    /// The text below the title.
    pub old_text: &'a str,
    pub new_text: &'a str,
}

/// The answer to `edit` with a change.
pub fn story_edited(edit: &StoryEdit<'_>, snapshot: &PipelineSnapshot) -> String {
    let (id, before, after) = (edit.after.id(), &edit.before.front, &edit.after.front);
    let mut changes = Vec::new();
    let mut note = |what: &str, old: String, new: String| {
        if old != new {
            changes.push(format!("{what} {old} → {new}"));
        }
    };
    note("title", bold(&before.name), bold(&after.name));
    note("preferred agent", agent(before.agent.as_deref()), agent(after.agent.as_deref()));
    note("review by a person", on_or_off(before.manual_qa).into(), on_or_off(after.manual_qa).into());
    note("starts after", stories(&before.depends_on), stories(&after.depends_on));
    if edit.old_text != edit.new_text {
        changes.push(format!(
            "text {} → {}",
            size(edit.old_text, edit.before),
            size(edit.new_text, edit.after)
        ));
    }
    if changes.is_empty() {
        return format!("Story `{id}` is as it was: that is what it has already.");
    }
    let mut text = format!("Story `{id}`: {}.", changes.join("; "));
    if let Some(run) = snapshot.runs.iter().find(|run| run.story == id) {
        let _ = write!(text, " `{}` works on it and reads the change at its next run.", run.slot);
    }
    if snapshot.quarantined.contains_key(&id) {
        let _ = write!(text, " It stays in quarantine: `release {id}` lifts that.");
    }
    text
}

fn bold(title: &str) -> String {
    format!("**{}**", inert(title))
}

fn agent(name: Option<&str>) -> String {
    name.map_or_else(|| "none".to_owned(), |name| code_span(&inert(name)))
}

fn stories(ids: &[StoryId]) -> String {
    if ids.is_empty() { "none".into() } else { numbers(ids) }
}

fn size(text: &str, story: &Story) -> String {
    let lines = count(text.lines().filter(|line| !line.trim().is_empty()).count(), "line", "lines");
    format!("{lines} with {}", count(story.criteria.len(), "criterion", "criteria"))
}

/// `tick ID`.
pub fn criteria_list(story: &Story) -> String {
    let id = story.id();
    if story.criteria.is_empty() {
        return format!(
            "Story `{id}` has no acceptance criteria. `draft {id}` lets the agent write them, `edit {id}` shows its text."
        );
    }
    let mut text = format!("Acceptance criteria of story `{id}`, {} done:\n\n", done_of(story));
    for (number, (criterion, done)) in story.criteria.iter().enumerate() {
        let _ = writeln!(text, "{}. {} {}", number + 1, mark(*done), inert(criterion));
    }
    text
}

fn done_of(story: &Story) -> String {
    format!("{} of {}", story.criteria.iter().filter(|(_, done)| *done).count(), story.criteria.len())
}

fn mark(done: bool) -> &'static str {
    if done { "☑" } else { "☐" }
}

/// `tick ID N`, done.
pub fn criterion_ticked(story: &Story, number: usize, done: bool) -> String {
    let id = story.id();
    let state = if done { "ticked" } else { "open" };
    let text = number.checked_sub(1).and_then(|index| story.criteria.get(index));
    let text = text.map(|(text, _)| format!(": {} {}", mark(done), inert(text))).unwrap_or_default();
    format!("Criterion {number} of story `{id}` is {state}, {} done{text}", done_of(story))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::board::fixture, *};

    fn story(id: u32) -> Story {
        Story::clone(fixture::snapshot().board.story(StoryId(id)).expect("a story"))
    }

    #[test]
    fn what_can_be_edited_is_shown_as_commands_to_copy() {
        let mut story = story(1);
        story.front.depends_on = vec![StoryId(7), StoryId(9)];
        insta::assert_snapshot!(story_to_edit(&story, "It squeaks.\n\n- [ ] It is silent"), @"
        Story `1` is in backlog. Copy what you want to change, and send it changed:

        ```
        edit 1 title First
        edit 1 agent none
        edit 1 qa off
        edit 1 after 7, 9
        ```

        Its text, which lines below `edit 1` replace:

        ```markdown
        edit 1
        It squeaks.

        - [ ] It is silent
        ```
        ");
    }

    #[test]
    fn an_edit_is_told_as_old_and_new() {
        let before = story(2);
        let mut after = before.clone();
        let mut snapshot = fixture::snapshot();
        let told = |after: &Story, new_text: &str, snapshot: &PipelineSnapshot| {
            story_edited(&StoryEdit { before: &before, after, old_text: "a", new_text }, snapshot)
        };
        assert_eq!(told(&after, "a", &snapshot), "Story `2` is as it was: that is what it has already.");
        after.front.name = "Two @room".into();
        after.front.agent = Some("coder-2".into());
        after.front.manual_qa = true;
        after.front.depends_on = vec![StoryId(1), StoryId(3)];
        after.criteria = vec![("b".into(), false)];
        insta::assert_snapshot!(told(&after, "a\n\n- [ ] b", &snapshot), @"Story `2`: title **Second** → **Two @\u{200b}room**; preferred agent none → `coder-2`; review by a person off → on; starts after none → 1, 3; text 1 line with 0 criteria → 2 lines with 1 criterion. `coder` works on it and reads the change at its next run.");
        snapshot.runs.clear();
        snapshot.quarantined = Arc::new(
            [(
                StoryId(2),
                pipeline::strangers::Quarantine {
                    cause: pipeline::strangers::QuarantineCause::Repository,
                    accepted: false,
                },
            )]
            .into(),
        );
        assert!(told(&after, "a", &snapshot).ends_with("It stays in quarantine: `release 2` lifts that."));
    }

    #[test]
    fn criteria_are_listed_by_number_and_a_tick_is_told() {
        let mut story = story(2);
        assert!(criteria_list(&story).contains("has no acceptance criteria. `draft 2`"));
        story.criteria = vec![("It opens".into(), true), ("It closes".into(), false)];
        insta::assert_snapshot!(criteria_list(&story), @"
        Acceptance criteria of story `2`, 1 of 2 done:

        1. ☑ It opens
        2. ☐ It closes
        ");
        assert_eq!(
            criterion_ticked(&story, 1, true),
            "Criterion 1 of story `2` is ticked, 1 of 2 done: ☑ It opens"
        );
    }
}

//! `edit`: a story's title, text, agent, review and dependencies; alone it shows them, in a form to copy.

use std::sync::Arc;

use async_trait::async_trait;
use pipeline::{
    Pipeline,
    handle::StoryChange,
    story::{self, LONGEST_TITLE, Story, StoryDocument, StoryId},
};

use super::story::{attach, caller, known, later, number, refusal};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    config::access::UserRole,
    permission::role_to_change,
    replies::{self, StoryEdit},
};

pub struct EditCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "edit",
    args: "ID [title TITLE|agent AGENT|qa on|off|after ID, ID|remove FILE]",
    summary: "Change a story's title, text, agent, review or dependencies",
    details: "`edit ID` shows what a story has, in a form to copy, change and send. Lines below `edit ID` become its text, in the place of \
              the one it has; `edit ID title TITLE` changes the title, and with lines below it the text as well. `agent` is the preferred \
              agent, `qa on` lets a person review the story, `after` names the stories that must be done first; `none` takes an agent or \
              the dependencies away. Once a story has left the backlog, and to give up a person's review, it takes an approver. An agent \
              that works on the story reads the change at its next run. A merged story stays as it is. Pictures and files that come with `edit ID` are \
              added to the story's; `remove` takes one of them away.",
    examples: &[
        "edit 12",
        "edit 12 title The door squeaks",
        "edit 12 qa on",
        "edit 12 after 7, 9",
        "edit 12 agent none",
        "edit 12 remove door.png",
    ],
    takes_text: true,
    takes_files: true,
    begins: Some(begins_edit),
    ..CommandSpec::PLAIN
};

/// What `edit` changes, by the words people type; the last ones are those of a story's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoryPart {
    Title,
    Text,
    Agent,
    Review,
    After,
    File,
}

impl StoryPart {
    fn parse(word: &str) -> Option<Self> {
        Some(match word.to_lowercase().as_str() {
            "title" | "name" => Self::Title,
            "text" | "body" => Self::Text,
            "agent" => Self::Agent,
            "qa" | "manual_qa" => Self::Review,
            "after" | "depends_on" => Self::After,
            "remove" => Self::File,
            _ => return None,
        })
    }
}

/// "edit 12 lines of the readme" is a prompt.
fn begins_edit(args: &str) -> bool {
    let (first, _) = first_line(args);
    let mut words = first.split_whitespace();
    let is_story = words.next().is_some_and(|word| word.parse::<StoryId>().is_ok());
    let part = match words.next() {
        None => return is_story,
        Some(word) => StoryPart::parse(word),
    };
    match part {
        // "edit 12 remove the second paragraph" is a prompt, too.
        Some(StoryPart::File) => is_story && words.count() == 1,
        part => is_story && part.is_some(),
    }
}

#[async_trait]
impl Command for EditCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (id, edit) = read(cx.args)?;
        let story = known(&cx, id)?;
        let change = match edit {
            RequestedEdit::Show => None,
            RequestedEdit::Change(change) => Some(change),
            RequestedEdit::Remove(file) => return remove(&cx, &story, file),
        };
        let (pipeline, files) = (cx.services.pipeline.clone(), cx.files.clone());
        let Some(change) = change else {
            if files.is_empty() {
                return later(async move {
                    let text = text_of(&pipeline, id).await?;
                    Ok(Reply::text(replies::story_to_edit(&story, &text)))
                });
            }
            check_role(&cx, &story, &change_of_text())?;
            return later(async move {
                Ok(Reply::notice(attach(&pipeline, id, &files).await.unwrap_or_default()))
            });
        };
        check_role(&cx, &story, &change)?;
        let by = caller(&cx);
        later(async move {
            let old_text = text_of(&pipeline, id).await?;
            let after = pipeline.update(id, change, by).await.map_err(refusal)?;
            let new_text = text_of(&pipeline, id).await?;
            let edit = StoryEdit { before: &story, after: &after, old_text: &old_text, new_text: &new_text };
            let mut told = replies::story_edited(&edit, &pipeline.snapshot());
            if let Some(attached) = attach(&pipeline, id, &files).await {
                told = format!("{told}\n{attached}");
            }
            Ok(Reply::notice(told))
        })
    }
}

/// Takes one of a story's files away.
fn remove(cx: &CommandContext<'_>, story: &Arc<Story>, file: String) -> CommandResult {
    check_role(cx, story, &change_of_text())?;
    let (pipeline, id) = (cx.services.pipeline.clone(), story.id());
    later(async move {
        pipeline.detach(id, file.clone()).await.map_err(refusal)?;
        Ok(Reply::notice(replies::file_removed(id, &file)))
    })
}

/// What files need the same right for.
fn change_of_text() -> StoryChange {
    StoryChange { body: Some(String::new()), ..StoryChange::default() }
}

async fn text_of(pipeline: &Pipeline, id: StoryId) -> Result<String, CommandError> {
    let text = pipeline.text(id).await.map_err(refusal)?;
    // One that cannot be read is a problem of the board, which was looked at before.
    Ok(StoryDocument::parse(text).map(|document| document.text_below_title().to_owned()).unwrap_or_default())
}

fn check_role(cx: &CommandContext<'_>, story: &Arc<Story>, change: &StoryChange) -> Result<(), CommandError> {
    // As `assign`, which is for everybody.
    let only_agent = StoryChange { agent: change.agent.clone(), ..StoryChange::default() } == *change;
    let needed = if only_agent { UserRole::User } else { role_to_change(story, change) };
    let role = cx.services.access().role(cx.room, &cx.sender.id);
    match role >= Some(needed) {
        true => Ok(()),
        false => Err(CommandError::User(replies::may_not_change_story(story))),
    }
}

/// What `edit` is to do.
#[derive(Debug, PartialEq)]
enum RequestedEdit {
    Show,
    Change(StoryChange),
    /// The file of this name goes.
    Remove(String),
}

fn read(args: &str) -> Result<(StoryId, RequestedEdit), CommandError> {
    let (first, below) = first_line(args);
    let (id, words) = number(first)?;
    let (word, value) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
    let value = value.trim();
    let body = (!below.trim().is_empty()).then(|| below.to_owned());
    let none = StoryChange::default();
    let usage = |text: String| Err(CommandError::Usage(text));
    if word.is_empty() {
        let text = body.map(|body| RequestedEdit::Change(StoryChange { body: Some(body), ..none }));
        return Ok((id, text.unwrap_or(RequestedEdit::Show)));
    }
    let Some(part) = StoryPart::parse(word) else { return usage(replies::no_part_of_a_story(word)) };
    let takes_lines = matches!(part, StoryPart::Title | StoryPart::Text);
    if let Some(line) = below.lines().find(|line| !line.trim().is_empty()).filter(|_| !takes_lines) {
        return usage(replies::too_much(line.trim()));
    }
    let change = match part {
        StoryPart::Title => StoryChange { title: Some(read_title(value)?), body, ..none },
        StoryPart::Text => {
            let text = format!("{value}\n{below}");
            if text.trim().is_empty() {
                return usage(replies::WHICH_TEXT.into());
            }
            StoryChange { body: Some(text), ..none }
        }
        StoryPart::Agent => StoryChange { agent: Some(read_agent(value)?), ..none },
        StoryPart::Review => StoryChange { manual_qa: Some(read_switch(value)?), ..none },
        StoryPart::After => StoryChange { depends_on: Some(read_stories(value)?), ..none },
        StoryPart::File => {
            let file = value.trim_matches('`');
            return match file.is_empty() {
                true => usage(replies::WHICH_FILE.into()),
                false => Ok((id, RequestedEdit::Remove(file.to_owned()))),
            };
        }
    };
    Ok((id, RequestedEdit::Change(change)))
}

fn first_line(args: &str) -> (&str, &str) {
    args.split_once('\n').unwrap_or((args, ""))
}

fn read_title(value: &str) -> Result<String, CommandError> {
    match story::title(value) {
        None => Err(CommandError::Usage(replies::NO_TITLE.into())),
        Some(_) if value.chars().count() > LONGEST_TITLE => {
            Err(CommandError::Usage(replies::title_too_long(LONGEST_TITLE)))
        }
        Some(title) => Ok(title),
    }
}

fn is_none(value: &str) -> bool {
    ["none", "nobody", "nothing"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Empty for none.
fn read_agent(value: &str) -> Result<String, CommandError> {
    match value {
        "" => Err(CommandError::Usage(replies::WHICH_AGENT.into())),
        none if is_none(none) => Ok(String::new()),
        words if words.contains(char::is_whitespace) => {
            Err(CommandError::Usage(replies::not_an_agent(words)))
        }
        name => Ok(name.to_owned()),
    }
}

fn read_switch(value: &str) -> Result<bool, CommandError> {
    match value.to_lowercase().as_str() {
        "on" | "yes" | "true" => Ok(true),
        "off" | "no" | "false" => Ok(false),
        "" => Err(CommandError::Usage(replies::ON_OR_OFF.into())),
        other => Err(CommandError::Usage(replies::not_on_or_off(other))),
    }
}

fn read_stories(value: &str) -> Result<Vec<StoryId>, CommandError> {
    if is_none(value) {
        return Ok(Vec::new());
    }
    let words = value.split([',', ' ', '\t', '&']).filter(|word| !word.is_empty() && *word != "and");
    let mut stories = Vec::new();
    for word in words {
        let id = word.parse().map_err(|_| CommandError::Usage(replies::not_a_story_number(word)))?;
        if !stories.contains(&id) {
            stories.push(id);
        }
    }
    match stories.is_empty() {
        true => Err(CommandError::Usage(replies::AFTER_WHICH.into())),
        false => Ok(stories),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(args: &str) -> StoryChange {
        let (id, change) = read(args).unwrap_or_else(|why| panic!("{args}: {why:?}"));
        assert_eq!(id, StoryId(12), "{args}");
        match change {
            RequestedEdit::Change(change) => change,
            other => panic!("{args}: {other:?}"),
        }
    }

    #[test]
    fn each_part_of_a_story_is_named_by_a_word() {
        let none = StoryChange::default();
        let title = |title: &str| StoryChange { title: Some(title.into()), ..none.clone() };
        assert_eq!(change("12 title The door  squeaks"), title("The door squeaks"));
        let both = StoryChange { body: Some("\nAlways.\n- [ ] No".into()), ..title("The door") };
        assert_eq!(change("#12 Title The door\n\nAlways.\n- [ ] No"), both);
        for (args, name) in [("12 agent coder-2", "coder-2"), ("12 agent None", ""), ("12 agent nobody", "")]
        {
            assert_eq!(change(args).agent.as_deref(), Some(name), "{args}");
        }
        for (args, on) in [("12 qa on", true), ("12 QA Off", false), ("12 manual_qa: no", false)] {
            assert_eq!(change(&args.replace(':', "")).manual_qa, Some(on), "{args}");
        }
        let after = |args: &str| change(args).depends_on.expect("dependencies");
        assert_eq!(after("12 after 7, #9 and 7"), [StoryId(7), StoryId(9)]);
        assert_eq!((after("12 after 7,9").len(), after("12 after none").len()), (2, 0));
    }

    #[test]
    fn lines_below_are_the_text_with_their_indentation() {
        let text = |args: &str| change(args).body.expect("a text");
        assert_eq!(text("12\n  code\n- [ ] one"), "  code\n- [ ] one");
        assert_eq!(text("12 text\nIt squeaks."), "\nIt squeaks.");
        assert_eq!(text("12 body It squeaks."), "It squeaks.\n");
        for shown in ["12", "12\n \n"] {
            assert_eq!(read(shown).ok(), Some((StoryId(12), RequestedEdit::Show)));
        }
        for removed in ["12 remove door.png", "#12 Remove `door.png`"] {
            assert_eq!(read(removed).ok(), Some((StoryId(12), RequestedEdit::Remove("door.png".into()))));
        }
    }

    #[test]
    fn what_does_not_fit_gets_the_usage_and_changes_nothing() {
        let long = format!("12 title {}", "x".repeat(201));
        for wrong in [
            "",
            "door",
            "12 colour red",
            "12 title",
            "12 agent",
            "12 agent a b",
            "12 agent a\nmore",
            "12 qa",
            "12 qa maybe",
            "12 after",
            "12 after door",
            "12 after 7 none",
            "12 text",
            "12 remove",
            "12 remove door.png\nmore",
            &long,
        ] {
            assert!(matches!(read(wrong), Err(CommandError::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn without_a_prefix_only_what_looks_like_an_edit_is_one() {
        for (args, is_edit) in [
            ("12", true),
            ("#12\nNew text", true),
            ("12 title x", true),
            ("12 remove door.png", true),
            ("12 remove the second door", false),
            ("12 lines of the readme", false),
            ("the readme", false),
        ] {
            assert_eq!(begins_edit(args), is_edit, "{args}");
        }
    }
}

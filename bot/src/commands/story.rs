//! Shared by the story commands: reading a story's number, and refusals of the pipeline.

use pipeline::{
    Pipeline, PipelineError,
    board::{AttachedFile, FileToAttach, MAX_ATTACHED},
    event::Actor,
    handle::{NewStory, StartResult},
    story::{self, Story, StoryId},
};

use crate::{
    commands::{
        command::{AwaitedText, CommandContext, CommandError, CommandResult, Reply, RoomAction},
        services::CommandServices,
    },
    messengers::RequestOrigin,
    replies,
    sent_files::FileDelivery,
};

/// Whether arguments begin with a story's number: an unaddressed text that does not is talk, not a command.
pub fn begins_with_number(args: &str) -> bool {
    args.split_whitespace().next().is_some_and(|word| word.parse::<StoryId>().is_ok())
}

/// The story's number, and the text after it.
pub fn number(args: &str) -> Result<(StoryId, &str), CommandError> {
    let (word, rest) = args.split_once(char::is_whitespace).unwrap_or((args, ""));
    if word.is_empty() {
        return Err(CommandError::Usage(replies::WHICH_STORY.into()));
    }
    match word.parse() {
        Ok(id) => Ok((id, rest.trim())),
        Err(_) => Err(CommandError::Usage(replies::not_a_story_number(word))),
    }
}

/// The story's number and nothing else.
pub fn only_number(args: &str) -> Result<StoryId, CommandError> {
    match number(args)? {
        (id, "") => Ok(id),
        (_, more) => Err(CommandError::Usage(replies::one_number_is_enough(more))),
    }
}

/// The story, if the board has it.
pub fn known(cx: &CommandContext<'_>, id: StoryId) -> Result<std::sync::Arc<Story>, CommandError> {
    let snapshot = cx.services.pipeline.snapshot();
    match (snapshot.board.story(id), snapshot.board.problem(id)) {
        (Some(story), _) => Ok(story.clone()),
        (None, Some(problem)) => Err(CommandError::User(problem.to_string())),
        (None, None) => Err(unknown(id)),
    }
}

/// There is no such story.
pub fn unknown(id: StoryId) -> CommandError {
    CommandError::User(replies::unknown_story(id))
}

/// Who calls, as the pipeline's record names them.
pub fn caller(cx: &CommandContext<'_>) -> Actor {
    Actor::Person(cx.sender.name.to_string())
}

/// A refusal of the pipeline is a sentence for the person.
pub fn refusal(error: PipelineError) -> CommandError {
    CommandError::User(replies::refused_by_pipeline(&error))
}

/// A pipeline operation, answered when it is done: it can wait for git or a worktree,
/// and the room continues meanwhile.
pub fn later(verb: impl Future<Output = CommandResult> + Send + 'static) -> CommandResult {
    Ok(Reply::default().then(RoomAction::Later(Box::pin(verb))))
}

/// A story that a person asks for.
pub struct StoryRequest {
    pub new: NewStory,
    pub by: Actor,
    pub origin: RequestOrigin,
    /// What is to lie beside it.
    pub files: FileDelivery,
}

/// Writes a story to the backlog. The reply asks for criteria where there are none, and names files that did not arrive.
pub async fn create(services: &CommandServices, asked: StoryRequest) -> CommandResult {
    let StoryRequest { new, by, origin, files } = asked;
    let (has_list, has_body) = (!new.criteria.is_empty(), new.body.is_some());
    let new = NewStory { conversation: Some(origin.conversation.clone()), ..new };
    let story = services.pipeline.create_story(new, by).await.map_err(refusal)?;
    let id = story.id();
    services.store.keep_story_origin(id, &origin.room, origin.message.as_ref());
    let mut created = replies::story_created(&story);
    // Behind the story: a file that does not come must not keep the story from being there.
    if let Some(attached) = attach(&services.pipeline, id, &files).await {
        created = format!("{created}\n{attached}");
    }
    // Those of a template are only examples.
    let has_criteria = has_list || has_body && !story.criteria.is_empty();
    Ok(match has_criteria {
        true => Reply::notice(created),
        false => Reply::notice(format!("{created}\n\n{}", replies::asks_for_criteria(id)))
            .then(RoomAction::Await(AwaitedText::Criteria(id))),
    })
}

/// Puts the files of a message beside a story. Returns what became of each; `None` without any.
pub async fn attach(pipeline: &Pipeline, id: StoryId, files: &FileDelivery) -> Option<String> {
    if files.is_empty() {
        return None;
    }
    let (mut arrived, mut lost) = (Vec::new(), Vec::new());
    for (name, content) in files.contents(MAX_ATTACHED).await {
        match content {
            Ok(content) => arrived.push(FileToAttach { name, content }),
            Err(loss) => lost.push((name, loss.why().to_owned())),
        }
    }
    let mut names = Vec::new();
    if !arrived.is_empty() {
        let given: Vec<String> = arrived.iter().map(|file| file.name.clone()).collect();
        match pipeline.attach(id, arrived).await {
            Ok(attached) => {
                for AttachedFile { given, stored } in attached {
                    match stored {
                        Ok(name) => names.push(name),
                        Err(fault) => lost.push((given, fault.to_string())),
                    }
                }
            }
            Err(error) => {
                let why = replies::refused_by_pipeline(&error).trim_end_matches('.').to_owned();
                lost.extend(given.into_iter().map(|name| (name, why.clone())));
            }
        }
    }
    Some(replies::files_attached(id, &names, &lost))
}

/// The lines of a text as criteria, without the marks of a list.
pub fn criteria_of(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(without_mark).filter_map(story::title).collect()
}

/// Whether a text is a list and nothing else. One with levels is more than a list of criteria.
pub fn is_list(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    lines.all(|line| without_mark(line).len() < line.len() && !line.starts_with(char::is_whitespace))
}

fn without_mark(line: &str) -> &str {
    let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = number.strip_prefix(['.', ')']).filter(|_| number.len() < line.len());
    let rest = line.strip_prefix(['-', '*', '+', '•']).or(numbered).filter(|rest| rest.starts_with(' '));
    let rest = rest.unwrap_or(line).trim_start();
    let boxed = ["[ ]", "[x]", "[X]"].iter().find_map(|mark| rest.strip_prefix(mark));
    boxed.unwrap_or(rest).trim_start()
}

/// The result of `start` and `retry`.
pub fn started(id: StoryId, started: &StartResult) -> Reply {
    Reply::notice(replies::story_started(id, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_first_and_anything_else_gets_a_sentence() {
        assert_eq!(number("#12 because of that").unwrap(), (StoryId(12), "because of that"));
        assert!(matches!(number(""), Err(CommandError::Usage(_))));
        assert!(
            matches!(number("door"), Err(CommandError::Usage(why)) if why.starts_with("`door` is not a story"))
        );
        assert!(matches!(only_number("12 13"), Err(CommandError::Usage(_))));
        assert!(begins_with_number("12 x") && !begins_with_number("the server"));
    }

    #[test]
    fn a_list_has_a_mark_in_each_line_and_no_levels() {
        for (text, expected) in [
            ("- one\n\n2) two\n* [x] three", true),
            ("- one\ntwo", false),
            ("- one\n  - two", false),
            ("one", false),
            ("-one", false),
        ] {
            assert_eq!(is_list(text), expected, "{text}");
        }
    }

    #[test]
    fn criteria_are_lines_without_the_marks_of_a_list() {
        let text = "- one\n* [ ] two\n\n3. three\n4) four\nplain - five\n-six\n7 seven\n- \n";
        assert_eq!(
            criteria_of(text),
            ["one", "two", "three", "four", "plain - five", "-six", "7 seven", "-"]
        );
    }
}

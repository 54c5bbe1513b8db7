//! What the story commands share: reading a story's number, and what the pipeline refuses.

use adapters::markdown::code_span;
use pipeline::{
    PipelineError,
    event::Actor,
    handle::StartResult,
    story::{Story, StoryId},
};

use crate::commands::command::{CommandContext, CommandError, CommandResult, Reply, RoomAction};

/// Whether arguments begin with a story's number: an unaddressed text that does not is talk, not a command.
pub fn begins_with_number(args: &str) -> bool {
    args.split_whitespace().next().is_some_and(|word| word.parse::<StoryId>().is_ok())
}

/// The story's number, and what stands behind it.
pub fn number(args: &str) -> Result<(StoryId, &str), CommandError> {
    let (word, rest) = args.split_once(char::is_whitespace).unwrap_or((args, ""));
    if word.is_empty() {
        return Err(CommandError::Usage("Which story? Its number comes first.".into()));
    }
    match word.parse() {
        Ok(id) => Ok((id, rest.trim())),
        Err(_) => Err(CommandError::Usage(format!(
            "{} is no story's number, like `12`; `status` lists them.",
            code_span(word)
        ))),
    }
}

/// The story's number and nothing else.
pub fn only_number(args: &str) -> Result<StoryId, CommandError> {
    match number(args)? {
        (id, "") => Ok(id),
        (_, more) => {
            Err(CommandError::Usage(format!("{} is too much: one number is enough.", code_span(more))))
        }
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
    CommandError::User(format!("There is no story `{id}`; `status` lists those there are."))
}

/// Who calls, as the pipeline's record names them.
pub fn caller(cx: &CommandContext<'_>) -> Actor {
    Actor::Person(cx.sender.name.to_string())
}

/// What the pipeline refuses is a sentence for the person.
pub fn refusal(error: PipelineError) -> CommandError {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    CommandError::User(format!("{first}{}", letters.as_str()))
}

/// A verb of the pipeline, answered when it is done: the room goes on meanwhile.
pub fn later(verb: impl Future<Output = CommandResult> + Send + 'static) -> CommandResult {
    Ok(Reply::default().then(RoomAction::Later(Box::pin(verb))))
}

/// What came of a story that was to go on.
pub fn started(id: StoryId, started: &StartResult) -> Reply {
    Reply::notice(match started {
        StartResult::Running(run) => {
            format!("`{}` works on story `{id}` now. `log {id}` shows how it goes.", run.slot)
        }
        StartResult::Waiting(why) => {
            format!("Story `{id}` is in work. For now: {}.", adapters::markdown::inert(why))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_first_and_anything_else_gets_a_sentence() {
        assert_eq!(number("#12 because of that").unwrap(), (StoryId(12), "because of that"));
        assert!(matches!(number(""), Err(CommandError::Usage(_))));
        assert!(
            matches!(number("door"), Err(CommandError::Usage(why)) if why.starts_with("`door` is no story"))
        );
        assert!(matches!(only_number("12 13"), Err(CommandError::Usage(_))));
        assert!(begins_with_number("12 x") && !begins_with_number("the server"));
    }
}

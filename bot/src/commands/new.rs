//! `new`: a story from its template.

use async_trait::async_trait;
use pipeline::story::StoryKind;

use super::story::{caller, later, refusal};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    replies,
};

pub struct NewCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "new",
    args: "story|bug|spike|refactor TITLE",
    summary: "Add a story to the backlog",
    details: "Adds a story file to the backlog, made from the template of its kind, and commits it. Add details to the file, then `start` it.",
    examples: &["new story Let people sign in with a passkey", "new bug The door squeaks"],
    takes_text: true,
    begins: Some(begins_with_kind),
    ..CommandSpec::PLAIN
};

fn begins_with_kind(args: &str) -> bool {
    args.split_whitespace().next().is_some_and(|word| StoryKind::parse(&word.to_lowercase()).is_some())
}

#[async_trait]
impl Command for NewCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (kind, title) = read(cx.args)?;
        let (pipeline, by) = (cx.services.pipeline.clone(), caller(&cx));
        let title = title.to_owned();
        later(async move {
            let story = pipeline.create(kind, &title, None, by).await.map_err(refusal)?;
            Ok(Reply::notice(replies::story_created(&story)))
        })
    }
}

fn read(args: &str) -> Result<(StoryKind, &str), CommandError> {
    let (word, title) = args.split_once(char::is_whitespace).unwrap_or((args, ""));
    let kind = StoryKind::parse(&word.to_lowercase()).ok_or_else(|| match word {
        "" => CommandError::Usage(replies::WHICH_KIND.into()),
        word => CommandError::Usage(replies::not_a_kind(word)),
    })?;
    match title.trim() {
        "" => Err(CommandError::Usage(replies::NO_TITLE.into())),
        title => Ok((kind, title)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_and_a_title_are_needed() {
        assert!(matches!(read("Bug  The door squeaks"), Ok((StoryKind::Bug, "The door squeaks"))));
        for wrong in ["", "bug", "bug  ", "idea x"] {
            assert!(matches!(read(wrong), Err(CommandError::Usage(_))), "{wrong}");
        }
    }
}

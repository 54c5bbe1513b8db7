//! `new`: a story from its template, or with the criteria that come with it.

use async_trait::async_trait;
use pipeline::{handle::NewStory, story::StoryKind};

use super::story::{caller, create, criteria_of, later};
use crate::{
    commands::command::{
        AwaitedText, Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    replies,
};

pub struct NewCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "new",
    args: "story|bug|spike|refactor TITLE",
    summary: "Add a story to the backlog",
    details: "Adds a story file to the backlog, made from the template of its kind, and commits it. Lines below the title are its acceptance \
              criteria. Without any, I ask for them: answer with a line for each, or say `draft ID` and the agent drafts them. Then `start` it. \
              Without a title, I ask for that too.",
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
        let (kind, text) = read(cx.args)?;
        let Some((title, criteria)) = titled(text) else {
            let asks = Reply::text(replies::asks_for_title(kind.word()));
            return Ok(asks.then(RoomAction::Await(AwaitedText::Story(kind))));
        };
        let (services, by) = (cx.services.clone(), caller(&cx));
        let origin = services.messengers.origin(cx.room, cx.message, &format!("{} {}", SPEC.name, cx.args));
        let new = NewStory { criteria, ..NewStory::titled(kind, title) };
        later(async move { create(&services, new, by, &origin).await })
    }
}

fn read(args: &str) -> Result<(StoryKind, &str), CommandError> {
    let (word, text) = args.split_once(char::is_whitespace).unwrap_or((args, ""));
    let kind = StoryKind::parse(&word.to_lowercase()).ok_or_else(|| match word {
        "" => CommandError::Usage(replies::WHICH_KIND.into()),
        word => CommandError::Usage(replies::not_a_kind(word)),
    })?;
    Ok((kind, text.trim()))
}

/// The title in the first line, and the criteria in the lines below; `None` where nothing is written.
pub fn titled(text: &str) -> Option<(&str, Vec<String>)> {
    let (title, rest) = text.trim().split_once('\n').unwrap_or((text.trim(), ""));
    (!title.trim().is_empty()).then(|| (title.trim(), criteria_of(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_needed_and_lines_below_the_title_are_criteria() {
        assert!(matches!(read("Bug  The door squeaks"), Ok((StoryKind::Bug, "The door squeaks"))));
        assert!(matches!(read("bug"), Ok((StoryKind::Bug, ""))));
        for wrong in ["", "idea x"] {
            assert!(matches!(read(wrong), Err(CommandError::Usage(_))), "{wrong}");
        }
        let lines = "A door\n\n- [ ] It opens\n* It closes\n2. It locks\n";
        let criteria = ["It opens", "It closes", "It locks"].map(str::to_owned).into();
        assert_eq!(titled(lines), Some(("A door", criteria)));
        assert_eq!(titled("A door"), Some(("A door", Vec::new())));
        assert_eq!(titled(" \n "), None);
    }
}

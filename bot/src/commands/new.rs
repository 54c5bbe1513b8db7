//! `new`: a story from its template, or with the text or the criteria that come with it.

use async_trait::async_trait;
use pipeline::{
    handle::NewStory,
    story::{self, LONGEST_TITLE, StoryKind},
};

use super::story::{StoryRequest, caller, create, criteria_of, is_list, later};
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
    details: "Adds a story file to the backlog and commits it. Lines below the title are its text, in Markdown, with acceptance criteria as \
              `- [ ] ...`; a list and nothing else is the criteria, and the rest comes from the template of its kind. Without criteria, I ask \
              for them: answer with a line for each, or say `draft ID` and the agent drafts them. Then `start` it. Without a title, I ask \
              for that too. Pictures and files that come with the message are kept beside the story, and agents can read them: at most 10 MB each.",
    examples: &["new story Let people sign in with a passkey", "new bug The door squeaks"],
    takes_text: true,
    takes_files: true,
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
        let Some(new) = written(kind, text) else {
            let asks = Reply::text(replies::asks_for_title(kind.word()));
            return Ok(asks.then(RoomAction::Await(AwaitedText::Story(kind))));
        };
        let (services, by) = (cx.services.clone(), caller(&cx));
        let origin = services.messengers.origin(cx.room, cx.message, &format!("{} {}", SPEC.name, cx.args));
        let asked = StoryRequest { new, by, origin, files: cx.files };
        later(async move { create(&services, asked).await })
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

/// The story of a text: its title in the first line, and in the lines below its criteria, if they are a list, or its body. `None`
/// where nothing is written.
pub fn written(kind: StoryKind, text: &str) -> Option<NewStory> {
    let (first, below) = text.trim().split_once('\n').unwrap_or((text.trim(), ""));
    let title = story::title(first)?;
    let new = NewStory::titled(kind, title);
    let below = below.trim_matches(['\r', '\n']).trim_end();
    // A title that is too long is cut; its words are kept.
    let is_cut = first.trim().chars().count() > LONGEST_TITLE;
    Some(match (is_cut, below) {
        (true, below) => NewStory { body: Some(format!("{}\n\n{below}", first.trim())), ..new },
        (false, "") => new,
        (false, list) if is_list(list) => NewStory { criteria: criteria_of(list), ..new },
        (false, body) => NewStory { body: Some(body.to_owned()), ..new },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_needed() {
        assert!(matches!(read("Bug  The door squeaks"), Ok((StoryKind::Bug, "The door squeaks"))));
        assert!(matches!(read("bug"), Ok((StoryKind::Bug, ""))));
        for wrong in ["", "idea x"] {
            assert!(matches!(read(wrong), Err(CommandError::Usage(_))), "{wrong}");
        }
    }

    fn bug(text: &str) -> NewStory {
        written(StoryKind::Bug, text).unwrap_or_else(|| panic!("nothing in {text:?}"))
    }

    #[test]
    fn below_the_title_a_list_is_the_criteria_and_anything_else_the_body() {
        let door = NewStory::titled(StoryKind::Bug, "A door");
        let criteria = ["It opens", "It closes", "It locks"].map(str::to_owned).into();
        assert_eq!(
            bug("A door\n\n- [ ] It opens\n* It closes\n2. It locks\n"),
            NewStory { criteria, ..door.clone() }
        );
        assert_eq!(bug(" A door \n \n"), door);
        for body in ["It squeaks.", "It squeaks:\n\n- [ ] No more\n    code", "- one\n  - below it", "  code"]
        {
            let expected = NewStory { body: Some(body.into()), ..door.clone() };
            assert_eq!(bug(&format!("A door\r\n\n{body}\n\n")), expected);
        }
        assert_eq!(written(StoryKind::Bug, " \n "), None);
    }

    #[test]
    fn nothing_of_a_title_that_is_too_long_is_lost() {
        let long = "word ".repeat(60);
        let new = bug(&format!("{long}\nBelow"));
        assert_eq!(new.title.chars().count(), LONGEST_TITLE);
        assert_eq!(new.body, Some(format!("{}\n\nBelow", long.trim())));
    }
}

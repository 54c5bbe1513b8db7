//! `land`: this room's changes become a story.

use async_trait::async_trait;

use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    replies,
};

pub struct LandCommand;

/// At most so many characters of a request become a title.
const LONGEST: usize = 72;

const SPEC: CommandSpec = CommandSpec {
    name: "land",
    args: "[TITLE]",
    summary: "Make a story of this room's changes: gates, review, merge",
    details: "Commits what is uncommitted in this room's worktree, and makes a story of all its changes. The story passes the gates, review \
              and the merge queue like any other; if it is sent back, a coder works on it. The room hears when it is merged, and then \
              follows the base branch again. Without a title the last request is the title. Where the room works in the main checkout \
              there is nothing to land.",
    examples: &["land Fix the typo", "land"],
    takes_text: true,
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for LandCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        if cx.view.running.is_some() {
            return Err(CommandError::User(replies::LAND_WHILE_BUSY.into()));
        }
        if !cx.view.worktree {
            return Err(CommandError::User(replies::LAND_IN_CHECKOUT.into()));
        }
        let asked = Some(cx.args).filter(|title| !title.is_empty()).map(str::to_owned);
        let title = asked.or_else(|| cx.view.last_request.as_deref().and_then(title_of));
        match title {
            Some(title) => Ok(Reply::default().then(RoomAction::Land(title))),
            None => Err(CommandError::Usage(replies::LAND_NEEDS_TITLE.into())),
        }
    }
}

/// A title from the first line of a request that has words; the rest of a long one is left out.
fn title_of(request: &str) -> Option<String> {
    let line = request.lines().map(str::trim).find(|line| line.chars().any(char::is_alphanumeric))?;
    if line.chars().count() <= LONGEST {
        return Some(line.to_owned());
    }
    let short: String = line.chars().take(LONGEST).collect();
    let whole_words = short.rsplit_once(' ').map_or(short.as_str(), |(words, _)| words);
    Some(format!("{}…", whole_words.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_the_first_line_with_words_and_ends_with_a_whole_one() {
        assert_eq!(title_of("\n---\n  Fix the typo \nin the README"), Some("Fix the typo".into()));
        let long = format!("Fix {}", "the long title ".repeat(10));
        let title = title_of(&long).expect("a title");
        assert!(title.chars().count() <= LONGEST + 1 && title.ends_with('…'), "{title}");
        assert!(long.starts_with(title.trim_end_matches('…')));
        assert_eq!(title_of("…\n \n"), None);
    }
}

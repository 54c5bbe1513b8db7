//! `tick` and `untick`: a story's acceptance criteria, one by one.

use async_trait::async_trait;
use pipeline::story::StoryId;

use super::story::{known, later, number, refusal};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    replies,
};

/// One of the two.
pub struct TickCommand {
    spec: CommandSpec,
    /// Whether a criterion that is ticked already becomes open again.
    toggles: bool,
}

pub const TICK: TickCommand = TickCommand {
    spec: CommandSpec {
        name: "tick",
        args: "ID [NUMBER]",
        summary: "Tick an acceptance criterion of a story, or list them",
        details: "Ticks the criterion of this number, counted from 1; if it is ticked already, it becomes open again. Without a number it \
                  lists the criteria. Agents tick criteria too; gates and review decide, ticks do not.",
        examples: &["tick 12", "tick 12 3"],
        begins: Some(begins_tick),
        ..CommandSpec::PLAIN
    },
    toggles: true,
};

pub const UNTICK: TickCommand = TickCommand {
    spec: CommandSpec {
        name: "untick",
        args: "ID [NUMBER]",
        summary: "Open an acceptance criterion of a story again",
        details: "Takes the tick of the criterion of this number away. Without a number it lists the criteria.",
        examples: &["untick 12 3"],
        begins: Some(begins_tick),
        ..CommandSpec::PLAIN
    },
    toggles: false,
};

fn begins_tick(args: &str) -> bool {
    let mut words = args.split_whitespace();
    let is_story = words.next().is_some_and(|word| word.parse::<StoryId>().is_ok());
    is_story && words.next().is_none_or(|word| read_criterion(word).is_ok())
}

#[async_trait]
impl Command for TickCommand {
    fn spec(&self) -> &CommandSpec {
        &self.spec
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (id, word) = number(cx.args)?;
        let story = known(&cx, id)?;
        if word.is_empty() {
            return Ok(Reply::text(replies::criteria_list(&story)));
        }
        let criterion = read_criterion(word)?;
        let found = criterion.checked_sub(1).and_then(|index| story.criteria.get(index));
        // One that is not there is refused below, with the numbers there are.
        let done = self.toggles && found.is_none_or(|(_, done)| !done);
        let pipeline = cx.services.pipeline.clone();
        later(async move {
            pipeline.tick(id, criterion, done).await.map_err(refusal)?;
            let snapshot = pipeline.snapshot();
            let story = snapshot.board.story(id).unwrap_or(&story);
            Ok(Reply::notice(replies::criterion_ticked(story, criterion, done)))
        })
    }
}

fn read_criterion(word: &str) -> Result<usize, CommandError> {
    let digits = word.strip_prefix('#').unwrap_or(word);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| plain);
    number.ok_or_else(|| CommandError::Usage(replies::not_a_criterion(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_criterion_is_named_by_its_number() {
        assert_eq!([read_criterion("3").unwrap(), read_criterion("#3").unwrap()], [3, 3]);
        for wrong in ["", "#", "+3", "-3", "3.", "x", "3 4", "99999999999999999999999"] {
            assert!(matches!(read_criterion(wrong), Err(CommandError::Usage(_))), "{wrong}");
        }
        assert!(begins_tick("12") && begins_tick("#12 3"));
        assert!(!begins_tick("12 boxes") && !begins_tick("the box"));
    }
}

//! `log`: the last lines of an agent's output.

use async_trait::async_trait;
use pipeline::reading::LogOf;

use super::story::{later, refusal};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    replies,
};

pub struct LogCommand;

const USUAL: usize = 20;
const MOST: usize = 200;

const SPEC: CommandSpec = CommandSpec {
    name: "log",
    aliases: &["logs"],
    args: "AGENT|ID [LINES]",
    summary: "Show the last lines of an agent's output",
    details: "Shows the last lines (20 by default, at most 200) of the newest run of an agent or of a story: text, tools and gates. A story that the gates of its merge sent back shows their output first.",
    examples: &["log coder", "log 12 100"],
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for LogCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (of, lines) = read(cx.args)?;
        let pipeline = cx.services.pipeline.clone();
        later(async move {
            match pipeline.log(of.clone(), lines).await.map_err(refusal)? {
                Some((run, lines)) => Ok(Reply::text(replies::run_log(&run.to_string(), &lines))),
                None => Err(CommandError::User(replies::no_run(&of))),
            }
        })
    }
}

fn read(args: &str) -> Result<(LogOf, usize), CommandError> {
    let mut words = args.split_whitespace();
    let Some(whose) = words.next() else {
        return Err(CommandError::Usage(replies::WHOSE_LOG.into()));
    };
    let lines = match words.next() {
        None => USUAL,
        Some(word) => match word.parse() {
            Ok(lines @ 1..=MOST) => lines,
            _ => return Err(CommandError::Usage(replies::not_a_line_count(word, MOST))),
        },
    };
    if let Some(more) = words.next() {
        return Err(CommandError::Usage(replies::too_much(more)));
    }
    Ok((whose.parse().map_or_else(|_| LogOf::Agent(whose.to_owned()), LogOf::Story), lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_story_and_a_word_an_agent() {
        assert_eq!(read("12 100").unwrap(), (LogOf::Story(pipeline::story::StoryId(12)), 100));
        assert_eq!(read("coder-2").unwrap(), (LogOf::Agent("coder-2".into()), 20));
        for wrong in ["", "coder 0", "coder 201", "coder many", "coder 1 2"] {
            assert!(matches!(read(wrong), Err(CommandError::Usage(_))), "{wrong}");
        }
    }
}

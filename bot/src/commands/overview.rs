//! `overview`: what was done for a story, from its merge commit.

use std::fmt::Write as _;

use adapters::markdown::{code_span, inert};
use async_trait::async_trait;
use pipeline::{handle::StoryOverview, story::StoryId};

use super::story::{begins_with_number, later, only_number, refusal};
use crate::commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply};

/// See the module.
pub struct OverviewCommand;

/// More files than this are only counted.
const FILES: usize = 30;

const SPEC: CommandSpec = CommandSpec {
    name: "overview",
    args: "ID",
    summary: "Tell what was done for a merged story",
    details: "Tells from a story's merge commit what was done: the commit, its files with added and removed lines, the gates that passed on \
              the merged result, and what it cost. Merges by the older `story-kit:` are found too.",
    examples: &["overview 12"],
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for OverviewCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let id = only_number(cx.args)?;
        let pipeline = cx.services.pipeline.clone();
        later(async move {
            let cost = pipeline.ledger().story_usd(id);
            match pipeline.overview(id).await.map_err(refusal)? {
                Some(done) => Ok(Reply::text(page(id, &done, cost))),
                None => Err(CommandError::User(format!(
                    "Story `{id}` was not merged to `{}`. `show {id}` tells where it stands.",
                    pipeline.snapshot().base
                ))),
            }
        })
    }
}

fn page(id: StoryId, done: &StoryOverview, cost: f64) -> String {
    let subject = done.message.lines().next().unwrap_or_default();
    let time =
        jiff::Timestamp::from_second(done.time).map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string());
    let mut page = format!("**Story {id}**: {}\n\n", inert(subject));
    let _ = writeln!(page, "- merged as `{:.10}`, {}", done.commit, time.unwrap_or_default());
    for (gate, code) in &done.gates {
        let _ = writeln!(page, "- gate {} ended with {code}", code_span(gate));
    }
    if cost > 0.0 {
        let _ = writeln!(page, "- cost: ${cost:.2}");
    }
    let (added, removed) = done.files.iter().fold((0, 0), |(a, r), file| (a + file.1, r + file.2));
    let count = done.files.len();
    let _ = writeln!(page, "\n{count} file{}, +{added} -{removed}", if count == 1 { "" } else { "s" });
    for (path, added, removed) in done.files.iter().take(FILES) {
        let _ = writeln!(page, "- {} +{added} -{removed}", code_span(&path.display().to_string()));
    }
    if done.files.len() > FILES {
        let _ = writeln!(page, "- and {} more", done.files.len() - FILES);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overview_tells_commit_gates_and_files() {
        let done = StoryOverview {
            commit: "0123456789abcdef".into(),
            message: "storkit: merge 12 Fix the door\n\nStorkit-Story: 12\n".into(),
            time: 1_700_000_000,
            files: vec![("src/door.rs".into(), 3, 1), ("tests/door.rs".into(), 10, 0)],
            gates: vec![("script/test".into(), 0)],
        };
        insta::assert_snapshot!(page(StoryId(12), &done, 1.25), @r"
        **Story 12**: storkit: merge 12 Fix the door

        - merged as `0123456789`, 2023-11-14 22:13 UTC
        - gate `script/test` ended with 0
        - cost: $1.25

        2 files, +13 -1
        - `src/door.rs` +3 -1
        - `tests/door.rs` +10 -0
        ");
    }
}

//! `show`: a story's text, and how far it is.

use std::fmt::Write as _;

use adapters::markdown::{code_block, inert};
use async_trait::async_trait;
use pipeline::{event::PipelineSnapshot, handle::WorkDone, story::Story};

use super::{
    status_board::merge_words,
    story::{begins_with_number, known, later, only_number, refusal},
};
use crate::commands::command::{Command, CommandContext, CommandResult, CommandSpec, Reply};

/// See the module.
pub struct ShowCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "show",
    args: "ID",
    summary: "Show a story's text, criteria, branch and changes",
    details: "Shows where a story stands: stage, worker, criteria ticked, branch with its commits and size, cost, and its whole text.",
    examples: &["show 12"],
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for ShowCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let id = only_number(cx.args)?;
        let pipeline = cx.services.pipeline.clone();
        let story = match known(&cx, id) {
            Ok(story) => story,
            // One that cannot be read can still be shown.
            Err(why) => {
                return later(async move {
                    let text = pipeline.text(id).await.map_err(|_| why)?;
                    Ok(Reply::text(format!(
                        "Story `{id}` cannot be acted on as it is.\n\n{}",
                        code_block(&text, "")
                    )))
                });
            }
        };
        later(async move {
            let text = pipeline.text(id).await.map_err(refusal)?;
            let work = pipeline.work_done(id).await.map_err(refusal)?;
            let cost = pipeline.ledger().story_usd(id);
            Ok(Reply::text(page(&story, &pipeline.snapshot(), &work, cost, &text)))
        })
    }
}

fn page(story: &Story, snapshot: &PipelineSnapshot, work: &WorkDone, cost: f64, text: &str) -> String {
    let id = story.id();
    let mut page = format!("**{id} {}**\n\n- in **{}**", inert(&story.front.name), story.stage);
    if let Some(run) = snapshot.runs.iter().find(|run| run.story == id) {
        let _ = write!(page, ", `{}` {}", run.slot, run.phase);
    } else if let Some(hold) = snapshot.holds.get(&id) {
        let _ = write!(page, ": {}", inert(hold));
    } else if let Some(merge) = snapshot.merges.get(&id) {
        let _ = write!(page, ": {}", merge_words(merge));
    }
    page.push('\n');
    if !story.criteria.is_empty() {
        let done = story.criteria.iter().filter(|(_, done)| *done).count();
        let _ = writeln!(page, "- criteria: {done} of {} ticked", story.criteria.len());
    }
    if let Some(branch) = &work.branch {
        let diff = work.diff.as_ref().map(|diff| format!(", {diff}")).unwrap_or_default();
        let _ = writeln!(page, "- branch `{branch}`: {} commits{diff}", work.commits);
    }
    if let Some(agent) = &story.front.agent {
        let _ = writeln!(page, "- preferred agent: {}", inert(agent));
    }
    if cost > 0.0 {
        let _ = writeln!(page, "- cost: ${cost:.2}");
    }
    let _ = write!(page, "\n{}", code_block(text.trim_end(), "markdown"));
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::status_board::fixture;

    #[test]
    fn a_story_is_shown_with_what_matters_and_its_text_as_it_is() {
        let snapshot = fixture::snapshot();
        let story = snapshot.board.story(pipeline::story::StoryId(2)).unwrap();
        let work = WorkDone {
            branch: Some("feature/story-2_x/work".into()),
            commits: 2,
            diff: Some("1 file, +3 -1".into()),
        };
        insta::assert_snapshot!(page(story, &snapshot, &work, 0.5, "# Door\n\n```\ncode\n```\n"), @r"
        **2 Second**

        - in **current**, `coder` working
        - branch `feature/story-2_x/work`: 2 commits, 1 file, +3 -1
        - cost: $0.50

        ````markdown
        # Door

        ```
        code
        ```
        ````
        ");
    }
}
